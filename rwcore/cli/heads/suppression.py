"""``rwcore heads suppression``: who writes against what is already predicted, heads or weakening neurons."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated, Any

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
from rwcore.cli.heads.on_text import opened
from rwcore.cli.options import Force, Model, Out, Palette

if TYPE_CHECKING:
    import pandas as pd

    from rwcore.studies.head_suppression_export import SuppressionExport

HELP = """How much heads and neurons of MODEL write against the token that is already predicted on CORPUS.

Where a layer begins, the logit lens says which token would be predicted if nothing more were written. Every
head and every neuron of the layer then adds to the logit of this token; what is negative is suppression. It
is added up over negative heads (chosen on one half of the documents and measured on the other) and over the
read-write classes of neurons, and compared with as many random heads and neurons of the same layers. Do
negative heads and weakening neurons suppress at the same positions, more than random neurons do?

Tokens that stand at the position itself are counted apart: in early layers the lens says little else. With
--in-context, only tokens count that have occurred before.

Writes tables (CSV), figures (PDF, PNG) and a manifest into DIR; see OUTPUTS.md. The lens of all layers takes
several times as long as a forward pass. What was interrupted goes on where it stopped (`rwcore cache`).

Examples:
  rwcore heads suppression smollm2-135m-instruct-q4_1 handmade --tokens 2048 --out out/suppression
  rwcore heads suppression openai-community/gpt2 my-texts.jsonl --in-context --out out/gpt2
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("suppression", help=paragraphs(HELP), no_args_is_help=True)(suppression)


def suppression(
    context: typer.Context,
    model: Model,
    corpus: Corpus,
    out: Out,
    tokens: Tokens = None,
    max_length: MaxLength = None,
    in_context: Annotated[
        bool, typer.Option("--in-context", help="Only predicted tokens that have occurred before.")
    ] = False,
    least_probability: Annotated[
        float,
        typer.Option("--least-probability", metavar="P", help="Only predictions of the lens from P on."),
    ] = 0.0,
    top: Annotated[int, typer.Option("--top", metavar="N", help="Neurons that are listed.")] = 100,
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
    """Measure who suppresses what is predicted, write it and print a summary."""
    with opened(
        model, corpus, out, tokens=tokens, max_length=max_length, resume=resume, workers=workers,
        scheduler=scheduler, device=device, dtype=dtype, clip_qkv=clip_qkv, batch_tokens=batch_tokens,
        force=force,
    ) as run:  # fmt: skip
        from rwcore.studies.head_suppression import SuppressionOptions, SuppressionStudy
        from rwcore.studies.head_suppression_export import export_suppression

        options = SuppressionOptions(in_context, least_probability)
        export = export_suppression(
            SuppressionStudy(run.weights, run.rows(), options, run.forward, parts=run.parts),
            out,
            top=top,
            plots=plots,
            palette=palette,
            force=force,
            command=shlex.join(["rwcore", *context.obj]),
        )
        _summarise(export)


def _summarise(export: SuppressionExport) -> None:
    facts, study = export.manifest, export.study
    corpus = facts["corpus"]
    say(
        f"{facts['model']['model']} on {corpus['id']}: {facts['positions']:,} positions of "
        f"{corpus['documents']} documents"
    )
    groups = study.groups
    show(_groups(groups[groups["tokens"] == study.options.choice], study.options.choice))
    row = study.overlap.iloc[0]
    if row["lift"] == row["lift"]:
        say(
            f"top twentieth of positions: negative heads and weakening neurons share {row['both']:.0f} of "
            f"{row['top']:.0f}, {_span(row, 'lift')} times chance; negative heads and random neurons "
            f"{row['random_lift']:.2f} times"
        )
    say(f"{len(facts['files']) + 1} files in {export.folder}")


def _groups(rows: pd.DataFrame, choice: str) -> Table:
    headers: list[str | Column] = ["group"]
    headers += map(
        right, ("members", "suppression", "share", "times chance", "random groups", "against", "net")
    )
    cells = [
        (
            f"{row['group']} {row['writers']}",
            f"{row['members']:g}",
            f"{row['suppression']:.4f}",
            f"{row['share']:.1%}",
            _span(row, "ratio"),
            f"{row['random_low']:.2f} to {row['random_high']:.2f}",
            f"{row['against']:.1%}",
            f"{row['net']:+.4f}",
        )
        for row in rows.to_dict("records")
        if row["members"]
    ]
    return table(f"suppression of {choice} tokens (logits a position) [95 % interval]", headers, cells)


def _span(row: Any, name: str) -> str:
    return f"{row[name]:.2f} [{row[f'{name}_low']:.2f}, {row[f'{name}_high']:.2f}]"
