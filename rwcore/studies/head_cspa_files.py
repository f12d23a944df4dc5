"""Sweeps of copy-suppression-preserving ablations: means of heads, then effects, batch by batch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from rwcore.corpora.batches import Batch
from rwcore.errors import ModelError
from rwcore.heads.cspa_filter import QueryFilter
from rwcore.heads.cspa_run import CspaEffects, CspaPlan, Head, KeptPairs, run_cspa, z_sums
from rwcore.heads.cspa_scores import EffectSums
from rwcore.heads.readout import Readout
from rwcore.models.spec import LocalModel
from rwcore.store import read_arrays
from rwcore.studies.batch_files import BatchFiles
from rwcore.studies.sweeps import INPUTS

FUNCTION, SETS = "function", "sets"
"""What a sweep of effects is given beside the means."""


@dataclass(frozen=True)
class MeanFiles(BatchFiles):
    """Sums of z of some layers over the tokens of each batch.

    Attributes:
        layers: Which layers.
        means: Of `rwcore.heads.cspa_run.Z_MEANS`.
    """

    layers: tuple[int, ...]
    means: str

    WHAT: ClassVar[str] = "means of heads"

    @property
    def needed(self) -> Int64[Tensor, " row"]:
        """All rows."""
        return torch.arange(len(self.rows))

    def keep(self, model: Any, batch: Batch) -> Mapping[str, Tensor]:
        """See `rwcore.heads.cspa_run.z_sums`; stored as float32."""
        found = z_sums(model, batch, self.layers, self.means)
        return {f"layer_{layer}": sums.float().cpu() for layer, sums in found.items()}

    def read(self) -> dict[str, Float[Tensor, "*pos head d_head"]]:
        """The mean z of each layer, from the files of all batches in their order.

        Raises:
            StoreError: A file is missing or damaged.
        """
        count = len(self.rows) if self.means == "position" else self.rows.n_tokens
        total: dict[str, Tensor] = {}
        for plan in self.plans:
            for name, sums in read_arrays(self.file(plan)).items():
                total[name] = total.get(name, 0) + sums.double()
        return {name: (sums / count).float() for name, sums in total.items()}


@dataclass(frozen=True)
class EffectFiles(BatchFiles):
    """Effects of the ablations of some heads on the predictions of each batch; `INPUTS` are there first.

    Attributes:
        local: The model.
        heads: Which heads.
        choice: Which keys are kept.
        variants: Which variants.
        by_token: Whether to keep every token, and the pairs of query and key that are kept, instead of sums
            over rows.
    """

    local: LocalModel
    heads: tuple[Head, ...]
    choice: QueryFilter
    variants: tuple[str, ...]
    by_token: bool

    WHAT: ClassVar[str] = "copy suppression"

    @property
    def needed(self) -> Int64[Tensor, " row"]:
        """All rows."""
        return torch.arange(len(self.rows))

    @cached_property
    def plan(self) -> CspaPlan:
        """What is measured.

        Raises:
            StoreError: `INPUTS` are missing or damaged.
        """
        inputs = read_arrays(self.folder / INPUTS)
        layers = {layer for layer, _ in self.heads}
        return CspaPlan(
            heads=self.heads,
            means={layer: inputs[f"layer_{layer}"] for layer in layers},
            function=inputs[FUNCTION],
            choice=self.choice,
            variants=self.variants,
            sets=inputs.get(SETS),
        )

    @cached_property
    def _readouts(self) -> dict[torch.device, Readout]:
        return {}

    def keep(self, model: Any, batch: Batch) -> Mapping[str, Tensor]:
        """Sums over rows, or with ``by_token`` what `read_tokens` puts together."""
        device = next(model.parameters()).device
        if device not in self._readouts:
            self._readouts[device] = Readout.of(self.local, device)
        pairs: list[KeptPairs] | None = [] if self.by_token else None
        effects = run_cspa(model, batch, self.plan, self._readouts[device], pairs)
        self._check(effects, batch)
        if pairs is None:
            row = torch.arange(len(batch.rows))[:, None].expand(batch.mask.shape)[batch.mask]
            found = EffectSums.of(effects, row, len(batch.rows))
            return {**vars(found), "number": batch.rows}
        positions = torch.arange(batch.mask.shape[1])
        places = (self.rows.offsets[batch.rows][:, None] + positions)[batch.mask]
        joined = {f"pair_{name}": values for name, values in _joined(map(vars, pairs)).items()}
        joined["pair_query"] = places[joined["pair_query"]]
        return {**vars(effects), "token": places, **joined}

    def _check(self, effects: CspaEffects, batch: Batch) -> None:
        bad = (~effects.kl.isfinite()).any(dim=(0, 1)).nonzero()[:, 0]
        if len(bad):
            row, position = batch.mask.nonzero()[bad[0]].tolist()
            number = int(batch.rows[row])
            raise ModelError(
                f"a prediction is not finite ({len(bad)} of {len(effects.clean_loss)} in this batch)",
                where=f"document {int(self.rows.document[number])} of {self.rows.spec.id} (row {number}), "
                f"position {position}",
                remedy="the weights are damaged, or the type of the numbers is too narrow: try float32",
            )

    def read_sums(self) -> EffectSums:
        """Sums over documents.

        Raises:
            StoreError: A file is missing or damaged.
        """
        parts = [read_arrays(self.file(plan)) for plan in self.plans]
        rows = EffectSums(**_joined(parts))
        return rows.of_documents(self.rows.document)

    def read_tokens(self) -> dict[str, Tensor]:
        """What was kept of every token and pair.

        Returns:
            ``kl``, ``loss`` [head variant token] and ``clean_loss`` [token], in the order of the corpus; of
            kept pairs ``pair_head``, ``pair_query`` (number of the token in the corpus), ``pair_key``
            (position in its row), ``pair_score``, ``pair_attention`` and ``pair_coefficient``, in the order
            of the queries (see `rwcore.heads.cspa_run.KeptPairs`).

        Raises:
            StoreError: A file is missing or damaged.
        """
        parts = [read_arrays(self.file(plan)) for plan in self.plans]
        order = torch.cat([part.pop("token") for part in parts]).argsort()
        found = {}
        for name in ("kl", "loss", "clean_loss"):
            found[name] = torch.cat([part.pop(name) for part in parts], dim=-1)[..., order]
        pairs = _joined(parts)
        by_query = pairs["pair_query"].argsort(stable=True)
        return {**found, **{name: values[by_query] for name, values in pairs.items()}}


def _joined(parts: Iterable[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Arrays of the same names, one part behind the other."""
    every = list(parts)
    return {name: torch.cat([part[name] for part in every]) for name in every[0]}
