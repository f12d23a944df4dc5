"""``rwcore roles``: the functional roles of a model's neurons as files."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Column, Table

from rwcore.cli.console import paragraphs, right, say, show, size, table
from rwcore.cli.options import Force, Model, Out, Processing

if TYPE_CHECKING:
    from rwcore.studies.role_export import RolesExport

HELP = """Functional roles of the neurons of MODEL: what their output vectors do to the next token.

Partition, prediction and suppression neurons from the cosines of each output vector with all tokens of the
unembedding; entropy neurons of the last layer; neurons that make a head of the next layer look at the first
token, or away from it. How roles go with read-write classes is counted and tested. Writes tables (CSV, LaTeX,
Markdown), arrays (safetensors) and a manifest into DIR; see OUTPUTS.md. DIR must be new, empty or hold an
earlier export. Nothing is computed twice: results are kept in the cache (`rwcore cache`).

Examples:
  rwcore roles smollm2-135m-instruct-q4_1 --out out/roles
  rwcore roles ./my-model --partition 100 --no-attention --out out/mine
  rwcore roles allenai/OLMo-7B-0424-hf --out out/olmo --scheduler local:4
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("roles", help=paragraphs(HELP), no_args_is_help=True)(roles)


def roles(
    context: typer.Context,
    model: Model,
    out: Out,
    partition: Annotated[
        int, typer.Option("--partition", metavar="N", help="Number of partition neurons in the model.")
    ] = 1000,
    null_directions: Annotated[
        int,
        typer.Option("--null-directions", metavar="N", help="Directions the unembedding reads least."),
    ] = 40,
    entropy_neurons: Annotated[
        int, typer.Option("--entropy-neurons", metavar="N", help="Number of entropy neurons.")
    ] = 2,
    attention: Annotated[
        bool,
        typer.Option(
            "--attention/--no-attention",
            help="Also the attention neurons, which need a forward pass of one token.",
        ),
    ] = True,
    bos: Annotated[
        int | None,
        typer.Option("--bos", metavar="ID", help="Id of the first token; if not given, the model's own."),
    ] = None,
    processing: Processing = None,
    force: Force = False,
    scheduler: Annotated[
        str | None,
        typer.Option(metavar="WHERE", help="Layers on Dask: local, local:N, tcp://HOST:PORT or a file."),
    ] = None,
) -> None:
    """Write the role study of a model and print its summary."""
    from rwcore.models.locate import locate
    from rwcore.models.registry import find
    from rwcore.provenance import Stopwatch

    stopwatch = Stopwatch()
    local = locate(find(model))  # before torch is imported: a wrong name must not take seconds

    from rwcore.parallel import open_engine
    from rwcore.runtime import peak_memory_bytes
    from rwcore.studies.folder import check_target
    from rwcore.studies.role_export import export_roles
    from rwcore.studies.roles import role_study
    from rwcore.studies.weights import weight_study

    check_target(out, force=force)
    with open_engine(scheduler) as engine:
        study = role_study(
            weight_study(local, processing=processing, engine=engine),
            partition=partition,
            n_null=null_directions,
            n_entropy=entropy_neurons,
            bos=bos,
        )
        export = export_roles(
            study, out, attention=attention, force=force, command=shlex.join(["rwcore", *context.obj])
        )
    _summarise(export)
    say(f"took {stopwatch.seconds:.1f} s, {size(peak_memory_bytes())} of memory at most")


def _summarise(export: RolesExport) -> None:
    manifest, summary = export.manifest, export.summary
    shape = manifest["model"]["shape"]
    say(
        f"{manifest['model']['model']}: {shape['n_layers']} layers × {shape['d_mlp']} neurons, "
        f"{shape['vocab']:,} tokens, weights {manifest['processing'].replace('_', ' ')}"
    )
    show(_roles(export), _highlights(export, summary))


def _roles(export: RolesExport) -> Table:
    """Neurons per role, and the classes that are most over- and under-represented among them."""
    rows = []
    for role, part in export.contingency.groupby("role", sort=False):
        excess = part.assign(excess=part["count"] - part["expected"]).sort_values("excess", kind="stable")
        count = int(part["count"].sum())
        most, least = excess.iloc[-1], excess.iloc[0]
        cells = [_against_chance(row) if count else "" for row in (most, least)]
        rows.append((str(role), f"{count:,}", *cells))
    headers: list[str | Column] = [
        "role",
        right("neurons"),
        "most above chance (count, expected)",
        "most below chance (count, expected)",
    ]
    return table(None, headers, rows)


def _against_chance(row: Any) -> str:
    return f"{row['class']} ({row['count']:,}, {row['expected']:,.1f})"


def _highlights(export: RolesExport, summary: dict[str, Any]) -> Table:
    grid = Table.grid(padding=(0, 2))
    for role in ("prediction", "suppression"):
        found = summary[f"clearest_{role}"]
        if found is not None:
            name = f"{found['layer']}.{found['neuron']}"
            text = f"{name} ({found['class']}, kurtosis {found['kurtosis']:.1f})"
            grid.add_row(f"clearest {role} neuron", text)
    grid.add_row("kurtosis of prediction and suppression above", f"{summary['kurtosis_threshold']:.2f}")
    tested = summary["association"]
    if tested["dof"]:
        within = summary["association_within_layers"]
        grid.add_row(
            "role and class hang together",
            f"Cramér's V {tested['cramers_v']:.3f}, p = {tested['p_permutation']:.4f}; "
            f"within layers p = {within['p_permutation']:.4f}",
        )
    if summary["flagged_attention_neurons"] is not None:
        grid.add_row("attention neurons, other roles included", f"{summary['flagged_attention_neurons']:,}")
    grid.add_row("files", f"{len(export.manifest['files']) + 1} in {export.folder}")
    return grid
