"""A corpus for a model as files: rows of tokens and what each row is. ``OUTPUTS.md`` documents them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from importlib import metadata
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rwcore.corpora.documents import Document, documents, source_identity
from rwcore.corpora.registry import Published, published
from rwcore.corpora.tokens import FORMAT, TokenCorpus
from rwcore.errors import CorpusError, StoreError
from rwcore.models.spec import LocalModel
from rwcore.provenance import Stopwatch, collect
from rwcore.store import MANIFEST, read_json, read_table, write_json, write_table
from rwcore.studies.folder import check_target, files_of, filling

SCHEMA = "rwcore-corpus/1"
ROWS = "rows.parquet"
COLUMNS = {ROWS: ("row", "document", "id", "n_tokens", "labels", "text_sha256", "tokens_sha256")}
AGREES, DIFFERS = "agrees", "differs"


@dataclass(frozen=True)
class CorpusFacts:
    """A corpus in numbers.

    Attributes:
        rows: Rows.
        documents: Documents that at least one row begins in.
        tokens: Tokens of all rows, BOS included.
        mean_length: Tokens per row.
        longest: Tokens of the longest row.
        content_hash: `TokenCorpus.content_hash`.
    """

    rows: int
    documents: int
    tokens: int
    mean_length: float
    longest: int
    content_hash: str


@dataclass(frozen=True)
class CorpusExport:
    """What was written: the folder, its ``manifest.json``, and the corpus in numbers."""

    folder: Path
    manifest: dict[str, Any]
    facts: CorpusFacts


def corpus_facts(corpus: TokenCorpus) -> CorpusFacts:
    """A corpus in numbers."""
    return CorpusFacts(
        rows=len(corpus),
        documents=corpus.n_documents,
        tokens=corpus.n_tokens,
        mean_length=corpus.n_tokens / len(corpus),
        longest=int(corpus.lengths.max()),
        content_hash=corpus.content_hash,
    )


def compare_published(facts: CorpusFacts, said: Published) -> list[dict[str, str]]:
    """What a paper says of the rows of a corpus, next to what they are.

    Returns:
        ``fact``, ``published``, ``here`` and ``verdict`` (``agrees`` or ``differs``) of each fact.
    """
    least, most = said.tokens
    checks = (
        ("rows", " or ".join(f"{rows:,}" for rows in said.rows), f"{facts.rows:,}", facts.rows in said.rows),
        ("tokens", f"{least:,} to {most:,}", f"{facts.tokens:,}", least <= facts.tokens <= most),
        (
            "mean length",
            f"{said.mean_length:.1f}",
            f"{facts.mean_length:.1f}",
            round(facts.mean_length, 1) == said.mean_length,
        ),
        ("longest", f"{said.longest:,}", f"{facts.longest:,}", facts.longest == said.longest),
    )
    return [
        {"fact": fact, "published": paper, "here": here, "verdict": AGREES if same else DIFFERS}
        for fact, paper, here, same in checks
    ]


def rows_frame(corpus: TokenCorpus, texts: Iterable[Document] | None = None) -> pd.DataFrame:
    """One row per row of a corpus, columns as in `COLUMNS`.

    Args:
        corpus: The rows.
        texts: The documents they were made of; by default they are read from their source again.

    Raises:
        CorpusError: The source cannot be read, or has fewer documents than it had.
    """
    needed = corpus.document.tolist()
    wanted, last = frozenset(needed), max(needed)
    source = documents(corpus.spec) if texts is None else texts
    known = {
        number: (
            one.id,
            json.dumps(one.labels, ensure_ascii=False, sort_keys=True),
            _sha256(one.text.encode()),
        )
        for number, one in enumerate(islice(source, last + 1))
        if number in wanted
    }
    if len(known) < len(wanted):
        raise CorpusError(
            f"the source of {corpus.spec.id!r} has fewer documents than when it was tokenised",
            where=corpus.spec.location or corpus.spec.source,
            remedy="run the command again",
        )
    names, labels, texts_hashed = zip(*(known[number] for number in needed), strict=True)
    little = corpus.tokens.numpy().astype("<i4", copy=False)
    bounds = corpus.offsets.tolist()
    return pd.DataFrame(
        {
            "row": np.arange(len(corpus)),
            "document": corpus.document.numpy(),
            "id": names,
            "n_tokens": corpus.lengths.numpy(),
            "labels": labels,
            "text_sha256": texts_hashed,
            "tokens_sha256": [_sha256(little[start:end].tobytes()) for start, end in pairwise(bounds)],
        }
    )


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def published_facts(corpus: TokenCorpus, facts: CorpusFacts) -> list[dict[str, str]] | None:
    """`compare_published` if a paper speaks of just this recipe, else None."""
    from rwcore.corpora.registry import registry

    said = published(corpus.spec.id)
    if said is None or corpus.spec != registry()[corpus.spec.id]:
        return None
    return compare_published(facts, said)


def export_corpus(
    corpus: TokenCorpus, local: LocalModel, out: Path, *, force: bool = False, command: str = ""
) -> CorpusExport:
    """Write a corpus into a folder, whole or not at all; `TokenCorpus.load` and `read_export` read it.

    Args:
        corpus: The rows.
        local: The model whose tokenizer made them.
        out: See `rwcore.studies.folder.check_target`.
        force: Write into a folder that holds other files.
        command: The command line, for the manifest.

    Raises:
        CorpusError: The source can no longer be read.
        StoreError: The folder is refused or the disk is full.
    """
    stopwatch = Stopwatch()
    folder = check_target(out, force=force)
    frame = rows_frame(corpus)
    facts = corpus_facts(corpus)
    with filling(folder) as new:
        corpus.save(new)
        write_table(new / ROWS, frame)
        manifest = {
            "schema": SCHEMA,
            "complete": True,
            "command": command,
            "corpus": corpus.spec.id,
            "recipe": corpus.spec.describe(),
            "source": source_identity(corpus.spec),
            "model": local.identity(),
            "tokenizer_hash": corpus.tokenizer_hash,
            **asdict(facts),
            "published": published_facts(corpus, facts),
            "definitions": {"tokens": FORMAT},
            "files": files_of(new, COLUMNS),
            "provenance": collect(stopwatch, libraries=_libraries()),
        }
        write_json(new / MANIFEST, manifest)
    return CorpusExport(folder, manifest, facts)


def _libraries() -> dict[str, str]:
    """Versions of what reads and cuts text, besides those of every provenance record."""
    found = {}
    for name in ("tokenizers", "datasets", "pyarrow"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def is_export(folder: Path) -> bool:
    """Whether a folder is what `export_corpus` writes, complete or not."""
    if not (folder / MANIFEST).is_file():
        return False
    try:
        manifest = read_json(folder / MANIFEST)
    except StoreError:
        return False
    return isinstance(manifest, dict) and str(manifest.get("schema", "")).startswith("rwcore-corpus/")


def read_export(folder: Path) -> tuple[TokenCorpus, pd.DataFrame, dict[str, Any]]:
    """The corpus, the table of its rows and the manifest of an export.

    Raises:
        StoreError: The folder is no such export, of another version, not complete, or damaged.
    """
    manifest = read_json(folder / MANIFEST) if is_export(folder) else {}
    if manifest.get("schema") != SCHEMA or manifest.get("complete") is not True:
        raise StoreError(
            f"this is no complete corpus folder of schema {SCHEMA}",
            where=str(folder / MANIFEST),
            remedy="write it again with `rwcore corpus make`",
        )
    corpus, frame = TokenCorpus.load(folder), read_table(folder / ROWS)
    if list(frame.columns) != [*COLUMNS[ROWS]] or frame["document"].tolist() != corpus.document.tolist():
        raise StoreError(
            "the table of rows does not belong to the tokens",
            where=str(folder / ROWS),
            remedy="write the folder again with `rwcore corpus make`",
        )
    return corpus, frame, manifest
