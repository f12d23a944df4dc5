"""Published families on texts of one's own, by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from rwcore.corpora.registry import find
from rwcore.errors import CorpusError, OptionError
from rwcore.probing.datasets.catalogue import find_features
from rwcore.probing.datasets.labelled_rows import NATURAL, labelled_rows, windowed
from rwcore.probing.datasets.of_corpora import family_names, features_of
from rwcore.probing.datasets.source import read_source
from rwcore.probing.datasets.text_features import text_features
from rwcore.tests.corpus_makers import encoder
from rwcore.tests.test_probing_datasets_language import bank


def texts(folder: Path, count: int = 30) -> Path:
    """Documents with a label."""
    path = folder / "texts.jsonl"
    lines = [
        {"text": f"Text {number} has 7 words and NO end " * 3, "language": ["de", "fr"][number % 2]}
        for number in range(count)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def test_text_features_of_a_file_are_those_of_its_windows(tmp_path: Path) -> None:
    path = texts(tmp_path)
    found = features_of(f"text_features:{path}", encoder(), seed=3, least=5)
    assert found is not None
    source = read_source(find(str(path)), encoder())
    corpus = windowed(source, "text_features", seed=3)
    expected = text_features(source, corpus, seed=3, least=5)
    assert {one.name for one in found.features} == {one.name for one in expected.features}
    assert torch.equal(found.corpus.tokens, corpus.tokens)
    digits, again = (data.feature("contains_digit") for data in (found, expected))
    assert torch.equal(digits.label, again.label)


def test_labels_of_documents(tmp_path: Path) -> None:
    path = texts(tmp_path)
    found = features_of(f"natural_languages:{path}", encoder(), least=5)
    assert found is not None
    expected = labelled_rows(read_source(find(str(path)), encoder()), NATURAL, least=5)
    assert {one.name: one.positives for one in found.features} == {
        one.name: one.positives for one in expected.features
    }
    assert {one.name for one in found.features} == {"de", "fr"}


def test_data_sets_are_made_by_the_convention_that_is_asked_for(tmp_path: Path) -> None:
    """As published only whole rows are kept, and the last token is not pooled."""
    path = tmp_path / "texts.jsonl"
    lines = [
        {"text": f"{number:02} " * (100 + 7 * number), "language": ["de", "fr"][number % 2]}
        for number in range(30)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    (fixed,) = find_features(f"natural_languages:{path}", encoder(), least=5)
    (published,) = find_features(f"natural_languages:{path}", encoder(), least=5, convention="as_published")
    assert len(fixed.corpus) == 30
    assert int(fixed.valid.sum()) == fixed.corpus.n_tokens - 30
    # From 171 words of three letters on.
    assert set(published.corpus.lengths.tolist()) == {512}
    assert len(published.corpus) == 19
    assert int(published.valid.sum()) == 19 * 510


def test_a_treebank(tmp_path: Path) -> None:
    found = features_of(f"treebank:{bank(tmp_path)}", encoder(), least=1)
    assert found is not None
    assert "upos_VERB" in {one.name for one in found.features}


def test_two_families_of_one_file_have_names_of_their_own(tmp_path: Path) -> None:
    path = texts(tmp_path)
    made = find_features(f"text_features:{path},natural_languages:{path}", encoder(), least=5)
    assert len({one.name for one in made}) == 2


def test_what_is_no_family_is_left_to_others() -> None:
    assert features_of("languages", encoder()) is None
    assert features_of("c:/texts.jsonl", encoder()) is None


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="latex of which texts"):
        features_of("latex:", encoder())
    with pytest.raises(CorpusError, match="nowhere"):
        find_features("latex:nowhere.txt", encoder())
    with pytest.raises(CorpusError):
        find_features(f"treebank:{tmp_path / 'none.conllu'}", encoder())
    with pytest.raises(OptionError) as caught:
        find_features("latx", encoder())
    assert all(name in str(caught.value.remedy) for name in family_names())
