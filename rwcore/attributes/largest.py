"""The largest logits of many hidden states, without sorting a vocabulary or keeping its logits.

A rough product of all hidden states with all of the unembedding finds which tokens can be among the largest
of each; only those are multiplied exactly. With the rough logits z̃ and a bound ε on their error,

    |z_v - z̃_v| <= ε = ‖h‖ · max_v ‖w_v - w̃_v‖ + ‖h - h̃‖ · max_v ‖w̃_v‖ + (rounding),

let t be the k-th largest of the maxima of z̃ over groups of tokens. The k tokens that have these maxima have
z >= t - ε, so the k-th largest z is that large, and no token with z̃ < t - 2ε is among the k largest.

In bfloat16 the rough product takes half the time of one in float32 on a CPU that has instructions for it.
With ε of about 0.15 standard deviations of the logits, some 90 tokens pass for k = 50, and the hidden states
of one prompt (all its layers) share most of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int32, Int64
from torch import Tensor

from rwcore.errors import OptionError

GROUP, GROUPS = 16, 8
"""Tokens of a small group, small groups of a large one. The threshold comes from large ones (there are few
maxima to sort), what passes it is looked for in small ones."""
CPU_TILE, GPU_TILE = 2**24, 2**28
"""Rough logits held at a time."""
CPU_TOKENS, GPU_TOKENS = 4096, 2**16
"""Tokens that are multiplied roughly at a time; on a CPU, what stays in cache."""


@dataclass(frozen=True, eq=False)
class Unembedded:
    """An unembedding that can be searched for the largest logits.

    Attributes:
        weight: W, with the bias as one more column if there is one.
        rough: W̃, of the type of the rough product.
        error: Largest norm of a row of W - W̃.
        norm: Largest norm of a row of W̃.
        bias: Whether there is one.
    """

    weight: Float[Tensor, "vocab width"]
    rough: Float[Tensor, "vocab width"]
    error: float
    norm: float
    bias: bool

    @classmethod
    def of(
        cls,
        weight: Float[Tensor, "vocab d_model"],
        bias: Float[Tensor, " vocab"] | None = None,
        *,
        rough: torch.dtype | None = None,
    ) -> Unembedded:
        """An unembedding ``W h + b``.

        Args:
            weight: W.
            bias: b; one that is zero everywhere costs nothing.
            rough: Type of the rough product; None for what is fast on the device.
        """
        whole = weight.detach()
        has_bias = bias is not None and bool(bias.any())
        if has_bias:
            assert bias is not None
            whole = torch.cat([whole, bias.detach()[:, None]], dim=1)
        coarse = whole.to(rough or fast_type(whole.device))
        error = norm = 0.0
        for exact, near in zip(torch.split(whole, CPU_TOKENS), torch.split(coarse, CPU_TOKENS), strict=True):
            error = max(error, float((exact.float() - near.float()).norm(dim=1).max()))
            norm = max(norm, float(near.float().norm(dim=1).max()))
        return cls(whole, coarse, error, norm, has_bias)

    @torch.no_grad()
    def largest(
        self, hidden: Float[Tensor, "prompt layer d_model"], k: int
    ) -> Int32[Tensor, "prompt layer k"]:
        """The k tokens with the largest logits, the largest first; of equal logits, the lower id first.

        Logits are sums in float32; which tokens are found depends on them alone, not on the rough ones.

        Args:
            hidden: What is unembedded, finite.
            k: How many, at most the vocabulary.

        Raises:
            OptionError: There are not so many tokens.
        """
        if not 1 <= k <= len(self.weight):
            raise OptionError(
                f"the {k} largest of {len(self.weight)} logits",
                where="k",
                remedy=f"give 1 to {len(self.weight)}",
            )
        if self.bias:
            hidden = torch.cat([hidden, hidden.new_ones(*hidden.shape[:-1], 1)], dim=-1)
        on_cpu = hidden.device.type == "cpu"
        height = max(1, (CPU_TILE if on_cpu else GPU_TILE) // (len(self.weight) * hidden.shape[1]))
        tiles = [self._tile(tile, k, one_by_one=on_cpu) for tile in torch.split(hidden, height)]
        return torch.cat(tiles) if tiles else hidden.new_empty(*hidden.shape[:2], k, dtype=torch.int32)

    def _tile(self, hidden: Tensor, k: int, *, one_by_one: bool) -> Int32[Tensor, "prompt layer k"]:
        """Some prompts, whose rough logits are in memory together.

        On a GPU all of them are multiplied exactly at once: with the tokens of any of them.
        """
        rows, tokens = self._candidates(hidden.flatten(0, 1), k)
        group = hidden.shape[1] if one_by_one else len(hidden) * hidden.shape[1]
        vocab = len(self.weight)
        # Sorted by group of rows, then by token, each pair once.
        pairs = torch.unique(rows // group * vocab + tokens)
        cuts = torch.arange(1, len(hidden) * hidden.shape[1] // group, device=pairs.device) * vocab
        parts = (pairs % vocab).tensor_split(torch.searchsorted(pairs, cuts).cpu())
        found = [
            part[ordered(states.float() @ self.weight[part].float().T, k)]
            for states, part in zip(torch.split(hidden.flatten(0, 1), group), parts, strict=True)
        ]
        return torch.cat(found).to(torch.int32).view(*hidden.shape[:2], k)

    def _candidates(
        self, hidden: Float[Tensor, "row width"], k: int
    ) -> tuple[Int64[Tensor, " pair"], Int64[Tensor, " pair"]]:
        """Rows and the tokens that can be among their k largest."""
        near = hidden.to(self.rough.dtype)
        groups = self._rough(near).view(GROUP, -1, len(near))
        maxima = groups.amax(dim=0)
        larger = maxima.view(GROUPS, -1, len(near)).amax(dim=0)
        if len(larger) < k:  # so few tokens that all of them may be among the largest
            every = torch.arange(len(hidden) * len(self.weight), device=hidden.device)
            return every // len(self.weight), every % len(self.weight)
        kth = larger.T.contiguous().topk(k, dim=1).values[:, -1].float()
        least = self._threshold(hidden, near, kth)
        group, row = (maxima >= least).nonzero(as_tuple=True)
        place, pair = (groups[:, group, row] >= least[row]).nonzero(as_tuple=True)
        return row[pair], place * len(maxima) + group[pair]

    def _rough(self, near: Float[Tensor, "row width"]) -> Float[Tensor, "padded row"]:
        """Rough logits, with tokens of logit minus infinity until the groups are full."""
        vocab = len(self.rough)
        padded = -(-vocab // (GROUP * GROUPS)) * GROUP * GROUPS
        logits = near.new_empty(padded, len(near))
        logits[vocab:] = -torch.inf
        columns = near.T.contiguous()
        step = CPU_TOKENS if near.device.type == "cpu" else GPU_TOKENS
        with _whole_sums():
            for start in range(0, vocab, step):
                stop = min(start + step, vocab)
                torch.mm(self.rough[start:stop], columns, out=logits[start:stop])
        return logits

    def _threshold(self, hidden: Tensor, near: Tensor, least: Float[Tensor, " row"]) -> Float[Tensor, " row"]:
        """What a rough logit must reach, from the k-th largest of the maxima.

        Rounding: a sum of n products in float32, in whatever order, is off by at most n u ‖h‖ ‖w‖ to first
        order, u = 2⁻²⁴; there are two such sums, and twice as much is allowed. The rough logit and the
        maximum are themselves rounded to their type, and so is the threshold.
        """
        exact = hidden.float()
        norm = exact.norm(dim=1)
        unit = torch.finfo(torch.float32).eps / 2
        sums = 4 * hidden.shape[1] * unit * norm * (self.norm + self.error)
        bound = norm * self.error + (exact - near.float()).norm(dim=1) * self.norm + sums
        lower = least - 2 * bound
        lower -= 1.5 * torch.finfo(near.dtype).eps * torch.maximum(least.abs(), lower.abs())
        rounded: Tensor = lower.to(near.dtype)
        return rounded


def ordered(logits: Float[Tensor, "row token"], k: int) -> Int64[Tensor, "row k"]:
    """Places of the k largest, the largest first; of equal ones, the first.

    Args:
        logits: Numbers.
        k: How many, at most the length of a row.
    """
    more = min(k + 1, logits.shape[1])
    values, places = logits.topk(more, dim=1)
    # topk takes any of equal numbers: those that are not in a row of their own are sorted.
    equal = (values[:, 1:] == values[:, :-1]).any(dim=1).nonzero()[:, 0]
    places = places[:, :k]
    if len(equal):
        places[equal] = logits[equal].sort(dim=1, descending=True, stable=True).indices[:, :k]
    return places


def fast_type(device: torch.device) -> torch.dtype:
    """The type in which products are fastest: bfloat16 where the device has instructions for it."""
    if device.type == "cuda":
        has = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        # Without them a product in bfloat16 is slower than one in float32.
        has = device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if has else torch.float32


@contextmanager
def _whole_sums() -> Iterator[None]:
    """Forbid GPUs to round parts of a sum to bfloat16, which the bound does not cover."""
    settings = torch.backends.cuda.matmul
    before = settings.allow_bf16_reduced_precision_reduction
    settings.allow_bf16_reduced_precision_reduction = False
    try:
        yield
    finally:
        settings.allow_bf16_reduced_precision_reduction = before
