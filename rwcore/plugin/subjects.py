"""What a claim is asked of: nothing at all, or one or several models on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from rwcore.paths import slug

if TYPE_CHECKING:
    import pandas as pd

    from rwcore.claim.sample import Sample


class Kind(StrEnum):
    """Kinds of subjects, in the order in which claims are asked of them."""

    SYNTHETIC = "synthetic"
    TABLES = "tables"
    STAND_IN = "stand-in"
    PACKAGED = "packaged"
    OTHER = "other"
    PAPER = "paper"


@dataclass(frozen=True, order=True)
class SubjectSpec:
    """A subject before anything is loaded; hashable, so that pytest can group by it.

    Attributes:
        kind: What it is.
        id: Name in test ids and reports; the model id, or a name for several models together.
        models: Model ids, or the stand-in's id.
        paper: Folder name of the paper whose tables are meant (kind tables).
        pages: Whether the published files of neuron pages are meant too (kind tables).
    """

    kind: Kind
    id: str
    models: tuple[str, ...]
    paper: str = ""
    pages: bool = False

    @property
    def test_id(self) -> str:
        """The subject in a node id: safe in a shell, distinct for tables, pages and models."""
        prefix = "pages." if self.pages else "tables." if self.kind is Kind.TABLES else ""
        return prefix + slug(self.id)


class Subject:
    """Base of the subjects: everything a claim may ask for; a subject without it says so."""

    def __init__(self, spec: SubjectSpec, *, recorded: bool = False) -> None:
        self.spec = spec
        self.recorded = recorded

    @property
    def id(self) -> str:
        """Name in reports."""
        return self.spec.id

    @property
    def kind(self) -> Kind:
        """What kind of subject this is."""
        return self.spec.kind

    @property
    def models(self) -> tuple[str, ...]:
        """The models it holds."""
        return self.spec.models

    def begin(self) -> None:
        """Forget which text an earlier test has read."""

    def sample(self) -> Sample | None:
        """The text behind the numbers of this test; None if it has read none."""
        return None

    def provenance(self) -> dict[str, object]:
        """What stands behind the numbers of this subject."""
        return {}


def stack(frames: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """The only frame as it is, several one below the other with a ``model`` column."""
    import pandas as pd

    if len(frames) == 1:
        return next(iter(frames.values()))
    return pd.concat(
        [frame.assign(model=model)[["model", *frame.columns]] for model, frame in frames.items()],
        ignore_index=True,
    )
