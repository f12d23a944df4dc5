"""Claims about the paper's models, asked of probes that find exactly what was published."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from rwcore.claim.compare import evaluate
from rwcore.claim.published import expected_for
from rwcore.claim.schema import Claim, Expectation, expand, load_paper
from rwcore.golden.paths import published_dir
from rwcore.paths import claims_dir
from rwcore.plugin.asked_features import FeatureTexts
from rwcore.plugin.model_subject import ModelSubject
from rwcore.plugin.paper_probes import PaperProbes
from rwcore.plugin.parametrize import applies
from rwcore.plugin.probing_tables import dataset_sizes, neurons, notebook
from rwcore.plugin.subjects import Kind, SubjectSpec
from rwcore.plugin.tables import TablesSubject

FOLDER = claims_dir() / "sparse_probing"
FOUND = load_paper(FOLDER)
MODELS = expand(FOUND, ["@v0"])


class Published:
    """Probes of a model that find what its published lists have, of some data sets."""

    def __init__(self, model: str, only: Iterable[str] | None = None) -> None:
        spec = SubjectSpec(Kind.TABLES, model, (model,), "sparse_probing")
        self.tables = TablesSubject(spec, published_dir("sparse_probing"))
        self.only = None if only is None else set(only)

    def neurons(self, files: Iterable[str], datasets: Iterable[str]) -> pd.DataFrame:
        names = [name for name in datasets if self.only is None or name in self.only]
        return neurons(self.tables, *files, datasets=names)

    def sizes(self, datasets: Iterable[str]) -> pd.DataFrame:
        sizes = dataset_sizes(self.tables)
        return sizes[[self.only is None or name.split(" ")[0] in self.only for name in sizes.index]]

    def candidates(self, dataset: str) -> pd.DataFrame:
        assert dataset == "suffixes"
        found = notebook(self.tables, "suffix_top25_k1_unnormalised")
        neuron, layer = found["support"].str.strip("[]").astype(int), found["layer"].astype(int)
        named = found.replace({"feature": {"ends_with_('tion', 'sion')": "suffix_tion"}})
        return named.assign(neuron=neuron, layer=layer)


class Asked(ModelSubject):
    """A paper's own model, without weights."""

    def __init__(self, model: str, only: Iterable[str] | None = None) -> None:
        super().__init__(SubjectSpec(Kind.PAPER, model, (model,)), (), None, None, recorded=False)  # type: ignore[arg-type]
        self.paper_probes = Published(model, only)  # type: ignore[assignment]
        self.language_probes = SimpleNamespace(perfect=1, table=[0], own_context=0)  # type: ignore[assignment]
        self.own_text_probes = SimpleNamespace(genders=dict.fromkeys("abc", 1.0))  # type: ignore[assignment]


class Judge:
    """Keeps the quantities of a claim test."""

    def __init__(self) -> None:
        self.quantities: dict[str, Any] = {}

    def check(self, **quantities: Any) -> None:
        self.quantities |= quantities


def claim_tests() -> Iterator[tuple[Callable[..., None], tuple[str, ...]]]:
    """Claim tests about probes, and their claims."""
    for name in ("test_context", "test_tables", "test_data_sets"):
        spec = importlib.util.spec_from_file_location(f"claims_{name}", FOLDER / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        for function in vars(module).values():
            marks = getattr(function, "pytestmark", [])
            ids = tuple(id_ for mark in marks if mark.name == "claim" for id_ in mark.args)
            if ids:
                yield function, ids


def asked_of(model: str, ids: Iterable[str]) -> list[tuple[Claim, Expectation]]:
    """What is published about probes of a model."""
    spec = SubjectSpec(Kind.PAPER, model, (model,))
    claims = [FOUND.claim(id_) for id_ in ids]
    pairs = [(claim, one) for claim in claims for one in claim.expect if applies(one, FOUND, spec, {})]
    return [(claim, one) for claim, one in pairs if one.scope == "published" and one.needs.features]


@pytest.mark.parametrize("model", MODELS)
def test_what_was_published_is_reproduced(model: str) -> None:
    """So the names of neurons, features and quantities are those that the claims ask for."""
    checked = set()
    for function, ids in claim_tests():
        pairs = asked_of(model, ids)
        if not pairs:
            continue
        judge = Judge()
        function(Asked(model), judge)
        for claim, one in pairs:
            expected = expected_for(FOUND, claim, one, (model,))
            outcome = evaluate(one, judge.quantities, expected, None)
            assert outcome.agrees, (claim.id, one.quantity, outcome)
            checked.add(claim.id)
    assert len(checked) >= 18


def test_tests_end_without_any_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is then checked of probes; other expectations of a test may be."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    ended = 0
    for function, ids in claim_tests():
        if asked_of(MODELS[0], ids) and "C81" not in ids:
            asked = Asked(MODELS[0])
            asked.paper_probes = PaperProbes(None, FeatureTexts())  # type: ignore[arg-type]
            function(asked, Judge())
            ended += 1
    assert ended >= 5


@pytest.mark.parametrize("only", [("ewt",), ("natural_lang_id",), ("compound_words",), ("text_features",)])
def test_tests_end_with_some_of_the_texts(only: tuple[str, ...]) -> None:
    """What there are no texts for is not checked, and must not stop what there are texts for."""
    for model in MODELS[:2]:
        quantities = {}
        for function, ids in claim_tests():
            if asked_of(model, ids) and "C81" not in ids:
                judge = Judge()
                function(Asked(model, only), judge)
                quantities |= judge.quantities
        assert quantities  # of what there are texts for
