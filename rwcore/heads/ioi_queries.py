r"""What makes heads look at the right name (IO) rather than the other one (S1): variants of their query.

The difference of the attention scores from the end of a prompt to IO and to S1 is log A[IO] - log A[S1],
whatever a family does to scores (rotation, soft caps, ALiBi). It is measured with three inputs to the
query's projection, as the norm before the attention leaves them (its scale is that of the clean pass):

*   ``clean``: as it is;
*   ``swapped``: that of the prompt with the names of the first clause in the other order, so that what is
    read off the positions of the names is wrong and what is read off the names is right;
*   ``projected``: its projection on the span of W_U[:, IO] and W_U[:, S].

Keys are those of the clean pass. One pass serves all layers: each sees its changed query, and hands on what
it does with the clean one.

With keys made of an effective embedding of the two names alone, a query can be anything:
`fixed_key_differences`.

Source: copy suppression specification, sections 11.2 (score differences) and 14.1 (composition).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from rwcore.errors import ModelError
from rwcore.heads.ioi import IoiPrompts
from rwcore.heads.query_key import QKOptions, as_read, group_of, keys, queries
from rwcore.heads.readout import Readout
from rwcore.heads.run import PATTERN, LayerParts, decoder_blocks, output_matrices, replacing, run_heads

CLEAN, SWAPPED, PROJECTED = "clean", "swapped", "projected"
QUERIES = CLEAN, SWAPPED, PROJECTED

Hooks = Sequence[tuple[str, Callable[..., Any]]]

_INPUT, _SCALE = "attn.q.hook_in", "ln1.hook_scale"
_PLAIN = QKOptions(normalised=False, biases=False, distance=0)
_FIXED = QKOptions(normalised=True, biases=True, distance=0)


@torch.no_grad()
def score_differences(
    model: Any, prompts: IoiPrompts, readout: Readout
) -> dict[str, Float[Tensor, "layer head prompt"]]:
    """Attention score from the end to IO minus that to S1, of every head, for each of `QUERIES`.

    Args:
        model: As for `rwcore.heads.run.run_heads`.
        prompts: The prompts.
        readout: On the model's device.

    Raises:
        ModelError: The inputs of queries cannot be seen, or as `rwcore.heads.run.run_heads`.
    """
    layers = range(len(decoder_blocks(model)))
    missing = [layer for layer in layers if f"blocks.{layer}.{_INPUT}" not in model.hook_dict]
    if missing:
        raise ModelError(
            "the input of queries cannot be changed in this model",
            where=f"blocks.{missing[0]}.{_INPUT} of {model.cfg.model_name}",
            remedy="use a decoder with queries of their own (GPT-2, Pythia, Llama, OLMo, Gemma, Qwen, …)",
        )
    device = readout.rows.device
    row = torch.arange(len(prompts), device=device)
    end = prompts.end.to(device)
    scales = [layer for layer in layers if f"blocks.{layer}.{_SCALE}" in model.hook_dict]

    def keeping(into: dict[int, Tensor], some: Iterable[int], name: str) -> Hooks:
        """Hooks that keep what a place of some layers holds at the ends of the prompts."""

        def keep(layer: int) -> Callable[..., None]:
            def hook(values: Tensor, hook: Any) -> None:
                into[layer] = values[row, end].float()

            return hook

        return [(f"blocks.{layer}.{name}", keep(layer)) for layer in some]

    own: dict[int, Tensor] = {}
    z, clean = _look(model, prompts, hooks=keeping(own, scales, _SCALE))
    other: dict[int, Tensor] = {}
    others: dict[int, Tensor] = {}
    flipped = [*keeping(other, layers, _INPUT), *keeping(others, scales, _SCALE)]
    run_heads(model, prompts.flipped().batch, hooks=flipped)
    for layer in scales:
        other[layer] = other[layer] * (others[layer] / own[layer])
    span = torch.stack(
        [readout.centred(one.to(device)) for one in (prompts.io_token, prompts.s_token)], dim=1
    )
    inverse = torch.linalg.pinv(span)
    makes: dict[str, Callable[[int, Tensor], Tensor]] = {
        SWAPPED: lambda layer, query: other[layer],
        PROJECTED: lambda layer, query: (query.float()[:, None] @ inverse @ span)[:, 0],
    }
    found = {name: _look(model, prompts, make, z)[1] for name, make in makes.items()}
    return {CLEAN: clean, **found}


def _look(
    model: Any,
    prompts: IoiPrompts,
    make: Callable[[int, Tensor], Tensor] | None = None,
    clean: Sequence[Tensor] = (),
    hooks: Hooks = (),
) -> tuple[list[Tensor], Float[Tensor, "layer head prompt"]]:
    """Values z of every layer, and the differences.

    Args:
        model: The model.
        prompts: The prompts.
        make: Gives another input of the queries at the end, from the layer and what it was; None for the
        same.
        clean: z of every layer in the clean pass, which is handed on; with ``make``.
        hooks: Further hooks.
    """
    device = next(model.parameters()).device
    row = torch.arange(len(prompts), device=device)
    end, io, s1 = (place.to(device) for place in (prompts.end, prompts.io, prompts.s1))
    z: list[Tensor] = []
    found: list[Tensor] = []
    ours: list[tuple[str, Callable[..., Any]]] = [*hooks]

    def visit(parts: LayerParts) -> None:
        assert parts.pattern is not None
        # Scores so far apart that an attention is zero: as far as float32 goes.
        attention = parts.pattern[row, :, end].float().clamp(min=torch.finfo(torch.float32).tiny).log()
        found.append((attention[row, :, io] - attention[row, :, s1]).T)
        if make is None:
            z.append(parts.raw_z.clone())

    def change(layer: int, make: Callable[[int, Tensor], Tensor]) -> None:
        def hook(values: Tensor, hook: Any) -> Tensor:
            values = values.clone()
            values[row, end] = make(layer, values[row, end]).to(values.dtype)
            return values

        ours.append((f"blocks.{layer}.{_INPUT}", hook))
        ours.append(replacing(layer, lambda _: clean[layer]))

    if make is not None:
        for layer in range(len(clean)):
            change(layer, make)
    run_heads(model, prompts.batch, visit, parts=(PATTERN,), hooks=ours)
    return z, torch.stack(found)


@torch.no_grad()
def fixed_key_differences(
    model: Any,
    layer: int,
    rows: Float[Tensor, "prompt d_model"],
    table: Float[Tensor, "name d_model"],
    io: Int64[Tensor, " prompt"],
    s: Int64[Tensor, " prompt"],
) -> Float[Tensor, "head prompt"]:
    """Score of some queries on the key of IO minus that of S, with keys made of embeddings alone.

    Both sides go through the norm before the attention and have their biases; positions are left out;
    scores have the factor of the model's attention (1/√d_head in most families; Gemma's is its own) and no
    soft cap.

    Args:
        model: As for `rwcore.heads.run.run_heads`.
        layer: Number of the layer.
        rows: What stands at the query: a column of W_U, say.
        table: Effective embeddings (`rwcore.heads.embeddings`) of names.
        io: Row of the right name in ``table``.
        s: Row of the other one.
    """
    asking, asked = as_read(model, layer, rows), as_read(model, layer, table)
    found = []
    for head in range(len(decoder_blocks(model)[layer].attn.W_Q)):
        key = keys(model, layer, group_of(model, layer, head), asked, _FIXED)
        query = queries(model, layer, head, asking, _FIXED)
        found.append(torch.linalg.vecdot(query, key[io] - key[s]) * _factor(model, layer, key.shape[1]))
    return torch.stack(found)


def _factor(model: Any, layer: int, d_head: int) -> float:
    """What the attention multiplies scores with; modules that do not tell divide by √d_head."""
    attention = decoder_blocks(model)[layer].attn.original_component
    return float(getattr(attention, "scaling", None) or 1 / math.sqrt(d_head))


@torch.no_grad()
def composition_ranks(
    model: Any, mover: tuple[int, int], table: Float[Tensor, "name d_model"]
) -> Float[Tensor, "layer head"]:
    """How much heads look at the name that a name mover writes: median rank from the top, 1 for most of all.

    The matrix is (EE W_OV[mover]) W_QK[head] EE^T over names, rows the mover's; biases and positions are
    left out. The rank of an own entry is 1 plus the number of larger ones of its row. NaN up to the mover's
    layer.

    Args:
        model: As for `rwcore.heads.run.run_heads`.
        mover: Layer and number of the mover.
        table: EE of names: effective embeddings (`rwcore.heads.embeddings`).
    """
    blocks = decoder_blocks(model)
    layer, head = mover
    W_O = output_matrices(model, layer).float()
    W_V = blocks[layer].attn.W_V.detach().float()
    written = table @ W_V[head // (len(W_O) // len(W_V))] @ W_O[head]
    ranks = torch.full((len(blocks), len(W_O)), torch.nan)
    for behind in range(layer + 1, len(blocks)):
        asking = as_read(model, behind, written)
        for other in range(len(W_O)):
            query = queries(model, behind, other, asking, _PLAIN)
            scores = query @ keys(model, behind, group_of(model, behind, other), table, _PLAIN).T
            ranks[behind, other] = (scores > scores.diagonal()[:, None]).sum(dim=1).float().median() + 1
    return ranks
