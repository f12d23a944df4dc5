"""The table of transitions shows the shares it is given."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure

from rwcore.plots.transitions import CELLS, transitions_figure
from rwcore.stats.classes import RW_CLASSES, VANILLA_CLASSES
from rwcore.stats.transitions import class_transitions

NAMES = [one.name for one in VANILLA_CLASSES]


def frame_of(table: list[list[int]], names: list[str] = NAMES) -> pd.DataFrame:
    rows = [(a, b, table[i][j]) for i, a in enumerate(names) for j, b in enumerate(names)]
    frame = pd.DataFrame(rows, columns=["from", "to", "count"])
    return frame.assign(share=frame["count"] / frame.groupby("from")["count"].transform("sum"))


def drawn(figure: Figure) -> np.ma.MaskedArray:
    (image,) = figure.axes[0].images
    assert image.get_gid() == CELLS
    return np.ma.asarray(image.get_array())


def written(figure: Figure) -> dict[tuple[int, int], str]:
    """Texts by (row, column)."""
    texts = [text for text in figure.axes[0].texts if type(text).__name__ == "Text"]
    return {(int(text.get_position()[1]), int(text.get_position()[0])): text.get_text() for text in texts}


def test_rows_are_normalised_and_the_diagonal_has_no_colour() -> None:
    figure = transitions_figure(frame_of([[60, 40, 0], [2, 5, 3], [0, 0, 0]]), first="a", last="b")
    shares = drawn(figure)
    assert shares.mask.tolist() == [[True, False, False], [False, True, False], [True, True, True]]
    np.testing.assert_allclose(shares.compressed(), [0.4, 0.0, 0.2, 0.3])
    (image,) = figure.axes[0].images
    assert image.get_clim() == (0, 1)
    assert image.norm(0.25) == 0.5


def test_every_share_is_written_and_rounding_hides_nobody() -> None:
    table = [[999, 1, 0], [2, 5, 3], [0, 0, 0]]
    assert written(transitions_figure(frame_of(table), first="a", last="b")) == {
        (0, 0): ">.99",
        (0, 1): "<.01",
        (0, 2): "·",
        (1, 0): "0.20",
        (1, 1): "0.50",
        (1, 2): "0.30",
    }


def test_rows_are_from_and_columns_are_to_with_the_numbers_of_neurons() -> None:
    figure = transitions_figure(frame_of([[0, 7, 0], [0, 2000, 0], [0, 0, 0]]), first="early", last="late")
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == NAMES
    assert [label.get_text() for label in axes.get_xticklabels()] == NAMES
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("from: early", "to: late")
    assert [note.get_text() for note in axes.texts if type(note).__name__ == "Annotation"] == [
        "7",
        "2,000",
        "0",
        "neurons",
    ]
    low, high = axes.get_ylim()
    assert low > high  # the first class on top


def test_nothing_moved_and_undefined_neurons_can_be_drawn() -> None:
    codes = torch.tensor([[0, 6, -1]], dtype=torch.int8)
    figure = transitions_figure(class_transitions(codes, codes), first="a", last="a")
    assert len(drawn(figure)) == len(RW_CLASSES) + 1
    assert set(written(figure).values()) == {"1.00", "·"}
    figure.savefig(io.BytesIO())


@pytest.mark.parametrize("palette", ["paper", "accessible"])
def test_marks_have_the_colours_of_the_classes(palette: str) -> None:
    from rwcore.plots.counts import palette as colours_of

    codes = torch.arange(11, dtype=torch.int8)[None]
    figure = transitions_figure(class_transitions(codes, codes), first="a", last="b", palette_name=palette)
    marks = [patch.get_facecolor() for patch in figure.axes[0].patches]
    expected = colours_of(palette).colours
    assert marks == [expected[one.name] for one in RW_CLASSES for _ in range(2)]
