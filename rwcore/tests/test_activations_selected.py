"""Chosen neurons at chosen tokens, against all neurons at all tokens."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fixtures.tiny import build, local_model
from rwcore.activations.capture import run_layers
from rwcore.activations.selected import Selection, ranges, run_selected, spans_around
from rwcore.corpora.batches import batches
from rwcore.errors import NotGatedError
from rwcore.models.load import load_bridge
from rwcore.models.spec import LocalModel
from rwcore.tests.example_makers import ACTIVATIONS, row_by_row
from rwcore.tests.pass_makers import random_corpus

CORPUS = random_corpus(rows=12, seed=3)


@pytest.fixture(scope="module", params=sorted(ACTIVATIONS))
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def local(family: str, tmp_path_factory: pytest.TempPathFactory) -> LocalModel:
    return local_model(build(family, tmp_path_factory.mktemp(family)))


def selection() -> Selection:
    """Neurons of the first two layers, two of them in one; a sample of three rows; spans in two others."""
    rows = torch.tensor([1, 4, 7])
    first, last = CORPUS.lengths[[0, 2]].tolist()
    spans = torch.tensor([[0, 0, 0, 1], [0, 2, 0, last], [1, 0, 0, first], [2, 2, last - 1, last]])
    return Selection(torch.tensor([[0, 3], [0, 20], [1, 5]]), rows, spans)


def test_what_is_kept_is_what_one_row_at_a_time_gives(local: LocalModel, family: str) -> None:
    chosen = selection()
    assert chosen.needed.tolist() == [0, 1, 2, 4, 7]
    model, slow = load_bridge(local), row_by_row(local, CORPUS, family)
    for plan in batches(CORPUS, token_budget=50, only=chosen.needed):
        batch = plan.load(CORPUS)
        kept = run_selected(model, batch, chosen)
        sample = [slow[row] for row in chosen.sampled_in(batch.rows).tolist()]
        expected = [
            torch.cat([values[layer, :3, :, neuron] for values in sample], dim=1)
            for layer, neuron in chosen.neurons.tolist()
            if sample
        ]
        if sample:
            torch.testing.assert_close(kept.sample, torch.stack(expected, dim=2), rtol=1e-4, atol=1e-5)
        else:
            assert kept.sample.shape == (3, 0, 3)
        parts = [torch.empty(3, 0)]
        for place, row, start, end in chosen.spans_in(batch.rows).tolist():
            layer, neuron = chosen.neurons[place].tolist()
            parts.append(slow[row][layer, :3, start:end, neuron])
        torch.testing.assert_close(kept.spans, torch.cat(parts, dim=1), rtol=1e-4, atol=1e-5)


def test_layers_behind_the_last_one_wanted_are_not_computed(local: LocalModel) -> None:
    model, ran = load_bridge(local), []
    for layer, block in enumerate(model.blocks):
        block.register_forward_pre_hook(lambda *_, layer=layer: ran.append(layer))
    (plan,) = batches(CORPUS, token_budget=10_000, only=torch.tensor([0, 2]))
    run_selected(model, plan.load(CORPUS), selection())
    assert ran == [0, 1]


def test_only_the_wanted_layers_are_shown(local: LocalModel, family: str) -> None:
    model, seen = load_bridge(local), []
    batch = batches(CORPUS)[0].load(CORPUS)

    def visit(layer: int, gate: torch.Tensor, in_: torch.Tensor, act: torch.Tensor) -> None:
        seen.append(layer)
        assert gate.shape == in_.shape == act.shape

    run_layers(model, batch, visit, layers=[2, 0], plain=True)
    assert seen == [0, 2]
    if family != "llama":
        with pytest.raises(NotGatedError):
            run_layers(model, batch, visit)


lengths = st.lists(st.integers(1, 12), min_size=1, max_size=4)
widths = st.none() | st.integers(0, 4)


@given(lengths, widths, widths, st.data())
def test_spans_are_the_maximal_runs_of_tokens_near_an_entry(
    sizes: list[int], before: int | None, after: int | None, data: st.DataObject
) -> None:
    one = st.tuples(st.integers(0, 2), st.integers(0, len(sizes) - 1), st.integers(0, 11))
    drawn = data.draw(st.lists(one, max_size=8))
    entries = [(place, row, position % sizes[row]) for place, row, position in drawn]
    near = {
        (place, row, other)
        for place, row, position in entries
        for other in range(sizes[row])
        if (before is None or other >= position - before) and (after is None or other <= position + after)
    }
    columns = torch.tensor(entries, dtype=torch.int64).reshape(-1, 3).T
    spans = spans_around(*columns, torch.tensor(sizes), before=before, after=after).tolist()
    covered = [(place, row, at) for place, row, start, end in spans for at in range(start, end)]
    assert len(covered) == len({*covered}) == len(near), "no token twice"
    assert {*covered} == near
    assert spans == sorted(spans)
    for place, row, start, end in spans:
        assert (place, row, start - 1) not in near
        assert (place, row, end) not in near


def test_ranges() -> None:
    assert ranges(torch.tensor([5, 0, 9]), torch.tensor([2, 0, 3])).tolist() == [5, 6, 9, 10, 11]


def test_batches_of_some_rows() -> None:
    everything = batches(CORPUS, token_budget=40)
    assert batches(CORPUS, token_budget=40, only=torch.arange(len(CORPUS))) == everything
    some = batches(CORPUS, token_budget=40, only=torch.tensor([1, 5, 6, 11]))
    assert sorted(row for plan in some for row in plan.rows) == [1, 5, 6, 11]
    order = [row for plan in everything for row in plan.rows if row in (1, 5, 6, 11)]
    assert [row for plan in some for row in plan.rows] == order
    assert [plan.number for plan in some] == list(range(len(some)))
