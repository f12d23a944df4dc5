"""The table of probed features for a paper or a page."""

from __future__ import annotations

import math

import pandas as pd

from rwcore.studies.ablation_tables import MINUS, NONE
from rwcore.studies.tables import latex_escape, latex_label, text_latex, text_markdown

CAPTION = (
    "The best neuron of {model} for each feature, chosen on {by}, with the test MCC of its probe (95 % "
    "interval over documents) and the sign of its weight; how many of {all} neurons have a test MCC of at "
    "least 0.8; the test MCC of the best random direction and of the best neuron under shuffled labels"
)


def feature_texts(features: pd.DataFrame) -> pd.DataFrame:
    """The features as texts, in the order of the table.

    Args:
        features: See `rwcore.studies.probe_tables.feature_table`; of several data sets one after the other.

    Returns:
        ``n`` (labelled examples), ``positives``, ``neuron`` (layer.number and polarity), MCC on validation
        and on test, F1 on test, numbers of neurons, controls; a dash where there is none; index ``Feature``.
    """
    rows = features.to_dict("records")
    cells = {
        "n": [f"{row['n']:,}" for row in rows],
        "positives": [f"{row['positives']:,}" for row in rows],
        "neuron": [f"{row['layer']}.{row['neuron']} {row['polarity'].replace('-', MINUS)}" for row in rows],
        "MCC (val.)": [score_text(row["validation_mcc"]) for row in rows],
        "MCC (test)": [
            interval_text(*(row[f"test_mcc{end}"] for end in ("", "_low", "_high"))) for row in rows
        ],
        "F1": [score_text(row["test_f1_score"]) for row in rows],
        "≥ 0.8": [f"{row['neurons_80']:,}" for row in rows],
        "direction": [score_text(row["direction_test_mcc"]) for row in rows],
        "shuffled": [score_text(row["shuffled_test_mcc"]) for row in rows],
    }
    return pd.DataFrame(cells, index=pd.Index([row["feature"] for row in rows], name="Feature"))


def feature_markdown(features: pd.DataFrame, model: str, neurons: int) -> str:
    """The features as Markdown, with the caption as its first line.

    Args:
        features: As for `feature_texts`.
        model: Id of the model.
        neurons: How many were probed for each feature.
    """
    return text_markdown(feature_texts(features), _caption(features, f"`{model}`", neurons))


def feature_latex(features: pd.DataFrame, model: str, neurons: int) -> str:
    """The features as LaTeX: ``table*``, no rules, caption and label.

    Args:
        features: As for `feature_texts`.
        model: Id of the model; escaped in the caption, made safe in the label.
        neurons: How many were probed for each feature.
    """
    shown = feature_texts(features).map(lambda text: latex_escape(text).replace(MINUS, "$-$"))
    # The names of columns are escaped by `text_latex`, which knows no mathematics: a word says the same.
    shown = shown.rename(columns={"≥ 0.8": "at least 0.8"})
    caption = _caption(features, latex_escape(model), neurons).replace("%", r"\%")
    return text_latex(shown, caption, f"{latex_label(model)}_probes")


def _caption(features: pd.DataFrame, model: str, neurons: int) -> str:
    by = "test" if features["validation_mcc"].isna().all() else "validation"
    return CAPTION.format(model=model, by=by, all=f"{neurons:,}")


def interval_text(value: float, low: float, high: float) -> str:
    """``0.93 [0.90, 0.95]``; without an interval the value alone."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return score_text(value)
    return f"{score_text(value)} [{score_text(low)}, {score_text(high)}]"


def score_text(value: float) -> str:
    """Two decimals; a dash where there is no value."""
    return f"{value:.2f}".replace("-", MINUS) if math.isfinite(value) else NONE
