"""What an ablation needs to know about its model: gate signs, means, and a place where workers find it."""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Int8
from torch import Tensor

from rwcore.ablation.interventions import Ablation
from rwcore.ablation.saved import save_ablation
from rwcore.activations.summary import Summary
from rwcore.errors import OptionError
from rwcore.store import ArtefactKey, Store
from rwcore.studies.ablation_runs import DEFINITION, ablation_hash
from rwcore.studies.activations import ActivationStudy
from rwcore.studies.frequencies import FrequencyStudy, gate_signs
from rwcore.studies.weights import WeightStudy
from rwcore.weights.shape import read_shape


def signs_of(weights: WeightStudy) -> Int8[Tensor, "layer neuron"]:
    """σ of every neuron; +1 where the model has no gate."""
    shape = read_shape(weights.local)
    if shape.gated_mlp:
        return gate_signs(weights)
    return torch.ones(shape.n_layers, shape.d_mlp, dtype=torch.int8)


def means_of(weights: WeightStudy, means: FrequencyStudy | None) -> Summary:
    """What mean ablation of a model takes its values from.

    Args:
        weights: Of the model.
        means: Frequencies and means that were measured; None if there are none.

    Raises:
        OptionError: There are none, or they are those of another model.
    """
    if means is None:
        raise OptionError(
            "mean ablation needs the means of the neurons",
            where="--mode mean",
            remedy="give an activation study of this model",
        )
    ours, theirs = weights.local.identity(), means.weights.local.identity()
    if ours["content"] != theirs["content"]:
        raise OptionError(
            f"the means are those of {theirs['model']}, another model than {ours['model']}",
            where="--mode mean",
            remedy=f"run `rwcore activations {ours['model']} …` first",
        )
    return means.summary


def means_facts(means: FrequencyStudy | None) -> dict[str, object] | None:
    """Where the means are from, if there are any."""
    if means is None:
        return None
    if not isinstance(means, ActivationStudy):
        return {"source": type(means).__name__}
    corpus = means.corpus
    return {"corpus": corpus.spec.id, "content_hash": corpus.content_hash, "tokens": corpus.n_tokens}


def keep_ablation(ablation: Ablation, store: Store) -> Path:
    """The ablation as an artefact, where workers find it.

    Raises:
        StoreError: The store cannot be written.
    """

    def compute(folder: Path) -> dict[str, object]:
        save_ablation(folder, ablation)
        return {"neurons": len(ablation.neurons), "intervention": ablation.intervention.label}

    return store.get_or_compute(
        ArtefactKey.of("ablation", DEFINITION, ablation=ablation_hash(ablation)), compute
    )
