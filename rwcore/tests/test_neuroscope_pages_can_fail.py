"""Every claim about the files of neuron pages fails on pages of which one thing is changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from rwcore.activations.published_facts import NO_ZERO, peaks
from rwcore.activations.published_pages import PublishedExample, PublishedPage
from rwcore.plugin import neuron_pages
from rwcore.plugin.model_subject import ModelSubject
from rwcore.plugin.neuron_pages import PagesSubject
from rwcore.plugin.subjects import Subject
from rwcore.studies import published_comparison
from rwcore.tests.neuroscope_claims import (
    TABLES,
    Answers,
    answers,
    failing,
    ids,
    labels,
    module,
    tiny_subject,
)
from rwcore.tests.published_makers import random_pages, write_pages

pytestmark = pytest.mark.slow  # all of it together

CLAIMS = module("pages")
TESTS = (CLAIMS.test_files, CLAIMS.test_peaks)
IN = "hook_pre_linear"


def example_changed(change: Callable[[PublishedExample], PublishedExample], hook: str = IN) -> Callable:
    """Change one example of a page: the second of a list of gate-_in+."""

    def apply(page: PublishedPage) -> PublishedPage:
        chosen = next(
            one for one in page.examples if one.case == "gate-_in+" and one.hook == hook and one.rank == 1
        )
        made = change(chosen)
        return replace(page, examples=tuple(made if one is chosen else one for one in page.examples))

    return apply


def number(column: int, change: Callable[[float], float], place: int = 1) -> Callable:
    """Change one number of the example, in a column of the file."""

    def apply(example: PublishedExample) -> PublishedExample:
        values = example.values.clone()
        values[place, column] = change(float(values[place, column]))
        return replace(example, values=values)

    return example_changed(apply)


def repeated(page: PublishedPage) -> PublishedPage:
    """One text for a whole list, eleven times."""
    examples = [one for one in page.examples if one.which == ("gate-_in+", "in")]
    same = {id(one): replace(examples[0], rank=one.rank) for one in examples[:11]}
    return replace(page, examples=tuple(same.get(id(one), one) for one in page.examples))


def in_other_order(page: PublishedPage) -> PublishedPage:
    """The last of a list is its first."""
    examples = [one for one in page.examples if one.which == ("gate-_in+", "in")]
    turned = {
        id(one): replace(other, rank=one.rank) for one, other in zip(examples, examples[::-1], strict=True)
    }
    return replace(page, examples=tuple(turned.get(id(one), one) for one in page.examples))


POST_, IN_, ACT_ = -4, -3, -1
PAGE_CHANGES: dict[str, tuple[Callable[[PublishedPage], PublishedPage], set[str]]] = {
    "another label": (
        example_changed(lambda one: replace(one, labels=("gate-_in+_swish", *one.labels[1:]))), {"J1"}
    ),
    "another beginning": (example_changed(lambda one: replace(one, tokens=("x", *one.tokens[1:]))), {"J2"}),
    "the beginning again": (
        example_changed(lambda one: replace(one, tokens=(*one.tokens[:-1], one.tokens[0]))), {"J2"}
    ),
    "a long text": (
        example_changed(lambda one: replace(one, tokens=one.tokens * 200, values=one.values.repeat(200, 1))),
        {"J3"},
    ),
    "more digits": (number(POST_, lambda x: x * (1 + 1e-9)), {"J4"}),
    "another act": (number(ACT_, lambda x: x + 1e-4), {"J5", "J6"}),
    "the next post": (
        number(POST_, lambda x: float(torch.nextafter(torch.tensor(x), torch.tensor(9.0)))), {"J6"}
    ),
    "another post": (number(POST_, lambda x: x + 1e-4), {"J7", "J6"}),
    "the other quadrants": (number(0, lambda x: 0.5 + abs(x), place=0), {"J8"}),
    "a zero": (number(0, lambda _: NO_ZERO, place=0), {"J9"}),
    "a peak in front": (number(0, lambda _: 99.0, place=0), {"J10", "J8"}),
    "another order": (in_other_order, {"J11"}),
    "an act below the minimum": (number(ACT_, lambda _: -0.2784647), {"J12"}),
    "other numbers on the same text": (number(IN_, lambda x: x + 0.01), {"J14"}),
    "a text again and again": (repeated, {"J15"}),
}  # fmt: skip


def changed_once(change: Callable[[PublishedPage], PublishedPage], pages: Iterable[PublishedPage]) -> list:
    """The pages, the first of them changed."""
    head, *rest = pages
    return [change(head), *rest]


def asked_of_pages(tmp_path: Path, pages: Iterable[PublishedPage]) -> Answers:
    """The claims on files of pages, beside a table made of pages that nothing was done to."""
    peaks(random_pages()).to_csv(tmp_path / "neuroscope_examples.csv", index=False)
    folder = write_pages(tmp_path / "pages", pages)
    subject = PagesSubject(replace(TABLES, pages=True), tmp_path, folder)
    return asked_of(subject)


def asked_of(subject: Subject) -> Answers:
    """What both tests say."""
    return {name: agrees for test in TESTS for name, agrees in answers(test, subject).items()}


def test_pages_as_published_hold(tmp_path: Path) -> None:
    said = asked_of_pages(tmp_path, random_pages())
    assert failing(said) == set()
    assert set(said) == labels(TESTS, "data", pages=True)


@pytest.mark.parametrize("name", PAGE_CHANGES)
def test_a_changed_page_fails(name: str, tmp_path: Path) -> None:
    change, wanted = PAGE_CHANGES[name]
    said = asked_of_pages(tmp_path, changed_once(change, random_pages()))
    assert wanted <= ids(failing(said))


def test_every_claim_about_files_is_made_to_fail() -> None:
    made = set().union(*(wanted for _, wanted in PAGE_CHANGES.values()))
    assert made == ids(labels(TESTS, "data", pages=True))


# --- our own pages ----------------------------------------------------------------------------------------

NOT_OF_OURS = {"J3", "J9", "J15"}  # published conventions; J15 says something else of ours


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> ModelSubject:
    return tiny_subject(tmp_path_factory.mktemp("model"))


@pytest.fixture(autouse=True)
def _afresh(request: pytest.FixtureRequest) -> Iterator[None]:
    """One page is enough, and what was measured on a changed one is forgotten."""
    chosen = neuron_pages.near_the_middle
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neuron_pages, "near_the_middle", lambda cosines: chosen(cosines)[:1])
        yield
    if "subject" in request.fixturenames:
        request.getfixturevalue("subject")._measured = None


def test_our_own_pages_hold(subject: ModelSubject) -> None:
    said = asked_of(subject)
    assert failing(said) == set()
    assert set(said) == labels(TESTS, "identity")


@pytest.mark.parametrize("name", PAGE_CHANGES)
def test_a_changed_page_of_ours_fails(
    name: str, subject: ModelSubject, monkeypatch: pytest.MonkeyPatch
) -> None:
    change, wanted = PAGE_CHANGES[name]
    if not wanted - NOT_OF_OURS:
        pytest.skip("about the published conventions")
    own_pages = published_comparison.own_pages
    monkeypatch.setattr(
        published_comparison, "own_pages", lambda *words: changed_once(change, own_pages(*words))
    )
    assert wanted - NOT_OF_OURS <= ids(failing(asked_of(subject)))


def test_a_row_that_is_twice_in_a_list_is_noticed(
    subject: ModelSubject, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = subject.activation_study().summary.top_rows.clone()
    rows[0, 0, 0, 1] = rows[0, 0, 0, 0]
    twice = CLAIMS.rows_twice
    fake = SimpleNamespace(activation_study=lambda: SimpleNamespace(summary=SimpleNamespace(top_rows=rows)))
    monkeypatch.setattr(CLAIMS, "rows_twice", lambda _: twice(fake))
    assert failing(answers(CLAIMS.test_files, subject)) == {"J15#1"}


def test_every_claim_about_our_own_pages_is_made_to_fail() -> None:
    made = set().union(*(wanted for _, wanted in PAGE_CHANGES.values())) - NOT_OF_OURS
    assert made | {"J15"} == ids(labels(TESTS, "identity"))
