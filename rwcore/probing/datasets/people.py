"""Facts about people: what a text's mention of a name says of its bearer."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from rwcore.corpora.encoder import TextEncoder
from rwcore.probing.datasets.features import FIXED, MAX, FeatureDataset
from rwcore.probing.datasets.labelled_rows import one_against_rest
from rwcore.probing.datasets.sampling import LEAST, row_dataset
from rwcore.probing.datasets.source import Row, Source, require_convention, rows_corpus
from rwcore.probing.duplicates import join_duplicates

CONTEXT = 128
SHORTEST_NAME = 8
# Names of one regular expression.
_TOGETHER = 500


@dataclass(frozen=True)
class Person:
    """A row of a table of people.

    Attributes:
        name: The full name; what comes behind its first space is the surname.
        fame: Number of properties the source has of them.
        properties: Property → its values, such as ``occupation`` → ``("actor", "singer")``.
    """

    name: str
    fame: int
    properties: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Mention:
    """A name in a text: the text up to and including it is ``text[:end]``."""

    document: int
    person: int
    end: int


def mentions(source: Source, people: Sequence[Person], *, convention: str = FIXED) -> Iterator[Mention]:
    """Where the texts name the people, in the order of the texts.

    Fixed: whole words only; at one place the longest name; every mention.

    ``as_published``: names also within words; the names are searched in groups of 500, and of each group
    only the first mention in a document is found.

    Args:
        source: The texts.
        people: Whom to look for, names of eight characters with a space in them.
        convention: ``fixed`` or ``as_published``.

    Source: sparse probing 3.8, step 2.
    """
    published = require_convention(convention)
    number = {person.name: n for n, person in reversed(list(enumerate(people))) if is_name(person.name)}
    names = list(number) if published else sorted(number, key=len, reverse=True)
    size = _TOGETHER if published else max(len(names), 1)
    patterns = []
    for start in range(0, len(names), size):
        # At one place the first alternative wins, and the longer name must.
        either = "|".join(
            re.escape(name) for name in sorted(names[start : start + size], key=len, reverse=True)
        )
        patterns.append(re.compile(either if published else rf"(?<!\w)(?:{either})(?!\w)"))
    for document, text in enumerate(source.texts):
        for pattern in patterns:
            for found in pattern.finditer(text.text):
                yield Mention(document, number[found[0]], found.end())
                if published:
                    break


def is_name(name: str) -> bool:
    """Whether a name is long enough to be looked for, and has a surname."""
    return len(name) >= SHORTEST_NAME and " " in name


def people_features(
    source: Source,
    people: Sequence[Person],
    name: str,
    classes: Sequence[str],
    *,
    context: int = CONTEXT,
    per_class: int | None = None,
    per_name: int = 1,
    least: int = LEAST,
    convention: str = FIXED,
    found: Sequence[Mention] | None = None,
) -> FeatureDataset:
    """One row per mention, the maximum over its surname as a neuron's value, one feature per class.

    A row is BOS and the last tokens of the text up to and including the name. People need exactly one of the
    classes; the most famous come first. Documents that share a name are one group.

    Args:
        source: The texts.
        people: The table.
        name: The property.
        classes: Its values, one feature each against the others.
        context: Tokens of the longest row.
        per_class: Mentions of a class, at most.
        per_name: Mentions of a name, at most.
        least: Rows of either class that a feature must have.
        convention: ``fixed`` or ``as_published``, see `mentions`.
        found: What `mentions` finds of these people in these texts, where that is known already.

    Raises:
        CorpusError: Nobody is mentioned.

    Source: sparse probing 3.8, step 3.
    """
    label_of = {}
    for number, person in enumerate(people):
        own = [value for value in person.properties.get(name, ()) if value in classes]
        if len(own) == 1:
            label_of[number] = own[0]
    if found is None:
        found = tuple(mentions(source, people, convention=convention))
    found = [one for one in found if one.person in label_of]
    found.sort(key=lambda one: (-people[one.person].fame, one.person))
    by_class: Counter[str] = Counter()
    by_name: Counter[int] = Counter()
    rows: list[Row] = []
    labels: list[str] = []
    surnames: list[int] = []
    persons: list[int] = []
    for one in found:
        label = label_of[one.person]
        if by_name[one.person] >= per_name or by_class[label] >= (per_class or len(found)):
            continue
        text = source.texts[one.document].text[: one.end]
        tokens = source.encoder.encode([text])[0][-(source.length(context) - len(source.bos)) :]
        length = _surname_tokens(source.encoder, tokens, people[one.person].name)
        if length is not None:
            by_name[one.person] += 1
            by_class[label] += 1
            rows.append(Row(one.document, source.bos + tokens))
            persons.append(one.person)
            labels.append(label)
            surnames.append(length)
    dataset = f"wikidata_{name}"
    corpus = rows_corpus(source, dataset, rows, bos=source.bos[0] if source.bos else None)
    left = corpus.offsets[1:].repeat_interleave(corpus.lengths) - torch.arange(corpus.n_tokens)
    valid = left <= torch.tensor(surnames).repeat_interleave(corpus.lengths)
    # Neither a document nor a name may be on both sides of a split: it would be known by heart.
    group = join_duplicates(corpus.document, torch.tensor(persons)[:, None])
    candidates = one_against_rest(labels, classes, dataset)
    return row_dataset(dataset, corpus, MAX, valid, candidates, group=group, least=least)


def _surname_tokens(encoder: TextEncoder, tokens: list[int], name: str) -> int | None:
    """How many tokens at the end are the surname; None where name or surname are not tokens of their own."""
    surname = name.partition(" ")[2]
    whole = encoder.encode([name, " " + name])
    last = encoder.encode([surname, " " + surname])
    if not any(tokens[-len(one) :] == one for one in whole):
        return None
    return next((len(one) for one in reversed(last) if tokens[-len(one) :] == one), None)
