"""Documents: one text each, with its name and its labels, in the order of the corpus."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rwcore.corpora.spec import FILE, HANDMADE, HUB, LEGACY, CorpusSpec
from rwcore.errors import CorpusError, OptionError

if TYPE_CHECKING:
    from jaxtyping import Int64

LONGEST_LABEL = 200
"""Characters; a longer field of a source is no label but another text."""

_STRAIGHT = str.maketrans(
    "\N{LEFT SINGLE QUOTATION MARK}\N{RIGHT SINGLE QUOTATION MARK}"
    "\N{LEFT DOUBLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}",
    "''\"\"",
)


@dataclass(frozen=True)
class Document:
    """One text of a corpus.

    Attributes:
        id: Name of the document, unique in its corpus.
        text: The text as it stands in its source; nothing is stripped or normalised.
        labels: What is known about it (``kind``, ``language``, ``subject``, …).
    """

    id: str
    text: str
    labels: Mapping[str, str] = field(default_factory=dict)


def documents(spec: CorpusSpec) -> Iterator[Document]:
    """The documents of a corpus: in the order of the source or shuffled, and only as many as it names.

    Documents are streamed; nothing is downloaded. Only a shuffle of local files holds the chosen documents
    in memory, because a file of lines cannot be read in any order, and reads the files twice.

    Raises:
        CorpusError: The source is missing, empty, unreadable or not text; the message names the file and
            the line, row or byte, and a hub data set's download command.
    """
    if spec.source == HUB:
        # Only that source can be read in any order.
        from rwcore.corpora.hub import hub_documents

        found = hub_documents(spec)
    elif spec.shuffle_seed is None:
        found = islice(_source(spec)(), spec.documents)
    else:
        found = _shuffled(_source(spec), spec)
    first = next(found, None)
    if first is None:
        raise CorpusError(
            f"the corpus {spec.id!r} is empty: it has no documents"
            + "".join(f" with {name} {value!r}" for name, value in spec.where),
            where=spec.location or spec.source,
            remedy="check the labels it asks for" if spec.where else "name a file or folder with text",
        )
    yield _read(spec, first)
    for one in found:
        yield _read(spec, one)


def document(spec: CorpusSpec, number: int) -> Document:
    """One document of a corpus, by its number as `documents` counts them, from 0.

    Raises:
        OptionError: The corpus has no such document.
        CorpusError: As of `documents`.
    """
    if spec.source == HUB:
        from rwcore.corpora.hub import hub_documents

        one = next(hub_documents(spec, start=number), None)
        one = one and _read(spec, one)
    else:
        one = next(islice(documents(spec), number, None), None)
    if one is None:
        raise OptionError(
            f"the corpus {spec.id!r} has no document {number}",
            where="the number of the document",
            remedy="documents are counted from 0; give a smaller number",
        )
    return one


def source_identity(spec: CorpusSpec) -> str:
    """What decides the documents besides the spec: the commit of a hub data set, else a hash of the texts.

    Raises:
        CorpusError: The source is not there or cannot be read.
    """
    if spec.source == HUB:
        from rwcore.corpora.hub import snapshot

        return f"commit:{snapshot(spec).name}"
    if spec.source == FILE:
        from rwcore.corpora.files import files_hash

        return files_hash(Path(spec.location))
    digest = hashlib.sha256()
    for document in _source(spec)():
        digest.update(f"{len(document.text)} {document.id}\n{document.text}\n".encode())
    return f"sha256:{digest.hexdigest()}"


def order(spec: CorpusSpec, count: int) -> Int64[np.ndarray, " document"]:
    """Source numbers of the documents of a corpus that is shuffled, as many as it names.

    Args:
        spec: The recipe, with a seed.
        count: Documents of the source.
    """
    if spec.shuffle == LEGACY:
        # The steps of numpy.random.seed and numpy.random.shuffle of a list, without their shared state.
        numbers = [*range(count)]
        np.random.RandomState(spec.shuffle_seed).shuffle(numbers)
        found = np.array(numbers, dtype=np.int64)
    else:
        found = np.random.default_rng(spec.shuffle_seed).permutation(count)
    return found[: spec.documents]


def labels_of(fields: Mapping[str, object], text_field: str) -> dict[str, str]:
    """The short strings beside a text; of nested fields under ``outer.inner``."""
    flat: dict[str, object] = {}
    for name, value in fields.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}.{inner}": nested for inner, nested in value.items()}
        elif name != text_field:
            flat[name] = value
    return {
        name: value for name, value in flat.items() if isinstance(value, str) and len(value) <= LONGEST_LABEL
    }


def named_labels(spec: CorpusSpec, labels: Mapping[str, str]) -> dict[str, str]:
    """Labels of a source, those that the spec names anew under these names too."""
    return {**labels, **{name: labels[field] for name, field in spec.labels if field in labels}}


def is_wanted(spec: CorpusSpec, labels: Mapping[str, str]) -> bool:
    """Whether a document with these labels belongs to the corpus."""
    named = named_labels(spec, labels)
    return all(named.get(name) == value for name, value in spec.where)


def _read(spec: CorpusSpec, one: Document) -> Document:
    """A document of the source as the corpus has it."""
    return replace(one, text=one.text.translate(_STRAIGHT)) if spec.straight_quotes else one


def _source(spec: CorpusSpec) -> Callable[[], Iterator[Document]]:
    """A function that reads the documents that belong to the corpus from the beginning of its source."""
    read = _all_of(spec)
    if not spec.labels and not spec.where:
        return read
    return lambda: (
        replace(one, labels=named_labels(spec, one.labels)) for one in read() if is_wanted(spec, one.labels)
    )


def _all_of(spec: CorpusSpec) -> Callable[[], Iterator[Document]]:
    """A function that reads the source from its beginning."""
    if spec.source == FILE:
        from rwcore.corpora.files import file_documents

        return lambda: file_documents(Path(spec.location), spec.text_field)
    if spec.source == HANDMADE:
        from rwcore.corpora.own_texts import handmade_documents

        return lambda: iter(handmade_documents())
    return _python_topics


def _python_topics() -> Iterator[Document]:
    """The topics of Python's help system (``pydoc_data.topics``), by name."""
    from pydoc_data.topics import topics

    return (Document(name, text, {"kind": "manual"}) for name, text in sorted(topics.items()))


def _shuffled(read: Callable[[], Iterator[Document]], spec: CorpusSpec) -> Iterator[Document]:
    chosen = order(spec, sum(1 for _ in read())).tolist()
    wanted = frozenset(chosen)
    held = {number: document for number, document in enumerate(read()) if number in wanted}
    return (held.pop(number) for number in chosen)
