"""Options of the commands that ablate: which neurons and how, what means and prompts are; what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from rwcore.cli.forward import chosen_corpus
from rwcore.cli.options import refuse_idle
from rwcore.errors import OptionError

if TYPE_CHECKING:
    from rwcore.ablation.grid import ChosenSet
    from rwcore.ablation.interventions import Intervention
    from rwcore.corpora.spec import CorpusSpec
    from rwcore.studies.weights import WeightStudy

SETS_HELP = """SET is a class (weakening), a class and a size (weakening:47, weakening:0.5, or conditional
weakening:weakening for as many as that class has), a list (28.4737,31.9634 or 28.4737-4740), or @FILE
with such a list."""

Neurons = Annotated[
    list[str] | None, typer.Option("--neurons", metavar="SET", help="Neurons; as often as needed.")
]
Mode = Annotated[
    str,
    typer.Option(
        "--mode", metavar="MODES", help="zero, mean, fixed, threshold, relu, multiply; with commas."
    ),
]
Gate = Annotated[
    str, typer.Option("--gate", metavar="SIGNS", help="Only where gate has this sign: + or -, or +,-.")
]
Post = Annotated[
    str, typer.Option("--post", metavar="SIGNS", help="Only where post has this sign, likewise.")
]
Parameter = Annotated[
    float | None,
    typer.Option("--parameter", metavar="X", help="Number that fixed, threshold and multiply need."),
]
Positions = Annotated[
    str, typer.Option("--positions", metavar="LIST", help="Only at these positions of a row: 0,5,6.")
]
Baselines = Annotated[
    bool, typer.Option("--baselines/--no-baselines", help="Also random neurons of the same layers.")
]
Bos = Annotated[
    Literal["model", "eot", "none"],
    typer.Option("--bos", help="First token: the model's BOS, its end-of-text token, or none."),
]
Means = Annotated[
    str | None,
    typer.Option("--means", metavar="CORPUS", help="Text whose mean activations mean ablation sets."),
]
MeansTokens = Annotated[
    int | None,
    typer.Option("--means-tokens", metavar="N", help="Stop at the row of that corpus with the N-th token."),
]


def asked_interventions(
    mode: str,
    gate: str,
    post: str,
    parameter: float | None,
    positions: str,
    *,
    as_published: bool = False,
) -> list[Intervention]:
    """All combinations of the modes and signs of a command line.

    Raises:
        OptionError: See `rwcore.ablation.interventions.Intervention`, or a position is no number.
    """
    from rwcore.ablation.grid import interventions

    return interventions(
        words(mode),
        words(gate),
        words(post),
        parameter=parameter,
        positions=tuple(_number(word) for word in words(positions)) or None,
        as_published=as_published,
    )


def chosen_sets(texts: Sequence[str], weights: WeightStudy) -> list[ChosenSet]:
    """The sets of a command line, each of which must be there and have neurons.

    Raises:
        OptionError: A text names nothing, a set has no neurons, or a class has too few.
    """
    from rwcore.ablation.grid import choose_set
    from rwcore.stats.classes import class_codes, classes_of

    codes, classes = class_codes(weights.cosines), classes_of(weights.cosines)
    return [_there(text, choose_set(text, codes, classes)) for text in texts]


def no_means() -> OptionError:
    """The error of a mean ablation on a prompt without a text to measure means on."""
    return OptionError(
        "mean ablation needs the means of the neurons, and a prompt has none",
        where="--mode mean",
        remedy="say on which text they are measured: --means handmade, or a file",
    )


def means_corpus(
    mode: str, means: str | None, means_tokens: int | None, max_length: int | None
) -> CorpusSpec | None:
    """The corpus that mean ablation of prompts takes its values from; None if no mode is mean.

    Raises:
        OptionError: Means are needed and there are none, or the other way round.
        CorpusError: There is no such corpus.
    """
    if "mean" not in words(mode):
        given = {"--means": means, "--means-tokens": means_tokens, "--max-length": max_length}
        refuse_idle(given, "without mean ablation no means are measured", "add --mode mean")
        return None
    if means is None:
        raise no_means()
    return chosen_corpus(means, means_tokens, max_length)


def words(text: str) -> list[str]:
    """The parts of a list with commas."""
    return [word.strip() for word in text.split(",") if word.strip()]


def _number(word: str) -> int:
    try:
        return int(word)
    except ValueError as error:
        raise OptionError(
            f"{word!r} is no position", where="--positions", remedy="give whole numbers from 0: 0,5,6"
        ) from error


def _there(text: str, chosen: ChosenSet | None) -> ChosenSet:
    if chosen is None:
        raise OptionError(
            "the class has fewer neurons than asked for",
            where=f"--neurons {text}",
            remedy="ask for fewer, or for the whole class (`rwcore weights` counts them)",
        )
    if not len(chosen.neurons):
        raise OptionError(
            "the model has no such neurons",
            where=f"--neurons {text}",
            remedy="name a class that it has (`rwcore weights` counts them)",
        )
    return chosen
