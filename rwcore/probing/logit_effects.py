r"""What a neuron does to the logits of tokens by itself, and to tokens with a capital in particular.

    effect = W_Uᵀ w_out,

with the unembedding processed (final norm folded in, centred over d_model and over the vocabulary), so that
an effect is relative to the average token; the scale of the final norm is left out. Neurons of the end of a
sentence should promote tokens that can begin one.

Two groups of tokens, by their texts without white space at the ends:

*   ``Uppercase``: alphabetic, the first letter a capital and not all of them, and the same token in lower
    case (with its white space) is in the vocabulary too;
*   ``lowercase``: the first character is a lower-case letter.

A vocabulary of single letters has no token that begins with a capital and goes on without: there the capitals
themselves are the first group.

Source: Gurnee et al., "Finding Neurons in a Haystack" (2023), section on neurons of sentence ends.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import pandas as pd
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from rwcore.errors import OptionError
from rwcore.models.spec import LocalModel
from rwcore.models.vocabulary import vocabulary
from rwcore.probing.errors import ProbeError
from rwcore.weights.embedding import unembedding
from rwcore.weights.mlp import mlp_weights

GROUPS = ("Uppercase", "lowercase")


def capital_groups(texts: Sequence[str], special: Collection[int] = ()) -> dict[str, Int64[Tensor, " token"]]:
    """Numbers of the tokens of both groups, ascending.

    Args:
        texts: Of every token, as it stands in a text.
        special: Numbers of tokens that no text is made of.
    """
    known = {text for number, text in enumerate(texts) if number not in special}
    found: dict[str, list[int]] = {name: [] for name in GROUPS}
    letters = []
    for number, text in enumerate(texts):
        word = text.strip()
        if number in special or not word:
            continue
        if word.isalpha() and word[0].isupper() and text.lower() in known:
            if not word.isupper():
                found["Uppercase"].append(number)
            elif len(word) == 1:
                letters.append(number)
        elif word[0].islower():
            found["lowercase"].append(number)
    found["Uppercase"] = found["Uppercase"] or letters
    return {name: torch.tensor(numbers, dtype=torch.int64) for name, numbers in found.items()}


def logit_effect(
    out: Float[Tensor, " d_model"], W_U: Float[Tensor, "d_model vocab"]
) -> Float[Tensor, " vocab"]:
    """The effect of a neuron with activation 1 on every logit."""
    return out @ W_U


def effects_by_group(
    effect: Float[Tensor, " vocab"], groups: Mapping[str, Int64[Tensor, " token"]]
) -> pd.DataFrame:
    """How the effects of groups of tokens are distributed.

    Returns:
        ``tokens`` (name of the group), ``n``, ``q1``, ``median``, ``q3``, ``mean``, and ``positive``, the
        share of tokens with an effect above 0.

    Raises:
        ProbeError: A group is empty.
    """
    rows = []
    for name, numbers in groups.items():
        if not len(numbers):
            raise ProbeError(
                f"no token of the vocabulary is in the group {name}",
                where="vocabulary",
                remedy="ask a model whose tokens are cased",
            )
        values = effect[numbers].double()
        quartiles = torch.quantile(values, torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)).tolist()
        positive = (values > 0).double().mean().item()
        rows.append((name, len(numbers), *quartiles, values.mean().item(), positive))
    return pd.DataFrame(rows, columns=["tokens", "n", "q1", "median", "q3", "mean", "positive"])


def capital_effects(local: LocalModel, layer: int, neuron: int, *, sign: int = 1) -> pd.DataFrame:
    """`effects_by_group` of one neuron of a model on this machine, from its files.

    Args:
        local: The model.
        layer: Layer of the neuron.
        neuron: Its number in the layer.
        sign: −1 for a neuron that tells its feature by a negative activation.

    Raises:
        OptionError: There is no such neuron.
        ProbeError: A group of tokens is empty.
        ModelError: There is no tokenizer, or another model's.
        WeightsError: The weights are damaged.
    """
    weights = mlp_weights(local)
    shape = weights.shape
    if not (0 <= layer < shape.n_layers and 0 <= neuron < shape.d_mlp):
        raise OptionError(
            f"neuron {layer}.{neuron} of a model with {shape.n_layers} layers of {shape.d_mlp} neurons",
            where="neuron",
            remedy="numbers start from 0",
        )
    out = weights[layer].out[neuron].clone()  # the layer need not stay while the unembedding is read
    W_U = unembedding(local).W_U
    words = vocabulary(local, W_U.shape[1])
    return effects_by_group(sign * logit_effect(out, W_U), capital_groups(words.texts, words.special))
