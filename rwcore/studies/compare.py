"""Several models side by side: medians, class shares, how far apart they are, and what training changed.

What every file holds is documented in ``OUTPUTS.md``; `COLUMNS` is what is written.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from rwcore.errors import OptionError
from rwcore.provenance import Stopwatch, collect
from rwcore.stats.change import Flip, change_correlations
from rwcore.stats.classes import class_codes, class_counts, class_totals, classes_of
from rwcore.stats.cosines import RWCosines
from rwcore.stats.medians import layer_medians
from rwcore.stats.reductions import layer_total_variations, total_variation
from rwcore.stats.transitions import changed_neurons, class_transitions
from rwcore.stats.tying import weight_tying
from rwcore.store import MANIFEST, write_arrays, write_json, write_text
from rwcore.studies import compare_tables
from rwcore.studies.change import DEFINITION as CHANGE_DEFINITION
from rwcore.studies.change import ChangeStudy, change_study, check_one_shape, sizes
from rwcore.studies.export import DEFINITIONS as WEIGHT_DEFINITIONS
from rwcore.studies.export import Classes, check_classes
from rwcore.studies.figures import check_layers
from rwcore.studies.folder import check_target, files_of, filling, save_figure, write_csv
from rwcore.studies.weights import WeightStudy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rwcore.plots.counts import PaletteName

SCHEMA = "rwcore-comparison/1"

COLUMNS = {
    "class_counts.csv": ("model", "layer", "class", "count"),
    "class_shares.csv": ("model", "class", "count", "share"),
    "medians.csv": ("model", "layer", "relative_depth", "cosine", "median"),
    "total_variation.csv": ("first", "second", "layer", "total_variation"),
    "transitions.csv": ("first", "second", "from", "to", "count", "share"),
    "changed_neurons.csv": ("first", "second", "layer", "neuron", "from", "to"),
    "tying.csv": ("model", "tied", "declared", "equal", "reason"),
    "change_correlations.csv": ("first", "last", "vector", "cosine", "layer", "r", "p", "n"),
}
CHANGES = "changes.safetensors"
DEFINITIONS = {
    **{name: WEIGHT_DEFINITIONS[name] for name in ("cosines", "class_counts", "medians")},
    "class_shares": "class_shares/1",
    "total_variation": "total_variation/1",
    "transitions": "transitions/1",
    "tying": "weight_tying/1",
    "change": CHANGE_DEFINITION,
}


@dataclass(frozen=True)
class Comparison:
    """What was written, and the numbers a person wants to see first.

    Attributes:
        folder: Where the files are.
        manifest: Content of ``manifest.json``.
        frames: The tables by file name, with the columns of `COLUMNS` among theirs.
        labels: Short names of the models, in their order.
    """

    folder: Path
    manifest: dict[str, Any]
    frames: dict[str, pd.DataFrame]
    labels: tuple[str, ...]


def compare(
    studies: Sequence[WeightStudy],
    out: Path,
    *,
    classes: Classes = "auto",
    change: bool = False,
    flip: Flip = "none",
    layers: Sequence[int] | None = None,
    palette: PaletteName = "paper",
    force: bool = False,
    command: str = "",
) -> Comparison:
    """Write a comparison of models into a folder, whole or not at all.

    Args:
        studies: Their weight studies, at least two; computed first where the store does not have them.
        out: See `rwcore.studies.export.export_weights`.
        classes: ``plain`` compares the three classes by cos(in, out) alone, also of gated models; otherwise
            all models must have a gate or none.
        change: Also how far the weights moved from the first to the last model.
        flip: See `rwcore.stats.change.change_cosines`.
        layers: Layers in the figures of the change; all if None.
        palette: Colours of the figures.
        force: Write into a folder that holds other files.
        command: The command line, for the manifest.

    Raises:
        OptionError: Fewer than two models, one twice, models of different class systems, or a layer that is
            not there.
        WeightsError: ``change`` was asked of models that are not of one shape.
        NotGatedError: ``classes`` is ``gated`` and no model is.
        StoreError: The folder is refused or the disk is full.
    """
    stopwatch = Stopwatch()
    check_models(studies, classes=classes)
    folder = check_target(out, force=force)
    moved = _change(studies, flip) if change else None
    n_layers = studies[-1].mlp_weights().shape.n_layers
    shown_layers = check_layers(layers, n_layers) or range(n_layers)
    shown = [_shown(study, classes) for study in studies]
    ids = [study.local.spec.id for study in studies]
    labels = short_names(ids)
    frames = _frames(studies, shown)
    if moved is not None:
        correlations = change_correlations(moved.changes, shown[-1])
        frames["change_correlations.csv"] = correlations.assign(first=ids[0], last=ids[-1])
    texts = _texts(frames, ids, labels)
    with filling(folder) as new:
        for name, frame in frames.items():
            write_csv(new / name, frame, COLUMNS[name])
        for name, text in texts.items():
            write_text(new / name, text)
        for name, figure in _figures(frames, ids, labels, palette):
            save_figure(figure, new / name)
        if moved is not None:
            write_arrays(new / CHANGES, moved.changes)
            for name, figure in change_figures(moved.changes, shown[-1], shown_layers, palette=palette):
                save_figure(figure, new / name)
        manifest: dict[str, Any] = {
            "schema": SCHEMA,
            "complete": True,
            "command": command,
            "models": [
                {
                    **study.local.identity(),
                    **{name: getattr(study.local.spec, name) for name in ("source", "location")},
                    "shape": asdict(study.mlp_weights().shape),
                    "processing": study.processing,
                    "undefined_neurons": int(cosines.undefined().sum()),
                }
                for study, cosines in zip(studies, shown, strict=True)
            ],
            "classes": "gated" if shown[0].gated else "plain",
            "change": None if moved is None else {"first": ids[0], "last": ids[-1], "flip": flip},
            "definitions": DEFINITIONS,
            "files": files_of(new, COLUMNS),
            "provenance": {
                "statistics": [study.provenance for study in studies],
                "change": None if moved is None else moved.provenance,
                "comparison": collect(stopwatch),
            },
        }
        write_json(new / MANIFEST, manifest)
    return Comparison(folder, manifest, frames, labels)


def check_models(studies: Sequence[WeightStudy], *, classes: str) -> None:
    """Refuse models that cannot be compared, before anything is computed.

    Args:
        studies: Their weight studies.
        classes: See `compare`.

    Raises:
        OptionError: Fewer than two models, one twice, or models of different class systems.
        NotGatedError: ``classes`` is ``gated`` and no model is.
    """
    ids = [study.local.spec.id for study in studies]
    if len(ids) < 2:
        raise OptionError(
            f"a comparison needs two models or more, {len(ids)} given",
            where="--compare",
            remedy="name the other models beside it, or leave --compare out",
        )
    twice = [name for name, count in Counter(ids).items() if count > 1]
    if twice:
        raise OptionError(
            f"{twice[0]} is named more than once",
            where="--compare",
            remedy="name each model once; checkpoints are written org/name@revision",
        )
    gates = {name: study.mlp_weights().shape.gated_mlp for name, study in zip(ids, studies, strict=True)}
    if len(set(gates.values())) > 1 and classes != "plain":
        with_gate = ", ".join(name for name, gated in gates.items() if gated)
        without = ", ".join(name for name, gated in gates.items() if not gated)
        raise OptionError(
            f"the models have different classes: {with_gate} eleven, of gated neurons; {without} three, "
            "without a gate",
            where=f"--classes {classes}",
            remedy="--classes plain compares the three classes by cos(in, out) alone in all of them",
        )
    for gated in gates.values():
        check_classes(classes, gated=gated)


def short_names(ids: Sequence[str]) -> tuple[str, ...]:
    """Names for figures: what follows the last ``/``, numbered where that would not tell models apart."""
    tails = [name.rstrip("/").rpartition("/")[2] for name in ids]
    count = Counter(tails)
    return tuple(
        tail if count[tail] == 1 else f"{tail} #{number}" for number, tail in enumerate(tails, start=1)
    )


def _change(studies: Sequence[WeightStudy], flip: Flip) -> ChangeStudy:
    first, last = studies[0], studies[-1]
    check_one_shape(first.local, last.local, where="--change")
    return change_study(first, last, flip=flip, store=first.store)


def _shown(study: WeightStudy, classes: Classes) -> RWCosines:
    cosines = study.cosines
    with_gate = check_classes(classes, gated=cosines.gated)
    return cosines if with_gate else replace(cosines, gatelin=None, gateout=None)


def _frames(studies: Sequence[WeightStudy], shown: Sequence[RWCosines]) -> dict[str, pd.DataFrame]:
    ids = [study.local.spec.id for study in studies]
    counts = [class_counts(cosines) for cosines in shown]
    frames = {
        "class_counts.csv": _stacked(counts, ids),
        "class_shares.csv": _stacked([_shares(one) for one in counts], ids),
        "medians.csv": _stacked([_with_depth(layer_medians(cosines)) for cosines in shown], ids),
        "total_variation.csv": _variations(counts, ids),
        "tying.csv": _tying(studies),
    }
    pairs = list(_consecutive(studies))
    if pairs:
        codes = [class_codes(cosines) for cosines in shown]
        classes = classes_of(shown[0])
        for name, table in (("transitions.csv", class_transitions), ("changed_neurons.csv", changed_neurons)):
            parts = [table(codes[a], codes[b], classes).assign(first=ids[a], second=ids[b]) for a, b in pairs]
            frames[name] = pd.concat(parts, ignore_index=True)
    return frames


def _stacked(frames: Sequence[pd.DataFrame], ids: Sequence[str]) -> pd.DataFrame:
    parts = [frame.assign(model=name) for frame, name in zip(frames, ids, strict=True)]
    return pd.concat(parts, ignore_index=True)


def _shares(counts: pd.DataFrame) -> pd.DataFrame:
    totals = class_totals(counts)
    return totals.assign(share=totals["count"] / totals["count"].sum())


def _with_depth(medians: pd.DataFrame) -> pd.DataFrame:
    last = int(medians["layer"].max())
    return medians.assign(relative_depth=medians["layer"] / max(last, 1))


def _variations(counts: Sequence[pd.DataFrame], ids: Sequence[str]) -> pd.DataFrame:
    """Every pair: the whole models (no layer), then layer by layer where they have equally many."""
    rows: list[tuple[str, str, int | None, float]] = []
    for a, b in itertools.combinations(range(len(ids)), 2):
        rows.append((ids[a], ids[b], None, total_variation(counts[a], counts[b])))
        if set(counts[a]["layer"]) == set(counts[b]["layer"]):
            by_layer = layer_total_variations(counts[a], counts[b])
            rows += [(ids[a], ids[b], int(str(layer)), float(value)) for layer, value in by_layer.items()]
    frame = pd.DataFrame(rows, columns=[*COLUMNS["total_variation.csv"]])
    return frame.astype({"layer": "Int64"})


def _tying(studies: Sequence[WeightStudy]) -> pd.DataFrame:
    found = [weight_tying(study.local) for study in studies]
    return pd.DataFrame(
        {
            "model": [study.local.spec.id for study in studies],
            "tied": [one.tied for one in found],
            **{name: [getattr(one, name) for one in found] for name in ("declared", "equal", "reason")},
        }
    )


def _consecutive(studies: Sequence[WeightStudy]) -> Iterator[tuple[int, int]]:
    """Neighbours of one shape, whose neurons can be paired."""
    shapes = [sizes(study.mlp_weights().shape) for study in studies]
    yield from ((a, b) for a, b in itertools.pairwise(range(len(studies))) if shapes[a] == shapes[b])


def _texts(frames: dict[str, pd.DataFrame], ids: Sequence[str], labels: Sequence[str]) -> dict[str, str]:
    shares = compare_tables.share_table(frames["class_shares.csv"], ids, labels)
    distances = compare_tables.variation_table(frames["total_variation.csv"], ids, labels)
    return {
        "class_shares.tex": compare_tables.share_latex(shares),
        "class_shares.md": compare_tables.share_markdown(shares),
        "total_variation.tex": compare_tables.variation_latex(distances),
        "total_variation.md": compare_tables.variation_markdown(distances),
    }


def _figures(
    frames: dict[str, pd.DataFrame], ids: Sequence[str], labels: Sequence[str], palette: PaletteName
) -> Iterator[tuple[str, Figure]]:
    from rwcore.plots.medians import medians_figure, selected_medians_figure, selected_models
    from rwcore.plots.transitions import transitions_figure

    named = dict(zip(ids, labels, strict=True))
    medians = frames["medians.csv"]
    curves = medians.loc[medians["cosine"] == "linout", ["model", "layer", "median"]]
    curves = curves.assign(model=curves["model"].map(named))
    yield "medians", medians_figure(curves, palette_name=palette)
    if 0 < len(selected_models(labels)) < len(labels):
        yield "selected_medians", selected_medians_figure(curves, palette_name=palette)
    if "transitions.csv" in frames:
        transitions = frames["transitions.csv"]
        for number, (first, second) in enumerate(itertools.pairwise(ids), start=1):
            part = transitions[(transitions["first"] == first) & (transitions["second"] == second)]
            if len(part):
                drawn = transitions_figure(part, first=named[first], last=named[second], palette_name=palette)
                yield f"transitions_{number}_{number + 1}", drawn


def change_figures(
    changes: dict[str, Any], cosines: RWCosines, layers: Sequence[int], *, palette: PaletteName = "paper"
) -> Iterator[tuple[str, Figure]]:
    """Histograms of each change (x) against each cosine (y), one panel per layer, with regression lines.

    Args:
        changes: From `rwcore.stats.change.change_cosines`.
        cosines: Of the later checkpoint.
        layers: The layers shown.
        palette: ``paper`` or ``accessible``.

    Yields:
        Names ``change_<vector>_vs_<cosine>`` and figures.
    """
    from rwcore.plots.histograms import panels_figure
    from rwcore.plots.panels import COSINE_LABELS, layer_titles

    rows = list(layers)
    for vector, x in changes.items():
        for cosine, y in cosines.present().items():
            figure = panels_figure(
                np.asarray(x[rows]),
                np.asarray(y[rows]),
                xlabel=rf"$w_\mathrm{{{vector}}}$: cosine of first and last checkpoint",
                ylabel=COSINE_LABELS[cosine],
                titles=layer_titles(rows),
                xlim=(-1.0, 1.0),
                # Gate signs are folded, so that the published panels begin at zero.
                ylim=(0.0 if cosine == "gatelin" else -1.0, 1.0),
                correlation=True,
                palette_name=palette,
            )
            yield f"change_{vector}_vs_{cosine}", figure
