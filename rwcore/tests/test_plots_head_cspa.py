"""Figures of copy-suppression-preserving ablations: what is drawn is what the tables say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rwcore.heads.cspa import NEGATIVE, QK, VARIANTS
from rwcore.plots.head_cspa import cspa_heads_figure
from rwcore.plots.head_cspa_tokens import cspa_line_figure, cspa_scatter_figure
from rwcore.plots.style import Look

GENERATOR = np.random.default_rng(0)


def named(axes: Axes) -> dict[str, Artist]:
    return {str(one.get_gid()): one for one in axes.get_children() if one.get_gid()}


def heads() -> pd.DataFrame:
    rows = [
        (layer, head, variant, 0.01) for layer in (3, 4, 5) for head in range(4) for variant in (NEGATIVE, QK)
    ]
    table = pd.DataFrame(rows, columns=["layer", "head", "variant", "explained"])
    place = table.set_index(["layer", "head", "variant"])
    place.loc[(4, 2, NEGATIVE)] = 0.75
    place.loc[(5, 0, NEGATIVE)] = np.nan
    place.loc[(3, 1, QK)] = 0.5
    return place.reset_index()


def line() -> pd.DataFrame:
    kl = np.sort(10 ** GENERATOR.normal(-4, 1, 20))
    kl[0] = 0
    parts = [
        pd.DataFrame({"variant": variant, "kl_mean_ablation": kl, "kl": kl * share})
        for variant, share in zip(VARIANTS, (0.5, 0.4, 0.3, 0.2), strict=True)
    ]
    return pd.concat(parts, ignore_index=True)


def test_cells_are_the_shares_of_the_variant() -> None:
    figure = cspa_heads_figure(heads(), variant=NEGATIVE, title="m")
    axes = figure.axes[0]
    cells = np.ma.filled(axes.images[0].get_array(), np.nan)  # type: ignore[arg-type]
    expected = np.full((3, 4), 0.01)
    expected[1, 2], expected[2, 0] = 0.75, np.nan
    np.testing.assert_allclose(cells, expected)
    assert [(text.get_position(), text.get_text()) for text in axes.texts] == [((2, 4), "75")]
    assert axes.get_yticks().tolist() == [3, 4, 5]


def test_lines_are_the_bins_and_the_diagonal_is_no_share() -> None:
    table = line()
    drawn = named(cspa_line_figure(table).axes[0])
    assert {*VARIANTS, "diagonal"} <= {*drawn}
    for variant in VARIANTS:
        rows = table[table["variant"] == variant]
        x, y = drawn[variant].get_data()  # type: ignore[attr-defined]
        np.testing.assert_allclose(x[1:], rows["kl_mean_ablation"][1:])
        np.testing.assert_allclose(y[1:], rows["kl"][1:])
        assert x[0] == y[0] == 1e-7  # nothing is lost on a logarithmic axis
    x, y = drawn["diagonal"].get_data()  # type: ignore[attr-defined]
    assert list(x) == list(y)


def test_dots_are_the_predictions() -> None:
    x, y = np.array([0.1, -2.0, np.nan, 0.3]), np.array([0.0, -1.0, np.nan, 0.2])
    axes = cspa_scatter_figure(x, y, variant=NEGATIVE).axes[0]
    dots = named(axes)["tokens"].get_offsets()  # type: ignore[attr-defined]
    np.testing.assert_allclose(dots, np.stack([x, y], axis=1)[[0, 1, 3]])
    assert axes.get_xlim() == axes.get_ylim() == pytest.approx((-2.1, 2.1))
    assert "negative only" in axes.get_ylabel()


@pytest.mark.parametrize("look", ["paper", "screen"])
def test_every_figure_draws_in_both_looks(look: Look) -> None:
    some = np.linspace(-1, 1, 5)
    figures: list[Figure] = [
        cspa_heads_figure(heads(), variant=QK, look=look, title="a_model"),
        cspa_heads_figure(heads().head(1), variant=NEGATIVE, look=look),
        cspa_line_figure(line(), look=look, palette_name="accessible", title="a_model"),
        cspa_scatter_figure(some, some / 2, variant=QK, look=look),
        cspa_scatter_figure(some[:0], some[:0], variant=QK, look=look),
    ]
    for figure in figures:
        figure.draw_without_rendering()
        assert figure.axes[0].has_data()
