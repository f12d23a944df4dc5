"""Reading a folder of our own texts, and what is said of a damaged one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rwcore.corpora.documents import Document
from rwcore.corpora.own_texts import Known, handmade_documents, knowns
from rwcore.errors import CorpusError

INDEX = """
[[document]]
id = "a"
file = "a.txt"
kind = "fact"
subject = "The Moon"
topic = "moon"

[[document]]
id = "b"
file = "b.txt"
kind = "language"
genre = "letter"
language = "de"
"""
QUESTION = """
[[known]]
subject = "The Moon"
relation = "planet"
prompt = "The Moon goes round the"
answer = "Earth"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "handmade.toml").write_text(INDEX)
    (tmp_path / "knowns.toml").write_text(QUESTION)
    (tmp_path / "a.txt").write_text("The Moon goes round the Earth.\n\n", encoding="utf-8")
    (tmp_path / "b.txt").write_text("Grüße", encoding="utf-8")
    return tmp_path


def test_reads_a_folder(folder: Path):
    moon = {"kind": "fact", "subject": "The Moon", "topic": "moon", "language": "en"}
    assert handmade_documents(folder) == [
        Document("a", "The Moon goes round the Earth.\n", moon),
        Document("b", "Grüße", {"kind": "language", "genre": "letter", "language": "de"}),
    ]
    assert knowns(folder) == [Known("The Moon", "planet", "The Moon goes round the", "Earth")]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('id = "b"', 'id = "a"', "two documents with the id 'a'"),
        ('file = "b.txt"', 'file = "a.txt"', "two documents from the file 'a.txt'"),
        ('kind = "language"', 'kind = "lingua"', r"'genre', 'language', 'code' or 'fact'.*document\.2\.kind"),
        ('kind = "language"', 'kind = "code"', r"'code' needs the key 'code'.*document\.2"),
        ('topic = "moon"', "", r"'fact' needs the key 'topic'.*document\.1"),
        ('topic = "moon"', 'topic = "moon"\ncode = "c"', "'fact' has no key 'code'"),
        ('topic = "moon"', 'topic = "moon"\nyear = 1', r"Extra inputs.*document\.1\.year"),
        ('language = "de"', 'language = "German"', r"document\.2\.language"),
        ('language = "de"', 'language = "en"', "English prose is of kind 'genre'"),
        ('file = "b.txt"', 'file = "c.txt"', r"No such file.*c\.txt"),
        ("[[document]]", "[[document", "cannot be read.*handmade.toml"),
        (
            'kind = "language"\ngenre = "letter"\nlanguage = "de"',
            'kind = "fact"\nsubject = "The Moon"\ntopic = "x"',
            "two documents about the subject 'The Moon'",
        ),
    ],
)
def test_a_damaged_index_is_refused_with_the_place(folder: Path, old: str, new: str, message: str):
    assert old in INDEX
    (folder / "handmade.toml").write_text(INDEX.replace(old, new))
    with pytest.raises(CorpusError) as caught:
        handmade_documents(folder)
    assert re.search(message, str(caught.value), flags=re.S)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"Gr\xfc\xdfe", "codec can't decode"), (b" \n", "it is empty"), (None, "No such file")],
)
def test_a_damaged_text_is_refused_with_its_file(folder: Path, content: bytes | None, message: str):
    if content is None:
        (folder / "b.txt").unlink()
    else:
        (folder / "b.txt").write_bytes(content)
    with pytest.raises(CorpusError, match=message) as caught:
        handmade_documents(folder)
    assert caught.value.where == str(folder / "b.txt")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('subject = "The Moon"', 'subject = "the Moon"', "no document .* is about the subject 'the Moon'"),
        ('prompt = "The Moon goes', 'prompt = "It goes', "does not contain its subject"),
        ('round the"', 'round the "', "ends with a space"),
        ('answer = "Earth"', 'answer = " Earth"', "ends with a space"),
        ('answer = "Earth"', 'answer = ""', r"known\.1\.answer"),
        ('answer = "Earth"', "", r"known\.1\.answer"),
    ],
)
def test_a_damaged_fact_is_refused_with_the_place(folder: Path, old: str, new: str, message: str):
    assert old in QUESTION
    (folder / "knowns.toml").write_text(QUESTION.replace(old, new))
    with pytest.raises(CorpusError) as caught:
        knowns(folder)
    assert re.search(message, str(caught.value), flags=re.S)
    assert "knowns.toml" in str(caught.value)


def test_a_prompt_is_asked_once(folder: Path):
    (folder / "knowns.toml").write_text(QUESTION + QUESTION)
    with pytest.raises(CorpusError, match="two facts with the prompt 'The Moon goes round the'"):
        knowns(folder)
