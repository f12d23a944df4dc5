"""Read the published ``summary.pt`` and ``summary_refactored.pt``.

A dictionary whose keys are tuples: ``(quadrant, "freq")``, ``(quadrant, hook, "sum")`` and
``(quadrant, hook, "max")``, the last with ``values`` and ``indices``. Their meaning is not always their name:
"sum" holds means, "indices" rows of the corpus, and a list that is not full is filled up with value 0 and
rows that mean nothing. Positions were not kept.

Source: neuroscope specification, section 3.4; ablations specification, section 5.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from rwcore.activations.quadrants import LISTS, QUADRANTS, QUANTITIES
from rwcore.activations.summary import Summary
from rwcore.activations.top import EMPTY
from rwcore.errors import StoreError

HOOKS = {"gate": "hook_pre", "in": "hook_pre_linear", "act": "swish", "post": "hook_post"}


def read_summary(file: Path, tokens: int | None = None) -> Summary:
    """The published statistics of a model.

    Args:
        file: The file; nothing in it is executed.
        tokens: Number of tokens behind it, which the file does not say.

    Returns:
        Lists are in our order: |value| descending, then row ascending. An extreme of exactly zero cannot be
        told from an entry that is not there, and is taken for the latter.

    Raises:
        StoreError: The file is missing or damaged, has code in it, or has another layout.
    """
    entries = _entries(file)
    shape = _shape(entries, file)
    frequencies = torch.stack([_tensor(entries, (case, "freq"), shape, file) for case in QUADRANTS], dim=1)
    means = [
        torch.stack([_tensor(entries, (case, HOOKS[name], "sum"), shape, file) for name in QUANTITIES], dim=1)
        for case in QUADRANTS
    ]
    tops = [_list(entries, (case, HOOKS[name], "max"), shape, file) for case, name in LISTS]
    k = min(values.shape[-1] for values, _ in tops)
    rows = torch.stack([rows[..., :k] for _, rows in tops], dim=1)
    wide = frequencies.to(torch.float64)
    return Summary(
        frequencies=wide,
        gate_frequency=wide[:, 0] + wide[:, 1],
        means=torch.stack(means, dim=1).to(torch.float64),
        top_values=torch.stack([values[..., :k] for values, _ in tops], dim=1),
        top_rows=rows,
        top_positions=torch.full_like(rows, EMPTY),
        tokens=tokens,
    )


def _entries(file: Path) -> Mapping[Any, Any]:
    try:
        entries = torch.load(file, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        # The original message tells how to run the code; we never do.
        raise StoreError(
            "the file holds more than tensors, and code in files is never run (or it is damaged)",
            where=str(file),
            remedy="save it again as a dictionary of tensors",
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise StoreError(f"cannot read: {error}", where=str(file), remedy="fetch the file again") from error
    if not isinstance(entries, Mapping):
        raise StoreError(f"holds a {type(entries).__name__}, not a dictionary", where=str(file))
    if "summary_freq" in entries:
        raise StoreError(
            "this is the layout before October 2025, without quadrants",
            where=str(file),
            remedy="use the later summary.pt or summary_refactored.pt",
        )
    return entries


def _shape(entries: Mapping[Any, Any], file: Path) -> tuple[int, int]:
    first = entries.get((QUADRANTS[0], "freq"))
    if not isinstance(first, Tensor) or first.ndim != 2:
        raise StoreError(
            "not the statistics of a pass: there is no [layer neuron] tensor of frequencies",
            where=f"{file}: {(QUADRANTS[0], 'freq')}",
            remedy="use summary.pt or summary_refactored.pt",
        )
    return first.shape[0], first.shape[1]


def _tensor(entries: Mapping[Any, Any], key: tuple[str, ...], shape: tuple[int, ...], file: Path) -> Tensor:
    return _checked(entries.get(key), shape, f"{file}: {key}")


def _checked(found: object, shape: tuple[int, ...], where: str) -> Tensor:
    if not isinstance(found, Tensor) or tuple(found.shape) != shape:
        got = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise StoreError(f"expected a tensor of shape {list(shape)}, found {got}", where=where)
    return found


def _list(
    entries: Mapping[Any, Any], key: tuple[str, ...], shape: tuple[int, int], file: Path
) -> tuple[Tensor, Tensor]:
    """Values and rows of one list, each [layer neuron rank]."""
    where = f"{file}: {key}"
    found = entries.get(key)
    if not isinstance(found, Mapping) or not isinstance(found.get("values"), Tensor):
        raise StoreError("expected a dictionary with values and indices", where=where)
    size = (found["values"].shape[0], *shape)
    values = _checked(found["values"], size, where).permute(1, 2, 0).to(torch.float32)
    rows = _checked(found.get("indices"), size, where).permute(1, 2, 0).to(torch.int64)
    # By row, then stably by size: equal sizes stay in the order of rows.
    order = rows.argsort(dim=-1, stable=True)
    values, rows = values.gather(-1, order), rows.gather(-1, order)
    order = values.abs().argsort(dim=-1, descending=True, stable=True)
    values, rows = values.gather(-1, order), rows.gather(-1, order)
    absent = (values == 0) | values.isnan()
    return torch.where(absent, torch.nan, values), torch.where(absent, EMPTY, rows)
