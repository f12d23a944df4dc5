"""The role study of a model as files: tables, arrays and a manifest. ``OUTPUTS.md`` documents them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from rwcore.provenance import Stopwatch, collect
from rwcore.store import MANIFEST, write_arrays, write_json, write_text
from rwcore.studies.folder import check_target, files_of, filling, write_csv
from rwcore.studies.role_artefacts import ATTENTION_DEFINITION, ENTROPY_DEFINITION, MOMENTS_DEFINITION
from rwcore.studies.roles import COLUMNS as ROLE_COLUMNS
from rwcore.studies.roles import DEFINITION as ROLES_DEFINITION
from rwcore.studies.roles import RoleStudy
from rwcore.studies.tables import latex_escape, latex_label, text_latex, text_markdown
from rwcore.studies.weights import DEFINITION

SCHEMA = "rwcore-roles/1"
COLUMNS = {
    "roles.csv": ROLE_COLUMNS,
    "contingency.csv": ("role", "class", "count", "expected"),
    "entropy.csv": ("layer", "neuron", "ratio", "entropy", "role", "class"),
    "attention.csv": ("layer", "neuron", "head", "score", "effect", "role", "class"),
}
CAPTION = "Functional roles and read-write classes of the neurons of {model}: counts (expected by chance)"


@dataclass(frozen=True)
class RolesExport:
    """What was written: the folder, its ``manifest.json``, and the numbers to see first."""

    folder: Path
    manifest: dict[str, Any]
    summary: dict[str, Any]
    contingency: pd.DataFrame


def export_roles(
    study: RoleStudy, out: Path, *, attention: bool = True, force: bool = False, command: str = ""
) -> RolesExport:
    """Write the roles of a model's neurons into a folder, whole or not at all.

    Args:
        study: The study; computed first if the store does not have it.
        out: See `rwcore.studies.folder.check_target`.
        attention: Also the attention (de)activation neurons, which need a forward pass of one token.
        force: Write into a folder that holds other files.
        command: The command line, for the manifest.

    Raises:
        StoreError: The folder is refused or the disk is full.
        OptionError: A number of neurons or directions is out of range, or there is no such token.
        ModelError: ``attention`` was asked of a model whose attention neurons are not defined.
    """
    stopwatch = Stopwatch()
    folder = check_target(out, force=force)
    model = study.weights.local.spec.id
    study.check()
    if attention:
        # First what can be refused: the moments take longest.
        _ = study.attention_scores
    table = study.contingency(attention=attention)
    summary = study.summary(attention=attention)
    frames = {"roles.csv": study.roles(), "contingency.csv": table, "entropy.csv": study.entropy()}
    arrays = study.moments.to_arrays()
    if attention:
        frames["attention.csv"] = study.attention()
        arrays |= study.attention_scores.to_arrays()
    with filling(folder) as new:
        for name, frame in frames.items():
            write_csv(new / name, frame, COLUMNS[name])
        write_arrays(new / "moments.safetensors", arrays)
        tests = {name: summary[name] for name in ("association", "association_within_layers")}
        write_json(new / "association.json", tests)
        write_text(new / "contingency.tex", contingency_latex(table, model))
        write_text(new / "contingency.md", contingency_markdown(table, model))
        manifest = {
            "schema": SCHEMA,
            "complete": True,
            "command": command,
            "model": {**study.weights.local.identity(), "shape": asdict(study.shape)},
            "processing": study.weights.processing,
            "fold_sign": study.weights.cosines.gated,
            "options": {
                "partition": study.partition,
                "null_directions": study.n_null,
                "entropy_neurons": study.n_entropy,
                "attention": attention,
                "bos_token": study.bos_token if attention else None,
            },
            "summary": summary,
            "definitions": {
                "cosines": DEFINITION,
                "token_moments": MOMENTS_DEFINITION,
                "roles": ROLES_DEFINITION,
                "entropy_ratio": ENTROPY_DEFINITION,
                "attention_scores": ATTENTION_DEFINITION,
            },
            "files": files_of(new, COLUMNS),
            "provenance": {"moments": study.provenance, "export": collect(stopwatch)},
        }
        write_json(new / MANIFEST, manifest)
    return RolesExport(folder, manifest, summary, table)


def contingency_table(table: pd.DataFrame) -> pd.DataFrame:
    """Roles against classes with one row per class, cells ``count (expected)``, and a last row of counts.

    Args:
        table: From `RoleStudy.contingency`.
    """
    cells = [
        f"{count:,} ({expected:,.1f})"
        for count, expected in zip(table["count"], table["expected"], strict=True)
    ]
    roles, classes = (list(dict.fromkeys(table[name])) for name in ("role", "class"))
    wide = table.assign(cell=cells).pivot(index="class", columns="role", values="cell").loc[classes, roles]
    totals = table.groupby("role", sort=False)["count"].sum()
    wide.loc["Total"] = [f"{totals[role]:,}" for role in roles]
    wide.index.name, wide.columns.name = "Class", None
    return wide


def contingency_latex(table: pd.DataFrame, model: str) -> str:
    """The table as LaTeX: ``table*``, no rules, caption and label."""
    caption = CAPTION.format(model=latex_escape(model))
    return text_latex(contingency_table(table), caption, latex_label(model) + "_roles")


def contingency_markdown(table: pd.DataFrame, model: str) -> str:
    """The table as Markdown, with the caption as its first line."""
    return text_markdown(contingency_table(table), CAPTION.format(model=f"`{model}`"))
