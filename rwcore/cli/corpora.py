"""``rwcore corpora``: which texts there are, and bringing them here."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from rwcore.cli.console import paragraphs, remark, right, show, show_json, size, table

if TYPE_CHECKING:
    from rwcore.corpora.spec import CorpusSpec

LIST_HELP = """The texts rwcore knows, how rows of tokens are made of them, and which are on this machine.

Any other text can be used too: a .txt, .jsonl or .parquet file, or a folder of them.

Examples:
  rwcore corpora
  rwcore corpora --json
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("corpora", help=paragraphs(LIST_HELP))(corpora)


def corpora(
    json: Annotated[bool, typer.Option("--json", help="JSON instead of a table.")] = False,
) -> None:
    """List the registered corpora."""
    from rwcore.corpora import registry

    listed = registry.registry().values()
    if json:
        show_json([_entry(spec) for spec in listed])
        return
    rows = [
        (
            spec.id,
            registry.about(spec.id),
            "all" if spec.tokens is None else f"{spec.tokens:,}",
            spec.describe(),
            Text("yes", style="green") if is_here(spec) else "",
        )
        for spec in listed
    ]
    show(table(None, ("corpus", "what it is", right("tokens"), "rows", "here"), rows))
    remark("to get one that is not here: rwcore fetch --corpus CORPUS · others are given as a path")


def _entry(spec: CorpusSpec) -> dict[str, Any]:
    from rwcore.corpora import registry

    said = registry.published(spec.id)
    return {
        **dataclasses.asdict(spec),
        "about": registry.about(spec.id),
        "recipe": spec.describe(),
        "published": None if said is None else dataclasses.asdict(said),
        "here": is_here(spec),
    }


def is_here(spec: CorpusSpec) -> bool:
    """Whether the text of a registered corpus is complete on this machine."""
    from rwcore.corpora.spec import HUB
    from rwcore.errors import CorpusError

    if spec.source != HUB:
        return True
    from rwcore.corpora.hub import snapshot

    try:
        snapshot(spec)
    except CorpusError:
        return False
    return True


def fetch_corpus(spec: CorpusSpec) -> str:
    """Download a corpus if it is one of the hub; a sentence that says what is where."""
    from rwcore.corpora.spec import HUB

    if spec.source != HUB:
        return f"{spec.id}: nothing to fetch, it is on this machine"
    from rwcore.corpora.fetch import fetch
    from rwcore.store import folder_size

    folder = fetch(spec)
    return f"{spec.id}: {size(folder_size(folder))} in {folder} ({folder.name})"
