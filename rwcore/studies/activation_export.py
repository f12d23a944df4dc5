"""The activation study of a model as files: arrays, tables, figures and a manifest. See ``OUTPUTS.md``."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch

from rwcore.activations.artefact import DEFINITION
from rwcore.activations.quadrants import QUADRANTS, QUANTITIES
from rwcore.provenance import Stopwatch, collect
from rwcore.store import MANIFEST, write_json, write_table
from rwcore.studies.activation_pass import run_shard
from rwcore.studies.activations import PASS, SIGNS, SUMMARY, ActivationStudy
from rwcore.studies.folder import check_target, files_of, filling, write_csv

if TYPE_CHECKING:
    pass

SCHEMA = "rwcore-activations/1"
SHARD_SCHEMA = "rwcore-activations-shard/1"
COLUMNS = {
    "class_frequency.csv": ("class", "n", "true", "baseline", "low", "high"),
    "frequency_correlations.csv": ("quadrant", "cosine", "layer", "r", "p", "n"),
}
COLUMNS |= {f"class_frequency_{name}.csv": COLUMNS["class_frequency.csv"] for name in QUADRANTS}


@dataclass(frozen=True)
class ActivationsExport:
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


def neuron_table(study: ActivationStudy) -> pd.DataFrame:
    """One row per neuron, gate signs folded.

    Returns:
        ``layer``, ``neuron``, ``class`` (as its name), ``gate_frequency`` (gate > 0), then per quadrant
        ``<quadrant>_frequency`` and ``<quadrant>_<quantity>_mean``, then per quantity ``<quantity>_mean``
        and ``<quantity>_variance`` over all tokens. Float64; a mean over no tokens is NaN.
    """
    summary, layers = study.summary, study.activations.layers
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
    means = torch.stack([layer.overall_means() for layer in layers])
    variances = torch.stack([layer.variances() for layer in layers])
    for number, quantity in enumerate(QUANTITIES):
        columns[f"{quantity}_mean"] = means[:, number].flatten().numpy()
        columns[f"{quantity}_variance"] = variances[:, number].flatten().numpy()
    return pd.DataFrame(columns)


def export_activations(
    study: ActivationStudy, out: Path, *, plots: bool = True, force: bool = False, command: str = ""
) -> ActivationsExport:
    """Write the activation study of a model into a folder, whole or not at all.

    Args:
        study: The study; computed first if the store does not have it.
        out: See `rwcore.studies.folder.check_target`.
        plots: Also the figures.
        force: Write into a folder that holds other files.
        command: The command line, for the manifest.

    Raises:
        StoreError: The folder is refused, the disk is full, or see `ActivationStudy.folder`.
        NotGatedError: The MLPs of the model have no gate.
        ModelError: An activation is not finite.
    """
    stopwatch = Stopwatch()
    folder = check_target(out, force=force)
    frequencies = {name: study.class_frequency(name) for name in (SUMMARY, *QUADRANTS)}
    correlations = study.correlations()
    model, corpus = study.weights.local, study.corpus
    with filling(folder) as new:
        for source in (*sorted((study.folder / PASS).iterdir()), study.folder / SIGNS):
            shutil.copy(source, new / source.name)
        corpus.save(new)
        write_table(new / "neurons.parquet", neuron_table(study))
        for name, frame in frequencies.items():
            stem = "class_frequency" if name == SUMMARY else f"class_frequency_{name}"
            write_csv(new / f"{stem}.csv", frame, COLUMNS["class_frequency.csv"])
        write_csv(new / "frequency_correlations.csv", correlations, COLUMNS["frequency_correlations.csv"])
        manifest = {
            "schema": SCHEMA,
            "complete": True,
            "command": command,
            "model": model.identity(),
            "processing": study.weights.processing,
            "corpus": {
                "id": corpus.spec.id,
                "content_hash": corpus.content_hash,
                "recipe": corpus.spec.recipe(),
            },
            "tokens": study.unfolded.tokens,
            "rows": study.unfolded.rows,
            "options": asdict(study.options),
            "definitions": {"activations": DEFINITION},
            "files": files_of(new, COLUMNS),
            "provenance": {"pass": study.provenance, "export": collect(stopwatch)},
        }
        write_json(new / MANIFEST, manifest)
    return ActivationsExport(folder, manifest, frequencies[SUMMARY], correlations)


def export_shard(study: ActivationStudy, index: int, out: Path, *, force: bool = False) -> Path:
    """Run one shard of a pass and write its statistics into a folder that can be carried elsewhere.

    Args:
        study: The study.
        index: Number of the shard.
        out: See `rwcore.studies.folder.check_target`.
        force: Write into a folder that holds other files.

    Raises:
        StoreError: As for `export_activations`.
    """
    folder = check_target(out, force=force)
    part = run_shard(study.tasks()[index])
    with filling(folder) as new:
        for source in sorted(part.iterdir()):
            shutil.copy(source, new / source.name)
        write_json(
            new / MANIFEST, {"schema": SHARD_SCHEMA, "complete": True, "files": files_of(new), **collect()}
        )
    return folder
