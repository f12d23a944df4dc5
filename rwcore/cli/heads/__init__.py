"""``rwcore heads``: what heads do to predictions, what they attend to and write, and who repairs them."""

from __future__ import annotations

import typer

from rwcore.cli.console import paragraphs

HELP = """Attention heads of MODEL: what they add to predictions, which tokens they attend to and suppress.

Examples:
  rwcore heads survey smollm2-135m-instruct-q4_1 handmade --tokens 2048 --out out/heads
"""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help=paragraphs(HELP), no_args_is_help=True)
    for command in ():
        command.register(group)
    app.add_typer(group, name="heads")
