"""Rates of runs with intervals over subjects; and which facts a model is asked."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from rwcore.ablation.compare import AS_PUBLISHED, FIXED, RunLabel
from rwcore.claim.needs import Needs
from rwcore.claim.schema import Expectation
from rwcore.claim.values import Interval
from rwcore.errors import ClaimFileError, ModelError, OptionError
from rwcore.plugin import asked_facts
from rwcore.plugin.attribute_rates import Curves, RateNumbers, model_rates, published_rates
from rwcore.plugin.checks import CHECKS
from rwcore.plugin.gates import _facts_missing, other_text
from rwcore.plugin.options import SETTINGS, Knowledge, _knowledge
from rwcore.plugin.subjects import Kind, SubjectSpec
from rwcore.stats.cosines import RWCosines
from rwcore.studies.failures import Failure
from rwcore.tests.neuroscope_claims import tiny_subject

WEAKENING, RANDOM = RunLabel("weakening", "zero"), RunLabel("weakening", "zero", baseline=True)
NOBODY = RunLabel("weakening@500", "zero")
# Prompts 0 to 2 are about subject 0, the others about one each. The first column is the embedding.
SUBJECTS = torch.tensor([0, 0, 0, 1, 2])
CLEAN = torch.tensor([[99.0, 10, 20], [99, 10, 20], [99, 10, 20], [99, 50, 60], [99, -1, 70]])


class Study:
    """Two weakening neurons; without them every known rate falls by 5, in the second layer by 7."""

    def __init__(self, *, fails: bool = False) -> None:
        linout = torch.tensor([[-0.9, -0.9, 0.0, 0.0, 0.0, 0.0]])
        ones, zero = torch.ones_like(linout), torch.zeros_like(linout)
        large = linout.abs() > 0.5
        cosines = RWCosines(
            gatelin=torch.where(large, ones, zero), gateout=torch.where(large, -ones, zero), linout=linout
        )
        self.weights = SimpleNamespace(cosines=cosines)
        self.subject_numbers = SUBJECTS
        self.fails = fails
        self.asked: list[Any] = []

    def clean(self) -> torch.Tensor:
        return CLEAN

    def runs(self, experiments: list[Any]) -> list[Any]:
        self.asked += experiments
        if self.fails:
            return [Failure("weakening zero", "no memory left", "layer 3", "use a larger machine")]
        fallen = torch.where(CLEAN >= 0, CLEAN - torch.tensor([0.0, 5, 7]), CLEAN)
        return [CLEAN if one.label.baseline else fallen for one in experiments]


def found(*runs: RunLabel, **options: bool) -> RateNumbers:
    study: Any = Study(**options)
    return model_rates(study, runs)


def test_means_are_over_prompts_with_a_rate() -> None:
    numbers = found(WEAKENING, RANDOM)
    assert numbers.curve().tolist() == [80 / 4, 190 / 5]
    assert numbers.curve(WEAKENING).tolist() == [15, 31]
    assert numbers.curve(RANDOM).tolist() == numbers.curve().tolist()
    assert numbers.sizes == {WEAKENING: 2, RANDOM: 2}


def test_intervals_are_over_subjects_which_are_the_same_in_all_runs() -> None:
    def derive(curve: Curves) -> dict[str, Any]:
        return {
            "fall": (curve() - curve(WEAKENING)).mean(-1),
            "random": (curve() - curve(RANDOM)).mean(-1),
            "last": curve()[..., -1],
        }

    numbers = found(WEAKENING, RANDOM).numbers(derive)
    assert numbers["random"] == Interval(0, 0, 0)
    fall, last = numbers["fall"], numbers["last"]
    assert isinstance(fall, Interval)
    assert isinstance(last, Interval)
    assert (fall.low, fall.estimate, fall.high) == pytest.approx((6, 6, 6))
    # Means of three drawn subjects: 20 if all are the first one (1 draw of 27), 70 if all are the last.
    assert (last.low, last.estimate, last.high) == (20, 38, 70)


def test_neurons_that_the_model_has_not_have_no_rate() -> None:
    numbers = found(NOBODY)
    assert numbers.sizes == {NOBODY: 0}
    assert np.isnan(numbers.curve(NOBODY)).tolist() == [True, True]
    drop = numbers.numbers(lambda curve: {"drop": (curve() - curve(NOBODY)).mean(-1)})["drop"]
    assert isinstance(drop, Interval)
    assert math.isnan(drop.low)


def test_every_run_is_made_once_and_a_failure_is_an_error() -> None:
    study: Any = Study()
    model_rates(study, [WEAKENING, WEAKENING])
    assert [one.label for one in study.asked] == [WEAKENING]
    with pytest.raises(ModelError, match="no memory left") as caught:
        found(WEAKENING, fails=True)
    assert caught.value.remedy == "use a larger machine"


def published() -> pd.DataFrame:
    rows = [
        ("weakening243", "zero", series, layer, rate + layer)
        for series, rate in (("clean", 10.0), ("ablated", 8.0), ("baseline", 9.0))
        for layer in (1, 0)
    ]
    return pd.DataFrame(rows, columns=["subset", "ablation", "series", "layer", "rate"])


def test_published_curves() -> None:
    chosen, random = (RunLabel("weakening@243", "zero", baseline=baseline) for baseline in (False, True))
    numbers = published_rates(published(), [chosen, random])
    assert numbers.curve().tolist() == [10, 11]
    assert numbers.numbers(lambda curve: {"mean": curve(chosen).mean(-1)}) == {"mean": 8.5}
    keys = ["series", "layer"]
    pd.testing.assert_frame_equal(
        numbers.table.sort_values(keys).reset_index(drop=True),
        published().sort_values(keys).reset_index(drop=True),
    )
    with pytest.raises(ClaimFileError, match="no whole clean curve"):
        published_rates(published(), [RunLabel("weakening@243", "mean")])
    with pytest.raises(ClaimFileError, match="no whole baseline curve"):
        published_rates(published().drop(index=4), [random])


@pytest.mark.parametrize(
    ("kind", "theirs", "convention", "retrieval", "k"),
    [
        (Kind.PAPER, True, AS_PUBLISHED, "bm25", 50),
        (Kind.OTHER, True, FIXED, "bm25", 50),
        (Kind.PACKAGED, False, FIXED, "title", 50),
        (Kind.STAND_IN, False, AS_PUBLISHED, "title", 5),
    ],
)
def test_recorded_models_are_asked_our_own_facts(
    kind: Kind, theirs: bool, convention: str, retrieval: str, k: int,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    facts, texts = tmp_path / "facts.json", tmp_path / "texts.jsonl"
    fact = {"subject": "Anna", "relation_id": "r", "attribute": "x", "template": "{} is"}
    facts.write_text(json.dumps([fact]), encoding="utf-8")
    texts.write_text(json.dumps({"title": "Anna", "text": "Anna is x."}) + "\n", encoding="utf-8")
    taken: list[Any] = []

    def find(*given: Any, **_: Any) -> dict[str, Any]:
        taken.append(given)
        return {}

    monkeypatch.setattr(asked_facts, "find_passages", find)
    weights = tiny_subject(tmp_path).weight_study()
    study = asked_facts.attribute_study(weights, kind, Knowledge(str(facts), str(texts)))
    ((_, subjects, options),) = taken
    assert (options.convention, options.retrieval) == (convention, retrieval)
    assert (list(subjects) == ["Anna"]) is theirs
    assert (len(study.facts) == 1) is theirs
    assert (study.options.convention, study.options.k) == (convention, k)
    assert isinstance(study, asked_facts.LettersStudy) is (kind is Kind.STAND_IN)
    own = asked_facts.attribute_study(weights, kind, None)
    assert len(own.facts) > 50


def test_a_small_model_is_asked_for_letters(tmp_path: Path) -> None:
    study = asked_facts.attribute_study(tiny_subject(tmp_path).weight_study(), Kind.STAND_IN, None)
    assert all(one.known for one in study.judgements)
    text = study.passages[study.subjects[0]][0].text
    texts = study.words.texts
    members = {texts[token] for token in study.sets.member[0].nonzero()[:, 0].tolist()}
    assert members & set("abcdefghijklmnopqrstuvwxyz") == {
        letter for letter in text[: asked_facts.LETTERS] if letter.islower() and letter in texts
    }
    assert bool(study.sets.rated[0])


def test_a_papers_model_waits_for_the_papers_facts() -> None:
    expectation = Expectation.model_validate(
        {"scope": "ours", "needs": {"knowns": True}, "holds": {"kind": "exact", "value": 0}}
    )
    item: Any = SimpleNamespace(stash={CHECKS: SimpleNamespace(pairs=[(None, 0, expectation)])})
    paper, other = (SubjectSpec(kind, "org/a", ("org/a",)) for kind in (Kind.PAPER, Kind.OTHER))
    nothing: Any = SimpleNamespace(stash={SETTINGS: SimpleNamespace(knowledge=None)})
    given: Any = SimpleNamespace(stash={SETTINGS: SimpleNamespace(knowledge=Knowledge("f.json", "t.jsonl"))})
    assert "--rw-knowns FILE --rw-passages SOURCE" in str(_facts_missing(nothing, item, paper))
    assert _facts_missing(given, item, paper) is None
    assert _facts_missing(nothing, item, other) is None


def test_facts_and_text_are_given_together() -> None:
    assert _knowledge(None, None) is None
    assert _knowledge("facts.json", "dump.xml.bz2") == Knowledge("facts.json", "dump.xml.bz2")
    with pytest.raises(OptionError, match="--rw-knowns without --rw-passages"):
        _knowledge("facts.json", None)
    with pytest.raises(OptionError, match="--rw-passages without --rw-knowns"):
        _knowledge(None, "dump.xml.bz2")


@pytest.mark.parametrize(
    ("kind", "passages", "checked"),
    [
        (Kind.PAPER, "/data/enwiki-20211020-pages-articles-multistream.xml.bz2", True),
        (Kind.PAPER, "/data/enwiki-20240101-pages-articles-multistream.xml.bz2", False),
        (Kind.PAPER, "/data/enwiki-20211020/some.jsonl", False),
        (Kind.STAND_IN, "some.jsonl", True),
    ],
)
def test_values_are_compared_on_the_papers_text_only(kind: Kind, passages: str, checked: bool) -> None:
    settings = SimpleNamespace(knowledge=Knowledge("facts.json", str(Path(passages))))
    config: Any = SimpleNamespace(stash={SETTINGS: settings})
    spec = SubjectSpec(kind, "org/a", ("org/a",))
    for needs, wanted in ((Needs(passages="enwiki-20211020"), checked), (Needs(knowns=True), True)):
        expectation = Expectation.model_validate(
            {"scope": "ours", "needs": needs, "holds": {"kind": "exact", "value": 0}}
        )
        reason = other_text(config, expectation, spec)
        assert (reason is None) is wanted
        assert reason is None or "--rw-passages enwiki-20211020" in reason
