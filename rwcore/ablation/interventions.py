"""What is done to neurons while a model runs: the mode, where it applies, and the value it sets.

Everything is said in the **folded** convention: of the neuron after its gate sign σ = sign(gate·in) is folded
into its weights (see `rwcore.weights.fold.fold_gate_sign`). There ``s̃ = σ·s`` stands for what the model as
loaded calls post, s; with SiLU or GELU the sign of s̃ is that of ``gate · in``. The model that runs is not
folded; `rwcore.ablation.hooks` turns the signs.

Source: ablations specification, section 2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int8
from torch import Tensor

from rwcore.activations.quadrants import QUADRANTS, QUANTITIES
from rwcore.activations.summary import Summary
from rwcore.errors import OptionError
from rwcore.neurons import NeuronSet

MODES = ("zero", "mean", "fixed", "threshold", "relu", "multiply")
PARAMETER_MODES = ("fixed", "threshold", "multiply")
CONSTANT_MODES = ("zero", "mean", "fixed")
"""Modes that set the same value at every token."""

SIGNS = ("+", "-")


@dataclass(frozen=True)
class Intervention:
    """What happens to the post of every chosen neuron, and at which tokens.

    ========= ================== =====================
    mode      sets s̃ to          parameter
    ========= ================== =====================
    zero      0                  none
    mean      mean of the neuron none
    fixed     parameter          the value
    threshold min(s̃, parameter)  the largest value left
    relu      max(s̃, 0)          none
    multiply  parameter · s̃      the factor
    ========= ================== =====================

    It happens where all given conditions hold. They are evaluated for each token and neuron on the values of
    the current pass, which the same ablation in earlier layers has already changed, and strictly: at a gate
    (or post) of exactly zero neither sign holds.

    Attributes:
        mode: One of `MODES`.
        gate: Only where gate > 0 (``+``) or gate < 0 (``-``); None for both.
        post: Only where s̃ > 0 or s̃ < 0; None for both.
        parameter: See the table; no mode has a default.
        positions: Only at these positions of every row, from 0, in the tokens the model is given; None for
            all. Where it is given tokens one by one, each is at position 0.
        as_published: Two quirks of the original: fixed, threshold, relu and multiply apply at every token,
            whatever the conditions and positions; and `mean_values` ignores ``post`` unless ``gate`` is
            given too.

    Raises:
        OptionError: There is no such mode or sign, the parameter is missing, superfluous or not finite, or
            positions are none, negative or repeated.

    Source: ablations specification, sections 2.1 and 2.2.
    """

    mode: str
    gate: str | None = None
    post: str | None = None
    parameter: float | None = None
    positions: tuple[int, ...] | None = None
    as_published: bool = False

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise OptionError(f"there is no mode {self.mode!r}", remedy=f"use one of: {', '.join(MODES)}")
        for name, sign in (("gate", self.gate), ("post", self.post)):
            if sign is not None and sign not in SIGNS:
                raise OptionError(
                    f"a sign cannot be {sign!r}", where=name, remedy="use + or -, or leave it out for both"
                )
        self._check_parameter()
        if self.positions is not None:
            self._check_positions(self.positions)

    def _check_parameter(self) -> None:
        needed = self.mode in PARAMETER_MODES
        if needed and (self.parameter is None or not math.isfinite(self.parameter)):
            raise OptionError(
                f"mode {self.mode} needs a finite number, not {self.parameter}",
                where="parameter",
                remedy="there is no default: say which value is set, not exceeded or multiplied with",
            )
        if not needed and self.parameter is not None:
            raise OptionError(
                f"mode {self.mode} takes no parameter, and {self.parameter} is given",
                where="parameter",
                remedy=f"leave it out, or use one of: {', '.join(PARAMETER_MODES)}",
            )

    def _check_positions(self, positions: tuple[int, ...]) -> None:
        whole = all(isinstance(one, int) and not isinstance(one, bool) and one >= 0 for one in positions)
        if not positions or not whole or len(set(positions)) < len(positions):
            raise OptionError(
                f"positions cannot be {positions}",
                where="positions",
                # From the end: padded rows end at different positions.
                remedy="give whole numbers from 0, each once, or leave them out for all positions",
            )

    @property
    def everywhere(self) -> bool:
        """Whether it applies at every token, whatever the values there."""
        restricted = any(one is not None for one in (self.gate, self.post, self.positions))
        return not restricted or (self.as_published and self.mode not in ("zero", "mean"))

    @property
    def conditional(self) -> bool:
        """Whether the sign of gate or post decides where it applies."""
        return not self.everywhere and (self.gate is not None or self.post is not None)

    @property
    def label(self) -> str:
        """All of it in a few words, such as ``zero gate- post+``; no two interventions share a label."""
        words = [self.mode]
        if self.parameter is not None:
            words.append(repr(float(self.parameter)).removesuffix(".0"))
        words += [f"{name}{sign}" for name, sign in (("gate", self.gate), ("post", self.post)) if sign]
        if self.positions is not None:
            words.append("at " + ",".join(map(str, self.positions)))
        if self.as_published:
            words.append("as published")
        return " ".join(words)


@dataclass(frozen=True, eq=False)
class Ablation:
    """Neurons of one model and what is done to them.

    Attributes:
        neurons: Which.
        intervention: What, and where.
        signs: σ of each neuron, +1 or -1, from the processed weights of the model as loaded; +1 for neurons
            without a gate.
        values: What mode ``mean`` sets s̃ of each neuron to, finite; None in the other modes.

    Raises:
        OptionError: A neuron is there twice, signs or values do not belong to the neurons, or values are
            missing or superfluous.
    """

    neurons: NeuronSet
    intervention: Intervention
    signs: Int8[Tensor, " neuron"]
    values: Float[Tensor, " value"] | None = None

    def __post_init__(self) -> None:
        name, count = self.neurons.name, len(self.neurons)
        if len(set(self.neurons.pairs())) < count:
            raise OptionError(
                "a neuron is in the set twice", where=name, remedy="make it a union, which has each once"
            )
        if len(self.signs) != count or not bool((self.signs.abs() == 1).all()):
            raise OptionError(
                f"the signs of {count} neurons must be as many, +1 or -1; {len(self.signs)} are given",
                where=name,
                remedy="take them from the processed weights of the same model",
            )
        if self.intervention.mode != "mean":
            if self.values is not None:
                raise OptionError(
                    f"mode {self.intervention.mode} takes no values", where=name, remedy="leave them out"
                )
            return
        if self.values is None:
            raise OptionError(
                "mean ablation needs the mean of every neuron",
                where=name,
                remedy="give an activation summary of this model (`rwcore activations`)",
            )
        if len(self.values) != count or not bool(self.values.isfinite().all()):
            finite = int(self.values.isfinite().sum())
            raise OptionError(
                f"the means of {count} neurons must be as many finite numbers; {len(self.values)} are given, "
                f"{finite} of them finite",
                where=name,
                remedy="take them from `mean_values` for the same neurons",
            )

    @classmethod
    def of(
        cls,
        neurons: NeuronSet,
        intervention: Intervention,
        *,
        signs: Int8[Tensor, "layer neuron"],
        summary: Summary | None = None,
    ) -> Ablation:
        """The ablation of neurons, with what it needs to know about them taken from tables of all neurons.

        Args:
            neurons: Which.
            intervention: What, and where.
            signs: σ of all neurons of the model as loaded.
            summary: Of the same model, gate signs folded; needed for mode ``mean`` only.

        Raises:
            OptionError: There is no such neuron, or mode ``mean`` has no summary or one of another shape.
        """
        neurons.require_within(signs.shape[0], signs.shape[1])
        values = None
        if intervention.mode == "mean" and summary is not None:
            if summary.gate_frequency.shape != signs.shape:
                # Indices of a small model are also indices of a large one: nothing else would notice.
                raise OptionError(
                    f"the summary is of {list(summary.gate_frequency.shape)} neurons, the model has "
                    f"{list(signs.shape)}",
                    where=neurons.name,
                    remedy="give the activation summary of this model",
                )
            values = mean_values(summary, neurons, intervention)
        places = torch.from_numpy(neurons.layer), torch.from_numpy(neurons.neuron)
        return cls(neurons, intervention, signs[places], values)


def mean_values(
    summary: Summary, neurons: NeuronSet, intervention: Intervention
) -> Float64[Tensor, " neuron"]:
    """Mean post of each neuron over the tokens that a condition lets through.

    ``μ = Σ_q f_q · μ_q / Σ_q f_q`` over the quadrants q that agree with ``gate`` and ``post`` of the
    intervention, with the frequency f_q and the mean post μ_q of each; 0 where these never occur. Post has
    the sign of gate · in, as with SiLU and GELU. Tokens at which gate or in is exactly zero are in no
    quadrant; special tokens are in.

    Args:
        summary: Of all neurons of the model, gate signs folded. Its frequencies are those of the clean
            model.
        neurons: Which.
        intervention: The conditions. As published, ``post`` counts only together with ``gate``.

    Returns:
        In the folded convention and the order of ``neurons``.

    Raises:
        OptionError: The summary has no such neuron.

    Source: ablations specification, section 2.3.
    """
    neurons.require_within(*summary.gate_frequency.shape)
    post = intervention.post
    if intervention.as_published and intervention.gate is None:
        post = None
    inside = [place for place, name in enumerate(QUADRANTS) if _agrees(name, intervention.gate, post)]
    layer, neuron = torch.from_numpy(neurons.layer), torch.from_numpy(neurons.neuron)
    frequency = summary.frequencies[layer, :, neuron][:, inside].double()
    mean = summary.means[layer, :, QUANTITIES.index("post"), neuron][:, inside].double()
    total = frequency.sum(dim=1)
    weighted = (frequency * mean.nan_to_num(nan=0.0)).sum(dim=1)
    return torch.where(total > 0, weighted / total.where(total > 0, 1.0), 0.0)


def _agrees(quadrant: str, gate: str | None, post: str | None) -> bool:
    """Whether a quadrant, such as ``gate-_in+``, has these signs of gate and post."""
    gate_sign, in_sign = (part[-1] for part in quadrant.split("_"))
    post_sign = "+" if gate_sign == in_sign else "-"
    return gate in (None, gate_sign) and post in (None, post_sign)
