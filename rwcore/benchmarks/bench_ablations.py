"""Ablated runs: metrics against the bare model, an ablation against the clean run, and against the recipe."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import pytest
import torch

from rwcore.ablation.head import Unembedding, predictions
from rwcore.ablation.hooks import ablating
from rwcore.ablation.interventions import Ablation, Intervention
from rwcore.ablation.metrics import MetricsRecorder, next_tokens, run_to_the_end
from rwcore.ablation.prefix import run_first_layers
from rwcore.activations.forward import run_hooks
from rwcore.benchmarks.large import Large, large
from rwcore.benchmarks.measure import Ratio, interleaved, packaged_model
from rwcore.benchmarks.reference.ablation import ablation_hooks, direct_metrics
from rwcore.corpora.batches import batches
from rwcore.corpora.encoder import read_encoder
from rwcore.corpora.prepare import prepare
from rwcore.corpora.registry import find
from rwcore.models.load import load_bridge
from rwcore.neurons import NeuronSet, class_members
from rwcore.stats.classes import class_codes
from rwcore.studies.frequencies import gate_signs
from rwcore.studies.prefixes import Prefix, beginning_with
from rwcore.studies.weights import weight_study

BUDGET = 1024
RUNS = 4


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
    """Documents of the handmade corpus, as many as fit: the fullest of its batches."""
    loaded = [plan.load(corpus) for plan in batches(corpus, token_budget=BUDGET)]
    return max(loaded, key=lambda one: int(one.mask.sum()))


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


def late_runs(model, corpus, batch, weakening) -> tuple[int, Callable[[Prefix | None], None]]:
    """Weakening neurons of the last fifth of the layers: the first such layer, and a run with a prefix."""
    n_layers = len(model.blocks)
    first = n_layers - n_layers // 5
    late = torch.from_numpy(weakening.neurons.layer) >= first
    chosen = NeuronSet.of("late", [pair for pair in weakening.neurons.pairs() if pair[0] >= first])
    ablation = Ablation(chosen, Intervention("zero"), weakening.signs[late])
    recorder = MetricsRecorder(corpus)

    def once(prefix: Prefix | None) -> None:
        with ablating(model, ablation), beginning_with(model, prefix, batch.number):
            recorder.add(model, batch)

    return first, once


def test_ratio_of_a_late_run_with_its_prefix(benchmark, model, corpus, batch, weakening, tmp_path):
    """SmolLM2, last fifth of the layers: computing all layers takes at least twice as long."""
    first, once = late_runs(model, corpus, batch, weakening)
    prefix = Prefix(tmp_path, first)
    prefix.write(batch.number, run_first_layers(model, batch, first))
    ratio = interleaved(lambda: once(prefix), lambda: once(None))
    benchmark.extra_info |= {**ratio.facts(), "tokens": int(batch.mask.sum()), "target_ratio": 2}
    benchmark.pedantic(lambda: once(prefix), rounds=1)


def test_ratio_of_late_runs_that_share_a_prefix(benchmark, model, corpus, batch, weakening, tmp_path):
    """The same for four runs, with the pass that makes the prefix."""
    first, once = late_runs(model, corpus, batch, weakening)
    prefix = Prefix(tmp_path, first)

    def shared() -> None:
        prefix.write(batch.number, run_first_layers(model, batch, first))
        for _ in range(RUNS):
            once(prefix)

    ratio = interleaved(shared, lambda: [once(None) for _ in range(RUNS)])
    benchmark.extra_info |= {**ratio.facts(), "tokens": int(batch.mask.sum()), "runs": RUNS}
    benchmark.pedantic(shared, rounds=1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu(benchmark, tmp_path):
    """OLMo-1B's shape, 20,000 neurons where gate < 0: 1.2 times the clean run, a tenth of hooks for each."""
    case = large(tmp_path / "olmo-1b-shape")
    found = benchmark.pedantic(conditionally, args=(case, 20_000), rounds=1)
    benchmark.extra_info |= {
        "against_clean": found["clean"].facts(),
        "against_hooks": found["hooks"].facts(),
        "device": torch.cuda.get_device_name(),
        "target_against_clean_at_most": 1.2,
        "target_against_hooks": 10,
    }


def conditionally(case: Large, count: int) -> dict[str, Ratio]:
    """A conditional ablation of neurons from all layers against the clean run, and against hooks for each.

    Args:
        case: The model.
        count: How many neurons.
    """
    model, batch = case.model, case.batch
    layers, width = len(model.blocks), model.blocks[0].mlp.W_out.shape[0]
    every = torch.randperm(layers * width, generator=torch.Generator().manual_seed(0))[:count].tolist()
    chosen = NeuronSet.of("random", [divmod(number, width) for number in every])
    signs = torch.ones(layers, width, dtype=torch.int8)
    ablation = Ablation.of(chosen, Intervention("zero", gate="-"), signs=signs)
    head = Unembedding.of(model)

    def predict() -> None:
        hidden = run_to_the_end(model, batch).hidden[batch.mask.to(case.device)]
        predictions(hidden, next_tokens(batch)[batch.mask].to(case.device), head)

    def ablated() -> None:
        with ablating(model, ablation):
            predict()

    hooks = ablation_hooks(chosen.pairs(), "zero", signs=[1] * count, gate="-")
    ours, clean = case.finished(ablated), case.finished(predict)
    # Hooks of their own run without metrics, which favours them.
    each = case.finished(lambda: run_hooks(model, batch, hooks))
    return {"clean": interleaved(clean, ours), "hooks": interleaved(ours, each, pairs=3)}
