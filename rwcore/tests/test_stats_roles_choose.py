"""Partition, prediction and suppression: planted neurons are found, ties and thresholds are exact."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rwcore.benchmarks.reference import roles as reference
from rwcore.errors import OptionError
from rwcore.stats.roles.choose import N_PARTITION, ROLES, choose_roles
from rwcore.stats.roles.moments import TokenMoments, token_directions, token_moments
from rwcore.weights.layer import MlpLayer

D_MODEL, VOCAB = 24, 600


def moments_of(variance, skew, kurtosis):
    values = [torch.tensor(rows, dtype=torch.float32).reshape(1, -1) for rows in (variance, skew, kurtosis)]
    return TokenMoments(torch.zeros_like(values[0]), *values)


def names(codes):
    return [[ROLES[code] for code in row] for row in codes.tolist()]


def planted_unembedding(seed=0):
    """Tokens differ most along axis 0, where a tenth are far out; five rare ones point along axes 1 to 5."""
    generator = torch.Generator().manual_seed(seed)
    W_U = torch.randn(D_MODEL, VOCAB, generator=generator)
    W_U[1:6] = 0
    place = torch.arange(VOCAB)
    W_U[0] = torch.where(place % 2 == 0, 1.0, -1.0) * torch.where(place % 20 < 2, 12.0, 0.3)
    rare = torch.zeros(D_MODEL, 5)
    rare[1:6] = torch.eye(5) * 10
    W_U[:, 100:105] = rare
    return W_U


def planted_layers(seed=1, layers=3, n_neurons=30):
    """Orthogonal to axes 0 to 5 but for the planted neurons; what is planted, by name."""
    generator = torch.Generator().manual_seed(seed)
    outs = torch.randn(layers, n_neurons, D_MODEL, generator=generator)
    outs[:, :, :6] = 0
    planted = {
        "partition": [(0, 3), (1, 29), (2, 0), (2, 7)],
        "prediction": [(0, 5), (1, 2), (2, 29)],
        "suppression": [(0, 0), (2, 11)],
    }
    for count, (layer, neuron) in enumerate(planted["partition"]):
        outs[layer, neuron] *= 0.2
        outs[layer, neuron, 0] = 5.0 * (-1) ** count
    for sign, role in ((1, "prediction"), (-1, "suppression")):
        for count, (layer, neuron) in enumerate(planted[role]):
            outs[layer, neuron] *= 0.02
            outs[layer, neuron, 1 + count] = sign * (1.0 + count)
    gates = torch.randn(layers, n_neurons, D_MODEL, generator=generator)
    return [MlpLayer(k, gates[k], torch.zeros_like(out), out) for k, out in enumerate(outs)], planted


def found_of(roles):
    return {
        role: [tuple(pair) for pair in (roles.codes == code).nonzero().tolist()]
        for code, role in enumerate(ROLES)
        if role != "none"
    }


def test_planted_neurons_are_found_exactly():
    layers, planted = planted_layers()
    roles = choose_roles(token_moments(layers, token_directions(planted_unembedding())), 4)
    assert found_of(roles) == {role: sorted(pairs) for role, pairs in planted.items()}
    assert 1 < roles.kurtosis_threshold < 10


def test_roles_of_a_random_model_are_not_the_planted_ones():
    """A null model: without planting, those neurons are nothing special."""
    layers, planted = planted_layers()
    generator = torch.Generator().manual_seed(5)
    shuffled = [
        MlpLayer(one.index, one.gate, one.in_, torch.randn(one.out.shape, generator=generator))
        for one in layers
    ]
    roles = choose_roles(token_moments(shuffled, token_directions(planted_unembedding())), 4)
    assert found_of(roles)["partition"] != planted["partition"]


@given(
    seed=st.integers(0, 2**20),
    n_neurons=st.integers(2, 12),
    layers=st.integers(1, 3),
    levels=st.sampled_from([3, 1000]),
    folded=st.booleans(),
)
def test_equal_to_the_text_neuron_by_neuron(seed, n_neurons, layers, levels, folded):
    """With three levels of each moment, most variances and kurtoses tie."""
    rng = np.random.default_rng(seed)
    shape = (layers, n_neurons)
    variance, skew, kurtosis = (
        torch.from_numpy(rng.integers(0, levels, shape) - shift).float() for shift in (0, levels // 2, 1)
    )
    gatelin = None if folded else torch.from_numpy(rng.integers(-1, 2, shape)).float()
    partition = int(rng.integers(1, layers * n_neurons))
    roles = choose_roles(TokenMoments(variance, variance, skew, kurtosis), partition, gatelin=gatelin)
    sign = None if gatelin is None else gatelin.numpy()
    expected = reference.role_of_each(variance.numpy(), skew.numpy(), kurtosis.numpy(), sign, partition)
    assert names(roles.codes) == expected


def test_partition_has_its_size_and_roles_are_disjoint():
    """C69."""
    generator = torch.Generator().manual_seed(0)
    moments = TokenMoments(*(torch.randn(4, 600, generator=generator).abs() for _ in range(4)))
    roles = choose_roles(moments)
    counts = torch.bincount(roles.codes.flatten().long(), minlength=4)
    assert N_PARTITION == 1000
    assert counts[ROLES.index("partition")] == 1000
    assert counts.sum() == 2400
    outside = roles.codes != ROLES.index("partition")
    assert moments.variance[outside].max() <= roles.variance_threshold
    assert moments.kurtosis[~outside].max() == roles.kurtosis_threshold


def test_equal_variances_go_to_the_first_neurons():
    roles = choose_roles(moments_of([1, 2, 2, 2, 3], [0] * 5, [0] * 5), 3)
    assert names(roles.codes) == [["none", "partition", "partition", "none", "partition"]]
    assert roles.variance_threshold == 2


def test_the_kurtosis_threshold_is_strict_and_at_least_zero():
    roles = choose_roles(moments_of([9, 1, 1, 1], [0, 1, 1, -1], [5, 5, 5.001, 6]), 1)
    assert names(roles.codes) == [["partition", "none", "prediction", "suppression"]]
    assert roles.kurtosis_threshold == 5
    roles = choose_roles(moments_of([9, 1, 1], [0, 1, 1], [-2, 0, 0.1]), 1)
    assert names(roles.codes) == [["partition", "none", "prediction"]]
    assert roles.kurtosis_threshold == 0


def test_a_skew_of_zero_is_neither():
    roles = choose_roles(moments_of([9, 1], [0, 0], [0, 7]), 1)
    assert names(roles.codes) == [["partition", "none"]]


def test_undefined_neurons_have_no_role():
    nan = float("nan")
    roles = choose_roles(moments_of([nan, 9, 1, nan], [nan, 0, 1, nan], [nan, 1, 2, nan]), 1)
    assert names(roles.codes) == [["none", "partition", "prediction", "none"]]


def test_a_partition_neuron_without_kurtosis_does_not_hide_the_others():
    nan = float("nan")
    roles = choose_roles(moments_of([0, 0, 0], [nan] * 3, [nan] * 3), 2)
    assert names(roles.codes) == [["partition", "partition", "none"]]
    assert roles.kurtosis_threshold == 0


def test_unfolded_weights_need_the_sign_of_the_gate():
    """Turning in and out round is the same neuron; the role must not change, and would without gatelin."""
    layers, planted = planted_layers()
    tokens = token_directions(planted_unembedding())
    generator = torch.Generator().manual_seed(3)
    sign = torch.where(torch.rand(3, 30, generator=generator) < 0.5, -1.0, 1.0)
    turned = [MlpLayer(one.index, one.gate, one.in_, one.out * sign[one.index, :, None]) for one in layers]
    moments = token_moments(turned, tokens)
    roles = choose_roles(moments, 4, gatelin=sign * 0.3)
    assert found_of(roles) == {role: sorted(pairs) for role, pairs in planted.items()}
    assert found_of(choose_roles(moments, 4))["prediction"] != planted["prediction"]


@pytest.mark.parametrize("partition", [0, -3, 3, 4, 1000])
def test_impossible_sizes_name_the_option_and_the_range(partition):
    nan = float("nan")
    with pytest.raises(OptionError) as caught:
        choose_roles(moments_of([1, 2, 3, nan], [0] * 4, [0] * 4), partition)
    assert f"--partition {partition}" in str(caught.value)
    assert "from 1 to 2" in str(caught.value)
