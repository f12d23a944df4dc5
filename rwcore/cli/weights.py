"""``rwcore weights``: the weight study of a model as files."""

from __future__ import annotations

import shlex
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from rwcore.cli.console import paragraphs, remark, right, say, show, size, table

if TYPE_CHECKING:
    from rwcore.studies.export import Export

HELP = """Classes, cosines, medians and null regions of every neuron of MODEL, from its weights.

Writes tables (CSV, LaTeX, Markdown), arrays (safetensors), figures (PDF, PNG) and a manifest into DIR; see
OUTPUTS.md. DIR must be new, empty or hold an earlier export. Nothing is computed twice: results are kept in
the cache (`rwcore cache`).

Examples:
  rwcore weights smollm2-135m-instruct-q4_1 --out out/smollm2
  rwcore weights ./my-model --no-null --out out/mine
  rwcore weights allenai/OLMo-1B-hf@step1000-tokens4B --out out/early
"""


WHY = {"zero": "are zero", "nan": "hold a NaN", "inf": "hold an infinity"}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("weights", help=paragraphs(HELP), no_args_is_help=True)(weights)


def weights(
    context: typer.Context,
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Registry id, org/name@revision, folder or .gguf.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for the files.")],
    processing: Annotated[
        Literal["as_published", "raw"] | None,
        typer.Option(
            help="Weights as the papers processed them, or as stored; if not given, the rule of the model"
        ),
    ] = None,
    classes: Annotated[
        Literal["auto", "gated", "plain"],
        typer.Option(
            help="gated: eleven classes; plain: three, from cos(in, out) alone; auto: what the model has."
        ),
    ] = "auto",
    null: Annotated[
        bool, typer.Option("--null/--no-null", help="Also the mismatched-pair regions, which take longest.")
    ] = True,
    force: Annotated[
        bool, typer.Option("--force", help="Write into a folder that holds other files.")
    ] = False,
    scheduler: Annotated[
        str | None,
        typer.Option(
            metavar="WHERE", help="Null regions on Dask: local, local:N, tcp://HOST:PORT or a file."
        ),
    ] = None,
) -> None:
    """Write the weight study of a model and print its summary."""
    from rwcore.models.locate import locate
    from rwcore.models.registry import find
    from rwcore.provenance import Stopwatch

    stopwatch = Stopwatch()
    local = locate(find(model))  # before torch is imported: a wrong name must not take seconds

    from rwcore.parallel import open_engine
    from rwcore.runtime import peak_memory_bytes
    from rwcore.studies.export import check_target, export_weights
    from rwcore.studies.weights import weight_study

    check_target(out, force=force)
    with open_engine(scheduler if null else None) as engine:
        study = weight_study(local, processing=processing, engine=engine)
        export = export_weights(
            study, out, classes=classes, null=null, force=force, command=shlex.join(["rwcore", *context.obj])
        )
    _summarise(export)
    say(f"took {stopwatch.seconds:.1f} s, {size(peak_memory_bytes())} of memory at most")
    if export.manifest["undefined_neurons"]:
        _warn_undefined(export)


def _summarise(export: Export) -> None:
    manifest = export.manifest
    shape = manifest["model"]["shape"]
    count = int(export.totals["count"].sum())
    say(
        f"{manifest['model']['model']}: {shape['n_layers']} layers × {shape['d_mlp']} neurons, "
        f"{'' if shape['gated_mlp'] else 'not '}gated, weights {manifest['processing'].replace('_', ' ')}"
    )
    show(_class_totals(export, count))
    show(_highlights(export))


def _class_totals(export: Export, neurons: int) -> Table:
    rows = [
        (name, f"{count:,}", f"{count / neurons:.2%}")
        for name, count in zip(export.totals["class"], export.totals["count"], strict=True)
    ]
    rows.append(("all", f"{neurons:,}", ""))
    return table(None, ["class", right("neurons"), right("share")], rows)


def _highlights(export: Export) -> Table:
    from rwcore.stats.reductions import class_by_layer, median_by_layer, peak

    grid = Table.grid(padding=(0, 2))
    name = "conditional strengthening" if export.manifest["classes"] == "gated" else "strengthening"
    by_layer = class_by_layer(export.counts, name)
    last = len(by_layer) - 1
    if by_layer.sum():
        top = peak(by_layer)
        grid.add_row(f"{name} peaks in", f"layer {top.layer} of 0–{last} ({top.value:,.0f} neurons)")
    median = median_by_layer(export.medians).iloc[-1]
    grid.add_row("median cos(in, out), last layer", f"{median:+.4f}")
    close = int(export.counts.drop_duplicates("layer")["near_1e-3"].sum())
    grid.add_row("neurons within 0.001 of a class border", f"{close:,}")
    grid.add_row("undefined neurons", f"{export.manifest['undefined_neurons']:,}")
    grid.add_row("files", f"{len(export.manifest['files']) + 1} in {export.folder}")
    return grid


def _warn_undefined(export: Export) -> None:
    neurons = int(export.totals["count"].sum())
    count = export.manifest["undefined_neurons"]
    kinds = Counter(zip(export.undefined["vector"], export.undefined["why"], strict=True))
    parts = ", ".join(f"{number} {vector} vectors {WHY[why]}" for (vector, why), number in kinds.items())
    remark(
        f"WARNING: {count} of {neurons} neurons have no class, because a vector has no direction: {parts}. "
        f"They are listed in {export.folder / 'undefined.csv'}, counted as `undefined`, and left out of the "
        "medians. A damaged checkpoint looks like this; so do pruned neurons.",
        style="bold red",
    )
