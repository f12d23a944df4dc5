"""The index of a Wikipedia dump: which pages stand in which of its compressed streams.

A *multistream* dump is a row of bz2 streams of about a hundred pages each, which can be decompressed alone.
Its index has one line ``offset:page id:title`` per page, where the offset is the byte the stream begins at.
"""

from __future__ import annotations

import bz2
import html
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from rwcore.errors import CorpusError

MULTISTREAM = "multistream"


@dataclass(frozen=True)
class Stream:
    """One compressed stream of a dump.

    Attributes:
        offset: Byte it begins at.
        end: Byte the next one begins at; of the last stream with pages, the size of the dump.
        last: Whether it is the last one with pages: only the end of the XML follows.
        pages: How many pages the index says are in it.
        check: `checksum` of their ids.
    """

    offset: int
    end: int
    last: bool
    pages: int
    check: int


def checksum(ids: Iterable[int]) -> int:
    """A number that two lists of page ids hardly ever share."""
    return zlib.crc32(",".join(map(str, ids)).encode())


def index_of(dump: Path) -> Path:
    """The index of a dump: the file beside it that is named as Wikimedia names it, compressed or not.

    Raises:
        CorpusError: There is no such dump, it is none of many streams, or it has no index.
    """
    if not dump.is_file():
        raise CorpusError("there is no such dump", where=str(dump), remedy="check the path")
    if MULTISTREAM not in dump.name:
        raise CorpusError(
            "only dumps of many streams can be read in parts, and this file is not named as one",
            where=str(dump),
            remedy="take …-pages-articles-multistream.xml.bz2, and its index",
        )
    name = dump.name.replace(MULTISTREAM, f"{MULTISTREAM}-index").replace(".xml", ".txt")
    for index in (dump.with_name(name), dump.with_name(name.removesuffix(".bz2"))):
        if index.is_file():
            return index
    raise CorpusError(
        "the dump is without its index",
        where=str(dump),
        remedy=f"put {name} (from where the dump is from) beside it",
    )


def listed(index: Path, dump: Path) -> Iterator[tuple[Stream, list[tuple[int, str]]]]:
    """The streams of a dump in their order, each with the ids and titles of its pages.

    The index is streamed: memory does not depend on its length.

    Raises:
        CorpusError: The index is empty or damaged (with the line), or names a byte that the dump has not.
    """
    size = dump.stat().st_size
    before: tuple[int, list[tuple[int, str]]] | None = None
    for offset, lines in groupby(_lines(index), key=itemgetter(0)):
        if offset >= size:
            raise CorpusError(
                f"the index names byte {offset}, but the dump has {size} bytes: it was cut off, or this is "
                "the index of another dump",
                where=f"{dump}, {index.name}",
                remedy="compare the size of the dump with the published one, and download what is not whole",
            )
        if before is not None:
            if offset <= before[0]:
                raise _damaged(f"byte {offset} is named after byte {before[0]}", str(index))
            yield _stream(*before, end=offset), before[1]
        before = offset, [(number, title) for _, number, title in lines]
    if before is None:
        raise _damaged("it is empty", str(index))
    yield _stream(*before, end=size, last=True), before[1]


def _stream(offset: int, pages: list[tuple[int, str]], *, end: int, last: bool = False) -> Stream:
    return Stream(offset, end, last, len(pages), checksum(number for number, _ in pages))


def _lines(index: Path) -> Iterator[tuple[int, int, str]]:
    """(offset, page id, title) of every line."""
    number = 0
    try:
        with bz2.open(index, "rb") if index.suffix == ".bz2" else index.open("rb") as lines:
            for line in lines:
                number += 1
                yield _fields(line, f"{index}: line {number}")
    except (OSError, EOFError) as error:
        raise _damaged(f"it cannot be read after line {number}: {error}", str(index)) from error


def _fields(line: bytes, where: str) -> tuple[int, int, str]:
    try:
        offset, page, title = line.decode().rstrip("\n").split(":", 2)
        # The title stands there as in the XML of the dump.
        return int(offset), int(page), html.unescape(title)
    except UnicodeDecodeError as error:
        raise _damaged(f"the line is not UTF-8: {error.reason}", where) from error
    except ValueError as error:
        raise _damaged("the line is not offset:page id:title", where) from error


def _damaged(what: str, where: str) -> CorpusError:
    return CorpusError(
        f"the index of the dump is damaged: {what}", where=where, remedy="download the index again"
    )
