"""`rwcore probe` from the command line to the files."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from fixtures.letters import save_letters
from fixtures.tiny import SIZES, build
from rwcore.studies.probe_export import COLUMNS, CONTEXT_COLUMNS, SCHEMA, SUPERPOSITION_COLUMNS
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
TITLE = "`rwcore probe MODEL --out DIR`"
COMMON = ("--device", "cpu", "--least", 20, "--k", "1,2", "--exact", "1")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = build("llama", tmp_path_factory.mktemp("model") / "llama")
    return save_letters(folder, SIZES["vocab"])


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two files: texts with or without an e, and the letters a of texts."""
    folder = tmp_path_factory.mktemp("features")
    draw = random.Random(0)
    texts = ["".join(draw.choice("abcd ") for _ in range(20)) for _ in range(120)]
    lines = [
        {"text": text[:10] + "eee" + text[13:] if place % 2 else text, "label": bool(place % 2)}
        for place, text in enumerate(texts)
    ]
    write(folder / "texts.jsonl", lines)
    spans = [[place, place + 1] for place in range(20)]
    of_a = [{"text": text, "spans": [span for span in spans if text[span[0]] == "a"]} for text in texts]
    write(folder / "letters.jsonl", of_a)
    return folder


def write(path: Path, lines: list[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def test_data_sets_are_made_by_the_convention_of_the_probes(model: Path, tmp_path: Path) -> None:
    """As published short documents are dropped."""
    draw = random.Random(1)
    lines = [
        {
            "text": "".join(draw.choice("abcd ") for _ in range(80 if n % 3 else 40)),
            "language": ["de", "fr"][n % 2],
        }
        for n in range(180)
    ]
    write(tmp_path / "texts.jsonl", lines)
    asked = ("--features", f"natural_languages:{tmp_path / 'texts.jsonl'}", "--no-curves", "--no-plots")
    common = ("--device", "cpu", "--least", 20, "--trials", 0)
    examples = {}
    for name, more in (("fixed", ()), ("published", ("--as-published",))):
        done = rwcore("probe", model, *asked, *common, *more, "--out", tmp_path / name)
        assert done.code == 0, done.err
        (one,) = json.loads((tmp_path / name / "manifest.json").read_text())["datasets"]
        examples[name] = one["examples"]
    assert examples == {"fixed": 180, "published": 120}


def test_two_files_of_ones_own(model: Path, features: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    both = f"{features / 'texts.jsonl'},{features / 'letters.jsonl'}"
    done = rwcore("probe", model, "--features", both, *COMMON, "--out", out)
    assert done.code == 0, done.err
    assert done.rows[0].endswith("2 features, 2,520 examples")
    promised = {name for name, when in promises(TITLE) if when == "always"}
    drawn = {name.rpartition(".")[0] for name in names(out) if name.endswith((".pdf", ".png"))}
    assert drawn == {"depth", "layers", "sparsity_letters", "sparsity_texts"}
    assert set(names(out)) == promised | {f"{name}.{suffix}" for name in drawn for suffix in ("pdf", "png")}
    for name, columns in COLUMNS.items():
        assert pd.read_csv(out / name).columns.tolist() == list(columns) == documented(f"Probes: `{name}`")
    manifest = json.loads((out / "manifest.json").read_text())
    assert sorted(manifest) == sorted(documented("`manifest.json` of `rwcore probe`"))
    assert manifest["schema"] == SCHEMA
    assert f"Schema `{SCHEMA}`" in section(TITLE)
    assert manifest["command"].startswith("rwcore probe ")
    assert [one["aggregation"] for one in manifest["datasets"]] == ["mean", "none"]
    assert_all_listed(manifest, out)
    # A random model reads which token it is, too.
    table = pd.read_csv(out / "features.csv").set_index("feature")
    assert table.loc["letters", "test_mcc"] > table.loc["letters", "shuffled_test_mcc"] + 0.2
    best = [f"{row.layer}.{row.neuron}" for row in table.itertuples()]
    assert (out / "best_neurons.txt").read_text().split() == list(dict.fromkeys(best))


def test_without_curves_controls_or_figures(model: Path, features: Path, tmp_path: Path) -> None:
    words = ("--no-curves", "--trials", 0, "--no-plots", "--device", "cpu", "--least", 20)
    texts = features / "texts.jsonl"
    done = rwcore("probe", model, "--features", texts, *words, "--out", tmp_path / "out")
    assert done.code == 0, done.err
    assert pd.read_csv(tmp_path / "out" / "curves.csv").empty
    assert pd.read_csv(tmp_path / "out" / "controls.csv").empty
    assert set(names(tmp_path / "out")) == {name for name, when in promises(TITLE) if when == "always"}


def test_curves_at_all_layers(model: Path, features: Path, tmp_path: Path) -> None:
    words = (
        "--layers",
        "all",
        "--methods",
        "f_stat,mean_dif",
        "--k",
        "1,2",
        "--least",
        20,
        "--device",
        "cpu",
    )
    texts = features / "texts.jsonl"
    done = rwcore("probe", model, "--features", texts, *words, "--out", tmp_path / "out")
    assert done.code == 0, done.err
    curves = pd.read_csv(tmp_path / "out" / "curves.csv")
    layers = sorted({*pd.read_csv(tmp_path / "out" / "layers.csv")["layer"]})
    assert len(layers) > 1
    assert curves.groupby("layer").size().to_dict() == dict.fromkeys(layers, 4)
    assert (tmp_path / "out" / "sparsity_texts.png").is_file()


def test_context_neurons(model: Path, features: Path, tmp_path: Path) -> None:
    """Texts with and without an e are classes of text; letters of a text are not."""
    lines = [json.loads(line) for line in (features / "texts.jsonl").read_text().splitlines()]
    for line in lines:
        line["label"] = "with" if line["label"] else "without"
    texts = tmp_path / "kinds.jsonl"
    write(texts, lines)
    both = f"{texts},{features / 'letters.jsonl'}"
    words = ("--context", 1, "--no-curves", "--trials", 0, "--least", 20, "--device", "cpu")
    done = rwcore("probe", model, "--features", both, *words, "--out", tmp_path / "out")
    assert done.code == 0, done.err
    assert "random" in done.out
    for name, columns in CONTEXT_COLUMNS.items():
        table = pd.read_csv(tmp_path / "out" / name)
        assert table.columns.tolist() == list(columns) == documented(f"Probes: `{name}`")
        assert {*table["dataset"]} <= {"kinds"}
    contrasts = pd.read_csv(tmp_path / "out" / "context_contrasts.csv")
    assert contrasts["baseline"].tolist() == [False, True]
    drawn = {name for name in names(tmp_path / "out") if name.startswith("context_") and name.endswith("png")}
    assert len(drawn) == 1
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["options"]["context"] == 1
    assert_all_listed(manifest, tmp_path / "out")


def test_random_bases(model: Path, features: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ("--superposition", "--trials", 2, "--layers", "0,1", "--methods", "mean_dif", "--k", "1,2")
    letters = features / "letters.jsonl"
    done = rwcore(
        "probe", model, "--features", letters, *words, "--least", 20, "--device", "cpu", "--out", out
    )
    assert done.code == 0, done.err
    assert "neurons beside random bases" in done.out
    written = {name for name in SUPERPOSITION_COLUMNS if (out / name).is_file()}
    assert {*SUPERPOSITION_COLUMNS} - written == {"superposition_joint.csv"}
    for name in SUPERPOSITION_COLUMNS:
        assert [*SUPERPOSITION_COLUMNS[name]] == documented(f"Probes: `{name}`")
        if name in written:
            assert pd.read_csv(out / name).columns.tolist() == documented(f"Probes: `{name}`")
    ranks = pd.read_csv(out / "superposition_ranks.csv")
    assert ranks.groupby(["layer", "control"])["trials"].max().tolist() == [1, 2, 2] * 2
    loss = pd.read_csv(out / "superposition_loss.csv")
    assert loss[["layer", "k"]].to_numpy().tolist() == [[0, 1], [0, 2], [1, 1], [1, 2]]
    drawn = {name for name in names(out) if name.startswith("superposition_") and name.endswith(".png")}
    assert drawn == {f"superposition_{kind}_letters_{n}.png" for kind in ("ranks", "loss") for n in (0, 1)}
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["options"]["superposition"] is True
    assert manifest["measure"]["kept"] is None
    assert_all_listed(manifest, out)


def test_no_classes_of_text(model: Path, features: Path, tmp_path: Path) -> None:
    path = features / "letters.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    two = [{"text": line["text"], "spans": [[0, 1, "first"], [1, 2, "second"]]} for line in lines]
    write(tmp_path / "two.jsonl", two)
    words = ("--context", 1, "--least", 20, "--device", "cpu")
    done = rwcore("probe", model, "--features", tmp_path / "two.jsonl", *words, "--out", tmp_path / "out")
    assert_explained(done, "no classes of text", "--context")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_pages_of_the_best_neurons(model: Path, features: Path, tmp_path: Path) -> None:
    site, out = tmp_path / "site", tmp_path / "out"
    letters = features / "letters.jsonl"
    done = rwcore("probe", model, "--features", letters, *COMMON, "--out", out, "--pages", site)
    assert done.code == 0, done.err
    (name,) = (out / "best_neurons.txt").read_text().split()
    assert f"1 pages of the best neurons: open {site / 'index.html'}" in done.out.replace("\n", "")
    (page,) = {path.name for path in site.rglob("*.html")} - {"index.html"}
    assert page == f"{name}.html"


def test_a_folder_for_pages_that_holds_other_files(model: Path, features: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "notes.txt").write_text("mine")
    words = ("--features", features / "texts.jsonl", "--out", tmp_path / "out", "--pages", site)
    assert_explained(rwcore("probe", model, *COMMON, *words), str(site), "--force")
    assert not (tmp_path / "out").exists()


def test_a_missing_library_is_named_before_anything_is_run(
    model: Path, features: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    texts = features / "texts.jsonl"
    done = rwcore("probe", model, "--features", texts, *COMMON, "--out", tmp_path / "out")
    assert_explained(done, "sklearn", "rwcore[probe]")


def one_class(folder: Path) -> Path:
    write(folder / "one.jsonl", [{"text": f"text {number}", "label": True} for number in range(40)])
    return folder / "one.jsonl"


def no_json(folder: Path) -> Path:
    (folder / "bad.jsonl").write_text('{"text": "a", "label": true}\nthis is no JSON\n')
    return folder / "bad.jsonl"


def outside(folder: Path) -> Path:
    write(folder / "outside.jsonl", [{"text": "abc", "spans": [[1, 9]]}])
    return folder / "outside.jsonl"


@pytest.mark.parametrize(
    ("make", "parts"),
    [
        (one_class, ["one.jsonl", "--least"]),
        (no_json, ["bad.jsonl", "line 2"]),
        (outside, ["outside.jsonl", "line 1"]),
    ],
)
def test_bad_files(model: Path, tmp_path: Path, make: Callable[[Path], Path], parts: list[str]) -> None:
    file = make(tmp_path)
    done = rwcore("probe", model, "--features", file, "--least", 20, "--out", tmp_path / "out")
    assert_explained(done, *parts)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("--k", "1,zero"), ["'1,zero'", "--k"]),
        (("--k", "0"), ["--k"]),
        (("--methods", "mean_dif,best"), ["'best'"]),
        (("--layers", "0,99"), [" 99", "--layers", "from 0 to"]),
        (("--layers", "last"), ["'last'"]),
        (("--no-curves", "--exact", "2"), ["--exact", "--no-curves"]),
        (("--features", "langauges"), ["langauges", "languages"]),
        (("--superposition", "--trials", 0), ["--superposition", "--trials 1 or more and curves"]),
        (("--superposition", "--no-curves"), ["--superposition", "--trials 1 or more and curves"]),
        (("--superposition", "--methods", "exact"), ["--superposition", "mean_dif"]),
        (("--top", 0), ["--top"]),
        (("--tokens", 0), ["--tokens"]),
    ],
)
def test_bad_options(
    model: Path, features: Path, tmp_path: Path, words: tuple[object, ...], parts: list[str]
) -> None:
    given = {"--features": features / "texts.jsonl", "--least": 20, "--out": tmp_path / "out"}
    common = [word for pair in given.items() if pair[0] not in words for word in pair]
    assert_explained(rwcore("probe", model, *common, *words), *parts)
    assert not (tmp_path / "out").exists()
