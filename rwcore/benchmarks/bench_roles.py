"""Functional roles: the packaged model in time and memory, a slice of it against the dense formulation."""

from __future__ import annotations

import pytest
import torch

from fixtures.checkpoints import OLMO_7B_LAYERS, write_checkpoint
from rwcore.benchmarks.measure import PACKAGED, fresh_process, interleaved, packaged_model
from rwcore.benchmarks.reference.roles import dense_moments
from rwcore.stats.roles.moments import MOMENTS, token_directions, token_moments
from rwcore.weights.embedding import unembedding
from rwcore.weights.layer import MlpLayer
from rwcore.weights.mlp import mlp_weights

# Of one layer the dense formulation holds 1536 × 49152 cosines, differences and powers: 0.3 GB each, float32.
SLICE = 4

# The whole study, from the files to the tables; nothing is taken from the cache.
ROLES = """
import sys
from pathlib import Path
from rwcore.models.locate import locate
from rwcore.models.registry import find
from rwcore.store import Store
from rwcore.studies.roles import role_study
from rwcore.studies.weights import weight_study

study = role_study(weight_study(locate(find(sys.argv[1])), store=Store(Path(sys.argv[2]))))
study.roles(), study.summary()
"""

# The moments of a slice of layers, either way.
STREAMED = """
import sys
from rwcore.models.locate import locate
from rwcore.models.registry import find
from rwcore.stats.roles.moments import token_directions, token_moments
from rwcore.weights.embedding import unembedding
from rwcore.weights.mlp import mlp_weights

local = locate(find(sys.argv[1]))
weights = mlp_weights(local, fold_sign=True)
tokens = token_directions(unembedding(local).W_U)
token_moments((weights[layer] for layer in range(int(sys.argv[2]))), tokens)
"""
DENSE = """
import sys
from rwcore.benchmarks.reference.roles import dense_moments
from rwcore.models.locate import locate
from rwcore.models.registry import find
from rwcore.weights.embedding import unembedding
from rwcore.weights.mlp import mlp_weights

local = locate(find(sys.argv[1]))
weights = mlp_weights(local, fold_sign=True)
dense_moments([weights[layer].out for layer in range(int(sys.argv[2]))], unembedding(local).W_U)
"""
# What both need whatever they do: the libraries, the unembedding, one layer.
NEITHER = """
import sys
from rwcore.models.locate import locate
from rwcore.models.registry import find
from rwcore.stats.roles.moments import token_directions
from rwcore.weights.embedding import unembedding
from rwcore.weights.mlp import mlp_weights

local = locate(find(sys.argv[1]))
layer, W_U = mlp_weights(local, fold_sign=True)[0], unembedding(local).W_U
"""


@pytest.fixture(scope="module")
def packaged():
    return packaged_model()


def test_ratio_against_the_dense_formulation(benchmark, packaged):
    """Two layers of SmolLM2, weights read before: tiles against whole matrices, twice as fast."""
    weights = mlp_weights(packaged, fold_sign=True)
    layers = [MlpLayer(k, None, weights[k].in_, weights[k].out) for k in range(2)]
    W_U = unembedding(packaged).W_U

    def ours():
        return token_moments(layers, token_directions(W_U))

    def reference():
        return dense_moments([layer.out for layer in layers], W_U)

    found, expected = ours(), reference()
    for name in MOMENTS:
        torch.testing.assert_close(getattr(found, name), expected[name], atol=1e-4, rtol=1e-4)
    ratio = interleaved(ours, reference)
    benchmark.extra_info |= {**ratio.facts(), "layers": 2, "target_ratio": 2}
    benchmark.pedantic(ours, rounds=3)


def test_memory_against_the_dense_formulation(benchmark, packaged):
    """Peak memory of fresh processes for a slice of layers.

    All thirty layers would take the dense formulation more than 30 GB; the ratio grows with the layers.
    """
    peak = {
        name: fresh_process(code, PACKAGED, str(SLICE))["peak_bytes"]
        for name, code in (("streamed", STREAMED), ("dense", DENSE), ("neither", NEITHER))
    }
    benchmark.extra_info |= {f"{name}_gib": value / 2**30 for name, value in peak.items()}
    benchmark.extra_info |= {
        "layers": SLICE,
        "ratio_whole_process": peak["dense"] / peak["streamed"],
        "target_ratio": 5,
    }
    benchmark.pedantic(fresh_process, args=(STREAMED, PACKAGED, str(SLICE)), rounds=1)


def test_roles_of_packaged(benchmark, packaged, tmp_path):
    """All roles of SmolLM2 in a fresh process with an empty store: 45 s on two cores, 1.5 GiB."""
    stores = iter(range(10))

    def whole():
        return fresh_process(ROLES, PACKAGED, str(tmp_path / str(next(stores))))

    measured = benchmark.pedantic(whole, rounds=2)
    benchmark.extra_info |= {
        "peak_gib": measured["peak_bytes"] / 2**30,
        "target_seconds": 45,
        "target_gib": 1.5,
    }


def test_roles_of_two_layers_of_olmo_7b_size(benchmark, tmp_path):
    """Layers of 11008 × 4096 and 50304 tokens, forward pass included: 2 GiB beyond one layer of weights."""
    folder = write_checkpoint(tmp_path / "model", OLMO_7B_LAYERS)
    arguments = (ROLES, str(folder), str(tmp_path / "store"))
    measured = benchmark.pedantic(fresh_process, args=arguments, rounds=1)
    layer_bytes = 3 * OLMO_7B_LAYERS.d_mlp * OLMO_7B_LAYERS.d_model * 4
    benchmark.extra_info |= {
        "peak_gib": measured["peak_bytes"] / 2**30,
        "beyond_a_layer_gib": (measured["peak_bytes"] - layer_bytes) / 2**30,
        "target_beyond_a_layer_gib": 2,
    }
