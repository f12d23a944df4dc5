"""Ablations and their metrics as sections 2.4 and 3.2 of the specification say them: plain, never tuned.

`ablation_hooks` makes the hooks of the original: one for each neuron, and one more for each condition on it,
in a python loop, with masks that index tensors. `direct_metrics` computes the four metrics from all logits at
once, with a full softmax and a full sort. Tests and benchmarks compare with both. Storing half precision on
disk is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

Hook = tuple[str, Callable[..., None]]


def ablation_hooks(
    neurons: Sequence[tuple[int, int]],
    mode: str,
    *,
    signs: Sequence[int],
    gate: str | None = None,
    post: str | None = None,
    parameter: float | None = None,
    means: Sequence[float] | None = None,
    positions: Sequence[int] | None = None,
    as_published: bool = False,
) -> list[Hook]:
    """Section 2: for each neuron the hooks that store its conditions, then the one that overwrites it.

    Args:
        neurons: (layer, neuron) of each.
        mode: zero, mean, fixed, threshold, relu or multiply.
        signs: σ of each; the conditions and the values are those of ``σ · post``.
        gate: ``+``, ``-`` or None.
        post: ``+``, ``-`` or None.
        parameter: Of fixed, threshold and multiply.
        means: Of mode mean.
        positions: None for all.
        as_published: Types other than zero and mean ignore conditions and positions.

    Returns:
        Hooks for ``run_with_hooks``; they change activations [batch pos neuron] in place.
    """
    masks: dict[tuple[int, int, str], Tensor] = {}
    hooks: list[Hook] = []

    def store(key: tuple[int, int, str], neuron: int, sigma: int, sign: str) -> Callable[..., None]:
        def hook(values: Tensor, hook: Any) -> None:
            signed = sigma * values[:, :, neuron]
            masks[key] = signed > 0 if sign == "+" else signed < 0

        return hook

    def overwrite(place: int, layer: int, neuron: int) -> Callable[..., None]:
        def hook(values: Tensor, hook: Any) -> None:
            chosen = torch.ones(values.shape[:2], dtype=torch.bool, device=values.device)
            if mode in ("zero", "mean") or not as_published:
                if positions is not None:
                    for position in range(values.shape[1]):
                        chosen[:, position] = position in positions
                for name in ("gate", "post"):
                    if (layer, neuron, name) in masks:
                        chosen = chosen & masks[layer, neuron, name]
            column = values[:, :, neuron]
            column[chosen] = signs[place] * new_values(signs[place] * column[chosen], place)

        return hook

    def new_values(folded: Tensor, place: int) -> Tensor:
        if mode == "zero":
            return torch.full_like(folded, 0.0)
        if mode == "mean":
            assert means is not None
            return torch.full_like(folded, means[place])
        if mode == "relu":
            return torch.maximum(folded, torch.tensor(0.0))
        assert parameter is not None
        if mode == "fixed":
            return torch.full_like(folded, parameter)
        if mode == "threshold":
            return torch.minimum(folded, torch.tensor(parameter))
        return parameter * folded

    for place, (layer, neuron) in enumerate(neurons):
        name = f"blocks.{layer}.mlp"
        if gate:
            hooks.append((f"{name}.hook_pre", store((layer, neuron, "gate"), neuron, 1, gate)))
        if post:
            hooks.append((f"{name}.hook_post", store((layer, neuron, "post"), neuron, signs[place], post)))
        hooks.append((f"{name}.hook_post", overwrite(place, layer, neuron)))
    return hooks


def mean_of(
    frequency: dict[str, float],
    mean: dict[str, float],
    gate: str | None,
    post: str | None,
    as_published: bool,
) -> float:
    """Section 2.3 for one neuron, quadrant by quadrant; ``mean`` is of post in the quadrant."""
    numerator = denominator = 0.0
    for gate_sign in "+-":
        for in_sign in "+-":
            name = f"gate{gate_sign}_in{in_sign}"
            post_sign = "+" if gate_sign == in_sign else "-"
            if gate is not None and gate != gate_sign:
                continue
            if post is not None and post != post_sign and not (as_published and gate is None):
                continue
            value = mean[name]
            numerator += frequency[name] * (0.0 if value != value else value)
            denominator += frequency[name]
    return numerator / denominator if denominator > 0 else 0.0


def direct_metrics(model: Any, tokens: Tensor, mask: Tensor, hooks: Sequence[Hook] = ()) -> dict[str, Tensor]:
    """Section 3.2 for one padded batch, from all logits at once.

    Args:
        model: A bridge in compatibility mode.
        tokens: [batch pos].
        mask: Same shape, True for real tokens.
        hooks: Of an ablation.

    Returns:
        ``loss``, ``entropy``, ``rank`` and ``scale``, each [batch pos]; rank is int64. As published: entries
        of padding are zero but for scale; the last position has loss 0, and so have the last real ones; the
        rank of the last real position of a shorter row is that of the padding id; the entropy has 1e-8
        within the logarithm.
    """
    kept: dict[str, Tensor] = {}

    def keep(values: Tensor, hook: Any) -> None:
        kept["stream"] = values

    every = [*hooks, ("ln_final.hook_in", keep)]
    with torch.no_grad():
        logits = model.run_with_hooks(
            tokens, fwd_hooks=every, attention_mask=mask.long(), use_cache=False
        ).float()
    real = mask.float()
    probability = logits.softmax(dim=-1)
    entropy = -(probability * (probability + 1e-8).log()).sum(dim=-1) * real
    following = tokens[:, 1:]
    picked = logits[:, :-1].log_softmax(dim=-1).gather(-1, following[..., None])[..., 0]
    loss = torch.zeros_like(real)
    loss[:, :-1] = -picked * real[:, :-1] * real[:, 1:]
    order = logits[:, :-1].sort(dim=-1, descending=True).indices
    rank = torch.zeros_like(tokens)
    rank[:, :-1] = (order == following[..., None]).nonzero()[:, -1].reshape(following.shape) * mask[:, :-1]
    return {"loss": loss, "entropy": entropy, "rank": rank, "scale": final_scale(model, kept["stream"])}


def final_scale(model: Any, stream: Tensor) -> Tensor:
    """The denominator of the final norm, from the residual stream that enters it; [batch pos]."""
    stream = stream.float()
    if not str(model.cfg.normalization_type).startswith("RMS"):
        stream = stream - stream.mean(dim=-1, keepdim=True)
    return ((stream**2).mean(dim=-1) + model.cfg.eps).sqrt()
