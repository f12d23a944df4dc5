"""Run a batch and measure what is left of its predictions when heads keep only their copy suppression.

Predictions are read from the final stream of the clean pass, changed by what a head adds less or more, with
the clean scale of the final norm: the direct effect. Later layers do not react.

Source: copy suppression specification, section 8.4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from rwcore.ablation.metrics import next_tokens
from rwcore.corpora.batches import Batch
from rwcore.errors import OptionError
from rwcore.heads.cspa import BOTH, MEAN, NEEDED, NEGATIVE, VARIANTS, LayerCspa, scaled
from rwcore.heads.cspa_filter import NO_TOKEN, QueryFilter, kept_keys, key_rows, lens_scores
from rwcore.heads.readout import ChangeEffects, Readout, change_effects
from rwcore.heads.run import Final, LayerParts, output_matrices, run_heads

Head = tuple[int, int]
Z_MEANS = "position", "overall"
"""A mean for each position over the rows, or one over all tokens."""
CHANGE_BYTES = 256 << 20
"""Of the changes of the final stream that are in memory at a time."""
LEAST_ATTENTION = 0.01
"""Of pairs that are shown to people."""


@dataclass(frozen=True, eq=False)
class CspaPlan:
    """What is measured.

    Attributes:
        heads: Layer and number of each head, ascending.
        means: z̄ of all heads of each layer; see `z_sums`.
        function: Which tokens are function words.
        choice: Which keys are kept.
        variants: Of `rwcore.heads.cspa.VARIANTS`; mean ablation is measured in any case, and first.
        sets: Sets of related tokens; None for none.

    Raises:
        OptionError: There is no such variant, or ``negative`` is asked for with sets: the sign of a
            projection on a span is not defined.
    """

    heads: Sequence[Head]
    means: Mapping[int, Float[Tensor, "*pos head d_head"]]
    function: Bool[Tensor, " vocab"]
    choice: QueryFilter = field(default_factory=QueryFilter)
    variants: Sequence[str] = VARIANTS
    sets: Int64[Tensor, "vocab set"] | None = None

    def __post_init__(self) -> None:
        require_variants(self.variants, sets=self.sets is not None)

    @property
    def all_variants(self) -> tuple[str, ...]:
        """Mean ablation and the variants."""
        return (MEAN, *self.variants)

    @property
    def by_layer(self) -> dict[int, list[int]]:
        """Numbers of the heads of each layer."""
        found: dict[int, list[int]] = {}
        for layer, head in self.heads:
            found.setdefault(layer, []).append(head)
        return found


@dataclass(frozen=True, eq=False)
class CspaEffects:
    """What each variant does to the predictions of a batch, at its tokens row by row; nats.

    Attributes:
        kl: KL divergence of the ablated prediction from the clean one; heads and variants as in the plan.
        loss: Loss with the ablation minus clean loss; NaN where there is no next token.
        clean_loss: NaN likewise.
    """

    kl: Float[Tensor, "head variant token"]
    loss: Float[Tensor, "head variant token"]
    clean_loss: Float[Tensor, " token"]


@dataclass(frozen=True, eq=False)
class KeptPairs:
    """Pairs of a query and a key that is kept, with at least `LEAST_ATTENTION`.

    Attributes:
        head: Place of the head in the plan.
        query: Number of the token among those of the batch, row by row.
        key: Position of the key in the row.
        score: How much the key's token is predicted at the query, by the logit lens.
        attention: From the query to the key.
        coefficient: What ``both`` leaves the head to write along the direction of the key's token; where it
            is negative, ``negative`` likewise.
    """

    head: Int64[Tensor, " pair"]
    query: Int64[Tensor, " pair"]
    key: Int64[Tensor, " pair"]
    score: Float[Tensor, " pair"]
    attention: Float[Tensor, " pair"]
    coefficient: Float[Tensor, " pair"]


def require_variants(variants: Sequence[str], *, sets: bool) -> None:
    """Check that there are such variants, each once.

    Raises:
        OptionError: As for `CspaPlan`.
    """
    wrong = [one for one in variants if one not in VARIANTS]
    if wrong or len({*variants}) < len(variants) or not variants:
        raise OptionError(
            f"no such variants: {','.join(variants) or 'none'}",
            where="--variants",
            remedy=f"give some of {', '.join(VARIANTS)}, each once",
        )
    if sets and NEGATIVE in variants:
        raise OptionError(
            "the projection on several directions has no sign",
            where="--variants negative",
            remedy="leave it out, or take each token alone",
        )


def z_sums(
    model: Any, batch: Batch, layers: Sequence[int], means: str
) -> dict[int, Float[Tensor, "*pos head d_head"]]:
    """Sums of z over the tokens of a batch, for each position or over all, float64.

    Args:
        model: As for `rwcore.heads.run.run_heads`.
        batch: The batch; for ``position`` without padding.
        layers: Which layers.
        means: Of `Z_MEANS`.
    """
    found: dict[int, Tensor] = {}

    def visit(parts: LayerParts) -> None:
        z = parts.z.double()
        mask = batch.mask.to(z.device)
        found[parts.layer] = z.sum(dim=0) if means == "position" else z[mask].sum(dim=0)

    run_heads(model, batch, visit, layers=layers)
    return found


def run_cspa(
    model: Any,
    batch: Batch,
    plan: CspaPlan,
    readout: Readout,
    pairs: list[KeptPairs] | None = None,
) -> CspaEffects:
    """Measure all variants of all heads of a plan on a batch.

    The batch is run twice: scores need the final scale, and nothing of a layer is kept behind its turn.

    Args:
        model: As for `rwcore.heads.run.run_heads`.
        batch: The batch.
        plan: What is measured.
        readout: On the model's device.
        pairs: Where kept pairs go to, for each layer; None if nobody wants them.

    Raises:
        OptionError: The model has no such layer.
        ModelError: As `rwcore.heads.run.run_heads`.
    """
    final = run_heads(model, batch)
    rows = _Rows.of(batch, plan, readout, final)
    count, size = len(plan.heads), int(batch.mask.sum())
    shape = (count, len(plan.all_variants), size)
    kl, loss = torch.empty(shape), torch.empty(shape)
    clean = torch.empty(size)
    places = {pair: place for place, pair in enumerate(plan.heads)}
    by_layer = plan.by_layer

    def visit(parts: LayerParts) -> None:
        heads = by_layer[parts.layer]
        scores = rows.scores(parts)
        kept = rows.kept(scores)
        output = output_matrices(model, parts.layer)
        mean = plan.means[parts.layer].to(output.device)
        for some in rows.chunks(heads, len(plan.variants)):
            layer = LayerCspa.of(parts, output, mean, rows.rows, kept, some)
            found = rows.effects(layer, plan.all_variants, readout)
            at = [places[parts.layer, head] for head in some]
            kl[at] = found.kl.reshape(len(some), -1, size).cpu()
            loss[at] = found.loss.reshape(len(some), -1, size).cpu()
            clean.copy_(found.clean_loss)
            if pairs is not None:
                pairs.append(rows.pairs(layer, scores, at))

    run_heads(model, batch, visit, parts=NEEDED, layers=sorted(by_layer))
    return CspaEffects(kl, loss, clean)


@dataclass(frozen=True, eq=False)
class _Rows:
    """The rows of a batch, and what of them does not depend on a layer."""

    tokens: Int64[Tensor, "batch pos"]
    mask: Bool[Tensor, "batch pos"]
    rows: Float[Tensor, "batch pos set d_model"]
    missing: Bool[Tensor, "batch pos set"] | None
    skipped: Bool[Tensor, "batch pos"]
    choice: QueryFilter
    scale: Float[Tensor, "batch pos"]
    hidden: Float[Tensor, "token d_model"]
    target: Int64[Tensor, " token"]

    @classmethod
    def of(cls, batch: Batch, plan: CspaPlan, readout: Readout, final: Final) -> _Rows:
        device = final.stream.device
        tokens, mask = batch.tokens.to(device), batch.mask.to(device)
        sets = None if plan.sets is None else plan.sets.to(device)
        return cls(
            tokens=tokens,
            mask=mask,
            rows=key_rows(tokens, readout, sets),
            missing=None if sets is None else sets[tokens] == NO_TOKEN,
            skipped=plan.function.to(device)[tokens],
            choice=plan.choice,
            scale=final.scale.float(),
            hidden=(final.stream / final.scale[..., None])[mask].float(),
            target=next_tokens(batch)[batch.mask].to(device),
        )

    def scores(self, parts: LayerParts) -> Float[Tensor, "batch query key set"]:
        assert parts.stream is not None
        return lens_scores(parts.stream.float(), self.scale, self.rows)

    def kept(self, scores: Float[Tensor, "batch query key set"]) -> Bool[Tensor, "batch query key set"]:
        return kept_keys(scores, self.tokens, self.skipped, self.choice, self.missing)

    def chunks(self, heads: Sequence[int], variants: int) -> list[Sequence[int]]:
        """Heads whose changes are in memory together."""
        together = max(1, CHANGE_BYTES // (4 * self.hidden.numel() * max(variants, 1)))
        return [heads[start : start + together] for start in range(0, len(heads), together)]

    def effects(self, layer: LayerCspa, variants: Sequence[str], readout: Readout) -> ChangeEffects:
        changes = [
            scaled(layer.moved(variant, head), self.scale, self.mask)
            for head in range(layer.output.shape[0])
            for variant in variants
        ]
        return change_effects(self.hidden, self.target, changes, readout)

    def pairs(self, layer: LayerCspa, scores: Tensor, at: Sequence[int]) -> KeptPairs:
        """The kept pairs of some heads; of sets the key's own token counts."""
        number = torch.full(self.mask.shape, -1, device=self.mask.device)
        number[self.mask] = torch.arange(int(self.mask.sum()), device=self.mask.device)
        chosen = layer.kept.any(dim=3)[:, None] & (layer.pattern >= LEAST_ATTENTION)
        row, head, query, key = (chosen & self.mask[:, None, :, None]).nonzero(as_tuple=True)
        written = torch.stack([layer.coefficients(BOTH, one)[..., 0] for one in range(len(at))], dim=1)
        return KeptPairs(
            head=torch.tensor(at, device=head.device)[head].cpu(),
            query=number[row, query].cpu(),
            key=key.cpu(),
            score=scores[row, query, key, 0].cpu(),
            attention=layer.pattern[row, head, query, key].cpu(),
            coefficient=written[row, head, query, key].cpu(),
        )
