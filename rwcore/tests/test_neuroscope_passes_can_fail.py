"""Every claim about a pass fails where one thing is changed: its summaries, its code, or what is compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch

from rwcore.plugin.model_subject import ModelSubject
from rwcore.plugin.subjects import Kind, Subject, SubjectSpec
from rwcore.studies import published_comparison
from rwcore.tests.neuroscope_claims import (
    PAPER,
    Answers,
    answers,
    claims_of,
    failing,
    ids,
    labels,
    module,
    tiny_subject,
)

pytestmark = pytest.mark.slow  # all of it together


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> ModelSubject:
    return tiny_subject(tmp_path_factory.mktemp("model"))


def cells_changed(column: str, change: Callable[[float], float], quantity: str) -> Callable:
    """One cell of the summaries of our own neurons."""

    def apply(cells: pd.DataFrame) -> pd.DataFrame:
        made = cells.copy()
        row = (made["quantity"] == quantity) & (made["case"] == "gate+_in+") & made["avg"].notna()
        place = row.to_numpy().nonzero()[0][0]
        made.loc[made.index[place], column] = change(float(made[column].iloc[place]))
        return made

    return apply


CELL_CHANGES = {
    "H2": cells_changed("avg", lambda _: 1e6, "in"),
    "H3": cells_changed("avg", lambda _: 1e6, "act"),
    "H5": cells_changed("extreme", lambda _: 1e6, "post"),
    "H7": cells_changed("avg", lambda _: float("nan"), "gate"),
}


def test_our_own_summaries_hold(subject: ModelSubject) -> None:
    said = answers(module("tables").test_tables, subject)
    assert failing(said) == set()
    assert ids(said) == {*CELL_CHANGES, "M1"}


@pytest.mark.parametrize("claim", CELL_CHANGES)
def test_a_changed_summary_of_ours_fails(
    claim: str, subject: ModelSubject, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = CELL_CHANGES[claim](subject.page_cells())
    monkeypatch.setattr(subject, "page_cells", lambda: cells)
    failed = failing(answers(module("tables").test_tables, subject))
    assert claim in ids(failed)


def test_tokens_that_are_not_counted_are_noticed(
    subject: ModelSubject, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, cells = subject.activation_study(), subject.page_cells()
    less = SimpleNamespace(tokens=study.activations.tokens - 3)
    monkeypatch.setattr(
        subject, "activation_study", lambda: SimpleNamespace(corpus=study.corpus, activations=less)
    )
    monkeypatch.setattr(subject, "page_cells", lambda: cells)
    assert failing(answers(module("tables").test_tables, subject)) == {"M1#1"}


def counted(**changes: Callable[[Any], Any]) -> Callable[[ModuleType], None]:
    """Statistics of which some arrays are others."""

    def apply(claims: ModuleType) -> None:
        count = claims.count

        def changed(*words: Any, **options: Any) -> Any:
            found = count(*words, **options)
            return replace(found, **{name: change(getattr(found, name)) for name, change in changes.items()})

        claims.count = changed  # type: ignore[attr-defined]

    return apply


def one_more(values: torch.Tensor) -> torch.Tensor:
    """The first number larger by one."""
    values = values.clone()
    values.view(-1)[0] += 1
    return values


def other_positions(top: Any) -> Any:
    """Lists of which one position is another."""
    return replace(top, positions=one_more(top.positions))


def other_rows(top: Any) -> Any:
    """Lists of which one value is of another row."""
    return replace(top, keys=top.keys - 2 * (top.keys == top.keys.max()).long())


def other_values(top: Any) -> Any:
    """Lists of which one value is larger by a quarter, or somewhat more."""
    return replace(top, keys=top.keys + (top.keys == top.keys.max()).long() * 2**53)


def doubled(values: torch.Tensor) -> torch.Tensor:
    """Twice as much."""
    return 2 * values


def more_with_more_rows(claims: ModuleType) -> None:
    """A model that sees how many rows a batch has."""
    run = claims.run_layers

    def changed(bridge: Any, batch: Any, visit: Any) -> None:
        more = 1 + 1e-3 * len(batch.rows)
        run(bridge, batch, lambda number, gate, in_, act: visit(number, more * gate, in_ - 1e-3 * more, act))

    claims.run_layers = changed  # type: ignore[attr-defined]


def without_folding(claims: ModuleType) -> None:
    """Nothing is folded."""
    claims.flip_signs = lambda bridge, signs: None  # type: ignore[attr-defined]


def folding_all(claims: ModuleType) -> None:
    """The wrong neurons are folded."""
    flip = claims.flip_signs
    claims.flip_signs = lambda bridge, signs: flip(bridge, -signs)  # type: ignore[attr-defined]


def without_a_batch(claims: ModuleType) -> None:
    """The resumed pass does not count a batch twice, but another one: `load` gives it changed."""
    load, seen = claims.load, []

    def changed(folder: Path) -> Any:
        seen.append(folder)
        found = load(folder)
        if len(seen) == 1:
            return found
        return replace(found, layers=tuple(replace(one, sums=one_more(one.sums)) for one in found.layers))

    claims.load = changed  # type: ignore[attr-defined]


def everything_alike(claims: ModuleType) -> None:
    """All texts of a list count as one."""
    claims.alike = lambda neuron, texts, entries: [tuple(range(len(entries)))]  # type: ignore[attr-defined]


def nothing_alike(claims: ModuleType) -> None:
    """No two texts count as one."""
    claims.alike = lambda neuron, texts, entries: [(n,) for n in range(len(entries))]  # type: ignore[attr-defined]


Change = Callable[[ModuleType], None]
CODE_CHANGES: dict[str, tuple[str, str, Change, set[str], set[str]]] = {
    "counts": ("passes", "test_statistics", counted(counts=one_more), {"S1#1", "S4#1"}, {"S1#0", "S4#0"}),
    "sums": ("passes", "test_statistics", counted(sums=doubled), {"S1#1", "S4#1"}, {"S1#0", "S4#0"}),
    "positions": ("passes", "test_statistics", counted(top=other_positions), {"S1#1"}, {"S1#0"}),
    "batches": ("passes", "test_order_and_padding", more_with_more_rows, {"S2#1"}, set()),
    "one by one": ("passes", "test_order_and_padding", counted(counts=one_more), set(), {"S2#0"}),
    "unfolded": ("passes", "test_folding", without_folding, {"S3#0"}, set()),
    "others folded": ("passes", "test_folding", folding_all, {"S3#0"}, set()),
    "resumed": ("passes", "test_resumed_pass", without_a_batch, {"S6#0"}, set()),
    "mini lists": ("passes", "test_golden_mini_example", counted(top=other_positions), set(), {"S7#3"}),
    "mini rows": ("passes", "test_golden_mini_example", counted(top=other_rows), set(), {"S7#2"}),
    "mini values": ("passes", "test_golden_mini_example", counted(top=other_values), set(), {"S7#1"}),
    "mini counts": ("passes", "test_golden_mini_example", counted(counts=one_more), set(), {"S7#0", "S7#4"}),
    "alike": ("examples", "test_near_duplicates", everything_alike, set(), {"S8#0"}),
    "not alike": ("examples", "test_near_duplicates", nothing_alike, set(), {"S8#0"}),
}  # fmt: skip
SYNTHETIC = Subject(SubjectSpec(Kind.SYNTHETIC, "synthetic", ()))


def said_of_both(
    claims: ModuleType, test: str, subject: ModelSubject, request: Any
) -> tuple[Answers, Answers]:
    """What a test says of a model, and of numbers that need none."""
    function = getattr(claims, test)
    named = function.__code__.co_varnames[: function.__code__.co_argcount]
    fixtures = {name: request.getfixturevalue(name) for name in ("tmp_path", "monkeypatch") if name in named}
    scopes = {one.scope for claim in map(PAPER.claim, claims_of(function)) for one in claim.expect}
    return (
        answers(function, subject, **fixtures) if "identity" in scopes else {},
        answers(function, SYNTHETIC, **fixtures) if "synthetic" in scopes else {},
    )


@pytest.mark.parametrize("name", CODE_CHANGES)
def test_changed_code_fails(name: str, subject: ModelSubject, request: pytest.FixtureRequest) -> None:
    file, test, change, of_model, of_none = CODE_CHANGES[name]
    claims = module(file)
    change(claims)
    model, synthetic = said_of_both(claims, test, subject, request)
    assert of_model <= failing(model)
    assert of_none <= failing(synthetic)


@pytest.mark.parametrize("test", sorted({(file, test) for file, test, *_ in CODE_CHANGES.values()}), ids=str)
def test_code_as_it_is_holds(
    test: tuple[str, str], subject: ModelSubject, request: pytest.FixtureRequest
) -> None:
    model, synthetic = said_of_both(module(test[0]), test[1], subject, request)
    assert failing(model) | failing(synthetic) == set()


def test_recomputed_values_that_are_others_fail(
    subject: ModelSubject, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = module("examples").test_recomputed_values
    assert failing(answers(test, subject)) == set()
    examples = subject.neuron_examples(subject.neurons_of_all_classes())
    stretches = tuple(replace(one, gate=one.gate * 1.001) for one in examples[0].stretches)
    monkeypatch.setattr(
        subject, "neuron_examples", lambda _: [replace(examples[0], stretches=stretches), *examples[1:]]
    )
    assert failing(answers(test, subject)) == {"S5#0"}
    monkeypatch.undo()
    signs = published_comparison.gate_signs
    monkeypatch.setattr(published_comparison, "gate_signs", lambda weights: -signs(weights))
    assert failing(answers(test, subject)) == {"S5#1"}


def test_every_claim_about_any_model_is_made_to_fail() -> None:
    made = set().union(*(of_model | of_none for *_, of_model, of_none in CODE_CHANGES.values()))
    made |= {"S5#0", "S5#1", "M1#1"}
    named = {(file, test) for file, test, *_ in CODE_CHANGES.values()}
    named |= {("tables", "test_tables"), ("examples", "test_recomputed_values")}
    tests = [getattr(module(file), test) for file, test in named]
    assert ids(made) | {*CELL_CHANGES} == ids(labels(tests, "identity") | labels(tests, "synthetic"))
