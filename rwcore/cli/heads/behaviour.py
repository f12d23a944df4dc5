"""``rwcore heads behaviour``: which heads suppress copies, on random tokens, prompts and a text."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Column, Table

from rwcore.cli.console import paragraphs, remark, right, say, show, table
from rwcore.cli.forward import (
    BatchTokens,
    ClipQkv,
    Device,
    Dtype,
    MaxLength,
    Resume,
    Scheduler,
    Workers,
)
from rwcore.cli.heads.on_text import NO_TEXT, opened
from rwcore.cli.options import Force, Model, Out, Palette

if TYPE_CHECKING:
    from rwcore.studies.head_behaviour_export import BehaviourExport

HELP = """Which heads of MODEL suppress copies, by what they do.

Two scores of every head, both positive if it writes against the token it looks at. Anti-induction: on random
tokens that come twice (--sequences, --length), what it writes against the token that came next the first
time. Copy suppression: on prompts with two names, of which one is said twice and the other is right
(--prompts; our own templates and names, or --ioi FILE), what it writes against the right one.

On the prompts also: how often the model is right; which heads make it so (name movers); whom heads look at
and why (queries from prompts with the names in the other order, or with nothing but the directions of the
names left in them); and what heads and MLPs behind the first name movers do without them. On a text
(--corpus, --tokens): whether heads look at what the logit lens predicts, and how much they rest on the first
position.

Writes tables (CSV), a figure (PDF, PNG) and a manifest into DIR; see OUTPUTS.md. Nothing is computed twice:
results are kept in the cache (`rwcore cache`).

Examples:
  rwcore heads behaviour smollm2-135m-instruct-q4_1 --out out/behaviour
  rwcore heads behaviour openai-community/gpt2 --sequences 200 --prompts 200 --out out/gpt2
"""
SHOWN = 5


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("behaviour", help=paragraphs(HELP), no_args_is_help=True)(behaviour)


def behaviour(
    context: typer.Context,
    model: Model,
    out: Out,
    sequences: Annotated[int, typer.Option("--sequences", metavar="N", help="Rows of random tokens.")] = 100,
    length: Annotated[
        int, typer.Option("--length", metavar="N", help="Random tokens of a row, before they are repeated.")
    ] = 30,
    prompts: Annotated[
        int, typer.Option("--prompts", metavar="N", help="Prompts with two names; an even number.")
    ] = 100,
    ioi: Annotated[
        Path | None, typer.Option("--ioi", metavar="FILE", help="Own templates and words (TOML).")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Of random tokens and prompts.")] = 0,
    corpus: Annotated[
        str,
        typer.Option("--corpus", metavar="CORPUS", help="The text, as for other commands; none for none."),
    ] = "handmade",
    tokens: Annotated[
        int, typer.Option("--tokens", metavar="N", help="Stop at the row with the N-th token of the text.")
    ] = 4096,
    max_length: MaxLength = None,
    resume: Resume = True,
    workers: Workers = None,
    scheduler: Scheduler = None,
    device: Device = "auto",
    dtype: Dtype = "float32",
    clip_qkv: ClipQkv = None,
    batch_tokens: BatchTokens = None,
    plots: Annotated[bool, typer.Option("--plots/--no-plots", help="The figure.")] = True,
    palette: Palette = "paper",
    force: Force = False,
) -> None:
    """Measure what heads do, write it and print a summary."""
    with opened(
        model, corpus, out, tokens=tokens, max_length=max_length, resume=resume, workers=workers,
        scheduler=scheduler, device=device, dtype=dtype, clip_qkv=clip_qkv, batch_tokens=batch_tokens,
        force=force,
    ) as run:  # fmt: skip
        from rwcore.heads.ioi import OWN_TEXTS, read_texts
        from rwcore.studies.head_behaviour import BehaviourStudy
        from rwcore.studies.head_behaviour_export import export_behaviour
        from rwcore.studies.head_behaviour_runs import BehaviourOptions

        options = BehaviourOptions(sequences=sequences, length=length, prompts=prompts, seed=seed)
        texts = read_texts(OWN_TEXTS if ioi is None else ioi)
        rows = None if corpus == NO_TEXT else run.rows()
        export = export_behaviour(
            BehaviourStudy(run.weights, rows, options, texts, run.forward, parts=run.parts),
            out,
            plots=plots,
            palette=palette,
            force=force,
            command=shlex.join(["rwcore", *context.obj]),
        )
        _summarise(export)


def _summarise(export: BehaviourExport) -> None:
    facts = export.manifest
    say(f"{facts['model']['model']}: {facts['summary']['scores']['heads']} heads")
    for kind, words in facts["words"].items():
        if words["left_out"]:
            remark(f"left out, not one token: {len(words['left_out'])} {kind} ({words['used']} used)")
    show(_best(export), _facts(facts["summary"]))
    say(f"{len(facts['files']) + 1} files in {export.folder}")


def _best(export: BehaviourExport) -> Table:
    """The heads with the largest copy-suppression score."""
    both = export.tables["scores.csv"].merge(export.tables["ioi.csv"], on=["layer", "head"])
    headers: list[str | Column] = [
        "head",
        right("copy suppression"),
        right("anti-induction"),
        right("to logit(IO) - logit(S)"),
        right("attention to IO, S1"),
    ]
    rows = [
        (
            f"{row.layer}.{row.head}",
            f"{row.copy_suppression:.3f} ± {row.copy_suppression_se:.3f}",
            f"{row.anti_induction:.3f} ± {row.anti_induction_se:.3f}",
            f"{row.contribution:+.3f}",
            f"{row.attention_io:.2f}, {row.attention_s1:.2f}",
        )
        for row in both.nlargest(SHOWN, "copy_suppression").itertuples()
    ]
    return table("heads that write most against the right name (score ± standard error)", headers, rows)


def _facts(summary: dict[str, Any]) -> Table:
    scores, ioi, repair = (summary[name] for name in ("scores", "ioi", "repair"))
    grid = Table.grid(padding=(0, 2))
    r = scores["pearson_both_positive"]
    grid.add_row(
        "heads with both scores positive",
        f"{scores['heads_both_positive']}" + ("" if r is None else f", Pearson's r {r:.3f}"),
    )
    tops = scores["top"]
    grid.add_row(
        "top head by copy suppression, anti-induction",
        f"{tops['copy_suppression']['head']}, {tops['anti_induction']['head']}"
        + (" (the same)" if scores["same_top_head"] else ""),
    )
    grid.add_row("negative heads (among the best by both)", ", ".join(scores["negative_heads"]) or "none")
    grid.add_row("the right name before the other", _mean(ioi["accuracy"]))
    grid.add_row("logit difference", _mean(ioi["difference"]))
    grid.add_row("name movers", ", ".join(ioi["movers"]) or "none")
    if repair["increase"] is not None:
        grid.add_row(
            f"without {', '.join(ioi['ablated'])} the others write",
            f"{repair['increase']:+.3f} more, negative heads {repair['negative_increase']:+.3f}",
        )
    return grid


def _mean(found: dict[str, float]) -> str:
    return f"{found['mean']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"
