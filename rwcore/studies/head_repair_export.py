"""Self-repair of heads as files: tables, figures, a manifest; see ``OUTPUTS.md``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rwcore.errors import require_least
from rwcore.heads.repair_neurons import top_shares
from rwcore.plots.head_repair import (
    neuron_scatter_figure,
    neuron_shares_figure,
    repair_depth_figure,
    repair_heads_figure,
)
from rwcore.provenance import Stopwatch, collect
from rwcore.store import MANIFEST, write_json
from rwcore.studies.figures import check_palette
from rwcore.studies.folder import check_target, files_of, filling, save_figure, write_csv
from rwcore.studies.head_repair import DEFINITION, RepairStudy
from rwcore.studies.head_repair_tables import (
    CLASS_COLUMNS,
    EVERY,
    NEURON_COLUMNS,
    NEURONS,
    SELECTED_GROUP_COLUMNS,
    SELECTED_HEAD_COLUMNS,
    SPARSITY_COLUMNS,
    TOP,
    RepairTables,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rwcore.plots.counts import PaletteName

SCHEMA = "rwcore-heads-repair/1"
COLUMNS = {
    "heads.csv": SELECTED_HEAD_COLUMNS,
    "groups.csv": SELECTED_GROUP_COLUMNS,
    "sparsity.csv": SPARSITY_COLUMNS,
    "neurons.csv": NEURON_COLUMNS,
    "classes.csv": CLASS_COLUMNS,
}
"""The tables, and their columns."""


@dataclass(frozen=True, eq=False)
class RepairExport:
    """What was written, and what was found.

    Attributes:
        folder: Where the files are.
        manifest: Content of ``manifest.json``.
        tables: The tables.
    """

    folder: Path
    manifest: dict[str, Any]
    tables: RepairTables


def export_repair(
    study: RepairStudy,
    out: Path,
    *,
    top: int = NEURONS,
    plots: bool = True,
    palette: PaletteName = "paper",
    force: bool = False,
    command: str = "",
) -> RepairExport:
    """Measure self-repair and write it into a folder, whole or not at all.

    Args:
        study: The study; what the store has is not computed again.
        out: See `rwcore.studies.folder.check_target`.
        top: Neurons of each head in ``neurons.csv``.
        plots: Also the figures.
        palette: ``paper``, the papers' colours, or ``accessible``.
        force: Write into a folder that holds other files.
        command: The command line, for the manifest.

    Raises:
        StoreError: The folder is refused or the disk is full.
        OptionError: There is no such palette, or the share of the tokens is none.
        RwcoreError: The model cannot be run.
    """
    stopwatch = Stopwatch()
    folder = check_target(out, force=force)
    check_palette(palette)
    require_least("--top", top, 1)
    tables = RepairTables(study, top)
    model = study.weights.local
    with filling(folder) as new:
        for name, columns in COLUMNS.items():
            write_csv(new / name, getattr(tables, Path(name).stem), columns)
        if plots:
            for name, figure in draw(tables, palette):
                save_figure(figure, new / name)
        found = study.results
        manifest = {
            "schema": SCHEMA,
            "complete": True,
            "command": command,
            "model": model.identity(),
            "processing": study.weights.processing,
            "corpus": study.corpus.identity(),
            "heads": len(study.heads),
            "predictions": len(found.token),
            "selected": len(found.selected[0]),
            "outliers": int((~study.ordinary).sum()),
            "repairing_neurons": len(tables.repairing().neurons),
            "measure": {**asdict(study.options), "heads": [f"{one}.{other}" for one, other in study.heads]},
            "options": {
                **asdict(study.forward),
                "clip_qkv": model.spec.clip_qkv,
                "top": top,
                "plots": plots,
                "palette": palette,
            },
            "definitions": {"repair": DEFINITION},
            "files": files_of(new, COLUMNS),
            "provenance": collect(stopwatch),
        }
        write_json(new / MANIFEST, manifest)
    return RepairExport(folder, manifest, tables)


def draw(tables: RepairTables, palette: PaletteName) -> Iterator[tuple[str, Figure]]:
    """The figures of a study, one at a time: file name without suffix, and figure."""
    study, found = tables.study, tables.study.results
    model = study.weights.local.spec.id
    common: dict[str, Any] = {"palette_name": palette}
    for selection, said in ((TOP, "tokens with the largest effects"), (EVERY, "all tokens")):
        rows, title = tables.heads[tables.heads["selection"] == selection], f"{model}, {said}"
        yield f"heads_{selection}", repair_heads_figure(rows, title=title, **common)
        yield f"depth_{selection}", repair_depth_figure(rows, title=title, **common)
    width = study.shape.d_mlp
    shares = top_shares(found.details).numpy()
    yield (
        "neuron_shares",
        neuron_shares_figure(shares, uniform=max(1, width // 100) / width, title=model, **common),
    )
    strongest = int(tables.heads[tables.heads["selection"] == TOP]["direct"].to_numpy(float).argmax())
    details = found.details_of(strongest)
    layer, head = study.heads[strongest]
    clean = details.clean[:, 0].numpy()
    yield (
        f"best_neuron_{layer}.{head}",
        neuron_scatter_figure(
            clean, clean + details.leading[:, 0].numpy(), title=f"{model}, head {layer}.{head}", **common
        ),
    )
