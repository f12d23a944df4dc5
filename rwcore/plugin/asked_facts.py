"""Which facts a claim about attributes rates is asked on: the paper's, if they were given, or our own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch

from rwcore.ablation.compare import AS_PUBLISHED, FIXED
from rwcore.attributes.attribute_sets import AttributeSets
from rwcore.attributes.facts import HANDMADE, read_facts
from rwcore.attributes.judge import Judgement
from rwcore.attributes.sources import open_source
from rwcore.corpora.encoder import read_encoder
from rwcore.plugin.options import Knowledge
from rwcore.plugin.subjects import Kind
from rwcore.studies.attribute_rates import AttributeOptions, AttributeStudy
from rwcore.studies.passages import BM25, TITLE, PassageOptions, find_passages
from rwcore.studies.weights import WeightStudy

OWN = Knowledge(HANDMADE, HANDMADE)
LETTERS = 20
"""Letters of a text that a small model is asked for."""
TOP = 5
"""Tokens that are looked at in a small model, which has some dozens."""


@dataclass(frozen=True)
class LettersStudy(AttributeStudy):
    """Of a small model, which reads letters and knows nothing.

    It is asked every fact as if it knew it; attributes of a subject are the first letters of its text.
    """

    @cached_property
    def judgements(self) -> tuple[Judgement, ...]:
        """Every fact is known."""
        return tuple(
            Judgement(fact, known=True, answer=fact.attribute, reason="", prompt=fact.prompt)
            for fact in self.facts
        )

    @cached_property
    def sets(self) -> AttributeSets:
        """The first letters of the passages; of all tokens none is too short to count."""
        vocab = len(self.words.texts)
        member = torch.zeros(len(self.subjects), vocab, dtype=torch.bool)
        for row, subject in zip(member, self.subjects, strict=True):
            text = " ".join(passage.text for passage in self.passages.get(subject, ()))
            (ids,) = self.encoder.encode([text[:LETTERS]])
            row[list(ids)] = True
        counted = torch.ones(vocab, dtype=torch.bool)
        return AttributeSets(self.subjects, member, counted, torch.arange(vocab), rated=member.any(dim=1))


def attribute_study(weights: WeightStudy, kind: Kind, given: Knowledge | None) -> AttributeStudy:
    """Attributes rates of a model.

    The paper's own models are measured as published, on the paragraphs that BM25 finds; so is any model that
    facts were given for, but without the quirks. Our own texts have the name of a subject as their title.

    Args:
        weights: The weight study of the model.
        kind: What the model is; recorded ones are asked our own facts, whatever was given.
        given: The facts, and where the text about their subjects is; None for our own.
    """
    recorded = kind in (Kind.STAND_IN, Kind.PACKAGED)
    knowledge = OWN if given is None or recorded else given
    convention = AS_PUBLISHED if kind in (Kind.PAPER, Kind.STAND_IN) else FIXED
    facts = tuple(read_facts(knowledge.knowns))
    retrieval = TITLE if knowledge.passages == HANDMADE else BM25
    passages = find_passages(
        open_source(knowledge.passages),
        (fact.subject for fact in facts),
        PassageOptions(retrieval=retrieval, convention=convention),
        store=weights.store,
        engine=weights.engine,
    )
    options = AttributeOptions(convention=convention)
    if kind is Kind.STAND_IN:
        options = replace(options, k=TOP)
    study = LettersStudy if kind is Kind.STAND_IN else AttributeStudy
    return study(weights, read_encoder(weights.local), facts, passages, options=options)
