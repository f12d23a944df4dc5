"""Tolerances that depend on how much of the paper's text a value was computed on.

On the whole text a published value must come out as printed. On a sample it moves by what another sample of
texts would move it; the claim file says how much that is for a large sample, or how many standard errors. On
fewer tokens than that the interval over documents speaks for itself.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, Self

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from rwcore.claim.check import NOT_COMPARABLE, Check, check_of, distance, numbers
from rwcore.claim.deviation import Deviation
from rwcore.claim.problems import complaint
from rwcore.claim.sample import Sample, in_short
from rwcore.claim.values import Interval, Row, Value, any_nan, ends


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


NORMAL_95 = 1.959964
"""Standard errors between an estimate and an end of its 95 % interval."""


class SampledMean(Deviation):
    """Relative and absolute, the larger of them; on a sample also a number of standard errors.

    * whole text: |Δ| of the estimate at most ``max(rel · |published|, abs)``;
    * sample: ``errors`` standard errors more, which are those of the *interval* over documents. Values that
      agree only because the sample is small say nothing: if the standard errors amount to more than half of
      the published value, and to more than what the whole text allows, agreement is undecided;
    * a number without an interval (a median, a quartile): from ``enough`` tokens on, twice what the whole
      text allows; below, agreement is undecided.

    Attributes:
        rel: Relative, of the published value.
        abs: Absolute.
        errors: Standard errors on a sample.
        enough: Tokens of a sample from which a number without an interval is compared.
    """

    kind: Literal["sampled_mean"]
    rel: NonNegativeFloat = 0.0
    abs: PositiveFloat
    errors: PositiveFloat = 4.0
    enough: PositiveInt = 1_000_000

    def allowance(self, expected: float, obtained: float, row: Row) -> float:
        """What the whole text allows; see `on` for a sample."""
        return max(self.rel * abs(expected), self.abs)

    def check(self, expected: Value, obtained: Value, row: Row) -> Check:
        """Compare the estimate."""
        return super().check(expected, obtained.estimate if isinstance(obtained, Interval) else obtained, row)

    def on(self, sample: Sample | None) -> Deviation:
        """The tolerance for values that come from some text; without a text, that for the whole."""
        if sample is None or sample.complete:
            return self
        kind: Any = "mean_on_sample"
        return MeanOnSample(kind=kind, because=self.because, whole=self, tokens=sample.tokens)

    @property
    def text(self) -> str:
        """In a few words."""
        return f"±{100 * self.rel:g} %, at least ±{self.abs:g}" if self.rel else f"±{self.abs:g}"


class MeanOnSample(Deviation):
    """A `SampledMean` tolerance on a sample; no kind of the claim file.

    Attributes:
        whole: What the whole text allows.
        tokens: Size of the sample.
    """

    kind: Literal["mean_on_sample"]
    whole: SampledMean
    tokens: int

    def allowance(self, expected: float, obtained: float, row: Row) -> float:
        """Twice what the whole text allows: for numbers without an interval."""
        return 2 * self.whole.allowance(expected, obtained, row)

    def check(self, expected: Value, obtained: Value, row: Row) -> Check:
        """Compare the estimate, with what its standard errors add."""
        if not isinstance(obtained, Interval):
            found = super().check(expected, obtained, row)
            few = self.tokens < self.whole.enough
            return replace(found, ok=None) if few and found.ok else found
        wanted, _ = numbers(self.kind, expected, obtained)
        if any_nan(wanted, *ends(obtained), obtained.estimate):
            return NOT_COMPARABLE
        base = self.whole.allowance(wanted, obtained.estimate, row)
        errors = self.whole.errors * (obtained.high - obtained.low) / (2 * NORMAL_95)
        delta = distance(wanted, obtained.estimate)
        ok: bool | None = delta <= base + errors
        if ok and errors > max(base, abs(wanted) / 2):
            ok = None
        return check_of(delta, base + errors, ok)

    @property
    def text(self) -> str:
        """In a few words."""
        errors = f"{self.whole.errors:g} standard errors"
        return f"{self.whole.text} and {errors} on {in_short(self.tokens)} tokens"
