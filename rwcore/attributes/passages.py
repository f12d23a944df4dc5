"""Passages: paragraphs about a subject."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Passage:
    """One paragraph.

    Attributes:
        title: Where it stands: ``Article. Section. Subsection``.
        text: The paragraph, on one line.
    """

    title: str
    text: str

    @property
    def whole(self) -> str:
        """What is searched for a subject: the title and the paragraph, as one text."""
        return f"{self.title}. {self.text}"


Passages = Mapping[str, tuple[Passage, ...]]
"""By subject, best first; a subject nothing was found for has ``()``."""
