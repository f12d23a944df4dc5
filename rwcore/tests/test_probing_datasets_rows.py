"""Rows and labels of data sets of features: what belongs together, windows, whole texts, position."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rwcore.corpora.documents import Document
from rwcore.corpora.spec import CorpusSpec
from rwcore.errors import CorpusError
from rwcore.probing.datasets.compound_words import compound_words, occurrences
from rwcore.probing.datasets.concatenated import concatenated, rows_by_source
from rwcore.probing.datasets.features import Feature, FeatureDataset
from rwcore.probing.datasets.labelled_rows import LabelFamily, labelled_rows, windowed
from rwcore.probing.datasets.position import position_features, position_targets
from rwcore.probing.datasets.sampling import Candidate, balanced, token_dataset
from rwcore.probing.datasets.source import Source
from rwcore.probing.errors import ProbeError
from rwcore.tests.corpus_makers import END, byte_tokenizer, encoder, rows_corpus

SPEC = CorpusSpec("texts", "file", "/texts", max_length=4096)
BOS = 256


def source(*texts: str, labels: Sequence[str] = (), key: str = "language") -> Source:
    """Texts for a tokenizer of bytes, with a label each if there are labels."""
    named = [{key: label} for label in labels] or [{} for _ in texts]
    return Source(SPEC, encoder(), tuple(Document(str(n), t, named[n]) for n, t in enumerate(texts)))


def feature(*label: bool, name: str = "f") -> Feature:
    return Feature(name, "x", torch.arange(len(label)), torch.tensor(label, dtype=torch.bool))


def of_tokens(**changes: object) -> FeatureDataset:
    """A data set of three tokens of two rows."""
    parts: dict[str, object] = {
        "name": "d",
        "corpus": rows_corpus([[1, 2, 3], [1, 4]], [7, 9]),
        "aggregation": "none",
        "token": torch.tensor([1, 2, 4]),
        "valid": None,
        "features": (feature(True, False, True),),
        "group": torch.tensor([7, 7, 9]),
    }
    return FeatureDataset(**{**parts, **changes})  # type: ignore[arg-type]


def text_of(data: FeatureDataset, row: int) -> str:
    return bytes(i for i in data.corpus.row(row).tolist() if i < 256).decode()


def test_a_feature_of_one_class_is_refused_and_says_how_many_examples_it_has() -> None:
    with pytest.raises(ProbeError, match="one class only: 0 of its 3"):
        feature(False, False, False)
    with pytest.raises(ProbeError, match="one class only: 2 of its 2"):
        feature(True, True)
    with pytest.raises(ProbeError, match="ascending"):
        Feature("f", "x", torch.tensor([2, 1]), torch.tensor([True, False]))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"aggregation": "sum"}, "none of none, mean, max"),
        ({"aggregation": "mean"}, "does not go with"),
        ({"token": torch.tensor([1, 1, 4])}, "ascending"),
        ({"token": torch.tensor([1, 2, 5])}, "none of the 5 tokens"),
        ({"aggregation": "max", "token": None, "features": (), "group": torch.tensor([7]),
          "valid": torch.ones(5, dtype=torch.bool)}, "2 examples have 1 groups"),
        ({"features": (feature(True, False, True, True),)}, "none of the 3"),
        ({"features": (feature(True, False), feature(True, False))}, "called 'f'"),
        ({"aggregation": "max", "token": None, "features": (), "group": torch.tensor([7, 9]),
          "valid": torch.tensor([True, True, True, False, False])}, "no valid token"),
    ],
)  # fmt: skip
def test_parts_that_do_not_fit_are_refused(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(ProbeError, match=reason):
        of_tokens(**changes)


def test_an_example_knows_its_row_position_and_what_the_model_saw() -> None:
    data = of_tokens()
    assert data.row.tolist() == [0, 0, 1]
    assert data.position.tolist() == [1, 2, 1]
    assert data.contexts().tolist() == [[1, 2, -1], [1, 2, 3], [1, 4, -1]]


def test_the_hash_is_of_the_content() -> None:
    assert of_tokens().content_hash == of_tokens(name="other").content_hash
    changed = (
        {"features": (feature(True, True, False),)},
        {"features": (feature(True, False, True, name="g"),)},
        {"token": torch.tensor([1, 3, 4])},
        {"group": torch.tensor([7, 8, 9])},
        {"corpus": rows_corpus([[1, 2, 3], [1, 5]], [7, 9])},
    )
    assert len({of_tokens(**one).content_hash for one in ({}, *changed)}) == 6


def test_another_tokenizer_is_refused() -> None:
    data = labelled_rows(
        source("abc", "xyz", labels="ab"), LabelFamily("l", "language", probe_tokens=0), least=1
    )
    data.require_fit(encoder())
    with pytest.raises(CorpusError, match="tokenizer of tiny, which is another one"):
        data.require_fit(encoder(byte_tokenizer(END, "<other>", eos_token=END)))


def test_every_label_is_a_feature_against_the_others_and_short_texts_are_dropped() -> None:
    family = LabelFamily("l", "language", context=8, ignore_first=2, probe_tokens=2)
    data = labelled_rows(
        source("aaaa", "bbbbb", "cccccc", "dddddddddd", labels=["x", "x", "y", "z"]), family, least=1
    )
    assert [text_of(data, row) for row in range(len(data))] == ["bbbbb", "cccccc", "d" * 7]
    assert {one.name: one.label.tolist() for one in data.features} == {
        "x": [True, False, False], "y": [False, True, False], "z": [False, False, True]
    }  # fmt: skip
    assert data.group.tolist() == [1, 2, 3]
    assert data.valid is not None
    assert data.valid[:6].tolist() == [False, False, True, True, True, True]


def test_as_published_only_full_rows_survive_and_the_last_position_is_not_pooled() -> None:
    family = LabelFamily("l", "language", context=8, ignore_first=2, probe_tokens=2)
    texts = source("a" * 6, "b" * 7, "c" * 9, "c" * 9, labels=["x", "y", "z", "z"])
    data = labelled_rows(texts, family, least=1, convention="as_published")
    assert data.corpus.lengths.tolist() == [8, 8, 8]  # C14: every row is full; the double is kept
    assert data.group.tolist() == [1, 2, 3]
    assert data.valid is not None
    assert data.valid.tolist() == [False, False, True, True, True, True, True, False] * 3
    assert {one.name for one in data.features} == {"y", "z"}
    assert [one.name for one in data.skipped] == []


def test_windows_reach_every_start_but_as_published_never_the_last() -> None:
    text = "".join(chr(97 + n) for n in range(10))
    begun: dict[str, set[str]] = {"fixed": set(), "as_published": set()}
    for seed in range(80):
        for convention, found in begun.items():
            corpus = windowed(source(text), "w", context=8, seed=seed, convention=convention)
            row = bytes(corpus.row(0)[1:].tolist()).decode()
            assert corpus.row(0)[0] == BOS
            assert row in text
            assert len(row) == 7
            found.add(row[0])
    assert begun == {"fixed": set("abcd"), "as_published": set("abc")}


def test_pieces_are_all_windows_of_a_text_and_doubles_are_dropped() -> None:
    family = LabelFamily("l", "language", context=4, ignore_first=1, probe_tokens=0)
    data = labelled_rows(source("abcdefg", "abcxyz", labels="pq"), family, least=1, pieces=True)
    assert [text_of(data, row) for row in range(len(data))] == ["abc", "def", "xyz"]  # "g" is too short
    assert data.group.tolist() == [0, 0, 1]


def test_no_text_that_is_long_enough_is_an_error() -> None:
    with pytest.raises(CorpusError, match="none of the 1 texts is long enough"):
        labelled_rows(source("ab", labels="x"), LabelFamily("l", "language", ignore_first=5))


@given(st.lists(st.booleans(), min_size=2, max_size=60), st.integers(2, 40), st.integers(0, 5))
def test_a_balanced_choice_has_the_published_share_and_follows_the_shared_order(
    labels: list[bool], size: int, seed: int
) -> None:
    label = torch.tensor(labels)
    priority = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    chosen = balanced(Candidate("f", "x", torch.arange(len(labels)), label), size, 0.2, 0.5, priority)
    wanted = int(size * min(max(sum(labels) / len(labels), 0.2), 0.5))
    order = sorted(range(len(labels)), key=lambda place: int(priority[place]))
    expected = [p for p in order if labels[p]][:wanted] + [p for p in order if not labels[p]][: size - wanted]
    assert chosen.place.tolist() == sorted(expected)
    assert chosen.label.tolist() == [labels[place] for place in sorted(expected)]


def test_features_with_too_few_examples_are_skipped_and_counted() -> None:
    corpus = rows_corpus([[1] * 5])
    place = torch.arange(5)
    rare = Candidate("rare", "x", place, place == 1)
    half = Candidate("half", "x", place[1:], place[1:] < 3)
    data = token_dataset("d", corpus, [rare, half], least=2)
    assert [one.name for one in data.features] == ["half"]
    assert [(one.name, one.positives, one.negatives, one.least) for one in data.skipped] == [
        ("rare", 1, 4, 2)
    ]
    assert data.token is not None
    assert data.token.tolist() == [1, 2, 3, 4]  # only what a kept feature needs


def test_ends_of_documents_vanish_as_published_and_stay_otherwise() -> None:
    texts = source("abcde", "fghij", "klmno")
    fixed = concatenated(texts, "c", context=6)
    published = concatenated(texts, "c", context=6, convention="as_published")
    assert [row.tolist() for row in (fixed.row(0), fixed.row(1))] == [
        [BOS, *b"abcde"], [BOS, BOS, *b"fghi"]
    ]  # fmt: skip
    # C19: no end of a document behind position 0. A chunk may end within the end-of-text string, whose
    # pieces are text then.
    inside = torch.cat([published.row(row)[1:] for row in range(len(published))])
    assert not (inside == BOS).any()
    assert bytes(inside[:5].tolist()) == b"abcde"


def test_the_published_stream_joins_texts_and_drops_only_whole_ends() -> None:
    # 2,013 characters are chunks of 101: the end at 1,040 lies within one, the end at 1,000 is cut.
    for cut, letters in ((1040, b"ab"), (1000, b"ab" + END.encode())):
        ids = concatenated(source("a" * cut, "b" * (2000 - cut)), "c", context=11, convention="as_published")
        found = torch.cat([ids.row(row)[1:] for row in range(len(ids))]).tolist()
        assert set(found) == set(letters)
        assert found.count(ord("a")) == cut


def test_rows_of_a_source_hold_no_text_of_another() -> None:
    texts = source("zzzzzz", "abcdefgh", "yxyxyx", labels=["two", "one", "two"], key="source")
    data = rows_by_source(texts, context=5, least=1)
    assert data.group.tolist()[0] == 1  # sources in alphabetical order
    assert [set(text_of(data, row)) & set("zyx") == set() for row in range(len(data))] == data.feature(
        "one"
    ).label.tolist()


def test_position_targets_are_the_published_five() -> None:
    position = torch.tensor([0, 1, 3, 7])
    targets = position_targets(position)
    values = position.numpy().astype(float)
    expected = [values, values / values.std(), values - values.mean(),
                (values - values.mean()) / values.std(),
                np.log2(values + 1)]  # fmt: skip
    for found, wanted in zip(targets.values(), expected, strict=True):
        np.testing.assert_allclose(found.numpy(), wanted)


def test_parts_of_full_rows_only() -> None:
    corpus = rows_corpus([[1] * 8, [1] * 7])
    data = position_features(corpus, length=8, parts=(2,), least=1)
    assert data.token is not None
    found = data.features[0]
    assert set(data.token.tolist()) <= set(range(1, 8))
    assert (data.position < 4).tolist() == found.label.tolist()


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40))
def test_places_of_a_pair_are_those_of_a_slow_search(tokens: list[int]) -> None:
    found = occurrences(np.array(tokens), [0, 1], [1, 2])
    both: list[int] = []
    only_second: list[int] = []
    only_first: list[int] = []
    for place in range(1, len(tokens)):
        first, second = tokens[place - 1] in (0, 1), tokens[place] in (1, 2)
        for kind, places in (((True, True), both), ((False, True), only_second), ((True, False), only_first)):
            if (first, second) == kind:
                places.append(place)
    assert found.positive.tolist() == both
    assert found.missing_first.tolist() == only_second
    assert found.missing_second.tolist() == only_first


def test_windows_of_a_pair_end_at_the_probed_token_and_stay_in_their_text() -> None:
    # Words of one letter: the pair is x then y.
    texts = source("..xy", "abcdxy", "ay", "xb", "y.xy")
    data = compound_words(texts, pairs=[("x", "y")], context=5, least=1)
    found = {text_of(data, row): label for row, label in enumerate(data.feature("x-y").label.tolist())}
    assert found == {"..xy": True, "cdxy": True, "y.xy": True, "ay": False, "xb": False}
    assert data.token is not None
    assert torch.equal(data.token, data.corpus.offsets[1:] - 1)
    assert (data.corpus.tokens[data.corpus.offsets[:-1]] == BOS).all()


def test_published_windows_have_no_bos_one_length_and_run_over_ends_of_texts() -> None:
    texts = source("ab" * 469 + "yx", "y" + "ab" * 530)
    data = compound_words(texts, pairs=[("x", "y")], context=6, least=1, convention="as_published")
    found = {text_of(data, row): label for row, label in enumerate(data.feature("x-y").label.tolist())}
    assert found == {"babyxy": True, "bababy": False}
    assert set(data.corpus.lengths.tolist()) == {6}
    assert data.corpus.policy.bos is None
    assert not (data.corpus.tokens == BOS).any()
