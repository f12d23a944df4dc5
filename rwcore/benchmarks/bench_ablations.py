"""Ablated runs: metrics against the bare model, an ablation against the clean run, and against the recipe."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import pytest
import torch

from rwcore.ablation.hooks import ablating
from rwcore.ablation.interventions import Ablation, Intervention
from rwcore.ablation.metrics import MetricsRecorder
from rwcore.benchmarks.measure import Ratio, interleaved, packaged_model
from rwcore.benchmarks.reference.ablation import ablation_hooks, direct_metrics
from rwcore.corpora.batches import batches
from rwcore.corpora.encoder import read_encoder
from rwcore.corpora.prepare import prepare
from rwcore.corpora.registry import find
from rwcore.models.load import load_bridge
from rwcore.neurons import class_members
from rwcore.stats.classes import class_codes
from rwcore.studies.frequencies import gate_signs
from rwcore.studies.weights import weight_study

BUDGET = 1024


@pytest.fixture(scope="module")
def packaged():
    return packaged_model()


@pytest.fixture(scope="module")
def model(packaged):
    return load_bridge(packaged)


@pytest.fixture(scope="module")
def corpus(packaged):
    return prepare(find("handmade"), read_encoder(packaged))


@pytest.fixture(scope="module")
def batch(corpus):
    """Two documents of the handmade corpus, some 900 tokens."""
    return batches(corpus, token_budget=BUDGET)[4].load(corpus)


@pytest.fixture(scope="module")
def weakening(packaged) -> Ablation:
    """The whole weakening class, set to zero."""
    study = weight_study(packaged)
    neurons = class_members(class_codes(study.cosines), "weakening")
    return Ablation.of(neurons, Intervention("zero"), signs=gate_signs(study))


def measured(model, corpus, batch, *ablations: Ablation) -> Callable[[], None]:
    """Our run with all four metrics."""
    recorder = MetricsRecorder(corpus)

    def once() -> None:
        with ablating(model, *ablations) if ablations else nullcontext():
            recorder.add(model, batch)

    return once


def facts(ratio: Ratio, batch, target: float) -> dict[str, float]:
    """Of a ratio (slower run / faster run) where the slower one is ours."""
    found = {name: value for name, value in ratio.facts().items() if name.startswith("ratio")}
    return {**found, "tokens": int(batch.mask.sum()), "target_ratio_at_most": target}


def test_metrics_against_the_bare_model(benchmark, model, corpus, batch):
    """SmolLM2: loss, entropy, rank and scale take at most a quarter more than the bare forward pass."""
    mask = None if bool(batch.mask.all()) else batch.mask.long()

    def bare() -> None:
        with torch.no_grad():
            model(batch.tokens, attention_mask=mask, use_cache=False)

    clean = measured(model, corpus, batch)
    benchmark.extra_info |= facts(interleaved(bare, clean), batch, 1.25)
    benchmark.pedantic(clean, rounds=1)


@pytest.mark.parametrize("gate", [None, "-"], ids=["everywhere", "where gate < 0"])
def test_an_ablation_against_the_clean_run(benchmark, model, corpus, batch, weakening, gate):
    """SmolLM2, whole weakening class, zero: at most 1.15 times the clean run with the same metrics."""
    ablation = Ablation(weakening.neurons, Intervention("zero", gate=gate), weakening.signs)
    ablated = measured(model, corpus, batch, ablation)
    ratio = interleaved(measured(model, corpus, batch), ablated)
    benchmark.extra_info |= {**facts(ratio, batch, 1.15), "neurons": len(weakening.neurons)}
    benchmark.pedantic(ablated, rounds=1)


def test_ratio_against_the_recipe(benchmark, model, corpus, batch, weakening):
    """One hook per neuron, full softmax and full sort take at least 2.2 times as long."""
    hooks = ablation_hooks(weakening.neurons.pairs(), "zero", signs=weakening.signs.tolist())
    ours = measured(model, corpus, batch, weakening)
    ratio = interleaved(ours, lambda: direct_metrics(model, batch.tokens, batch.mask, hooks))
    benchmark.extra_info |= {**ratio.facts(), "tokens": int(batch.mask.sum()), "target_ratio": 2.2}
    benchmark.pedantic(ours, rounds=1)
