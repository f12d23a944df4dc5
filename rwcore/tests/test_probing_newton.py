"""One-neuron logistic regressions: the optimum, equal to scikit-learn's, from codes and from activations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rwcore.benchmarks.reference import probing as reference
from rwcore.errors import OptionError
from rwcore.probing.codes import CODES, CodeBook, code_book, published_code_book
from rwcore.probing.errors import ProbeError
from rwcore.probing.histograms import ClassHistograms, count_codes
from rwcore.probing.logistic import fit_logistic
from rwcore.probing.newton import OneNeuronProbes, fit_histograms, fit_rows
from rwcore.probing.scores import histogram_scores, scores

seeds = st.integers(0, 10_000)


def planted(seed: int, n: int = 200, neurons: int = 6, share: float = 0.3) -> tuple[Tensor, Tensor]:
    """Activations of different sizes and places; the first know most of the label, the last nothing."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.rand(n, generator=generator) < share
    label[:2] = torch.tensor([True, False])
    x = torch.randn(n, neurons, generator=generator)
    x[label] += torch.linspace(3, 0, neurons)
    sizes = torch.logspace(-1, 1, neurons) * torch.where(torch.arange(neurons) % 2 == 0, 1, -1)
    return x * sizes + torch.linspace(-5, 5, neurons), label


def histograms_of(book: CodeBook, x: Tensor, label: Tensor) -> ClassHistograms:
    return ClassHistograms(book.values(), count_codes(book.encode(x), label.long(), 2))


def gradient(probes: OneNeuronProbes, x: Tensor, label: Tensor, C: float = 1.0) -> Tensor:
    """Of the objective in (w, b), one row per neuron, by autograd."""
    w, b = probes.weight.clone().requires_grad_(), probes.intercept.clone().requires_grad_()
    y = torch.where(label, 1.0, -1.0).double()[:, None]
    share = label.double().mean()
    balance = torch.where(label, 1 / (2 * share), 1 / (2 * (1 - share)))[:, None]
    loss = balance * torch.nn.functional.softplus(-y * (x.double() / probes.scale * w + b))
    (loss.sum() + (w**2).sum() / (2 * C)).backward()
    assert w.grad is not None
    assert b.grad is not None
    return torch.stack([w.grad, b.grad], dim=1)


@given(seed=seeds, C=st.sampled_from([0.01, 1.0, 100.0]))
def test_the_gradient_vanishes(seed: int, C: float) -> None:
    x, label = planted(seed)
    probes = fit_rows(x, label, C=C)
    assert probes.converged.all()
    assert float(gradient(probes, x, label, C).abs().max()) < 1e-5 * len(label)


@pytest.mark.parametrize("neuron", range(3))
def test_the_slow_minimiser_agrees(neuron: int) -> None:
    x, label = planted(4, n=30, neurons=3)
    weight, intercept = reference.logistic(x[:, neuron].double().tolist(), label.tolist())
    probes = fit_rows(x[:, neuron : neuron + 1], label)
    assert float(probes.weight) == pytest.approx(weight, rel=1e-4)
    assert float(probes.intercept) == pytest.approx(intercept, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("C", [0.05, 1.0, 20.0])
def test_scikit_learn_agrees(seed: int, C: float) -> None:
    x, label = planted(seed)
    probes = fit_rows(x, label, C=C)
    for neuron in range(x.shape[1]):
        wanted = fit_logistic(x[:, neuron : neuron + 1], label, C=C)
        assert float(probes.weight[neuron]) == pytest.approx(float(wanted.weight), rel=1e-5, abs=1e-6)
        assert float(probes.intercept[neuron]) == pytest.approx(wanted.intercept, rel=1e-4, abs=1e-4)


@given(seed=seeds, kind=st.sampled_from(["companded", "uniform", "published"]))
def test_counts_of_codes_give_the_fit_and_the_scores_of_their_activations(seed: int, kind: str) -> None:
    x, label = planted(seed)
    book = published_code_book(x) if kind == "published" else code_book(x, kind=kind)
    restored = book.restore(book.encode(x))
    histograms = histograms_of(book, x, label)
    by_counts, by_rows = fit_histograms(histograms), fit_rows(restored, label)
    assert torch.allclose(by_counts.weight, by_rows.weight, rtol=1e-6, atol=1e-8)
    assert torch.allclose(by_counts.intercept, by_rows.intercept, rtol=1e-6, atol=1e-6)
    found = histogram_scores(by_counts, histograms)
    decided = by_counts.decide(restored.T.double())
    for neuron in range(x.shape[1]):
        wanted = scores(label, decided[neuron])
        assert {name: float(values[neuron]) for name, values in found.items()} == pytest.approx(
            wanted, abs=1e-9
        )


@given(seed=seeds)
def test_the_laws_of_the_fit(seed: int) -> None:
    """Neurons multiplied or moved are the same probe; the label turned round turns the probe round."""
    x, label = planted(seed)
    plain = fit_rows(x, label)
    moved = fit_rows(x * 4 - 8, label)
    turned = fit_rows(x, ~label)
    assert torch.allclose(plain.weight, moved.weight, rtol=1e-4, atol=1e-5)
    assert torch.allclose(plain.decide(x.T.double()), moved.decide((x * 4 - 8).T.double()), atol=1e-3)
    assert torch.allclose(plain.weight, -turned.weight, rtol=1e-6, atol=1e-7)
    assert torch.allclose(plain.intercept, -turned.intercept, rtol=1e-5, atol=1e-6)


def test_polarity_is_the_sign_of_the_weight() -> None:
    x, label = planted(0)
    probes = fit_rows(torch.stack([x[:, 0], -x[:, 0]], dim=1), label)
    assert float(probes.weight[0]) > 1
    assert float(probes.weight[1]) == pytest.approx(-float(probes.weight[0]))


def test_neurons_that_separate_far_away_and_constant_ones() -> None:
    label = torch.arange(300) < 40
    noise = torch.randn(300, generator=torch.Generator().manual_seed(0))
    x = torch.stack(
        [label * 2.0 - 1, torch.full((300,), 7.0), 1e4 + noise, torch.where(label, 1e4, 0.0)], dim=1
    )
    probes = fit_rows(x, label, C=1e6)
    assert probes.converged.all()
    assert ((probes.decide(x.T.double()) > 0) == label)[[0, 3]].all()
    assert float(probes.weight[1]) == pytest.approx(0, abs=1e-12)
    assert float(probes.intercept[1]) == pytest.approx(0, abs=1e-9)
    assert torch.isfinite(probes.weight).all()
    assert int(probes.iterations.max()) <= 40


def test_unbalanced_probes_of_useless_neurons_give_the_share() -> None:
    label = torch.arange(100) < 20
    probes = fit_rows(torch.zeros(100, 1), label, balanced=False)
    assert float(probes.intercept) == pytest.approx(math.log(0.2 / 0.8))


def test_tiles_do_not_show() -> None:
    """Several tiles, the last of them short, equal fits one by one."""
    x, label = planted(2, n=50, neurons=200)
    book = code_book(x)
    histograms = histograms_of(book, x, label)
    whole = fit_histograms(histograms)
    chosen = torch.tensor([199, 0, 64, 63])
    assert torch.equal(fit_histograms(histograms.neurons(chosen)).weight, whole.neurons(chosen).weight)
    assert len(whole) == 200


def test_what_cannot_be_fitted() -> None:
    x, label = planted(0)
    with pytest.raises(ProbeError, match="0 of 200"):
        fit_rows(x, torch.zeros(200, dtype=torch.bool))
    with pytest.raises(OptionError):
        fit_rows(x, label, C=0.0)
    x[3, 5] = math.nan
    with pytest.raises(ProbeError, match="neuron 5 at example 3"):
        fit_rows(x, label)
    with pytest.raises(ProbeError, match="neuron 5 at example 3"):
        code_book(x)


@given(seed=seeds)
def test_the_error_of_uniform_codes_is_at_most_half_a_step(seed: int) -> None:
    x, _ = planted(seed)
    for book, half in ((code_book(x, kind="uniform"), False), (published_code_book(x), True)):
        restored = book.restore(book.encode(x)).double()
        step = (x.amax(0) - x.amin(0)).double() / 255
        rounding = (restored.abs() + step) * 2.0**-11 if half else 0.0
        assert ((restored - x.double()).abs() <= step / 2 * (1 + 1e-4) + rounding + 1e-5).all()


@given(seed=seeds)
def test_the_error_of_companded_codes_keeps_its_bound(seed: int) -> None:
    x, _ = planted(seed)
    book = code_book(x)
    restored = book.restore(book.encode(x)).double()
    knee = book.knee.double()
    ends = [
        torch.copysign((end.double().abs() / knee).log1p(), end.double()) for end in (book.low, book.high)
    ]
    step = (ends[1] - ends[0]) / 255
    bound = (restored.abs() + knee) * torch.expm1(step / 2)
    assert ((restored - x.double()).abs() <= bound * (1 + 1e-3) + 1e-5).all()
    assert (book.values().diff(dim=1) > 0).all()


def test_companded_codes_see_what_rare_large_activations_hide() -> None:
    """One activation in a thousand is 2,000 times as large: two or three uniform codes are left to others."""
    generator = torch.Generator().manual_seed(0)
    label = torch.rand(2000, generator=generator) < 0.3
    x = torch.randn(2000, 1, generator=generator)
    x[label] += 2
    x[::1000] = 2000
    area = {}
    for kind in ("companded", "uniform"):
        book = code_book(x, kind=kind)
        found = float(histogram_scores(fit_rows(x, label), histograms_of(book, x, label))["roc_auc"])
        area[kind] = max(found, 1 - found)  # the few large ones decide on the sign of the weight
    exact = scores(label, x[:, 0])["roc_auc"]
    assert area["companded"] == pytest.approx(exact, abs=0.002)
    assert area["uniform"] < exact - 0.15


def test_codes_outside_the_range_and_of_constant_neurons() -> None:
    book = code_book(torch.tensor([[0.0, 5.0], [1.0, 5.0]]), kind="uniform", margin=0.5)
    assert book.low.tolist() == [-0.5, 5.0]
    assert book.high.tolist() == [1.5, 5.0]
    codes = book.encode(torch.tensor([[-9.0, 5.0], [9.0, 5.0]]))
    assert codes.tolist() == [[0, 0], [CODES - 1, 0]]
    assert book.restore(codes).tolist() == [[-0.5, 5.0], [1.5, 5.0]]
    with pytest.raises(OptionError):
        code_book(torch.zeros(0, 3))
    with pytest.raises(OptionError, match="'log'"):
        code_book(torch.zeros(2, 3), kind="log")


@given(seed=seeds)
def test_counts_equal_counting(seed: int) -> None:
    generator = np.random.default_rng(seed)
    codes = generator.integers(0, 256, (40, 3)).astype(np.uint8)
    cell = generator.integers(-1, 3, 40)
    found = count_codes(torch.from_numpy(codes), torch.from_numpy(cell), 3)
    wanted = np.zeros((3, 3, 256), int)
    for example in range(40):
        for neuron in range(3):
            if cell[example] >= 0:
                wanted[neuron, cell[example], codes[example, neuron]] += 1
    assert found.tolist() == wanted.tolist()


def test_counts_of_batches_add_up_and_classes_pair() -> None:
    x, _ = planted(1)
    book = code_book(x)
    codes, cell = book.encode(x), torch.arange(200) % 4
    parts = [
        ClassHistograms(book.values(), count_codes(codes[rows], cell[rows], 4))
        for rows in (slice(0, 70), slice(70, 200))
    ]
    whole = ClassHistograms(book.values(), count_codes(codes, cell, 4))
    assert torch.equal((parts[0] + parts[1]).counts, whole.counts)
    pair = whole.pair(positive=[3], negative=[0, 1])
    kept = cell != 2
    wanted = count_codes(codes[kept], (cell[kept] == 3).long(), 2)
    assert torch.equal(pair.counts, wanted)
    assert pair.examples().tolist() == [100, 50]
    restored = book.restore(codes)[kept]
    assert torch.allclose(pair.variance(), restored.double().var(0, correction=0))
    with pytest.raises(ProbeError):
        whole + ClassHistograms(book.values() + 1, whole.counts)
    with pytest.raises(OptionError, match="class 4 of 4"):
        count_codes(codes, cell + 1, 4)


def test_saga_as_published_is_near_the_optimum_for_neurons_that_know_the_label() -> None:
    """Coefficients within about 1 %, MCC within .003; not so for useless neurons far from zero."""
    x, label = planted(11, n=4000, neurons=8)
    exact = fit_rows(x, label)
    for neuron in range(4):
        column = x[:, neuron : neuron + 1]
        saga = fit_logistic(column, label, as_published=True)
        assert float(saga.weight) == pytest.approx(float(exact.weight[neuron]), rel=0.012)
        decided = exact.decide(x.T.double())[neuron]
        assert scores(label, saga.decide(column))["mcc"] == pytest.approx(
            scores(label, decided)["mcc"], abs=0.003
        )
    useless = torch.randn(4000, 1, generator=torch.Generator().manual_seed(0)) + 300
    saga = fit_logistic(useless, label, as_published=True)
    assert abs(float(saga.weight) - float(fit_rows(useless, label).weight)) > 0.012 * abs(float(saga.weight))
