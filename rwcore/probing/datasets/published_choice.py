"""The documents that the published data sets were made of, and the data sets made of them as published.

Two families read a choice of the Pile's test split: even slices of nine of its sources. The others read all
documents that they are given.

Source: sparse probing 3.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path

from rwcore.corpora.documents import Document, documents
from rwcore.corpora.encoder import TextEncoder
from rwcore.corpora.spec import CorpusSpec
from rwcore.errors import CorpusError
from rwcore.probing.datasets.conllu import read_conllu
from rwcore.probing.datasets.ewt import treebank_features
from rwcore.probing.datasets.features import AS_PUBLISHED, FeatureDataset
from rwcore.probing.datasets.labelled_rows import SOURCES
from rwcore.probing.datasets.of_corpora import TREEBANK, family_of
from rwcore.probing.datasets.source import Source
from rwcore.probing.splits import PUBLISHED_SEED

DATASETS: Mapping[str, str] = {
    "programming_lang_id": "programming_languages",
    "natural_lang_id": "natural_languages",
    "distribution_id": "sources",
    "text_features": "text_features",
    "latex": "latex",
    "compound_words": "compound_words",
    "ewt": TREEBANK,
    "suffixes": "suffixes",
}
"""First part of the published name of a data set → the family of features that makes it."""

_PARTS = ("train", "dev", "test")
SLICES = (
    ("Wikipedia (en)", "wikipedia", 2000),
    ("PubMed Abstracts", "pubmed_abstracts", 2000),
    ("StackExchange", "stack_exchange", 2000),
    ("Github", "github", 2000),
    ("ArXiv", "arxiv", 2000),
    ("USPTO Backgrounds", "uspto", 2000),
    ("FreeLaw", "freelaw", 2000),
    ("HackerNews", "hackernews", 1632),
    ("Enron Emails", "enron", 1957),
)
"""Name of a source in the Pile, its published short name, and how many of its documents are taken.

The last two numbers are all documents of the test split, and of Enron the 947 of the validation split too.
"""

_FIRST_SLICES = 10_000
"""Documents of the even slices that the features of a token's text are asked of: five sources."""


def even_slices(texts: Iterable[Document]) -> list[Document]:
    """The first documents of each of nine sources, one source after the other.

    Args:
        texts: Documents with the label ``source``: the Pile's name of it, or the published short name.

    Returns:
        The documents, with the short name as their label.

    Source: sparse probing 3.3.
    """
    short = {name: one for long, one, _ in SLICES for name in (long, one)}
    most = {name: count for _, name, count in SLICES}
    taken: dict[str, list[Document]] = {name: [] for name in most}
    for document in texts:
        name = short.get(document.labels.get(SOURCES.key, ""))
        if name is not None and len(taken[name]) < most[name]:
            labels = {**document.labels, SOURCES.key: name}
            taken[name].append(replace(document, labels=labels))
    return list(chain.from_iterable(taken.values()))


def published_dataset(name: str, corpora: Sequence[CorpusSpec], encoder: TextEncoder) -> FeatureDataset:
    """A data set made as published of documents that one's own machine has.

    The published data sets were made without a seed; here the seed is that of the published splits.

    Args:
        name: One of `DATASETS`.
        corpora: The texts, read one after the other; of the treebank its CoNLL-U files or their folder.
        encoder: The tokenizer and the limits of the model.

    Raises:
        CorpusError: A text is not here or damaged, or no document is what the family needs.
    """
    family = DATASETS[name]
    if family == TREEBANK:
        sentences = chain.from_iterable(map(read_conllu, _treebanks(corpora)))
        made = treebank_features(
            corpora[0], encoder, sentences, seed=PUBLISHED_SEED, least=1, convention=AS_PUBLISHED
        )
    else:
        texts = chain.from_iterable(map(documents, corpora))
        source = Source(corpora[0], encoder, tuple(_chosen(family, texts)))
        made = family_of(family, source, seed=PUBLISHED_SEED, least=1, convention=AS_PUBLISHED)
    return replace(made, name=name)


def _chosen(family: str, texts: Iterable[Document]) -> Iterator[Document]:
    if family == "sources":
        return iter(even_slices(texts))
    if family in ("text_features", "suffixes"):
        return islice(even_slices(texts), _FIRST_SLICES)
    return iter(texts)


def _treebanks(corpora: Sequence[CorpusSpec]) -> list[Path]:
    """The files of a treebank.

    Raises:
        CorpusError: A folder has none.
    """
    files: list[Path] = []
    for spec in corpora:
        path = Path(spec.location)
        inside = sorted(path.glob("*.conllu"), key=_part) if path.is_dir() else [path]
        if not inside:
            raise CorpusError(
                "the folder holds no .conllu file",
                where=str(path),
                remedy="give the folder of a treebank of Universal Dependencies",
            )
        files += inside
    return files


def _part(file: Path) -> tuple[int, str]:
    """Training, then validation, then test, as the published data set has them; other files by name."""
    place = next((n for n, part in enumerate(_PARTS) if part in file.stem.split("-")), len(_PARTS))
    return place, file.name
