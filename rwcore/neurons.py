"""Neuron sets: lists, the members of a class, subsets of them, and random baselines from the same layers."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int8
from torch import Tensor

from rwcore.errors import OptionError, StoreError
from rwcore.stats.classes import RW_CLASSES, RWClass

SEED = 2512800

_ENTRY = re.compile(r"([0-9]{1,9})\.([0-9]{1,9})(?:-([0-9]{1,9}))?")


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

    @classmethod
    def union(cls, name: str, sets: Sequence[NeuronSet]) -> NeuronSet:
        """The neurons of all these sets, each once, in the order in which they first appear."""
        return cls.of(name, list(dict.fromkeys(pair for one in sets for pair in one.pairs())))

    def require_within(self, n_layers: int, n_neurons: int) -> None:
        """Check that a model has all of these neurons.

        Args:
            n_layers: Its layers.
            n_neurons: The neurons of each.

        Raises:
            OptionError: It has not; the first one it lacks is named.
        """
        layer, neuron = self.layer, self.neuron
        outside = np.nonzero((layer < 0) | (layer >= n_layers) | (neuron < 0) | (neuron >= n_neurons))[0]
        if len(outside):
            first = outside[0]
            raise OptionError(
                f"there is no neuron {layer[first]}.{neuron[first]} in this model",
                where=f"{self.name}: {len(outside)} of {len(self)} neurons",
                remedy=f"layers are 0 to {n_layers - 1}, the neurons of a layer 0 to {n_neurons - 1}",
            )

    def to_json(self) -> dict[str, object]:
        """Everything, as what a JSON file can hold."""
        return {"name": self.name, "layer": self.layer.tolist(), "neuron": self.neuron.tolist()}

    @classmethod
    def from_json(cls, data: object, *, where: str | None = None) -> NeuronSet:
        """The set that `to_json` was called on.

        Args:
            data: What it returned, perhaps from a file.
            where: The file, for messages.

        Raises:
            StoreError: It is something else.
        """
        fields = data if isinstance(data, Mapping) else {}
        name, layer, neuron = (fields.get(key) for key in ("name", "layer", "neuron"))
        if not (
            isinstance(name, str)
            and isinstance(layer, list)
            and isinstance(neuron, list)
            and len(layer) == len(neuron)
            and all(type(number) is int and 0 <= number < 2**63 for number in [*layer, *neuron])
        ):
            raise StoreError(
                "this is no set of neurons: a name and two lists of numbers, layer and neuron, as long as "
                "each other",
                where=where,
                remedy="write it anew, or list the neurons as LAYER.NEURON",
            )
        return cls.of(name, list(zip(layer, neuron, strict=True)))


def parse_neurons(text: str, n_layers: int, n_neurons: int, *, name: str | None = None) -> NeuronSet:
    """An explicit list of neurons: ``28.4737,31.9634``, ``28.4737-4740``, or a file of such entries.

    Entries are LAYER.NEURON or LAYER.FIRST-LAST (LAST included), from 0, separated by commas, spaces or ends
    of lines. A file is named by its path, with or without ``@`` before it; what follows ``#`` in a line of it
    is ignored. It may also hold the JSON of `NeuronSet.to_json`.

    Args:
        text: The entries or the file.
        n_layers: Layers of the model.
        n_neurons: Neurons of each.
        name: Name of the set; otherwise the text, the file's name without its ending, or the name in its
            JSON.

    Returns:
        Each neuron once, in the order in which they are first named.

    Raises:
        OptionError: There is no entry, an entry is of no such form or names a neuron that the model does not
            have, or the file cannot be read. The message names the entry and its line.
        StoreError: The file holds JSON that is no set of neurons.
    """
    text = text.strip()
    file = _list_file(text)
    if file is None:
        found = [pair for entry in _entries(text) for pair in _expand(entry, text, n_layers, n_neurons)]
        given = text
    else:
        content = _read_list(file)
        if content.lstrip().startswith("{"):
            try:
                data = json.loads(content)
            except ValueError:
                data = None
            saved = NeuronSet.from_json(data, where=str(file))
            saved.require_within(n_layers, n_neurons)
            return NeuronSet.union(name or saved.name, [saved])
        found = [
            pair
            for number, line in enumerate(content.splitlines(), start=1)
            for entry in _entries(line.partition("#")[0])
            for pair in _expand(entry, f"{file}:{number}", n_layers, n_neurons)
        ]
        given = file.stem
    if not found:
        raise OptionError(
            "a list of neurons is empty",
            where=str(file or repr(text)),
            remedy="write LAYER.NEURON, both from 0, such as 28.4737,31.9634",
        )
    return NeuronSet.of(name or given, list(dict.fromkeys(found)))


def _list_file(text: str) -> Path | None:
    """The file that a list is in, or None if the text is the list."""
    if text.startswith("@"):
        return Path(text[1:]).expanduser()
    if not text or _ENTRY.fullmatch(_entries(text)[0] if _entries(text) else ""):
        return None
    path = Path(text).expanduser()
    try:
        return path if path.is_file() else None
    except (OSError, ValueError):  # longer than a path can be
        return None


def _read_list(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise OptionError(
            f"the list of neurons cannot be read: {error}", where=str(file), remedy="name a text file"
        ) from error


def _entries(line: str) -> list[str]:
    return line.replace(",", " ").split()


def _expand(entry: str, where: str, n_layers: int, n_neurons: int) -> list[tuple[int, int]]:
    """The neurons of one entry."""
    match = _ENTRY.fullmatch(entry)
    if match is None:
        raise OptionError(
            f"{entry!r} is no neuron and no range of neurons",
            where=where,
            remedy="write LAYER.NEURON or LAYER.FIRST-LAST, from 0, such as 28.4737 or 28.4737-4740",
        )
    layer, first = int(match[1]), int(match[2])
    last = first if match[3] is None else int(match[3])
    if layer >= n_layers or max(first, last) >= n_neurons:
        raise OptionError(
            f"{entry!r} names neurons that this model does not have",
            where=where,
            remedy=f"layers are 0 to {n_layers - 1}, the neurons of a layer 0 to {n_neurons - 1}",
        )
    if last < first:
        raise OptionError(
            f"the range {entry!r} ends before it begins", where=where, remedy=f"write {layer}.{last}-{first}"
        )
    return [(layer, neuron) for neuron in range(first, last + 1)]


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
