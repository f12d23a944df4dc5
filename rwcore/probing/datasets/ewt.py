"""Linguistic features of a treebank: parts of speech, relations, morphology, ends of sentences."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

import torch

from rwcore.corpora.encoder import TextEncoder
from rwcore.corpora.spec import CorpusSpec
from rwcore.probing.datasets.conllu import Sentence, Word
from rwcore.probing.datasets.features import FIXED, FeatureDataset
from rwcore.probing.datasets.sampling import LEAST, Candidate, priorities, sample, token_dataset
from rwcore.probing.datasets.source import Row, Source, require_convention, rows_corpus
from rwcore.probing.datasets.strings import Placed, encode_placed

FIRST_POSITION = 5
SIZE, SHARE = 25_000, 0.2

TAGS = (
    "NOUN", "PUNCT", "ADP", "NUM", "SYM", "SCONJ", "ADJ", "DET", "CCONJ", "PROPN", "PRON", "X", "ADV", "INTJ",
    "VERB", "AUX",
)  # fmt: skip
RELATIONS = (
    "acl", "acl:relcl", "advcl", "advmod", "amod", "appos", "aux", "aux:pass", "case",
    "cc", "ccomp", "compound", "conj", "cop", "det", "flat", "list", "mark",
    "nmod", "nmod:poss", "nsubj", "nsubj:pass", "nummod", "obj", "obl", "parataxis", "punct",
    "root", "xcomp",
)  # fmt: skip
ONE_OF = {
    "VerbForm": ("Fin", "Inf", "Ger", "Part"),
    "PronType": ("Art", "Dem", "Prs", "Rel", "Int"),
    "Person": ("1", "2", "3"),
    "Gender": ("Masc", "Fem", "Neut"),
}
"""Each value against the other values of its category."""
AGAINST = {"Number": ("Plur", "Sing"), "Mood": ("Imp", "Ind"), "Tense": ("Past", "Pres")}
"""The first value against the second."""

# None: the word is no candidate of the feature.
Rule = Callable[[Word], bool | None]


@dataclass(frozen=True)
class _Token:
    """A model token with the word that it begins in, if any, and whether it ends a sentence."""

    id: int
    word: Word | None
    ends: bool


def word_rules() -> dict[tuple[str, str], Rule]:
    """Family and name of each feature of a word → its label, None where the word is no candidate.

    Source: sparse probing 3.5.
    """
    rules: dict[tuple[str, str], Rule] = {}
    for tag in TAGS:
        rules["upos", f"upos_{tag}"] = lambda word, tag=tag: word.tag == tag  # type: ignore[misc]
    for relation in RELATIONS:
        rules["dep", f"dep_{relation}"] = lambda word, relation=relation: (  # type: ignore[misc]
            word.relation == relation if word.relation in RELATIONS else None
        )
    values = [(key, value, every) for key, every in ONE_OF.items() for value in every]
    values += [(key, pair[0], pair) for key, pair in AGAINST.items()]
    for key, value, every in values:
        rules["morphology", f"{key}_{value}"] = lambda word, key=key, value=value, every=every: (  # type: ignore[misc]
            word.features[key] == value if word.features.get(key) in every else None
        )
    rules["morphology", "NumType_Card"] = lambda word: word.features.get("NumType") == "Card"
    rules["morphology", "Voice_Pass"] = lambda word: (
        word.features.get("Voice") == "Pass" if word.tag == "VERB" else None
    )
    return rules


def treebank_features(
    spec: CorpusSpec,
    encoder: TextEncoder,
    sentences: Iterable[Sentence],
    *,
    context: int = 512,
    size: int = SIZE,
    seed: int = 0,
    least: int = LEAST,
    convention: str = FIXED,
) -> FeatureDataset:
    """Linguistic features of tokens, a fifth of them positive.

    A model token has the annotation of the first word that it shares a character with. The sentences of a
    document, those of one word apart, follow each other with a space before each; rows begin with BOS;
    candidates stand at position 5 or later. A negative of most features is a token of any other word, see
    `word_rules`; ``eos_True`` is the last token of a sentence with ``.``, ``!`` or ``?`` in it against every
    other token, ``first_eos_True`` the first of them in a row against the other ones.

    Fixed: a row holds as many whole sentences as fit (a longer one is cut).

    ``as_published``: a sentence belongs to row ``⌊c / (context − 1)⌋`` with c the count of tokens up to its
    own end, so that rows are cropped or shorter than they could be; and tokens without a word count as
    negatives of ``NumType_Card``.

    Args:
        spec: Where the treebank comes from; its BOS policy.
        encoder: The tokenizer and the limits of the model.
        sentences: The sentences, those of one document together.
        context: Tokens of the longest row.
        size: Examples of a feature, at most.
        seed: Seed of the choice of examples.
        least: Examples of either class that a feature must have.
        convention: ``fixed`` or ``as_published``.

    Raises:
        CorpusError: There is no sentence of two words, or the tokenizer does not say where tokens stand.

    Source: sparse probing 3.5 and trap 8.
    """
    published = require_convention(convention)
    source = Source(spec, encoder, ())
    whole = [one for one in sentences if len(one.words) > 1]
    placed = encode_placed(encoder, [" " + one.text for one in whole])
    tokens = [_annotated(encoder, one, where) for one, where in zip(whole, placed, strict=True)]
    rows: list[Row] = []
    labelled: list[_Token] = []
    beginning = [_Token(number, None, ends=False) for number in source.bos]
    width = source.length(context) - len(beginning)
    documents = groupby(range(len(whole)), key=lambda number: whole[number].document)
    for number, (_, members) in enumerate(documents):
        for row in _packed([tokens[member] for member in members], width, published=published):
            labelled += [*beginning, *row]
            rows.append(Row(number, [token.id for token in (*beginning, *row)]))
    corpus = rows_corpus(source, "ewt", rows, bos=source.bos[0] if source.bos else None)
    position = torch.arange(corpus.n_tokens) - corpus.offsets[:-1].repeat_interleave(corpus.lengths)
    candidate = (position >= FIRST_POSITION).nonzero().flatten().tolist()
    chosen = []
    priority = priorities(corpus, seed)
    for family, name, labels in _labels(labelled, corpus.offsets.tolist(), published=published):
        place = [number for number in candidate if labels[number] is not None]
        label = torch.tensor([labels[number] is True for number in place], dtype=torch.bool)
        one = Candidate(name, family, torch.tensor(place, dtype=torch.int64), label)
        positives = min(int(label.sum()), int(size * SHARE))
        chosen.append(sample(one, positives, size - positives, priority))
    return token_dataset("ewt", corpus, chosen, least=least)


def _annotated(encoder: TextEncoder, sentence: Sentence, placed: Placed) -> list[_Token]:
    """The tokens of a sentence, whose text was given a space in front."""
    spans = [(word.span[0] + 1, word.span[1] + 1, word) for word in sentence.words if word.span is not None]
    found = []
    for number, start, end in zip(placed.ids, placed.start.tolist(), placed.end.tolist(), strict=True):
        word = next((word for low, high, word in spans if low < end and high > start), None)
        found.append(_Token(number, word, ends=False))
    if found:
        text = encoder.tokenizer.decode([found[-1].id])
        found[-1] = _Token(found[-1].id, found[-1].word, ends=any(sign in text for sign in ".!?"))
    return found


def _packed(sentences: Sequence[list[_Token]], width: int, *, published: bool) -> list[list[_Token]]:
    rows: dict[int, list[_Token]] = {}
    count = number = 0
    for sentence in sentences:
        count += len(sentence)
        if published:
            number = count // width
        elif len(rows.get(number, [])) + len(sentence) > width and rows.get(number):
            number += 1
        rows.setdefault(number, []).extend(sentence)
    return [row[:width] for _, row in sorted(rows.items()) if row]


def _labels(
    tokens: Sequence[_Token], offsets: Sequence[int], *, published: bool
) -> Iterable[tuple[str, str, list[bool | None]]]:
    """Family, name and the label of every token of each feature."""
    for (family, name), rule in word_rules().items():
        # Published, the category of a token without a word was "none", which is another than Card.
        without = False if published and name == "NumType_Card" else None
        yield family, name, [without if token.word is None else rule(token.word) for token in tokens]
    yield "sentence", "eos_True", [token.ends for token in tokens]
    first: list[bool | None] = [None] * len(tokens)
    for start, end in pairwise(offsets):
        ends = [place for place in range(start, end) if tokens[place].ends]
        for place in ends:
            first[place] = place == ends[0]
    yield "sentence", "first_eos_True", first
