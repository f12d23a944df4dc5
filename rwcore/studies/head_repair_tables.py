"""Tables of self-repair: heads, groups of heads, neurons that repair, and their read-write classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from rwcore.heads.repair_groups import GROUP_COLUMNS, HEAD_COLUMNS, clipped_mean, group_table, head_table
from rwcore.heads.repair_neurons import FRACTIONS, exceeding, gain_over_change, recurrence, top_shares
from rwcore.probing.rw_classes import COLUMNS as ENRICHMENT_COLUMNS
from rwcore.probing.rw_classes import FoundNeurons, class_enrichment
from rwcore.stats.classes import UNDEFINED, class_codes, classes_of
from rwcore.studies.head_repair import RepairStudy

TOP, ORDINARY, EVERY = "top", "top_ordinary", "all"
SELECTIONS = (TOP, ORDINARY, EVERY)
"""Tokens with the largest direct effects; those of them that are no outliers; all tokens."""
RANKS = (1, 2, 5, 10)
"""Ranks of M1 in the tables."""
NEURONS = 30
"""Neurons of each head in the table."""

SELECTED_HEAD_COLUMNS = ("selection", *HEAD_COLUMNS)
SELECTED_GROUP_COLUMNS = ("selection", *GROUP_COLUMNS)
SPARSITY_COLUMNS = (
    "layer", "head", "tokens", "top_percent_share", "gain_over_change", "best_erases",
    "best_erases_by_outcome", "most_frequent_neuron", "most_frequent_share",
    *(f"rank_{rank}_over_{fraction:g}" for fraction in FRACTIONS for rank in RANKS),
)  # fmt: skip
NEURON_COLUMNS = (
    "layer", "head", "neuron_layer", "neuron", "class", "tokens", "share", "clean", "change", "anti_erasure",
)  # fmt: skip
CLASS_COLUMNS = ENRICHMENT_COLUMNS


@dataclass(frozen=True)
class RepairTables:
    """The tables of a study.

    Attributes:
        study: The study.
        top: Neurons of each head in ``neurons``.
    """

    study: RepairStudy
    top: int = NEURONS

    def selected(self, selection: str) -> list[Tensor] | None:
        """Places of the tokens of each head; None for all.

        Args:
            selection: Of `SELECTIONS`.
        """
        if selection == EVERY:
            return None
        chosen = self.study.results.selected
        if selection == TOP:
            return chosen
        return [places[self.study.ordinary[places]] for places in chosen]

    @cached_property
    def heads(self) -> pd.DataFrame:
        """Every head, by selection; columns `SELECTED_HEAD_COLUMNS`."""
        study, found = self.study, self.study.results
        parts = [
            head_table(
                study.heads, study.shape.n_layers, found.repairs, found.neurons, self.selected(one)
            ).assign(selection=one)
            for one in SELECTIONS
        ]
        return pd.concat(parts, ignore_index=True)[[*SELECTED_HEAD_COLUMNS]]

    @cached_property
    def groups(self) -> pd.DataFrame:
        """Groups of heads, by selection; columns `SELECTED_GROUP_COLUMNS`."""
        parts = [
            group_table(rows, self.study.shape.n_layers).assign(selection=name)
            for name, rows in self.heads.groupby("selection", sort=False)
        ]
        return pd.concat(parts, ignore_index=True)[[*SELECTED_GROUP_COLUMNS]]

    @cached_property
    def sparsity(self) -> pd.DataFrame:
        """How few neurons repair each head, at the tokens with the largest direct effects."""
        rows = []
        for place, (layer, head) in enumerate(self.study.heads):
            details = self.study.results.details_of(place)
            direct = self.study.results.repairs.direct[place][self.study.results.selected[place]]
            over = exceeding(details.leading, direct)
            again = recurrence(details.neuron)
            width = self.study.shape.d_mlp
            first = divmod(int(again["neuron"][0]), width)
            rows.append(
                {
                    "layer": layer,
                    "head": head,
                    "tokens": len(direct),
                    "top_percent_share": float(top_shares(details).nanmedian()),
                    "gain_over_change": gain_over_change(details),
                    "best_erases": float((details.clean[:, 0] < 0).double().mean()),
                    "best_erases_by_outcome": self._by_outcome(place),
                    "most_frequent_neuron": f"{first[0]}.{first[1]}",
                    "most_frequent_share": float(again["share"][0]),
                    **{
                        f"rank_{rank}_over_{fraction:g}": (
                            float(over[rank - 1, number]) if rank <= len(over) else np.nan
                        )
                        for number, fraction in enumerate(FRACTIONS)
                        for rank in RANKS
                    },
                }
            )
        return pd.DataFrame(rows, columns=[*SPARSITY_COLUMNS])

    def _by_outcome(self, place: int) -> float:
        """How often the best neuron erases where MLPs repair most: published, but tokens chosen by result."""
        found = self.study.results
        count = len(found.selected[place])
        chosen = found.repairs.mlp[place].topk(count).indices
        return float((found.neurons.best_clean[place][chosen] < 0).double().mean())

    @cached_property
    def neurons(self) -> pd.DataFrame:
        """The neurons that are most often among the first that repair a head; columns `NEURON_COLUMNS`."""
        parts = []
        for place, (layer, head) in enumerate(self.study.heads):
            details = self.study.results.details_of(place)
            again = recurrence(details.neuron).head(self.top)
            leading = details.leading[:, : details.neuron.shape[1]]
            rows = []
            for neuron, tokens, share in again.itertuples(index=False):
                there = details.neuron == neuron
                clean, change = details.clean[there].double(), leading[there].double()
                number = divmod(int(neuron), self.study.shape.d_mlp)
                rows.append(
                    {
                        "layer": layer,
                        "head": head,
                        "neuron_layer": number[0],
                        "neuron": number[1],
                        "class": self.class_of(*number),
                        "tokens": tokens,
                        "share": share,
                        "clean": float(clean.mean()),
                        "change": float(change.mean()),
                        "anti_erasure": float(((clean < 0) & (change > 0)).double().mean()),
                    }
                )
            parts.append(pd.DataFrame(rows, columns=[*NEURON_COLUMNS]))
        return pd.concat(parts, ignore_index=True)

    @cached_property
    def classes(self) -> pd.DataFrame:
        """Read-write classes of the neurons that repair most at a token, beside neurons of the same layers.

        A neuron counts once, whatever heads it repairs; chance and intervals: see
        `rwcore.probing.rw_classes.class_enrichment`, the head being the feature.
        """
        found = self.repairing()
        if not len(found.neurons):
            return pd.DataFrame(columns=[*CLASS_COLUMNS])
        member = [(one.name, [code]) for code, one in enumerate(classes_of(self.study.weights.cosines))]
        return class_enrichment(found, member, self._codes)

    def repairing(self) -> FoundNeurons:
        """The neurons with the largest Δ > 0 at any of the tokens with a head's largest direct effects."""
        width = self.study.shape.d_mlp
        pairs: list[tuple[int, int, int]] = []
        for place in range(len(self.study.heads)):
            details = self.study.results.details_of(place)
            best = details.neuron[:, 0][details.leading[:, 0] > 0]
            for neuron in torch.unique(best).tolist():
                pairs.append((place, *divmod(neuron, width)))
        return FoundNeurons.of(pairs)

    def class_of(self, layer: int, neuron: int) -> str:
        """Name of a neuron's class."""
        code = int(self._codes[layer, neuron])
        return classes_of(self.study.weights.cosines)[code].name if code >= 0 else UNDEFINED

    @cached_property
    def _codes(self) -> Tensor:
        return class_codes(self.study.weights.cosines)


def clipping_bias(tables: RepairTables, place: int) -> float:
    """Sum of the clipped means of norm, heads and MLPs minus that of their sum, at a head's top tokens."""
    repairs = tables.study.results.repairs
    tokens = tables.study.results.selected[place]
    direct = repairs.direct[place][tokens]

    def clipped(values: Tensor) -> float:
        return clipped_mean(values[place][tokens], direct)

    parts: Sequence[Tensor] = (repairs.norm, repairs.heads, repairs.mlp)
    return sum(map(clipped, parts)) - clipped(repairs.repair)
