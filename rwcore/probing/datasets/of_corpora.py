"""The published families of features on any texts, by names such as ``latex:CORPUS``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from rwcore.corpora.encoder import TextEncoder
from rwcore.corpora.registry import find
from rwcore.corpora.spec import FILE, CorpusSpec
from rwcore.errors import OptionError
from rwcore.probing.datasets.compound_words import compound_words
from rwcore.probing.datasets.conllu import read_conllu
from rwcore.probing.datasets.ewt import treebank_features
from rwcore.probing.datasets.features import FIXED, FeatureDataset
from rwcore.probing.datasets.labelled_rows import NATURAL, PROGRAMMING, SOURCES, labelled_rows, windowed
from rwcore.probing.datasets.latex_features import latex_features
from rwcore.probing.datasets.sampling import LEAST
from rwcore.probing.datasets.source import Source, read_source
from rwcore.probing.datasets.text_features import suffix_predicates, text_features

TREEBANK = "treebank"
_SUFFIX_CONTEXT = 512


@dataclass(frozen=True)
class _Asked:
    """How a family is made.

    Attributes:
        seed: Seed of the choice of examples.
        least: Examples of either class that a feature must have.
        convention: ``fixed`` or ``as_published``.
    """

    seed: int = 0
    least: int = LEAST
    convention: str = FIXED

    def text_features(self, source: Source) -> FeatureDataset:
        """What the current token is made of, in a window of 256 tokens of each text."""
        corpus = windowed(source, "text_features", seed=self.seed, convention=self.convention)
        return text_features(source, corpus, **vars(self))

    def suffixes(self, source: Source) -> FeatureDataset:
        """How the current token ends, in a window of 512 tokens of each text."""
        corpus = windowed(
            source, "suffixes", context=_SUFFIX_CONTEXT, seed=self.seed, convention=self.convention
        )
        return text_features(source, corpus, predicates=suffix_predicates(), name="suffixes", **vars(self))

    def compound_words(self, source: Source) -> FeatureDataset:
        """The second word of 21 pairs such as social security, against the words without each other."""
        return compound_words(source, **vars(self))

    def latex(self, source: Source) -> FeatureDataset:
        """Titles, references, fractions, mathematics of LaTeX documents."""
        return latex_features(source, **vars(self))

    def programming_languages(self, source: Source) -> FeatureDataset:
        """Nine programming languages of texts with a label ``programming_language``, by the mean of a row."""
        return labelled_rows(source, PROGRAMMING, **vars(self))

    def natural_languages(self, source: Source) -> FeatureDataset:
        """Nine natural languages of texts with a label ``language``, by the mean of a row."""
        return labelled_rows(source, NATURAL, **vars(self))

    def sources(self, source: Source) -> FeatureDataset:
        """Nine sources of texts with a label ``source``, by the mean of a row."""
        return labelled_rows(source, SOURCES, **vars(self))


OF_TEXTS: Mapping[str, Callable[[_Asked, Source], FeatureDataset]] = {
    "text_features": _Asked.text_features,
    "suffixes": _Asked.suffixes,
    "compound_words": _Asked.compound_words,
    "latex": _Asked.latex,
    "programming_languages": _Asked.programming_languages,
    "natural_languages": _Asked.natural_languages,
    "sources": _Asked.sources,
}
"""Name of each family → how it is made of the texts of a corpus."""


def family_names() -> list[str]:
    """What may stand before the colon."""
    return [*OF_TEXTS, TREEBANK]


def family_of(
    family: str,
    source: Source,
    *,
    seed: int = 0,
    least: int = LEAST,
    convention: str = FIXED,
) -> FeatureDataset:
    """A family of features of the texts of a source.

    Args:
        family: One of `OF_TEXTS`.
        source: The texts.
        seed: Seed of the choice of examples.
        least: Examples of either class that a feature must have.
        convention: ``fixed`` or ``as_published``.

    Raises:
        CorpusError: No text is what the family needs.
    """
    return OF_TEXTS[family](_Asked(seed, least, convention), source)


def features_of(
    text: str, encoder: TextEncoder, *, seed: int = 0, least: int = LEAST, convention: str = FIXED
) -> FeatureDataset | None:
    """The features that ``FAMILY:CORPUS`` names, or None if a text is none of these.

    Args:
        text: A family, a colon, and the name of a corpus or a file of texts (of ``treebank`` a file in
            CoNLL-U).
        encoder: The tokenizer and the limits of the model.
        seed: Seed of the choice of examples.
        least: Examples of either class that a feature must have.
        convention: ``fixed`` or ``as_published``.

    Raises:
        OptionError: No corpus is named.
        CorpusError: There is no such corpus, it is not on this machine, or a file is damaged.
    """
    family, colon, corpus = text.partition(":")
    if not colon or family not in family_names():
        return None
    if not corpus.strip():
        raise OptionError(f"{family} of which texts?", where="--features", remedy=f"give {family}:CORPUS")
    asked = _Asked(seed, least, convention)
    if family == TREEBANK:
        path = Path(corpus).expanduser()
        spec = CorpusSpec(path.name, FILE, str(path.resolve()))
        data = treebank_features(spec, encoder, read_conllu(path), **vars(asked))
    else:
        data = OF_TEXTS[family](asked, read_source(find(corpus), encoder))
    return replace(data, name=f"{family} of {data.corpus.spec.id if family == TREEBANK else corpus}")
