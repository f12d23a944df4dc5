"""Which recorded files there must be, from the claim files and tests alone: nothing is run."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

from rwcore.claim.coverage import marked_claims
from rwcore.claim.schema import load_paper
from rwcore.golden.paths import recorded_path
from rwcore.models.registry import find, registry
from rwcore.plugin.hooks import StandIn
from rwcore.plugin.parametrize import ANY_MODEL, Asked, applies, subjects_of
from rwcore.plugin.subjects import Kind, SubjectSpec


def recorded_files(folder: Path, stand_ins: Mapping[str, StandIn]) -> Iterator[Path]:
    """Every recorded file the claim tests of one paper compare.

    A test with the ``golden`` fixture keeps one file per recorded subject; a test whose claims make
    statements about any model keeps the answers beside it.

    Args:
        folder: The paper's folder in ``claims/``.
        stand_ins: The small models by id.
    """
    paper = load_paper(folder)
    models = tuple(spec.id for spec in registry().values() if spec.recorded)
    asked = Asked(stand_ins, models, papers_own=False)
    ids: dict[tuple[Path, str], list[str]] = {}
    for mark in marked_claims(folder):
        ids.setdefault((mark.file, mark.test), []).append(str(mark.id))
    for (file, test), claim_ids in ids.items():
        claims = [paper.claim(id_) for id_ in claim_ids]
        name = test.removeprefix("test_")
        keeps = test in _tests_with_golden(file)
        for spec in subjects_of(paper, claims, asked, with_papers_own=False):
            if not _recorded(spec):
                continue
            if keeps:
                yield recorded_path(paper.slug, name, spec.test_id)
            if any(
                expectation.scope in ANY_MODEL - {"identity"} and applies(expectation, paper, spec, stand_ins)
                for claim in claims
                for expectation in claim.expect
            ):
                yield recorded_path(paper.slug, f"{name}.verdicts", spec.test_id)


def _recorded(spec: SubjectSpec) -> bool:
    if spec.kind in {Kind.STAND_IN, Kind.SYNTHETIC}:
        return True
    return spec.kind is Kind.PACKAGED and all(find(model).recorded for model in spec.models)


def _tests_with_golden(file: Path) -> set[str]:
    functions = [
        node
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
    ]
    return {node.name for node in functions if "golden" in {argument.arg for argument in node.args.args}}
