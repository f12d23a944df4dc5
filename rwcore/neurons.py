"""Neuron sets: the members of a class, subsets of them, and random baselines from the same layers."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int8
from torch import Tensor

from rwcore.errors import OptionError
from rwcore.stats.classes import RW_CLASSES, RWClass

SEED = 2512800


@dataclass(frozen=True, eq=False)
class NeuronSet:
    """A list of neurons of one model; the order is part of it.

    Attributes:
        name: What the set is called in tables.
        layer: Layer of each neuron, int64.
        neuron: Place of each neuron in its layer, int64.
    """

    name: str
    layer: np.ndarray
    neuron: np.ndarray

    @classmethod
    def of(cls, name: str, pairs: Sequence[tuple[int, int]]) -> NeuronSet:
        """The set of these (layer, neuron) pairs."""
        array = np.array(pairs, dtype=np.int64).reshape(-1, 2)
        return cls(name, array[:, 0], array[:, 1])

    def __len__(self) -> int:
        return len(self.layer)

    def pairs(self) -> list[tuple[int, int]]:
        """The neurons as (layer, neuron)."""
        return list(zip(self.layer.tolist(), self.neuron.tolist(), strict=True))

    def counts(self) -> dict[int, int]:
        """The number of neurons in each layer that has any, layers ascending."""
        return dict(sorted(Counter(self.layer.tolist()).items()))


@dataclass(frozen=True, eq=False)
class Choice:
    """Neurons chosen from a class, with their baseline.

    Attributes:
        chosen: All of the class or a subset.
        baseline: As many random neurons per layer that are not in the class; None if it was not asked for.
        short_layers: The layers whose baseline is *not* a random sample of the chosen number: all neurons
            outside the class were taken, because the chosen ones are half of the layer or more (then the
            baseline may also be larger than the chosen set), or because there are fewer than asked for.
    """

    chosen: NeuronSet
    baseline: NeuronSet | None
    short_layers: tuple[int, ...] = ()


def class_members(
    codes: Int8[Tensor, "layer neuron"], name: str, classes: Sequence[RWClass] = RW_CLASSES
) -> NeuronSet:
    """All neurons of a class, by layer, then by neuron.

    Args:
        codes: Class of every neuron, from `rwcore.stats.classes.class_codes`.
        name: Name of the class.
        classes: What the codes stand for; `VANILLA_CLASSES` for neurons without a gate.

    Raises:
        OptionError: There is no such class.
    """
    layer, neuron = np.nonzero(codes.numpy() == _code(name, classes))
    return NeuronSet(name, layer.astype(np.int64), neuron.astype(np.int64))


def choose_neurons(
    codes: Int8[Tensor, "layer neuron"],
    name: str,
    *,
    subset: int | float | str | None = None,
    baseline: bool = False,
    classes: Sequence[RWClass] = RW_CLASSES,
    seed: int = SEED,
) -> Choice | None:
    """Neurons of a class, all or a random subset, and a random baseline from the same layers.

    One stream of Python's `random`, seeded per call, first draws the subset (only if it is smaller than the
    class; the order is that of the draw), then for each layer with chosen neurons, ascending, the same
    number from those of its neurons that are not in the class. The baseline thus depends on whether a
    subset was drawn. Other classes and activation frequencies are not balanced.

    Args:
        codes: Class of every neuron.
        name: Name of the class.
        subset: None for all members; a float in (0, 1] for that share, rounded down; an int for that many;
            the name of another class for as many as that one has.
        baseline: Whether to draw a baseline.
        classes: What the codes stand for.
        seed: Seed of the stream; the default is the published one.

    Returns:
        The choice, or None if the class has fewer members than the subset asks for: there is no such
        experiment.

    Raises:
        OptionError: There is no such class, or ``subset`` is negative or a share outside (0, 1].

    Source: RW functionalities, choice of neurons for ablation; section 5 of the specification.
    """
    members = class_members(codes, name, classes)
    size = _subset_size(codes, len(members), subset, classes)
    if size > len(members):
        return None
    stream = random.Random(seed)
    chosen = members
    if size < len(members):
        chosen = NeuronSet.of(name, stream.sample(members.pairs(), size))
    if not baseline:
        return Choice(chosen, None)
    code = _code(name, classes)
    n_neurons = codes.shape[1]
    drawn: list[tuple[int, int]] = []
    short = []
    for layer, count in chosen.counts().items():
        candidates = np.nonzero(codes[layer].numpy() != code)[0].tolist()
        if count < n_neurons / 2 and count <= len(candidates):
            candidates = stream.sample(candidates, count)
        else:
            short.append(layer)
        drawn += [(layer, neuron) for neuron in candidates]
    return Choice(chosen, NeuronSet.of(f"{name} baseline", drawn), tuple(short))


def _code(name: str, classes: Sequence[RWClass]) -> int:
    names = [rw_class.name for rw_class in classes]
    if name not in names:
        raise OptionError(f"there is no neuron class {name!r}", remedy=f"use one of: {', '.join(names)}")
    return names.index(name)


def _subset_size(
    codes: Int8[Tensor, "layer neuron"],
    count: int,
    subset: int | float | str | None,
    classes: Sequence[RWClass],
) -> int:
    if subset is None:
        return count
    if isinstance(subset, str):
        return len(class_members(codes, subset, classes))
    share = isinstance(subset, float)
    if subset < 0 or (share and not 0 < subset <= 1):
        raise OptionError(
            f"a subset of {subset} neurons cannot be taken",
            remedy="give a share in (0, 1] as a float, a number of neurons as an int, or the name of a class",
        )
    return int(subset * count) if share else int(subset)


def classes_with_baselines(
    codes: Int8[Tensor, "layer neuron"], classes: Sequence[RWClass], *, seed: int = SEED
) -> Iterator[tuple[RWClass, NeuronSet, NeuronSet]]:
    """Each class with all its neurons and their baseline (see `choose_neurons`).

    Args:
        codes: Class of every neuron.
        classes: What the codes stand for.
        seed: Seed of the baselines, for each class anew; the default is the published one.
    """
    for one in classes:
        choice = choose_neurons(codes, one.name, baseline=True, classes=classes, seed=seed)
        assert choice is not None  # only a subset larger than its class is no choice
        assert choice.baseline is not None
        yield one, choice.chosen, choice.baseline
