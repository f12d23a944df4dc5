"""Probes of a model as files: tables, figures, a manifest; see ``OUTPUTS.md``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rwcore.paths import slug
from rwcore.plots.context_neuron import context_neuron_figure
from rwcore.plots.joint_activations import joint_activations_figure
from rwcore.plots.probe_depth import probe_depth_figure
from rwcore.plots.probe_layers import probe_layers_figure
from rwcore.plots.probe_ranks import probe_ranks_figure
from rwcore.plots.sparsity_curves import sparsity_curves_figure
from rwcore.plots.sparsity_layers import sparsity_layers_figure
from rwcore.plots.superposition_loss import superposition_loss_figure
from rwcore.probing.group_summary import STATISTICS
from rwcore.provenance import Stopwatch, collect
from rwcore.store import MANIFEST, write_json, write_text
from rwcore.studies.context_neurons import LABELS
from rwcore.studies.figures import check_palette
from rwcore.studies.folder import check_target, files_of, filling, save_figure, write_csv
from rwcore.studies.probe_findings import (
    CLASS_COLUMNS,
    CONTROL_COLUMNS,
    CURVE_COLUMNS,
    SKIPPED_COLUMNS,
    ProbeFindings,
    find,
)
from rwcore.studies.probe_superposition import DEFINITION as ROTATION_DEFINITION
from rwcore.studies.probe_superposition import (
    JOINT_COLUMNS,
    LOSS_COLUMNS,
    RANK_COLUMNS,
    WIN_COLUMNS,
    SuperpositionTables,
)
from rwcore.studies.probe_tables import FEATURE_COLUMNS, LAYER_COLUMNS, NEURON_COLUMNS, TOP
from rwcore.studies.probe_texts import feature_latex, feature_markdown
from rwcore.studies.probes import CURVE_DEFINITION, DEFINITION, DatasetProbes, ProbeStudy
from rwcore.weights.shape import read_shape

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rwcore.plots.counts import PaletteName

SCHEMA = "rwcore-probes/1"
COLUMNS = {
    "features.csv": FEATURE_COLUMNS,
    "neurons.csv": NEURON_COLUMNS,
    "layers.csv": LAYER_COLUMNS,
    "curves.csv": CURVE_COLUMNS,
    "controls.csv": CONTROL_COLUMNS,
    "classes.csv": CLASS_COLUMNS,
    "skipped.csv": SKIPPED_COLUMNS,
}
"""The tables, and their columns."""
_NEURON = ("dataset", *LABELS)
CONTEXT_COLUMNS = {
    "context_activations.csv": (*_NEURON, "quantity", "class", "rows", *STATISTICS),
    "context_losses.csv": (
        *_NEURON, "class", "own", "rows", "documents", "predictions", "clean_loss", "clean_minus_ablated",
        "loss_increase", "loss_increase_low", "loss_increase_high", "row_increase", "row_increase_low",
        "row_increase_high", "largest_row", "percent_median",
    ),
    "context_contrasts.csv": (
        *_NEURON, "increase", "other", "other_increase", "factor", "margin", "low", "high", "holds",
    ),
    "context_tokens.csv": (
        *_NEURON, "quantity", "token", "difference",
        *(f"{side}_{name}" for side in ("inside", "outside") for name in STATISTICS),
    ),
}  # fmt: skip
"""The tables of ``--context``, and their columns."""
SUPERPOSITION_COLUMNS = {
    "superposition_ranks.csv": RANK_COLUMNS,
    "superposition_wins.csv": WIN_COLUMNS,
    "superposition_loss.csv": LOSS_COLUMNS,
    "superposition_joint.csv": JOINT_COLUMNS,
}
"""The tables of ``--superposition``, and their columns; the last one only of compound words."""
NEURON_LIST = "best_neurons.txt"
"""The best neuron of every feature, as ``rwcore pages --neurons @FILE`` reads it."""


@dataclass(frozen=True, eq=False)
class ProbeExport:
    """What was written, and what was found.

    Attributes:
        folder: Where the files are.
        manifest: Content of ``manifest.json``.
        findings: The tables.
    """

    folder: Path
    manifest: dict[str, Any]
    findings: ProbeFindings


def export_probes(
    study: ProbeStudy,
    out: Path,
    *,
    features: str = "",
    top: int = TOP,
    curves: bool = True,
    context: int | None = None,
    superposition: bool = False,
    plots: bool = True,
    palette: PaletteName = "paper",
    force: bool = False,
    command: str = "",
) -> ProbeExport:
    """Probe a model and write what was found into a folder, whole or not at all.

    Args:
        study: The study; what the store has is not computed again.
        out: See `rwcore.studies.folder.check_target`.
        features: How the features were named, for the manifest.
        top: Neurons of each feature in ``neurons.csv``.
        curves: Also sparsity curves.
        context: Look more closely at so many neurons of each data set whose features are classes of text.
        superposition: Also compare neurons with random bases.
        plots: Also the figures.
        palette: ``paper``, the papers' colours, or ``accessible``.
        force: Write into a folder that holds other files.
        command: The command line, for the manifest.

    Raises:
        StoreError: The folder is refused or the disk is full.
        OptionError: There is no such palette or layer, or no feature can be split.
        RwcoreError: The model cannot be run.
    """
    stopwatch = Stopwatch()
    folder = check_target(out, force=force)
    check_palette(palette)
    found = find(study, top=top, curves=curves, context=context, superposition=superposition)
    model = study.weights.local
    with filling(folder) as new:
        for name, columns in COLUMNS.items():
            write_csv(new / name, getattr(found, Path(name).stem), columns)
        if found.contexts:
            for name, columns in CONTEXT_COLUMNS.items():
                table = found.of_contexts(Path(name).stem.removeprefix("context_"))
                write_csv(new / name, table, columns)
        if found.superposition is not None:
            for name, columns in SUPERPOSITION_COLUMNS.items():
                table = getattr(found.superposition, Path(name).stem.removeprefix("superposition_"))
                if len(table) or name != "superposition_joint.csv":
                    write_csv(new / name, table, columns)
        write_text(new / "features.tex", feature_latex(found.features, model.spec.id, found.probed))
        write_text(new / "features.md", feature_markdown(found.features, model.spec.id, found.probed))
        write_text(new / NEURON_LIST, neuron_list(found))
        if plots:
            for name, figure in draw(found, model.spec.id, palette):
                save_figure(figure, new / name)
        manifest = {
            "schema": SCHEMA,
            "complete": True,
            "command": command,
            "model": {**model.identity(), "shape": asdict(read_shape(model))},
            "processing": study.weights.processing,
            "features": features,
            "datasets": [_described(one) for one in study.found],
            "layers": list(study.layers),
            "neurons": found.probed,
            "measure": asdict(study.options),
            "options": {
                **asdict(study.forward),
                "clip_qkv": model.spec.clip_qkv,
                "top": top,
                "curves": curves,
                "context": context,
                "superposition": superposition,
                "plots": plots,
                "palette": palette,
            },
            "definitions": {
                "probes": DEFINITION,
                "sparsity_curve": CURVE_DEFINITION,
                "rotated_curve": ROTATION_DEFINITION,
            },
            "failures": [asdict(one) for _, tables in found.contexts for one in tables.failures],
            "files": files_of(new, {**COLUMNS, **CONTEXT_COLUMNS, **SUPERPOSITION_COLUMNS}),
            "provenance": collect(stopwatch),
        }
        write_json(new / MANIFEST, manifest)
    return ProbeExport(folder, manifest, found)


def neuron_list(found: ProbeFindings) -> str:
    """The best neuron of every feature, each once, one in a line."""
    pairs = dict.fromkeys(zip(found.features["layer"], found.features["neuron"], strict=True))
    return "".join(f"{layer}.{neuron}\n" for layer, neuron in pairs)


def draw(found: ProbeFindings, title: str, palette: PaletteName) -> Iterator[tuple[str, Figure]]:
    """The figures of a study, one at a time: file name without suffix, and figure."""
    common: dict[str, Any] = {"title": title, "palette_name": palette}
    by = "test_mcc" if found.layers["validation_mcc"].isna().all() else "validation_mcc"
    yield "layers", probe_layers_figure(found.layers, score=by, **common)
    yield "depth", probe_depth_figure(found.layers, chosen_by=by, **common)
    for dataset, rows in found.curves.groupby("dataset", sort=False):
        name = f"sparsity_{slug(str(dataset))}"
        if rows.duplicated(["feature", "method", "k"]).any():  # several layers: those are compared
            yield name, sparsity_layers_figure(rows, method=str(rows["method"].iloc[0]), **common)
        else:
            yield name, sparsity_curves_figure(rows, **common)
    if found.superposition is not None:
        yield from draw_superposition(found.superposition, title, palette)
    for dataset, tables in found.contexts:
        shown = tables.histograms[~tables.histograms["baseline"]]
        for (layer, neuron, about), histogram in shown.groupby(["layer", "neuron", "about"], sort=False):
            losses = tables.losses[
                (tables.losses["layer"] == layer)
                & (tables.losses["neuron"] == neuron)
                & (tables.losses["about"] == about)
            ]
            of_neuron = {**common, "title": f"{title}, neuron {layer}.{neuron}"}
            yield (
                slug(f"context_{dataset}_{about}_{layer}.{neuron}"),
                context_neuron_figure(histogram, losses, own=str(about), quantity="post", **of_neuron),
            )


def draw_superposition(
    found: SuperpositionTables, title: str, palette: PaletteName
) -> Iterator[tuple[str, Figure]]:
    """The figures of ``--superposition``: a layer apart from the others where features have several."""
    kinds = (("ranks", found.ranks, probe_ranks_figure), ("loss", found.loss, superposition_loss_figure))
    for kind, table, figure in kinds:
        for data, rows in table.groupby("dataset", sort=False):
            name = f"superposition_{kind}_{slug(str(data))}"
            if (rows.groupby("feature")["layer"].nunique() == 1).all():
                yield name, figure(rows, title=title, palette_name=palette)
                continue
            for layer, of_layer in rows.groupby("layer"):
                about = f"{title}, layer {layer}"
                yield f"{name}_{layer}", figure(of_layer, title=about, palette_name=palette)
    for (dataset, feature), rows in found.joint.groupby(["dataset", "feature"], sort=False):
        name = f"superposition_joint_{slug(str(dataset))}_{slug(str(feature))}"
        yield name, joint_activations_figure(rows, title=f"{title}, {feature}", palette_name=palette)


def _described(one: DatasetProbes) -> Mapping[str, object]:
    """What a manifest says about a data set."""
    data = one.data
    return {
        "name": data.name,
        "content_hash": data.content_hash,
        "aggregation": data.aggregation,
        "examples": len(data),
        "features": len(one.atlas.tasks),
        "corpus": {
            "id": data.corpus.spec.id,
            "content_hash": data.corpus.content_hash,
            "rows": len(data.corpus),
            "tokens": data.corpus.n_tokens,
        },
    }
