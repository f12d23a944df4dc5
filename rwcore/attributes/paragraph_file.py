"""Paragraphs on disk: more than memory holds, written and read a few at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from rwcore.attributes.passages import Passage
from rwcore.errors import StoreError
from rwcore.store import atomic_file

Paragraph = tuple[Passage, list[int]]
"""A paragraph with the numbers of what it holds: subjects, or words of subjects."""

_ROWS = 2048  # paragraphs in memory at a time


def write_paragraphs(path: Path, paragraphs: Iterable[Paragraph]) -> None:
    """Write a Parquet file, whole or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([("title", pa.string()), ("text", pa.string()), ("numbers", pa.list_(pa.int32()))])
    rows = iter(paragraphs)
    with atomic_file(path) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as file:
        while some := list(islice(rows, _ROWS)):
            titles, texts = [one.title for one, _ in some], [one.text for one, _ in some]
            columns = {"title": titles, "text": texts, "numbers": [numbers for _, numbers in some]}
            file.write_table(pa.table(columns, schema=schema))


def read_paragraphs(path: Path) -> Iterator[Paragraph]:
    """The paragraphs of a file, in the order in which they were written.

    Raises:
        StoreError: The file is missing or damaged.
    """
    for columns in _batches(path, ["title", "text", "numbers"]):
        for title, text, numbers in zip(*columns, strict=True):
            yield Passage(title, text), numbers


def read_numbers(path: Path) -> Iterator[list[int]]:
    """Only the numbers of the paragraphs.

    Raises:
        StoreError: The file is missing or damaged.
    """
    for (numbers,) in _batches(path, ["numbers"]):
        yield from numbers


def _batches(path: Path, names: list[str]) -> Iterator[list[list[Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_ROWS, columns=names):
                yield [batch.column(name).to_pylist() for name in names]
    except (OSError, pa.ArrowException) as error:
        raise StoreError(
            f"cannot read paragraphs: {error}",
            where=str(path),
            remedy="delete the folder; they are gathered again",
        ) from error
