"""``rwcore heads examples``: what a few heads do in a few rows, token by token, as a page to browse."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Column, Table

from rwcore.cli.console import paragraphs, right, say, show, size, table
from rwcore.cli.forward import (
    BatchTokens,
    ClipQkv,
    Corpus,
    Device,
    Dtype,
    Resume,
    Scheduler,
    Tokens,
    Workers,
)
from rwcore.cli.heads.names import parse_heads
from rwcore.cli.heads.on_text import opened
from rwcore.cli.options import Force, Model, Out
from rwcore.errors import OptionError

if TYPE_CHECKING:
    from rwcore.studies.head_examples_export import ExamplesExport

ROW = 128
"""Tokens of a row where nobody says otherwise."""
SHOWN = 3
"""Tokens of each head in the summary."""
HELP = """What a few heads of MODEL do in a few rows of CORPUS, token by token: a page to browse.

Of every token: the loss with and without each head (direct, with the clean scale of the final norm or its
own; total, later layers react; indirect, they react and the prediction does not see the ablation itself);
the tokens whose logits the head lowers and raises most; predictions with and without it; where it looks, and
how much is written for that; what the logit lens predicts before its layer, also among the words of the text
so far; and how much of the head's effect is copy suppression.

Without --heads the page has the three late heads of whose effects copy suppression explains most (`rwcore
heads cspa`), which takes a while. Without --rows it has the rows in which one of the heads matters most at
one token (direct effect). Rows are cut at 128 tokens, or at --max-length, 1,024 at most.

Writes a page (HTML, one file), its data (JSON), a table (CSV) and a manifest into DIR; see OUTPUTS.md. What
was interrupted goes on where it stopped (`rwcore cache`).

Examples:
  rwcore heads examples smollm2-135m-instruct-q4_1 handmade --tokens 1024 --heads 24.4,23.3 --out out/examples
  rwcore heads examples openai-community/gpt2 my-texts.jsonl --heads 10.7 --rows 0,36 --out out/gpt2
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("examples", help=paragraphs(HELP), no_args_is_help=True)(examples)


def examples(
    context: typer.Context,
    model: Model,
    corpus: Corpus,
    out: Out,
    tokens: Tokens = None,
    max_length: Annotated[
        int, typer.Option("--max-length", metavar="N", help="Tokens of the longest row; 1,024 at most.")
    ] = ROW,
    heads: Annotated[
        str | None,
        typer.Option("--heads", metavar="LIST", help="10.7,11.10; three that suppress copies if not given."),
    ] = None,
    rows: Annotated[
        str | None,
        typer.Option("--rows", metavar="LIST", help="Numbers of rows: 0,36; instead of --examples."),
    ] = None,
    count: Annotated[
        int | None,
        typer.Option("--examples", metavar="N", help="Rows in which heads matter most at one token; 8."),
    ] = None,
    effects: Annotated[
        str,
        typer.Option("--effects", metavar="LIST", help="Of direct, direct_rescaled, indirect, total."),
    ] = "direct,direct_rescaled,indirect,total",
    means: Annotated[
        Literal["overall", "position"],
        typer.Option("--means", help="One mean per head, or one per position (rows of equal length)."),
    ] = "overall",
    resume: Resume = True,
    workers: Workers = None,
    scheduler: Scheduler = None,
    device: Device = "auto",
    dtype: Dtype = "float32",
    clip_qkv: ClipQkv = None,
    batch_tokens: BatchTokens = None,
    force: Force = False,
) -> None:
    """Read what heads do in rows, write it and print a summary."""
    chosen = None if heads is None else parse_heads(heads, "--heads")
    numbers = None if rows is None else _rows(rows)
    if numbers is not None and count is not None:
        raise OptionError(
            "rows are named, or a number of them is chosen",
            where="--rows, --examples",
            remedy="give one of them",
        )
    with opened(
        model, corpus, out, tokens=tokens, max_length=max_length, resume=resume, workers=workers,
        scheduler=scheduler, device=device, dtype=dtype, clip_qkv=clip_qkv, batch_tokens=batch_tokens,
        force=force,
    ) as run:  # fmt: skip
        from rwcore.studies.head_examples import EXAMPLES, ExampleOptions, HeadExamples
        from rwcore.studies.head_examples_export import export_examples

        options = ExampleOptions(
            heads=chosen,
            rows=numbers,
            examples=EXAMPLES if count is None else count,
            effects=tuple(part.strip() for part in effects.split(",")),
            means=means,
        )
        export = export_examples(
            HeadExamples(run.weights, run.rows(), options, run.forward, parts=run.parts),
            out,
            force=force,
            command=shlex.join(["rwcore", *context.obj]),
        )
        _summarise(export)


def _rows(text: str) -> tuple[int, ...]:
    """Numbers of rows, in the order given."""
    parts = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch(r"\d{1,9}", part) for part in parts):
        raise OptionError(
            f"{text!r} is no list of rows", where="--rows", remedy="give numbers with commas between: 0,36"
        )
    return tuple(map(int, parts))


def _summarise(export: ExamplesExport) -> None:
    facts = export.manifest
    corpus, measure = facts["corpus"], facts["measure"]
    say(
        f"{facts['model']['model']} on {corpus['id']}: heads {', '.join(measure['heads'])} in "
        f"{len(measure['rows'])} of {corpus['rows']:,} rows"
    )
    show(_largest(export))
    page = next(one for one in facts["files"] if one["name"] == "examples.html")
    say(f"{len(facts['files']) + 1} files in {export.folder}; examples.html has {size(page['bytes'])}")


def _largest(export: ExamplesExport) -> Table:
    """Of each head the tokens at which its ablation raises the loss most."""
    effect = export.manifest["measure"]["effects"][0]
    column = f"{effect}_loss_increase"
    headers: list[str | Column] = ["head", right("row"), right("position"), "token", "next", right("loss")]
    headers += ["most lowered", "most attended"]
    frame = export.tokens.dropna(subset=[column]).sort_values(column, ascending=False, kind="stable")
    text = export.tokens[["row", "position", "token"]].itertuples(index=False)
    tokens = {(row, position): token for row, position, token in text}
    cells = []
    for (layer, head), part in frame.groupby(["layer", "head"], sort=False):
        for row in part.head(SHOWN).to_dict("records"):
            attended = tokens[row["row"], row["most_attended"]]
            cells.append(
                (
                    f"{layer}.{head}",
                    str(row["row"]),
                    str(row["position"]),
                    row["token"],
                    row["next"],
                    f"{row[column]:+.3f}",
                    row["most_lowered"],
                    f"{attended} ({row['attention']:.2f})",
                )
            )
    return table(f"where ablation raises the loss most (ablated - clean, nats; {effect})", headers, cells)
