"""Fewer rows of a corpus with all its kinds of documents."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rwcore.corpora.documents import Document
from rwcore.errors import OptionError
from rwcore.probing.datasets import offline
from rwcore.probing.datasets.catalogue import find_features
from rwcore.probing.datasets.offline import Offline
from rwcore.probing.datasets.spans import PlacedCorpus
from rwcore.probing.datasets.thinning import thinned, water_level, with_rows
from rwcore.tests.corpus_makers import encoder, rows_corpus


def placed(documents: list[list[int]]) -> PlacedCorpus:
    """Rows of so many tokens of each document; each token has a number of its own, and so has its place."""
    lengths = [(number, length) for number, rows in enumerate(documents) for length in rows]
    total = sum(length for _, length in lengths)
    ids, rows = iter(range(total)), []
    for _, length in lengths:
        rows.append([next(ids) for _ in range(length)])
    corpus = rows_corpus(rows, [number for number, _ in lengths])
    return PlacedCorpus(corpus, torch.arange(total) * 2, torch.arange(total) * 2 + 1)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=6), st.integers(0, 200))
def test_the_water_level_is_the_largest_that_fits(sizes: list[int], total: int) -> None:
    level = water_level(torch.tensor(sizes), total)
    fits = [one for one in range(max(sizes) + 1) if sum(min(size, one) for size in sizes) <= total]
    assert level == max(fits)


@given(
    st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=4), min_size=1, max_size=12),
    st.integers(1, 150),
    st.integers(0, 5),
)
def test_every_kind_is_kept_and_small_ones_are_whole(
    documents: list[list[int]], tokens: int, seed: int
) -> None:
    before = placed(documents)
    kinds = [number % 3 for number in range(len(documents))]
    after = thinned(before, kinds, tokens, seed=seed)
    sizes = [sum(sum(rows) for rows in documents[kind::3]) for kind in range(min(3, len(documents)))]
    kept = [0] * len(sizes)
    for document, length in zip(after.corpus.document.tolist(), after.corpus.lengths.tolist(), strict=True):
        kept[kinds[document]] += length
    level = water_level(torch.tensor(sizes), tokens)
    for size, now in zip(sizes, kept, strict=True):
        assert now > 0
        assert now == size or now > level - 9, "no more than a row less than its share"
        assert now == size if size <= level else now <= max(level, 9)
    again = thinned(before, kinds, tokens, seed=seed)
    assert torch.equal(again.corpus.tokens, after.corpus.tokens)


def test_rows_are_of_as_many_documents_as_can_be_and_not_always_the_first() -> None:
    before = placed([[10] * 4 for _ in range(5)])
    firsts = set()
    for seed in range(8):
        once = thinned(before, ["one"] * 5, 50, seed=seed).corpus
        assert once.document.tolist() == [0, 1, 2, 3, 4]
        firsts.add(tuple(once.tokens[once.offsets[:-1]].tolist()))
        more = thinned(before, ["one"] * 5, 80, seed=seed).corpus
        assert sorted(torch.bincount(more.document).tolist()) == [1, 1, 2, 2, 2]
    assert len(firsts) == 8


def test_rows_keep_their_tokens_places_and_documents() -> None:
    before = placed([[2, 3], [4], [1, 2]])
    after = with_rows(before, torch.tensor([1, 2, 4]))
    assert [after.corpus.row(number).tolist() for number in range(3)] == [[2, 3, 4], [5, 6, 7, 8], [10, 11]]
    assert after.corpus.document.tolist() == [0, 1, 2]
    assert torch.equal(after.start, after.corpus.tokens.long() * 2)
    assert torch.equal(after.end, after.corpus.tokens.long() * 2 + 1)
    assert after.tokens_of(1).tolist() == [3, 4, 5, 6]
    assert after.corpus.content_hash != before.corpus.content_hash


def test_what_is_small_enough_is_left_as_it_is() -> None:
    before = placed([[2, 3], [4]])
    assert thinned(before, ["a", "b"], 9) is before
    assert thinned(before, ["a", "b"], 8) is not before


@pytest.fixture
def texts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty programs of 600 characters, and two short texts of each of three languages."""
    programs = [
        Document(f"python/{n}", f"x{n} = {n}  # and\n" * 40, {"source": "interpreter", "code": "python"})
        for n in range(40)
    ]
    prose = [
        Document(f"{name}/{n}", f"{name} word{n}. " * 8, {"source": "own-texts", "language": name})
        for name in ("de", "en", "ru")
        for n in range(2)
    ]
    monkeypatch.setattr(offline, "offline_documents", lambda: [*programs, *prose])


@pytest.mark.usefixtures("texts")
def test_offline_data_sets_over_fewer_rows_have_every_language_and_report_what_is_lost() -> None:
    whole, thin = (Offline(encoder(), least=30, tokens=tokens) for tokens in (None, 4000))
    assert 3000 < thin.placed.corpus.n_tokens <= 4000 < whole.placed.corpus.n_tokens
    assert len(thin.languages()) == len(whole.languages()), "little text is kept whole"
    assert len(thin.python_syntax()) < len(whole.python_syntax())
    assert thin.code().corpus.content_hash == thin.placed.corpus.content_hash
    other = Offline(encoder(), seed=1, tokens=4000)
    assert thin.placed.corpus.content_hash != other.placed.corpus.content_hash
    few, many = (Offline(encoder(), least=500, tokens=tokens).python_syntax() for tokens in (4000, None))
    assert [one.name for one in many.features] == ["comment", "number"]
    assert [one.name for one in few.features] == ["comment"]
    assert {one.name for one in few.skipped} - {one.name for one in many.skipped} == {"number"}


@pytest.mark.usefixtures("texts")
def test_names_take_the_number_of_tokens() -> None:
    (found,) = find_features("languages", encoder(), least=30, tokens=4000)
    assert found.corpus.n_tokens <= 4000
    with pytest.raises(OptionError, match="0 is less than 1"):
        find_features("languages", encoder(), tokens=0)


def test_compound_words_get_fewer_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, facts = [], Offline(encoder(), least=1).facts()

    def counted(source: object, **options: object) -> object:
        asked.append(options["positives"])
        assert options["positives"] == options["negatives"]
        return facts

    monkeypatch.setattr(offline, "compound_words", counted)
    monkeypatch.setattr(offline, "interpreter_prose", list)
    for tokens in (None, 80_000, 10_000, 10**7):
        Offline(encoder(), tokens=tokens).compound_words()
    assert asked == [200, 111, 80, 200]
