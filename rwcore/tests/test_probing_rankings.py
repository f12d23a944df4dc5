"""Rankings: against loops and scikit-learn, the identity of mean difference and F, planted neurons."""

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
from rwcore.probing.codes import code_book
from rwcore.probing.errors import ProbeError
from rwcore.probing.histograms import ClassHistograms, count_codes
from rwcore.probing.moments import binary_moments, class_moments
from rwcore.probing.normalise import refuse_non_finite, training_scale
from rwcore.probing.rankings import RANKINGS, binned_mi, descending, f_stat, mean_dif, rank_rows

seeds = st.integers(0, 10_000)


def rows(seed: int, n: int = 60, neurons: int = 8) -> tuple[Tensor, Tensor]:
    """Activations of different sizes, the first of which know the label."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.rand(n, generator=generator) < 0.3
    label[:2] = torch.tensor([True, False])
    x = torch.randn(n, neurons, generator=generator) * torch.logspace(-1, 1, neurons) + 3
    x[label] += torch.linspace(2, 0, neurons)
    return x, label


@given(seed=seeds)
def test_rankings_from_sums_equal_the_loops(seed: int) -> None:
    x, label = rows(seed, n=30, neurons=4)
    moments = binary_moments(x, label)
    for neuron in range(4):
        values, labels = x[:, neuron].double().tolist(), label.tolist()
        assert mean_dif(moments, normalised=False)[neuron] == pytest.approx(
            reference.mean_dif(values, labels), rel=1e-5, abs=1e-6
        )
        assert mean_dif(moments)[neuron] == pytest.approx(
            reference.mean_dif(reference.normalised(values).tolist(), labels), rel=1e-5, abs=1e-6
        )
        assert f_stat(moments)[neuron] == pytest.approx(reference.f_stat(values, labels), rel=1e-4, abs=1e-6)


@given(seed=seeds)
def test_f_equals_scikit_learn(seed: int) -> None:
    from sklearn.feature_selection import f_classif

    x, label = rows(seed)
    wanted, _ = f_classif(x.double().numpy(), label.numpy())
    assert np.allclose(f_stat(binary_moments(x, label)).numpy(), wanted, rtol=1e-4, atol=1e-6)


@given(seed=seeds)
def test_mean_difference_and_f_give_one_order_of_normalised_neurons(seed: int) -> None:
    x, label = rows(seed, neurons=40)
    moments = binary_moments(x, label)
    assert descending(mean_dif(moments)).tolist() == descending(f_stat(moments)).tolist()
    difference, n, share = mean_dif(moments), len(label), float(label.double().mean())
    squared = share * (1 - share) * (difference / 0.1) ** 2
    assert torch.allclose(f_stat(moments), (n - 2) * squared / (1 - squared), rtol=1e-6)


def test_the_orders_differ_without_normalisation_and_below_the_floor() -> None:
    x, label = rows(5, neurons=40)
    moments = binary_moments(x, label)
    assert descending(mean_dif(moments, normalised=False)).tolist() != descending(f_stat(moments)).tolist()
    # The best neuron by F, but its activations are tiny: divided by the floor, not by its deviation.
    tiny = torch.where(label, 1e-5, -1e-5) + 1e-7 * torch.randn(len(label), generator=torch.Generator())
    floored = binary_moments(torch.cat([x, tiny[:, None]], dim=1), label)
    assert int(descending(f_stat(floored))[0]) == 40
    assert descending(mean_dif(floored)).tolist().index(40) > 30


@given(seed=seeds, cut=st.integers(1, 59))
def test_sums_of_batches_add_up(seed: int, cut: int) -> None:
    x, label = rows(seed)
    shift = x[:5].double().mean(0)
    member = torch.stack([~label, label])
    whole = class_moments(x, member, shift)
    parts = class_moments(x[:cut], member[:, :cut], shift) + class_moments(x[cut:], member[:, cut:], shift)
    assert torch.equal(whole.count, parts.count)
    assert torch.allclose(whole.mean(), parts.mean(), rtol=1e-5, atol=1e-5)
    assert torch.allclose(whole.variance(), x.double().var(0, correction=0), rtol=1e-4)
    with pytest.raises(ProbeError, match="cannot be added"):
        whole + class_moments(x, member)


def test_the_variance_survives_a_great_mean() -> None:
    x = torch.tensor([[1000.0], [1000.5], [1001.0], [1000.5]])
    moments = binary_moments(x, torch.tensor([True, False, True, False]))
    assert float(moments.variance()) == pytest.approx(0.125, rel=1e-6)


def test_one_class_against_the_rest_out_of_many() -> None:
    x, _ = rows(1)
    kind = torch.arange(60) % 3
    many = class_moments(x, torch.stack([kind == number for number in range(3)]))
    pair = many.pair(positive=[2], negative=[0, 1])
    assert torch.allclose(mean_dif(pair), mean_dif(binary_moments(x, kind == 2)), rtol=1e-5)


def test_ties_go_by_number_and_unknown_ones_last() -> None:
    assert descending(torch.tensor([1.0, 3.0, math.nan, 3.0, 1.0])).tolist() == [1, 3, 0, 4, 2]
    constant = binary_moments(torch.ones(6, 2), torch.arange(6) < 3)
    assert f_stat(constant).tolist() == [0, 0]
    assert mean_dif(constant).tolist() == [0, 0]


@given(seed=seeds, bins=st.integers(2, 6))
def test_binned_information_equals_the_loop(seed: int, bins: int) -> None:
    """Codes that are all in use by one example each, so that a bin is a run of codes."""
    generator = torch.Generator().manual_seed(seed)
    n = 24
    codes = torch.stack([torch.randperm(n, generator=generator) for _ in range(3)], dim=1)
    label = torch.arange(n) % 3 == 0
    counts = count_codes(codes.to(torch.uint8), label.long(), 2)
    found = binned_mi(ClassHistograms(torch.arange(256.0).repeat(3, 1), counts), bins=bins)
    for neuron in range(3):
        # the middle of the k-th of n examples is at (k + 1/2)/n
        binned = [int((code + 0.5) / n * bins) for code in codes[:, neuron].tolist()]
        wanted = reference.mutual_information(binned, label.tolist())
        assert found[neuron] == pytest.approx(wanted, abs=1e-12)


def test_information_of_chance_is_about_zero_and_of_the_label_all() -> None:
    generator = torch.Generator().manual_seed(3)
    label = torch.rand(4000, generator=generator) < 0.25
    x = torch.stack([torch.randn(4000, generator=generator), label + 0.0], dim=1)
    book = code_book(x)
    found = binned_mi(ClassHistograms(book.values(), count_codes(book.encode(x), label.long(), 2)))
    share = float(label.double().mean())
    entropy = -share * math.log(share) - (1 - share) * math.log(1 - share)
    assert abs(float(found[0])) < 0.003
    assert float(found[1]) == pytest.approx(entropy, abs=2e-4)
    with pytest.raises(OptionError):
        binned_mi(ClassHistograms(book.values(), count_codes(book.encode(x), label.long(), 2)), bins=1)


@pytest.mark.parametrize("method", [name for name in RANKINGS if name != "random"])
def test_every_ranking_finds_the_planted_neuron(method: str) -> None:
    generator = torch.Generator().manual_seed(8)
    label = torch.rand(300, generator=generator) < 0.3
    x = torch.randn(300, 12, generator=generator)
    x[:, 7] += torch.where(label, 3.0, 0.0)
    assert int(descending(rank_rows(method, x, label))[0]) == 7
    assert int(descending(rank_rows(method, x, ~label))[0]) == 7


def test_the_random_ranking_is_a_seeded_order() -> None:
    x, label = rows(0)
    first, again, other = (rank_rows("random", x, label, seed=seed) for seed in (1, 1, 2))
    assert sorted(first.tolist()) == list(range(8))
    assert first.tolist() == again.tolist()
    assert first.tolist() != other.tolist()


def test_the_published_neighbours_are_those_of_scikit_learn() -> None:
    from sklearn.feature_selection import mutual_info_classif

    x, label = rows(2)
    scaled = (x / training_scale(x)).numpy()
    wanted = mutual_info_classif(scaled, label.numpy(), n_neighbors=3, random_state=4)
    assert rank_rows("mi", x, label, as_published=True, seed=4).tolist() == wanted.tolist()


def test_what_cannot_be_ranked() -> None:
    x, label = rows(0)
    with pytest.raises(OptionError, match="ranking 'best'"):
        rank_rows("best", x, label)
    with pytest.raises(OptionError, match="array of one row"):
        rank_rows("svm", x, label, as_published=True)
    with pytest.raises(ProbeError, match="0 of 60 examples are positive"):
        rank_rows("mean_dif", x, torch.zeros(60, dtype=torch.bool))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_an_activation_that_is_not_finite_is_named(value: float) -> None:
    x, label = rows(0)
    x[17, 3] = value
    with pytest.raises(ProbeError, match="neuron 3 at example 17"):
        rank_rows("f_stat", x, label)
    with pytest.raises(ProbeError, match="neuron 3 at example 17"):
        training_scale(x)


def test_great_finite_activations_pass() -> None:
    x = torch.full((4, 4), 6e4, dtype=torch.float16)
    x[0] = -6e4
    refuse_non_finite(x)
    assert training_scale(x).isfinite().all()


def test_the_floor_of_the_normalisation() -> None:
    x = torch.tensor([[1.0, 2.0, 1e-5], [1.0, 4.0, -1e-5]])
    assert training_scale(x).tolist() == pytest.approx([0.01, 10.0, 0.01])
