"""Tolerances on |obtained − expected|: printed, read off a figure, noise, rounding, borderline counts."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Literal

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat

from rwcore.claim.check import NOT_COMPARABLE, Check, ValueTolerance, check_of, distance, numbers
from rwcore.claim.problems import complaint
from rwcore.claim.values import Interval, Row, Value, any_nan, ends, is_number, point
from rwcore.errors import ClaimFileError

# Noise of a cosine when only precision or device changes, measured on synthetic pairs, d_model 64 … 4096:
# float32 against float64 at most 4e-7; weights rounded to bfloat16 at most 1e-3 (d_model 64; 2e-4 from 2048
# on). float16 has 3 mantissa bits more than bfloat16, hence 1e-3 / 8. float64 carries 29 bits more than
# float32, hence 4e-7 · 2^-29, rounded up. Nothing is ever *computed* in half precision (errors near 1e-2).
FLOAT_NOISE = {"float64": 1e-15, "float32": 4e-7, "float16": 1.25e-4, "bfloat16": 1e-3}

# Rounding a value to a storage type moves it by at most half a unit in the last place: relative 2^-p with p
# bits of precision, but never less than half the spacing of the subnormal numbers.
STORAGE = {
    "float16": (2.0**-11, 2.0**-25),
    "bfloat16": (2.0**-8, 2.0**-134),
    "float32": (2.0**-24, 2.0**-150),
}

Dtype = Literal["float64", "float32", "float16", "bfloat16"]


def near_column(delta: float) -> str:
    """Column of a count table that says how many neurons lie within ``delta`` of a threshold."""
    mantissa, exponent = f"{delta:e}".split("e")
    return f"near_{float(mantissa):g}e{int(exponent)}"


class Deviation(ValueTolerance):
    """Kinds that allow |obtained − expected| up to a number; symmetric in the sign of the difference."""

    kind: Any

    @abstractmethod
    def allowance(self, expected: float, obtained: float, row: Row) -> float:
        """The largest allowed |Δ|."""

    def check(self, expected: Value, obtained: Value, row: Row) -> Check:
        """Compare numbers, or a number with an interval (undecided if only a part of it is allowed)."""
        wanted, got = numbers(self.kind, expected, obtained)
        if any_nan(wanted, *ends(got), point(got)):
            return NOT_COMPARABLE
        allowance = self.allowance(wanted, point(got), row)
        # The subtraction itself rounds: 0.1235 − 0.12345 is not 5e-5 to the last bit.
        reach = allowance + 4 * 2.0**-52 * max(abs(wanted), abs(point(got)))
        low, high = ends(got)
        low_ok, high_ok = (distance(wanted, end) <= reach for end in (low, high))
        ok: bool | None = low_ok and high_ok
        if not ok and isinstance(got, Interval):
            outside = (low > wanted and not low_ok) or (high < wanted and not high_ok)
            ok = False if outside else None
        return check_of(distance(wanted, point(got)), allowance, ok)


class Rounded(Deviation):
    """A printed value: half a unit of the last printed digit, plus our own noise.

    Attributes:
        digits: Digits after the decimal point; negative for a value rounded to tens, hundreds, …
        noise: What our own computation may add.
    """

    kind: Literal["rounded"]
    digits: int
    noise: NonNegativeFloat = 0.0

    def allowance(self, expected: float, obtained: float, row: Row) -> float:
        """0.5 · 10^-digits + noise."""
        return 0.5 * 10.0**-self.digits + self.noise

    @property
    def text(self) -> str:
        """In a few words."""
        return f"printed with {self.digits} decimals (±{self.allowance(0, 0, {}):g})"


class Figure(Deviation):
    """A value read off a plot.

    Attributes:
        err: The reader's error, in the unit of the value.
    """

    kind: Literal["figure"]
    err: PositiveFloat

    def allowance(self, expected: float, obtained: float, row: Row) -> float:
        """The reader's error."""
        return self.err

    @property
    def text(self) -> str:
        """In a few words."""
        return f"read off a figure (±{self.err:g})"


class Float(Deviation):
    """The same statistic on another device or in another precision; see `FLOAT_NOISE`.

    Attributes:
        dtype: The coarsest precision on the way: of the arithmetic, or of the weights.
    """

    kind: Literal["float"]
    dtype: Dtype

    def allowance(self, expected: float, obtained: float, row: Row) -> float:
        """The noise of a cosine, scaled up for values above 1."""
        return FLOAT_NOISE[self.dtype] * max(1.0, abs(expected))

    @property
    def text(self) -> str:
        """In a few words."""
        return f"{self.dtype} noise (±{FLOAT_NOISE[self.dtype]:g})"


class Within(Deviation):
    """Absolute or relative to the published value; the larger of the two counts."""

    kind: Literal["within"]
    abs: NonNegativeFloat = 0.0
    rel: NonNegativeFloat = 0.0

    def model_post_init(self, context: Any, /) -> None:
        """Reject a tolerance of nothing."""
        if self.abs == 0 and self.rel == 0:
            raise complaint(
                "within needs abs or rel above 0", 'kind = "within", abs = 1e-5 (or kind = "exact")'
            )

    def allowance(self, expected: float, obtained: float, row: Row) -> float:
        """max(abs, rel · |expected|)."""
        return max(self.abs, self.rel * abs(expected))

    @property
    def text(self) -> str:
        """In a few words."""
        parts = [f"±{self.abs:g}"] if self.abs else []
        return " or ".join([*parts, f"±{100 * self.rel:g} %"] if self.rel else parts)


class Stored(Deviation):
    """The published value was stored in a shorter float type: half a unit in its last place."""

    kind: Literal["stored"]
    dtype: Literal["float32", "float16", "bfloat16"]

    def allowance(self, expected: float, obtained: float, row: Row) -> float:
        """max(2^-p · |expected|, half the subnormal spacing)."""
        relative, smallest = STORAGE[self.dtype]
        return max(relative * abs(expected), smallest)

    @property
    def text(self) -> str:
        """In a few words."""
        return f"stored as {self.dtype}"


class Band(Deviation):
    """A count of neurons beyond a threshold: only neurons near the threshold may change sides.

    Attributes:
        delta: How near counts as near; the obtained row carries the number in ``near_<delta>``.
        cap: The most that may change sides, however many are near.
    """

    kind: Literal["band"]
    delta: PositiveFloat
    cap: NonNegativeInt

    def allowance(self, expected: float, obtained: float, row: Row) -> float:
        """min(cap, neurons near the threshold)."""
        near = row.get(near_column(self.delta))
        if not is_number(near):
            raise ClaimFileError(
                f"tolerance 'band' needs {near_column(self.delta)!r}, the neurons near the threshold",
                remedy="compare class_counts() or class_totals(), which carry near_1e-6 and near_1e-3",
            )
        return min(float(self.cap), float(near))  # type: ignore[arg-type]

    @property
    def text(self) -> str:
        """In a few words."""
        return f"as many as lie within {self.delta:g} of the threshold, at most {self.cap}"
