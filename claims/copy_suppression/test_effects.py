"""Copy-suppression-preserving ablation, and what ablating heads does: tables and models (C29-C46, C75)."""

import pandas as pd
import pytest

from rwcore.plugin.heads.prompts import HeadPrompts
from rwcore.plugin.heads.tables import by_head, first_heads, head_rows
from rwcore.plugin.probing_tables import column
from rwcore.plugin.subjects import Kind

NEGATIVE = ["L10H7", "L11H10", "L8H10", "L9H5"]
LINES = "copy_suppression_cspa_paper_quantile_lines_digitised"
ABLATED, PRESERVED = "mean_ablation_value", "cspa_value"


@pytest.mark.claim("C29", "C32", "C33", "C34", "C35")
def test_effects_explained(subject, claim):
    """How much of a head's effect is explained, with negative components only and with both."""
    if subject.kind is not Kind.TABLES:
        claim.check(**subject.heads.effects.explained())
        return
    table = head_rows(subject, "copy_suppression_cspa_effect_explained_per_head")
    negative, both = (
        table[table["projection_mode"] == mode]
        for mode in ("negative_components_only", "negative_and_positive")
    )
    change = (negative.set_index("head") - both.set_index("head")[["kl_explained"]])["kl_explained"].abs()
    others = both[~both["head"].isin(["L10H7", "L11H10"]) & (both["layer"] >= 9)]["kl_explained"]
    claim.check(
        explained=by_head(negative, "kl_explained"),
        explained_elsewhere=negative[~negative["head"].isin(NEGATIVE)]["kl_explained"].max(),
        net_loss=by_head(negative, "net_loss_explained"),
        absolute_loss=by_head(negative, "abs_loss_explained"),
        change_by_sign=change[["L10H7", "L11H10"]].max(),
        others_above_half=int((others > 0.5).sum()),
        highest_other=others.max(),
        highest_with_both_signs=first_heads(both, "kl_explained", 1)[0],
    )


@pytest.mark.claim("C30")
def test_parts_of_copy_suppression(subject, claim):
    """What is explained by where a head looks, and by what it writes."""
    claim.check(**subject.heads.effects.parts())


@pytest.mark.claim("C31", "C36")
def test_line_of_divergence(subject, claim):
    """KL from the clean model; of the tables the figure's 199 bins, and 99 of the absolute change of loss."""
    if subject.kind is not Kind.TABLES:
        claim.check(**subject.heads.effects.strongest())
        return
    lines = head_rows(subject, LINES)
    kl = lines[lines["figure"] == "fig5_kl"].set_index("bucket")
    loss = lines[lines["figure"] == "fig16b_abs_loss"].set_index("bucket")
    claim.check(
        explained_by_line=explained(kl),
        # Bins of half a percentile, of which the last is missing, and of a percentile.
        explained_in_second_percentile=explained(kl.loc[[196, 197]]),
        absolute_loss_in_second_percentile=explained(loss.loc[[98]]),
        kl_mean_ablated=kl[ABLATED].mean(),
        kl_cspa=kl[PRESERVED].mean(),
    )


def explained(bins):
    """One minus the ratio of the means."""
    return 1 - bins[PRESERVED].mean() / bins[ABLATED].mean()


@pytest.mark.claim("C37", "C42", "C44")
def test_line_of_losses(subject, claim):
    """The change of the loss; of the tables 199 of 200 bins of the page, and the paper's figure."""
    if subject.kind is not Kind.TABLES:
        claim.check(**subject.heads.effects.losses())
        return
    line = head_rows(subject, "copy_suppression_cspa_page_loss_quantile_line").set_index("bucket")
    change = line["mean_delta_loss_mean_ablation"]
    increase = change.clip(lower=0)
    lines = head_rows(subject, LINES)
    figure = lines[lines["figure"] == "fig16a_loss"][ABLATED]
    # Both lines lack their last bin.
    helped = [(bins < 0).sum() / (len(bins) + 1) for bins in (change, figure)]
    claim.check(
        spread_of_line=line["mean_delta_loss_cspa"].std() / change.std(),
        top_twentieth=increase.loc[190:].sum() / increase.sum(),
        share_helped=column(pd.Series(helped, ["page", "figure"]), "line"),
    )


@pytest.mark.claim("C38", "C39", "C40", "C41")
def test_paths(subject, claim):
    """Changes of loss and predictions by the paths that are ablated."""
    if subject.kind is not Kind.TABLES:
        found = subject.heads.effects
        claim.check(**found.repaired(), **(found.paths() if found.named else {}))
        return
    table = head_rows(subject, "copy_suppression_direct_indirect_effects_L10H7").set_index("ablated_paths")
    loss = table["delta_loss"]
    claim.check(
        loss=column(loss, "paths"),
        kl=column(table["kl_from_clean"], "paths"),
        direct_over_indirect=loss["direct"] / loss["indirect"],
        share_without_L11H10=loss["indirect_excluding_L11H10"] / loss["indirect"],
    )


@pytest.mark.claim("C43")
def test_cases(subject, claim):
    """Copy suppression where a head matters most, and on all predictions."""
    claim.check(**subject.heads.effects.cases())


@pytest.mark.claim("C45")
def test_love_and_war(subject, claim):
    """A prompt on which L10H7 matters."""
    claim.check(**HeadPrompts(subject.heads.effects).love_and_war())


@pytest.mark.claim("C46")
def test_total_effects(subject, claim):
    """Relative increase of the loss when a head is mean-ablated with all that follows."""
    if subject.kind is not Kind.TABLES:
        claim.check(**subject.heads.effects.totals())
        return
    table = head_rows(subject, "copy_suppression_head_survey_total_mean_ablation")
    claim.check(
        relative_increase=by_head(table, "relative_loss_increase"),
        largest=first_heads(table, "relative_loss_increase", 1)[0],
    )


@pytest.mark.claim("C75")
def test_page_example(subject, claim):
    """The example of the pages."""
    found = HeadPrompts(subject.heads.effects).page_example()
    if found is None:
        pytest.skip("no row of openwebtext-10k-61 has the place that the page shows")
    claim.check(**found)
