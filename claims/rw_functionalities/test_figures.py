"""What figures are drawn with: colours and order, bar widths, prototypes (C71-C73)."""

import pandas as pd
import pytest

from rwcore.plots.counts import bar_widths, class_counts_figure
from rwcore.stats.classes import RW_CLASSES
from rwcore.stats.half_coarse import BINS
from rwcore.stats.prototypes import prototype_classes

CHANNELS = ("red", "green", "blue", "alpha")


@pytest.mark.claim("C71")
def test_colours(subject, claim):
    """Classes in their order, their colours and those of the bins."""
    claim.check(
        class_order=[one.name for one in RW_CLASSES],
        class_colours=colours("class", [(one.name, one.rgba) for one in RW_CLASSES]),
        bin_colours=colours("bin_low", [(one.low, one.rgba) for one in BINS]),
    )


@pytest.mark.claim("C72")
def test_bar_widths(subject, claim):
    """The bars of a layer are as wide as it has neurons, class by class."""
    counts = subject.class_counts()
    drawn = bar_widths(class_counts_figure(counts)).set_index(["layer", "class"])["width"]
    wanted = counts.set_index(["layer", "class"])["count"]
    sums = drawn.groupby("layer").sum() - wanted.groupby("layer").sum()
    claim.check(
        largest_width_difference=float((drawn - wanted).abs().max(skipna=False)),
        largest_sum_difference=float(sums.abs().max(skipna=False)),
    )


@pytest.mark.claim("C73")
def test_prototypes(subject, claim):
    """Prototypes of the interactive and of the definition figure, gate signs folded."""
    prototypes = prototype_classes()
    right = prototypes["prototype"] == prototypes["class"]
    by_source = right.groupby(prototypes["source"]).agg(["sum", "size"])
    claim.check(
        vectors_in_their_class=int(by_source["sum"]["vectors"]),
        points_of_the_definition_not_in_their_class=int((by_source["size"] - by_source["sum"])["cosines"]),
    )


def colours(key, named):
    """One row per thing and channel."""
    rows = [
        (name, channel, value) for name, rgba in named for channel, value in zip(CHANNELS, rgba, strict=True)
    ]
    return pd.DataFrame(rows, columns=[key, "channel", "value"])
