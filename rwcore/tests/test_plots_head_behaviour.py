"""The figure of both scores: its points, its names, and that no name covers another."""

import itertools

import numpy as np
import pandas as pd
import pytest

from rwcore.plots.head_behaviour import head_scores_figure


def scores(seed=0, heads=60):
    generator = np.random.default_rng(seed)
    frame = pd.DataFrame({"layer": np.arange(heads) // 6, "head": np.arange(heads) % 6})
    frame["depth"] = frame["layer"] / frame["layer"].max()
    for name in ("copy_suppression", "anti_induction"):
        frame[name] = generator.normal(0, 0.02, heads)
    frame.loc[45, ["copy_suppression", "anti_induction"]] = 2.0, 1.3
    frame.loc[51, ["copy_suppression", "anti_induction"]] = 1.6, 0.8
    frame.loc[8, ["copy_suppression", "anti_induction"]] = -0.7, -0.4
    return frame


@pytest.mark.parametrize("look", ["paper", "screen"])
@pytest.mark.parametrize("palette", ["paper", "accessible"])
def test_points_and_names(look, palette):
    frame = scores()
    figure = head_scores_figure(frame, title="a $model", look=look, palette_name=palette)
    whole, positive = figure.axes[:2]
    both = frame[(frame["copy_suppression"] > 0) & (frame["anti_induction"] > 0)]
    for axes, rows in ((whole, frame), (positive, both)):
        (points,) = [one for one in axes.collections if one.get_gid() == "heads"]
        assert np.allclose(points.get_offsets(), rows[["copy_suppression", "anti_induction"]])
    assert positive.get_xscale() == positive.get_yscale() == "log"
    names = {text.get_text(): text.xy for text in whole.texts}
    assert names["7.3"] == (2.0, 1.3)
    assert {"7.3", "8.3", "1.2"} == {*names}  # the others are in the thick of it
    assert {"7.3", "8.3"} <= {text.get_text() for text in positive.texts}


@pytest.mark.parametrize("seed", range(4))
def test_no_name_covers_another_or_leaves_its_panel(seed):
    generator = np.random.default_rng(seed)
    frame = scores(seed).assign(
        copy_suppression=generator.lognormal(-3, 2, 60), anti_induction=generator.lognormal(-3, 2, 60)
    )
    figure = head_scores_figure(frame)
    figure.draw_without_rendering()
    for axes in figure.axes[:2]:
        boxes = [text.get_window_extent() for text in axes.texts]
        assert boxes
        assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
        frame_box = axes.get_window_extent()
        assert all(frame_box.x0 <= box.x0 and box.x1 <= frame_box.x1 for box in boxes)


def test_one_panel_without_heads_positive_in_both():
    frame = scores().assign(anti_induction=-1.0)
    figure = head_scores_figure(frame)
    assert len(figure.axes) == 2  # the panel and the scale
    assert figure.axes[0].get_xscale() == "linear"
