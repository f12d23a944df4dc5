r"""A toy model of many features in a plane: why superposition needs large norms and negative biases.

N unit vectors stand evenly on a circle, one for each feature, and one neuron reads each of them. Its weight
has the direction of the feature and the norm α, and it has a bias b,

    α = (1/sin(2π/N))^½,    b = −α² cos(2π/N),

so that a feature written with norm α is read as α²(1 − cos(2π/N)) > 0, its neighbours as exactly 0, and all
others as less. α·b falls about as −(N/2π)^{3/2}.

Source: Gurnee et al., "Finding Neurons in a Haystack" (2023), section on superposition and weight norms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from rwcore.errors import require_least


@dataclass(frozen=True)
class CircleNeuron:
    """The neuron of one feature.

    Attributes:
        norm: α, of its input weight, and of a feature that is there.
        bias: b.
    """

    norm: float
    bias: float

    @property
    def product(self) -> float:
        """α·b."""
        return self.norm * self.bias

    def reads(self, angle: float) -> float:
        """What the neuron makes of a feature at an angle to its own, before the ReLU."""
        return self.norm**2 * math.cos(angle) + self.bias


def circle_neuron(features: int) -> CircleNeuron:
    """The neuron that reads one of N features on a circle.

    Args:
        features: N.

    Raises:
        OptionError: Fewer than 3: two features would stand opposite each other, and the sine is 0.
    """
    require_least("features", features, 3)
    step = 2 * math.pi / features
    norm = math.sin(step) ** -0.5
    return CircleNeuron(norm, -(norm**2) * math.cos(step))
