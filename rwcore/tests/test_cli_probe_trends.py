"""`rwcore probe-trends` from the command line to the files."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pandas as pd
import pytest

from fixtures.letters import save_letters
from fixtures.tiny import SIZES, build
from rwcore.studies.probe_trend_export import COLUMNS, SCHEMA
from rwcore.tests.command_line import (
    assert_all_listed,
    assert_explained,
    documented,
    environment,
    names,
    promises,
    rwcore,
    section,
)
from rwcore.tests.probe_run_makers import write_run

_environment = pytest.fixture(autouse=True)(environment)
TITLE = "`rwcore probe-trends DIR DIR … --out DIR`"
CURVE = {1: (0.4, 0.3), 2: (0.8, 0.7)}


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    scores = {"code.a_b": (1, 0.5), "code.c": (3, 0.9), "text.d": (0, -0.1)}
    curves = {"code.a_b": CURVE, "text.d": CURVE}
    large = {**scores, "code.a_b": (5, 0.8), "code.c": (0, 0.7), "text.e": (0, 0.2)}
    return [
        write_run(tmp_path / "large", "org/100%_large", large, curves, layers=7),
        write_run(tmp_path / "small", "org/small", scores, curves, data="two"),
    ]


def test_the_documented_files_are_written(folders: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    done = rwcore("probe-trends", *folders, "--out", out)
    assert done.code == 0, done.err
    assert done.rows[0] == "2 models, 3 features, chosen on validation"
    assert "changes of the test score by feature (1 gains, 1 loses, 1 same)" in done.rows
    assert "code.a_b 0.50 0.80 +0.300 +0.150 yes" in done.rows
    assert "letters: the examples are not the same" in done.err
    assert "left out, no score in small (1): text.e" in done.err
    promised = {name for name, when in promises(TITLE) if when == "always"}
    drawn = {"scores", "depth", "needed_k"}
    assert {name for name, when in promises(TITLE) if when.startswith("figure")} == drawn
    assert set(names(out)) == promised | {f"{name}.{suffix}" for name in drawn for suffix in ("pdf", "png")}
    for name, columns in COLUMNS.items():
        assert pd.read_csv(out / name).columns.tolist() == list(columns) == documented(f"Trends: `{name}`")
    manifest = json.loads((out / "manifest.json").read_text())
    assert sorted(manifest) == sorted(documented("`manifest.json` of `rwcore probe-trends`"))
    assert manifest["schema"] == SCHEMA
    assert f"Schema `{SCHEMA}`" in section(TITLE)
    assert manifest["command"].startswith("rwcore probe-trends ")
    assert [one["model"] for one in manifest["models"]] == ["org/small", "org/100%_large"]
    assert len(manifest["warnings"]) == 1
    assert_all_listed(manifest, out)


def test_tables_for_papers(folders: list[Path], tmp_path: Path) -> None:
    assert rwcore("probe-trends", *folders, "--no-plots", "--out", tmp_path / "out").code == 0
    text = (tmp_path / "out" / "summary.md").read_text()
    assert text.startswith("The best single neurons of 3 features in 2 models: mean test MCC")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()[2:]]
    assert rows[0][:4] == ["Model", "neurons", "mean MCC", "difference"]
    assert [row[0] for row in rows[2:]] == ["small", "100%_large"]
    assert rows[2][2].startswith("0.43 [")
    assert rows[3][3].startswith("0.03 [−0.20, ")
    latex = (tmp_path / "out" / "summary.tex").read_text()
    assert r"100\%\_large" in latex
    assert "−" not in latex
    assert r"(95 \% interval over features)" in latex
    assert not any(name.endswith((".png", ".pdf")) for name in names(tmp_path / "out"))


def test_folders_without_curves(tmp_path: Path) -> None:
    folders = [write_run(tmp_path / name, name, {"a": (0, 0.5)}) for name in "xy"]
    done = rwcore("probe-trends", *folders, "--out", tmp_path / "out")
    assert done.code == 0, done.err
    assert "share no curves" in done.err
    assert "needed_k.png" not in names(tmp_path / "out")
    assert "scores.png" in names(tmp_path / "out")


def test_refusals_leave_nothing(folders: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert_explained(rwcore("probe-trends", folders[0], "--out", out), "two models or more, 1 given")
    assert_explained(rwcore("probe-trends", folders[0], folders[0], "--out", out), "the same model more than")
    assert_explained(
        rwcore("probe-trends", *folders, "--method", "exact", "--out", out), "--method", "telescopic"
    )
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "a.tex").write_text("")
    assert_explained(rwcore("probe-trends", folders[0], tmp_path / "thesis", "--out", out), "holds no probes")
    assert_explained(rwcore("probe-trends", *folders, "--out", tmp_path / "thesis"), "not empty")
    assert not out.exists()


@pytest.mark.slow
def test_runs_of_real_models(tmp_path: Path) -> None:
    """Two random models read the same letters; the numbers are those of their folders."""
    draw = random.Random(0)
    texts = ["".join(draw.choice("abcd ") for _ in range(20)) for _ in range(120)]
    spans = [[[n, n + 1] for n in range(20) if text[n] == "a"] for text in texts]
    file = tmp_path / "letters.jsonl"
    lines = [{"text": text, "spans": of_a} for text, of_a in zip(texts, spans, strict=True)]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    for name, layers in (("two", 2), ("three", 3)):
        model = save_letters(build("llama", tmp_path / name, layers=layers), SIZES["vocab"])
        words = ("--least", 20, "--k", "1,2", "--methods", "mean_dif", "--trials", 0, "--no-plots")
        done = rwcore(
            "probe", model, "--features", file, *words, "--device", "cpu", "--out", tmp_path / f"o-{name}"
        )
        assert done.code == 0, done.err
    out = tmp_path / "out"
    done = rwcore("probe-trends", tmp_path / "o-three", tmp_path / "o-two", "--no-plots", "--out", out)
    assert done.code == 0, done.err
    assert done.err == ""  # one tokenizer: the same examples
    trends = pd.read_csv(out / "trends.csv")
    assert trends["n_layers"].tolist() == [2, 3]
    assert trends["neurons"].tolist() == [2 * SIZES["d_mlp"], 3 * SIZES["d_mlp"]]
    assert (trends["d_model"] == SIZES["d_model"]).all()
    for row, name in zip(trends.itertuples(), ("two", "three"), strict=True):
        of_folder = pd.read_csv(tmp_path / f"o-{name}" / "features.csv").iloc[0]
        assert (row.layer, row.neuron, row.test_mcc) == tuple(of_folder[["layer", "neuron", "test_mcc"]])
        curve = pd.read_csv(tmp_path / f"o-{name}" / "curves.csv").set_index("k")
        assert row.best_k == curve["validation_mcc"].idxmax()
        assert row.best_k_test_mcc == curve.loc[row.best_k, "test_mcc"]
