"""Which paragraphs are about a subject, and which of them come first."""

from __future__ import annotations

import math
import re
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rwcore.attributes.bm25 import rank_candidates
from rwcore.attributes.bm25_published import SubjectWords, is_kept, rank_paragraphs
from rwcore.attributes.mentions import Mentions
from rwcore.attributes.paragraph_file import read_numbers, read_paragraphs, write_paragraphs
from rwcore.attributes.passages import Passage
from rwcore.errors import OptionError, StoreError
from rwcore.extras import WIKI, extra_library

# --- mentions -------------------------------------------------------------------------------------------


def test_mentions_end_where_words_end() -> None:
    mentions = Mentions(["York", "New York", "ork", "iPhone", "C++", "東京"])
    assert mentions.of("In New York") == [0, 1]
    assert mentions.of("New Yorkers") == []
    assert mentions.any_in("New Yorkers")
    assert not mentions.any_in("new y")
    assert mentions.of("IPhone, iPhone; the iPhones") == [3]
    assert mentions.of("IPHONE") == []
    assert mentions.of("in C++.") == [4]
    assert mentions.of("(C++11)") == [4], "only a letter or digit goes on"
    assert mentions.of("xC++") == []
    assert mentions.of("東京") == [5]
    assert mentions.of("") == []


SUBJECTS = ["ab", "b", "a b", "é", "Ab", "b-", "1b"]


@given(st.text(st.sampled_from("abBAé -1"), max_size=30))
def test_mentions_are_those_of_an_expression(text: str) -> None:
    def mentioned(subject: str) -> bool:
        spellings = {subject, subject[0].upper() + subject[1:]}
        before = r"(?<![^\W_])" if subject[0].isalnum() else ""
        after = r"(?![^\W_])" if subject[-1].isalnum() else ""
        return any(re.search(before + re.escape(one) + after, text) for one in spellings)

    assert Mentions(SUBJECTS).of(text) == [n for n, one in enumerate(SUBJECTS) if mentioned(one)]


# --- the published retrieval ----------------------------------------------------------------------------


def test_the_vocabulary_is_that_of_the_subjects() -> None:
    words = SubjectWords(["The Who", "New York City", "X", "Beyoncé"])
    assert words.vocabulary.keys() == {"", "who", "new", "york", "city", "beyoncé"}
    name = {number: word for word, number in words.vocabulary.items()}

    def read(text: str) -> list[str]:
        return [name[number] for number in words.of(text)]

    # Lower case; whole words of two letters or more; no stop words ("the") and no others ("Mets").
    assert read("WHO is the newest of the New York Mets? BEYONCÉ!") == ["who", "new", "york", "beyoncé"]
    assert read("nothing of it") == [""]
    assert [[name[number] for number in query] for query in words.queries] == [
        ["who"],
        ["new", "york", "city"],
        [""],
        ["beyoncé"],
    ]
    before = words.vocabulary
    words.of("entirely different words")
    assert words.vocabulary == before


def lucene(query: list[int], texts: list[list[int]], k1: float = 1.5, b: float = 0.75) -> list[float]:
    """BM25 as Lucene has it, written down once more."""
    mean = sum(map(len, texts)) / len(texts)
    scores = []
    for text in texts:
        score = 0.0
        for word in query:
            having = sum(word in other for other in texts)
            rarity = math.log(1 + (len(texts) - having + 0.5) / (having + 0.5))
            count = text.count(word)
            score += rarity * count / (count + k1 * (1 - b + b * len(text) / mean))
        scores.append(score)
    return scores


TEXTS = [
    "New York is a city; New York is large.",
    "York is an old city of England, and nothing else is said of this place in all of this long sentence.",
    "A new rule.",
    "Nothing.",
    "The city of New York",
    "who who who",
]


def test_only_words_of_subjects_make_a_paragraph_long() -> None:
    words = SubjectWords(["New York", "York", "The Who"])
    texts = [words.of(text) for text in TEXTS]
    found = list(rank_paragraphs(texts, words, top=4))
    for query, ranked in zip(words.queries, found, strict=True):
        scores = lucene(query, texts)
        assert [number for number, _ in ranked][:1] == [max(range(len(texts)), key=scores.__getitem__)]
        assert [score for _, score in ranked] == pytest.approx(sorted(scores, reverse=True)[:4], rel=1e-5)
        assert [scores[number] for number, _ in ranked] == pytest.approx([score for _, score in ranked])


def test_there_may_be_fewer_paragraphs_than_are_wanted() -> None:
    words = SubjectWords(["York"])
    (found,) = rank_paragraphs([words.of("York"), words.of("x")], words, top=100)
    assert [number for number, _ in found] == [0, 1]


@pytest.mark.parametrize(
    ("subject", "title", "text", "kept"),
    [
        ("New York", "A", "in New York.", True),
        ("New York", "New York. History", "Nothing.", True),
        ("New York", "A", "In new york.", False),
        # capitalize() lower-cases the rest, so the spelling that would be right is not looked for.
        ("iPhone", "A", "IPhone", False),
        ("iPhone", "A", "Iphone", True),
        ("apple Inc", "A", "Apple Inc", False),
        ("apple Inc", "A", "Apple inc", True),
        # Title and paragraph are one text, and words may go on.
        ("A. In", "A", "In York", True),
        ("York", "A", "Yorkshire", True),
    ],
)
def test_the_published_filter(subject: str, title: str, text: str, kept: bool) -> None:
    assert is_kept(Passage(title, text), subject) is kept


# --- ranking on disk ------------------------------------------------------------------------------------


def reference(
    subject: str, candidates: list[tuple[Passage, list[int]]], which: int
) -> list[tuple[int, float]]:
    """Candidates of a subject by BM25 with k1 = 1.2, b = 0.75, counted over all candidates."""
    split = [re.findall(r"[^\W_]+", passage.text.lower()) for passage, _ in candidates]
    query = re.findall(r"[^\W_]+", subject.lower())
    mean = sum(map(len, split)) / len(split)
    scored = []
    for number, (words, (_, mentioned)) in enumerate(zip(split, candidates, strict=True)):
        if which in mentioned:
            counts, score = Counter(words), 0.0
            for word in query:
                having = sum(word in other for other in split)
                rarity = math.log(1 + (len(split) - having + 0.5) / (having + 0.5))
                count = counts[word]
                score += rarity * count * 2.2 / (count + 1.2 * (0.25 + 0.75 * len(words) / mean))
            scored.append((number, score))
    return sorted(scored, key=lambda one: (-one[1], one[0]))


def test_candidates_are_ranked_by_bm25(tmp_path: Path) -> None:
    subjects = ["New York", "York", "The Who", "Nobody"]
    mentions = Mentions(subjects)
    texts = [*TEXTS, "The Who played in York.", "The Who, and The Who", "short York"]
    titles = ["New York. Who" if number == 3 else f"Title {number}" for number in range(len(texts))]
    passages = [Passage(title, text) for title, text in zip(titles, texts, strict=True)]
    candidates = [(passage, mentions.of(passage.whole)) for passage in passages]
    found = list(rank_candidates(candidates, subjects, top=100, folder=tmp_path))
    for which, ranked in enumerate(found):
        expected = reference(subjects[which], candidates, which)
        assert [passages.index(passage) for passage, _ in ranked] == [number for number, _ in expected]
        # Lengths are rounded in the index; these are short enough to be exact.
        assert [score for _, score in ranked] == pytest.approx([score for _, score in expected], rel=1e-4)
    assert [len(ranked) for ranked in found] == [3, 6, 2, 0]
    assert found[0][-1] == (passages[3], 0.0), "of an article about the subject, without its words"


def test_no_more_than_the_best_and_equal_ones_in_their_order(tmp_path: Path) -> None:
    candidates = [(Passage(f"Title {number}", "York is York."), [0]) for number in range(150)]
    candidates[120] = (Passage("Best", "York York York"), [0])
    (found,) = rank_candidates(iter(candidates), ["York"], top=100, folder=tmp_path)
    assert [passage.title for passage, _ in found] == ["Best", *(f"Title {number}" for number in range(99))]


def test_no_candidates_at_all(tmp_path: Path) -> None:
    assert list(rank_candidates([], ["York", "Ü"], top=3, folder=tmp_path)) == [[], []]


@pytest.mark.parametrize("name", ["tantivy", "bm25s", "ahocorasick_rs", "mwparserfromhell"])
def test_a_missing_library_is_asked_for(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert extra_library(name, WIKI).__name__ == name
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(OptionError) as caught:
        extra_library(name, WIKI)
    assert name in caught.value.what
    assert caught.value.remedy == "pip install 'rwcore[wiki]'"


# --- on disk --------------------------------------------------------------------------------------------


def test_paragraphs_come_back_as_they_were_written(tmp_path: Path) -> None:
    paragraphs = [(Passage(f"T{n}", f"東京 {n}"), [n] * (n % 3)) for n in range(5000)]
    write_paragraphs(tmp_path / "p.parquet", iter(paragraphs))
    assert list(read_paragraphs(tmp_path / "p.parquet")) == paragraphs
    assert list(read_numbers(tmp_path / "p.parquet")) == [numbers for _, numbers in paragraphs]
    write_paragraphs(tmp_path / "none.parquet", [])
    assert list(read_paragraphs(tmp_path / "none.parquet")) == []


def test_damaged_paragraphs_are_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot read paragraphs"):
        list(read_paragraphs(tmp_path / "p.parquet"))
    (tmp_path / "p.parquet").write_bytes(b"PAR1")
    with pytest.raises(StoreError, match="cannot read paragraphs"):
        list(read_numbers(tmp_path / "p.parquet"))
