"""The first position, queries in IOI and self-repair there: the published tables (C47-C51, C65-C69)."""

import pandas as pd
import pytest

from rwcore.plugin.head_tables import head_rows
from rwcore.plugin.probing_tables import column

BEHIND = 10  # the first layer behind the name movers that are ablated


@pytest.mark.claim("C47", "C48")
def test_keys_and_query_bias(subject, claim):
    """Cosines of keys with the query bias, at the first position and at three others."""
    table = head_rows(subject, "copy_suppression_bos_key_querybias_cosine").set_index("setting")
    first, in_rows = table.loc["pos0_all_vocab_single_token_prompt"], table.loc["pos0_random_tokens"]
    later = table.loc[[f"pos{position}_random_tokens" for position in (9, 19, 39)]]
    claim.check(
        mean_first=first["mean"],
        lowest_first=first["min"],
        highest_first=first["max"],
        same_in_random_rows=bool(abs(first["mean"] - in_rows["mean"]) < 1e-4),
        mean_later=column(pd.Series(later["mean"].to_numpy(), [9, 19, 39]), "position"),
        highest_later=later["max"].max(),
    )


@pytest.mark.claim("C50", "C51")
def test_query_variants(subject, claim):
    """Difference of the scores of IO and S1 by what the query is made of."""
    table = head_rows(subject, "copy_suppression_ioi_query_variants_attn_score_diff")
    score = table.set_index("query_input")["mean"]
    score = score.rename({"W_U[IO]": "unembedding", "No patching": "true residual"})
    claim.check(
        score=column(score, "query"),
        unembedding_over_residual=score["unembedding"] / score["true residual"],
        unrelated_query=score[["W_U[random name]", "W_U[random]"]].abs().max(),
    )


@pytest.mark.claim("C65", "C66", "C67")
def test_self_repair_in_ioi(subject, claim):
    """Direct effects on the difference of logits, before and after the name movers are ablated."""
    table = head_rows(subject, "copy_suppression_ioi_self_repair").set_index("component")
    clean, ablated = table["clean_logit_diff"], table["post_ablation_logit_diff"]
    change = ablated - clean
    behind = change[table["layer"] >= BEHIND]
    negative = behind[["L10H7", "L11H10"]].sum()
    shares = table["share_of_downstream_self_repair"][behind.index]
    claim.check(
        share_of_negative_heads=negative / behind.sum(),
        share_without_L10H0=negative / behind.drop("L10H0").sum(),
        largest_share_error=(behind / behind.sum() - shares).abs().max(),
        clean=column(clean, "head"),
        ablated=column(ablated, "head"),
        change=column(change, "head"),
        largest_change_before=change[table["layer"] < BEHIND].abs().max(),
    )


@pytest.mark.claim("C68", "C69")
def test_q_composition(subject, claim):
    """Median rank of a name, when what a name mover writes of it is the query."""
    table = head_rows(subject, "copy_suppression_qcomposition_median_ranks")
    pairs = table["name_mover_ov_head"] + " to " + table["qk_head"]
    rank = column(table.set_index(pairs)["median_rank_of_141"], "pair")
    negative, backup = (
        rank[table["qk_head"].isin(heads)] for heads in (["L10H7", "L11H10"], ["L10H2", "L10H10", "L11H2"])
    )
    claim.check(negative=negative, backup=backup)
