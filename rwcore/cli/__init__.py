"""The ``rwcore`` command: the studies for a person, and housekeeping around the claims.

Exit codes: 0 done; 1 something that was asked about is not in order (``doctor``, ``promote``); 2 wrong use,
or an error that rwcore explains; 130 interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from rwcore import __version__
from rwcore.cli import (
    ablate,
    activations,
    attributes,
    cache,
    claims,
    corpora,
    corpus,
    explorer,
    frequencies,
    generate,
    heads,
    models,
    neurons,
    pages,
    probe,
    probe_trends,
    promote,
    report,
    roles,
    serve,
    stimuli,
    trace,
    weights,
)
from rwcore.cli.console import paragraphs, remark, show_error
from rwcore.errors import RwcoreError

USAGE_ERROR = 2
INTERRUPTED = 130

HELP = """What single neurons and heads of language models read and write, and what they do to predictions.

MODEL is a name from `rwcore models`, a hub name (org/name, org/name@revision), a folder in Hugging Face
format, or a .gguf file.

Examples:
  rwcore fetch smollm2-135m-instruct-q4_1
  rwcore weights smollm2-135m-instruct-q4_1 --plots all --out out/smollm2
  rwcore neurons smollm2-135m-instruct-q4_1 28.28 --out out/cards
  rwcore activations smollm2-135m-instruct-q4_1 handmade --tokens 4096 --out out/activations
  rwcore ablate smollm2-135m-instruct-q4_1 handmade --neurons weakening --tokens 4096 --out out/ablations
  rwcore generate smollm2-135m-instruct-q4_1 --prompt "Once upon a time" --neurons weakening --out out/texts
  rwcore attributes smollm2-135m-instruct-q4_1 --knowns handmade --passages handmade --out out/attributes
  rwcore probe smollm2-135m-instruct-q4_1 --features languages,code --tokens 20000 --out out/probes
  rwcore heads survey smollm2-135m-instruct-q4_1 handmade --tokens 2048 --out out/heads
  rwcore claims --coverage

Exit codes: 0 done; 1 something asked about is not in order (doctor, promote); 2 wrong use, or an error that
is explained; 130 interrupted.
"""

app = typer.Typer(
    name="rwcore",
    help=paragraphs(HELP),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
PASSES = (activations, frequencies, ablate, generate, trace, attributes, probe, stimuli)
STUDIES = (weights, *PASSES, probe_trends, heads, roles, neurons, pages, serve, explorer)
for group in (*STUDIES, models, corpora, corpus, claims, report, promote, cache):
    group.register(app)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"rwcore {__version__}")
        raise typer.Exit


@app.callback()
def _globals(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Options of every command; `main` reads ``--debug`` wherever it stands."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and exit.

    Args:
        arguments: The command line without the program's name; that of the process if None.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    try:
        app(words, prog_name="rwcore", obj=words)  # the manifest of an export names its command
    except RwcoreError as error:
        if debug:
            raise
        show_error(error)
        sys.exit(USAGE_ERROR)
    except SystemExit as stop:
        # typer turns Ctrl-C into this exit code.
        if stop.code == INTERRUPTED:
            remark("interrupted: nothing half-written is left; the same command starts again where it can")
        raise
