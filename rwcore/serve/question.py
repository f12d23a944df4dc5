"""What somebody asks of the server about a neuron."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rwcore.ablation.interventions import MODES, PARAMETER_MODES, Intervention
from rwcore.errors import OptionError
from rwcore.serve.form import Form

ASKED_MODES = tuple(mode for mode in MODES if mode != "mean")
"""Mean ablation needs means that were measured on a corpus; a text has none."""

_FORM = Form(
    {"text": str, "neuron": str, "mode": str, "parameter": (int, float)},
    ("text", "neuron"),
    '{"text": "Once upon a time", "neuron": "28.4737"}',
)


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
        given = _FORM.read(body)
        return cls(given["text"], given["neuron"], _intervention(given))


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
    return Intervention(mode, parameter=_number(given["parameter"]) if mode in PARAMETER_MODES else None)


def _number(given: Any) -> float:
    try:
        return float(given)
    except (OverflowError, TypeError, ValueError) as error:
        raise OptionError(
            f"{str(given)[:40]} is no number that a float can be",
            where="parameter",
            remedy="give a smaller number",
        ) from error
