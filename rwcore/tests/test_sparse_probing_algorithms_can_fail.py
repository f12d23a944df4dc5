"""Every claim about algorithms fails where the algorithm does something else."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch

from rwcore.claim.schema import load_paper
from rwcore.paths import claims_dir
from rwcore.plugin.subjects import Kind, Subject, SubjectSpec
from rwcore.probing.rankings import mean_dif
from rwcore.probing.toy_circle import CircleNeuron
from rwcore.tests.neuroscope_claims import answers, claims_of, failing, labels, module

pytestmark = pytest.mark.slow  # all of it together

SLUG = "sparse_probing"
PAPER = load_paper(claims_dir() / SLUG)
FILE = module("algorithms", claims_dir() / SLUG)
TESTS = {name: test for name, test in vars(FILE).items() if name.startswith("test_")}
NOTHING = Subject(SubjectSpec(Kind.SYNTHETIC, "synthetic", ()))

Wrap = Callable[[Any], Any]


def scaled(share: float) -> Wrap:
    """Objectives of found supports or probes that are larger."""

    def wrap(function: Any) -> Any:
        def wrapped(*args: Any, **options: Any) -> Any:
            found = function(*args, **options)
            return dataclasses.replace(found, objective=share * found.objective)

        return wrapped

    return wrap


def heavier(function: Any) -> Any:
    """A probe with another weight."""

    def wrapped(*args: Any, **options: Any) -> Any:
        found = function(*args, **options)
        return dataclasses.replace(found, weight=1.02 * found.weight)

    return wrapped


def without_first(function: Any) -> Any:
    """The grid without its first number, whatever the limit."""
    return lambda width, *limit: function(width, *limit)[1:]


def without_last(function: Any) -> Any:
    """The grid without its last number."""
    return lambda width, *limit: function(width, *limit)[:-1]


def rounded_down(function: Any) -> Any:
    """A test split that is not rounded up."""

    def wrapped(label: torch.Tensor) -> Any:
        found = function(label)
        return dataclasses.replace(found, test=found.test[: int(0.3 * len(label))])

    return wrapped


def threshold_moved(function: Any) -> Any:
    """A probe with another intercept: only the predictions differ."""

    def wrapped(*args: Any, **options: Any) -> Any:
        found = function(*args, **options)
        return dataclasses.replace(found, intercept=found.intercept + 1)

    return wrapped


def coarse(function: Any) -> Any:
    """Codes of which every other is never used."""

    class Coarse:
        def __init__(self, book: Any) -> None:
            self.book, self.low, self.high = book, book.low, book.high

        def encode(self, x: torch.Tensor) -> torch.Tensor:
            return self.book.encode(x) // 2 * 2

        def restore(self, codes: torch.Tensor) -> torch.Tensor:
            return self.book.restore(codes)

    return lambda x: Coarse(function(x))


def other_support(function: Any) -> Any:
    """A search that ends at a wrong support."""
    return lambda x, label, k, **options: ((-1,) * k, function(x, label, k, **options)[1])


def shifted(amount: float) -> Wrap:
    """A bound that is off."""
    return lambda function: lambda *args, **options: function(*args, **options) + amount


CHANGES: dict[str, tuple[str, Wrap, str, set[str]]] = {
    "mean differences that are not normalised": (
        "mean_dif", lambda _: lambda moments: mean_dif(moments, normalised=False), "test_rankings", {"C01#0"}
    ),
    "a bound that is too high": ("balanced_bound", shifted(0.01), "test_bound_of_the_exact_probe", {"C03#0"}),
    "a bound that is not met": ("balanced_bound", shifted(-0.01), "test_bound_of_the_exact_probe", {"C03#0"}),
    "other neurons": ("brute_force", other_support, "test_bound_of_the_exact_probe", {"C03#0"}),
    "a worse support": ("exact_probe", scaled(1.001), "test_exact_probe", {"C04#0"}),
    "a grid from two": ("k_grid", without_first, "test_grid", {"C05#2"}),
    "a grid without all": ("k_grid", without_last, "test_grid", {"C05#0", "C05#1", "C05#2"}),
    "a test split rounded down": ("published_split", rounded_down, "test_test_split", {"C06#0"}),
    "another weight": ("fit_logistic", heavier, "test_saga", {"C07#0"}),
    "another threshold": ("fit_logistic", threshold_moved, "test_saga", {"C07#0"}),
    "fewer codes": ("published_code_book", coarse, "test_eight_bits", {"C08#0"}),
    "another weight from counts": ("fit_histograms", heavier, "test_histogram_probes", {"C09#0"}),
    "another threshold from counts": ("fit_histograms", threshold_moved, "test_histogram_probes", {"C09#0"}),
    "another circle": (
        "circle_neuron", lambda _: lambda n: CircleNeuron(1.0, -0.1 * n), "test_toy_circle", {"C10#0"}
    ),
    "a circle that turns": (
        "circle_neuron",
        lambda inner: lambda n: CircleNeuron(1.0, 0.0) if n == 50 else inner(n),
        "test_toy_circle",
        {"C10#1"},
    ),
}  # fmt: skip


def synthetic(file: ModuleType) -> set[str]:
    """Every expectation about algorithms."""
    return labels(
        [test for name, test in vars(file).items() if name.startswith("test_")], "synthetic", paper=PAPER
    )


@pytest.mark.parametrize("name", TESTS)
def test_claims_hold_as_they_are(name: str) -> None:
    assert failing(answers(TESTS[name], NOTHING, paper=PAPER)) == set()


@pytest.mark.parametrize("name", CHANGES)
def test_another_algorithm_fails(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    function, change, test, wanted = CHANGES[name]
    monkeypatch.setattr(FILE, function, change(getattr(FILE, function)))
    assert failing(answers(TESTS[test], NOTHING, paper=PAPER)) == wanted


def test_every_claim_about_algorithms_is_made_to_fail() -> None:
    assert set().union(*(wanted for *_, wanted in CHANGES.values())) == synthetic(FILE)
    assert {claim for test in TESTS.values() for claim in claims_of(test)} == {
        f"C{number:02}" for number in range(1, 11) if number != 2
    }
