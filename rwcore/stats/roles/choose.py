"""Partition, prediction and suppression neurons from the moments of their cosines with all tokens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int8
from torch import Tensor

from rwcore.errors import OptionError
from rwcore.stats.roles.moments import TokenMoments

# A neuron's code is its role's place here. The roles are disjoint by construction.
ROLES = ("none", "partition", "prediction", "suppression")
NONE, PARTITION, PREDICTION, SUPPRESSION = range(4)

N_PARTITION = 1000


@dataclass(frozen=True)
class Roles:
    """The role of every neuron, and what decided it.

    Attributes:
        codes: Place of the neuron's role in `ROLES`.
        variance_threshold: Smallest variance of a partition neuron.
        kurtosis_threshold: Largest kurtosis of a partition neuron, at least 0; prediction and suppression
            neurons have more.
    """

    codes: Int8[Tensor, "layer neuron"]
    variance_threshold: float
    kurtosis_threshold: float


def choose_roles(
    moments: TokenMoments,
    partition: int = N_PARTITION,
    *,
    gatelin: Float[Tensor, "layer neuron"] | None = None,
) -> Roles:
    """Which neurons are partition, prediction and suppression neurons.

    * partition: the ``partition`` neurons of the model with the largest variance; of equal ones the first
      by layer and neuron;
    * prediction and suppression: kurtosis above ``K``, the largest kurtosis of a partition neuron (0 if
      that is negative), and a positive or negative skew.

    A neuron whose output vector has no direction has no role, nor has one above ``K`` with a skew of zero.

    Args:
        moments: The moments.
        partition: Number of partition neurons.
        gatelin: For gated neurons whose gate signs are *not* folded: cos(gate, in), whose sign is given to
            the skew (zero counts as positive). None if they are folded, or there is no gate.

    Raises:
        OptionError: ``partition`` is less than 1, or not less than the number of neurons.

    Source: RW functionalities, appendix on functional roles; section 7.1 of the specification.
    """
    variance = moments.variance.numpy().astype(np.float64).ravel()
    kurtosis = moments.kurtosis.numpy().astype(np.float64).ravel()
    skew = moments.skew.numpy().astype(np.float64).ravel()
    defined = int((~np.isnan(variance)).sum())
    if not 1 <= partition < defined:
        raise OptionError(
            f"{partition} partition neurons cannot be chosen from {defined} neurons",
            where=f"--partition {partition}",
            remedy=f"give a number from 1 to {defined - 1}"
            if defined > 1
            else "use a model with more than one neuron whose output vector has a direction",
        )
    if gatelin is not None:
        skew = np.where(gatelin.numpy().ravel() < 0, -skew, skew)
    # NaN sorts last, and equal values keep their order.
    chosen = np.argsort(-variance, kind="stable")[:partition]
    bound = max(0.0, float(np.nanmax(kurtosis[chosen], initial=0.0)))
    codes = np.full(variance.shape, NONE, dtype=np.int8)
    codes[(kurtosis > bound) & (skew > 0)] = PREDICTION
    codes[(kurtosis > bound) & (skew < 0)] = SUPPRESSION
    codes[chosen] = PARTITION
    shaped = torch.from_numpy(codes.reshape(moments.variance.shape))
    return Roles(shaped, float(variance[chosen[-1]]), bound)
