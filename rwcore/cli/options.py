"""Arguments and options that several commands share; their defaults stand with the commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

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
