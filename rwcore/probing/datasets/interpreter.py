"""Texts that every Python brings with it: its library's programs, their prose, and its header files in C."""

from __future__ import annotations

import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from rwcore.corpora.documents import Document

_PLACES = (("stdlib", "*.py", "python"), ("include", "**/*.h", "c"))
# Not every Python has its tests, and what others installed differs; tables of characters are no prose.
_NO_PROSE = frozenset({"test", "tests", "idle_test", "site-packages", "lib2to3", "encodings"})
_PROSE = re.compile(r'"""(.*?)"""|^[ \t]*#+ ?([^\n]*)$', re.DOTALL | re.MULTILINE)


def interpreter_documents(longest: int | None = None) -> Iterator[Document]:
    """The modules of the standard library, without packages, and the header files, sorted by name.

    Their labels are ``kind`` (``code``) and ``code`` (``python`` or ``c``). They differ between versions of
    Python. Where Python came without header files there are none; files that are not UTF-8 are passed over.

    Args:
        longest: Characters of a document, at most; by default all.
    """
    for place, pattern, language in _PLACES:
        folder = Path(sysconfig.get_path(place))
        for path in sorted(folder.glob(pattern)):
            text = _text(path)[:longest]
            if text.strip():
                name = f"{language}/{path.relative_to(folder).as_posix()}"
                yield Document(name, text, {"kind": "code", "code": language})


def interpreter_prose() -> Iterator[Document]:
    """What the modules of the standard library say in docstrings and comments, one document per module.

    Of packages, too, but not of tests.
    """
    folder = Path(sysconfig.get_path("stdlib"))
    for path in sorted(folder.rglob("*.py")):
        inside = path.relative_to(folder)
        if _NO_PROSE.isdisjoint(inside.parts):
            text = "\n".join(string or comment for string, comment in _PROSE.findall(_text(path)))
            if text.strip():
                yield Document(f"prose/{inside.as_posix()}", text, {"kind": "manual"})


def _text(path: Path) -> str:
    """The text of a file; nothing of one that is no text."""
    try:
        # Line breaks are read as they are otherwise, since characters are counted in this text.
        return path.read_bytes().decode("utf-8").replace("\r\n", "\n")
    except (OSError, UnicodeDecodeError):
        return ""
