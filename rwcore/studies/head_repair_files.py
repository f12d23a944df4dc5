"""Sweeps of self-repair: direct effects of heads first, which choose tokens, then the ablations, by batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from rwcore.ablation.metrics import next_tokens
from rwcore.corpora.batches import Batch, BatchPlan
from rwcore.errors import ModelError
from rwcore.heads.readout import Readout
from rwcore.heads.repair import Head, RepairPlan, Repairs
from rwcore.heads.repair_clean import direct_effects
from rwcore.heads.repair_neurons import NeuronDetails, NeuronSums
from rwcore.heads.repair_run import run_repair
from rwcore.models.spec import LocalModel
from rwcore.store import read_arrays
from rwcore.studies.batch_files import BatchFiles
from rwcore.studies.sweeps import INPUTS

SELECTED = "selected"
TOGETHER = {"cpu": 4096, "cuda": 65536}
"""Positions of the copies of a batch that run together."""


def with_company(plans: Sequence[BatchPlan]) -> list[BatchPlan]:
    """Batches of two rows or more, so that each row has another one to take values from.

    A row that is alone joins the batch behind it, or before it if it is the last.
    """
    joined: list[tuple[int, ...]] = []
    alone: tuple[int, ...] = ()
    for plan in plans:
        rows, alone = alone + plan.rows, ()
        if len(rows) > 1:
            joined.append(rows)
        else:
            alone = rows
    if alone:
        joined = [*joined[:-1], (*joined[-1], *alone)] if joined else [alone]
    return [BatchPlan(number, rows) for number, rows in enumerate(joined)]


@dataclass(frozen=True)
class DirectFiles(BatchFiles):
    """Direct effects of some heads at every token that has a next one.

    Attributes:
        local: The model.
        heads: Which heads.
    """

    local: LocalModel
    heads: tuple[Head, ...]

    WHAT: ClassVar[str] = "direct effects of heads"

    @property
    def needed(self) -> Int64[Tensor, " row"]:
        """All rows."""
        return torch.arange(len(self.rows))

    @cached_property
    def plans(self) -> list[BatchPlan]:
        """Batches of at least two rows."""
        return with_company(super().plans)

    @cached_property
    def _readouts(self) -> dict[torch.device, Readout]:
        return {}

    def readout(self, model: Any) -> Readout:
        """On the device of the model; read once."""
        device = next(model.parameters()).device
        if device not in self._readouts:
            self._readouts[device] = Readout.of(self.local, device)
        return self._readouts[device]

    def places(self, batch: Batch) -> Int64[Tensor, " token"]:
        """Numbers, in the corpus, of the tokens of a batch that have a next one."""
        places = self.rows.offsets[batch.rows][:, None] + torch.arange(batch.mask.shape[1])
        return places[next_tokens(batch) >= 0]

    def keep(self, model: Any, batch: Batch) -> Mapping[str, Tensor]:
        """See `rwcore.heads.repair_clean.direct_effects`."""
        found = direct_effects(model, batch, self.heads, self.readout(model))
        require_finite(found, batch)
        return {"token": self.places(batch), "direct": found.cpu()}

    def read(self) -> tuple[Int64[Tensor, " token"], Float[Tensor, "head token"]]:
        """Tokens in the order of the corpus, and the direct effects there.

        Raises:
            StoreError: A file is missing or damaged.
        """
        parts = [read_arrays(self.file(plan)) for plan in self.plans]
        token, order = torch.cat([part["token"] for part in parts]).sort()
        return token, torch.cat([part["direct"] for part in parts], dim=1)[:, order]


@dataclass(frozen=True)
class RepairFiles(DirectFiles):
    """What every ablation does at every token; the selected tokens are there first.

    Attributes:
        plan: Which heads are ablated, and how.
    """

    plan: RepairPlan

    WHAT: ClassVar[str] = "self-repair of heads"

    @cached_property
    def selected(self) -> Int64[Tensor, "head selected"]:
        """Numbers of the tokens, in the corpus, where the neurons of each head are looked at closely.

        Raises:
            StoreError: The file is missing or damaged.
        """
        return read_arrays(self.folder / INPUTS)[SELECTED]

    def keep(self, model: Any, batch: Batch) -> Mapping[str, Tensor]:
        """See `rwcore.heads.repair_run.run_repair`; what is of selected tokens begins with ``near_``."""
        token, readout = self.places(batch), self.readout(model)
        chosen = [torch.isin(token, of_head).nonzero()[:, 0] for of_head in self.selected]
        plan = replace(self.plan, positions=TOGETHER[readout.rows.device.type])
        found = run_repair(model, batch, plan, readout, chosen)
        require_finite(found.repairs.remainder, batch)
        near = {
            f"near_{one.name}": torch.cat([getattr(details, one.name) for details in found.details])
            for one in fields(NeuronDetails)
        }
        return {
            "token": token,
            "scale": found.scale.cpu(),
            **vars(found.repairs),
            **{name: values.cpu() for name, values in vars(found.neurons).items()},
            **{name: values.cpu() for name, values in near.items()},
            "near_head": torch.cat([torch.full_like(one, place) for place, one in enumerate(chosen)]),
            "near_token": torch.cat([token[one] for one in chosen]),
        }

    def read_all(self) -> dict[str, Tensor]:
        """Everything, tokens in the order of the corpus; of closely looked at ones by head, then token.

        Raises:
            StoreError: A file is missing or damaged.
        """
        parts = [read_arrays(self.file(plan)) for plan in self.plans]
        order = torch.cat([part["token"] for part in parts]).argsort()
        size = self.rows.n_tokens
        near = torch.cat([part["near_head"] * size + part["near_token"] for part in parts]).argsort()
        found = {}
        for name in list(parts[0]):
            values = [part.pop(name) for part in parts]
            if name.startswith("near_"):
                found[name] = torch.cat(values)[near]
            else:
                found[name] = torch.cat(values, dim=-1)[..., order]
        return found


def require_finite(values: Float[Tensor, "head token"], batch: Batch) -> None:
    """Check that numbers are finite.

    Raises:
        ModelError: One is not.
    """
    if not bool(values.isfinite().all()):
        raise ModelError(
            "an effect of a head is not finite",
            where=f"rows {', '.join(map(str, batch.rows.tolist()[:8]))} …",
            remedy="run the model in another type (--dtype float32)",
        )


def split(arrays: Mapping[str, Tensor]) -> tuple[Repairs, NeuronSums, NeuronDetails]:
    """What `RepairFiles.read_all` has, put together."""
    repairs = Repairs(**{one.name: arrays[one.name] for one in fields(Repairs)})
    sums = NeuronSums(**{one.name: arrays[one.name] for one in fields(NeuronSums)})
    return (
        repairs,
        sums,
        NeuronDetails(**{one.name: arrays[f"near_{one.name}"] for one in fields(NeuronDetails)}),
    )
