"""`rwcore corpora`, `rwcore corpus make` and `rwcore fetch --corpus`."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fixtures.planted import plant
from fixtures.tiny import save_tokenizer
from rwcore.corpora.registry import registry
from rwcore.corpora.tokens import TokenCorpus
from rwcore.studies.corpus_export import COLUMNS, SCHEMA
from rwcore.tests.command_line import OUTPUTS, assert_explained, documented, environment, names, rwcore
from rwcore.tests.corpus_commands import labelled_lines, lettered_model, make
from rwcore.tests.hub_sets import COMMIT, lay_out, offline_hub, parts, rows_of

_environment = pytest.fixture(autouse=True)(environment)
hub = pytest.fixture(autouse=True)(offline_hub)

TITLE = "`rwcore corpus make CORPUS MODEL --out DIR`"


model = pytest.fixture(scope="module")(lettered_model)
lines = pytest.fixture(labelled_lines)


# --- which there are


def test_corpora_are_listed() -> None:
    done = rwcore("corpora")
    assert done.code == 0
    row = next(row for row in done.rows if row.startswith("handmade "))
    assert row.endswith(" yes")
    assert "all documents shuffled with seed 0" in row
    row = next(row for row in done.rows if row.startswith("dolma-small "))
    assert "20,000,000" in row
    assert not row.endswith(" yes")
    assert all(corpus in done.out for corpus in registry())
    assert "rwcore fetch --corpus" in done.err


def test_corpora_as_json_have_the_documented_keys(hub: Path) -> None:
    lay_out(hub, parts(rows_of(0, 3)), "NeelNanda/pile-10k")
    listed = {one["id"]: one for one in json.loads(rwcore("corpora", "--json").out)}
    assert list(listed) == list(registry())
    assert all(set(one) == set(documented("`rwcore corpora --json`")) for one in listed.values())
    assert {name for name, one in listed.items() if one["here"]} == {
        "handmade", "python-topics", "pile-10k", "pile-10k-ragged", "pile-10k-128",
    }  # fmt: skip
    assert listed["dolma-small"]["published"]["rows"] == [45734, 45736]
    assert listed["handmade"]["published"] is None


# --- fetching


def test_fetch_downloads_a_corpus_and_says_its_commit(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[str] = []

    def fetch(spec):
        fetched.append(spec.id)
        lay_out(hub, parts(rows_of(0, 3)), spec.location)
        return hub / "datasets--NeelNanda--pile-10k" / "snapshots" / COMMIT

    monkeypatch.setattr("rwcore.corpora.fetch.fetch", fetch)
    done = rwcore("fetch", "--corpus", "PILE-10K", "--corpus", "handmade")
    assert done.code == 0
    first, second = done.out.splitlines()
    assert fetched == ["pile-10k"]
    assert first.startswith("pile-10k: ")
    assert first.endswith(f"({COMMIT})")
    assert second == "handmade: nothing to fetch, it is on this machine"


def test_models_and_corpora_are_fetched_together_or_not_at_all(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[str] = []
    monkeypatch.setattr("rwcore.models.fetch.fetch", lambda spec: fetched.append(spec.id))
    monkeypatch.setattr("rwcore.corpora.fetch.fetch", lambda spec: fetched.append(spec.id))
    assert_explained(rwcore("fetch", "gpt2", "--corpus", "dolma"), "unknown corpus 'dolma'", "dolma-small")
    assert_explained(rwcore("fetch", "nosuch", "--corpus", "dolma-small"), "nosuch")
    assert fetched == []


def test_a_fetch_without_a_network_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert_explained(rwcore("fetch", "--corpus", "dolma-small"), "switched off", "unset HF_HUB_OFFLINE")


def test_what_is_said_to_be_run_is_a_command(model: Path, tmp_path: Path) -> None:
    # The message of a missing data set and the command must agree.
    done = rwcore("corpus", "make", "dolma-small", model, "--max-length", 64, "--out", tmp_path / "out")
    assert_explained(done, "'dolma-small' is not on this machine", "to do: rwcore fetch --corpus dolma-small")
    command = re.search(r"to do: rwcore (.*)", done.err)
    assert command
    again = rwcore(*shlex.split(command[1]))
    assert "emozilla/dolma-v1_7-3B" in again.err, "it went as far as the network"
    assert not (tmp_path / "out").exists()


# --- rows for a model


def test_rows_are_made(lines: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    done = make(lines, model, out)
    assert (done.code, done.err) == (0, "")
    assert names(out) == sorted(documented(TITLE))
    corpus, frame = TokenCorpus.load(out), pd.read_parquet(out / "rows.parquet")
    assert list(frame.columns) == [*COLUMNS["rows.parquet"]]
    assert f"rows {len(corpus)}" in done.rows
    assert "documents 20" in done.rows
    assert f"tokens {corpus.n_tokens}" in done.rows
    assert f"mean length {corpus.n_tokens / len(corpus):.1f}" in done.rows
    assert f"longest row {int(corpus.lengths.max())}" in done.rows
    assert f"content hash {corpus.content_hash}" in done.rows
    assert f"4 files in {out}" in done.rows
    assert done.rows[0].startswith(f"{lines} for {model}: all documents, in rows of at most 16 tokens")
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    words = ["corpus", "make", str(lines), str(model), "--max-length", "16", "--out", str(out)]
    assert manifest["command"] == shlex.join(["rwcore", *words])


def test_a_folder_of_tokens_is_no_text(lines: Path, model: Path, tmp_path: Path) -> None:
    assert make(lines, model, tmp_path / "out").code == 0
    done = make(tmp_path / "out", model, tmp_path / "again")
    assert_explained(done, "holds rows of tokens", "name the corpus that corpus.json names")


def test_a_number_of_tokens(lines: Path, model: Path, tmp_path: Path) -> None:
    assert make(lines, model, tmp_path / "all").code == 0
    assert make(lines, model, tmp_path / "some", "--tokens", 50).code == 0
    some, everything = TokenCorpus.load(tmp_path / "some"), TokenCorpus.load(tmp_path / "all")
    assert 50 <= some.n_tokens < 50 + 16
    assert some.tokens.tolist() == everything.tokens[: some.n_tokens].tolist()


def test_nothing_is_tokenised_twice(
    lines: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert make(lines, model, tmp_path / "one").code == 0

    def refuse(*_args: object) -> None:
        raise AssertionError("tokenised again")

    monkeypatch.setattr("rwcore.corpora.prepare.tokenise", refuse)
    assert make(lines, model, tmp_path / "two").code == 0
    assert names(tmp_path / "two") == names(tmp_path / "one")


def published_set(hub: Path) -> None:
    """A small stand-in for the published rows: up to 28 words and the BOS."""
    rows = [{"text": "w3 w1 w4 w1 " * (n % 7 + 1)} for n in range(300)]
    lay_out(hub, parts(rows), "sjgerstner/dolma-small")


def test_rows_are_compared_with_the_published_ones(hub: Path, model: Path, tmp_path: Path) -> None:
    published_set(hub)
    short = rwcore(
        "corpus", "make", "dolma-small-published", model, "--max-length", 64, "--out", tmp_path / "s"
    )
    assert short.code == 0
    assert "not compared with the published rows: this is not their whole recipe" in short.err
    assert "agrees" not in short.out


def test_every_published_fact_gets_a_verdict(
    hub: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Rows of 1,024 need a model with as many positions.
    monkeypatch.setattr("rwcore.corpora.encoder.context_of", lambda *_args: 2048)
    published_set(hub)
    done = rwcore("corpus", "make", "dolma-small-published", model, "--out", tmp_path / "out")
    assert done.code == 0
    corpus = TokenCorpus.load(tmp_path / "out")
    mean = f"{corpus.n_tokens / 300:.1f}"
    assert "rows 45,734 or 45,736 300 differs" in done.rows
    assert f"tokens 20,000,000 to 20,001,023 {corpus.n_tokens:,} differs" in done.rows
    assert f"mean length 437.3 {mean} differs" in done.rows
    assert "longest 1,024 29 differs" in done.rows
    assert "made with the tokenizer of allenai/OLMo-1B-hf" in done.err
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))
    assert [one["verdict"] for one in manifest["published"]] == ["differs"] * 4


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (b"", ("is empty: it has no documents",)),
        (b'{"text": ""}\n', ("holds no text",)),
        (b'{"text": "to"}\n{"text": "\xff"}\n', ("not UTF-8", "lines.jsonl: byte 25 (line 2)", "iconv")),
        (b'{"txt": "to"}\n', ("no field 'text'", "line 1", "did you mean 'txt'?")),
        (b'{"text": "to"}\nto\n', ("not JSON", "line 2")),
        (b'{"text": 3}\n', ("no text but 3", "line 1")),
    ],
    ids=["empty", "no text", "not UTF-8", "no field", "not JSON", "number"],
)
def test_bad_texts_are_explained(
    lines: Path, model: Path, tmp_path: Path, content: bytes, parts: tuple[str, ...]
) -> None:
    lines.write_bytes(content)
    assert_explained(make(lines, model, tmp_path / "out"), *parts)
    assert not (tmp_path / "out").exists()


def test_an_unreadable_table_is_explained(model: Path, tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 but no more")
    assert_explained(make(tmp_path / "a.parquet", model, tmp_path / "out"), "cannot be read", "a.parquet")
    pq.write_table(pa.table({"body": ["to be"]}), tmp_path / "a.parquet")
    assert_explained(make(tmp_path / "a.parquet", model, tmp_path / "out"), "no field 'text'", "'body'")


def test_rows_longer_than_the_context_are_explained(lines: Path, model: Path, tmp_path: Path) -> None:
    done = rwcore("corpus", "make", lines, model, "--out", tmp_path / "out")
    assert_explained(done, "up to 1024 tokens", "64 positions", "--max-length 64")


def test_a_tokenizer_of_another_model_is_explained(lines: Path, tmp_path: Path) -> None:
    folder = plant("llama", tmp_path / "m").folder  # its embedding has 64 rows
    save_tokenizer(folder, 80)
    lines.write_text(json.dumps({"text": " ".join(f"w{n}" for n in range(90)) + " to be or not"}))
    done = make(lines, folder, tmp_path / "out")
    assert_explained(done, "does not fit the model", "64 rows", "tokenizer files of this very model")


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("nosuch", "MODEL"), ("unknown corpus 'nosuch'",)),
        (("hand-made", "MODEL"), ("did you mean handmade?",)),
        (("handmade", "nosuch"), ("nosuch",)),
        (("handmade", "MODEL", "--tokens", "0"), ("tokens", "0 is less than 1")),
        (("handmade", "MODEL", "--max-length", "1"), ("max_length", "1 is less than 2")),
    ],
)
def test_wrong_use_is_explained(
    model: Path, tmp_path: Path, words: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    given = [str(model) if word == "MODEL" else word for word in words]
    assert_explained(rwcore("corpus", "make", *given, "--out", tmp_path / "out"), *parts)
    assert not (tmp_path / "out").exists()


def test_a_folder_with_other_files_is_refused_before_anything_is_read(
    lines: Path, model: Path, tmp_path: Path
) -> None:
    lines.write_bytes(b"\xff")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    assert_explained(make(lines, model, tmp_path / "out"), "not empty", "--force")
    lines.write_text(json.dumps({"text": "to be or not"}))
    assert make(lines, model, tmp_path / "out", "--force").code == 0
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"


# --- what is documented


def test_the_files_are_documented(lines: Path, model: Path, tmp_path: Path) -> None:
    assert make(lines, model, tmp_path / "out").code == 0
    assert f"Schema `{SCHEMA}`" in OUTPUTS
    assert documented("`rows.parquet`") == [*COLUMNS["rows.parquet"]]
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))
    assert sorted(documented("`manifest.json` of `rwcore corpus make`")) == sorted(manifest)
    facts = json.loads((tmp_path / "out" / "corpus.json").read_text(encoding="utf-8"))
    assert sorted(documented("`corpus.json`")) == sorted(facts)
    arrays = next(one["arrays"] for one in manifest["files"] if one["name"] == "tokens.safetensors")
    assert sorted(documented("`tokens.safetensors`")) == sorted(arrays)
