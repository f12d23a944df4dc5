"""Treebanks in the CoNLL-U format."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rwcore.errors import CorpusError

# Number, form, lemma, universal tag, own tag, features, head, relation, dependencies, miscellaneous.
_COLUMNS = 10
_DOCUMENT_SUFFIX = 5


@dataclass(frozen=True)
class Word:
    """One syntactic word of a sentence.

    Attributes:
        form: As it is spelled.
        tag: Universal part of speech.
        relation: Dependency relation to its head.
        features: Morphological features, such as ``Number`` → ``Plur``.
        span: The characters of the sentence that it stands for; None where its form is not among them.
    """

    form: str
    tag: str
    relation: str
    features: dict[str, str]
    span: tuple[int, int] | None


@dataclass(frozen=True)
class Sentence:
    """A sentence of a treebank.

    Attributes:
        id: ``sent_id`` of the treebank.
        text: Its text.
        words: Its words; neither copies nor the surfaces of contractions.
    """

    id: str
    text: str
    words: tuple[Word, ...]

    @property
    def document(self) -> str:
        """The document it is from: its id without the number at its end (``-0001``)."""
        return self.id[:-_DOCUMENT_SUFFIX]


def read_conllu(path: Path) -> Iterator[Sentence]:
    """The sentences of a file, in its order.

    Of a contraction the parts are words (``do`` and ``n't`` of ``don't``), the surface is none; words that
    were added to the text (numbers such as ``8.1``) are passed over. No-break spaces of the text are spaces.

    Args:
        path: A file in CoNLL-U.

    Raises:
        CorpusError: The file cannot be read, or a line has too few columns or a sentence no text; the
            message names the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CorpusError(
            f"the treebank cannot be read: {error}", where=str(path), remedy="check the path"
        ) from error
    comments: dict[str, str] = {}
    lines: list[list[str]] = []
    for number, line in enumerate([*text.split("\n"), ""], start=1):
        if line.startswith("#"):
            key, _, value = line[1:].partition("=")
            comments[key.strip()] = value.strip()
        elif line.strip():
            columns = line.rstrip("\r").split("\t")
            if len(columns) != _COLUMNS:
                raise _damaged(f"it has {len(columns)} columns, not {_COLUMNS}", path, number)
            lines.append(columns)
        elif lines or comments:
            if lines:
                for key in ("sent_id", "text"):
                    if key not in comments:
                        raise _damaged(f"the sentence that ends here has no comment {key!r}", path, number)
                yield _sentence(comments, lines)
            comments, lines = {}, []


def _sentence(comments: dict[str, str], lines: list[list[str]]) -> Sentence:
    text = comments["text"].replace("\N{NO-BREAK SPACE}", " ")
    words = []
    at = 0
    surface_end: dict[str, int] = {}  # number of the last word of a contraction → end of its surface
    for number, form, _, tag, _, features, _, relation, _, misc in lines:
        first, hyphen, last = number.partition("-")
        if hyphen:
            whole = _next(text, at, form)
            if whole is not None:
                surface_end[last] = whole[1]
        elif number.isdecimal() and "CopyOf" not in misc:
            span = _next(text, at, form)
            # Parts need not be spelled as their contraction is: Spanish `del` is `de` and `el`.
            at = surface_end.get(first, at if span is None else span[1])
            pairs = (pair.partition("=") for pair in features.split("|")) if features != "_" else ()
            words.append(Word(form, tag, relation, {key: value for key, _, value in pairs}, span))
    return Sentence(comments["sent_id"], text, tuple(words))


def _next(text: str, at: int, form: str) -> tuple[int, int] | None:
    """Where a form stands, if it is what comes next in the text."""
    form = form.replace("\N{NO-BREAK SPACE}", " ")
    start = at + len(text[at:]) - len(text[at:].lstrip())
    return (start, start + len(form)) if text.startswith(form, start) else None


def _damaged(reason: str, path: Path, line: int) -> CorpusError:
    return CorpusError(
        f"this is no CoNLL-U: {reason}",
        where=f"{path}: line {line}",
        remedy="take the file of the treebank as it is",
    )
