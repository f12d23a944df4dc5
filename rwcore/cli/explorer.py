"""``rwcore explorer``: the page that explains the classes, and its figures for print."""

from __future__ import annotations

import shlex
from typing import Annotated, Literal

import typer

from rwcore.cli.console import paragraphs, say
from rwcore.cli.options import Force, Out

HELP = """The read-write classes as a page: move the vectors of a neuron, see its class and what it does.

Writes one HTML file that needs no server and no network, and the definition of the classes as figures for
print. No model is needed. DIR must be new, empty or hold an earlier export.

Examples:
  rwcore explorer --out out/explorer
  rwcore explorer --out out/explorer --palette paper
"""
SCHEMA = "rwcore-explorer/1"
PAGE = "explorer.html"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("explorer", help=paragraphs(HELP), no_args_is_help=True)(explorer)


def explorer(
    context: typer.Context,
    out: Out,
    palette: Annotated[
        Literal["accessible", "paper"],
        typer.Option(help="Colours of the classes: for any colour vision, or those of the papers' figures."),
    ] = "accessible",
    force: Force = False,
) -> None:
    """Write the page, the figures and a manifest."""
    from rwcore.studies.folder import check_target, files_of, filling, save_figure

    folder = check_target(out, force=force)  # before torch is imported: a wrong folder must not take seconds

    import matplotlib

    from rwcore.pages.explorer import explorer_page
    from rwcore.plots.definition import class_map_figure, definition_figure
    from rwcore.plots.style import style
    from rwcore.provenance import Stopwatch, collect
    from rwcore.store import MANIFEST, write_json, write_text

    stopwatch = Stopwatch()
    figures = {
        "definition": definition_figure(),
        "class_map": class_map_figure(palette_name=palette),
    }
    with filling(folder) as new:
        write_text(new / PAGE, explorer_page(palette))
        for name, figure in figures.items():
            save_figure(figure, new / name)
            with style("paper"), matplotlib.rc_context({"svg.hashsalt": name}):  # equal figures, equal files
                figure.savefig(new / f"{name}.svg", metadata={"Date": None})
        manifest = {
            "schema": SCHEMA,
            "complete": True,
            "command": shlex.join(["rwcore", *context.obj]),
            "palette": palette,
            "definitions": {"class_counts": "class_counts/1"},
            "files": files_of(new),
            "provenance": collect(stopwatch),
        }
        write_json(new / MANIFEST, manifest)
    say(f"{folder / PAGE}: open it in a browser")
    say(f"{', '.join(f'{name}.pdf' for name in figures)}: the same for print (also PNG and SVG)")
