"""Interventions: what can be asked for, and the mean values of conditions."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rwcore.ablation.interventions import MODES, PARAMETER_MODES, Ablation, Intervention, mean_values
from rwcore.activations.fold import fold_summary
from rwcore.activations.quadrants import LISTS, QUADRANTS, QUANTITIES
from rwcore.activations.summary import Summary
from rwcore.benchmarks.reference.ablation import mean_of
from rwcore.errors import OptionError
from rwcore.neurons import NeuronSet

N_LAYERS, N_NEURONS = 3, 7
SIGNS = (None, "+", "-")
ALL = NeuronSet.of("all", list(itertools.product(range(N_LAYERS), range(N_NEURONS))))


def summary(seed: int = 0, empty: float = 0.3) -> Summary:
    """Random frequencies and means; a quadrant that never occurs has the mean NaN."""
    generator = torch.Generator().manual_seed(seed)
    shape = (N_LAYERS, 4, N_NEURONS)
    frequencies = torch.rand(shape, generator=generator, dtype=torch.float64)
    frequencies = frequencies * (torch.rand(shape, generator=generator) >= empty)
    frequencies /= frequencies.sum(dim=1, keepdim=True).clamp(min=1e-9) * 1.1
    means = torch.randn((N_LAYERS, 4, len(QUANTITIES), N_NEURONS), generator=generator, dtype=torch.float64)
    means[(frequencies == 0)[:, :, None].expand_as(means)] = torch.nan
    top = torch.zeros(N_LAYERS, len(LISTS), N_NEURONS, 1)
    where = top.long()
    return Summary(frequencies, frequencies[:, :2].sum(dim=1), means, top, where, where, 100)


# --- what can be asked for -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"mode": "zero_ablation"}, "no mode 'zero_ablation'"),
        ({"mode": "zero", "gate": "plus"}, "a sign cannot be 'plus'"),
        ({"mode": "zero", "post": "−"}, "a sign cannot be '−'"),
        ({"mode": "zero", "post": ""}, "a sign cannot be ''"),
        ({"mode": "zero", "parameter": 0.0}, "mode zero takes no parameter"),
        ({"mode": "relu", "parameter": 1.0}, "mode relu takes no parameter"),
        ({"mode": "mean", "parameter": 1.0}, "mode mean takes no parameter"),
        *(({"mode": mode}, f"mode {mode} needs a finite number, not None") for mode in PARAMETER_MODES),
        *(({"mode": mode, "parameter": math.nan}, "not nan") for mode in PARAMETER_MODES),
        ({"mode": "fixed", "parameter": math.inf}, "not inf"),
        ({"mode": "zero", "positions": ()}, r"positions cannot be \(\)"),
        ({"mode": "zero", "positions": (-1,)}, r"positions cannot be \(-1,\)"),
        ({"mode": "zero", "positions": (2, 2)}, r"positions cannot be \(2, 2\)"),
        ({"mode": "zero", "positions": (True,)}, r"positions cannot be \(True,\)"),
    ],
)
def test_nonsense_is_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(OptionError, match=text) as caught:
        Intervention(**options)
    assert caught.value.remedy


def test_labels_say_everything() -> None:
    assert Intervention("zero").label == "zero"
    assert Intervention("zero", "-", "+").label == "zero gate- post+"
    assert Intervention("mean", post="-").label == "mean post-"
    assert Intervention("fixed", parameter=2.0).label == "fixed 2"
    assert (
        Intervention("multiply", "+", parameter=-0.5, positions=(3, 0)).label == "multiply -0.5 gate+ at 3,0"
    )
    assert (
        Intervention("threshold", parameter=1e-7, as_published=True).label == "threshold 1e-07 as published"
    )


def test_no_two_interventions_share_a_label() -> None:
    every = [
        Intervention(mode, gate, post, parameter, positions, published)
        for mode in MODES
        for gate in SIGNS
        for post in SIGNS
        for parameter in ((0.1, 0.10000001, -1.0) if mode in PARAMETER_MODES else (None,))
        for positions in (None, (0,), (0, 1), (1,))
        for published in (False, True)
    ]
    assert len({one.label for one in every}) == len(every)


@pytest.mark.parametrize("mode", MODES)
def test_which_interventions_depend_on_the_token(mode: str) -> None:
    parameter = 0.5 if mode in PARAMETER_MODES else None
    plain = Intervention(mode, parameter=parameter)
    assert plain.everywhere
    assert not plain.conditional
    for options in ({"gate": "+"}, {"post": "-"}, {"positions": (1,)}):
        one = replace(plain, **options)
        assert not one.everywhere
        assert one.conditional == ("positions" not in options)
        published = replace(one, as_published=True)
        assert published.everywhere == (mode not in ("zero", "mean"))
        assert published.conditional == (one.conditional and mode in ("zero", "mean"))


# --- ablations -----------------------------------------------------------------------------------------


def neurons(count: int) -> NeuronSet:
    return NeuronSet.of("some", [(0, neuron) for neuron in range(count)])


def ones(count: int) -> torch.Tensor:
    return torch.ones(count, dtype=torch.int8)


@pytest.mark.parametrize(
    ("mode", "signs", "values", "text"),
    [
        ("zero", [1, -1], None, "signs of 3 neurons"),
        ("zero", [1, -1, 0], None, r"\+1 or -1"),
        ("zero", [1, -1, 1], [0.0, 0.0, 0.0], "mode zero takes no values"),
        ("relu", [1, -1, 1], [0.0, 0.0, 0.0], "mode relu takes no values"),
        ("mean", [1, -1, 1], None, "mean ablation needs the mean of every neuron"),
        ("mean", [1, -1, 1], [0.0, 0.0], "means of 3 neurons .* 2 are given, 2 of them finite"),
        ("mean", [1, -1, 1], [0.0, math.nan, 1.0], "3 are given, 2 of them finite"),
    ],
)
def test_signs_and_values_must_be_those_of_the_neurons(
    mode: str, signs: list[int], values: list[float] | None, text: str
) -> None:
    given_values = None if values is None else torch.tensor(values)
    with pytest.raises(OptionError, match=text) as caught:
        Ablation(neurons(3), Intervention(mode), torch.tensor(signs, dtype=torch.int8), given_values)
    assert caught.value.where == "some"


def test_a_neuron_can_be_ablated_only_once() -> None:
    twice = NeuronSet.of("twice", [(0, 1), (1, 1), (0, 1)])
    with pytest.raises(OptionError, match="in the set twice"):
        Ablation(twice, Intervention("zero"), ones(3))
    assert Ablation(NeuronSet.union("once", [twice]), Intervention("zero"), ones(2)).values is None


def test_an_ablation_from_tables_of_all_neurons() -> None:
    signs = (torch.arange(N_LAYERS * N_NEURONS) % 2 * 2 - 1).reshape(N_LAYERS, N_NEURONS).to(torch.int8)
    chosen = NeuronSet.of("chosen", [(2, 3), (0, 6), (2, 0)])
    found = Ablation.of(chosen, Intervention("zero"), signs=signs)
    assert found.signs.tolist() == [int(signs[pair]) for pair in chosen.pairs()]
    assert found.values is None
    means = Ablation.of(chosen, Intervention("mean", "-", "+"), signs=signs, summary=summary())
    assert means.values is not None
    assert torch.equal(means.values, mean_values(summary(), chosen, Intervention("mean", "-", "+")))
    assert Ablation.of(chosen, Intervention("zero"), signs=signs, summary=summary()).values is None


def test_an_ablation_from_the_wrong_tables() -> None:
    chosen, signs = NeuronSet.of("chosen", [(2, 3)]), torch.ones(N_LAYERS, N_NEURONS, dtype=torch.int8)
    with pytest.raises(OptionError, match="needs the mean"):
        Ablation.of(chosen, Intervention("mean"), signs=signs)
    with pytest.raises(OptionError, match=r"summary is of \[3, 7\] neurons, the model has \[4, 7\]"):
        Ablation.of(chosen, Intervention("mean"), signs=torch.ones(4, 7, dtype=torch.int8), summary=summary())
    for pair in ((3, 0), (0, 7), (-1, 0), (0, -1)):
        with pytest.raises(OptionError, match=f"no neuron {pair[0]}.{pair[1]} in this model") as caught:
            Ablation.of(NeuronSet.of("bad", [(0, 0), pair]), Intervention("zero"), signs=signs)
        assert caught.value.where == "bad: 1 of 2 neurons"


# --- mean values ---------------------------------------------------------------------------------------


@given(
    seed=st.integers(0, 2**20), gate=st.sampled_from(SIGNS), post=st.sampled_from(SIGNS), quirk=st.booleans()
)
def test_mean_values_are_those_of_the_reference(
    seed: int, gate: str | None, post: str | None, quirk: bool
) -> None:
    given_summary = summary(seed)
    order = np.random.default_rng(seed).permutation(len(ALL))[:12]
    chosen = NeuronSet.of("some", [ALL.pairs()[place] for place in order])
    found = mean_values(given_summary, chosen, Intervention("mean", gate, post, as_published=quirk))
    place = QUANTITIES.index("post")
    wanted = [
        mean_of(
            {name: float(given_summary.frequencies[layer, q, neuron]) for q, name in enumerate(QUADRANTS)},
            {name: float(given_summary.means[layer, q, place, neuron]) for q, name in enumerate(QUADRANTS)},
            gate,
            post,
            quirk,
        )
        for layer, neuron in chosen.pairs()
    ]
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, torch.tensor(wanted, dtype=torch.float64), rtol=1e-12, atol=1e-15)


def test_each_quadrant_has_its_own_mean() -> None:
    """Means 1 to 4 in the order gate+_in+, gate+_in-, gate-_in+, gate-_in-; each a quarter of the tokens."""
    given_summary = summary(empty=0.0)
    place = QUANTITIES.index("post")
    given_summary.frequencies[:] = 0.25
    given_summary.means[:, :, place] = torch.arange(1.0, 5.0).double()[:, None]
    for gate, post, wanted in [
        ("+", "+", 1.0),
        ("+", "-", 2.0),
        ("-", "-", 3.0),
        ("-", "+", 4.0),
        ("+", None, 1.5),
        ("-", None, 3.5),
        (None, "+", 2.5),
        (None, "-", 2.5),
        (None, None, 2.5),
    ]:
        assert mean_values(given_summary, ALL, Intervention("mean", gate, post)).unique().tolist() == [wanted]
    given_summary.means[:, 0, place] = 101.0
    plus, minus = (Intervention("mean", post=sign) for sign in "+-")
    assert mean_values(given_summary, ALL, plus)[0] == 52.5
    assert mean_values(given_summary, ALL, minus)[0] == 2.5
    for quirk in (replace(plus, as_published=True), replace(minus, as_published=True)):
        assert mean_values(given_summary, ALL, quirk)[0] == 27.5


def test_means_of_what_never_occurs_are_finite() -> None:
    """I11: zero in place of 0/0, also where a quadrant that counts has no mean."""
    never = summary(empty=1.0)
    assert never.means.isnan().all()
    for gate, post in itertools.product(SIGNS, SIGNS):
        assert mean_values(never, ALL, Intervention("mean", gate, post)).tolist() == [0.0] * len(ALL)
    half = summary(seed=3, empty=0.5)
    assert half.means.isnan().any()
    for gate, post in itertools.product(SIGNS, SIGNS):
        assert mean_values(half, ALL, Intervention("mean", gate, post)).isfinite().all()


def test_means_of_folded_statistics_turn_with_the_sign() -> None:
    """The mean over all tokens only changes its sign; that of a condition is another quadrant's."""
    plain = summary(seed=1, empty=0.0)
    signs = torch.where(torch.arange(N_NEURONS) % 2 == 0, 1.0, -1.0).expand(N_LAYERS, -1).contiguous()
    folded = fold_summary(plain, signs)
    flat = signs.reshape(-1).double()
    whole = [mean_values(one, ALL, Intervention("mean")) for one in (plain, folded)]
    torch.testing.assert_close(whole[1], flat * whole[0], rtol=1e-12, atol=1e-15)
    plus, minus = (mean_values(plain, ALL, Intervention("mean", "-", sign)) for sign in "+-")
    found = mean_values(folded, ALL, Intervention("mean", "-", "+"))
    torch.testing.assert_close(found, torch.where(flat > 0, plus, -minus), rtol=0, atol=0)


def test_mean_values_of_no_neurons_and_of_neurons_that_are_not_there() -> None:
    assert mean_values(summary(), NeuronSet.of("none", []), Intervention("mean")).shape == (0,)
    with pytest.raises(OptionError, match=r"no neuron 0\.7"):
        mean_values(summary(), NeuronSet.of("bad", [(0, 7)]), Intervention("mean"))
