"""The published tables of sparse probing: which rows are about a subject, and what their digits imply."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from rwcore.plugin.subjects import Subject

if TYPE_CHECKING:
    import pandas as pd

WITHOUT_TEXT = "needs the paper's feature data sets, which were made from the test split of the Pile"
MOST_POSITIVES = 5000


def short_name(model: str) -> str:
    """The name of a model in the published files, which leave out the organisation and the release."""
    return model.rpartition("/")[2].removesuffix("-v0")


def published_rows(subject: Subject, name: str, otherwise: str = WITHOUT_TEXT) -> pd.DataFrame:
    """Rows of ``sparse_probing_<name>.csv`` about the models of a subject, under the ids they have here.

    Rows about no model (sizes of data sets) are always among them. A subject without published tables is not
    asked: its test is skipped.

    Args:
        subject: What a claim is asked of.
        name: ``neurons``, ``tables`` or ``v1_context_neurons``.
        otherwise: Why a model cannot be asked.
    """
    import pytest

    from rwcore.plugin.tables import TablesSubject

    if not isinstance(subject, TablesSubject):
        pytest.skip(otherwise)
    table = subject.rows(f"sparse_probing_{name}.csv")
    ids = {short_name(model): model for model in subject.models}
    return table[table["model"].isin([*ids, ""])].replace({"model": ids})


def neurons(subject: Subject, *files: str, otherwise: str = WITHOUT_TEXT) -> pd.DataFrame:
    """Published neurons of some of the original files, with the data set by the first part of its name."""
    table = published_rows(subject, "neurons", otherwise)
    file = table["source"].str.rpartition("/")[2]
    dataset = table["dataset"].str.partition(".")[0]
    return table.assign(dataset=dataset)[file.isin(files)]


def notebook(subject: Subject, name: str) -> pd.DataFrame:
    """A table of a notebook: a row per key and a column per metric.

    The parts of a key, ``feature|layer=3|k=2048``, become columns of texts; those without a name are the
    feature.
    """
    import pandas as pd

    table = published_rows(subject, "tables")
    rows = table[table["table"] == name]
    wide = rows.pivot_table("value", ["model", "key"], "metric", sort=False).reset_index()
    parts = [
        {"feature": "|".join(part for part in key.split("|") if "=" not in part)}
        | dict(part.split("=", 1) for part in key.split("|") if "=" in part)
        for key in wide["key"]
    ]
    return pd.concat([wide, pd.DataFrame(parts)], axis=1)


def dataset_sizes(subject: Subject) -> pd.DataFrame:
    """Rows, tokens and features of each data set, by the first part of its name."""
    wide = notebook(subject, "dataset_sizes")
    return wide.set_index(wide["key"].str.replace(r"\.pyth\.\S*", "", regex=True))


def best_of_each(table: pd.DataFrame, value: str = "test_mcc", key: str = "feature") -> pd.DataFrame:
    """Columns model, key, value of the best row of each."""
    return table.groupby(["model", key], sort=False)[value].max().rename("value").reset_index()


def of_feature(table: pd.DataFrame, feature: str) -> pd.DataFrame:
    """Columns model, value of one feature."""
    return table[table["feature"] == feature][["model", "value"]].reset_index(drop=True)


def column(numbers: pd.Series[float], key: str = "model") -> pd.DataFrame:
    """Columns of the key and value."""
    return numbers.rename("value").rename_axis(key).reset_index()


def places(table: pd.DataFrame) -> pd.Series[str]:
    """Neurons as ``layer.neuron``."""
    neuron = table["neuron_or_k" if "neuron_or_k" in table else "neuron"]
    return table["layer"].astype(int).astype(str) + "." + neuron.astype(int).astype(str)


def positives(recalls: Iterable[float]) -> int:
    """The least number of positives of which every recall is a fraction; 0 if there is none below 5,000."""
    recalls = [recall for recall in recalls if recall == recall]
    for n in range(1, MOST_POSITIVES):
        # Recalls have full precision: a fraction of another number is off by at least 1 / MOST_POSITIVES.
        if all(abs(recall * n - round(recall * n)) < 1e-7 * n for recall in recalls):
            return n
    return 0


def examples(probes: pd.DataFrame) -> int:
    """How many examples fit precision, recall and MCC of every probe of one feature; 0 if no number does.

    With tp, fp and fn known, mcc² (tp + fp)(tp + fn)(tn + fp)(tn + fn) = (tp tn - fp fn)² is a quadratic
    equation for tn. Perfect probes say nothing about it.
    """
    n = positives(probes["test_recall"])
    totals = set()
    for mcc, precision, recall in probes[["test_mcc", "test_precision", "test_recall"]].to_numpy().tolist():
        if mcc == 1:
            continue
        tp = recall * n
        fp, fn = tp * (1 / precision - 1), n - tp
        k = mcc**2 * (tp + fp) * n
        a, b, c = k - tp**2, k * (fp + fn) + 2 * tp * fp * fn, (k - fp * fn) * fp * fn
        inside = b * b - 4 * a * c
        totals.add(round(n + fp + (-b - math.sqrt(inside)) / (2 * a)) if a < 0 and inside >= 0 else 0)
    return totals.pop() if len(totals) == 1 else 0
