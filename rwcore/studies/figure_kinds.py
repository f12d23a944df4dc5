"""The kinds of figures of one model: what each shows, which classes it needs, and how it is drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from rwcore.errors import OptionError
from rwcore.models.registry import registry
from rwcore.paths import golden_dir
from rwcore.stats.classes import class_counts
from rwcore.stats.cosines import RWCosines, WeightStatistics
from rwcore.stats.half_coarse import half_coarse_counts
from rwcore.stats.medians import layer_medians, letter_values, quartiles
from rwcore.stats.null import beta_region

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rwcore.plots.counts import PaletteName
    from rwcore.plots.panels import Floats

PUBLISHED_MEDIANS = Path("rw_functionalities") / "published" / "linout_medians.csv"


@dataclass(frozen=True)
class FigureInput:
    """What figures are drawn from: numbers of one model, no weights.

    Attributes:
        model: Id of the model.
        d_model: Width of the residual stream.
        statistics: Cosines and norms.
        gated: Whether the eleven classes of gated neurons are meant.
        regions: Mismatched-pair regions, columns layer, cosine, low, high; None if they were not measured.
        products: Input bias times norm by layer, see `rwcore.studies.weights.WeightStudy.products`; None
            where there are no input biases.
    """

    model: str
    d_model: int
    statistics: WeightStatistics
    gated: bool
    regions: pd.DataFrame | None = None
    products: pd.DataFrame | None = None

    @cached_property
    def cosines(self) -> RWCosines:
        """The cosines that are shown: cos(in, out) alone for plain classes."""
        cosines = self.statistics.cosines
        return cosines if self.gated else replace(cosines, gatelin=None, gateout=None)

    @cached_property
    def arrays(self) -> dict[str, Floats]:
        """Cosines and norms by name [layer neuron]; ``norm_in_out`` is the product ‖in‖·‖out‖."""
        arrays = {name: values.numpy() for name, values in self.cosines.present().items()}
        arrays |= {f"norm_{name}": norm.numpy() for name, norm in self.statistics.norms().items()}
        return {**arrays, "norm_in_out": arrays["norm_in"] * arrays["norm_out"]}

    @property
    def n_layers(self) -> int:
        """Number of layers."""
        return len(self.statistics.norm_in)


@dataclass(frozen=True)
class Style:
    """How figures are drawn: which layers have a panel (all if None) and which colours are used."""

    layers: Sequence[int] | None
    palette: PaletteName


@dataclass(frozen=True)
class FigureKind:
    """One kind of figure.

    Attributes:
        name: Also the name of its files; the originals' one.
        shows: What it shows, in a few words.
        draw: From the numbers to the figure.
        gated: True: drawn for gated classes only; False: for plain ones only; None: for both.
        default: Drawn if nothing is asked for.
        panels: It has one panel per layer, of which some can be chosen.
        null: It shows the mismatched-pair regions if they were measured.
        biases: It shows input biases, which not all models have.
    """

    name: str
    shows: str
    draw: Callable[[FigureInput, Style], Figure]
    gated: bool | None = None
    default: bool = False
    panels: bool = False
    null: bool = False
    biases: bool = False

    def missing(self, *, gated: bool, biases: bool = False) -> str | None:
        """Why it cannot be drawn for these classes, with or without input biases; None if it can."""
        if self.biases and not biases:
            return "the MLP has no input biases"
        if self.gated is None or self.gated is gated:
            return None
        return "it shows gated neurons" if self.gated else "it shows the bins of plain classes"


def _medians(given: FigureInput, look: Style) -> Figure:
    from rwcore.plots.medians import medians_figure

    medians = layer_medians(given.cosines)
    curve = medians.loc[medians["cosine"] == "linout", ["layer", "median"]].assign(model=given.model)
    gated = given.statistics.cosines.gated
    return medians_figure(
        curve,
        published_medians(given.model, gated=gated),
        background_label=f"published {'gated' if gated else 'non-gated'} models",
        palette_name=look.palette,
    )


def _class_counts(given: FigureInput, look: Style) -> Figure:
    from rwcore.plots.counts import class_counts_figure

    return class_counts_figure(class_counts(given.cosines), title=given.model, palette_name=look.palette)


def _half_coarse(given: FigureInput, look: Style) -> Figure:
    from rwcore.plots.counts import half_coarse_figure

    bins = half_coarse_counts(given.cosines)
    return half_coarse_figure(bins[bins["bin_low"].notna()], title=given.model)


def _fine(given: FigureInput, look: Style) -> Figure:
    from rwcore.plots.fine import fine_figure, layer_histogram_figure

    beta, arrays = beta_region(given.d_model), given.arrays
    if not given.gated:
        return layer_histogram_figure(
            arrays["linout"],
            layers=look.layers,
            beta=beta,
            regions=given.regions,
            title=given.model,
            palette_name=look.palette,
        )
    return fine_figure(
        arrays["gatelin"],
        arrays["gateout"],
        arrays["linout"],
        layers=look.layers,
        beta=beta,
        regions=given.regions,
        title=given.model,
        palette_name=look.palette,
    )


def _selected(given: FigureInput, look: Style) -> Figure:
    return _fine(given, replace(look, layers=look.layers or selected_layers(given.n_layers)))


def _boxplot(given: FigureInput, look: Style) -> Figure:
    from rwcore.plots.boxes import boxes_figure

    return boxes_figure(
        letter_values(given.cosines), quartiles(given.cosines), title=given.model, palette_name=look.palette
    )


def _products(given: FigureInput, look: Style) -> Figure:
    from rwcore.plots.products import products_figure

    assert given.products is not None
    return products_figure(given.products, title=given.model, palette_name=look.palette)


def _panels(x: str, y: str, *, pooled: bool) -> Callable[[FigureInput, Style], Figure]:
    """A figure of y against x, a panel per layer or one for all layers; the same limits in both."""

    def draw(given: FigureInput, look: Style) -> Figure:
        from rwcore.plots.histograms import panels_figure
        from rwcore.plots.panels import COSINE_LABELS, NORM_LABELS, layer_titles

        labels = {**COSINE_LABELS, **NORM_LABELS}
        arrays = given.arrays
        layers = range(given.n_layers) if look.layers is None or pooled else look.layers
        a, b = (arrays[name][list(layers)] for name in (x, y))
        return panels_figure(
            a.reshape(1, -1) if pooled else a,
            b.reshape(1, -1) if pooled else b,
            xlabel=labels[x],
            ylabel=labels[y],
            titles=None if pooled else layer_titles(layers),
            log_x=x.startswith("norm"),
            log_y=y.startswith("norm"),
            xlim=_limits(arrays[x], x),
            ylim=_limits(arrays[y], y),
            title=given.model,
            palette_name=look.palette,
        )

    return draw


def _limits(values: Floats, name: str) -> tuple[float, float]:
    """Ends of an axis: over all layers, also when only some are drawn."""
    from rwcore.plots.histograms import norm_limits

    if name.startswith("norm"):
        return norm_limits(values)
    return (-1.0, 1.0) if (values < 0).any() else (0.0, 1.0)


def _pair(name: str, shows: str, x: str, y: str, *, gated: bool | None = None) -> list[FigureKind]:
    return [
        FigureKind(name, f"{shows}, by layer", _panels(x, y, pooled=False), gated, panels=True),
        FigureKind(f"{name}_all_layers", f"{shows}, all layers", _panels(x, y, pooled=True), gated),
    ]


def _kinds() -> Iterator[FigureKind]:
    yield FigureKind("medians", "median cos(in, out) by depth", _medians, default=True)
    yield FigureKind("class_counts", "neurons per layer and class", _class_counts, default=True)
    yield FigureKind(
        "half_coarse", "neurons per layer and bin of cos(in, out)", _half_coarse, gated=False, default=True
    )
    yield FigureKind("fine", "all cosines of all neurons, by layer", _fine, panels=True, null=True)
    yield FigureKind("selected", "the same for a few layers", _selected, True, panels=True, null=True)
    yield FigureKind("boxplot", "letter values of the cosines, by layer", _boxplot)
    yield FigureKind(
        "products",
        "input bias times norm of the input vector, by layer",
        _products,
        default=True,
        biases=True,
    )
    yield from _pair("norms", "‖in‖·‖out‖ against ‖gate‖", "norm_gate", "norm_in_out", gated=True)
    yield from _pair("norm_in_norm_out", "‖out‖ against ‖in‖", "norm_in", "norm_out")
    for norm, gate_needed in (("norm_gate", True), ("norm_in_out", None)):
        for cosine in ("linout", "gateout", "gatelin"):
            gated = True if cosine != "linout" else gate_needed
            yield from _pair(f"{cosine}_{norm}", f"{cosine} against {norm}", norm, cosine, gated=gated)


FIGURES = {kind.name: kind for kind in _kinds()}


def selected_layers(n_layers: int) -> list[int]:
    """First, middle and last layer: 0, 14 and 27 of 28, as published."""
    return sorted({0, n_layers // 2, n_layers - 1})


def published_medians(model: str, *, gated: bool) -> pd.DataFrame | None:
    """The published medians of the other models of the same kind.

    Args:
        model: Id of the model to leave out.
        gated: Whether models with or without a gate are wanted.

    Returns:
        Columns model, layer, median; None outside a checkout, where there are no published tables.
    """
    try:
        path = golden_dir() / PUBLISHED_MEDIANS
    except OptionError:
        return None
    if not path.is_file():
        return None
    same_kind = {one.id for one in registry().values() if one.gated_mlp is gated and one.id != model}
    published = pd.read_csv(path)
    return published.loc[published["model"].isin(same_kind), ["model", "layer", "median"]]
