"""The figure of rates shows the numbers of the table."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from rwcore.ablation.compare import RunLabel
from rwcore.attributes.tables import layer_table
from rwcore.plots.attribute_rates import attribute_rates_figure
from rwcore.plots.counts import palette
from rwcore.plots.style import over_white

SET = RunLabel("weakening", "zero")
OTHER = RunLabel("weakening", "mean", gate="-")


def table() -> pd.DataFrame:
    generator = torch.Generator().manual_seed(0)
    clean, *runs = (100 * torch.rand(12, 7, generator=generator) for _ in range(4))
    labels = [SET, replace(SET, baseline=True), OTHER]
    return layer_table(clean, runs, torch.arange(12), labels, draws=50)


def found(figure: Figure, panel: int = 0) -> dict[str, Any]:
    axes = figure.axes[panel]
    return {one.get_gid(): one for one in (*axes.lines, *axes.collections) if one.get_gid()}


def rows(numbers: pd.DataFrame, name: str) -> pd.DataFrame:
    chosen = numbers["set"] == "clean"
    if name != "clean":
        chosen = (numbers["mode"] == "zero") & (numbers["baseline"] == (name == "baseline"))
    return numbers[chosen & (numbers["layer"] >= 0)]


@pytest.mark.parametrize("name", ["clean", "set", "baseline"])
def test_lines_and_bands_are_the_numbers(name: str) -> None:
    numbers = table()
    drawn, wanted = found(attribute_rates_figure(numbers, SET)), rows(numbers, name)
    assert drawn[name].get_xdata().tolist() == [0, 1, 2, 3, 4, 5]
    assert drawn[name].get_ydata().tolist() == wanted["rate"].tolist()
    corners = drawn[f"band:{name}"].get_paths()[0].vertices
    for layer, low, high in wanted[["layer", "low", "high"]].itertuples(index=False):
        at = corners[corners[:, 0] == layer][:, 1]
        np.testing.assert_allclose([at.min(), at.max()], [low, high])


@pytest.mark.parametrize("name", ["set", "baseline"])
def test_differences_have_a_panel_of_their_own(name: str) -> None:
    numbers = table()
    drawn, wanted = found(attribute_rates_figure(numbers, SET), panel=1), rows(numbers, name)
    assert {*drawn} == {"set", "band:set", "baseline", "band:baseline"}
    assert drawn[name].get_ydata().tolist() == wanted["difference"].tolist()
    corners = drawn[f"band:{name}"].get_paths()[0].vertices
    for layer, low, high in wanted[["layer", "difference_low", "difference_high"]].itertuples(index=False):
        at = corners[corners[:, 0] == layer][:, 1]
        np.testing.assert_allclose([at.min(), at.max()], [low, high])


def test_a_part_of_a_class_has_its_colour() -> None:
    part = RunLabel("weakening@24", "zero")
    drawn = found(attribute_rates_figure(table().replace({"set": {SET.set: part.set}}), part))
    assert to_rgb(drawn["set"].get_color()) == over_white(palette("paper").colours["weakening"])


def test_one_set_and_mode_is_drawn() -> None:
    numbers = table()
    assert {*found(attribute_rates_figure(numbers))} == {"clean", "band:clean"}
    other = found(attribute_rates_figure(numbers, OTHER))
    assert {*other} == {"clean", "set", "band:clean", "band:set"}
    wanted = numbers[(numbers["mode"] == "mean") & (numbers["layer"] >= 0)]
    assert other["set"].get_ydata().tolist() == wanted["rate"].tolist()


def test_a_table_from_a_file_gives_the_same(tmp_path: Any) -> None:
    numbers = table()
    numbers.to_csv(tmp_path / "rates.csv", index=False)
    read = pd.read_csv(tmp_path / "rates.csv")
    ours, theirs = (found(attribute_rates_figure(one, SET)) for one in (numbers, read))
    assert {*ours} == {*theirs}
    np.testing.assert_allclose(ours["set"].get_ydata(), theirs["set"].get_ydata())


@pytest.mark.parametrize("name", ["paper", "accessible"])
def test_the_set_has_the_colour_of_its_class_and_no_two_lines_look_alike(name: Any) -> None:
    figure = attribute_rates_figure(table(), SET, palette_name=name, title="a_model")
    drawn = found(figure)
    assert to_rgb(drawn["set"].get_color()) == over_white(palette(name).colours["weakening"])
    assert len({drawn[line].get_linestyle() for line in ("clean", "set", "baseline")}) == 3
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["clean", "random neurons of the same layers", "weakening, set to zero"]
    assert figure.axes[0].get_title() == "a_model"
    assert figure.axes[0].get_ylim()[0] == 0


def test_without_intervals_there_are_lines() -> None:
    """One subject: the bands are empty, nothing fails."""
    generator = torch.Generator().manual_seed(0)
    clean = 100 * torch.rand(3, 5, generator=generator)
    numbers = layer_table(clean, [clean], torch.zeros(3, dtype=torch.int64), [SET], draws=5)
    figure = attribute_rates_figure(numbers, SET, look="screen")
    figure.canvas.draw()
    assert np.isfinite(np.asarray(found(figure)["set"].get_ydata())).all()
