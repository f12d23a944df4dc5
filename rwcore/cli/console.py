"""What the commands print: tables and sentences on stdout, remarks and errors on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table
from rich.text import Text

from rwcore.errors import RwcoreError

WIDE = 200  # columns where no terminal limits the width, so that piped tables are not cut


def console(*, stderr: bool = False) -> Console:
    """A console on the present stdout or stderr; text is printed as it is, square brackets included."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, markup=False, highlight=False, width=None if stream.isatty() else WIDE)


def say(text: str, *, style: str | None = None) -> None:
    """Print a line on stdout."""
    console().print(text, style=style, soft_wrap=True)


def remark(text: str, *, style: str | None = None) -> None:
    """Print a line on stderr, where it does not disturb piped output."""
    console(stderr=True).print(text, style=style, soft_wrap=True)


def show_error(error: RwcoreError) -> None:
    """Print what was wrong, where, and what to do, on stderr."""
    stream = console(stderr=True)
    stream.print(Text.assemble(("error: ", "bold red"), error.what), soft_wrap=True)
    for name, text in (("where", error.where), ("to do", error.remedy)):
        if text:
            stream.print(Text.assemble((f"  {name}: ", "bold"), text), soft_wrap=True)


def right(name: str) -> Column:
    """A column of numbers."""
    return Column(name, justify="right", overflow="fold")


def table(title: str | None, columns: Sequence[str | Column], rows: Iterable[Sequence[object]]) -> Table:
    """A table; long cells are folded, never cut."""
    headers = [Column(column, overflow="fold") if isinstance(column, str) else column for column in columns]
    made = Table(*headers, title=title, title_justify="left")
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else "" if cell is None else str(cell) for cell in row))
    return made


def show(*things: Any) -> None:
    """Print tables or texts on stdout."""
    stream = console()
    for thing in things:
        stream.print(thing)


def show_json(value: Any) -> None:
    """Print JSON on stdout, for other programs."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def paragraphs(text: str) -> str:
    """Help text with the lines of each paragraph joined, so that the terminal's width breaks them.

    Lines that begin with spaces (examples) stay as they are, and square brackets what they are.
    """
    made = []
    for paragraph in text.strip().split("\n\n"):
        lines = ""
        for line in paragraph.splitlines():
            keep = line.startswith(" ") or lines.endswith(":")
            lines += ("\n" if keep else " ") * bool(lines) + line
        made.append(lines)
    return escape("\n\n".join(made))


def size(n_bytes: float | None) -> str:
    """A number of bytes for people: ``512 B``, ``1.5 GiB``; an en dash for None."""
    if n_bytes is None:
        return "–"
    for unit in ("B", "KiB", "MiB"):
        if n_bytes < 1024:
            return f"{n_bytes:.0f} {unit}" if unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1024
    return f"{n_bytes:.1f} GiB"
