r"""Is the best neuron better than chance, and better than the best of as many directions that nobody chose?

Three kinds of columns, treated alike: of each feature the best ones by |mean difference| of normalised
training activations are kept, a one-neuron probe is fitted to each, and it is scored on validation and test.

*   neurons: the layer as it is;
*   random directions: xQ, x divided by ten standard deviations and Q uniform over orthogonal matrices, one
    for all features of a trial; rotated activations are normalised again;
*   shuffled labels: the layer as it is. In each part of the split, the labels of all documents in a random
    order, turned by a random number of places, go to the documents in another random order: labels that
    stood together in a document still do, mostly, so that examples are no more independent than they were,
    and nothing is left of what documents or tokens have to do with labels.

"Best on validation, scored on test" means the same for all three. As published, rotations were neither
orthogonal nor normalised alike, and the best were chosen on test.

Source: Gurnee et al., "Finding neurons in a haystack" (2023), appendix (rotation baselines).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor

from rwcore.errors import require_least
from rwcore.probing.chance import shuffled_runs
from rwcore.probing.moments import class_moments
from rwcore.probing.newton import fit_rows
from rwcore.probing.normalise import training_scale
from rwcore.probing.random_basis import random_frame
from rwcore.probing.rankings import descending, mean_dif
from rwcore.probing.scores import confusion, confusion_scores
from rwcore.probing.tasks import LabelledRows, ProbeTask, labelled_rows

NEURONS, DIRECTIONS, SHUFFLED = "neurons", "random directions", "shuffled labels"
CONTROLS = (NEURONS, DIRECTIONS, SHUFFLED)
SCORED = ("mcc", "f1")
JUDGED = ("validation", "test")
COLUMNS = (
    "feature",
    "control",
    "trial",
    "direction",
    *(f"{part}_{name}" for name in SCORED for part in JUDGED),
)
KEEP = 30


def control_scores(
    x: Float[Tensor, "example neuron"],
    tasks: Sequence[ProbeTask],
    *,
    trials: int = 1,
    keep: int = KEEP,
    seed: int,
) -> pd.DataFrame:
    """Score the best neurons of a layer, the best random directions, and the best neurons of shuffled labels.

    Args:
        x: Activations at the examples of the data set, of any float type.
        tasks: Features of one data set.
        trials: How many rotations, and how many shuffles.
        keep: Columns of each feature, control and trial; all if the layer has no more.
        seed: Of rotations and shuffles.

    Returns:
        One row for each feature, control, trial and column that was kept, the largest mean difference first:
        the `COLUMNS`. ``direction`` is the number of the neuron, or of the column of the rotation. Scores
        of validation are NaN where there is no validation.

    Raises:
        OptionError: No trials, nothing to keep, no tasks, or tasks of several data sets.
        ProbeError: An activation is not finite, or an example is missing.
    """
    require_least("trials", trials, 1)
    require_least("keep", keep, 1)
    rows = labelled_rows(x, tasks)
    scale = training_scale(rows.x[rows.train])
    # Divided in float64: a float16 activation over ten small standard deviations would lose its last digits.
    rows = replace(rows, x=(rows.x / scale).to(torch.float32))
    tables = list(_scored(rows, tasks, NEURONS, 0, keep))
    for trial in range(trials):
        frame = random_frame(x.shape[1], x.shape[1], (seed, trial))
        rotated = replace(rows, x=rows.x @ torch.from_numpy(frame).to(torch.float32))
        tables += _scored(rotated, tasks, DIRECTIONS, trial, keep)
        mixed = [shuffled_task(task, (seed, trial, number)) for number, task in enumerate(tasks)]
        tables += _scored(rows, mixed, SHUFFLED, trial, keep)
    return pd.concat(tables, ignore_index=True)[list(COLUMNS)]


def shuffled_task(task: ProbeTask, seed: int | Sequence[int]) -> ProbeTask:
    """The task with labels that have nothing to do with the text; each part keeps its numbers of classes.

    Args:
        task: A feature.
        seed: Of the shuffle.
    """
    generator = np.random.default_rng(seed)
    label = task.label.clone()
    for places in task.split.parts().values():
        label[places] = shuffled_runs(task.label[places], task.group[places], generator)
    return replace(task, label=label)


def _scored(
    rows: LabelledRows, tasks: Sequence[ProbeTask], control: str, trial: int, keep: int
) -> Iterator[pd.DataFrame]:
    """A table for each task: its best columns and their scores."""
    for task, places in zip(tasks, rows.places, strict=True):
        at = places[task.split.train]
        label = task.label[task.split.train]
        moments = class_moments(rows.x[at], torch.stack([~label, label]))
        best = descending(mean_dif(moments))[:keep]
        x = rows.x[places][:, best]
        table = pd.DataFrame(_column_scores(x, task))
        yield table.assign(feature=task.name, control=control, trial=trial, direction=best.numpy())


def _column_scores(
    x: Float32[Tensor, "labelled column"], task: ProbeTask
) -> dict[str, Float[np.ndarray, " column"]]:
    probes = fit_rows(x[task.split.train], task.label[task.split.train])
    found: dict[str, Float[np.ndarray, " column"]] = {}
    for part in JUDGED:
        places = getattr(task.split, part)
        chosen: Bool[Tensor, "column judged"] = probes.decide(x[places].T.to(torch.float64)) > 0
        scored = confusion_scores(*confusion(task.label[places].expand_as(chosen), chosen))
        empty = np.full(x.shape[1], np.nan)
        found |= {f"{part}_{name}": scored[name].numpy() if len(places) else empty for name in SCORED}
    return found
