"""The numbers of neurons that a sparsity curve is drawn over."""

from __future__ import annotations

from rwcore.errors import OptionError

SMALL = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12)
MAX_K = 256
MAX_EXACT_K = 8


def k_grid(neurons: int, max_k: int | None = MAX_K) -> list[int]:
    """1 … 8, 10, 12, then the powers of two from 16 that are at most ``neurons``, then ``neurons`` itself.

    Args:
        neurons: How many there are to choose from.
        max_k: Larger numbers are left out; None keeps all.

    Raises:
        OptionError: There are no neurons, or the limit is below 1.
    """
    limit = neurons if max_k is None else max_k
    if min(neurons, limit) < 1:
        raise OptionError(
            f"probes of at most {limit} of {neurons} neurons", where="k", remedy="give 1 or more"
        )
    grid = [k for k in SMALL if k <= neurons]
    power = 16
    while power <= neurons:
        grid.append(power)
        power *= 2
    if grid[-1] != neurons:
        grid.append(neurons)
    return [k for k in grid if k <= limit]
