"""Extreme predictions against a plain loop, their contexts against the rows, what the model says live."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rwcore.ablation.compare import AS_PUBLISHED, FIXED, differences
from rwcore.ablation.continuations import LISTS, Continuations, continuations, hidden_states
from rwcore.ablation.examples import DIRECTIONS, FALL, RISE, Example, extreme_places, find_examples
from rwcore.ablation.interventions import Ablation, Intervention
from rwcore.ablation.run_metrics import METRICS, NO_RANK, RunMetrics
from rwcore.corpora.batches import Batch
from rwcore.corpora.tokens import TokenCorpus
from rwcore.errors import OptionError, StoreError
from rwcore.neurons import NeuronSet
from rwcore.tests.ablation_parts import made, shared, signs_of
from rwcore.tests.corpus_makers import rows_corpus
from rwcore.tests.pass_makers import random_corpus

CORPUS = random_corpus(rows=30, seed=5)


def random_run(corpus: TokenCorpus, seed: int, steps: int = 8) -> RunMetrics:
    """Metrics of few different values, so that there are ties."""
    generator = torch.Generator().manual_seed(seed)

    def drawn() -> torch.Tensor:
        return torch.randint(0, steps, (corpus.n_tokens,), generator=generator) / 2

    last = corpus.offsets[1:] - 1
    loss, rank = drawn(), (2 * drawn()).to(torch.int32)
    loss[last], rank[last] = torch.nan, NO_RANK
    return RunMetrics(loss=loss, entropy=drawn(), rank=rank, scale=drawn() + 1)


CLEAN, ABLATED = random_run(CORPUS, 1), random_run(CORPUS, 2)


def by_loop(
    corpus: TokenCorpus, metric: str, direction: str, count: int, per_document: int | None
) -> list[tuple[int, int]]:
    """Rows and positions of the extremes, straight from the definition."""
    found = []
    clean, ablated = (getattr(run, metric).tolist() for run in (CLEAN, ABLATED))
    for row in range(len(corpus)):
        begin, end = int(corpus.offsets[row]), int(corpus.offsets[row + 1])
        for position in range(1, end - begin):
            if metric in ("loss", "rank") and position == end - begin - 1:
                continue
            place = begin + position
            difference = clean[place] - ablated[place]
            if (difference < 0) == (direction == RISE) and difference != 0:
                found.append((-abs(difference), row, position))
    taken: Counter[int] = Counter()
    chosen = []
    for _, row, position in sorted(found):
        document = int(corpus.document[row])
        if len(chosen) < count and (per_document is None or taken[document] < per_document):
            taken[document] += 1
            chosen.append((row, position))
    return chosen


@pytest.mark.parametrize("per_document", [1, 2, None])
@pytest.mark.parametrize("count", [0, 1, 4, 500])
def test_the_chosen_are_those_of_a_plain_loop(count: int, per_document: int | None) -> None:
    metrics = ("loss", "entropy", "rank")
    found = find_examples(CLEAN, ABLATED, CORPUS, count=count, metrics=metrics, per_document=per_document)
    for metric in metrics:
        for direction in DIRECTIONS:
            chosen = [
                (one.row, one.position) for one in found if (one.metric, one.direction) == (metric, direction)
            ]
            assert chosen == by_loop(CORPUS, metric, direction, count, per_document)
            assert len(chosen) == count or per_document is not None or count > 100
    order = [(metrics.index(one.metric), DIRECTIONS.index(one.direction)) for one in found]
    assert order == sorted(order)


@given(
    st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 3)), min_size=1, max_size=60),
    st.integers(1, 5),
    st.sampled_from([1, 2, None]),
)
def test_extremes_have_a_total_order(
    tokens: list[tuple[int, int]], count: int, per_document: int | None
) -> None:
    values = np.array([float(value) if value != 3 else math.nan for value, _ in tokens])
    document = np.array([number for _, number in tokens])
    for direction, sign in ((RISE, 1), (FALL, -1)):
        ordered = sorted((sign * value, place) for place, value in enumerate(values) if sign * value < 0)
        taken: Counter[int] = Counter()
        expected = []
        for _, place in ordered:
            taken[int(document[place])] += 1
            if per_document is None or taken[int(document[place])] <= per_document:
                expected.append(place)
        chosen = extreme_places(values, document, direction, count, per_document)
        assert chosen.tolist() == expected[:count]


def test_one_document_does_not_hide_the_others_however_often_it_is_extreme() -> None:
    """The bound is lowered until enough documents are found."""
    values = np.concatenate([np.full(1000, -9.0), [-2.0, -1.0]])
    document = np.concatenate([np.zeros(1000, np.int64), [1, 2]])
    assert extreme_places(values, document, RISE, 3).tolist() == [0, 1000, 1001]
    assert extreme_places(values, document, FALL, 3).tolist() == []


def test_an_example_says_what_the_runs_say() -> None:
    for one in find_examples(CLEAN, ABLATED, CORPUS, count=6, metrics=METRICS, before=4, after=2):
        row = CORPUS.row(one.row).tolist()
        place = int(CORPUS.offsets[one.row]) + one.position
        assert one.clean == getattr(CLEAN, one.metric)[place]
        assert one.ablated == getattr(ABLATED, one.metric)[place]
        if one.metric != "scale":
            assert one.difference == pytest.approx(one.clean - one.ablated)
        assert (one.difference < 0) == (one.direction == RISE)
        assert one.document == int(CORPUS.document[one.row])
        at_end = one.position == len(row) - 1
        assert one.next_token == (None if at_end else row[one.position + 1])
        assert list(one.tokens) == row[max(0, one.position - 3) : one.position + 4]
        assert one.tokens[one.position - one.start] == row[one.position]
        if one.predicted is None:
            assert at_end
        else:
            assert one.tokens[one.predicted] == one.next_token
            assert one.differences[one.predicted] == one.difference
            assert one.clean_values[one.predicted] == one.clean


def test_each_token_of_a_context_has_the_difference_of_its_own_prediction() -> None:
    """Off by one, or past the border of a row, colours the wrong tokens."""
    corpus = rows_corpus([[5, 6, 7, 8, 9], [10, 11, 12]])
    numbers = torch.arange(8.0)
    last = corpus.offsets[1:] - 1
    loss = numbers.clone()
    loss[last] = torch.nan
    rank = torch.zeros(8, dtype=torch.int32)
    rank[last] = NO_RANK
    run = RunMetrics(loss, numbers, rank, numbers + 1)
    other = dataclasses.replace(run, loss=2 * loss, entropy=3 * numbers)
    losses, entropies = (
        find_examples(run, other, corpus, count=2, metrics=[metric]) for metric in ("loss", "entropy")
    )
    assert [(one.row, one.position, one.difference) for one in losses] == [(1, 1, -6.0), (0, 3, -3.0)]
    second = losses[1]
    assert (second.start, second.tokens, second.predicted) == (0, (5, 6, 7, 8, 9), 4)
    # Of the first token there is no prediction; that of the second, made at the first, does not count.
    assert second.differences == pytest.approx((math.nan, math.nan, -1, -2, -3), nan_ok=True)
    assert second.clean_values == pytest.approx((math.nan, math.nan, 1, 2, 3), nan_ok=True)
    assert second.ablated_values == pytest.approx((math.nan, math.nan, 2, 4, 6), nan_ok=True)
    # The entropy at the end of a row is of a prediction of nothing that stands there.
    assert [(one.row, one.position, one.next_token) for one in entropies] == [(1, 2, None), (0, 4, None)]
    assert entropies[0].tokens == (10, 11, 12)
    assert entropies[0].differences == pytest.approx((math.nan, math.nan, -12), nan_ok=True)


def test_conventions_decide_which_predictions_count() -> None:
    for convention in (FIXED, AS_PUBLISHED):
        found = find_examples(
            CLEAN,
            ABLATED,
            CORPUS,
            count=10_000,
            metrics=["entropy"],
            per_document=None,
            convention=convention,
        )
        part = differences(CLEAN, ABLATED, CORPUS, "entropy", convention=convention)
        assert len(found) == np.count_nonzero(part.values)
        assert sorted(one.difference for one in found) == sorted(part.values[part.values != 0])
        assert any(one.position == 0 for one in found) == (convention == AS_PUBLISHED)


def test_runs_that_are_the_same_have_no_examples() -> None:
    assert find_examples(CLEAN, CLEAN, CORPUS, count=5, metrics=METRICS) == []


@pytest.mark.parametrize("wrong", [{"count": -1}, {"per_document": 0}, {"before": 0}, {"after": -1}])
def test_numbers_that_are_too_small(wrong: dict[str, int]) -> None:
    with pytest.raises(OptionError, match="less than"):
        find_examples(CLEAN, ABLATED, CORPUS, **{"count": 3, **wrong})  # type: ignore[arg-type]


# -- what the model says


def zero(bridge: Any) -> Ablation:
    neurons = NeuronSet.of("some", [(0, 3), (1, 5), (1, 6), (2, 0), (2, 7)])
    return made(neurons, Intervention("zero"), signs_of(bridge))


def said(bridge: Any, places: list[tuple[int, int]], top: int = 5) -> Continuations:
    """What the model says at some places, with and without the ablation."""
    clean = hidden_states(bridge, CORPUS, places, whole=True)
    return continuations(bridge, CORPUS, places, zero(bridge), clean, top=top)


def full_logits(bridge: Any, corpus: TokenCorpus, row: int, hooks: list[Any]) -> torch.Tensor:
    """All logits of a whole row, by the model's own end."""
    with torch.no_grad():
        found: torch.Tensor = bridge.run_with_hooks(corpus.row(row)[None].long(), fwd_hooks=hooks)
    return found[0]


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt2"])
def test_continuations_are_those_of_whole_rows(name: str) -> None:
    bridge = shared(name)
    ablation = zero(bridge)
    places = [(2, 0), (4, 1), (4, 3), (9, int(CORPUS.lengths[9]) - 1)]
    found = said(bridge, places, top=4)
    assert found.places.tolist() == [list(place) for place in places]

    def off(layer: int) -> Any:
        chosen = [neuron for at, neuron in ablation.neurons.pairs() if at == layer]

        def hook(values: torch.Tensor, hook: Any) -> torch.Tensor:
            values[..., chosen] = 0
            return values

        return f"blocks.{layer}.mlp.hook_post", hook

    for row, position in places:
        clean = full_logits(bridge, CORPUS, row, [])[position].double()
        ablated = full_logits(bridge, CORPUS, row, [off(layer) for layer in range(3)])[position].double()
        change = (clean - clean.mean()) - (ablated - ablated.mean())
        expected = {
            "clean": clean.softmax(0),
            "ablated": ablated.softmax(0),
            "promoted": change,
            "suppressed": change,
        }
        lists = found.at(row, position)
        assert list(lists) == list(LISTS)
        for kind, values in expected.items():
            ids = values.argsort(descending=kind != "suppressed")[:4].tolist()
            assert [number for number, _ in lists[kind]] == ids
            assert [value for _, value in lists[kind]] == pytest.approx(values[ids].tolist(), abs=2e-5)
        assert lists["promoted"] != lists["suppressed"]


def test_equal_logits_come_in_the_order_of_their_ids() -> None:
    from rwcore.ablation.continuations import _largest

    assert _largest(torch.tensor([1.0, 3.0, 2.0, 3.0, 2.0, 2.0]), 4).tolist() == [1, 3, 2, 4]
    assert _largest(torch.tensor([1.0, 1.0]), 5).tolist() == [0, 1]


def test_continuations_are_kept_as_arrays() -> None:
    bridge = shared("llama")
    found = said(bridge, [(0, 0), (1, 1)], top=100)
    assert found.clean_ids.shape == (2, 64)
    same = Continuations.from_arrays(found.to_arrays())
    assert same.at(1, 1) == found.at(1, 1)
    assert said(bridge, [], top=3).clean_ids.shape == (0, 3)
    with pytest.raises(StoreError, match="row 0, position 1"):
        found.at(0, 1)
    for wrong in ({"clean_ids": found.clean_ids[:1]}, {"places": found.places[:1]}):
        with pytest.raises(StoreError, match="no continuations"):
            Continuations.from_arrays({**found.to_arrays(), **wrong})


@pytest.mark.parametrize("place", [(30, 0), (-1, 0), (0, 20), (0, -1)])
def test_a_place_outside_the_corpus(place: tuple[int, int]) -> None:
    with pytest.raises(OptionError, match="no such place"):
        hidden_states(shared("llama"), CORPUS, [place])


def test_rows_are_run_once_and_no_further_than_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    from rwcore.ablation import continuations as module

    run, shapes = module.run_to_the_end, []

    def counting(model: Any, batch: Batch) -> Any:
        shapes.append(tuple(batch.tokens.shape))
        return run(model, batch)

    monkeypatch.setattr(module, "run_to_the_end", counting)
    hidden_states(shared("llama"), CORPUS, [(0, 0), (4, 1), (4, 3)])
    assert shapes == [(1, 1), (1, 4)]
    shapes.clear()
    hidden_states(shared("llama"), CORPUS, [(4, 1)], whole=True)
    assert shapes == [(1, int(CORPUS.lengths[4]))]


def test_lists_without_length_and_places_out_of_order() -> None:
    with pytest.raises(OptionError, match="lists of 0"):
        said(shared("llama"), [(0, 0)], top=0)
    for places in ([(1, 0), (0, 0)], [(1, 0), (1, 0)]):
        with pytest.raises(OptionError, match="ascending"):
            hidden_states(shared("llama"), CORPUS, places)


def test_states_of_whole_rows_do_not_depend_on_the_other_places() -> None:
    bridge = shared("llama")
    alone, among = (
        hidden_states(bridge, CORPUS, places, whole=True) for places in ([(4, 1)], [(0, 0), (4, 1), (4, 3)])
    )
    assert torch.equal(alone[0], among[1])
    as_far = hidden_states(bridge, CORPUS, [(0, 0), (4, 1), (4, 3)])
    torch.testing.assert_close(as_far, among)


def test_predicted_is_the_place_of_the_next_token() -> None:
    example = Example("loss", RISE, 3, 2, 10, 1.0, 2.0, -1.0, 7, 8, (5, 6, 9, 7), (), (), ())
    assert example.predicted == 3
    assert dataclasses.replace(example, next_token=None).predicted is None
