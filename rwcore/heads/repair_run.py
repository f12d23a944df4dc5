"""Ablate heads of a batch one by one, and measure what the rest of the model does about it.

One clean pass gives what enters the layers, and what attention, MLPs and neurons write along the next token's
direction. Then each head is ablated in a pass that begins at its layer, several heads of a layer at a time.

Source: self-repair specification, sections 1 and 7.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from rwcore.corpora.batches import Batch
from rwcore.heads.readout import Readout
from rwcore.heads.repair import RepairPlan, Repairs, ablating
from rwcore.heads.repair_clean import CleanPass, Watched, of_copies, read_end, wide
from rwcore.heads.repair_neurons import NeuronDetails, NeuronSums
from rwcore.heads.rerun import NewZ, rerun
from rwcore.heads.run import MLP, NEURONS, LayerParts, decoder_blocks, output_matrices

SORTED = 1 << 24
"""Neurons at tokens that are looked at together: those of all later MLPs of a large model are many."""


@dataclass(frozen=True, eq=False)
class BatchRepairs:
    """What `run_repair` finds at the tokens of a batch that have a next one.

    Attributes:
        repairs: Of each head.
        neurons: Of the last MLP.
        scale: Clean scale of the final norm.
        details: Of each head at the tokens where its neurons are looked at closely.
    """

    repairs: Repairs
    neurons: NeuronSums
    scale: Float[Tensor, " token"]
    details: Sequence[NeuronDetails]


def run_repair(
    model: Any,
    batch: Batch,
    plan: RepairPlan,
    readout: Readout,
    selected: Sequence[Int64[Tensor, " _"]] | None = None,
) -> BatchRepairs:
    """Ablate heads one by one, and say who does what about it.

    Args:
        model: As for `rwcore.heads.run.run_heads`.
        batch: The batch.
        plan: Which heads.
        readout: On the model's device.
        selected: Of each head, numbers of the tokens where neurons are looked at closely, ascending, among
            those of the batch that have a next token; none if None.

    Raises:
        OptionError: The model has no such layer, or the batch has one row and values are those of another.
        ModelError: As `rwcore.heads.run.run_heads`.
    """
    chosen = [torch.zeros(0, dtype=torch.int64)] * len(plan.heads) if selected is None else selected
    clean = CleanPass.of(model, batch, plan, readout, torch.unique(torch.cat([*chosen])))
    together = max(1, plan.positions // batch.tokens.numel())
    found: dict[int, _Ablated] = {}
    for layer, places in plan.by_layer.items():
        for start in range(0, len(places), together):
            some = places[start : start + together]
            numbers = [plan.heads[place][1] for place in some]
            run = _LayerRun(model, batch, plan, clean, layer, numbers)
            found.update(zip(some, run.found([chosen[place] for place in some]), strict=True))
    ordered = [found[place] for place in range(len(plan.heads))]
    return BatchRepairs(
        Repairs(**{name: torch.stack([one.parts[name] for one in ordered]) for name in ordered[0].parts}),
        NeuronSums.stacked([one.neurons for one in ordered]),
        clean.scale,
        [one.details for one in ordered],
    )


@dataclass(frozen=True, eq=False)
class _Ablated:
    """What is found of one head; names of `Repairs`."""

    parts: Mapping[str, Float[Tensor, " token"]]
    neurons: NeuronSums
    details: NeuronDetails


@dataclass(frozen=True, eq=False)
class _LayerRun:
    """Some heads of a layer, each ablated in a copy of the batch."""

    model: Any
    batch: Batch
    plan: RepairPlan
    clean: CleanPass
    layer: int
    heads: Sequence[int]

    def found(self, chosen: Sequence[Int64[Tensor, " _"]]) -> list[_Ablated]:
        """Run the copies.

        Args:
            chosen: Of each head, the tokens where its neurons are looked at closely.
        """
        clean, copies = self.clean, len(self.heads)
        last = len(decoder_blocks(self.model)) - 1
        zeros = torch.zeros(copies, len(clean.u), dtype=clean.u.dtype, device=clean.u.device)
        parts = {name: zeros.clone() for name in ("direct", "ablated_direct", "heads", "mlp", "post_norm")}
        acts = dict[int, Tensor]()
        watched = Watched(self.model, self.layer)
        seen: dict[str, Tensor] = {}

        def tokens(values: Tensor) -> Tensor:
            return of_copies(values, clean.asked)

        def visit(now: LayerParts) -> None:
            layer = now.layer
            assert now.mlp is not None
            if layer == self.layer:
                for name, values in self._of_heads(now, seen["z"], tokens).items():
                    parts[name] += values
            else:
                parts["heads"] += (
                    torch.linalg.vecdot(tokens(watched.attention), clean.u) - clean.attention[layer]
                )
            parts["mlp"] += torch.linalg.vecdot(tokens(now.mlp), clean.u) - clean.mlp[layer]
            if layer == last or layer in clean.closely:
                found = tokens(watched.coefficients(now))
                acts[layer] = found if layer == last else found[:, clean.near]

        final = rerun(
            self.model,
            self.batch,
            self.layer,
            clean.before,
            self._changes(seen),
            visit,
            parts=(MLP, NEURONS),
            hooks=watched.hooks(),
        )
        scale, logit = read_end(final, clean.asked, clean.u)
        found = {name: values / clean.scale for name, values in parts.items()}
        found |= {
            "logit_change": logit - clean.logit,
            "norm": logit * scale * (1 / scale - 1 / clean.scale),
            "scale_ratio": clean.scale / scale,
        }
        return [
            _Ablated(
                {name: values[copy].cpu() for name, values in found.items()},
                NeuronSums.of(clean.last.clean, acts[last][copy] * clean.last.along),
                self._details({layer: of[copy] for layer, of in acts.items()}, chosen[copy].to(zeros.device)),
            )
            for copy in range(copies)
        ]

    def _changes(self, seen: dict[str, Tensor]) -> list[NewZ]:
        """The ablations; the first of them keeps z of the clean pass."""
        changes = [ablating(self.plan.ablation, head, self.batch, self.plan.seed) for head in self.heads]
        first = changes[0]

        def keeping(z: Tensor) -> Tensor:
            seen["z"] = z
            return first(z)

        return [keeping, *changes[1:]]

    def _of_heads(
        self, now: LayerParts, before: Tensor, tokens: Callable[[Tensor], Tensor]
    ) -> dict[str, Float[Tensor, "copy token"]]:
        """DE, aDE and what a norm behind the attention does, not divided by s."""
        clean, behind = self.clean, self.clean.behind[self.layer]
        copies = torch.arange(len(self.heads))
        numbers = list(self.heads) if behind is None else list(range(now.z.shape[2]))
        output = output_matrices(self.model, self.layer)[numbers].to(clean.u.dtype)
        along = torch.einsum("td,hed->the", clean.u, output)
        own = along[:, copies if behind is None else self.heads].transpose(0, 1)
        scale = torch.ones_like(clean.scale) if behind is None else behind
        z, raw = wide(before[clean.asked]), tokens(now.raw_z)
        found = {
            "direct": torch.linalg.vecdot(z[:, self.heads].transpose(0, 1), own) / scale,
            "ablated_direct": torch.linalg.vecdot(raw[copies, :, self.heads], own) / scale,
        }
        if behind is not None:
            found["post_norm"] = ((tokens(now.z) - raw / scale[:, None, None]) * along).sum(dim=(2, 3))
        return found

    def _details(
        self, acts: Mapping[int, Float[Tensor, "token neuron"]], chosen: Int64[Tensor, " selected"]
    ) -> NeuronDetails:
        clean, last = self.clean, max(acts)
        place = torch.searchsorted(clean.near, chosen)
        width = clean.last.clean.shape[1]
        parts = []
        step = max(1, SORTED // (width * len(acts)))
        for some in torch.split(torch.arange(len(chosen), device=chosen.device), step):
            before, after = [], []
            for layer in sorted(acts):
                terms, at = (clean.last, chosen) if layer == last else (clean.closely[layer], place)
                before.append(terms.clean[at[some]])
                after.append(acts[layer][at[some]] * terms.along[at[some]])
            parts.append(NeuronDetails.of(torch.cat(before, 1), torch.cat(after, 1), first=min(acts) * width))
        return NeuronDetails.together(parts)
