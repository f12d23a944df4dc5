"""Attention (de)activation neurons: they write what heads of the next layer ask of the first token."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pandas as pd
import torch
from jaxtyping import Float, Int16
from torch import Tensor

from rwcore.errors import WeightsError
from rwcore.weights.attention import AttentionLayer
from rwcore.weights.layer import MlpLayer

THRESHOLD = math.sqrt(0.5)
ACTIVATION, DEACTIVATION = "attention activation", "attention deactivation"
NO_HEAD = -1

_BLOCK = 2048


@dataclass(frozen=True)
class AttentionScores:
    """For every neuron, the head of the next layer that reads it most on the question "look at BOS?".

    Attributes:
        score: Signed cosine of largest absolute value; float32, NaN in the last layer and for neurons whose
            output vector has no direction.
        head: The head it belongs to, the first of equal ones; -1 where there is no score.
    """

    score: Float[Tensor, "layer neuron"]
    head: Int16[Tensor, "layer neuron"]

    def to_arrays(self) -> dict[str, Tensor]:
        """The tensors by name, as `from_arrays` takes them."""
        return {"attention_score": self.score, "attention_head": self.head}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Tensor]) -> AttentionScores:
        """The inverse of `to_arrays`; other arrays are ignored."""
        return cls(arrays["attention_score"], arrays["attention_head"])


def bos_queries(
    attention: AttentionLayer, entering: Float[Tensor, " d_model"], *, norm: str, eps: float
) -> Float[Tensor, "head d_model"]:
    """The directions of the residual stream that make each head look at the first token.

    ``k_h = W_K[h]ᵀ x̂ + b_K[h]`` is the key of a token before rotary embedding, x̂ being what enters the
    layer there after its norm; ``q_h = W_Q[h] k_h``: the more of q_h a later position has in its (normalised)
    stream, the higher head h scores the token.

    Args:
        attention: The processed attention weights (gain of the norm folded, see
            `rwcore.weights.attention.attention_weights`); heads that share keys are expanded here.
        entering: The residual stream that enters the layer at the BOS token, alone in its context.
        norm: ``rms``, ``layer``, or ``none`` where no norm stands before the attention.
        eps: Epsilon of the norm.

    Returns:
        Not normalised, float64.
    """
    x = entering.to(torch.float64)
    if norm == "layer":
        x = x - x.mean()
    if norm != "none":
        x = x / (x.square().mean() + eps).sqrt()
    heads = attention.expanded()
    keys = torch.einsum("hdk,d->hk", heads.W_K.to(torch.float64), x)
    if heads.b_K is not None:
        keys = keys + heads.b_K
    return torch.einsum("hdk,hk->hd", heads.W_Q.to(torch.float64), keys)


def attention_scores(
    layers: Iterable[MlpLayer], queries: Iterable[Float[Tensor, "head d_model"]]
) -> AttentionScores:
    """How strongly each neuron writes along the BOS query directions of the *next* layer.

    ``s[n, h] = cos(out[l, n], q[l+1, h])``; of the heads, the one with the largest ``|s|`` is kept, with the
    sign of s. Only the next layer's heads are looked at.

    Args:
        layers: All layers in order, or all but the last.
        queries: The `bos_queries` of layers 1, 2, …; as many as there are next layers.

    Raises:
        WeightsError: There are fewer layers than query directions.

    Source: RW functionalities, appendix on functional roles; section 7.1 of the specification.
    """
    scores, heads = [], []
    stream = iter(layers)
    for number, query in enumerate(queries):
        layer = next(stream, None)
        if layer is None:
            raise WeightsError("there are more layers of heads than layers of neurons before them")
        score, head = _layer_scores(layer.out.detach(), query, number)
        scores.append(score)
        heads.append(head)
        # Otherwise this layer would stay in memory while the next one is read.
        del layer
    if not scores:
        raise WeightsError("a model with one layer has no heads that read its neurons")
    scores.append(torch.full_like(scores[0], torch.nan))
    heads.append(torch.full_like(heads[0], NO_HEAD))
    return AttentionScores(torch.stack(scores), torch.stack(heads))


def _layer_scores(
    out: Float[Tensor, "neuron d_model"], query: Float[Tensor, "head query_width"], layer: int
) -> tuple[Float[Tensor, " neuron"], Int16[Tensor, " neuron"]]:
    if out.shape[1] != query.shape[1]:
        raise WeightsError(
            f"output vectors have {out.shape[1]} numbers, query directions {query.shape[1]}",
            where=f"layer {layer}",
            remedy="neurons and heads must be of one model",
        )
    directions = (query / query.norm(dim=1, keepdim=True)).to(torch.float64)
    scores = torch.empty(len(out), dtype=torch.float32)
    heads = torch.empty(len(out), dtype=torch.int16)
    for start in range(0, len(out), _BLOCK):
        here = slice(start, start + _BLOCK)
        vectors = out[here].to(torch.float64)
        norm = vectors.norm(dim=1, keepdim=True)
        # A head whose key is zero asks nothing of the first token: no neuron can score on it.
        cosines = (vectors @ directions.T).nan_to_num(nan=0.0) / norm
        # A first maximum, where argmax may return any.
        head = cosines.abs().nan_to_num(nan=0.0).sort(dim=1, descending=True, stable=True).indices[:, 0]
        undefined = ~((norm[:, 0] > 0) & norm[:, 0].isfinite())
        scores[here] = cosines.gather(1, head[:, None])[:, 0].masked_fill(undefined, torch.nan)
        heads[here] = head.masked_fill(undefined, NO_HEAD)
    return scores, heads


def attention_neurons(
    scores: AttentionScores,
    threshold: float = THRESHOLD,
    *,
    gatelin: Float[Tensor, "layer neuron"] | None = None,
) -> pd.DataFrame:
    """The neurons that make a head of the next layer look at the first token, or away from it.

    A neuron is flagged if ``|s| > threshold`` (strict) for any head. With ``s > 0`` at the head with the
    largest ``|s|`` an active neuron draws attention to BOS, where it has no effect: *deactivation*; with
    ``s < 0`` *activation*.

    Args:
        scores: The scores.
        threshold: √0.5 in the paper: more than half of the output vector's squared length.
        gatelin: For gated neurons whose gate signs are *not* folded: cos(gate, in), whose sign is given to
            the score (zero counts as positive). None if they are folded, or there is no gate.

    Returns:
        ``layer``, ``neuron``, ``head``, ``score``, ``effect`` (`ACTIVATION` or `DEACTIVATION`), sorted by
        layer and neuron.
    """
    score = scores.score
    if gatelin is not None:
        score = torch.where(gatelin < 0, -score, score)
    layer, neuron = (score.abs() > threshold).nonzero(as_tuple=True)
    found = score[layer, neuron]
    return pd.DataFrame(
        {
            "layer": layer.numpy(),
            "neuron": neuron.numpy(),
            "head": scores.head[layer, neuron].numpy().astype("int64"),
            "score": found.numpy(),
            "effect": [DEACTIVATION if value > 0 else ACTIVATION for value in found.tolist()],
        }
    ).astype({"effect": "str"})
