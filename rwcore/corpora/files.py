"""Documents in local files: plain text, JSON lines and Parquet."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from rwcore.corpora.documents import Document, labels_of
from rwcore.errors import CorpusError
from rwcore.store import hash_file

SUFFIXES = (".txt", ".jsonl", ".parquet")

_BOM = b"\xef\xbb\xbf"
_ROWS = 256  # rows of a Parquet file in memory at a time


def file_documents(path: Path, text_field: str = "text") -> Iterator[Document]:
    """The documents of a file, or of all files below a folder, sorted by path.

    A ``.txt`` file is one document; a ``.jsonl`` file holds one object per line and a ``.parquet`` file one
    document per row, with the text in ``text_field`` and every other short string as a label. Text is UTF-8;
    a byte order mark at the beginning of a file is no part of it, blank lines of JSON lines are skipped,
    everything else stays as it is. Hidden files are passed over. Files of lines and rows are streamed; a text
    file is in memory, and later tokenised, as a whole, so a large collection is better one of lines.

    Args:
        path: File or folder.
        text_field: Field or column of the text.

    Raises:
        CorpusError: There is no such file, none of a known kind, or it cannot be read: not UTF-8 (with the
            byte), not JSON (with the line), the field missing or no text (with the line or row).
    """
    folder = path if path.is_dir() else path.parent
    for file in text_files(path):
        name = file.relative_to(folder).as_posix()
        if file.suffix.lower() == ".txt":
            yield Document(name, _decode(_read(file), file))
        elif file.suffix.lower() == ".jsonl":
            yield from _json_lines(file, name, text_field)
        else:
            yield from _parquet(file, name, text_field)


def text_files(path: Path) -> list[Path]:
    """The file, or the files below a folder that can be read, sorted by path.

    Raises:
        CorpusError: There are none, or there is nothing at this path.
    """
    if not path.exists():
        raise CorpusError("there is no such file or folder", where=str(path), remedy="check the path")
    if path.is_dir():
        inside = (file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
        files = [f for f in inside if not any(part[0] == "." for part in f.relative_to(path).parts)]
        files.sort(key=lambda file: file.relative_to(path).as_posix())
    else:
        files = [path] if path.suffix.lower() in SUFFIXES else []
    if not files:
        raise CorpusError(
            f"the folder holds no {', '.join(SUFFIXES)} file"
            if path.is_dir()
            else f"a corpus is a file that ends with {', '.join(SUFFIXES)}, not {path.suffix or 'without'!r}",
            where=str(path),
            remedy="check the path; plain text files end with .txt",
        )
    return files


def files_hash(path: Path) -> str:
    """``sha256:…`` over the names and bytes of the files that `file_documents` reads.

    Raises:
        CorpusError: There are none, or one cannot be read.
    """
    digest = hashlib.sha256()
    for file in text_files(path):
        try:
            digest.update(f"{file.relative_to(path.parent).as_posix()} {hash_file(file)}\n".encode())
        except OSError as error:
            raise _unreadable(file, error) from error
    return f"sha256:{digest.hexdigest()}"


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise _unreadable(file, error) from error


def _unreadable(file: Path, error: Exception) -> CorpusError:
    return CorpusError(f"the text cannot be read: {error}", where=str(file), remedy="check the file")


def _decode(data: bytes, file: Path, start: int = 0, line: int | None = None) -> str:
    """Bytes of a file from ``start`` on as text."""
    skipped = len(_BOM) if start == 0 and data.startswith(_BOM) else 0
    try:
        return data[skipped:].decode("utf-8")
    except UnicodeDecodeError as error:
        byte = start + skipped + error.start
        raise CorpusError(
            f"the text is not UTF-8: byte {byte} is 0x{error.object[error.start]:02X} ({error.reason})",
            where=f"{file}: byte {byte}" + ("" if line is None else f" (line {line})"),
            remedy="convert the file to UTF-8, for example with `iconv -t UTF-8`",
        ) from error


def _json_lines(file: Path, name: str, text_field: str) -> Iterator[Document]:
    start = 0
    try:
        with file.open("rb") as lines:
            for number, data in enumerate(lines, start=1):
                line = _decode(data, file, start, number)
                start += len(data)
                if line.strip():
                    fields = _object(line, f"{file}: line {number}")
                    text = _text(fields, text_field, f"{file}: line {number}")
                    yield Document(f"{name}:{number}", text, labels_of(fields, text_field))
    except OSError as error:
        raise _unreadable(file, error) from error


def _object(line: str, where: str) -> dict[str, Any]:
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise CorpusError(
            f"the line is not JSON: {error}", where=where, remedy="write one object per line"
        ) from error
    if not isinstance(fields, dict):
        raise CorpusError(
            f"the line is no JSON object but a {type(fields).__name__}",
            where=where,
            remedy='write one object per line, as {"text": "…"}',
        )
    return fields


def _text(fields: Mapping[str, object], text_field: str, where: str) -> str:
    require_field(fields, text_field, where)
    text = fields[text_field]
    if not isinstance(text, str):
        raise CorpusError(
            f"the field {text_field!r} is no text but {text!r:.40}",
            where=where,
            remedy="give every document a text, or name another field",
        )
    try:
        text.encode()
    except UnicodeEncodeError as error:  # JSON can name halves of a character: "\ud800"
        raise CorpusError(
            f"the field {text_field!r} holds half a character (\\u{ord(text[error.start]):04x}) at "
            f"character {error.start}",
            where=where,
            remedy="write the file again from its source: its text was cut within a character",
        ) from error
    return text


def require_field(names: Collection[str], text_field: str, where: str) -> None:
    """Check that there is a field of this name.

    Raises:
        CorpusError: There is not; the message names those that there are.
    """
    if text_field not in names:
        close = difflib.get_close_matches(text_field, names, n=1)
        raise CorpusError(
            f"there is no field {text_field!r}",
            where=where,
            remedy=(f"did you mean {close[0]!r}? " if close else "name another field; ")
            + f"there are {', '.join(map(repr, names)) or 'none'}",
        )


def _parquet(file: Path, name: str, text_field: str) -> Iterator[Document]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    row = 0
    try:
        with pq.ParquetFile(file) as table:
            schema = table.schema_arrow
            require_field(schema.names, text_field, str(file))
            # Arrays of numbers (ids of tokens) are as large as the text and nothing we use.
            kinds = (pa.types.is_string, pa.types.is_large_string, pa.types.is_struct)
            columns = [f.name for f in schema if f.name == text_field or any(kind(f.type) for kind in kinds)]
            for batch in table.iter_batches(batch_size=_ROWS, columns=columns):
                for at in range(batch.num_rows):
                    where = f"{file}: row {row}"
                    fields = _row(batch, at, where)
                    text = _text(fields, text_field, where)
                    yield Document(f"{name}:{row}", text, labels_of(fields, text_field))
                    row += 1
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(file, error) from error


def _row(batch: Any, at: int, where: str) -> dict[str, object]:
    """One row of a batch; Arrow does not check that its strings are UTF-8."""
    column = ""
    fields: dict[str, object] = {}
    try:
        for column, values in zip(batch.schema.names, batch.columns, strict=True):
            fields[column] = values[at].as_py()
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"the column {column!r} is not UTF-8: byte {error.start} of the value ({error.reason})",
            where=where,
            remedy="write the file again from its source",
        ) from error
    return fields
