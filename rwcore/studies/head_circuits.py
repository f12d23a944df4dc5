"""OV and QK circuits of a model's heads: computed layer by layer, found in the store afterwards.

The whole model is never loaded: a layer is a model of its own (`rwcore.weights.one_layer`), and so is the
first layer with a part of the vocabulary, of which effective embeddings are made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from rwcore.errors import OptionError, require_choice
from rwcore.heads.circuit_statistics import rank_statistics, worst_tokens
from rwcore.heads.circuits import CircuitRanks, chosen_heads, ov_ranks, qk_ranks, sampled_tokens
from rwcore.heads.embeddings import EMBEDDINGS, effective_embedding
from rwcore.heads.query_key import QKOptions
from rwcore.heads.readout import Readout
from rwcore.heads.token_lists import FOCUSES, ov_lists, qk_lists
from rwcore.models.device import pick_device
from rwcore.models.load import load_bridge
from rwcore.models.spec import LocalModel
from rwcore.provenance import Stopwatch, collect
from rwcore.runtime import configure
from rwcore.store import MANIFEST, ArtefactKey, Store, read_arrays, read_json, write_arrays
from rwcore.studies.forward import ForwardOptions, as_processed, model_fields
from rwcore.studies.weights import WeightStudy
from rwcore.weights.one_layer import one_layer_model
from rwcore.weights.shape import ModelShape, read_shape

DEFINITION = "head_circuits/1"
ARRAYS = "ranks.safetensors"
OV, QK = "OV", "QK"
UNEMBEDDING = "W_U"
TABLES = (UNEMBEDDING, *EMBEDDINGS)
"""What queries and keys may be made of."""
TOKENS = 16384
"""Rows of the vocabulary of which effective embeddings are made at a time."""


@dataclass(frozen=True)
class CircuitOptions:
    """What is asked of the heads.

    Attributes:
        embedding: What OV reads; of `rwcore.heads.embeddings.EMBEDDINGS`.
        query: What queries are made of; of `TABLES`.
        key: What keys are made of.
        qk: How.
        circuits: ``OV``, ``QK`` or both.
        rows: How many tokens are drawn; None for the whole vocabulary.
        seed: Of the draw.
        only: Ids of tokens to look at, instead of a draw.
        heads: (layer, head) pairs; None for all.

    Raises:
        OptionError: There is no such table or circuit, or ``rows`` was given beside ``only``.
    """

    embedding: str = "EE-A"
    query: str = UNEMBEDDING
    key: str = "EE-A"
    qk: QKOptions = field(default_factory=QKOptions)
    circuits: tuple[str, ...] = (OV, QK)
    rows: int | None = None
    seed: int = 0
    only: tuple[int, ...] | None = None
    heads: tuple[tuple[int, int], ...] | None = None

    def __post_init__(self) -> None:
        require_choice("--embedding", self.embedding, EMBEDDINGS)
        for table in (self.query, self.key):
            require_choice("--qk", table, TABLES)
        for circuit in self.circuits:
            require_choice("circuits", circuit, (OV, QK))
        if self.only is not None and self.rows is not None:
            raise OptionError("rows are drawn or given", where="rows, only", remedy="give one of them")

    def tokens(self, vocab: int) -> Int64[Tensor, " row"]:
        """Ids of the rows, ascending.

        Raises:
            OptionError: There are not so many tokens, or there is no such token.
        """
        if self.only is None:
            return sampled_tokens(vocab, self.rows, self.seed)
        wrong = [token for token in self.only if not 0 <= token < vocab]
        if wrong or not self.only:
            raise OptionError(
                f"there is no token {wrong[0]}" if wrong else "no tokens are given",
                where="only",
                remedy=f"give ids from 0 to {vocab - 1}",
            )
        return torch.tensor(sorted({*self.only}))

    def of_layer(self, layer: int) -> tuple[int, ...] | None:
        """The heads of a layer; None for all of them."""
        if self.heads is None:
            return None
        return tuple(sorted({head for place, head in self.heads if place == layer}))


@dataclass(frozen=True)
class CircuitTask:
    """One circuit of one layer: what a worker needs, and where it keeps what it finds.

    Attributes:
        local: The model; its ``spec.processing`` says how weights are processed.
        layer: Number of the layer.
        circuit: ``OV`` or ``QK``.
        options: What is asked.
        fields: What decides how the model runs, for the artefact's key.
        forward: Device, type and threads.
        store: Where artefacts are kept.
    """

    local: LocalModel
    layer: int
    circuit: str
    options: CircuitOptions
    fields: tuple[tuple[str, object], ...]
    forward: ForwardOptions
    store: Store

    @property
    def key(self) -> ArtefactKey:
        """Of a layer's artefact: with what decides its numbers, and nothing of the other circuit."""
        asked = self.options
        tables: dict[str, object]
        if self.circuit == OV:
            tables = {"embedding": asked.embedding}
        else:
            tables = {"query": asked.query, "key_table": asked.key, **asdict(asked.qk)}
        rows: dict[str, object] = {"rows": "all"}
        if asked.only is not None:
            rows = {"rows": sorted({*asked.only})}
        elif asked.rows is not None:
            rows = {"rows": asked.rows, "seed": asked.seed}
        heads = asked.of_layer(self.layer)
        return ArtefactKey.of(
            f"head-{self.circuit.lower()}",
            DEFINITION,
            **dict(self.fields),
            **tables,
            **rows,
            layer=self.layer,
            heads="all" if heads is None else [*heads],
        )


@dataclass(frozen=True)
class CircuitStudy:
    """The circuits of one model's heads.

    Attributes:
        weights: The weight study of the model: model, processing, store, engine.
        options: What is asked.
        forward: How the first layer is run for the embedding, and where products are computed.
    """

    weights: WeightStudy
    options: CircuitOptions = field(default_factory=CircuitOptions)
    forward: ForwardOptions = field(default_factory=ForwardOptions)

    @cached_property
    def shape(self) -> ModelShape:
        """The shape of the model."""
        return read_shape(self.weights.local)

    @cached_property
    def layers(self) -> tuple[int, ...]:
        """The layers with heads that are asked for."""
        if self.options.heads is None:
            return tuple(range(self.shape.n_layers))
        return tuple(sorted({layer for layer, _ in self.options.heads}))

    def check(self) -> None:
        """Refuse impossible options before anything is computed.

        Raises:
            OptionError: There is no such layer, head or token.
        """
        count = self.shape.n_layers
        wrong = [layer for layer in self.layers if not 0 <= layer < count]
        if wrong or not self.layers:
            raise OptionError(
                f"layer {wrong[0]} of a model that has {count}" if wrong else "no heads are given",
                where="--heads",
                remedy=f"give heads as LAYER.HEAD, with layers from 0 to {count - 1}",
            )
        for layer in self.layers:
            chosen_heads(self.options.of_layer(layer), self.shape.n_heads)
        self.options.tokens(self.shape.vocab)

    def tasks(self, circuit: str) -> list[CircuitTask]:
        """What a worker needs for each layer."""
        fields = tuple(model_fields(self.weights, self.forward).items())
        local = as_processed(self.weights)
        return [
            CircuitTask(local, layer, circuit, self.options, fields, self.forward, self.weights.store)
            for layer in self.layers
        ]

    def folders(self, circuit: str) -> list[Path]:
        """The artefacts of a circuit, layer by layer; computed where they are not in the store."""
        self.check()
        name = f"{circuit} ranks of {self.weights.local.spec.id}"
        with keeping_tables():
            return self.weights.engine.map(circuit_of_layer, self.tasks(circuit), desc=name)

    def ranks(self, circuit: str) -> dict[int, CircuitRanks]:
        """Ranks by layer."""
        folders = self.folders(circuit)
        return {
            layer: CircuitRanks.from_arrays(read_arrays(folder / ARRAYS))
            for layer, folder in zip(self.layers, folders, strict=True)
        }

    def statistics(self, ranks: Mapping[int, CircuitRanks]) -> pd.DataFrame:
        """One row per head; see `rwcore.heads.circuit_statistics.rank_statistics`."""
        parts = [rank_statistics(layer, found, self.shape.vocab) for layer, found in ranks.items()]
        return pd.concat(parts, ignore_index=True)

    def worst(self, ranks: Mapping[int, CircuitRanks], count: int) -> pd.DataFrame:
        """The tokens with the largest ranks; see `rwcore.heads.circuit_statistics.worst_tokens`."""
        return pd.concat([worst_tokens(*item, count) for item in ranks.items()], ignore_index=True)

    def lists(
        self,
        heads: Sequence[tuple[int, int]],
        tokens: Sequence[int],
        count: int,
        beside: Sequence[int] | None = None,
    ) -> pd.DataFrame:
        """Token lists of some heads for some tokens, both ways round; see `rwcore.heads.token_lists`.

        Args:
            heads: (layer, head) pairs.
            tokens: Ids.
            count: Length of a list.
            beside: Ids that follow each list with their places; None for all of ``tokens``.
        """
        configure(threads=self.forward.threads)
        task = self.tasks(OV)[0]
        asked, parts = self.options, []
        with keeping_tables():
            for layer, head in heads:
                model = _model(replace(task, layer=layer))
                for focus in FOCUSES:
                    common: dict[str, Any] = {"focus": focus, "count": count, "beside": beside}
                    if OV in asked.circuits:
                        tables = _table(task, asked.embedding), _table(task, UNEMBEDDING)
                        found = ov_lists(model, 0, head, tables, tokens, **common)
                        parts.append(found.assign(layer=layer))
                    if QK in asked.circuits:
                        tables = _table(task, asked.query), _table(task, asked.key)
                        found = qk_lists(model, 0, head, tables, tokens, asked.qk, **common)
                        parts.append(found.assign(layer=layer))
        return pd.concat(parts, ignore_index=True)

    def provenance(self, circuit: str) -> dict[str, object]:
        """What produced the first layer's ranks."""
        return dict(read_json(self.folders(circuit)[0] / MANIFEST))


def circuit_of_layer(task: CircuitTask) -> Path:
    """The artefact with the ranks of one circuit of one layer."""

    def compute(folder: Path) -> dict[str, object]:
        stopwatch = Stopwatch()
        configure(threads=task.forward.threads)
        model, asked = _model(task), task.options
        device = _device(task)
        tokens = asked.tokens(read_shape(task.local).vocab).to(device)
        heads = asked.of_layer(task.layer)
        if task.circuit == OV:
            tables = _table(task, asked.embedding), _table(task, UNEMBEDDING)
            found = ov_ranks(model, 0, *tables, tokens, heads=heads)
        else:
            tables = _table(task, asked.query), _table(task, asked.key)
            found = qk_ranks(model, 0, *tables, tokens, asked.qk, heads=heads)
        write_arrays(folder / ARRAYS, found.to_arrays())
        return collect(stopwatch, **dict(task.fields), layer=task.layer)

    return task.store.get_or_compute(task.key, compute)


@contextmanager
def keeping_tables() -> Iterator[None]:
    """Keep tables of the vocabulary, which all circuits need, until the outermost of these ends."""
    _keeping.append(None)
    try:
        yield
    finally:
        _keeping.pop()
        if not _keeping:
            _made.cache_clear()
            _layer.cache_clear()


_keeping: list[None] = []


def _device(task: CircuitTask) -> str:
    return str(pick_device(task.forward.device))


def _model(task: CircuitTask) -> Any:
    """A model whose only layer is that of the task, and which has one token."""
    return _layer(task.local, _device(task), task.forward.dtype, task.layer)


def _table(task: CircuitTask, name: str) -> Float[Tensor, "vocab d_model"]:
    return _made(task.local, _device(task), task.forward.dtype, name)


@lru_cache(maxsize=1)
def _layer(local: LocalModel, device: str, dtype: str, layer: int) -> Any:
    """Kept, as both circuits and several heads may ask for the same layer."""
    return _small_bridge(local, device, dtype, layer, slice(0, 1))


def _small_bridge(local: LocalModel, device: str, dtype: str, layer: int, rows: slice) -> Any:
    with TemporaryDirectory(prefix="rwcore-layer-") as folder:
        small = one_layer_model(local, layer, Path(folder), rows=rows)
        return load_bridge(small, device, dtype=getattr(torch, dtype))


@lru_cache(maxsize=3)
def _made(local: LocalModel, device: str, dtype: str, name: str) -> Float[Tensor, "vocab d_model"]:
    """A table of all tokens, kept from layer to layer, in this process or on a worker."""
    if name == UNEMBEDDING:
        return Readout.of(local, device).rows
    shape = read_shape(local)
    table = torch.empty(shape.vocab, shape.d_model, device=device)
    for start in range(0, shape.vocab, TOKENS):
        rows = slice(start, min(start + TOKENS, shape.vocab))
        model = _small_bridge(local, device, dtype, 0, rows)
        table[rows] = effective_embedding(model, name, torch.arange(rows.stop - rows.start))
    return table
