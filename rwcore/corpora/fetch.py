"""Bring a data set of the hub onto this machine."""

from __future__ import annotations

import contextlib
import fnmatch
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from rwcore.corpora.hub import no_bars, snapshot
from rwcore.corpora.spec import CorpusSpec
from rwcore.errors import CorpusError, ModelError
from rwcore.models.fetch import explain
from rwcore.models.spec import HUB, ModelSpec
from rwcore.runtime import quiet

if TYPE_CHECKING:
    from huggingface_hub.hf_api import DatasetInfo


def fetch(spec: CorpusSpec, progress: bool = True) -> Path:
    """Make sure that a hub data set is on this machine, downloading what is missing.

    All files of the data set, or those that the corpus names, go to huggingface_hub's cache, where other
    programs find them too. Without a revision the hub is asked what the main branch points to now. If the hub
    cannot be reached but everything is already here, what is here is returned.

    Args:
        spec: A corpus with the source ``hub``.
        progress: Whether to show progress bars (never in CI or without a terminal).

    Returns:
        The folder in the hub's cache; its name is the commit.

    Raises:
        CorpusError: The data set does not exist, is behind a licence, cannot be reached or does not fit.
    """
    try:
        _download(spec, progress)
    except CorpusError:
        raise
    # The hub's client raises its own, its HTTP library's, its transfer library's and the system's errors.
    except Exception as error:
        # A data set's address is that of a model below datasets/.
        told = explain(error, ModelSpec(spec.id, HUB, f"datasets/{spec.location}", spec.revision))
        if type(told) is not ModelError:  # a subclass says: out of reach, so what is here must do
            with contextlib.suppress(CorpusError):
                return snapshot(spec)
        raise CorpusError(told.what, where=told.where, remedy=told.remedy) from error
    return snapshot(spec)


def _download(spec: CorpusSpec, progress: bool) -> None:
    import huggingface_hub

    info = huggingface_hub.HfApi().dataset_info(spec.location, revision=spec.revision, files_metadata=True)
    _check_space(spec, info)
    silent = quiet() or not progress
    with no_bars(huggingface_hub.utils) if silent else contextlib.nullcontext():
        # The branch, not the commit, so that the cache learns what the branch points to.
        huggingface_hub.snapshot_download(
            spec.location,
            repo_type="dataset",
            revision=spec.revision,
            allow_patterns=list(spec.files) or None,
        )


def _check_space(spec: CorpusSpec, info: DatasetInfo) -> None:
    """Refuse a download that cannot fit, before the first byte."""
    from huggingface_hub import constants, try_to_load_from_cache

    def is_here(name: str) -> bool:
        found = try_to_load_from_cache(spec.location, name, revision=info.sha, repo_type="dataset")
        return isinstance(found, str)

    def is_wanted(name: str) -> bool:
        return not spec.files or any(fnmatch.fnmatch(name, pattern) for pattern in spec.files)

    names = [file for file in info.siblings or [] if is_wanted(file.rfilename)]
    needed = sum(file.size or 0 for file in names if not is_here(file.rfilename))
    folder = Path(constants.HF_HUB_CACHE)
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise CorpusError(
            f"{spec.id} needs {needed / 1e9:.1f} GB, but only {free / 1e9:.1f} GB are free",
            where=str(constants.HF_HUB_CACHE),
            remedy="free some space, or set HF_HOME to a larger disk",
        )
