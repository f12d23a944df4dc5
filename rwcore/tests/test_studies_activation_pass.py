"""A pass from a model and a corpus to an artefact: interrupted, sharded, merged, mixed up, damaged."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest
import torch

from fixtures.tiny import build, local_model
from rwcore.activations.artefact import load
from rwcore.activations.capture import add_batch
from rwcore.corpora.batches import batches
from rwcore.errors import ModelError, NotGatedError, OptionError, StoreError
from rwcore.models.spec import LocalModel
from rwcore.parallel import InProcess
from rwcore.studies import activation_pass
from rwcore.studies.activation_pass import bridge, run_shard
from rwcore.studies.activations import PASS, ActivationStudy, PassOptions
from rwcore.tests.pass_makers import random_corpus, same_pass, tiny_study, tokens_of

CORPUS = random_corpus()


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> LocalModel:
    return local_model(build("llama", tmp_path_factory.mktemp("llama")), id="tiny")


@pytest.fixture(scope="module")
def whole(local: LocalModel, tmp_path_factory: pytest.TempPathFactory) -> ActivationStudy:
    """A pass that nothing has interrupted."""
    return tiny_study(local, tmp_path_factory.mktemp("whole"), CORPUS)


class Interrupted(Exception):
    """What stands for a killed process in this one."""


def interrupted_after(monkeypatch: pytest.MonkeyPatch, done: int) -> None:
    """Let the pass stop in the middle of the batch after some."""
    seen: list[int] = []

    def stopping(*words: object, **options: object) -> None:
        if len(seen) == done:
            raise Interrupted
        seen.append(1)
        add_batch(*words, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(activation_pass, "add_batch", stopping)


def test_the_artefact_knows_every_token_once(whole: ActivationStudy) -> None:
    found = load(whole.folder / PASS)
    assert tokens_of(found) == {CORPUS.n_tokens}
    assert found.rows == len(CORPUS)
    assert sum(found.group_tokens) == CORPUS.n_tokens
    assert found.batches == tuple(range(len(batches(CORPUS, token_budget=40))))
    assert not whole.weights.store.work(whole._key).exists(), "nothing of the work is left"


def test_what_ran_when_is_kept(whole: ActivationStudy) -> None:
    (run,) = whole.provenance["runs"]
    assert run["batches"] == len(batches(CORPUS, token_budget=40))
    assert run["wall_seconds"] > 0
    assert "torch" in run["software"]
    assert whole.provenance["tokens"] == CORPUS.n_tokens


@pytest.mark.parametrize(("every", "stops"), [(1, (1,)), (3, (4, 7)), (5, (2, 6))])
def test_an_interrupted_pass_ends_with_the_same_bits(
    every: int,
    stops: tuple[int, ...],
    whole: ActivationStudy,
    local: LocalModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    study = tiny_study(local, tmp_path, CORPUS, checkpoint_every=every)
    for done in stops:
        interrupted_after(monkeypatch, done)
        with pytest.raises(Interrupted):
            _ = study.folder
    monkeypatch.setattr(activation_pass, "add_batch", add_batch)
    assert same_pass(study, whole)
    runs = study.provenance["runs"]
    kept = [stop // every * every for stop in stops]
    assert len(runs) == 1 + sum(1 for batches_done in kept if batches_done)
    assert sum(run["batches"] for run in runs) == len(batches(CORPUS, token_budget=40))


def test_restart_discards_what_there_is(
    local: LocalModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = tiny_study(local, tmp_path, CORPUS, checkpoint_every=1)
    interrupted_after(monkeypatch, 3)
    with pytest.raises(Interrupted):
        _ = study.folder
    monkeypatch.setattr(activation_pass, "add_batch", add_batch)
    again = tiny_study(local, tmp_path, CORPUS, restart=True)
    assert [run["first_batch"] for run in again.provenance["runs"]] == [0]


@pytest.mark.parametrize("shards", [2, 5, 100])
def test_any_number_of_shards_is_the_same_bits(
    shards: int, whole: ActivationStudy, local: LocalModel, tmp_path: Path
) -> None:
    """100 shards are more than there are batches: some are empty."""
    assert same_pass(tiny_study(local, tmp_path, CORPUS, shards=shards), whole)


def test_shards_computed_elsewhere_are_merged_in_any_order(
    whole: ActivationStudy, local: LocalModel, tmp_path: Path
) -> None:
    elsewhere = tiny_study(local, tmp_path / "elsewhere", CORPUS, shards=3)
    parts = [load(run_shard(task)) for task in elsewhere.tasks()]
    study = tiny_study(local, tmp_path / "here", CORPUS)
    with pytest.raises(StoreError, match="shard 1 of 3 missing"):
        study.merge([parts[2], parts[0]])
    with pytest.raises(StoreError, match="is there twice"):
        study.merge([parts[1], parts[0], parts[1], parts[2]])
    other = tiny_study(local, tmp_path / "other", random_corpus(seed=1))
    with pytest.raises(StoreError, match="different passes: corpus: "):
        other.merge(parts)
    study.merge([parts[2], parts[0], parts[1]])
    assert same_pass(study, whole)


def stopped(
    local: LocalModel, folder: Path, monkeypatch: pytest.MonkeyPatch, **options: object
) -> ActivationStudy:
    study = tiny_study(local, folder, CORPUS, checkpoint_every=2, **options)
    interrupted_after(monkeypatch, 5)
    with pytest.raises(Interrupted):
        _ = study.folder
    monkeypatch.setattr(activation_pass, "add_batch", add_batch)
    return study


def test_the_checkpoint_of_another_pass_is_refused_with_the_difference(
    local: LocalModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = stopped(local, tmp_path / "one", monkeypatch)
    other = tiny_study(local, tmp_path / "two", random_corpus(seed=1))
    other_work = other.weights.store.work(other._key)
    shutil.copytree(begun.weights.store.work(begun._key), other_work)
    with pytest.raises(StoreError, match="cannot be gone on with") as caught:
        _ = other.folder
    assert f'corpus: "{CORPUS.content_hash}" and "{other.corpus.content_hash}"' in caught.value.what
    assert "batches_00000004" in str(caught.value.where)


def test_a_pass_begun_with_other_software_does_not_go_on(
    local: LocalModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped(local, tmp_path, monkeypatch)
    version = forward_module().metadata.version
    monkeypatch.setattr(
        forward_module().metadata,
        "version",
        lambda name: "99.0" if name == "torch" else version(name),
    )
    with pytest.raises(StoreError, match=r"torch: .* and 99\.0") as caught:
        _ = tiny_study(local, tmp_path, CORPUS).folder
    assert "--restart" in str(caught.value.remedy)


def forward_module():
    from rwcore.studies import forward

    return forward


def test_a_damaged_checkpoint_is_refused(
    local: LocalModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = stopped(local, tmp_path, monkeypatch)
    (file,) = tmp_path.glob("*/*.work/shard_*/batches_00000004/layer_001.safetensors")
    file.write_bytes(file.read_bytes()[:-1] + b"\xff")
    with pytest.raises(StoreError, match="not the one that was written") as caught:
        _ = study.folder
    assert str(file) in str(caught.value.where)


def test_a_full_disk_during_a_checkpoint_leaves_the_one_before(
    whole: ActivationStudy, local: LocalModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rwcore.activations import artefact

    write_arrays, written = artefact.write_arrays, []

    def full(path: Path, arrays: dict[str, torch.Tensor]) -> None:
        written.append(path)
        if len(written) == 5:  # in the middle of the second checkpoint
            path.write_bytes(b"half")
            raise OSError(28, "No space left on device", str(path))
        write_arrays(path, arrays)

    study = tiny_study(local, tmp_path, CORPUS, checkpoint_every=2)
    monkeypatch.setattr(artefact, "write_arrays", full)
    with pytest.raises(StoreError, match="the disk is full"):
        _ = study.folder
    (shard,) = tmp_path.glob("*/*.work/shard_*/")
    assert sorted(path.name for path in shard.iterdir() if path.is_dir()) == ["batches_00000002"]
    monkeypatch.setattr(artefact, "write_arrays", write_arrays)
    assert same_pass(study, whole)


def test_an_activation_that_is_not_a_number_is_located(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = build("llama", tmp_path / "model")
    file = folder / "model.safetensors"
    arrays = load_file(file)
    (name,) = [name for name in arrays if name.endswith("embed_tokens.weight")]
    odd = int(CORPUS.row(31)[-1])
    arrays[name][odd] = torch.nan
    save_file(arrays, file, metadata={"format": "pt"})
    study = tiny_study(local_model(folder, id="broken"), tmp_path / "store", CORPUS)
    with pytest.raises(ModelError, match="is nan") as caught:
        _ = study.folder
    where = str(caught.value.where)
    row = int(where.partition("(row ")[2].partition(")")[0])
    assert odd in CORPUS.row(row).tolist()
    # Attention gives a weight of zero to what comes later, and zero times NaN is NaN: the row begins with it.
    assert where == f"layer 0, document {int(CORPUS.document[row])} of rows (row {row}), position 0"


def test_a_model_without_a_gate_is_refused_before_anything_runs(tmp_path: Path) -> None:
    study = tiny_study(local_model(build("gpt2", tmp_path / "gpt2"), id="plain"), tmp_path / "store", CORPUS)
    with pytest.raises(NotGatedError, match="no gate"):
        _ = study.folder


@pytest.mark.parametrize(
    ("name", "value", "option"),
    [
        ("k", -1, "--top"),
        ("token_budget", 0, "--batch-tokens"),
        ("shards", 0, "--shards"),
        ("checkpoint_every", 0, "--checkpoint-every"),
        ("dtype", "int8", "--dtype"),
    ],
)
def test_impossible_options(name: str, value: object, option: str) -> None:
    with pytest.raises(OptionError) as caught:
        PassOptions(**{name: value})  # type: ignore[arg-type]
    assert caught.value.where == option


def test_the_model_is_given_back_after_the_pass(local: LocalModel, tmp_path: Path) -> None:
    """A pass of its own: other tests run shards by themselves, and leave the model where it is."""
    bridge(local, "cpu", "float32")
    assert bridge.cache_info().currsize == 1
    assert tiny_study(local, tmp_path, CORPUS).folder.is_dir()
    assert bridge.cache_info().currsize == 0


def test_a_finished_shard_is_not_run_again(
    local: LocalModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = tiny_study(local, tmp_path, CORPUS, shards=2)
    first = study.tasks()[0]
    folder = run_shard(first)
    before = load(folder)
    interrupted_after(monkeypatch, 0)
    assert run_shard(first) == folder
    assert load(folder).runs == before.runs


def test_the_engine_gets_specifications_and_paths_only(local: LocalModel, tmp_path: Path) -> None:
    class Spying(InProcess):
        def map(self, function, specs, *, desc):  # type: ignore[no-untyped-def]
            for spec in specs:
                values = dataclasses.asdict(spec).values()
                assert not any(isinstance(value, torch.Tensor) for value in values)
            seen.extend(specs)
            return super().map(function, specs, desc=desc)

    seen: list[object] = []
    _ = tiny_study(local, tmp_path, CORPUS, engine=Spying(), shards=3).folder
    assert len(seen) == 3
