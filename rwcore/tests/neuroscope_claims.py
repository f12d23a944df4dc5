"""The tests of claims as functions: what they say of any tables, pages or model.

The claims are those about neuron pages, if no other paper is named.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from fixtures.letters import save_letters
from fixtures.tiny import SIZES, build, local_model
from rwcore.claim.compare import evaluate
from rwcore.claim.published import expected_for
from rwcore.claim.schema import Paper, load_paper
from rwcore.parallel import InProcess
from rwcore.paths import claims_dir, golden_dir
from rwcore.plugin.model_subject import ModelSubject
from rwcore.plugin.parametrize import applies
from rwcore.plugin.subjects import Kind, Subject, SubjectSpec
from rwcore.store import Store

OLMO = "allenai/OLMo-7B-0424-hf"
FOLDER = claims_dir() / "neuroscope"
PUBLISHED = golden_dir() / "neuroscope" / "published"
PAPER = load_paper(FOLDER)
TABLES = SubjectSpec(Kind.TABLES, OLMO, (OLMO,), "neuroscope")

Answers = dict[str, bool | None]
"""What is said of each expectation, ``J1#0``."""


def module(name: str, folder: Path = FOLDER) -> ModuleType:
    """A file of claims, which is in no package."""
    spec = importlib.util.spec_from_file_location(f"{folder.name}_{name}", folder / f"test_{name}.py")
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def claims_of(test: Callable[..., None]) -> list[str]:
    """The claims that a test is marked with."""
    (marker,) = [mark for mark in test.pytestmark if mark.name == "claim"]  # type: ignore[attr-defined]
    return list(marker.args)


def answers(
    test: Callable[..., None], subject: Subject, *, paper: Paper = PAPER, **fixtures: object
) -> Answers:
    """What a test of claims says of a subject, by claim and expectation; nothing of what is no target."""
    found: dict[str, Any] = {}
    test(subject, SimpleNamespace(check=found.update), **fixtures)
    said = {}
    for claim in map(paper.claim, claims_of(test)):
        for number, expectation in enumerate(claim.expect):
            if expectation.invalid is None and applies(expectation, paper, subject.spec, {}):
                expected = expected_for(paper, claim, expectation, subject.models)
                said[f"{claim.id}#{number}"] = evaluate(expectation, found, expected).agrees
    return said


def failing(said: Answers) -> set[str]:
    """The expectations that do not hold."""
    return {name for name, agrees in said.items() if agrees is not True}


def labels(
    tests: Iterable[Callable[..., None]], scope: str, *, pages: bool = False, paper: Paper = PAPER
) -> set[str]:
    """The expectations of a scope that some tests check, but for what is no target."""
    return {
        f"{claim.id}#{number}"
        for test in tests
        for claim in map(paper.claim, claims_of(test))
        for number, one in enumerate(claim.expect)
        if one.scope == scope and one.needs.published_pages is pages and one.invalid is None
    }


def ids(said: Iterable[str]) -> set[str]:
    """The claims of expectations."""
    return {label.partition("#")[0] for label in said}


def tiny_subject(root: Path) -> ModelSubject:
    """A small random model and a little text."""
    folder = build("llama", root / "tiny")
    save_letters(folder, SIZES["vocab"])
    local = local_model(folder, id="tiny", family="llama")
    spec = SubjectSpec(Kind.OTHER, "tiny", ("tiny",))
    return ModelSubject(spec, (local,), Store(root / "store"), InProcess(), recorded=False, tokens=1500)
