"""Ranks of own tokens in OV: SmolLM2's heads in time and memory, and rows of one against the whole matrix."""

from __future__ import annotations

import pytest
import torch

from rwcore.benchmarks.measure import PACKAGED, fresh_process, interleaved, packaged_model, seconds
from rwcore.benchmarks.reference.head_circuits import whole_matrix_ranks
from rwcore.heads.circuits import diagonal_ranks, sampled_tokens

HEADS, VOCAB, WIDTH = 270, 49152, 64
SLICE = 4096
"""Rows of the slice: the whole matrix of these in float64 takes 1.6 GB."""

# Everything a person waits for, from the files on; nothing is taken from the cache. It leaves the seconds of
# processor time that the ranks took, embedding included, in the store's folder.
RANKS = """
import sys
import time
from pathlib import Path
from rwcore.models.locate import locate
from rwcore.models.registry import find
from rwcore.store import Store
from rwcore.studies.forward import ForwardOptions
from rwcore.studies.head_circuits import CircuitOptions, CircuitStudy, OV
from rwcore.studies.weights import weight_study

_, name, store, layers, rows = sys.argv
weights = weight_study(locate(find(name)), store=Store(Path(store)))
start = time.process_time()
heads = None
if layers != "all":
    of_layer = CircuitStudy(weights).shape.n_heads
    heads = tuple((int(layer), head) for layer in layers.split(",") for head in range(of_layer))
number = None if rows == "all" else int(rows)
options = CircuitOptions(circuits=(OV,), rows=number, heads=heads)
study = CircuitStudy(weights, options, ForwardOptions(threads=1))
found = study.statistics(study.ranks(OV))
Path(store, "cost").write_text(f"{time.process_time() - start} {len(found)}")
"""
# What the exact ranks took when all layers were loaded: the libraries and the processed model.
NEITHER = """
import sys
from rwcore.models.load import load_bridge
from rwcore.models.locate import locate
from rwcore.models.registry import find

model = load_bridge(locate(find(sys.argv[1])))
"""


@pytest.fixture(scope="module")
def factors():
    """Of the size of SmolLM2's heads."""
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(VOCAB, WIDTH, generator=generator) for _ in range(2))


def test_ratio_against_the_whole_matrix(benchmark, factors):
    """Some rows of one head: tiles against the whole matrix in float64; five times as fast."""
    left, right = factors
    own = torch.arange(SLICE)

    def ours():
        return diagonal_ranks(left[:SLICE], right, own)

    def reference():
        return whole_matrix_ranks(left[:SLICE], right, own)

    found = ours()
    apart = (found.rank - reference()).abs()
    assert (apart <= found.near.nan_to_num(nan=2.0)).all()
    ratio = interleaved(ours, reference)
    benchmark.extra_info |= {**ratio.facts(), "rows": SLICE, "target_ratio": 5}
    benchmark.pedantic(ours, rounds=1)


def test_exact_ranks_of_one_head(benchmark, factors):
    """All rows of one head, and what 270 of them would take: 20 minutes on two cores."""
    left, right = factors
    taken = []

    def ours():
        taken.append(seconds(lambda: diagonal_ranks(left, right, torch.arange(VOCAB))))

    benchmark.pedantic(ours, rounds=3)
    one = sorted(taken)[len(taken) // 2]
    benchmark.extra_info |= {
        "seconds_a_head": one,
        "minutes_of_the_model": one * HEADS / 60,
        "target_minutes": 20,
    }


def test_sampled_ranks_of_one_head(benchmark, factors):
    """500 rows of one head, and what 270 of them would take: 2 minutes on two cores."""
    left, right = factors
    tokens = sampled_tokens(VOCAB, 500, 0)
    benchmark.pedantic(lambda: diagonal_ranks(left[tokens], right, tokens), rounds=5)
    minutes = seconds(lambda: diagonal_ranks(left[tokens], right, tokens)) * HEADS / 60
    benchmark.extra_info |= {"minutes_of_the_model": minutes, "target_minutes": 2}


def test_exact_layers_of_packaged(benchmark, tmp_path):
    """All rows of all heads of two layers in a fresh process: 1.5 GiB at most, and time for 20 minutes.

    ``minutes_of_the_model`` is an extrapolation to all heads by two workers (``--workers 2``) of one thread
    each: two threads on one small tile wait for each other more than they gain.
    """
    packaged_model()
    arguments = (RANKS, PACKAGED, str(tmp_path), "10,11", "all")
    measured = benchmark.pedantic(fresh_process, args=arguments, rounds=1)
    spent, heads = map(float, (tmp_path / "cost").read_text().split())
    alone = fresh_process(NEITHER, PACKAGED)
    benchmark.extra_info |= {
        "heads": heads,
        "cpu_seconds_a_head": spent / heads,
        "wall_seconds": measured["wall_seconds"],
        "minutes_of_the_model": spent / heads * HEADS / 60 / 2,
        "target_minutes": 20,
        "peak_gib": measured["peak_bytes"] / 2**30,
        "whole_model_gib": alone["peak_bytes"] / 2**30,
        "target_gib": 1.5,
    }


def test_sampled_ranks_of_packaged(benchmark, tmp_path):
    """500 rows of all 270 heads in a fresh process with an empty store."""
    packaged_model()
    arguments = (RANKS, PACKAGED, str(tmp_path), "all", "500")
    measured = benchmark.pedantic(fresh_process, args=arguments, rounds=1)
    benchmark.extra_info |= {**measured, "target_seconds": 120}
