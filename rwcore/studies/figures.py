"""The figures of a weight study: which are meant, and drawing them one at a time."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from rwcore.errors import OptionError
from rwcore.studies.figure_kinds import FIGURES, FigureInput, Style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rwcore.plots.counts import PaletteName
    from rwcore.studies.weights import WeightStudy

PLOTS, LAYERS = "--plots", "--layers"
ALL, DEFAULT = "all", "default"
ALIASES = {"coarse": "class_counts"}
"""The originals' names of figures that have another one here."""


def resolve(names: Iterable[str], *, gated: bool, biases: bool = False) -> tuple[list[str], dict[str, str]]:
    """Which figures are meant.

    Args:
        names: Names of figures, ``all`` or ``default``.
        gated: Whether the eleven classes of gated neurons are meant.
        biases: Whether the model has input biases.

    Returns:
        The figures to draw, in the order of `FIGURES`, and those that ``all`` or ``default`` meant but that
        do not exist for these classes or this model, with the reason.

    Raises:
        OptionError: There is no such figure, or one asked for by name does not exist here.
    """
    wanted: set[str] = set()
    skipped: dict[str, str] = {}
    for word in names:
        if word in (ALL, DEFAULT):
            for kind in FIGURES.values():
                if word == ALL or kind.default:
                    reason = kind.missing(gated=gated, biases=biases)
                    if reason is None:
                        wanted.add(kind.name)
                    else:
                        skipped[kind.name] = reason
            continue
        found = FIGURES.get(ALIASES.get(word, word))
        if found is None:
            raise OptionError(f"there is no figure {word!r}", where=PLOTS, remedy=_closest(word))
        reason = found.missing(gated=gated, biases=biases)
        if reason is not None:
            here = "this model" if found.biases else f"{'gated' if gated else 'plain'} classes"
            raise OptionError(
                f"the figure {word!r} does not exist for {here}: {reason}",
                where=PLOTS,
                remedy=f"leave it out, or ask for {ALL!r}, which draws what there is"
                + (", or add --classes plain" if found.gated is False else ""),
            )
        wanted.add(found.name)
    return [name for name in FIGURES if name in wanted], skipped


def _closest(word: str) -> str:
    near = difflib.get_close_matches(word, [*FIGURES, *ALIASES, ALL, DEFAULT], n=2)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return f"{hint}figures: {', '.join([ALL, DEFAULT, *FIGURES])}"


def check_layers(layers: Sequence[int] | None, n_layers: int) -> list[int] | None:
    """The layers whose panels are drawn, each once, in the order given; None for all.

    Raises:
        OptionError: A number is no layer of the model, or none is given.
    """
    if layers is None:
        return None
    wrong = [layer for layer in layers if not (isinstance(layer, int) and 0 <= layer < n_layers)]
    if wrong or not layers:
        raise OptionError(
            f"the model has no layer {', '.join(map(str, wrong))}" if wrong else "no layer is given",
            where=LAYERS,
            remedy=f"give layers from 0 to {n_layers - 1}",
        )
    return list(dict.fromkeys(layers))


def figure_input(study: WeightStudy, *, gated: bool | None = None, null: bool = True) -> FigureInput:
    """What the figures of a study are drawn from; computed if the store does not have it.

    Args:
        study: The study.
        gated: Whether the eleven classes of gated neurons are meant; if None, whether there are gates.
        null: Also the mismatched-pair regions.
    """
    shape = study.mlp_weights().shape
    return FigureInput(
        study.local.spec.id,
        shape.d_model,
        study.statistics,
        shape.gated_mlp if gated is None else gated,
        study.null_regions() if null else None,
        study.products,
    )


def draw(
    given: FigureInput,
    names: Iterable[str],
    *,
    layers: Sequence[int] | None = None,
    palette: PaletteName = "paper",
) -> Iterator[tuple[str, Figure]]:
    """Draw figures one at a time.

    Args:
        given: From `figure_input`.
        names: Names in `FIGURES`, or ``all`` or ``default``; see `resolve`.
        layers: Layers of the figures with one panel per layer; all layers if None, and of ``selected`` the
            first, middle and last one. Figures of all layers together do not depend on it.
        palette: ``paper`` or ``accessible``.

    Yields:
        Name and figure; the figure is not kept.

    Raises:
        OptionError: See `resolve` and `check_layers`; or layers are chosen and no figure has panels of them.
    """
    chosen, _ = resolve(names, gated=given.gated, biases=given.products is not None)
    check_palette(palette)
    look = Style(check_layers(layers, given.n_layers), palette)
    check_panels(chosen, layers)
    for name in chosen:
        yield name, FIGURES[name].draw(given, look)


def check_panels(names: Iterable[str], layers: Sequence[int] | None) -> None:
    """Refuse a choice of layers that no figure would follow."""
    if layers is not None and not any(FIGURES[name].panels for name in names):
        raise OptionError(
            "layers are chosen, but no figure asked for has one panel per layer",
            where=LAYERS,
            remedy=f"add {PLOTS} selected or {PLOTS} fine, or leave {LAYERS} out",
        )


def check_palette(palette: str) -> None:
    """Refuse a palette that does not exist."""
    if palette not in ("paper", "accessible"):
        raise OptionError(
            f"there is no palette {palette!r}", where="--palette", remedy="use paper or accessible"
        )
