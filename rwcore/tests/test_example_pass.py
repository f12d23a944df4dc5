"""The pass over examples of data sets: right numbers, resumed after any kill, refused where it must be."""

from __future__ import annotations

import contextlib
import multiprocessing
import random
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fixtures.tiny import build, local_model
from rwcore.corpora.batches import batches
from rwcore.errors import CorpusError, OptionError, StoreError
from rwcore.models.spec import LocalModel
from rwcore.parallel import open_engine
from rwcore.probing.datasets.features import FeatureDataset
from rwcore.probing.errors import ProbeError
from rwcore.studies import example_pass as module
from rwcore.studies.activation_pass import bridge
from rwcore.studies.example_pass import Examples
from rwcore.tests.example_makers import row_by_row
from rwcore.tests.probe_pass_makers import own_corpus, random_datasets, same_bits, tiny_pass


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> LocalModel:
    return local_model(build("llama", tmp_path_factory.mktemp("llama")), id="tiny")


@pytest.fixture(scope="module")
def datasets(local: LocalModel) -> list[FeatureDataset]:
    return random_datasets(own_corpus(local))


@pytest.fixture(scope="module")
def whole(
    local: LocalModel, datasets: list[FeatureDataset], tmp_path_factory: pytest.TempPathFactory
) -> Examples:
    """A pass that nothing has interrupted."""
    return tiny_pass(local, tmp_path_factory.mktemp("whole"), datasets)


@pytest.fixture
def forwards(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of the batches that a model runs."""
    ran: list[int] = []
    real = module.run_examples

    def counted(model: Any, batch: Any, selection: Any) -> Any:
        ran.append(batch.number)
        return real(model, batch, selection)

    monkeypatch.setattr(module, "run_examples", counted)
    return ran


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_every_example_has_the_activations_of_its_own_token_or_row(family: str, tmp_path: Path) -> None:
    """With gates, and without."""
    local = local_model(build(family, tmp_path / family), id="tiny")
    datasets = random_datasets(own_corpus(local))
    whole = tiny_pass(local, tmp_path, datasets)
    slow = [each[:, 3] for each in row_by_row(local, datasets[0].corpus, family)]  # [layer pos neuron]
    assert whole.datasets == tuple(sorted(data.name for data in datasets))
    for data in datasets:
        for layer in whole.layers:
            found = whole.layer(data.name, layer)
            expected = []
            for example in range(len(data)):
                values = slow[int(data.row[example])][layer]
                if data.valid is None:
                    expected.append(values[int(data.position[example])])
                else:
                    start, end = data.corpus.offsets[example : example + 2].tolist()
                    pooled = values[data.valid[start:end]]
                    expected.append(pooled.mean(dim=0) if data.aggregation == "mean" else pooled.amax(dim=0))
            assert found.dtype == torch.float16
            torch.testing.assert_close(found.float(), torch.stack(expected), rtol=2**-10, atol=2e-6)


def test_chosen_neurons_are_columns_in_the_order_asked_for(whole: Examples) -> None:
    chosen = torch.tensor([7, 0, 23, 7])
    for name in ("letters", "sources"):
        assert torch.equal(whole.layer(name, 1, chosen), whole.layer(name, 1)[:, chosen])


def test_rows_without_examples_are_not_read(
    local: LocalModel, datasets: list[FeatureDataset], tmp_path: Path, forwards: list[int]
) -> None:
    corpus, tokens = datasets[0].corpus, datasets[:2]
    tiny_pass(local, tmp_path, tokens)
    rows = torch.unique(torch.cat([data.row for data in tokens]))
    assert len(corpus) - 2 not in rows.tolist()
    assert sorted(forwards) == [plan.number for plan in batches(corpus, token_budget=60, only=rows)]


def test_one_data_set_alone_has_the_same_numbers(
    whole: Examples, local: LocalModel, datasets: list[FeatureDataset], tmp_path: Path
) -> None:
    (pooled,) = (data for data in datasets if data.name == "sources")  # of all rows: in the same batches
    found = tiny_pass(local, tmp_path, [pooled], layers=[1])
    assert found.layers == (1,)
    assert torch.equal(found.layer("sources", 1), whole.layer("sources", 1))


def test_found_again_whatever_the_order_and_run_again_when_discarded(
    local: LocalModel, datasets: list[FeatureDataset], tmp_path: Path, forwards: list[int]
) -> None:
    first = tiny_pass(local, tmp_path, datasets)
    ran = len(forwards)
    again = tiny_pass(local, tmp_path, datasets[::-1], restart=True)
    assert (again.folder, len(forwards)) == (first.folder, ran), "a finished pass is not what a kill has left"
    assert bridge.cache_info().currsize == 0, "the model is let go"
    other = tiny_pass(local, tmp_path, datasets, convention="as_published")
    assert other.folder != first.folder
    first.discard()
    assert not first.folder.exists()
    assert not first.finished
    assert len(forwards) == 2 * ran
    assert same_bits(tiny_pass(local, tmp_path, datasets), Examples(first.folder))
    assert len(forwards) == 3 * ran


def test_the_published_pooling_reaches_the_files(
    whole: Examples, local: LocalModel, datasets: list[FeatureDataset], tmp_path: Path
) -> None:
    found = tiny_pass(local, tmp_path, datasets, convention="as_published")
    assert torch.equal(found.layer("letters", 0), whole.layer("letters", 0))
    mean, published = whole.layer("languages", 0).float(), found.layer("languages", 0).float()
    assert not torch.equal(mean, published)
    torch.testing.assert_close(mean, published, rtol=0.02, atol=0.01)


class Interrupted(Exception):
    """What stands for a killed process in this one."""


@pytest.mark.parametrize(("after", "restart"), [(0, False), (1, False), (4, False), (4, True)])
def test_interrupted_after_any_batch_it_ends_with_the_same_bits(
    after: int,
    restart: bool,
    whole: Examples,
    local: LocalModel,
    datasets: list[FeatureDataset],
    tmp_path: Path,
    forwards: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counted = module.run_examples

    def stopping(*words: Any) -> Any:
        if len(forwards) == after:
            raise Interrupted
        return counted(*words)

    monkeypatch.setattr(module, "run_examples", stopping)
    with pytest.raises(Interrupted):
        tiny_pass(local, tmp_path, datasets)
    monkeypatch.setattr(module, "run_examples", counted)
    found = tiny_pass(local, tmp_path, datasets, restart=restart)
    once = list(range(len(set(forwards))))
    assert sorted(forwards) == sorted(once + once[: after if restart else 0])
    assert same_bits(found, whole)


@pytest.mark.parametrize("parts", [3, 100])
def test_any_number_of_parts_has_the_same_bits(
    parts: int, whole: Examples, local: LocalModel, datasets: list[FeatureDataset], tmp_path: Path
) -> None:
    assert same_bits(tiny_pass(local, tmp_path, datasets, parts=parts), whole)


@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_a_damaged_file_is_named_and_computed_again_when_it_is_deleted(
    damage: str,
    whole: Examples,
    local: LocalModel,
    datasets: list[FeatureDataset],
    tmp_path: Path,
    forwards: list[int],
) -> None:
    found = tiny_pass(local, tmp_path, datasets)
    path = found.folder / "batch_00000003.safetensors"
    kept = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes(kept[:-10])
    with pytest.raises(StoreError, match="cannot read activations") as caught:
        found.layer("letters", 0)
    assert caught.value.where == str(path)
    path.unlink(missing_ok=True)
    forwards.clear()
    assert same_bits(tiny_pass(local, tmp_path, datasets), whole)
    assert forwards == [3]


def test_what_is_not_there_is_refused(whole: Examples) -> None:
    with pytest.raises(OptionError, match="there is no 'digits'"):
        whole.layer("digits", 0)
    with pytest.raises(OptionError, match="there is no '3'"):
        whole.layer("letters", 3)
    with pytest.raises(OptionError, match="layer 0 has neurons 0 to"):
        whole.layer("letters", 0, torch.tensor([0, 10_000]))


def test_data_sets_of_another_tokenizer_are_refused(
    local: LocalModel, datasets: list[FeatureDataset], tmp_path: Path
) -> None:
    corpus = datasets[0].corpus
    other = random_datasets(replace(corpus, tokenizer_hash="sha256:other"))
    with pytest.raises(ProbeError, match="sha256:other") as caught:
        tiny_pass(local, tmp_path, other)
    assert corpus.tokenizer_hash in caught.value.what
    ids = corpus.tokens.clone()
    ids[0] = 10_000
    with pytest.raises(CorpusError, match="it has token id 10000"):
        tiny_pass(local, tmp_path, random_datasets(replace(corpus, tokens=ids)))


def test_data_sets_that_cannot_share_a_pass_are_refused(
    local: LocalModel, datasets: list[FeatureDataset], tmp_path: Path
) -> None:
    elsewhere = random_datasets(own_corpus(local, rows=20))
    for wrong, what in (
        ([datasets[0], elsewhere[1]], "over different rows"),
        ([], "no data set"),
        ([datasets[0], datasets[0]], "two of one name"),
    ):
        with pytest.raises(OptionError, match=what):
            tiny_pass(local, tmp_path, wrong)
    for layers in ([3], [-1], []):
        with pytest.raises(OptionError, match="has no such layers"):
            tiny_pass(local, tmp_path, datasets, layers=layers)
    with pytest.raises(OptionError, match="there is no 'published'"):
        tiny_pass(local, tmp_path, datasets, convention="published")


def test_numbers_without_a_place_in_float16_leave_nothing_behind(
    local: LocalModel, datasets: list[FeatureDataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = bridge

    def damaged(*words: Any) -> Any:
        model = real(*words)
        with torch.no_grad():
            for parameter in model.blocks[1].mlp.parameters():
                parameter.fill_(torch.nan)
        return model

    monkeypatch.setattr("rwcore.studies.batch_files.bridge", damaged)
    with pytest.raises(ProbeError, match="an activation is nan") as caught:
        tiny_pass(local, tmp_path, datasets)
    assert str(caught.value.where).startswith("layer 1, neuron 0, document ")
    assert not list(tmp_path.glob("example-pass/*.work"))


def run_pass(local: LocalModel, root: Path, datasets: list[FeatureDataset]) -> None:
    """The whole pass; in a process of its own, which may be killed."""
    tiny_pass(local, root, datasets)


@pytest.mark.slow
def test_killed_at_random_moments_the_pass_ends_with_the_same_bits(local: LocalModel, tmp_path: Path) -> None:
    datasets = random_datasets(own_corpus(local, rows=400))
    whole = tiny_pass(local, tmp_path / "whole", datasets)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["transformer_lens", "rwcore.tests.probe_pass_makers"])
    moments, killed = random.Random(1), 0
    root = tmp_path / "killed"

    def files() -> set[str]:
        return {path.name for path in root.glob("*/*.work/batch_*")}

    for _ in range(4):
        before = files()
        process = context.Process(target=run_pass, args=(local, root, datasets))
        process.start()
        end = time.monotonic() + 60
        while process.is_alive() and not files() - before and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(moments.random() * 0.1)
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.join()
        killed += process.exitcode == -9
    assert killed >= 2, "the pass was over too soon to be a drill"
    assert same_bits(tiny_pass(local, root, datasets), whole)


@pytest.mark.slow
def test_parts_run_on_workers(
    whole: Examples, local: LocalModel, datasets: list[FeatureDataset], tmp_path: Path
) -> None:
    with open_engine("local:2") as engine:
        found = tiny_pass(local, tmp_path, datasets, engine=engine, parts=2, threads=1)
        for name in whole.datasets:
            torch.testing.assert_close(found.layer(name, 2), whole.layer(name, 2))
