"""The file that says what the paper's features are made of: what it may name, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from rwcore.corpora.documents import documents
from rwcore.corpora.registry import find
from rwcore.errors import OptionError
from rwcore.plugin.asked_features import FAMILIES, LABELLED, REGISTERED, FeatureTexts, read_feature_texts
from rwcore.probing.datasets.labelled_rows import NATURAL, PROGRAMMING, SOURCES
from rwcore.probing.datasets.of_corpora import family_names
from rwcore.probing.datasets.published_choice import DATASETS


def toml(folder: Path, text: str) -> Path:
    (folder / "features.toml").write_text(text, encoding="utf-8")
    return folder / "features.toml"


def test_families_are_those_of_the_library() -> None:
    assert set(FAMILIES) == set(DATASETS.values()) <= set(family_names())
    families = {"programming_languages": PROGRAMMING, "natural_languages": NATURAL, "sources": SOURCES}
    assert {name: family.key for name, family in families.items()} == LABELLED
    for family, corpora in REGISTERED.items():
        assert [one.id for one in FeatureTexts().corpora(family)] == list(corpora)
    assert FeatureTexts().corpora("treebank") == ()


def test_files_lie_beside_the_file_that_names_them(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "x", "meta": {"language": "de"}, "language": "fr"}\n')
    (tmp_path / "ud").mkdir()
    found = read_feature_texts(
        toml(
            tmp_path,
            'natural_languages = { corpus = ["a.jsonl"], label = "meta.language" }\n'
            'latex = ["a.jsonl", "pile-test-arxiv"]\ntreebank = "ud"\n',
        )
    )
    (texts,) = found.corpora("natural_languages")
    (document,) = documents(texts)
    assert document.labels["language"] == "de", "the label that was named, not the field of its name"
    assert [one.location for one in found.corpora("latex")] == [
        str(tmp_path / "a.jsonl"),
        find("pile-test-arxiv").location,
    ]
    assert found.missing("treebank") is None
    assert found.corpora("compound_words") == (find("pile-test"),)


@pytest.mark.parametrize(
    ("text", "key", "what"),
    [
        ('languages = "a"', "languages", "no features 'languages'"),
        ('latex = "nowhere.jsonl"', "latex", "unknown corpus"),
        ("latex = 3", "latex", "3 names no texts"),
        ("latex = []", "latex", "names no texts"),
        ('latex = ["a.jsonl", 3]', "latex", "names no texts"),
        ('latex = { corpus = "a.jsonl", label = "x" }', "latex.label", "have no label"),
        ('sources = { corpus = "a.jsonl", label = 3 }', "sources.label", "3 is no name"),
        ('sources = { text = "a.jsonl" }', "sources.text", "the key is unknown"),
        ('treebank = "handmade"', "treebank", "is no treebank"),
        ("latex = ", "", "cannot be read"),
    ],
)
def test_refusals_name_the_file_and_the_key(tmp_path: Path, text: str, key: str, what: str) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "x"}\n')
    path = toml(tmp_path, text)
    with pytest.raises(OptionError, match=what) as caught:
        read_feature_texts(path)
    assert str(caught.value.where) == f"--rw-features {path}" + (f": {key}" if key else "")
    assert caught.value.remedy


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(OptionError, match="cannot be read"):
        read_feature_texts(Path("/nowhere/features.toml"))
    assert read_feature_texts(None) == FeatureTexts()
