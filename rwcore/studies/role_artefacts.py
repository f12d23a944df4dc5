"""What the role study keeps in the store: token moments, entropy ratios, attention scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from rwcore.errors import ModelError
from rwcore.models.residual import residual_stream
from rwcore.models.spec import LocalModel
from rwcore.provenance import Stopwatch, collect
from rwcore.runtime import progress
from rwcore.stats.roles.attention import attention_scores, bos_queries
from rwcore.stats.roles.entropy import null_directions, null_share
from rwcore.stats.roles.moments import TokenDirections, layer_moments, token_directions
from rwcore.store import ArtefactKey, write_arrays
from rwcore.studies.weights import LayerTask, WeightStudy
from rwcore.weights.attention import attention_weights
from rwcore.weights.embedding import unembedding
from rwcore.weights.reader import open_model

MOMENTS_DEFINITION = "token_moments/1"
ENTROPY_DEFINITION = "entropy_ratio/1"
ATTENTION_DEFINITION = "attention_scores/1"
ARRAYS = "roles.safetensors"


def moments_folders(study: WeightStudy) -> list[Path]:
    """The artefacts with the moments of every neuron's cosines with all tokens, layer by layer."""
    try:
        return study.engine.map(
            moments_of_layer, study.tasks(), desc=f"token moments of {study.local.spec.id}"
        )
    finally:
        _tokens.cache_clear()  # as large as the unembedding


def entropy_folder(study: WeightStudy, n_null: int) -> Path:
    """The artefact with the share of each last-layer neuron in the ``n_null`` null directions."""

    def compute(folder: Path) -> dict[str, object]:
        # The unembedding of a large model is gone before the layer comes.
        directions = null_directions(unembedding(study.local, processing=study.processing).W_U, n_null)
        write_arrays(folder / ARRAYS, {"ratio": null_share(study.mlp_weights()[-1], directions)})
        return {}

    return _stored(study, "entropy-ratio", ENTROPY_DEFINITION, compute, n_null=n_null)


def attention_folder(study: WeightStudy, bos: int) -> Path:
    """The artefact with the attention scores for the token ``bos``.

    Raises:
        ModelError: The model's heads normalise queries and keys, or it is no decoder.
    """

    def compute(folder: Path) -> dict[str, object]:
        weights = study.mlp_weights()
        last = len(weights) - 1
        numbers = progress(range(last), desc="attention scores", total=last, unit="layer")
        layers = (weights[number] for number in numbers)
        scores = attention_scores(layers, bos_queries_of(study.local, bos))
        write_arrays(folder / ARRAYS, scores.to_arrays())
        return {}

    _check_heads(study.local)
    return _stored(study, "attention-scores", ATTENTION_DEFINITION, compute, bos_token=bos)


def _stored(
    study: WeightStudy,
    kind: str,
    definition: str,
    compute: Callable[[Path], dict[str, object]],
    **fields: object,
) -> Path:
    facts: dict[str, object] = {
        "model": study.local.identity(),
        "processing": study.processing,
        "fold_sign": True,
        **fields,
    }

    def timed(folder: Path) -> dict[str, object]:
        stopwatch = Stopwatch()
        found = compute(folder)
        return collect(stopwatch, **facts, **found, dtype="float32")

    return study.store.get_or_compute(ArtefactKey.of(kind, definition, **facts), timed)


def moments_of_layer(task: LayerTask) -> Path:
    """The artefact with the moments of one layer."""

    def compute(folder: Path) -> dict[str, object]:
        tokens = _tokens(task.local, task.processing)
        write_arrays(folder / ARRAYS, layer_moments(task.weights(), tokens))
        return {"zero_tokens": tokens.left_out}

    return task.stored("token-moments", MOMENTS_DEFINITION, compute)


@lru_cache(maxsize=1)
def _tokens(local: LocalModel, processing: str) -> TokenDirections:
    """Kept from layer to layer, in this process or on a worker."""
    return token_directions(unembedding(local, processing=processing).W_U)


def _check_heads(local: LocalModel) -> None:
    """Refuse models of which no query direction is that of the paper.

    Raises:
        ModelError: Queries and keys are normalised.
    """
    names = open_model(local).source.names
    if any(name.endswith("self_attn.q_norm.weight") for name in names):
        raise ModelError(
            "the heads of this model normalise queries and keys, so that no direction of the residual stream "
            "is what a head asks of the first token",
            where=local.spec.id,
            remedy="leave attention neurons out: --no-attention",
        )


def bos_queries_of(local: LocalModel, bos: int) -> Iterator[Float[Tensor, "head d_model"]]:
    """The query directions of layers 1, 2, …, made one layer at a time."""
    reader = open_model(local)
    shape = reader.shape
    norm = shape.norm if shape.processed else "none"
    entering = residual_stream(local, torch.tensor([bos]))[:, 0]
    for layer in range(1, shape.n_layers):
        # Always with the gain of the norm folded: a query direction is one of the stream itself.
        heads = attention_weights(local, layer, processing="as_published")
        yield bos_queries(heads, entering[layer], norm=norm, eps=shape.norm_eps)
