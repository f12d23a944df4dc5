"""What goes wrong with a task is returned in the words of the error."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from rwcore.errors import StoreError
from rwcore.studies.failures import Failure, attempting


@dataclass(frozen=True)
class Division:
    name: str
    by: int


def divide(task: Division) -> int:
    if task.by < 0:
        raise StoreError("a negative number", where="by", remedy="give a positive one")
    return 12 // task.by


def stop(task: Division) -> int:
    raise KeyboardInterrupt


def test_what_is_found_is_returned() -> None:
    assert attempting(divide)(Division("one", 4)) == 3


def test_our_errors_keep_their_parts() -> None:
    failure = attempting(divide)(Division("one", -4))
    assert failure == Failure("one", "a negative number", "by", "give a positive one")


def test_errors_of_libraries_are_named() -> None:
    failure = attempting(divide)(Division("one", 0))
    assert isinstance(failure, Failure)
    assert failure.name == "one"
    assert failure.error.startswith("ZeroDivisionError: ")
    assert failure.where is failure.remedy is None


def test_whoever_stops_a_grid_stops_it() -> None:
    with pytest.raises(KeyboardInterrupt):
        attempting(stop)(Division("one", 4))
