"""Pronouns by their gender."""

from __future__ import annotations

import pytest

from rwcore.corpora.documents import Document
from rwcore.probing.datasets import offline
from rwcore.probing.datasets.features import FeatureDataset
from rwcore.probing.datasets.labelled_tokens import span_features
from rwcore.probing.datasets.offline import Offline
from rwcore.probing.datasets.pronouns import GENDERED, pronoun_spans
from rwcore.probing.datasets.spans import placed_rows
from rwcore.tests.corpus_makers import encoder
from rwcore.tests.test_probing_datasets_rows import source

TEXT = "She told him that it's hers; he saw The IT man, Herself. Her theme hit its sheep, Himself itself his."


def words(text: str) -> dict[str, list[str]]:
    return {name: [text[a:b] for a, b in spans] for name, spans in pronoun_spans(text).items()}


def test_pronouns_of_each_gender() -> None:
    found = words(TEXT)
    # The abbreviation is no pronoun, nor are letters inside of other words.
    assert found == {
        "Gender_Fem": ["She", "hers", "Herself", "Her"],
        "Gender_Masc": ["him", "he", "Himself", "his"],
        "Gender_Neut": ["it", "its", "itself"],
        "Gender": [*found["Gender_Fem"], *found["Gender_Masc"], *found["Gender_Neut"]],
    }
    assert set(GENDERED) | set(GENDERED.values()) == set(found)


def test_texts_without_pronouns_have_every_kind_of_stretch() -> None:
    assert words("no one") == {name: [] for name in words(TEXT)}


def labelled(data: FeatureDataset, text: str, name: str) -> tuple[str, str]:
    """The letters with a feature, and those without."""
    assert data.token is not None
    found = data.feature(name)
    place = data.token[found.example] - 1
    return tuple("".join(text[at] for at in place[label].tolist()) for label in (found.label, ~found.label))


def test_a_gender_is_told_from_the_others_only() -> None:
    texts = source(TEXT)
    placed = placed_rows(texts, "p", context=200)
    data = span_features(texts, placed, pronoun_spans, name="pronouns", among=GENDERED, least=1)
    assert [one.name for one in data.features] == ["Gender_Fem", "Gender_Masc", "Gender_Neut"]
    assert labelled(data, TEXT, "Gender_Neut") == ("ititsitself", "ShehimhersheHerselfHerHimselfhis")
    assert labelled(data, TEXT, "Gender_Masc") == ("himheHimselfhis", "SheithersHerselfHeritsitself")


def documents() -> list[Document]:
    kinds = [("en", "own-texts", "She saw him and it. "), ("de", "own-texts", "His her it. ")]
    return [
        Document(f"{language}/{number}", f"{number} {text * 3}", {"language": language, "source": place})
        for language, place, text in kinds
        for number in range(4)
    ]


def test_only_english_prose_has_pronouns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offline, "own_documents", lambda: iter(documents()))
    texts = Offline(encoder(), least=12, own=True)
    data = texts.pronouns()
    of = {texts.source.texts[number].labels["language"] for number in data.group.tolist()}
    assert of == {"en"}
    # Three letters of "him" three times in each of four documents, none of them at the beginning of a row.
    assert data.feature("Gender_Masc").positives == 3 * 3 * 4
    assert Offline(encoder(), least=1000, own=True).pronouns().features == ()


def test_own_texts_are_those_that_do_not_change_with_python() -> None:
    sources = {one.labels["source"] for one in Offline(encoder(), own=True).source.texts}
    assert sources == {"own-texts"}
    every = list(offline.offline_documents())
    assert [one for one in every if one.labels["source"] == "own-texts"] == list(offline.own_documents())
    assert {one.labels["source"] for one in every} == {"own-texts", "python-topics", "interpreter"}
