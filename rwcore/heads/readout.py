r"""What changes of the final residual stream do to predictions, with the final norm's scale held as it was.

With x the clean final stream, s its scale and ℓ = (x / s) W_U + b_U, a change δ of the stream gives

    Δ = (δ / s) W_U ,    p' = softmax(ℓ + Δ)

    loss' - loss = log Z - Δ_y ,    KL(p ‖ p') = log Z - Σ_v p_v Δ_v ,    Z = Σ_v p_v e^{Δ_v}

    entropy' = log Z - Σ_v p'_v (log p_v + Δ_v)

A change that lies in few directions, such as what one head adds, is given in these: (δ / s) = c D with D of
d_head rows, so that the product with the vocabulary costs d_head instead of d_model multiplications. Logits
are made a tile at a time, small enough to stay in cache; those of the whole vocabulary are never held.

Source: copy suppression specification, sections 4.1, 12 and 18.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from rwcore.models.spec import LocalModel
from rwcore.weights.embedding import unembedding
from rwcore.weights.shape import read_shape

# Tokens and entries of the vocabulary of a tile: a megabyte, which stays in the cache of one core.
CPU_TILE, GPU_TILE = (512, 512), (2048, 8192)


@dataclass(frozen=True, eq=False)
class Readout:
    """What makes logits of a normalised residual stream: ``cap · tanh((h W_U + b_U) / cap)``.

    Attributes:
        rows: W_U, one row per token, with the gain of the final norm folded in; centred over the vocabulary
            unless there is a soft cap.
        bias: b_U, or None.
        soft_cap: cap, or None for plain logits.
    """

    rows: Float[Tensor, "vocab d_model"]
    bias: Float[Tensor, " vocab"] | None = None
    soft_cap: float | None = None

    @classmethod
    def of(cls, local: LocalModel, device: str | torch.device = "cpu") -> Readout:
        """The read-out of a model, processed as published, from its files.

        Raises:
            WeightsError: Files are missing, damaged or of an unknown architecture.
        """
        found = unembedding(local, processing="as_published")
        bias = None if found.b_U is None else found.b_U.to(device)
        return cls(found.W_U.T.contiguous().to(device), bias, read_shape(local).softcap)

    def centred(self, tokens: Int64[Tensor, " *token"]) -> Float[Tensor, "*token d_model"]:
        """Columns of W_U minus the mean of all: what gives centred logits, before a soft cap.

        Without a soft cap the unembedding is centred already.

        Args:
            tokens: Ids, on the read-out's device.
        """
        rows = self.rows[tokens]
        return rows if self.soft_cap is None else rows - self._centre

    @cached_property
    def _centre(self) -> Float[Tensor, " d_model"]:
        return self.rows.mean(dim=0)

    def logits(
        self, hidden: Float[Tensor, "token d_model"], entries: slice = slice(None)
    ) -> Float[Tensor, "token entry"]:
        """Logits of some entries of the vocabulary, before the soft cap."""
        rows = self.rows[entries]
        if self.bias is None:
            return hidden @ rows.T
        return torch.addmm(self.bias[entries], hidden, rows.T)

    def capped(self, logits: Tensor) -> Tensor:
        """Logits as the model gives them."""
        if self.soft_cap is None:
            return logits
        return self.soft_cap * (logits / self.soft_cap).tanh()


@dataclass(frozen=True, eq=False)
class Change:
    """A change of the normalised stream at every token: ``coefficients @ directions``.

    Attributes:
        coefficients: c; with None for directions the change itself.
        directions: D, or None.
    """

    coefficients: Float[Tensor, "token direction"]
    directions: Float[Tensor, "direction d_model"] | None = None


@dataclass(frozen=True, eq=False)
class ChangeEffects:
    """What each of several changes does to the prediction at every token; changed minus clean, nats.

    Attributes:
        clean_loss: Loss without a change; NaN where there is no next token.
        clean_entropy: Entropy without a change.
        loss: Of each change; NaN where there is no next token.
        kl: KL divergence of the changed prediction from the clean one.
        entropy: Change of the entropy.
        target_logit: Change of the logit of the next token; NaN where there is none.
        top_logit: Change of the logit of the token that is predicted without a change.
    """

    clean_loss: Float[Tensor, " token"]
    clean_entropy: Float[Tensor, " token"]
    loss: Float[Tensor, "change token"]
    kl: Float[Tensor, "change token"]
    entropy: Float[Tensor, "change token"]
    target_logit: Float[Tensor, "change token"]
    top_logit: Float[Tensor, "change token"]


@torch.no_grad()
def change_effects(
    hidden: Float[Tensor, "token d_model"],
    targets: Int64[Tensor, " token"],
    changes: Sequence[Change],
    readout: Readout,
    *,
    tile: tuple[int, int] | None = None,
) -> ChangeEffects:
    """The effects of changes of the final stream on loss, KL divergence, entropy and two logits.

    Args:
        hidden: The clean normalised stream x / s, float32.
        targets: The next token; -1 where there is none.
        changes: Divided by the same scale s.
        readout: On the same device.
        tile: Tokens and entries of the vocabulary that are worked on together; None for what suits the
            device.
    """
    height, width = tile or (CPU_TILE if hidden.device.type == "cpu" else GPU_TILE)
    parts = [
        _Clean.of(hidden[start : start + height], targets[start : start + height], readout, width)
        for start in range(0, max(len(hidden), 1), height)
    ]
    sums = torch.zeros(3, len(changes), len(hidden), dtype=torch.float64, device=hidden.device)
    scratch = torch.empty(2, height, width, device=hidden.device)
    for first in range(0, len(readout.rows), width):
        entries = slice(first, min(first + width, len(readout.rows)))
        rows = readout.rows[entries].T
        # Of each change what its directions do to these entries: used for all tokens.
        factors = [rows if one.directions is None else one.directions @ rows for one in changes]
        start = 0
        for clean in parts:
            tokens = slice(start, start + len(clean.hidden))
            start = tokens.stop
            raw = readout.logits(clean.hidden, entries)
            before = readout.capped(raw)
            log_p = before - clean.log_sum[:, None]
            p = log_p.exp()
            for number, (one, factor) in enumerate(zip(changes, factors, strict=True)):
                delta = scratch[0, : len(p), : p.shape[1]]
                torch.mm(one.coefficients[tokens], factor, out=delta)
                if readout.soft_cap is not None:
                    delta.copy_(readout.capped(raw + delta) - before)
                found = sums[:, number, tokens]
                found[1] += torch.linalg.vecdot(p, delta)
                delta += log_p
                grown = torch.exp(delta, out=scratch[1, : len(p), : p.shape[1]])
                found[0] += grown.sum(dim=1)
                found[2] += torch.linalg.vecdot(grown, delta)
    return _together(parts, changes, sums, readout)


@dataclass(frozen=True, eq=False)
class _Clean:
    """A few tokens, and what is known of their predictions without a change."""

    hidden: Float[Tensor, "token d_model"]
    target: Int64[Tensor, " token"]
    log_sum: Float[Tensor, " token"]
    entropy: Float[Tensor, " token"]
    top: Int64[Tensor, " token"]

    @classmethod
    def of(cls, hidden: Tensor, target: Tensor, readout: Readout, width: int) -> _Clean:
        """One pass over the vocabulary with running maxima, so that no exponential overflows."""
        largest = torch.full((len(hidden),), -torch.inf, device=hidden.device)
        total, weighted = torch.zeros_like(largest), torch.zeros_like(largest)
        top = torch.zeros(len(hidden), dtype=torch.int64, device=hidden.device)
        for first in range(0, len(readout.rows), width):
            logits = readout.capped(readout.logits(hidden, slice(first, first + width)))
            found, place = logits.max(dim=1)
            top = torch.where(found > largest, first + place, top)
            new = torch.maximum(largest, found)
            shift = (largest - new).exp()
            # Of z - new in the tiles before: (z - largest) + (largest - new).
            moved = torch.where(total > 0, (largest - new) * total, 0.0)
            weighted, total = (weighted + moved) * shift, total * shift
            logits -= new[:, None]
            grown = logits.exp()
            total += grown.sum(dim=1)
            weighted += torch.linalg.vecdot(grown, logits)
            largest = new
        log_sum = largest + total.log()
        return cls(hidden, target, log_sum, total.log() - weighted / total, top)


def _together(
    parts: Sequence[_Clean], changes: Sequence[Change], sums: Tensor, readout: Readout
) -> ChangeEffects:
    hidden, target, log_sum, entropy, top = (
        torch.cat([getattr(one, name) for one in parts])
        for name in ("hidden", "target", "log_sum", "entropy", "top")
    )
    there = target >= 0
    logits = {
        name: _logit_changes(hidden, number, changes, readout)
        for name, number in (("target", target.clamp(min=0)), ("top", top))
    }
    clean = readout.capped(_of_entries(hidden, target.clamp(min=0), readout))
    with torch.no_grad():
        log_z = sums[0].log()
        kl = log_z - sums[1]
        changed_entropy = log_z - sums[2] / sums[0]
    # A change of more than 80 nats leaves what a float32 can hold; what was not a number to begin with stays.
    asked = (
        torch.stack([one.coefficients.isfinite().all(dim=1) for one in changes])
        if changes
        else there[None, :][:0]
    )
    missing = ~(log_z.isfinite() & changed_entropy.isfinite()) & log_sum.isfinite() & asked
    for number, token in missing.nonzero().tolist():
        found = _exactly(hidden[token], changes[number], token, readout)
        log_z[number, token], kl[number, token], changed_entropy[number, token] = found
    loss = (log_z - logits["target"].double()).float()
    return ChangeEffects(
        clean_loss=(log_sum - clean).where(there, torch.nan),
        clean_entropy=entropy,
        loss=loss.where(there, torch.nan),
        kl=kl.clamp(min=0).float(),
        entropy=(changed_entropy - entropy.double()).float(),
        target_logit=logits["target"].where(there, torch.nan),
        top_logit=logits["top"],
    )


def _of_entries(hidden: Tensor, number: Tensor, readout: Readout) -> Float[Tensor, " token"]:
    """One logit of each token, before the soft cap."""
    found: Tensor = torch.linalg.vecdot(hidden, readout.rows[number])
    return found if readout.bias is None else found + readout.bias[number]


def _logit_changes(
    hidden: Tensor, number: Tensor, changes: Sequence[Change], readout: Readout
) -> Float[Tensor, "change token"]:
    rows, before = readout.rows[number], _of_entries(hidden, number, readout)
    found = torch.empty(len(changes), len(hidden), device=hidden.device)
    for place, one in enumerate(changes):
        along = rows if one.directions is None else rows @ one.directions.T
        found[place] = torch.linalg.vecdot(one.coefficients, along)
    if readout.soft_cap is None:
        return found
    return readout.capped(before + found) - readout.capped(before)


def _exactly(hidden: Tensor, change: Change, token: int, readout: Readout) -> tuple[float, float, float]:
    """The logarithm of Z, KL and entropy of one token and change, from the whole vocabulary in float64."""
    moved = change.coefficients[token].double()
    if change.directions is not None:
        moved = moved @ change.directions.double()
    rows = readout.rows.double()
    bias = 0.0 if readout.bias is None else readout.bias.double()
    raw = rows @ hidden.double() + bias
    before, after = readout.capped(raw), readout.capped(raw + rows @ moved)
    log_p, log_q = before.log_softmax(0), after.log_softmax(0)
    log_z = float(torch.logsumexp(after, 0) - torch.logsumexp(before, 0))
    kl = float(torch.linalg.vecdot(log_p.exp(), log_p - log_q))
    return log_z, kl, float(torch.special.entr(log_q.exp()).sum())
