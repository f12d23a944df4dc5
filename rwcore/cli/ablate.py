"""``rwcore ablate``: what changes when neurons are switched off, as files."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Column, Table

from rwcore.cli.ablation_options import (
    SETS_HELP,
    Baselines,
    Gate,
    Mode,
    Neurons,
    Parameter,
    Positions,
    Post,
    asked_interventions,
    chosen_sets,
)
from rwcore.cli.console import paragraphs, remark, right, say, show, size, table
from rwcore.cli.forward import (
    BatchTokens,
    CheckpointEvery,
    ClipQkv,
    Corpus,
    Device,
    Dtype,
    MaxLength,
    Resume,
    Scheduler,
    Tokens,
    Workers,
    check_engine,
    chosen_corpus,
    clipped,
    engine_name,
    threads_of,
)
from rwcore.cli.options import Force, Model, Out, Palette, Processing, refuse_idle
from rwcore.errors import OptionError

if TYPE_CHECKING:
    from rwcore.studies.ablation_export import AblationExport

HELP = f"""What happens to the predictions of MODEL on CORPUS when neurons are ablated.

Every run sets the activations of chosen neurons to zero, to their mean or to something else, everywhere
or only where gate and post have given signs, and compares loss, entropy, rank of the right token and
scale of the final norm with the clean run, prediction by prediction. Differences are clean − ablated:
negative means that the intact neurons lower the metric. Runs without conditions come with as many random
neurons of the same layers. Intervals are over documents. Writes tables (CSV, LaTeX, Markdown), figures
(PDF, PNG), a page with all runs and the predictions that change most (index.html), the neurons of every
set and a manifest into DIR; see OUTPUTS.md.

{SETS_HELP}

Runs are kept (`rwcore cache`): a grid that was interrupted goes on where it stopped, and a run is never
made twice. Mean ablation takes its values from `rwcore activations` on the same corpus, which is run
first if need be.

Examples:
  rwcore ablate smollm2-135m-instruct-q4_1 handmade --neurons weakening --tokens 4096 --out out/weakening
  rwcore ablate ./my-model notes.jsonl --neurons 28.4737,31.9634 --mode zero,mean --out out/two
  rwcore ablate ./my-model notes.jsonl --neurons weakening --gate +,- --post +,- --out out/quadrants
  rwcore ablate allenai/OLMo-7B-0424-hf dolma-small --grid published --device cuda --out out/olmo
"""

GRIDS = ("published",)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("ablate", help=paragraphs(HELP), no_args_is_help=True)(ablate)


def ablate(
    context: typer.Context,
    model: Model,
    corpus: Corpus,
    out: Out,
    neurons: Neurons = None,
    mode: Mode = "zero",
    gate: Gate = "",
    post: Post = "",
    parameter: Parameter = None,
    positions: Positions = "",
    grid: Annotated[
        str | None,
        typer.Option("--grid", metavar="NAME", help="published: the paper's own runs, instead of --neurons."),
    ] = None,
    baselines: Baselines = True,
    as_published: Annotated[
        bool,
        typer.Option("--as-published", help="With the original's quirks: half precision, zeros dropped …"),
    ] = False,
    tokens: Tokens = None,
    max_length: MaxLength = None,
    resume: Resume = True,
    workers: Workers = None,
    scheduler: Scheduler = None,
    device: Device = "auto",
    dtype: Dtype = "float32",
    clip_qkv: ClipQkv = None,
    batch_tokens: BatchTokens = None,
    checkpoint_every: CheckpointEvery = 25,
    plots: Annotated[bool, typer.Option("--plots/--no-plots", help="Figures.")] = True,
    examples: Annotated[
        int, typer.Option("--examples", metavar="N", help="Most changed predictions per run, up and down.")
    ] = 5,
    palette: Palette = "paper",
    processing: Processing = None,
    force: Force = False,
) -> None:
    """Run a grid of ablations, write what it found and print its summary."""
    from rwcore.models.locate import locate
    from rwcore.models.registry import find
    from rwcore.provenance import Stopwatch

    stopwatch = Stopwatch()
    check_engine(workers, scheduler)
    _check(neurons, grid)
    if grid is not None:
        refuse_idle(
            {
                "--mode": mode != "zero",
                "--gate": bool(gate),
                "--post": bool(post),
                "--parameter": parameter is not None,
                "--positions": bool(positions),
                "--no-baselines": not baselines,
            },
            "a named grid has its own modes, conditions and baselines",
            "give --neurons instead of --grid",
            beside=["--grid"],
        )
    spec = chosen_corpus(corpus, tokens, max_length)
    # Before torch is imported: a wrong name must not take seconds.
    local = clipped(locate(find(model)), clip_qkv)

    from rwcore.ablation.compare import AS_PUBLISHED, FIXED
    from rwcore.ablation.grid import experiments, published_grid
    from rwcore.corpora.encoder import read_encoder
    from rwcore.corpora.prepare import prepare
    from rwcore.parallel import open_engine
    from rwcore.runtime import peak_memory_bytes
    from rwcore.stats.classes import class_codes, classes_of
    from rwcore.studies.ablation_export import export_ablations
    from rwcore.studies.ablations import AblationStudy
    from rwcore.studies.activations import PassOptions, activation_study
    from rwcore.studies.folder import check_target
    from rwcore.studies.forward import ForwardOptions
    from rwcore.studies.weights import weight_study

    check_target(out, force=force)
    given = {
        "token_budget": batch_tokens,
        "dtype": dtype,
        "device": device,
        "threads": threads_of(workers),
        "checkpoint_every": checkpoint_every,
        "restart": not resume,
    }
    with open_engine(engine_name(workers, scheduler)) as engine:
        weights = weight_study(local, processing=processing, engine=engine)
        todo = asked_interventions(mode, gate, post, parameter, positions, as_published=as_published)
        if grid is not None:
            planned = published_grid(class_codes(weights.cosines), classes_of(weights.cosines))
        else:
            planned = experiments(chosen_sets(neurons or (), weights), todo, baselines=baselines)
        rows = prepare(spec, read_encoder(local))
        study = AblationStudy(
            weights,
            rows,
            activation_study(weights, rows, PassOptions(**given)),  # type: ignore[arg-type]
            ForwardOptions(**given),  # type: ignore[arg-type]
            AS_PUBLISHED if as_published else FIXED,
        )
        export = export_ablations(
            study,
            planned,
            out,
            plots=plots,
            examples=examples,
            palette=palette,
            force=force,
            command=shlex.join(["rwcore", *context.obj]),
        )
    _summarise(export)
    say(f"took {stopwatch.seconds:.1f} s, {size(peak_memory_bytes())} of memory at most")


def _check(neurons: list[str] | None, grid: str | None) -> None:
    """Refuse a command that says nothing to run, or two things.

    Raises:
        OptionError: It does.
    """
    if grid is not None and grid not in GRIDS:
        raise OptionError(f"there is no grid {grid!r}", where="--grid", remedy=f"use {', '.join(GRIDS)}")
    if neurons and grid:
        raise OptionError(
            "the grid has its own neurons", where="--grid, --neurons", remedy="give one of them"
        )
    if not neurons and not grid:
        raise OptionError(
            "no neurons are named",
            where="--neurons",
            remedy="give --neurons weakening, a list such as 28.4737,31.9634, or --grid published",
        )


def _summarise(export: AblationExport) -> None:
    facts = export.manifest
    say(
        f"{facts['model']['model']} on {facts['corpus']['id']}: {facts['tokens']:,} tokens, "
        f"{len(facts['runs'])} runs beside the clean one"
    )
    if len(export.comparison.table):
        show(_means(export))
    for failure in export.comparison.failures:
        remark(f"not run: {failure.name}: {failure.error}" + (f" ({failure.where})" if failure.where else ""))
    say(f"{len(facts['files']) + 1} files in {export.folder}")


def _means(export: AblationExport) -> Table:
    """Mean differences with intervals, a row for each run."""
    frame = export.comparison.table
    headers: list[str | Column] = [
        "neurons",
        "set to",
        right("Δ loss"),
        right("Δ entropy"),
        right("rank changed"),
    ]
    rows = []
    labels = ["set", "baseline", "mode", "gate", "post"]
    for (name, baseline, mode, gate, post), part in frame.groupby(labels, sort=False):
        by_metric = {row["metric"]: row for row in part.to_dict("records")}
        condition = "".join(f" {what}{sign}" for what, sign in (("gate", gate), ("post", post)) if sign)
        rows.append(
            (
                f"{name}{', random baseline' if baseline else ''}",
                f"{mode}{condition}",
                _mean(by_metric["loss"]),
                _mean(by_metric["entropy"]),
                f"{by_metric['rank']['changed']:.1%}",
            )
        )
    return table("clean − ablated, mean over predictions [95 % interval over documents]", headers, rows)


def _mean(row: Mapping[Any, Any]) -> str:
    return f"{row['mean']:+.4f} [{row['low']:+.4f}, {row['high']:+.4f}]"
