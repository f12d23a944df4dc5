"""A tiny model and data sets over one corpus of random rows, for the tests of the pass over examples."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from rwcore.corpora.encoder import read_encoder
from rwcore.corpora.tokens import TokenCorpus
from rwcore.models.spec import LocalModel
from rwcore.parallel import Engine
from rwcore.probing.datasets.features import MAX, MEAN, NONE, Feature, FeatureDataset
from rwcore.store import Store
from rwcore.studies.example_pass import Examples, example_pass
from rwcore.studies.forward import ForwardOptions
from rwcore.studies.weights import WeightStudy, weight_study
from rwcore.tests.pass_makers import random_corpus


def own_corpus(local: LocalModel, rows: int = 24) -> TokenCorpus:
    """Random rows that the tokenizer of the model has made, as far as anybody can tell."""
    return replace(random_corpus(rows=rows, seed=5), tokenizer_hash=read_encoder(local).hash)


def random_datasets(corpus: TokenCorpus) -> list[FeatureDataset]:
    """Two data sets of tokens that share some, and two of rows. The last row but one has no token."""
    generator = torch.Generator().manual_seed(0)
    outside = (len(corpus) - 2) * torch.ones(1, dtype=torch.int64)
    row = torch.arange(len(corpus)).repeat_interleave(corpus.lengths)
    found = []
    for name in ("letters", "words"):
        token = ((torch.rand(corpus.n_tokens, generator=generator) < 0.3) & (row != outside)).nonzero()[:, 0]
        found.append(_dataset(name, corpus, NONE, token, None, corpus.document[row[token]]))
    for name, aggregation in (("languages", MEAN), ("sources", MAX)):
        valid = torch.rand(corpus.n_tokens, generator=generator) < 0.6
        valid[corpus.offsets[1:] - 1] = True
        found.append(_dataset(name, corpus, aggregation, None, valid, corpus.document))
    return found


def _dataset(
    name: str,
    corpus: TokenCorpus,
    aggregation: str,
    token: Tensor | None,
    valid: Tensor | None,
    group: Tensor,
) -> FeatureDataset:
    example = torch.arange(0, len(group), 2)
    feature = Feature("some", "random", example, example % 3 == 0)
    return FeatureDataset(name, corpus, aggregation, token, valid, (feature,), group)


def tiny_weights(local: LocalModel, root: Path, engine: Engine | None = None) -> WeightStudy:
    """The weight study with its store below a folder."""
    return weight_study(local, store=Store(root), engine=engine)


def tiny_pass(
    local: LocalModel,
    root: Path,
    datasets: list[FeatureDataset],
    *,
    engine: Engine | None = None,
    parts: int = 1,
    convention: str = "fixed",
    layers: list[int] | None = None,
    **options: object,
) -> Examples:
    """The pass in small batches."""
    chosen = ForwardOptions(**{"token_budget": 60, "device": "cpu", **options})  # type: ignore[arg-type]
    weights = tiny_weights(local, root, engine)
    return example_pass(weights, datasets, chosen, parts=parts, convention=convention, layers=layers)


def all_bits(examples: Examples) -> dict[tuple[str, int], Tensor]:
    """Everything that a pass has kept."""
    return {
        (name, layer): examples.layer(name, layer) for name in examples.datasets for layer in examples.layers
    }


def same_bits(left: Examples, right: Examples) -> bool:
    """Whether two passes have kept the same."""
    one, other = all_bits(left), all_bits(right)
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)
