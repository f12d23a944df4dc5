"""Folders as ``rwcore probe`` leaves them, with scores that a test chooses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from rwcore.store import hash_file
from rwcore.studies.folder import write_csv
from rwcore.studies.probe_export import COLUMNS, SCHEMA

Scores = Mapping[str, tuple[int, float]]
"""Layer and test MCC of the best neuron of each feature."""


def write_run(
    folder: Path,
    model: str,
    scores: Scores,
    curves: Mapping[str, Mapping[int, tuple[float, float]]] | None = None,
    *,
    layers: int = 4,
    d_mlp: int = 10,
    d_model: int | None = 8,
    method: str = "telescopic",
    data: str = "one",
    **measure: Any,
) -> Path:
    """Write a finished run.

    Args:
        folder: Where to.
        model: Id of the model.
        scores: Of the features, which are of one data set; the family is what stands before a dot.
        curves: For each feature, MCC on validation and test by k, at the layer of the best neuron; at another
            layer all scores are 1.
        layers: Of the model.
        d_mlp: Neurons of a layer.
        d_model: In the manifest's shape; None for a manifest without one.
        method: Of the curves.
        data: Content hash of the examples.
        measure: Entries of the manifest's ``measure``, and ``aggregation``.
    """
    aggregation = measure.pop("aggregation", "none")
    folder.mkdir(parents=True)
    rows = [
        {
            "model": model, "dataset": "letters", "family": feature.partition(".")[0], "feature": feature,
            "layer": layer, "neuron": 3, "relative_depth": layer / (layers - 1), "polarity": "+",
            "validation_mcc": mcc, "test_mcc": mcc, "test_mcc_low": mcc - 0.05, "test_mcc_high": mcc + 0.05,
            "test_f1_score": mcc / 2,
        }
        for feature, (layer, mcc) in scores.items()
    ]  # fmt: skip
    write_csv(
        folder / "features.csv",
        pd.DataFrame(rows).reindex(columns=[*COLUMNS["features.csv"]]),
        COLUMNS["features.csv"],
    )
    points = [
        {"dataset": "letters", "feature": feature, "layer": layer + other, "method": way, "k": k,
         "validation_mcc": 1 if other else on_validation, "test_mcc": 1 if other else on_test}
        for feature, by_k in (curves or {}).items()
        for layer in [scores[feature][0]]
        for other in (0, 1)
        for way in (method, "shuffled labels")
        for k, (on_validation, on_test) in by_k.items()
    ]  # fmt: skip
    frame = pd.DataFrame(points, columns=[*COLUMNS["curves.csv"]])
    write_csv(folder / "curves.csv", frame, COLUMNS["curves.csv"])
    shape = {} if d_model is None else {"shape": {"n_layers": layers, "d_model": d_model}}
    manifest = {
        "schema": SCHEMA,
        "complete": True,
        "model": {"model": model, "revision": "", "content": f"hash of {model}", **shape},
        "datasets": [
            {"name": "letters", "content_hash": data, "aggregation": aggregation, "examples": 70,
             "features": len(scores), "corpus": {"content_hash": data, "tokens": 90}}
        ],
        "layers": list(range(layers)),
        "neurons": layers * d_mlp,
        "measure": {"convention": "fixed", "seed": None, **measure},
        "files": [
            {"name": name, "sha256": hash_file(folder / name)} for name in ("features.csv", "curves.csv")
        ],
        "provenance": {"commit": "none"},
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder
