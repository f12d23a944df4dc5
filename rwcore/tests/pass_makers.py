"""A tiny gated model, a corpus of random rows and the study of both, for the tests of a whole pass."""

from __future__ import annotations

from pathlib import Path

import torch

from fixtures.tiny import SIZES
from rwcore.activations.artefact import Activations, load
from rwcore.activations.statistics import LayerStatistics
from rwcore.corpora.tokens import TokenCorpus
from rwcore.models.spec import LocalModel
from rwcore.parallel import Engine
from rwcore.store import Store
from rwcore.studies.activations import PASS, ActivationStudy, PassOptions, activation_study
from rwcore.studies.weights import weight_study
from rwcore.tests.activation_parts import same
from rwcore.tests.corpus_makers import rows_corpus


def random_corpus(rows: int = 48, seed: int = 0, longest: int = 20) -> TokenCorpus:
    """Rows of random tokens; every third one goes on with the document of the row before."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(2, longest + 1, (rows,), generator=generator).tolist()
    tokens = [torch.randint(4, SIZES["vocab"], (length,), generator=generator).tolist() for length in lengths]
    return rows_corpus(tokens, [row - row % 3 // 2 for row in range(rows)])


def tiny_study(
    local: LocalModel, root: Path, corpus: TokenCorpus, engine: Engine | None = None, **options: object
) -> ActivationStudy:
    """The study with its store below a folder; small batches, so that there are some twenty."""
    chosen = PassOptions(**{"k": 3, "token_budget": 40, "device": "cpu", **options})  # type: ignore[arg-type]
    return activation_study(weight_study(local, store=Store(root), engine=engine), corpus, chosen)


def same_pass(left: ActivationStudy, right: ActivationStudy) -> bool:
    """Whether two studies found the same bits, whatever their shards were."""
    one, other = (load(study.folder / PASS) for study in (left, right))
    facts = [(found.identity, found.batches, found.rows, found.group_tokens) for found in (one, other)]
    return facts[0] == facts[1] and all(map(same, one.layers, other.layers))


def tokens_of(found: Activations) -> set[int]:
    """Number of tokens of each layer; one number if all layers saw all tokens."""
    layers: tuple[LayerStatistics, ...] = found.layers
    return {layer.tokens for layer in layers}
