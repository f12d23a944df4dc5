"""Who suppresses what is already predicted, as files: tables, figures, a manifest; see ``OUTPUTS.md``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rwcore.errors import require_least
from rwcore.heads.suppression_overlap import COLUMNS as OVERLAP_COLUMNS
from rwcore.heads.suppression_overlap import Suppressed
from rwcore.heads.suppression_tables import GROUP_COLUMNS, HEAD_COLUMNS, LAYER_COLUMNS, NEURON_COLUMNS
from rwcore.plots.head_suppression import (
    suppression_layers_figure,
    suppression_positions_figure,
    suppression_ratios_figure,
)
from rwcore.provenance import Stopwatch, collect
from rwcore.store import MANIFEST, write_json
from rwcore.studies.figures import check_palette
from rwcore.studies.folder import check_target, files_of, filling, save_figure, write_csv
from rwcore.studies.head_suppression import DEFINITION, RANDOM_GROUPS, SuppressionStudy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rwcore.plots.counts import PaletteName

SCHEMA = "rwcore-heads-suppression/1"
COLUMNS = {
    "groups.csv": GROUP_COLUMNS,
    "heads.csv": HEAD_COLUMNS,
    "layers.csv": LAYER_COLUMNS,
    "neurons.csv": NEURON_COLUMNS,
    "overlap.csv": OVERLAP_COLUMNS,
}
"""The tables, and their columns."""
TOP = 100
"""Neurons in ``neurons.csv``."""


@dataclass(frozen=True, eq=False)
class SuppressionExport:
    """What was written, and what was found.

    Attributes:
        folder: Where the files are.
        manifest: Content of ``manifest.json``.
        study: The study.
    """

    folder: Path
    manifest: dict[str, Any]
    study: SuppressionStudy


def export_suppression(
    study: SuppressionStudy,
    out: Path,
    *,
    top: int = TOP,
    plots: bool = True,
    palette: PaletteName = "paper",
    force: bool = False,
    command: str = "",
) -> SuppressionExport:
    """Measure who suppresses what is predicted and write it into a folder, whole or not at all.

    Args:
        study: The study; what the store has is not computed again.
        out: See `rwcore.studies.folder.check_target`.
        top: How many neurons are listed.
        plots: Also the figures.
        palette: ``paper``, the papers' colours, or ``accessible``.
        force: Write into a folder that holds other files.
        command: The command line, for the manifest.

    Raises:
        StoreError: The folder is refused or the disk is full.
        OptionError: There is no such palette, or ``top`` is negative.
        RwcoreError: The model cannot be run.
    """
    stopwatch = Stopwatch()
    folder = check_target(out, force=force)
    check_palette(palette)
    require_least("--top", top, 0)
    model, corpus = study.weights.local, study.corpus
    tables = {
        "groups.csv": study.groups,
        "heads.csv": study.heads,
        "layers.csv": study.layers,
        "neurons.csv": study.neurons(top),
        "overlap.csv": study.overlap,
    }
    with filling(folder) as new:
        for name, columns in COLUMNS.items():
            write_csv(new / name, tables[name], columns)
        if plots:
            for name, figure in draw(study, palette):
                save_figure(figure, new / name)
        manifest = {
            "schema": SCHEMA,
            "complete": True,
            "command": command,
            "model": model.identity(),
            "processing": study.weights.processing,
            "corpus": corpus.identity(),
            "positions": int(study.main.counts.sum()),
            "negative_heads": [
                [f"{layer}.{head}" for layer, head in half.nonzero().tolist()] for half in study.negative
            ],
            "measure": {**asdict(study.options), "random_groups": RANDOM_GROUPS},
            "options": {
                **asdict(study.forward),
                "clip_qkv": model.spec.clip_qkv,
                "top": top,
                "plots": plots,
                "palette": palette,
            },
            "definitions": {"suppression": DEFINITION},
            "files": files_of(new, COLUMNS),
            "provenance": collect(stopwatch),
        }
        write_json(new / MANIFEST, manifest)
    return SuppressionExport(folder, manifest, study)


def draw(study: SuppressionStudy, palette: PaletteName) -> Iterator[tuple[str, Figure]]:
    """The figures of a study, one at a time: file name without suffix, and figure."""
    common: dict[str, Any] = {"title": study.weights.local.spec.id, "palette_name": palette}
    yield "layers", suppression_layers_figure(study.layers, **common)
    groups = study.groups
    yield "ratios", suppression_ratios_figure(groups[groups["tokens"] == study.options.choice], **common)
    found = Suppressed.of(study.main, study.negative, study.weakening)
    yield (
        "positions",
        suppression_positions_figure(found.heads.sum(axis=1), found.neurons.sum(axis=1), **common),
    )
