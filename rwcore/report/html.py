"""The report as static pages without network: an index, one page per claim, one per real model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2
from markupsafe import Markup, escape

from rwcore.report import claim_view, summary
from rwcore.report.figures import counts_svg, counts_table, medians_svg, medians_table, real_figures
from rwcore.report.matrix import anchor, build_matrix, claim_page, group_of, model_page
from rwcore.report.results import Figure, Result, Results, natural
from rwcore.report.verdicts import FAMILIES, STYLES
from rwcore.store import write_text

if TYPE_CHECKING:
    import pandas as pd

    from rwcore.plots.counts import PaletteName

INDEX_COUNTS = 2
"""Class-count figures on the index; those of further models are on the models' own pages."""


@dataclass(frozen=True)
class Picture:
    """A figure for a page: inline SVG, caption, and the numbers it shows."""

    svg: Markup
    caption: str
    header: list[str]
    rows: list[list[str]]


def write_report(
    results: Results,
    out_dir: Path,
    *,
    published_medians: pd.DataFrame | None = None,
    model_groups: Mapping[str, str] | None = None,
    palette: PaletteName = "paper",
    title: str = "Claims report",
) -> Path:
    """Write the pages; the index last, so that it never links to a page that is not there.

    Args:
        results: What the report is about.
        out_dir: Folder to write to; made if needed.
        published_medians: Columns model, layer, median: the published curves behind the current models'.
        model_groups: Model id → ``gated``, ``instruct`` or ``vanilla``, in the order of the columns; the
            groups of the model registry if None.
        palette: Colours of the classes: the papers' own, or ones that are told apart with any colour vision.
        title: Heading of the index.

    Returns:
        The path of ``index.html``.

    Raises:
        StoreError: A page cannot be written.
    """
    groups = registry_groups() if model_groups is None else dict(model_groups)
    matrix = build_matrix(results, groups)
    environment = _environment(results, title)
    columns = {
        (column.group, column.model): n
        for n, column in enumerate(c for g in matrix.groups for c in g.columns)
    }
    papers = {paper.slug: paper for paper in results.papers}

    for claim in results.claims:
        views = claim_view.expectations(claim, results, columns, groups)
        page = environment.get_template("claim.html").render(
            root="../../", claim=claim, paper=papers[claim.paper], expectations=views
        )
        write_text(out_dir / claim_page(claim.paper, claim.id), page)
    pages = _model_pages(results, groups)
    for model, checks in pages.items():
        page = environment.get_template("model.html").render(
            root="../",
            model=model,
            subject=next(one for one in summary.subjects(checks)),
            families=summary.by_family(results.model_copy(update={"results": checks})),
            checks=checks,
            statements={(claim.paper, claim.id): claim.statement for claim in results.claims},
            pictures=_pictures(results, published_medians, groups, palette, only=model),
        )
        write_text(out_dir / model_page(model), page)
    index = environment.get_template("index.html").render(
        root="",
        matrix=matrix,
        headline=summary.headline(results),
        what_ran=summary.what_ran(results),
        families=summary.by_family(results),
        verdicts=summary.verdict_counts(results.results),
        attention=summary.attention(results),
        subjects=summary.model_rows(results),
        missing=summary.not_run(results.results),
        pictures=_pictures(results, published_medians, groups, palette),
        model_pages=set(pages),
    )
    write_text(out_dir / "index.html", index)
    return out_dir / "index.html"


def registry_groups() -> dict[str, str]:
    """Group of every registered model of a paper, in the papers' order."""
    from rwcore.models.registry import registry

    named = {spec.id: [name for name in spec.groups if name != "packaged"] for spec in registry().values()}
    order = ("gated", "instruct", "vanilla")
    found = {model: names[0] for model, names in named.items() if names}
    return dict(sorted(found.items(), key=lambda item: order.index(item[1])))


def _model_pages(results: Results, groups: Mapping[str, str]) -> dict[str, list[Result]]:
    """Checks of every real model on which something ran, by model."""
    found: dict[str, list[Result]] = {}
    for result in results.results:
        if result.subject_kind in summary.REAL:
            found.setdefault(result.model, []).append(result)
    return {
        model: sorted(checks, key=lambda one: (one.paper, natural(one.claim), natural(one.expectation)))
        for model, checks in found.items()
        if any(one.ran for one in checks)
    }


def _pictures(
    results: Results,
    published: pd.DataFrame | None,
    groups: Mapping[str, str],
    palette: PaletteName,
    only: str | None = None,
) -> list[Picture]:
    """The medians of all real models in one figure, then class counts of the first few (or of one model)."""

    def wanted(name: str) -> list[Figure]:
        return [figure for figure in real_figures(results, name) if only in (None, figure.model)]

    pictures = []
    medians = wanted("linout_medians")
    if medians:
        svg = medians_svg(medians, published, groups, ident="medians")
        caption = (
            "Median cos(w_in, w_out) over each layer’s neurons, from the first layer (0) to the last (1)."
        )
        pictures.append(Picture(Markup(svg), caption, *medians_table(medians)))
    for number, figure in enumerate(wanted("class_counts")[: None if only else INDEX_COUNTS]):
        svg = counts_svg(figure, palette, ident=f"counts{number}")
        caption = f"Neurons per class in each layer of {figure.model}; totals in the legend."
        pictures.append(Picture(Markup(svg), caption, *counts_table(figure)))
    return pictures


def _environment(results: Results, title: str) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("rwcore.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    load = environment.loader
    assert load is not None
    sources = {name: Markup(load.get_source(environment, name)[0]) for name in ("report.css", "report.js")}
    environment.globals.update(
        title=title,
        results=results,
        css=sources["report.css"],
        script=sources["report.js"],
        STYLES={str(verdict): style for verdict, style in STYLES.items()},
        FAMILIES=FAMILIES,
        SUBJECTS=summary.SUBJECTS,
        SCOPES=claim_view.SCOPES,
        KINDS=claim_view.KINDS,
        anchor=anchor,
        claim_page=claim_page,
        model_page=model_page,
        group_of=group_of,
        row_table=claim_view.row_table,
        facts=claim_view.facts,
        family=summary.family,
        plural=summary.plural,
        when=summary.when,
    )
    environment.filters["number"] = claim_view.number
    environment.filters["ticks"] = ticks
    return environment


def ticks(text: str) -> Markup:
    """Escaped text in which what stands between backticks is set as code."""
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(text))))
