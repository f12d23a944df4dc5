"""The same text on two sides of a split: seen in training, it says nothing about unseen text."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from rwcore.probing.errors import ProbeError
from rwcore.probing.splits import Split


def _content_numbers(contexts: Int64[Tensor, "example width"]) -> Int64[np.ndarray, " example"]:
    """The same number for equal contexts, counted up in the order of their first appearance."""
    rows = np.ascontiguousarray(contexts.numpy())
    numbers: dict[bytes, int] = {}
    return np.array([numbers.setdefault(row.tobytes(), len(numbers)) for row in rows], dtype=np.int64)


def join_duplicates(
    group: Int64[Tensor, " example"], contexts: Int64[Tensor, "example width"]
) -> Int64[Tensor, " example"]:
    """Groups in which equal contexts are always in one group.

    Two documents that share a context become one, and so do all that hang together by such pairs. With these
    groups no split by `rwcore.probing.splits.deal_groups` has the same context on two sides.

    Args:
        group: Document of each example.
        contexts: What the model sees up to each example, padded alike.

    Returns:
        The smallest number of the documents that became one.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    names, document = np.unique(group.numpy(), return_inverse=True)
    content = _content_numbers(contexts)
    size = len(names) + int(content.max(initial=-1)) + 1
    edges = coo_array((np.ones(len(content), np.int8), (document, len(names) + content)), shape=(size, size))
    _, component = connected_components(edges, directed=False)
    smallest = np.full(size, np.iinfo(np.int64).max)
    np.minimum.at(smallest, component[: len(names)], names)
    return torch.from_numpy(smallest[component[document]])


def refuse_duplicates(contexts: Int64[Tensor, "labelled width"], split: Split) -> None:
    """Refuse a split that has the same context in two of its parts.

    Args:
        contexts: What the model sees up to each labelled example, padded alike.
        split: Places into them.

    Raises:
        ProbeError: A context is in two parts; the message says which examples, and how many there are.
    """
    content = _content_numbers(contexts)
    first: dict[int, tuple[str, int]] = {}
    found: list[tuple[str, int, str, int]] = []
    for part, places in split.parts().items():
        for place in places.tolist():
            other, where = first.setdefault(int(content[place]), (part, place))
            if other != part:
                found.append((other, where, part, place))
    if found:
        other, where, part, place = found[0]
        raise ProbeError(
            f"example {place} of {part} has the same text as example {where} of {other} "
            f"({len(found)} such examples)",
            where="split",
            remedy="split by groups that keep equal texts together: see join_duplicates",
        )
