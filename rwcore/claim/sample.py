"""How much text stands behind a quantity, and of which corpus."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sample:
    """The text a quantity was obtained on.

    Attributes:
        corpus: Id of the corpus.
        tokens: Tokens that were read.
        whole: Tokens of the paper's own text, where the corpus is that; None for any other text.
    """

    corpus: str
    tokens: int
    whole: int | None = None

    @property
    def complete(self) -> bool:
        """Whether this is all of the paper's text."""
        return self.whole is not None and self.tokens >= self.whole

    @property
    def text(self) -> str:
        """In a few words: ``1 M of 20 M tokens of dolma-small``, ``54.6 k tokens of handmade``."""
        part = "" if self.whole is None or self.complete else f" of {in_short(self.whole)}"
        return f"{in_short(self.tokens)}{part} tokens of {self.corpus}"


def in_short(number: int) -> str:
    """A number of tokens with three significant digits: ``950``, ``54.6 k``, ``1 M``."""
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        # From 999,500 on three digits are those of a million.
        if number >= 0.9995 * size:
            return f"{number / size:.3g} {unit}"
    return str(number)
