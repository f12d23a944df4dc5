"""The report's figures as inline SVG; matplotlib is imported only when one is drawn."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from rwcore.report.results import Figure, Results
from rwcore.report.summary import REAL

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as Drawing

    from rwcore.plots.counts import PaletteName


def real_figures(results: Results, name: str) -> list[Figure]:
    """Figures of real models with the given name, small and new models before the papers' own.

    Figures of random stand-ins are left out: they would look like results.
    """
    found = [figure for figure in results.figures if figure.name == name and figure.subject_kind in REAL]
    return sorted(found, key=lambda figure: REAL.index(figure.subject_kind))


def medians_svg(
    figures: Sequence[Figure], published: pd.DataFrame | None, groups: Mapping[str, str], *, ident: str
) -> str:
    """Medians of cos(w_in, w_out) by layer: the given models in front, published models grey behind.

    Args:
        figures: Figures named ``linout_medians``.
        published: Columns model, layer, median; None for no background.
        groups: Group of every known model, to compare gated models with gated models.
        ident: Unique in the page; prefixes every id in the SVG.
    """
    import pandas as pd

    from rwcore.plots.medians import medians_figure

    curves = pd.concat([pd.DataFrame(figure.rows).assign(model=figure.model) for figure in figures])
    label = "published models"
    if published is not None:
        vanilla = all(groups.get(figure.model) == "vanilla" for figure in figures)
        wanted = [
            model for model in published["model"].unique() if (groups.get(model) == "vanilla") == vanilla
        ]
        wanted = [model for model in wanted if model not in set(curves["model"])]
        if any(groups.get(model) in ("gated", "vanilla") for model in wanted):
            label = f"published models {'without' if vanilla else 'with'} a gate"
        published = published[published["model"].isin(wanted)]
    drawing = medians_figure(curves, published, background_label=label, look="screen", size=(8.4, 3.6))
    names = ", ".join(figure.model for figure in figures)
    return inline_svg(
        drawing, ident=ident, title=f"Median cosine of input and output weights by layer: {names}"
    )


def counts_svg(figure: Figure, palette: PaletteName, *, ident: str) -> str:
    """Class counts by layer of one model."""
    import pandas as pd

    from rwcore.plots.counts import class_counts_figure

    drawing = class_counts_figure(pd.DataFrame(figure.rows), palette_name=palette, look="screen", width=8.4)
    return inline_svg(drawing, ident=ident, title=f"Neurons per class and layer: {figure.model}")


def inline_svg(drawing: Drawing, *, ident: str, title: str) -> str:
    """A drawing as an ``<svg>`` element for a page: no external names, own ids, the page's ink and font.

    Args:
        drawing: Made with the ``screen`` look.
        ident: Prefix that keeps ids of several figures on one page apart.
        title: Read out instead of the picture.
    """
    import matplotlib as mpl

    from rwcore.plots import style

    buffer = io.StringIO()
    with style.style("screen"), mpl.rc_context({"svg.hashsalt": ident}):
        drawing.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text)
    text = re.sub(r'<g id="curve:([^"]*)">', lambda found: f"<g><title>{found[1]}</title>", text)
    text = re.sub(r'\bid="', f'id="{ident}-', text)
    text = re.sub(r'(url\(|href=")#', rf"\1#{ident}-", text)
    colours = {style.INK: "currentColor", style.MUTED: "var(--muted)", style.FAINT: "var(--curve)"}
    for colour, replacement in colours.items():
        text = text.replace(colour, replacement)
    head = f'<svg role="img" aria-labelledby="{ident}-name" class="figure"'
    name = f'<title id="{ident}-name">{html.escape(title)}</title>'
    text = re.sub(r'^<svg width="[^"]*" height="[^"]*"', head, text, count=1)
    return text.replace(">", f">{name}", 1).strip()


def counts_table(figure: Figure) -> tuple[list[str], list[list[str]]]:
    """Class counts as header and rows of text: one row per layer, then the totals."""
    classes = list(dict.fromkeys(str(row["class"]) for row in figure.rows))
    layers = sorted({int(row["layer"]) for row in figure.rows})
    count = {(int(row["layer"]), str(row["class"])): int(row["count"]) for row in figure.rows}
    body = [[str(layer), *(f"{count.get((layer, name), 0):,}" for name in classes)] for layer in layers]
    totals = ["all", *(f"{sum(count.get((layer, name), 0) for layer in layers):,}" for name in classes)]
    return ["layer", *classes], [*body, totals]


def medians_table(figures: Iterable[Figure]) -> tuple[list[str], list[list[str]]]:
    """Medians as header and rows of text: one row per layer, one column per model."""
    columns = {one.model: {int(row["layer"]): row["median"] for row in one.rows} for one in figures}
    depth = max((max(values) for values in columns.values() if values), default=-1) + 1
    rows = [
        [
            str(layer),
            *(f"{float(values[layer]):.4f}" if layer in values else "" for values in columns.values()),
        ]
        for layer in range(depth)
    ]
    return ["layer", *columns], rows
