"""A person's own features: a file of texts with a label each, or with labelled stretches."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch

from rwcore.corpora.documents import Document
from rwcore.corpora.encoder import TextEncoder
from rwcore.corpora.spec import FILE, LONGEST_ROW, CorpusSpec
from rwcore.errors import CorpusError
from rwcore.probing.datasets.features import MEAN, FeatureDataset
from rwcore.probing.datasets.labelled_rows import one_against_rest, pooled
from rwcore.probing.datasets.sampling import LEAST, Candidate, row_dataset, token_dataset
from rwcore.probing.datasets.source import Row, Source, rows_corpus
from rwcore.probing.datasets.spans import Span, placed_rows, require_inside

_KEYS = ("text", "label", "spans", "document")


@dataclass(frozen=True)
class Line:
    """One line of the file.

    Attributes:
        number: Its number, from 1.
        text: The text.
        label: Its class, ``true`` or ``false`` as a string; None of a line of spans.
        spans: Labelled stretches ``(start, end)`` by feature; None of a line with a label.
        document: What it belongs to; lines of one document stay on one side of a split.
    """

    number: int
    text: str
    label: str | None
    spans: dict[str, list[Span]] | None
    document: str


def own_features(path: Path, encoder: TextEncoder, *, least: int = LEAST) -> FeatureDataset:
    """The features of a file of JSON lines.

    A line is ``{"text": …, "label": …}`` (a row; the mean over its tokens is probed) or ``{"text": …,
    "spans": [[start, end], …]}`` (its tokens are probed: those that stand for a character of a span against
    all others). A label is ``true``, ``false`` or a name, a span may name its feature as a third entry; a
    feature without a name has that of the file. Texts with a label are cut to the length of a row; others go
    on in further rows. ``"document"`` may say which lines belong together; by default each is by itself.

    Args:
        path: The file.
        encoder: The tokenizer and the limits of the model.
        least: Examples of either class that a feature must have; those with fewer are in ``skipped``.

    Raises:
        CorpusError: The file cannot be read or has no line; a line is not JSON, has a key too many, too few
            or of a wrong type, a span outside of its text, or another label than the same text before; the
            message names line and key. Or it mixes labels and spans.
    """
    lines = read_lines(path)
    texts = tuple(Document(f"line {line.number}", line.text) for line in lines)
    spec = CorpusSpec(path.name, FILE, str(path.resolve()), max_length=LONGEST_ROW, overflow=True)
    source = Source(spec, encoder, texts)
    names = list(dict.fromkeys(line.document for line in lines))
    group = torch.tensor([names.index(line.document) for line in lines])
    make = _of_labels if lines[0].spans is None else _of_spans
    return make(path.stem, source, lines, group, least)


def _of_labels(
    name: str, source: Source, lines: list[Line], group: torch.Tensor, least: int
) -> FeatureDataset:
    first = source.bos
    step = source.length(LONGEST_ROW) - len(first)
    ids = source.encoder.encode([line.text for line in lines])
    rows: dict[tuple[int, ...], int] = {}
    for number, tokens in enumerate(ids):
        earlier = rows.setdefault(tuple(tokens[:step]), number)
        if lines[earlier].label != lines[number].label:
            raise CorpusError(
                f"the same text (or beginning of a text) has the label {lines[earlier].label!r} in line "
                f"{lines[earlier].number} and {lines[number].label!r} in line {lines[number].number}",
                where=f"{source.spec.location}: line {lines[number].number}: label",
                remedy="delete one of the two lines",
            )
    kept = list(rows.values())
    made = [Row(number, [*first, *tokens]) for tokens, number in rows.items()]
    corpus = rows_corpus(source, name, made, bos=first[0] if first else None)
    labels = [lines[number].label or "" for number in kept]
    values = sorted(set(labels))
    # Of true and false, or of two names, one feature is enough: the other is its negation.
    classes = [one for one in values if one != "false"] if set(values) <= {"true", "false"} else values
    candidates = [
        Candidate(name if one.name == "true" else one.name, "own", one.place, one.label)
        for one in one_against_rest(labels, classes, "own")
    ]
    valid = pooled(corpus, len(first))
    return row_dataset(name, corpus, MEAN, valid, candidates, group=group[corpus.document], least=least)


def _of_spans(
    name: str, source: Source, lines: list[Line], group: torch.Tensor, least: int
) -> FeatureDataset:
    placed = placed_rows(source, name, context=LONGEST_ROW)
    corpus = placed.corpus
    kinds = sorted({kind for line in lines for kind in line.spans or {}})
    place = (placed.start >= 0).nonzero().flatten()
    candidates = []
    for kind in kinds:
        label = torch.zeros(corpus.n_tokens, dtype=torch.bool)
        for number, line in enumerate(lines):
            placed.mark(number, (line.spans or {}).get(kind, []), label)
        candidates.append(Candidate(kind or name, "own", place, label[place]))
    data = token_dataset(name, corpus, candidates, least=least)
    return FeatureDataset(
        data.name, corpus, data.aggregation, data.token, None, data.features, group[data.group], data.skipped
    )


def read_lines(path: Path) -> list[Line]:
    """The lines of a file of own features, checked.

    Raises:
        CorpusError: As of `own_features`.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise CorpusError(
            f"the features cannot be read: {error}",
            where=str(path),
            remedy="give a file of JSON lines in UTF-8",
        ) from error
    # Not splitlines: JSON strings may hold other line separators.
    numbered = enumerate(text.split("\n"), start=1)
    lines = [_line(path, number, line) for number, line in numbered if line.strip()]
    if not lines:
        raise _wrong(path, 1, "text", "the file has no line")
    for line in lines:
        if (line.spans is None) != (lines[0].spans is None):
            kinds = ("label", "spans") if line.spans is None else ("spans", "label")
            raise _wrong(
                path, line.number, kinds[0], f"a line with {kinds[0]!r} in a file of lines with {kinds[1]!r}"
            )
    return lines


def _line(path: Path, number: int, text: str) -> Line:
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise _wrong(path, number, "the whole line", f"it is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise _wrong(path, number, "the whole line", "it is no object")
    unknown = next((key for key in values if key not in _KEYS), None)
    if unknown is not None:
        raise _wrong(path, number, unknown, f"the key is none of {', '.join(_KEYS)}")
    if not isinstance(values.get("text"), str) or not values["text"].strip():
        raise _wrong(path, number, "text", "there must be a text that is not empty")
    if ("label" in values) == ("spans" in values):
        raise _wrong(path, number, "label", "there must be one of 'label' and 'spans', not both")
    document = values.get("document", f"line {number}")
    if not isinstance(document, str):
        raise _wrong(path, number, "document", f"{document!r} is no string")
    label = values.get("label")
    if "label" in values and not (isinstance(label, bool) or (isinstance(label, str) and label)):
        raise _wrong(path, number, "label", f"{label!r} is neither true, false nor a name")
    spans = _spans(path, number, values["text"], values["spans"]) if "spans" in values else None
    shown = {True: "true", False: "false"}[label] if isinstance(label, bool) else label
    return Line(number, values["text"], shown, spans, document)


def _spans(path: Path, number: int, text: str, values: object) -> dict[str, list[Span]]:
    if not isinstance(values, list):
        raise _wrong(path, number, "spans", f"{values!r} is no list")
    found: dict[str, list[Span]] = {}
    for value in values:
        ends = value[:2] if isinstance(value, list) and len(value) in (2, 3) else []
        name = value[2] if len(ends) == 2 and len(value) == 3 else ""
        if len(ends) != 2 or not all(type(end) is int for end in ends) or not isinstance(name, str):
            raise _wrong(path, number, "spans", f"{value!r} is not [start, end] or [start, end, name]")
        require_inside([(ends[0], ends[1])], text, f"{path}: line {number}: spans")
        found.setdefault(name, []).append((ends[0], ends[1]))
    return found


def _wrong(path: Path, number: int, key: str, reason: str) -> CorpusError:
    return CorpusError(
        f"line {number} is no labelled text: {reason}",
        where=f"{path}: line {number}: {key}",
        remedy='write lines like {"text": "…", "label": true} or {"text": "…", "spans": [[0, 5]]}',
    )
