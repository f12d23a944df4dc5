r"""Copy-suppression-preserving ablation (CSPA): a head keeps nothing but its copy suppression.

With A the attention of a head, o_k = v_k W_O what it would add if it looked at k alone, m̄_q its mean output,
û_k the direction of W_U[:, t_k] and 𝒦_q the keys that are kept (`rwcore.heads.cspa_filter`), what the head
adds at q, r_q = Σ_k A_qk o_k, is replaced by one of

    both        m̄_q + Σ_{k∈𝒦_q} c_qk û_k ,    c_qk = A_qk (o_k - m̄_q) · û_k
    negative    the same with min(c_qk, 0): what is written for a token is dropped too
    ov          the same as both with all keys k ≤ q
    qk          Σ_{k∈𝒦_q} A_qk o_k + m̄_q Σ_{k∉𝒦_q} A_qk
    mean        m̄_q: what the others are compared with

Nothing of the size query × key × d_model is made: with z̄ the mean of z, so that m̄ = z̄ W_O,

    c_qk = A_qk (v_k - z̄_q) · (W_O û_k)

costs d_head for each pair, and what is added is one product of these coefficients with the û_k.
Use ``negative`` to tell heads that suppress copies from others: ``both`` explains heads that copy, too.

Source: copy suppression specification, sections 8.3 and 18.1; trap 4 for ``ov``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rwcore.heads.cspa_span import span_coefficients
from rwcore.heads.readout import Change
from rwcore.heads.run import PATTERN, STREAM, VALUE, LayerParts

MEAN, BOTH, NEGATIVE, QK, OV = "mean", "both", "negative", "qk", "ov"
VARIANTS = (NEGATIVE, BOTH, QK, OV)
NAMES = {
    MEAN: "mean ablation",
    NEGATIVE: "CSPA, negative only",
    BOTH: "CSPA, both signs",
    QK: "QK only",
    OV: "OV only",
}
"""What people read."""
NEEDED = (STREAM, PATTERN, VALUE)
"""Parts of a layer that are looked at."""


@dataclass(frozen=True, eq=False)
class LayerCspa:
    """What some heads of a layer add, and what they are replaced by.

    Attributes:
        z: As of `rwcore.heads.run.LayerParts`.
        value: Likewise; not divided by what a norm behind the attention divides by.
        pattern: Attention.
        behind: What a norm behind the attention divides by at each query; None where there is none.
        output: W_O of these heads.
        mean: z̄, one vector for each head, or one for each position and head.
        unit: û of the tokens that each key stands for; zero where there is none.
        kept: 𝒦.
    """

    z: Float[Tensor, "batch pos head d_head"]
    value: Float[Tensor, "batch pos head d_head"]
    pattern: Float[Tensor, "batch head query key"]
    behind: Float[Tensor, "batch pos"] | None
    output: Float[Tensor, "head d_head d_model"]
    mean: Float[Tensor, "*pos head d_head"]
    unit: Float[Tensor, "batch pos set d_model"]
    kept: Bool[Tensor, "batch query key set"]

    @classmethod
    def of(
        cls,
        parts: LayerParts,
        output: Float[Tensor, "all_heads d_head d_model"],
        mean: Float[Tensor, "*pos all_heads d_head"],
        rows: Float[Tensor, "batch pos set d_model"],
        kept: Bool[Tensor, "batch query key set"],
        heads: Sequence[int] | None = None,
    ) -> LayerCspa:
        """Some heads of a layer of a pass.

        Args:
            parts: The layer, with `NEEDED`.
            output: `rwcore.heads.run.output_matrices` of the layer.
            mean: z̄; with positions at least as many as the rows have.
            rows: `rwcore.heads.cspa_filter.key_rows`.
            kept: `rwcore.heads.cspa_filter.kept_keys`.
            heads: Their numbers; all if None.
        """
        assert parts.value is not None
        assert parts.pattern is not None
        chosen = list(range(output.shape[0]) if heads is None else heads)
        if mean.ndim == 3:
            mean = mean[: parts.z.shape[1]]
        length = rows.norm(dim=-1, keepdim=True)
        return cls(
            z=parts.z[:, :, chosen].float(),
            value=parts.value[:, :, chosen].float(),
            pattern=parts.pattern[:, chosen].float(),
            behind=None if parts.raw_z is parts.z else _divisor(parts),
            output=output[chosen].float(),
            mean=mean[..., chosen, :].float(),
            unit=rows / torch.where(length > 0, length, 1.0),
            kept=kept,
        )

    @cached_property
    def components(self) -> Float[Tensor, "batch head query key set"]:
        """A_qk (o_k - m̄_q) · û_k of every pair, in the order of the heads given."""
        along = torch.einsum("bknd,hed->bhkne", self.unit, self.output)
        own = torch.einsum("bkhe,bhkne->bhkn", self.value, along)[:, :, None]
        if self.behind is not None:
            own = own / self.behind[:, None, :, None, None]
        equation = "he,bhkne->bhkn" if self.mean.ndim == 2 else "qhe,bhkne->bhqkn"
        average = torch.einsum(equation, self.mean, along)
        centred = own - (average[:, :, None] if self.mean.ndim == 2 else average)
        return centred * self.pattern[..., None]

    def coefficients(self, variant: str, head: int) -> Float[Tensor, "batch query key set"]:
        """What is written along each û_k at each query.

        Args:
            variant: ``both``, ``negative`` or ``ov``.
            head: Its place among the heads given.
        """
        kept = torch.ones_like(self.kept) if variant == OV else self.kept
        found = self.components[:, head]
        alone = self.unit.shape[2] == 1
        found = found * kept if alone else span_coefficients(found, self.unit, kept)
        return found.clamp(max=0) if variant == NEGATIVE else found

    def moved(self, variant: str, head: int) -> Change:
        """How the stream changes at every position of the rows, one row after the other; not yet scaled.

        Args:
            variant: ``mean`` or one of `VARIANTS`.
            head: Its place among the heads given.
        """
        away = self.mean[..., head, :] - self.z[:, :, head]
        if variant == QK:
            kept = self.pattern[:, head] * self.kept.any(dim=3)
            attended = kept @ self.value[:, :, head]
            if self.behind is not None:
                attended = attended / self.behind[..., None]
            away = away + attended - kept.sum(dim=2, keepdim=True) * self.mean[..., head, :]
        if variant in (MEAN, QK):
            return Change(away.flatten(0, 1), self.output[head])
        along = self.coefficients(variant, head).flatten(2) @ self.unit.flatten(1, 2)
        return Change((away @ self.output[head] + along).flatten(0, 1))


def scaled(change: Change, scale: Float[Tensor, "batch pos"], mask: Bool[Tensor, "batch pos"]) -> Change:
    """A change at the tokens of the rows, divided by the clean final scale.

    Args:
        change: Of `LayerCspa.moved`.
        scale: Of the final norm.
        mask: Where there are tokens.
    """
    tokens = mask.flatten()
    return Change(change.coefficients[tokens] / scale.flatten()[tokens, None], change.directions)


def _divisor(parts: LayerParts) -> Float[Tensor, "batch pos"]:
    """What the norm behind the attention has divided by: the same for all heads of a position."""
    z, raw = parts.z.float().flatten(2), parts.raw_z.float().flatten(2)
    # The ratio that fits all numbers of a position best; a position where all are zero has none.
    size = torch.linalg.vecdot(z, z)
    return torch.where(size > 0, torch.linalg.vecdot(raw, z) / size, 1.0)
