"""What chance gives: intervals that cover, p values that are uniform, planted neurons that are found."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rwcore.errors import OptionError
from rwcore.probing.chance import f_p_values, false_discoveries, shuffled, shuffled_p_values
from rwcore.probing.errors import ProbeError
from rwcore.probing.intervals import confusion_intervals, rank_intervals
from rwcore.probing.moments import binary_moments
from rwcore.probing.scores import CONFUSION_SCORES, scores

seeds = st.integers(0, 1000)


def documents(seed: int, number: int = 40, size: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    """Labels, scores and documents, whose examples are alike."""
    generator = torch.Generator().manual_seed(seed)
    group = torch.arange(number).repeat_interleave(size)
    label = torch.rand(number * size, generator=generator) < 0.4
    own = torch.randn(number, generator=generator)[group]
    return label, label * 1.5 - 0.7 + own + torch.randn(number * size, generator=generator) / 2, group


def test_intervals_are_those_of_drawing_documents() -> None:
    """Against drawing rows of documents one at a time, with another generator."""
    label, score, group = documents(0)
    found = confusion_intervals(label, (score > 0)[:, None], group)
    areas = rank_intervals(label, score, group)
    rows = [(group == one).nonzero()[:, 0] for one in range(40)]
    generator = np.random.default_rng(5)
    drawn: dict[str, list[float]] = {}
    for _ in range(1500):
        kept = torch.cat([rows[one] for one in generator.integers(0, 40, 40)])
        for name, value in scores(label[kept], score[kept]).items():
            drawn.setdefault(name, []).append(value)
    assert set(found) == set(CONFUSION_SCORES)
    for name, interval in [*((name, of[0]) for name, of in found.items()), *areas.items()]:
        low, high = np.quantile(drawn[name], [0.025, 0.975])
        spread = float(np.std(drawn[name]))
        assert interval.low == pytest.approx(low, abs=0.35 * spread)
        assert interval.high == pytest.approx(high, abs=0.35 * spread)
        assert interval.standard_error == pytest.approx(spread, rel=0.15)
        assert interval.documents == min(len(group[label].unique()), len(group[~label].unique()))


def test_a_class_of_a_single_document_has_no_interval() -> None:
    """Nor do draws that miss a class count as an MCC of 0."""
    group = torch.arange(12).repeat_interleave(3)
    for many in (1, 2):
        label = group < many
        (found,) = confusion_intervals(label, label[:, None], group)["mcc"]
        assert found.documents == many
        assert math.isnan(found.low) == (many == 1)
        assert many == 1 or (found.low, found.high) == pytest.approx((1, 1))


def test_intervals_of_documents_are_longer_than_those_of_examples() -> None:
    label, score, group = documents(1)
    by_document = rank_intervals(label, score, group, draws=300)["roc_auc"]
    label_of_document = torch.arange(200) // 5 % 2 == 0
    strong = rank_intervals(label_of_document, score, group, draws=300)["roc_auc"]
    weak = rank_intervals(label_of_document, score, torch.arange(200), draws=300)["roc_auc"]
    assert strong.standard_error > 1.4 * weak.standard_error
    assert by_document.low < scores(label, score)["roc_auc"] < by_document.high


def test_several_probes_at_once_and_one_document() -> None:
    label, score, group = documents(2)
    chosen = torch.stack([score > 0, score > 1, ~label], dim=1)
    together = confusion_intervals(label, chosen, group, draws=100)
    for probe in range(3):
        alone = confusion_intervals(label, chosen[:, probe : probe + 1], group, draws=100)
        assert together["mcc"][probe] == alone["mcc"][0]
    assert together["mcc"][2].high == pytest.approx(-1)
    single = rank_intervals(label, score, torch.zeros(200, dtype=torch.int64), draws=10)["pr_auc"]
    assert math.isnan(single.low)
    assert single.documents == 1


def test_impossible_intervals() -> None:
    label, score, group = documents(0)
    for options in ({"draws": 0}, {"draws": 10, "level": 1.0}):
        with pytest.raises(OptionError):
            rank_intervals(label, score, group, **options)
        with pytest.raises(OptionError):
            confusion_intervals(label, (score > 0)[:, None], group, **options)


def test_p_values_of_f_equal_scikit_learn() -> None:
    from sklearn.feature_selection import f_classif

    x = torch.randn(80, 6, generator=torch.Generator().manual_seed(0))
    label = torch.arange(80) % 4 == 0
    x[label, 0] += 1
    _, wanted = f_classif(x.double().numpy(), label.numpy())
    assert f_p_values(binary_moments(x, label)).numpy() == pytest.approx(wanted, rel=1e-4)


@given(p=st.lists(st.floats(0, 1), min_size=1, max_size=20), unknown=st.integers(0, 3))
def test_adjusted_p_values_equal_the_step_up_rule(p: list[float], unknown: int) -> None:
    found = false_discoveries(torch.tensor([math.nan] * unknown + p, dtype=torch.float64))
    assert found[:unknown].isnan().all()
    for place, value in enumerate(p):
        ranked = sorted(p)
        wanted = min(
            min(1.0, one * len(p) / (number + 1)) for number, one in enumerate(ranked) if one >= value
        )
        assert float(found[unknown + place]) == pytest.approx(wanted)


@given(seed=seeds)
def test_shuffles_keep_the_labels_of_documents(seed: int) -> None:
    group = torch.tensor([3, 3, 1, 1, 1, 0, 7, 7])
    whole = torch.tensor([True, True, False, False, False, True, False, False])
    drawn = shuffled(whole, group, seed=seed)
    alike = [len(drawn[group == one].unique()) == 1 for one in (0, 1, 3, 7)]
    assert all(alike)
    assert sum(bool(drawn[group == one][0]) for one in (0, 1, 3, 7)) == 2


def test_mixed_documents_exchange_runs_of_labels() -> None:
    """As many positives as before, and every example may have any label."""
    group = torch.tensor([2, 9, 2, 9, 2])
    label = torch.tensor([True, False, False, True, False])
    drawn = torch.stack([shuffled(label, group, seed=seed) for seed in range(300)])
    assert (drawn.sum(1) == 2).all()
    assert (drawn.double().mean(0) - 0.4).abs().max() < 0.1


def test_planted_neurons_are_found_and_others_are_not() -> None:
    generator = torch.Generator().manual_seed(1)
    group = torch.arange(60).repeat_interleave(4)
    label = (torch.arange(60) % 3 == 0)[group]
    x = torch.randn(240, 300, generator=generator) + torch.randn(60, 300, generator=generator)[group]
    x[label, 17] += 3
    found = shuffled_p_values(x, label, group, shuffles=499)
    assert float(found.family[17]) == pytest.approx(1 / 500)
    assert int((found.family < 0.05).sum()) == 1
    assert (found.single <= found.family).all()
    # Half of the neurons are below a half: the p values of neurons that know nothing are uniform.
    assert 0.35 < float((found.single < 0.5).double().mean()) < 0.65
    # The F test takes the four examples of a document for independent ones, and finds far too many.
    independent = f_p_values(binary_moments(x, label))
    assert float((independent < 0.05).double().mean()) > 0.1
    assert float((found.single < 0.05).double().mean()) < 0.09


def test_shuffled_labels_leave_nothing_to_find() -> None:
    generator = torch.Generator().manual_seed(2)
    group = torch.arange(100)
    label = torch.arange(100) % 2 == 0
    x = torch.randn(100, 50, generator=generator)
    x[label, 3] += 3
    assert float(shuffled_p_values(x, label, group, shuffles=199).family[3]) == 1 / 200
    control = shuffled_p_values(x, shuffled(label, group, seed=4), group, shuffles=199)
    assert float(control.family.min()) > 0.05


def test_a_constant_neuron_is_never_significant() -> None:
    x = torch.ones(40, 2)
    x[:, 1] = torch.arange(40)
    found = shuffled_p_values(x, torch.arange(40) < 20, torch.arange(40), shuffles=99)
    assert float(found.single[0]) == 1
    assert float(found.single[1]) == 0.01


def test_what_cannot_be_shuffled() -> None:
    x, group = torch.zeros(5, 2), torch.arange(5)
    with pytest.raises(ProbeError, match="5 of 5"):
        shuffled_p_values(x, torch.ones(5, dtype=torch.bool), group)
    with pytest.raises(OptionError):
        shuffled_p_values(x, torch.arange(5) < 2, group, shuffles=0)
    x[1, 1] = math.nan
    with pytest.raises(ProbeError, match="neuron 1 at example 1"):
        shuffled_p_values(x, torch.arange(5) < 2, group)
