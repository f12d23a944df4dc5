"""Paragraphs of a page, as plain text.

Wikitext is read by mwparserfromhell (the original used wikiextractor, which nobody maintains). In the
published convention a page is split first and its parts are cleaned one by one, as in the original, so that
of what reaches over a blank line the halves are left; in the fixed one sections are read as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from rwcore.ablation.compare import AS_PUBLISHED
from rwcore.attributes.dump import Page
from rwcore.attributes.passages import Passage
from rwcore.extras import WIKI, extra_library

_BLANK = re.compile(r"\n[^\S\n]*\n")
_HEADING = re.compile(r"^(?P<depth>={1,6})(?P<title>[^\n]+?)(?P=depth)(?:\s|<!--.*?-->)*?$", re.MULTILINE)
_SWITCH = re.compile(r"__[A-Z]+__")  # __NOTOC__
_NO_LINKS = ("file", "image", "media", "category")
_NO_TEXT = (
    *("categorytree", "ce", "chem", "gallery", "graph", "hiero", "imagemap", "indicator", "inputbox"),
    *("mapframe", "maplink", "math", "ref", "references", "score", "section", "style", "table"),
    *("templatedata", "templatestyles", "timeline"),
)


def paragraphs(
    page: Page, *, wikitext: bool, convention: str, worth: Callable[[str], bool] = bool
) -> Iterator[Passage]:
    """The paragraphs of a page, split at blank lines and titled by their sections; empty ones are dropped.

    Args:
        page: The page.
        wikitext: Whether its text is wikitext; plain text has no sections, and nothing to clean.
        convention: ``as_published``: a part that begins with ``=`` is a heading as deep as half the number of
            ``=`` in its first line, wherever they stand, and only such a part. ``fixed``: headings are what
            MediaWiki takes for them.
        worth: Says of the title and wikitext of a section whether it is to be read, which takes thirty times
            as long as searching it; used by the fixed convention.
    """
    if not wikitext:
        yield from _split(page.text, page.title)
    elif convention == AS_PUBLISHED:
        yield from _part_by_part(page)
    else:
        for title, section in _sections(page):
            if worth(f"{title}\n{section}"):
                yield from _split(cleaned(section), title)


def _sections(page: Page) -> Iterator[tuple[str, str]]:
    """Title and wikitext of every section; nothing of wikitext reaches over a heading."""
    titles, start = [page.title], 0
    for heading in _HEADING.finditer(page.text):
        yield ". ".join(titles), page.text[start : heading.start()]
        titles = _below(titles, len(heading["depth"]), _line(cleaned(heading["title"])))
        start = heading.end()
    yield ". ".join(titles), page.text[start:]


def _part_by_part(page: Page) -> Iterator[Passage]:
    titles = [page.title]
    for part in _BLANK.split(page.text):
        chunk = part.strip("\n")
        if chunk.startswith("="):
            heading, _, chunk = chunk.partition("\n")
            titles = _below(titles, heading.count("=") // 2, heading.strip("= "))
        text = _line(cleaned(chunk))
        if text:
            yield Passage(". ".join(titles), text)


def _below(titles: list[str], depth: int, title: str) -> list[str]:
    """The titles down to a new section; the outermost sections have depth 2, as ``== Section ==``."""
    return [*titles[: max(depth, 2) - 1], title]


def _split(text: str, title: str) -> Iterator[Passage]:
    lines = (_line(part) for part in _BLANK.split(text))
    return (Passage(title, line) for line in lines if line)


def _line(text: str) -> str:
    return " ".join(text.split())


def cleaned(wikitext: str) -> str:
    """Wikitext as a reader sees it: without templates, tables, references, files, categories and comments."""
    return _plain(extra_library("mwparserfromhell", WIKI).parse(wikitext))


def _plain(code: Any) -> str:
    return "".join(map(_node, code.nodes))


def _node(node: Any) -> str:
    """What a reader sees of one node; nothing of kinds that are not named here."""
    match type(node).__name__:
        case "Text":
            return _SWITCH.sub("", str(node.value))
        case "HTMLEntity":
            return str(node.normalize())
        case "Heading":  # in the middle of a published part
            return _plain(node.title)
        case "ExternalLink":
            return _plain(node.title) if node.title is not None else "" if node.brackets else str(node.url)
        case "Wikilink":
            return _link(node)
        case "Tag":
            return _tag(node)
    return ""


def _link(link: Any) -> str:
    target = str(link.title).strip()
    namespace, colon, _ = target.partition(":")
    if colon and namespace.strip().lower() in _NO_LINKS:
        return ""
    return _plain(link.text) if link.text is not None else target.removeprefix(":")


def _tag(tag: Any) -> str:
    name = str(tag.tag).strip().lower()
    if name == "br":
        return " "
    return _plain(tag.contents) if name not in _NO_TEXT and tag.contents is not None else ""
