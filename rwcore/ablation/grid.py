"""Which runs an ablation study makes: neuron sets × modes × conditions, each set with its random baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from jaxtyping import Int8
from torch import Tensor

from rwcore.ablation.compare import RunLabel
from rwcore.ablation.interventions import SIGNS, Intervention
from rwcore.errors import OptionError
from rwcore.neurons import SEED, NeuronSet, choose_neurons, parse_neurons
from rwcore.stats.classes import RWClass

PUBLISHED_CLASSES = (
    "strengthening",
    "conditional strengthening",
    "proportional change",
    "conditional weakening",
    "weakening",
    "orthogonal output",
)
PUBLISHED_SIZES = ("strengthening", "weakening")
PUBLISHED_MODES = ("zero", "mean")


@dataclass(frozen=True, eq=False)
class Experiment:
    """One run: which neurons, what is done to them, and what it is called in tables.

    Attributes:
        neurons: The neurons.
        intervention: What is done to them.
        label: Names of the set and the intervention.
    """

    neurons: NeuronSet
    intervention: Intervention
    label: RunLabel


@dataclass(frozen=True, eq=False)
class ChosenSet:
    """A set of neurons and its random baseline, if it has one.

    Attributes:
        name: Name in tables.
        neurons: The neurons.
        baseline: As many random neurons of the same layers; None for a set that was listed one by one.
    """

    name: str
    neurons: NeuronSet
    baseline: NeuronSet | None


def choose_set(
    text: str, codes: Int8[Tensor, "layer neuron"], classes: Sequence[RWClass], *, seed: int = SEED
) -> ChosenSet | None:
    """The neurons that a text names.

    Args:
        text: A class (``weakening``); a class and a size (``weakening:47``, ``weakening:0.5``, or
            ``conditional weakening:weakening`` for as many as that class has); or a list of neurons, see
            `rwcore.neurons.parse_neurons`.
        codes: Class of every neuron.
        classes: What the codes stand for.
        seed: Seed of subset and baseline; the default is the published one.

    Returns:
        The set; None if the class has fewer neurons than asked for, so that there is no such experiment.

    Raises:
        OptionError: The text names nothing, or a neuron that is not there.
    """
    name, colon, size = (part.strip() for part in text.partition(":"))
    if name not in {one.name for one in classes}:
        return ChosenSet(text, parse_neurons(text, *codes.shape), None)
    subset = _size(size, text) if colon else None
    choice = choose_neurons(codes, name, subset=subset, baseline=True, classes=classes, seed=seed)
    if choice is None:
        return None
    shown = f"{name}@{size}" if colon else name
    return ChosenSet(shown, replace(choice.chosen, name=shown), choice.baseline)


def _size(text: str, where: str) -> int | float | str:
    """A number of neurons, a share of them, or the class whose size is meant."""
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        pass
    if not text:
        raise OptionError(
            "the size is missing", where=where, remedy="write a number, a share or a class after the colon"
        )
    return text


def interventions(
    modes: Sequence[str],
    gates: Sequence[str] = (),
    posts: Sequence[str] = (),
    *,
    parameter: float | None = None,
    positions: tuple[int, ...] | None = None,
    as_published: bool = False,
) -> list[Intervention]:
    """All combinations of modes and conditions.

    Args:
        modes: Of `rwcore.ablation.interventions.MODES`.
        gates: Signs of the gate to ask for; empty for no condition.
        posts: Signs of post, likewise.
        parameter: For modes that need one.
        positions: See `Intervention`.
        as_published: See `Intervention`.

    Raises:
        OptionError: See `Intervention`, or there is no mode.
    """
    if not modes:
        raise OptionError("there is nothing to do to the neurons", where="--mode", remedy="give a mode")
    return [
        Intervention(mode, gate, post, parameter, positions, as_published)
        for mode in modes
        for gate in gates or (None,)
        for post in posts or (None,)
    ]


def experiments(
    sets: Sequence[ChosenSet], todo: Sequence[Intervention], *, baselines: bool = True
) -> list[Experiment]:
    """Every set with every intervention, each followed by its baseline.

    Baselines are run without conditions only, as published: a condition chooses tokens by what the set's own
    neurons do.

    Args:
        sets: The sets.
        todo: The interventions.
        baselines: Whether to run baselines.
    """
    found = []
    for one in sets:
        for intervention in todo:
            label = label_of(one.name, intervention)
            found.append(Experiment(one.neurons, intervention, label))
            if baselines and one.baseline is not None and not intervention.conditional:
                found.append(Experiment(one.baseline, intervention, replace(label, baseline=True)))
    return found


def label_of(name: str, intervention: Intervention) -> RunLabel:
    """How tables call a run; a parameter and positions stand with the mode."""
    words = [intervention.mode]
    if intervention.parameter is not None:
        words.append(f"{intervention.parameter:g}")
    if intervention.positions is not None:
        words.append("at " + ",".join(map(str, intervention.positions)))
    return RunLabel(name, " ".join(words), gate=intervention.gate or "", post=intervention.post or "")


def published_grid(
    codes: Int8[Tensor, "layer neuron"], classes: Sequence[RWClass], *, modes: Sequence[str] = PUBLISHED_MODES
) -> list[Experiment]:
    """The paper's runs: six whole classes, the same cut to two sizes, and weakening in its four quadrants.

    Sets that a model has too few neurons for are left out, as published; a set that is a whole class again
    (a class cut to its own size) is run once.

    Args:
        codes: Class of every neuron.
        classes: What the codes stand for.
        modes: Zero and mean, as published.

    Source: ablations and frequencies specification, section 7.2.
    """
    texts = list(PUBLISHED_CLASSES)
    # Orthogonal output was cut to the size of no other class.
    texts += [f"{name}:{size}" for size in PUBLISHED_SIZES for name in PUBLISHED_CLASSES[:-1] if name != size]
    sets = [one for text in texts if (one := choose_set(text, codes, classes)) is not None]
    sets = [one for one in sets if len(one.neurons)]
    weakening = [one for one in sets if one.name == "weakening"]
    return [
        *experiments(sets, interventions(modes)),
        *experiments(weakening, interventions(modes, SIGNS, SIGNS)),
    ]
