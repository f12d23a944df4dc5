"""The examples of neurons of a tiny model, against the model run one row at a time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fixtures.tiny import build, local_model
from rwcore.activations.examples import Entry, NeuronExamples, Stretch, quadrant_codes
from rwcore.activations.quadrants import LISTS, QUADRANTS, QUANTITIES
from rwcore.activations.selected import run_selected
from rwcore.corpora.batches import batches
from rwcore.errors import ModelError, OptionError
from rwcore.models.spec import LocalModel
from rwcore.parallel import InProcess, open_engine
from rwcore.studies import example_sweep
from rwcore.studies.activation_pass import bridge
from rwcore.studies.activations import ActivationStudy
from rwcore.studies.neuron_examples import ExampleOptions, ExampleStudy
from rwcore.tests.example_makers import row_by_row
from rwcore.tests.pass_makers import random_corpus, tiny_study

CORPUS = random_corpus(rows=60, seed=2)
NEURONS = [(0, 3), (2, 23), (0, 11), (1, 0)]
SOME_ROWS = ExampleOptions(before=3, after=2, sample_tokens=150)


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> LocalModel:
    return local_model(build("llama", tmp_path_factory.mktemp("llama")), id="tiny")


@pytest.fixture(scope="module")
def study(local: LocalModel, tmp_path_factory: pytest.TempPathFactory) -> ActivationStudy:
    """A pass; its artefact is in the store of every study below."""
    found = tiny_study(local, tmp_path_factory.mktemp("store"), CORPUS)
    assert {-1, 1} == {int(found.signs[pair]) for pair in NEURONS}, "folding matters for some of them"
    return found


@pytest.fixture(scope="module")
def some(study: ActivationStudy) -> list[NeuronExamples]:
    return ExampleStudy(study, SOME_ROWS).examples(NEURONS)


@pytest.fixture(scope="module")
def slow(local: LocalModel) -> list[Tensor]:
    return row_by_row(local, CORPUS, "llama")


@pytest.fixture(scope="module")
def exact(local: LocalModel) -> list[Tensor]:
    return row_by_row(local, CORPUS, "llama", torch.float64)


@pytest.fixture
def forwards(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows of each batch that a model runs."""
    ran: list[int] = []

    def counted(model: Any, batch: Any, selection: Any) -> Any:
        ran.append(len(batch.rows))
        return run_selected(model, batch, selection)

    monkeypatch.setattr(example_sweep, "run_selected", counted)
    return ran


def folded(values: Sequence[Tensor], study: ActivationStudy, found: NeuronExamples) -> list[Tensor]:
    """Gate, in, act and post of one neuron in every row, gate sign folded."""
    turn = torch.tensor([1, int(study.signs[found.layer, found.neuron])])[torch.tensor([0, 1, 0, 1])]
    return [row[found.layer, :, :, found.neuron] * turn[:, None] for row in values]


def all_of(stretch: Stretch) -> Tensor:
    return torch.stack([stretch.of(quantity) for quantity in QUANTITIES])


@pytest.mark.parametrize(("reference", "tolerance"), [("slow", 1e-5), ("exact", 1e-4)])
def test_stretches_are_what_one_row_at_a_time_gives(
    reference: str,
    tolerance: float,
    some: list[NeuronExamples],
    study: ActivationStudy,
    request: pytest.FixtureRequest,
) -> None:
    for found in some:
        rows = folded(request.getfixturevalue(reference), study, found)
        scale = torch.cat(rows, dim=1).abs().amax(dim=1, keepdim=True)
        for stretch in found.stretches:
            expected = rows[stretch.row][:, stretch.start : stretch.end]
            assert all_of(stretch).shape == expected.shape
            assert bool(((all_of(stretch) - expected).abs() <= tolerance * scale).all())


def test_the_sample_is_whole_rows_in_order(
    some: list[NeuronExamples], study: ActivationStudy, slow: list[Tensor]
) -> None:
    rows = ExampleStudy(study, SOME_ROWS).sample_rows
    assert rows.tolist() == sorted({*rows.tolist()})
    assert 130 < int(CORPUS.lengths[rows].sum()) <= 150
    for found in some:
        expected = torch.cat([folded(slow, study, found)[row] for row in rows.tolist()], dim=1)
        for place, quantity in enumerate(QUANTITIES):
            torch.testing.assert_close(found.sample.of(quantity), expected[place], rtol=1e-4, atol=1e-5)


def test_every_row_is_as_likely_in_the_sample(study: ActivationStudy) -> None:
    """400 seeds; a row of average length is in 150 of 690 tokens' worth of rows."""
    often = torch.zeros(len(CORPUS))
    for seed in range(400):
        options = ExampleOptions(sample_tokens=150, seed=seed)
        often[ExampleStudy(study, options).sample_rows] += 1
    share = float(often.mean())
    assert 0.15 < share / 400 < 0.3
    assert float((often - share).abs().max()) < 4.5 * share**0.5, often.tolist()


def test_a_small_corpus_is_a_sample_of_itself_and_a_long_row_one_of_its_own(study: ActivationStudy) -> None:
    whole = ExampleStudy(study, ExampleOptions(sample_tokens=CORPUS.n_tokens))
    assert whole.sample_rows.tolist() == list(range(len(CORPUS)))
    assert len(ExampleStudy(study, ExampleOptions(sample_tokens=1)).sample_rows) == 1


def test_lists_are_those_of_the_pass_folded(some: list[NeuronExamples], study: ActivationStudy) -> None:
    for found in some:
        top = study.activations.layers[found.layer].top
        for place, name in enumerate(LISTS):
            columns = (each[place, found.neuron].tolist() for each in (top.rows, top.positions, top.values))
            expected = [Entry(*each) for each in zip(*columns, strict=True) if each[0] >= 0]
            assert list(found.lists[name]) == expected


def test_recomputed_values_are_those_of_the_pass(some: list[NeuronExamples]) -> None:
    """Check S5 of the specification."""
    compared = 0
    for found in some:
        for (_, quantity), entries in found.lists.items():
            for entry in entries:
                number, place = found.stretch_of(entry)
                again = float(found.stretches[number].of(quantity)[place])
                assert again == pytest.approx(entry.value, rel=1e-5)
                compared += 1
    assert compared > 100


def test_all_rows_give_the_bits_of_the_pass(study: ActivationStudy) -> None:
    found = ExampleStudy(study, ExampleOptions(before=3, after=2)).examples(NEURONS)
    assert len(found[0].sample.gate) == CORPUS.n_tokens
    for each in found:
        for (_, quantity), entries in each.lists.items():
            for entry in entries:
                number, place = each.stretch_of(entry)
                assert float(each.stretches[number].of(quantity)[place]) == entry.value


def test_windows_end_with_their_rows_and_are_merged(some: list[NeuronExamples]) -> None:
    for found in some:
        entries = [entry for each in (*found.lists.values(), *found.random.values()) for entry in each]
        shown = {
            (entry.row, at)
            for entry in entries
            for at in range(max(0, entry.position - 3), entry.position + 3)
            if at < int(CORPUS.lengths[entry.row])
        }
        kept = [(each.row, at) for each in found.stretches for at in range(each.start, each.end)]
        assert len(kept) == len({*kept})
        assert {*kept} == shown
        assert [(each.row, each.start) for each in found.stretches] == sorted(
            (each.row, each.start) for each in found.stretches
        )


def test_random_tokens_are_in_their_quadrants(some: list[NeuronExamples]) -> None:
    for found in some:
        for name, entries in found.random.items():
            assert len(entries) <= 4
            for entry in entries:
                number, place = found.stretch_of(entry)
                stretch = found.stretches[number]
                assert QUADRANTS[int(quadrant_codes(stretch.gate, stretch.in_)[place])] == name
                assert float(stretch.post[place]) == entry.value


def test_whole_rows_from_the_beginning(study: ActivationStudy) -> None:
    (found,) = ExampleStudy(study, ExampleOptions(None, None, sample_tokens=30)).examples([(1, 5)])
    assert all(each.start == 0 and each.end == int(CORPUS.lengths[each.row]) for each in found.stretches)
    (found,) = ExampleStudy(study, ExampleOptions(None, 2, sample_tokens=30)).examples([(1, 5)])
    assert all(each.start == 0 for each in found.stretches)


def test_one_sweep_for_all_and_none_for_those_that_are_known(
    study: ActivationStudy, forwards: list[int]
) -> None:
    asked = ExampleStudy(study, ExampleOptions(sample_tokens=150, seed=11))
    first = asked.examples(NEURONS)
    assert 0 < sum(forwards) <= len(CORPUS), "no row twice, however many neurons"
    forwards.clear()
    again = asked.examples([*reversed(NEURONS), NEURONS[0]])
    assert forwards == []
    assert [(each.layer, each.neuron) for each in again] == [*reversed(NEURONS), NEURONS[0]]
    assert dict(again[-1].lists) == dict(first[0].lists)
    more = asked.examples([*NEURONS, (2, 1)])
    needed = {*asked.sample_rows.tolist()} | {
        entry.row for entries in more[-1].lists.values() for entry in entries
    }
    assert sum(forwards) == len(needed), "the rows of the new neuron only"


def test_the_rows_of_a_sweep_are_those_of_the_lists_and_the_sample(
    study: ActivationStudy, forwards: list[int]
) -> None:
    asked = ExampleStudy(study, ExampleOptions(sample_tokens=60, seed=12))
    found = asked.examples([(2, 2)])[0]
    listed = {entry.row for entries in found.lists.values() for entry in entries}
    assert sum(forwards) == len(listed | {*asked.sample_rows.tolist()}) < len(CORPUS)


class Interrupted(Exception):
    """What stands for a killed process in this one."""


def kill(study: ExampleStudy, forwards: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a sweep stop after three batches."""
    counted = example_sweep.run_selected

    def stopping(*words: Any) -> Any:
        if len(forwards) == 3:
            raise Interrupted
        return counted(*words)

    monkeypatch.setattr(example_sweep, "run_selected", stopping)
    with pytest.raises(Interrupted):
        study.examples(NEURONS)
    monkeypatch.setattr(example_sweep, "run_selected", counted)


@pytest.mark.parametrize("asked_again", [NEURONS, [*reversed(NEURONS)]])
def test_a_killed_sweep_goes_on_with_the_same_bits(
    asked_again: list[tuple[int, int]],
    study: ActivationStudy,
    local: LocalModel,
    tmp_path: Path,
    forwards: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = ExampleStudy(study, SOME_ROWS).examples(NEURONS)
    here = ExampleStudy(tiny_study(local, tmp_path, CORPUS), SOME_ROWS)
    forwards.clear()
    kill(here, forwards, monkeypatch)
    again = here.examples(asked_again)
    plans = batches(CORPUS, token_budget=40, only=needed(whole, here))
    assert len(forwards) == len(plans), "no batch twice"
    for one in again:
        other = next(each for each in whole if (each.layer, each.neuron) == (one.layer, one.neuron))
        assert dict(one.random) == dict(other.random)
        assert torch.equal(one.sample.post, other.sample.post)
        for left, right in zip(one.stretches, other.stretches, strict=True):
            assert torch.equal(all_of(left), all_of(right))
    assert not list(tmp_path.glob("example-sweep/*.work"))


def needed(found: list[NeuronExamples], study: ExampleStudy) -> Tensor:
    rows = {entry.row for each in found for entries in each.lists.values() for entry in entries}
    return torch.tensor(sorted(rows | {*study.sample_rows.tolist()}))


def test_a_process_killed_while_it_puts_examples_together_runs_nothing_again(
    study: ActivationStudy, forwards: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ExampleStudy(study, ExampleOptions(sample_tokens=60, seed=13))
    assembled, made = ExampleStudy._assembled, []

    def stopping(*words: Any) -> Any:
        if len(made) == 2:
            raise Interrupted
        made.append(1)
        return assembled(*words)

    monkeypatch.setattr(ExampleStudy, "_assembled", stopping)
    with pytest.raises(Interrupted):
        asked.examples(NEURONS)
    monkeypatch.setattr(ExampleStudy, "_assembled", assembled)
    before = len(forwards)
    assert len(asked.examples(NEURONS)) == 4
    assert len(forwards) == before


def test_a_process_killed_at_the_last_step_leaves_no_work_behind(
    study: ActivationStudy, forwards: list[int]
) -> None:
    asked = ExampleStudy(study, ExampleOptions(sample_tokens=60, seed=15))
    asked.examples(NEURONS)
    work = study.weights.store.work(asked._sweep_key(sorted(NEURONS)))
    work.mkdir()
    (work / "batch_00000000.safetensors").write_bytes(b"")
    forwards.clear()
    asked.examples(NEURONS)
    assert not work.exists()
    assert forwards == []


def test_restart_discards_what_there_is(
    study: ActivationStudy, local: LocalModel, tmp_path: Path, forwards: list[int], monkeypatch: Any
) -> None:
    here = ExampleStudy(tiny_study(local, tmp_path, CORPUS, restart=True), SOME_ROWS)
    kill(here, forwards, monkeypatch)
    forwards.clear()
    found = here.examples(NEURONS)
    assert len(forwards) == len(batches(CORPUS, token_budget=40, only=needed(found, here)))


@pytest.mark.parametrize("shards", [3, 50])
def test_any_number_of_parts_is_the_same_bits(
    shards: int, some: list[NeuronExamples], local: LocalModel, tmp_path: Path
) -> None:
    found = ExampleStudy(tiny_study(local, tmp_path, CORPUS, shards=shards), SOME_ROWS).examples(NEURONS)
    for one, other in zip(found, some, strict=True):
        assert torch.equal(one.sample.post, other.sample.post)
        for left, right in zip(one.stretches, other.stretches, strict=True):
            assert torch.equal(all_of(left), all_of(right))


@pytest.mark.slow
def test_parts_run_on_workers(some: list[NeuronExamples], local: LocalModel, tmp_path: Path) -> None:
    with open_engine("local:2") as engine:
        study = tiny_study(local, tmp_path, CORPUS, engine=engine, shards=2)
        found = ExampleStudy(study, SOME_ROWS).examples(NEURONS)
    for one, other in zip(found, some, strict=True):
        torch.testing.assert_close(one.sample.post, other.sample.post)


def test_the_model_is_let_go(study: ActivationStudy) -> None:
    ExampleStudy(study, ExampleOptions(sample_tokens=20, seed=14)).examples([(0, 0)])
    assert bridge.cache_info().currsize == 0


def test_many_neurons_are_put_together_some_at_a_time(
    study: ActivationStudy, some: list[NeuronExamples], monkeypatch: pytest.MonkeyPatch
) -> None:
    from rwcore.studies import neuron_examples

    monkeypatch.setattr(neuron_examples, "TOGETHER", 3)
    options = ExampleOptions(before=3, after=2, sample_tokens=150, random=3)
    found = ExampleStudy(study, options).examples(NEURONS)
    for one, other in zip(found, some, strict=True):
        assert torch.equal(one.sample.post, other.sample.post)
        for each in one.lists.values():
            for entry in each:
                assert one.stretches[one.stretch_of(entry)[0]].row == entry.row


def test_other_weights_are_refused(study: ActivationStudy, local: LocalModel, tmp_path: Path) -> None:
    """The file is replaced between the pass and the sweep, its time and header restored."""
    import os
    import shutil

    folder = tmp_path / "model"
    shutil.copytree(local.path, folder)
    for file in folder.iterdir():
        os.utime(file, ns=(10**18, 10**18))
    files = tuple(sorted(folder.glob("*.safetensors")))
    copied = LocalModel(local.spec, folder, None, files)
    asked = ExampleStudy(tiny_study(copied, tmp_path / "store", CORPUS), SOME_ROWS)
    _ = asked.pass_.unfolded, asked.pass_.signs
    build("llama", tmp_path / "other", seed=1)
    shutil.copy(tmp_path / "other" / files[0].name, files[0])
    os.utime(files[0], ns=(10**18, 10**18))
    with pytest.raises(ModelError, match="and the pass has found") as caught:
        asked.examples(NEURONS)
    assert "other weights" in str(caught.value.remedy)
    assert not list(tmp_path.glob("store/*/*.work")), "what was computed is of no use"


@pytest.mark.parametrize("pair", [(3, 0), (0, 24), (-1, 0)])
def test_a_neuron_that_is_not_there(pair: tuple[int, int], study: ActivationStudy) -> None:
    with pytest.raises(OptionError, match=f"there is no neuron {pair[0]}.{pair[1]}"):
        ExampleStudy(study, SOME_ROWS).examples([(0, 0), pair])


@pytest.mark.parametrize(
    "words", [{"before": -1}, {"after": -2}, {"sample_tokens": 0}, {"random": -1}, {"seed": -1}]
)
def test_options_that_make_no_sense(words: dict[str, int]) -> None:
    with pytest.raises(OptionError, match="is less than") as caught:
        ExampleOptions(**words)
    assert caught.value.where == next(iter(words))


def test_half_precision_is_close_to_its_own_pass(local: LocalModel, tmp_path: Path) -> None:
    study = tiny_study(local, tmp_path, CORPUS, dtype="bfloat16", engine=InProcess())
    found = ExampleStudy(study, SOME_ROWS).examples(NEURONS[:2])
    assert all(found[0].lists[name] for name in LISTS)
