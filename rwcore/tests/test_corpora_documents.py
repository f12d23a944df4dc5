"""Documents of local files and of Python's help; what is wrong with them is located."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rwcore.corpora.documents import (
    LONGEST_LABEL,
    Document,
    document,
    documents,
    labels_of,
    order,
    source_identity,
)
from rwcore.corpora.registry import find
from rwcore.corpora.spec import CorpusSpec
from rwcore.errors import CorpusError, OptionError


def of(path: Path, **options: object) -> CorpusSpec:
    return CorpusSpec(**{"id": path.name, "source": "file", "location": str(path), **options})


def texts(spec: CorpusSpec) -> list[str]:
    return [document.text for document in documents(spec)]


def write_lines(file: Path, rows: list[object]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


# --- local files


def test_a_text_file_is_one_document_as_it_stands(tmp_path: Path) -> None:
    text = "  Grüße,\r\n\tWelt\n\n"
    (tmp_path / "a.txt").write_bytes(text.encode())
    assert list(documents(of(tmp_path / "a.txt"))) == [Document("a.txt", text)]


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfA\xef\xbb\xbf")
    assert texts(of(tmp_path / "a.txt")) == ["A\ufeff"]
    (tmp_path / "b.jsonl").write_bytes(b'\xef\xbb\xbf{"text": "B"}\n')
    assert texts(of(tmp_path / "b.jsonl")) == ["B"]


def test_lines_are_documents_with_labels(tmp_path: Path) -> None:
    rows = [{"text": "a", "lang": "de", "n": 3, "meta": {"set": "Pile", "n": 1}}, {"text": ""}]
    file = write_lines(tmp_path / "a.jsonl", rows)
    file.write_text(file.read_text().replace("\n", "\n\n", 1))
    assert list(documents(of(file))) == [
        Document("a.jsonl:1", "a", {"lang": "de", "meta.set": "Pile"}),
        Document("a.jsonl:3", "", {}),
    ]


def test_rows_of_parquet_are_documents_with_labels(tmp_path: Path) -> None:
    rows = [{"body": f"{n}", "lang": "de", "meta": {"set": "Pile"}, "input_ids": [1, 2]} for n in range(600)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    found = list(documents(of(tmp_path / "a.parquet", text_field="body")))
    assert [document.text for document in found] == [str(n) for n in range(600)]
    assert found[599] == Document("a.parquet:599", "599", {"lang": "de", "meta.set": "Pile"})


def test_a_folder_is_read_by_path_without_hidden_and_other_files(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / ".git").mkdir()
    for name in ("b/2.txt", "b/1.TXT", "z.txt", ".git/x.txt", ".y.txt", "picture.png"):
        (tmp_path / name).write_text(name)
    write_lines(tmp_path / "a.jsonl", [{"text": "line"}])
    found = {document.id: document.text for document in documents(of(tmp_path))}
    assert list(found) == ["a.jsonl:1", "b/1.TXT", "b/2.txt", "z.txt"]
    assert found["b/1.TXT"] == "b/1.TXT"


def test_long_fields_are_no_labels() -> None:
    fields = {"text": "a", "title": "x" * LONGEST_LABEL, "html": "x" * (LONGEST_LABEL + 1), "ids": [1]}
    assert labels_of(fields, "text") == {"title": "x" * LONGEST_LABEL}


def test_documents_are_streamed(tmp_path: Path) -> None:
    rows = b'{"text": "a"}\n{"text": "b"}\n\xff\n'
    (tmp_path / "a.jsonl").write_bytes(rows)
    assert texts(of(tmp_path / "a.jsonl", documents=2)) == ["a", "b"]
    with pytest.raises(CorpusError, match="not UTF-8"):
        texts(of(tmp_path / "a.jsonl"))


# --- what is wrong is located


@pytest.mark.parametrize(
    ("name", "content", "message", "where"),
    [
        ("a.txt", b"ab\xffc", "byte 2 is 0xFF", "a.txt: byte 2"),
        ("a.txt", b"\xef\xbb\xbfab\xe9", "byte 5 is 0xE9", "a.txt: byte 5"),
        ("a.jsonl", b'{"text": "\xc3\xa9"}\n{"text": "\xe9"}', "byte 25 is 0xE9", "byte 25 (line 2)"),
        ("a.jsonl", b'{"text": "a"}\n{"text": ', "not JSON", "a.jsonl: line 2"),
        ("a.jsonl", b'\n"text"\n', "no JSON object but a str", "a.jsonl: line 2"),
        ("a.jsonl", b'{"txt": "a"}', "no field 'text'", "a.jsonl: line 1"),
        ("a.jsonl", b"{}", "no field 'text'", "a.jsonl: line 1"),
        ("a.jsonl", b'{"text": null}', "no text but None", "a.jsonl: line 1"),
        ("a.jsonl", b'{"text": "a\\ud83d"}', r"half a character \(\\ud83d\) at character 1", "line 1"),
        ("a.jsonl", b"[" * 100_000, "not JSON", "a.jsonl: line 1"),
        ("a.parquet", b"PAR1 but no more", "cannot be read", "a.parquet"),
        ("a.pdf", b"%PDF", "ends with .txt, .jsonl, .parquet", "a.pdf"),
        ("a", b"text", "not 'without'", "a"),
    ],
)
def test_unreadable_text_is_located(
    tmp_path: Path, name: str, content: bytes, message: str, where: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CorpusError, match=message) as caught:
        texts(of(tmp_path / name))
    assert str(tmp_path / name) in str(caught.value.where)
    assert str(caught.value.where).endswith(where)
    assert caught.value.remedy


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_missing_field_names_the_one_that_was_meant(tmp_path: Path, kind: str) -> None:
    file = tmp_path / f"a.{kind}"
    rows = [{"tekst": "a", "n": 1}]
    if kind == "jsonl":
        write_lines(file, rows)
    else:
        pq.write_table(pa.Table.from_pylist(rows), file)
    with pytest.raises(CorpusError, match="no field 'text'") as caught:
        texts(of(file))
    assert caught.value.remedy == "did you mean 'tekst'? there are 'tekst', 'n'"


def test_parquet_text_that_is_missing_or_not_utf8_is_located_by_row(tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["a", None]}), file)
    with pytest.raises(CorpusError, match="no text but None") as caught:
        texts(of(file))
    assert caught.value.where == f"{file}: row 1"
    broken = pa.array([b"a", b"b", b"ab\xff"]).view(pa.string())
    pq.write_table(pa.table({"text": broken}), file)
    with pytest.raises(CorpusError, match="'text' is not UTF-8: byte 2") as caught:
        texts(of(file))
    assert caught.value.where == f"{file}: row 2"


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.parquet"])
def test_files_that_may_not_be_read_are_named(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).write_bytes(b"")

    def refuse(*_args: object, **_options: object) -> None:
        raise PermissionError(13, "Permission denied", str(tmp_path / name))

    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr(Path, "read_bytes", refuse)
    monkeypatch.setattr(pq, "ParquetFile", refuse)
    for read in (texts, source_identity):
        with pytest.raises(CorpusError, match=r"cannot be read: .*Permission denied") as caught:
            read(of(tmp_path / name))
        assert caught.value.where == str(tmp_path / name)


def test_nothing_to_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no such file"):
        texts(of(tmp_path / "gone.txt"))
    with pytest.raises(CorpusError, match="no such file"):
        source_identity(of(tmp_path / "gone.txt"))
    with pytest.raises(CorpusError, match=r"the folder holds no \.txt"):
        texts(of(tmp_path))
    (tmp_path / "empty.jsonl").write_text("\n\n")
    with pytest.raises(CorpusError, match=r"'empty.jsonl' is empty: it has no documents"):
        texts(of(tmp_path / "empty.jsonl"))


# --- which documents, in which order


@given(st.integers(1, 40), st.integers(0, 2**32), st.none() | st.integers(1, 50))
def test_the_order_is_that_of_datasets(count: int, seed: int, first: int | None) -> None:
    shuffled = datasets.Dataset.from_dict({"n": range(count)}).shuffle(seed=seed)["n"]
    spec = CorpusSpec("any", "handmade", shuffle_seed=seed, documents=first)
    assert order(spec, count).tolist() == list(shuffled)[:first]


@pytest.mark.parametrize("first", [None, 1, 7, 99])
def test_local_files_are_shuffled_in_that_order(tmp_path: Path, first: int | None) -> None:
    file = write_lines(tmp_path / "a.jsonl", [{"text": str(n)} for n in range(30)])
    spec = of(file, shuffle_seed=2512800, documents=first)
    assert texts(spec) == [str(n) for n in order(spec, 30)]
    assert sorted(texts(replace(spec, documents=None)), key=int) == texts(of(file))


@given(st.integers(1, 40), st.integers(0, 2**32 - 1), st.none() | st.integers(1, 50))
def test_the_older_order_is_that_of_numpys_shared_state(count: int, seed: int, first: int | None) -> None:
    # What the recipe names, and nothing else here should use: numpy's shared state.
    np.random.seed(seed)  # noqa: NPY002
    published = [f"text {n}" for n in range(count)]
    np.random.shuffle(published)  # noqa: NPY002
    spec = CorpusSpec("any", "handmade", shuffle_seed=seed, shuffle="legacy", documents=first)
    assert [f"text {n}" for n in order(spec, count)] == published[:first]


def test_curly_quotes_become_straight(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "a.jsonl", [{"text": "\u201cIt\u2019s\u201d \u2018so\u2019 \u2013"}])
    assert texts(of(file, straight_quotes=True)) == ["\"It's\" 'so' \u2013"]
    assert document(of(file, straight_quotes=True), 0).text == "\"It's\" 'so' \u2013"
    assert texts(of(file)) == ["\u201cIt\u2019s\u201d \u2018so\u2019 \u2013"]


def test_the_identity_of_files_is_their_names_and_bytes(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        (folder / "texts").mkdir(parents=True)
        (folder / "texts" / "a.txt").write_text("a")
        (folder / "texts" / "notes.md").write_text(folder.name)  # is not read

    def identity(folder: Path) -> str:
        return source_identity(of(folder / "texts"))

    assert identity(one) == identity(two)
    (two / "texts" / "a.txt").write_text("b")
    assert identity(one) != identity(two)
    (two / "texts" / "a.txt").write_text("a")
    (two / "texts" / "b.txt").write_text("")
    assert identity(one) != identity(two)


def test_python_topics_are_there() -> None:
    found = list(documents(find("python-topics")))
    assert [document.id for document in found] == sorted(document.id for document in found)
    assert len({document.id for document in found}) == len(found) > 50
    assert sum(len(document.text) for document in found) > 300_000
    assert source_identity(find("python-topics")).startswith("sha256:")


def test_our_own_texts_are_there() -> None:
    found = list(documents(find("handmade")))
    assert len({document.id for document in found}) == len(found)
    assert sum(len(document.text.encode()) for document in found) > 60_000
    assert source_identity(find("handmade")) != source_identity(find("python-topics"))


@pytest.mark.parametrize("seed", [None, 3])
def test_one_document_is_found_by_its_number(tmp_path: Path, seed: int | None) -> None:
    file = write_lines(tmp_path / "a.jsonl", [{"text": str(n)} for n in range(9)])
    spec = of(file, shuffle_seed=seed, documents=6)
    everything = list(documents(spec))
    assert [document(spec, number) for number in range(6)] == everything
    with pytest.raises(OptionError, match="no document 6"):
        document(spec, 6)


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_local_files_are_shuffled_as_datasets_shuffles_them(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    rows = [{"text": f"text {n}", "n": n} for n in range(1000)]
    files = [tmp_path / "texts" / f"{part}.{kind}" for part in range(3)]
    files[0].parent.mkdir()
    for part, file in enumerate(files):
        if kind == "jsonl":
            write_lines(file, rows[part::3])
        else:
            pq.write_table(pa.Table.from_pylist(rows[part::3]), file)
    builder = {"jsonl": "json", "parquet": "parquet"}[kind]
    names = [str(file) for file in files]
    opened = datasets.load_dataset(builder, data_files=names, split="train", cache_dir=str(tmp_path / "c"))
    published = opened.shuffle(seed=2512800).select(range(80))["text"]
    assert texts(of(tmp_path / "texts", shuffle_seed=2512800, documents=80)) == list(published)
