"""Which examples a probe is fitted to, chosen by and judged on.

Two conventions:

*   fixed: documents are dealt to train, validation and test once for a whole dataset, so that all its
    features share one split and no document is on two sides. What is chosen (a neuron, a threshold, k) is
    chosen on validation; test is looked at once.
*   as_published: rows are drawn at random, ceil(0.3 n) of them for test, the rest for training, exactly as
    scikit-learn's ``train_test_split`` does it; not stratified, documents torn apart, no validation.

Source: Gurnee et al., "Finding Neurons in a Haystack" (2023), and its code.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from rwcore.errors import OptionError
from rwcore.probing.errors import ProbeError

PARTS = ("train", "validation", "test")
SHARES = (0.5, 0.2, 0.3)
PUBLISHED_TEST = 0.3
PUBLISHED_SEED = 42


@dataclass(frozen=True, eq=False)
class Split:
    """Places into the labelled examples of a feature; no place is in two parts.

    Attributes:
        train: What probes are fitted to.
        validation: What neurons and thresholds are chosen by; empty as published.
        test: What the final numbers are of.
    """

    train: Int64[Tensor, " train"]
    validation: Int64[Tensor, " validation"]
    test: Int64[Tensor, " test"]

    def parts(self) -> dict[str, Int64[Tensor, " part"]]:
        """The three by name, in the order of `PARTS`."""
        return {name: getattr(self, name) for name in PARTS}


def published_test_size(n: int, share: float = PUBLISHED_TEST) -> int:
    """n_test = ceil(share · n)."""
    return math.ceil(share * n)


def published_split(
    label: Bool[Tensor, " labelled"],
    *,
    seed: int = PUBLISHED_SEED,
    share: float = PUBLISHED_TEST,
    name: str = "feature",
) -> Split:
    """The split of the paper: the first ceil(share·n) places of a seeded permutation are for testing.

    The places are in the order of the permutation, as scikit-learn returns them (SAGA depends on it). The
    same n and seed give the same split, so that all classes of a dataset share it.

    Args:
        label: Of every labelled example; only its length and its classes matter.
        seed: Of the permutation; 42 in all final experiments.
        share: Of the examples that are for testing.
        name: Of the feature, for messages.

    Raises:
        OptionError: The share leaves nothing for one of the sides.
        ProbeError: One side has one class only.
    """
    n = len(label)
    test = published_test_size(n, share)
    if not 0 < test < n:
        raise OptionError(
            f"{test} of {n} examples would be for testing",
            where=name,
            remedy="give more examples or another share",
        )
    order = torch.from_numpy(np.random.RandomState(seed).permutation(n).astype(np.int64))
    split = Split(order[test:], torch.zeros(0, dtype=torch.int64), order[:test])
    _require_classes(label, {"train": split.train, "test": split.test}, name)
    return split


def deal_groups(
    group: Int64[Tensor, " example"],
    *,
    seed: int = 0,
    shares: Sequence[float] = SHARES,
    stratum: Int64[Tensor, " example"] | None = None,
) -> Int64[Tensor, " example"]:
    """Which part every example of a dataset is in: 0 train, 1 validation, 2 test. Groups stay together.

    The groups of a stratum stand in a random order, one after the other, each as long as it has examples; a
    group is in the part in which its middle lies, so that shares are of examples, not of groups.

    Args:
        group: Document of each example.
        seed: Of the order of the groups.
        shares: Of the three parts; they add up to 1.
        stratum: What kind of document that is, the same for all examples of a group: every kind with a group
            for each part is dealt for itself, so that rare kinds are in all parts; the others are dealt
            together. One kind if None.

    Raises:
        OptionError: The shares are not positive, or do not add up to 1.
    """
    if len(shares) != len(PARTS) or min(shares) <= 0 or not math.isclose(sum(shares), 1):
        raise OptionError(
            f"shares {tuple(shares)} of train, validation and test",
            where="shares",
            remedy="e.g. 0.5, 0.2, 0.3",
        )
    _, place, size = torch.unique(group, return_inverse=True, return_counts=True)
    kind = torch.zeros(len(size), dtype=torch.int64)
    if stratum is not None:
        names = torch.empty(len(size), dtype=torch.int64)
        names[place] = stratum
        _, number, count = torch.unique(names, return_inverse=True, return_counts=True)
        # 0 is what is dealt together.
        kind = torch.where(count[number] >= len(PARTS), number + 1, 0)
    generator = np.random.default_rng(seed)
    limits = torch.tensor([shares[0], shares[0] + shares[1]], dtype=torch.float64)
    part = torch.empty(len(size), dtype=torch.int64)
    for one in sorted({*kind.tolist()}):
        members = (kind == one).nonzero()[:, 0]
        order = members[torch.from_numpy(generator.permutation(len(members)))]
        ends = size[order].cumsum(0).to(torch.float64)
        middle = (ends - size[order] / 2) / ends[-1]
        part[order] = torch.searchsorted(limits, middle, right=True)
    return part[place]


def split_feature(
    part: Int64[Tensor, " example"],
    example: Int64[Tensor, " labelled"],
    label: Bool[Tensor, " labelled"],
    *,
    name: str = "feature",
) -> Split:
    """The split of one feature, from the parts of its dataset.

    Args:
        part: Of every example of the dataset, see `deal_groups`.
        example: Numbers of the labelled examples.
        label: Theirs.
        name: Of the feature, for messages.

    Raises:
        ProbeError: A part has one class only.
    """
    of_feature = part[example]
    split = Split(*((of_feature == number).nonzero()[:, 0] for number in range(len(PARTS))))
    _require_classes(label, split.parts(), name)
    return split


def folds(group: Int64[Tensor, " example"], number: int, *, seed: int = 0) -> Int64[Tensor, " example"]:
    """The fold, 0 … number - 1, of every example; groups stay together, folds are about equally large.

    Args:
        group: Document of each example.
        number: Of folds.
        seed: Decides between groups of one size.

    Raises:
        OptionError: Fewer than two folds.
        ProbeError: There are fewer rows, or fewer documents, than folds.
    """
    if number < 2:
        raise OptionError(f"{number} folds", where="folds", remedy="give 2 or more")
    _, place, size = torch.unique(group, return_inverse=True, return_counts=True)
    if len(size) < number:
        raise ProbeError(
            f"{len(group)} rows of {len(size)} documents cannot be dealt to {number} folds",
            where="folds",
            remedy="give more documents, or fewer folds",
        )
    shuffled = torch.from_numpy(np.random.default_rng(seed).permutation(len(size)))
    # The largest group first, always to the smallest fold: no fold stays empty.
    order = shuffled[torch.argsort(size[shuffled], descending=True, stable=True)]
    filled = np.zeros(number, np.int64)
    fold = torch.empty(len(size), dtype=torch.int64)
    for one in order.tolist():
        smallest = int(filled.argmin())
        fold[one] = smallest
        filled[smallest] += int(size[one])
    return fold[place]


def refuse_one_class(label: Bool[Tensor, " labelled"], *, where: str) -> None:
    """Refuse labels that are all alike.

    Raises:
        ProbeError: They are, or there are none.
    """
    positives = int(label.sum())
    if positives in (0, len(label)):
        raise ProbeError(
            f"{positives} of {len(label)} examples are positive, so there is nothing to tell apart",
            where=where,
            remedy="leave the feature out, or give examples of both classes",
        )


def _require_classes(
    label: Bool[Tensor, " labelled"], parts: dict[str, Int64[Tensor, " part"]], name: str
) -> None:
    for part, places in parts.items():
        refuse_one_class(label[places], where=f"{name}, {part}")
