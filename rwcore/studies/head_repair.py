"""Who repairs the loss of heads: swept once over a corpus, then in the store.

A first sweep measures direct effects, which select the tokens where neurons are looked at closely. A second
one ablates every head in turn and keeps what happens at every token.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from rwcore.corpora.tokens import TokenCorpus
from rwcore.errors import OptionError, require_choice
from rwcore.heads.repair import ABLATIONS, RESAMPLE, Head, RepairPlan, Repairs
from rwcore.heads.repair_groups import SHARE, late_layers, ordinary_tokens, top_tokens
from rwcore.heads.repair_neurons import NeuronDetails, NeuronSums
from rwcore.provenance import Stopwatch, collect
from rwcore.store import ArtefactKey, read_arrays, write_arrays
from rwcore.studies.asked_heads import ALL, LATE, asked_heads, require_readable_heads
from rwcore.studies.forward import ForwardOptions, forward_fields, identity_of, keep_rows
from rwcore.studies.head_repair_files import SELECTED, DirectFiles, RepairFiles, split
from rwcore.studies.sweeps import sweep
from rwcore.studies.weights import WeightStudy
from rwcore.weights.shape import ModelShape, read_shape

KIND, DIRECT_KIND, DEFINITION = "head-repair", "head-direct", "head_repair/1"
DIRECT_FILE, REPAIR_FILE = "direct.safetensors", "repair.safetensors"
LAST, LATER = "last", "later"
MLPS = (LAST, LATER)


@dataclass(frozen=True)
class RepairOptions:
    """What is measured.

    Attributes:
        heads: ``late`` (from two thirds of the model to the last layer but one), ``all``, or layer and number
            of each.
        ablation: Of `rwcore.heads.repair.ABLATIONS`.
        seed: Of the rows that take each other's values.
        share: Of the tokens, those with a head's largest direct effects.
        mlps: Neurons of which MLPs are looked at closely: the ``last`` one, or every ``later`` one from the
            head's layer on.

    Raises:
        OptionError: There is no such choice, or a number is out of range.
    """

    heads: str | tuple[Head, ...] = LATE
    ablation: str = RESAMPLE
    seed: int = 0
    share: float = SHARE
    mlps: str = LAST

    def __post_init__(self) -> None:
        require_choice("--ablation", self.ablation, ABLATIONS)
        require_choice("--mlps", self.mlps, MLPS)
        if isinstance(self.heads, str):
            require_choice("--heads", self.heads, (LATE, ALL))
        if not 0 < self.share <= 1:
            raise OptionError(
                f"a share of {self.share:g}", where="--share", remedy="give a number above 0, at most 1"
            )
        # 1 and 1.0 are one artefact.
        object.__setattr__(self, "share", float(self.share))


@dataclass(frozen=True, eq=False)
class RepairResults:
    """What ablations do at every token of a corpus that has a next one.

    Attributes:
        token: Number of each token in the corpus.
        scale: Clean scale of the final norm.
        repairs: Parts of the change of the logit.
        neurons: Of the last MLP.
        near_head: Place of the head of each row of ``details``.
        near_token: Its token.
        details: Neurons at the tokens with the largest direct effects.
    """

    token: Int64[Tensor, " token"]
    scale: Float[Tensor, " token"]
    repairs: Repairs
    neurons: NeuronSums
    near_head: Int64[Tensor, " selected"]
    near_token: Int64[Tensor, " selected"]
    details: NeuronDetails

    @classmethod
    def of(cls, arrays: Mapping[str, Tensor]) -> RepairResults:
        """From the arrays of a file."""
        plain = {name: arrays[name] for name in ("token", "scale", "near_head", "near_token")}
        repairs, neurons, details = split(arrays)
        return cls(repairs=repairs, neurons=neurons, details=details, **plain)

    @property
    def selected(self) -> list[Int64[Tensor, " _"]]:
        """Places, among the tokens, of those with the largest direct effects of each head."""
        place = torch.searchsorted(self.token, self.near_token)
        return [place[self.near_head == head] for head in range(len(self.repairs.direct))]

    def details_of(self, head: int) -> NeuronDetails:
        """Rows of one head, given its place."""
        mine = self.near_head == head
        return NeuronDetails(**{name: values[mine] for name, values in vars(self.details).items()})


@dataclass(frozen=True)
class RepairStudy:
    """Self-repair of the heads of one model on one corpus.

    Attributes:
        weights: The weight study of the model; its store and engine serve here too.
        corpus: The rows.
        options: What is measured.
        forward: How the model is run.
        parts: Tasks of the engine; they decide no number.

    Raises:
        OptionError: The model has no such head, weights are not processed as published, or there is one row
            and values are those of another.
        ModelError: The model is an encoder.
    """

    weights: WeightStudy
    corpus: TokenCorpus
    options: RepairOptions = field(default_factory=RepairOptions)
    forward: ForwardOptions = field(default_factory=ForwardOptions)
    parts: int = 1

    def __post_init__(self) -> None:
        require_readable_heads(self.weights)
        if self.options.ablation == RESAMPLE and len(self.corpus) < 2:
            raise OptionError(
                f"{self.corpus.spec.id} has one row, and no other to take values from",
                where="--ablation resample",
                remedy="give more text or a smaller --max-length, or use --ablation mean",
            )
        _ = self.heads

    @cached_property
    def shape(self) -> ModelShape:
        """Sizes of the model."""
        return read_shape(self.weights.local)

    @cached_property
    def heads(self) -> tuple[Head, ...]:
        """Which heads, ascending."""
        return asked_heads(self.weights, self.options.heads, late_layers(self.shape.n_layers))

    @cached_property
    def results(self) -> RepairResults:
        """What the ablations do.

        Raises:
            OptionError: The share of the tokens is none.
            ModelError: The model cannot be run as expected.
            StoreError: The store cannot be written, or what it has is damaged.
        """
        key = self._key(KIND, **{**asdict(self.options), "heads": self.heads})

        def compute(folder: Path) -> dict[str, object]:
            stopwatch = Stopwatch()
            token, direct = self._direct
            selected = token[top_tokens(direct, self.options.share)]
            later = self.options.mlps == LATER
            plan = RepairPlan(self.heads, self.options.ablation, self.options.seed, later)
            files = RepairFiles(self.weights.store.work(key), **self._common, plan=plan)
            run = sweep(self.weights, files, self.forward, {SELECTED: selected}, self.parts)
            write_arrays(folder / REPAIR_FILE, files.read_all())
            before = len(files.plans) - run
            return collect(stopwatch, batches=len(files.plans), batches_before=before)

        folder = self.weights.store.get_or_compute(key, compute)
        return RepairResults.of(read_arrays(folder / REPAIR_FILE))

    @cached_property
    def ordinary(self) -> Tensor:
        """Which tokens are no outliers; see `rwcore.heads.repair_groups.ordinary_tokens`."""
        token = self.results.token
        row = torch.searchsorted(self.corpus.offsets, token, right=True) - 1
        return ordinary_tokens(self.results.scale, token - self.corpus.offsets[row])

    @cached_property
    def _direct(self) -> tuple[Tensor, Tensor]:
        """Tokens, and direct effects of the heads there; kept, for every ablation selects by them."""
        key = self._key(DIRECT_KIND, heads=self.heads)

        def compute(folder: Path) -> dict[str, object]:
            stopwatch = Stopwatch()
            files = DirectFiles(self.weights.store.work(key), **self._common)
            run = sweep(self.weights, files, self.forward, parts=self.parts)
            token, direct = files.read()
            write_arrays(folder / DIRECT_FILE, {"token": token, "direct": direct})
            return collect(stopwatch, batches=len(files.plans), batches_before=len(files.plans) - run)

        found = read_arrays(self.weights.store.get_or_compute(key, compute) / DIRECT_FILE)
        return found["token"], found["direct"]

    @property
    def _common(self) -> dict[str, Any]:
        """Fields of both sweeps."""
        return {
            "corpus": keep_rows(self.corpus, self.weights.store),
            "token_budget": self.forward.positions,
            "local": self.weights.local,
            "heads": self.heads,
        }

    def _key(self, kind: str, **fields: object) -> ArtefactKey:
        # The software too: what was begun with other versions does not go on.
        software = identity_of(ArtefactKey.of(kind, DEFINITION))
        common = forward_fields(self.weights, self.corpus, self.forward)
        return ArtefactKey.of(kind, DEFINITION, **common, **fields, software=software)
