"""Which subjects each claim is asked of: from the marker, the claim files and the options."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rwcore.claim.schema import Claim, Expectation, Paper, expand, load_paper
from rwcore.errors import RwcoreError
from rwcore.models.registry import find, registry
from rwcore.plugin.hooks import StandIn
from rwcore.plugin.options import PACKAGED, PAPER, SETTINGS, STAND_IN, gpu_asked
from rwcore.plugin.subjects import Kind, SubjectSpec

ANY_MODEL = frozenset({"any-gated", "any-decoder", "identity", "ours"})
PAPERS: pytest.StashKey[dict[Path, Paper]] = pytest.StashKey()
STAND_INS: pytest.StashKey[dict[str, StandIn]] = pytest.StashKey()
# Shared studies that this session has run, with their subject.
STUDIED: pytest.StashKey[set[tuple[str, SubjectSpec]]] = pytest.StashKey()
REAL_MODELS = frozenset({Kind.PACKAGED, Kind.OTHER, Kind.PAPER})


@dataclass(frozen=True)
class Asked:
    """The models the options name.

    Attributes:
        stand_ins: Small models by id; empty when they are not asked.
        models: Ids of real models other than the papers' own.
        papers_own: Whether every published model is asked.
    """

    stand_ins: Mapping[str, StandIn]
    models: tuple[str, ...]
    papers_own: bool


def applies(
    expectation: Expectation, paper: Paper, spec: SubjectSpec, stand_ins: Mapping[str, StandIn]
) -> bool:
    """Whether an expectation says something about a subject."""
    scope = str(expectation.scope)
    if spec.kind is Kind.SYNTHETIC:
        return scope == "synthetic"
    listed = expand(paper, expectation.models)
    if scope in {"data", "published"}:
        if spec.kind is Kind.STAND_IN:
            return (
                scope == "published"
                and not expectation.together
                and _family(spec, stand_ins) in _families(listed)
            )
        if (scope == "data") is not (spec.kind is Kind.TABLES):
            return False
        if scope == "data" and expectation.needs.published_pages is not spec.pages:
            return False
        if expectation.together:
            return spec.models == tuple(listed)
        return len(spec.models) == 1 and spec.models[0] in listed
    if scope not in ANY_MODEL or spec.kind is Kind.TABLES or len(spec.models) != 1:
        return False
    if listed and spec.kind is not Kind.STAND_IN and spec.models[0] not in listed:
        return False
    if spec.kind is Kind.STAND_IN and scope != "identity" and not stand_ins[spec.id].null:
        return False
    if (scope == "any-gated" or expectation.gated) and not _gated(spec, stand_ins):
        return False
    return not expectation.biased or _biased(spec, stand_ins)


def subjects_of(
    paper: Paper, claims: Iterable[Claim], asked: Asked, *, with_papers_own: bool = True
) -> list[SubjectSpec]:
    """Every subject that one of the claims has an expectation for, in a fixed order.

    Args:
        paper: The paper of the claims.
        claims: The claims of one test.
        asked: The models the options name.
        with_papers_own: Whether the published models are listed too (they are skipped unless asked).
    """
    candidates: dict[SubjectSpec, None] = {SubjectSpec(Kind.SYNTHETIC, "synthetic", ()): None}
    expectations = [expectation for claim in claims for expectation in claim.expect]
    for expectation in expectations:
        listed = expand(paper, expectation.models)
        groups = [tuple(listed)] if expectation.together else [(model,) for model in listed]
        for models in groups:
            name = models[0] if len(models) == 1 else _group_name(expectation, models)
            if expectation.scope == "data":
                pages = expectation.needs.published_pages
                candidates[SubjectSpec(Kind.TABLES, name, models, paper.slug, pages)] = None
            elif expectation.scope == "published" and with_papers_own:
                candidates[SubjectSpec(Kind.PAPER, name, models)] = None
    for stand_in in asked.stand_ins.values():
        candidates[SubjectSpec(Kind.STAND_IN, stand_in.id, (stand_in.id,))] = None
    for model in asked.models:
        kind = _kind_of(model, paper)
        if SubjectSpec(Kind.PAPER, model, (model,)) not in candidates:
            candidates[SubjectSpec(kind, model, (model,))] = None
    return sorted(
        spec
        for spec in candidates
        if any(applies(expectation, paper, spec, asked.stand_ins) for expectation in expectations)
    )


def _group_name(expectation: Expectation, models: tuple[str, ...]) -> str:
    if len(expectation.models) == 1 and expectation.models[0].startswith("@"):
        return expectation.models[0].removeprefix("@")
    return "+".join(model.rpartition("/")[2] for model in models)


def _kind_of(model: str, paper: Paper) -> Kind:
    if "packaged" in find(model).groups:
        return Kind.PACKAGED
    published = expand(paper, [f"@{name}" for name in paper.groups])
    return Kind.PAPER if model in published else Kind.OTHER


def _family(spec: SubjectSpec, stand_ins: Mapping[str, StandIn]) -> str:
    return stand_ins[spec.id].family


def _families(models: Iterable[str]) -> set[str]:
    known = registry()
    return {str(known[model].family) for model in models if model in known}


def _gated(spec: SubjectSpec, stand_ins: Mapping[str, StandIn]) -> bool:
    """Whether the only model has a gate; one asked by name is not dropped in silence but gated later."""
    if spec.kind is Kind.STAND_IN:
        return stand_ins[spec.id].gated_mlp
    return spec.kind is Kind.OTHER or find(spec.models[0]).gated_mlp is not False


def _biased(spec: SubjectSpec, stand_ins: Mapping[str, StandIn]) -> bool:
    """Whether the MLP of the only model has input biases; where only its files tell, it is gated later."""
    from rwcore.weights.families import FAMILIES

    family = _family(spec, stand_ins) if spec.kind is Kind.STAND_IN else find(spec.models[0]).family
    return family is None or FAMILIES[family].biases


def asked_models(config: pytest.Config) -> Asked:
    """The models the options name.

    Raises:
        ModelError: A name is not known; the message suggests similar ones.
    """
    words = config.stash[SETTINGS].models
    stand_ins = config.stash[STAND_INS] if STAND_IN in words else {}
    packaged = (
        [spec.id for spec in registry().values() if "packaged" in spec.groups] if PACKAGED in words else []
    )
    named = [find(word).id for word in words if word not in {STAND_IN, PACKAGED, PAPER}]
    return Asked(stand_ins, tuple(dict.fromkeys([*packaged, *named])), PAPER in words or gpu_asked(config))


def paper_of(config: pytest.Config, test_file: Path) -> Paper | None:
    """The paper a test file belongs to: the one whose ``paper.toml`` lies beside it."""
    folder = test_file.parent
    papers = config.stash[PAPERS]
    if folder not in papers and (folder / "paper.toml").is_file():
        papers[folder] = load_paper(folder)
    return papers.get(folder)


def claims_of(paper: Paper, ids: Iterable[str], where: str) -> list[Claim]:
    """The claims a marker names.

    Raises:
        UsageError: The paper has no claim of that id.
    """
    by_id = {claim.id: claim for claim in paper.claims}
    unknown = [id_ for id_ in ids if id_ not in by_id]
    if unknown:
        raise pytest.UsageError(f"{where}: paper.toml of {paper.slug} has no claim {', '.join(unknown)}")
    return [by_id[id_] for id_ in ids]


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Collect the small models the project supplies."""
    config.stash[PAPERS] = {}
    config.stash[STUDIED] = set()
    supplied = config.hook.pytest_rw_stand_ins(config=config)
    config.stash[STAND_INS] = {stand_in.id: stand_in for several in supplied for stand_in in several}


def pytest_generate_tests(metafunc: Any) -> None:
    """Parametrize ``subject`` of a claim test."""
    marker = metafunc.definition.get_closest_marker("claim")
    if marker is None or "subject" not in metafunc.fixturenames:
        return
    where = metafunc.definition.nodeid
    try:
        paper = paper_of(metafunc.config, Path(str(metafunc.definition.path)))
        if paper is None:
            raise pytest.UsageError(f"{where}: a claim test needs a paper.toml beside it")
        specs = subjects_of(paper, claims_of(paper, marker.args, where), asked_models(metafunc.config))
    except RwcoreError as error:
        raise pytest.UsageError(str(error)) from error
    parameters = [
        pytest.param(spec, id=spec.test_id, marks=[pytest.mark.gpu] if spec.kind is Kind.PAPER else [])
        for spec in specs
    ]
    metafunc.parametrize("subject", parameters, indirect=True, scope="session")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the papers asked for; with a budget, put cheap claims first; let real models take their time."""
    settings = config.stash[SETTINGS]
    for item in items:
        spec = subject_spec(item)
        if spec is not None and spec.kind in REAL_MODELS:
            # The limit that stops a hanging test would stop a pass over a text, which takes minutes or days.
            item.add_marker(pytest.mark.timeout(0))
    if settings.papers:
        unwanted = [item for item in items if not _wanted(config, item, settings.papers)]
        if unwanted:
            config.hook.pytest_deselected(items=unwanted)
            items[:] = [item for item in items if item not in set(unwanted)]
    if settings.budget_seconds is not None:
        items.sort(key=lambda item: cost(config, item))


def _wanted(config: pytest.Config, item: pytest.Item, papers: tuple[str, ...]) -> bool:
    paper = paper_of(config, item.path)
    return paper is None or paper.slug in papers


def cost(config: pytest.Config, item: pytest.Item) -> float:
    """Seconds a claim test is expected to take; 0 for other tests.

    A study that its claims share counts until a test with the same subject has run it, and only for real
    models: that of a stand-in takes no time.
    """
    claims = _claims(config, item)
    if not claims:
        return 0.0
    alone = max(claim.cost for _, claim in claims)
    studies = {claim.study: paper.studies[claim.study] for paper, claim in claims if claim.study}
    subject = subject_spec(item)
    if subject is None or subject.kind not in REAL_MODELS:
        return alone
    return alone + sum(
        seconds for study, seconds in studies.items() if (study, subject) not in config.stash[STUDIED]
    )


def studied(config: pytest.Config, item: pytest.Item) -> None:
    """Note that a test has run, so that the studies it needed are in the store."""
    subject = subject_spec(item)
    if subject is not None:
        found = {(claim.study, subject) for _, claim in _claims(config, item) if claim.study}
        config.stash[STUDIED] |= found


def _claims(config: pytest.Config, item: pytest.Item) -> list[tuple[Paper, Claim]]:
    marker = item.get_closest_marker("claim")
    paper = paper_of(config, item.path)
    if marker is None or paper is None:
        return []
    return [(paper, claim) for claim in claims_of(paper, marker.args, item.nodeid)]


def subject_spec(item: pytest.Item) -> SubjectSpec | None:
    """The subject a claim test is parametrized with."""
    callspec = getattr(item, "callspec", None)
    spec = callspec.params.get("subject") if callspec is not None else None
    return spec if isinstance(spec, SubjectSpec) else None
