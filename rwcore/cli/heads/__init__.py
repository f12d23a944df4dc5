"""``rwcore heads``: what heads do to predictions, what they attend to and write, and who repairs them."""

from __future__ import annotations

import typer

from rwcore.cli.console import paragraphs
from rwcore.cli.heads import behaviour, circuits, cspa, examples, repair, suppression, survey

HELP = """Attention heads of MODEL: what they add to predictions, which tokens they attend to and suppress.

Examples:
  rwcore heads survey smollm2-135m-instruct-q4_1 handmade --tokens 2048 --out out/heads
  rwcore heads circuits smollm2-135m-instruct-q4_1 --rows 500 --out out/circuits
  rwcore heads cspa smollm2-135m-instruct-q4_1 handmade --tokens 1024 --out out/cspa
  rwcore heads examples smollm2-135m-instruct-q4_1 handmade --tokens 1024 --out out/examples
  rwcore heads repair smollm2-135m-instruct-q4_1 handmade --tokens 2048 --heads 24.0,28.3 --out out/repair
  rwcore heads behaviour smollm2-135m-instruct-q4_1 --out out/behaviour
  rwcore heads suppression smollm2-135m-instruct-q4_1 handmade --tokens 2048 --out out/suppression
"""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help=paragraphs(HELP), no_args_is_help=True)
    for command in (survey, behaviour, circuits, cspa, examples, repair, suppression):
        command.register(group)
    app.add_typer(group, name="heads")
