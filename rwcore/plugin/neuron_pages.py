"""Neuron pages as claims ask for them: the published files, and our own in the same columns."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from rwcore.plugin.subjects import SubjectSpec
from rwcore.plugin.tables import TablesSubject

if TYPE_CHECKING:
    import pandas as pd

    from rwcore.stats.cosines import RWCosines
    from rwcore.studies.activations import PassStudy

PER_CLASS = 1
"""Neurons of each class that own pages are made of."""


class PagesSubject(TablesSubject):
    """The published files of neuron pages, beside the tables made from them.

    Args:
        spec: The models.
        published: Folder of the tables.
        folder: Folder of the pages.
    """

    def __init__(self, spec: SubjectSpec, published: Path, folder: Path) -> None:
        super().__init__(spec, published)
        self._folder = folder

    def page_facts(self) -> pd.DataFrame:
        """See `rwcore.activations.published_facts.page_facts`."""
        return self._measured[0]

    def peaks(self) -> pd.DataFrame:
        """See `rwcore.activations.published_facts.peaks`."""
        return self._measured[1]

    def peaks_unlike_the_table(self) -> int:
        """Rows of `peaks` that the published table does not have, to the digit."""
        table = super().peaks()
        return len(self.peaks()) - len(self.peaks().merge(table, on=[*table.columns]))

    @cached_property
    def _measured(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        from rwcore.activations.published_facts import measure
        from rwcore.activations.published_pages import read_pages

        return measure(read_pages(self._folder))


def near_the_middle(cosines: RWCosines, per_class: int = PER_CLASS) -> list[tuple[int, int]]:
    """Of each class that has any, the neurons nearest to the middle of depth; then the first of a layer."""
    from rwcore.stats.classes import class_codes, classes_of

    codes = class_codes(cosines)
    found = []
    for code in range(len(classes_of(cosines))):
        pairs = [(layer, neuron) for layer, neuron in (codes == code).nonzero().tolist()]
        pairs.sort(key=lambda pair: (abs(2 * pair[0] - (len(codes) - 1)), *pair))
        found += pairs[:per_class]
    return found


def own_measured(pass_: PassStudy) -> tuple[pd.DataFrame, pd.DataFrame]:
    """`page_facts` and `peaks` of our own pages of the neurons of `near_the_middle`."""
    from rwcore.activations.published_facts import measure
    from rwcore.studies.published_comparison import own_pages
    from rwcore.weights.shape import read_shape

    pages = own_pages(pass_, near_the_middle(pass_.weights.cosines))
    return measure(pages, read_shape(pass_.weights.local).activation)
