"""What a page sends: JSON with a text and a few words about it. Nothing of it is believed."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rwcore.errors import OptionError

_PAIR = re.compile(r"([0-9]{1,9})\.([0-9]{1,9})")


@dataclass(frozen=True)
class Form:
    """A kind of request.

    Attributes:
        keys: What it may have, each with the type of the value.
        needed: What it must have; ``text`` is among it.
        example: A request, for the messages.
    """

    keys: Mapping[str, type | tuple[type, ...]]
    needed: tuple[str, ...]
    example: str

    def read(self, body: bytes) -> dict[str, Any]:
        """Read a request.

        Raises:
            OptionError: It is no JSON object with these keys and types, or the text is not valid Unicode.
        """
        given = self._object(body)
        for key, value in given.items():
            # True is an int to Python.
            if key not in self.keys or not isinstance(value, self.keys[key]) or isinstance(value, bool):
                raise self._malformed(f"it has {key!r}: {value!r:.40}")
        missing = [key for key in self.needed if key not in given]
        if missing:
            raise self._malformed(f"it has no {' and no '.join(missing)}")
        try:
            given["text"].encode()
        except UnicodeEncodeError as error:
            raise OptionError(
                "the text has half a character (a lone surrogate)",
                where=f"character {error.start}",
                remedy="type the text again, or paste it from a file in UTF-8",
            ) from error
        return given

    def _object(self, body: bytes) -> dict[str, Any]:
        try:
            given = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise self._malformed(f"it is not JSON ({error})") from error
        if not isinstance(given, dict):
            raise self._malformed("it is no object")
        return given

    def _malformed(self, why: str) -> OptionError:
        return OptionError(
            f"the request cannot be read: {why}",
            where="request",
            remedy=f"send JSON such as {self.example}",
        )


def layer_and_number(text: str, what: str, example: str) -> tuple[int, int]:
    """(layer, number) of ``28.4737``.

    Args:
        text: What somebody has written.
        what: Of what, for the message: neuron or head.
        example: One, for the message.

    Raises:
        OptionError: It is no such pair of numbers.
    """
    match = _PAIR.fullmatch(text.strip())
    if match is None:
        raise OptionError(
            f"{text!r:.40} is no {what}", where=what, remedy=f"write LAYER.{what.upper()}, such as {example}"
        )
    return int(match[1]), int(match[2])
