"""Data sets made of what is on every machine: our own texts, Python's help and Python itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from rwcore.corpora.documents import Document, documents
from rwcore.corpora.encoder import TextEncoder
from rwcore.corpora.own_texts import knowns
from rwcore.corpora.registry import find
from rwcore.probing.datasets.compound_words import compound_words
from rwcore.probing.datasets.features import MEAN, FeatureDataset
from rwcore.probing.datasets.interpreter import interpreter_documents, interpreter_prose
from rwcore.probing.datasets.labelled_rows import one_against_rest, pooled
from rwcore.probing.datasets.labelled_tokens import label_features, span_features
from rwcore.probing.datasets.position import position_features
from rwcore.probing.datasets.pronouns import GENDERED, pronoun_spans
from rwcore.probing.datasets.prose import AMONG, prose_spans
from rwcore.probing.datasets.python_syntax import python_spans
from rwcore.probing.datasets.sampling import LEAST, row_dataset
from rwcore.probing.datasets.source import Source
from rwcore.probing.datasets.spans import PlacedCorpus, placed_rows
from rwcore.probing.datasets.text_features import text_features
from rwcore.probing.datasets.thinning import thinned
from rwcore.probing.datasets.truths import statements_of, truth_features

CONTEXT = 256
PAIRS = (
    ("base", "class"), ("command", "line"), ("context", "manager"), ("empty", "string"), ("event", "loop"),
    ("file", "object"), ("for", "example"), ("keyword", "arguments"), ("line", "number"), ("return", "value"),
)  # fmt: skip
"""Terms of Python's help and docstrings whose words also occur without each other."""

# Rows of a document: of Python's own files there are hundreds, of its help and our texts few.
_ROWS_OF_CODE, _ROWS = 2, 6
# What two rows need of a program; more would only be tokenised.
_CHARACTERS = 6000
# Pieces of our short documents that count as documents, so that a split finds several of every language.
_PIECE = 150
_WINDOWS, _LEAST_WINDOWS = 200, 80
# Ten pairs, three kinds of windows, 24 tokens: all windows have about as many tokens as the shared rows.
_TOKENS_PER_WINDOW = 720
_SOURCE_FIRST = 25
# The few facts of our own texts; half of their rows.
_LEAST_FACTS = 40
# Rows so short that what little prose there is in a language makes some dozens; the first tokens of a row say
# little about its language.
_SHORT, _SHORT_FIRST, _LEAST_SHORT = 24, 4, 20
# Our own English texts have some 70 pronouns of one gender and some 90 of another.
_LEAST_PRONOUNS = 60
# The first tokens of a row are no examples of what is in a sentence, as in the paper: what a model has seen
# before them stands in many documents, which would be one for the split.
_PROSE_FIRST = 5


@dataclass(frozen=True)
class Offline:
    """The offline texts for one tokenizer; most data sets share their rows.

    Attributes:
        encoder: The tokenizer and the limits of the model.
        least: Examples of either class that a feature must have.
        seed: Seed of the choice of examples, and of rows.
        tokens: Tokens of the shared rows, at most: what little there is in a language is kept, and fewer rows
            of what there is much of (see `rwcore.probing.datasets.thinning`). Compound words get fewer
            windows, too. All there are if None.
        own: Whether the shared rows are of our own texts only, which do not change with Python.
    """

    encoder: TextEncoder
    least: int = LEAST
    seed: int = 0
    tokens: int | None = None
    own: bool = False

    @cached_property
    def source(self) -> Source:
        """All documents; ``source`` is where they come from."""
        spec = replace(find("handmade"), id="offline", tokens=None, documents=None, max_length=CONTEXT)
        texts = own_documents() if self.own else offline_documents()
        return Source(spec, self.encoder, tuple(texts))

    @cached_property
    def placed(self) -> PlacedCorpus:
        """Their rows of at most `CONTEXT` tokens."""
        most = [
            _ROWS_OF_CODE if one.labels["source"] == "interpreter" else _ROWS for one in self.source.texts
        ]
        placed = placed_rows(self.source, "offline", context=CONTEXT, most=most)
        if self.tokens is None:
            return placed
        labels = [one.labels for one in self.source.texts]
        kinds = [(each["source"], each.get("language"), each.get("code")) for each in labels]
        return thinned(placed, kinds, self.tokens, seed=self.seed)

    def text_features(self) -> FeatureDataset:
        """What the current token is made of: digits, capitals, white space (all texts)."""
        return text_features(self.source, self.placed.corpus, seed=self.seed, least=self.least)

    def languages(self) -> FeatureDataset:
        """The natural language of our own prose, a token at a time."""
        return self._labels("language", "language")

    def language_rows(self) -> FeatureDataset:
        """The natural language of short rows of our own prose, by their mean."""
        texts = tuple(one for one in self.source.texts if one.labels.get("language"))
        spec = replace(self.source.spec, id="language_rows", max_length=_SHORT)
        # There is far more English than anything else.
        most = [1 if one.labels["language"] == "en" else _ROWS for one in texts]
        corpus = placed_rows(
            Source(spec, self.encoder, texts), "language_rows", context=_SHORT, most=most
        ).corpus
        labels = [texts[number].labels["language"] for number in corpus.document.tolist()]
        valid = pooled(corpus, _SHORT_FIRST)
        valid[corpus.offsets[1:] - 1] = True  # a short row must have a valid token, too
        candidates = one_against_rest(labels, sorted(set(labels)), "language_rows")
        least = min(self.least, _LEAST_SHORT)
        return row_dataset("language_rows", corpus, MEAN, valid, candidates, least=least)

    def code(self) -> FeatureDataset:
        """The programming language of code, a token at a time."""
        return self._labels("code", "code")

    def sources(self) -> FeatureDataset:
        """What a row is from (Python's help, programs, C headers, our texts), by its mean."""
        corpus = self.placed.corpus
        labels = [_kind(self.source.texts[number]) for number in corpus.document.tolist()]
        valid = pooled(corpus, _SOURCE_FIRST)
        valid[corpus.offsets[1:] - 1] = True  # a short row must have a valid token, too
        candidates = one_against_rest(labels, sorted(set(labels)), "source")
        return row_dataset("sources", corpus, MEAN, valid, candidates, least=self.least)

    def sentences(self) -> FeatureDataset:
        """Beginnings and ends of sentences, brackets and quotation marks in English prose."""
        return span_features(
            self.source,
            self.placed,
            prose_spans,
            name="sentences",
            within=lambda one: one.labels.get("language") == "en" or one.labels["source"] == "python-topics",
            among=AMONG,
            first=_PROSE_FIRST,
            seed=self.seed,
            least=self.least,
        )

    def pronouns(self) -> FeatureDataset:
        """The gender of pronouns in our own English prose: each of three against the two others."""
        return span_features(
            self.source,
            self.placed,
            pronoun_spans,
            name="pronouns",
            within=lambda one: one.labels.get("language") == "en",
            among=GENDERED,
            first=_PROSE_FIRST,
            seed=self.seed,
            least=min(self.least, _LEAST_PRONOUNS),
        )

    def python_syntax(self) -> FeatureDataset:
        """Comments, strings, keywords, names in Python programs."""
        return span_features(
            self.source,
            self.placed,
            python_spans,
            name="python_syntax",
            within=lambda one: one.id.startswith("python/"),
            seed=self.seed,
            least=self.least,
        )

    def position(self) -> FeatureDataset:
        """The first half, quarter and eighth of full rows."""
        length = self.source.length(CONTEXT)
        return position_features(self.placed.corpus, length=length, seed=self.seed, least=self.least)

    def compound_words(self) -> FeatureDataset:
        """Pairs of words that Python's help and docstrings have as terms, some dozens of each."""
        spec = replace(self.source.spec, id="compound_words")
        texts = (*documents(find("python-topics")), *interpreter_prose())
        fewer = _WINDOWS if self.tokens is None else max(_LEAST_WINDOWS, self.tokens // _TOKENS_PER_WINDOW)
        windows = min(_WINDOWS, fewer)
        return compound_words(
            Source(spec, self.encoder, texts),
            pairs=PAIRS,
            positives=windows,
            negatives=windows,
            seed=self.seed,
            least=min(self.least, _LEAST_WINDOWS),
        )

    def facts(self) -> FeatureDataset:
        """Whether the end of a statement of our own facts is true; only some dozens of each."""
        least = min(self.least, _LEAST_FACTS)
        return truth_features(self.source.spec, self.encoder, statements_of(knowns()), least=least)

    def _labels(self, key: str, name: str) -> FeatureDataset:
        return label_features(self.source, self.placed, key, name=name, seed=self.seed, least=self.least)


FAMILIES: Mapping[str, Callable[[Offline], FeatureDataset]] = {
    "text_features": Offline.text_features,
    "languages": Offline.languages,
    "language_rows": Offline.language_rows,
    "code": Offline.code,
    "sources": Offline.sources,
    "sentences": Offline.sentences,
    "pronouns": Offline.pronouns,
    "python_syntax": Offline.python_syntax,
    "position": Offline.position,
    "compound_words": Offline.compound_words,
    "facts": Offline.facts,
}
"""Name of each offline data set → how it is made."""


def offline_datasets(
    encoder: TextEncoder, *, seed: int = 0, least: int = LEAST, tokens: int | None = None
) -> list[FeatureDataset]:
    """All offline data sets with a feature for a tokenizer.

    Args:
        encoder: The tokenizer and the limits of the model.
        seed: Seed of the choice of examples.
        least: Examples of either class that a feature must have (of the few facts 40 are enough).
        tokens: See `Offline`.
    """
    texts = Offline(encoder, least, seed, tokens)
    made = (make(texts) for make in FAMILIES.values())
    return [data for data in made if data.features]


def offline_documents() -> Iterator[Document]:
    """Our own texts, Python's help, its modules and header files, labelled with their ``source``."""
    yield from own_documents()
    for document in documents(find("python-topics")):
        yield _from(document, "python-topics")
    for document in interpreter_documents(_CHARACTERS):
        yield _from(document, "interpreter")


def own_documents() -> Iterator[Document]:
    """Our own texts; their ``source`` is ``own-texts``.

    Of those in other languages and of code there are two each; they are cut at blank lines into pieces that
    count as documents, so that training and test do not share a piece.
    """
    for document in documents(find("handmade")):
        if document.labels["kind"] in ("language", "code"):
            for number, piece in enumerate(pieces(document.text)):
                yield Document(f"{document.id}/{number}", piece, {**document.labels, "source": "own-texts"})
        else:
            yield _from(document, "own-texts")


def pieces(text: str, least: int = _PIECE) -> list[str]:
    """A text cut at blank lines, or else at line ends, into pieces of at least so many characters."""
    cut = "\n\n" if "\n\n" in text else "\n"
    found: list[str] = []
    for part in text.split(cut):
        if found and len(found[-1]) < least:
            found[-1] += cut + part
        else:
            found.append(part)
    if len(found) > 1 and len(found[-1]) < least:
        end = found.pop()
        found[-1] += cut + end
    return found


def _from(document: Document, source: str) -> Document:
    return Document(document.id, document.text, {**document.labels, "source": source})


def _kind(document: Document) -> str:
    names = {
        "own-texts": "own_texts",
        "python-topics": "manual",
        "interpreter": document.labels.get("code", ""),
    }
    return names[document.labels["source"]]
