"""Whether a claim can run here and now; if not, a reason that says what would make it run."""

from __future__ import annotations

import math
import time

import pytest

from rwcore.claim.needs import Needs
from rwcore.claim.schema import Expectation
from rwcore.errors import CorpusError, WeightsMissing
from rwcore.models.locate import locate
from rwcore.models.registry import find
from rwcore.models.spec import ModelSpec
from rwcore.plugin.asked_features import first_missing
from rwcore.plugin.checks import CHECKS
from rwcore.plugin.options import PAPER, SETTINGS, gpu_asked
from rwcore.plugin.parametrize import REAL_MODELS, cost, subject_spec
from rwcore.plugin.subjects import Kind, SubjectSpec

STARTED: pytest.StashKey[float] = pytest.StashKey()
NOT_RUN: pytest.StashKey[str] = pytest.StashKey()
GIB = 2**30


def pytest_sessionstart(session: pytest.Session) -> None:
    """Start the clock of the budget."""
    session.config.stash[STARTED] = time.monotonic()


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
        or _biases_missing(item, spec)
        or _corpus_missing(item, spec)
        or _pages_missing(config, item, spec)
        or _facts_missing(config, item, spec)
        or _features_missing(config, item, spec)
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
    if spec.kind not in REAL_MODELS:
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
    about_gates = checks is not None and all(
        expectation.gated or expectation.scope == "any-gated" for _, _, expectation in checks.pairs
    )
    if not about_gates or read_shape(locate(find(spec.models[0]))).gated_mlp:
        return None
    return f"the claim is about gated neurons and the MLP of {spec.id} has no gate: ask a gated model"


def _biases_missing(item: pytest.Item, spec: SubjectSpec) -> str | None:
    """Of a model that is not registered only the files tell."""
    if spec.kind not in REAL_MODELS:
        return None
    from rwcore.probing.weight_statistics import has_input_biases

    checks = item.stash.get(CHECKS, None)
    about_biases = checks is not None and all(expectation.biased for _, _, expectation in checks.pairs)
    if not about_biases or has_input_biases(locate(find(spec.models[0]))):
        return None
    return f"the claim is about input biases and the MLP of {spec.id} has none: ask e.g. gpt2"


def _corpus_missing(item: pytest.Item, spec: SubjectSpec) -> str | None:
    """The papers' models are run on the papers' text; any other model on one that needs no download."""
    if spec.kind is not Kind.PAPER:
        return None
    from rwcore.corpora.hub import snapshot
    from rwcore.corpora.registry import find as find_corpus
    from rwcore.corpora.spec import HUB

    for name in _corpora(item):
        corpus = find_corpus(name)
        try:
            if corpus.source == HUB:
                snapshot(corpus)
        except CorpusError as error:
            return f"{error.what}: rwcore fetch --corpus {name}"
    return None


def _pages_missing(config: pytest.Config, item: pytest.Item, spec: SubjectSpec) -> str | None:
    """Published neuron pages are hundreds of megabytes, which a person fetches if they are wanted."""
    if spec.kind not in {Kind.TABLES, Kind.PAPER} or config.stash[SETTINGS].published_pages is not None:
        return None
    if not any(need.published_pages for need in _needs(item)):
        return None
    return "needs the files of published neuron pages: --rw-published-pages DIR (README.md of the paper)"


def _facts_missing(config: pytest.Config, item: pytest.Item, spec: SubjectSpec) -> str | None:
    """The papers' facts belong to others, and the text about their subjects has gigabytes."""
    given = config.stash[SETTINGS].knowledge is not None
    if spec.kind is not Kind.PAPER or given or not any(need.knowns for need in _needs(item)):
        return None
    return (
        "needs the paper's facts and a text about their subjects: --rw-knowns FILE --rw-passages SOURCE "
        "(README.md of the paper)"
    )


def _features_missing(config: pytest.Config, item: pytest.Item, spec: SubjectSpec) -> str | None:
    """A test runs if one of its expectations has its texts; the others are not checked, see `other_text`."""
    if spec.kind is not Kind.PAPER:
        return None
    texts = config.stash[SETTINGS].features
    reasons = [first_missing(texts, need.features) for need in _needs(item)]
    return next(iter(reasons), None) if all(reasons) else None


def other_text(config: pytest.Config, expectation: Expectation, spec: SubjectSpec) -> str | None:
    """Why an expectation is not checked with the texts that were given; None if it is.

    Other expectations of the same test may be: orders outlive a change of text that values do not, and other
    features may have their texts.
    """
    if spec.kind is Kind.PAPER and expectation.needs.features:
        return first_missing(config.stash[SETTINGS].features, expectation.needs.features)
    knowledge = config.stash[SETTINGS].knowledge
    wanted = expectation.needs.passages
    if wanted is None or spec.kind is not Kind.PAPER or knowledge is None:
        return None
    if wanted in knowledge.passages.replace("\\", "/").rpartition("/")[2]:
        return None
    return f"its value depends on the text, which must be {wanted}: --rw-passages {wanted}…"


def _corpora(item: pytest.Item) -> list[str]:
    """The corpora that the claims of a test name, also in expectations about other models."""
    checks = item.stash.get(CHECKS, None)
    claims = checks.claims if checks is not None else []
    named = [expectation.needs.corpus for claim in claims for expectation in claim.expect]
    return list(dict.fromkeys(name for name in named if name is not None))


def _memory_missing(item: pytest.Item, spec: SubjectSpec) -> str | None:
    """Weight claims stream: they need a few float32 layers, whatever the size of the model.

    Where text is read the whole model runs in float32: on a GPU that has room for it, else in memory.
    """
    if spec.kind is not Kind.PAPER:
        return None
    import psutil

    found = [find(model) for model in spec.models]
    needs = _needs(item)
    if _corpora(item) or any(need.knowns or need.features for need in needs):
        # One model at a time; a tenth for the activations of a batch.
        whole = 1.1 * 4 * max(map(_parameters, found)) / GIB
        if _gpu_missing(whole) is None:
            return None
        return _too_large(whole, psutil.virtual_memory().available / GIB, "or a GPU with as much")
    layers = 2 * max((3 * 4 * (one.d_mlp or 0) * (one.d_model or 0) for one in found), default=0)
    needed = max([layers / GIB, *(need.ram_gib for need in needs if need.ram_gib is not None)])
    free = psutil.virtual_memory().available / GIB
    gpu = max((need.gpu_gib for need in needs if need.gpu_gib is not None), default=0.0)
    return _too_large(needed, free) or _gpu_missing(gpu)


def _parameters(model: ModelSpec) -> int:
    """Numbers in the weight files, from their headers."""
    from rwcore.weights.sources import open_source

    source = open_source(locate(model))
    return sum(math.prod(source.shape(name)) for name in source.names)


def _too_large(needed: float, free: float, otherwise: str = "") -> str | None:
    if needed <= free:
        return None
    also = f", {otherwise}" if otherwise else ""
    return f"needs {needed:.1f} GiB of free memory{also}, {free:.1f} GiB are: run on a larger machine"


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
