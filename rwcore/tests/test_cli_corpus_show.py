"""`rwcore corpus show`: what an example is."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from fixtures.planted import plant
from fixtures.tiny import save_tokenizer
from rwcore.corpora.documents import document
from rwcore.corpora.registry import find
from rwcore.corpora.tokens import TokenCorpus
from rwcore.tests.command_line import assert_explained, environment, rwcore
from rwcore.tests.corpus_commands import labelled_lines, lettered_model, make
from rwcore.tests.hub_sets import lay_out, offline_hub, parts

_environment = pytest.fixture(autouse=True)(environment)
hub = pytest.fixture(autouse=True)(offline_hub)
model = pytest.fixture(scope="module")(lettered_model)
lines = pytest.fixture(labelled_lines)


def test_a_row_of_a_folder_and_of_a_corpus_are_the_same(lines: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert make(lines, model, out).code == 0
    frame, corpus = pd.read_parquet(out / "rows.parquet"), TokenCorpus.load(out)
    row = int(frame.index[frame["document"] == 7][-1])
    shown = rwcore("corpus", "show", out, "--row", row)
    assert shown.code == 0
    assert shown.rows[0] == f"row {row} of {len(corpus)} of {lines} for {model}"
    assert shown.rows[1] == "document 7: lines.jsonl:8"
    assert shown.rows[2] == "labels: who = person 7"
    assert shown.rows[3] == f"{len(corpus.row(row))} tokens"
    tokens = shown.rows[shown.rows.index("token by token (␣ is a space, ⏎ a line break):") + 1]
    assert len(tokens.split()) == len(corpus.row(row))
    again = rwcore("corpus", "show", lines, "--row", row, "--model", model, "--max-length", 16)
    assert again.rows[0] == f"row {row} of {lines} for {model}"
    assert again.rows[1:] == shown.rows[1:]


def test_a_row_comes_from_the_cache_if_it_is_there(
    lines: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("corpus", "show", lines, "--model", model, "--max-length", 16, "--row")
    before = rwcore(*words, 5)
    assert before.code == 0
    assert make(lines, model, tmp_path / "out").code == 0

    def refuse(*_args: object) -> None:
        raise AssertionError("tokenised again")

    monkeypatch.setattr("rwcore.corpora.tokenise.rows_of", refuse)
    assert rwcore(*words, 5) == before
    assert_explained(rwcore(*words, 99), "no row 99", f"0 to {len(TokenCorpus.load(tmp_path / 'out')) - 1}")


def test_a_document_is_shown_without_a_model(lines: Path, model: Path, tmp_path: Path) -> None:
    done = rwcore("corpus", "show", "handmade", "--document", 5)
    one = document(find("handmade"), 5)
    assert done.code == 0
    assert done.out.startswith(f"document 5 of handmade: {one.id}\n")
    assert done.out.endswith(f"\n\n{one.text}\n")
    assert all(f"{name} = {value}" in done.rows[1] for name, value in one.labels.items())
    assert make(lines, model, tmp_path / "out").code == 0
    assert "labels: who = person 3" in rwcore("corpus", "show", tmp_path / "out", "--document", 3).rows


def test_square_brackets_of_a_text_are_shown(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("[bold]to[/bold] [be]")
    assert "[bold]to[/bold] [be]" in rwcore("corpus", "show", tmp_path / "a.txt", "--document", 0).rows


def test_a_folder_is_shown_without_its_model_as_ids(lines: Path, model: Path, tmp_path: Path) -> None:
    moved = tmp_path / "model"
    moved.symlink_to(model)
    assert make(lines, moved, tmp_path / "out").code == 0
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))
    manifest["model"]["model"] = str(tmp_path / "gone")
    (tmp_path / "out" / "manifest.json").write_text(json.dumps(manifest))
    done = rwcore("corpus", "show", tmp_path / "out", "--row", 2)
    assert done.code == 0
    assert "tokens are shown as ids" in done.err
    assert done.rows[-1] == " ".join(map(str, TokenCorpus.load(tmp_path / "out").row(2).tolist()))
    named = rwcore("corpus", "show", tmp_path / "out", "--row", 2, "--model", model)
    assert "token by token" in named.out


def test_a_model_with_another_tokenizer_cannot_show_a_row(lines: Path, model: Path, tmp_path: Path) -> None:
    other = save_tokenizer(plant("llama", tmp_path / "other").folder, 60)
    assert make(lines, model, tmp_path / "out").code == 0
    done = rwcore("corpus", "show", tmp_path / "out", "--row", 0, "--model", other)
    assert_explained(done, "do not fit the model", "which is another one")


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("OUT",), ("not clear what is to be shown", "--row 12")),
        (("OUT", "--row", "0", "--document", "0"), ("not clear what is to be shown",)),
        (("OUT", "--row", "99"), ("no row 99", "rows are 0 to ")),
        (("LINES", "--row", "99", "--model", "MODEL", "--max-length", "16"), ("no row 99", "rows are 0 to ")),
        (("LINES", "--row", "0", "--model", "MODEL"), ("64 positions", "--max-length 64")),
        (("LINES", "--row", "4"), ("depend on the tokenizer", "--model MODEL", "--document 4")),
        (("LINES", "--document", "20"), ("no document 20",)),
        (("handmade", "--document", "5000"), ("no document 5000",)),
        (("dolma-small", "--document", "0"), ("not on this machine", "rwcore fetch --corpus dolma-small")),
        (("dolma-small", "--row", "0"), ("allenai/OLMo-1B-hf", "rwcore fetch allenai/OLMo-1B-hf")),
        (("nosuch", "--row", "0"), ("unknown corpus 'nosuch'",)),
    ],
)
def test_what_cannot_be_shown_is_explained(
    lines: Path, model: Path, tmp_path: Path, words: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    assert make(lines, model, tmp_path / "out").code == 0
    places = {"OUT": tmp_path / "out", "LINES": lines, "MODEL": model}
    assert_explained(rwcore("corpus", "show", *(places.get(word, word) for word in words)), *parts)


def test_rows_beyond_the_end_of_a_recipe_are_none_of_the_corpus(
    hub: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"text": "w3 w1 w4 w1 " * (n % 7 + 1)} for n in range(300)]
    lay_out(hub, parts(rows), "sjgerstner/dolma-small")
    short = replace(find("dolma-small-published"), tokens=30, max_length=16)
    monkeypatch.setattr("rwcore.corpora.registry.find", lambda _text: short)
    done = rwcore("corpus", "show", "dolma-small-published", "--row", 290, "--model", model)
    assert_explained(done, "no row 290", "rows are 0 to ")
    last = re.search(r"rows are 0 to (\d+)", done.err)
    assert last
    assert int(last[1]) < 30
    assert rwcore("corpus", "show", "dolma-small-published", "--row", last[1], "--model", model).code == 0
