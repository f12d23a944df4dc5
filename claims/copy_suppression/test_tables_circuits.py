"""What L10H7 writes and attends to, by its weights and in text: the published tables (C01-C28)."""

import pandas as pd
import pytest

from rwcore.plugin.head_tables import Ranks, by_head, first_heads, head_rows
from rwcore.plugin.probing_tables import column

SCORES = "copy_suppression_ov_negative_copying_scores_all_heads"
NEGATIVE = ["L10H7", "L11H10", "L8H10"]


def scores(subject, score, embedding):
    """Columns layer, head, value of one score of all heads."""
    table = head_rows(subject, SCORES)
    return table[(table["score"] == score) & (table["embedding"] == embedding)]


@pytest.mark.claim("C01", "C02", "C03", "C04", "C05")
def test_ov_ranks(subject, claim):
    """Rank of every token among those that the head lowers when it attends to it."""
    ranks = Ranks.of(subject, "ov_static")
    claim.check(
        share_below=ranks.shares_below(),
        beyond_first_100=ranks.beyond,
        least_mean=ranks.least_mean,
        median=ranks.median,
    )


@pytest.mark.claim("C07", "C08")
def test_ov_ranks_of_all_heads(subject, claim):
    """Mean rank of a token from the bottom, of every head."""
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
    lowered = scores(subject, "names_frac_bottom1_negative", "W_E+MLP0")
    raised = scores(subject, "names_frac_top1_positive", "W_E+MLP0")
    claim.check(
        most_lowered=by_head(lowered, "value"),
        most_lowered_elsewhere=lowered[~lowered["head"].isin(NEGATIVE)]["value"].max(),
        most_raised=by_head(raised, "value"),
        raised_by_negative_heads=raised[raised["head"].isin(NEGATIVE)]["value"].max(),
    )


@pytest.mark.claim("C14", "C15", "C17")
def test_ov_in_text(subject, claim):
    """Ranks of the sources that the head attends to."""
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
    claim.check(share_below=Ranks.of(subject, "qk_static_WU_query_WEE_key").shares_below())


@pytest.mark.claim("C20", "C21", "C24")
def test_qk_bars(subject, claim):
    """Shares of ranks read off figures, with several tables of queries and keys."""
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


@pytest.mark.claim("C25", "C26")
def test_predictions_and_attention(subject, claim):
    """Whether the source that is predicted most is attended to, where a head matters most."""
    counts = head_rows(subject, "copy_suppression_top_context_unembedding_in_top5_attention")
    runs = counts.set_index(counts["file"] + " " + counts["head"])["count_out_of_100"]
    late = counts[counts["layer"] >= 8]
    highest = {first_heads(rows, "count_out_of_100", 1)[0] for _, rows in late.groupby("file")}
    claim.check(in_runs=column(runs, "run"), highest_late=" and ".join(sorted(highest)))


@pytest.mark.claim("C27", "C28")
def test_confusion(subject, claim):
    """Of sources that are predicted most: how many are attended to."""
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
