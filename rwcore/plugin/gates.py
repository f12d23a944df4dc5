"""Whether a claim can run here and now; if not, a reason that says what would make it run."""

from __future__ import annotations

import time

import pytest

from rwcore.claim.schema import Needs
from rwcore.errors import WeightsMissing
from rwcore.models.locate import locate
from rwcore.models.registry import find
from rwcore.plugin.checks import CHECKS
from rwcore.plugin.options import PAPER, SETTINGS, gpu_asked
from rwcore.plugin.parametrize import cost
from rwcore.plugin.subjects import Kind, SubjectSpec

STARTED: pytest.StashKey[float] = pytest.StashKey()
NOT_RUN: pytest.StashKey[str] = pytest.StashKey()
GIB = 2**30


def pytest_sessionstart(session: pytest.Session) -> None:
    """Start the clock of the budget."""
    session.config.stash[STARTED] = time.monotonic()


def subject_spec(item: pytest.Item) -> SubjectSpec | None:
    """The subject a claim test is parametrized with."""
    callspec = getattr(item, "callspec", None)
    spec = callspec.params.get("subject") if callspec is not None else None
    return spec if isinstance(spec, SubjectSpec) else None


def reason_not_to_run(item: pytest.Item) -> str | None:
    """Why a claim test cannot run, with the command that would make it run; None if it can."""
    spec = subject_spec(item)
    if spec is None:
        return None
    config = item.config
    return (
        _not_asked(config, item, spec)
        or _weights_missing(spec)
        or _gate_missing(item, spec)
        or _memory_missing(item, spec)
        or _over_budget(config, item)
    )


def _not_asked(config: pytest.Config, item: pytest.Item, spec: SubjectSpec) -> str | None:
    if spec.kind is not Kind.PAPER:
        return None
    words = config.stash[SETTINGS].models
    explicit = any(argument.endswith("]") and argument in item.nodeid for argument in config.args)
    if PAPER in words or gpu_asked(config) or explicit or set(spec.models) <= set(words):
        return None
    alone = f"pytest claims --rw-models {','.join(spec.models)}"
    return f"belongs to the full reproduction: `pytest -m gpu`, or `{alone}`"


def _weights_missing(spec: SubjectSpec) -> str | None:
    if spec.kind not in {Kind.PACKAGED, Kind.OTHER, Kind.PAPER}:
        return None
    missing = []
    for model in spec.models:
        try:
            locate(find(model))
        except WeightsMissing as error:
            missing.append((model, error.remedy or f"rwcore fetch {model}"))
    if not missing:
        return None
    names = ", ".join(model for model, _ in missing)
    return f"the weights of {names} are not on this machine: {'; '.join(remedy for _, remedy in missing)}"


def _gate_missing(item: pytest.Item, spec: SubjectSpec) -> str | None:
    """A model that was asked by name may have no gate; only its files tell."""
    if spec.kind is not Kind.OTHER:
        return None
    from rwcore.weights.shape import read_shape

    checks = item.stash.get(CHECKS, None)
    about_gates = checks is not None and all(pair[2].scope == "any-gated" for pair in checks.pairs)
    if not about_gates or read_shape(locate(find(spec.models[0]))).gated_mlp:
        return None
    return f"the claim is about gated neurons and the MLP of {spec.id} has no gate: ask a gated model"


def _memory_missing(item: pytest.Item, spec: SubjectSpec) -> str | None:
    """Weight claims stream: they need a few float32 layers, whatever the size of the model."""
    if spec.kind is not Kind.PAPER:
        return None
    import psutil

    shapes = [(found.d_mlp or 0, found.d_model or 0) for found in map(find, spec.models)]
    layers = 2 * max((3 * 4 * d_mlp * d_model for d_mlp, d_model in shapes), default=0)
    needs = _needs(item)
    needed = max([layers / GIB, *(need.ram_gib for need in needs if need.ram_gib is not None)])
    free = psutil.virtual_memory().available / GIB
    if needed <= free:
        return _gpu_missing(max((need.gpu_gib for need in needs if need.gpu_gib is not None), default=0.0))
    return f"needs {needed:.1f} GiB of free memory, {free:.1f} GiB are: run on a larger machine"


def _gpu_missing(needed: float) -> str | None:
    if not needed:
        return None
    import torch

    free = torch.cuda.mem_get_info()[0] / GIB if torch.cuda.is_available() else 0.0
    if needed <= free:
        return None
    here = f"{free:.1f} GiB are free" if free else "none is visible"
    return f"needs a CUDA device with {needed:.1f} GiB, {here}: run on a GPU machine"


def _needs(item: pytest.Item) -> list[Needs]:
    checks = item.stash.get(CHECKS, None)
    return [expectation.needs for _, _, expectation in checks.pairs] if checks is not None else []


def _over_budget(config: pytest.Config, item: pytest.Item) -> str | None:
    budget = config.stash[SETTINGS].budget_seconds
    if budget is None:
        return None
    elapsed = time.monotonic() - config.stash[STARTED]
    if elapsed + cost(config, item) <= budget:
        return None
    return f"over budget after {elapsed / 60:.1f} min: raise --rw-budget (now {budget / 60:g} min)"


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a claim that cannot run; with ``--rw-strict``, fail it."""
    reason = reason_not_to_run(item)
    if reason is None:
        return
    item.stash[NOT_RUN] = reason
    if item.config.stash[SETTINGS].strict:
        pytest.fail(f"not run: {reason}", pytrace=False)
    pytest.skip(f"not run: {reason}")
