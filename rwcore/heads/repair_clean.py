"""A clean pass over a batch, as far as passes with an ablated head are compared with it.

Source: self-repair specification, sections 1 and 7.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from rwcore.ablation.metrics import next_tokens
from rwcore.ablation.prefix import BlockOutput
from rwcore.corpora.batches import Batch
from rwcore.heads.readout import Readout
from rwcore.heads.repair import Head, RepairPlan
from rwcore.heads.repair_neurons import MlpTerms
from rwcore.heads.rerun import entering
from rwcore.heads.run import MLP, NEURONS, Final, LayerParts, decoder_blocks, output_matrices, run_heads


@dataclass(frozen=True, eq=False)
class Watched:
    """What passes from a layer on show beside `LayerParts`: hooks that hold it until the layer ends."""

    model: Any
    first: int
    held: dict[str, Tensor] = field(default_factory=dict)

    def hooks(self) -> list[tuple[str, Callable[..., None]]]:
        """What attention adds in each layer, and the scale of a norm behind its MLP."""
        found: list[tuple[str, Callable[..., None]]] = []
        for layer, block in enumerate(decoder_blocks(self.model)):
            if layer >= self.first:
                found.append((f"blocks.{layer}.hook_attn_out", self._holding("attention")))
                if hasattr(block, "ln2_post"):
                    found.append((f"blocks.{layer}.ln2_post.hook_scale", self._holding("scale")))
        return found

    def _holding(self, name: str) -> Callable[..., None]:
        def hook(values: Tensor, hook: Any) -> None:
            self.held[name] = values

        return hook

    @property
    def attention(self) -> Float[Tensor, "batch pos d_model"]:
        """What the attention of the layer that ends adds, its bias included."""
        return self.held["attention"]

    def coefficients(self, parts: LayerParts) -> Float[Tensor, "batch pos neuron"]:
        """Of the output vectors of the neurons of the layer that ends."""
        assert parts.neurons is not None
        return parts.neurons / self.held["scale"] if "scale" in self.held else parts.neurons


@dataclass(frozen=True, eq=False)
class CleanPass:
    """A clean pass, as far as ablations are compared with it.

    Attributes:
        asked: Positions that have a next token: the tokens of all other tensors, row by row.
        u: Column of W_U of the next token.
        scale: s.
        logit: x·u/s.
        attention: What each layer's attention adds, along u; not divided by s.
        mlp: The same of MLPs.
        behind: Scale of the norm behind a layer's attention; None where there is none.
        before: What enters the layers of the heads.
        last: Neurons of the last MLP.
        near: Tokens where neurons are looked at closely.
        closely: Neurons of other MLPs, at these tokens.
    """

    asked: Bool[Tensor, "batch pos"]
    u: Float[Tensor, "token d_model"]
    scale: Float[Tensor, " token"]
    logit: Float[Tensor, " token"]
    attention: Mapping[int, Float[Tensor, " token"]]
    mlp: Mapping[int, Float[Tensor, " token"]]
    behind: Mapping[int, Float[Tensor, " token"] | None]
    before: Mapping[int, BlockOutput]
    last: MlpTerms
    near: Int64[Tensor, " selected"]
    closely: Mapping[int, MlpTerms]

    @classmethod
    def of(
        cls, model: Any, batch: Batch, plan: RepairPlan, readout: Readout, near: Int64[Tensor, " selected"]
    ) -> CleanPass:
        """Run a batch as it is."""
        asked, u = directions(model, batch, readout)
        first, last = min(plan.by_layer), len(decoder_blocks(model)) - 1
        near = near.to(u.device)
        others = range(first, last) if plan.later else range(0)
        attention, mlp, behind = dict[int, Tensor](), dict[int, Tensor](), dict[int, Tensor | None]()
        acts = dict[int, Tensor]()
        watched = Watched(model, first)

        def visit(parts: LayerParts) -> None:
            layer = parts.layer
            assert parts.mlp is not None
            attention[layer] = torch.linalg.vecdot(wide(watched.attention[asked]), u)
            mlp[layer] = torch.linalg.vecdot(wide(parts.mlp[asked]), u)
            behind[layer] = None if parts.z is parts.raw_z else scale_behind(parts)[asked]
            if layer == last or layer in others:
                found = wide(watched.coefficients(parts)[asked])
                acts[layer] = found if layer == last else found[near]

        with entering(model, [*plan.by_layer]) as before:
            final = run_heads(
                model,
                batch,
                visit,
                parts=(MLP, NEURONS),
                layers=range(first, last + 1),
                hooks=watched.hooks(),
            )
        scale, logit = read_end(final, asked, u)
        return cls(
            asked=asked,
            u=u,
            scale=scale[0],
            logit=logit[0],
            attention=attention,
            mlp=mlp,
            behind=behind,
            before=before,
            last=MlpTerms.of(model, last, acts[last], u, scale[0]),
            near=near,
            closely={
                layer: MlpTerms.of(model, layer, acts[layer], u[near], scale[0, near]) for layer in others
            },
        )


def direct_effects(
    model: Any, batch: Batch, heads: Sequence[Head], readout: Readout
) -> Float[Tensor, "head token"]:
    """DE of heads at the tokens that have a next one, from a clean pass alone.

    Args:
        model: As for `rwcore.heads.run.run_heads`.
        batch: The batch.
        heads: Layer and number of each.
        readout: On the model's device.

    Raises:
        OptionError: The model has no such layer.
        ModelError: As `rwcore.heads.run.run_heads`.
    """
    asked, u = directions(model, batch, readout)
    found: dict[int, Tensor] = {}
    by_layer = RepairPlan(heads).by_layer

    def visit(parts: LayerParts) -> None:
        places = by_layer[parts.layer]
        numbers = [heads[place][1] for place in places]
        along = torch.einsum("td,hed->the", u, output_matrices(model, parts.layer)[numbers].to(u.dtype))
        effects = torch.linalg.vecdot(wide(parts.z[:, :, numbers][asked]), along)
        found.update(zip(places, effects.T, strict=True))

    final = run_heads(model, batch, visit, layers=[*by_layer])
    return torch.stack([found[place] for place in range(len(heads))]) / wide(final.scale[asked])


def directions(
    model: Any, batch: Batch, readout: Readout
) -> tuple[Bool[Tensor, "batch pos"], Float[Tensor, "token d_model"]]:
    """Which positions have a next token, and u of it; in float64 for a model that is.

    Args:
        model: As for `rwcore.heads.run.run_heads`.
        batch: The batch.
        readout: On the model's device.
    """
    target = next_tokens(batch).to(readout.rows.device)
    asked = target >= 0
    u = wide(readout.centred(target[asked]))
    return asked, u.double() if next(model.parameters()).dtype == torch.float64 else u


def of_copies(
    values: Float[Tensor, "row pos *more"], asked: Bool[Tensor, "batch pos"]
) -> Float[Tensor, "copy token *more"]:
    """Values at the tokens of each copy of a batch, float32 at least."""
    stacked = values.reshape(-1, *asked.shape, *values.shape[2:])
    return wide(stacked[:, asked])


def read_end(
    final: Final, asked: Bool[Tensor, "batch pos"], u: Float[Tensor, "token d_model"]
) -> tuple[Float[Tensor, "copy token"], Float[Tensor, "copy token"]]:
    """Scale of the final norm, and the centred logit of the next token, in each copy."""
    stream, scale = (of_copies(values, asked) for values in (final.stream, final.scale))
    return scale, torch.linalg.vecdot(stream, u) / scale


def scale_behind(parts: LayerParts) -> Float[Tensor, "batch pos"]:
    """What the norm behind the attention divides by: the one number that z and raw z differ by."""
    raw, z = (wide(values).flatten(2).norm(dim=2) for values in (parts.raw_z, parts.z))
    return torch.where(z > 0, raw / z, 1.0)


def wide(values: Tensor) -> Tensor:
    """In float32 at least."""
    return values if values.dtype == torch.float64 else values.float()
