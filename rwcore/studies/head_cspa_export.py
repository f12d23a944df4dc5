"""How much of heads is copy suppression, as files: tables, figures, a manifest; see ``OUTPUTS.md``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from rwcore.errors import require_least
from rwcore.heads.cspa import NAMES, NEGATIVE
from rwcore.heads.cspa_run import Head
from rwcore.heads.cspa_scores import COLUMNS as HEAD_COLUMNS
from rwcore.heads.cspa_scores import LINE_COLUMNS
from rwcore.plots.head_cspa import cspa_line_figure, cspa_scatter_figure
from rwcore.plots.head_maps import head_map_figure
from rwcore.provenance import Stopwatch, collect
from rwcore.store import MANIFEST, write_json
from rwcore.studies.figures import check_palette
from rwcore.studies.folder import check_target, files_of, filling, save_figure, write_csv
from rwcore.studies.head_cspa import DEFINITION, MEANS_DEFINITION, CspaStudy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rwcore.plots.counts import PaletteName

SCHEMA = "rwcore-heads-cspa/1"
COLUMNS = {"heads.csv": HEAD_COLUMNS, "percentiles.csv": LINE_COLUMNS}
"""The tables, and their columns."""
CLOSER = 3
"""Heads that are looked at token by token."""
WRITTEN = 0.05
"""Shares from this on stand in their cells of the map."""


@dataclass(frozen=True, eq=False)
class CspaExport:
    """What was written, and what was found.

    Attributes:
        folder: Where the files are.
        manifest: Content of ``manifest.json``.
        heads: See `rwcore.heads.cspa_scores.explained_table`.
        best: The heads that were looked at token by token, the one that is explained most first.
    """

    folder: Path
    manifest: dict[str, Any]
    heads: pd.DataFrame
    best: list[Head]


def export_cspa(
    study: CspaStudy,
    out: Path,
    *,
    closer: int = CLOSER,
    plots: bool = True,
    palette: PaletteName = "paper",
    force: bool = False,
    command: str = "",
) -> CspaExport:
    """Measure how much of heads is copy suppression and write it into a folder, whole or not at all.

    Args:
        study: The study; what the store has is not computed again.
        out: See `rwcore.studies.folder.check_target`.
        closer: How many of the best heads are looked at token by token.
        plots: Also the figures.
        palette: ``paper``, the papers' colours, or ``accessible``.
        force: Write into a folder that holds other files.
        command: The command line, for the manifest.

    Raises:
        StoreError: The folder is refused or the disk is full.
        OptionError: There is no such palette or head.
        RwcoreError: The model cannot be run.
    """
    stopwatch = Stopwatch()
    folder = check_target(out, force=force)
    check_palette(palette)
    require_least("--closer", closer, 0)
    best = study.best(closer)
    lines = [study.line(head) for head in best]
    empty = pd.DataFrame(columns=[*LINE_COLUMNS])
    tables = {"heads.csv": study.table, "percentiles.csv": pd.concat(lines) if lines else empty}
    model = study.weights.local
    with filling(folder) as new:
        for name, columns in COLUMNS.items():
            write_csv(new / name, tables[name], columns)
        if plots:
            for name, figure in draw(study, best, lines, palette):
                save_figure(figure, new / name)
        manifest = {
            "schema": SCHEMA,
            "complete": True,
            "command": command,
            "model": model.identity(),
            "processing": study.weights.processing,
            "corpus": study.corpus.identity(),
            "heads": len(study.heads),
            "best": [f"{layer}.{head}" for layer, head in best],
            "function_words": {"list": study.words.name, "tokens": int(study.function.sum())},
            "measure": {**asdict(study.options), "heads": [f"{one}.{other}" for one, other in study.heads]},
            "options": {
                **asdict(study.forward),
                "clip_qkv": model.spec.clip_qkv,
                "closer": closer,
                "plots": plots,
                "palette": palette,
            },
            "definitions": {"cspa": DEFINITION, "means": MEANS_DEFINITION},
            "files": files_of(new, COLUMNS),
            "provenance": collect(stopwatch),
        }
        write_json(new / MANIFEST, manifest)
    return CspaExport(folder, manifest, study.table, best)


def draw(
    study: CspaStudy, best: list[Head], lines: list[pd.DataFrame], palette: PaletteName
) -> Iterator[tuple[str, Figure]]:
    """The figures of a study, one at a time: file name without suffix, and figure."""
    model = study.weights.local.spec.id
    common: dict[str, Any] = {"palette_name": palette}
    for variant in study.options.variants:
        rows = study.table[study.table["variant"] == variant]
        yield (
            f"explained_{variant}",
            head_map_figure(
                rows, "explained", "effect explained", end=1, written=WRITTEN,
                title=f"{model}: {NAMES[variant]}", **common,
            ),
        )  # fmt: skip
    for (layer, head), line in zip(best, lines, strict=True):
        title = f"{model}, head {layer}.{head}"
        yield f"percentiles_{layer}.{head}", cspa_line_figure(line, title=title, **common)
    if best:
        variants = study.options.variants
        variant = NEGATIVE if NEGATIVE in variants else variants[0]
        (layer, head), loss = best[0], study.tokens(best[0])["loss"][0].numpy()
        yield (
            f"loss_{layer}.{head}",
            cspa_scatter_figure(
                loss[0],
                loss[1 + variants.index(variant)],
                variant=variant,
                title=f"{model}, head {layer}.{head}",
                **common,
            ),
        )
