"""Which keys are kept: the rules one by one, and all of them against a loop."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rwcore.benchmarks.reference.cspa import kept_of
from rwcore.errors import OptionError
from rwcore.heads.cspa_filter import QueryFilter, first_occurrences, kept_keys, key_rows, lens_scores
from rwcore.heads.readout import Readout

VOCAB, D = 9, 5


def kept(scores: Tensor, tokens: list[int], function: set[int], choice: QueryFilter) -> list[set[int]]:
    """Keys kept by each query of one row whose scores do not depend on the query."""
    row = torch.tensor([tokens])
    every = scores.expand(1, len(tokens), -1)[..., None]
    skipped = torch.tensor([[token in function for token in tokens]])
    found = kept_keys(every, row, skipped, choice)[0, :, :, 0]
    return [{*line.nonzero()[:, 0].tolist()} for line in found]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    length=st.integers(1, 12),
    keep=st.sampled_from([0.05, 0.3, 1.0, 1, 2, 5, 40]),
    own=st.booleans(),
    size=st.sampled_from([1, 2]),
)
def test_equals_a_loop(seed: int, length: int, keep: float, own: bool, size: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(VOCAB, (2, length), generator=generator)
    stream = torch.randn(2, length, D, generator=generator)
    scale = torch.rand(2, length, generator=generator) + 0.5
    readout = Readout(torch.randn(VOCAB, D, generator=generator))
    sets = None
    if size > 1:
        sets = torch.randint(-1, VOCAB, (VOCAB, size), generator=generator)
        sets[:, 0] = torch.arange(VOCAB)
    function = torch.rand(VOCAB, generator=generator) < 0.3
    rows = key_rows(tokens, readout, sets)
    scores = lens_scores(stream, scale, rows)
    missing = None if sets is None else sets[tokens] < 0
    found = kept_keys(scores, tokens, function[tokens], QueryFilter(keep, own), missing)
    for row in range(2):
        skipped = function[tokens[row]].tolist()
        wanted = kept_of(
            stream[row], scale[row], rows[row], tokens[row].tolist(), skipped, keep, self_attention=own
        )
        for query in range(length):
            assert {(k, n) for k, n in found[row, query].nonzero().tolist()} == {*wanted[query]}


def test_repeats_are_kept_but_count_once() -> None:
    """Trap 27: the threshold is that of distinct tokens, and then every occurrence is kept."""
    scores = torch.tensor([5.0, 5.0, 5.0, 4.0, 3.0])
    assert kept(scores, [7, 7, 7, 8, 6], set(), QueryFilter(2))[4] == {0, 1, 2, 3}


def test_function_words_are_no_candidates_until_everything_is_kept() -> None:
    scores = torch.tensor([9.0, 1.0, 2.0, 3.0])
    found = kept(scores, [1, 2, 3, 4], {1}, QueryFilter(2))
    assert found[3] == {2, 3}
    assert found[1] == {0, 1}  # one candidate, two wanted: all, function words too


def test_the_query_itself_may_be_left_out() -> None:
    scores = torch.tensor([1.0, 2.0, 3.0])
    assert kept(scores, [1, 2, 3], set(), QueryFilter(1))[2] == {2}
    assert kept(scores, [1, 2, 3], set(), QueryFilter(1, self_attention=False))[2] == {1}


def test_a_share_is_of_the_positions_so_far_rounded_up() -> None:
    wanted = QueryFilter(0.05).wanted(1000)
    exact = -(-torch.arange(1, 1001) // 20)
    assert torch.equal(wanted, exact)
    assert QueryFilter(3).wanted(4).tolist() == [3, 3, 3, 3]


def test_first_occurrences() -> None:
    found = first_occurrences(torch.tensor([[3, 1, 3, 3, 2], [0, 0, 0, 1, 0]]))
    assert found.int().tolist() == [[1, 1, 0, 0, 1], [1, 0, 0, 1, 0]]


def test_the_final_scale_and_no_bias() -> None:
    readout = Readout(torch.eye(3), torch.tensor([100.0, 0.0, 0.0]))
    rows = key_rows(torch.tensor([[0, 1]]), readout)
    found = lens_scores(torch.tensor([[[2.0, 4.0, 0.0]] * 2]), torch.tensor([[2.0, 4.0]]), rows)
    assert found[0, :, :, 0].tolist() == [[1.0, 2.0], [0.5, 1.0]]


@pytest.mark.parametrize("keep", [0, -1, 0.0, 1.5, float("nan")])
def test_refused(keep: float) -> None:
    with pytest.raises(OptionError, match="cannot be kept"):
        QueryFilter(keep)
