"""``rwcore promote``: accept recorded values that are missing, look at those that changed."""

from __future__ import annotations

import math
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from rwcore.cli.console import paragraphs, remark, right, say, show, table
from rwcore.cli.noise import measure_noise
from rwcore.errors import OptionError

FAILED = 1
SHOWN = 20

HELP = """Recorded values: our own last accepted output, kept in golden/*/recorded/.

--new runs the claims and records what has no file yet; existing files stay as they are. --changed runs the
claims and prints old → new → Δ of every recorded value that changed by more than its noise; it writes
nothing. To accept a change, understand it, then run the command it prints. --noise runs the claims under two
CPU kernels and writes how far each column moved into golden/<paper>/noise.toml. Published values are never
written.

Exit code 1 if a claim test failed, or (--changed) a value changed.

Examples:
  rwcore promote --new
  rwcore promote --new --models packaged
  rwcore promote --changed
  rwcore promote --noise --models packaged,stand-in
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("promote", help=paragraphs(HELP), no_args_is_help=True)(promote)


def promote(
    new: Annotated[bool, typer.Option("--new", help="Record values that have no file yet.")] = False,
    changed: Annotated[
        bool, typer.Option("--changed", help="Show values that changed; write nothing.")
    ] = False,
    noise: Annotated[
        bool, typer.Option("--noise", help="Measure the noise between CPU kernels and write noise.toml.")
    ] = False,
    models: Annotated[str, typer.Option(help="Models to ask, as in pytest --rw-models.")] = "stand-in",
    paper: Annotated[str | None, typer.Option(help="Only this paper (a folder in claims/).")] = None,
) -> None:
    """Run the claims and accept or show recorded values."""
    from rwcore.paths import project_root

    if new + changed + noise != 1:
        raise OptionError("give one of --new, --changed and --noise", remedy="`rwcore promote --help`")
    root = project_root()
    options = ["--rw-models", models, *(["--rw-paper", paper] if paper else [])]
    if noise:
        measure_noise(root, options)
    elif new:
        _record_new(root, options)
    else:
        _show_changed(root, options)


def _record_new(root: Path, options: list[str]) -> None:
    before = _recorded(root)
    code = _pytest(root, [*options, "--rw-new-only"])
    made = sorted(_recorded(root) - before)
    for path in made:
        say(f"recorded {path.relative_to(root)}")
    say(f"{len(made)} recorded, {len(before)} were there" + ("" if made else ": nothing is missing"))
    if code:
        remark(f"some claim tests failed (pytest said {code}): see above")
        raise typer.Exit(FAILED)


def _recorded(root: Path) -> set[Path]:
    return set((root / "golden").glob("*/recorded/**/*.csv"))


def _show_changed(root: Path, options: list[str]) -> None:
    with tempfile.TemporaryDirectory(prefix="rwcore-obtained-") as folder:
        code = _pytest(root, [*options, "--rw-obtained", folder])
        obtained = sorted(Path(folder).rglob("*.csv"))
        differing = sum(show_difference(path.relative_to(folder), root / "golden", path) for path in obtained)
    say(f"{differing} of {len(obtained)} recorded files differ")
    if differing:
        say(f"to accept all of them: pytest claims {shlex.join(options)} --force-regen")
    if code or differing:
        raise typer.Exit(FAILED)


def show_difference(name: Path, golden: Path, obtained: Path) -> bool:
    """Print how an obtained table differs from the recorded one, beyond measured noise.

    Args:
        name: Path of the recorded table below ``golden``.
        golden: The folder ``golden/``.
        obtained: What there is now.

    Returns:
        Whether it differs.
    """
    from rwcore.golden.compare import compare
    from rwcore.golden.files import load
    from rwcore.golden.noise import read_noise

    if not (golden / name).is_file():
        say(f"{name}: not recorded yet (`rwcore promote --new`)")
        return True
    differences = compare(load(golden / name), load(obtained), read_noise(golden / name.parts[0]))
    if not differences:
        return False
    rows = [
        (
            one.row or one.why,
            one.column,
            one.recorded,
            one.obtained,
            "" if math.isnan(one.delta) else f"{one.delta:.3g}",
            "" if math.isnan(one.delta) else f"{one.allowed:.3g}",
        )
        for one in differences[:SHOWN]
    ]
    numbers = [right(title) for title in ("old", "new", "|Δ|", "noise")]
    show(table(str(name), ("row", "column", *numbers), rows))
    if len(differences) > SHOWN:
        say(f"… and {len(differences) - SHOWN} more differences")
    return True


def _pytest(root: Path, options: list[str]) -> int:
    """Exit code of pytest over the claims, in a process of its own; its output goes to stderr."""
    command = [sys.executable, "-m", "pytest", "claims", "-q", *options]
    return subprocess.run(command, cwd=root, stdout=sys.stderr).returncode
