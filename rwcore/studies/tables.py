"""Count tables for a paper or a page: layers as rows, classes or bins as columns, totals below."""

from __future__ import annotations

import pandas as pd
from tabulate import tabulate

from rwcore.paths import slug
from rwcore.stats.classes import UNDEFINED

TOTAL = "Total"

# Published captions.
CLASS_CAPTION = "Distribution of neuron IO classes by layer and category in {model}"
BIN_CAPTION = "Distribution of neuron IO cosines by layer in {model}"

_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}


def latex_escape(text: str) -> str:
    """Text as LaTeX prints it literally; every special character is escaped once."""
    return "".join(_LATEX.get(character, character) for character in text)


def latex_label(text: str) -> str:
    r"""A name that is safe inside ``\label{}`` and ``\ref{}``, where escapes are not allowed."""
    return "tab:" + slug(text)


def class_table(counts: pd.DataFrame) -> pd.DataFrame:
    """Class counts with one row per layer and a last row ``Total``.

    Args:
        counts: Columns ``layer``, ``class``, ``count``; the classes in the order the table shall have.

    Returns:
        Integer counts; index ``Layer`` (text), one column per class.
    """
    return _with_totals(counts, "class", list(dict.fromkeys(counts["class"])))


def bin_table(counts: pd.DataFrame) -> pd.DataFrame:
    """Half-coarse counts with one row per layer and a last row ``Total``.

    Args:
        counts: Columns ``layer``, ``bin_low``, ``bin_high``, ``count``; bins in ascending order, the row of
            undefined neurons (no edges) last.

    Returns:
        Integer counts; index ``Layer`` (text), one column per bin, named by its edges: ``-1.00 -0.80``, and
        ``undefined``.
    """
    edges = [
        UNDEFINED if low != low else f"{low:.2f} {high:.2f}"
        for low, high in zip(counts["bin_low"], counts["bin_high"], strict=True)
    ]
    return _with_totals(counts.assign(bin=edges), "bin", list(dict.fromkeys(edges)))


def _with_totals(counts: pd.DataFrame, by: str, names: list[str]) -> pd.DataFrame:
    table = counts.pivot_table(index="layer", columns=by, values="count", aggfunc="sum", fill_value=0)[names]
    table.index = table.index.astype(str)
    table.loc[TOTAL] = table.sum()
    table.columns.name = None
    table.index.name = "Layer"
    return table.astype("int64")


def class_latex(counts: pd.DataFrame, model: str) -> str:
    """The published class table as LaTeX: ``table*``, no rules, caption and label.

    Args:
        counts: As for `class_table`.
        model: Id of the model; escaped in the caption, made safe in the label.
    """
    table = class_table(counts)
    return _latex(
        table, [latex_escape(str(name)) for name in table], CLASS_CAPTION, model, latex_label(model)
    )


def class_markdown(counts: pd.DataFrame, model: str) -> str:
    """The class table as Markdown, with the caption as its first line.

    Args:
        counts: As for `class_table`.
        model: Id of the model.
    """
    return _markdown(class_table(counts), CLASS_CAPTION, model)


def bin_latex(counts: pd.DataFrame, model: str) -> str:
    """The published half-coarse table as LaTeX.

    Args:
        counts: As for `bin_table`.
        model: Id of the model.
    """
    table = bin_table(counts)
    return _latex(
        table,
        [_bin_latex(str(name)) for name in table],
        BIN_CAPTION,
        model,
        latex_label(model) + "_half_coarse",
    )


def bin_markdown(counts: pd.DataFrame, model: str) -> str:
    """The half-coarse table as Markdown; columns are named by half-open intervals.

    Args:
        counts: As for `bin_table`.
        model: Id of the model.
    """
    table = bin_table(counts)
    return _markdown(table.rename(columns=_bin_markdown), BIN_CAPTION, model)


def _bin_latex(name: str) -> str:
    if name == UNDEFINED:
        return name
    low, high = name.split()
    # The whole inequality is set in mathematics mode: "<" outside it prints as "¡" in the default font.
    return rf"${low} \leq \cos {_closing(high)} {high}$".replace("≤", r"\leq")


def _bin_markdown(name: str) -> str:
    if name == UNDEFINED:
        return name
    low, high = name.split()
    return f"[{low}, {high}{']' if _closing(high) == '≤' else ')'}"


def _closing(high: str) -> str:
    """The last bin holds its upper edge."""
    return "≤" if high == "1.00" else "<"


def _latex(table: pd.DataFrame, headers: list[str], caption: str, model: str, label: str) -> str:
    return (
        table.set_axis(headers, axis="columns")
        .style.format(precision=0)
        .to_latex(
            environment="table*",
            column_format="l" + "r" * len(headers),
            caption=caption.format(model=latex_escape(model)),
            label=label,
        )
    )


def _markdown(table: pd.DataFrame, caption: str, model: str) -> str:
    rows = [[name, *map(int, row)] for name, row in zip(table.index, table.to_numpy(), strict=True)]
    body = tabulate(rows, headers=["Layer", *table.columns], tablefmt="github", disable_numparse=[0])
    return f"{caption.format(model=f'`{model}`')}\n\n{body}\n"


def text_latex(table: pd.DataFrame, caption: str, label: str) -> str:
    """A table of texts as LaTeX: ``table*``, no rules, the name of the rows in the line of the headers.

    Args:
        table: Cells that LaTeX prints as they are; names of rows and columns are escaped.
        caption: In LaTeX.
        label: See `latex_label`.
    """
    shown = table.rename_axis(index=None, columns=str(table.index.name))
    text: str = shown.rename(index=latex_escape, columns=latex_escape).style.to_latex(
        environment="table*", column_format="l" + "r" * table.shape[1], caption=caption, label=label
    )
    return text


def text_markdown(table: pd.DataFrame, caption: str) -> str:
    """A table of texts as Markdown, with the caption as its first line; names of rows at the left."""
    rows = [[name, *row] for name, row in zip(table.index, table.to_numpy(), strict=True)]
    headers = [table.index.name, *table.columns]
    align = ("left", *["right"] * table.shape[1])
    body = tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True, colalign=align)
    return f"{caption}\n\n{body}\n"
