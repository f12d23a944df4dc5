r"""Who makes a model name the right one of two people, and who steps in when that is taken away.

On the prompts of `rwcore.heads.ioi`, with r_c what a component adds at the end of a prompt and s the scale
of the final norm there, its direct contribution to the difference of the two logits is

    r_c · (W_U[:, IO] - W_U[:, S]) / s

Name movers are the heads with the largest contributions. They are ablated towards everything behind them
only: what they add on prompts with three fresh names (ABC) is put in place of what they add, in the stream
that enters the layer behind the last of them. Their own contribution and all others up to that layer stay
as they are; those behind are measured again, with the clean s. The share of a component in the repair is
its change divided by the sum of the changes of all heads and MLPs behind.

Soft caps of logits are left out of contributions, not of the difference itself.

Source: copy suppression specification, sections 11.2 and 14.1.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rwcore.errors import OptionError
from rwcore.heads.ioi import IoiPrompts
from rwcore.heads.readout import Readout
from rwcore.heads.run import MLP, PATTERN, LayerParts, decoder_blocks, output_matrices, run_heads

Head = tuple[int, int]


@dataclass(frozen=True, eq=False)
class IoiEffects:
    """What components do at the end of prompts.

    Attributes:
        heads: Direct contribution of each head to logit(IO) - logit(S).
        mlps: Likewise, of each MLP.
        along: Share of the squared length of what a head adds that lies along W_U[:, IO].
        attention_io: Attention from the end to IO.
        attention_s1: To the first S.
        difference: logit(IO) - logit(S).
        top: Whether IO is the likeliest of all tokens.
        scale: Of the final norm.
    """

    heads: Float[Tensor, "layer head prompt"]
    mlps: Float[Tensor, "layer prompt"]
    along: Float[Tensor, "layer head prompt"]
    attention_io: Float[Tensor, "layer head prompt"]
    attention_s1: Float[Tensor, "layer head prompt"]
    difference: Float[Tensor, " prompt"]
    top: Bool[Tensor, " prompt"]
    scale: Float[Tensor, " prompt"]

    @classmethod
    def together(cls, parts: Sequence[IoiEffects]) -> IoiEffects:
        """Those of several chunks of prompts, on the CPU."""
        names = [one.name for one in fields(cls)]
        return cls(*(torch.cat([getattr(part, name).cpu() for part in parts], dim=-1) for name in names))


@torch.no_grad()
def ioi_effects(
    model: Any,
    prompts: IoiPrompts,
    readout: Readout,
    *,
    scale: Float[Tensor, " prompt"] | None = None,
    hooks: Collection[tuple[str, Callable[..., Any]]] = (),
) -> IoiEffects:
    """Run prompts and measure all heads and MLPs.

    Args:
        model: As for `rwcore.heads.run.run_heads`.
        prompts: The prompts.
        readout: On the model's device.
        scale: Of the final norm in another pass, to divide contributions by; None for that of this one.
        hooks: As for `rwcore.heads.run.run_heads`.

    Raises:
        ModelError: As `rwcore.heads.run.run_heads`.
    """
    device = readout.rows.device
    row = torch.arange(len(prompts), device=device)
    end, io, s1 = (place.to(device) for place in (prompts.end, prompts.io, prompts.s1))
    right, other = (readout.rows[token.to(device)] for token in (prompts.io_token, prompts.s_token))
    unit = right / right.norm(dim=1, keepdim=True)
    seen: dict[str, list[Tensor]] = {"heads": [], "mlps": [], "along": [], "io": [], "s1": []}

    def visit(parts: LayerParts) -> None:
        assert parts.pattern is not None
        assert parts.mlp is not None
        added = torch.einsum(
            "bhe,hed->bhd", parts.z[row, end].float(), output_matrices(model, parts.layer).float()
        )
        seen["heads"].append(torch.einsum("bhd,bd->hb", added, right - other))
        length = torch.linalg.vecdot(added, added)
        share = torch.einsum("bhd,bd->bh", added, unit).square() / length
        seen["along"].append(torch.where(length > 0, share, 0.0).T)
        seen["mlps"].append(torch.linalg.vecdot(parts.mlp[row, end].float(), right - other))
        for name, place in (("io", io), ("s1", s1)):
            seen[name].append(parts.pattern[row, :, end, place].float().T)

    final = run_heads(model, prompts.batch, visit, parts=(PATTERN, MLP), hooks=hooks)
    own = final.scale[row, end].float()
    divisor = own if scale is None else scale.to(device)
    logits = readout.capped(readout.logits(final.stream[row, end].float() / own[:, None]))
    named = logits[row, prompts.io_token.to(device)]
    made = {name: torch.stack(values) for name, values in seen.items()}
    return IoiEffects(
        heads=made["heads"] / divisor,
        mlps=made["mlps"] / divisor,
        along=made["along"],
        attention_io=made["io"],
        attention_s1=made["s1"],
        difference=named - logits[row, prompts.s_token.to(device)],
        top=named == logits.max(dim=1).values,
        scale=divisor,
    )


def name_movers(heads: Float[Tensor, "layer head prompt"], count: int) -> list[Head]:
    """The heads with the largest mean contributions, largest first; fewer if fewer are positive."""
    mean = heads.mean(dim=2)
    order = mean.flatten().argsort(descending=True, stable=True)[:count].tolist()
    places = [divmod(number, mean.shape[1]) for number in order]
    return [(layer, head) for layer, head in places if float(mean[layer, head]) > 0]


def first_movers(movers: Sequence[Head], layers: int) -> list[Head]:
    """Those of some name movers that are in the earliest of their layers; none if it is the last layer.

    Of GPT-2 small's three, 9.9, 9.6 and 10.0, these are the two that were ablated.

    Args:
        movers: Name movers.
        layers: Layers of the model.
    """
    first = min((layer for layer, _ in movers), default=layers - 1)
    return sorted(mover for mover in movers if mover[0] == first) if first < layers - 1 else []


@torch.no_grad()
def effects_without(
    model: Any,
    prompts: IoiPrompts,
    readout: Readout,
    movers: Collection[Head],
    scale: Float[Tensor, " prompt"],
) -> IoiEffects:
    """What `ioi_effects` finds when all layers behind some heads see them as on prompts with fresh names.

    Args:
        model: As for `rwcore.heads.run.run_heads`.
        prompts: The prompts.
        readout: On the model's device.
        movers: The heads.
        scale: Of the final norm in the clean pass.

    Raises:
        OptionError: There is no layer behind the last of them, or the tokenizer has too few names for fresh
        ones. ModelError: As `rwcore.heads.run.run_heads`.
    """
    layers = sorted({layer for layer, _ in movers})
    if not layers or layers[-1] >= len(decoder_blocks(model)) - 1:
        raise OptionError(
            "no layer comes behind the heads that are ablated" if layers else "no head is ablated",
            where="movers",
            remedy="ablate heads of earlier layers",
        )
    fresh, own = (_added(model, some, movers, layers) for some in (prompts.without_repeat(), prompts))

    def moved(values: Tensor, hook: Any) -> Tensor:
        return values + (fresh - own).to(values.dtype)

    hooks = [(f"blocks.{layers[-1] + 1}.hook_resid_pre", moved)]
    return ioi_effects(model, prompts, readout, scale=scale, hooks=hooks)


def _added(
    model: Any, prompts: IoiPrompts, movers: Collection[Head], layers: Sequence[int]
) -> Float[Tensor, "prompt pos d_model"]:
    """What some heads add to the stream together."""
    total: list[Tensor] = []

    class Enough(Exception):
        """What comes behind the last of them is not needed."""

    def visit(parts: LayerParts) -> None:
        heads = [head for layer, head in movers if layer == parts.layer]
        output = output_matrices(model, parts.layer)[heads].float()
        total.append(torch.einsum("bphe,hed->bpd", parts.z[:, :, heads].float(), output))
        if parts.layer == layers[-1]:
            raise Enough

    with contextlib.suppress(Enough):
        run_heads(model, prompts.batch, visit, layers=layers)
    return torch.stack(total).sum(dim=0)


def repair_shares(
    before: Float[Tensor, " component"], after: Float[Tensor, " component"]
) -> Float[Tensor, " component"]:
    """Share of each component in the sum of all changes; NaN if nothing changes."""
    change = after - before
    return change / change.sum()
