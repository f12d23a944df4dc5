"""The features of a data set, each with its split: what every probe, curve and control starts from.

Two conventions (see `rwcore.probing.splits`):

*   fixed: documents that share a text become one, and documents are dealt to train, validation and test once
    for the data set, so that all its features share one split, every kind of document (with the same
    features) for itself;
*   as_published: the labelled examples of each feature are drawn at random for train and test. There is no
    validation, so what is chosen can only be chosen on test, which makes its numbers optimistic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from rwcore.errors import OptionError, require_choice
from rwcore.probing.datasets.features import AS_PUBLISHED, FIXED, Feature, FeatureDataset
from rwcore.probing.duplicates import join_duplicates
from rwcore.probing.errors import ProbeError
from rwcore.probing.splits import PUBLISHED_SEED, Split, deal_groups, published_split, split_feature

CONVENTIONS = (FIXED, AS_PUBLISHED)


@dataclass(frozen=True, eq=False)
class ProbeTask:
    """One feature, ready to be probed.

    Attributes:
        dataset: Name of its data set.
        family: The kind of feature.
        name: Of the feature, unique in its data set.
        example: Numbers of the labelled examples in the data set, ascending.
        label: Whether each of them has the feature.
        group: Document of each of them; documents that share a text are one.
        split: Places into ``example``.
    """

    dataset: str
    family: str
    name: str
    example: Int64[Tensor, " labelled"]
    label: Bool[Tensor, " labelled"]
    group: Int64[Tensor, " labelled"]
    split: Split


@dataclass(frozen=True)
class Unsplit:
    """A feature that cannot be probed because a part of its split would have one class only.

    Attributes:
        dataset: Name of its data set.
        family: The kind of feature.
        name: Of the feature.
        positives: Labelled examples with it.
        negatives: Labelled examples without it.
        documents: How many documents its positives are from.
        why: Which part has how many positives.
    """

    dataset: str
    family: str
    name: str
    positives: int
    negatives: int
    documents: int
    why: str


def probe_tasks(
    data: FeatureDataset, *, convention: str = FIXED, seed: int | None = None
) -> tuple[list[ProbeTask], list[Unsplit]]:
    """Split the features of a data set.

    Args:
        data: The data set.
        convention: One of `CONVENTIONS`.
        seed: Of the split; without, 0, and as published 42.

    Returns:
        The features that can be probed, in the order of the data set, and those that cannot.

    Raises:
        OptionError: There is no such convention.
    """
    require_choice("convention", convention, CONVENTIONS)
    group = join_duplicates(data.group, data.contexts())
    part = deal_groups(group, seed=seed or 0, stratum=_kinds(data, group))

    def split(feature: Feature) -> Split:
        if convention == FIXED:
            return split_feature(part, feature.example, feature.label, name=feature.name)
        number = PUBLISHED_SEED if seed is None else seed
        return published_split(feature.label, seed=number, name=feature.name)

    tasks: list[ProbeTask] = []
    unsplit: list[Unsplit] = []
    for feature in data.features:
        of_feature = group[feature.example]
        named = (data.name, feature.family, feature.name)
        try:
            tasks.append(ProbeTask(*named, feature.example, feature.label, of_feature, split(feature)))
        except ProbeError as error:
            documents = len(torch.unique(of_feature[feature.label]))
            why = f"{error.where}: {error.what}"
            unsplit.append(Unsplit(*named, feature.positives, feature.negatives, documents, why))
    return tasks, unsplit


@dataclass(frozen=True, eq=False)
class LabelledRows:
    """The activations that some features of one data set label, each example once.

    Attributes:
        x: Activations.
        places: Of each task, the rows of its examples.
        train: Rows that any of the tasks is fitted to, ascending.
    """

    x: Float[Tensor, "used neuron"]
    places: tuple[Int64[Tensor, " _"], ...]
    train: Int64[Tensor, " train"]


def labelled_rows(x: Float[Tensor, "example neuron"], tasks: Sequence[ProbeTask]) -> LabelledRows:
    """Pick the examples that some features of a data set label.

    Args:
        x: Activations at all examples of the data set.
        tasks: Of one data set.

    Raises:
        OptionError: There are no tasks, or tasks of several data sets.
        ProbeError: An example of a task is not in ``x``, or an activation is not finite; the message says of
            which feature, example and neuron.
    """
    datasets = sorted({task.dataset for task in tasks})
    if len(datasets) != 1:
        raise OptionError(
            f"tasks of {len(datasets)} data sets ({', '.join(datasets)})",
            where="tasks",
            remedy="give tasks of one data set, whose examples the activations are of",
        )
    last = max(int(task.example[-1]) for task in tasks)
    if last >= len(x):
        raise ProbeError(
            f"activations of {len(x)} examples, but a feature labels example {last}",
            where=datasets[0],
            remedy="give activations of all examples of the data set",
        )
    used = torch.unique(torch.cat([task.example for task in tasks]))
    rows = x if len(used) == len(x) else x[used]
    finite = torch.isfinite(rows)
    if not bool(finite.all()):
        raise _not_finite(rows, finite, used, tasks)
    places = tuple(torch.searchsorted(used, task.example) for task in tasks)
    train = torch.unique(torch.cat([at[task.split.train] for at, task in zip(places, tasks, strict=True)]))
    return LabelledRows(rows, places, train)


def _not_finite(
    rows: Float[Tensor, "used neuron"],
    finite: Bool[Tensor, "used neuron"],
    used: Int64[Tensor, " used"],
    tasks: Sequence[ProbeTask],
) -> ProbeError:
    bad = (~finite).nonzero()
    row, neuron = bad[0].tolist()
    example = int(used[row])
    feature = next(task.name for task in tasks if bool((task.example == example).any()))
    return ProbeError(
        f"the activation of neuron {neuron} at example {example} is not finite "
        f"({float(rows[row, neuron])}; {len(bad)} such values)",
        where=f"{tasks[0].dataset}, {feature}",
        remedy="compute activations in float32, or leave out the neurons or examples named",
    )


def _kinds(data: FeatureDataset, group: Int64[Tensor, " example"]) -> Int64[Tensor, " example"]:
    """What kind of document each example is of: one that has the same features."""
    _, document = torch.unique(group, return_inverse=True)
    has = torch.zeros(int(document.max()) + 1, len(data.features), dtype=torch.bool)
    for number, feature in enumerate(data.features):
        has[document[feature.example[feature.label]], number] = True
    kind: Int64[Tensor, " document"] = torch.unique(has, dim=0, return_inverse=True)[1]
    return kind[document]
