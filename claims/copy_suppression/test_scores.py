"""Copy suppression in IOI and anti-induction, of one model and of many (C57-C64)."""

import pandas as pd
import pytest

from rwcore.plugin.heads.behaviour import LEAST_SCORE
from rwcore.plugin.heads.tables import by_head, first_heads, head_rows
from rwcore.plugin.subjects import Kind

SUMMARY = "copy_suppression_anti_induction_vs_cs_model_summary"
HEADS = "copy_suppression_anti_induction_vs_cs_heads_over_0.02"
SUPPRESSION, INDUCTION = "copy_suppression_ioi", "anti_induction"


@pytest.mark.claim("C57", "C58")
def test_scores_of_heads(subject, claim):
    """The heads of one model; of the tables those with a score above .02."""
    if subject.kind is not Kind.TABLES:
        claim.check(**subject.heads.behaviour.both_scores())
        return
    heads = head_rows(subject, HEADS)
    by_suppression, by_induction = (first_heads(heads, score, 3) for score in (SUPPRESSION, INDUCTION))
    claim.check(
        copy_suppression=by_head(heads, SUPPRESSION),
        anti_induction=by_head(heads, INDUCTION),
        first_by_copy_suppression=by_suppression[0],
        first_by_anti_induction=by_induction[0],
        first_three_by_copy_suppression=by_suppression,
        first_three_by_anti_induction=by_induction,
    )


@pytest.mark.claim("C62", "C63")
def test_first_heads_of_models(subject, claim):
    """The first head of a model by each score."""
    if subject.kind is not Kind.TABLES:
        claim.check(**subject.heads.behaviour.both_scores())
        return
    (row,) = head_rows(subject, SUMMARY).to_dict("records")
    claim.check(
        first_by_copy_suppression=f"L{row['top_cs_layer']}H{row['top_cs_head']}",
        first_by_anti_induction=f"L{row['top_ai_layer']}H{row['top_ai_head']}",
        highest_copy_suppression=row["top_cs"],
        anti_induction_of_it=row["its_anti_induction"],
    )


@pytest.mark.claim("C59", "C60", "C61", "C64")
def test_scores_across_models(subject, claim):
    """How the two scores go together, and where the first heads are."""
    if subject.kind is not Kind.TABLES:
        behaviour = subject.heads.behaviour
        claim.check(**behaviour.both_scores(), **behaviour.agreement())
        return
    models = head_rows(subject, SUMMARY)
    pearson = models.set_index("model")["pearson_both_positive"]
    same = (models["top_cs_layer"] == models["top_ai_layer"]) & (
        models["top_cs_head"] == models["top_ai_head"]
    )
    has_one = models["top_cs"] >= LEAST_SCORE
    late = 2 * models["top_cs_layer"] >= models["layers"]
    both = models["n_heads_both_positive"].sum()
    claim.check(
        pearson_of_gpt2=pearson["gpt2"],
        models_above_75=int((pearson > 0.75).sum()),
        heads_with_both_positive=both,
        pearson_of_all=pearson_with_unlisted(head_rows(subject, HEADS), both),
        same_first=int(same.sum()),
        same_first_where_there_is_one=int((same & has_one).sum()),
        with_a_head=int(has_one.sum()),
        late=int((late & has_one).sum()),
    )


def pearson_with_unlisted(heads, number):
    """Correlation over heads where both scores are positive; those that are not listed count as zero."""
    listed = heads[(heads[SUPPRESSION] > 0) & (heads[INDUCTION] > 0)][[SUPPRESSION, INDUCTION]]
    unlisted = pd.DataFrame(0.0, index=range(number - len(listed)), columns=listed.columns)
    everyone = pd.concat([listed, unlisted])
    return everyone[SUPPRESSION].corr(everyone[INDUCTION])
