"""Exported attributes rates: the study's numbers, what is left out and why, and nothing half-written."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from fixtures.tiny import local_model
from rwcore.ablation.compare import RunLabel
from rwcore.ablation.grid import ChosenSet, Experiment, experiments, interventions
from rwcore.attributes.facts import read_facts
from rwcore.attributes.judge import OTHER
from rwcore.attributes.passages import Passage
from rwcore.attributes.tables import layer_table
from rwcore.corpora.encoder import read_encoder
from rwcore.errors import OptionError, StoreError
from rwcore.neurons import NeuronSet
from rwcore.store import Store
from rwcore.studies.ablation_tables import MINUS
from rwcore.studies.attribute_export import AttributeExport, draw, export_attributes
from rwcore.studies.attribute_rates import AttributeOptions, AttributeStudy
from rwcore.studies.attribute_tables import (
    FACT_COLUMNS,
    NO_ATTRIBUTES,
    NO_PASSAGES,
    NO_PREDICTIONS,
    SUBJECT_COLUMNS,
    fact_table,
    measure,
)
from rwcore.studies.failures import Failure
from rwcore.studies.forward import ForwardOptions
from rwcore.studies.weights import weight_study
from rwcore.tests.attribute_makers import SUBJECTS, KnowingModel, knowing_model

CPU = ForwardOptions(device="cpu")


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> KnowingModel:
    return knowing_model(tmp_path_factory.mktemp("knowing"))


@pytest.fixture(scope="module")
def study(asked: KnowingModel, tmp_path_factory: pytest.TempPathFactory) -> AttributeStudy:
    """Of the last subject nothing is written, and of the one before it nothing that counts."""
    local = local_model(asked.folder)
    lines = [json.loads(line) for line in asked.passages.read_text().splitlines()]
    passages = {one["title"]: (Passage(one["title"], one["text"]),) * 2 for one in lines}
    passages[asked.subjects[-2]] = (Passage("short", "W1 W2 W3"),)
    passages[asked.subjects[-1]] = ()
    weights = weight_study(local, store=Store(tmp_path_factory.mktemp("store")))
    facts = tuple(read_facts(str(asked.facts)))
    return AttributeStudy(weights, read_encoder(local), facts, passages, forward=CPU)


def grid(*modes: str) -> list[Experiment]:
    """A set with a baseline, and a list without."""
    sets = [
        ChosenSet("many", neurons("many", range(12)), neurons("many", range(12, 24))),
        ChosenSet("0.3", neurons("0.3", [3]), None),
    ]
    return experiments(sets, interventions(modes))


def neurons(name: str, numbers: Iterable[int]) -> NeuronSet:
    return NeuronSet.of(name, [(0, number) for number in numbers])


@pytest.fixture(scope="module")
def export(study: AttributeStudy, tmp_path_factory: pytest.TempPathFactory) -> AttributeExport:
    out = tmp_path_factory.mktemp("export") / "out"
    return export_attributes(study, grid("zero"), out, sources={"knowns": "here"}, command="rwcore x")


def test_rates_are_means_over_facts(study: AttributeStudy, export: AttributeExport) -> None:
    table = pd.read_csv(export.folder / "rates.csv", keep_default_na=False)
    clean = study.clean()
    rated = clean[(clean >= 0).all(dim=1)].double()
    assert len(rated) == SUBJECTS - 2
    rows = table[table["set"] == "clean"]
    assert rows["layer"].tolist() == [-1, 0, 1, 2]
    assert rows["rate"].astype(float).tolist() == pytest.approx(rated.mean(dim=0).tolist())
    assert (rows["n"] == SUBJECTS - 2).all()
    (ablated, *_) = study.runs(grid("zero"))
    assert not isinstance(ablated, Failure)
    rows = table[(table["set"] == "many") & ~table["baseline"]]
    differences = (rated - ablated[(clean >= 0).all(dim=1)]).mean(dim=0).tolist()
    assert rows["difference"].astype(float).tolist() == pytest.approx(differences)
    assert any(differences)


def test_why_facts_are_left_out(export: AttributeExport, asked: KnowingModel) -> None:
    table = pd.read_csv(export.folder / "facts.csv", keep_default_na=False, dtype={"id": str})
    assert table.columns.tolist() == [*FACT_COLUMNS]
    assert table["id"].tolist() == [*(str(100 + number) for number in range(SUBJECTS)), "7"]
    expected = [""] * (SUBJECTS - 2) + [NO_ATTRIBUTES, NO_PASSAGES, OTHER]
    assert table["excluded"].tolist() == expected
    assert table["known"].tolist() == [True] * SUBJECTS + [False]
    for attribute, answer in zip(table["attribute"][:-1], table["answer"][:-1], strict=True):
        assert answer.split()[0] == attribute
    counts = export.manifest["facts"]
    assert (counts["asked"], counts["known"], counts["measured"]) == (SUBJECTS + 1, SUBJECTS, SUBJECTS - 2)
    assert counts["excluded"] == {NO_ATTRIBUTES: 1, NO_PASSAGES: 1, OTHER: 1}
    assert export.manifest["subjects"] == {
        "known": SUBJECTS,
        "measured": SUBJECTS - 2,
        "without_passages": 1,
        "without_attributes": 1,
    }
    subjects = pd.read_csv(export.folder / "subjects.csv")
    assert subjects.columns.tolist() == [*SUBJECT_COLUMNS]
    assert tuple(subjects["subject"]) == asked.subjects
    assert subjects["passages"].tolist() == [2] * (SUBJECTS - 2) + [1, 0]
    assert (subjects["attributes"][: SUBJECTS - 2] > 3).all()
    assert subjects["attributes"][SUBJECTS - 2 :].tolist() == [0, 0]


def test_a_prompt_after_which_no_likely_token_counts(study: AttributeStudy) -> None:
    clean = study.clean()
    clean[0, 1:] = -1  # the embedding alone is no layer
    clean[1, 1] = -1
    assert fact_table(study, clean)["excluded"][:2].tolist() == [NO_PREDICTIONS, ""]


def test_a_run_that_fails_is_reported_and_the_others_go_on(study: AttributeStudy, tmp_path: Path) -> None:
    export = export_attributes(study, grid("mean", "zero"), tmp_path / "out", plots=False)
    names = [failure["name"] for failure in export.manifest["failures"]]
    assert names == ["many mean", "many mean baseline", "0.3 mean"]
    assert {*export.findings.layers["mode"]} == {"", "zero"}
    assert export.manifest["runs"] == [
        "many mean",
        "many mean baseline",
        "many zero",
        "many zero baseline",
        "0.3 mean",
        "0.3 zero",
    ]


def test_the_table_for_a_paper(export: AttributeExport) -> None:
    means = pd.read_csv(export.folder / "means.csv", keep_default_na=False)
    assert means["set"].tolist() == ["clean", "many", "many", "0.3"]
    row = means.iloc[1]
    numbers = {
        name: f"{float(row[name]):.2f}".replace("-", MINUS) for name in ("rate", "low", "high", "largest")
    }
    cells = [f"{numbers['rate']} [{numbers['low']}, {numbers['high']}]", numbers["largest"]]
    (line,) = [
        line
        for line in (export.folder / "means.md").read_text().splitlines()
        if line.startswith("| many ") and "baseline" not in line
    ]
    assert [cell.strip() for cell in line.split("|")][4:8:3] == cells
    latex = (export.folder / "means.tex").read_text()
    assert latex.count(r" \\") == len(means) + 1
    assert MINUS not in latex
    assert f"& {cells[0]} &" in latex
    assert r"of a subject (\%)" in latex


def test_figures_have_names_of_their_own(study: AttributeStudy) -> None:
    label = RunLabel("9.1," * 100, "zero")
    labels = (label, replace(label, baseline=True), replace(label, gate="+"), replace(label, gate="-"))
    clean = study.clean()
    rows = layer_table(clean, [clean] * len(labels), study.subject_numbers, labels)
    found = replace(measure(study, []), layers=rows, labels=labels)
    names = [name for name, _ in draw(found, "m", "paper")]
    cut = "_".join(["9.1"] * 15)
    assert names == [
        f"rates_1_{cut}__zero",
        f"rates_2_{cut}__zero_gate_plus",
        f"rates_3_{cut}__zero_gate_minus",
    ]


def test_nothing_is_written_if_nothing_is_known(study: AttributeStudy, tmp_path: Path) -> None:
    unknown = replace(study, facts=study.facts[-1:])
    with pytest.raises(OptionError, match="knows none of the 1 facts"):
        export_attributes(unknown, [], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("convention", ["fixed", "as_published"])
def test_nothing_is_written_about_what_is_known(
    study: AttributeStudy, convention: str, tmp_path: Path
) -> None:
    options = AttributeOptions(convention=convention)
    empty = replace(study, passages={fact.subject: () for fact in study.facts}, options=options)
    # As published, subjects of two words are not found among the tokens of this tokenizer.
    subjects = SUBJECTS if convention == "fixed" else SUBJECTS // 2
    with pytest.raises(OptionError, match=f"of the {subjects} subjects .* none has an attribute"):
        export_attributes(empty, [], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_unknown_subjects_and_targets(study: AttributeStudy, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="is a file"):
        export_attributes(study, [], tmp_path / "file")
    with pytest.raises(OptionError, match="palette"):
        export_attributes(study, [], tmp_path / "out", palette="odd")  # type: ignore[arg-type]
