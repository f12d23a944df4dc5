"""A trace as files: one table of all parts, a summary to read, figures, a manifest; see ``OUTPUTS.md``."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from rwcore.ablation.interventions import Intervention
from rwcore.neurons import NeuronSet
from rwcore.plots.trace import (
    trace_layers_figure,
    trace_neurons_figure,
    trace_positions_figure,
    trace_strongest_figure,
)
from rwcore.provenance import Stopwatch, collect
from rwcore.store import MANIFEST, write_json, write_text
from rwcore.studies.ablation_tables import number_text
from rwcore.studies.figures import check_palette
from rwcore.studies.folder import check_target, files_of, filling, save_figure, write_csv
from rwcore.studies.tables import text_markdown
from rwcore.studies.trace_tables import COLUMNS, part
from rwcore.studies.traces import DEFINITION, Question, Traced, TraceOptions, TraceStudy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rwcore.plots.counts import PaletteName

SCHEMA = "rwcore-trace/1"
TABLE = "trace.csv"
SHOWN = 20
"""Neurons in the summary."""

_BASIC = ("clean", "ablated", "direct_frozen", "direct_recomputed", "group")
_NAMES = {
    "clean": "nothing ablated",
    "ablated": "whole ablation",
    "direct_frozen": "direct contribution taken away, scale of the final norm kept",
    "direct_recomputed": "direct contribution taken away, scale recomputed",
}
_DELTAS = {"delta_entropy": "Δ entropy", "delta_target_logit": "Δ logit"}


@dataclass(frozen=True, eq=False)
class TraceExport:
    """What was written, and what was found.

    Attributes:
        folder: Where the files are.
        manifest: Content of ``manifest.json``.
        traced: The trace.
    """

    folder: Path
    manifest: dict[str, Any]
    traced: Traced


def export_trace(
    study: TraceStudy,
    question: Question,
    neurons: NeuronSet,
    intervention: Intervention,
    out: Path,
    *,
    options: TraceOptions | None = None,
    plots: bool = True,
    palette: PaletteName = "paper",
    force: bool = False,
    command: str = "",
) -> TraceExport:
    """Trace an ablation and write what was found into a folder, whole or not at all.

    Args:
        study: The study.
        question: The prediction, of `TraceStudy.of_text` or `TraceStudy.of_row`.
        neurons: What is ablated.
        intervention: How.
        out: See `rwcore.studies.folder.check_target`.
        options: What is traced.
        plots: Also the figures.
        palette: ``paper``, the papers' colours, or ``accessible``.
        force: Write into a folder that holds other files.
        command: The command line, for the manifest.

    Raises:
        StoreError: The folder is refused or the disk is full.
        OptionError: There is no such palette; or see `TraceStudy.trace`.
        RwcoreError: See `TraceStudy.trace`.
    """
    stopwatch = Stopwatch()
    folder = check_target(out, force=force)
    check_palette(palette)
    asked = options or TraceOptions()
    traced = study.trace(question, neurons, intervention, asked)
    model, words = study.weights.local, traced.words
    prompt = question.prompt
    with filling(folder) as new:
        write_csv(new / TABLE, traced.table, COLUMNS)
        write_text(new / "trace.md", markdown(traced, model.spec.id))
        write_json(new / "neurons.json", neurons.to_json())
        if plots:
            for name, figure in draw(traced, model.spec.id, palette):
                save_figure(figure, new / name)
        following = prompt.following
        manifest = {
            "schema": SCHEMA,
            "complete": True,
            "command": command,
            "model": model.identity(),
            "processing": study.weights.processing,
            "prompt": {
                **question.source,
                "ids": prompt.tokens,
                "tokens": [words[one] for one in prompt.tokens],
            },
            "target": {"id": traced.target, "token": words[traced.target]},
            "next": None if following is None else {"id": following, "token": words[following]},
            "ablation": {"set": neurons.name, "neurons": len(neurons), **asdict(intervention)},
            "trace": asdict(asked),
            "options": {
                **{name: getattr(study.options, name) for name in ("dtype", "device", "threads")},
                "clip_qkv": study.weights.local.spec.clip_qkv,
                "positions": study.options.positions,
                "plots": plots,
                "palette": palette,
            },
            "definitions": {"trace": DEFINITION},
            "files": files_of(new, {TABLE: COLUMNS}),
            "provenance": collect(stopwatch),
        }
        write_json(new / MANIFEST, manifest)
    return TraceExport(folder, manifest, traced)


def draw(traced: Traced, title: str, palette: PaletteName) -> Iterator[tuple[str, Figure]]:
    """The figures of what was traced, one at a time: file name without suffix, and figure."""
    table = traced.table
    parts = {*table["part"]}
    common: dict[str, Any] = {"target": traced.words[traced.target], "title": title}
    if "layer" in parts:
        yield "layers", trace_layers_figure(table, **common)
    if "position" in parts:
        yield "positions", trace_positions_figure(table, **common)
    if "neuron" in parts:
        yield "neurons", trace_neurons_figure(table, palette_name=palette, **common)
        yield "strongest", trace_strongest_figure(table, **common)


def markdown(traced: Traced, model: str) -> str:
    """The summary: the whole, then layers, positions and neurons."""
    table, words, prompt = traced.table, traced.words, traced.question.prompt
    target = escaped(words[traced.target])
    tokens = " ".join(escaped(words[token]) for token in prompt.tokens)
    what = f"{escaped(traced.neurons.name)} ({len(traced.neurons):,} neurons), {traced.intervention.label}"
    lines = [
        f"# Trace of `{model}`: {what}",
        "",
        f"The prediction after these {len(prompt.tokens)} tokens:",
        "",
        f"> {tokens}",
        "",
        f"Logit, probability and rank are of {target}; entropies are in nats. Δ is clean − ablated: negative "
        "means that the intact neurons lower it. Effects of parts need not add up.",
    ]
    if prompt.following is not None:
        lines[-1] += f" Next comes {escaped(words[prompt.following])}; the loss is that of this token."
    sections = [
        ("The whole", _basic(table)),
        ("Layers", _layers(table)),
        ("Positions", _positions(table)),
        ("Neurons", _neurons(table)),
        ("Strongest neurons together", _strongest(table)),
    ]
    for heading, (caption, rows) in sections:
        if len(rows):
            lines += ["", f"## {heading}", "", text_markdown(rows, caption).rstrip()]
    return "\n".join(lines) + "\n"


def _basic(table: pd.DataFrame) -> tuple[str, pd.DataFrame]:
    rows = table[table["part"].isin(_BASIC)]
    names = [
        _NAMES.get(name, f"layers {layers} only")
        for name, layers in zip(rows["part"], rows["layers"], strict=True)
    ]
    columns = {
        "neurons": [f"{n:,}" for n in rows["n"]],
        "entropy": _texts(rows["entropy"]),
        "Δ entropy": _texts(rows["delta_entropy"]),
        "logit": _texts(rows["target_logit"]),
        "probability": _texts(rows["target_probability"]),
        "rank": [f"{rank:,}" for rank in rows["target_rank"]],
        "loss": _texts(rows["loss"]),
        "most probable": [escaped(token) for token in rows["argmax_token"]],
    }
    if rows["loss"].isna().all():
        del columns["loss"]
    caption = "What is left of the prediction if this is ablated; the rank of the most probable token is 0."
    return caption, _frame(columns, names, "ablated")


def _layers(table: pd.DataFrame) -> tuple[str, pd.DataFrame]:
    alone = part(table, "layer")
    columns = {"neurons": [f"{n:,}" for n in alone["n"]]} if len(alone) else {}
    for name, what in (("layer", "alone"), ("up_to", "and before"), ("since", "and after")):
        for metric, label in _DELTAS.items():
            columns[f"{label}, {what}"] = _texts(part(table, name)[metric]) if len(alone) else []
    names = [str(layer) for layer in alone["layer"]] if len(alone) else []
    return "Only the neurons of this layer; of it and all before it; of it and all after it.", _frame(
        columns, names, "layer"
    )


def _positions(table: pd.DataFrame) -> tuple[str, pd.DataFrame]:
    rows = table[table["part"] == "position"]
    names = [f"{at}: {escaped(token)}" for at, token in zip(rows["position"], rows["token"], strict=True)]
    return "All neurons, at this position only.", _frame(_two(rows), names, "position")


def _neurons(table: pd.DataFrame) -> tuple[str, pd.DataFrame]:
    rows = table[table["part"] == "neuron"]
    count = len(rows)
    rows = rows.head(SHOWN)
    names = [f"{layer}.{neuron}" for layer, neuron in zip(rows["layer"], rows["neuron"], strict=True)]
    columns = {"class": [str(name) for name in rows["class"]], **_two(rows)}
    # The neurons that were left out are the first of these.
    without = table[table["part"] == "all_but"].head(SHOWN)
    for label, texts in _two(without).items():
        columns[f"{label}, all others"] = texts + [number_text(math.nan)] * (len(rows) - len(without))
    caption = f"The {len(rows)} strongest of {count:,} alone, and the whole ablation without each of them."
    return caption, _frame(columns, names, "neuron")


def _strongest(table: pd.DataFrame) -> tuple[str, pd.DataFrame]:
    rows = table[table["part"] == "strongest"]
    columns = {"entropy": _texts(rows["entropy"]), **_two(rows)}
    return "The strongest neurons together.", _frame(columns, [f"{n:,}" for n in rows["n"]], "n")


def _two(rows: pd.DataFrame) -> dict[str, list[str]]:
    return {label: _texts(rows[metric]) for metric, label in _DELTAS.items()}


def _texts(values: pd.Series[float]) -> list[str]:
    return [number_text(float(value)) for value in values]


def _frame(columns: dict[str, list[str]], names: Sequence[str], index: str) -> pd.DataFrame:
    return pd.DataFrame(columns, index=pd.Index(list(names), name=index))


def escaped(text: str) -> str:
    """A text whose characters Markdown takes for themselves."""
    return re.sub(r"([\\`*_{}\[\]<>#|~&$])", r"\\\1", text)
