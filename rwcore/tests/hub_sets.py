"""Data sets as the hub's client and the library ``datasets`` lay them out, for tests without a network."""

from __future__ import annotations

import io
import json
import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rwcore.corpora.spec import CorpusSpec

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def offline_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty caches of the test's own, and no way to the network; made a fixture."""

    def refuse(*_args: object, **_kwargs: object) -> None:
        raise AssertionError("the network was touched")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    # Below a hidden folder, as the real ones are.
    root = tmp_path / ".cache" / "huggingface"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(root / "hub"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", root / "datasets")
    return root / "hub"


def lay_out(hub: Path, files: Mapping[str, bytes], name: str = "org/texts") -> CorpusSpec:
    """A data set in the hub's cache: a snapshot of links into ``blobs``, and a branch that points to it."""
    root = hub / f"datasets--{name.replace('/', '--')}"
    for folder in ("refs", "blobs"):
        (root / folder).mkdir(parents=True)
    (root / "refs" / "main").write_text(COMMIT)
    for number, (path, data) in enumerate(files.items()):
        blob, link = root / "blobs" / f"{number:040x}", root / "snapshots" / COMMIT / path
        blob.write_bytes(data)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    return CorpusSpec("texts", "hub", name)


def parquet(rows: Sequence[Mapping[str, object]]) -> bytes:
    """Rows as a Parquet file."""
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows]), buffer)
    return buffer.getvalue()


def json_lines(rows: Sequence[Mapping[str, object]]) -> bytes:
    """Rows as JSON lines."""
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def compressed(data: bytes, codec: str) -> bytes:
    """Bytes packed with a codec of Arrow: ``zstd`` or ``gzip``."""
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, codec) as stream:
        stream.write(data)
    packed: bytes = sink.getvalue().to_pybytes()
    return packed


def rows_of(first: int, last: int) -> list[dict[str, object]]:
    """Rows with a text, labels as the Pile and Dolma have them, and ids of tokens."""
    return [
        {"text": f"text {n}", "meta": {"set": "Pile"}, "lang": "de", "input_ids": [n]}
        for n in range(first, last)
    ]


def parts(*rows: Sequence[Mapping[str, object]]) -> dict[str, bytes]:
    """Files of a split in several Parquet files, as the hub names them."""
    return {
        f"data/train-{number:05}-of-{len(rows):05}.parquet": parquet(part) for number, part in enumerate(rows)
    }
