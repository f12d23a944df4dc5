"""Means of heads and ratios of groups, and the ways in which they have gone wrong."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rwcore.errors import OptionError
from rwcore.heads.repair import Repairs
from rwcore.heads.repair_groups import (
    GROUP_COLUMNS,
    HEAD_COLUMNS,
    clipped_mean,
    group_table,
    groups,
    head_table,
    late_layers,
    ordinary_tokens,
    top_tokens,
)
from rwcore.heads.repair_neurons import NeuronSums


def made(direct, ablated=None, heads=0.0, mlp=0.0, norm=0.0, post_norm=0.0):
    """Repairs with given parts, [head token], and the change of the logit that follows."""
    direct = torch.as_tensor(direct, dtype=torch.float32)
    zero = torch.zeros_like(direct)
    ablated = zero if ablated is None else torch.as_tensor(ablated, dtype=torch.float32)
    parts = {name: zero + torch.as_tensor(value) for name, value in
             {"heads": heads, "mlp": mlp, "norm": norm, "post_norm": post_norm}.items()}  # fmt: skip
    change = sum(parts.values(), zero) - (direct - ablated)
    repairs = Repairs(
        direct=direct, ablated_direct=ablated, logit_change=change, scale_ratio=zero + 1.1, **parts
    )
    numbers = torch.ones_like(direct)
    sums = dict.fromkeys(
        ("gain", "anti_erasure", "change", "few", "best_clean", "best_change", "erased"), numbers
    )
    return repairs, NeuronSums(**sums, best=numbers.long())


def test_a_head_by_hand():
    # Two tokens: 4 and 2 should be lost; 1 and 3 are repaired.
    repairs, neurons = made([[4.0, 2.0]], mlp=[[0.5, 3.0]], norm=[[0.5, 0.0]])
    (row,) = head_table([(3, 1)], 7, repairs, neurons).to_dict("records")
    assert row["relative_depth"] == 0.5
    assert (row["direct"], row["due"], row["logit_change"], row["repair"]) == (3, 3, -1, 2)
    assert (row["repair_mlp"], row["repair_norm"], row["repair_heads"]) == (1.75, 0.25, 0)
    assert row["ratio"] == pytest.approx(2 / 3)
    assert (row["share_repaired"], row["share_partly"], row["share_over"]) == (1, 0.5, 0.5)
    assert row["ratio_sd"] == pytest.approx(np.std([0.25, 1.5], ddof=1))
    assert row["share_norm_grows"] == 1
    assert row["largest_remainder"] < 1e-6


def test_selected_tokens_only():
    repairs, neurons = made([[4.0, 2.0, 9.0]], mlp=[[0.5, 3.0, 0.0]])
    (row,) = head_table([(0, 0)], 2, repairs, neurons, [torch.tensor([2])]).to_dict("records")
    assert (row["tokens"], row["direct"], row["repair"]) == (1, 9, 0)


def test_the_loss_is_what_the_ablation_takes_not_the_direct_effect():
    # SRT2: a resample that leaves half of the effect, all of which is repaired.
    repairs, neurons = made([[4.0, 4.0]], [[2.0, 2.0]], mlp=2.0)
    (row,) = head_table([(0, 0)], 2, repairs, neurons).to_dict("records")
    assert row["ratio"] == 1
    assert row["clip_repair"] == 0.5


def test_heads_that_lose_nothing_are_dropped_and_counted():
    repairs, neurons = made(
        [[4.0, 4.0], [4.0, 4.0], [-3.0, -3.0]], [[3.9, 3.9], [0.0, 0.0], [0.0, 0.0]], mlp=1.0
    )
    heads = head_table([(0, 0), (0, 1), (1, 0)], 2, repairs, neurons)
    assert heads["kept"].tolist() == [False, True, True]
    found = group_table(heads, 2).set_index("group")
    assert (found.loc["first_half", "heads"], found.loc["first_half", "dropped"]) == (1, 1)
    assert found.loc["first_half", "ratio"] == pytest.approx(0.25)
    every = group_table(heads, 2, least=-np.inf).set_index("group")
    assert every.loc["first_half", "ratio"] == pytest.approx(2 / 4.1, abs=1e-6)


def test_a_group_is_a_ratio_of_sums():
    repairs, neurons = made([[10.0, 10.0], [1.0, 1.0]], mlp=[[1.0, 1.0], [2.0, 2.0]])
    heads = head_table([(4, 0), (4, 1)], 6, repairs, neurons)
    found = group_table(heads, 6).set_index("group")
    assert found.loc["late", "ratio"] == pytest.approx(3 / 11)  # not the mean of 0.1 and 2
    assert found.loc["late", "share_over"] == 0.5
    assert set(found.index) == {"all", "second_half", "late", "L-2"}
    assert found.columns.tolist() == [one for one in GROUP_COLUMNS if one != "group"]


def test_means_are_over_tokens_not_over_batches():
    # SRT9: three tokens of one batch and one of another are four tokens.
    repairs, neurons = made([[1.0, 1.0, 1.0, 5.0]], mlp=[[1.0, 1.0, 1.0, 0.0]])
    (row,) = head_table([(0, 0)], 2, repairs, neurons).to_dict("records")
    assert row["direct"] == 2
    assert row["repair"] == 0.75


def test_the_last_layer_is_at_one():
    # SRT11: published figures divide by the number of layers.
    repairs, neurons = made([[1.0], [1.0]])
    assert head_table([(0, 0), (5, 0)], 6, repairs, neurons)["relative_depth"].tolist() == [0, 1]


def test_groups():
    found = groups(12)
    assert (found["late"], found["L-2"], found["L-1"]) == (range(8, 11), range(10, 11), range(11, 12))
    assert (found["first_half"], found["second_half"]) == (range(6), range(6, 12))
    assert late_layers(30) == range(20, 29)
    assert [len(late_layers(layers)) for layers in (1, 2, 3, 4)] == [1, 1, 1, 1]


class TestTopTokens:
    def test_signed_and_ascending(self):
        direct = torch.tensor([[-9.0, 1, 5, 2, 0, 3], [1, 2, 3, 4, 5, -6]])
        assert top_tokens(direct, 0.4).tolist() == [[2, 5], [3, 4]]

    def test_as_many_as_published(self):
        assert top_tokens(torch.rand(1, 1016), 0.02).shape == (1, 20)

    @pytest.mark.parametrize("share", [0.1, 0.0, -1.0, 1.5])
    def test_none(self, share):
        with pytest.raises(OptionError, match="a share of"):
            top_tokens(torch.rand(1, 9), share)

    @given(seed=st.integers(0, 999), share=st.floats(0.1, 1))
    @settings(max_examples=20, deadline=None)
    def test_no_other_token_is_larger(self, seed, share):
        direct = torch.randn(2, 30, generator=torch.Generator().manual_seed(seed))
        for values, chosen in zip(direct, top_tokens(direct, share), strict=True):
            others = torch.ones(30, dtype=torch.bool)
            others[chosen] = False
            assert not others.any() or values[others].max() <= values[chosen].min()


def test_outliers():
    scale, position = torch.tensor([1.0, 1, 1, 9, 1]), torch.tensor([0, 1, 2, 3, 4])
    assert ordinary_tokens(scale, position).tolist() == [False, True, True, False, True]


def test_clipping_noise_makes_parts_larger_than_their_sum():
    # SR14: two parts that cancel at every token seem to repair much.
    noise = torch.randn(500, generator=torch.Generator().manual_seed(0))
    direct = torch.ones(500)
    assert clipped_mean(noise, direct) + clipped_mean(-noise, direct) > 0.5
    assert clipped_mean(noise - noise, direct) == 0
    assert clipped_mean(torch.tensor([1.0, 0.0]), torch.tensor([2.0, 0.0])) == 0.5  # 0/0 is left out


def test_columns():
    repairs, neurons = made([[1.0, 2.0]])
    table = head_table([(0, 0)], 2, repairs, neurons)
    assert table.columns.tolist() == list(HEAD_COLUMNS)
    assert isinstance(table, pd.DataFrame)
    assert not table.isna().any().any()
