"""A binary feature of some examples, and a data set of such features over rows of tokens."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from rwcore.corpora.encoder import TextEncoder
from rwcore.corpora.tokens import TokenCorpus
from rwcore.probing.errors import ProbeError

NONE, MEAN, MAX = "none", "mean", "max"
AGGREGATIONS = (NONE, MEAN, MAX)

FIXED, AS_PUBLISHED = "fixed", "as_published"


@dataclass(frozen=True, eq=False)
class Feature:
    """One binary feature of some examples of a data set.

    Attributes:
        name: What it is, unique in its data set.
        family: The kind of feature it belongs to (``upos``, ``language``, …).
        example: Numbers of the examples that are labelled, ascending, each once.
        label: Whether each of them has the feature.

    Raises:
        ProbeError: All labels are the same, or the examples are not ascending.
    """

    name: str
    family: str
    example: Int64[Tensor, " labelled"]
    label: Bool[Tensor, " labelled"]

    def __post_init__(self) -> None:
        if len(self.example) != len(self.label):
            raise _wrong(self.name, f"it has {len(self.example)} examples and {len(self.label)} labels")
        if bool((self.example.diff() <= 0).any()):
            raise _wrong(self.name, "its examples are not in ascending order, each once")
        if not 0 < self.positives < len(self.label):
            raise ProbeError(
                f"the feature {self.name!r} has one class only: {self.positives} of its {len(self.label)} "
                "examples are positive",
                where=f"the feature {self.name!r}",
                remedy="label examples with the feature and examples without it",
            )

    @cached_property
    def positives(self) -> int:
        """Examples with the feature."""
        return int(self.label.sum())

    @property
    def negatives(self) -> int:
        """Labelled examples without the feature."""
        return len(self.label) - self.positives


@dataclass(frozen=True)
class Skipped:
    """A feature that a data set was asked for and does not have.

    Attributes:
        name: What it would have been.
        family: The kind of feature.
        positives: Examples with it that were found.
        negatives: Examples without it that were found.
        least: How many of each there must be.
    """

    name: str
    family: str
    positives: int
    negatives: int
    least: int


@dataclass(frozen=True, eq=False)
class FeatureDataset:
    """Binary features over the rows of a corpus.

    Attributes:
        name: Name of the data set.
        corpus: The rows of tokens that the model reads.
        aggregation: ``none``: an example is a token; ``mean``, ``max``: an example is a row, and a neuron's
            value is the mean or maximum over the tokens of the row that are valid.
        token: Of ``none``, the place of each example in ``corpus.tokens``, ascending; else None.
        valid: Of ``mean`` and ``max``, which tokens of ``corpus.tokens`` are pooled; else None.
        features: The features, each over some of the examples.
        group: Document of each example; what belongs to one document stays on one side of a split.
        skipped: Features with too few examples of one class.

    Raises:
        ProbeError: The parts do not fit each other.
    """

    name: str
    corpus: TokenCorpus
    aggregation: str
    token: Int64[Tensor, " example"] | None
    valid: Bool[Tensor, " token"] | None
    features: tuple[Feature, ...]
    group: Int64[Tensor, " example"]
    skipped: tuple[Skipped, ...] = ()

    def __post_init__(self) -> None:
        wrong = _misfit(self)
        if wrong is not None:
            raise _wrong(self.name, wrong)

    def __len__(self) -> int:
        """Examples."""
        return len(self.group)

    @cached_property
    def row(self) -> Int64[Tensor, " example"]:
        """Row of each example."""
        if self.token is None:
            return torch.arange(len(self.corpus))
        return torch.searchsorted(self.corpus.offsets, self.token, right=True) - 1

    @cached_property
    def position(self) -> Int64[Tensor, " example"]:
        """Position of each token in its row, from 0; examples that are rows have none.

        Raises:
            ValueError: The examples are rows.
        """
        if self.token is None:
            raise ValueError(f"the examples of {self.name} are rows")
        return self.token - self.corpus.offsets[self.row]

    def contexts(self) -> Int64[Tensor, "example width"]:
        """What the model sees up to each example, from the left, filled up with −1; of a row, all of it."""
        starts = self.corpus.offsets[self.row]
        ends = self.corpus.offsets[self.row + 1] if self.token is None else self.token + 1
        place = starts[:, None] + torch.arange(int((ends - starts).max()) if len(self) else 0)
        seen = place < ends[:, None]
        return torch.where(seen, self.corpus.tokens[place.clamp(max=self.corpus.n_tokens - 1)].long(), -1)

    def feature(self, name: str) -> Feature:
        """A feature by its name.

        Raises:
            KeyError: There is none of this name.
        """
        return {feature.name: feature for feature in self.features}[name]

    @cached_property
    def content_hash(self) -> str:
        """``sha256:…`` over rows, examples, pooling and labels."""
        digest = hashlib.sha256(f"{self.corpus.content_hash} {self.aggregation}\n".encode())
        arrays = [self.token, self.valid, self.group]
        for feature in self.features:
            digest.update(f"{feature.family} {feature.name}\n".encode())
            arrays += [feature.example, feature.label]
        for values in arrays:
            if values is None:
                digest.update(b"none\n")
            else:
                numbers = values.contiguous().numpy()
                digest.update(f"{len(numbers)}\n".encode())
                digest.update(numbers.astype(numbers.dtype.newbyteorder("<"), copy=False).data)
        return "sha256:" + digest.hexdigest()

    def require_fit(self, encoder: TextEncoder) -> None:
        """Check that the rows are what this model's own tokenizer makes.

        Raises:
            CorpusError: They were made by another tokenizer, or do not fit the model.
        """
        self.corpus.require_fit(encoder)


def _misfit(data: FeatureDataset) -> str | None:
    """What is wrong with the parts of a data set; None if nothing is."""
    names = [feature.name for feature in data.features]
    twice = next((name for name in names if names.count(name) > 1), None)
    if data.aggregation not in AGGREGATIONS:
        return f"the aggregation {data.aggregation!r} is none of {', '.join(AGGREGATIONS)}"
    if (data.token is None) == (data.aggregation == NONE) or (data.valid is None) != (
        data.aggregation == NONE
    ):
        return f"the aggregation {data.aggregation!r} does not go with what its examples are"
    if twice is not None:
        return f"two features are called {twice!r}"
    count = len(data.corpus) if data.token is None else len(data.token)
    if len(data.group) != count:
        return f"{count} examples have {len(data.group)} groups"
    if any(int(feature.example[0]) < 0 or int(feature.example[-1]) >= count for feature in data.features):
        return f"a feature has an example that is none of the {count}"
    if data.token is not None and count and bool((data.token.diff() <= 0).any()):
        return "its tokens are not in ascending order, each once"
    if (
        data.token is not None
        and count
        and not 0 <= int(data.token[0]) <= int(data.token[-1]) < data.corpus.n_tokens
    ):
        return f"an example is none of the {data.corpus.n_tokens} tokens"
    if data.valid is not None and len(data.valid) != data.corpus.n_tokens:
        return f"{len(data.valid)} tokens are said to be valid or not, and there are {data.corpus.n_tokens}"
    if data.valid is not None and count and not bool(_any_of_row(data.valid, data.corpus).all()):
        return "a row has no valid token"
    return None


def _any_of_row(valid: Bool[Tensor, " token"], corpus: TokenCorpus) -> Bool[Tensor, " row"]:
    seen = torch.cat([torch.zeros(1, dtype=torch.int64), valid.cumsum(0)])
    return seen[corpus.offsets].diff() > 0


def _wrong(name: str, reason: str) -> ProbeError:
    return ProbeError(
        f"the data set or feature {name!r} does not hold together: {reason}",
        where=name,
        remedy="make it again from its texts",
    )
