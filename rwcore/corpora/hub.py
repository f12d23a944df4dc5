"""Documents of data sets of the Hugging Face hub that lie on this machine."""

from __future__ import annotations

import contextlib
import errno
import fnmatch
import importlib
import importlib.util
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rwcore.corpora.documents import Document, is_wanted, labels_of, named_labels, order
from rwcore.corpora.files import require_field
from rwcore.corpora.registry import registry
from rwcore.corpora.spec import CorpusSpec
from rwcore.errors import CorpusError
from rwcore.runtime import quiet

_ROWS = 64  # texts in memory at a time; reading one by one costs more than the texts
_LABELS = 4096  # and labels
_ZSTD = (".zst", ".zstd")
_PART = re.compile(r"(.*)-(\d{5})-of-(\d{5})")  # train-00000-of-00005.parquet


def hub_documents(spec: CorpusSpec, start: int = 0) -> Iterator[Document]:
    """The documents of a hub data set, shuffled if the spec says so.

    The data set is looked for in huggingface_hub's cache; the network is not touched and no code of the data
    set is run. The library ``datasets`` reads its files (Parquet, Arrow, JSON lines, text, …; compressed or
    not) into its own cache once (disk space as the uncompressed text).

    The order is that of `rwcore.corpora.documents.order`; a document is called ``split:number`` by its
    number in the source.

    Args:
        spec: The recipe.
        start: Number of the first document that is wanted, counted as they are yielded.

    Raises:
        CorpusError: The data set is not here (the remedy is what downloads it), or not completely; it has no
            such split or field; or a text of it is missing.
    """
    folder = snapshot(spec)
    rows = _open(spec, folder)
    where = f"{folder}: {spec.split}"
    require_field(rows.column_names, spec.text_field, where)
    # Arrays of numbers (ids of tokens) are as large as the text and nothing we use.
    useful = [name for name, kind in rows.features.items() if name == spec.text_field or _is_label(kind)]
    rows = rows.select_columns(useful)
    numbers = _wanted(spec, rows)
    if spec.shuffle_seed is not None:
        numbers = [numbers[at] for at in order(spec, len(numbers)).tolist()]
    numbers = numbers[: spec.documents]
    for first in range(start, len(numbers), _ROWS):
        together = numbers[first : first + _ROWS]
        columns = rows[together]
        for at, number in enumerate(together):
            fields = {name: values[at] for name, values in columns.items()}
            yield _document(spec, fields, number, where)


def _wanted(spec: CorpusSpec, rows: Any) -> Sequence[int]:
    """Numbers of the rows with the labels that the spec asks for."""
    if not spec.where:
        return range(len(rows))
    beside = rows.select_columns([name for name in rows.column_names if name != spec.text_field])
    numbers = []
    for first in range(0, len(rows), _LABELS):
        columns = beside[first : first + _LABELS]
        for at, values in enumerate(zip(*columns.values(), strict=True)):
            fields = dict(zip(columns, values, strict=True))
            if is_wanted(spec, labels_of(fields, spec.text_field)):
                numbers.append(first + at)
    return numbers


def _document(spec: CorpusSpec, fields: dict[str, Any], number: int, where: str) -> Document:
    text = fields[spec.text_field]
    if not isinstance(text, str):
        raise CorpusError(
            f"the field {spec.text_field!r} is no text but {text!r:.40}",
            where=f"{where}: row {number}",
            remedy="name another field or data set",
        )
    labels = named_labels(spec, labels_of(fields, spec.text_field))
    return Document(f"{spec.split}:{number}", text, labels)


def _is_label(kind: Any) -> bool:
    return isinstance(kind, dict) or getattr(kind, "dtype", None) in ("string", "large_string")


def snapshot(spec: CorpusSpec) -> Path:
    """The folder of a data set in the hub's cache; its name is the commit.

    Raises:
        CorpusError: It is not there, or an interrupted download left it incomplete; the remedy is the
            command that downloads it.
    """
    import huggingface_hub
    from huggingface_hub.errors import HFValidationError

    try:
        found = huggingface_hub.snapshot_download(
            spec.location,
            repo_type="dataset",
            revision=spec.revision,
            allow_patterns=list(spec.files) or None,
            local_files_only=True,
        )
    except HFValidationError as error:
        what = f"{spec.location!r} is not a name the hub allows: {error}"
        raise CorpusError(what, where=spec.id, remedy="write org/name") from error
    except OSError as error:
        raise _absent(spec, "is not on this machine, or not all of it") from error
    folder = Path(found)
    missing = _missing(folder, spec.files)
    if missing is not None:
        raise _absent(spec, f"is not complete on this machine: {missing}")
    return folder


def _absent(spec: CorpusSpec, how: str) -> CorpusError:
    return CorpusError(
        f"the corpus {spec.id!r} {how}",
        where=f"the hub's cache: {spec.location}" + (f"@{spec.revision}" if spec.revision else ""),
        remedy=download_command(spec),
    )


def _missing(folder: Path, wanted: Sequence[str] = ()) -> str | None:
    """What a snapshot lacks, as far as its names tell; None if nothing.

    The hub's client knows all files only of what it downloaded as a whole. Another program may have fetched
    a part of the data set, which must not pass for the corpus.
    """
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*")]
    absent = next((pattern for pattern in wanted if not fnmatch.filter(names, pattern)), None)
    if absent is not None:
        return f"there is no file {absent}"
    parts: dict[tuple[Path, str, int], set[int]] = {}
    for path in sorted(folder.rglob("*")):
        if not path.exists():
            return f"{path.name} is a link to nothing"
        named = _PART.match(path.name)
        if named:
            parts.setdefault((path.parent, named[1], int(named[3])), set()).add(int(named[2]))
    short = ((name, len(here), count) for (_, name, count), here in parts.items() if len(here) < count)
    return next((f"{here} of the {count} parts of {name!r} are here" for name, here, count in short), None)


def download_command(spec: CorpusSpec) -> str:
    """The command that downloads a hub data set: ours, or where the registry has no such one, the hub's."""
    known = registry().get(spec.id)
    if known is not None and _what(known) == _what(spec):
        return f"rwcore fetch --corpus {spec.id}"
    at = f" --revision {spec.revision}" if spec.revision else ""
    only = "".join(f" --include {shlex.quote(pattern)}" for pattern in spec.files)
    return f"hf download {spec.location} --repo-type dataset{at}{only}"


def _what(spec: CorpusSpec) -> tuple[object, ...]:
    """What is downloaded."""
    return spec.location, spec.revision, spec.files


def _open(spec: CorpusSpec, folder: Path) -> Any:
    """The rows of the split, as the library ``datasets`` opens them."""
    try:
        # By name: it comes with transformer-lens, is not ours to require, and has no types.
        datasets = importlib.import_module("datasets")
    except ImportError as error:
        raise CorpusError(
            f"data sets of the hub are read with the library datasets: {error}",
            where=spec.id,
            remedy="pip install datasets",
        ) from error
    _require_zstandard(folder)
    with no_bars(datasets) if quiet() else contextlib.nullcontext():
        try:
            return datasets.load_dataset(str(folder), split=spec.split)
        except Exception as error:  # whatever the files lead to: the library wraps some errors and not others
            if _is_full(error):
                raise CorpusError(
                    f"the disk is full while {spec.id} is unpacked",
                    where=str(datasets.config.HF_DATASETS_CACHE),
                    remedy="free as much space as the uncompressed text takes, or set HF_DATASETS_CACHE to "
                    "a larger disk",
                ) from error
            raise CorpusError(
                f"the data set cannot be read: {error}",
                where=f"{folder}: {spec.split}",
                remedy=f"check the split; or download it again: {download_command(spec)}",
            ) from error


def _require_zstandard(folder: Path) -> None:
    """The library ``datasets`` reads .zst files only with the help of another one."""
    packed = next((path for path in sorted(folder.rglob("*")) if path.suffix in _ZSTD), None)
    if packed is not None and importlib.util.find_spec("zstandard") is None:
        raise CorpusError(
            "files compressed with zstd are read with the library zstandard, which is not installed",
            where=str(packed),
            remedy="pip install zstandard",
        )


def _is_full(error: BaseException | None) -> bool:
    """Whether a full disk is among the causes of an error."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        # What datasets says, without a number, when it sees beforehand that there is too little space.
        if isinstance(error, OSError) and "Not enough disk space" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


@contextlib.contextmanager
def no_bars(library: Any) -> Iterator[None]:
    """Switch off the progress bars of ``datasets`` or of ``huggingface_hub.utils`` for a while."""
    shown = not library.are_progress_bars_disabled()
    library.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            library.enable_progress_bars()
