"""Features of single tokens: by their own text, by stretches of characters, in LaTeX and Python."""

from __future__ import annotations

import io
import keyword
import tokenize
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rwcore.corpora.documents import Document
from rwcore.errors import CorpusError
from rwcore.probing.datasets.features import FeatureDataset
from rwcore.probing.datasets.labelled_tokens import label_features, span_features
from rwcore.probing.datasets.latex import latex_spans
from rwcore.probing.datasets.latex_features import latex_features
from rwcore.probing.datasets.prose import AMONG, prose_spans
from rwcore.probing.datasets.python_syntax import python_spans
from rwcore.probing.datasets.source import Source
from rwcore.probing.datasets.spans import placed_rows, published_range, require_inside
from rwcore.probing.datasets.strings import PART, Placed, encode_placed, token_strings
from rwcore.probing.datasets.text_features import PREDICATES, suffix_predicates, text_features
from rwcore.tests.corpus_makers import encoder, rows_corpus
from rwcore.tests.test_probing_datasets_rows import source

ALL = set(PREDICATES)


@pytest.mark.parametrize(
    ("text", "has"),
    [
        (" 12", {"contains_digit", "all_digits", "contains_whitespace", "has_leading_space"}),
        ("a1", {"contains_digit"}),
        ("٣", {"contains_digit", "all_digits", "is_not_ascii"}),
        (" A", {"contains_capital", "leading_capital", "contains_whitespace", "has_leading_space"}),
        (" AB", {"contains_capital", "leading_capital", "all_capitals", "contains_whitespace",
                 "has_leading_space"}),
        ("aB", {"contains_capital"}),
        ("É", {"leading_capital", "is_not_ascii"}),
        ("ab", {"no_leading_space_and_loweralpha"}),
        ("\n", {"contains_whitespace", "contains_all_whitespace", "is_not_alphanumeric"}),
        ("--", {"is_not_alphanumeric"}),
        ("_", set()),
    ],
)  # fmt: skip
def test_predicates_by_the_published_table(text: str, has: set[str]) -> None:
    assert {name for name, predicate in PREDICATES.items() if predicate(text)} == has


def test_suffixes_count_in_groups() -> None:
    predicates = suffix_predicates()
    assert len(predicates) == 23
    assert {name for name, one in predicates.items() if one("nation")} == {"suffix_tion"}
    assert {name for name, one in predicates.items() if one("agent")} == {"suffix_ant", "suffix_ent"}


def test_a_token_has_the_text_that_it_adds() -> None:
    strings = token_strings(encoder(), [65, 32, 0xC3])
    assert strings == {65: "A", 32: " ", 0xC3: PART}


def text_set(text: str, **options: object) -> FeatureDataset:
    texts = source(text)
    corpus = rows_corpus([[256, *text.encode()]])
    return text_features(texts, corpus, least=1, **options)  # type: ignore[arg-type]


def test_text_features_begin_at_position_ten_and_leave_out_parts_of_characters() -> None:
    data = text_set("xxxxxxxxx1xé.x1x", size=1000)
    digit = data.feature("contains_digit")
    assert data.token is not None
    places = data.token[digit.example]
    # Position 10 is the first digit; of é's two bytes it is not known whether they are digits.
    assert dict(zip(places.tolist(), digit.label.tolist(), strict=True)) == {
        10: True, 11: False, 14: False, 15: False, 16: True, 17: False
    }  # fmt: skip
    ascii_ = data.feature("is_not_ascii")
    assert data.token[ascii_.example[ascii_.label]].tolist() == [12, 13]


def test_as_published_only_the_last_id_of_a_text_can_be_positive() -> None:
    text = "x" * 10 + "é" * 8 + "x" * 8
    fixed, published = text_set(text, size=1000), text_set(text, size=1000, convention="as_published")
    assert fixed.feature("is_not_ascii").positives == 16
    # All parts of characters decode to one sign, whose only id is 255; so none here is positive.
    assert "is_not_ascii" not in [one.name for one in published.features]


@given(st.text(alphabet="ab é€𝄞\n", max_size=30))
def test_tokens_stand_where_their_characters_do(text: str) -> None:
    (placed,) = encode_placed(encoder(), [text])
    assert placed.ids == list(text.encode())
    owner = [n for n, character in enumerate(text) for _ in character.encode()]
    assert placed.start.tolist() == owner
    assert placed.end.tolist() == [n + 1 for n in owner]


@given(
    st.lists(st.text(alphabet="abc", min_size=1, max_size=12), min_size=1, max_size=4),
    st.integers(2, 6),
    st.data(),
)
def test_marked_tokens_are_those_of_the_characters(
    texts: list[str], context: int, data: st.DataObject
) -> None:
    placed = placed_rows(source(*texts), "p", context=context)
    number = data.draw(st.integers(0, len(texts) - 1))
    low = data.draw(st.integers(0, len(texts[number]) - 1))
    high = data.draw(st.integers(low + 1, len(texts[number])))
    label = torch.zeros(placed.corpus.n_tokens, dtype=torch.bool)
    placed.mark(number, [(low, high)], label)
    for place in range(placed.corpus.n_tokens):
        row = int(torch.searchsorted(placed.corpus.offsets, place, right=True)) - 1
        here = placed.corpus.document[row] == number and low <= placed.start[place] < high
        assert bool(label[place]) == bool(here)


def test_rows_of_a_document_can_be_limited_and_doubles_go() -> None:
    placed = placed_rows(source("abcdef", "abcxyz", "q"), "p", context=4, most=[1, 2, 1])
    rows = [bytes(placed.corpus.row(n)[1:].tolist()).decode() for n in range(len(placed.corpus))]
    assert rows == ["abc", "xyz", "q"]
    assert placed.start.tolist() == [-1, 0, 1, 2, -1, 3, 4, 5, -1, 0]


@pytest.mark.parametrize("span", [(0, 4), (2, 2), (-1, 2), (3, 1)])
def test_a_span_outside_its_text_is_refused(span: tuple[int, int]) -> None:
    with pytest.raises(CorpusError, match="no stretch of a text of 3 characters"):
        require_inside([span], "abc", "here")


def test_the_published_marks_leave_out_the_last_token_and_stop_at_the_window() -> None:
    window = Placed([], torch.arange(5), torch.arange(1, 6))
    assert list(range(5))[published_range(window, (1, 3))] == [1, 2]
    assert list(range(5))[published_range(window, (2, 9))] == [2, 3]  # up to the last but one
    assert list(range(5))[published_range(window, (7, 9))] == []


TEX = r"""title:  A short one
author: A. Nobody
abstract: Nothing is shown.
---
Cost \$5 is $x^{2}_{ij}$ and $$\frac{a+b}{c}$$ by [@key1; @key2].
"""


def test_stretches_of_a_latex_document() -> None:
    found = {name: [TEX[a:b] for a, b in spans] for name, spans in latex_spans(TEX).items()}
    assert found == {
        "is_superscript": ["2"],
        "is_subscript": ["ij"],
        "is_inline_math": ["x^{2}_{ij}"],
        "is_display_math": [r"\frac{a+b}{c}"],
        "is_math": ["x^{2}_{ij}", r"\frac{a+b}{c}"],
        "start_math": ["$", "$$"],
        "end_math": ["$", "$$"],
        "is_frac": ["{a+b}{c}"],
        "is_numerator": ["a+b"],
        "is_denominator": ["c"],
        "is_author": ["A. Nobody"],
        "is_title": ["A short one"],
        "is_reference": ["key1; @key2"],
        "is_abstract": ["Nothing is shown."],
    }


def test_long_heads_are_cut() -> None:
    text = f"title: {'t' * 60}\nauthor: {'a' * 199}\nabstract: {'b' * 400}\n---\n"
    lengths = {name: [end - start for start, end in spans] for name, spans in latex_spans(text).items()}
    assert (lengths["is_title"], lengths["is_author"], lengths["is_abstract"]) == ([50], [199], [250])


@given(st.text(alphabet="$\\a", max_size=25))
def test_mathematics_alternates_and_never_crosses(text: str) -> None:
    found = latex_spans(text)
    assert len(found["start_math"]) - len(found["end_math"]) in (0, 1)
    for start, end in zip(found["start_math"], found["end_math"], strict=False):
        assert text[slice(*start)] == text[slice(*end)]
        assert start[1] <= end[0]


def latex_set(convention: str) -> FeatureDataset:
    body = "".join(rf"word $x_{{{n}}}^{{{n + 1}}}$ " for n in range(12))
    texts = source(body, "odd $ sign " * 3, "short $x$")
    return latex_features(texts, context=100, size=20, least=1, convention=convention)


def test_latex_rows_are_whole_documents_with_closed_mathematics() -> None:
    data = latex_set("fixed")
    assert len(data.corpus) == 1
    assert data.corpus.n_tokens == 100
    below, above = data.feature("is_subscript"), data.feature("is_superscript")
    assert data.token is not None
    text = data.corpus.tokens
    assert {chr(text[place]) for place in data.token[below.example[below.label]]} <= set("0123456789")
    assert (below.positives, below.negatives) == (5, 15)
    # Half of the negatives are of the mirror, as far as there are so many.
    assert len(set(data.token[below.example[~below.label]].tolist())) == 15
    mirrored = set(data.token[above.example[above.label]].tolist())
    assert len(mirrored & set(data.token[below.example[~below.label]].tolist())) >= 5
    assert bool((data.position >= 6).all())


def test_published_mirror_negatives_may_coincide() -> None:
    fixed, published = latex_set("fixed"), latex_set("as_published")
    assert fixed.feature("is_subscript").negatives == 15
    assert published.feature("is_subscript").negatives < 15
    # Of a stretch of one token the published marks, which end before its last one, leave nothing.
    assert {one.name for one in published.features} <= {one.name for one in fixed.features}


def test_label_features_take_every_token_of_labelled_documents() -> None:
    texts = source("aaaa", "bbbb", "cccc", labels=["x", "y", "y"])
    with_other = Source(texts.spec, texts.encoder, (*texts.texts, Document("other", "dddd")))
    data = label_features(
        with_other, placed_rows(with_other, "p", context=9), "language", name="l", first=2, least=1
    )
    assert data.token is not None
    found = data.feature("l_x")
    letters = [chr(data.corpus.tokens[place]) for place in data.token[found.example]]
    assert set(letters) == set("abc")
    assert [letter == "a" for letter in letters] == found.label.tolist()


def test_hard_negatives_are_only_of_the_rival_kind() -> None:
    text = "One Two three. Four Five six? Seven, (eight Nine) end."
    texts = source(text)
    data = span_features(
        texts, placed_rows(texts, "p", context=100), prose_spans, name="s", among=AMONG, least=1
    )
    assert data.token is not None
    found = data.feature("capital_begins_sentence")
    words = "".join(text[place - 1] for place in data.token[found.example[~found.label]].tolist())
    assert words == "TwoFiveNine"
    words = "".join(text[place - 1] for place in data.token[found.example[found.label]].tolist())
    assert words == "OneFourSeven"
    assert "capitalised" not in [one.name for one in data.features]


def test_prose() -> None:
    text = 'It is 3.5 m. He said "go on!" (and left).\n\nnew part?'
    found = {name: [text[a:b] for a, b in spans] for name, spans in prose_spans(text).items()}
    assert found["first_word_of_sentence"] == ["It", "He", "new"]
    assert found["sign_ends_sentence"] == [".", ".", "?"]
    assert found["end_of_sentence"] == found["sign_ends_sentence"]
    assert found["in_brackets"] == ["and left"]
    assert found["in_quotation_marks"] == ["go on!"]


PROGRAM = '''"""About."""
import os.path

@cache
def run(n):
    # twice
    return os.path.join("a", n) if n > 10 else self.value
'''


def test_parts_of_a_program() -> None:
    found = {kind: [PROGRAM[a:b] for a, b in spans] for kind, spans in python_spans(PROGRAM).items()}
    assert found == {
        "docstring": ['"""About."""'],
        "string": ['"a"'],
        "comment": ["# twice"],
        "keyword": ["import", "def", "return", "if", "else"],
        "number": ["10"],
        "defined_name": ["run"],
        "attribute": ["path", "path", "join", "value"],
        "called": ["join"],
        "import_line": [" os.path"],
        "decorator": ["cache"],
        "indentation": ["    "],
    }


def test_the_beginning_of_a_program_is_enough() -> None:
    cut = PROGRAM + "x = '''never closed"
    assert python_spans(cut)["keyword"] == python_spans(PROGRAM)["keyword"]
    assert python_spans("def f(:\n  '")["defined_name"] == [(4, 5)]


def test_keywords_are_those_of_pythons_tokenizer_in_a_real_module() -> None:
    text = Path(keyword.__file__).read_text(encoding="utf-8")
    starts = [0]
    for line in text.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    slow = [
        starts[token.start[0] - 1] + token.start[1]
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type == tokenize.NAME and token.string in keyword.kwlist
    ]
    assert [start for start, _ in python_spans(text)["keyword"]] == slow
