"""Small dumps in the real format: a header, streams of pages, an end, and the index."""

from __future__ import annotations

import bz2
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from rwcore.attributes.dump import Page

NAME = "xxwiki-20211020-pages-articles-multistream.xml.bz2"
INDEX = "xxwiki-20211020-pages-articles-multistream-index.txt.bz2"
HEADER = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/" version="0.10" xml:lang="en">
  <siteinfo>
    <sitename>Wikipedia</sitename>
    <namespaces>
      <namespace key="0" case="first-letter" />
      <namespace key="14" case="first-letter">Category</namespace>
    </namespaces>
  </siteinfo>
"""
END = "</mediawiki>\n"


def articles(texts: dict[str, str], first: int = 10) -> list[Page]:
    """Articles with these titles and texts, and ids from ``first`` on in steps of three."""
    return [Page(title, text, first + 3 * n) for n, (title, text) in enumerate(texts.items())]


def page_xml(page: Page) -> str:
    """One page as a dump has it."""
    redirect = f"\n    <redirect title={quoteattr(page.redirect)} />" if page.redirect else ""
    size = len(page.text.encode())
    text = f'<text bytes="{size}" xml:space="preserve"' + (f">{_escape(page.text)}</text>" if size else " />")
    return f"""  <page>
    <title>{_escape(page.title)}</title>
    <ns>{page.namespace}</ns>
    <id>{page.id}</id>{redirect}
    <revision>
      <id>{page.id + 100_000}</id>
      <parentid>7</parentid>
      <timestamp>2021-10-01T00:00:00Z</timestamp>
      <contributor>
        <username>Somebody</username>
        <id>77</id>
      </contributor>
      <model>wikitext</model>
      <format>text/x-wiki</format>
      {text}
      <sha1>phoiac9h4m842xq45sp7s6u21eteeq1</sha1>
    </revision>
  </page>
"""


def _escape(text: str) -> str:
    return escape(text, {'"': "&quot;"})


def write_dump(folder: Path, pages: Iterable[Page], *, per_stream: int = 2, end: str = END) -> Path:
    """A dump and its index in a folder; the path of the dump."""
    folder.mkdir(parents=True, exist_ok=True)
    rest = iter(pages)
    with (folder / NAME).open("wb") as dump, bz2.open(folder / INDEX, "wt", encoding="utf-8") as index:
        dump.write(bz2.compress(HEADER.encode()))
        while some := list(islice(rest, per_stream)):
            # Titles stand in the index as in the XML.
            index.writelines(f"{dump.tell()}:{page.id}:{_escape(page.title)}\n" for page in some)
            dump.write(bz2.compress("".join(map(page_xml, some)).encode()))
        dump.write(bz2.compress(end.encode()))
    return folder / NAME


def offsets(dump: Path) -> list[int]:
    """Where the streams with pages begin."""
    with bz2.open(dump.with_name(INDEX), "rt", encoding="utf-8") as lines:
        return sorted({int(line.split(":")[0]) for line in lines})


def write_index(dump: Path, lines: Sequence[str]) -> None:
    """Another index for a dump."""
    with bz2.open(dump.with_name(INDEX), "wt", encoding="utf-8") as index:
        index.writelines(f"{line}\n" for line in lines)


def index_lines(dump: Path) -> list[str]:
    """The lines of a dump's index."""
    with bz2.open(dump.with_name(INDEX), "rt", encoding="utf-8") as index:
        return index.read().splitlines()
