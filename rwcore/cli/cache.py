"""``rwcore cache``: what rwcore keeps on disk."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from rwcore.cli.console import paragraphs, remark, right, say, show, size, table
from rwcore.errors import RwcoreError

if TYPE_CHECKING:
    from rwcore.store import Store

HELP = """Show or clear what rwcore keeps: results (artefacts) and converted models.

Everything in it can be computed or fetched again. Hub models are in the hub's own cache and are not touched.

Examples:
  rwcore cache
  rwcore cache clear
  rwcore cache clear --yes
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("cache", help=paragraphs(HELP))(cache)


def cache(
    action: Annotated[Literal["show", "clear"], typer.Argument(help="What to do.")] = "show",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Clear without asking.")] = False,
) -> None:
    """Show or clear the cache."""
    from rwcore.paths import cache_dir
    from rwcore.store import Store, folder_size

    store, converted = Store(), cache_dir() / "models"
    show(
        table(
            str(cache_dir()),
            ("what", "model", right("size"), "made"),
            [*_artefacts(store), *((("converted model", *row)) for row in _models(converted))],
        )
    )
    total = folder_size(cache_dir())
    say(f"{size(total)} in all")
    if action == "show" or total == 0:
        return
    if not yes and not typer.confirm("Delete all of it?"):
        remark("nothing was deleted")
        return
    freed = store.clear() + folder_size(converted)
    shutil.rmtree(converted, ignore_errors=True)
    say(f"{size(freed)} freed")


def _artefacts(store: Store) -> list[tuple[str, str, str, str]]:
    from rwcore.store import MANIFEST, folder_size, read_json

    rows = []
    for entry in store.entries():
        try:
            manifest = read_json(entry / MANIFEST)
            model = str((manifest.get("model") or {}).get("model", ""))
            rows.append(
                (str(manifest["kind"]), model, size(folder_size(entry)), str(manifest.get("date", ""))[:10])
            )
        except (RwcoreError, KeyError, AttributeError):
            rows.append((entry.parent.name, "damaged", size(folder_size(entry)), ""))
    return rows


def _models(converted: Path) -> list[tuple[str, str, str]]:
    from rwcore.store import folder_size

    if not converted.is_dir():
        return []
    return [(path.name, size(folder_size(path)), "") for path in sorted(converted.iterdir()) if path.is_dir()]
