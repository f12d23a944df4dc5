"""Where passages come from: a Wikipedia dump, a file of documents, or our own texts."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Protocol, runtime_checkable

from rwcore.attributes.dump import MAGIC, Page, read_stream
from rwcore.attributes.dump_index import Stream, index_of, listed
from rwcore.corpora.documents import Document, documents, source_identity
from rwcore.corpora.spec import FILE, HANDMADE, CorpusSpec
from rwcore.errors import CorpusError, OptionError
from rwcore.store import hash_file

LINES = ".jsonl"

Part = tuple[Stream, ...]
"""A part of a source that can be read alone; documents are read in one, without streams."""


@runtime_checkable
class PassageSource(Protocol):
    """Something with pages."""

    @property
    def wikitext(self) -> bool:
        """Whether the pages are written in wikitext."""
        ...

    def identity(self) -> dict[str, object]:
        """What decides the pages, for keys of artefacts."""
        ...

    def parts(self, streams: int) -> Iterator[Part]:
        """The parts of the source, of so many streams each."""
        ...

    def read(self, part: Part) -> Iterator[Page]:
        """The pages of one part."""
        ...

    def titled(self, titles: Collection[str]) -> Iterator[Page]:
        """The pages that have one of these titles, spelled as `title_of` spells them."""
        ...


@dataclass(frozen=True)
class DumpSource:
    """A Wikipedia dump of many streams, with its index beside it.

    Attributes:
        dump: The dump.
        index: Its index.
    """

    dump: Path
    index: Path

    @property
    def wikitext(self) -> bool:
        """It is."""
        return True

    def identity(self) -> dict[str, object]:
        """The size of the dump, which takes long to read, and a hash of its index."""
        return {"dump": self.dump.stat().st_size, "index": hash_file(self.index)}

    def parts(self, streams: int) -> Iterator[Part]:
        """The parts of the dump; only the index is read."""
        found = (stream for stream, _ in listed(self.index, self.dump))
        while part := tuple(islice(found, streams)):
            yield part

    def read(self, part: Part) -> Iterator[Page]:
        """The pages of one part."""
        for stream in part:
            yield from read_stream(self.dump, stream)

    def titled(self, titles: Collection[str]) -> Iterator[Page]:
        """The pages that have one of these titles; only streams that the index names for them are read."""
        for stream, pages in listed(self.index, self.dump):
            wanted = {number: title for number, title in pages if title in titles}
            if wanted:
                for page in read_stream(self.dump, stream):
                    if page.title != wanted.get(page.id, page.title):
                        raise CorpusError(
                            f"page {page.id} is {page.title!r}, but {wanted[page.id]!r} in the index",
                            where=f"{self.dump}: byte {stream.offset}",
                            remedy="download the dump and its index again, of the same date",
                        )
                    if page.id in wanted:
                        yield page


@dataclass(frozen=True)
class DocumentSource:
    """Documents in plain text, each with a title.

    Attributes:
        corpus: The corpus they are.
        title: The label that is their title; documents of our own texts without it are about no subject.
    """

    corpus: CorpusSpec
    title: str

    @property
    def wikitext(self) -> bool:
        """It is not."""
        return False

    def identity(self) -> dict[str, object]:
        """A hash of the texts."""
        return {"documents": source_identity(self.corpus)}

    def parts(self, streams: int) -> Iterator[Part]:
        """One part with everything."""
        yield ()

    def read(self, part: Part) -> Iterator[Page]:
        """All documents."""
        for document in documents(self.corpus):
            if self.title in document.labels:
                yield Page(document.labels[self.title], document.text)
            elif self.corpus.source == FILE:
                raise self._untitled(document)

    def titled(self, titles: Collection[str]) -> Iterator[Page]:
        """The documents that have one of these titles."""
        named = (replace(page, title=title_of(page.title)) for page in self.read(()))
        return (page for page in named if page.title in titles)

    def _untitled(self, document: Document) -> CorpusError:
        return CorpusError(
            f"the document has no field {self.title!r}, or one that is no short text",
            where=f"{self.corpus.location}: {document.id}",
            remedy='write one object per line, as {"title": "…", "text": "…"}',
        )


def title_of(subject: str) -> str:
    """The title MediaWiki makes of a name: single spaces, and the first letter in upper case."""
    name = " ".join(subject.replace("_", " ").split())
    first = name[:1].upper()
    # MediaWiki keeps a letter whose upper case is two.
    return (first if len(first) == 1 else name[:1]) + name[1:]


def open_source(text: str) -> PassageSource:
    """The source a user names: ``handmade``, a ``.jsonl`` file of documents with titles, or a dump.

    Raises:
        OptionError: It is none of these.
        CorpusError: The dump has no index.
    """
    if text == HANDMADE:
        return DocumentSource(CorpusSpec(HANDMADE, HANDMADE), "subject")
    path = Path(text).expanduser()
    if not path.is_file():
        raise _unknown(f"there is no file {text!r}", path)
    if path.suffix.lower() == LINES:
        return DocumentSource(CorpusSpec(text, FILE, str(path.resolve())), "title")
    if path.name.endswith((".bz2", ".xml")) or _begins(path) == MAGIC:
        return DumpSource(path.resolve(), index_of(path.resolve()))
    raise _unknown(f"{path.name!r} is neither a dump nor a file of documents", path)


def _begins(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(len(MAGIC))


def _unknown(what: str, path: Path) -> OptionError:
    return OptionError(
        what,
        where=f"--passages {path}",
        remedy=f"use {HANDMADE}, FILE{LINES} or a dump (…-pages-articles-multistream.xml.bz2)",
    )
