"""The documents of the published data sets: slices of sources, treebanks in folders, seeds and names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from rwcore.corpora.documents import Document
from rwcore.corpora.registry import find
from rwcore.errors import CorpusError
from rwcore.probing.datasets.features import AS_PUBLISHED
from rwcore.probing.datasets.of_corpora import OF_TEXTS, features_of
from rwcore.probing.datasets.published_choice import DATASETS, SLICES, even_slices, published_dataset
from rwcore.tests.corpus_makers import encoder
from rwcore.tests.test_probing_datasets_language import BANK, bank


def documents_of(counts: dict[str, int]) -> list[Document]:
    """Documents of sources in turn, as a shuffled corpus has them."""
    most = max(counts.values())
    return [
        Document(f"{name} {number}", "x", {"source": name, "lang": "en"})
        for number in range(most)
        for name, count in counts.items()
        if number < count
    ]


def test_slices_are_as_large_as_published() -> None:
    assert sum(count for _, _, count in SLICES) == 17_589
    assert sum(count for _, _, count in SLICES[:5]) == 10_000


def test_first_documents_of_each_source_one_source_after_the_other() -> None:
    given = {"ArXiv": 2003, "Enron Emails": 5, "Wikipedia (en)": 2001, "Pile-CC": 9, "HackerNews": 1700}
    found = even_slices(documents_of(given))
    assert [one.labels["source"] for one in found] == [
        *["wikipedia"] * 2000, *["arxiv"] * 2000, *["hackernews"] * 1632, *["enron"] * 5,
    ]  # fmt: skip
    assert found[1999].id == "Wikipedia (en) 1999"
    assert found[0].labels["lang"] == "en"
    assert even_slices(found) == found, "published short names are known too"


def test_text_features_are_asked_of_the_first_sources(tmp_path: Path) -> None:
    lines = [
        {"text": f"{name} Text {number} has 7 words " * 9, "source": name}
        for number in range(12)
        for name in ("FreeLaw", "Pile-CC", "Github")
    ]
    path = tmp_path / "pile.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    found = published_dataset("text_features", [find(str(path))], encoder())
    assert found.name == "text_features"
    # Of Github and FreeLaw, not of other sources.
    assert found.corpus.document.tolist() == list(range(24))


def test_data_sets_are_made_as_published_with_its_seed(tmp_path: Path) -> None:
    lines = [
        {"text": f"text {number} " * 80, "language": name} for number in range(20) for name in ("de", "fr")
    ]
    path = tmp_path / "eu.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    found = published_dataset("natural_lang_id", [find(str(path))], encoder())
    expected = features_of(f"natural_languages:{path}", encoder(), seed=42, least=1, convention=AS_PUBLISHED)
    assert expected is not None
    assert torch.equal(found.corpus.tokens, expected.corpus.tokens)
    # Published: only full rows, of one token in front and 511 of the text.
    assert set(found.corpus.lengths.tolist()) == {512}
    twice = published_dataset("natural_lang_id", [find(str(path)), find(str(path))], encoder())
    assert len(twice.corpus) == 2 * len(found.corpus)


def test_treebanks_are_files_or_folders_of_them(tmp_path: Path) -> None:
    path = bank(tmp_path)
    (tmp_path / "c.conllu").write_text(BANK.replace("sent_id = ", "sent_id = x"), encoding="utf-8")
    one = published_dataset("ewt", [find(str(path))], encoder())
    all_of_it = published_dataset("ewt", [find(str(tmp_path))], encoder())
    assert len(all_of_it.corpus) == 2 * len(one.corpus)
    assert "upos_NOUN" in {feature.name for feature in one.features}
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorpusError, match=r"no \.conllu file"):
        published_dataset("ewt", [find(str(tmp_path / "empty"))], encoder())


def test_families_with_a_published_name_are_those_of_texts_and_the_treebank() -> None:
    assert {*OF_TEXTS, "treebank"} == set(DATASETS.values())
