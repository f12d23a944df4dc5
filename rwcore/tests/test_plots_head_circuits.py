"""Figures of circuits: each cell, line and bar where it belongs."""

import numpy as np
import pandas as pd

from rwcore.heads.circuit_statistics import rank_edges
from rwcore.plots.head_circuit_lists import token_bars_figure
from rwcore.plots.head_circuits import rank_histograms_figure


def test_a_line_for_each_head():
    edges = rank_edges(24)
    shares = {"1.1": np.array([1.0, 0, 0, 0, 0, 0]), "1.0": np.array([0, 0, 0, 0, 0, 1.0])}
    axes = rank_histograms_figure(shares, edges, "rank").axes[0]
    lines = {patch.get_gid(): patch.get_data().values.tolist() for patch in axes.patches}
    assert lines == {f"head:{name}": values.tolist() for name, values in shares.items()}
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0", "1", "2–4", "5–9", "10–19", "20–23"]


def test_bars_and_places_of_tokens():
    rows = [(5, "suppressed", 1, 5, -2.0), (5, "suppressed", 2, 7, -1.0), (5, "suppressed", 9, 3, 0.5)]
    lists = pd.DataFrame(rows, columns=["token", "list", "place", "other", "value"])
    lists = lists.assign(circuit="OV", focus="source", layer=1, head=1)
    axes = token_bars_figure(lists, lambda token: f"w{token}").axes[0]
    assert axes.get_gid() == "OV:source:suppressed"
    assert [bar.get_width() for bar in axes.patches] == [-2, -1, 0.5]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["w5", "w7", "w3 (#9)"]
    assert axes.patches[0].get_facecolor() != axes.patches[1].get_facecolor()
