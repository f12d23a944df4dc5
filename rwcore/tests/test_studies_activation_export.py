"""The files of an activation study: what OUTPUTS.md says, the study's numbers, no half of it."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure

from fixtures.tiny import build, local_model
from rwcore.activations.artefact import load
from rwcore.activations.quadrants import QUADRANTS, QUANTITIES, SUMMARY
from rwcore.corpora.tokens import TokenCorpus
from rwcore.errors import OptionError, StoreError
from rwcore.store import read_arrays
from rwcore.studies import frequency_figures
from rwcore.studies.activation_export import SCHEMA, export_activations, export_shard, moments_table
from rwcore.studies.activations import PASS, ActivationStudy
from rwcore.studies.frequency_export import COLUMNS, FrequencyExport
from rwcore.studies.frequency_tables import frequency_slug
from rwcore.tests.activation_parts import same
from rwcore.tests.command_line import OUTPUTS, assert_all_listed, documented, promises
from rwcore.tests.pass_makers import random_corpus, tiny_study

TITLE = "`rwcore activations MODEL CORPUS --out DIR`"
CORPUS = random_corpus(rows=40, seed=7)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> ActivationStudy:
    local = local_model(build("llama", tmp_path_factory.mktemp("llama")), id="tiny")
    return tiny_study(local, tmp_path_factory.mktemp("store"), CORPUS, token_budget=400)


@pytest.fixture(scope="module")
def export(study: ActivationStudy, tmp_path_factory: pytest.TempPathFactory) -> FrequencyExport:
    return export_activations(study, tmp_path_factory.mktemp("out") / "new", command="rwcore activations")


def promised(*cases: str) -> set[str]:
    """The documented names of some cases, families of files spelt out."""
    found = {name for name, when in promises(TITLE) if when in cases}
    assert found
    families = {
        "QUADRANT": [frequency_slug(name) for name in QUADRANTS],
        "NNN": ["000", "001", "002"],
        "COSINE": ["gatelin", "gateout", "linout"],
        "NORM": ["norm_gate", "norm_in_out"],
    }
    for word, members in families.items():
        found = {
            name.replace(word, member) for name in found for member in (members if word in name else [word])
        }
    return found


def test_the_documented_files_are_written_and_no_others(export: FrequencyExport) -> None:
    figures = {f"{name}.{suffix}" for name in promised("figure") for suffix in ("pdf", "png")}
    assert {path.name for path in export.folder.iterdir()} == promised("always") | figures


def test_all_figures_are_the_documented_ones(study: ActivationStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing them takes long: here only their names."""
    for name in [name for name in vars(frequency_figures) if name.endswith("_figure")]:
        monkeypatch.setattr(frequency_figures, name, lambda *_, **__: Figure((1, 1)))
    drawn = [name for name, _ in frequency_figures.draw(study, "all")]
    once = promised("figure", "figure of `--plots all`")
    each = {f"{name}_{frequency_slug(case)}" for name in once - {"correlations"} for case in QUADRANTS}
    assert sorted(drawn) == sorted(once | each)
    assert list(frequency_figures.draw(study, "none")) == []


@pytest.mark.parametrize("name", COLUMNS)
def test_the_documented_columns_are_written(export: FrequencyExport, name: str) -> None:
    title = "class_frequency.csv" if name.startswith("class_frequency") else name
    header = (export.folder / name).read_text(encoding="utf-8").splitlines()[0].split(",")
    assert header == documented(f"`{title}`")


def test_the_documented_arrays_keys_and_columns_are_written(export: FrequencyExport) -> None:
    arrays = read_arrays(export.folder / "layer_001.safetensors")
    assert sorted(arrays) == documented("`layer_NNN.safetensors`")
    assert [*read_arrays(export.folder / "gate_signs.safetensors")] == documented("`gate_signs.safetensors`")
    facts = json.loads((export.folder / "activations.json").read_text())
    assert sorted(facts) == sorted(documented("`activations.json`"))
    manifest = json.loads((export.folder / "manifest.json").read_text())
    assert sorted(manifest) == sorted(documented("`manifest.json` of `rwcore activations`"))
    assert manifest["schema"] == SCHEMA
    assert f"Schema `{SCHEMA}`" in OUTPUTS
    assert_all_listed(manifest, export.folder)
    columns = {
        name.replace("CASE", case).replace("QUANTITY", quantity)
        for name in documented("`neurons.parquet`")
        for case in QUADRANTS
        for quantity in QUANTITIES
    }
    assert set(pd.read_parquet(export.folder / "neurons.parquet").columns) == columns


def test_the_folder_is_a_pass_and_a_corpus(export: FrequencyExport, study: ActivationStudy) -> None:
    """Later commands read it without the cache."""
    found = load(export.folder)
    assert all(map(same, found.layers, load(study.folder / PASS).layers))
    assert TokenCorpus.load(export.folder).content_hash == CORPUS.content_hash


def test_the_neurons_have_the_numbers_of_the_study(study: ActivationStudy) -> None:
    frame = moments_table(study)
    assert len(frame) == study.class_codes.numel()
    row = frame[(frame["layer"] == 2) & (frame["neuron"] == 5)].iloc[0]
    place, quantity = QUADRANTS.index("gate-_in+"), QUANTITIES.index("post")
    assert row["gate-_in+_frequency"] == study.summary.frequencies[2, place, 5].item()
    assert row["gate-_in+_post_mean"] == study.summary.means[2, place, quantity, 5].item()
    assert row["gate_frequency"] == pytest.approx(study.frequencies()[SUMMARY][2, 5].item(), abs=1e-12)
    layer = study.activations.layers[2]
    assert row["post_mean"] == layer.overall_means()[quantity, 5].item()
    assert row["gate_variance"] == layer.variances()[0, 5].item()
    assert row["class"] == study.class_names()[2 * study.class_codes.shape[1] + 5]


def test_tables_say_what_the_study_says(export: FrequencyExport, study: ActivationStudy) -> None:
    frame = pd.read_csv(export.folder / "class_frequency_gate_minus_in_plus.csv")
    pd.testing.assert_frame_equal(frame, study.class_frequency("gate-_in+"), atol=1e-9)
    assert "tiny" in (export.folder / "class_frequency.tex").read_text()
    assert "gate < 0 and in > 0" in (export.folder / "class_frequency_gate_minus_in_plus.md").read_text()
    assert export.manifest["tokens"] == CORPUS.n_tokens
    assert export.manifest["corpus"]["content_hash"] == CORPUS.content_hash


def test_a_shard_is_a_folder_to_carry_elsewhere(study: ActivationStudy, tmp_path: Path) -> None:
    local = study.weights.local
    shards = tiny_study(local, tmp_path / "store", CORPUS, token_budget=100, shards=2)
    folders = [export_shard(shards, index, tmp_path / f"shard{index}") for index in (1, 0)]
    assert [load(folder).shards for folder in folders] == [((1, 2),), ((0, 2),)]
    manifest = json.loads((folders[0] / "manifest.json").read_text())
    assert manifest["schema"] == "rwcore-activations-shard/1"
    assert f"schema `{manifest['schema']}`" in OUTPUTS
    here = tiny_study(local, tmp_path / "here", CORPUS, token_budget=100)
    here.merge(map(load, folders))
    assert load(here.folder / PASS).tokens == CORPUS.n_tokens


def test_refusals_come_before_the_pass(study: ActivationStudy, tmp_path: Path) -> None:
    unused = tiny_study(study.weights.local, tmp_path / "store", CORPUS)
    with pytest.raises(OptionError, match="no figures"):
        export_activations(unused, tmp_path / "out", plots="some")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="no palette"):
        export_activations(unused, tmp_path / "out", palette="pink")  # type: ignore[arg-type]
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(StoreError, match="not empty"):
        export_activations(unused, tmp_path / "full")
    assert not (tmp_path / "store").exists()
    assert not (tmp_path / "out").exists()


def test_extremes_point_at_tokens_of_the_corpus(export: FrequencyExport) -> None:
    arrays = read_arrays(export.folder / "layer_000.safetensors")
    corpus = TokenCorpus.load(export.folder)
    rows, positions = arrays["top_rows"].long(), arrays["top_positions"].long()
    there = rows >= 0
    assert bool(there.any())
    assert bool((positions[there] < corpus.lengths[rows[there]]).all())
    assert torch.equal(there, arrays["top_values"].isfinite())
