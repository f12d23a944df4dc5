"""The activation pass: time against the model alone and against the original's recipe; memory; a GPU."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from itertools import count

import pytest
import torch

from rwcore.activations.accumulate import ActivationAccumulator
from rwcore.activations.capture import add_batch
from rwcore.activations.forward import pass_options
from rwcore.activations.groups import group_of
from rwcore.benchmarks.large import Large, large
from rwcore.benchmarks.measure import PACKAGED, Ratio, fresh_process, interleaved, packaged_model
from rwcore.benchmarks.reference.activations import recipe, record
from rwcore.corpora.batches import Batch, batches
from rwcore.corpora.encoder import read_encoder
from rwcore.corpora.prepare import prepare
from rwcore.corpora.registry import find
from rwcore.models.load import load_bridge

K = 16
BUDGET = 2048

# The pass over the first batches of a corpus, until so many tokens are done; none of it, with 0 tokens.
# Loading takes more memory than the pass, so the peak (Linux: VmHWM) is reset behind it.
PASS = """
import sys
from pathlib import Path
from rwcore.activations.accumulate import ActivationAccumulator
from rwcore.activations.capture import add_batch
from rwcore.activations.groups import group_of
from rwcore.corpora.batches import batches
from rwcore.corpora.encoder import read_encoder
from rwcore.corpora.prepare import prepare
from rwcore.corpora.registry import find as find_corpus
from rwcore.models.load import load_bridge
from rwcore.models.locate import locate
from rwcore.models.registry import find

local = locate(find(sys.argv[1]))
corpus = prepare(find_corpus("python-topics"), read_encoder(local))
model = load_bridge(local)
Path("/proc/self/clear_refs").write_text("5")
accumulator = ActivationAccumulator(model.cfg.n_layers, model.cfg.d_mlp, 16)
wanted, done = int(sys.argv[2]), 0
for plan in batches(corpus, token_budget=2048):
    if done >= wanted:
        break
    batch = plan.load(corpus)
    add_batch(model, batch, accumulator, group_of(corpus.document[batch.rows]))
    done += int(batch.mask.sum())
"""


@pytest.fixture(scope="module")
def packaged():
    return packaged_model()


@pytest.fixture(scope="module")
def model(packaged):
    return load_bridge(packaged)


@pytest.fixture(scope="module")
def batch(packaged):
    """Three documents of the handmade corpus, of up to 660 tokens, padded."""
    corpus = prepare(find("handmade"), read_encoder(packaged))
    return batches(corpus, token_budget=BUDGET)[2].load(corpus)


def passes(model, batch: Batch, device: str = "cpu") -> Callable[[], None]:
    """A function that adds the batch once more, as other documents, to one set of statistics."""
    accumulator = ActivationAccumulator(model.cfg.n_layers, model.cfg.d_mlp, K, device=device)
    calls = count()

    def once() -> None:
        again = dataclasses.replace(batch, rows=batch.rows + 1000 * next(calls))
        add_batch(model, again, accumulator, group_of(again.rows))

    return once


def forward(model, batch: Batch) -> Callable[[], None]:
    """The model alone: all logits, no loss, no hooks."""
    tokens, options = batch.tokens.to(model.cfg.device), pass_options(model, batch)

    def once() -> None:
        with torch.no_grad():
            model(tokens, **options)

    return once


def facts(ratio: Ratio) -> dict[str, float]:
    """Of a ratio pass / forward: the forward pass was first, the pass its reference."""
    found = ratio.facts()
    return {
        **{name: value for name, value in found.items() if name.startswith("ratio")},
        "forward_seconds": found["ours_seconds"],
        "pass_seconds": found["reference_seconds"],
    }


def test_ratio_against_the_model_alone(benchmark, model, batch):
    """SmolLM2, float32, top-16 in all quadrants: the time of a forward pass, at most 1.5 times."""
    ratio = interleaved(forward(model, batch), passes(model, batch))
    benchmark.extra_info |= {**facts(ratio), "tokens": int(batch.mask.sum()), "target_ratio_at_most": 1.5}
    benchmark.pedantic(passes(model, batch), rounds=1)


def test_ratio_against_the_recipe(benchmark, model, batch):
    """SmolLM2, float32, top-16: the original's recipe, document by document, takes twice the time."""
    running: dict = {}
    documents = count()

    def reference() -> None:
        for tokens, mask in zip(batch.tokens, batch.mask, strict=True):
            recorded = record(model, tokens[mask], torch.nn.functional.silu)
            recipe(recorded, next(documents), running, K)

    ratio = interleaved(passes(model, batch), reference)
    benchmark.extra_info |= {**ratio.facts(), "tokens": int(batch.mask.sum()), "target_ratio": 2}
    benchmark.pedantic(passes(model, batch), rounds=1)


def test_memory_beyond_the_model(benchmark, packaged):
    """Peak memory of fresh processes beyond one that loads the model: 1.5 GiB for any number of tokens."""
    del packaged  # it is there
    peak = {tokens: fresh_process(PASS, PACKAGED, str(tokens))["peak_bytes"] for tokens in (0, 4096, 16384)}
    benchmark.extra_info |= {
        "model_gib": peak[0] / 2**30,
        "beyond_gib_4096_tokens": (peak[4096] - peak[0]) / 2**30,
        "beyond_gib_16384_tokens": (peak[16384] - peak[0]) / 2**30,
        "target_beyond_gib": 1.5,
    }
    benchmark.pedantic(fresh_process, args=(PASS, PACKAGED, "2048"), rounds=1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_ratio_on_a_gpu(benchmark, tmp_path):
    """OLMo-1B's shape with random weights, bfloat16, 16 × 1024 tokens: a forward pass, at most 1.6 times."""
    case = large(tmp_path / "olmo-1b-shape")
    torch.cuda.reset_peak_memory_stats()
    ours, ratio = against_forward(case)
    benchmark.extra_info |= {
        **facts(ratio),
        "device": torch.cuda.get_device_name(),
        "peak_gib": torch.cuda.max_memory_allocated() / 2**30,
        "target_ratio_at_most": 1.6,
    }
    benchmark.pedantic(ours, rounds=1)


def against_forward(case: Large) -> tuple[Callable[[], None], Ratio]:
    """The pass of a model of a large one's shape, and its ratio to the model alone."""
    ours = case.finished(passes(case.model, case.batch, case.device))
    return ours, interleaved(case.finished(forward(case.model, case.batch)), ours)
