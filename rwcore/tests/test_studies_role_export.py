"""The exported roles: what OUTPUTS.md says, the study's numbers, and nothing half-written."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import pandas as pd
import pytest
from safetensors.torch import load_file

from fixtures.planted import plant
from fixtures.tiny import build
from rwcore.errors import ModelError, OptionError, StoreError
from rwcore.models.registry import find
from rwcore.stats.classes import RW_CLASSES
from rwcore.stats.roles.contingency import Association
from rwcore.store import Store, hash_file
from rwcore.studies import role_artefacts as module
from rwcore.studies.role_export import (
    COLUMNS,
    SCHEMA,
    RolesExport,
    contingency_latex,
    contingency_markdown,
    contingency_table,
    export_roles,
)
from rwcore.studies.roles import RoleStudy, role_study
from rwcore.studies.weights import weight_study
from rwcore.tests import planted_roles as planted
from rwcore.tests.command_line import OUTPUTS, documented, promises
from rwcore.tests.planted_roles import plant_roles

COMMAND = "`rwcore roles MODEL --out DIR`"


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RoleStudy]:
    root = tmp_path_factory.mktemp("models")
    folders = {"llama": plant_roles(root / "llama").folder, "gpt2": plant("gpt2", root / "gpt2").folder}
    return {
        name: role_study(weight_study(find(str(folder)), store=Store(root / "store")), partition=4, n_null=4)
        for name, folder in folders.items()
    }


@pytest.fixture(scope="module")
def exports(
    studies: dict[str, RoleStudy], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, RolesExport]:
    root = tmp_path_factory.mktemp("exports")
    return {
        "whole": export_roles(studies["llama"], root / "whole", command="rwcore roles x"),
        "short": export_roles(studies["llama"], root / "short", attention=False),
        "gpt2": export_roles(studies["gpt2"], root / "gpt2"),
    }


def files_of(case: str) -> set[str]:
    return {name for name, when in promises(COMMAND) if when == case}


def test_the_documented_files_are_written_and_no_others(exports: dict[str, RolesExport]) -> None:
    always, attention = files_of("always"), files_of("not with `--no-attention`")
    assert attention == {"attention.csv"}
    for name, promised in {"whole": always | attention, "gpt2": always | attention, "short": always}.items():
        assert {path.name for path in exports[name].folder.iterdir()} == promised


@pytest.mark.parametrize("name", COLUMNS)
def test_the_documented_columns_are_written(exports: dict[str, RolesExport], name: str) -> None:
    for export in exports.values():
        if (export.folder / name).exists():
            header = (export.folder / name).read_text(encoding="utf-8").splitlines()[0].split(",")
            assert header == documented(f"`{name}`")
            (listed,) = [entry for entry in export.manifest["files"] if entry["name"] == name]
            assert listed["columns"] == header


def test_the_documented_keys_and_arrays_are_written(exports: dict[str, RolesExport]) -> None:
    for name, export in exports.items():
        manifest = json.loads((export.folder / "manifest.json").read_text(encoding="utf-8"))
        assert sorted(manifest) == sorted(documented("`manifest.json` of `rwcore roles`"))
        assert manifest["schema"] == SCHEMA
        assert f"Schema `{SCHEMA}`" in OUTPUTS
        tests = json.loads((export.folder / "association.json").read_text(encoding="utf-8"))
        assert sorted(tests) == ["association", "association_within_layers"]
        for values in tests.values():
            assert sorted(values) == sorted(documented("`association.json`"))
        arrays = documented("`moments.safetensors`")
        written = set(load_file(export.folder / "moments.safetensors"))
        assert written == {one for one in arrays if name != "short" or not one.startswith("attention")}
    assert [one.name for one in fields(Association)] == documented("`association.json`")


def test_the_manifest_lists_every_other_file_with_its_hash(exports: dict[str, RolesExport]) -> None:
    for export in exports.values():
        files = {path.name: path for path in export.folder.iterdir() if path.name != "manifest.json"}
        listed = {entry["name"]: entry for entry in export.manifest["files"]}
        assert listed.keys() == files.keys()
        assert all(listed[name]["sha256"] == hash_file(path) for name, path in files.items())


def test_the_manifest_says_what_was_asked(exports: dict[str, RolesExport]) -> None:
    whole, short = exports["whole"].manifest, exports["short"].manifest
    expected = {"partition": 4, "null_directions": 4, "entropy_neurons": 2, "attention": True, "bos_token": 1}
    assert whole["options"] == expected
    assert short["options"] == expected | {"attention": False, "bos_token": None}
    assert whole["command"] == "rwcore roles x"
    assert whole["complete"] is True
    assert (whole["fold_sign"], exports["gpt2"].manifest["fold_sign"]) == (True, False)
    assert whole["model"]["shape"]["n_layers"] == 3


def test_the_numbers_are_the_studys(exports: dict[str, RolesExport], studies: dict[str, RoleStudy]) -> None:
    export, study = exports["whole"], studies["llama"]
    roles = pd.read_csv(export.folder / "roles.csv")
    pd.testing.assert_frame_equal(roles, study.roles(), check_dtype=False, rtol=1e-7)
    found = set(zip(roles["layer"], roles["neuron"], strict=True))
    assert found == planted.PARTITION | planted.PREDICTION | planted.SUPPRESSION
    table = pd.read_csv(export.folder / "contingency.csv", keep_default_na=False)
    pd.testing.assert_frame_equal(table, study.contingency(), check_dtype=False, rtol=1e-7)
    entropy = pd.read_csv(export.folder / "entropy.csv")
    assert entropy["entropy"].sum() == 2
    assert len(pd.read_csv(export.folder / "attention.csv")) == len(study.attention())
    assert export.summary == json.loads(json.dumps(study.summary()))
    assert export.manifest["summary"]["counts"]["prediction"] == 3


def test_tables_hold_the_counts_and_what_chance_gives(exports: dict[str, RolesExport]) -> None:
    table = exports["whole"].contingency
    wide = contingency_table(table)
    assert wide.index.tolist() == [*(one.name for one in RW_CLASSES), "Total"]
    assert wide.columns.tolist() == list(dict.fromkeys(table["role"]))
    for row in table.itertuples():
        assert wide.loc[row[2], row.role] == f"{row.count} ({row.expected:.1f})"
    assert wide.loc["Total"].tolist()[1:5] == ["4", "3", "2", "2"]


def test_tables_are_safe_in_latex_and_markdown(exports: dict[str, RolesExport]) -> None:
    table = exports["gpt2"].contingency
    latex = contingency_latex(table, "org/a_model")
    assert r"org/a\_model" in latex
    assert r"\label{tab:org--a_model_roles}" in latex
    assert latex.count(r"\\") == 1 + 3 + 1
    assert latex.count("&") == 5 * 7
    markdown = contingency_markdown(table, "org/a_model").splitlines()
    assert markdown[0].startswith("Functional roles")
    assert "`org/a_model`" in markdown[0]
    rows = [line for line in markdown if line.startswith("|")]
    assert len(rows) == 2 + 3 + 1
    assert {row.count("|") for row in rows} == {9}


def test_a_folder_with_other_files_is_refused_before_anything_is_computed(
    studies: dict[str, RoleStudy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    monkeypatch.setattr(module, "layer_moments", None)
    fresh = role_study(
        weight_study(studies["llama"].weights.local, store=Store(tmp_path / "store")), partition=4, n_null=4
    )
    with pytest.raises(StoreError, match="not empty"):
        export_roles(fresh, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt"]


def test_bad_options_leave_nothing(studies: dict[str, RoleStudy], tmp_path: Path) -> None:
    bad = role_study(studies["llama"].weights, partition=90)
    with pytest.raises(OptionError, match="90 partition neurons"):
        export_roles(bad, tmp_path / "out")
    local = find(str(build("qwen3", tmp_path / "qwen3")))
    refused = role_study(weight_study(local, store=Store(tmp_path / "store")), partition=4, n_null=4)
    with pytest.raises(ModelError, match="normalise queries and keys"):
        export_roles(refused, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_files_of_an_earlier_export_go(studies: dict[str, RoleStudy], tmp_path: Path) -> None:
    export_roles(studies["llama"], tmp_path / "out")
    assert (tmp_path / "out" / "attention.csv").exists()
    export_roles(studies["llama"], tmp_path / "out", attention=False)
    assert not (tmp_path / "out" / "attention.csv").exists()
