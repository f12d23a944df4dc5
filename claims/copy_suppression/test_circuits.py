"""What L10H7 writes and attends to, by its weights and in text (C01-C28).

Of the published tables, of the paper's own model (the named heads, exactly), and of any decoder (its best
copy suppression head, on tokens that are drawn).
"""

import pandas as pd
import pytest

from rwcore.plugin.heads.behaviour import ASKED_BY_NAME
from rwcore.plugin.heads.numbers import WEB_TEXT
from rwcore.plugin.heads.tables import Ranks, by_head, first_heads, head_rows
from rwcore.plugin.probing_tables import column
from rwcore.plugin.subjects import Kind

SCORES = "copy_suppression_ov_negative_copying_scores_all_heads"
NEGATIVE = ["L10H7", "L11H10", "L8H10"]
MOVERS = ["L9H9", "L9H6", "L10H0"]
LENS_TEXT = "openwebtext-10k-61"


def scores(subject, score, embedding):
    """Columns layer, head, value of one score of all heads."""
    table = head_rows(subject, SCORES)
    return table[(table["score"] == score) & (table["embedding"] == embedding)]


@pytest.mark.claim("C01", "C02", "C03", "C04", "C05")
def test_ov_ranks(subject, claim):
    """Rank of every token among those that the head lowers when it attends to it."""
    if subject.kind is Kind.TABLES:
        ranks = Ranks.of(subject, "ov_static")
        claim.check(
            share_below=ranks.shares_below(),
            beyond_first_100=ranks.beyond,
            least_mean=ranks.least_mean,
            median=ranks.median,
        )
        return
    circuits = subject.heads.circuits
    if subject.kind in ASKED_BY_NAME:
        claim.check(**circuits.of_named_heads.ov("L10H7"))
    claim.check(best_heads=len(circuits.candidates))


@pytest.mark.claim("C06")
def test_ov_worst_tokens(subject, claim):
    """The tokens that a head lowers least."""
    circuits = subject.heads.circuits
    if subject.kind in ASKED_BY_NAME:
        claim.check(**circuits.of_named_heads.worst("L10H7"))
    claim.check(share_of_function_words=circuits.worst())


@pytest.mark.claim("C07", "C08")
def test_ov_ranks_of_all_heads(subject, claim):
    """Mean rank of a token from the bottom, of every head."""
    if subject.kind is not Kind.TABLES:
        circuits = subject.heads.circuits
        if subject.kind in ASKED_BY_NAME:
            claim.check(**circuits.of_named_heads.mean_ranks())
        claim.check(**circuits.mean_ranks())
        return
    found = scores(subject, "mean_rank_of_diag_from_bottom", "W_EE_minus_W_E")
    claim.check(
        mean_rank=by_head(found, "value"),
        lowest=first_heads(found, "value", 3, lowest=True),
        quartile=found["value"].quantile(0.25),
        median=found["value"].median(),
    )


@pytest.mark.claim("C09", "C10", "C11")
def test_ov_bottom_five(subject, claim):
    """Share of tokens among the five that are lowered most, with three kinds of embedding."""
    if subject.kind is not Kind.TABLES:
        circuits = subject.heads.circuits
        if subject.kind in ASKED_BY_NAME:
            named = circuits.of_named_heads
            raw = named.bottom_five(["L10H7", "L6H6"], "raw")
            claim.check(
                full=named.bottom_five(NEGATIVE, "EE-B"),
                raw=raw,
                raw_of_L10H7=raw["value"][0],
                first_mlp=named.bottom_five(NEGATIVE[:2], "EE-B-MLP"),
            )
        claim.check(effective_over_raw=circuits.effective_over_raw())
        return
    score = "frac_tokens_diag_in_bottom5"
    full, raw, first_mlp = (scores(subject, score, kind) for kind in ("W_EE_full", "W_E_raw", "MLP0_only"))
    claim.check(
        full=by_head(full, "value"),
        raw=by_head(raw, "value"),
        highest_raw=first_heads(raw, "value", 1)[0],
        first_mlp=by_head(first_mlp, "value"),
    )


@pytest.mark.claim("C12", "C13")
def test_ov_names(subject, claim):
    """Names that a head lowers, or raises, more than any other token."""
    if subject.kind is not Kind.TABLES:
        circuits = subject.heads.circuits
        if subject.kind in ASKED_BY_NAME:
            lowered, raised = circuits.of_named_heads.names_first()
            claim.check(most_lowered=lowered, most_raised=raised)
        claim.check(**circuits.name_places())
        return
    lowered = scores(subject, "names_frac_bottom1_negative", "W_E+MLP0")
    raised = scores(subject, "names_frac_top1_positive", "W_E+MLP0")
    claim.check(
        most_lowered=by_head(lowered, "value"),
        most_lowered_elsewhere=lowered[~lowered["head"].isin(NEGATIVE)]["value"].max(),
        most_raised=by_head(raised, "value"),
        raised_by_negative_heads=raised[raised["head"].isin(NEGATIVE)]["value"].max(),
    )


@pytest.mark.claim("C14", "C15", "C16", "C17")
def test_ov_in_text(subject, claim):
    """Ranks of the sources that the head attends to."""
    if subject.kind is not Kind.TABLES:
        circuits = subject.heads.circuits
        if subject.kind in ASKED_BY_NAME:
            claim.check(**circuits.of_named_heads.in_text("L10H7", WEB_TEXT))
        claim.check(**circuits.sources_in_text(WEB_TEXT))
        return
    ranks = Ranks.of(subject, "ov_in_context_attn_gt_0.1")
    after_first = sum(ranks.counts[1:10])
    claim.check(
        share_below=ranks.shares_below(),
        pairs=ranks.population,
        pairs_at_ranks_1_to_9=after_first,
        ranks_1_to_9=after_first / ranks.population,
        median=ranks.median,
    )


@pytest.mark.claim("C18", "C19")
def test_qk_ranks(subject, claim):
    """Rank of a token's own key when the query is its unembedding."""
    if subject.kind is not Kind.TABLES:
        circuits = subject.heads.circuits
        if subject.kind in ASKED_BY_NAME:
            claim.check(share_below=circuits.of_named_heads.qk("L10H7"))
        claim.check(place_of_best=circuits.place_by_attention())
        return
    claim.check(share_below=Ranks.of(subject, "qk_static_WU_query_WEE_key").shares_below())


@pytest.mark.claim("C20", "C21", "C24")
def test_qk_bars(subject, claim):
    """Shares of ranks read off figures, with several tables of queries and keys."""
    if subject.kind is not Kind.TABLES:
        circuits = subject.heads.circuits
        if subject.kind in ASKED_BY_NAME:
            claim.check(**circuits.of_named_heads.qk_bars("L10H7"))
        claim.check(
            matching_over_largest_of_best=circuits.matching_over_largest(),
            change_by_biases_of_best=circuits.change_by_biases(),
        )
        return
    bars = of_l10h7(head_rows(subject, "copy_suppression_qk_diag_rank_bars_from_figures"))
    largest = bars[bars["rank1"] == "1"].set_index("tables")["percent_of_vocab"] / 100
    first_ten = bars[bars["rank1"].isin([str(rank) for rank in range(1, 11)])]
    matching = largest[["W_EE, W_EE", "MLP0, MLP0, biases"]].max()
    claim.check(
        largest=column(largest, "tables"),
        among_ten=column(first_ten.groupby("tables")["percent_of_vocab"].sum() / 100, "tables"),
        matching_over_largest=matching
        / Ranks.of(subject, "qk_static_WU_query_WEE_key").shares_below()["value"][0],
        difference_by_biases=abs(largest["W_U, MLP0, biases"] - largest["W_U, W_EE"]),
    )


def of_l10h7(bars):
    """The bars of L10H7, with their tables as ``query, key`` and, where there are, ``biases``."""
    bars = bars[bars["figure"].str.contains("L10H7")]
    tables = bars["series"].str.replace("Q=", "").str.replace(",K=", ", ")
    biases = bars["figure"].str.contains("inc. bias").map({True: ", biases", False: ""})
    return bars.assign(tables=tables + biases)


@pytest.mark.claim("C22")
def test_duplicate_token_head(subject, claim):
    """Ranks of L3H0, which matches equal tokens."""
    if subject.kind is not Kind.TABLES:
        circuits = subject.heads.circuits
        if subject.kind in ASKED_BY_NAME:
            medians = circuits.of_named_heads.medians(["L3H0"])["L3H0"]
            claim.check(
                largest_median_embedding=max(medians["W_EE, W_EE"], medians["W_EE, MLP0"]),
                least_median_unembedding=min(medians[f"W_U, {key}"] for key in ("W_EE", "MLP0", "W_E")),
            )
        claim.check(duplicate_heads=circuits.duplicate_heads())
        return
    grid = head_rows(subject, "copy_suppression_qk_median_rank_grid")
    grid = grid[grid["head"] == "L3H0"]
    medians = grid.set_index(grid["query_table"] + ", " + grid["key_table"])["median_rank1"]
    counts = head_rows(subject, "copy_suppression_qk_L3H0_top1_counts").replace("MLP0(W_E)", "MLP0")
    counts = counts.set_index(counts["query_table"] + ", " + counts["key_table"])
    first = counts["count_rank1"] / counts["vocab"]
    bars = head_rows(subject, "copy_suppression_qk_diag_rank_bars_from_figures")
    bars = bars[bars["figure"].str.contains("L3H0") & (bars["rank1"] == "1")]
    read = (
        bars.set_index(bars["series"].str.replace("Q=", "").str.replace(",K=", ", "))["percent_of_vocab"]
        / 100
    )
    claim.check(
        duplicate_head=column(medians, "tables"),
        matches=first["MLP0, MLP0"],
        difference_of_bars=(read - first[read.index]).abs().max(),
    )


@pytest.mark.claim("C23")
def test_name_movers_attend_otherwise(subject, claim):
    """The best median rank of the name movers, whatever queries and keys are made of."""
    found = subject.heads.circuits.of_named_heads.medians(MOVERS)
    claim.check(best_median_of_name_movers=min(min(medians.values()) for medians in found.values()))


@pytest.mark.claim("C25", "C26")
def test_predictions_and_attention(subject, claim):
    """Whether the source that is predicted most is attended to, where a head matters most."""
    if subject.kind is not Kind.TABLES:
        circuits = subject.heads.circuits
        if subject.kind in ASKED_BY_NAME:
            claim.check(**circuits.of_named_heads.cases("L10H7", WEB_TEXT))
        claim.check(place_of_best=circuits.place_in_late_layers(WEB_TEXT))
        return
    counts = head_rows(subject, "copy_suppression_top_context_unembedding_in_top5_attention")
    runs = counts.set_index(counts["file"] + " " + counts["head"])["count_out_of_100"]
    late = counts[counts["layer"] >= 8]
    highest = {first_heads(rows, "count_out_of_100", 1)[0] for _, rows in late.groupby("file")}
    claim.check(in_runs=column(runs, "run"), highest_late=" and ".join(sorted(highest)))


@pytest.mark.claim("C27", "C28")
def test_confusion(subject, claim):
    """Of sources that are predicted most: how many are attended to."""
    if subject.kind is not Kind.TABLES:
        claim.check(attended=subject.heads.behaviour.attended("L10H7", LENS_TEXT))
        return
    rows = head_rows(subject, "copy_suppression_qk_confusion")
    rules = {
        "argmax": "logit-lens argmax source vs attention argmax (non-BOS sources), all queries",
        "argmax, not resting": "same, only queries where BOS is not the most attended",
        "top 3": "logit-lens argmax source vs top-3 attention, all queries",
        "top 3, not resting": "logit-lens argmax source vs top-3 attention, BOS not largest",
    }
    happening, not_happening = (
        rows.set_index("setting")[f"expected_{name}happening"] for name in ("and_", "not_")
    )
    share = happening / (happening + not_happening)
    claim.check(attended=column(pd.Series({rule: share[name] for rule, name in rules.items()}), "rule"))
