"""Where published and recorded values are, and which recorded files nobody wants any more."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from rwcore import paths
from rwcore.errors import GoldenError

META_SUFFIX = ".meta.json"


def published_dir(paper: str, golden: Path | None = None) -> Path:
    """``golden/<paper>/published``: what the paper says; written by people only."""
    return _golden(golden) / _name(paper) / "published"


def recorded_path(paper: str, name: str, model: str, golden: Path | None = None) -> Path:
    """``golden/<paper>/recorded/<name>/<model>.csv``: what we last accepted.

    Args:
        paper: Slug of the paper.
        name: Name of the recorded quantity.
        model: Id or slug of the model.
        golden: The folder ``golden/``; that of the checkout if None.
    """
    return _golden(golden) / _name(paper) / "recorded" / _name(name) / f"{_name(model)}.csv"


def meta_path(recorded: Path) -> Path:
    """The side-car with the provenance of a recorded file."""
    return recorded.with_suffix(META_SUFFIX)


def _golden(golden: Path | None) -> Path:
    return golden if golden is not None else paths.golden_dir()


def _name(text: str) -> str:
    name = paths.slug(text)
    if not name or name.startswith("."):
        raise GoldenError(f"{text!r} cannot be part of a file name", remedy="use letters, digits and dashes")
    return name


def collisions(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Groups of different names that would share a file, also on a disk that ignores case."""
    groups: dict[str, set[str]] = defaultdict(set)
    for name in names:
        groups[paths.slug(name).casefold()].add(name)
    return [tuple(sorted(group)) for _, group in sorted(groups.items()) if len(group) > 1]


def missing(expected: Iterable[Path]) -> list[Path]:
    """Recorded files, and their side-cars, that should be there and are not."""
    wanted = [file for path in expected for file in (path, meta_path(path))]
    return sorted(file for file in wanted if not file.is_file())


def orphans(expected: Iterable[Path], golden: Path | None = None) -> list[Path]:
    """Files in any ``recorded`` folder that no test compares.

    Args:
        expected: Every recorded file that a test compares.
        golden: The folder ``golden/``; that of the checkout if None.
    """
    wanted = {file.resolve() for path in expected for file in (path, meta_path(path))}
    there = (file for file in _golden(golden).glob("*/recorded/**/*") if file.is_file())
    return sorted(file for file in there if file.resolve() not in wanted)
