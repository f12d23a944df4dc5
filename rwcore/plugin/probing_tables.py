"""The published tables of sparse probing: which rows are about a subject, and what their digits imply."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from rwcore.plugin.subjects import Kind, Subject

if TYPE_CHECKING:
    import pandas as pd

NOT_COMPUTED = (
    "the published value is of a table of the authors, and no claim test computes it of a model yet"
)
SMALL = "the paper's features are of words and languages, and a small model reads letters"
MOST_POSITIVES = 5000
SIZED = (
    "programming_lang_id", "natural_lang_id", "distribution_id", "text_features", "latex", "compound_words",
    "ewt",
)  # fmt: skip
"""Data sets whose sizes are published."""


def short_name(model: str) -> str:
    """The name of a model in the published files, which leave out the organisation and the release."""
    return model.rpartition("/")[2].removesuffix("-v0")


def published_rows(subject: Subject, name: str, otherwise: str = NOT_COMPUTED) -> pd.DataFrame:
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


def neurons(subject: Subject, *files: str, datasets: Sequence[str] | None = None) -> pd.DataFrame:
    """Neurons of some of the original files, published ones or those that probes of a paper's own model find.

    Args:
        subject: What a claim is asked of; other models are skipped.
        files: Names of the files.
        datasets: First parts of the names of data sets; None for all. Of a model only those are probed whose
            texts are here; expectations about the others are not checked.

    Returns:
        The columns of ``sparse_probing_neurons.csv``, for all files one below the other, with the data set by
        the first part of its name.
    """
    if subject.kind is Kind.PAPER:
        from rwcore.plugin.model_subject import ModelSubject

        assert isinstance(subject, ModelSubject)
        return subject.paper_probes.neurons(files, SIZED if datasets is None else datasets)
    table = published_rows(subject, "neurons", SMALL)
    table = table.assign(dataset=table["dataset"].str.partition(".")[0])
    table = table[table["source"].str.rpartition("/")[2].isin(files)]
    return table if datasets is None else table[table["dataset"].isin(list(datasets))]


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
    """Rows, tokens and features of each data set, by the first part of its name.

    Of a paper's own model those of the data sets that are made here for it.
    """
    if subject.kind is Kind.PAPER:
        from rwcore.plugin.model_subject import ModelSubject

        assert isinstance(subject, ModelSubject)
        return subject.paper_probes.sizes(SIZED)
    wide = notebook(subject, "dataset_sizes")
    return wide.set_index(wide["key"].str.replace(r"\.pyth\.\S*", "", regex=True))


def of_subject(subject: Subject, **quantities: Any) -> dict[str, Any]:
    """Quantities as expectations about a subject have them.

    Those about a paper's own model name no model: of tables with a column ``model`` the rest is left, and of
    one with nothing else but a value the number. A number there is none of is not a number.
    """
    import pandas as pd

    if subject.kind is not Kind.PAPER:
        return quantities
    found = dict(quantities)
    for name, value in quantities.items():
        if not isinstance(value, pd.DataFrame) or "model" not in value:
            continue
        rest = value.drop(columns="model")
        alone = list(rest.columns) == ["value"]
        found[name] = rest if not alone else rest["value"].iloc[0] if len(rest) else math.nan
    return found


def count_of_each(table: pd.DataFrame, subject: Subject) -> pd.DataFrame:
    """Columns model, value: rows of each model of a subject, also of those that have none."""
    return column(table.groupby("model").size().reindex(list(subject.models), fill_value=0))


def best_of_each(table: pd.DataFrame, value: str = "test_mcc", key: str = "feature") -> pd.DataFrame:
    """Columns model, key, value of the best row of each."""
    return table.groupby(["model", key], sort=False)[value].max().rename("value").reset_index()


def of_feature(table: pd.DataFrame, feature: str) -> pd.DataFrame:
    """Columns model, value of one feature."""
    return table[table["feature"] == feature][["model", "value"]].reset_index(drop=True)


def column(numbers: pd.Series[Any], key: str = "model") -> pd.DataFrame:
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
