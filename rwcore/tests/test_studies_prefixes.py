"""First layers that runs of a grid share: planned, made, used, gone on with, removed."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from fixtures.tiny import SIZES
from rwcore.cli.cache import _artefacts
from rwcore.errors import OptionError, StoreError
from rwcore.models.spec import LocalModel
from rwcore.store import Store, read_arrays, read_json
from rwcore.studies import ablations, activation_pass, prefixes
from rwcore.studies.ablation_runs import run
from rwcore.studies.failures import Failure
from rwcore.studies.prefixes import KIND, Prefix, prefix_bytes
from rwcore.tests.prefix_grid import (
    BATCHES,
    BUDGET,
    CORPUS,
    GRID,
    LAYERS,
    bits,
    from_layer,
    kept,
    late_model,
    layers_read,
    study_in,
    without_prefixes,
)

pytestmark = pytest.mark.slow  # all of it together


@pytest.fixture(scope="module", params=["llama", "gptj"])
def local(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LocalModel:
    """A model with a gate, and one whose blocks return tuples."""
    return late_model(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> LocalModel:
    return late_model("llama", tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def plain(llama: LocalModel, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[bytes]]:
    """Bits of the grid of the llama, all layers computed."""
    return without_prefixes(llama, tmp_path_factory.mktemp("plain"), GRID)


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> Counter[int]:
    """How often each block of a model is computed."""
    found: Counter[int] = Counter()
    load = activation_pass.load_bridge

    def loaded(*words: Any, **options: Any) -> Any:
        model = load(*words, **options)
        for layer, block in enumerate(model.blocks):

            def count(module: Any, arguments: Any, output: Any, layer: int = layer) -> None:
                found[layer] += 1

            block.original_component.register_forward_hook(count)
        return model

    # A test that stopped in the middle may have left its model, without the hooks that count.
    activation_pass.bridge.cache_clear()
    monkeypatch.setattr(activation_pass, "load_bridge", loaded)
    return found


def stop_at(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, call: int, error: type[BaseException]
) -> None:
    """Raise an error at one call of a function, and never again."""
    function, calls = getattr(owner, name), itertools.count(1)

    def stopping(*words: Any, **options: Any) -> Any:
        if next(calls) == call:
            raise error
        return function(*words, **options)

    monkeypatch.setattr(owner, name, stopping)


# --- runs ------------------------------------------------------------------------------------------------


def test_runs_with_and_without_prefixes_are_the_same_bits(
    local: LocalModel, tmp_path: Path, computed: Counter[int]
) -> None:
    plain = without_prefixes(local, tmp_path / "plain", GRID)
    assert computed == {layer: len(GRID) * BATCHES for layer in range(LAYERS)}
    computed.clear()
    study = study_in(local, tmp_path / "shared")
    found = study.runs(GRID)
    assert bits(found) == plain
    assert len(plain) == len({each for one in plain.values() for each in one[1:2]}) == len(GRID)
    # One pass over five layers, and every run over the others.
    assert computed == {layer: (1 if layer < 5 else len(GRID)) * BATCHES for layer in range(LAYERS)}
    assert kept(tmp_path / "shared") == []
    assert layers_read(found) == [5] * len(GRID)


def test_prefixes_are_made_from_one_another(
    llama: LocalModel, tmp_path: Path, computed: Counter[int]
) -> None:
    factors = (0.0, 0.5, 2.0, 3.0)
    study_in(llama, tmp_path).runs([*from_layer(3, factors), *from_layer(7, factors)])
    expected = dict.fromkeys(range(3), BATCHES)
    expected |= dict.fromkeys(range(3, 7), (1 + 4) * BATCHES)
    assert computed == {**expected, 7: 8 * BATCHES}


def test_half_precision(llama: LocalModel, tmp_path: Path, computed: Counter[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ablations, "plan_prefixes", lambda *_, **__: ())
        plain = bits(study_in(llama, tmp_path / "plain", dtype="bfloat16").runs(GRID))
    computed.clear()
    assert bits(study_in(llama, tmp_path / "shared", dtype="bfloat16").runs(GRID)) == plain
    assert computed[0] == BATCHES


def test_runs_that_are_there_need_no_prefix(
    llama: LocalModel, tmp_path: Path, plain: dict[str, Any], computed: Counter[int]
) -> None:
    study = study_in(llama, tmp_path)
    first = study.runs(GRID[:-1])
    computed.clear()
    again = study.runs(GRID)
    assert again[:-1] == first
    assert bits(again) == plain
    assert computed == dict.fromkeys(range(LAYERS), BATCHES)
    assert layers_read(again[-1:]) == [0], "for one run it is not worth it"
    # The same run named twice is one run.
    computed.clear()
    once = from_layer(5, [3.0]) * 4
    assert len({*study.runs(once)}) == 1
    assert computed == dict.fromkeys(range(LAYERS), BATCHES)


def test_the_size_of_a_prefix_is_known_before(
    llama: LocalModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ablations, "discard", lambda *_: None)
    study_in(llama, tmp_path).runs(GRID)
    (folder,) = (path.parent for path in tmp_path.glob(f"{KIND}/*/manifest.json"))
    found = [read_arrays(path)["hidden"] for path in sorted(folder.glob("*.safetensors"))]
    assert len(found) == BATCHES
    assert sum(one.nbytes for one in found) == prefix_bytes(CORPUS, BUDGET, SIZES["d_model"], "float32")
    assert prefix_bytes(CORPUS, BUDGET, SIZES["d_model"] // 2, "bfloat16") * 4 == sum(
        one.nbytes for one in found
    )
    assert read_json(folder / "manifest.json")["layers"] == 5
    rows = {row[0]: row[1] for row in _artefacts(Store(tmp_path))}
    assert rows[KIND] == rows["ablation-run"] == "tiny"


# --- interrupted -----------------------------------------------------------------------------------------


def test_a_prefix_that_was_interrupted_is_gone_on_with(
    llama: LocalModel,
    tmp_path: Path,
    plain: dict[str, Any],
    computed: Counter[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stop_at(monkeypatch, prefixes, "run_first_layers", 4, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        study_in(llama, tmp_path).runs(GRID)
    (work,) = tmp_path.glob(f"{KIND}/*.work")
    assert len([*work.iterdir()]) == 3
    (work / ".batch_00000003.safetensors.x.safetensors").write_bytes(b"half written by a killed process")
    before = {path: path.read_bytes() for path in work.glob("batch*")}
    computed.clear()
    monkeypatch.setattr(ablations, "discard", lambda *_: None)
    assert bits(study_in(llama, tmp_path).runs(GRID)) == plain
    assert computed[0] == BATCHES - 3
    (folder,) = (path.parent for path in tmp_path.glob(f"{KIND}/*/manifest.json"))
    assert all((folder / path.name).read_bytes() == content for path, content in before.items())
    assert len([*folder.iterdir()]) == BATCHES + 1
    assert read_json(folder / "manifest.json")["batches_before"] == 3


def test_a_grid_that_was_interrupted_leaves_its_prefix(
    llama: LocalModel,
    tmp_path: Path,
    plain: dict[str, Any],
    computed: Counter[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from rwcore.ablation.metrics import MetricsRecorder

    stop_at(monkeypatch, MetricsRecorder, "add", 3 * BATCHES + 4, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        study_in(llama, tmp_path).runs(GRID)
    assert len(kept(tmp_path)) == 1
    computed.clear()
    assert bits(study_in(llama, tmp_path).runs(GRID)) == plain
    assert computed == {5: BATCHES - 3, 6: BATCHES - 3, 7: BATCHES - 3}, "a run from its checkpoint on"
    assert kept(tmp_path) == []


def test_restart_discards_prefixes(
    llama: LocalModel,
    tmp_path: Path,
    plain: dict[str, Any],
    computed: Counter[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stop_at(monkeypatch, prefixes, "run_first_layers", 4, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        study_in(llama, tmp_path).runs(GRID)
    computed.clear()
    assert bits(study_in(llama, tmp_path, restart=True).runs(GRID)) == plain
    assert computed[0] == BATCHES


def test_other_threads_make_another_prefix(llama: LocalModel, tmp_path: Path) -> None:
    """Keys of runs do not have them, so a prefix that is left must not bring other bits."""
    keys = [study_in(llama, tmp_path, threads=threads)._prefix_keys() for threads in (None, 1)]
    assert keys[0].keys() == keys[1].keys() == {*range(1, LAYERS)}
    digests = [key.digest for each in keys for key in each.values()]
    assert len({*digests}) == len(digests)


# --- what goes wrong -------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", [1, 4, BATCHES + 2])
def test_a_full_disk_costs_time_only(
    llama: LocalModel,
    tmp_path: Path,
    plain: dict[str, Any],
    call: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    grid = [*GRID, *from_layer(7, (0.0, 0.5, 2.0, 3.0, 4.0))]
    written = prefixes.write_arrays
    calls = itertools.count(1)

    def full(*words: Any) -> None:
        if next(calls) >= call:
            raise StoreError("the disk is full")
        written(*words)

    begun, run = [], ablations.run

    def beginning(task: Any) -> Any:
        begun.extend(tmp_path.glob(f"{KIND}/*.work"))
        return run(task)

    monkeypatch.setattr(prefixes, "write_arrays", full)
    monkeypatch.setattr(ablations, "run", beginning)
    found = bits(study_in(llama, tmp_path).runs(grid))
    assert next(calls) > call
    assert begun == [], "what there was of the prefix took room that the runs may need"
    assert {name: found[name] for name in plain} == plain
    assert len(found) == len({one.neurons.name + one.label.mode for one in grid})
    assert kept(tmp_path) == []


def test_a_prefix_that_disappears_is_not_missed(
    llama: LocalModel,
    tmp_path: Path,
    plain: dict[str, Any],
    computed: Counter[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another grid may have removed it."""
    reading = Prefix.read
    reads = itertools.count(1)

    def removing(self: Prefix, *words: Any) -> Any:
        if next(reads) == 3:
            for path in self.folder.iterdir():
                path.unlink()
        return reading(self, *words)

    monkeypatch.setattr(Prefix, "read", removing)
    assert bits(study_in(llama, tmp_path).runs(GRID)) == plain
    assert computed[0] == BATCHES + len(GRID) * BATCHES - 2


def test_a_damaged_prefix_is_reported_and_removed(
    llama: LocalModel, tmp_path: Path, plain: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = ablations.make_prefixes

    def damaging(task: Any) -> Any:
        found = made(task)
        (found[0].folder / "batch_00000001.safetensors").write_bytes(b"nothing")
        return found

    monkeypatch.setattr(ablations, "make_prefixes", damaging)
    study = study_in(llama, tmp_path)
    assert all(isinstance(one, Failure) and "cannot read" in one.error for one in study.runs(GRID))
    monkeypatch.undo()
    assert bits(study.runs(GRID)) == plain


def test_an_ablation_within_the_prefix_is_refused(llama: LocalModel, tmp_path: Path) -> None:
    study = study_in(llama, tmp_path)
    (experiment,) = from_layer(4, [0.0])
    task = study._task(study.ablation(experiment), "four")
    assert task.first_layer == 4
    assert study._task(None, "clean").first_layer == 0
    assert study._task(study.ablation(from_layer(0)[0]), "none").first_layer == 0
    with pytest.raises(OptionError, match="begins in layer 4, and 5 layers") as caught:
        run(dataclasses.replace(task, prefix=Prefix(tmp_path, 5)))
    assert caught.value.where == "four"


def test_a_prefix_somebody_is_making_is_left_alone(llama: LocalModel, tmp_path: Path) -> None:
    from filelock import FileLock

    study = study_in(llama, tmp_path)
    key = study._prefix_keys()[3]
    work = study.weights.store.work(key)
    work.mkdir(parents=True)
    lock = study.weights.store.path(key).with_suffix(".lock")
    with FileLock(lock):
        # Locks are per process, or a file's handle: another handle, as in another process.
        prefixes.discard(study.weights.store, key)
        assert work.exists()
    prefixes.discard(study.weights.store, key)
    assert not work.exists()
