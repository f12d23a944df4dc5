r"""How much heads and neurons write against the token that is already predicted where they write.

The logit lens of the stream x that enters a layer says what would be predicted if nothing more were written:
with the final scale s of the clean pass,

    t = argmax_v ((x / s) · W_U[:, v] + b_U[v]) .

Every writer of the layer, a head (r = z W_O) or a neuron (δ = a w_out), adds δ · u / s to the logit of t,
where u is the column of t minus the mean of all columns: a centred logit, before a soft cap. What is negative
of it is *suppression*.

t is of one of three `KINDS`. ``standing``: the token that stands at the position itself. The lens of early
layers says little else where the unembedding is the embedding, and to write against it is to clear away what
was read, not what is predicted. ``earlier``: another token, which has occurred before: the case of copy
suppression. ``new``: any other.

Position 0 is left out, both as a place where something is written and as context: that is where heads rest.

Source: ours. Heads as in copy suppression, specification, section 16.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int8, Int32, Int64
from torch import Tensor

from rwcore.corpora.batches import Batch
from rwcore.heads.calibration import top_predictions
from rwcore.heads.readout import Readout
from rwcore.heads.repair_clean import Watched, wide
from rwcore.heads.repair_neurons import MlpTerms
from rwcore.heads.run import NEURONS, STREAM, LayerParts, output_matrices, run_heads

STANDING, EARLIER, NEW = "standing", "earlier", "new"
KINDS = (STANDING, EARLIER, NEW)
"""What a predicted token is; codes are places in this list."""
UNCERTAIN = -1
"""Code where the prediction is less probable than was asked for."""
AGAINST, NET = range(2)
"""What is summed of each neuron: Σ min(c, 0) and Σ c."""


@dataclass(frozen=True, eq=False)
class NeuronGroups:
    """Which neurons are added up together.

    Attributes:
        codes: Class of every neuron; -1 (undefined) counts as the class behind the last.
        classes: How many classes there are.
        random: Members of random groups.
    """

    codes: Int8[Tensor, "layer neuron"]
    classes: int
    random: Bool[Tensor, "layer group neuron"]

    def membership(self, layer: int) -> Float[Tensor, "neuron group"]:
        """1 where a neuron of a layer belongs to a group: first the classes, then the random groups."""
        number = self.codes[layer].long().remainder(self.classes + 1)
        known = torch.nn.functional.one_hot(number, self.classes + 1)
        return torch.cat([known, self.random[layer].T.long()], dim=1).float()


@dataclass(frozen=True, eq=False)
class Suppression:
    """What is written to the logit of the predicted token; logits.

    Attributes:
        predicted: t at each position and layer.
        kind: Its kind, or `UNCERTAIN`.
        probability: Of t, by the lens.
        heads: c of each head.
        against: Sum of min(c, 0) over the neurons of each class; the undefined ones last.
        net: Sum of c over them.
        random: Sum of min(c, 0) over random groups of neurons, of all layers where t is of a kind.
        neurons: Σ min(c, 0) and Σ c of every neuron over the positions, by the kind of t.
    """

    predicted: Int32[Tensor, "token layer"]
    kind: Int8[Tensor, "token layer"]
    probability: Float[Tensor, "token layer"]
    heads: Float[Tensor, "token layer head"]
    against: Float[Tensor, "token layer class"]
    net: Float[Tensor, "token layer class"]
    random: Float[Tensor, "token kind group"]
    neurons: Float64[Tensor, "measure kind layer neuron"]


@torch.no_grad()
def suppression(
    model: Any,
    batch: Batch,
    readout: Readout,
    groups: NeuronGroups,
    *,
    least_probability: float = 0.0,
) -> Suppression:
    """Measure what every head and neuron writes to the predicted token, at every position but the first.

    The batch is run twice: the final scale is needed before the first layer is looked at. Of neurons one
    layer is in memory at a time. The lens costs an unembedding a layer, several times a forward pass.

    Args:
        model: As for `rwcore.heads.run.run_heads`.
        batch: The batch.
        readout: On the model's device.
        groups: Of all neurons of the model.
        least_probability: Predictions below it are `UNCERTAIN`.

    Returns:
        Positions in the order of ``asked_positions(batch)``, on the CPU.

    Raises:
        ModelError: As `rwcore.heads.run.run_heads`.
    """
    final = run_heads(model, batch)
    device = readout.rows.device
    tokens, asked = batch.tokens.to(device), asked_positions(batch).to(device)
    scale = wide(final.scale[asked])
    watched = Watched(model, 0)
    layers: list[_Layer] = []

    def visit(parts: LayerParts) -> None:
        assert parts.stream is not None
        hidden = wide(parts.stream[asked]) / scale[:, None]
        lens = top_predictions(hidden, readout, count=1)
        predicted, probability = lens.token[:, 0], lens.probability[:, 0]
        u = readout.centred(predicted).to(scale.dtype)
        output = output_matrices(model, parts.layer).to(u.dtype)
        along = torch.einsum("td,hed->the", u, output)
        heads = torch.linalg.vecdot(wide(parts.z[asked]), along) / scale[:, None]
        neurons = wide(watched.coefficients(parts)[asked])
        kind = kinds(predicted, tokens, asked)
        kind[probability < least_probability] = UNCERTAIN
        written = MlpTerms.of(model, parts.layer, neurons, u, scale).clean
        layers.append(_Layer.of(predicted, probability, kind, heads, written, groups, parts.layer))

    run_heads(model, batch, visit, parts=(STREAM, NEURONS), hooks=watched.hooks())
    return _together(layers)


def asked_positions(batch: Batch) -> Bool[Tensor, "batch pos"]:
    """Where predictions are looked at: at all tokens but the first of each row."""
    return batch.mask & (torch.arange(batch.mask.shape[1]) > 0)


def kinds(
    predicted: Int64[Tensor, " token"], tokens: Int64[Tensor, "batch pos"], asked: Bool[Tensor, "batch pos"]
) -> Int8[Tensor, " token"]:
    """What each predicted token is: the code of one of `KINDS`.

    Args:
        predicted: At the positions that are asked, row by row.
        tokens: The rows.
        asked: Which positions these are.
    """
    row, position = asked.nonzero(as_tuple=True)
    places = torch.arange(tokens.shape[1], device=tokens.device)
    same = tokens[row] == predicted[:, None]
    before = (same & (places < position[:, None]) & (places > 0)).any(dim=1)
    found = torch.where(before, KINDS.index(EARLIER), KINDS.index(NEW))
    return found.where(tokens[row, position] != predicted, KINDS.index(STANDING)).to(torch.int8)


def random_groups(
    inside: Bool[Tensor, "layer neuron"], count: int, seed: int = 0
) -> Bool[Tensor, "layer group neuron"]:
    """Groups of as many random neurons of each layer as are inside.

    Args:
        inside: The neurons of a group.
        count: How many random groups.
        seed: Of the draws.
    """
    generator = np.random.default_rng(seed)
    layers, width = inside.shape
    found = torch.zeros(layers, count, width, dtype=torch.bool)
    for layer, size in enumerate(inside.sum(dim=1).tolist()):
        for group in range(count):
            found[layer, group, generator.choice(width, size, replace=False)] = True
    return found


@dataclass(frozen=True, eq=False)
class _Layer:
    """A layer of `Suppression`, on the CPU."""

    predicted: Int32[Tensor, " token"]
    kind: Int8[Tensor, " token"]
    probability: Float[Tensor, " token"]
    heads: Float[Tensor, "token head"]
    against: Float[Tensor, "token class"]
    net: Float[Tensor, "token class"]
    random: Float[Tensor, "token kind group"]
    neurons: Float64[Tensor, "measure kind neuron"]

    @classmethod
    def of(
        cls,
        predicted: Tensor,
        probability: Tensor,
        kind: Tensor,
        heads: Tensor,
        written: Float[Tensor, "token neuron"],
        groups: NeuronGroups,
        layer: int,
    ) -> _Layer:
        membership = groups.membership(layer).to(written)
        classes = groups.classes + 1
        of_kind = torch.stack([kind == code for code in range(len(KINDS))], dim=1)
        negative = written.clamp(max=0)
        summed = negative @ membership
        neurons = torch.stack([of_kind.double().T @ part.double() for part in (negative, written)])
        return cls(
            predicted=predicted.int().cpu(),
            kind=kind.cpu(),
            probability=probability.float().cpu(),
            heads=heads.float().cpu(),
            against=summed[:, :classes].float().cpu(),
            net=(written @ membership[:, :classes]).float().cpu(),
            random=(summed[:, None, classes:] * of_kind[..., None]).float().cpu(),
            neurons=neurons.cpu(),
        )


def _together(layers: list[_Layer]) -> Suppression:
    def stacked(name: str) -> Tensor:
        return torch.stack([getattr(one, name) for one in layers], dim=1)

    names = ("predicted", "kind", "probability", "heads", "against", "net")
    return Suppression(
        **{name: stacked(name) for name in names},
        random=torch.stack([one.random for one in layers]).sum(dim=0),
        neurons=torch.stack([one.neurons for one in layers], dim=2),
    )
