"""Are neurons better than directions that nobody chose, and does one pair of words live in many of them?

Three tables of every data set, and a fourth one of compound words:

*   ranks: the best neuron, the second best, … beside as many directions of random bases;
*   wins: whether the best neuron is better than the mean best direction;
*   loss: by how much the test log loss rises where a method chooses k directions of a random basis instead of
    k neurons. The method is the same on both sides;
*   joint: the best neurons of a pair of words at all examples, by the kind of occurrence.

The bases of the losses are those of the controls (`rwcore.probing.controls`). If fewer neurons of a layer are
kept than it has, they are bases of the neurons that are kept, which are the better ones.

As published, activations are not divided before, and bases are square matrices of normal numbers.

Source: Gurnee et al., "Finding Neurons in a Haystack" (2023), section 4 (superposition of compound words).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from itertools import groupby, product
from pathlib import Path

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from rwcore.corpora.encoder import read_encoder
from rwcore.errors import OptionError
from rwcore.probing.controls import DIRECTIONS
from rwcore.probing.datasets.compound_words import word_ids
from rwcore.probing.datasets.features import AS_PUBLISHED
from rwcore.probing.datasets.strings import token_strings
from rwcore.probing.normalise import training_scale
from rwcore.probing.random_basis import gaussian_matrix, random_frame
from rwcore.probing.sparsity import CONTROLS, EXACT, CurveOptions, sparsity_curve
from rwcore.probing.superposition import (
    COMPOUND,
    joint_activations,
    log_loss_increase,
    neuron_wins,
    occurrence_kinds,
    rank_curves,
)
from rwcore.probing.tasks import ProbeTask
from rwcore.provenance import Stopwatch, collect
from rwcore.store import ArtefactKey, write_table
from rwcore.studies.probe_curves import CURVE, CurveTask, read_curve
from rwcore.studies.probe_layers import read_kept
from rwcore.studies.probe_tasks import read_tasks
from rwcore.studies.probes import DatasetProbes, ProbeOptions, ProbeStudy

DEFINITION = "rotated_curve/1"
RANK_COLUMNS = ("dataset", "feature", "layer", "control", "rank", "mean", "low", "high", "trials")
WIN_COLUMNS = ("dataset", "feature", "control", "neuron_f1", "control_f1", "difference", "wins")
LOSS_COLUMNS = (
    "dataset", "feature", "layer", "method", "k", "neurons", "directions", "percent", "low", "high", "trials",
)  # fmt: skip
JOINT_COLUMNS = ("dataset", "feature", "layer", "example", "kind", "place", "neuron", "activation")
_KEYS = ("feature", "layer", "method", "k")


@dataclass(frozen=True, eq=False)
class SuperpositionTables:
    """What was found of all data sets.

    Attributes:
        ranks: Columns `RANK_COLUMNS`; see `rwcore.probing.superposition.rank_curves`, of test F1.
        wins: Columns `WIN_COLUMNS`, a row per feature; see `rwcore.probing.superposition.neuron_wins`.
        loss: Columns `LOSS_COLUMNS`; see `rwcore.probing.superposition.log_loss_increase`.
        joint: Columns `JOINT_COLUMNS`, a row per example and neuron; empty without compound words.
    """

    ranks: pd.DataFrame
    wins: pd.DataFrame
    loss: pd.DataFrame
    joint: pd.DataFrame


def require_bases(options: ProbeOptions, *, curves: bool = True) -> None:
    """Refuse options without random bases or without curves to compare.

    Raises:
        OptionError: There are none.
    """
    if not curves or options.trials < 1:
        raise OptionError(
            "neurons are compared with random bases, one alone and many together",
            where="--superposition",
            remedy="--superposition needs --trials 1 or more and curves",
        )
    if not _methods(options.curve):
        raise OptionError(
            "none of the methods chooses among directions as it does among neurons",
            where="--superposition, --methods",
            remedy="name one such as mean_dif or telescopic",
        )


def superposition_tables(study: ProbeStudy, curves: pd.DataFrame | None = None) -> SuperpositionTables:
    """Neurons beside random bases, at the layers that have curves.

    Args:
        study: The study; what the store has is not computed again.
        curves: Its curves with a column ``dataset``, if they are there already.

    Raises:
        OptionError: See `require_bases`.
        RwcoreError: See `rwcore.studies.probes.ProbeStudy.found`.
    """
    require_bases(study.options)
    parts: dict[str, list[pd.DataFrame]] = {"ranks": [], "wins": [], "loss": [], "joint": []}
    for one in study.found:
        ranks = ranks_at(study, one)
        found = {"ranks": ranks, "wins": wins_of(ranks), "joint": joint_table(study, one)}
        of_neurons = study.curves(one) if curves is None else curves[curves["dataset"] == one.data.name]
        found["loss"] = loss_increases(study, one, of_neurons)
        order = {task.name: number for number, task in enumerate(one.atlas.tasks)}
        for name, table in found.items():
            ordered = table.sort_values("feature", key=lambda names: names.map(order), kind="stable")
            parts[name].append(ordered.assign(dataset=one.data.name))
    columns = {"ranks": RANK_COLUMNS, "wins": WIN_COLUMNS, "loss": LOSS_COLUMNS, "joint": JOINT_COLUMNS}
    return SuperpositionTables(
        **{name: pd.concat(parts[name], ignore_index=True)[[*columns[name]]] for name in parts}
    )


def ranks_at(study: ProbeStudy, probes: DatasetProbes) -> pd.DataFrame:
    """The rank curves of test F1 at the layers of each feature that have curves.

    Directions are ranked by validation; as published, by test.
    """
    pairs = pd.DataFrame(
        [(probes.atlas.tasks[number].name, layer) for number, layer in study.pairs(probes.atlas)],
        columns=["feature", "layer"],
    )
    scores = probes.controls.merge(pairs, on=["feature", "layer"])
    return rank_curves(scores, by=f"{probes.atlas.chosen_by}_f1", within=["layer"])


def wins_of(ranks: pd.DataFrame) -> pd.DataFrame:
    """Whether the best neuron of each feature is better than the mean best direction; F1 of both."""
    wins = neuron_wins(ranks).rename(columns={"neuron": "neuron_f1", "control": "control_f1"})
    return wins.assign(control=DIRECTIONS)


def loss_increases(study: ProbeStudy, probes: DatasetProbes, curves: pd.DataFrame) -> pd.DataFrame:
    """Percent by which k directions of random bases are worse than k neurons.

    Args:
        study: The study.
        probes: What it found of a data set.
        curves: The sparsity curves of its neurons.
    """
    options = replace(
        study.options.curve, methods=_methods(study.options.curve), convention=study.options.convention
    )
    tasks, labels = [], []
    pairs = sorted(study.pairs(probes.atlas), key=lambda pair: pair[1])
    for _, of_layer in groupby(pairs, key=lambda pair: pair[1]):
        # One basis after the other: those who share it come together.
        for trial, (number, layer) in product(range(study.options.trials), list(of_layer)):
            kept = study.kept_key(probes, number, layer)
            seed = ((study.options.seed or 0) + layer, trial)
            key = ArtefactKey.of(
                "probe-rotations", DEFINITION, kept=dict(kept.fields), curve=asdict(options), seed=list(seed)
            )
            store = study.weights.store
            tasks.append(
                RotatedTask(store, key, store.path(kept), study.tasks(probes.data), number, options, seed)
            )
            labels.append((probes.atlas.tasks[number].name, layer))
    folders = study.weights.engine.map(rotated_curve, tasks, desc=f"random bases of {probes.data.name}")
    directions = [
        read_curve(one).assign(feature=feature, layer=layer)
        for one, (feature, layer) in zip(folders, labels, strict=True)
    ]
    neurons = curves[curves["method"].isin(options.methods)]
    return log_loss_increase(neurons, pd.concat(directions, ignore_index=True), _KEYS)


@dataclass(frozen=True)
class RotatedTask(CurveTask):
    """The same in a random basis.

    Attributes:
        seed: Of the basis.
    """

    seed: tuple[int, int]


def rotated_curve(task: RotatedTask) -> Path:
    """The artefact with the curve; computed if it is not there.

    Raises:
        OptionError: A library is missing.
        StoreError: The activations are missing or damaged, or the store cannot be written.
    """

    def compute(folder: Path) -> dict[str, object]:
        stopwatch = Stopwatch()
        kept, feature = read_kept(task.kept), read_tasks(task.tasks)[task.feature]
        x = rotated(kept.x, feature, task.options.convention, task.seed)
        table = sparsity_curve(x, feature, task.options)
        # What stands there are directions of a basis that nobody keeps.
        write_table(folder / CURVE, table.assign(neurons=""))
        return collect(stopwatch, feature=feature.name)

    return task.store.get_or_compute(task.key, compute)


def rotated(
    x: Float[Tensor, "labelled neuron"], task: ProbeTask, convention: str, seed: Sequence[int]
) -> Float[Tensor, "labelled direction"]:
    """Activations in a random basis, in float64.

    Args:
        x: Activations of the labelled examples.
        task: Says which of them are for training, whose spread they are divided by.
        convention: ``as_published``: not divided, and the basis is not orthogonal.
        seed: Of the basis.
    """
    x = x.to(torch.float64)
    if convention != AS_PUBLISHED:
        x = x / training_scale(x[task.split.train])
    return x @ _basis(x.shape[1], convention, tuple(seed))


@lru_cache(maxsize=1)
def _basis(width: int, convention: str, seed: tuple[int, ...]) -> Float[Tensor, "neuron direction"]:
    """Kept for the next feature of the layer: of a wide one it takes longer than all else."""
    if convention == AS_PUBLISHED:
        return torch.from_numpy(gaussian_matrix(width, seed))
    return torch.from_numpy(random_frame(width, width, seed))


def joint_table(study: ProbeStudy, probes: DatasetProbes) -> pd.DataFrame:
    """What the best neurons of each pair of words do at its examples; empty for other features.

    They are the best kept neurons of the layer with the best one, among the layers that have curves.
    """
    columns = [name for name in JOINT_COLUMNS if name != "dataset"]
    atlas, parts = probes.atlas, []
    pairs = [(number, task) for number, task in enumerate(atlas.tasks) if task.family == COMPOUND]
    if not pairs:
        return pd.DataFrame(columns=columns)
    encoder = read_encoder(study.weights.local)
    strings = token_strings(encoder, torch.unique(probes.data.corpus.tokens).tolist())
    for number, task in pairs:
        quality = atlas.quality(number)
        layers = [layer for feature, layer in study.pairs(atlas) if feature == number]
        layer = max(layers, key=lambda one: float(quality[atlas.layers.index(one)].max()))
        kept = study.kept(probes, number, layer)
        best = quality[atlas.layers.index(layer)][kept.neurons].argsort(descending=True, stable=True)
        names = [str(neuron) for neuron in kept.neurons.tolist()]
        second = word_ids(strings, task.name.rpartition("-")[2])
        kinds = occurrence_kinds(probes.data, task.name, second)
        wide = joint_activations(kept.x, kinds, names, best.tolist())
        places = {name: place for place, name in enumerate(wide.columns.drop("kind"), 1)}
        long = wide.assign(example=task.example.numpy()).melt(
            ["example", "kind"], var_name="neuron", value_name="activation"
        )
        long["place"] = long["neuron"].map(places)
        parts.append(long.assign(feature=task.name, layer=layer))
    return pd.concat(parts, ignore_index=True)[columns]


def _methods(options: CurveOptions) -> tuple[str, ...]:
    """The methods that can be asked of any basis; an exact search would take too long."""
    return tuple(method for method in options.methods if method not in (EXACT, *CONTROLS))
