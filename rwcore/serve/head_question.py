"""What somebody asks of the server about an attention head."""

from __future__ import annotations

from dataclasses import dataclass

from rwcore.errors import require_choice
from rwcore.serve.form import Form

MEAN, ZERO = "mean", "zero"
HEAD_MODES = (MEAN, ZERO)

_FORM = Form(
    {"text": str, "head": str, "mode": str},
    ("text", "head"),
    '{"text": "Once upon a time", "head": "23.3"}',
)


@dataclass(frozen=True)
class HeadQuestion:
    """What one head does on a text.

    Attributes:
        text: The text.
        head: The head as somebody writes it: ``23.3``.
        mode: What takes the place of what it adds: ``mean`` of it over our own texts, or ``zero``.
    """

    text: str
    head: str
    mode: str = MEAN

    @classmethod
    def from_json(cls, body: bytes) -> HeadQuestion:
        """Read a request.

        Args:
            body: JSON with ``text`` and ``head``, perhaps ``mode`` (mean).

        Raises:
            OptionError: It is no such JSON, the text is not valid Unicode, or there is no such mode.
        """
        given = _FORM.read(body)
        mode = given.get("mode", MEAN)
        require_choice("mode", mode, HEAD_MODES)
        return cls(given["text"], given["head"], mode)
