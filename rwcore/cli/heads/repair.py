"""``rwcore heads repair``: who makes up for a head that is ablated."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Column, Table

from rwcore.cli.console import paragraphs, right, say, show, table
from rwcore.cli.forward import (
    BatchTokens,
    ClipQkv,
    Corpus,
    Device,
    Dtype,
    MaxLength,
    Resume,
    Scheduler,
    Tokens,
    Workers,
)
from rwcore.cli.heads.names import parse_heads
from rwcore.cli.heads.on_text import opened
from rwcore.cli.options import Force, Model, Out, Palette

if TYPE_CHECKING:
    from rwcore.studies.head_repair_export import RepairExport

HELP = """Self-repair: how much of what a head of MODEL does on CORPUS others do once the head is ablated.

A head adds something to the logit of the correct next token: its direct effect. Each head is ablated at all
positions of a row at once, and everything behind it is computed again. The logit should fall by what is lost
of the direct effect (D); what it falls less is self-repair. Exactly so much of it is due to other heads, to
MLPs and to the scale of the final norm. Of the last MLP (--mlps later: of all later ones) it is said which
neurons repair, and whether they do so because they erase less than with the head (Anti-Erasure).

Numbers are means over the 2 % of the tokens with the largest direct effect of each head (--share), and over
all tokens. Ablation: `resample` takes the head's values from another row, `mean` its mean over the batch,
`zero` nothing.

Writes tables (CSV), figures (PDF, PNG) and a manifest into DIR; see OUTPUTS.md. A head takes about as long as
half a pass, less the later it is. What was interrupted goes on where it stopped (`rwcore cache`).

Examples:
  rwcore heads repair smollm2-135m-instruct-q4_1 handmade --tokens 2048 --heads 24.0,28.3 --out out/repair
  rwcore heads repair openai-community/gpt2 my-texts.jsonl --max-length 128 --heads all --out out/gpt2
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("repair", help=paragraphs(HELP), no_args_is_help=True)(repair)


def repair(
    context: typer.Context,
    model: Model,
    corpus: Corpus,
    out: Out,
    tokens: Tokens = None,
    max_length: MaxLength = None,
    heads: Annotated[
        str,
        typer.Option(
            "--heads",
            metavar="LIST",
            help="late (from two thirds of the layers to the last but one), all, or layer.head: 10.7,11.10.",
        ),
    ] = "late",
    ablation: Annotated[
        Literal["resample", "mean", "zero"], typer.Option("--ablation", help="What an ablated head does.")
    ] = "resample",
    share: Annotated[
        float, typer.Option("--share", metavar="S", help="Tokens with the largest direct effects.")
    ] = 0.02,
    mlps: Annotated[
        Literal["last", "later"], typer.Option("--mlps", help="MLPs whose neurons are looked at.")
    ] = "last",
    top: Annotated[int, typer.Option("--top", metavar="N", help="Neurons of each head in neurons.csv.")] = 30,
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", help="Of the rows that take each other's values.")
    ] = 0,
    resume: Resume = True,
    workers: Workers = None,
    scheduler: Scheduler = None,
    device: Device = "auto",
    dtype: Dtype = "float32",
    clip_qkv: ClipQkv = None,
    batch_tokens: BatchTokens = None,
    plots: Annotated[bool, typer.Option("--plots/--no-plots", help="Figures.")] = True,
    palette: Palette = "paper",
    force: Force = False,
) -> None:
    """Measure self-repair, write it and print a summary."""
    chosen = heads if heads in ("late", "all") else parse_heads(heads, "--heads", "late", "all")
    with opened(
        model, corpus, out, tokens=tokens, max_length=max_length, resume=resume, workers=workers,
        scheduler=scheduler, device=device, dtype=dtype, clip_qkv=clip_qkv, batch_tokens=batch_tokens,
        force=force,
    ) as run:  # fmt: skip
        from rwcore.studies.head_repair import RepairOptions, RepairStudy
        from rwcore.studies.head_repair_export import export_repair

        options = RepairOptions(heads=chosen, ablation=ablation, seed=seed, share=share, mlps=mlps)
        export = export_repair(
            RepairStudy(run.weights, run.rows(), options, run.forward, parts=run.parts),
            out,
            top=top,
            plots=plots,
            palette=palette,
            force=force,
            command=shlex.join(["rwcore", *context.obj]),
        )
        _summarise(export)


def _summarise(export: RepairExport) -> None:
    facts = export.manifest
    say(
        f"{facts['model']['model']} on {facts['corpus']['id']}: {facts['heads']} heads, "
        f"{facts['predictions']:,} predictions, {facts['selected']:,} of them for each head"
    )
    show(_groups(export))
    say(f"{len(facts['files']) + 1} files in {export.folder}")


def _groups(export: RepairExport) -> Table:
    """How much is repaired in each group of heads."""
    frame = export.tables.groups
    rows = [
        (
            row["selection"],
            f"{row['group']} ({row['first_layer']}–{row['last_layer']})",
            f"{row['heads']}" + (f" (− {row['dropped']})" if row["dropped"] else ""),
            *(f"{row[name]:.3f}" for name in ("ratio", "ratio_norm", "ratio_mlp", "ratio_heads")),
            f"{row['share_repaired']:.2f}",
        )
        for row in frame[frame["selection"] != "top_ordinary"].to_dict("records")
    ]
    headers: list[str | Column] = [
        "tokens",
        "heads of layers",
        right("number"),
        right("repaired"),
        right("by the norm"),
        right("by MLPs"),
        right("by heads"),
        right("heads repaired"),
    ]
    return table("self-repair as a share of what should be lost (ΣSR / ΣD)", headers, rows)
