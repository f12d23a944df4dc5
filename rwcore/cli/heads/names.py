"""Names of heads as people write them."""

from __future__ import annotations

import re

from rwcore.errors import OptionError


def parse_heads(text: str, option: str, *words: str) -> tuple[tuple[int, int], ...]:
    """Pairs of layer and head from ``10.7,11.10``, ascending, each once.

    Args:
        text: What was given.
        option: Which option it is of.
        words: What else may be written there, for the message.

    Raises:
        OptionError: It is no such list.
    """
    found = [re.fullmatch(r"\s*(\d{1,4})\.(\d{1,4})\s*", part) for part in text.split(",")]
    if not all(found):
        raise OptionError(
            f"{text!r} is no list of heads",
            where=option,
            remedy=f"give {' or '.join([*words, 'LAYER.HEAD, with commas between several'])}: 10.7,11.10",
        )
    return tuple(sorted({(int(one[1]), int(one[2])) for one in found if one}))
