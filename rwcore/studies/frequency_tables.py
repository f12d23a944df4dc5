"""Mean frequencies of the classes as a table for a paper or a page."""

from __future__ import annotations

import math

import pandas as pd

from rwcore.activations.quadrants import SUMMARY
from rwcore.paths import slug
from rwcore.plots.frequency_names import CONDITIONS
from rwcore.studies.tables import latex_escape, latex_label, text_latex, text_markdown

CAPTION = (
    "Mean frequency of {condition} of the neurons of each class of {model}, "
    "and of random neurons of the same layers (baseline); the intervals are over documents"
)
INTERVAL = "95 % interval"
NONE = "–"


def frequency_table(means: pd.DataFrame) -> pd.DataFrame:
    """Mean frequencies with one row per class, in the order of the rows.

    Args:
        means: Columns ``class``, ``n``, ``true``, ``baseline``, ``low``, ``high``.

    Returns:
        Texts: ``n`` with thousands separators, means and intervals of ``true`` with three decimals, a dash
        where there is no number; index ``Class``.
    """
    cells = {
        "n": [f"{n:,}" for n in means["n"]],
        "true": [_number(value) for value in means["true"]],
        "baseline": [_number(value) for value in means["baseline"]],
        INTERVAL: [
            f"[{_number(low)}, {_number(high)}]" if math.isfinite(low) and math.isfinite(high) else NONE
            for low, high in zip(means["low"], means["high"], strict=True)
        ],
    }
    return pd.DataFrame(cells, index=pd.Index(means["class"], name="Class"))


def frequency_latex(means: pd.DataFrame, model: str, name: str = SUMMARY) -> str:
    """The table as LaTeX: ``table*``, no rules, caption and label.

    Args:
        means: As for `frequency_table`.
        model: Id of the model; escaped in the caption, made safe in the label.
        name: Which frequency it is: ``summary`` or a quadrant.

    Source: RW functionalities, activation frequencies by class; section 5.3 of the specification.
    """
    condition = f"${CONDITIONS[name].replace(', ', '$, $')}$"
    for word in ("gate", "in"):
        condition = condition.replace(f"${word} ", rf"$\mathrm{{{word}}} ")
    label = f"{latex_label(model)}_frequency_{frequency_slug(name)}"
    table = frequency_table(means).map(lambda text: text.replace("-", "$-$"))  # not a hyphen
    return text_latex(table, CAPTION.format(condition=condition, model=latex_escape(model)), label)


def frequency_markdown(means: pd.DataFrame, model: str, name: str = SUMMARY) -> str:
    """The table as Markdown, with the caption as its first line.

    Args:
        means: As for `frequency_table`.
        model: Id of the model.
        name: Which frequency it is: ``summary`` or a quadrant.
    """
    caption = CAPTION.format(condition=CONDITIONS[name].replace(", ", " and "), model=f"`{model}`")
    return text_markdown(frequency_table(means), caption)


def frequency_slug(name: str) -> str:
    """A name of a frequency for labels and files: ``gate_plus_in_minus`` for ``gate+_in-``."""
    return slug(name.replace("+", "_plus").replace("-", "_minus"))


def _number(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else NONE
