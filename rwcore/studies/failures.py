"""Tasks of a grid that fail alone: whatever goes wrong is returned, so that the others go on."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from rwcore.errors import RwcoreError


@dataclass(frozen=True)
class Failure:
    """A run that could not be made; the others of a grid go on.

    Attributes:
        name: The run.
        error: What was wrong.
        where: Where.
        remedy: What to do.
    """

    name: str
    error: str
    where: str | None
    remedy: str | None


class Named(Protocol):
    """A task that has a name."""

    @property
    def name(self) -> str:
        """What it is called in errors."""
        ...


Task = TypeVar("Task", bound=Named)
Found = TypeVar("Found")


def failure_of(name: str, error: Exception) -> Failure:
    """What went wrong with a task, in the words of the error."""
    if isinstance(error, RwcoreError):
        return Failure(name, error.what, error.where, error.remedy)
    return Failure(name, f"{type(error).__name__}: {error}", None, None)


def attempting(function: Callable[[Task], Found]) -> Callable[[Task], Found | Failure]:
    """The function, but what it raises is returned.

    It can be sent to another process if the function can.
    """
    return functools.partial(_attempt, function)


def _attempt(function: Callable[[Task], Found], task: Task) -> Found | Failure:
    try:
        return function(task)
    except Exception as error:  # of libraries too: no memory left on a GPU, for instance
        return failure_of(task.name, error)
