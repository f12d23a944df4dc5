"""Put the parts of a pass together, in any order, with the same bits as an undivided pass."""

from __future__ import annotations

from collections.abc import Iterable

from rwcore.activations.artefact import Activations
from rwcore.activations.statistics import merge_layers
from rwcore.errors import StoreError


def merge(parts: Iterable[Activations], *, complete: bool = True) -> Activations:
    """The statistics of all parts.

    Parts are added one by one: no more than two are in memory if the iterable makes them one at a time.

    Args:
        parts: Shards of one pass, or merged shards.
        complete: Whether all shards must be there.

    Raises:
        StoreError: There are no parts, they are not of one pass, a shard or a batch is there twice, or a
            shard is missing.
        OptionError: A sum does not fit its unit.
    """
    merged = None
    for part in parts:
        merged = part if merged is None else _merge(merged, part)
    if merged is None:
        raise StoreError("there is nothing to merge", remedy="name the folders of the shards")
    if complete:
        missing = missing_shards(merged)
        if missing:
            raise StoreError(
                f"{'shards' if len(missing) > 1 else 'shard'} {_names(missing)} missing",
                where=f"have {_names(merged.shards)}",
                remedy="run the missing shards, or merge without asking for all of them",
            )
    return merged


def missing_shards(activations: Activations) -> list[tuple[int, int]]:
    """The shards that are not in it."""
    of = activations.shards[0][1] if activations.shards else 1
    return [(index, of) for index in range(of) if (index, of) not in activations.shards]


def check_same_pass(left: Activations, right: Activations, where: str | None = None) -> None:
    """Check that two parts belong together: for merging, and before a pass is resumed.

    Args:
        left: What there is.
        right: What is to be added.
        where: What the error names.

    Raises:
        StoreError: They differ in model, corpus, parameters, shape …; the message has each difference.
    """
    differences = []
    for name in sorted({*left.identity, *right.identity}):
        pair = (left.identity.get(name, "nothing"), right.identity.get(name, "nothing"))
        if pair[0] != pair[1]:
            differences.append(f"{name}: {pair[0]} and {pair[1]}")
    for name, one, other in (
        ("layers", len(left.layers), len(right.layers)),
        ("neurons", [layer.neurons for layer in left.layers], [layer.neurons for layer in right.layers]),
        ("length of lists", left.k, right.k),
        ("units", left.units, right.units),
        ("groups of documents", len(left.group_tokens), len(right.group_tokens)),
        ("number of shards", {of for _, of in left.shards}, {of for _, of in right.shards}),
    ):
        if one != other:
            differences.append(f"{name}: {one} and {other}")
    if differences:
        raise StoreError(
            "these are parts of different passes: " + "; ".join(differences),
            where=where,
            remedy="keep passes in different folders",
        )


def _merge(left: Activations, right: Activations) -> Activations:
    check_same_pass(left, right)
    twice = sorted({*left.shards} & {*right.shards})
    if twice:
        raise StoreError(
            f"shard {_names(twice)} is there twice", where=_names(right.shards), remedy="name each shard once"
        )
    again = sorted({*left.batches} & {*right.batches})
    if again:
        raise StoreError(
            f"batch {again[0]} is in two shards (and {len(again) - 1} more)",
            where=f"shards {_names(left.shards)} and {_names(right.shards)}",
            remedy="the corpus was cut in two ways: run all shards again with one command",
        )
    return Activations(
        identity=left.identity,
        shards=tuple(sorted((*left.shards, *right.shards))),
        batches=tuple(sorted((*left.batches, *right.batches))),
        rows=left.rows + right.rows,
        layers=tuple(map(merge_layers, left.layers, right.layers)),
        group_tokens=tuple(map(sum, zip(left.group_tokens, right.group_tokens, strict=True))),
        runs=tuple(sorted((*left.runs, *right.runs), key=lambda run: (run["shard"], run["first_batch"]))),
    )


def _names(shards: Iterable[tuple[int, int]]) -> str:
    return ", ".join(f"{index} of {of}" for index, of in shards) or "none"
