"""Checkpoints of something long: each names how many batches are done, and there is always a whole one.

A new checkpoint is complete, under its own name, before the older one is deleted; so a process may be killed
at any moment.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from rwcore.store import writing


class Checkpoints:
    """The checkpoints in a folder, which whoever uses them has locked.

    Args:
        folder: Where they are; made if it is not there. What a killed process left half-written is removed.
        marker: Name of the file that every whole checkpoint has.
    """

    def __init__(self, folder: Path, marker: str) -> None:
        self.folder = folder
        self._marker = marker
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        for half_written in folder.glob(".*"):
            shutil.rmtree(half_written, ignore_errors=True)

    def path(self, done: int) -> Path:
        """The checkpoint with so many batches, there or not."""
        return self.folder / f"batches_{done:08d}"

    def newest(self) -> int | None:
        """Batches in the newest checkpoint; None if there is none."""
        return max(self._all(), default=None)

    def keep_only(self, done: int) -> None:
        """Delete all checkpoints but one, which is complete."""
        for other in self._all():
            if other != done:
                shutil.rmtree(self.path(other), ignore_errors=True)

    def _all(self) -> list[int]:
        found = (path.parent.name for path in self.folder.glob(f"*/{self._marker}"))
        matches = (re.fullmatch(r"batches_(\d{8})", name) for name in found)
        return [int(match[1]) for match in matches if match]
