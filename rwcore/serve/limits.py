"""How much a text may ask of the server, and the errors of asking for more."""

from __future__ import annotations

from dataclasses import dataclass

from rwcore.errors import OptionError, require_least

TOKENS = 512
"""Tokens of the longest text where nobody says otherwise."""

# A token has some four characters in English, up to one and a half in other scripts, and many in a run of
# spaces; what is longer than this is refused before the tokenizer sees it.
_CHARACTERS_PER_TOKEN = 32
# A character outside the basic plane is twelve bytes in JSON: \ud83d\ude00.
_BYTES_PER_CHARACTER = 12
_BYTES_BESIDE = 1024


@dataclass(frozen=True)
class Limits:
    """What is refused.

    Attributes:
        tokens: Tokens of the longest text, the token at its beginning included.
        waiting: Texts that may wait while another one is computed.

    Raises:
        OptionError: A number is too small.
    """

    tokens: int = TOKENS
    waiting: int = 4

    def __post_init__(self) -> None:
        for name, value, least in (("--max-tokens", self.tokens, 2), ("waiting", self.waiting, 0)):
            require_least(name, value, least)

    @property
    def characters(self) -> int:
        """Characters of the longest text."""
        return self.tokens * _CHARACTERS_PER_TOKEN

    @property
    def body(self) -> int:
        """Bytes of the largest request."""
        return self.characters * _BYTES_PER_CHARACTER + _BYTES_BESIDE


def fitting(tokens: int | None, context: int | None, model: str) -> Limits:
    """The limits for a model.

    Args:
        tokens: What the user asked for; None for `TOKENS`, or the model's context if that is shorter.
        context: Positions of the model; None if they have no end.
        model: Its name, for the message.

    Raises:
        OptionError: The number is too small, or larger than the context.
    """
    if tokens is None:
        return Limits(TOKENS if context is None else min(TOKENS, context))
    if context is not None and tokens > context:
        raise OptionError(
            f"texts of {tokens} tokens do not fit: {model} has {context} positions",
            where="--max-tokens",
            remedy=f"give at most {context}",
        )
    return Limits(tokens)
