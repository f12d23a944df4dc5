"""The list of figures: which exist for which model, which are meant, and that each can be drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure

from rwcore.errors import OptionError
from rwcore.stats.cosines import RWCosines, WeightStatistics
from rwcore.studies.figure_kinds import FIGURES, FigureInput, published_medians, selected_layers
from rwcore.studies.figures import check_layers, draw, resolve

N_LAYERS, N_NEURONS = 5, 60


def made(gated: bool, *, plain: bool = False) -> FigureInput:
    """Random statistics with two undefined neurons; ``plain``: classes of cos(in, out) alone."""
    rng = np.random.default_rng(4)

    def values(low: float, high: float) -> torch.Tensor:
        array = rng.uniform(low, high, (N_LAYERS, N_NEURONS)).astype(np.float32)
        array[1, :2] = np.nan
        return torch.from_numpy(array)

    cosines = RWCosines(values(0, 1) if gated else None, values(-1, 1) if gated else None, values(-1, 1))
    norms = values(0.5, 4)
    norms[1, 0] = 0
    statistics = WeightStatistics(cosines, norms if gated else None, values(0.5, 2), values(0.5, 3))
    regions = pd.DataFrame(
        [(layer, name, -0.2, 0.2) for layer in range(N_LAYERS) for name in cosines.present()],
        columns=["layer", "cosine", "low", "high"],
    )
    products = None if gated else _products()
    return FigureInput("org/name", 64, statistics, gated and not plain, regions, products)


def _products() -> pd.DataFrame:
    """Quantiles of bias times norm by layer, of a model with input biases."""
    rng = np.random.default_rng(5)
    boxes = pd.DataFrame(
        np.sort(rng.normal(-1, 1, (N_LAYERS, 5)), axis=1), columns=["low", "q1", "median", "q3", "high"]
    )
    return boxes.assign(layer=range(N_LAYERS), relative=boxes["median"] / boxes["median"].abs().max())


def drawn(given: FigureInput, name: str, **options: Any) -> Figure:
    ((found, figure),) = draw(given, [name], **options)
    assert found == name
    return figure


def cells(figure: Figure, panel: int = 0) -> np.ndarray:
    return np.ma.filled(figure.axes[panel].images[0].get_array(), 0)


def test_the_list_has_the_originals_figures() -> None:
    panels = ["norms", "norm_in_norm_out"]
    for norm in ("norm_gate", "norm_in_out"):
        panels += [f"{cosine}_{norm}" for cosine in ("linout", "gateout", "gatelin")]
    both = [name for panel in panels for name in (panel, f"{panel}_all_layers")]
    first = ["medians", "class_counts", "half_coarse", "fine", "selected", "boxplot", "products"]
    assert [*FIGURES] == [*first, *both]


@pytest.mark.parametrize("gated", [True, False])
def test_every_figure_there_is_can_be_drawn(gated: bool) -> None:
    # Traps X13 and X14: one list; what a model has no numbers for is left out, and everything else is drawn.
    found = dict(draw(made(gated), ["all"]))
    there = {name for name, kind in FIGURES.items() if kind.missing(gated=gated, biases=not gated) is None}
    assert [*found] == [name for name in FIGURES if name in there]
    assert all(isinstance(figure, Figure) for figure in found.values())
    assert len(found) == (21 if gated else 10)


def test_a_gated_model_with_plain_classes_has_the_figures_of_plain_ones() -> None:
    given = made(True, plain=True)
    plain = [name for name, _ in draw(made(False), ["all"])]
    assert [name for name, _ in draw(given, ["all"])] == [name for name in plain if name != "products"]
    assert len(drawn(given, "fine").axes) == 2  # one histogram of all layers and its colour bar
    assert len(drawn(given, "boxplot").axes) == 1


def test_default_figures_are_few_and_differ_by_classes() -> None:
    gated, skipped = resolve(["default"], gated=True)
    assert gated == ["medians", "class_counts"]
    assert [*skipped] == ["half_coarse", "products"]
    plain = ["medians", "class_counts", "half_coarse"]
    assert resolve(["default"], gated=False, biases=True) == ([*plain, "products"], {})
    assert resolve(["default"], gated=False) == (plain, {"products": "the MLP has no input biases"})


def test_figures_are_drawn_once_and_in_one_order() -> None:
    names, _ = resolve(["boxplot", "coarse", "medians", "boxplot", "default"], gated=True)
    assert names == ["medians", "class_counts", "boxplot"]
    assert resolve([], gated=True) == ([], {})


def test_all_says_what_it_left_out_and_why() -> None:
    names, skipped = resolve(["all"], gated=False)
    assert "norms" not in names
    assert skipped["norms"] == "it shows gated neurons"
    assert {*names, *skipped} == {*FIGURES}


@pytest.mark.parametrize(
    ("word", "gated", "what", "remedy"),
    [
        ("medain", True, "no figure 'medain'", "did you mean medians"),
        ("xyz", True, "no figure 'xyz'", "figures: all, default, medians"),
        ("gatelin_norm_gate", False, "does not exist for plain classes", "'all'"),
        ("selected", False, "does not exist for plain classes", "'all'"),
        ("half_coarse", True, "does not exist for gated classes", "--classes plain"),
        ("products", False, "does not exist for this model: the MLP has no input biases", "'all'"),
    ],
)
def test_figures_that_do_not_exist_are_named(word: str, gated: bool, what: str, remedy: str) -> None:
    with pytest.raises(OptionError, match=what) as caught:
        resolve(["medians", word], gated=gated)
    assert caught.value.where == "--plots"
    assert remedy in (caught.value.remedy or "")


@pytest.mark.parametrize("layers", [[5], [0, -1], [], ["1"]])
def test_layers_out_of_range_are_refused_with_the_range(layers: list[Any]) -> None:
    with pytest.raises(OptionError) as caught:
        check_layers(layers, N_LAYERS)
    assert caught.value.where == "--layers"
    assert "from 0 to 4" in (caught.value.remedy or "")
    with pytest.raises(OptionError):
        [*draw(made(True), ["fine"], layers=layers)]


def test_layers_are_taken_once_in_the_order_given() -> None:
    assert check_layers([3, 0, 3], N_LAYERS) == [3, 0]
    assert check_layers(None, N_LAYERS) is None


@pytest.mark.parametrize("name", ["fine", "selected", "norms", "linout_norm_gate"])
def test_chosen_layers_are_the_panels(name: str) -> None:
    figure = drawn(made(True), name, layers=[4, 1])
    assert [axes.get_title() for axes in figure.axes[:2]] == ["Layer 4", "Layer 1"]
    assert len([axes for axes in figure.axes if axes.get_title()]) == 2


def test_a_choice_of_layers_that_nothing_follows_is_refused() -> None:
    with pytest.raises(OptionError, match="no figure asked for"):
        [*draw(made(True), ["medians", "norms_all_layers"], layers=[1])]


def test_selected_layers_are_the_first_middle_and_last() -> None:
    assert selected_layers(28) == [0, 14, 27]  # as published for Llama-3.2-3B
    assert selected_layers(2) == [0, 1]
    assert selected_layers(1) == [0]
    titles = [axes.get_title() for axes in drawn(made(True), "selected").axes]
    assert titles == ["Layer 0", "Layer 2", "Layer 4"]


@pytest.mark.parametrize(
    ("name", "x", "y"),
    [
        ("norms", "norm_gate", "norm_in_out"),
        ("norm_in_norm_out", "norm_in", "norm_out"),
        ("gateout_norm_gate", "norm_gate", "gateout"),
        ("gatelin_norm_in_out", "norm_in_out", "gatelin"),
    ],
)
def test_panels_show_what_their_name_says(name: str, x: str, y: str) -> None:
    given = made(True)
    figure = drawn(given, name)
    for layer in (0, 3):
        axes = figure.axes[layer]
        a, b = (given.arrays[which][layer].astype(np.float64) for which in (x, y))
        assert axes.get_xscale() == "log"
        log_y = y.startswith("norm")
        assert axes.get_yscale() == ("log" if log_y else "linear")
        x_edges = np.geomspace(*axes.get_xlim(), 101)
        y_edges = (np.geomspace if log_y else np.linspace)(*axes.get_ylim(), 101)
        expected, *_ = np.histogram2d(b, a, (y_edges, x_edges))
        np.testing.assert_array_equal(cells(figure, layer), expected)
    assert figure.axes[0].get_ylim()[0] == (-1 if y == "gateout" else figure.axes[0].get_ylim()[0])


def test_all_layers_together_are_the_sum_of_the_panels() -> None:
    given = made(True)
    by_layer, together = drawn(given, "linout_norm_gate"), drawn(given, "linout_norm_gate_all_layers")
    np.testing.assert_array_equal(cells(together), sum(cells(by_layer, layer) for layer in range(N_LAYERS)))
    # Zero and undefined norms have no logarithm: 2 neurons.
    assert cells(together).sum() == N_LAYERS * N_NEURONS - 2
    assert by_layer.axes[0].get_xlim() == together.axes[0].get_xlim()


def test_chosen_layers_keep_the_axes_of_all_layers() -> None:
    given = made(True)
    assert drawn(given, "norms", layers=[2]).axes[0].get_xlim() == drawn(given, "norms").axes[0].get_xlim()


def test_folded_cosines_have_an_axis_from_zero() -> None:
    assert drawn(made(True), "gatelin_norm_gate").axes[0].get_ylim() == (0, 1)
    assert drawn(made(True), "linout_norm_gate").axes[0].get_ylim() == (-1, 1)


def test_the_fine_plot_shows_the_analytic_region_without_measured_ones() -> None:
    given = made(True)
    without = FigureInput(given.model, given.d_model, given.statistics, True, None)
    gids = {line.get_gid() for line in drawn(without, "fine").axes[0].lines}
    assert gids == {"beta:gateout", "beta:linout", "beta:gatelin"}
    gids = {line.get_gid() for line in drawn(given, "fine").axes[0].lines}
    assert {gid.partition(":")[0] for gid in gids} == {"beta", "mismatched"}


def test_unknown_palettes_are_refused() -> None:
    with pytest.raises(OptionError, match="rainbow"):
        [*draw(made(True), ["fine"], palette="rainbow")]  # type: ignore[arg-type]


def test_the_palette_reaches_the_figures() -> None:
    given = made(True)
    for name in ("fine", "norms"):
        assert drawn(given, name, palette="accessible").axes[0].images[0].get_cmap().name == "cividis"
        assert drawn(given, name).axes[0].images[0].get_cmap().name == "viridis"
    fills = [
        drawn(given, "class_counts", palette=palette).axes[0].containers[0][0].get_facecolor()  # type: ignore[index]
        for palette in ("paper", "accessible")
    ]
    assert fills[0] != fills[1]


def test_published_medians_are_those_of_other_models_of_the_same_kind(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gated, plain = (published_medians("gpt2", gated=gate) for gate in (True, False))
    assert gated is not None
    assert plain is not None
    assert gated["model"].nunique() == 12
    assert plain["model"].nunique() == 23
    assert "gpt2" not in set(plain["model"])
    monkeypatch.setenv("RWCORE_ROOT", str(tmp_path))
    assert published_medians("gpt2", gated=True) is None
    (tmp_path / "claims").mkdir()
    (tmp_path / "golden").mkdir()
    assert published_medians("gpt2", gated=True) is None
