"""What frequencies of neurons say together with their weights, whoever has measured them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd
import torch
from jaxtyping import Float, Int8
from torch import Tensor

from rwcore.activations.fold import fold_summary
from rwcore.activations.frequencies import class_frequencies, frequency_correlations
from rwcore.activations.intervals import Estimate, jackknife
from rwcore.activations.quadrants import QUADRANTS, QUANTITIES, SUMMARY
from rwcore.activations.summary import Summary
from rwcore.activations.summary_pt import read_summary
from rwcore.errors import NotGatedError, StoreError
from rwcore.stats.classes import UNDEFINED, RWClass, class_codes, classes_of
from rwcore.studies.weights import WeightStudy
from rwcore.weights.fold import layer_gate_sign
from rwcore.weights.mlp import mlp_weights
from rwcore.weights.shape import read_shape


@dataclass(frozen=True)
class FrequencyStudy(ABC):
    """Frequencies and means of every neuron of a model, and its weights.

    Attributes:
        weights: The weight study of the model.
    """

    weights: WeightStudy

    @property
    @abstractmethod
    def summary(self) -> Summary:
        """Frequencies, means and extremes of all layers, gate signs folded."""

    def without_groups(self) -> Iterator[Float[Tensor, "layer quadrant neuron"]]:
        """Frequencies of the quadrants without each group of documents in turn; none if unknown."""
        return iter(())

    def frequencies(self) -> dict[str, Float[Tensor, "layer neuron"]]:
        """Share of the tokens, by name: ``summary`` (gate > 0, in ≠ 0) and the quadrants; float64."""
        return named_frequencies(self.summary.frequencies)

    def mean_norms(self) -> dict[str, Float[Tensor, "layer neuron"]]:
        """How much a neuron writes when it is in a quadrant: ``|mean(post)| · ‖out‖``, by name; float64.

        ``summary`` is ``Σ_q f_q · |mean_q(post)| · ‖out‖``, the mean of |post| · ‖out‖ over all tokens,
        since post has one sign within a quadrant. A quadrant that never occurs counts as 0.

        Source: ablations and frequencies specification, section 5.2.
        """
        norm = self.weights.statistics.norm_out.double()
        size = self.summary.means[:, :, QUANTITIES.index("post")].abs().nan_to_num(nan=0.0) * norm[:, None]
        overall = (self.summary.frequencies * size).sum(dim=1)
        return {SUMMARY: overall, **{name: size[:, place] for place, name in enumerate(QUADRANTS)}}

    @cached_property
    def class_codes(self) -> Int8[Tensor, "layer neuron"]:
        """Read-write class of every neuron."""
        return class_codes(self.weights.cosines)

    @property
    def classes(self) -> tuple[RWClass, ...]:
        """The classes that neurons of this model can have, in canonical order."""
        return classes_of(self.weights.cosines)

    def class_names(self) -> list[str]:
        """Name of the class of every neuron, layer by layer."""
        names = [*(one.name for one in self.classes), UNDEFINED]
        return [names[code] for code in self.class_codes.flatten().tolist()]

    def class_frequency(self, name: str = SUMMARY) -> pd.DataFrame:
        """How often the neurons of each class fire, against random neurons of the same layers.

        Args:
            name: ``summary`` (gate > 0) or a quadrant.

        Returns:
            ``class`` (canonical order), ``n`` (neurons), ``true`` and ``baseline`` (mean frequencies; see
            `rwcore.activations.frequencies.class_frequencies`), ``low`` and ``high`` (95 % interval of
            ``true`` over documents). NaN for a class without neurons.
        """
        if name not in self._tables:
            self._tables[name] = self._class_frequency(name)
        return self._tables[name].copy()

    @cached_property
    def _tables(self) -> dict[str, pd.DataFrame]:
        """Tables that were made, by name: a baseline takes seconds in a large model."""
        return {}

    def _class_frequency(self, name: str) -> pd.DataFrame:
        codes, classes = self.class_codes, self.classes
        frame = class_frequencies(self.frequencies()[name], codes, classes)
        members = [codes == code for code in range(len(classes))]

        def means(frequencies: Mapping[str, Tensor]) -> dict[str, float]:
            found = frequencies[name]
            return {
                one.name: float(found[inside].mean()) for one, inside in zip(classes, members, strict=True)
            }

        intervals = self.intervals(means)
        return frame.assign(
            low=[intervals[one].low for one in frame["class"]],
            high=[intervals[one].high for one in frame["class"]],
        )

    def intervals(
        self, reduce: Callable[[Mapping[str, Float[Tensor, "layer neuron"]]], Mapping[str, float]]
    ) -> dict[str, Estimate]:
        """Numbers with 95 % intervals over documents; see `rwcore.activations.intervals`.

        Args:
            reduce: Computes the numbers, by name, from frequencies as `frequencies` returns them.

        Returns:
            Estimates; their ends are NaN where frequencies are not known by group of documents.
        """
        return jackknife(reduce, self.frequencies(), map(named_frequencies, self.without_groups()))

    def correlations(self) -> pd.DataFrame:
        """See `rwcore.activations.frequencies.frequency_correlations`."""
        if "correlations" not in self._tables:
            self._tables["correlations"] = frequency_correlations(self.frequencies(), self.weights.cosines)
        return self._tables["correlations"].copy()


def named_frequencies(
    frequencies: Float[Tensor, "layer quadrant neuron"],
) -> dict[str, Float[Tensor, "layer neuron"]]:
    """The frequency of gate > 0 as published (the sum of its two quadrants), and that of each quadrant."""
    each = {name: frequencies[:, place] for place, name in enumerate(QUADRANTS)}
    return {SUMMARY: each["gate+_in+"] + each["gate+_in-"], **each}


@dataclass(frozen=True)
class PublishedFrequencies(FrequencyStudy):
    """Frequencies from a file of the original system, in place of a pass.

    Attributes:
        file: ``summary.pt`` or ``summary_refactored.pt``.
        folded: Whether its gate signs are folded ("refactored").
    """

    file: Path
    folded: bool

    @cached_property
    def summary(self) -> Summary:
        """The content of the file, gate signs folded.

        Raises:
            StoreError: The file is missing, damaged, of another layout, or of a model of another shape.
            NotGatedError: The MLPs of the model have no gate.
        """
        require_gate(self.weights)
        found = read_summary(self.file)
        have, needed = tuple(found.gate_frequency.shape), tuple(self.class_codes.shape)
        if have != needed:
            raise StoreError(
                f"the file is about {have[0]} layers of {have[1]} neurons, {self.weights.local.spec.id} has "
                f"{needed[0]} of {needed[1]}",
                where=str(self.file),
                remedy="name the model that the file was made from",
            )
        return found if self.folded else fold_summary(found, gate_signs(self.weights).float())


def require_gate(weights: WeightStudy) -> None:
    """Refuse a model without gates, before anything is computed.

    Raises:
        NotGatedError: The MLPs of the model have no gate.
    """
    if not read_shape(weights.local).gated_mlp:
        raise NotGatedError(
            "activation quadrants are asked of a model whose MLPs have no gate",
            where=weights.local.spec.id,
            remedy="use a gated model (Llama, OLMo, Gemma, Qwen, Mistral, …)",
        )


def gate_signs(weights: WeightStudy) -> Int8[Tensor, "layer neuron"]:
    """The sign of cos(gate, in) of every neuron, +1 for 0, which folding makes positive."""
    layers = mlp_weights(weights.local, processing=weights.processing, fold_sign=False)
    signs = (layer_gate_sign(layers[number]).to(torch.int8) for number in range(len(layers)))
    return torch.stack(list(signs))
