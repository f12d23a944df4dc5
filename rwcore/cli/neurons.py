"""``rwcore neurons``: single neurons as cards."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from rwcore.cli.console import paragraphs, right, say, show, size, table
from rwcore.cli.options import Force, Model, Out, Processing
from rwcore.errors import OptionError

if TYPE_CHECKING:
    import pandas as pd

    from rwcore.pages.cards import NeuronCard
    from rwcore.studies.neuron_cards import Neuron
    from rwcore.studies.weights import WeightStudy

HELP = """Cards of single neurons of MODEL: class, cosines, and the tokens they read and write.

Choose them by name (LAYER.NEURON, both from 0), with --class (a random sample of a class, always the same),
or with --case-studies (the clearest prediction and suppression neurons, and the clearest prediction neuron of
every class). Writes a web page and Markdown per neuron, an index, and tables into DIR; see OUTPUTS.md. DIR
must be new, empty or hold an earlier export.

Examples:
  rwcore neurons smollm2-135m-instruct-q4_1 28.100 28.777 --out out/two
  rwcore neurons smollm2-135m-instruct-q4_1 --class "conditional strengthening" --count 8 --out out/cs
  rwcore neurons smollm2-135m-instruct-q4_1 --case-studies -k 20 --matrix both --out out/clearest
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("neurons", help=paragraphs(HELP), no_args_is_help=True)(neurons)


def neurons(
    context: typer.Context,
    model: Model,
    out: Out,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[LAYER.NEURON]...", help="Neurons, both numbers from 0.")
    ] = None,
    of_class: Annotated[
        str | None, typer.Option("--class", metavar="NAME", help="Random neurons of this class.")
    ] = None,
    count: Annotated[int, typer.Option("--count", metavar="N", help="How many, with --class.")] = 5,
    case_studies: Annotated[
        bool, typer.Option("--case-studies", help="The clearest neurons of the model; computes the roles.")
    ] = False,
    k: Annotated[int, typer.Option("-k", metavar="K", help="Tokens per list.")] = 10,
    matrix: Annotated[
        Literal["unembedding", "embedding", "both"],
        typer.Option(help="Tokens through the unembedding, the embedding (gate and in only), or both."),
    ] = "unembedding",
    by: Annotated[
        Literal["signed", "absolute"],
        typer.Option(help="Rank tokens by the dot product, or by its magnitude."),
    ] = "signed",
    roles: Annotated[
        bool, typer.Option("--roles", help="Show functional roles; computes them, which takes longest.")
    ] = False,
    partition: Annotated[
        int | None,
        typer.Option("--partition", metavar="N", help="Partition neurons of the roles; 1000 as published."),
    ] = None,
    null: Annotated[
        bool, typer.Option("--null/--no-null", help="Also the mismatched-pair regions of the layers shown.")
    ] = True,
    processing: Processing = None,
    force: Force = False,
) -> None:
    """Write the cards of some neurons and print what is on them in short."""
    if bool(names) + (of_class is not None) + case_studies != 1:
        raise OptionError(
            "it is not clear which neurons are meant",
            where="LAYER.NEURON, --class, --case-studies",
            remedy="give one of the three: names such as 3.17, the name of a class, or --case-studies",
        )
    if partition is not None and not (roles or case_studies):
        raise OptionError(
            "--partition decides roles, which are not asked for",
            where="--partition",
            remedy="add --roles or --case-studies",
        )
    from rwcore.models.locate import locate
    from rwcore.models.registry import find
    from rwcore.provenance import Stopwatch

    stopwatch = Stopwatch()
    local = locate(find(model))  # before torch is imported: a wrong name must not take seconds

    from rwcore.runtime import peak_memory_bytes
    from rwcore.studies.folder import check_target
    from rwcore.studies.neuron_cards import neuron_cards, neurons_of_class, parse_neuron
    from rwcore.studies.neuron_export import export_cards
    from rwcore.studies.weights import weight_study

    check_target(out, force=force)
    study = weight_study(local, processing=processing)
    frame = None
    chosen: list[Neuron]
    if names:
        chosen = [parse_neuron(name, study.mlp_weights().shape) for name in names]
        how = "Named one by one."
    elif of_class is not None:
        chosen = neurons_of_class(study, of_class, count)
        how = f"A random sample of {len(chosen)} of the neurons of the class “{of_class}”."
    else:
        frame = _roles(study, partition)
        chosen = _clearest(study, frame)
        how = (
            "The clearest prediction and suppression neuron, and of every other class the clearest "
            "prediction neuron: those whose effect on the tokens has the largest kurtosis."
        )
    if roles and frame is None:
        frame = _roles(study, partition)
    cards = neuron_cards(study, chosen, k=k, matrix=matrix, by=by, null=null, roles=frame)
    export = export_cards(
        study,
        cards,
        out,
        chosen_by=how,
        force=force,
        command=shlex.join(["rwcore", *context.obj]),
        options={"k": k, "matrix": matrix, "by": by},
    )
    _summarise(cards)
    say(f"{len(export.manifest['files']) + 1} files in {export.folder}; open index.html")
    say(f"took {stopwatch.seconds:.1f} s, {size(peak_memory_bytes())} of memory at most")


def _roles(study: WeightStudy, partition: int | None) -> pd.DataFrame:
    from rwcore.stats.roles.choose import N_PARTITION
    from rwcore.studies.roles import role_study

    return role_study(study, partition=N_PARTITION if partition is None else partition).roles()


def _clearest(study: WeightStudy, roles: pd.DataFrame) -> list[Neuron]:
    from rwcore.studies.neuron_cards import case_studies

    found = case_studies(study, roles)
    return list(zip(found["layer"].tolist(), found["neuron"].tolist(), strict=True))


def _summarise(cards: list[NeuronCard]) -> None:
    first = cards[0]
    headers = ["neuron", "class", *(["role"] if first.role is not None else [])]
    cosines = [right(one.label) for one in first.cosines]
    rows = []
    for card in cards:
        role = [] if card.role is None else [card.role]
        values = [f"{one.value:+.3f}" for one in card.cosines]
        tokens = [" ".join(token.text for token in card.top("out", sign)) for sign in (1, -1)]
        rows.append([card.name, card.class_name, *role, *values, *tokens])
    show(table(None, [*headers, *cosines, "+out", "-out"], rows))
