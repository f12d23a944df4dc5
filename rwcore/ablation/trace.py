"""Where the effect of an ablation on one prediction comes from: layers, positions, neurons, the direct path.

The prediction is that at the last position of a prompt; only that position is unembedded. Logits are those
of the model as loaded: in compatibility mode the unembedding is centred along the vocabulary wherever
nothing forbids it (a soft cap does), which shifts all logits of a prediction by the same number and changes
nothing else.

Effects of parts do not add up: downstream neurons react, and conditions see the stream as it is changed.

Source: ablations and frequencies specification, sections 6 (Omicron case), 8.4 and 10.2.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from rwcore.ablation.direct import Direct, direct_hidden
from rwcore.ablation.hooks import require_fit
from rwcore.ablation.interventions import Ablation
from rwcore.ablation.last import Prediction, Prompt, read_predictions, require_prompt
from rwcore.ablation.variants import Variant, last_hidden
from rwcore.errors import OptionError

PARTS = ("layers", "positions", "direct", "neurons")
STRENGTHS = ("entropy", "target_logit")
LEFT_OUT = 20
"""How many of the strongest neurons are left out of the ablation, one after the other."""

Neuron = tuple[int, int]
_Key = tuple[str, Any]


@dataclass(frozen=True)
class Trace:
    """The prediction at the end of a prompt, under an ablation and under parts of it.

    A part that was not asked for is empty (None for ``direct``).

    Attributes:
        target: The token that logits, probabilities and ranks are of.
        clean: Without ablation.
        ablated: With all of it.
        by_layer: Only the neurons of this layer, for each layer that has any.
        up_to: Only the neurons of this layer and those before it.
        since: Only the neurons of this layer and those after it.
        groups: Only the neurons of these layers.
        by_position: All neurons, at this position only.
        direct: Without what the neurons themselves add to the final stream, everything else left as it is.
        by_neuron: This neuron alone, the strongest first.
        strongest: The n strongest together.
        all_but: All but this one, for the strongest.
    """

    target: int
    clean: Prediction
    ablated: Prediction
    by_layer: dict[int, Prediction] = field(default_factory=dict)
    up_to: dict[int, Prediction] = field(default_factory=dict)
    since: dict[int, Prediction] = field(default_factory=dict)
    groups: dict[tuple[int, ...], Prediction] = field(default_factory=dict)
    by_position: dict[int, Prediction] = field(default_factory=dict)
    direct: Direct[Prediction] | None = None
    by_neuron: dict[Neuron, Prediction] = field(default_factory=dict)
    strongest: dict[int, Prediction] = field(default_factory=dict)
    all_but: dict[Neuron, Prediction] = field(default_factory=dict)


def trace(
    model: Any,
    prompt: Prompt,
    ablation: Ablation,
    *,
    parts: Iterable[str] = PARTS,
    groups: Iterable[Sequence[int]] = (),
    strength: str = "entropy",
    left_out: int = LEFT_OUT,
    budget: int | None = None,
) -> Trace:
    """Where the effect of an ablation on the prediction at the end of a prompt comes from.

    Each part is a run of the model with only that part of the ablation, exact up to the last digits. A part
    that is empty has the numbers of the clean run; parts that are the same are run once.

    A neuron is strong if ablating it alone moves ``strength`` in the direction in which the whole ablation
    moves it. The n strongest are taken together for n = 1, 2, 4, … and all.

    Args:
        model: What `rwcore.models.load.load_bridge` returns, in compatibility mode.
        prompt: The prompt, and what is looked at.
        ablation: Of neurons of this model; may be empty.
        parts: Of `PARTS`; none for the clean and the whole ablation only (and the groups).
        groups: Groups of layers to ablate together.
        strength: ``entropy`` or ``target_logit``.
        left_out: How many of the strongest neurons get an entry in ``all_but``.
        budget: Positions of a batch of variants; None for what suits the device.

    Raises:
        OptionError: The prompt is empty, longer than the context or has tokens that the model does not
            have; the ablation has such neurons, or positions beyond the prompt; there is no such part or
            strength; a group has a layer that the model does not have.
        NotGatedError: There is a condition and the MLPs have no gate.
        ModelError: The model cannot be run with hooks up to the unembedding, or a prediction is not finite.
    """
    asked = _checked(parts, strength, left_out)
    require_prompt(model, prompt)
    n_layers = len(require_fit(model, ablation))
    chosen = [_group(one, n_layers) for one in groups]
    run = _Runs(model, prompt, ablation, budget)
    wanted: dict[_Key, Variant] = {("ablated", None): run.whole}
    wanted |= {("groups", one): run.of_layers(one) for one in chosen}
    if "layers" in asked:
        for layer in ablation.neurons.counts():
            wanted["by_layer", layer] = run.of_layers([layer])
            wanted["up_to", layer] = run.of_layers(range(layer + 1))
            wanted["since", layer] = run.of_layers(range(layer, n_layers))
    if "positions" in asked:
        for position in range(len(prompt.tokens)) if run.positions is None else run.positions:
            wanted["by_position", position] = Variant(run.whole.places, (position,))
    pairs = ablation.neurons.pairs()
    if "neurons" in asked:
        wanted |= {("by_neuron", pair): run.of([place]) for place, pair in enumerate(pairs)}
    found = run.predictions(wanted)
    if "neurons" in asked:
        alone = [getattr(found["by_neuron", pair], strength) for pair in pairs]
        clean, ablated = (getattr(one, strength) for one in (run.clean, found["ablated", None]))
        ordered = _strongest_first(alone, clean, ablated, pairs)
        found |= {("by_neuron", pairs[place]): found.pop(("by_neuron", pairs[place])) for place in ordered}
        together = {("strongest", n): run.of(ordered[:n]) for n in doubling(len(ordered))}
        without = {("all_but", pairs[place]): run.of({*ordered} - {place}) for place in ordered[:left_out]}
        found |= run.predictions({**together, **without})
    filled: dict[str, Any] = {}
    for (name, key), one in found.items():
        filled.setdefault(name, {})[key] = one
    filled["ablated"] = found["ablated", None]
    return Trace(
        target=run.target, clean=run.clean, direct=run.direct() if "direct" in asked else None, **filled
    )


class _Runs:
    """The runs of one trace, each made once."""

    def __init__(self, model: Any, prompt: Prompt, ablation: Ablation, budget: int | None) -> None:
        given = ablation.intervention
        self.positions: tuple[int, ...] | None = None
        if given.positions is not None and not given.everywhere:
            # Variants know positions too, and in models that run rows and positions as one only they do.
            self.positions = _positions(given.positions, len(prompt.tokens))
            ablation = replace(ablation, intervention=replace(given, positions=None))
        self._model, self._prompt, self._ablation, self._budget = model, prompt, ablation, budget
        self.whole = self.of(range(len(ablation.neurons)))
        clean = last_hidden(model, prompt.tokens, ablation, [Variant(())], desc="clean")
        target = prompt.target
        (self.clean,) = read_predictions(model, clean, target or 0, prompt.following)
        if target is None:
            target = self.clean.argmax
            (self.clean,) = read_predictions(model, clean, target, prompt.following)
        self.target: int = target
        self._known: dict[Variant, Prediction] = {}

    def of(self, places: Iterable[int]) -> Variant:
        """Some neurons, at the positions of the ablation."""
        return Variant(tuple(sorted(places)), self.positions)

    def of_layers(self, layers: Iterable[int]) -> Variant:
        """The neurons of some layers."""
        inside = {*layers}
        numbers = self._ablation.neurons.layer.tolist()
        return self.of(place for place, layer in enumerate(numbers) if layer in inside)

    def predictions(self, wanted: Mapping[_Key, Variant]) -> dict[_Key, Prediction]:
        """The prediction under each variant."""
        new = [one for one in dict.fromkeys(wanted.values()) if not one.empty and one not in self._known]
        tokens = self._prompt.tokens
        if new:
            hidden = last_hidden(self._model, tokens, self._ablation, new, budget=self._budget)
            read = read_predictions(self._model, hidden, self.target, self._prompt.following)
            self._known |= dict(zip(new, read, strict=True))
        return {name: self.clean if one.empty else self._known[one] for name, one in wanted.items()}

    def direct(self) -> Direct[Prediction]:
        """See `rwcore.ablation.direct`."""
        last = len(self._prompt.tokens) - 1
        if self.whole.empty or (self.positions is not None and last not in self.positions):
            return Direct(self.clean, self.clean)
        hidden = direct_hidden(self._model, self._prompt.tokens, self._ablation)
        both = torch.stack([hidden.frozen, hidden.recomputed])
        frozen, recomputed = read_predictions(self._model, both, self.target, self._prompt.following)
        return Direct(frozen=frozen, recomputed=recomputed)


def doubling(count: int) -> list[int]:
    """1, 2, 4, … below a number, and the number; none for 0."""
    return [2**power for power in range(count.bit_length()) if 2**power < count] + [count] * (count > 0)


def _strongest_first(
    alone: Sequence[float], clean: float, ablated: float, pairs: Sequence[Neuron]
) -> list[int]:
    """Places of the neurons by the share of the effect that each has alone; ties by layer and neuron."""
    sign = math.copysign(1.0, clean - ablated)
    return sorted(range(len(alone)), key=lambda place: (-sign * (clean - alone[place]), pairs[place]))


def _positions(positions: Sequence[int], length: int) -> tuple[int, ...]:
    """The positions of an ablation, which a prompt must have."""
    if max(positions) >= length:
        raise OptionError(
            f"there is no position {max(positions)}: the prompt has {length} tokens",
            where="positions",
            remedy=f"positions are 0 to {length - 1}",
        )
    return tuple(sorted(positions))


def _group(layers: Sequence[int], n_layers: int) -> tuple[int, ...]:
    group = tuple(sorted({*layers}))
    if not group or group[0] < 0 or group[-1] >= n_layers:
        raise OptionError(
            f"there is no group of layers {','.join(map(str, layers)) or '(empty)'}",
            where="groups",
            remedy=f"layers are 0 to {n_layers - 1}",
        )
    return group


def _checked(parts: Iterable[str], strength: str, left_out: int) -> frozenset[str]:
    asked = frozenset(parts)
    if unknown := sorted(asked - {*PARTS}):
        raise OptionError(f"there is no part {unknown[0]!r}", where="parts", remedy=f"use {', '.join(PARTS)}")
    if strength not in STRENGTHS:
        raise OptionError(
            f"there is no strength {strength!r}", where="strength", remedy=f"use {', '.join(STRENGTHS)}"
        )
    if left_out < 0:
        raise OptionError(f"{left_out} neurons cannot be left out", where="left_out", remedy="give 0 or more")
    return asked
