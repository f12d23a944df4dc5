"""Examples of a grid: those of its runs, kept, failing alone, and as tables."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from fixtures.tiny import build, local_model
from rwcore.ablation.continuations import LISTS
from rwcore.ablation.examples import RISE, find_examples
from rwcore.ablation.grid import ChosenSet, Experiment, experiments, interventions
from rwcore.ablation.interventions import Intervention
from rwcore.errors import StoreError
from rwcore.models.vocabulary import Vocabulary, vocabulary
from rwcore.neurons import NeuronSet
from rwcore.store import Store
from rwcore.studies import continuations as module
from rwcore.studies.ablation_examples import (
    EXAMPLE_COLUMNS,
    TOKEN_COLUMNS,
    FoundExamples,
    continuations_frame,
    examples_frame,
    find_run_examples,
)
from rwcore.studies.ablation_runs import read_run
from rwcore.studies.ablations import AblationStudy
from rwcore.studies.continuations import HIDDEN_FILE, LISTS_FILE
from rwcore.studies.forward import ForwardOptions
from rwcore.studies.weights import weight_study
from rwcore.tests.pass_makers import random_corpus

CORPUS = random_corpus(rows=24, seed=3)
SET = ChosenSet("some", NeuronSet.of("some", [(0, 3), (1, 5), (1, 6), (2, 0)]), None)
TODO = experiments([SET], interventions(["zero"], ["+", "-"]), baselines=False)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> AblationStudy:
    local = local_model(build("llama", tmp_path_factory.mktemp("llama")), id="tiny")
    weights = weight_study(local, store=Store(tmp_path_factory.mktemp("store")))
    return AblationStudy(weights, CORPUS, None, ForwardOptions(token_budget=60, device="cpu"))


@pytest.fixture(scope="module")
def found(study: AblationStudy) -> FoundExamples:
    return find_run_examples(study, TODO, count=3)


@pytest.fixture(scope="module")
def words(study: AblationStudy) -> Vocabulary:
    return vocabulary(study.weights.local, 64)


def test_they_are_the_extremes_of_the_runs(study: AblationStudy, found: FoundExamples) -> None:
    assert found.failures == ()
    assert [run.label for run in found.runs] == [experiment.label for experiment in TODO]
    clean = study.clean()
    for run, path in zip(found.runs, study.runs(TODO), strict=True):
        assert isinstance(path, Path)
        expected = find_examples(clean, read_run(path), CORPUS, count=3)
        assert [(one.row, one.position) for one in run.examples] == [
            (one.row, one.position) for one in expected
        ]
        assert len(run.examples) == 12
        assert run.neurons == 4


def test_what_the_model_says_agrees_with_the_metrics_of_the_runs(found: FoundExamples) -> None:
    """P(next token) = e^(-loss): a row or a position off by one gives other numbers."""
    compared = 0
    for run in found.runs:
        assert run.continuations is not None
        for one in run.examples:
            lists = run.continuations.at(one.row, one.position)
            if one.metric != "loss":
                continue
            for name, loss in (("clean", one.clean), ("ablated", one.ablated)):
                for token, probability in lists[name]:
                    if token == one.next_token:
                        compared += 1
                        assert probability == pytest.approx(math.exp(-loss), rel=1e-4)
    assert compared > 5


def test_they_are_kept(study: AblationStudy, found: FoundExamples, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*words: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(module, "bridge", refuse)
    again = find_run_examples(study, TODO, count=3)
    assert again.failures == ()
    for one, other in zip(found.runs, again.runs, strict=True):
        assert one.continuations is not None
        assert other.continuations is not None
        assert one.continuations.clean_values.equal(other.continuations.clean_values)


def test_one_that_fails_keeps_its_examples_and_does_not_stop_the_others(
    study: AblationStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, seen = module.continuations, []

    def failing(*words: object, **options: int) -> object:
        seen.append(1)
        if len(seen) == 1:
            raise MemoryError("no memory left")
        return work(*words, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "continuations", failing)
    bad = Experiment(NeuronSet.of("outside", [(9, 0)]), Intervention("zero"), TODO[0].label)
    again = find_run_examples(study, [bad, *TODO], count=2)
    first, second = again.failures
    assert "9" in f"{first.error} {first.where}"
    assert second.name == "examples of some zero gate+"
    assert second.error == "MemoryError: no memory left"
    assert [run.continuations is None for run in again.runs] == [True, False]
    assert len(again.runs[0].examples) == 8


def test_the_clean_model_is_run_once_for_all_runs(
    study: AblationStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, rows = module.hidden_states, []

    def counting(model: object, corpus: object, places: list[tuple[int, int]], *, whole: bool) -> object:
        rows.append(len({row for row, _ in places}))
        return work(model, CORPUS, places, whole=whole)

    monkeypatch.setattr(module, "hidden_states", counting)
    fresh = AblationStudy(
        weight_study(study.weights.local, store=Store(tmp_path)), CORPUS, None, study.options
    )
    found = find_run_examples(fresh, TODO, count=2).runs
    assert rows == [len({one.row for run in found for one in run.examples})]
    assert len(list(tmp_path.glob(f"*/*/{HIDDEN_FILE}"))) == 1
    find_run_examples(fresh, TODO, count=2)
    assert len(rows) == 1


def test_without_the_clean_model_all_lists_are_missing(
    study: AblationStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*words: object, **options: object) -> None:
        raise MemoryError("no memory left")

    monkeypatch.setattr(module, "hidden_states", failing)
    fresh = AblationStudy(
        weight_study(study.weights.local, store=Store(tmp_path)), CORPUS, None, study.options
    )
    found = find_run_examples(fresh, TODO, count=2)
    assert [run.continuations for run in found.runs] == [None, None]
    assert [one.name for one in found.failures] == [
        "examples of some zero gate+",
        "examples of some zero gate-",
    ]


def test_a_damaged_artefact_is_noticed(study: AblationStudy, tmp_path: Path) -> None:
    weights = weight_study(study.weights.local, store=Store(tmp_path))
    other = AblationStudy(weights, CORPUS, None, study.options)
    find_run_examples(other, TODO[:1], count=1)
    (file,) = tmp_path.glob(f"*/*/{LISTS_FILE}")
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(StoreError, match="cannot read arrays"):
        find_run_examples(other, TODO[:1], count=1)


def test_tables(found: FoundExamples, words: Vocabulary) -> None:
    table = examples_frame(found.runs, words)
    assert tuple(table.columns) == EXAMPLE_COLUMNS
    assert len(table) == 24
    assert table["place"].tolist() == [1, 2, 3] * 8
    assert (table["difference"] < 0).equals(table["direction"] == RISE)
    assert set(table["gate"]) == {"+", "-"}
    one, example = table.iloc[0], found.runs[0].examples[0]
    assert one["token"] == words[one["token_id"]] == words[example.next_token or 0]
    row = [words[token] for token in CORPUS.row(int(one["row"])).tolist()]
    assert one["before"] == "".join(row[: one["position"] + 1])
    assert one["after"] == "".join(row[one["position"] + 2 :][:8])
    lists = continuations_frame(found.runs, words)
    assert tuple(lists.columns) == TOKEN_COLUMNS
    assert len(lists) == 24 * len(LISTS) * 5
    first = lists[(lists["list"] == "clean") & (lists["gate"] == "+") & (lists["place"] == 1)].iloc[:5]
    assert first["rank"].tolist() == [1, 2, 3, 4, 5]
    assert first["value"].is_monotonic_decreasing
    values = lists.groupby("list")["value"]
    assert values.max()["suppressed"] < 0 < values.min()["promoted"]


def test_tables_of_nothing(words: Vocabulary) -> None:
    assert tuple(examples_frame([], words).columns) == EXAMPLE_COLUMNS
    assert tuple(continuations_frame([], words).columns) == TOKEN_COLUMNS
