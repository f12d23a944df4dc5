"""``rwcore heads circuits``: which heads write against, and attend to, the token that they read."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Column, Table

from rwcore.cli.console import paragraphs, right, say, show, size, table
from rwcore.cli.forward import (
    Device,
    Dtype,
    Scheduler,
    Workers,
    check_engine,
    engine_name,
    threads_of,
)
from rwcore.cli.heads.names import parse_heads
from rwcore.cli.options import Force, Model, Out, Palette, Processing, refuse_idle
from rwcore.errors import OptionError

if TYPE_CHECKING:
    from rwcore.studies.head_circuits_export import CircuitsExport

HELP = """Which heads of MODEL write against the token they read (OV), and attend to what is predicted (QK).

OV: what reading a token does to all logits. A head suppresses copies if a token's own logit is among those
that fall most: its rank from the bottom is 0 if no other falls more. QK: of all tokens, which does a
position attend to that predicts one? The rank of that token itself is counted from the top. No text is
needed.

What is read is an effective embedding (--embedding): EE-A, a token and what the first MLP makes of it, as
the paper defines it; EE-B and EE-C also with what the first attention does to a token alone, without and
with its biases; EE-A-MLP, EE-B-MLP, EE-C-MLP what the MLP adds, EE-B-added, EE-C-added what the whole first
layer adds; raw the embedding. Queries and keys are made of W_U and that embedding, unless --qk says
otherwise (QUERY:KEY, each W_U or an embedding; none). Where positions rotate queries and keys, the query
stands --distance positions behind.

--rows N looks at N tokens, drawn by --seed, instead of all: the error of shares is reported. --tokens also
lists what heads (those of --heads, or the best three) do with some tokens: quote them, with the space
before them.

Writes tables (CSV, LaTeX, Markdown), ranks (safetensors), figures (PDF, PNG), a page of charts
(circuits.html: the heads of --heads, or the best three of each circuit, for the --tokens and common content
words) and a manifest into DIR; see OUTPUTS.md. Layers that were done before an interruption are not done
again (`rwcore cache`).

Examples:
  rwcore heads circuits smollm2-135m-instruct-q4_1 --rows 500 --out out/circuits
  rwcore heads circuits gpt2 --heads 10.7,11.10 --embedding EE-B --tokens '" pier"," love"' --out out/l10h7
  rwcore heads circuits ./my-model --rows 2000 --qk none --workers 2 --out out/mine
"""


def register(group: typer.Typer) -> None:
    """Add the command to the group."""
    group.command("circuits", help=paragraphs(HELP), no_args_is_help=True)(circuits)


def circuits(
    context: typer.Context,
    model: Model,
    out: Out,
    heads: Annotated[
        str, typer.Option("--heads", metavar="LIST", help="all, or LAYER.HEAD with commas: 10.7,11.10.")
    ] = "all",
    embedding: Annotated[
        str, typer.Option("--embedding", metavar="NAME", help="What heads read: raw, EE-A, EE-B, EE-C, …")
    ] = "EE-A",
    qk: Annotated[
        str | None,
        typer.Option("--qk", metavar="QUERY:KEY", help="Tables of QK, or none; W_U and the embedding."),
    ] = None,
    keys: Annotated[
        Literal["normalised", "raw"] | None,
        typer.Option("--keys", help="Keys of rows as a norm scales them (default), or as they are."),
    ] = None,
    qk_biases: Annotated[
        bool, typer.Option("--qk-biases", help="With the biases of queries and keys.")
    ] = False,
    distance: Annotated[
        int | None,
        typer.Option("--distance", metavar="N", help="Positions from key to query, if they rotate; 1."),
    ] = None,
    rows: Annotated[
        str, typer.Option("--rows", metavar="N", help="Tokens that are looked at, or all.")
    ] = "all",
    seed: Annotated[int | None, typer.Option("--seed", metavar="N", help="Of the draw of rows; 0.")] = None,
    tokens: Annotated[
        str | None,
        typer.Option("--tokens", metavar="LIST", help='Quoted tokens for lists: \'" the"," pier"\'.'),
    ] = None,
    count: Annotated[int, typer.Option("--list", metavar="N", help="Length of a list of tokens.")] = 15,
    workers: Workers = None,
    scheduler: Scheduler = None,
    device: Device = "auto",
    dtype: Dtype = "float32",
    page: Annotated[bool, typer.Option("--page/--no-page", help="Charts of lists: circuits.html.")] = True,
    plots: Annotated[bool, typer.Option("--plots/--no-plots", help="Figures.")] = True,
    palette: Palette = "paper",
    processing: Processing = None,
    force: Force = False,
) -> None:
    """Write the circuits of a model's heads and print the best ones."""
    from rwcore.models.locate import locate
    from rwcore.models.registry import find
    from rwcore.provenance import Stopwatch

    stopwatch = Stopwatch()
    check_engine(workers, scheduler)
    number = _rows(rows)
    if number is None:
        refuse_idle({"--seed": seed}, "all tokens are looked at", "give a number of --rows")
    if qk == "none":
        idle = {"--keys": keys, "--qk-biases": qk_biases, "--distance": distance}
        refuse_idle(idle, "there is no QK", "leave --qk none out")
    named = None if heads == "all" else parse_heads(heads, "--heads", "all")
    wanted = parse_tokens(tokens)
    query, key = _tables(qk, embedding)
    local = locate(find(model))  # before torch is imported

    from rwcore.heads.query_key import QKOptions
    from rwcore.parallel import open_engine
    from rwcore.runtime import peak_memory_bytes
    from rwcore.studies.folder import check_target
    from rwcore.studies.forward import ForwardOptions
    from rwcore.studies.head_circuits import OV, QK, CircuitOptions, CircuitStudy
    from rwcore.studies.head_circuits_export import export_circuits
    from rwcore.studies.weights import weight_study

    check_target(out, force=force)
    options = CircuitOptions(
        embedding=embedding,
        query=query,
        key=key,
        qk=QKOptions(keys != "raw", qk_biases, 1 if distance is None else distance),
        circuits=(OV,) if qk == "none" else (OV, QK),
        rows=number,
        seed=seed or 0,
        heads=named,
    )
    forward = ForwardOptions(dtype=dtype, device=device, threads=threads_of(workers))
    with open_engine(engine_name(workers, scheduler)) as engine:
        study = CircuitStudy(weight_study(local, processing=processing, engine=engine), options, forward)
        export = export_circuits(
            study,
            out,
            texts=wanted,
            count=count,
            page=page,
            plots=plots,
            palette=palette,
            force=force,
            command=shlex.join(["rwcore", *context.obj]),
        )
    _summarise(export)
    say(f"took {stopwatch.seconds:.1f} s, {size(peak_memory_bytes())} of memory at most")


def parse_tokens(text: str | None) -> list[str]:
    """Texts in quotes with commas between them; the space inside the quotes counts.

    Raises:
        OptionError: It is no such list.
    """
    if text is None:
        return []
    quoted = r"""\s*(?:"([^"]+)"|'([^']+)')\s*"""
    if not re.fullmatch(f"{quoted}(?:,{quoted})*", text):
        raise OptionError(
            f"{text} is no list of quoted tokens",
            where="--tokens",
            remedy='quote each of them, and the whole list for the shell: --tokens \'" the"," pier"\'',
        )
    return [double or single for double, single in re.findall(quoted, text)]


def _rows(text: str) -> int | None:
    if text.strip() == "all":
        return None
    if not re.fullmatch("[0-9]{1,9}", text.strip()):
        raise OptionError(f"{text!r} is no number of rows", where="--rows", remedy="give a number, or all")
    return int(text)


def _tables(qk: str | None, embedding: str) -> tuple[str, str]:
    """Tables of queries and keys."""
    if qk is None or qk == "none":
        return "W_U", embedding
    query, colon, key = qk.partition(":")
    if not colon:
        raise OptionError(
            f"{qk!r} does not name two tables", where="--qk", remedy="write QUERY:KEY, as W_U:EE-B, or none"
        )
    return query, key


def _summarise(export: CircuitsExport) -> None:
    manifest, heads = export.manifest, export.heads
    looked = int(heads["rows"].iloc[0])
    say(
        f"{manifest['model']['model']}: {len(heads.groupby(['layer', 'head']))} heads, {looked:,} of "
        f"{manifest['vocabulary']:,} tokens, embedding {manifest['options']['embedding']}"
    )
    show(*(_best(export, circuit) for circuit in manifest["options"]["circuits"]))
    say(f"{len(manifest['files']) + 1} files in {export.folder}")


def _best(export: CircuitsExport, circuit: str) -> Table:
    """The five heads whose own tokens are most often among the first ten."""
    from rwcore.heads.circuit_statistics import best_heads
    from rwcore.studies.head_circuits_export import LABELS

    part = export.heads[export.heads["circuit"] == circuit]
    best = part.set_index(["layer", "head"], drop=False).loc[best_heads(part, 5)]
    rows = [
        (
            f"{row['layer']}.{row['head']}",
            f"{row['rank_0']:.3f}",
            f"{row['below_10']:.3f}" + (f" ± {row['below_10_error']:.3f}" if row["below_10_error"] else ""),
            f"{row['within_5_percent']:.3f}",
            f"{row['median_rank']:,.0f}",
        )
        for row in best.to_dict("records")
    ]
    headers: list[str | Column] = [
        "head",
        right("the first"),
        right("of the first 10"),
        right("of the first 5 %"),
        right("median rank"),
    ]
    return table(f"{circuit}: {LABELS[circuit]}; shares of tokens", headers, rows)
