"""What somebody asks of the server: read from JSON, and nothing else is believed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from rwcore.ablation.interventions import MODES, PARAMETER_MODES, Intervention
from rwcore.errors import OptionError

ASKED_MODES = tuple(mode for mode in MODES if mode != "mean")
"""Mean ablation needs means that were measured on a corpus; a text has none."""

_KEYS: dict[str, type | tuple[type, ...]] = {
    "text": str,
    "neuron": str,
    "mode": str,
    "parameter": (int, float),
}


@dataclass(frozen=True)
class Question:
    """What one neuron does on a text.

    Attributes:
        text: The text.
        neuron: The neuron as somebody writes it: ``28.4737``.
        intervention: What happens to it at every token.
    """

    text: str
    neuron: str
    intervention: Intervention

    @classmethod
    def from_json(cls, body: bytes) -> Question:
        """Read a request.

        Args:
            body: JSON with ``text`` and ``neuron``, perhaps ``mode`` (zero) and its ``parameter``.

        Raises:
            OptionError: It is no such JSON, the text is not valid Unicode, or there is no such mode.
        """
        given = _object(body)
        for key, value in given.items():
            # True is an int to Python.
            if key not in _KEYS or not isinstance(value, _KEYS[key]) or isinstance(value, bool):
                raise _malformed(f"it has {key!r}: {value!r:.40}")
        missing = [key for key in ("text", "neuron") if key not in given]
        if missing:
            raise _malformed(f"it has no {' and no '.join(missing)}")
        try:
            given["text"].encode()
        except UnicodeEncodeError as error:
            raise OptionError(
                "the text has half a character (a lone surrogate)",
                where=f"character {error.start}",
                remedy="type the text again, or paste it from a file in UTF-8",
            ) from error
        return cls(given["text"], given["neuron"], _intervention(given))


def _object(body: bytes) -> dict[str, Any]:
    try:
        given = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _malformed(f"it is not JSON ({error})") from error
    if not isinstance(given, dict):
        raise _malformed("it is no object")
    return given


def _intervention(given: dict[str, Any]) -> Intervention:
    mode = given.get("mode", "zero")
    if mode not in ASKED_MODES:
        raise OptionError(
            f"there is no mode {mode!r} here",
            where="mode",
            remedy=f"use one of: {', '.join(ASKED_MODES)}"
            + ("; for means, use `rwcore ablate --mode mean`" if mode == "mean" else ""),
        )
    if mode in PARAMETER_MODES and "parameter" not in given:
        raise OptionError(f"mode {mode} needs a number", where="parameter", remedy="say which")
    # A number of the page may be there for another mode.
    return Intervention(mode, parameter=float(given["parameter"]) if mode in PARAMETER_MODES else None)


def _malformed(why: str) -> OptionError:
    return OptionError(
        f"the request cannot be read: {why}",
        where="request",
        remedy='send JSON such as {"text": "Once upon a time", "neuron": "28.4737"}',
    )
