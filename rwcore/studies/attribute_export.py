"""Attributes rates as files: tables, figures, a manifest; see ``OUTPUTS.md``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rwcore.ablation.compare import RunLabel
from rwcore.ablation.grid import Experiment
from rwcore.attributes.tables import LAYER_COLUMNS, MEAN_COLUMNS, RELATION_COLUMNS
from rwcore.paths import slug
from rwcore.plots.attribute_rates import attribute_rates_figure
from rwcore.provenance import Stopwatch, collect
from rwcore.store import MANIFEST, write_json, write_text
from rwcore.studies.ablation_values import means_facts
from rwcore.studies.ablations import name_of
from rwcore.studies.attribute_rates import DEFINITION, AttributeStudy
from rwcore.studies.attribute_tables import (
    FACT_COLUMNS,
    SUBJECT_COLUMNS,
    AttributeFindings,
    attribute_latex,
    attribute_markdown,
    measure,
)
from rwcore.studies.figures import check_palette
from rwcore.studies.folder import check_target, files_of, filling, save_figure, write_csv
from rwcore.studies.known_facts import DEFINITION as KNOWN_DEFINITION

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rwcore.plots.counts import PaletteName

SCHEMA = "rwcore-attributes/1"
COLUMNS = {
    "rates.csv": LAYER_COLUMNS,
    "means.csv": MEAN_COLUMNS,
    "relations.csv": RELATION_COLUMNS,
    "facts.csv": FACT_COLUMNS,
    "subjects.csv": SUBJECT_COLUMNS,
}
"""The tables, and their columns."""
LONGEST_NAME = 60
"""Characters of a set's name in a file name; it may be a long list."""


@dataclass(frozen=True, eq=False)
class AttributeExport:
    """What was written, and what was found.

    Attributes:
        folder: Where the files are.
        manifest: Content of ``manifest.json``.
        findings: Tables and failures.
    """

    folder: Path
    manifest: dict[str, Any]
    findings: AttributeFindings


def export_attributes(
    study: AttributeStudy,
    experiments: Sequence[Experiment],
    out: Path,
    *,
    sources: Mapping[str, object] | None = None,
    plots: bool = True,
    palette: PaletteName = "paper",
    force: bool = False,
    command: str = "",
) -> AttributeExport:
    """Measure attributes rates and write what was found into a folder, whole or not at all.

    Args:
        study: The study.
        experiments: The runs beside the clean one; those that the store has are not made again.
        out: See `rwcore.studies.folder.check_target`.
        sources: Where facts and passages are from, for the manifest.
        plots: Also the figures.
        palette: ``paper``, the papers' colours, or ``accessible``.
        force: Write into a folder that holds other files.
        command: The command line, for the manifest.

    Raises:
        StoreError: The folder is refused or the disk is full.
        OptionError: There is no such palette, the model knows none of the facts, or nothing is written about
            what it knows.
        RwcoreError: The clean run cannot be made; other runs that fail are reported in the manifest.
    """
    stopwatch = Stopwatch()
    folder = check_target(out, force=force)
    check_palette(palette)
    found = measure(study, experiments)
    model = study.weights.local
    tables = (found.layers, found.means, found.relations, found.facts, found.subjects)
    with filling(folder) as new:
        for (name, columns), table in zip(COLUMNS.items(), tables, strict=True):
            write_csv(new / name, table, columns)
        write_text(new / "means.tex", attribute_latex(found.means, model.spec.id))
        write_text(new / "means.md", attribute_markdown(found.means, model.spec.id))
        write_json(new / "neurons.json", {name_of(one): one.neurons.to_json() for one in experiments})
        if plots:
            for name, figure in draw(found, model.spec.id, palette):
                save_figure(figure, new / name)
        manifest = {
            "schema": SCHEMA,
            "complete": True,
            "command": command,
            "model": model.identity(),
            "processing": study.weights.processing,
            "sources": dict(sources or {}),
            "facts": _fact_counts(found),
            "subjects": _subject_counts(found),
            "measure": asdict(study.options),
            "means": means_facts(study.means),
            "options": {
                **asdict(study.forward),
                "clip_qkv": model.spec.clip_qkv,
                "plots": plots,
                "palette": palette,
            },
            "runs": [name_of(one) for one in experiments],
            "failures": [asdict(one) for one in found.failures],
            "definitions": {"attributes_rate": DEFINITION, "known_facts": KNOWN_DEFINITION},
            "files": files_of(new, COLUMNS),
            "provenance": collect(stopwatch),
        }
        write_json(new / MANIFEST, manifest)
    return AttributeExport(folder, manifest, found)


def draw(found: AttributeFindings, title: str, palette: PaletteName) -> Iterator[tuple[str, Figure]]:
    """The figures of a study, one at a time: file name without suffix, and figure."""
    common: dict[str, Any] = {"title": title, "palette_name": palette}
    runs = [label for label in found.labels if not label.baseline]
    if not runs:
        yield "rates_clean", attribute_rates_figure(found.layers, **common)
    for number, label in enumerate(runs, start=1):
        yield f"rates_{number}_{_file_name(label)}", attribute_rates_figure(found.layers, label, **common)


def _file_name(label: RunLabel) -> str:
    """A run as a part of a file name; two that share it have different numbers."""
    signs = {"": "", "+": "plus", "-": "minus"}
    parts = [label.set[:LONGEST_NAME], label.mode]
    parts += [f"{what} {signs[sign]}" for what, sign in (("gate", label.gate), ("post", label.post)) if sign]
    return slug(" ".join(parts))


def _fact_counts(found: AttributeFindings) -> dict[str, object]:
    """How many facts were asked, known and measured, and why the others were not."""
    facts = found.facts
    counts = {"asked": len(facts), "known": int(facts["known"].sum())}
    return {**counts, "measured": int((facts["excluded"] == "").sum()), "excluded": found.excluded}


def _subject_counts(found: AttributeFindings) -> dict[str, int]:
    """How many subjects there are, and of how many nothing is known to be written."""
    table = found.subjects
    without = table["passages"] == 0
    return {
        "known": len(table),
        "measured": found.facts.loc[found.facts["excluded"] == "", "subject"].nunique(),
        "without_passages": int(without.sum()),
        "without_attributes": int((~without & (table["attributes"] == 0)).sum()),
    }
