"""Runs of a grid: kept, gone on with, failing alone, compared."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from fixtures.tiny import build, local_model
from rwcore.ablation.compare import COLUMNS
from rwcore.ablation.grid import ChosenSet, Experiment, experiments, interventions
from rwcore.ablation.hooks import ablating
from rwcore.ablation.interventions import Ablation, Intervention
from rwcore.ablation.metrics import MetricsRecorder
from rwcore.ablation.run_metrics import METRICS, RunMetrics
from rwcore.ablation.saved import load_ablation, save_ablation
from rwcore.corpora.batches import batches
from rwcore.errors import OptionError, StoreError
from rwcore.models.load import load_bridge
from rwcore.models.spec import LocalModel
from rwcore.neurons import NeuronSet
from rwcore.store import Store
from rwcore.studies.ablation_runs import STATE, ablation_hash, read_run
from rwcore.studies.ablations import AblationStudy
from rwcore.studies.failures import Failure
from rwcore.studies.forward import ForwardOptions
from rwcore.studies.weights import weight_study
from rwcore.tests.pass_makers import random_corpus, tiny_study

CORPUS = random_corpus(rows=40, seed=21)
SET = ChosenSet(
    "some", NeuronSet.of("some", [(0, 3), (1, 5), (1, 6), (2, 0)]), NeuronSet.of("other", [(0, 1)])
)
OPTIONS = ForwardOptions(token_budget=60, device="cpu", checkpoint_every=2)


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> LocalModel:
    return local_model(build("llama", tmp_path_factory.mktemp("llama")), id="tiny")


def study_in(local: LocalModel, root: Path, **changes: object) -> AblationStudy:
    weights = weight_study(local, store=Store(root))
    means = tiny_study(local, root, CORPUS, token_budget=400)
    return AblationStudy(weights, CORPUS, means, dataclasses.replace(OPTIONS, **changes))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def study(local: LocalModel, tmp_path_factory: pytest.TempPathFactory) -> AblationStudy:
    return study_in(local, tmp_path_factory.mktemp("store"))


def same(one: RunMetrics, other: RunMetrics) -> bool:
    pairs = [(getattr(one, name), getattr(other, name)) for name in METRICS]
    return all(torch.equal(a.nan_to_num(nan=-1.0), b.nan_to_num(nan=-1.0)) for a, b in pairs)


def read(found: Sequence[Path | Failure]) -> RunMetrics:
    """The metrics of the only run."""
    (one,) = found
    assert isinstance(one, Path), one
    return read_run(one)


def by_hand(local: LocalModel, ablation: Ablation | None) -> RunMetrics:
    model = load_bridge(local)
    recorder = MetricsRecorder(CORPUS)
    plans = batches(CORPUS, token_budget=60)
    if ablation is None:
        for plan in plans:
            recorder.add(model, plan.load(CORPUS))
    else:
        with ablating(model, ablation):
            for plan in plans:
                recorder.add(model, plan.load(CORPUS))
    return recorder.metrics


@pytest.mark.parametrize("mode", ["zero", "mean"])
def test_a_run_is_the_model_with_its_hooks(mode: str, study: AblationStudy, local: LocalModel) -> None:
    (experiment,) = experiments([SET], [Intervention(mode, gate="-", post="+")])
    found = read(study.runs([experiment]))
    assert same(found, by_hand(local, study.ablation(experiment)))
    clean = study.clean()
    assert same(clean, by_hand(local, None))
    assert not same(found, clean)


def test_an_empty_set_changes_nothing(study: AblationStudy) -> None:
    nothing = Experiment(
        NeuronSet.of("none", []), Intervention("zero"), experiments([SET], interventions(["zero"]))[0].label
    )
    assert same(read(study.runs([nothing])), study.clean())


def test_an_interrupted_run_ends_with_the_same_bits(
    study: AblationStudy, local: LocalModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    todo = experiments([SET], interventions(["zero"]), baselines=False)
    add, seen = MetricsRecorder.add, []

    def stopping(self: MetricsRecorder, *words: object, **options: float) -> None:
        seen.append(1)
        if len(seen) == 6:
            raise KeyboardInterrupt
        add(self, *words, **options)  # type: ignore[arg-type]

    begun = study_in(local, tmp_path)
    monkeypatch.setattr(MetricsRecorder, "add", stopping)
    with pytest.raises(KeyboardInterrupt):
        begun.runs(todo)
    monkeypatch.setattr(MetricsRecorder, "add", add)
    (state,) = tmp_path.glob(f"ablation-run/*.work/*/{STATE}")
    assert state.parent.name == "batches_00000004"
    assert same(read(begun.runs(todo)), read(study.runs(todo)))
    assert not list(tmp_path.glob("ablation-run/*.work"))


def test_the_checkpoint_of_another_version_is_refused(
    local: LocalModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rwcore.studies import forward

    begun = study_in(local, tmp_path)
    add, seen = MetricsRecorder.add, []

    def stopping(self: MetricsRecorder, *words: object, **options: float) -> None:
        seen.append(1)
        if len(seen) == 4:
            raise KeyboardInterrupt
        add(self, *words, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(MetricsRecorder, "add", stopping)
    with pytest.raises(KeyboardInterrupt):
        begun.clean()
    monkeypatch.setattr(MetricsRecorder, "add", add)
    version = forward.metadata.version
    with monkeypatch.context() as patch:
        patch.setattr(forward.metadata, "version", lambda name: "99.0" if name == "torch" else version(name))
        with pytest.raises(StoreError, match=r"torch: .* and 99\.0") as caught:
            study_in(local, tmp_path).clean()
        assert "--restart" in str(caught.value.remedy)
        assert study_in(local, tmp_path, restart=True).clean() is not None


def test_a_run_that_fails_does_not_stop_the_others(study: AblationStudy) -> None:
    good, bad = (
        Experiment(neurons, Intervention("zero"), experiments([SET], interventions(["zero"]))[0].label)
        for neurons in (SET.neurons, NeuronSet.of("outside", [(9, 0)]))
    )
    first, second, third = study.runs([good, bad, good])
    assert isinstance(second, Failure)
    assert first == third
    assert "9" in f"{second.error} {second.where}"
    comparison = study.compare([good, bad])
    assert len(comparison.table) == len(METRICS)
    assert comparison.failures == (second,)


def test_the_table_has_every_run_and_metric(study: AblationStudy) -> None:
    todo = experiments([SET], interventions(["zero", "mean"]))
    comparison = study.compare(todo)
    table = comparison.table
    assert comparison.failures == ()
    assert table.columns.tolist() == list(COLUMNS)
    assert len(table) == 4 * len(METRICS)
    loss = table[(table["metric"] == "loss") & ~table["baseline"] & (table["mode"] == "zero")].iloc[0]
    clean, ablated = study.clean(), read(study.runs(todo)[:1])
    first = torch.zeros(CORPUS.n_tokens, dtype=torch.bool)
    first[CORPUS.offsets[:-1]] = True
    difference = (clean.loss.double() - ablated.loss.double())[~first & ~clean.loss.isnan()]
    assert loss["n"] == len(difference)
    assert loss["mean"] == pytest.approx(difference.mean().item(), abs=1e-9)
    assert loss["low"] <= loss["mean"] <= loss["high"]
    binned = comparison.counts["loss"][0]
    assert binned.label == todo[0].label
    assert binned.counts.n == loss["n"]


def test_means_must_be_those_of_the_model(study: AblationStudy, local: LocalModel, tmp_path: Path) -> None:
    (experiment,) = experiments([SET], interventions(["mean"]), baselines=False)
    without = dataclasses.replace(study, means=None)
    with pytest.raises(OptionError, match="needs the means"):
        without.ablation(experiment)
    other = local_model(build("llama", tmp_path / "other", seed=1, context=128), id="other")
    wrong = dataclasses.replace(study, means=tiny_study(other, tmp_path, CORPUS))
    (failure,) = wrong.runs([experiment])
    assert isinstance(failure, Failure)
    assert "another model" in failure.error


def test_an_ablation_is_saved_whole(study: AblationStudy, tmp_path: Path) -> None:
    for intervention in (
        Intervention("mean", gate="-"),
        Intervention("fixed", parameter=0.25, positions=(1, 4)),
    ):
        (experiment,) = experiments([SET], [intervention], baselines=False)
        ablation = study.ablation(experiment)
        folder = tmp_path / intervention.mode
        folder.mkdir()
        save_ablation(folder, ablation)
        assert ablation_hash(load_ablation(folder)) == ablation_hash(ablation)
    assert ablation_hash(None) == "clean"
    (folder / "ablation.json").write_text('{"neurons": []}')
    with pytest.raises(StoreError, match="no saved ablation"):
        load_ablation(folder)
