"""Every claim about attributes rates fails where one thing is changed: published curves, ours, or a model."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from rwcore.ablation.compare import RunLabel
from rwcore.claim.schema import load_paper
from rwcore.golden.paths import published_dir
from rwcore.paths import claims_dir
from rwcore.plugin.attribute_rates import FILE, RateNumbers
from rwcore.plugin.subjects import Kind, Subject, SubjectSpec
from rwcore.plugin.tables import TablesSubject
from rwcore.tests.neuroscope_claims import OLMO, Answers, answers, failing, ids, labels, module

SLUG = "rw_functionalities"
PAPER = load_paper(claims_dir() / SLUG)
CLAIMS = module("attributes", claims_dir() / SLUG)
CURVES = [
    CLAIMS.test_rates,
    CLAIMS.test_rates_without_conditional_strengthening,
    CLAIMS.test_rates_without_weakening,
    CLAIMS.test_rates_without_few_weakening,
    CLAIMS.test_rates_without_strengthening,
    CLAIMS.test_rates_without_other_classes,
    CLAIMS.test_rates_without_whole_classes,
]
ANY = [CLAIMS.test_rates, CLAIMS.test_rates_without_weakening, CLAIMS.test_rates_without_strengthening]
LAYERS = 8
GOLDEN = SimpleNamespace(check=lambda frame: None)


class Measured(Subject):
    """The paper's own model, measured: with the curves of a folder of tables."""

    def __init__(self, folder: Path) -> None:
        super().__init__(SubjectSpec(Kind.PAPER, OLMO, (OLMO,)))
        self._tables = TablesSubject(SubjectSpec(Kind.TABLES, OLMO, (OLMO,), SLUG), folder)

    def attribute_rates(self, runs: Sequence[RunLabel]) -> RateNumbers:
        found = self._tables.attribute_rates(runs or [RunLabel("weakening@243", "zero")])
        wanted = [None, *runs]
        return RateNumbers({run: found.curves[run] for run in wanted}, {})


def all_answers(subject: Subject, tests: Sequence[Callable[..., None]]) -> Answers:
    found: Answers = {}
    for test in tests:
        found |= answers(test, subject, paper=PAPER, golden=GOLDEN)
    return found


def asked_of_tables(folder: Path) -> Answers:
    spec = SubjectSpec(Kind.TABLES, OLMO, (OLMO,), SLUG)
    return all_answers(TablesSubject(spec, folder), CURVES)


def asked_of_the_model(folder: Path) -> Answers:
    found = all_answers(Measured(folder), CURVES)
    published = labels(CURVES, "published", paper=PAPER)
    return {name: agrees for name, agrees in found.items() if name in published}


def moved(subset: str, series: str, by: Callable[[Any], Any], *layers: int) -> Callable[[Path], None]:
    """Rates of one curve, in some layers or in all, changed."""

    def apply(file: Path) -> None:
        frame = pd.read_csv(file)
        rows = (frame["subset"] == subset) & (frame["ablation"] == "zero") & (frame["series"] == series)
        rows &= frame["layer"].isin(layers) if layers else True
        assert rows.any()
        frame.loc[rows, "rate"] = by(frame.loc[rows, "rate"])
        frame.to_csv(file, index=False)

    return apply


def like_clean(subset: str, series: str = "ablated") -> Callable[[Path], None]:
    """Nothing happens without these neurons."""

    def apply(file: Path) -> None:
        frame = pd.read_csv(file)
        one = (frame["subset"] == subset) & (frame["ablation"] == "zero")
        clean = frame[one & (frame["series"] == "clean")].set_index("layer")["rate"]
        rows = one & (frame["series"] == series)
        frame.loc[rows, "rate"] = frame.loc[rows, "layer"].map(clean)
        frame.to_csv(file, index=False)

    return apply


def plus(number: float) -> Callable[[Any], Any]:
    return lambda rate: rate + number


W243, W24, S24 = "weakening243", "weakening24", "strengthening24"
CS, CW, PC = "conditional strengthening", "conditional weakening", "proportional change"
CHANGES: dict[str, tuple[Callable[[Path], None], set[str]]] = {
    "no dip": (moved(W243, "clean", plus(5), 1), {"R02#0", "R02#1", "R02#2", "R02#3"}),
    "another peak": (moved(W243, "clean", plus(5), 30), {"R02#4", "R02#5"}),
    "a rate that does not grow": (moved(W243, "clean", lambda rate: 13 + rate / 3), {"R03#0", "R03#1"}),
    "a layer in which it rises": (moved(CS, "ablated", plus(3), 4), {"R04#0", "R04#4", "R04#5"}),
    "a layer in which it falls": (moved(CS, "ablated", plus(-9), 20), {"R04#2", "R04#3", "R04#6"}),
    "random neurons without effect": (like_clean(CS, "baseline"), {"R05#0", "R05#1", "R05#2", "R05#3"}),
    "a class that has only its layers": (
        moved(CS, "baseline", plus(-8), *range(12, 26)), {"R05#2", "R05#3"}
    ),
    "a last layer like the others": (moved(CS, "baseline", plus(20), 31), {"R05#2", "R05#3"}),
    "weakening neurons without effect": (
        like_clean(W243), {"R06#0", "R06#2", "R06#3", "R06#5", "R06#6", "R06#7", "R06#8"}
    ),
    "random neurons with half of theirs": (
        moved(W243, "baseline", plus(-2)), {"R06#4", "R06#7", "R06#8"}
    ),
    "few weakening neurons without effect": (
        like_clean(W24), {"R07#0", "R07#2", "R07#3", "R07#5", "R07#6", "R07#7"}
    ),
    "few random neurons with an effect": (
        moved(W24, "baseline", plus(-0.5)), {"R07#4", "R07#6", "R07#7", "R07#8"}
    ),
    "strengthening neurons with an effect": (
        moved(S24, "ablated", plus(-0.3)), {"R08#0", "R08#1", "R08#2", "R08#3", "R08#4"}
    ),
    "another class with an effect": (moved(f"{PC}243", "ablated", plus(-0.6)), {"R09#0", "R09#2"}),
    "random neurons of that size with an effect": (
        moved(f"{CS}243", "baseline", plus(-0.6)), {"R09#1", "R09#3"}
    ),
    "conditional weakening with an effect": (moved(CW, "ablated", plus(-1)), {"R10#0", "R10#2", "R10#3"}),
    "no fall in layer 29": (
        moved(PC, "ablated", plus(6), 29), {"R11#0", "R11#2", "R11#3", "R11#4"}
    ),
    "a fall elsewhere": (moved(PC, "ablated", plus(-3), 12), {"R11#0", "R11#5", "R11#6"}),
}  # fmt: skip


def test_published_curves_hold_as_they_are() -> None:
    said = asked_of_tables(published_dir(SLUG))
    assert failing(said) == set()
    assert set(said) == labels(CURVES, "data", paper=PAPER)


def test_a_model_with_these_curves_reproduces_them() -> None:
    said = asked_of_the_model(published_dir(SLUG))
    assert failing(said) == set()
    assert set(said) == labels(CURVES, "published", paper=PAPER)


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_curve_fails(name: str, tmp_path: Path) -> None:
    change, wanted = CHANGES[name]
    folder = tmp_path / "published"
    shutil.copytree(published_dir(SLUG), folder)
    change(folder / FILE)
    assert wanted <= failing(asked_of_tables(folder)) | failing(asked_of_the_model(folder))


def test_every_claim_about_curves_is_made_to_fail() -> None:
    made = set().union(*(wanted for _, wanted in CHANGES.values()))
    assert made == labels(CURVES, "data", paper=PAPER) | labels(CURVES, "published", paper=PAPER)


def test_means_of_the_wrong_sign_are_no_targets() -> None:
    wrong = [
        (claim.id, one.select["ablation"]) for claim in PAPER.claims for one in claim.expect
        if one.invalid is not None and one.values == FILE
    ]  # fmt: skip
    assert wrong == [(claim, "mean") for claim in ("R04", "R06", "R07", "R10", "R11")]
    compared = [one for claim in PAPER.claims for one in claim.expect if one.values == FILE]
    assert {one.select["ablation"] for one in compared if one.invalid is None} == {"zero"}


class Planted(Subject):
    """Any model: of its rates it is said how they grow, and how they change with and without neurons."""

    def __init__(self, growth: float, changes: dict[str, float], noise: float = 0.005) -> None:
        super().__init__(SubjectSpec(Kind.OTHER, "any", ("any",)))
        self.growth, self.changes, self.noise = growth, changes, noise

    def attribute_rates(self, runs: Sequence[RunLabel]) -> RateNumbers:
        clean = np.linspace(10, 10 * self.growth, LAYERS)
        curves: dict[RunLabel | None, Any] = {None: clean}
        for run in runs:
            name = "random" if run.baseline else run.set
            curves[run] = clean - self.changes.get(name, np.nan)
        draws = np.random.default_rng(0)
        drawn = {run: curve + self.noise * draws.normal(size=(500, LAYERS)) for run, curve in curves.items()}
        return RateNumbers(curves, dict.fromkeys(runs, 1), drawn)


HELD = {"weakening": 3.0, "random": 0.1, "strengthening": 0.01}
MODELS: dict[str, tuple[Planted, dict[str, bool | None]]] = {
    "as the paper says": (Planted(4, HELD), {"R03#2": True, "R06#9": True, "R08#5": True}),
    "does not grow": (Planted(1, HELD), {"R03#2": False}),
    "weakening neurons raise the rate": (Planted(4, HELD | {"weakening": -3.0}), {"R06#9": False}),
    "random neurons do as much": (Planted(4, HELD | {"random": 2.9}), {"R06#9": False}),
    "random neurons do as much, the other way": (Planted(4, HELD | {"random": -2.9}), {"R06#9": False}),
    "strengthening neurons matter": (Planted(4, HELD | {"strengthening": 1.0}), {"R08#5": False}),
    "strengthening neurons matter, but raise the rate": (
        Planted(4, HELD | {"strengthening": -1.0}), {"R08#5": False}
    ),
    "no such neurons": (Planted(4, {}), {"R03#2": True, "R06#9": False, "R08#5": False}),
    "too few subjects": (
        Planted(2.7, {"weakening": 0.2, "random": 0.1, "strengthening": 0.2}, noise=3),
        {"R03#2": None, "R06#9": None},
    ),
    "strengthening neurons matter a little": (
        Planted(4, HELD | {"strengthening": 0.25}, noise=0.1), {"R08#5": None}
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_any_model(name: str) -> None:
    model, wanted = MODELS[name]
    said = all_answers(model, ANY)
    assert set(said) == labels(ANY, "any-gated", paper=PAPER)
    assert {label: said[label] for label in wanted} == wanted


def some_facts(subjects: int, relations: int) -> list[SimpleNamespace]:
    return [SimpleNamespace(subject=f"s{n % subjects}", relation=f"r{n % relations}") for n in range(1209)]


@dataclass(frozen=True)
class Facts:
    """A study that has been made: rates of three prompts about two subjects."""

    passages: dict[str, tuple[str, ...]] = field(default_factory=lambda: {"a": ("one",), "b": ("two",)})
    without_text: float = -1.0
    other: float = 40.0

    subjects = ("a", "b")
    subject_numbers = torch.tensor([0, 1, 1])
    signs = torch.ones(2, 4, dtype=torch.int8)
    facts = some_facts(1200, 32)
    known = 845

    @property
    def judgements(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(fact=fact, known=n < self.known) for n, fact in enumerate(self.facts)]

    def clean(self) -> torch.Tensor:
        of_a = 30.0 if "a" in self.passages else self.without_text
        return torch.tensor([[of_a, of_a], [self.other, 0.0], [100.0, 50.0]])

    def runs(self, experiments: Sequence[object]) -> list[torch.Tensor]:
        return [self.clean()]


def percentages(**changes: Any) -> set[str]:
    subject = Subject(SubjectSpec(Kind.OTHER, "any", ("any",)))
    subject.attribute_study = Facts(**changes)  # type: ignore[attr-defined]
    return failing(answers(CLAIMS.test_rates_are_percentages, subject, paper=PAPER))


def test_rates_are_percentages() -> None:
    assert percentages() == set()
    assert percentages(without_text=0.0) == {"I13#0"}
    assert percentages(other=100.5) == percentages(other=-0.5) == {"I13#0"}
    assert "I13#0" in percentages(other=float("nan"))


def test_no_rate_at_all_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Facts, "clean", lambda self: torch.full((3, 2), -1.0))
    assert percentages() == {"I13#1"}


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, {"R01#2"}),  # every one of these subjects has one fact: 845 subjects instead of 836
        ({"known": 851}, {"R01#1", "R01#2"}),
        ({"facts": Facts.facts[:1208]}, {"R01#0", "R01#2"}),
        ({"facts": some_facts(836, 32)}, set()),
        ({"facts": some_facts(836, 30)}, {"R01#3"}),
    ],
)
def test_known_facts(changes: dict[str, Any], wanted: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in changes.items():
        monkeypatch.setattr(Facts, name, value)
    subject = Measured(published_dir(SLUG))
    subject.attribute_study = Facts()  # type: ignore[attr-defined]
    assert failing(answers(CLAIMS.test_known_facts, subject, paper=PAPER)) == wanted


def test_all_of_them_are_here() -> None:
    mine = {f"R{number:02}" for number in range(1, 12)}
    assert {claim.id for claim in PAPER.claims if claim.id.startswith("R")} == mine
    tests = [*CURVES, CLAIMS.test_known_facts]
    assert ids(labels(tests, "published", paper=PAPER)) == mine
