"""The exported files: what OUTPUTS.md says, the study's numbers, and nothing half-written."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from safetensors.torch import load_file

from fixtures.planted import GATED, plant
from fixtures.tiny import build
from rwcore.errors import NotGatedError, OptionError
from rwcore.models.registry import find
from rwcore.stats.null import beta_region
from rwcore.store import Store, hash_file
from rwcore.studies import figures
from rwcore.studies.export import ARRAYS, COLUMNS, SCHEMA, Export, export_weights
from rwcore.studies.figure_kinds import FIGURES
from rwcore.studies.weights import WeightStudy, weight_study
from rwcore.tests.command_line import OUTPUTS, documented, plant_damaged, promises, section
from rwcore.weights.mlp import mlp_weights

# What happens to the files is tested often, what is in the figures once: drawing takes most of an export.
FAST: dict[str, Any] = {"null": False}


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, WeightStudy]:
    """Planted models: gated, not gated, and gated with three damaged neurons."""
    root = tmp_path_factory.mktemp("planted")
    plant("llama", root / "llama")
    plant("gpt2", root / "gpt2")
    plant_damaged(root / "damaged")
    return {
        name: weight_study(find(str(root / name)), store=Store(root / "store"))
        for name in ("llama", "gpt2", "damaged")
    }


@pytest.fixture(scope="module")
def exports(studies: dict[str, WeightStudy], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Export]:
    root = tmp_path_factory.mktemp("exports")
    return {name: export_weights(study, root / name) for name, study in studies.items()}


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "draw", lambda *_, **__: iter([("medians", Figure((1, 1)))]))


def read(export: Export, name: str) -> pd.DataFrame:
    return pd.read_csv(export.folder / name, keep_default_na=False, na_values=[""])


def files_of(case: str) -> set[str]:
    """Files that OUTPUTS.md promises for a case: always, plain classes, undefined neurons."""
    return {name for name, when in promises("`rwcore weights MODEL --out DIR`") if when == case}


@pytest.mark.parametrize(
    ("model", "cases"),
    [
        ("llama", ["always"]),
        ("gpt2", ["always", "plain classes", "input biases"]),
        ("damaged", ["always", "undefined neurons"]),
    ],
)
def test_the_documented_files_are_written_and_no_others(
    exports: dict[str, Export], model: str, cases: list[str]
) -> None:
    promised = set().union(*(files_of(case) for case in cases))
    assert {path.name for path in exports[model].folder.iterdir()} == promised


@pytest.mark.parametrize("name", COLUMNS)
def test_the_documented_columns_are_written(exports: dict[str, Export], name: str) -> None:
    written = [export for export in exports.values() if (export.folder / name).exists()]
    assert written
    for export in written:
        header = (export.folder / name).read_text(encoding="utf-8").splitlines()[0].split(",")
        assert header == documented(f"`{name}`")
        (listed,) = [entry for entry in export.manifest["files"] if entry["name"] == name]
        assert listed["columns"] == header


@pytest.mark.parametrize("name", ARRAYS)
def test_the_documented_arrays_are_written(exports: dict[str, Export], name: str) -> None:
    assert [*load_file(exports["llama"].folder / name)] == sorted(documented(f"`{name}`"))
    plain = load_file(exports["gpt2"].folder / name)
    gated = re.findall(r"^\| `(\w+)` .*gated MLPs only", section(f"`{name}`"), re.MULTILINE)
    assert set(plain) == set(documented(f"`{name}`")) - set(gated)
    assert gated


def test_the_documented_manifest_is_written(exports: dict[str, Export]) -> None:
    for export in exports.values():
        manifest = json.loads((export.folder / "manifest.json").read_text(encoding="utf-8"))
        assert sorted(manifest) == sorted(documented("`manifest.json`"))
        assert manifest["schema"] == SCHEMA
        assert f"Schema `{SCHEMA}`" in OUTPUTS


def test_the_manifest_lists_every_other_file_with_its_hash(exports: dict[str, Export]) -> None:
    for export in exports.values():
        files = {path.name: path for path in export.folder.iterdir() if path.name != "manifest.json"}
        listed = {entry["name"]: entry for entry in export.manifest["files"]}
        assert listed.keys() == files.keys()
        for name, path in files.items():
            assert listed[name]["sha256"] == hash_file(path)
            assert listed[name]["bytes"] == path.stat().st_size > 0


def test_the_manifest_says_what_was_read_and_how(
    exports: dict[str, Export], studies: dict[str, WeightStudy]
) -> None:
    manifest = exports["llama"].manifest
    assert manifest["complete"] is True
    assert manifest["model"].items() >= studies["llama"].local.identity().items()
    assert manifest["model"]["shape"]["n_layers"] == 3
    assert manifest["model"]["shape"]["d_mlp"] == 22
    assert (manifest["processing"], manifest["fold_sign"], manifest["classes"]) == (
        "as_published",
        True,
        "gated",
    )
    assert exports["gpt2"].manifest["fold_sign"] is False
    assert exports["gpt2"].manifest["classes"] == "plain"
    assert {"statistics", "export"} == manifest["provenance"].keys()
    assert manifest["definitions"]["class_counts"] == "class_counts/1"


def test_counts_are_the_planted_ones(exports: dict[str, Export]) -> None:
    counts = read(exports["llama"], "class_counts.csv")
    assert (counts["count"] == 2).all()
    assert [*counts["class"][:11]] == [*GATED]
    assert [*counts["layer"]] == [layer for layer in range(3) for _ in range(11)]
    assert set(read(exports["gpt2"], "class_counts.csv")["class"]) == {
        "strengthening",
        "orthogonal output",
        "weakening",
    }


@pytest.mark.parametrize("model", ["llama", "gpt2", "damaged"])
def test_tables_hold_the_study_s_numbers(
    exports: dict[str, Export], studies: dict[str, WeightStudy], model: str
) -> None:
    study, export = studies[model], exports[model]
    expected = {
        "class_counts.csv": study.class_counts(),
        "medians.csv": study.medians(),
        "norm_ranges.csv": study.norm_ranges(),
        "half_coarse_counts.csv": study.half_coarse_counts(),
        "undefined.csv": study.statistics.undefined_neurons(),
    }
    for name, frame in expected.items():
        if (export.folder / name).exists():
            found = read(export, name)
            wanted = frame[[*COLUMNS[name]]]
            pd.testing.assert_frame_equal(found, wanted, check_dtype=False, rtol=1e-8, atol=0)


def test_arrays_are_the_study_s(exports: dict[str, Export], studies: dict[str, WeightStudy]) -> None:
    folder = exports["llama"].folder
    found = load_file(folder / "cosines.safetensors") | load_file(folder / "norms.safetensors")
    expected = studies["llama"].statistics.to_arrays()
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert array.equal(found[name])
    assert (found["gatelin"] >= 0).all()


def test_null_regions_are_measured_ones_and_the_analytic_one(
    exports: dict[str, Export], studies: dict[str, WeightStudy]
) -> None:
    found = read(exports["llama"], "null_regions.csv")
    beta, measured = found[found["region"] == "beta"], found[found["region"] == "mismatched"]
    assert len(beta) + len(measured) == len(found)
    low, high = beta_region(48)
    assert beta["layer"].isna().all()
    assert [*beta["cosine"]] == ["gatelin", "gateout", "linout"]
    np.testing.assert_allclose(beta["high"], high, rtol=1e-8)
    np.testing.assert_allclose(beta["low"], [np.nan, low, low], rtol=1e-8)
    expected, columns = studies["llama"].null_regions(), ["layer", "cosine", "low", "high"]
    pd.testing.assert_frame_equal(
        measured[columns].reset_index(drop=True), expected[columns], check_dtype=False, rtol=1e-8
    )


def test_without_null_regions_only_the_analytic_one_is_written(
    studies: dict[str, WeightStudy], tmp_path: Path, undrawn: None
) -> None:
    export = export_weights(studies["gpt2"], tmp_path / "out", null=False)
    found = read(export, "null_regions.csv")
    assert [*zip(found["region"], found["cosine"], strict=True)] == [("beta", "linout")]


def test_undefined_neurons_are_listed_and_counted(exports: dict[str, Export]) -> None:
    export = exports["damaged"]
    listed = read(export, "undefined.csv")
    assert [*zip(listed["layer"], listed["neuron"], listed["vector"], listed["why"], strict=True)] == [
        (1, 2, "out", "zero"),
        (1, 4, "in", "nan"),
        (1, 5, "gate", "inf"),
    ]
    counts = read(export, "class_counts.csv").set_index(["layer", "class"])["count"]
    assert counts[1, "undefined"] == 3 == export.manifest["undefined_neurons"]
    assert "undefined" in (export.folder / "class_table.md").read_text(encoding="utf-8")


def test_plain_classes_of_a_gated_model(
    studies: dict[str, WeightStudy], tmp_path: Path, undrawn: None
) -> None:
    export = export_weights(studies["llama"], tmp_path / "out", classes="plain", **FAST)
    counts = read(export, "class_counts.csv").groupby("class")["count"].sum()
    # Four of the eleven planted classes strengthen, four weaken, three do neither; 2 neurons in 3 layers.
    assert counts.to_dict() == {"strengthening": 24, "orthogonal output": 18, "weakening": 24}
    assert set(read(export, "medians.csv")["cosine"]) == {"linout"}
    assert set(load_file(export.folder / "cosines.safetensors")) == {"gatelin", "gateout", "linout"}
    assert read(export, "half_coarse_counts.csv")["count"].sum() == 66


def test_gated_classes_of_a_model_without_gates_are_refused_before_anything_is_computed(
    studies: dict[str, WeightStudy], tmp_path: Path
) -> None:
    fresh = weight_study(studies["gpt2"].local, store=Store(tmp_path / "store"))
    with pytest.raises(NotGatedError) as caught:
        export_weights(fresh, tmp_path / "out", classes="gated")
    assert caught.value.where == "--classes gated"
    assert not (tmp_path / "store").exists()
    assert not (tmp_path / "out").exists()


def test_unknown_classes_are_refused(studies: dict[str, WeightStudy], tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="all of them"):
        export_weights(studies["gpt2"], tmp_path / "out", classes="all of them")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["medians", "class_counts"])
def test_figures_are_whole_files(exports: dict[str, Export], name: str) -> None:
    pdf = (exports["llama"].folder / f"{name}.pdf").read_bytes()
    png = (exports["llama"].folder / f"{name}.png").read_bytes()
    assert pdf.startswith(b"%PDF-")
    assert pdf.rstrip().endswith(b"%%EOF")
    assert png.startswith(b"\x89PNG")
    assert png.endswith(b"IEND\xaeB`\x82")


def test_the_same_export_twice_is_the_same_files(
    exports: dict[str, Export], studies: dict[str, WeightStudy], tmp_path: Path
) -> None:
    again = export_weights(studies["llama"], tmp_path / "out")
    assert again.manifest["files"] == exports["llama"].manifest["files"]


@pytest.mark.parametrize("model", ["llama", "gpt2"])
def test_all_figures_are_written_and_listed(
    studies: dict[str, WeightStudy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    # Drawn, but not rendered, which takes seconds and is tested for two of them above.
    monkeypatch.setattr(Figure, "savefig", lambda _, path, **__: Path(path).write_bytes(b"a picture"))
    export = export_weights(studies[model], tmp_path / "out", plots=["all"], palette="accessible")
    gated = model != "gpt2"
    told = export.manifest["figures"]
    there = [kind.name for kind in FIGURES.values() if kind.missing(gated=gated, biases=not gated) is None]
    assert told["drawn"] == there
    assert {*told["drawn"], *told["skipped"]} == {*FIGURES}
    assert (told["palette"], told["layers"]) == ("accessible", None)
    written = {path.stem for path in export.folder.iterdir() if path.suffix in (".pdf", ".png")}
    assert written == {*told["drawn"]}


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox"])
def test_products_of_biases_and_norms(tmp_path: Path, undrawn: None, family: str) -> None:
    """Against every neuron of every layer, in both processings; the second export computes nothing."""
    folder = build(family, tmp_path / family)
    for processing in ("as_published", "raw"):
        study = weight_study(find(str(folder)), processing=processing, store=Store(tmp_path / "store"))
        table = read(export_weights(study, tmp_path / processing, **FAST), "products.csv")
        assert table["layer"].tolist() == [0, 1, 2]
        assert table["relative_depth"].tolist() == [0, 0.5, 1]
        medians = []
        for layer in range(3):
            weights = mlp_weights(study.local, processing=processing)[layer]
            assert weights.b_in is not None
            products = (weights.b_in * weights.in_.norm(dim=1)).double().numpy()
            expected = np.quantile(products, [0.005, 0.25, 0.5, 0.75, 0.995])
            row = table.loc[layer, ["low", "q1", "median", "q3", "high"]].astype(float)
            np.testing.assert_allclose(row, expected, rtol=1e-5)
            assert table.loc[layer, "negative"] == pytest.approx((products < 0).mean(), abs=1e-8)
            medians.append(expected[2])
        np.testing.assert_allclose(table["normalised_median"], medians / np.abs(medians).max(), rtol=1e-5)
    again = weight_study(find(str(folder)), processing="raw", store=Store(tmp_path / "store"))
    entries = again.store.entries()
    assert again.products is not None
    assert again.store.entries() == entries


def test_layers_reach_the_figures(
    studies: dict[str, WeightStudy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {}

    def draw(_: object, names: list[str], **options: object) -> list[tuple[str, Figure]]:
        asked.update(options, names=names)
        return []

    monkeypatch.setattr(figures, "draw", draw)
    export = export_weights(studies["llama"], tmp_path / "out", plots=["fine"], layers=[2, 0, 2], **FAST)
    assert asked == {"names": ["fine"], "layers": [2, 0], "palette": "paper"}
    assert export.manifest["figures"]["layers"] == [2, 0]


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({"plots": ["fien"]}, "--plots"),
        ({"plots": ["norms"]}, "--plots"),  # no gate, no gate norms: trap X14
        ({"plots": ["norm_in_norm_out"], "layers": [3]}, "--layers"),
        ({"layers": [0]}, "--layers"),
        ({"palette": "rainbow"}, "--palette"),
    ],
)
def test_impossible_figures_are_refused_before_anything_is_computed(
    studies: dict[str, WeightStudy], tmp_path: Path, options: dict[str, Any], where: str
) -> None:
    fresh = weight_study(studies["gpt2"].local, store=Store(tmp_path / "store"))
    with pytest.raises(OptionError) as caught:
        export_weights(fresh, tmp_path / "out", **options)
    assert caught.value.where == where
    assert caught.value.remedy
    assert not (tmp_path / "store").exists()
    assert not (tmp_path / "out").exists()


def test_an_export_can_do_without_figures(studies: dict[str, WeightStudy], tmp_path: Path) -> None:
    export = export_weights(studies["llama"], tmp_path / "out", plots=(), **FAST)
    assert not [*export.folder.glob("*.p[dn][fg]")]


def test_the_documented_figures_are_those_there_are() -> None:
    assert documented("Figures of `--plots`") == [*FIGURES]
