"""A tolerance that depends on how much of the paper's text a value was computed on.

On the whole text a published value must come out as printed. On a sample it moves by what another sample of
texts would move it; the claim file says how much that is for a large sample. On fewer tokens than that the
interval over documents speaks for itself.
"""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import PositiveFloat, PositiveInt, model_validator

from rwcore.claim.check import Check
from rwcore.claim.deviation import Deviation
from rwcore.claim.problems import complaint
from rwcore.claim.sample import Sample, in_short
from rwcore.claim.values import Interval, Row, Value


class Sampled(Deviation):
    """Absolute, narrow on the whole text and wider on a sample of it.

    * whole text: |Δ| of the estimate at most ``abs``;
    * at least ``enough`` tokens: at most ``sample_abs``;
    * fewer: the *interval* must lie within ``sample_abs``. It agrees if all of it does and differs if none of
      it does, that is, if |Δ| exceeds ``sample_abs`` plus the interval's half-width; in between it is
      undecided, so that a value is not reproduced for want of text.

    Attributes:
        abs: What the whole text allows.
        sample_abs: What a sample allows.
        enough: Tokens of a sample for which ``sample_abs`` was stated.
    """

    kind: Literal["sampled"]
    abs: PositiveFloat
    sample_abs: PositiveFloat
    enough: PositiveInt

    @model_validator(mode="after")
    def _wider(self) -> Self:
        if self.sample_abs < self.abs:
            raise complaint(
                f"sample_abs = {self.sample_abs:g} is narrower than abs = {self.abs:g}",
                "a sample cannot be better than the whole text",
            )
        return self

    def allowance(self, expected: float, obtained: float, row: Row) -> float:
        """What the whole text allows; see `on` for a sample."""
        return self.abs

    def on(self, sample: Sample | None) -> Deviation:
        """The tolerance for values that come from some text; without a text, that for the whole."""
        kind: Any = "fitted_to_text"
        if sample is None or sample.complete:
            return FittedToText(kind=kind, because=self.because, abs=self.abs, whole_interval=False, note="")
        few = sample.tokens < self.enough
        note = f" on {in_short(sample.tokens)} tokens" + (", with the interval" if few else "")
        return FittedToText(
            kind=kind, because=self.because, abs=self.sample_abs, whole_interval=few, note=note
        )

    @property
    def text(self) -> str:
        """In a few words."""
        return f"±{self.abs:g}, on {in_short(self.enough)} tokens ±{self.sample_abs:g}"


class FittedToText(Deviation):
    """A `Sampled` tolerance once the text is known; no kind of the claim file.

    Attributes:
        abs: What is allowed.
        whole_interval: Whether the whole interval must be within, instead of the estimate.
        note: What to add to the words.
    """

    kind: Literal["fitted_to_text"]
    abs: float
    whole_interval: bool
    note: str

    def allowance(self, expected: float, obtained: float, row: Row) -> float:
        """The same for every value."""
        return self.abs

    def check(self, expected: Value, obtained: Value, row: Row) -> Check:
        """Compare the estimate, or the interval."""
        if isinstance(obtained, Interval) and not self.whole_interval:
            obtained = obtained.estimate
        return super().check(expected, obtained, row)

    @property
    def text(self) -> str:
        """In a few words."""
        return f"±{self.abs:g}{self.note}"
