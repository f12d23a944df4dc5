"""Our own texts: the labelled documents of ``handmade/``, and what a reader of them knows."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from rwcore.corpora.documents import Document
from rwcore.errors import CorpusError

HANDMADE = Path(__file__).with_name("handmade")
INDEX, KNOWNS = "handmade.toml", "knowns.toml"
KINDS = ("genre", "language", "code", "fact")

# The keys of each kind of document in the index, all of them needed.
KEYS = {
    "genre": {"genre"},
    "language": {"genre", "language"},
    "code": {"code"},
    "fact": {"subject", "topic"},
}
ENGLISH = "en"

Word = Annotated[str, Field(min_length=1)]


@dataclass(frozen=True)
class Known:
    """A fact that a document states, as a prompt whose next word is the answer.

    Attributes:
        subject: Whom or what it is about; the ``subject`` label of the document that states it. The prompt
            contains it in this spelling.
        relation: What is asked about the subject (``capital``, ``discoverer``, …).
        prompt: Beginning of a sentence, without a space at either end.
        answer: How the sentence goes on, without a space at either end; the document contains it.
    """

    subject: str
    relation: str
    prompt: str
    answer: str


class _Entry(BaseModel):
    """One ``[[document]]`` of handmade.toml."""

    model_config = ConfigDict(extra="forbid", strict=True)

    id: Word
    file: Word
    kind: Literal[KINDS]  # type: ignore[valid-type]
    genre: Word | None = None
    language: Annotated[str, Field(pattern="^[a-z]{2}$")] | None = None
    code: Word | None = None
    subject: Word | None = None
    topic: Word | None = None

    @model_validator(mode="after")
    def _fits_its_kind(self) -> _Entry:
        given = self.model_dump(exclude={"id", "file", "kind"}, exclude_none=True).keys()
        for key in sorted(KEYS[self.kind] ^ given):
            has = "has no" if key in given else "needs the"
            raise ValueError(f"a document of kind {self.kind!r} {has} key {key!r}")
        if self.language == ENGLISH:
            raise ValueError("English prose is of kind 'genre'")
        return self

    def labels(self) -> dict[str, str]:
        """What is said about the text; all prose has a language."""
        labels: dict[str, str] = self.model_dump(exclude={"id", "file"}, exclude_none=True)
        return labels if self.kind == "code" else {"language": ENGLISH, **labels}


class _Index(BaseModel):
    """All of handmade.toml."""

    model_config = ConfigDict(extra="forbid", strict=True)

    document: list[_Entry]


class _Known(BaseModel):
    """One ``[[known]]`` of knowns.toml."""

    model_config = ConfigDict(extra="forbid", strict=True)

    subject: Word
    relation: Word
    prompt: Word
    answer: Word


class _Knowns(BaseModel):
    """All of knowns.toml."""

    model_config = ConfigDict(extra="forbid", strict=True)

    known: list[_Known]


_File = TypeVar("_File", _Index, _Knowns)


def handmade_documents(folder: Path = HANDMADE) -> list[Document]:
    """Our own texts, in the order of their index; every one belongs to this project and may be shipped.

    Their labels: ``kind`` is ``genre`` (English prose and verse of many sorts), ``language`` (prose in other
    languages), ``code`` or ``fact`` (a paragraph about one subject). By kind there are also ``genre``,
    ``language`` (ISO 639-1, of all prose), ``code`` (the programming language), ``subject`` and ``topic``.

    Args:
        folder: A folder with ``handmade.toml`` and the files it names.

    Raises:
        CorpusError: The index is damaged or has an id or file twice, or a file is missing, empty or not
            UTF-8.
    """
    index = folder / INDEX
    entries = _read(_Index, index).document
    _refuse_twice("documents with the id", (entry.id for entry in entries), index)
    _refuse_twice("documents from the file", (entry.file for entry in entries), index)
    subjects = (entry.subject for entry in entries if entry.subject is not None)
    _refuse_twice("documents about the subject", subjects, index)
    return [Document(entry.id, _text(folder / entry.file), entry.labels()) for entry in entries]


def knowns(folder: Path = HANDMADE) -> list[Known]:
    """What the documents of kind ``fact`` state, in the order of the file.

    Args:
        folder: A folder with ``handmade.toml`` and ``knowns.toml``.

    Raises:
        CorpusError: A file is damaged, a prompt does not contain its subject or stands there twice, or no
            document is about the subject.
    """
    path = folder / KNOWNS
    entries = _read(_Knowns, path).known
    _refuse_twice("facts with the prompt", (entry.prompt for entry in entries), path)
    subjects = {entry.subject for entry in _read(_Index, folder / INDEX).document}
    for number, entry in enumerate(entries, start=1):
        wrong = None
        if entry.subject not in subjects:
            wrong = f"no document of {INDEX} is about the subject {entry.subject!r}"
        elif entry.subject not in entry.prompt:
            wrong = f"the prompt {entry.prompt!r} does not contain its subject {entry.subject!r}"
        elif entry.prompt != entry.prompt.strip() or entry.answer != entry.answer.strip():
            wrong = f"the prompt {entry.prompt!r} or its answer begins or ends with a space"
        if wrong:
            raise _damaged(wrong, f"{path}: known {number}")
    return [Known(**entry.model_dump()) for entry in entries]


def _read(schema: type[_File], path: Path) -> _File:
    try:
        return schema.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise _damaged(f"it cannot be read: {error}", str(path)) from error
    except ValidationError as error:
        first = error.errors()[0]
        # People count from 1.
        key = ".".join(str(part + 1) if isinstance(part, int) else part for part in first["loc"])
        raise _damaged(first["msg"], f"{path}: {key}") from error


def _text(path: Path) -> str:
    """A file's text without the line break at its end."""
    try:
        text = path.read_text(encoding="utf-8").removesuffix("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise _damaged(f"it cannot be read: {error}", str(path)) from error
    if not text.strip():
        raise _damaged("it is empty", str(path))
    return text


def _refuse_twice(what: str, names: Iterable[str], path: Path) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise _damaged(f"there are two {what} {name!r}", str(path))
        seen.add(name)


def _damaged(what: str, where: str) -> CorpusError:
    return CorpusError(
        f"our own texts are damaged: {what}",
        where=where,
        remedy="install rwcore again; in a checkout, see the keys at the top of the file",
    )
