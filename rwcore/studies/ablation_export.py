"""A grid of ablations as files: tables, figures, examples on a page, a manifest; see ``OUTPUTS.md``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rwcore import __version__
from rwcore.ablation.compare import COLUMNS, REPORTED
from rwcore.ablation.grid import Experiment
from rwcore.errors import OptionError
from rwcore.models.vocabulary import vocabulary
from rwcore.pages.ablation import AblationReport, ablation_page
from rwcore.plots.ablation_ecdf import ablation_ecdf_figure
from rwcore.plots.ablation_histograms import ablation_histograms_figure
from rwcore.plots.ablation_means import ablation_means_figure
from rwcore.provenance import Stopwatch, collect
from rwcore.store import MANIFEST, write_json, write_text
from rwcore.studies.ablation_examples import (
    EXAMPLE_COLUMNS,
    TOKEN_COLUMNS,
    FoundExamples,
    continuations_frame,
    examples_frame,
    find_run_examples,
)
from rwcore.studies.ablation_runs import DEFINITION
from rwcore.studies.ablation_tables import ablation_latex, ablation_markdown
from rwcore.studies.ablations import AblationStudy, Comparison, name_of
from rwcore.studies.continuations import DEFINITION as EXAMPLES_DEFINITION
from rwcore.studies.figures import check_palette
from rwcore.studies.folder import check_target, files_of, filling, save_figure, write_csv
from rwcore.weights.shape import read_shape

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rwcore.plots.counts import PaletteName

SCHEMA = "rwcore-ablations/1"
TABLE = "ablation.csv"
EXAMPLES, EXAMPLE_TOKENS = "examples.csv", "example_tokens.csv"
PAGE = "index.html"
DEFAULT_EXAMPLES = 5


@dataclass(frozen=True, eq=False)
class AblationExport:
    """What was written, and what was found.

    Attributes:
        folder: Where the files are.
        manifest: Content of ``manifest.json``.
        comparison: Tables and failures, those of examples included.
    """

    folder: Path
    manifest: dict[str, Any]
    comparison: Comparison


def export_ablations(
    study: AblationStudy,
    experiments: Sequence[Experiment],
    out: Path,
    *,
    plots: bool = True,
    examples: int = DEFAULT_EXAMPLES,
    palette: PaletteName = "paper",
    force: bool = False,
    command: str = "",
) -> AblationExport:
    """Run a grid and write what it found into a folder, whole or not at all.

    Args:
        study: The study.
        experiments: The runs; those that the store has are not made again.
        out: See `rwcore.studies.folder.check_target`.
        plots: Also the figures.
        examples: Most examples of each run (but the baselines), metric and direction; 0 for none.
        palette: ``paper``, the papers' colours, or ``accessible``.
        force: Write into a folder that holds other files.
        command: The command line, for the manifest.

    Raises:
        StoreError: The folder is refused or the disk is full.
        RwcoreError: The clean run cannot be made; other runs that fail are reported in the manifest.
        OptionError: There is no such palette, or fewer than no examples are asked for.
    """
    stopwatch = Stopwatch()
    folder = check_target(out, force=force)
    check_palette(palette)
    if examples < 0:
        raise OptionError(f"{examples} is less than 0", where="--examples", remedy="give 0 or more")
    comparison = study.compare(experiments)
    found = _examples(study, experiments, comparison, examples)
    comparison = replace(comparison, failures=(*comparison.failures, *found.failures))
    model = study.weights.local
    words = vocabulary(model, read_shape(model).vocab)
    with filling(folder) as new:
        write_csv(new / TABLE, comparison.table, COLUMNS)
        for metric in REPORTED.values():
            write_text(new / f"{metric}.tex", ablation_latex(comparison.table, model.spec.id, metric))
            write_text(new / f"{metric}.md", ablation_markdown(comparison.table, model.spec.id, metric))
        sets = {name_of(one): one.neurons.to_json() for one in experiments}
        write_json(new / "neurons.json", sets)
        if plots and len(comparison.table):
            for name, figure in draw(comparison, model.spec.id, palette):
                save_figure(figure, new / name)
        if examples:
            write_csv(new / EXAMPLES, examples_frame(found.runs, words), EXAMPLE_COLUMNS)
            write_csv(new / EXAMPLE_TOKENS, continuations_frame(found.runs, words), TOKEN_COLUMNS)
        picture = new / "means.png"
        report = AblationReport(
            model=model.spec.id,
            corpus=study.corpus.spec.id,
            tokens=study.corpus.n_tokens,
            documents=study.corpus.n_documents,
            convention=study.convention,
            table=comparison.table,
            neurons={one.label: len(one.neurons) for one in experiments},
            examples=found.runs,
            words=words,
            failures=[asdict(one) for one in comparison.failures],
            figure=picture.read_bytes() if picture.is_file() else None,
            files=sorted([*(path.name for path in new.iterdir()), MANIFEST]),
            provenance=_provenance(study, command),
        )
        write_text(new / PAGE, ablation_page(report))
        manifest = {
            "schema": SCHEMA,
            "complete": True,
            "command": command,
            "model": model.identity(),
            "processing": study.weights.processing,
            "corpus": {
                "id": study.corpus.spec.id,
                "content_hash": study.corpus.content_hash,
                "recipe": study.corpus.spec.recipe(),
            },
            "tokens": study.corpus.n_tokens,
            "convention": study.convention,
            "options": {
                **asdict(study.options),
                "clip_qkv": study.weights.local.spec.clip_qkv,
                "plots": plots,
                "examples": examples,
                "palette": palette,
            },
            "runs": [name_of(one) for one in experiments],
            "failures": [asdict(one) for one in comparison.failures],
            "definitions": {"ablation_run": DEFINITION, "ablation_examples": EXAMPLES_DEFINITION},
            "files": files_of(
                new, {TABLE: COLUMNS, EXAMPLES: EXAMPLE_COLUMNS, EXAMPLE_TOKENS: TOKEN_COLUMNS}
            ),
            "provenance": collect(stopwatch),
        }
        write_json(new / MANIFEST, manifest)
    return AblationExport(folder, manifest, comparison)


def _examples(
    study: AblationStudy, experiments: Sequence[Experiment], comparison: Comparison, count: int
) -> FoundExamples:
    """Examples of all runs there are, but of baselines: what random neurons change most says nothing."""
    failed = {one.name for one in comparison.failures}
    made = [one for one in experiments if not one.label.baseline and name_of(one) not in failed]
    return find_run_examples(study, made, count=count) if count and made else FoundExamples()


def _provenance(study: AblationStudy, command: str) -> list[tuple[str, str]]:
    """Names and texts for the foot of the page."""
    facts = {
        "weights": study.weights.processing.replace("_", " "),
        "numbers": study.options.dtype,
        "corpus": study.corpus.content_hash[:19],
        "definition": f"{DEFINITION}, {EXAMPLES_DEFINITION}",
        "rwcore": __version__,
        "command": command,
    }
    return [(name, text) for name, text in facts.items() if text]


def draw(comparison: Comparison, title: str, palette: PaletteName) -> Iterator[tuple[str, Figure]]:
    """The figures of a grid, one at a time: file name without suffix, and figure."""
    yield "means", ablation_means_figure(comparison.table, title=title, palette_name=palette)
    for metric, runs in comparison.counts.items():
        common: dict[str, Any] = {"title": title, "palette_name": palette}
        yield f"{metric}_histograms", ablation_histograms_figure(runs, metric, **common)
        yield f"{metric}_ecdf", ablation_ecdf_figure(runs, metric, **common)
