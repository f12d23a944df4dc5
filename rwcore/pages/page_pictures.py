"""Pictures of what a neuron does at the tokens of a sample, as inline SVG; colours come from the page."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from jaxtyping import Float64
from markupsafe import Markup

from rwcore.pages.card_pictures import MINUS

BINS = 48
SHADES = 7
# The map of gate and in, in units of the drawing.
SIDE, LEFT, BOTTOM, TOP, RIGHT = 336, 44, 38, 8, 10
CURVES = (0.5, 0.1)  # magnitudes of post that are drawn, of the largest in the sample; rounded

Values = Float64[np.ndarray, " token"]


def density_picture(gate: Values, in_: Values, act: Values) -> tuple[Markup, list[str]]:
    """How many tokens of a sample have which gate (to the right) and in (upwards), and where post is equal.

    Cells are shaded by the logarithm of their number of tokens. The curves are those of ``|act(gate) · in|``,
    with the activation function as it is found in the sample.

    Returns:
        The picture, and the magnitudes of post of its curves in words, the larger one first; none if there is
        nothing to draw.
    """
    finite = np.isfinite(gate) & np.isfinite(in_)
    gate, in_, act = gate[finite], in_[finite], act[finite]
    if not len(gate):
        return Markup(""), []
    across, up = _range(gate), _range(in_)
    counts, _, _ = np.histogram2d(gate, in_, bins=BINS, range=(across, up))
    width, height = LEFT + SIDE + RIGHT, TOP + SIDE + BOTTOM
    described = "Density of gate and in at the tokens of the sample"
    parts = [
        f'<svg class="density" viewBox="0 0 {width} {height}" role="img" aria-label="{described}">',
        f'<rect class="field" x="{LEFT}" y="{TOP}" width="{SIDE}" height="{SIDE}"/>',
        *_cells(counts),
    ]
    most = float(np.max(np.abs(act * in_)))
    levels = [level for level in dict.fromkeys(_rounded(part * most) for part in CURVES) if level > 0]
    for number, level in enumerate(levels, start=1):
        for sign in (1, -1):
            path = "".join(_curve(gate, act, sign * level, across, up))
            name = "positive" if sign > 0 else "negative"
            parts.append(f'<path class="curve {name}-curve c{number}" d="{path}"/>' if path else "")
    x, y = LEFT + SIDE * _share(0.0, across), TOP + SIDE * (1 - _share(0.0, up))
    parts.append(f'<path class="zero" d="M{x:.1f} {TOP}v{SIDE}M{LEFT} {y:.1f}h{SIDE}"/>')
    for value in _ticks(across):
        place = LEFT + SIDE * _share(value, across)
        parts.append(_text("tick", place, TOP + SIDE + 15, rough(value, 10), "middle"))
    for value in _ticks(up):
        place = TOP + SIDE * (1 - _share(value, up))
        parts.append(_text("tick", LEFT - 6, place + 4, rough(value, 10), "end"))
    parts.append(_text("name gate", LEFT + SIDE / 2, height - 4, "gate", "middle"))
    parts.append(
        f'<text class="name in" transform="translate(11 {TOP + SIDE / 2}) rotate(-90)" '
        'text-anchor="middle">in</text>'
    )
    return Markup("\n".join([*filter(None, parts), "</svg>"])), [rough(level) for level in levels]


def _cells(counts: Float64[np.ndarray, "across up"]) -> Iterable[str]:
    """One path per shade: rows of cells of that shade side by side."""
    size = SIDE / BINS
    most = max(2.0, float(counts.max()))
    # One token is the first shade, the fullest cell the last.
    steps = np.round((SHADES - 1) * np.log(np.maximum(counts, 1)) / math.log(most))
    shades = np.where(counts > 0, 1 + steps, 0)
    for shade in range(1, SHADES + 1):
        path = []
        for row in range(BINS):
            held = np.flatnonzero(np.diff(np.concatenate([[0], shades[:, row] == shade, [0]]).astype(int)))
            for start, end in held.reshape(-1, 2):
                x, y, wide = LEFT + start * size, TOP + SIDE - (row + 1) * size, (end - start) * size
                path.append(f"M{x:g} {y:g}h{wide:g}v{size:g}h{-wide:g}z")
        if path:
            yield f'<path class="d{shade}" d="{"".join(path)}"/>'


def _curve(
    gate: Values, act: Values, level: float, across: tuple[float, float], up: tuple[float, float]
) -> Iterable[str]:
    """Where ``act(gate) · in = level``: in as a function of gate, in pieces that lie in the picture."""
    order = np.argsort(gate, kind="stable")
    places = np.linspace(gate.min(), gate.max(), 241)
    known = np.interp(places, gate[order], act[order])
    drawing = False
    for place, value in zip(places, known, strict=True):
        height = level / value if abs(value) > 1e-9 else math.inf
        inside = up[0] <= height <= up[1]
        if inside:
            x, y = LEFT + SIDE * _share(place, across), TOP + SIDE * (1 - _share(height, up))
            yield f"{'L' if drawing else 'M'}{x:.1f} {y:.1f}"
        drawing = inside


def histogram_range(values: Values) -> tuple[float, float]:
    """The range of a row of histograms: all finite values, and zero."""
    return _range(values[np.isfinite(values)])


def histogram(values: Values, limits: tuple[float, float], mean: float, name: str) -> Markup:
    """The distribution of a quantity in a quadrant; heights are square roots, so that few are still seen.

    Args:
        values: Its values in the sample, perhaps none.
        limits: The axis, from `histogram_range`.
        mean: The mean in the whole pass, marked by a line; NaN for none.
        name: What is drawn, for those who do not see it.
    """
    width, height = 180, 44
    counts, _ = np.histogram(values[np.isfinite(values)], bins=60, range=limits)
    step = width / len(counts)
    parts = [f'<svg class="histogram" viewBox="0 0 {width} {height + 4}" role="img" aria-label="{name}">']
    if counts.any():
        heights = (height - 4) * np.sqrt(counts / counts.max())
        path = [
            f"M{number * step:g} {height}v{-tall:.1f}h{step:g}v{tall:.1f}z"
            for number, tall in enumerate(heights)
            if tall
        ]
        parts.append(f'<path class="bars" d="{"".join(path)}"/>')
    zero = width * _share(0.0, limits)
    parts.append(f'<path class="axis" d="M0 {height}H{width}"/>')
    parts.append(f'<path class="zero" d="M{zero:.1f} 0V{height + 4}"/>')
    if not math.isnan(mean):
        parts.append(f'<path class="mean" d="M{width * _share(mean, limits):.1f} 2V{height}"/>')
    return Markup("".join([*parts, "</svg>"]))


def _range(values: Values) -> tuple[float, float]:
    low, high = min(0.0, values.min(initial=0.0)), max(0.0, values.max(initial=0.0))
    room = 0.02 * (high - low) or 1.0
    return float(low - room), float(high + room)


def _share(value: float, limits: tuple[float, float]) -> float:
    low, high = limits
    return min(1.0, max(0.0, (value - low) / (high - low)))


def _ticks(limits: tuple[float, float]) -> list[float]:
    """Zero and a few round numbers on both sides."""
    step = _rounded((limits[1] - limits[0]) / 5)
    first, last = math.ceil(limits[0] / step), math.floor(limits[1] / step)
    return [number * step for number in range(first, last + 1)]


def _rounded(value: float) -> float:
    """The nearest of 1, 2, 5 times a power of ten from below; 0 for what is not positive and finite."""
    if not (value > 0 and math.isfinite(value)):
        return 0.0
    power = 10.0 ** math.floor(math.log10(value))
    return max(factor * power for factor in (1, 2, 5) if factor * power <= value * (1 + 1e-9))


def rough(value: float, digits: int = 2) -> str:
    """A number of an axis or a curve; a real minus."""
    return f"{value:.{digits}g}".replace("-", MINUS)


def _text(name: str, x: float, y: float, text: str, anchor: str) -> str:
    return f'<text class="{name}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text}</text>'
