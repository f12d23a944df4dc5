"""A neuron on a text, with and without it: against the slow reference and the metrics of ablations."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from rwcore.ablation.compare import differences
from rwcore.ablation.hooks import ablating
from rwcore.ablation.interventions import Ablation, Intervention
from rwcore.ablation.metrics import MetricsRecorder
from rwcore.benchmarks.reference.ablation import ablation_hooks
from rwcore.corpora.batches import batches
from rwcore.corpora.tokens import TokenCorpus
from rwcore.errors import ModelError, OptionError, RwcoreError
from rwcore.neurons import NeuronSet
from rwcore.serve.measure import ZERO, Measurement, clean_metrics, measure
from rwcore.tests.ablation_parts import (
    GATED,
    PARAMETERS,
    SHAPES,
    hooks_of,
    load,
    shared,
    signs_of,
)
from rwcore.tests.corpus_makers import rows_corpus

ROWS = [[1, 20, 31, 7, 42, 9, 9, 55, 13, 4], [1, 8, 60, 33, 21], [1, 5, 6, 44, 17, 30, 12]]
MODES = [Intervention(mode, parameter=PARAMETERS.get(mode)) for mode in ("zero", "relu", *PARAMETERS)]


def text(row: int = 0, *, bos: int | None = 1) -> TokenCorpus:
    corpus = rows_corpus([ROWS[row]])
    return replace(corpus, policy=replace(corpus.policy, bos=bos))


def run(bridge: Any, corpus: TokenCorpus, hooks: Any = ()) -> Tensor:
    with torch.no_grad():
        tokens = corpus.tokens[None].long()
        found: Tensor = bridge.run_with_hooks(tokens, fwd_hooks=list(hooks), use_cache=False)[0]
    return found.double()


def column(bridge: Any, corpus: TokenCorpus, layer: int, hook: str, neuron: int) -> Tensor:
    """What one hook sees of a neuron."""
    seen: list[Tensor] = []
    run(bridge, corpus, [(f"blocks.{layer}.mlp.{hook}", lambda values, hook: seen.append(values.clone()))])
    return seen[0].reshape(-1, seen[0].shape[-1])[:, neuron]


def turned(bridge: Any, sign: int) -> tuple[int, int]:
    """A neuron with this gate sign, in the middle layer."""
    layer = 1
    return layer, int((signs_of(bridge)[layer] == sign).nonzero()[0])


def losses(logits: Tensor, corpus: TokenCorpus) -> Tensor:
    targets = corpus.tokens[1:, None].long()
    return -logits.log_softmax(dim=-1)[:-1].gather(1, targets)[:, 0]


@pytest.mark.parametrize("name", GATED)
@pytest.mark.parametrize("sign", [1, -1])
def test_activations_are_what_the_hooks_see_and_folded(name: str, sign: int) -> None:
    bridge, corpus = shared(name), text()
    layer, neuron = turned(bridge, sign)
    found = measure(bridge, corpus, (layer, neuron))
    gate, in_, post = (
        column(bridge, corpus, layer, hook, neuron) for hook in ("hook_pre", "hook_pre_linear", "hook_post")
    )
    torch.testing.assert_close(found.gate, gate, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.in_, sign * in_, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.post, sign * post, rtol=1e-5, atol=1e-6)
    assert (found.gated, found.sign) == (True, sign)
    assert len(found.gate) == len(ROWS[0])


@pytest.mark.parametrize("name", ["gpt2", "gpt_neox"])
def test_a_neuron_without_a_gate_has_an_in_of_one(name: str) -> None:
    bridge, corpus = shared(name), text()
    found = measure(bridge, corpus, (1, 3))
    torch.testing.assert_close(found.gate, column(bridge, corpus, 1, "hook_pre", 3))
    torch.testing.assert_close(found.post, column(bridge, corpus, 1, "hook_post", 3))
    assert found.in_.tolist() == [1] * len(ROWS[0])
    assert (found.gated, found.sign) == (False, 1)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("given", MODES, ids=lambda one: one.mode)
def test_predictions_are_those_of_the_reference(name: str, given: Intervention) -> None:
    bridge, corpus = shared(name), text()
    layer, neuron = turned(bridge, int(signs_of(bridge)[1].min()))
    found = measure(bridge, corpus, (layer, neuron), given)
    hooks = ablation_hooks([(layer, neuron)], given.mode, signs=[found.sign], parameter=given.parameter)
    clean, ablated = (run(bridge, corpus, chosen) for chosen in ((), hooks))
    for metrics, logits in ((found.clean, clean), (found.ablated, ablated)):
        loss = losses(logits, corpus)
        torch.testing.assert_close(metrics.loss[:-1].double(), loss, rtol=1e-5, atol=1e-5)
        assert metrics.loss[-1].isnan()
        entropy = -(logits.softmax(-1) * logits.log_softmax(-1)).sum(-1)
        torch.testing.assert_close(metrics.entropy.double(), entropy, rtol=1e-5, atol=1e-5)
    expected = losses(clean, corpus) - losses(ablated, corpus)
    torch.testing.assert_close(found.differences("loss")[:-1], expected, rtol=0, atol=2e-5)
    nothing_to_do = given.mode == "relu" and bool((found.post >= 0).all())
    assert bool(expected.abs().max() > 1e-3) != nothing_to_do


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_means_are_those_of_the_ablations(name: str) -> None:
    """The three texts as one corpus, through the parts that `rwcore ablate` is made of."""
    bridge, corpus = shared(name), rows_corpus(ROWS)
    chosen = NeuronSet.of("one", [(1, 5)])
    ablation = Ablation(chosen, ZERO, signs_of(bridge)[1, 5:6])
    recorders = [MetricsRecorder(corpus), MetricsRecorder(corpus)]
    for plan in batches(corpus, token_budget=64):
        recorders[0].add(bridge, plan.load(corpus))
        with ablating(bridge, ablation):
            recorders[1].add(bridge, plan.load(corpus))
    every = differences(recorders[0].metrics, recorders[1].metrics, corpus, "loss")
    for row in range(len(ROWS)):
        mean = measure(bridge, text(row), (1, 5)).mean
        assert mean is not None
        expected = every.values[every.document == row]
        assert mean.predictions == len(expected) == len(ROWS[row]) - 2
        assert mean.difference == pytest.approx(expected.mean(), abs=1e-5)
        assert mean.clean - mean.ablated == pytest.approx(mean.difference, abs=1e-9)


def test_without_bos_the_first_prediction_counts_too() -> None:
    found = measure(shared("llama"), text(bos=None), (1, 5))
    assert found.mean is not None
    assert found.mean.predictions == len(ROWS[0]) - 1
    assert found.mean.clean == pytest.approx(float(found.clean.loss[:-1].double().mean()))


def test_a_text_without_a_prediction_that_counts_has_no_mean() -> None:
    short = rows_corpus([[1, 20]])
    found = measure(shared("llama"), replace(short, policy=replace(short.policy, bos=1)), (1, 5))
    assert found.mean is None
    assert found.differences("loss").isnan().tolist() == [False, True]


def test_a_text_of_one_token_is_measured_too() -> None:
    found = measure(shared("llama"), rows_corpus([[20]]), (2, 0))
    assert found.mean is None
    assert len(found.post) == 1


def test_known_clean_metrics_are_not_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    bridge, corpus = shared("llama"), text()
    clean = clean_metrics(bridge, corpus)
    expected = measure(bridge, corpus, (0, 3))
    passes: list[int] = []
    forward = type(bridge).run_with_hooks

    def counted(*given: Any, **named: Any) -> Any:
        passes.append(1)
        return forward(*given, **named)

    monkeypatch.setattr(type(bridge), "run_with_hooks", counted)
    found = measure(bridge, corpus, (0, 3), clean=clean)
    assert len(passes) == 2
    assert torch.equal(found.ablated.loss[:-1], expected.ablated.loss[:-1])


def test_nothing_is_left_in_the_model() -> None:
    bridge, corpus = shared("llama"), text()
    before, hooks = run(bridge, corpus), hooks_of(bridge)
    measure(bridge, corpus, (1, 5))
    assert torch.equal(run(bridge, corpus), before)
    assert hooks_of(bridge) == hooks


@pytest.mark.parametrize(
    ("neuron", "given", "match"),
    [
        ((3, 0), ZERO, "no neuron 3.0"),
        ((0, 24), ZERO, "no neuron 0.24"),
        ((-1, 0), ZERO, "no neuron -1.0"),
        ((0, 0), Intervention("mean"), "needs means"),
    ],
)
def test_what_cannot_be_asked(neuron: tuple[int, int], given: Intervention, match: str) -> None:
    with pytest.raises(OptionError, match=match):
        measure(shared("llama"), text(), neuron, given)


def test_a_condition_needs_a_gate() -> None:
    with pytest.raises(RwcoreError, match="no gate"):
        measure(shared("gpt2"), text(), (0, 0), Intervention("zero", gate="+"))


def test_damaged_weights_are_an_error_and_no_numbers(tmp_path: Any) -> None:
    bridge = load("llama", tmp_path)
    bridge.blocks[2].mlp.W_out.detach()[3] = torch.nan
    with pytest.raises(ModelError, match="not finite"):
        measure(bridge, text(), (1, 5))


def test_half_precision_runs(tmp_path: Any) -> None:
    single = measure(shared("llama"), text(), (1, 5))
    half: Measurement = measure(load("llama", tmp_path, dtype=torch.bfloat16), text(), (1, 5))
    assert half.gate.dtype == torch.float32
    torch.testing.assert_close(half.gate, single.gate, rtol=0.1, atol=0.1)
