"""The weight study of a model as files a person can use: tables, arrays, figures and a manifest.

What every file holds is documented in ``OUTPUTS.md``; `COLUMNS` and `ARRAYS` are what is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from rwcore.errors import NotGatedError, OptionError
from rwcore.probing.weight_statistics import has_input_biases
from rwcore.provenance import Stopwatch, collect
from rwcore.stats.classes import class_counts, class_totals
from rwcore.stats.half_coarse import half_coarse_counts
from rwcore.stats.medians import layer_medians
from rwcore.stats.norms import norm_ranges
from rwcore.stats.null import beta_region
from rwcore.store import MANIFEST, write_arrays, write_json, write_text
from rwcore.studies import figures, tables
from rwcore.studies.figure_kinds import FigureInput
from rwcore.studies.folder import check_target, files_of, filling, save_figure, write_csv
from rwcore.studies.weights import DEFINITION, NULL_DEFINITION, PRODUCT_DEFINITION, WeightStudy

if TYPE_CHECKING:
    from rwcore.plots.counts import PaletteName

SCHEMA = "rwcore-weights/1"
Classes = Literal["auto", "gated", "plain"]

COLUMNS = {
    "class_counts.csv": ("layer", "class", "count"),
    "medians.csv": ("layer", "cosine", "median"),
    "norm_ranges.csv": ("vector", "min", "max"),
    "null_regions.csv": ("region", "layer", "cosine", "low", "high"),
    "half_coarse_counts.csv": ("layer", "bin_low", "bin_high", "count"),
    "products.csv": (
        "layer", "relative_depth", "low", "q1", "median", "q3", "high", "negative", "normalised_median",
    ),
    "undefined.csv": ("layer", "neuron", "vector", "why"),
}  # fmt: skip
ARRAYS = {
    "cosines.safetensors": ("gatelin", "gateout", "linout"),
    "norms.safetensors": ("norm_gate", "norm_in", "norm_out"),
}
DEFINITIONS = {
    "cosines": DEFINITION,
    "norms": DEFINITION,
    "class_counts": "class_counts/1",
    "half_coarse_counts": "half_coarse_counts/1",
    "medians": "layer_medians/1",
    "norm_ranges": "norm_ranges/1",
    "mismatched_region": NULL_DEFINITION,
    "products": PRODUCT_DEFINITION,
    "beta_region": "beta_region/1",
}


@dataclass(frozen=True)
class Export:
    """What was written, and the numbers a person wants to see first.

    Attributes:
        folder: Where the files are.
        manifest: Content of ``manifest.json``.
        totals: Neurons per class: class, count, and how many are near a threshold.
        counts: Neurons per layer and class.
        medians: layer, cosine, median.
        undefined: All vectors without a direction: layer, neuron, vector, why.
    """

    folder: Path
    manifest: dict[str, Any]
    totals: pd.DataFrame
    counts: pd.DataFrame
    medians: pd.DataFrame
    undefined: pd.DataFrame


def check_classes(classes: str, *, gated: bool) -> bool:
    """Whether the eleven classes of gated neurons are meant.

    Args:
        classes: ``gated``: the eleven classes of gated neurons; ``plain``: the three of cos(in, out) alone,
            also for a gated model; ``auto``: what the model has.
        gated: Whether the model has a gate.

    Raises:
        NotGatedError: Classes of gated neurons were asked of a model without gates.
        OptionError: There is no such choice.
    """
    if classes not in ("auto", "gated", "plain"):
        raise OptionError(f"unknown classes {classes!r}", remedy="use auto, gated or plain")
    if classes == "gated" and not gated:
        raise NotGatedError(
            "the MLP of this model has no gate, so the eleven classes of gated neurons are not defined",
            where="--classes gated",
            remedy="leave --classes out: strengthening, orthogonal output and weakening are counted instead",
        )
    return gated and classes != "plain"


def export_weights(
    study: WeightStudy,
    out: Path,
    *,
    classes: Classes = "auto",
    null: bool = True,
    plots: Sequence[str] = (figures.DEFAULT,),
    layers: Sequence[int] | None = None,
    palette: PaletteName = "paper",
    force: bool = False,
    command: str = "",
) -> Export:
    """Write the weight study of a model into a folder, whole or not at all.

    Args:
        study: The study; computed first if the store does not have it.
        out: A new folder, an empty one, one with an earlier export (replaced; other files in it stay), or
            with ``force`` any folder.
        classes: See `check_classes`.
        null: Also the mismatched-pair regions, which take longest; without, figures show the analytic one.
        plots: Names (`rwcore.studies.figure_kinds.FIGURES`), ``default`` or ``all``; empty: no figures.
        layers: Layers of the figures with one panel per layer; see `rwcore.studies.figures.draw`.
        palette: ``paper``, the papers' colours, or ``accessible``.
        force: Write into a folder that holds other files.
        command: The command line, for the manifest.

    Raises:
        StoreError: The folder is refused (see `check_target`) or the disk is full.
        NotGatedError: See `check_classes`.
        OptionError: See `rwcore.studies.figures.draw`.
    """
    stopwatch = Stopwatch()
    folder = check_target(out, force=force)
    shape = study.mlp_weights().shape
    with_gate = check_classes(classes, gated=shape.gated_mlp)
    # All of this before anything is computed: a wrong name must not cost minutes.
    names, skipped = figures.resolve(plots, gated=with_gate, biases=has_input_biases(study.local))
    layers = figures.check_layers(layers, shape.n_layers)
    figures.check_panels(names, layers)
    figures.check_palette(palette)
    given = figures.figure_input(study, gated=with_gate, null=null)
    statistics, shown = given.statistics, given.cosines
    counts, medians = class_counts(shown), layer_medians(shown)
    undefined = statistics.undefined_neurons()
    model = study.local.spec.id
    frames = {
        "class_counts.csv": counts,
        "medians.csv": medians,
        "norm_ranges.csv": norm_ranges(statistics),
        "null_regions.csv": _regions(given),
    }
    texts = {
        "class_table.tex": tables.class_latex(counts, model),
        "class_table.md": tables.class_markdown(counts, model),
    }
    if not shown.gated:
        bins = half_coarse_counts(shown)
        frames["half_coarse_counts.csv"] = bins
        texts["half_coarse_table.tex"] = tables.bin_latex(bins, model)
        texts["half_coarse_table.md"] = tables.bin_markdown(bins, model)
    if given.products is not None:
        frames["products.csv"] = given.products.rename(
            columns={"depth": "relative_depth", "relative": "normalised_median"}
        )
    if len(undefined):
        frames["undefined.csv"] = undefined
    arrays = statistics.to_arrays()

    with filling(folder) as new:
        for name, frame in frames.items():
            write_csv(new / name, frame, COLUMNS[name])
        for name, text in texts.items():
            write_text(new / name, text)
        for name, members in ARRAYS.items():
            write_arrays(new / name, {member: arrays[member] for member in members if member in arrays})
        for name, figure in figures.draw(given, names, layers=layers, palette=palette):
            save_figure(figure, new / name)
        manifest = {
            "schema": SCHEMA,
            "complete": True,
            "command": command,
            "model": {
                **study.local.identity(),
                **{name: getattr(study.local.spec, name) for name in ("source", "location")},
                "shape": asdict(shape),
            },
            "processing": study.processing,
            "fold_sign": statistics.cosines.gated,
            "classes": "gated" if shown.gated else "plain",
            "undefined_neurons": int(shown.undefined().sum()),
            "definitions": DEFINITIONS,
            "figures": {"drawn": names, "skipped": skipped, "layers": layers, "palette": palette},
            "files": files_of(new, COLUMNS),
            "provenance": {"statistics": study.provenance, "export": collect(stopwatch)},
        }
        write_json(new / MANIFEST, manifest)
    return Export(folder, manifest, class_totals(counts), counts, medians, undefined)


def _regions(given: FigureInput) -> pd.DataFrame:
    """The analytic region (one row per cosine, no layer) and the mismatched-pair regions of the layers."""
    low, high = beta_region(given.d_model)
    cosines = [*given.cosines.present()]
    beta = pd.DataFrame(
        {
            "region": "beta",
            "layer": pd.NA,
            "cosine": cosines,
            # The region of |cos(gate, in)| has no lower end; the upper one of the signed cosine bounds it.
            "low": [float("nan") if name == "gatelin" else low for name in cosines],
            "high": high,
        }
    )
    parts = [beta]
    if given.regions is not None:
        parts.append(given.regions[given.regions["cosine"].isin(cosines)].assign(region="mismatched"))
    return pd.concat([part.astype({"layer": "Int64"}) for part in parts], ignore_index=True)
