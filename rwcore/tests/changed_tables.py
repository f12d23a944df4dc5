"""Published tables in which something is changed, and what the claims of their paper then say of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path

import pandas as pd

from rwcore.claim.schema import Paper, load_paper
from rwcore.golden.paths import published_dir
from rwcore.paths import claims_dir
from rwcore.plugin.parametrize import Asked, subjects_of
from rwcore.plugin.subjects import Kind
from rwcore.plugin.tables import TablesSubject
from rwcore.tests.neuroscope_claims import Answers, answers, claims_of, failing, ids, labels, module

NOBODY = Asked({}, (), papers_own=False)

Apply = Callable[[Path], None]
Change = Callable[[str], object]


class PaperTables:
    """The tables of a paper, and the tests of its claims about them.

    Args:
        slug: The paper's folder.
    """

    def __init__(self, slug: str) -> None:
        self.folder = claims_dir() / slug
        self.paper: Paper = load_paper(self.folder)
        self.published = published_dir(slug)

    @cached_property
    def tests(self) -> list[Callable[..., None]]:
        """Tests with a claim about the tables."""
        names = sorted(file.stem.removeprefix("test_") for file in self.folder.glob("test_*.py"))
        found = [
            test
            for name in names
            for key, test in vars(module(name, self.folder)).items()
            if key.startswith("test_")
        ]
        return [test for test in found if labels([test], "data", paper=self.paper)]

    @property
    def expectations(self) -> set[str]:
        """What the tests ask of the tables."""
        return labels(self.tests, "data", paper=self.paper)

    def asked(self, folder: Path, claims: set[str]) -> Answers:
        """What the tests of some claims say of tables; an expectation holds if it does of every model."""
        said: Answers = {}
        for test in self.tests:
            if not claims & set(claims_of(test)):
                continue
            for spec in subjects_of(
                self.paper, map(self.paper.claim, claims_of(test)), NOBODY, with_papers_own=False
            ):
                if spec.kind is not Kind.TABLES:
                    continue
                for name, agrees in answers(test, TablesSubject(spec, folder), paper=self.paper).items():
                    said[name] = said.get(name, True) and agrees
        return said

    def as_published(self) -> Answers:
        """What all tests say of the published tables."""
        return self.asked(self.published, {claim.id for claim in self.paper.claims})

    def fail(self, change: Apply, wanted: set[str], folder: Path) -> None:
        """Check that some expectations, perhaps among others, fail on changed tables.

        Args:
            change: Changes the tables in a folder.
            wanted: Labels of the expectations.
            folder: Where the changed tables go.
        """
        shutil.copytree(self.published, folder / "published")
        change(folder / "published")
        assert wanted <= failing(self.asked(folder / "published", ids(wanted)))


def edit_rows(
    name: str,
    column: str,
    change: Change | None,
    parts: frozenset[str] = frozenset(),
    **where: object,
) -> Apply:
    """Change a column of some rows, or leave the rows out (None).

    Args:
        name: The table's file, without suffix.
        column: What is changed.
        change: How.
        parts: Columns of ``where`` that need only contain the text.
        where: Texts of other columns.
    """

    def apply(folder: Path) -> None:
        file = folder / f"{name}.csv"
        frame = pd.read_csv(file, dtype=str, keep_default_na=False)
        rows = pd.Series(True, index=frame.index)
        for key, value in where.items():
            text = str(value)
            rows &= frame[key].str.contains(text, regex=False) if key in parts else frame[key] == text
        assert rows.any()
        if change is None:
            frame = frame[~rows]
        else:
            kept = frame.loc[rows, column]
            frame.loc[rows, column] = kept.map(lambda cell: str(change(cell)))
            assert (frame.loc[rows, column] != kept).any()
        frame.to_csv(file, index=False)

    return apply


def each(edits: Iterable[Apply]) -> Apply:
    """Several edits, one after the other."""
    found = list(edits)

    def apply(folder: Path) -> None:
        for one in found:
            one(folder)

    return apply


def more(amount: float) -> Change:
    """A number that is larger."""
    return lambda cell: float(cell) + amount


def count(amount: int) -> Change:
    """A count that is larger."""
    return lambda cell: int(cell) + amount


def times(factor: float) -> Change:
    """A number that is larger by a factor."""
    return lambda cell: float(cell) * factor


def becomes(value: object) -> Change:
    """Another value."""
    return lambda _: value


def swap(old: str, new: str) -> Change:
    """A text in which a part is another."""
    return lambda cell: cell.replace(old, new)
