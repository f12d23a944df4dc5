"""Run a sweep over a corpus with the engine: first its inputs are written, then every missing batch."""

from __future__ import annotations

import shutil
from collections.abc import Mapping

from torch import Tensor

from rwcore.store import write_arrays, writing
from rwcore.studies.activation_pass import bridge
from rwcore.studies.batch_files import BatchFiles, SweepTask, run_sweep
from rwcore.studies.forward import ForwardOptions, as_processed
from rwcore.studies.weights import WeightStudy

INPUTS = "inputs.safetensors"
"""What a sweep is given beside the rows, in its folder."""


def sweep(
    weights: WeightStudy,
    files: BatchFiles,
    options: ForwardOptions,
    inputs: Mapping[str, Tensor] | None = None,
    parts: int = 1,
) -> int:
    """Run the batches of a sweep that have no file yet; how many they were.

    Args:
        weights: The weight study of the model; its engine runs the parts.
        files: The sweep.
        options: How the model is run.
        inputs: What is written into its folder first, if it is not there.
        parts: Tasks of the engine; they decide no number.

    Raises:
        ModelError: The model cannot be run as expected.
        StoreError: The folder cannot be written, or the disk is full.
    """
    if options.restart:
        shutil.rmtree(files.folder, ignore_errors=True)
    with writing(files.folder):
        files.folder.mkdir(parents=True, exist_ok=True)
    if inputs is not None and not (files.folder / INPUTS).exists():
        write_arrays(files.folder / INPUTS, inputs)
    return run_batches(weights, files, options, parts)


def run_batches(weights: WeightStudy, files: BatchFiles, options: ForwardOptions, parts: int = 1) -> int:
    """Run the batches that have no file yet, in folders that have all that is needed; how many they were.

    Args:
        weights: The weight study of the model; its engine runs the parts.
        files: The sweep.
        options: How the model is run.
        parts: Tasks of the engine; they decide no number.

    Raises:
        ModelError: The model cannot be run as expected.
        StoreError: The folder cannot be written, or the disk is full.
    """
    tasks = [
        SweepTask(
            local=as_processed(weights),
            sweep=files,
            index=index,
            of=parts,
            dtype=options.dtype,
            device=options.device,
            threads=options.threads,
        )
        for index in range(parts)
    ]
    try:
        return sum(weights.engine.map(run_sweep, tasks, desc=f"{files.WHAT} of {weights.local.spec.id}"))
    finally:
        bridge.cache_clear()
