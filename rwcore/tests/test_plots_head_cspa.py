"""Figures of copy-suppression-preserving ablations: what is drawn is what the tables say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rwcore.heads.cspa import NEGATIVE, QK, VARIANTS
from rwcore.plots.head_cspa import cspa_line_figure, cspa_scatter_figure
from rwcore.plots.style import Look

GENERATOR = np.random.default_rng(0)


def named(axes: Axes) -> dict[str, Artist]:
    return {str(one.get_gid()): one for one in axes.get_children() if one.get_gid()}


def line() -> pd.DataFrame:
    kl = np.sort(10 ** GENERATOR.normal(-4, 1, 20))
    kl[0] = 0
    parts = [
        pd.DataFrame({"variant": variant, "kl_mean_ablation": kl, "kl": kl * share})
        for variant, share in zip(VARIANTS, (0.5, 0.4, 0.3, 0.2), strict=True)
    ]
    return pd.concat(parts, ignore_index=True)


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
        cspa_line_figure(line(), look=look, palette_name="accessible", title="a_model"),
        cspa_scatter_figure(some, some / 2, variant=QK, look=look),
        cspa_scatter_figure(some[:0], some[:0], variant=QK, look=look),
    ]
    for figure in figures:
        figure.draw_without_rendering()
        assert figure.axes[0].has_data()
