"""Documents of data sets of the Hugging Face hub that lie on this machine."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rwcore.corpora.documents import Document, labels_of, order
from rwcore.corpora.files import require_field
from rwcore.corpora.spec import CorpusSpec
from rwcore.errors import CorpusError
from rwcore.runtime import quiet


def hub_documents(spec: CorpusSpec) -> Iterator[Document]:
    """The documents of a hub data set, shuffled if the spec says so.

    The data set is looked for in huggingface_hub's cache; the network is not touched and no code of the data
    set is run. The library ``datasets`` reads its files, whatever their format, into its own cache once (disk
    space as the uncompressed text).

    The order is that of ``datasets.Dataset.shuffle(seed)``; a document is called ``split:number`` by its
    number in the source.

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
    if spec.shuffle_seed is None:
        numbers = range(min(len(rows), len(rows) if spec.documents is None else spec.documents))
    else:
        numbers = order(len(rows), spec.shuffle_seed, spec.documents).tolist()
    for number in numbers:
        fields = rows[number]
        text = fields[spec.text_field]
        if not isinstance(text, str):
            raise CorpusError(
                f"the field {spec.text_field!r} is no text but {text!r:.40}",
                where=f"{where}: row {number}",
                remedy="name another field or data set",
            )
        yield Document(f"{spec.split}:{number}", text, labels_of(fields, spec.text_field))


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
        folder = huggingface_hub.snapshot_download(
            spec.location, repo_type="dataset", revision=spec.revision, local_files_only=True
        )
    except HFValidationError as error:
        what = f"{spec.location!r} is not a name the hub allows: {error}"
        raise CorpusError(what, where=spec.id, remedy="write org/name") from error
    except OSError as error:
        raise CorpusError(
            f"the corpus {spec.id!r} is not on this machine, or not all of it",
            where=f"the hub's cache: {spec.location}" + (f"@{spec.revision}" if spec.revision else ""),
            remedy=download_command(spec),
        ) from error
    return Path(folder)


def download_command(spec: CorpusSpec) -> str:
    """The command that downloads a hub data set; it comes with huggingface_hub."""
    at = f" --revision {spec.revision}" if spec.revision else ""
    return f"hf download {spec.location} --repo-type dataset{at}"


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
    with _no_bars(datasets) if quiet() else contextlib.nullcontext():
        try:
            return datasets.load_dataset(str(folder), split=spec.split)
        except Exception as error:  # whatever the files lead to: the library wraps some errors and not others
            raise CorpusError(
                f"the data set cannot be read: {error}",
                where=f"{folder}: {spec.split}",
                remedy=f"check the split; or download it again: {download_command(spec)}",
            ) from error


@contextlib.contextmanager
def _no_bars(datasets: Any) -> Iterator[None]:
    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()
