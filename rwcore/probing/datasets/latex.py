"""Where things stand in a LaTeX document: mathematics, fractions, scripts, references, the title."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rwcore.probing.datasets.spans import Span, matches

MIRRORS = {
    "is_denominator": "is_numerator",
    "is_numerator": "is_denominator",
    "is_subscript": "is_superscript",
    "is_superscript": "is_subscript",
    "is_inline_math": "is_display_math",
    "is_display_math": "is_inline_math",
    "start_math": "end_math",
    "end_math": "start_math",
}
"""Features whose negatives are, for one half, tokens of another feature."""

_SUPERSCRIPT = re.compile(r"\^\{([^}]*)\}")
_SUBSCRIPT = re.compile(r"_\{([^}]*)\}")
_REFERENCE = re.compile(r"\[@([^\]]*)\]")
_FRACTION = re.compile(r"\\frac\{([^}]*)\}\{([^}]*)\}")
_TITLE = re.compile(r"^title:(.*)$", re.MULTILINE)
_HEAD = r"(?:author:|title:|bibliography:|date:|address:|---)"
_BLOCK = {
    kind: re.compile(rf"^{kind}:(.*?)(?=^.*{_HEAD}|\Z)", re.MULTILINE | re.DOTALL)
    for kind in ("author", "abstract")
}
# Longest title; and of longer blocks than the second number only the first characters count.
_TITLE_LENGTH = 50
_CUT = {"author": (75, 200), "abstract": (250, 400)}


def latex_spans(text: str) -> dict[str, list[Span]]:
    """The stretches of a document that have each of the 14 features.

    Source: sparse probing 3.7.
    """
    inline, display, starts, ends = _mathematics(text)
    return {
        "is_superscript": _filled(matches(_SUPERSCRIPT, text, 1)),
        "is_subscript": _filled(matches(_SUBSCRIPT, text, 1)),
        "is_inline_math": inline,
        "is_display_math": display,
        "is_math": sorted(inline + display),
        "start_math": starts,
        "end_math": ends,
        "is_frac": [(found.start(1) - 1, found.end(2) + 1) for found in _FRACTION.finditer(text)],
        "is_numerator": _filled(matches(_FRACTION, text, 1)),
        "is_denominator": _filled(matches(_FRACTION, text, 2)),
        "is_author": _blocks(text, "author"),
        "is_title": _filled(_stripped(text, span, _TITLE_LENGTH) for span in matches(_TITLE, text, 1)),
        "is_reference": _filled(matches(_REFERENCE, text, 1)),
        "is_abstract": _blocks(text, "abstract"),
    }


def _filled(spans: Iterator[Span] | list[Span]) -> list[Span]:
    return [(start, end) for start, end in spans if end > start]


def _stripped(text: str, span: Span, longest: int | None = None) -> Span:
    """A span without white space at its ends, cut to a length."""
    start, end = span
    inner = text[start:end].strip()
    start += len(text[start:end]) - len(text[start:end].lstrip())
    return start, start + len(inner[:longest])


def _blocks(text: str, kind: str) -> list[Span]:
    cut, long = _CUT[kind]
    found = (_stripped(text, span) for span in matches(_BLOCK[kind], text, 1))
    return _filled([(start, start + cut) if end - start >= long else (start, end) for start, end in found])


def _mathematics(text: str) -> tuple[list[Span], list[Span], list[Span], list[Span]]:
    """Inline and displayed mathematics without their delimiters, and the opening and closing delimiters.

    One scan from left to right: a backslash takes the next character with it; ``$$`` opens or closes a
    display unless inline mathematics is open.
    """
    inside: dict[str, list[Span]] = {"$": [], "$$": []}
    starts: list[Span] = []
    ends: list[Span] = []
    opened: str | None = None
    begin = at = 0
    while at < len(text):
        if text[at] == "\\":
            at += 2
        elif text[at] != "$":
            at += 1
        else:
            sign = "$$" if opened != "$" and text.startswith("$$", at) else "$"
            delimiter = (at, at + len(sign))
            if opened is None:
                opened, begin = sign, delimiter[1]
                starts.append(delimiter)
            elif opened == sign:
                inside[sign].append((begin, at))
                ends.append(delimiter)
                opened = None
            # A single dollar within a display is a character like any other.
            at = delimiter[1]
    return _filled(inside["$"]), _filled(inside["$$"]), starts, ends
