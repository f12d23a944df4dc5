"""Statistics that grow batch by batch, a whole layer at a time."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from rwcore.activations.block import BlockSums, Peaks, Scratch, add_block, padded_length
from rwcore.activations.fixed import Units, add_fixed, to_fixed
from rwcore.activations.groups import GROUPS, add_counts
from rwcore.activations.quadrants import LIST_QUADRANT, LIST_QUANTITY, QUADRANTS, QUANTITIES
from rwcore.activations.statistics import LayerStatistics
from rwcore.activations.top import EMPTY, ROWS, TopLists, best, keys, values_of
from rwcore.errors import ModelError, OptionError

# Tokens × neurons handled at a time. On a CPU the temporaries of a block (12 float32 and 4 float64 numbers
# for each) stay in the cache of a few cores, and an operation takes longer than calling it. On a GPU each
# operation should be large.
CPU_ELEMENTS = 2**17
GPU_ELEMENTS = 2**25

# Rows × neurons whose peaks are kept until they are merged: at most two for each element of a block, and no
# more than this many. Until they are in the lists, each takes 0.5 kB.
_PEAKS_PER_ELEMENT = 2
_MOST_PEAKS = 2**21


class NotFinite(ModelError):
    """A gate, input or product is NaN or infinite.

    Attributes:
        layer: Its layer.
        row: Row of the corpus.
        position: Position in the row.
    """

    def __init__(self, what: str, *, layer: int, row: int, position: int) -> None:
        super().__init__(
            what,
            where=f"layer {layer}, row {row}, position {position}",
            remedy="the weights are damaged, or the type of the numbers is too narrow: try float32",
        )
        self.layer, self.row, self.position = layer, row, position


class LayerAccumulator:
    """The statistics of one layer, to which batches are added.

    The result is the same bits for any order of the same batches, and for any split of them into accumulators
    that are merged (`statistics.merge_layers`).

    Args:
        statistics: What is known already: `LayerStatistics.empty`, or a checkpoint.
        layer: Number of the layer, for errors.
        elements: Elements handled at a time; None for what suits the device. Sums may change by a unit.
    """

    def __init__(self, statistics: LayerStatistics, *, layer: int = 0, elements: int | None = None) -> None:
        self.statistics = statistics
        self._layer = layer
        on_cpu = statistics.counts.device.type == "cpu"
        self._elements = elements or (CPU_ELEMENTS if on_cpu else GPU_ELEMENTS)

    def update(
        self,
        gate: Float[Tensor, "batch pos neuron"],
        in_: Float[Tensor, "batch pos neuron"],
        act: Float[Tensor, "batch pos neuron"],
        mask: Bool[Tensor, "batch pos"] | None,
        rows: Int64[Tensor, " batch"],
        groups: Int64[Tensor, " batch"],
    ) -> None:
        """Add one batch; post is ``act · in``.

        Sums are taken in float64 over the batch and rounded once (see `fixed`). A row has at most one entry
        in a list, so it must come only once in the life of an accumulator.

        Args:
            gate: ``w_gate · x``, of any floating-point type; computed with as float32.
            in_: ``w_in · x``, biases included.
            act: The activation function of gate.
            mask: True for real tokens; padding may hold anything. None if all are real.
            rows: Row of the corpus of each row of the batch.
            groups: Group of documents of each row (see `groups`).

        Raises:
            NotFinite: A number of a real token is NaN or infinite.
            OptionError: Shapes, row numbers or groups do not fit; a sum does not fit its unit, or a count
                its type. In all cases the statistics are as before.
        """
        self._check(gate, in_, act, mask, rows, groups)
        state = self.statistics
        n_batch, n_pos, n_neurons = gate.shape
        tokens = n_batch * n_pos if mask is None else int(mask.sum())
        if tokens == 0:
            return
        keep = None if mask is None or tokens == n_batch * n_pos else -mask.to(torch.int32)
        total = BlockSums.zeros(n_neurons, state.groups, gate.device)
        top = state.top
        height = max(1, min(self._elements * _PEAKS_PER_ELEMENT, _MOST_PEAKS) // n_neurons)
        for start in range(0, n_batch, height):
            here = slice(start, start + height)
            part = None if keep is None else keep[here]
            peaks = Peaks.none(_floors(top), len(rows[here])) if top.k else None
            self._add_rows(gate[here], in_[here], act[here], part, groups[here], total, peaks)
            if peaks is not None:
                top = _with_peaks(top, peaks, rows[here])
        if not bool(total.squares.isfinite().all()):
            self._locate((gate, in_, act), mask, rows)
        where = f"layer {self._layer}"
        units = state.units
        counts = total.group_counts.to(torch.int64)
        tokens += state.tokens
        self.statistics = LayerStatistics(
            counts=state.counts + counts.sum(dim=0),
            group_counts=add_counts(state.group_counts, counts, tokens, where),
            gate_positive=state.gate_positive + total.gate_positive.to(torch.int64),
            sums=_added(state.sums, total.sums, units.sum_bits, where),
            rest=_added(state.rest, total.rest, units.sum_bits, where),
            squares=_added(state.squares, total.squares, units.square_bits, where),
            top=top,
            tokens=tokens,
            units=units,
        )

    def _add_rows(
        self,
        gate: Tensor,
        in_: Tensor,
        act: Tensor,
        keep: Tensor | None,
        groups: Tensor,
        total: BlockSums,
        peaks: Peaks | None,
    ) -> None:
        """Add some rows, block by block."""
        n_batch, n_pos, n_neurons = gate.shape
        width, height = self._block_size(n_batch, n_pos, n_neurons)
        scratch = Scratch(height * padded_length(n_pos) * width, gate.device)
        for first in range(0, n_neurons, width):
            columns = slice(first, first + width)
            for start in range(0, n_batch, height):
                here = slice(start, start + height)
                add_block(
                    gate[here, :, columns],
                    in_[here, :, columns],
                    act[here, :, columns],
                    None if keep is None else keep[here],
                    groups[here],
                    total.columns(columns),
                    None if peaks is None else peaks.part(here, columns),
                    scratch,
                )

    def _block_size(self, n_batch: int, n_pos: int, n_neurons: int) -> tuple[int, int]:
        """Neurons and rows of a block: whole rows, and few enough neurons that one row fits."""
        width = min(n_neurons, max(64, self._elements // n_pos // 64 * 64))
        return width, min(n_batch, max(1, self._elements // (n_pos * width)))

    def _check(
        self,
        gate: Tensor,
        in_: Tensor,
        act: Tensor,
        mask: Tensor | None,
        rows: Tensor,
        groups: Tensor,
    ) -> None:
        where = f"layer {self._layer}"
        expected = (*gate.shape[:2], self.statistics.neurons)
        shapes = {"gate": gate.shape, "in": in_.shape, "act": act.shape}
        wrong = {name: list(shape) for name, shape in shapes.items() if tuple(shape) != expected}
        if wrong or gate.ndim != 3 or not (rows.shape == groups.shape == gate.shape[:1]):
            raise OptionError(
                f"shapes {wrong or list(gate.shape)}, {list(rows.shape)} rows and {list(groups.shape)} "
                f"groups, expected [batch, pos, {self.statistics.neurons}] each, and [batch] rows and groups",
                where=where,
                remedy="accumulator and model must be of one shape",
            )
        if mask is not None and mask.shape != gate.shape[:2]:
            raise OptionError(f"the mask is {list(mask.shape)}, expected {list(gate.shape[:2])}", where=where)
        if len(rows) and (
            int(rows.min()) < 0 or int(rows.max()) > ROWS or bool((rows.sort().values.diff() == 0).any())
        ):
            raise OptionError(
                "rows of a batch must be different numbers from 0 to 2^31 - 1",
                where=f"{where}: {rows.tolist()}",
            )
        if len(rows) and (int(groups.min()) < 0 or int(groups.max()) >= self.statistics.groups):
            raise OptionError(
                f"groups of documents must be numbers from 0 to {self.statistics.groups - 1}",
                where=f"{where}: {groups.tolist()}",
            )

    def _locate(self, tensors: Sequence[Tensor], mask: Tensor | None, rows: Tensor) -> None:
        """Raise the error that names the first number that is not finite."""
        gate, in_, act = tensors
        named = dict(zip(QUANTITIES, (gate, in_, act, act.float() * in_.float()), strict=True))
        for name, values in named.items():
            bad = ~values.isfinite()
            if mask is not None:
                bad &= mask[..., None]
            if bool(bad.any()):
                number, position, neuron = bad.nonzero()[0].tolist()
                raise NotFinite(
                    f"{name} of neuron {neuron} is {float(values[number, position, neuron])} "
                    f"({int(bad.sum())} such numbers in this batch)",
                    layer=self._layer,
                    row=int(rows[number]),
                    position=position,
                )


class ActivationAccumulator:
    """The statistics of all layers of a model.

    Args:
        n_layers: Number of layers.
        n_neurons: Neurons in each.
        k: Length of the lists of extremes; 0 for none.
        units: Units of the sums.
        device: Where the numbers are kept: where the model runs.
        groups: Number of groups of documents.
    """

    def __init__(
        self,
        n_layers: int,
        n_neurons: int,
        k: int = 16,
        units: Units | None = None,
        device: str | torch.device = "cpu",
        groups: int = GROUPS,
    ) -> None:
        if k < 0:
            raise OptionError(f"lists of {k} examples", where="k", remedy="use 0 or more")
        if groups < 1:
            raise OptionError(f"{groups} groups of documents", where="groups", remedy="use 1 or more")
        empty = (LayerStatistics.empty(n_neurons, k, units, device, groups) for _ in range(n_layers))
        self.layers = [LayerAccumulator(one, layer=layer) for layer, one in enumerate(empty)]

    @classmethod
    def resumed(
        cls, layers: Sequence[LayerStatistics], device: str | torch.device = "cpu"
    ) -> ActivationAccumulator:
        """An accumulator that goes on from a checkpoint."""
        made = cls(0, 0)
        made.layers = [LayerAccumulator(one.to(device), layer=layer) for layer, one in enumerate(layers)]
        return made

    def statistics(self) -> tuple[LayerStatistics, ...]:
        """What is known now, on the CPU; later updates do not change it."""
        return tuple(accumulator.statistics.to("cpu") for accumulator in self.layers)


def _floors(top: TopLists) -> Float[Tensor, "quantity quadrant neuron"]:
    """|value| of the last entry of each list: -1 if it is not full, infinite if there is no such list."""
    size = (len(QUANTITIES), len(QUADRANTS), top.keys.shape[1])
    floors = torch.full(size, torch.inf, device=top.keys.device)
    floors[LIST_QUANTITY, LIST_QUADRANT] = values_of(top.keys[..., -1]).abs().nan_to_num(nan=-1.0)
    return floors


def _with_peaks(top: TopLists, peaks: Peaks, rows: Int64[Tensor, " batch"]) -> TopLists:
    """The lists with the peaks of some rows merged in."""
    positions = peaks.positions[LIST_QUANTITY, LIST_QUADRANT].transpose(1, 2)
    packed = keys(peaks.values[LIST_QUANTITY, LIST_QUADRANT].transpose(1, 2), rows)
    better = (positions != EMPTY) & (packed > top.keys[..., -1:])
    changed = better.any(dim=-1).nonzero(as_tuple=True)  # few, once the lists are full
    if not len(changed[0]):
        return top
    joined = torch.where(better[changed], packed[changed], EMPTY)
    joined_at = positions[changed].to(torch.int32)
    new_keys, new_positions = top.keys.clone(), top.positions.clone()
    chosen, chosen_at = best(
        torch.cat([top.keys[changed], joined], dim=-1),
        torch.cat([top.positions[changed], joined_at], dim=-1),
        top.k,
    )
    new_keys[changed] = chosen
    new_positions[changed] = torch.where(chosen == EMPTY, EMPTY, chosen_at)
    return TopLists(new_keys, new_positions)


def _added(state: Tensor, sums: Tensor, bits: int, where: str) -> Tensor:
    return add_fixed(state, to_fixed(sums, bits, where), bits, where)
