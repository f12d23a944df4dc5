"""All figures of a model of OLMo-7B's size, from its statistics to PDF and PNG files."""

from __future__ import annotations

from rwcore.benchmarks.measure import fresh_process

ALL_FIGURES = """
import sys
from pathlib import Path
import numpy as np
import pandas as pd
import torch
from rwcore.stats.cosines import RWCosines, WeightStatistics
from rwcore.studies.figure_kinds import FIGURES, FigureInput
from rwcore.studies.figures import draw
from rwcore.studies.folder import save_figure

n_layers, n_neurons, gated = 32, 11008, sys.argv[2] == "gated"
rng = np.random.default_rng(0)

# Clouds as wide as those of real models, so that as many cells are filled: a core and two arms per layer.
centre = rng.choice([-0.4, 0.0, 0.35], size=(n_layers, n_neurons), p=[0.1, 0.6, 0.3])
def cosine(weight):
    spread = np.where(centre == 0, 0.08, 0.2) * rng.standard_normal(centre.shape)
    return torch.from_numpy(np.clip(weight * centre + spread, -1, 1).astype(np.float32))
def norm():
    return torch.from_numpy(np.exp(0.3 * rng.standard_normal(centre.shape)).astype(np.float32))
cosines = RWCosines(cosine(0.2).abs() if gated else None, cosine(0.6) if gated else None, cosine(1.0))
statistics = WeightStatistics(cosines, norm() if gated else None, norm(), norm())
regions = pd.DataFrame(
    [(layer, name, -0.035, 0.035) for layer in range(n_layers) for name in cosines.present()],
    columns=["layer", "cosine", "low", "high"],
)
folder = Path(sys.argv[1])
given = FigureInput("synthetic", 4096, statistics, gated, regions)
n_figures = 0
for name, figure in draw(given, ["all"]):
    save_figure(figure, folder / name)
    n_figures += 1
assert n_figures == sum(kind.missing(gated=gated) is None for kind in FIGURES.values())
"""


def test_all_figures_of_a_gated_model_of_olmo_7b_size(benchmark, tmp_path):
    """32 × 11008 neurons, 21 figures as PDF and PNG, in a fresh process: 60 s and 1 GiB."""
    measured = benchmark.pedantic(fresh_process, args=(ALL_FIGURES, str(tmp_path), "gated"), rounds=1)
    written = [path.stat().st_size for path in tmp_path.iterdir()]
    benchmark.extra_info |= {
        "peak_gib": measured["peak_bytes"] / 2**30,
        "largest_file_mib": max(written) / 2**20,
        "target_seconds": 60,
        "target_gib": 1.0,
    }


def test_all_figures_of_a_model_without_gates_of_that_size(benchmark, tmp_path):
    """The same without a gate."""
    measured = benchmark.pedantic(fresh_process, args=(ALL_FIGURES, str(tmp_path), "plain"), rounds=1)
    benchmark.extra_info |= {
        "peak_gib": measured["peak_bytes"] / 2**30,
        "target_seconds": 60,
        "target_gib": 1.0,
    }
