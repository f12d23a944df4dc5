"""``rwcore weights``: the weight study of a model as files."""

from __future__ import annotations

import shlex
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from rwcore.cli.console import paragraphs, remark, right, say, show, size, table
from rwcore.cli.options import MODEL_HELP, Force, Out, Palette, Processing, parse_layers
from rwcore.errors import OptionError

if TYPE_CHECKING:
    from rwcore.studies.export import Export

HELP = """Classes, cosines, medians and null regions of every neuron of MODEL, from its weights.

Writes tables (CSV, LaTeX, Markdown), arrays (safetensors), figures (PDF, PNG) and a manifest into DIR; see
OUTPUTS.md. DIR must be new, empty or hold an earlier export. Nothing is computed twice: results are kept in
the cache (`rwcore cache`).

With --compare, several models side by side: medians, class shares, how far apart they are, which class the
neurons of one went to in the next, and with --change how far the weights moved from the first to the last.

Examples:
  rwcore weights smollm2-135m-instruct-q4_1 --out out/smollm2
  rwcore weights smollm2-135m-instruct-q4_1 --plots all --out out/figures
  rwcore weights ./my-model --plots fine --layers 0,8-11 --palette accessible --no-null --out out/mine
  rwcore weights allenai/OLMo-1B-hf@step1000-tokens4B --out out/early
  rwcore weights google/gemma-2-2b google/gemma-2-2b-it --compare --out out/tuning
  rwcore weights allenai/OLMo-1B-hf@step1000-tokens4B allenai/OLMo-1B-hf --compare --change --out out/change
"""


WHY = {"zero": "are zero", "nan": "hold a NaN", "inf": "hold an infinity"}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("weights", help=paragraphs(HELP), no_args_is_help=True)(weights)


def weights(
    context: typer.Context,
    models: Annotated[list[str], typer.Argument(metavar="MODEL...", help=MODEL_HELP)],
    out: Out,
    compare: Annotated[
        bool, typer.Option("--compare", help="Compare two or more models, or checkpoints of one.")
    ] = False,
    change: Annotated[
        bool,
        typer.Option(
            "--change", help="With --compare: how far each vector moved from the first to the last model."
        ),
    ] = False,
    flip: Annotated[
        Literal["none", "own"],
        typer.Option(
            help="With --change, own: each checkpoint's gate signs folded by themselves, an artefact of the "
            "published figures."
        ),
    ] = "none",
    processing: Processing = None,
    classes: Annotated[
        Literal["auto", "gated", "plain"],
        typer.Option(
            help="gated: eleven classes; plain: three, from cos(in, out) alone; auto: what the model has."
        ),
    ] = "auto",
    null: Annotated[
        bool,
        typer.Option(
            "--null/--no-null",
            help="Also the mismatched-pair regions, which take longest; never with --compare.",
        ),
    ] = True,
    plots: Annotated[
        str | None,
        typer.Option(metavar="NAMES", help="Figures, separated by commas, or all, default, none."),
    ] = None,
    layers: Annotated[
        str | None,
        typer.Option(metavar="LIST", help="Layers of figures with a panel per layer: 0,14,27 or 0-3."),
    ] = None,
    palette: Palette = "paper",
    force: Force = False,
    scheduler: Annotated[
        str | None,
        typer.Option(
            metavar="WHERE", help="Null regions on Dask: local, local:N, tcp://HOST:PORT or a file."
        ),
    ] = None,
) -> None:
    """Write the weight study of a model, or a comparison of several, and print its summary."""
    from rwcore.models.locate import locate
    from rwcore.models.registry import find
    from rwcore.provenance import Stopwatch

    stopwatch = Stopwatch()
    _check_options(
        models,
        compare=compare,
        change=change,
        # Options that would have no effect, in the words of the command line.
        only_alone={"--plots": plots is not None, "--scheduler": scheduler is not None},
        only_changes={"--flip": flip != "none", "--layers": layers is not None},
    )
    chosen_layers = None if layers is None else parse_layers(layers)
    found = [locate(find(model)) for model in models]  # before torch: a wrong name must not take seconds

    from rwcore.parallel import open_engine
    from rwcore.runtime import peak_memory_bytes
    from rwcore.studies.folder import check_target
    from rwcore.studies.weights import weight_study

    check_target(out, force=force)
    command = shlex.join(["rwcore", *context.obj])
    if compare:
        from rwcore.cli.comparison import summarise
        from rwcore.studies.compare import compare as compare_models

        summarise(
            compare_models(
                [weight_study(local, processing=processing) for local in found],
                out,
                classes=classes,
                change=change,
                flip=flip,
                layers=chosen_layers,
                palette=palette,
                force=force,
                command=command,
            )
        )
        say(f"took {stopwatch.seconds:.1f} s, {size(peak_memory_bytes())} of memory at most")
        return

    from rwcore.studies.export import export_weights

    with open_engine(scheduler if null else None) as engine:
        export = export_weights(
            weight_study(found[0], processing=processing, engine=engine),
            out,
            classes=classes,
            null=null,
            plots=parse_plots(plots),
            layers=chosen_layers,
            palette=palette,
            force=force,
            command=command,
        )
    _summarise(export)
    say(f"took {stopwatch.seconds:.1f} s, {size(peak_memory_bytes())} of memory at most")
    if export.manifest["undefined_neurons"]:
        _warn_undefined(export)


def _check_options(
    models: list[str],
    *,
    compare: bool,
    change: bool,
    only_alone: dict[str, bool],
    only_changes: dict[str, bool],
) -> None:
    """Refuse options that do not go together, before anything is read.

    Args:
        models: What was named.
        compare: Whether ``--compare`` was given.
        change: Whether ``--change`` was given.
        only_alone: Options that are for one model, and whether they were given.
        only_changes: Options that a comparison takes only with ``--change``.
    """
    if not compare:
        if len(models) > 1:
            raise OptionError(
                f"{len(models)} models are named: {', '.join(models)}",
                where="MODEL",
                remedy="add --compare to put them side by side, or call the command once for each",
            )
        if change or only_changes["--flip"]:
            raise OptionError(
                "a change needs two checkpoints",
                where="--change" if change else "--flip",
                remedy="rwcore weights FIRST LAST --compare --change --out DIR",
            )
        return
    if len(models) < 2:
        raise OptionError(
            f"a comparison needs two models or more, {len(models)} given",
            where="--compare",
            remedy="name the other models beside it, or leave --compare out",
        )
    for option, given in only_alone.items():
        if given:
            raise OptionError(
                f"{option} is for one model", where=option, remedy=f"leave out {option} or --compare"
            )
    for option, given in only_changes.items():
        if given and not change:
            raise OptionError(
                f"in a comparison {option} is about the change of the weights",
                where=option,
                remedy=f"add --change, or leave {option} out",
            )


def parse_plots(text: str | None) -> tuple[str, ...]:
    """Names of figures from ``fine,medians``; ``default`` for None, nothing for ``none``."""
    if text is None:
        return ("default",)
    names = tuple(word.strip() for word in text.split(",") if word.strip())
    return () if names == ("none",) else names


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
