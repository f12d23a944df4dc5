"""A corpus as files: the table of rows against the texts, the manifest, nothing half-written."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from fixtures.tiny import build, local_model, save_tokenizer
from rwcore.corpora.documents import Document
from rwcore.corpora.encoder import read_encoder
from rwcore.corpora.prepare import prepare
from rwcore.corpora.registry import Published, find, published
from rwcore.corpora.spec import CorpusSpec
from rwcore.corpora.tokenise import tokenise
from rwcore.corpora.tokens import TokenCorpus
from rwcore.errors import CorpusError, StoreError
from rwcore.models.spec import LocalModel
from rwcore.store import Store, write_json
from rwcore.studies import corpus_export as module
from rwcore.studies.corpus_export import (
    COLUMNS,
    SCHEMA,
    CorpusFacts,
    compare_published,
    corpus_facts,
    export_corpus,
    is_export,
    published_facts,
    read_export,
    rows_frame,
)
from rwcore.tests.command_line import names
from rwcore.tests.corpus_makers import encoder

DOCS = [
    Document("a", "Grüße", {"language": "de"}),
    Document("b", "x" * 20, {"kind": "long", "set": "Ω"}),
    Document("c", ""),
]


def corpus_of(docs: list[Document] = DOCS, **options: object) -> TokenCorpus:
    recipe = CorpusSpec(**{"id": "x", "source": "file", "location": "/x", "max_length": 9, **options})
    return tokenise(recipe, encoder(), docs)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LocalModel:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    build("llama", folder, context=64)
    save_tokenizer(folder, 64)
    return local_model(folder)


def lines_corpus(folder: Path, model: LocalModel, count: int = 20) -> TokenCorpus:
    """Rows of a file of lines, made for a model, from a store of the test's own."""
    file = folder / "lines.jsonl"
    rows = [json.dumps({"text": "to be or not " * (n % 4 + 1), "n": str(n)}) for n in range(count)]
    file.write_text("\n".join(rows) + "\n", encoding="utf-8")
    recipe = replace(find(str(file)), max_length=16)
    return prepare(recipe, read_encoder(model), Store(folder / "store"))


# --- the table of rows


def test_the_table_says_what_every_row_is() -> None:
    corpus = corpus_of(overflow=True)
    frame = rows_frame(corpus, DOCS)
    assert [*frame.columns] == [*COLUMNS["rows.parquet"]]
    assert frame["row"].tolist() == [0, 1, 2, 3, 4]
    assert frame["document"].tolist() == [0, 1, 1, 1, 2]
    assert frame["id"].tolist() == ["a", "b", "b", "b", "c"]
    assert frame["n_tokens"].tolist() == [8, 9, 9, 5, 1]
    assert json.loads(frame["labels"][1]) == {"kind": "long", "set": "Ω"}
    assert frame["labels"][4] == "{}"
    for row, document in enumerate(corpus.document.tolist()):
        text = DOCS[document].text.encode()
        assert frame["text_sha256"][row] == hashlib.sha256(text).hexdigest()
        ids = b"".join(token.to_bytes(4, "little") for token in corpus.row(row).tolist())
        assert frame["tokens_sha256"][row] == hashlib.sha256(ids).hexdigest()


def test_packed_rows_are_named_by_the_document_they_begin_in() -> None:
    docs = [Document(name, name * length) for name, length in (("a", 3), ("b", 2), ("c", 20), ("d", 9))]
    corpus = corpus_of(docs, layout="packed", bos="none")
    assert corpus.document.tolist() == [0, 2, 2]
    assert rows_frame(corpus, docs)["id"].tolist() == ["a", "c", "c"]


def test_no_document_is_read_beyond_the_last_row() -> None:
    corpus = corpus_of(DOCS[:2])

    def source():
        yield from DOCS[:2]
        raise AssertionError("read too far")

    assert len(rows_frame(corpus, source())) == 2


def test_a_source_that_shrank_is_refused() -> None:
    with pytest.raises(CorpusError, match="fewer documents than when it was tokenised"):
        rows_frame(corpus_of(), DOCS[:2])


# --- numbers, and what a paper says of them


def test_a_corpus_in_numbers() -> None:
    corpus = corpus_of(overflow=True)
    assert corpus_facts(corpus) == CorpusFacts(5, 3, 32, 32 / 5, 9, corpus.content_hash)


SAID = Published(rows=(45_734, 45_736), tokens=(20_000_000, 20_001_023), mean_length=437.3, longest=1024)
GOOD = CorpusFacts(45_734, 45_734, 20_000_437, 20_000_437 / 45_734, 1024, "sha256:0")


def verdicts(facts: CorpusFacts) -> list[str]:
    return [one["verdict"] for one in compare_published(facts, SAID)]


def test_the_published_facts_agree() -> None:
    assert verdicts(GOOD) == ["agrees"] * 4
    assert verdicts(replace(GOOD, rows=45_736)) == ["agrees"] * 4
    assert verdicts(replace(GOOD, tokens=20_001_023)) == ["agrees"] * 4
    assert compare_published(GOOD, SAID)[0] == {
        "fact": "rows",
        "published": "45,734 or 45,736",
        "here": "45,734",
        "verdict": "agrees",
    }


@pytest.mark.parametrize(
    ("change", "which"),
    [
        ({"rows": 45_735}, 0),
        ({"tokens": 19_999_999}, 1),
        ({"tokens": 20_001_024}, 1),
        ({"mean_length": 437.4}, 2),
        ({"longest": 1023}, 3),
        ({"longest": 1025}, 3),
    ],
)
def test_every_fact_can_differ(change: dict[str, float], which: int) -> None:
    expected = ["agrees"] * 4
    expected[which] = "differs"
    assert verdicts(replace(GOOD, **change)) == expected


def test_only_the_whole_recipe_is_compared() -> None:
    corpus = corpus_of()
    whole = replace(corpus, spec=find("dolma-small"))
    compared = published_facts(whole, GOOD)
    assert compared == compare_published(GOOD, published("dolma-small"))
    assert published_facts(replace(corpus, spec=replace(find("dolma-small"), tokens=10**6)), GOOD) is None
    assert published_facts(replace(corpus, spec=find("handmade")), GOOD) is None
    assert published_facts(corpus, GOOD) is None


# --- files


def test_the_files_and_the_way_back(tmp_path: Path, model: LocalModel) -> None:
    corpus = lines_corpus(tmp_path, model)
    done = export_corpus(corpus, model, tmp_path / "out", command="rwcore corpus make …")
    assert names(tmp_path / "out") == ["corpus.json", "manifest.json", "rows.parquet", "tokens.safetensors"]
    found, frame, manifest = read_export(tmp_path / "out")
    assert manifest == done.manifest == json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert found.content_hash == corpus.content_hash == manifest["content_hash"]
    assert found.spec == corpus.spec
    pd.testing.assert_frame_equal(frame, rows_frame(corpus))
    found.require_fit(read_encoder(model))
    assert is_export(tmp_path / "out")


def test_the_manifest_says_what_the_rows_were_made_of(tmp_path: Path, model: LocalModel) -> None:
    corpus = lines_corpus(tmp_path, model)
    manifest = export_corpus(corpus, model, tmp_path / "out", command="rwcore corpus make …").manifest
    assert (manifest["schema"], manifest["complete"]) == (SCHEMA, True)
    assert manifest["source"].startswith("sha256:")
    assert manifest["model"] == model.identity()
    assert manifest["tokenizer_hash"] == read_encoder(model).hash
    assert manifest["recipe"] == corpus.spec.describe()
    assert (manifest["rows"], manifest["tokens"]) == (len(corpus), corpus.n_tokens)
    assert manifest["published"] is None
    files = {one["name"]: one for one in manifest["files"]}
    assert files["rows.parquet"]["columns"] == [*COLUMNS["rows.parquet"]]
    assert files["tokens.safetensors"]["arrays"]["tokens"] == {"dtype": "I32", "shape": [corpus.n_tokens]}
    assert set(manifest["provenance"]["libraries"]) == {"tokenizers", "datasets", "pyarrow"}


def test_the_files_are_the_same_every_time(tmp_path: Path, model: LocalModel) -> None:
    corpus = lines_corpus(tmp_path, model)
    first = export_corpus(corpus, model, tmp_path / "one").manifest["files"]
    assert export_corpus(corpus, model, tmp_path / "two").manifest["files"] == first


def test_an_earlier_export_is_replaced_and_other_files_stay(tmp_path: Path, model: LocalModel) -> None:
    out = tmp_path / "out"
    corpus = lines_corpus(tmp_path, model)
    export_corpus(corpus, model, out)
    (out / "notes.txt").write_text("mine")
    shorter = replace(corpus.spec, documents=3)
    export_corpus(prepare(shorter, read_encoder(model), Store(tmp_path / "store")), model, out)
    assert len(read_export(out)[1]) == 3
    assert (out / "notes.txt").read_text() == "mine"


def test_a_folder_with_other_files_is_refused(tmp_path: Path, model: LocalModel) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(StoreError, match="not empty"):
        export_corpus(lines_corpus(tmp_path, model), model, tmp_path / "out")
    assert names(tmp_path / "out") == ["notes.txt"]


def test_nothing_is_left_of_an_export_that_fails(
    tmp_path: Path, model: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_args: object) -> None:
        raise OSError(28, "No space left on device", str(tmp_path / "out" / "rows.parquet"))

    corpus = lines_corpus(tmp_path, model)
    monkeypatch.setattr(module, "write_table", full)
    with pytest.raises(StoreError, match="disk is full"):
        export_corpus(corpus, model, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not [name for name in names(tmp_path) if "out" in name]


# --- folders that are none, or damaged


def test_other_folders_are_no_exports(tmp_path: Path) -> None:
    assert not is_export(tmp_path)
    write_json(tmp_path / "manifest.json", {"schema": "rwcore-weights/1", "complete": True})
    assert not is_export(tmp_path)
    (tmp_path / "manifest.json").write_text("not json")
    assert not is_export(tmp_path)
    with pytest.raises(StoreError, match="no complete corpus folder"):
        read_export(tmp_path)


@pytest.mark.parametrize("change", [{"complete": False}, {"schema": "rwcore-corpus/2"}])
def test_unfinished_exports_and_other_versions_are_refused(
    tmp_path: Path, model: LocalModel, change: dict[str, object]
) -> None:
    out = tmp_path / "out"
    manifest = export_corpus(lines_corpus(tmp_path, model), model, out).manifest
    write_json(out / "manifest.json", manifest | change)
    assert is_export(out)
    with pytest.raises(StoreError, match="no complete corpus folder of schema rwcore-corpus/1") as caught:
        read_export(out)
    assert "rwcore corpus make" in str(caught.value.remedy)


def test_damaged_exports_are_refused(tmp_path: Path, model: LocalModel) -> None:
    out = tmp_path / "out"
    corpus = lines_corpus(tmp_path, model)
    export_corpus(corpus, model, out)
    frame = pd.read_parquet(out / "rows.parquet")
    frame.iloc[::-1].to_parquet(out / "rows.parquet", index=False)
    with pytest.raises(StoreError, match="table of rows does not belong to the tokens"):
        read_export(out)
    (out / "rows.parquet").unlink()
    with pytest.raises(StoreError, match="cannot read table"):
        read_export(out)
    replace(corpus, tokens=torch.zeros_like(corpus.tokens)).save(tmp_path / "other")
    (tmp_path / "other" / "tokens.safetensors").replace(out / "tokens.safetensors")
    with pytest.raises(StoreError, match="not those of its content hash"):
        read_export(out)
