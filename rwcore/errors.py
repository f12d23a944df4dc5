"""The errors a user can cause or meet, each saying what was wrong, where, and what to do."""

from __future__ import annotations

from collections.abc import Collection


class RwcoreError(Exception):
    """Base of every error rwcore raises on purpose.

    Args:
        what: What was wrong, in one sentence.
        where: The file, key, tensor or option that was wrong.
        remedy: What to do about it; a command where there is one.
    """

    def __init__(self, what: str, *, where: str | None = None, remedy: str | None = None) -> None:
        self.what = what
        self.where = where
        self.remedy = remedy
        super().__init__(what)

    def __str__(self) -> str:
        lines = [self.what]
        if self.where:
            lines.append(f"  where: {self.where}")
        if self.remedy:
            lines.append(f"  to do: {self.remedy}")
        return "\n".join(lines)


class ModelError(RwcoreError):
    """A model cannot be named, found, fetched or understood."""


class WeightsMissing(ModelError):
    """The weights of a known model are not on this machine; the remedy is the command that fetches them."""


class WeightsError(RwcoreError):
    """Weight files are there but corrupt, truncated, incomplete or of the wrong shape."""


class NotGatedError(RwcoreError):
    """A statistic of gated neurons was asked of a model whose MLP has no gate."""


class ClaimFileError(RwcoreError):
    """A claim file (``paper.toml``, ``known_differences.toml``, published table) is malformed."""


class GoldenError(RwcoreError):
    """A recorded value is missing, unreadable or differs."""


class StoreError(RwcoreError):
    """An artefact or cache folder cannot be read or written."""


class OptionError(RwcoreError):
    """A command-line option has an impossible value."""


class CorpusError(RwcoreError):
    """A corpus cannot be named, found, read or turned into tokens."""


def require_choice(option: str, given: str, choices: Collection[str]) -> None:
    """Refuse a word that is none of those an option takes.

    Raises:
        OptionError: It is none of them.
    """
    if given not in choices:
        raise OptionError(f"there is no {given!r}", where=option, remedy=f"use {' or '.join(choices)}")


def require_least(option: str, given: int, least: int) -> None:
    """Refuse a number that is too small.

    Raises:
        OptionError: It is.
    """
    if given < least:
        raise OptionError(f"{given} is less than {least}", where=option, remedy=f"give {least} or more")
