r"""Self-repair: how much of what a head did for the next token others do once the head is ablated.

With u the column of W_U of the correct next token, x the final stream and s its scale in the clean pass, x'
and s' with one head ablated at all positions, and everything after it computed again:

    Δlogit = x'·u/s' - x·u/s
    DE     = r·u/s                      the head's direct effect, r what it adds
    aDE    = r'·u/s                     the same of what it adds when it is ablated
    D      = DE - aDE                   what should be lost
    SR     = Δlogit + D                 self-repair: > 0 repair, < 0 breakage, > D more than was lost

and SR is the sum of what other heads, MLPs and the final norm do about it:

    SR_heads = Σ (r'_h - r_h)·u/s ,   SR_mlp = Σ (m'_ℓ - m_ℓ)·u/s ,   SR_norm = x'·u (1/s' - 1/s)

Behind a norm of what attention adds, the scale of that norm changes in the layer of the head: D has the clean
one, and what this scale does to all heads of the layer is a fourth part. Logits are centred over the
vocabulary, without bias; of a soft cap they are those before it.

Source: self-repair specification, section 1; Rushing and Nanda, "Explorations of Self-Repair" (2024).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from rwcore.corpora.batches import Batch
from rwcore.errors import OptionError, require_choice
from rwcore.heads.rerun import NewZ

Head = tuple[int, int]
RESAMPLE, MEAN, ZERO = "resample", "mean", "zero"
ABLATIONS = (RESAMPLE, MEAN, ZERO)
"""z of another row, the head's mean over the tokens of the batch, or nothing."""


@dataclass(frozen=True, eq=False)
class Repairs:
    """The parts of `Δlogit` of each ablated head, at the tokens of a batch that have a next one; logits.

    Attributes:
        direct: DE.
        ablated_direct: aDE.
        logit_change: Δlogit, ablated minus clean.
        heads: SR_heads.
        mlp: SR_mlp.
        norm: SR_norm, by its closed form.
        post_norm: Of the norm behind the attention of the head's layer; 0 where there is none.
        scale_ratio: s / s'; above 1 where the final stream has become smaller.
    """

    direct: Float[Tensor, "head token"]
    ablated_direct: Float[Tensor, "head token"]
    logit_change: Float[Tensor, "head token"]
    heads: Float[Tensor, "head token"]
    mlp: Float[Tensor, "head token"]
    norm: Float[Tensor, "head token"]
    post_norm: Float[Tensor, "head token"]
    scale_ratio: Float[Tensor, "head token"]

    @property
    def due(self) -> Float[Tensor, "head token"]:
        """D: the logit that should be lost."""
        return self.direct - self.ablated_direct

    @property
    def repair(self) -> Float[Tensor, "head token"]:
        """SR."""
        return self.logit_change + self.due

    @property
    def remainder(self) -> Float[Tensor, "head token"]:
        """What the parts do not explain: rounding."""
        return self.repair - self.heads - self.mlp - self.norm - self.post_norm


def resample_places(
    batch: Batch, seed: int = 0
) -> tuple[Int64[Tensor, "batch 1"], Int64[Tensor, "batch pos"]]:
    """Row and position that each position of a batch takes its values from under ``resample``.

    The rows are shifted by a random number, so that each row gets another one. Position p takes position p;
    in a row that is too short for it, counting starts again behind its first token.

    Args:
        batch: The batch.
        seed: With the batch's number it decides the shift.

    Raises:
        OptionError: There is no other row.
    """
    rows = len(batch.rows)
    if rows < 2:
        raise OptionError(
            "a batch of one row has no other row to take values from",
            where="--ablation resample",
            remedy="give more text or --batch-tokens, or use --ablation mean",
        )
    generator = torch.Generator().manual_seed(seed * 1_000_003 + batch.number)
    shift = int(torch.randint(1, rows, (1,), generator=generator))
    other = (torch.arange(rows) + shift)[:, None] % rows
    position = torch.arange(batch.mask.shape[1])
    length = batch.mask.sum(dim=1)[other]
    again = 1 + (position - 1) % (length - 1).clamp(min=1)
    return other, torch.where(position < length, position, again.clamp(max=length - 1))


def ablating(kind: str, head: int, batch: Batch, seed: int = 0) -> NewZ:
    """The ablation of one head at all positions, for `rwcore.heads.rerun.rerun`.

    Args:
        kind: Of `ABLATIONS`.
        head: Its number.
        batch: The batch.
        seed: See `resample_places`.

    Raises:
        OptionError: There is no such kind, or no other row.
    """
    require_choice("--ablation", kind, ABLATIONS)
    places = resample_places(batch, seed) if kind == RESAMPLE else None

    def change(z: Tensor) -> Tensor:
        mine = z[:, :, head]
        if places is not None:
            row, position = (place.to(z.device) for place in places)
            new = mine[row, position]
        elif kind == MEAN:
            new = mine[batch.mask.to(z.device)].mean(dim=0)
        else:
            new = torch.zeros_like(mine)
        z = z.clone()
        z[:, :, head] = new
        return z

    return change


@dataclass(frozen=True, eq=False)
class RepairPlan:
    """Which heads are ablated, and how.

    Attributes:
        heads: Layer and number of each.
        ablation: Of `ABLATIONS`.
        seed: Of the rows that take each other's values.
        later: Look closely at the neurons of every MLP from the head's layer on, not of the last one only.
        positions: Of the copies of a batch that run together.
    """

    heads: Sequence[Head]
    ablation: str = RESAMPLE
    seed: int = 0
    later: bool = False
    positions: int = 4096

    def __post_init__(self) -> None:
        require_choice("--ablation", self.ablation, ABLATIONS)

    @property
    def by_layer(self) -> dict[int, list[int]]:
        """Places of the heads of each layer."""
        found: dict[int, list[int]] = {}
        for place, (layer, _) in enumerate(self.heads):
            found.setdefault(layer, []).append(place)
        return dict(sorted(found.items()))
