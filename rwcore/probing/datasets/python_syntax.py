"""What the parts of a Python program are, by Python's own tokenizer."""

from __future__ import annotations

import contextlib
import io
import keyword
import tokenize
from collections.abc import Iterator

from rwcore.probing.datasets.spans import Span

KINDS = (
    "docstring", "string", "comment", "keyword", "number", "defined_name", "attribute", "called",
    "import_line", "decorator", "indentation",
)  # fmt: skip
_LAYOUT = (tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.COMMENT)
# What may stand before a string that is a statement by itself.
_BEFORE_STATEMENT = (*_LAYOUT, tokenize.ENCODING)


def python_spans(text: str) -> dict[str, list[Span]]:
    """The stretches of a program that are of each kind of `KINDS`, as far as it can be read.

    A ``docstring`` is a string that is a statement; ``string`` is any other; ``defined_name`` stands behind
    ``def`` or ``class``, ``attribute`` behind a dot, ``called`` before an opening bracket (and is not being
    defined); ``import_line`` is what is behind ``import`` or ``from`` in its line; ``decorator`` is the line
    behind ``@``; ``indentation`` is the space at the beginning of a line.
    """
    found: dict[str, list[Span]] = {kind: [] for kind in KINDS}
    tokens: list[tokenize.TokenInfo] = []
    # The beginning of a program may end within a string or bracket; what came before is known.
    with contextlib.suppress(tokenize.TokenError, SyntaxError):
        tokens.extend(tokenize.generate_tokens(io.StringIO(text).readline))
    starts = _line_starts(text)
    meaning = [token for token in tokens if token.string.strip() or token.type in _LAYOUT]
    for before, token, after in _neighbours(meaning):
        span = starts[token.start[0] - 1] + token.start[1], starts[token.end[0] - 1] + token.end[1]
        for kind in _kinds(before, token, after):
            found[kind].append(span)
        line_end = starts[token.start[0] - 1] + len(token.line.split("\n")[0])
        new_line = before is None or before.type in _LAYOUT
        if new_line and token.type == tokenize.NAME and token.string in ("import", "from"):
            found["import_line"].append((span[1], line_end))
        if new_line and token.string == "@":
            found["decorator"].append((span[1], line_end))
        if new_line and token.type not in _LAYOUT and token.start[1]:
            found["indentation"].append((starts[token.start[0] - 1], span[0]))
    return {kind: [span for span in spans if span[0] < span[1]] for kind, spans in found.items()}


def _kinds(
    before: tokenize.TokenInfo | None, token: tokenize.TokenInfo, after: tokenize.TokenInfo | None
) -> Iterator[str]:
    previous = "" if before is None else before.string
    if token.type == tokenize.STRING:
        alone = (before is None or before.type in _BEFORE_STATEMENT) and after is not None
        yield "docstring" if alone and after is not None and after.type in _LAYOUT else "string"
    elif token.type == tokenize.COMMENT:
        yield "comment"
    elif token.type == tokenize.NUMBER:
        yield "number"
    elif token.type == tokenize.NAME and keyword.iskeyword(token.string):
        yield "keyword"
    elif token.type == tokenize.NAME:
        if previous in ("def", "class"):
            yield "defined_name"
        elif after is not None and after.string == "(":
            yield "called"
        if previous == ".":
            yield "attribute"


def _neighbours(
    tokens: list[tokenize.TokenInfo],
) -> Iterator[tuple[tokenize.TokenInfo | None, tokenize.TokenInfo, tokenize.TokenInfo | None]]:
    return zip([None, *tokens], tokens, [*tokens[1:], None])  # noqa: B905


def _line_starts(text: str) -> list[int]:
    starts = [0]
    for line in text.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    return [*starts, starts[-1]]
