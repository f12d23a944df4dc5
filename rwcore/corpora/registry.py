"""Names of corpora: the registry of ``corpora.toml``, and paths."""

from __future__ import annotations

import difflib
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from rwcore.corpora.spec import FILE, HUB, LONGEST_ROW, CorpusSpec
from rwcore.errors import CorpusError, OptionError
from rwcore.models.registry_file import RegistryFile

CORPORA_TOML = Path(__file__).with_name("corpora.toml")
TOKENS = "tokens.safetensors"
"""The file of a corpus that is tokenised."""

Positive = Annotated[int, Field(gt=0)]


class _Published(BaseModel):
    """The key ``published`` of a ``[[corpus]]``."""

    model_config = ConfigDict(extra="forbid", strict=True)

    rows: Annotated[list[Positive], Field(min_length=1)]
    tokens: Annotated[list[Positive], Field(min_length=2, max_length=2)]
    mean_length: Annotated[float, Field(gt=0)]
    longest: Positive


class _Entry(BaseModel):
    """One ``[[corpus]]`` of corpora.toml."""

    model_config = ConfigDict(extra="forbid", strict=True)

    id: Annotated[str, Field(min_length=1)]
    source: Literal["hub", "handmade", "python-topics"]
    location: str = ""
    revision: str | None = None
    split: str = "train"
    text_field: str = "text"
    files: list[str] = []
    labels: dict[str, str] = {}
    where: dict[str, str] = {}
    shuffle_seed: Annotated[int, Field(ge=0)] | None = None
    shuffle: Literal["generator", "legacy"] = "generator"
    straight_quotes: bool = False
    documents: Positive | None = None
    tokens: Positive | None = None
    max_length: Positive | None = None
    overflow: bool = False
    full_rows: bool = False
    bos: Literal["model", "none", "eot"]
    layout: Literal["ragged", "packed"]
    separator: Literal["none", "eot"] = "none"
    tokenizer: str | None = None
    published: _Published | None = None
    aliases: list[str] = []
    about: Annotated[str, Field(min_length=1)]

    def spec(self) -> CorpusSpec:
        """The entry as a corpus spec."""
        return CorpusSpec.from_recipe(self.model_dump(exclude={"aliases", "about", "published"}))


class _File(BaseModel):
    """All of corpora.toml."""

    model_config = ConfigDict(extra="forbid", strict=True)

    corpus: list[_Entry]


@dataclass(frozen=True)
class Published:
    """What a paper says of the rows of a corpus, as made with its own tokenizer.

    Attributes:
        rows: Numbers of rows that were published; any of them.
        tokens: Least and most tokens.
        mean_length: Tokens per row, to one decimal.
        longest: Tokens of the longest row.
    """

    rows: tuple[int, ...]
    tokens: tuple[int, int]
    mean_length: float
    longest: int


@dataclass(frozen=True)
class CorpusRegistry:
    """The corpora of a ``corpora.toml``.

    Attributes:
        corpora: Registry id → spec, in the order of the file.
        names: Everything a corpus answers to, in lower case → its id.
        about: Registry id → one line for people.
        published: Registry id → what a paper says of its rows, where it does.
    """

    corpora: dict[str, CorpusSpec]
    names: dict[str, str]
    about: dict[str, str]
    published: dict[str, Published]


def read_registry(path: Path = CORPORA_TOML) -> CorpusRegistry:
    """Read and check a registry file.

    Raises:
        CorpusError: The file is not TOML, a key is missing, unknown or of the wrong type, keys contradict
            each other, or two corpora answer to one name; the message names the file and the key.
    """
    file = RegistryFile(path, "corpus", "corpora", CorpusError)
    entries = file.read(_File).corpus
    names = file.names((one.id, (one.id, *one.aliases)) for one in entries)
    corpora = {entry.id: _spec(entry, file) for entry in entries}
    about = {entry.id: entry.about for entry in entries}
    said = {entry.id: _published(entry.published) for entry in entries if entry.published is not None}
    return CorpusRegistry(corpora, names, about, said)


def _published(entry: _Published) -> Published:
    low, high = entry.tokens
    return Published(tuple(entry.rows), (low, high), entry.mean_length, entry.longest)


def _spec(entry: _Entry, file: RegistryFile) -> CorpusSpec:
    """The entry's spec, with errors that name the file."""
    if (entry.source == HUB) != bool(entry.location):
        needs = "needs" if entry.source == HUB else "has no"
        raise file.invalid(f"the source {entry.source!r} {needs} location", f"{entry.id}: location")
    try:
        return entry.spec()
    except OptionError as error:
        raise CorpusError(error.what, where=f"{file.path}: {error.where}", remedy=error.remedy) from error


@functools.cache
def _registry() -> CorpusRegistry:
    return read_registry()


def registry() -> dict[str, CorpusSpec]:
    """Every registered corpus by id, in the order of ``corpora.toml``."""
    return dict(_registry().corpora)


def about(corpus: str) -> str:
    """One line that says what a registered corpus is."""
    return _registry().about[corpus]


def published(corpus: str) -> Published | None:
    """What a paper says of the rows of a registered corpus; None if none does."""
    return _registry().published.get(corpus)


def find(text: str) -> CorpusSpec:
    """The corpus a user means. Nothing is downloaded or read.

    In this order: a registry id or alias in any case; a text, JSONL or Parquet file, or a folder of them.
    Write ``./name`` for a file whose name is also a registered one. Of a file every token is used: rows of
    at most `rwcore.corpora.spec.LONGEST_ROW` tokens, longer documents in several rows.

    Raises:
        CorpusError: It is none of these, and the message suggests similar names; or it is a folder of
            tokens, as ``rwcore corpus make`` writes it.
    """
    text = text.strip()
    known = _registry().names.get(text.lower())
    if known is not None:
        return _registry().corpora[known]
    path = Path(text).expanduser()
    if text and (path / TOKENS).is_file():
        raise CorpusError(
            f"{text!r} holds rows of tokens that were made of a corpus, no texts",
            where=str(path.absolute()),
            remedy="name the corpus that corpus.json names; its rows are taken from the cache",
        )
    if text and path.exists():
        name = text.rstrip("/") or text
        location = str(path.resolve())
        return CorpusSpec(name, FILE, location, max_length=LONGEST_ROW, overflow=True)
    names = _registry().names
    close = difflib.get_close_matches(text.lower(), names, n=3)
    suggestion = " or ".join(dict.fromkeys(names[name] for name in close))
    raise CorpusError(
        f"unknown corpus {text!r}: it is neither registered nor a file or folder",
        where=str(path.absolute()),
        remedy=(f"did you mean {suggestion}? " if suggestion else "")
        + f"registered are {', '.join(_registry().corpora)}; others are given as a path",
    )
