"""What ``rwcore weights --compare`` prints: class shares, distances, transitions, changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from rwcore.cli.console import remark, right, say, show, table

if TYPE_CHECKING:
    from rwcore.studies.compare import Comparison


def summarise(comparison: Comparison) -> None:
    """Print the summary of a comparison that was written."""
    manifest = comparison.manifest
    processings = sorted({str(one["processing"]).replace("_", " ") for one in manifest["models"]})
    classes = "eleven classes of gated neurons" if manifest["classes"] == "gated" else "three plain classes"
    say(f"{len(manifest['models'])} models, {classes}, weights {' and '.join(processings)}")
    show(_shares(comparison), _distances(comparison))
    if "change_correlations.csv" in comparison.frames:
        show(_correlations(comparison))
    show(_highlights(comparison))
    undefined = [(one["model"], one["undefined_neurons"]) for one in manifest["models"]]
    for model, count in undefined:
        if count:
            remark(
                f"WARNING: {count} neurons of {model} have no class, because a vector has no direction; "
                f"`rwcore weights {model} --out DIR` lists them.",
                style="bold red",
            )


def _shares(comparison: Comparison) -> Table:
    from rwcore.studies.compare_tables import share_table

    ids = [one["model"] for one in comparison.manifest["models"]]
    shares = share_table(comparison.frames["class_shares.csv"], ids, comparison.labels)
    rows = [[str(name), *row] for name, row in zip(shares.index, shares.to_numpy().tolist(), strict=True)]
    return table("share of neurons, %", ["class", *map(right, comparison.labels)], rows)


def _distances(comparison: Comparison) -> Table:
    frame = comparison.frames["total_variation.csv"]
    names = dict(zip((one["model"] for one in comparison.manifest["models"]), comparison.labels, strict=True))
    rows = []
    for (first, second), part in frame.groupby(["first", "second"], sort=False):
        whole = float(part.loc[part["layer"].isna(), "total_variation"].iloc[0])
        by_layer = part[part["layer"].notna()]
        largest = ""
        if len(by_layer):
            top = by_layer.iloc[int(by_layer["total_variation"].to_numpy(float).argmax())]
            largest = f"{top['total_variation']:.4f} in layer {top['layer']}"
        rows.append((names[str(first)], names[str(second)], f"{whole:.4f}", largest))
    return table(None, ["model", "and", right("total variation distance"), right("largest by layer")], rows)


def _correlations(comparison: Comparison) -> Table:
    frame = comparison.frames["change_correlations.csv"]
    rows = []
    for (vector, cosine), part in frame.groupby(["vector", "cosine"], sort=False):
        r = part["r"]
        rows.append(
            (
                f"change of {vector}",
                str(cosine),
                f"{r.min():+.2f} … {r.max():+.2f}",
                f"{r.mean():+.3f}",
                f"{int((r < 0).sum())} of {len(r)}",
                f"{int((part['p'] < 0.01).sum())} of {len(r)}",
            )
        )
    numbers = map(right, ("r by layer", "mean", "negative layers", "p < 0.01"))
    return table("correlation over neurons", ["of", "with", *numbers], rows)


def _highlights(comparison: Comparison) -> Table:
    grid = Table.grid(padding=(0, 2))
    ids = [one["model"] for one in comparison.manifest["models"]]
    names = dict(zip(ids, comparison.labels, strict=True))
    if "transitions.csv" in comparison.frames:
        frame = comparison.frames["transitions.csv"]
        for (first, second), part in frame.groupby(["first", "second"], sort=False):
            moved = part[part["from"] != part["to"]]
            share = moved["count"].sum() / part["count"].sum()
            text = f"{moved['count'].sum():,} neurons ({share:.2%}) change their class"
            if len(moved) and moved["count"].max():
                top = moved.iloc[int(moved["count"].to_numpy().argmax())]
                text += f", most often from {top['from']} to {top['to']} ({top['count']:,})"
            grid.add_row(f"{names[str(first)]} → {names[str(second)]}", text)
    tying = comparison.frames["tying.csv"]
    for tied, what in ((True, "unembeds with its embedding"), (False, "unembedding of its own")):
        members = [names[model] for model in tying.loc[tying["tied"] == tied, "model"]]
        if members:
            grid.add_row(what, ", ".join(members))
    grid.add_row("files", f"{len(comparison.manifest['files']) + 1} in {comparison.folder}")
    return grid
