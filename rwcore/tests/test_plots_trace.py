"""The figures of traces: bars, lines, diamonds and labels show the numbers of the table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from rwcore.ablation.direct import Direct
from rwcore.ablation.interventions import Ablation, Intervention
from rwcore.ablation.last import Prediction
from rwcore.ablation.trace import Trace
from rwcore.neurons import NeuronSet
from rwcore.plots.counts import palette
from rwcore.plots.style import over_white
from rwcore.plots.trace import (
    LONGEST_TOKEN,
    METRICS,
    MOST_NEURONS,
    MOST_POSITIONS,
    drawable,
    trace_layers_figure,
    trace_neurons_figure,
    trace_positions_figure,
    trace_strongest_figure,
)
from rwcore.studies.trace_tables import part, trace_table, with_names

FIGURES = (trace_layers_figure, trace_positions_figure, trace_neurons_figure, trace_strongest_figure)
PAIRS = [(layer, 3 * layer + place) for layer in (0, 2, 3) for place in range(9)]
NEURONS = NeuronSet.of("made up", PAIRS)
CLASSES = ("weakening", "strengthening", "undefined")


def made(entropy: float) -> Prediction:
    return Prediction(entropy, 1, 20 - 1.5 * entropy, 0.5, 0)


def table(positions: int = 6) -> pd.DataFrame:
    """Every number another one, so that none can stand for another."""
    trace = Trace(
        2,
        made(1.0),
        made(4.0),
        by_layer={layer: made(1.1 + 0.1 * layer) for layer in (0, 2, 3)},
        up_to={layer: made(1.2 + 0.9 * layer) for layer in (0, 2, 3)},
        since={layer: made(4.1 - 0.8 * layer) for layer in (0, 2, 3)},
        by_position={at: made(1.0 + 0.05 * (at * 7 % positions)) for at in range(positions)},
        direct=Direct(made(0.93), made(0.97)),
        by_neuron={pair: made(1.9 - 0.04 * place) for place, pair in enumerate(PAIRS)},
        strongest={n: made(1.3 + 0.1 * n) for n in (1, 2, 4, 8, 16, 27)},
        all_but={pair: made(3.9 - 0.06 * place) for place, pair in enumerate(PAIRS[:5])},
    )
    signs = torch.ones(4, 24, dtype=torch.int8)
    numbers = trace_table(trace, Ablation.of(NEURONS, Intervention("zero"), signs=signs))
    classes = {pair: CLASSES[place % 3] for place, pair in enumerate(PAIRS)}
    return with_names(
        numbers, [place % 5 for place in range(positions)], ["a$b", "␣x", "中", "_", "w" * 40], classes
    )


def bars(axes: Any) -> dict[str, Any]:
    return {str(one.get_gid()): one for one in axes.patches if one.get_gid()}


def lines(axes: Any) -> dict[str, Any]:
    return {str(one.get_gid()): one for one in axes.lines if one.get_gid()}


def panels(figure: Figure) -> list[tuple[Any, str]]:
    return list(zip(figure.axes, METRICS, strict=True))


def test_layers_are_bars_and_cumulative_lines() -> None:
    frame = table()
    for axes, metric in panels(trace_layers_figure(frame, target="␣x")):
        alone = part(frame, "layer")
        found = bars(axes)
        assert list(found) == ["layer:0", "layer:2", "layer:3"]
        for layer, value in zip(alone["layer"], alone[metric], strict=True):
            bar = found[f"layer:{layer}"]
            assert bar.get_height() == pytest.approx(value)
            assert bar.get_x() + bar.get_width() / 2 == pytest.approx(layer)
        for name, steps in (("up_to", "steps-post"), ("since", "steps-pre")):
            line = lines(axes)[name]
            assert list(line.get_xdata()) == [0, 2, 3]
            assert list(line.get_ydata()) == pytest.approx(part(frame, name)[metric].tolist())
            assert line.get_drawstyle() == steps, "a layer without neurons is like its neighbour"
    assert [axes.get_ylabel() for axes in trace_layers_figure(frame, target="␣x").axes] == [
        "Δ entropy (nats)",
        "Δ logit of ␣x",
    ]


@pytest.mark.parametrize("draw", [trace_layers_figure, trace_positions_figure, trace_strongest_figure])
def test_levels_are_the_whole_and_the_direct_effect(draw: Callable[..., Figure]) -> None:
    frame = table()
    coordinate = "get_xdata" if draw is trace_positions_figure else "get_ydata"
    for axes, metric in panels(draw(frame)):
        for name, gid in (("ablated", "whole"), ("direct_frozen", "direct")):
            assert set(getattr(lines(axes)[gid], coordinate)()) == {part(frame, name)[metric].iloc[0]}
    bare = frame[~frame["part"].str.startswith("direct")]
    assert "direct" not in lines(draw(bare).axes[0])
    texts = [text.get_text() for text in draw(bare).legends[0].get_texts()]
    assert "whole ablation" in texts
    assert "direct contribution taken away" not in texts


def test_positions_have_their_tokens() -> None:
    frame = table()
    figure = trace_positions_figure(frame)
    rows = part(frame, "position")
    for axes, metric in panels(figure):
        found = bars(axes)
        assert [bar.get_width() for bar in found.values()] == pytest.approx(rows[metric].tolist())
        assert list(found) == [f"position:{at}" for at in range(6)]
        low, high = axes.get_ylim()
        assert low > high, "the first position is on top"
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert labels == ["a$b  0", "␣x  1", "⟨U+4E2D⟩  2", "_  3", f"{'w' * (LONGEST_TOKEN - 1)}…  4", "a$b  5"]


def test_of_a_long_prompt_the_positions_where_most_happens() -> None:
    frame = table(positions=80)
    figure = trace_positions_figure(frame)
    rows = part(frame, "position")
    kept = [int(name.split(":")[1]) for name in bars(figure.axes[0])]
    assert len(kept) == MOST_POSITIONS
    assert kept == sorted(kept)
    sizes = rows["delta_entropy"].abs()
    assert sizes[kept].min() >= sizes.drop(kept).max()
    assert "20 with less are left out" in figure.legends[0].get_texts()[0].get_text()


@pytest.mark.parametrize("palette_name", ["paper", "accessible"])
def test_neurons_have_their_class_and_what_is_lost_without_them(palette_name: Any) -> None:
    frame = table()
    figure = trace_neurons_figure(frame, palette_name=palette_name)
    rows = part(frame, "neuron").head(MOST_NEURONS)
    without = part(frame, "all_but")
    colours = palette(palette_name).colours
    for axes, metric in panels(figure):
        whole = part(frame, "ablated")[metric].iloc[0]
        found = bars(axes)
        for row in rows.to_dict("records"):
            bar = found.pop(f"neuron:{row['layer']}.{row['neuron']}")
            assert bar.get_width() == pytest.approx(row[metric])
            assert to_rgb(bar.get_facecolor()) == pytest.approx(over_white(colours[row["class"]]))
        assert not found
        diamonds = {name: line for name, line in lines(axes).items() if name.startswith("without:")}
        assert len(diamonds) == len(without) == 5
        for row in without.to_dict("records"):
            diamond = diamonds[f"without:{row['layer']}.{row['neuron']}"]
            assert diamond.get_xdata()[0] == pytest.approx(whole - row[metric])
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert labels == [f"{layer}.{neuron}" for layer, neuron in PAIRS[:MOST_NEURONS]]
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == [*(f"{name}, ablated alone" for name in CLASSES), "whole ablation − all but this one"]


def test_the_strongest_together() -> None:
    frame = table()
    for axes, metric in panels(trace_strongest_figure(frame)):
        curve = lines(axes)["strongest"]
        assert list(curve.get_xdata()) == [1, 2, 4, 8, 16, 27]
        assert list(curve.get_ydata()) == pytest.approx(part(frame, "strongest")[metric].tolist())
        assert axes.get_xscale() == "log"
        assert [text.get_text() for text in axes.get_xticklabels()] == ["1", "2", "4", "8", "16", "27"]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("draw", FIGURES)
def test_any_text_and_hardly_any_rows_can_be_drawn(draw: Callable[..., Figure]) -> None:
    frame = table()
    first = frame.groupby("part", sort=False).head(1)
    for figure in (draw(frame, target="$\\frac", title="$x_"), draw(first, look="screen")):
        figure.draw_without_rendering()  # a text that is no formula, or one bar, must not raise
        assert all(axes.has_data() for axes in figure.axes)


def test_what_a_font_lacks_is_spelt() -> None:
    assert drawable("é␣⏎") == "é␣⏎"
    assert drawable("中a") == "⟨U+4E2D⟩a"
    assert len(drawable("x" * 100)) == LONGEST_TOKEN
