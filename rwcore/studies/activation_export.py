"""The activation study of a model as files: arrays, tables, figures and a manifest. See ``OUTPUTS.md``."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import torch

from rwcore.activations.artefact import DEFINITION
from rwcore.activations.quadrants import QUANTITIES
from rwcore.provenance import Stopwatch, collect
from rwcore.store import MANIFEST, write_json
from rwcore.studies.activation_pass import run_shard
from rwcore.studies.activations import PASS, SIGNS, ActivationStudy
from rwcore.studies.folder import check_target, files_of, filling
from rwcore.studies.frequency_export import COLUMNS, FrequencyExport, neuron_table, write_frequencies
from rwcore.studies.frequency_figures import Plots, check_plots

if TYPE_CHECKING:
    from rwcore.plots.counts import PaletteName

SCHEMA = "rwcore-activations/1"
SHARD_SCHEMA = "rwcore-activations-shard/1"


def moments_table(study: ActivationStudy) -> pd.DataFrame:
    """`neuron_table` with the moments over all tokens.

    Returns:
        Its columns, and per quantity ``<quantity>_mean`` and ``<quantity>_variance``.
    """
    layers = study.activations.layers
    means = torch.stack([layer.overall_means() for layer in layers])
    variances = torch.stack([layer.variances() for layer in layers])
    columns = {
        f"{quantity}_{moment}": values[:, number].flatten().numpy()
        for number, quantity in enumerate(QUANTITIES)
        for moment, values in (("mean", means), ("variance", variances))
    }
    return neuron_table(study).assign(**columns)


def export_activations(
    study: ActivationStudy,
    out: Path,
    *,
    plots: Plots = "default",
    palette: PaletteName = "paper",
    force: bool = False,
    command: str = "",
) -> FrequencyExport:
    """Write the activation study of a model into a folder, whole or not at all.

    Args:
        study: The study; computed first if the store does not have it.
        out: See `rwcore.studies.folder.check_target`.
        plots: Which figures; see `rwcore.studies.frequency_figures.draw`.
        palette: ``paper``, the papers' colours, or ``accessible``.
        force: Write into a folder that holds other files.
        command: The command line, for the manifest.

    Raises:
        StoreError: The folder is refused, the disk is full, or see `ActivationStudy.folder`.
        NotGatedError: The MLPs of the model have no gate.
        ModelError: An activation is not finite.
        OptionError: There are no such figures or colours.
    """
    stopwatch = Stopwatch()
    folder = check_target(out, force=force)
    check_plots(plots, palette)
    neurons = moments_table(study)
    model, corpus = study.weights.local, study.corpus
    with filling(folder) as new:
        for source in (*sorted((study.folder / PASS).iterdir()), study.folder / SIGNS):
            shutil.copy(source, new / source.name)
        corpus.save(new)
        write_frequencies(new, study, neurons, plots, palette)
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
            "options": {
                **asdict(study.options),
                "clip_qkv": study.weights.local.spec.clip_qkv,
                "plots": plots,
                "palette": palette,
            },
            "definitions": {"activations": DEFINITION},
            "files": files_of(new, COLUMNS),
            "provenance": {"pass": study.provenance, "export": collect(stopwatch)},
        }
        write_json(new / MANIFEST, manifest)
    return FrequencyExport(folder, manifest, study.class_frequency(), study.correlations())


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
