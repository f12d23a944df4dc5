"""Keys at the first position, and queries in IOI (C47-C52)."""

import pandas as pd
import pytest

from rwcore.plugin.heads.behaviour import ASKED_BY_NAME
from rwcore.plugin.heads.tables import head_rows
from rwcore.plugin.probing_tables import column
from rwcore.plugin.subjects import Kind

LENS_TEXT = "openwebtext-10k-61"


@pytest.mark.claim("C47", "C48")
def test_keys_and_query_bias(subject, claim):
    """Cosines of keys with the query bias, at the first position and at three others."""
    if subject.kind is not Kind.TABLES:
        behaviour = subject.heads.behaviour
        if subject.kind in ASKED_BY_NAME:
            claim.check(**behaviour.first_position("L10H7"))
        claim.check(share_turning=behaviour.share_turning(LENS_TEXT))
        return
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


@pytest.mark.claim("C49")
def test_keys_of_bos(subject, claim):
    """Cosines with the query bias of keys that are made of BOS alone."""
    claim.check(of_weights=subject.heads.behaviour.keys_of_bos("L10H7"))


@pytest.mark.claim("C50", "C51")
def test_query_variants(subject, claim):
    """Difference of the scores of IO and S1 by what the query is made of."""
    if subject.kind is not Kind.TABLES:
        heads = subject.heads
        if subject.kind in ASKED_BY_NAME:
            claim.check(**heads.behaviour.query_scores("L10H7"))
        claim.check(**heads.behaviour.unembedding_query(heads.circuits.best))
        return
    table = head_rows(subject, "copy_suppression_ioi_query_variants_attn_score_diff")
    score = table.set_index("query_input")["mean"]
    score = score.rename({"W_U[IO]": "unembedding", "No patching": "true residual"})
    claim.check(
        score=column(score, "query"),
        unembedding_over_residual=score["unembedding"] / score["true residual"],
        unrelated_query=score[["W_U[random name]", "W_U[random]"]].abs().max(),
    )


@pytest.mark.claim("C52")
def test_output_of_a_name_mover(subject, claim):
    """How much of what L9H9 adds lies along the unembedding of IO."""
    claim.check(share_of_square=subject.heads.behaviour.share_of_square("L9H9"))
