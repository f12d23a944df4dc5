"""Which class of text each row of a corpus belongs to: languages, programming languages, sources."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int64
from torch import Tensor

from rwcore.corpora.tokens import TokenCorpus
from rwcore.probing.datasets.features import FeatureDataset
from rwcore.probing.errors import ProbeError

UNLABELLED = -1


@dataclass(frozen=True, eq=False)
class TextClasses:
    """The classes of the rows of one corpus.

    Attributes:
        names: The classes.
        row: Place of each row's class in ``names``; `UNLABELLED` for rows of none, which never count.

    Raises:
        ProbeError: A name is there twice, or a row has a class that is not.
    """

    names: tuple[str, ...]
    row: Int64[Tensor, " row"]

    def __post_init__(self) -> None:
        if len({*self.names}) < len(self.names):
            raise ProbeError(
                "two classes of text have one name",
                where=", ".join(self.names),
                remedy="name each class once",
            )
        if len(self.row) and not UNLABELLED <= int(self.row.min()) <= int(self.row.max()) < len(self.names):
            raise ProbeError(
                f"a row has a class that is none of the {len(self.names)}",
                where=", ".join(self.names),
                remedy=f"number the classes from 0, and give {UNLABELLED} to rows of none",
            )

    def place(self, name: str) -> int:
        """The number of a class.

        Raises:
            ProbeError: There is none of this name.
        """
        if name not in self.names:
            raise ProbeError(
                f"there is no class of text {name!r}", where="class", remedy=f"use {', '.join(self.names)}"
            )
        return self.names.index(name)

    def of_tokens(self, corpus: TokenCorpus) -> Int64[Tensor, " token"]:
        """The class of the row of every token.

        Raises:
            ProbeError: The corpus has another number of rows.
        """
        if len(self.row) != len(corpus):
            raise ProbeError(
                f"{len(self.row)} rows have a class, and the corpus {corpus.spec.id} has {len(corpus)}",
                where="classes of text",
                remedy="use the corpus that the classes were made for",
            )
        return self.row.repeat_interleave(corpus.lengths)


def classes_of_documents(corpus: TokenCorpus, labels: Sequence[str | None]) -> TextClasses:
    """The classes of rows whose documents are labelled.

    Args:
        corpus: The rows.
        labels: Of every document, in the order of their numbers; None for a document of no class.

    Raises:
        ProbeError: A row begins in a document that has no place in ``labels``.
    """
    if len(corpus) and int(corpus.document.max()) >= len(labels):
        raise ProbeError(
            f"there are labels of {len(labels)} documents, and a row of document "
            f"{int(corpus.document.max())}",
            where=corpus.spec.id,
            remedy="give a label, or None, for every document of the corpus",
        )
    names = tuple(sorted({label for label in labels if label is not None}))
    number = torch.tensor(
        [UNLABELLED if label is None else names.index(label) for label in labels], dtype=torch.int64
    )
    return TextClasses(names, number[corpus.document])


def classes_of_features(data: FeatureDataset, names: Sequence[str] | None = None) -> TextClasses:
    """The classes of rows according to features of which a row has one at most, such as languages.

    A row is of the class of its positive examples, be they the row itself or tokens in it; without any it is
    of no class.

    Args:
        data: The data set.
        names: The features that are classes; all if None.

    Raises:
        ProbeError: There is no such feature, or a row has two of them.
    """
    wanted = tuple(feature.name for feature in data.features) if names is None else tuple(names)
    row = torch.full((len(data.corpus),), UNLABELLED)
    known = {feature.name: feature for feature in data.features}
    for number, name in enumerate(wanted):
        if name not in known:
            raise ProbeError(
                f"{data.name} has no feature {name!r}", where="class", remedy=f"use {', '.join(known)}"
            )
        own = torch.unique(data.row[known[name].example[known[name].label]])
        taken = own[row[own] != UNLABELLED]
        if len(taken):
            other = wanted[int(row[taken[0]])]
            raise ProbeError(
                f"row {int(taken[0])} has the feature {name!r} and the feature {other!r}",
                where=data.name,
                remedy="name features of which a row has one at most, such as languages",
            )
        row[own] = number
    return TextClasses(wanted, row)
