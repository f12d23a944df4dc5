r"""Every neuron of a layer against every feature of a data set: statistics, one-neuron probes, scores.

Of each feature and neuron, from the training examples:

*   mean_dif: (mean of positives − mean of negatives) / (10·max(std, 0.001)), signed;
*   f_stat and p: analysis of variance of the two classes, examples being independent;
*   mi: mutual information of label and activation in nats, binned;
*   weight, intercept, scale: the balanced logistic regression of `rwcore.probing.newton`, positive where
    weight·x/scale + intercept > 0;

and what this probe scores on validation and on test. Mean differences and F are those of the activations as
they are. The rest comes from counts of 256 codes: activations are coded once for all features, the codes
fitted to training examples alone ("uniform" codes, as published, to all). Activations of validation and test
beyond the range of training have the code of its end.

One thread does it: the tiles are too small for torch to split them well, and sums that are split differ in
their last digits. Layers are what is worked on side by side (`rwcore.parallel`).

Source: Gurnee et al., "Finding Neurons in a Haystack" (2023), section 3 and its code
(``enumerate_monosemantic``).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Float16, Float32, Int64, UInt8
from torch import Tensor

from rwcore.errors import require_choice
from rwcore.probing.chance import f_p_values
from rwcore.probing.codes import KINDS, CodeBook, code_book, published_code_book
from rwcore.probing.histograms import ClassHistograms, count_codes
from rwcore.probing.moments import class_moments
from rwcore.probing.newton import fit_histograms
from rwcore.probing.normalise import scale_of
from rwcore.probing.rankings import binned_mi, descending, f_stat
from rwcore.probing.scores import histogram_scores
from rwcore.probing.splits import PARTS
from rwcore.probing.tasks import LabelledRows, ProbeTask, labelled_rows

STATISTICS = ("mean_dif", "f_stat", "p")
PROBES = ("mi", "weight", "intercept", "scale")
JUDGED = {
    "validation": ("mcc", "f1", "pr_auc"),
    "test": ("mcc", "f1", "precision", "recall", "pr_auc", "roc_auc"),
}
COLUMNS = (*STATISTICS, *PROBES, *(f"{part}_{name}" for part, names in JUDGED.items() for name in names))
Columns = dict[str, Float32[Tensor, "feature neuron"]]
# Of each block, activations as float32 and what codes are made of: some 40 MB each for 20,000 examples.
_BLOCK = 512
# So many training examples say where companding sets in; the median of more is hardly another one.
_KNEE_EXAMPLES = 2048


@dataclass(frozen=True, eq=False)
class LayerAtlas:
    """What each neuron of a layer knows of each feature of a data set.

    Attributes:
        columns: A table for each of `COLUMNS`, features in the order of the tasks. Those of validation are
            NaN where there is no validation.
    """

    columns: Columns

    def best(self, count: int, *, column: str = "mean_dif") -> Int64[Tensor, "feature best"]:
        """Of each feature, the neurons with the largest magnitude in a column, the first one best.

        Args:
            count: How many, at most; fewer if the layer has fewer.
            column: One of `COLUMNS`.
        """
        return torch.stack([descending(row.abs())[:count] for row in self.columns[column]])


def layer_atlas(
    x: Float16[Tensor, "example neuron"], tasks: Sequence[ProbeTask], *, codes: str = "companded"
) -> LayerAtlas:
    """Probe every neuron of a layer for every feature of a data set.

    Args:
        x: Activations at the examples of the data set.
        tasks: Features of one data set.
        codes: What activations are restored from: "companded", or "uniform" as published.

    Raises:
        OptionError: No such codes, no tasks, or tasks of several data sets.
        ProbeError: An activation is not finite, or an example is missing.
    """
    require_choice("codes", codes, KINDS)
    rows = labelled_rows(x, tasks)
    columns = {name: torch.full((len(tasks), x.shape[1]), torch.nan) for name in COLUMNS}
    cells = [_cells(len(rows.x), at, task) for at, task in zip(rows.places, tasks, strict=True)]
    with _one_thread():
        for start in range(0, x.shape[1], _BLOCK):
            block = slice(start, start + _BLOCK)
            values = rows.x[:, block].to(torch.float32)
            for name, found in _statistics(values, rows, tasks).items():
                columns[name][:, block] = found
            book = _book(values, rows.train, codes)
            coded, levels = book.encode(values), book.values()
            for number, cell in enumerate(cells):
                for name, of_feature in _probes(coded, levels, cell).items():
                    columns[name][number, block] = of_feature.to(torch.float32)
    return LayerAtlas(columns)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _cells(used: int, places: Int64[Tensor, " labelled"], task: ProbeTask) -> Int64[Tensor, " used"]:
    """2·part + label of each row, and −1 where the feature labels none."""
    cell = torch.full((used,), -1)
    for number, part in enumerate(task.split.parts().values()):
        cell[places[part]] = 2 * number + task.label[part].to(torch.int64)
    return cell


def _statistics(
    values: Float32[Tensor, "used neuron"], rows: LabelledRows, tasks: Sequence[ProbeTask]
) -> dict[str, Float[Tensor, "feature neuron"]]:
    """The `STATISTICS` of all features: the sums of all their classes are one matrix product."""
    member = torch.zeros(2 * len(tasks), len(values), dtype=torch.bool)
    for number, (at, task) in enumerate(zip(rows.places, tasks, strict=True)):
        train = task.split.train
        member[2 * number + task.label[train].to(torch.int64), at[train]] = True
    sums = class_moments(values[rows.train], member[:, rows.train])
    found = []
    for number in range(len(tasks)):
        of_feature = sums.pair([2 * number + 1], [2 * number])
        difference = of_feature.mean().diff(dim=0)[0] / scale_of(of_feature.variance().sqrt())
        found.append(torch.stack([difference, f_stat(of_feature), f_p_values(of_feature)]))
    return dict(zip(STATISTICS, torch.stack(found, dim=1), strict=True))


def _book(values: Float32[Tensor, "used neuron"], train: Int64[Tensor, " train"], codes: str) -> CodeBook:
    if codes == "uniform":
        return published_code_book(values)
    fitted = values[train]
    low, high = torch.aminmax(fitted, dim=0)
    sample = fitted[:: -(-len(fitted) // _KNEE_EXAMPLES)]
    return replace(code_book(sample, kind=codes), low=low, high=high)


def _probes(
    coded: UInt8[Tensor, "used neuron"],
    levels: Float32[Tensor, "neuron code"],
    cell: Int64[Tensor, " used"],
) -> dict[str, Float[Tensor, " neuron"]]:
    """The columns of one feature that come from counts of codes."""
    counts = count_codes(coded, cell, 2 * len(PARTS))
    parts = {
        name: ClassHistograms(levels, counts[:, 2 * number : 2 * number + 2])
        for number, name in enumerate(PARTS)
    }
    probes = fit_histograms(parts["train"])
    found = {name: getattr(probes, name) for name in PROBES if name != "mi"}
    found["mi"] = binned_mi(parts["train"])
    for part, names in JUDGED.items():
        if int(parts[part].examples().sum()):
            scored = histogram_scores(probes, parts[part])
            found |= {f"{part}_{name}": scored[name] for name in names}
    return found
