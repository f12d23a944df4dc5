"""What heads do, as files: tables, a figure, a manifest; see ``OUTPUTS.md``."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from rwcore.heads.ioi import LEAST
from rwcore.plots.head_behaviour import head_scores_figure
from rwcore.provenance import Stopwatch, collect
from rwcore.store import MANIFEST, write_json
from rwcore.studies.figures import check_palette
from rwcore.studies.folder import check_target, files_of, filling, save_figure, write_csv
from rwcore.studies.head_behaviour import (
    LENS_DEFINITION,
    PROMPTS_DEFINITION,
    ROWS_DEFINITION,
    BehaviourStudy,
)
from rwcore.studies.head_behaviour_tables import (
    COMPOSITION_COLUMNS,
    IOI_COLUMNS,
    LENS_COLUMNS,
    REPAIR_COLUMNS,
    RESTING_COLUMNS,
    SCORE_COLUMNS,
    composition_table,
    ioi_summary,
    ioi_table,
    lens_table,
    repair_summary,
    repair_table,
    resting_table,
    score_summary,
    score_table,
)

if TYPE_CHECKING:
    from rwcore.plots.counts import PaletteName

SCHEMA = "rwcore-heads-behaviour/1"
COLUMNS = {
    "scores.csv": SCORE_COLUMNS,
    "ioi.csv": IOI_COLUMNS,
    "repair.csv": REPAIR_COLUMNS,
    "composition.csv": COMPOSITION_COLUMNS,
    "lens_attention.csv": LENS_COLUMNS,
    "resting.csv": RESTING_COLUMNS,
}
"""The tables, and their columns."""


@dataclass(frozen=True, eq=False)
class BehaviourExport:
    """What was written, and what was found.

    Attributes:
        folder: Where the files are.
        manifest: Content of ``manifest.json``.
        tables: The tables by file name.
    """

    folder: Path
    manifest: dict[str, Any]
    tables: dict[str, pd.DataFrame]


def behaviour_tables(study: BehaviourStudy) -> dict[str, pd.DataFrame]:
    """The tables of a study by file name; without a text ``lens_attention.csv`` has no rows."""
    return {
        "scores.csv": score_table(study.rows, study.prompts),
        "ioi.csv": ioi_table(study.prompts),
        "repair.csv": repair_table(study.prompts),
        "composition.csv": composition_table(study.prompts, len(study.inputs.words.names.numbers)),
        "lens_attention.csv": lens_table(study.lens),
        "resting.csv": resting_table(study.rows, study.lens),
    }


def behaviour_summary(study: BehaviourStudy, tables: dict[str, pd.DataFrame]) -> dict[str, Any]:
    """What a person wants to see first; see ``OUTPUTS.md``."""
    scores = score_summary(tables["scores.csv"])
    return {
        "scores": scores,
        "ioi": ioi_summary(study.prompts),
        "repair": repair_summary(tables["repair.csv"], scores["negative_heads"]),
    }


def export_behaviour(
    study: BehaviourStudy,
    out: Path,
    *,
    plots: bool = True,
    palette: PaletteName = "paper",
    force: bool = False,
    command: str = "",
) -> BehaviourExport:
    """Measure what heads do and write it into a folder, whole or not at all.

    Args:
        study: The study; what the store has is not computed again.
        out: See `rwcore.studies.folder.check_target`.
        plots: Also the figure.
        palette: ``paper``, the papers' colours, or ``accessible``.
        force: Write into a folder that holds other files.
        command: The command line, for the manifest.

    Raises:
        StoreError: The folder is refused or the disk is full.
        OptionError: There is no such palette.
        RwcoreError: The model cannot be run.
    """
    stopwatch = Stopwatch()
    folder = check_target(out, force=force)
    check_palette(palette)
    tables = behaviour_tables(study)
    model, corpus, words = study.weights.local, study.corpus, study.inputs.words
    with filling(folder) as new:
        for name, columns in COLUMNS.items():
            write_csv(new / name, tables[name], columns)
        if plots:
            figure = head_scores_figure(tables["scores.csv"], title=model.spec.id, palette_name=palette)
            save_figure(figure, new / "scores")
        manifest = {
            "schema": SCHEMA,
            "complete": True,
            "command": command,
            "model": model.identity(),
            "processing": study.weights.processing,
            "corpus": None
            if corpus is None
            else {
                "id": corpus.spec.id,
                "content_hash": corpus.content_hash,
                "rows": len(corpus),
                "tokens": corpus.n_tokens,
            },
            "words": {
                kind: {
                    "used": len(getattr(words, kind).numbers),
                    "left_out": list(getattr(words, kind).left_out),
                }
                for kind in LEAST
            },
            "function_words": {"list": study.words.name, "tokens": int(study.function.sum())},
            "summary": behaviour_summary(study, tables),
            "measure": asdict(study.options),
            "options": {
                **asdict(study.forward),
                "clip_qkv": model.spec.clip_qkv,
                "plots": plots,
                "palette": palette,
            },
            "definitions": {
                "anti_induction": ROWS_DEFINITION,
                "ioi": PROMPTS_DEFINITION,
                "lens_attention": LENS_DEFINITION,
            },
            "files": files_of(new, COLUMNS),
            "provenance": collect(stopwatch),
        }
        write_json(new / MANIFEST, manifest)
    return BehaviourExport(folder, manifest, tables)
