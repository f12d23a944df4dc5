"""Options and first steps of the commands that run a model over a text."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from rwcore.errors import OptionError

if TYPE_CHECKING:
    from rwcore.corpora.spec import CorpusSpec
    from rwcore.models.spec import LocalModel

Corpus = Annotated[
    str, typer.Argument(metavar="CORPUS", help="Name of a corpus, or a file or folder of text.")
]
Tokens = Annotated[
    int | None,
    typer.Option("--tokens", metavar="N", help="Stop at the row with the N-th token; all if not given."),
]
MaxLength = Annotated[
    int | None,
    typer.Option("--max-length", metavar="N", help="Tokens of the longest row; the corpus' own."),
]
Resume = Annotated[
    bool,
    typer.Option("--resume/--restart", help="Go on with what an interrupted run has left, or discard it."),
]
Workers = Annotated[
    int | None,
    typer.Option("--workers", metavar="N", help="Processes on this machine (Dask), sharing its cores."),
]
Scheduler = Annotated[
    str | None,
    typer.Option("--scheduler", metavar="WHERE", help="Dask elsewhere: tcp://HOST:PORT or a scheduler file."),
]
Device = Annotated[str, typer.Option("--device", metavar="NAME", help="auto, cpu, cuda or cuda:I.")]
Dtype = Annotated[
    Literal["float32", "bfloat16", "float16"],
    typer.Option("--dtype", help="Type the model runs in; sums are float64 in any case."),
]
ClipQkv = Annotated[
    bool | None,
    typer.Option(
        "--clip-qkv/--no-clip-qkv",
        help="Clamp queries, keys and values if the config says so, or never; default: see models.toml.",
    ),
]
BatchTokens = Annotated[
    int | None,
    typer.Option("--batch-tokens", metavar="N", help="Positions of a batch; what suits the device."),
]
CheckpointEvery = Annotated[
    int, typer.Option("--checkpoint-every", metavar="N", help="Batches between two checkpoints.")
]


def clipped(local: LocalModel, clip_qkv: bool | None) -> LocalModel:
    """The model with what the command line says about clamping; None leaves it as it is."""
    if clip_qkv is None:
        return local
    return dataclasses.replace(local, spec=dataclasses.replace(local.spec, clip_qkv=clip_qkv))


def chosen_corpus(text: str, tokens: int | None, max_length: int | None) -> CorpusSpec:
    """The corpus a text names, with what the command line changes.

    Raises:
        CorpusError: There is no such corpus.
        OptionError: A number is too small.
    """
    from rwcore.corpora.registry import find

    given = {"tokens": tokens, "max_length": max_length}
    changed: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    return dataclasses.replace(find(text), **changed)


def check_engine(workers: int | None, scheduler: str | None) -> None:
    """Refuse an impossible number of workers, and workers beside a scheduler.

    Raises:
        OptionError: They are.
    """
    if workers is not None and workers < 1:
        raise OptionError(f"{workers} workers", where="--workers", remedy="give 1 or more")
    if workers and scheduler:
        raise OptionError(
            "a scheduler has workers of its own", where="--workers, --scheduler", remedy="give one of them"
        )


def engine_name(workers: int | None, scheduler: str | None) -> str | None:
    """What `rwcore.parallel.open_engine` takes."""
    return f"local:{workers}" if workers else scheduler


def threads_of(workers: int | None) -> int | None:
    """Threads of each worker on this machine; None for what a process has."""
    return max(1, (os.cpu_count() or 1) // workers) if workers else None
