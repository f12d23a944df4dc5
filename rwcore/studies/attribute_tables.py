"""Attributes rates as tables: of runs, of facts and subjects, and means as texts for a paper or a page."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from jaxtyping import Float32
from torch import Tensor

from rwcore.ablation.compare import RunLabel
from rwcore.ablation.grid import Experiment
from rwcore.attributes.tables import layer_table, mean_table, relation_table
from rwcore.errors import OptionError
from rwcore.plots.ablation_names import run_text
from rwcore.studies.ablation_tables import MINUS, NONE
from rwcore.studies.attribute_rates import AttributeStudy
from rwcore.studies.failures import Failure
from rwcore.studies.tables import latex_escape, latex_label, text_latex, text_markdown

FACT_COLUMNS = ("id", "subject", "relation", "prompt", "attribute", "known", "answer", "excluded")
SUBJECT_COLUMNS = ("subject", "facts", "passages", "attributes")

NO_PASSAGES = "nothing is written about the subject"
NO_ATTRIBUTES = "what is written about the subject has no attributes"
NO_PREDICTIONS = "no likely token counts, after any layer"

CAPTION = (
    "Attributes rate of {model} at the last token of a subject (%), mean over layers; {n} facts. Difference: "
    "clean minus ablated, so positive where the intact neurons raise the rate. The intervals (95 %) are over "
    "subjects"
)


@dataclass(frozen=True, eq=False)
class AttributeFindings:
    """What was measured.

    Attributes:
        layers: Content of ``rates.csv``.
        means: Content of ``means.csv``.
        relations: Content of ``relations.csv``.
        facts: Content of ``facts.csv``.
        subjects: Content of ``subjects.csv``.
        labels: The runs that were made, in their order.
        failures: Those that could not be made.
    """

    layers: pd.DataFrame
    means: pd.DataFrame
    relations: pd.DataFrame
    facts: pd.DataFrame
    subjects: pd.DataFrame
    labels: tuple[RunLabel, ...]
    failures: tuple[Failure, ...]

    @property
    def excluded(self) -> dict[str, int]:
        """How many facts were left out, by reason, the most frequent first."""
        reasons = self.facts["excluded"]
        return dict(Counter(reason for reason in reasons if reason).most_common())


def measure(study: AttributeStudy, experiments: Sequence[Experiment]) -> AttributeFindings:
    """The rates of a study, clean and in some experiments, as tables.

    Raises:
        OptionError: The model knows none of the facts, or nothing is written about what it knows.
        RwcoreError: The clean run cannot be made; others that fail are reported.
    """
    clean = study.clean()
    facts = fact_table(study, clean)
    # As published, a subject without passages has a rate of 0.
    if (facts["excluded"] != "").all() or not any(map(study.passages.get, study.subjects)):
        raise _nothing_written(study)
    runs, labels, failures = [], [], []
    for experiment, found in zip(experiments, study.runs(experiments), strict=True):
        if isinstance(found, Failure):
            failures.append(found)
        else:
            runs.append(found)
            labels.append(experiment.label)
    given = (clean, runs, study.subject_numbers)
    relations = [prompt.fact.relation for prompt in study.prompts]
    return AttributeFindings(
        layers=layer_table(*given, labels),
        means=mean_table(*given, labels),
        relations=relation_table(*given, labels, relations),
        facts=facts,
        subjects=subject_table(study),
        labels=tuple(labels),
        failures=tuple(failures),
    )


def fact_table(study: AttributeStudy, clean: Float32[Tensor, "prompt layer"]) -> pd.DataFrame:
    """One row per fact that was asked, columns `FACT_COLUMNS`; an empty ``excluded`` if it has a rate."""
    reasons = {one.fact.id: one.reason for one in study.judgements if not one.known}
    reasons |= {one.fact.id: one.reason for one in study.excluded}
    rated = study.sets.rated[study.subject_numbers].tolist()
    measured = (clean[:, 1:] >= 0).any(dim=1).tolist()
    for prompt, has_set, has_rate in zip(study.prompts, rated, measured, strict=True):
        if not has_set:
            written = study.passages.get(prompt.fact.subject)
            reasons[prompt.fact.id] = NO_ATTRIBUTES if written else NO_PASSAGES
        elif not has_rate:
            reasons[prompt.fact.id] = NO_PREDICTIONS
    rows = [
        (
            one.fact.id,
            one.fact.subject,
            one.fact.relation,
            one.fact.prompt,
            one.fact.attribute,
            one.known,
            one.answer,
            reasons.get(one.fact.id, ""),
        )
        for one in study.judgements
    ]
    return pd.DataFrame(rows, columns=[*FACT_COLUMNS])


def subject_table(study: AttributeStudy) -> pd.DataFrame:
    """One row per subject of the facts that the model knows, columns `SUBJECT_COLUMNS`."""
    facts = Counter(prompt.fact.subject for prompt in study.prompts)
    rows = [
        (subject, facts[subject], len(study.passages.get(subject, ())), int(size))
        for subject, size in zip(study.subjects, study.sets.sizes, strict=True)
    ]
    return pd.DataFrame(rows, columns=[*SUBJECT_COLUMNS])


def _nothing_written(study: AttributeStudy) -> OptionError:
    some = ", ".join(study.subjects[:3])
    more = ", …" * (len(study.subjects) > 3)
    return OptionError(
        f"of the {len(study.subjects)} subjects that the model knows facts about none has an attribute: "
        "no passage is about one of them, or none has words that count",
        where=f"--passages, for {some}{more}",
        remedy="give passages about these very subjects, or --retrieval bm25, which finds them in other "
        "articles too",
    )


def attribute_table(means: pd.DataFrame) -> pd.DataFrame:
    """Means over layers as texts, in the order of the table.

    Args:
        means: Content of ``means.csv``.

    Returns:
        ``ablation`` (the mode), ``n`` (facts), ``rate`` (per cent) and ``difference`` with their intervals,
        ``mean size`` of the differences after the layers, ``largest`` of them and its ``layer``; a dash where
        there is none; index ``Set``, with the condition, ``baseline`` for random neurons of the same layers.
    """
    rows = means.to_dict("records")
    cells = {
        "ablation": [str(row["mode"]) or NONE for row in rows],
        "n": [f"{row['n']:,}" for row in rows],
        "rate": [_with_interval(row, "rate") for row in rows],
        "difference": [_with_interval(row, "difference") for row in rows],
        "mean size": [_text(row["mean_absolute"]) for row in rows],
        "largest": [_text(row["largest"]) for row in rows],
        "layer": [NONE if pd.isna(row["largest_layer"]) else str(row["largest_layer"]) for row in rows],
    }
    return pd.DataFrame(cells, index=pd.Index([_name(row) for row in rows], name="Set"))


def _with_interval(row: Mapping[Any, Any], name: str) -> str:
    """``23.05 [21.4, 24.9]``."""
    low, high = ("low", "high") if name == "rate" else (f"{name}_low", f"{name}_high")
    ends = [row[name], row[low], row[high]]
    if not all(map(math.isfinite, ends[1:])):
        return _text(ends[0])
    return f"{_text(ends[0])} [{_text(ends[1])}, {_text(ends[2])}]"


def _text(value: float) -> str:
    return f"{value:.2f}".replace("-", MINUS) if math.isfinite(value) else NONE


def _name(row: Mapping[Any, Any]) -> str:
    text = run_text(RunLabel(row["set"], "", False, row["gate"], row["post"]))
    return f"{text} baseline" if row["baseline"] else text


def attribute_latex(means: pd.DataFrame, model: str) -> str:
    """Means over layers as LaTeX: ``table*``, no rules, caption and label.

    Args:
        means: As for `attribute_table`.
        model: Id of the model; escaped in the caption, made safe in the label.
    """
    # A hyphen for the names; outside mathematics mode it is none for numbers.
    shown = attribute_table(means).map(lambda text: latex_escape(text).replace(MINUS, "$-$"))
    shown.index = pd.Index([name.replace(MINUS, "-") for name in shown.index], name="Set")
    caption = CAPTION.format(model=latex_escape(model), n=_facts(means)).replace("%", r"\%")
    return text_latex(shown, caption, f"{latex_label(model)}_attributes")


def attribute_markdown(means: pd.DataFrame, model: str) -> str:
    """Means over layers as Markdown, with the caption as its first line.

    Args:
        means: As for `attribute_table`.
        model: Id of the model.
    """
    return text_markdown(attribute_table(means), CAPTION.format(model=f"`{model}`", n=_facts(means)))


def _facts(means: pd.DataFrame) -> str:
    return f"{int(means['n'].max()):,}"
