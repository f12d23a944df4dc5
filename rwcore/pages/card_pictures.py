"""Small pictures of one neuron's cosines as inline SVG; colours come from the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from rwcore.stats.classes import THRESHOLD
from rwcore.stats.cosines import COSINES

MINUS = "−"

# Sizes of the strips, in units of the drawing.
LEFT, WIDTH, RIGHT = 104, 400, 76
ROW, HEIGHT = 58, 36
# Sizes of the planar picture.
RADIUS, MARGIN = 84, 32
APART = math.radians(20)  # labels on the circle are kept this far apart


@dataclass(frozen=True)
class Cosine:
    """One cosine of a neuron, and what it can be compared with.

    Attributes:
        name: ``gatelin``, ``gateout`` or ``linout``.
        value: The cosine.
        beta: Where cosines of isotropic random vectors lie with probability 0.95.
        mismatched: The same of vectors of different neurons of the layer; None if it was not measured.
        below: Share of the layer's neurons with a smaller cosine.
        layer: Neurons of the layer by cosine, in bins of equal width from -1 to 1.
    """

    name: str
    value: float
    beta: tuple[float, float]
    mismatched: tuple[float, float] | None
    below: float
    layer: tuple[int, ...]

    @property
    def label(self) -> str:
        """``cos(gate, in)``, …."""
        a, b = COSINES[self.name]
        return f"cos({a}, {b})"

    @property
    def region(self) -> tuple[float, float]:
        """The wider of the two regions of chance."""
        regions = [self.beta, *([self.mismatched] if self.mismatched else [])]
        return min(low for low, _ in regions), max(high for _, high in regions)

    @property
    def verdict(self) -> str:
        """``undefined``, ``within chance``, ``beyond chance``, or ``large``: beyond chance and above 0.5."""
        if math.isnan(self.value):
            return "undefined"
        low, high = self.region
        if low <= self.value <= high:
            return "within chance"
        return "large" if abs(self.value) > THRESHOLD else "beyond chance"


def signed(value: float, digits: int = 4) -> str:
    """A number with its sign; a real minus; an en dash for NaN."""
    if math.isnan(value):
        return "–"
    return f"{value:+.{digits}f}".replace("-", MINUS)


def cosine_strips(cosines: Sequence[Cosine]) -> Markup:
    """Every cosine on an axis from -1 to 1, above it the layer's neurons and the regions of chance.

    Bars are as high as the square root of the number of neurons, so that few are still seen.
    """
    total = ROW * len(cosines) + 24
    described = "; ".join(f"{one.label} {_value(one)}" for one in cosines)
    parts = [_open(LEFT + WIDTH + RIGHT, total, "strips", f"Cosines: {described}")]
    for row, one in enumerate(cosines):
        parts += _strip(one, row * ROW + 14)
    bottom = ROW * (len(cosines) - 1) + 14 + HEIGHT
    for tick in (-1.0, -0.5, 0.0, 0.5, 1.0):
        text = f"{tick:g}".replace("-", MINUS)
        parts.append(
            f'<text class="tick" x="{_x(tick)}" y="{bottom + 16}" text-anchor="middle">{text}</text>'
        )
    return Markup("\n".join([*parts, "</svg>"]))


def _strip(one: Cosine, top: float) -> list[str]:
    base = top + HEIGHT
    parts = [f'<text class="label" x="0" y="{base - 12}">{one.label}</text>']
    largest = max(one.layer, default=0)
    step = 2 / max(1, len(one.layer))
    for number, count in enumerate(one.layer):
        if count:
            tall = (HEIGHT - 4) * math.sqrt(count / largest)
            parts.append(
                f'<rect class="bar" x="{_x(-1 + number * step)}" y="{_round(base - tall)}" '
                f'width="{_round(WIDTH / 2 * step - 0.6)}" height="{_round(tall)}"/>'
            )
    # In front of the bars, which would hide them where most neurons are.
    for kind, region in (("mismatched", one.mismatched), ("beta", one.beta)):
        if region is not None and not any(map(math.isnan, region)):
            low, high = region
            parts.append(
                f'<rect class="chance {kind}" x="{_x(low)}" y="{top}" '
                f'width="{_round(WIDTH / 2 * (high - low))}" height="{HEIGHT}"/>'
            )
    for bound in (-THRESHOLD, THRESHOLD):
        parts.append(f'<path class="bound" d="M{_x(bound)} {top}V{base}"/>')
    parts.append(f'<path class="axis" d="M{_x(-1)} {base}H{_x(1)}M{_x(0)} {base}v4"/>')
    if not math.isnan(one.value):
        x = _x(one.value)
        parts.append(f'<path class="needle" d="M{x} {base}V{top - 3}"/>')
        parts.append(f'<circle class="head" cx="{x}" cy="{top - 3}" r="4.5"/>')
    parts.append(f'<text class="value" x="{LEFT + WIDTH + 14}" y="{base - 12}">{_value(one)}</text>')
    return parts


def planar_picture(cosines: Sequence[Cosine]) -> Markup:
    """The unit vectors of the neuron, projected on the plane that holds most of them.

    *in* points right, *gate* (if there is one) upwards. An arrow that does not reach the circle points out of
    the plane; two vectors always lie in it.
    """
    size = 2 * (RADIUS + MARGIN)
    arrows = planar(cosines)
    described = ", ".join(
        f"{name} at {round(math.degrees(math.atan2(y, x))) % 360}°, length {math.hypot(x, y):.2f}"
        for name, (x, y) in arrows.items()
    )
    parts = [_open(size, size, "planar", f"Directions in a plane: {described or 'undefined'}")]
    centre = size / 2
    parts.append(f'<circle class="unit" cx="{centre:g}" cy="{centre:g}" r="{RADIUS}"/>')
    parts.append(f'<circle class="origin" cx="{centre:g}" cy="{centre:g}" r="2"/>')
    angles = _spread({name: math.atan2(y, x) for name, (x, y) in arrows.items()})
    for name, (x, y) in arrows.items():
        parts += _arrow(name, centre, x, y)
        far = RADIUS + 16
        parts.append(
            f'<text class="name {name}" x="{_round(centre + far * math.cos(angles[name]))}" '
            f'y="{_round(centre - far * math.sin(angles[name]) + 4)}" text-anchor="middle">{name}</text>'
        )
    return Markup("\n".join([*parts, "</svg>"]))


def planar(cosines: Sequence[Cosine]) -> dict[str, tuple[float, float]]:
    """Coordinates of the unit vectors in the plane that holds most of them; none if a cosine is NaN.

    With the matrix G of all cosines and its two largest eigenvalues λ and eigenvectors e, vector k has the
    coordinates ``e_k √λ``; turned so that *in* points along +x, and mirrored so that *gate* has y ≥ 0 (*out*
    if there is no gate).

    Args:
        cosines: Of gatelin, gateout and linout those there are.
    """
    pairs = {COSINES[one.name]: one.value for one in cosines}
    if any(map(math.isnan, pairs.values())):
        return {}
    names = [name for name in ("gate", "in", "out") if any(name in pair for pair in pairs)]
    gram = np.eye(len(names))
    for (a, b), value in pairs.items():
        gram[names.index(a), names.index(b)] = gram[names.index(b), names.index(a)] = value
    values, vectors = np.linalg.eigh(gram)
    # Rounded cosines may give a slightly negative eigenvalue.
    points = vectors[:, -2:] * np.sqrt(np.maximum(values[-2:], 0))
    x, y = points[names.index("in")]
    length = math.hypot(x, y)
    if length > 0:
        points = points @ (np.array([[x, -y], [y, x]]) / length)
    if points[names.index("gate" if "gate" in names else "out"), 1] < 0:
        points[:, 1] *= -1
    return {name: (float(point[0]), float(point[1])) for name, point in zip(names, points, strict=True)}


def _spread(angles: dict[str, float]) -> dict[str, float]:
    """Angles moved apart until no two labels overlap."""
    moved = dict(angles)
    for _ in range(50):
        for a in moved:
            for b in moved:
                gap = (moved[b] - moved[a] + math.pi) % (2 * math.pi) - math.pi
                if a != b and abs(gap) < APART:
                    push = (APART - abs(gap)) / 2 * (1 if gap > 0 or (gap == 0 and a < b) else -1)
                    moved[a] -= push
                    moved[b] += push
    return moved


def _arrow(name: str, centre: float, x: float, y: float) -> list[str]:
    length = math.hypot(x, y)
    if length * RADIUS < 3:
        return [f'<circle class="dot {name}" cx="{centre:g}" cy="{centre:g}" r="4"/>']
    tip = np.array([centre + RADIUS * x, centre - RADIUS * y])
    along = np.array([x, -y]) / length
    across = np.array([-along[1], along[0]])
    back = tip - min(11, RADIUS * length) * along
    corners = (tip, back + 4.5 * across, back - 4.5 * across)
    head = " ".join(f"{_round(corner[0])},{_round(corner[1])}" for corner in corners)
    return [
        f'<path class="shaft {name}" d="M{centre:g} {centre:g}L{_round(back[0])} {_round(back[1])}"/>',
        f'<polygon class="tip {name}" points="{head}"/>',
    ]


def _open(width: float, height: float, name: str, described: str) -> str:
    return f'<svg class="{name}" viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{described}">'


def _x(cosine: float) -> str:
    return _round(LEFT + WIDTH * (cosine + 1) / 2)


def _round(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _value(one: Cosine) -> str:
    return "undefined" if math.isnan(one.value) else signed(one.value)
