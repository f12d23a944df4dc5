"""The weight study of a model as files a person can use: tables, arrays, figures and a manifest.

What every file holds is documented in ``OUTPUTS.md``; `COLUMNS` and `ARRAYS` are what is written.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from rwcore.errors import NotGatedError, OptionError, StoreError
from rwcore.models.registry import registry
from rwcore.paths import golden_dir
from rwcore.provenance import Stopwatch, collect
from rwcore.stats.classes import class_counts, class_totals
from rwcore.stats.cosines import RWCosines
from rwcore.stats.half_coarse import half_coarse_counts
from rwcore.stats.medians import layer_medians
from rwcore.stats.norms import norm_ranges
from rwcore.stats.null import beta_region
from rwcore.store import (
    MANIFEST,
    atomic_folder,
    hash_file,
    read_json,
    write_arrays,
    write_json,
    write_text,
    writing,
)
from rwcore.studies import tables
from rwcore.studies.weights import DEFINITION, NULL_DEFINITION, WeightStudy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCHEMA = "rwcore-weights/1"
Classes = Literal["auto", "gated", "plain"]

COLUMNS = {
    "class_counts.csv": ("layer", "class", "count"),
    "medians.csv": ("layer", "cosine", "median"),
    "norm_ranges.csv": ("vector", "min", "max"),
    "null_regions.csv": ("region", "layer", "cosine", "low", "high"),
    "half_coarse_counts.csv": ("layer", "bin_low", "bin_high", "count"),
    "undefined.csv": ("layer", "neuron", "vector", "why"),
}
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
    "beta_region": "beta_region/1",
}
PNG_DPI = 200
STAGING = ".rwcore-new"
PUBLISHED_MEDIANS = Path("rw_functionalities") / "published" / "linout_medians.csv"


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


def check_target(out: Path, *, force: bool = False) -> Path:
    """Refuse an output folder that cannot or must not be written, before anything is computed.

    Args:
        out: The folder; it need not exist.
        force: Accept a folder that holds other files.

    Returns:
        The folder as an absolute path, symbolic links resolved.

    Raises:
        StoreError: It is a file, cannot be written, or holds files that are not an export of rwcore.
    """
    folder = out.expanduser().resolve()
    if folder.exists() and not folder.is_dir():
        raise StoreError(
            "the output folder is a file", where=str(folder), remedy="name another folder with --out"
        )
    standing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    with writing(folder):
        # Trying is the only test that permissions, read-only disks and odd file systems all pass.
        tempfile.TemporaryDirectory(prefix=STAGING, dir=standing).cleanup()
    if folder.is_dir() and not force and _previous(folder) is None and any(map(_foreign, folder.iterdir())):
        raise StoreError(
            "the output folder is not empty and holds no earlier export of rwcore",
            where=str(folder),
            remedy="name another folder with --out, or add --force to write beside what is there "
            "(files of the same names are replaced, others stay)",
        )
    return folder


def _foreign(path: Path) -> bool:
    """Whether a file is anything else than what a killed export left behind."""
    return STAGING not in path.name


def _previous(folder: Path) -> dict[str, Any] | None:
    """Manifest of the export in a folder, None if there is none."""
    if not (folder / MANIFEST).is_file():
        return None
    try:
        manifest = read_json(folder / MANIFEST)
    except StoreError:
        return None
    ours = isinstance(manifest, dict) and str(manifest.get("schema", "")).startswith("rwcore-")
    return manifest if ours else None


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
    force: bool = False,
    command: str = "",
) -> Export:
    """Write the weight study of a model into a folder, whole or not at all.

    Args:
        study: The study; computed first if the store does not have it.
        out: A new folder, an empty one, one with an earlier export (replaced; other files in it stay), or
            with ``force`` any folder.
        classes: See `check_classes`.
        null: Also the mismatched-pair regions, which take longest.
        force: Write into a folder that holds other files.
        command: The command line, for the manifest.

    Raises:
        StoreError: The folder is refused (see `check_target`) or the disk is full.
        NotGatedError: See `check_classes`.
    """
    stopwatch = Stopwatch()
    folder = check_target(out, force=force)
    with_gate = check_classes(classes, gated=study.mlp_weights().shape.gated_mlp)
    statistics = study.statistics
    shown = statistics.cosines if with_gate else replace(statistics.cosines, gatelin=None, gateout=None)
    counts, medians = class_counts(shown), layer_medians(shown)
    undefined = statistics.undefined_neurons()
    model = study.local.spec.id
    frames = {
        "class_counts.csv": counts,
        "medians.csv": medians,
        "norm_ranges.csv": norm_ranges(statistics),
        "null_regions.csv": _regions(study, shown, null=null),
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
    if len(undefined):
        frames["undefined.csv"] = undefined
    arrays = statistics.to_arrays()

    with _filling(folder) as new:
        for name, frame in frames.items():
            # A float32 holds no more than nine digits.
            write_text(
                new / name,
                frame[[*COLUMNS[name]]].to_csv(index=False, float_format="%.9g", lineterminator="\n"),
            )
        for name, text in texts.items():
            write_text(new / name, text)
        for name, members in ARRAYS.items():
            write_arrays(new / name, {member: arrays[member] for member in members if member in arrays})
        for name, figure in _figures(study, shown, counts, medians).items():
            _save(figure, new / name)
        manifest = {
            "schema": SCHEMA,
            "complete": True,
            "command": command,
            "model": {
                **study.local.identity(),
                **{name: getattr(study.local.spec, name) for name in ("source", "location")},
                "shape": asdict(study.mlp_weights().shape),
            },
            "processing": study.processing,
            "fold_sign": statistics.cosines.gated,
            "classes": "gated" if shown.gated else "plain",
            "undefined_neurons": int(shown.undefined().sum()),
            "definitions": DEFINITIONS,
            "files": _files(new),
            "provenance": {"statistics": study.provenance, "export": collect(stopwatch)},
        }
        write_json(new / MANIFEST, manifest)
    return Export(folder, manifest, class_totals(counts), counts, medians, undefined)


def _regions(study: WeightStudy, shown: RWCosines, *, null: bool) -> pd.DataFrame:
    """The analytic region (one row per cosine, no layer) and the mismatched-pair regions of the layers."""
    low, high = beta_region(study.mlp_weights().shape.d_model)
    beta = pd.DataFrame(
        {
            "region": "beta",
            "layer": pd.NA,
            "cosine": list(shown.present()),
            # The region of |cos(gate, in)| has no lower end; the upper one of the signed cosine bounds it.
            "low": [float("nan") if name == "gatelin" else low for name in shown.present()],
            "high": high,
        }
    )
    parts = [beta]
    if null:
        measured = study.null_regions()
        parts.append(measured[measured["cosine"].isin([*shown.present()])].assign(region="mismatched"))
    return pd.concat([part.astype({"layer": "Int64"}) for part in parts], ignore_index=True)


def _figures(
    study: WeightStudy, shown: RWCosines, counts: pd.DataFrame, medians: pd.DataFrame
) -> dict[str, Figure]:
    from rwcore.plots.counts import class_counts_figure, half_coarse_figure
    from rwcore.plots.medians import medians_figure

    model = study.local.spec.id
    curve = medians.loc[medians["cosine"] == "linout", ["layer", "median"]].assign(model=model)
    behind = published_medians(model, gated=study.cosines.gated)
    label = f"published {'gated' if study.cosines.gated else 'non-gated'} models"
    figures = {
        "medians": medians_figure(curve, behind, background_label=label),
        "class_counts": class_counts_figure(counts, title=model),
    }
    if not shown.gated:
        bins = half_coarse_counts(shown)
        figures["half_coarse"] = half_coarse_figure(bins[bins["bin_low"].notna()], title=model)
    return figures


def published_medians(model: str, *, gated: bool) -> pd.DataFrame | None:
    """The published medians of the other models of the same kind.

    Args:
        model: Id of the model to leave out.
        gated: Whether models with or without a gate are wanted.

    Returns:
        Columns model, layer, median; None outside a checkout, where there are no published tables.
    """
    try:
        path = golden_dir() / PUBLISHED_MEDIANS
    except OptionError:
        return None
    if not path.is_file():
        return None
    same_kind = {one.id for one in registry().values() if one.gated_mlp is gated and one.id != model}
    published = pd.read_csv(path)
    return published.loc[published["model"].isin(same_kind), ["model", "layer", "median"]]


def _save(figure: Figure, stem: Path) -> None:
    from rwcore.plots.style import style

    with style("paper"):
        # No date, so that equal figures are equal files.
        figure.savefig(stem.with_suffix(".pdf"), metadata={"CreationDate": None})
        figure.savefig(stem.with_suffix(".png"), dpi=PNG_DPI)


def _files(folder: Path) -> list[dict[str, Any]]:
    """Name, size, hash and, for tables and arrays, the content of every file."""
    found = []
    for path in sorted(folder.iterdir()):
        facts: dict[str, Any] = {"name": path.name, "bytes": path.stat().st_size, "sha256": hash_file(path)}
        if path.name in COLUMNS:
            facts["columns"] = list(COLUMNS[path.name])
        if path.name in ARRAYS:
            facts["arrays"] = _header(path)
        found.append(facts)
    return found


def _header(path: Path) -> dict[str, Any]:
    """Name, dtype and shape of the arrays in a safetensors file."""
    with path.open("rb") as handle:
        header = json.loads(handle.read(int.from_bytes(handle.read(8), "little")))
    return {name: {"dtype": facts["dtype"], "shape": facts["shape"]} for name, facts in header.items()}


@contextlib.contextmanager
def _filling(folder: Path) -> Iterator[Path]:
    """An empty folder to fill; its files are in ``folder`` when the block succeeds, none of them if it fails.

    A folder that does not exist appears whole, by a rename. One that exists may be somebody's working
    directory or hold other files, so it stays and the files are moved into it one by one; meanwhile its
    manifest says that it is not complete.
    """
    if not folder.exists():
        with atomic_folder(folder) as new:
            new.chmod(0o755)
            yield new
        return
    staging = folder / STAGING
    with atomic_folder(staging) as new:
        yield new
    with writing(folder):
        previous = _previous(folder) or {}
        write_json(folder / MANIFEST, {**previous, "schema": SCHEMA, "complete": False})
        fresh = {path.name for path in staging.iterdir()}
        for entry in previous.get("files", []):
            stale = folder / Path(str(entry["name"])).name  # only names: a manifest must not reach elsewhere
            if stale.name not in fresh:
                stale.unlink(missing_ok=True)
        for path in sorted(staging.iterdir(), key=lambda path: path.name == MANIFEST):
            os.replace(path, folder / path.name)
        staging.rmdir()
