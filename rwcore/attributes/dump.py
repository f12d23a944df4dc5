"""The pages of a Wikipedia dump, one compressed stream at a time.

A stream is decompressed and parsed piece by piece, so that memory depends on the longest page only; and it is
checked: what is read is what the index says stands there, to the end.
"""

from __future__ import annotations

import bz2
import xml.etree.ElementTree as ElementTree
import xml.parsers.expat.errors as expat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rwcore.ablation.compare import AS_PUBLISHED
from rwcore.attributes.dump_index import Stream, checksum
from rwcore.errors import CorpusError

MAGIC = b"BZh"
_PIECE = 1 << 18  # bytes read at a time
_UNPACKED = 1 << 20  # bytes decompressed at a time
_UNFINISHED = [expat.codes[text] for text in (expat.XML_ERROR_NO_ELEMENTS, expat.XML_ERROR_UNCLOSED_TOKEN)]


@dataclass(frozen=True)
class Page:
    """One page of a source.

    Attributes:
        title: Its title.
        text: Its text; wikitext if it is from a dump.
        id: Its number in the dump.
        namespace: 0 for articles.
        redirect: Title of the page that it only points to.
    """

    title: str
    text: str
    id: int = 0
    namespace: int = 0
    redirect: str | None = None


def is_article(page: Page, convention: str) -> bool:
    """Whether a page is one that passages are taken from.

    Args:
        page: The page.
        convention: ``fixed``: an article with a text of its own. ``as_published``: any page with a text and
            without a colon in its title, so that redirects count and ``2001: A Space Odyssey`` does not.
    """
    if convention == AS_PUBLISHED:
        return bool(page.text) and ":" not in page.title
    return bool(page.text) and page.namespace == 0 and page.redirect is None


def read_stream(dump: Path, stream: Stream) -> Iterator[Page]:
    """The pages of one stream.

    Raises:
        CorpusError: The dump is not compressed with bz2, cut off or damaged (with the last page that was
            read), or the index belongs to another dump.
    """
    ids: list[int] = []
    title = ""
    # A stream is a part of the document without its root.
    parser: ElementTree.XMLPullParser[ElementTree.Element] = ElementTree.XMLPullParser(("end",))
    parser.feed(b"<mediawiki>")
    try:
        for data in _unpacked(dump, stream):
            parser.feed(data)
            for page in _pages(parser):
                ids.append(page.id)
                title = page.title
                yield page
        if not stream.last:
            parser.feed(b"</mediawiki>")
        parser.close()
    except EOFError as error:
        raise _cut_off(dump, stream, title) from error
    except ElementTree.ParseError as error:
        if error.code in _UNFINISHED:
            raise _cut_off(dump, stream, title) from error
        raise _damaged(f"its XML is: {error}", dump, stream, title) from error
    except (OSError, ValueError, TypeError) as error:
        raise _damaged(str(error), dump, stream, title) from error
    if len(ids) != stream.pages or checksum(ids) != stream.check:
        raise _other_index(
            f"the stream has {len(ids)} pages and the index names {stream.pages}, or others", dump, stream
        )


def _unpacked(dump: Path, stream: Stream) -> Iterator[bytes]:
    """What a stream holds, piece by piece; the last one with all that follows it.

    Raises:
        EOFError: The file ends before the stream does.
        OSError: The file cannot be read, or the compressed data are damaged.
    """
    with dump.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            what, remedy = "the dump is not compressed with bz2", "take a dump whose name ends with .xml.bz2"
            raise CorpusError(what, where=str(dump), remedy=remedy)
        file.seek(stream.offset)
        if not MAGIC.startswith(file.read(len(MAGIC))):  # less than that, where the dump is cut off
            raise _other_index("no stream begins there", dump, stream)
        file.seek(stream.offset)
        unpacker, left = bz2.BZ2Decompressor(), stream.end - stream.offset
        data = b""
        while True:
            if not data and (unpacker.needs_input or unpacker.eof):
                data = file.read(min(left, _PIECE))
                left -= len(data)
            if unpacker.eof:
                if not data:
                    return
                if not stream.last:
                    raise _other_index("the stream ends before the next one begins", dump, stream)
                unpacker = bz2.BZ2Decompressor()
            elif unpacker.needs_input and not data:
                if stream.last:
                    raise EOFError
                raise _other_index("the stream goes on where the next one should begin", dump, stream)
            yield unpacker.decompress(data, _UNPACKED)
            data = unpacker.unused_data


def _pages(parser: ElementTree.XMLPullParser[ElementTree.Element]) -> Iterator[Page]:
    """The pages that were completed since the last call."""
    events: Iterator[Any] = parser.read_events()
    for _, element in events:
        if element.tag == "page":
            redirect = element.find("redirect")
            yield Page(
                title=element.findtext("title", ""),
                text=element.findtext("revision/text") or "",
                id=int(element.findtext("id", "")),
                namespace=int(element.findtext("ns", "")),
                redirect=None if redirect is None else redirect.get("title"),
            )
            element.clear()


def _place(dump: Path, stream: Stream, title: str) -> str:
    return f"{dump}: byte {stream.offset}, " + (f"after the page {title!r}" if title else "at its beginning")


def _cut_off(dump: Path, stream: Stream, title: str) -> CorpusError:
    return CorpusError(
        "the dump is cut off in the middle of a stream",
        where=_place(dump, stream, title),
        remedy="compare its size with the published one, and go on with its download",
    )


def _damaged(what: str, dump: Path, stream: Stream, title: str) -> CorpusError:
    return CorpusError(
        f"the dump is damaged: {what}", where=_place(dump, stream, title), remedy="download the dump again"
    )


def _other_index(what: str, dump: Path, stream: Stream) -> CorpusError:
    return CorpusError(
        f"the index is not that of this dump: {what}",
        where=f"{dump}: byte {stream.offset}",
        remedy="download the dump and its index again, of the same date",
    )
