"""Numbers made from ablated runs, with intervals; and what the published tables say of themselves."""

from __future__ import annotations

import importlib.util
import inspect
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fixtures.letters import save_letters
from fixtures.planted import VOCAB, plant
from fixtures.tiny import local_model
from rwcore.ablation.compare import AS_PUBLISHED, RunLabel, differences
from rwcore.claim.compare import evaluate
from rwcore.claim.published import expected_for
from rwcore.claim.schema import load_paper
from rwcore.claim.values import Interval
from rwcore.corpora.encoder import read_encoder
from rwcore.corpora.prepare import prepare
from rwcore.errors import ClaimFileError, ModelError
from rwcore.golden.paths import published_dir
from rwcore.paths import claims_dir
from rwcore.plugin.ablations import (
    AblationNumbers,
    Lookup,
    experiment,
    keys_of,
    model_numbers,
    published_numbers,
)
from rwcore.plugin.subjects import Kind, SubjectSpec
from rwcore.plugin.tables import TablesSubject
from rwcore.plugin.text import stand_in_text
from rwcore.store import Store
from rwcore.studies.ablation_runs import read_run
from rwcore.studies.ablations import AblationStudy
from rwcore.studies.failures import Failure
from rwcore.studies.weights import weight_study

PAPER = "rw_functionalities"
MODELS = ("allenai/OLMo-7B-0424-hf", "meta-llama/Llama-3.2-3B")
WEAKENING, RANDOM = RunLabel("weakening", "zero"), RunLabel("weakening", "zero", baseline=True)
TWO = RunLabel("weakening@2", "zero", gate="-", post="+")
NOBODY = RunLabel("weakening@500", "zero")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> AblationStudy:
    folder = tmp_path_factory.mktemp("planted")
    local = local_model(save_letters(plant("llama", folder / "model").folder, VOCAB), family="llama")
    store = Store(folder / "store")
    weights = weight_study(local, store=store)
    encoder = read_encoder(local)
    return AblationStudy(weights, prepare(stand_in_text(encoder), encoder, store), convention=AS_PUBLISHED)


def test_keys_of_a_run() -> None:
    assert keys_of(TWO) == {
        "mode": "zero",
        "set": "weakening",
        "size": "2",
        "baseline": False,
        "gate": "-",
        "post": "+",
    }
    assert keys_of(RANDOM)["size"] == "all"


def test_numbers_of_a_model_are_those_of_its_runs(study: AblationStudy) -> None:
    found = model_numbers(study, [WEAKENING, RANDOM, TWO])
    assert found.sizes == {WEAKENING: 6, RANDOM: 6, TWO: 2}
    assert found.table["metric"].tolist() == 3 * ["loss", "entropy", "rank", "log_scale"]
    clean = study.clean()
    for run in (WEAKENING, RANDOM, TWO):
        planned = experiment(study, run)
        assert planned is not None
        (folder,) = study.runs([planned])
        assert isinstance(folder, Path)
        part = differences(clean, read_run(folder), study.corpus, "loss")
        assert found.estimates("loss", run) == pytest.approx(part.values.mean(), rel=1e-9)
        assert found.statistic("loss", run, "changed") <= 1

    def derive(mean: Lookup) -> dict[str, Any]:
        one, other = mean("loss", WEAKENING), mean("loss", RANDOM)
        return {"one": one, "difference": one - other, "nothing": one - one, "undefined": 0 * one / 0.0}

    numbers = found.numbers(derive)
    one, difference = numbers["one"], numbers["difference"]
    assert isinstance(one, Interval)
    assert isinstance(difference, Interval)
    assert one.low < one.estimate < one.high
    # Draws are of the same documents, so that equal runs do not differ in any of them.
    assert numbers["nothing"] == Interval(0.0, 0.0, 0.0)
    assert isinstance(numbers["undefined"], Interval)
    assert math.isnan(numbers["undefined"].estimate)
    # The table is as published: its means are of what changed, in half precision.
    (mean,) = found.table.loc[(found.table["metric"] == "rank") & found.table["gate"].eq("-"), "mean"]
    assert mean.estimate != pytest.approx(float(found.estimates("rank", TWO)), rel=1e-3)


def test_a_set_that_the_model_has_not_is_not_a_number(study: AblationStudy) -> None:
    found = model_numbers(study, [NOBODY, TWO])
    assert found.sizes[NOBODY] == 0
    assert math.isnan(float(found.estimates("loss", NOBODY)))
    assert math.isnan(found.statistic("loss", NOBODY, "median"))
    assert set(found.table["size"]) == {"2"}
    numbers = found.numbers(lambda mean: {"most": np.maximum(mean("loss", NOBODY), mean("loss", TWO))})
    assert isinstance(numbers["most"], Interval)
    assert math.isnan(numbers["most"].low)
    assert model_numbers(study, [NOBODY]).table.empty


def test_a_run_that_fails_is_an_error(study: AblationStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    failure = Failure("weakening zero", "no memory left", "layer 3", "use a larger machine")
    monkeypatch.setattr(AblationStudy, "runs", lambda self, planned: [failure for _ in planned])
    with pytest.raises(ModelError, match="weakening zero: no memory left") as caught:
        model_numbers(study, [TWO])
    assert caught.value.remedy == failure.remedy


def test_numbers_of_a_published_table() -> None:
    rows = [
        ("zero", metric, "weakening", size, False, gate, post, mean)
        for size, gate, post, mean in (("all", "", "", -4.0), ("2", "-", "+", -2.0))
        for metric in ("loss", "entropy")
    ]
    columns = ["mode", "metric", "set", "size", "baseline", "gate", "post", "mean"]
    table = pd.DataFrame([*rows, rows[0]], columns=columns)
    found = published_numbers(table, [WEAKENING, TWO], {"weakening": 6, "2": 2})
    assert len(found.table) == 4
    assert found.sizes == {WEAKENING: 6, TWO: 2}
    assert found.numbers(lambda mean: {"r": mean("loss", WEAKENING) / mean("loss", TWO)}) == {"r": 2.0}
    with pytest.raises(ClaimFileError, match="no run"):
        published_numbers(table, [RANDOM], {"weakening": 6})


def claim_tests() -> list[Any]:
    file = claims_dir() / PAPER / "test_ablations.py"
    spec = importlib.util.spec_from_file_location("claims_about_ablations", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return [value for name, value in vars(module).items() if name.startswith("test_")]


class Taken:
    """Stands in for the fixtures ``claim`` and ``golden``."""

    def __init__(self) -> None:
        self.quantities: dict[str, Any] = {}

    def check(self, value: Any = None, **quantities: Any) -> None:
        self.quantities |= quantities


@pytest.mark.parametrize("function", claim_tests(), ids=lambda function: function.__name__)
def test_published_values_agree_with_themselves(function: Any) -> None:
    """What a claim about a published model compares is what it says: right rows, columns, signs."""
    paper = load_paper(claims_dir() / PAPER)
    (marker,) = (one for one in function.pytestmark if one.name == "claim")
    compared = 0
    for model in MODELS:
        wanted = [
            (claim, expectation)
            for claim in map(paper.claim, marker.args)
            for expectation in claim.expect
            if expectation.scope == "published" and model in expectation.models
        ]
        if not wanted:
            continue
        taken = Taken()
        subject = TablesSubject(SubjectSpec(Kind.TABLES, model, (model,), PAPER), published_dir(PAPER))
        arguments = dict(zip(("subject", "claim", "golden"), (subject, taken, Taken()), strict=True))
        function(**{name: arguments[name] for name in inspect.signature(function).parameters})
        for claim, expectation in wanted:
            expected = expected_for(paper, claim, expectation, model)
            if expectation.invalid is None:
                assert evaluate(expectation, taken.quantities, expected).agrees, expectation.label
            else:
                assert expected is not None
            compared += 1
    # One claim has no published model at all: what is asked of any model is tested there.
    assert compared or function.__name__ == "test_numbers_of_predictions"


def test_every_number_has_its_interval() -> None:
    """A lookup without draws is a table's; the report shows a number then."""
    numbers = AblationNumbers(pd.DataFrame(), {}, {("loss", TWO): 1.0})
    assert numbers.numbers(lambda mean: {"a": mean("loss", TWO)}) == {"a": 1.0}
