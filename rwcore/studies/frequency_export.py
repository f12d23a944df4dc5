"""What frequencies say together with the weights, as files: shared by passes of ours and published files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch

from rwcore.activations.quadrants import QUADRANTS, QUANTITIES, SUMMARY
from rwcore.provenance import Stopwatch, collect
from rwcore.store import MANIFEST, hash_file, write_json, write_table, write_text
from rwcore.studies.folder import check_target, files_of, filling, save_figure, write_csv
from rwcore.studies.frequencies import FrequencyStudy, PublishedFrequencies
from rwcore.studies.frequency_figures import Plots, check_plots, draw, file_stem
from rwcore.studies.frequency_tables import frequency_latex, frequency_markdown

if TYPE_CHECKING:
    from rwcore.plots.counts import PaletteName

SCHEMA = "rwcore-frequencies/1"
NAMES = (SUMMARY, *QUADRANTS)
COLUMNS = {
    "frequency_correlations.csv": ("quadrant", "cosine", "layer", "r", "p", "n"),
    **{
        file_stem("class_frequency", name) + ".csv": ("class", "n", "true", "baseline", "low", "high")
        for name in NAMES
    },
}


@dataclass(frozen=True)
class FrequencyExport:
    """What was written, and the numbers to see first.

    Attributes:
        folder: Where the files are.
        manifest: Content of ``manifest.json``.
        classes: Frequencies of gate > 0 by class.
        correlations: Correlations of frequencies and cosines.
    """

    folder: Path
    manifest: dict[str, Any]
    classes: pd.DataFrame
    correlations: pd.DataFrame


def neuron_table(study: FrequencyStudy) -> pd.DataFrame:
    """One row per neuron, by layer and neuron, gate signs folded.

    Returns:
        ``layer``, ``neuron``, ``class`` (its name), ``gate_frequency`` (gate > 0), then per quadrant
        ``<quadrant>_frequency`` and ``<quadrant>_<quantity>_mean``; a mean over no tokens is NaN.
    """
    summary = study.summary
    n_layers, n_neurons = summary.gate_frequency.shape
    columns: dict[str, Any] = {
        "layer": torch.arange(n_layers).repeat_interleave(n_neurons).numpy(),
        "neuron": torch.arange(n_neurons).repeat(n_layers).numpy(),
        "class": study.class_names(),
        "gate_frequency": summary.gate_frequency.flatten().numpy(),
    }
    for place, case in enumerate(QUADRANTS):
        columns[f"{case}_frequency"] = summary.frequencies[:, place].flatten().numpy()
        for number, quantity in enumerate(QUANTITIES):
            columns[f"{case}_{quantity}_mean"] = summary.means[:, place, number].flatten().numpy()
    return pd.DataFrame(columns)


def write_frequencies(
    new: Path, study: FrequencyStudy, neurons: pd.DataFrame, plots: Plots, palette: PaletteName
) -> None:
    """Write tables and figures into a folder that is being filled.

    Args:
        new: The folder.
        study: The study.
        neurons: What becomes ``neurons.parquet``.
        plots: See `rwcore.studies.frequency_figures.draw`.
        palette: ``paper`` or ``accessible``.
    """
    write_table(new / "neurons.parquet", neurons)
    for name in NAMES:
        stem, frame = file_stem("class_frequency", name), study.class_frequency(name)
        write_csv(new / f"{stem}.csv", frame, COLUMNS[f"{stem}.csv"])
        write_text(new / f"{stem}.tex", frequency_latex(frame, study.weights.local.spec.id, name))
        write_text(new / f"{stem}.md", frequency_markdown(frame, study.weights.local.spec.id, name))
    file = "frequency_correlations.csv"
    write_csv(new / file, study.correlations(), COLUMNS[file])
    for name, figure in draw(study, plots, palette):
        save_figure(figure, new / name)


def export_published(
    study: PublishedFrequencies,
    out: Path,
    *,
    plots: Plots = "default",
    palette: PaletteName = "paper",
    force: bool = False,
    command: str = "",
) -> FrequencyExport:
    """Write what a published file of frequencies says, into a folder, whole or not at all.

    Args:
        study: The study.
        out: See `rwcore.studies.folder.check_target`.
        plots: Which figures; see `rwcore.studies.frequency_figures.draw`.
        palette: ``paper``, the papers' colours, or ``accessible``.
        force: Write into a folder that holds other files.
        command: The command line, for the manifest.

    Raises:
        StoreError: The folder is refused, the disk is full, or see `PublishedFrequencies.summary`.
        OptionError: There are no such figures or colours.
    """
    stopwatch = Stopwatch()
    folder = check_target(out, force=force)
    check_plots(plots, palette)
    neurons = neuron_table(study)
    with filling(folder) as new:
        write_frequencies(new, study, neurons, plots, palette)
        manifest = {
            "schema": SCHEMA,
            "complete": True,
            "command": command,
            "model": study.weights.local.identity(),
            "processing": study.weights.processing,
            "source": {"name": study.file.name, "sha256": hash_file(study.file), "folded": study.folded},
            "options": {"plots": plots, "palette": palette},
            "files": files_of(new, COLUMNS),
            "provenance": {"weights": study.weights.provenance, "export": collect(stopwatch)},
        }
        write_json(new / MANIFEST, manifest)
    return FrequencyExport(folder, manifest, study.class_frequency(), study.correlations())
