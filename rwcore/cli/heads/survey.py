"""``rwcore heads survey``: what every head and MLP does to predictions."""

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

if TYPE_CHECKING:
    from rwcore.studies.head_survey_export import SurveyExport

HELP = """What every head and MLP of MODEL does to predictions on CORPUS, and which heads are negative.

What a head or an MLP adds to the final stream is replaced by its mean; later layers do not react, and the
scale of the final norm stays (direct effect). Tables say by how much that raises the loss, on which share of
tokens it helps, what the head does to the entropy, and how far it writes for or against the next token and
the token that is predicted. Negative heads write against what is predicted.

Of the most negative heads, or those that --paths names, effects are followed by path: direct, total (later
layers react), indirect (they react, but the prediction does not see the ablation itself), indirect while
the heads of --holding add what they add in the clean model, and what all later parts do about it in one hop;
each with the clean and the recomputed scale of the final norm. So is the calibration of predictions without
each of them.

Writes tables (CSV, LaTeX, Markdown), figures (PDF, PNG) and a manifest into DIR; see OUTPUTS.md. What was
interrupted goes on where it stopped (`rwcore cache`).

Examples:
  rwcore heads survey smollm2-135m-instruct-q4_1 handmade --tokens 2048 --out out/heads
  rwcore heads survey openai-community/gpt2 my-texts.jsonl --paths 10.7 --holding 11.10 --out out/gpt2
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("survey", help=paragraphs(HELP), no_args_is_help=True)(survey)


def survey(
    context: typer.Context,
    model: Model,
    corpus: Corpus,
    out: Out,
    tokens: Tokens = None,
    max_length: MaxLength = None,
    means: Annotated[
        Literal["overall", "position", "zero"],
        typer.Option(
            "--means", help="What replaces outputs: one mean, one per position (rows of equal length), zero."
        ),
    ] = "overall",
    paths: Annotated[
        str,
        typer.Option(
            "--paths", metavar="HEADS", help="10.7,11.10; negative:N for the N most negative; none."
        ),
    ] = "negative:5",
    holding: Annotated[
        str | None,
        typer.Option("--holding", metavar="HEADS", help="Heads that do not react: 11.10. Others do."),
    ] = None,
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
    """Survey the heads of a model, write what was found and print a summary."""
    chosen, held = _paths(paths), () if holding is None else parse_heads(holding, "--holding")
    with opened(
        model, corpus, out, tokens=tokens, max_length=max_length, resume=resume, workers=workers,
        scheduler=scheduler, device=device, dtype=dtype, clip_qkv=clip_qkv, batch_tokens=batch_tokens,
        force=force,
    ) as run:  # fmt: skip
        from rwcore.studies.head_survey import HeadSurvey, SurveyOptions
        from rwcore.studies.head_survey_export import export_survey

        options = SurveyOptions(means=means, paths=chosen, held=held)
        export = export_survey(
            HeadSurvey(run.weights, run.rows(), options, run.forward, parts=run.parts),
            out,
            plots=plots,
            palette=palette,
            force=force,
            command=shlex.join(["rwcore", *context.obj]),
        )
        _summarise(export)


def _paths(text: str) -> int | tuple[tuple[int, int], ...]:
    """How many negative heads, or which heads."""
    if text == "none":
        return 0
    count = re.fullmatch(r"negative:(\d{1,6})", text)
    return int(count[1]) if count is not None else parse_heads(text, "--paths", "negative:5", "none")


def _summarise(export: SurveyExport) -> None:
    facts = export.manifest
    corpus = facts["corpus"]
    say(
        f"{facts['model']['model']} on {corpus['id']}: {facts['heads']} heads, {facts['mlps']} MLPs, "
        f"{corpus['tokens']:,} tokens of {corpus['documents']} documents"
    )
    show(_negative(export))
    if len(export.tables["paths.csv"]):
        show(_by_path(export))
    say(f"{len(facts['files']) + 1} files in {export.folder}")


def _negative(export: SurveyExport) -> Table:
    """The most negative heads."""
    headers: list[str | Column] = [
        "head",
        right("on the predicted token [95 %]"),
        right("tokens against it"),
        right("loss increase"),
        right("ablation helps"),
        right("entropy with it"),
    ]
    rows = [
        (
            f"{row['layer']}.{row['head']}",
            _with_interval(*(row[f"dla_predicted{end}"] for end in ("", "_low", "_high"))),
            f"{row['against_prediction']:.2f}",
            f"{row['loss_increase']:+.5f}",
            f"{row['helped_by_ablation']:.2f}",
            f"{row['entropy_change_with_head']:+.4f}",
        )
        for row in export.negative.to_dict("records")
    ]
    return table(
        "heads that write most against what is predicted (logits and nats; direct effects)", headers, rows
    )


def _with_interval(value: float, low: float, high: float) -> str:
    """Of one document there is no interval."""
    return f"{value:+.4f}" + (f" [{low:+.4f}, {high:+.4f}]" if low == low else "")


def _by_path(export: SurveyExport) -> Table:
    """Loss increases of the heads that were followed, a column for each path; frozen scale."""
    frame = export.tables["paths.csv"]
    frozen = frame[frame["reading"] == "frozen"]
    names = list(dict.fromkeys(frozen["path"]))
    headers: list[str | Column] = ["head", *map(right, names)]
    rows = []
    for (layer, head), part in frozen.groupby(["layer", "head"], sort=False):
        values = part.set_index("path")["loss_increase"]
        rows.append((f"{layer}.{head}", *(f"{values[name]:+.5f}" for name in names)))
    return table("loss increase by path (nats; clean scale of the final norm)", headers, rows)
