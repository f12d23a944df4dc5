"""The figures of frequencies and weights, drawn one at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

from rwcore.activations.quadrants import SUMMARY
from rwcore.errors import OptionError
from rwcore.plots.frequency_classes import class_histograms, class_histograms_figure
from rwcore.plots.frequency_correlations import correlations_figure
from rwcore.plots.frequency_histograms import layer_histograms_figure
from rwcore.plots.frequency_means import class_means_figure
from rwcore.plots.frequency_names import NAMES
from rwcore.plots.frequency_scatter import frequency_figure, mean_norm_figure, selected_layers
from rwcore.studies.figures import check_palette
from rwcore.studies.frequency_tables import frequency_slug

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rwcore.plots.counts import PaletteName
    from rwcore.studies.frequencies import FrequencyStudy

Plots = Literal["none", "default", "all"]
PLOTS = ("none", "default", "all")


def check_plots(plots: str, palette: str) -> None:
    """Refuse figures or colours that do not exist.

    Raises:
        OptionError: They do not.
    """
    if plots not in PLOTS:
        raise OptionError(
            f"there are no figures {plots!r}", where="--plots", remedy=f"use {', '.join(PLOTS)}"
        )
    check_palette(palette)


def file_stem(name: str, frequency: str) -> str:
    """Name of a file about a frequency: ``linout``, or ``linout_gate_plus_in_minus`` for a quadrant."""
    return name if frequency == SUMMARY else f"{name}_{frequency_slug(frequency)}"


def draw(
    study: FrequencyStudy, plots: Plots = "default", palette: PaletteName = "paper"
) -> Iterator[tuple[str, Figure]]:
    """Draw figures one at a time.

    Args:
        study: The study.
        plots: ``default``: of the frequency of gate > 0; ``all``: also of the quadrants, of norms, and with
            logarithmic axes; ``none``.
        palette: ``paper`` or ``accessible``.

    Yields:
        File name without suffix, and figure.
    """
    if plots == "none":
        return
    common: dict[str, Any] = {"title": study.weights.local.spec.id, "palette_name": palette}
    yield "correlations", correlations_figure(study.correlations(), **common)
    for name in NAMES if plots == "all" else (SUMMARY,):
        for stem, figure in _of_frequency(study, name, full=plots == "all", common=common):
            yield file_stem(stem, name), figure


def _of_frequency(
    study: FrequencyStudy, name: str, *, full: bool, common: dict[str, Any]
) -> Iterator[tuple[str, Figure]]:
    frequency, statistics = study.frequencies()[name], study.weights.statistics
    selected = selected_layers(len(frequency))
    yield "class_means", class_means_figure(study.class_frequency(name), name=name, **common)
    histograms = class_histograms(frequency, study.class_codes)
    for log in (False, True) if full else (False,):
        suffix = "_log" if log else ""
        yield (
            f"class_histograms{suffix}",
            class_histograms_figure(histograms, name=name, log_y=log, **common),
        )
        yield f"layers{suffix}", layer_histograms_figure(frequency, name=name, log_y=log, **common)
    values = dict(study.weights.cosines.present())
    if full:
        norms = {vector: norm.double() for vector, norm in statistics.norms().items()}
        values |= {"norm_gate": norms["gate"], "norm_in_out": norms["in"] * norms["out"]}
    for quantity, found in values.items():
        given: dict[str, Any] = {"quantity": quantity, "name": name, **common}
        yield quantity, frequency_figure(found, frequency, **given)
        yield f"{quantity}_all_layers", frequency_figure(found, frequency, pooled=True, **given)
        yield f"{quantity}_selected", frequency_figure(found, frequency, layers=selected, **given)
    given = {"name": name, **common}
    size = study.mean_norms()[name]
    yield "mean_norm", mean_norm_figure(frequency, size, **given)
    yield "mean_norm_all_layers", mean_norm_figure(frequency, size, pooled=True, **given)
    yield "mean_norm_selected", mean_norm_figure(frequency, size, layers=selected, **given)
