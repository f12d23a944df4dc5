"""Direct effects of all heads of a model at once, against a forward pass with logits for each layer."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from rwcore.benchmarks.bench_activations import facts
from rwcore.benchmarks.bench_probing_pass import full_rows
from rwcore.benchmarks.measure import interleaved, packaged_model
from rwcore.corpora.batches import Batch, batches
from rwcore.corpora.encoder import read_encoder
from rwcore.heads.effects import direct_effects
from rwcore.heads.readout import Readout
from rwcore.heads.writers import Writer, WriterMeans
from rwcore.models.load import load_bridge
from rwcore.runtime import keep_freed_memory

pytestmark = pytest.mark.timeout(3600)  # seven pairs on a busy machine


@pytest.fixture(scope="module")
def packaged():
    return packaged_model()


def forward(model, batch: Batch) -> Callable[[], None]:
    """A function that runs the batch with logits."""

    def run() -> None:
        with torch.no_grad():
            model(batch.tokens)

    return run


@pytest.mark.parametrize("tokens", [2048, 512])
def test_all_heads_against_a_pass_for_each_layer(benchmark, packaged, tokens):
    """SmolLM2, float32: 270 heads (two passes; loss, KL, entropy, two logits) at most 1.6 times 30 passes.

    A pass with logits for each layer is what the cheapest plain way would cost: hooks for each head, nine of
    a layer at a time. What the survey takes is compared with one pass, and the ratio divided by their number.
    """
    corpus, model, readout = full_rows(read_encoder(packaged)), load_bridge(packaged), Readout.of(packaged)
    keep_freed_memory()
    batch = batches(corpus, token_budget=tokens)[0].load(corpus)
    layers, heads = model.cfg.n_layers, model.cfg.n_heads
    writers = [Writer(layer, head) for layer in range(layers) for head in range(heads)]
    means = WriterMeans.zero(model)

    def ours() -> None:
        direct_effects(model, batch, means, readout, writers=writers)

    ratio = interleaved(forward(model, batch), ours)
    low, middle, high = (quartile / layers for quartile in ratio.quartiles)
    benchmark.extra_info |= {
        **facts(ratio),
        "passes": layers,
        "ratio_to_all_passes": middle,
        "ratio_to_all_passes_quartiles": [low, high],
        "tokens": int(batch.mask.sum()),
        "heads": len(writers),
        "target_ratio_at_most": 1.6,
    }
    benchmark.pedantic(ours, rounds=1)
