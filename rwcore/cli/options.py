"""Arguments and options that several commands share; their defaults stand with the commands."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from rwcore.errors import OptionError

MODEL_HELP = "Registry id, org/name@revision, folder or .gguf."

Model = Annotated[str, typer.Argument(metavar="MODEL", help=MODEL_HELP)]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for the files.")]
Force = Annotated[bool, typer.Option("--force", help="Write into a folder that holds other files.")]
Processing = Annotated[
    Literal["as_published", "raw"] | None,
    typer.Option(
        help="Weights as the papers processed them, or as stored; if not given, the rule of the model"
    ),
]
Palette = Annotated[
    Literal["paper", "accessible"],
    typer.Option(
        "--palette", help="Colours: the papers' own, or some that stay apart with any colour vision."
    ),
]


def refuse_idle(
    options: Mapping[str, object], what: str, instead: str, *, beside: Sequence[str] = ()
) -> None:
    """Refuse options that would have no effect.

    Args:
        options: Their values by name; None or False if one is not given.
        what: Why they have no effect.
        instead: What to do for them to have one.
        beside: Options that they do not go with.

    Raises:
        OptionError: One is given.
    """
    idle = [name for name, value in options.items() if value is not None and value is not False]
    if idle:
        raise OptionError(
            what, where=", ".join([*beside, *idle]), remedy=f"leave {' and '.join(idle)} out, or {instead}"
        )


def parse_layers(text: str) -> list[int]:
    """Numbers from ``0,14,27`` or ``0-3,8``.

    Raises:
        OptionError: It is no such list.
    """
    layers: list[int] = []
    for word in text.split(","):
        match = re.fullmatch(r"\s*(\d+)\s*(?:[-–]\s*(\d+)\s*)?", word)
        if match is None or (match[2] and int(match[2]) < int(match[1])):
            raise OptionError(
                f"{text!r} is no list of layers",
                where="--layers",
                remedy="write numbers from 0 and ranges, separated by commas: 0,14,27 or 0-3,8",
            )
        layers += range(int(match[1]), int(match[2] or match[1]) + 1)
    return layers
