"""A survey of heads as files: tables, figures, a manifest; see ``OUTPUTS.md``."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from rwcore.heads.survey_scores import COLUMNS as HEAD_COLUMNS
from rwcore.plots.head_maps import signed_head_map_figure
from rwcore.plots.head_survey import calibration_figure, cumulative_figure, mlp_effects_figure
from rwcore.provenance import Stopwatch, collect
from rwcore.store import MANIFEST, write_json, write_text
from rwcore.studies.ablation_tables import MINUS, NONE, number_text
from rwcore.studies.figures import check_palette
from rwcore.studies.folder import check_target, files_of, filling, save_figure, write_csv
from rwcore.studies.head_survey import DEFINITION, MEANS_DEFINITION, NEGATIVE, PATHS_DEFINITION, HeadSurvey
from rwcore.studies.head_survey_files import Head
from rwcore.studies.head_survey_tables import (
    BIN_COLUMNS,
    CURVE_COLUMNS,
    OVERCONFIDENCE_COLUMNS,
    PATH_COLUMNS,
    TOKEN_COLUMNS,
    calibration_tables,
    curve_table,
    helped_tokens,
    path_table,
)
from rwcore.studies.tables import latex_escape, latex_label, text_latex, text_markdown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rwcore.plots.counts import PaletteName

SCHEMA = "rwcore-heads-survey/1"
COLUMNS = {
    "heads.csv": HEAD_COLUMNS,
    "most_helped.csv": TOKEN_COLUMNS,
    "cumulative.csv": CURVE_COLUMNS,
    "paths.csv": PATH_COLUMNS,
    "calibration.csv": BIN_COLUMNS,
    "overconfidence.csv": OVERCONFIDENCE_COLUMNS,
}
"""The tables, and their columns."""
SHOWN = 10
"""Heads in the tables for people."""
CAPTION = (
    "Heads of {model} that write most against what it predicts: attribution to the predicted token (95 % "
    "interval over documents) and share of tokens where it is negative; loss increase if the head is ablated "
    "({means}) and share of tokens that this helps; change of the entropy with the head; direct effects"
)
MAPS = {
    "predicted_token": ("dla_predicted", "attribution to the predicted token (logits)"),
    "loss_increase": ("loss_increase", "loss increase without the head (nats)"),
}
"""Figures with a cell for every head: quantity and label."""


@dataclass(frozen=True, eq=False)
class SurveyExport:
    """What was written, and what was found.

    Attributes:
        folder: Where the files are.
        manifest: Content of ``manifest.json``.
        tables: By file name, see `COLUMNS`.
    """

    folder: Path
    manifest: dict[str, Any]
    tables: Mapping[str, pd.DataFrame]

    @property
    def negative(self) -> pd.DataFrame:
        """Rows of the most negative heads, the worst first."""
        return negative_heads(self.tables["heads.csv"])


def export_survey(
    survey: HeadSurvey,
    out: Path,
    *,
    plots: bool = True,
    palette: PaletteName = "paper",
    force: bool = False,
    command: str = "",
) -> SurveyExport:
    """Survey the heads of a model and write what was found into a folder, whole or not at all.

    Args:
        survey: The survey; what the store has is not computed again.
        out: See `rwcore.studies.folder.check_target`.
        plots: Also the figures.
        palette: ``paper``, the papers' colours, or ``accessible``.
        force: Write into a folder that holds other files.
        command: The command line, for the manifest.

    Raises:
        StoreError: The folder is refused or the disk is full.
        OptionError: There is no such palette.
        RwcoreError: The model cannot be run.
    """
    stopwatch = Stopwatch()
    folder = check_target(out, force=force)
    check_palette(palette)
    shown: list[Head] = survey.chosen or survey.negative(NEGATIVE)
    bins, overconfident = calibration_tables(survey)
    tables = {
        "heads.csv": survey.table,
        "most_helped.csv": helped_tokens(survey, shown),
        "cumulative.csv": curve_table(survey, shown),
        "paths.csv": path_table(survey),
        "calibration.csv": bins,
        "overconfidence.csv": overconfident,
    }
    model = survey.weights.local
    with filling(folder) as new:
        for name, columns in COLUMNS.items():
            write_csv(new / name, tables[name], columns)
        texts = negative_texts(survey.table)
        replaced = {"overall": "one mean", "position": "a mean for each position", "zero": "zero"}
        caption = CAPTION.replace("{means}", replaced[survey.options.means])
        write_text(new / "negative.md", text_markdown(texts, caption.format(model=f"`{model.spec.id}`")))
        latex = caption.format(model=latex_escape(model.spec.id)).replace("%", r"\%")
        label = f"{latex_label(model.spec.id)}_negative_heads"
        write_text(new / "negative.tex", text_latex(texts.map(_latex), latex, label))
        if plots:
            for name, figure in draw(tables, model.spec.id, palette):
                save_figure(figure, new / name)
        manifest = {
            "schema": SCHEMA,
            "complete": True,
            "command": command,
            "model": model.identity(),
            "processing": survey.weights.processing,
            "corpus": survey.corpus.identity(),
            "heads": len(survey.writers) - survey.shape.n_layers,
            "mlps": survey.shape.n_layers,
            "shown": [f"{layer}.{head}" for layer, head in shown],
            "measure": asdict(survey.options),
            "options": {
                **asdict(survey.forward),
                "clip_qkv": model.spec.clip_qkv,
                "plots": plots,
                "palette": palette,
            },
            "definitions": {
                "effects": DEFINITION,
                "paths": PATHS_DEFINITION,
                "means": MEANS_DEFINITION,
            },
            "files": files_of(new, COLUMNS),
            "provenance": collect(stopwatch),
        }
        write_json(new / MANIFEST, manifest)
    return SurveyExport(folder, manifest, tables)


def negative_heads(table: pd.DataFrame, count: int = SHOWN) -> pd.DataFrame:
    """Rows of the heads that write most against what is predicted, the worst first."""
    return table.dropna(subset=["negative_rank"]).sort_values("negative_rank").head(count)


def negative_texts(table: pd.DataFrame) -> pd.DataFrame:
    """The most negative heads as texts; index ``Head``."""
    rows = negative_heads(table).to_dict("records")
    cells = {
        "predicted token": [number_text(row["dla_predicted"]) for row in rows],
        "95 %": [
            NONE
            if math.isnan(row["dla_predicted_low"])
            else f"[{number_text(row['dla_predicted_low'])}, {number_text(row['dla_predicted_high'])}]"
            for row in rows
        ],
        "against it": [f"{row['against_prediction']:.2f}" for row in rows],
        "loss increase": [number_text(row["loss_increase"]) for row in rows],
        "ablation helps": [f"{row['helped_by_ablation']:.2f}" for row in rows],
        "entropy": [number_text(row["entropy_change_with_head"]) for row in rows],
    }
    names = [f"{row['layer']}.{row['head']}" for row in rows]
    return pd.DataFrame(cells, index=pd.Index(names, name="Head"))


def _latex(text: str) -> str:
    return latex_escape(text).replace(MINUS, "$-$")


def draw(
    tables: Mapping[str, pd.DataFrame], title: str, palette: PaletteName
) -> Iterator[tuple[str, Figure]]:
    """The figures of a survey, one at a time: file name without suffix, and figure."""
    common: dict[str, Any] = {"title": title, "palette_name": palette}
    heads = tables["heads.csv"]
    for name, (value, label) in MAPS.items():
        yield name, signed_head_map_figure(heads[heads["kind"] == "head"], value, label, **common)
    yield "mlps", mlp_effects_figure(heads[heads["kind"] == "mlp"], **common)
    yield "cumulative", cumulative_figure(tables["cumulative.csv"], **common)
    if len(tables["calibration.csv"]):
        yield "calibration", calibration_figure(tables["calibration.csv"], **common)
