"""Functional roles of a model's neurons, and how they go with its read-write classes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int8
from torch import Tensor

from rwcore.errors import OptionError
from rwcore.models.residual import bos_token
from rwcore.stats.classes import UNDEFINED, RWClass, class_codes, classes_of
from rwcore.stats.cosines import COSINES
from rwcore.stats.roles.attention import ACTIVATION, DEACTIVATION, AttentionScores, attention_neurons
from rwcore.stats.roles.choose import N_PARTITION, NONE, PREDICTION, ROLES, SUPPRESSION, Roles, choose_roles
from rwcore.stats.roles.contingency import (
    Association,
    association_test,
    association_within_layers,
    contingency,
    members,
)
from rwcore.stats.roles.entropy import N_ENTROPY, N_NULL, check_null_directions, entropy_neurons
from rwcore.stats.roles.moments import MOMENTS, TokenMoments
from rwcore.store import MANIFEST, read_arrays, read_json
from rwcore.studies.role_artefacts import ARRAYS, attention_folder, entropy_folder, moments_folders
from rwcore.studies.weights import WeightStudy
from rwcore.weights.shape import ModelShape

DEFINITION = "functional_roles/1"

ENTROPY = "entropy"
COLUMNS = ("layer", "neuron", "role", "class", *MOMENTS, *COSINES)


@dataclass(frozen=True)
class RoleStudy:
    """The functional roles of one model's neurons, and how they go with its read-write classes.

    Gate signs are folded where there is a gate, so skews and attention scores are those of an active
    neuron with a positive input.

    Attributes:
        weights: The weight study of the model: weights, classes, store, engine.
        partition: Number of partition neurons.
        n_null: Number of directions in which the unembedding is weakest.
        n_entropy: Number of entropy neurons.
        bos: The token texts begin with; None for the model's own.
    """

    weights: WeightStudy
    partition: int = N_PARTITION
    n_null: int = N_NULL
    n_entropy: int = N_ENTROPY
    bos: int | None = None

    @cached_property
    def shape(self) -> ModelShape:
        """The shape of the model."""
        return self.weights.mlp_weights().shape

    @property
    def classes(self) -> tuple[RWClass, ...]:
        """The read-write classes the neurons can have."""
        return classes_of(self.weights.cosines)

    @cached_property
    def class_codes(self) -> Int8[Tensor, "layer neuron"]:
        """The read-write class of every neuron."""
        return class_codes(self.weights.cosines)

    @cached_property
    def moments(self) -> TokenMoments:
        """Moments of the cosines of every neuron with all tokens."""
        return TokenMoments.stack(read_arrays(folder / ARRAYS) for folder in self._moments_folders)

    @cached_property
    def _moments_folders(self) -> list[Path]:
        return moments_folders(self.weights)

    @cached_property
    def entropy_ratio(self) -> Float[Tensor, " neuron"]:
        """The share of each last-layer neuron's output vector that the unembedding hardly reads."""
        return read_arrays(entropy_folder(self.weights, self.n_null) / ARRAYS)["ratio"]

    @cached_property
    def bos_token(self) -> int:
        """The token whose key the heads are asked for.

        Raises:
            OptionError: The token asked for is not in the vocabulary.
            ModelError: The model declares none.
        """
        if self.bos is not None and not 0 <= self.bos < self.shape.vocab:
            raise OptionError(
                f"there is no token {self.bos}",
                where=f"--bos {self.bos}",
                remedy=f"give a token id from 0 to {self.shape.vocab - 1}",
            )
        return bos_token(self.weights.local) if self.bos is None else self.bos

    @cached_property
    def attention_scores(self) -> AttentionScores:
        """How strongly each neuron writes what heads of the next layer ask of the first token.

        Raises:
            ModelError: The model's heads normalise queries and keys, it is no decoder, or it has no first
                token.
        """
        return AttentionScores.from_arrays(
            read_arrays(attention_folder(self.weights, self.bos_token) / ARRAYS)
        )

    @property
    def provenance(self) -> dict[str, object]:
        """What produced the moments, of the first layer."""
        return dict(read_json(self._moments_folders[0] / MANIFEST))

    @cached_property
    def chosen(self) -> Roles:
        """Which neurons are partition, prediction and suppression neurons.

        Raises:
            OptionError: There are not more neurons than partition neurons.
        """
        self.check()
        return choose_roles(self.moments, self.partition)

    def check(self) -> None:
        """Refuse impossible options before anything is computed.

        Raises:
            OptionError: A number of neurons or directions is out of range.
        """
        neurons = self.shape.n_layers * self.shape.d_mlp
        if not 1 <= self.partition < neurons:
            raise OptionError(
                f"{self.partition} partition neurons cannot be chosen from {neurons} neurons",
                where=f"--partition {self.partition}",
                remedy=f"give a number from 1 to {neurons - 1}",
            )
        check_null_directions(self.n_null, self.shape.d_model)
        if not 0 <= self.n_entropy <= self.shape.d_mlp:
            raise OptionError(
                f"{self.n_entropy} entropy neurons cannot be taken from {self.shape.d_mlp} neurons",
                where=f"--entropy-neurons {self.n_entropy}",
                remedy=f"give a number from 0 to {self.shape.d_mlp}",
            )

    def roles(self) -> pd.DataFrame:
        """The neurons that are partition, prediction or suppression neurons.

        Returns:
            ``layer``, ``neuron``, ``role``, ``class``, ``mean``, ``variance``, ``skew``, ``kurtosis``,
            ``gatelin``, ``gateout`` (NaN without a gate), ``linout``, sorted by layer and neuron.
        """
        return self._described(self.chosen.codes != NONE)

    def _described(self, chosen: Bool[Tensor, "layer neuron"]) -> pd.DataFrame:
        """What is known about some neurons; columns as `roles` returns them."""
        layer, neuron = chosen.nonzero(as_tuple=True)
        names = [*(one.name for one in self.classes), UNDEFINED]
        cosines = self.weights.cosines.present()
        return pd.DataFrame(
            {
                "layer": layer.numpy(),
                "neuron": neuron.numpy(),
                "role": [ROLES[code] for code in self.chosen.codes[chosen].tolist()],
                "class": [names[code] for code in self.class_codes[chosen].tolist()],
                **{name: values[chosen].numpy() for name, values in self.moments.to_arrays().items()},
                **{
                    name: cosines[name][chosen].numpy() if name in cosines else float("nan")
                    for name in COSINES
                },
            },
            columns=[*COLUMNS],
        ).astype({"role": "str", "class": "str"})

    def entropy(self) -> pd.DataFrame:
        """The neurons of the last layer by the share of their output that the unembedding hardly reads.

        Returns:
            ``layer``, ``neuron``, ``ratio``, ``entropy`` (whether it counts as an entropy neuron), ``role``,
            ``class``; by ratio, largest first, undefined ones last.
        """
        last = torch.zeros_like(self.chosen.codes, dtype=torch.bool)
        last[-1] = True
        found = entropy_neurons(self.entropy_ratio, self.n_entropy)
        frame = self._described(last).assign(ratio=self.entropy_ratio.numpy())
        frame["entropy"] = frame["neuron"].isin(found)
        ordered = frame.sort_values(["ratio", "neuron"], ascending=[False, True], ignore_index=True)
        return ordered[["layer", "neuron", "ratio", "entropy", "role", "class"]]

    def attention(self) -> pd.DataFrame:
        """The neurons that make a head of the next layer look at the first token, or away from it.

        Returns:
            ``layer``, ``neuron``, ``head``, ``score``, ``effect``, ``role``, ``class``. In the paper, neurons
            that are partition, prediction or suppression neurons are dropped: here ``role`` says it.
        """
        frame = attention_neurons(self.attention_scores)
        known = self._described(self._marked(frame))
        return frame.assign(role=known["role"], **{"class": known["class"]})

    def _marked(self, neurons: pd.DataFrame) -> Bool[Tensor, "layer neuron"]:
        """True at the neurons of some rows."""
        marked = torch.zeros_like(self.chosen.codes, dtype=torch.bool)
        marked[tuple(torch.tensor(neurons[["layer", "neuron"]].to_numpy(dtype="int64")).T)] = True
        return marked

    def members(self, *, attention: bool = True) -> dict[str, Bool[Tensor, "layer neuron"]]:
        """Which neurons have which role.

        Args:
            attention: Also the attention (de)activation neurons without another role.

        Returns:
            `ROLES`, which exclude each other, then ``entropy`` (may overlap with those) and the two kinds of
            attention neurons.
        """
        named = members(self.chosen.codes)
        named[ENTROPY] = torch.zeros_like(named[ROLES[NONE]])
        named[ENTROPY][-1, entropy_neurons(self.entropy_ratio, self.n_entropy)] = True
        if attention:
            frame = self.attention()
            for effect in (ACTIVATION, DEACTIVATION):
                rows = frame[(frame["effect"] == effect) & (frame["role"] == ROLES[NONE])]
                named[effect] = self._marked(rows)
        return named

    def contingency(self, *, attention: bool = True) -> pd.DataFrame:
        """Neurons per role and class; see `rwcore.stats.roles.contingency.contingency`."""
        return contingency(self.members(attention=attention), self.class_codes, self.classes)

    def association(self) -> Association:
        """Whether role (partition, prediction, suppression, none) and class hang together."""
        return association_test(contingency(self.chosen.codes, self.class_codes, self.classes))

    def association_within_layers(self) -> Association:
        """The same among the neurons of one layer, so that depth alone explains nothing."""
        return association_within_layers(self.chosen.codes, self.class_codes)

    def clearest(self, role: int) -> dict[str, Any] | None:
        """The neuron of a role with the largest kurtosis, the first of equal ones; None if there is none.

        Args:
            role: Place in `ROLES`, e.g. `rwcore.stats.roles.choose.PREDICTION`.
        """
        frame = self.roles()
        frame = frame[frame["role"] == ROLES[role]]
        if frame.empty:
            return None
        row = frame.iloc[int(frame["kurtosis"].to_numpy().argmax())]
        return {
            "layer": int(row["layer"]),
            "neuron": int(row["neuron"]),
            "class": str(row["class"]),
            "kurtosis": float(row["kurtosis"]),
        }

    def summary(self, *, attention: bool = True) -> dict[str, Any]:
        """The numbers a person wants to see first, as JSON takes them."""
        named = self.members(attention=attention)
        top = self.entropy().head(self.n_entropy)
        return {
            "neurons": self.chosen.codes.numel(),
            "counts": {role: int(chosen.sum()) for role, chosen in named.items()},
            "variance_threshold": self.chosen.variance_threshold,
            "kurtosis_threshold": self.chosen.kurtosis_threshold,
            "clearest_prediction": self.clearest(PREDICTION),
            "clearest_suppression": self.clearest(SUPPRESSION),
            "entropy_neurons": top[["layer", "neuron", "ratio", "class"]].to_dict("records"),
            "flagged_attention_neurons": len(self.attention()) if attention else None,
            "association": asdict(self.association()),
            "association_within_layers": asdict(self.association_within_layers()),
        }


def role_study(
    study: WeightStudy,
    *,
    partition: int = N_PARTITION,
    n_null: int = N_NULL,
    n_entropy: int = N_ENTROPY,
    bos: int | None = None,
) -> RoleStudy:
    """The roles of the neurons of a model; see `RoleStudy` for the options.

    Args:
        study: The weight study of the model.
        partition: Number of partition neurons.
        n_null: Number of directions in which the unembedding is weakest.
        n_entropy: Number of entropy neurons.
        bos: The token texts begin with; None for the model's own.
    """
    return RoleStudy(study, partition, n_null, n_entropy, bos)
