"""Tables of a comparison of models for a paper or a page: class shares, and distances between models."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from tabulate import tabulate

from rwcore.studies.tables import latex_escape

SHARE_CAPTION = "Shares of neuron IO classes in {models} (in per cent)"
VARIATION_CAPTION = "Total variation distance between the shares of neuron IO classes in {models}"
NEURONS = "neurons"


def share_table(shares: pd.DataFrame, ids: Sequence[str], labels: Sequence[str]) -> pd.DataFrame:
    """Percentages with one row per class and one column per model; a last row with the numbers of neurons.

    Args:
        shares: Columns ``model``, ``class``, ``count``, ``share``.
        ids: The models, in the order of the columns.
        labels: What the columns are called.

    Returns:
        Texts with two decimals, 0.00 where a model has no such class (``undefined``); index ``class``.
    """
    classes = list(dict.fromkeys(shares["class"]))
    by_class = shares.pivot_table(index="class", columns="model", values="share", fill_value=0.0)
    percent = (100 * by_class.loc[classes, [*ids]]).map(lambda value: f"{value:.2f}")
    neurons = shares.groupby("model")["count"].sum()
    percent.loc[NEURONS] = [f"{neurons[name]:,}" for name in ids]
    percent.columns = pd.Index(labels)
    return percent


def variation_table(variations: pd.DataFrame, ids: Sequence[str], labels: Sequence[str]) -> pd.DataFrame:
    """Distances between whole models as a symmetric table with 0 on the diagonal.

    Args:
        variations: Columns ``first``, ``second``, ``layer`` (empty for whole models), ``total_variation``.
        ids: The models, in the order of rows and columns.
        labels: What they are called.

    Returns:
        Texts with four decimals.
    """
    whole = variations[variations["layer"].isna()]
    found = {
        (str(first), str(second)): float(value)
        for first, second, value in zip(
            whole["first"], whole["second"], whole["total_variation"], strict=True
        )
    }
    rows = [[found.get((a, b), found.get((b, a), 0.0)) for b in ids] for a in ids]
    table = pd.DataFrame(rows, index=pd.Index(labels, name="model"), columns=pd.Index(labels))
    return table.map(lambda value: f"{value:.4f}")


def share_latex(table: pd.DataFrame) -> str:
    """`share_table` as LaTeX: ``table*``, caption and label."""
    return _latex(table, SHARE_CAPTION, "tab:class_shares")


def share_markdown(table: pd.DataFrame) -> str:
    """`share_table` as Markdown, with the caption as its first line."""
    return _markdown(table, SHARE_CAPTION)


def variation_latex(table: pd.DataFrame) -> str:
    """`variation_table` as LaTeX: ``table*``, caption and label."""
    return _latex(table, VARIATION_CAPTION, "tab:total_variation")


def variation_markdown(table: pd.DataFrame) -> str:
    """`variation_table` as Markdown, with the caption as its first line."""
    return _markdown(table, VARIATION_CAPTION)


def _latex(table: pd.DataFrame, caption: str, label: str) -> str:
    headers = [latex_escape(str(name)) for name in table.columns]
    rows = [latex_escape(str(name)) for name in table.index]
    escaped = table.set_axis(headers, axis="columns").set_axis(pd.Index(rows, name=table.index.name))
    return escaped.style.to_latex(
        environment="table*",
        column_format="l" + "r" * len(headers),
        caption=caption.format(models=_listed(headers)),
        label=label,
    )


def _markdown(table: pd.DataFrame, caption: str) -> str:
    rows = [
        [str(name).replace("|", r"\|"), *row] for name, row in zip(table.index, table.to_numpy(), strict=True)
    ]
    headers = [str(name).replace("|", r"\|") for name in (table.index.name, *table.columns)]
    align = ["left", *("right" for _ in table.columns)]
    body = tabulate(rows, headers=headers, tablefmt="pipe", disable_numparse=True, colalign=align)
    return f"{caption.format(models=_listed([f'`{name}`' for name in table.columns]))}\n\n{body}\n"


def _cell(name: object) -> str:
    return str(name).replace("|", r"\|")


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]
