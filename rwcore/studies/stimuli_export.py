"""What excites neurons as files: tables, figures, a manifest; see ``OUTPUTS.md``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from rwcore.neurons import NeuronSet
from rwcore.paths import slug
from rwcore.plots.stimuli import stimuli_figure
from rwcore.provenance import Stopwatch, collect
from rwcore.store import MANIFEST, write_json, write_text
from rwcore.studies.ablation_tables import number_text
from rwcore.studies.figures import check_palette
from rwcore.studies.folder import check_target, files_of, filling, save_figure, write_csv
from rwcore.studies.stimuli import (
    DEFINITION,
    NEURON_COLUMNS,
    PAIR_COLUMNS,
    PREFIX_COLUMNS,
    TOKEN_COLUMNS,
    StimulusStudy,
    StimulusTables,
    TextSide,
)
from rwcore.studies.tables import latex_escape, latex_label, text_latex, text_markdown
from rwcore.studies.token_values import DEFINITION as VALUES_DEFINITION

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rwcore.plots.counts import PaletteName

SCHEMA = "rwcore-stimuli/1"
COLUMNS = {
    "neurons.csv": NEURON_COLUMNS,
    "tokens.csv": TOKEN_COLUMNS,
    "prefixes.csv": PREFIX_COLUMNS,
}
"""The tables, and their columns."""
PAIRS = "pairs.csv"
WORDS = 5
"""Tokens of a neuron in the table to read."""
CAPTION = (
    "What excites neurons of {model} on {tokens} tokens of {corpus}: {quantity}. Tokens: different ones at "
    "the highest percent of the places, in brackets at places drawn at random; r: correlation of the mean "
    "and the largest value of a token"
)


@dataclass(frozen=True, eq=False)
class StimulusExport:
    """What was written, and what was found.

    Attributes:
        folder: Where the files are.
        manifest: Content of ``manifest.json``.
        tables: The tables.
    """

    folder: Path
    manifest: dict[str, Any]
    tables: StimulusTables


def export_stimuli(
    study: StimulusStudy,
    neurons: NeuronSet,
    out: Path,
    *,
    pairs: bool = False,
    side: TextSide | None = None,
    plots: bool = True,
    palette: PaletteName = "paper",
    force: bool = False,
    command: str = "",
) -> StimulusExport:
    """Find what excites neurons and write it into a folder, whole or not at all.

    Args:
        study: The study; activations that the store has are not computed again.
        neurons: The neurons.
        out: See `rwcore.studies.folder.check_target`.
        pairs: Also how each two of them go together.
        side: With ``pairs``: also inside and outside of a class of text.
        plots: Also the figures.
        palette: ``paper``, the papers' colours, or ``accessible``.
        force: Write into a folder that holds other files.
        command: The command line, for the manifest.

    Raises:
        StoreError: The folder is refused or the disk is full.
        OptionError: There is no such palette; or see `StimulusStudy.tables`.
        RwcoreError: See `StimulusStudy.tables`.
    """
    stopwatch = Stopwatch()
    folder = check_target(out, force=force)
    check_palette(palette)
    found = study.tables(neurons, pairs=pairs, side=side)
    model, corpus = study.weights.local, study.corpus
    columns = {**COLUMNS, PAIRS: PAIR_COLUMNS} if pairs else COLUMNS
    with filling(folder) as new:
        for name, names in columns.items():
            write_csv(new / name, getattr(found, Path(name).stem), names)
        write_text(new / "neurons.tex", neuron_latex(study, found))
        write_text(new / "neurons.md", neuron_markdown(study, found))
        if plots:
            for name, figure in draw(study, found, palette):
                save_figure(figure, new / name)
        manifest = {
            "schema": SCHEMA,
            "complete": True,
            "command": command,
            "model": model.identity(),
            "processing": study.weights.processing,
            "corpus": corpus.identity(),
            "neurons": neurons.to_json(),
            "measure": asdict(study.options),
            "label": None if side is None else side.name,
            "options": {
                **asdict(study.forward),
                "clip_qkv": model.spec.clip_qkv,
                "pairs": pairs,
                "plots": plots,
                "palette": palette,
            },
            "definitions": {"stimuli": DEFINITION, "token_values": VALUES_DEFINITION},
            "files": files_of(new, columns),
            "provenance": collect(stopwatch),
        }
        write_json(new / MANIFEST, manifest)
    return StimulusExport(folder, manifest, found)


def draw(study: StimulusStudy, found: StimulusTables, palette: PaletteName) -> Iterator[tuple[str, Figure]]:
    """A figure for each neuron, one at a time: file name without suffix, and figure."""
    for layer, neuron in found.neurons[["layer", "neuron"]].itertuples(index=False):
        figure = stimuli_figure(
            _of(found.tokens, layer, neuron),
            _of(found.prefixes, layer, neuron),
            quantity=study.options.quantity,
            threshold=study.options.above,
            title=f"{study.weights.local.spec.id}, neuron {layer}.{neuron}",
            palette_name=palette,
        )
        yield slug(f"stimuli_{layer}.{neuron}"), figure


def neuron_table(found: StimulusTables) -> pd.DataFrame:
    """The neurons as texts, index ``neuron``: shares, correlation, tokens of the top percent, best words."""
    rows = found.neurons
    words = [
        " ".join(_of(found.tokens, layer, neuron).query("by_mean")["text"].str.strip("␣").head(WORDS))
        for layer, neuron in rows[["layer", "neuron"]].itertuples(index=False)
    ]
    cells = {
        "mean": [number_text(value) for value in rows["mean"]],
        "max": [number_text(value) for value in rows["max"]],
        "above": [number_text(value) for value in rows["above"]],
        "share above": [f"{100 * value:.3g} %" for value in rows["share_above"]],
        "sparsity": [f"{100 * value:.1f} %" for value in rows["sparsity"]],
        "r": [number_text(value) for value in rows["mean_max_correlation"]],
        "tokens": [
            f"{tokens:,} ({chance:,.0f})"
            for tokens, chance in zip(rows["top_tokens"], rows["top_tokens_by_chance"], strict=True)
        ],
        "highest mean": words,
    }
    names = [f"{layer}.{neuron}" for layer, neuron in rows[["layer", "neuron"]].itertuples(index=False)]
    return pd.DataFrame(cells, index=pd.Index(names, name="neuron"))


def neuron_latex(study: StimulusStudy, found: StimulusTables) -> str:
    """The table of the neurons as LaTeX."""
    model = study.weights.local.spec.id
    shown = neuron_table(found).map(latex_escape).map(lambda text: text.replace("−", "$-$"))
    caption = _caption(study, latex_escape(model), latex_escape(study.corpus.spec.id))
    return text_latex(shown, caption, f"{latex_label(model)}_stimuli")


def neuron_markdown(study: StimulusStudy, found: StimulusTables) -> str:
    """The table of the neurons as Markdown."""
    caption = _caption(study, f"`{study.weights.local.spec.id}`", f"`{study.corpus.spec.id}`")
    return text_markdown(neuron_table(found), caption)


def _caption(study: StimulusStudy, model: str, corpus: str) -> str:
    tokens = f"{study.corpus.n_tokens:,}"
    quantity = {"pre": "pre-activations", "post": "activations"}[study.options.quantity]
    return CAPTION.format(model=model, corpus=corpus, tokens=tokens, quantity=quantity)


def _of(table: pd.DataFrame, layer: int, neuron: int) -> pd.DataFrame:
    return table[(table["layer"] == layer) & (table["neuron"] == neuron)]
