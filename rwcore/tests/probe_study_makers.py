"""A tiny model and features of its tokens and rows, for tests of whole probe studies."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from fixtures.tiny import build, local_model
from rwcore.corpora.encoder import read_encoder
from rwcore.corpora.tokens import TokenCorpus
from rwcore.models.spec import LocalModel
from rwcore.parallel import Engine
from rwcore.probing.datasets.features import MEAN, NONE, Feature, FeatureDataset
from rwcore.probing.sparsity import CurveOptions
from rwcore.store import Store
from rwcore.studies.forward import ForwardOptions
from rwcore.studies.probes import ProbeOptions, ProbeStudy
from rwcore.studies.weights import weight_study
from rwcore.tests.pass_makers import random_corpus

CURVE = CurveOptions(
    sizes=(1, 2, 4),
    methods=("mean_dif", "exact", "random directions", "shuffled labels"),
    exact_sizes=(1, 2),
    seconds=10.0,
)
OPTIONS = ProbeOptions(trials=1, kept=8, curve=CURVE)


def tiny_model(folder: Path, family: str = "llama") -> LocalModel:
    """A random model."""
    return local_model(build(family, folder / family), id=f"tiny-{family}")


def tiny_datasets(local: LocalModel) -> tuple[FeatureDataset, ...]:
    """Which third of the vocabulary a token is of; whether a row has a token; one that cannot be split."""
    corpus = replace(random_corpus(rows=60, seed=3), tokenizer_hash=read_encoder(local).hash)
    token = torch.arange(0, corpus.n_tokens, 2)
    ids = corpus.tokens[token].long()
    group = corpus.document[_row(corpus)[token]]
    every = torch.arange(len(token))
    thirds = [Feature(f"third {number}", "tokens", every, ids % 3 == number) for number in range(2)]
    alone = Feature("first document", "tokens", every, group == group[0])
    tokens = FeatureDataset("tokens", corpus, NONE, token, None, (*thirds, alone), group)
    valid = torch.ones(corpus.n_tokens, dtype=torch.bool)
    row = torch.arange(len(corpus))
    mean = torch.stack([corpus.row(number).double().mean() for number in row.tolist()])
    large = Feature("large ids", "rows", row, mean > mean.median())
    return tokens, FeatureDataset("rows", corpus, MEAN, None, valid, (large,), corpus.document)


def _row(corpus: TokenCorpus) -> Tensor:
    return torch.arange(len(corpus)).repeat_interleave(corpus.lengths)


def tiny_study(
    local: LocalModel,
    root: Path,
    *,
    options: ProbeOptions = OPTIONS,
    engine: Engine | None = None,
    parts: int = 1,
    processing: str | None = None,
) -> ProbeStudy:
    """The study with its store below a folder."""
    weights = weight_study(local, store=Store(root), engine=engine, processing=processing)
    forward = ForwardOptions(token_budget=60, device="cpu")
    return ProbeStudy(weights, tiny_datasets(local), options, forward, parts)
