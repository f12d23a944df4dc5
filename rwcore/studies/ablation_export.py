"""A grid of ablations as files: tables, figures, the neurons of every set, a manifest; see ``OUTPUTS.md``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rwcore.ablation.compare import COLUMNS, REPORTED
from rwcore.ablation.grid import Experiment
from rwcore.plots.ablation_ecdf import ablation_ecdf_figure
from rwcore.plots.ablation_histograms import ablation_histograms_figure
from rwcore.plots.ablation_means import ablation_means_figure
from rwcore.provenance import Stopwatch, collect
from rwcore.store import MANIFEST, write_json, write_text
from rwcore.studies.ablation_runs import DEFINITION
from rwcore.studies.ablation_tables import ablation_latex, ablation_markdown
from rwcore.studies.ablations import AblationStudy, Comparison, name_of
from rwcore.studies.figures import check_palette
from rwcore.studies.folder import check_target, files_of, filling, save_figure, write_csv

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rwcore.plots.counts import PaletteName

SCHEMA = "rwcore-ablations/1"
TABLE = "ablation.csv"


@dataclass(frozen=True, eq=False)
class AblationExport:
    """What was written, and what was found.

    Attributes:
        folder: Where the files are.
        manifest: Content of ``manifest.json``.
        comparison: Tables and failures.
    """

    folder: Path
    manifest: dict[str, Any]
    comparison: Comparison


def export_ablations(
    study: AblationStudy,
    experiments: Sequence[Experiment],
    out: Path,
    *,
    plots: bool = True,
    palette: PaletteName = "paper",
    force: bool = False,
    command: str = "",
) -> AblationExport:
    """Run a grid and write what it found into a folder, whole or not at all.

    Args:
        study: The study.
        experiments: The runs; those that the store has are not made again.
        out: See `rwcore.studies.folder.check_target`.
        plots: Also the figures.
        palette: ``paper``, the papers' colours, or ``accessible``.
        force: Write into a folder that holds other files.
        command: The command line, for the manifest.

    Raises:
        StoreError: The folder is refused or the disk is full.
        RwcoreError: The clean run cannot be made; other runs that fail are reported in the manifest.
        OptionError: There is no such palette.
    """
    stopwatch = Stopwatch()
    folder = check_target(out, force=force)
    check_palette(palette)
    comparison = study.compare(experiments)
    model = study.weights.local
    with filling(folder) as new:
        write_csv(new / TABLE, comparison.table, COLUMNS)
        for metric in REPORTED.values():
            write_text(new / f"{metric}.tex", ablation_latex(comparison.table, model.spec.id, metric))
            write_text(new / f"{metric}.md", ablation_markdown(comparison.table, model.spec.id, metric))
        sets = {name_of(one): one.neurons.to_json() for one in experiments}
        write_json(new / "neurons.json", sets)
        if plots and len(comparison.table):
            for name, figure in draw(comparison, model.spec.id, palette):
                save_figure(figure, new / name)
        manifest = {
            "schema": SCHEMA,
            "complete": True,
            "command": command,
            "model": model.identity(),
            "processing": study.weights.processing,
            "corpus": {
                "id": study.corpus.spec.id,
                "content_hash": study.corpus.content_hash,
                "recipe": study.corpus.spec.recipe(),
            },
            "tokens": study.corpus.n_tokens,
            "convention": study.convention,
            "options": {**asdict(study.options), "plots": plots, "palette": palette},
            "runs": [name_of(one) for one in experiments],
            "failures": [asdict(one) for one in comparison.failures],
            "definitions": {"ablation_run": DEFINITION},
            "files": files_of(new, {TABLE: COLUMNS}),
            "provenance": collect(stopwatch),
        }
        write_json(new / MANIFEST, manifest)
    return AblationExport(folder, manifest, comparison)


def draw(comparison: Comparison, title: str, palette: PaletteName) -> Iterator[tuple[str, Figure]]:
    """The figures of a grid, one at a time: file name without suffix, and figure."""
    yield "means", ablation_means_figure(comparison.table, title=title, palette_name=palette)
    for metric, runs in comparison.counts.items():
        common: dict[str, Any] = {"title": title, "palette_name": palette}
        yield f"{metric}_histograms", ablation_histograms_figure(runs, metric, **common)
        yield f"{metric}_ecdf", ablation_ecdf_figure(runs, metric, **common)
