"""``rwcore heads cspa``: how much of what heads do is copy suppression."""

from __future__ import annotations

import re
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
from rwcore.errors import OptionError

if TYPE_CHECKING:
    from rwcore.studies.head_cspa_export import CspaExport

HELP = """How much of what the heads of MODEL do on CORPUS is copy suppression.

A head that suppresses copies looks at earlier tokens that are predicted now, and writes against them. Here
heads keep nothing else: of the keys they attend to, the few whose tokens the logit lens predicts most
(--keep), function words left out; of what they write, the part along the unembedding of these tokens, and
of that only what is negative. The rest is replaced by their mean output. What is explained is 1 - D / D_MA:
D is the KL divergence from the clean predictions that is left, D_MA that of mean ablation; with intervals
over documents. These are direct effects, with the clean scale of the final norm.

Variants: `negative` as above; `both` also keeps what is written for a token; `qk` keeps all of what is
written for these keys; `ov` keeps what is written along the token of every key. Only `negative` tells
heads that suppress copies from others.

Writes tables (CSV), figures (PDF, PNG) and a manifest into DIR; see OUTPUTS.md. The best heads are looked at
token by token (--closer). What was interrupted goes on where it stopped (`rwcore cache`).

Examples:
  rwcore heads cspa smollm2-135m-instruct-q4_1 handmade --tokens 1024 --out out/cspa
  rwcore heads cspa openai-community/gpt2 my-texts.jsonl --heads 10.7,11.10 --out out/gpt2
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("cspa", help=paragraphs(HELP), no_args_is_help=True)(cspa)


def cspa(
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
            help="late (second half of the layers), all, or layer.head: 10.7,11.10.",
        ),
    ] = "late",
    variants: Annotated[
        str, typer.Option("--variants", metavar="LIST", help="Of negative, both, qk, ov.")
    ] = "negative,both,qk,ov",
    keep: Annotated[
        str,
        typer.Option("--keep", metavar="K", help="Keys of a query: a share (0.05) or a number (5)."),
    ] = "0.05",
    self_attention: Annotated[
        bool, typer.Option("--self/--no-self", help="Whether a query's own position may be kept.")
    ] = True,
    means: Annotated[
        Literal["overall", "position"],
        typer.Option("--means", help="One mean per head, or one per position (rows of equal length)."),
    ] = "overall",
    related: Annotated[
        int,
        typer.Option("--related", metavar="N", help="Tokens of a key: its own and forms of its word."),
    ] = 1,
    closer: Annotated[
        int, typer.Option("--closer", metavar="N", help="Best heads that are looked at token by token.")
    ] = 3,
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
    """Measure how much of heads is copy suppression, write it and print a summary."""
    chosen = heads if heads in ("late", "all") else parse_heads(heads, "--heads", "late", "all")
    kept = _kept(keep)
    with opened(
        model, corpus, out, tokens=tokens, max_length=max_length, resume=resume, workers=workers,
        scheduler=scheduler, device=device, dtype=dtype, clip_qkv=clip_qkv, batch_tokens=batch_tokens,
        force=force,
    ) as run:  # fmt: skip
        from rwcore.heads.cspa_filter import QueryFilter
        from rwcore.studies.head_cspa import CspaOptions, CspaStudy
        from rwcore.studies.head_cspa_export import export_cspa

        options = CspaOptions(
            heads=chosen,
            variants=tuple(part.strip() for part in variants.split(",")),
            choice=QueryFilter(kept, self_attention),
            means=means,
            related=related,
        )
        export = export_cspa(
            CspaStudy(run.weights, run.rows(), options, run.forward, parts=run.parts),
            out,
            closer=closer,
            plots=plots,
            palette=palette,
            force=force,
            command=shlex.join(["rwcore", *context.obj]),
        )
        _summarise(export)


def _kept(text: str) -> float | int:
    """A number of keys, or a share."""
    try:
        return int(text) if re.fullmatch(r"\d{1,9}", text) else float(text)
    except ValueError as error:
        raise OptionError(
            f"{text!r} is no number",
            where="--keep",
            remedy="give a share (0.05) or a number of keys (5)",
        ) from error


def _summarise(export: CspaExport) -> None:
    facts = export.manifest
    corpus = facts["corpus"]
    say(
        f"{facts['model']['model']} on {corpus['id']}: {facts['heads']} heads, "
        f"{corpus['tokens']:,} tokens of {corpus['documents']} documents"
    )
    if export.best:
        show(_best(export))
    say(f"{len(facts['files']) + 1} files in {export.folder}")


def _best(export: CspaExport) -> Table:
    """The best heads, a column for each variant."""
    frame = export.heads
    variants = list(dict.fromkeys(frame["variant"]))
    headers: list[str | Column] = ["head", right("D, mean ablation"), *map(right, variants)]
    rows = []
    for layer, head in export.best:
        part = frame[(frame["layer"] == layer) & (frame["head"] == head)].set_index("variant")
        effect = f"{part['kl_mean_ablation'].iloc[0]:.5f}"
        rows.append((f"{layer}.{head}", effect, *(_share(part.loc[variant]) for variant in variants)))
    return table("effect explained by copy suppression [95 % interval over documents]", headers, rows)


def _share(row: object) -> str:
    values = [getattr(row, f"explained{end}") for end in ("", "_low", "_high")]
    if values[0] != values[0]:
        return "no effect"
    return f"{values[0]:.3f} [{values[1]:.3f}, {values[2]:.3f}]"
