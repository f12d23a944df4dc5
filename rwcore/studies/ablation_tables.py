"""What ablating neurons does, as tables for a paper or a page, one per metric."""

from __future__ import annotations

import math
import re

import pandas as pd

from rwcore.ablation.compare import RunLabel
from rwcore.paths import slug
from rwcore.plots.ablation_names import METRIC_LABELS, UNITS, run_text
from rwcore.studies.tables import latex_escape, latex_label, text_latex, text_markdown

CAPTION = (
    "Change of the {metric}{unit} of {model} by ablation: clean minus ablated, so negative where the intact "
    "neurons lower it; {n}. The intervals are over documents; changed is the share of the predictions with "
    "another {metric}"
)
INTERVAL = "95 % interval"
NONE = "–"
MINUS = "−"
NUMBERS = ("mean", "min", "q1", "median", "q3", "max")


def ablation_table(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The rows of one metric, as texts, in the order of the table.

    Args:
        table: Columns as in ``ablation.csv`` (`rwcore.ablation.compare.COLUMNS`).
        metric: ``loss``, ``entropy``, ``rank`` or ``log_scale``.

    Returns:
        ``ablation`` (the mode), ``n`` with thousands separators, mean, interval, quartiles and ends with four
        significant digits, ``changed`` in percent; a dash where there is no number; index ``Set``, with the
        condition, ``baseline`` for random neurons of the same layers.
    """
    rows = table[table["metric"] == metric]
    cells = {
        "ablation": [str(mode) for mode in rows["mode"]],
        "n": [f"{n:,}" for n in rows["n"]],
        "mean": [number_text(value) for value in rows["mean"]],
        INTERVAL: [
            f"[{number_text(low)}, {number_text(high)}]"
            if math.isfinite(low) and math.isfinite(high)
            else NONE
            for low, high in zip(rows["low"], rows["high"], strict=True)
        ],
        **{name: [number_text(value) for value in rows[name]] for name in NUMBERS[1:]},
        "changed": [f"{100 * share:.1f} %" if math.isfinite(share) else NONE for share in rows["changed"]],
    }
    return pd.DataFrame(cells, index=pd.Index([_name(*row) for row in _labels(rows)], name="Set"))


def _labels(rows: pd.DataFrame) -> list[tuple[str, bool, str, str]]:
    # An empty condition is read from a file as NaN.
    signs = [rows[name].fillna("").astype(str) for name in ("gate", "post")]
    return list(zip(rows["set"].astype(str), rows["baseline"].astype(bool), *signs, strict=True))


def _name(name: str, baseline: bool, gate: str, post: str) -> str:
    text = run_text(RunLabel(name, "", False, gate, post))
    return f"{text} baseline" if baseline else text


def number_text(value: float) -> str:
    """Four significant digits with a minus sign; ``1.5e−06`` below 0.0001, whole numbers from 1,000 on."""
    if not math.isfinite(value):
        return NONE
    size = abs(value)
    text = (
        f"{value:,.0f}" if size >= 999.95 else f"{value:.4g}" if size >= 1e-4 or not size else f"{value:.3e}"
    )
    mantissa, letter, exponent = text.partition("e")
    if letter:
        mantissa = mantissa.rstrip("0").rstrip(".")
    return (mantissa + letter + exponent).replace("-", MINUS)


def ablation_latex(table: pd.DataFrame, model: str, metric: str) -> str:
    """The table of a metric as LaTeX: ``table*``, no rules, caption and label.

    Args:
        table: As for `ablation_table`.
        model: Id of the model; escaped in the caption, made safe in the label.
        metric: As for `ablation_table`.

    Source: RW functionalities, tables of ablations; section 3.4 of the specification.
    """
    shown = ablation_table(table, metric).map(_latex_cell)
    shown.index = pd.Index([name.replace(MINUS, "-") for name in shown.index], name="Set")
    label = f"{latex_label(model)}_ablation_{slug(metric)}"
    return text_latex(shown, _caption(table, metric, latex_escape(model)), label)


def _latex_cell(text: str) -> str:
    """Numbers below 0 and powers of ten in mathematics mode: outside it a minus sign is a hyphen."""
    text = re.sub(rf"{MINUS}?[0-9.]+e{MINUS}[0-9]+|{MINUS}[0-9.,]*[0-9]", _latex_number, text)
    return text.replace("%", r"\%")


def _latex_number(found: re.Match[str]) -> str:
    mantissa, letter, exponent = found[0].replace(MINUS, "-").partition("e")
    # A comma of thousands is no punctuation mark, which has a space after it.
    power = rf" \times 10^{{{int(exponent)}}}" if letter else ""
    return f"${mantissa.replace(',', '{,}')}{power}$"


def ablation_markdown(table: pd.DataFrame, model: str, metric: str) -> str:
    """The table of a metric as Markdown, with the caption as its first line.

    Args:
        table: As for `ablation_table`.
        model: Id of the model.
        metric: As for `ablation_table`.
    """
    return text_markdown(ablation_table(table, metric), _caption(table, metric, f"`{model}`"))


def _caption(table: pd.DataFrame, metric: str, model: str) -> str:
    unit = f" ({UNITS[metric]})" if UNITS[metric] else ""
    has_baseline = bool(table["baseline"].astype(bool).any())
    n = "a baseline is random neurons of the same layers" if has_baseline else "no baselines"
    return CAPTION.format(metric=METRIC_LABELS[metric], unit=unit, model=model, n=n)
