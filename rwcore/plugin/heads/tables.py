"""The published tables about attention heads: rows about a subject, shares of ranks, sums over layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rwcore.plugin.subjects import Subject

if TYPE_CHECKING:
    import pandas as pd

    from rwcore.studies.weights import WeightStudy

STORED_RANKS = 100
THRESHOLDS = (1, 2, 5, 10, 20, STORED_RANKS)
# From two thirds of the layers on.
LATE = (2, 3)


def head_rows(subject: Subject, name: str) -> pd.DataFrame:
    """Rows of ``<name>.csv`` about the models of a subject, under the ids they have here.

    Tables without a column ``model`` are about one model and are taken whole. Where there are columns
    ``layer`` and ``head``, heads get their names, ``L10H7``.

    Args:
        subject: What a claim is asked of.
        name: ``copy_suppression_…`` or ``self_repair_…``.
    """
    from rwcore.models.registry import read_registry
    from rwcore.plugin.tables import TablesSubject

    assert isinstance(subject, TablesSubject)
    table = subject.rows(f"{name}.csv")
    if {"layer", "head"} <= set(table):
        table["head"] = "L" + table["layer"].astype(str) + "H" + table["head"].astype(str)
    if "model" not in table:
        return table
    known = read_registry().names
    ids = table["model"].map(lambda written: known.get(written.lower(), written))
    return table.assign(model=ids)[ids.isin(subject.models)].reset_index(drop=True)


def named_head(weights: WeightStudy, name: str) -> tuple[int, int]:
    """Layer and number of a head that a paper names.

    Published claims also run on stand-ins, whose small models have no such head: there layer and number are
    taken modulo what there is. Nothing is said about what they find, only that the code runs; several
    names may mean one head.

    Args:
        weights: The weight study of the model.
        name: Such as ``L10H7``.
    """
    from rwcore.weights.shape import read_shape

    layer, _, head = name.removeprefix("L").partition("H")
    shape = read_shape(weights.local)
    return int(layer) % shape.n_layers, int(head) % shape.n_heads


def head_name(head: tuple[int, int]) -> str:
    """The name of a head in tables: ``L10H7``."""
    layer, number = head
    return f"L{layer}H{number}"


def by_head(table: pd.DataFrame, value: str) -> pd.DataFrame:
    """Columns head, value."""
    return table[["head", value]].rename(columns={value: "value"}).reset_index(drop=True)


def first_heads(table: pd.DataFrame, value: str, number: int, *, lowest: bool = False) -> list[str]:
    """Heads with the highest (or lowest) value, the first of them first."""
    ordered = table.sort_values(value, ascending=lowest, kind="stable")
    return [str(name) for name in ordered["head"][:number]]


@dataclass(frozen=True)
class Ranks:
    """How many rows have each of the first hundred ranks.

    Attributes:
        counts: Rows with rank 0, 1, … 99.
        population: All rows; those with higher ranks are not told apart.
    """

    counts: tuple[int, ...]
    population: int

    @classmethod
    def of(cls, subject: Subject, experiment: str) -> Ranks:
        """The ranks of one experiment of ``copy_suppression_diag_rank_histograms.csv``."""
        rows = head_rows(subject, "copy_suppression_diag_rank_histograms")
        rows = rows[rows["experiment"] == experiment].set_index("rank0")
        counts = tuple(int(rows["count"].get(rank, 0)) for rank in range(STORED_RANKS))
        return cls(counts, int(rows["population"].iloc[0]))

    @property
    def beyond(self) -> int:
        """Rows whose rank is at least 100."""
        return self.population - sum(self.counts)

    @property
    def median(self) -> int:
        """The lowest rank with at least half of the rows at or below it.

        Raises:
            ValueError: It is not among the first hundred.
        """
        below = 0
        for rank, count in enumerate(self.counts):
            below += count
            if 2 * below >= self.population:
                return rank
        raise ValueError(f"the median of {self.population} rows is not among the first {STORED_RANKS} ranks")

    @property
    def least_mean(self) -> float:
        """The mean rank if every rank that is not stored were 100: a lower bound."""
        known = sum(rank * count for rank, count in enumerate(self.counts))
        return (known + STORED_RANKS * self.beyond) / self.population

    def shares_below(self) -> pd.DataFrame:
        """Columns below, value: the share of rows with a rank under 1, 2, 5, 10, 20, 100."""
        import pandas as pd

        shares = [sum(self.counts[:below]) / self.population for below in THRESHOLDS]
        return pd.DataFrame({"below": THRESHOLDS, "value": shares})


def overconfidence(curves: pd.DataFrame, run: str) -> float:
    """Overconfidence of a published curve; see `rwcore.heads.calibration.overconfidence_of`.

    Args:
        curves: A row per bin, with its middle in ``bin_mid`` and the accuracy in a column per run.
        run: Name of the column.
    """
    import torch

    from rwcore.heads.calibration import overconfidence_of

    accuracy, middle = (torch.tensor(curves[name].to_numpy()) for name in (run, "bin_mid"))
    return overconfidence_of(accuracy, middle)


def self_repair(subject: Subject, selection: str = "top2pct") -> pd.DataFrame:
    """Means of every head, with the columns ``loss`` and ``layers`` (of its model) added.

    ``loss`` is the direct effect minus that of the ablated head, in logits.

    Args:
        subject: What a claim is asked of.
        selection: ``top2pct`` (tokens with the head's largest direct effects) or ``all_tokens``.
    """
    table = head_rows(subject, f"self_repair_heads_{selection}")
    layers = table.groupby("model")["layer"].transform("max") + 1
    return table.assign(loss=table["de"] - table["de_abl"], layers=layers)


def late(table: pd.DataFrame) -> pd.DataFrame:
    """Heads from two thirds of the layers to the last layer but one."""
    first = LATE[0] * table["layers"] // LATE[1]
    return table[(table["layer"] >= first) & (table["layer"] <= table["layers"] - 2)]


def repaired(table: pd.DataFrame, part: str = "sr") -> pd.Series[float]:
    """Repair (or a part of it) over loss, of the sums over heads, by model."""
    sums = table.groupby("model", sort=False)[[part, "loss"]].sum()
    return sums[part] / sums["loss"]


def share(table: pd.DataFrame, condition: pd.Series[bool]) -> pd.Series[float]:
    """Share of heads that meet a condition, by model."""
    return condition.astype(float).groupby(table["model"], sort=False).mean()
