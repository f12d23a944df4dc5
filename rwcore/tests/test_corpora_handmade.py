"""The texts of ``handmade/``: enough of everything, clean, and each what its label says."""

from __future__ import annotations

import ast
import json
import re
import shutil
import sqlite3
import subprocess
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import combinations
from pathlib import Path

import pytest

from rwcore.corpora.documents import Document
from rwcore.corpora.own_texts import HANDMADE, Known, handmade_documents, knowns

DOCUMENTS = handmade_documents()
BY_ID = {document.id: document for document in DOCUMENTS}
KNOWNS = knowns()

# Letters beyond ASCII that a language's spelling has, and words no page of it does without.
# fmt: off
LETTERS = {
    "de": "äöüß", "fr": "àâæçéèêëîïôœùûüÿ", "es": "áéíñóúü", "it": "àèéìíòùú", "pt": "àáâãçéêíóôõú",
    "nl": "áèéëïóöü", "pl": "ąćęłńóśźż", "sv": "åäöé",
}
FREQUENT = {
    "de": ["und", "der", "ist", "nicht", "ein"], "fr": ["et", "les", "une", "est", "dans"],
    "es": ["y", "los", "una", "el", "con"], "it": ["il", "che", "di", "è", "per"],
    "pt": ["e", "os", "uma", "não", "com"], "nl": ["het", "een", "niet", "en", "van"],
    "pl": ["i", "w", "się", "na", "do"], "sv": ["och", "att", "det", "inte", "en"],
    "ru": ["и", "в", "не", "на", "что"], "en": ["the", "of", "and", "is", "was"],
}
# fmt: on


def of_kind(kind: str) -> list[Document]:
    return [document for document in DOCUMENTS if document.labels["kind"] == kind]


def names(documents: list[Document]) -> list[str]:
    return [document.id for document in documents]


def words(text: str) -> list[str]:
    return re.findall(r"[^\W\d_]+", text.lower())


# --- what is there


def test_there_is_as_much_of_everything_as_later_studies_need():
    assert sum(len(document.text.encode()) for document in DOCUMENTS) >= 90_000
    assert len({document.labels["genre"] for document in of_kind("genre")}) >= 14
    assert len({document.labels["code"] for document in of_kind("code")}) >= 9
    assert len({document.labels["topic"] for document in of_kind("fact")}) >= 8
    assert len(of_kind("fact")) >= 38
    several = Counter(document.labels["code"] for document in of_kind("code"))
    assert sum(count >= 2 for count in several.values()) >= 7
    assert len(KNOWNS) >= 120


def test_every_language_has_two_documents_and_1500_bytes():
    sizes, counts = Counter[str](), Counter[str]()
    for document in of_kind("language"):
        sizes[document.labels["language"]] += len(document.text.encode())
        counts[document.labels["language"]] += 1
    assert set(sizes) == {"de", "fr", "es", "it", "pt", "nl", "pl", "sv", "ru"}
    assert min(sizes.values()) >= 1500
    assert set(counts.values()) == {2}


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        ("genre", {"kind", "genre", "language"}),
        ("language", {"kind", "genre", "language"}),
        ("code", {"kind", "code"}),
        ("fact", {"kind", "subject", "topic", "language"}),
    ],
)
def test_documents_have_the_labels_of_their_kind(kind: str, keys: set[str]):
    assert of_kind(kind)
    for document in of_kind(kind):
        assert document.labels.keys() == keys, document.id
        if kind in ("genre", "fact"):
            assert document.labels["language"] == "en"


def test_every_file_of_the_folder_is_a_document():
    index = (HANDMADE / "handmade.toml").read_text(encoding="utf-8")
    listed = sorted(re.findall(r'^file = "(.*)"$', index, flags=re.M))
    there = sorted(path.relative_to(HANDMADE).as_posix() for path in HANDMADE.rglob("*.txt"))
    assert listed == there
    assert len(DOCUMENTS) == len(there)


@pytest.mark.parametrize("document", DOCUMENTS, ids=names(DOCUMENTS))
def test_text_is_clean(document: Document):
    text = document.text
    assert unicodedata.is_normalized("NFC", text)
    # Control characters, odd spaces, byte order marks, the sign of a failed decoding.
    odd = {c for c in text if not c.isprintable() and c != "\n"} | ({"\ufffd"} & set(text))
    assert not odd
    assert text == text.strip()
    assert not re.search(r"[ \t]\n|\n{4}", text)


def test_no_two_documents_share_a_passage():
    def passages(text: str) -> set[tuple[str, ...]]:
        found = words(text)
        return {tuple(found[i : i + 9]) for i in range(len(found) - 8)}

    of_document = {document.id: passages(document.text) for document in DOCUMENTS}
    shared = [(a, b) for a, b in combinations(of_document, 2) if of_document[a] & of_document[b]]
    assert shared == []
    # The same test does find a copy of half a document.
    copied = BY_ID["story-clock"].text[1000:] + BY_ID["story-tide"].text[:500]
    assert passages(copied) & of_document["story-clock"]


# --- languages


def guess(text: str) -> str:
    """The language whose most frequent words make up the largest share of a text."""
    counts = Counter(words(text))
    return max(FREQUENT, key=lambda language: sum(counts[word] for word in FREQUENT[language]))


@pytest.mark.parametrize("document", [d for d in DOCUMENTS if "language" in d.labels], ids=lambda d: d.id)
def test_words_are_of_the_labelled_language(document: Document):
    assert guess(document.text) == document.labels["language"]


@pytest.mark.parametrize("document", of_kind("language"), ids=names(of_kind("language")))
def test_letters_are_of_the_labelled_language(document: Document):
    letters = {c for c in document.text.lower() if c.isalpha()}
    foreign = {c for c in letters if not c.isascii()}
    language = document.labels["language"]
    if language == "ru":
        assert all("CYRILLIC" in unicodedata.name(c) for c in letters)
        return
    assert foreign <= set(LETTERS[language])
    # Dutch may do without them for a page; the others cannot.
    assert len(foreign) >= {"nl": 0, "de": 3, "sv": 3}.get(language, 4)


def test_only_names_in_english_have_letters_of_other_languages():
    foreign = {
        word
        for document in [*of_kind("genre"), *of_kind("fact")]
        for word in re.findall(r"[^\W\d_]+", document.text)
        if not word.isascii()
    }
    assert {"Māori", "Skłodowska"} <= foreign
    assert all(word[0].isupper() for word in foreign)


# --- code: every checker takes our file and refuses the same file cut off


class BadCode(Exception):
    """What a checker raises."""


def tool(name: str) -> str:
    """The path of a compiler or interpreter that works; skips the test if there is none."""
    path = shutil.which(name)
    works = path and subprocess.run([path, "--version"], capture_output=True, check=False).returncode == 0
    if path is None or not works:
        pytest.skip(f"{name} is not here")
    return path


def by_tool(name: str, *options: str, file: str) -> Callable[[str, Path], None]:
    def check(code: str, folder: Path) -> None:
        command = [tool(name), *options, file]
        (folder / file).write_text(code, encoding="utf-8")
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=60)
        if done.returncode:
            raise BadCode(done.stderr)

    return check


def check_python(code: str, folder: Path) -> None:
    try:
        ast.parse(code)
    except SyntaxError as error:
        raise BadCode(str(error)) from error


def check_json(code: str, folder: Path) -> None:
    try:
        json.loads(code)
    except json.JSONDecodeError as error:
        raise BadCode(str(error)) from error


def check_sql(code: str, folder: Path) -> None:
    if not sqlite3.complete_statement(code):
        raise BadCode("the last statement is not complete")
    sqlite3.connect(":memory:").executescript(code)


def check_latex(code: str, folder: Path) -> None:
    open_now: list[str] = []
    for which, name in re.findall(r"\\(begin|end)\{(\w+)\}", code):
        if which == "begin":
            open_now.append(name)
        elif not open_now or open_now.pop() != name:
            raise BadCode(f"\\end{{{name}}} ends nothing")
    bare = re.sub(r"\\[{}$]", "", code)
    if open_now or bare.count("{") != bare.count("}") or bare.count("$") % 2:
        raise BadCode("something is left open")


CHECKS: Mapping[str, Callable[[str, Path], None]] = {
    "python": check_python,
    "json": check_json,
    "sql": check_sql,
    "latex": check_latex,
    "shell": by_tool("bash", "-n", file="code.sh"),
    "javascript": by_tool("node", "--check", file="code.mjs"),
    "c": by_tool("gcc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", file="code.c"),
    "rust": by_tool("rustc", "--edition=2021", "-Dwarnings", "--emit=metadata", file="code.rs"),
    "java": by_tool("javac", "-d", "out", file="Garden.java"),
}


@pytest.mark.parametrize("document", of_kind("code"), ids=names(of_kind("code")))
def test_code_is_code_of_the_labelled_language(document: Document, tmp_path: Path):
    check = CHECKS[document.labels["code"]]
    check(document.text + "\n", tmp_path)
    bracket = next(re.compile(r"[({\[]").finditer(document.text, len(document.text) * 3 // 5))
    with pytest.raises(BadCode):
        check(document.text[: bracket.end()], tmp_path)


def test_python_does_what_it_says():
    space: dict[str, object] = {"__name__": "ours"}
    exec(BY_ID["python-scheduler"].text, space)
    schedule, cycle = space["schedule"], space["CycleError"]
    assert schedule({"roof": {"walls"}, "walls": {"floor"}, "floor": set()}) == ["floor", "walls", "roof"]
    with pytest.raises(cycle, match="a, b"):
        schedule({"a": {"b"}, "b": {"a"}})
    exec(BY_ID["python-roman"].text, space)
    assert space["to_roman"](1987) == "MCMLXXXVII"
    assert all(space["from_roman"](space["to_roman"](n)) == n for n in range(1, 4000))


def test_sql_does_what_it_says():
    statements = BY_ID["sql-library"].text.split(";\n")
    connection = sqlite3.connect(":memory:")
    results = [connection.execute(statement).fetchall() for statement in statements]
    assert results[-2:] == [
        [("Femi Adeyemi", 1), ("Ottilie Grant", 1), ("Lars Quist", 0)],
        [("Frankenstein", "Femi Adeyemi", 46), ("Middlemarch", "Ottilie Grant", 29)],
    ]


# --- facts


@pytest.mark.parametrize("document", of_kind("fact"), ids=names(of_kind("fact")))
def test_fact_is_one_paragraph_about_its_subject(document: Document):
    assert "\n" not in document.text
    assert 80 <= len(document.text.split()) <= 150
    assert document.labels["subject"] in document.text
    asked = [known for known in KNOWNS if known.subject == document.labels["subject"]]
    assert len(asked) >= 3
    assert len({known.relation for known in asked}) == len(asked)


@pytest.mark.parametrize("known", KNOWNS, ids=lambda known: f"{known.subject}: {known.relation}")
def test_the_paragraph_states_what_is_asked(known: Known):
    (document,) = (d for d in of_kind("fact") if d.labels["subject"] == known.subject)
    assert re.search(rf"\b{re.escape(known.answer)}\b", document.text)
    assert known.subject in known.prompt
    assert known.answer.lower() not in words(known.prompt)
    assert not re.search(r"\s\s|[.?!]$", known.prompt)


def test_there_are_many_relations_and_answers():
    assert len({known.relation for known in KNOWNS}) >= 40
    assert Counter(known.answer for known in KNOWNS).most_common(1)[0][1] <= 4
