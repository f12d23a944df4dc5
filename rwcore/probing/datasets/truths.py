"""Statements that are true or false: is the last token of a completion the true one?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from rwcore.corpora.encoder import TextEncoder
from rwcore.corpora.own_texts import Known
from rwcore.corpora.spec import CorpusSpec
from rwcore.probing.datasets.features import FeatureDataset
from rwcore.probing.datasets.sampling import LEAST, Candidate, token_dataset
from rwcore.probing.datasets.source import Row, Source, rows_corpus

CONTEXT = 64


@dataclass(frozen=True)
class Statement:
    """A prompt with a true and a false completion.

    Attributes:
        prompt: The beginning, without a space at its end.
        true: How it goes on in truth, without a space in front.
        false: How it does not.
        relation: What is stated (CounterFact: the property of Wikidata).
    """

    prompt: str
    true: str
    false: str
    relation: str


def statements_of(knowns: Sequence[Known]) -> list[Statement]:
    """Our own facts, each with the next other answer of its relation as the false completion."""
    found = []
    for number, known in enumerate(knowns):
        others = [*knowns[number + 1 :], *knowns[:number]]
        taken = {one.answer for one in knowns if one.prompt == known.prompt}
        false = next(
            (o.answer for o in others if o.relation == known.relation and o.answer not in taken), None
        )
        if false is not None:
            found.append(Statement(known.prompt, known.answer, false, known.relation))
    return found


def truth_features(
    spec: CorpusSpec,
    encoder: TextEncoder,
    statements: Sequence[Statement],
    *,
    context: int = CONTEXT,
    by_relation: bool = False,
    least: int = LEAST,
) -> FeatureDataset:
    """Two rows per statement, with the true and the false completion; the last token is the example.

    The two rows of a statement, and statements with one prompt, are one group. Rows that are longer than the
    context are dropped with their other half, and so are completions that are the same tokens.

    Args:
        spec: Where the statements come from; its BOS policy.
        encoder: The tokenizer and the limits of the model.
        statements: The statements (CounterFact has 21,910).
        context: Tokens of the longest row.
        by_relation: Also one feature per relation, over the rows of that relation.
        least: Examples of either class that a feature must have.

    Raises:
        CorpusError: No statement is short enough.

    Source: sparse probing 3.9.
    """
    source = Source(spec, encoder, ())
    texts = [f"{one.prompt} {end}" for one in statements for end in (one.true, one.false)]
    ids = encoder.encode(texts)
    number_of: dict[str, int] = {}
    rows: list[Row] = []
    relations: list[str] = []
    for one, true, false in zip(statements, ids[::2], ids[1::2], strict=True):
        if true != false and len(source.bos) + max(len(true), len(false)) <= source.length(context):
            number = number_of.setdefault(one.prompt, len(number_of))
            rows += [Row(number, source.bos + true), Row(number, source.bos + false)]
            relations.append(one.relation)
    corpus = rows_corpus(source, "counterfact", rows, bos=source.bos[0] if source.bos else None)
    last = corpus.offsets[1:] - 1
    label = torch.tensor([True, False]).repeat(len(relations))
    candidates = [Candidate("is_true", "truth", last, label)]
    for relation in sorted(set(relations)) if by_relation else ():
        of_relation = torch.tensor([one == relation for one in relations]).repeat_interleave(2)
        candidates.append(Candidate(f"is_true_{relation}", "truth", last[of_relation], label[of_relation]))
    return token_dataset("counterfact", corpus, candidates, least=least)
