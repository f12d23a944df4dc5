"""The pass over a corpus of a model without gates, in the words of a gated one.

Each neuron is taken for a gated one whose in is always 1: its pre-activation is the gate, and post is act. So
half of the quadrants never occur, and there are no signs to fold (see `rwcore.activations.quadrants`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Int8
from torch import Tensor

from rwcore.corpora.tokens import TokenCorpus
from rwcore.errors import OptionError
from rwcore.studies.activations import ActivationStudy, PassOptions
from rwcore.studies.weights import WeightStudy
from rwcore.weights.shape import read_shape


@dataclass(frozen=True)
class PlainActivationStudy(ActivationStudy):
    """A pass of a model without gates."""

    PLAIN: ClassVar[bool] = True

    def _require(self) -> None:
        if self.gated:
            raise OptionError(
                "a pass for models without gates is asked of a gated one",
                where=self.weights.local.spec.id,
                remedy="use ActivationStudy, which folds the signs of the gates",
            )

    def _gate_signs(self) -> Int8[Tensor, "layer neuron"]:
        shape = read_shape(self.weights.local)
        return torch.ones(shape.n_layers, shape.d_mlp, dtype=torch.int8)


def any_activation_study(
    weights: WeightStudy, corpus: TokenCorpus, options: PassOptions | None = None
) -> ActivationStudy:
    """The activation study of a model with or without gates; nothing is computed before it is asked for.

    Args:
        weights: The weight study of the model; its store and engine serve here too.
        corpus: What `rwcore.corpora.prepare.prepare` returns for this model.
        options: How the pass is run.
    """
    kind = ActivationStudy if read_shape(weights.local).gated_mlp else PlainActivationStudy
    return kind(weights, corpus, options or PassOptions())
