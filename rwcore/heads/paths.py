r"""By which paths a head or an MLP acts on predictions: by itself, or by what later layers make of it.

A writer's output r is replaced by m̄ at all positions. With δ = m̄ - r, the final stream moves by

    direct        δ: nobody reacts
    total         what a pass from the writer's layer on gives in which m̄ stands for r
    indirect      total - δ: later layers see the ablation, the prediction does not
    indirect_held the same while some named heads add what they add in the clean pass
    one_hop       Σ_c (c(x_c + δ) - c(x_c)) over all later heads and MLPs c with clean inputs x_c: what they
                  do about δ, without what they do about each other

Each is read with the clean scale of the final norm (``frozen``), or with that of the moved stream
(``recomputed``). Norms within later layers are computed anew in any case.

The writers of a layer run as one batch behind an unchanged copy of it, so that clean values are those of the
same pass; what comes before the layer is not computed again.

Source: copy suppression specification, section 4.1; section 17, traps 13, 16 and 28.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from rwcore.ablation.prefix import BlockOutput, run_first_layers
from rwcore.corpora.batches import Batch
from rwcore.errors import OptionError, require_choice
from rwcore.heads.effects import Predictions, WriterEffects, by_layer, moved_by
from rwcore.heads.readout import Readout
from rwcore.heads.rerun import copies_from
from rwcore.heads.run import MLP, STREAM, LayerParts, decoder_blocks, output_matrices, run_heads
from rwcore.heads.writers import Writer, WriterMeans, require_writers

DIRECT, TOTAL, INDIRECT, HELD, ONE_HOP = "direct", "total", "indirect", "indirect_held", "one_hop"
PATHS = (DIRECT, TOTAL, INDIRECT, HELD, ONE_HOP)
FROZEN, RECOMPUTED = "frozen", "recomputed"
READINGS = (FROZEN, RECOMPUTED)
TOGETHER = 4
"""Writers of a layer that run as one batch, beside the unchanged copy."""

Hooks = list[tuple[str, Callable[..., Any]]]
_ATTENTION, _MLP = "hook_attn_out", "hook_mlp_out"


@dataclass(frozen=True, eq=False)
class Moves:
    """How far the final stream moves at every position if some writers are ablated, by path.

    Attributes:
        writers: Which.
        by_path: x' - x of each path that was asked for.
    """

    writers: Sequence[Writer]
    by_path: Mapping[str, Float[Tensor, "writer batch pos d_model"]]


@dataclass(frozen=True, eq=False)
class PathEffects:
    """Effects of some writers on the predictions of a batch, by path and reading.

    Attributes:
        clean_loss: Of each token of the batch, row by row; NaN where there is no next token.
        effects: By path and reading, of the writers in the order asked for.
    """

    clean_loss: Float[Tensor, " token"]
    effects: Mapping[tuple[str, str], WriterEffects]


def path_effects(
    model: Any,
    batch: Batch,
    writers: Sequence[Writer],
    means: WriterMeans,
    readout: Readout,
    *,
    paths: Sequence[str] = (DIRECT, TOTAL, INDIRECT, ONE_HOP),
    readings: Sequence[str] = READINGS,
    held: Sequence[Writer] = (),
) -> PathEffects:
    """The effects of writers on predictions, by path.

    Args:
        model: As for `rwcore.heads.run.run_heads`.
        batch: The batch.
        writers: Heads and MLPs.
        means: What takes the place of what they add.
        readout: On the model's device.
        paths: Of `PATHS`.
        readings: Of `READINGS`.
        held: Heads that ``indirect_held`` does not let react.

    Returns:
        The effects, on the CPU.

    Raises:
        OptionError: There is no such path, reading or writer; or ``indirect_held`` and ``held`` are not
            given together; or there are no means for such long rows.
        ModelError: As `rwcore.heads.run.run_heads`.
    """
    for path in paths:
        require_choice("path", path, PATHS)
    for reading in readings:
        require_choice("reading", reading, READINGS)
    if (HELD in paths) != bool(held) or any(one.head is None for one in held):
        raise OptionError(
            "heads that are held at their clean values, and the path that they are left out of, go together",
            where=f"{HELD}: {', '.join(map(str, held)) or 'no heads'}",
            remedy=f"name heads, and the path {HELD}",
        )
    require_writers(model, [*writers, *held])
    clean = Predictions.of(batch, run_heads(model, batch))
    asked = [(path, reading) for path in paths for reading in readings]
    place = {writer: number for number, writer in enumerate(writers)}
    kept: dict[tuple[str, str], dict[str, Tensor]] = {pair: {} for pair in asked}
    loss = torch.empty(len(clean.stream))
    for moves in path_moves(model, batch, [*place], means, paths, held):
        changes = [getattr(clean, reading)(moved) for path, reading in asked for moved in moves.by_path[path]]
        found = clean.effects(changes, readout)
        loss.copy_(found.clean_loss)
        rows = [place[one] for one in moves.writers]
        for name, values in vars(WriterEffects.of(found)).items():
            for pair, some in zip(asked, values.cpu().split(len(rows)), strict=True):
                kept[pair].setdefault(name, torch.empty(len(place), values.shape[1]))[rows] = some
    order = [place[one] for one in writers]
    effects = {
        pair: WriterEffects(**{name: one[order] for name, one in of.items()}) for pair, of in kept.items()
    }
    return PathEffects(loss, effects)


def path_moves(
    model: Any,
    batch: Batch,
    writers: Sequence[Writer],
    means: WriterMeans,
    paths: Sequence[str],
    held: Sequence[Writer] = (),
) -> Iterator[Moves]:
    """How the final stream moves, a few writers at a time; arguments as for `path_effects`.

    Args:
        model: The model.
        batch: The batch.
        writers: Each once.
        means: What takes the place of what they add.
        paths: Of `PATHS`.
        held: Heads that do not react in ``indirect_held``.
    """
    starts = _starts(model, batch, writers, means.to(next(model.parameters()).device))
    for layer, of_layer in by_layer(writers):
        for site, inside in ((_ATTENTION, False), (_MLP, True)):
            some = [one for one in of_layer if (one.head is None) == inside]
            for first in range(0, len(some), TOGETHER):
                chosen = some[first : first + TOGETHER]
                start = starts[layer]
                delta = torch.stack([start.moved(one) for one in chosen])
                run = _Rerun(model, batch, layer, site, delta, start.before)
                yield Moves(chosen, dict(run.of(paths, held)))


@dataclass(frozen=True, eq=False)
class _Start:
    """What is known of a layer from the clean pass.

    Attributes:
        before: What the block before returned; None for the first layer.
        changes: m̄ - r of its MLP, z̄ - z of its heads.
        output: Output matrices of its heads.
    """

    before: BlockOutput | None
    changes: Mapping[int | None, Tensor]
    output: Float[Tensor, "head d_head d_model"]

    def moved(self, writer: Writer) -> Float[Tensor, "batch pos d_model"]:
        """δ of a writer of the layer."""
        change = self.changes[writer.head]
        return change if writer.head is None else change @ self.output[writer.head]


def _starts(model: Any, batch: Batch, writers: Sequence[Writer], means: WriterMeans) -> Mapping[int, _Start]:
    found: dict[int, _Start] = {}
    layers = {one.layer for one in writers}
    members = run_first_layers(model, batch, 1).members if max(layers) else 0

    def visit(parts: LayerParts) -> None:
        changes = moved_by(parts, means)
        wanted = {one.head for one in writers if one.layer == parts.layer}
        before = BlockOutput(parts.stream, members) if parts.layer and parts.stream is not None else None
        output = output_matrices(model, parts.layer).float()
        found[parts.layer] = _Start(before, {head: changes[head] for head in wanted}, output)

    run_heads(model, batch, visit, parts=(STREAM, MLP), layers=layers)
    return found


@dataclass(frozen=True, eq=False)
class _Rerun:
    """Passes from a layer on, of a batch and as many changed copies of it as there are writers.

    Attributes:
        model: The model.
        batch: The batch.
        layer: Of the writers.
        site: Where they write: the hook behind the attention or behind the MLP of the layer.
        delta: δ of each writer.
        before: What the block before the layer returned.
    """

    model: Any
    batch: Batch
    layer: int
    site: str
    delta: Float[Tensor, "writer batch pos d_model"]
    before: BlockOutput | None

    def of(self, paths: Sequence[str], held: Sequence[Writer]) -> Iterator[tuple[str, Tensor]]:
        """The move of the final stream by each of some paths."""
        total = self.run([]) if {TOTAL, INDIRECT} & {*paths} else None
        for path in paths:
            if path == DIRECT:
                yield path, self.delta
            elif path == ONE_HOP:
                yield path, self.one_hop()
            elif path == HELD:
                yield path, self.run(self.holding(held)) - self.delta
            elif total is not None:
                yield path, total - self.delta if path == INDIRECT else total

    def run(self, hooks: Hooks) -> Float[Tensor, "writer batch pos d_model"]:
        """How far the final streams of the copies are from that of the batch itself."""
        with copies_from(self.model, self.batch, len(self.delta) + 1, self.layer, self.before) as stacked:
            final = run_heads(self.model, stacked, hooks=[self.writing(), *hooks])
        clean, changed = self.split(final.stream.float())
        return changed - clean

    def split(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """What is of the batch itself, and of the copies."""
        every = values.reshape(len(self.delta) + 1, -1, *values.shape[1:])
        return every[0], every[1:]

    def writing(self) -> tuple[str, Callable[..., Tensor]]:
        """The hook that puts m̄ for r in the copies."""

        def hook(values: Tensor, hook: Any) -> Tensor:
            clean, changed = self.split(values)
            return torch.cat([clean[None], changed + self.delta.to(values.dtype)]).flatten(0, 1)

        return f"blocks.{self.layer}.{self.site}", hook

    def one_hop(self) -> Float[Tensor, "writer batch pos d_model"]:
        """What all later heads and MLPs do about δ, each with an input that is clean beside it."""
        gathered = torch.zeros_like(self.delta)

        def hook(values: Tensor, hook: Any) -> Tensor:
            clean, changed = self.split(values)
            gathered.add_((changed - clean).float())
            # The stream stays what it was, but for δ.
            return clean[None].expand(len(self.delta) + 1, *clean.shape).flatten(0, 1)

        later = [
            f"blocks.{layer}.{site}"
            for layer in range(self.layer, len(decoder_blocks(self.model)))
            for site in (_ATTENTION, _MLP)
            if layer > self.layer or (self.site, site) == (_ATTENTION, _MLP)
        ]
        self.run([(name, hook) for name in later])
        return gathered

    def holding(self, held: Sequence[Writer]) -> Hooks:
        """Hooks that put back what some later heads add in the clean pass; all others react."""
        hooks: Hooks = []
        for layer, heads in by_layer([one for one in held if one.layer > self.layer]):
            hooks += self._holding_in(layer, [one.head for one in heads if one.head is not None])
        return hooks

    def _holding_in(self, layer: int, heads: list[int]) -> Hooks:
        output = output_matrices(self.model, layer)[heads].float()
        seen: dict[str, Tensor] = {}

        def see(name: str) -> Callable[..., None]:
            def hook(values: Tensor, hook: Any) -> None:
                seen[name] = values

            return hook

        def hold(values: Tensor, hook: Any) -> Tensor:
            # As `rwcore.heads.run`: divided by what a norm behind the attention divides by.
            z = seen["z"][:, :, heads].float()
            if "scale" in seen:
                z = z / seen["scale"].float()[..., None]
            clean, changed = self.split(values)
            before, now = self.split(z)
            back = torch.einsum("wbphe,hed->wbpd", before - now, output)
            return torch.cat([clean[None], changed + back.to(values.dtype)]).flatten(0, 1)

        prefix = f"blocks.{layer}"
        hooks: Hooks = [(f"{prefix}.attn.hook_z", see("z"))]
        if hasattr(decoder_blocks(self.model)[layer], "ln1_post"):
            hooks.append((f"{prefix}.ln1_post.hook_scale", see("scale")))
        return [*hooks, (f"{prefix}.{_ATTENTION}", hold)]
