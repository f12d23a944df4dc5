"""`rwcore attributes` from the command line to the files."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from fixtures.tiny import build
from rwcore.studies.attribute_export import COLUMNS, SCHEMA
from rwcore.tests.attribute_makers import SUBJECTS, KnowingModel, knowing_model
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

_environment = pytest.fixture(autouse=True)(environment)
TITLE = "`rwcore attributes MODEL --out DIR`"
MEASURED = SUBJECTS - 1


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> KnowingModel:
    return knowing_model(tmp_path_factory.mktemp("knowing"))


def common(asked: KnowingModel) -> tuple[object, ...]:
    return (asked.folder, "--knowns", asked.facts, "--passages", asked.passages, "--device", "cpu")


def test_a_set_a_list_and_two_modes(asked: KnowingModel, tmp_path: Path) -> None:
    out, notes = tmp_path / "new" / "out", tmp_path / "notes.txt"
    notes.write_text("W1 W2 W3 W4 W5 W6 W7 W8\n" * 8)
    words = ("--neurons", "orthogonal output:9", "--neurons", "0.1,1.3-5", "--mode", "zero,mean")
    means = ("--means", notes, "--max-length", 32)
    done = rwcore("attributes", *common(asked), *words, *means, "--out", out)
    assert done.code == 0, done.err
    first = f"{asked.folder}: 9 facts, 8 known, {MEASURED} measured, about {MEASURED} subjects"
    assert done.rows[0] == first
    assert done.rows[1] == f"{SUBJECTS} subjects of known facts: 1 without passages, 0 without attributes"
    assert "1 left out: the model goes on otherwise" in done.rows
    assert "1 left out: nothing is written about the subject" in done.rows
    table = pd.read_csv(out / "rates.csv", keep_default_na=False)
    runs = set(zip(table["set"], table["mode"], table["baseline"], strict=True))
    assert runs == {
        ("clean", "", False),
        *(("orthogonal output@9", mode, baseline) for mode in ("zero", "mean") for baseline in (False, True)),
        *(("0.1,1.3-5", mode, False) for mode in ("zero", "mean")),
    }
    promised = {name for name, when in promises(TITLE) if when == "always"}
    drawn = {name.rpartition(".")[0] for name in names(out) if name.endswith((".pdf", ".png"))}
    assert drawn == {
        "rates_1_orthogonal_output_9_zero",
        "rates_2_orthogonal_output_9_mean",
        "rates_3_0.1_1.3-5_zero",
        "rates_4_0.1_1.3-5_mean",
    }
    assert set(names(out)) == promised | {f"{name}.{suffix}" for name in drawn for suffix in ("pdf", "png")}
    for name, columns in COLUMNS.items():
        assert pd.read_csv(out / name).columns.tolist() == list(columns) == documented(f"`{name}`")
    manifest = json.loads((out / "manifest.json").read_text())
    assert sorted(manifest) == sorted(documented("`manifest.json` of `rwcore attributes`"))
    assert manifest["schema"] == SCHEMA
    assert f"Schema `{SCHEMA}`" in section(TITLE)
    assert manifest["failures"] == []
    assert manifest["command"].startswith("rwcore attributes ")
    assert manifest["means"]["corpus"] == str(notes)
    assert manifest["sources"]["knowns"] == str(asked.facts)
    assert manifest["sources"]["passages"]["kept"] == MEASURED
    assert_all_listed(manifest, out)
    sets = json.loads((out / "neurons.json").read_text())
    assert list(sets) == sorted(manifest["runs"])
    # What is printed is what was written.
    means = pd.read_csv(out / "means.csv", keep_default_na=False)
    mean = means[(means["set"] == "orthogonal output@9") & (means["mode"] == "zero") & ~means["baseline"]]
    shown = next(row for row in done.rows if row.startswith("orthogonal output@9 zero "))
    assert f"{float(mean.iloc[0]['rate']):.2f} [" in shown
    assert f"{float(mean.iloc[0]['difference']):.2f} [".replace("-", "−") in shown


def test_without_neurons_only_the_clean_rates(asked: KnowingModel, tmp_path: Path) -> None:
    done = rwcore("attributes", *common(asked), "--out", tmp_path / "out")
    assert done.code == 0, done.err
    assert set(pd.read_csv(tmp_path / "out" / "rates.csv")["set"]) == {"clean"}
    drawn = [name for name in names(tmp_path / "out") if name.endswith(".png")]
    assert drawn == ["rates_clean.png"]
    done = rwcore("attributes", *common(asked), "--no-plots", "--out", tmp_path / "plain")
    assert not [name for name in names(tmp_path / "plain") if name.endswith(".png")]
    assert (tmp_path / "plain" / "rates.csv").read_bytes() == (tmp_path / "out" / "rates.csv").read_bytes()


def test_only_at_the_subject(asked: KnowingModel, tmp_path: Path) -> None:
    tables = []
    for at in ("everywhere", "subject"):
        words = ("--neurons", "0.0-23", "--at", at, "--no-plots", "--out", tmp_path / at)
        done = rwcore("attributes", *common(asked), *words)
        assert done.code == 0, done.err
        tables.append(pd.read_csv(tmp_path / at / "rates.csv", keep_default_na=False))
        assert json.loads((tmp_path / at / "manifest.json").read_text())["measure"]["where"] == at
    clean = [table[table["set"] == "clean"] for table in tables]
    assert clean[0].equals(clean[1])
    assert not tables[0].equals(tables[1])


def test_conditions_have_no_baselines(asked: KnowingModel, tmp_path: Path) -> None:
    words = ("--neurons", "orthogonal output:9", "--gate", "+,-", "--post", "-")
    done = rwcore("attributes", *common(asked), *words, "--out", tmp_path / "out")
    assert done.code == 0, done.err
    table = pd.read_csv(tmp_path / "out" / "rates.csv", keep_default_na=False)
    assert set(zip(table["gate"], table["post"], strict=True)) == {("", ""), ("+", "-"), ("-", "-")}
    assert not table["baseline"].any()
    drawn = [name for name in names(tmp_path / "out") if name.endswith(".png")]
    start = "orthogonal_output_9_zero"
    assert drawn == [
        f"rates_1_{start}_gate_plus_post_minus.png",
        f"rates_2_{start}_gate_minus_post_minus.png",
    ]


def test_as_published(asked: KnowingModel, tmp_path: Path) -> None:
    done = rwcore("attributes", *common(asked), "--as-published", "--no-plots", "--out", tmp_path / "out")
    assert done.code == 0, done.err
    # The original looks for the two words of a subject in tokens that are decoded without spaces here.
    assert f"{SUBJECTS // 2} left out: the subject is not in the prompt" in done.rows
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["measure"]["convention"] == "as_published"
    assert manifest["sources"]["passages"]["retrieval"] == "bm25"
    assert manifest["facts"]["measured"] == SUBJECTS // 2


def test_passages_are_found_by_words_too(asked: KnowingModel, tmp_path: Path) -> None:
    kept = {}
    for retrieval in ("title", "bm25"):
        words = ("--retrieval", retrieval, "--no-plots", "--out", tmp_path / retrieval)
        done = rwcore("attributes", *common(asked), *words)
        assert done.code == 0, done.err
        facts = json.loads((tmp_path / retrieval / "manifest.json").read_text())["sources"]["passages"]
        assert facts["pages"] == facts["paragraphs"] == MEASURED
        kept[retrieval] = facts["kept"]
    # Some subjects are words of texts about others.
    assert kept["title"] == MEASURED < kept["bm25"]


@pytest.mark.slow
def test_our_own_facts_and_texts_are_sources(asked: KnowingModel, tmp_path: Path) -> None:
    words = ("--knowns", "handmade", "--passages", "handmade", "--out", tmp_path / "out")
    done = rwcore("attributes", asked.folder, *words)
    assert_explained(done, "the model knows none of the", "goes on with", "--knowns")
    assert not (tmp_path / "out").exists()


def test_nothing_is_written_about_what_it_knows(asked: KnowingModel, tmp_path: Path) -> None:
    words = ("--knowns", asked.facts, "--passages", "handmade", "--out", tmp_path / "out")
    done = rwcore("attributes", asked.folder, *words)
    assert_explained(done, "8 subjects", "none has an attribute", "--passages", asked.subjects[0])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("--neurons", "weakning"), ("weakning",)),
        (("--neurons", "9.0"), ("layers are 0 to 2",)),
        (("--neurons", "strengthening"), ("no such neurons",)),
        (("--neurons", "orthogonal output:5000"), ("fewer neurons",)),
        (("--neurons", "0.1", "--mode", "nil"), ("nil", "zero")),
        (("--neurons", "0.1", "--mode", "fixed"), ("parameter",)),
        (("--neurons", "0.1", "--gate", "plus"), ("plus",)),
        (("--neurons", "0.1", "--mode", "zero,mean"), ("--means handmade",)),
        (("--neurons", "0.1", "--means", "handmade"), ("--means", "--mode mean")),
        (("--at", "subject"), ("without neurons", "--at")),
        (("--gate", "+", "--no-baselines"), ("without neurons", "--gate and --no-baselines")),
        (("--mode", "mean", "--means", "handmade"), ("without neurons", "--mode")),
        (("--top-k", 0), ("less than 1", "--top-k")),
        (("--passages", "nowhere.jsonl"), ("nowhere.jsonl", "handmade")),
        (("--knowns", "nowhere.json"), ("nowhere.json", "handmade")),
        (("--workers", 0), ("0 workers",)),
    ],
)
def test_wrong_options(
    words: tuple[object, ...], parts: tuple[str, ...], asked: KnowingModel, tmp_path: Path
) -> None:
    assert_explained(rwcore("attributes", *common(asked), *words, "--out", tmp_path / "out"), *parts)
    assert not (tmp_path / "out").exists()


def test_models_that_cannot_be_asked(asked: KnowingModel, tmp_path: Path) -> None:
    sources = ("--knowns", asked.facts, "--passages", asked.passages, "--out", tmp_path / "out")
    bare = build("llama", tmp_path / "bare")
    for file in bare.glob("tokenizer*"):
        file.unlink()
    assert_explained(rwcore("attributes", bare, *sources), "tokenizer")
    assert_explained(rwcore("attributes", build("bert", tmp_path / "bert", vocab=64), *sources), "decoder")
    assert_explained(rwcore("attributes", "no/such-model", *sources), "no/such-model")
    assert not (tmp_path / "out").exists()
