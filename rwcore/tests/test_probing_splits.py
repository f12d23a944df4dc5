"""Splits: the published one row for row, the fixed one by documents, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rwcore.errors import OptionError
from rwcore.probing.duplicates import join_duplicates, refuse_duplicates
from rwcore.probing.errors import ProbeError
from rwcore.probing.grid import k_grid
from rwcore.probing.splits import (
    Split,
    deal_groups,
    folds,
    published_split,
    published_test_size,
    split_feature,
)


def alternating(n: int) -> torch.Tensor:
    return torch.arange(n) % 2 == 0


@pytest.mark.parametrize(("n", "seed"), [(40, 42), (101, 1), (5397, 42), (1000, 0)])
def test_the_published_split_is_that_of_scikit_learn(n: int, seed: int) -> None:
    from sklearn.model_selection import train_test_split

    train, test = train_test_split(np.arange(n), test_size=0.3, random_state=seed)
    split = published_split(alternating(n), seed=seed)
    assert split.train.tolist() == train.tolist()
    assert split.test.tolist() == test.tolist()
    assert len(split.validation) == 0


@pytest.mark.parametrize(
    ("n", "test"),
    [
        (5397, 1620),
        (8413, 2524),
        (28084, 8426),
        (8000, 2400),
        (25000, 7500),
        (20000, 6000),
        (10000, 3000),
        (6000, 1800),
    ],
)
def test_published_sizes(n: int, test: int) -> None:
    assert published_test_size(n) == test
    assert len(published_split(alternating(n)).test) == test


def test_published_split_refuses_one_class_and_too_few_rows() -> None:
    rare = torch.zeros(100, dtype=torch.bool)
    rare[0] = True
    with pytest.raises(ProbeError, match="positive"):
        published_split(rare, name="rare")
    with pytest.raises(OptionError, match="for testing"):
        published_split(alternating(1))


@given(
    sizes=st.lists(st.integers(1, 9), min_size=3, max_size=40),
    seed=st.integers(0, 9),
    shift=st.integers(0, 7),
)
def test_groups_stay_together_and_shares_are_about_right(sizes: list[int], seed: int, shift: int) -> None:
    group = torch.repeat_interleave(torch.arange(len(sizes)) * 3 + shift, torch.tensor(sizes))
    group = group[torch.randperm(len(group), generator=torch.Generator().manual_seed(seed))]
    part = deal_groups(group, seed=seed)
    assert {int(one) for one in part} <= {0, 1, 2}
    for one in group.unique():
        assert len(part[group == one].unique()) == 1
    for number, share in enumerate((0.5, 0.2, 0.3)):
        # A part is longer or shorter than its share by at most half a group at either end.
        assert abs(int((part == number).sum()) - share * len(group)) <= max(sizes)
    assert torch.equal(part, deal_groups(group, seed=seed))


def test_another_seed_deals_otherwise() -> None:
    group = torch.arange(50)
    assert not torch.equal(deal_groups(group, seed=0), deal_groups(group, seed=1))


def test_features_of_a_dataset_share_their_parts() -> None:
    part = deal_groups(torch.arange(200))
    first = torch.arange(0, 200)
    second = torch.arange(0, 200, 3)
    splits = [split_feature(part, example, alternating(len(example))) for example in (first, second)]
    train, test = (set(first[getattr(splits[0], name)].tolist()) for name in ("train", "test"))
    assert set(second[splits[1].train].tolist()) <= train
    assert set(second[splits[1].test].tolist()) <= test
    assert sum(len(places) for places in splits[0].parts().values()) == 200


def test_a_part_with_one_class_is_named() -> None:
    part = torch.tensor([0, 0, 1, 1, 2, 2])
    label = torch.tensor([True, False, True, True, True, False])
    with pytest.raises(ProbeError) as caught:
        split_feature(part, torch.arange(6), label, name="french")
    assert caught.value.where == "french, validation"


def test_impossible_shares() -> None:
    with pytest.raises(OptionError):
        deal_groups(torch.arange(5), shares=(0.5, 0.2, 0.2))
    with pytest.raises(OptionError):
        deal_groups(torch.arange(5), shares=(0.7, 0.0, 0.3))


@given(sizes=st.lists(st.integers(1, 9), min_size=4, max_size=30), number=st.integers(2, 4))
def test_folds_hold_whole_groups_and_none_is_empty(sizes: list[int], number: int) -> None:
    group = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    fold = folds(group, number)
    filled = torch.bincount(fold, minlength=number)
    assert len(filled) == number
    assert int(filled.min()) > 0
    assert int(filled.max() - filled.min()) <= max(sizes)
    for one in range(len(sizes)):
        assert len(fold[group == one].unique()) == 1


def test_fewer_rows_than_folds() -> None:
    with pytest.raises(ProbeError, match="2 rows of 2 documents cannot be dealt to 3 folds"):
        folds(torch.tensor([5, 6]), 3)
    with pytest.raises(OptionError):
        folds(torch.arange(9), 1)


def test_duplicates_across_a_split_are_refused_by_content() -> None:
    contexts = torch.tensor([[1, 2], [3, 4], [5, 6], [1, 2]])
    apart = Split(torch.tensor([0]), torch.tensor([1]), torch.tensor([2, 3]))
    with pytest.raises(ProbeError, match="example 3 of test has the same text as example 0 of train"):
        refuse_duplicates(contexts, apart)
    refuse_duplicates(contexts, Split(torch.tensor([0, 3]), torch.tensor([1]), torch.tensor([2])))


@given(
    documents=st.lists(st.integers(0, 5), min_size=1, max_size=25),
    contents=st.lists(st.integers(0, 8), min_size=25, max_size=25),
)
def test_joined_groups_are_the_connected_ones(documents: list[int], contents: list[int]) -> None:
    """Against repeated merging, one pair at a time."""
    content = contents[: len(documents)]
    wanted = list(documents)
    for _ in documents:
        for i, one in enumerate(content):
            for j, other in enumerate(content):
                if one == other or documents[i] == documents[j]:
                    wanted[i] = wanted[j] = min(wanted[i], wanted[j])
    contexts = torch.tensor(content)[:, None].expand(-1, 3)
    assert join_duplicates(torch.tensor(documents), contexts).tolist() == wanted


def test_splits_of_joined_groups_have_no_duplicates() -> None:
    generator = torch.Generator().manual_seed(0)
    contexts = torch.randint(0, 60, (120, 1), generator=generator).expand(-1, 2)
    document = torch.arange(120)
    label = torch.rand(120, generator=generator) < 0.5
    torn = split_feature(deal_groups(document), document, label)
    with pytest.raises(ProbeError, match="same text"):
        refuse_duplicates(contexts, torn)
    joined = join_duplicates(document, contexts)
    refuse_duplicates(contexts, split_feature(deal_groups(joined), document, label))


@pytest.mark.parametrize(
    ("neurons", "end"), [(2048, [2048]), (3072, [2048, 3072]), (10240, [8192, 10240]), (1536, [1024, 1536])]
)
def test_the_published_grid(neurons: int, end: list[int]) -> None:
    assert k_grid(neurons) == [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 32, 64, 128, 256]
    assert k_grid(neurons, None)[-len(end) :] == end
    assert k_grid(neurons, None)[-len(end) - 1] == end[0] // 2


@given(neurons=st.integers(1, 600), limit=st.one_of(st.none(), st.integers(1, 300)))
def test_a_grid_ascends_and_stays_within(neurons: int, limit: int | None) -> None:
    grid = k_grid(neurons, limit)
    assert grid == sorted(set(grid))
    assert grid[0] == 1
    assert grid[-1] <= min(neurons, limit or neurons)
    if limit is None:
        assert grid[-1] == neurons


def test_no_grid_without_neurons() -> None:
    with pytest.raises(OptionError):
        k_grid(0)
    with pytest.raises(OptionError):
        k_grid(10, 0)


def test_every_kind_of_document_is_in_every_part() -> None:
    """Three documents of each of ten kinds, and one of a kind of its own."""
    group = torch.arange(31).repeat_interleave(4)
    stratum = (group // 3).clamp(max=10)
    for seed in range(20):
        part = deal_groups(group, seed=seed, stratum=stratum)
        for kind in range(10):
            assert {*part[stratum == kind].tolist()} == {0, 1, 2}
        assert all(len(part[group == one].unique()) == 1 for one in range(31))


def test_kinds_with_few_documents_are_dealt_together() -> None:
    """Each document is of its own kind: as without kinds."""
    group = torch.arange(40).repeat_interleave(3)
    together = deal_groups(group, seed=5)
    assert torch.equal(deal_groups(group, seed=5, stratum=group), together)
    shares = torch.bincount(together, minlength=3).double() / len(group)
    assert shares.tolist() == pytest.approx([0.5, 0.2, 0.3], abs=0.03)
