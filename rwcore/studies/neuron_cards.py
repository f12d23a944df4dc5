"""Cards of single neurons: what they read and write, in cosines and in tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from rwcore.errors import OptionError
from rwcore.models.vocabulary import vocabulary
from rwcore.neurons import choose_neurons, class_members
from rwcore.pages.card_pictures import Cosine
from rwcore.pages.cards import EMBEDDING, UNEMBEDDING, NeuronCard, Norm, Token, TokenList
from rwcore.provenance import commit, software
from rwcore.runtime import progress
from rwcore.stats.case_studies import case_study_neurons
from rwcore.stats.classes import UNDEFINED, class_codes, classes_of
from rwcore.stats.cosines import layer_vectors
from rwcore.stats.null import beta_region
from rwcore.stats.roles.choose import ROLES
from rwcore.stats.tokens import By, top_tokens
from rwcore.studies.weights import (
    DEFINITION,
    WeightStudy,
)
from rwcore.weights.embedding import embedding, unembedding
from rwcore.weights.fold import fold_gate_sign, gate_sign
from rwcore.weights.layer import MlpLayer
from rwcore.weights.mlp import mlp_weights
from rwcore.weights.shape import ModelShape

Matrix = Literal["unembedding", "embedding", "both"]
Neuron = tuple[int, int]

TOKENS_DEFINITION = "top_tokens/1"
BINS = 50
ROLE_FACTS = ("kurtosis", "skew", "variance")


def parse_neuron(text: str, shape: ModelShape) -> Neuron:
    """``31.9634`` as (layer, neuron).

    Raises:
        OptionError: It is not of this form, or the model has no such neuron.
    """
    layer, dot, neuron = text.partition(".")
    if not (dot and layer.isascii() and layer.isdigit() and neuron.isascii() and neuron.isdigit()):
        raise OptionError(
            f"{text!r} is no neuron", remedy="write LAYER.NEURON, both from 0, such as 0.12 or 3.7"
        )
    return check_neuron((int(layer), int(neuron)), shape)


def check_neuron(neuron: Neuron, shape: ModelShape) -> Neuron:
    """The neuron itself, if the model has it.

    Raises:
        OptionError: It does not.
    """
    layer, place = neuron
    if not (0 <= layer < shape.n_layers and 0 <= place < shape.d_mlp):
        raise OptionError(
            f"there is no neuron {layer}.{place} in this model",
            remedy=f"layers are 0 to {shape.n_layers - 1}, the neurons of a layer 0 to {shape.d_mlp - 1}",
        )
    return neuron


def neurons_of_class(study: WeightStudy, name: str, count: int) -> list[Neuron]:
    """Random neurons of a class, always the same ones, by layer and neuron; all if there are no more.

    Args:
        study: The weights.
        name: Name of the class.
        count: How many.

    Raises:
        OptionError: There is no such class, it has no neurons, or ``count`` is less than 1.
    """
    if count < 1:
        raise OptionError(f"{count} neurons cannot be shown", where="--count", remedy="give at least 1")
    codes, classes = class_codes(study.cosines), classes_of(study.cosines)
    members = class_members(codes, name, classes)
    if not len(members):
        found = [one.name for number, one in enumerate(classes) if (codes == number).any()]
        raise OptionError(
            f"no neuron of {study.local.spec.id} is in the class {name!r}",
            where="--class",
            remedy=f"classes with neurons here: {', '.join(found) or 'none'}",
        )
    choice = choose_neurons(codes, name, subset=min(count, len(members)), classes=classes)
    assert choice is not None
    return sorted(choice.chosen.pairs())


def case_studies(study: WeightStudy, roles: pd.DataFrame, *, typical_only: bool = False) -> pd.DataFrame:
    """The clearest neurons of a model; see `rwcore.stats.case_studies.case_study_neurons`.

    Args:
        study: The weights.
        roles: ``layer``, ``neuron``, ``role``, ``kurtosis`` of the neurons that have a role.
        typical_only: Leave out atypical classes.

    Raises:
        OptionError: No neuron qualifies.
    """
    cosines = study.cosines
    codes = torch.zeros(cosines.linout.shape, dtype=torch.int8)
    kurtosis = torch.full(cosines.linout.shape, float("nan"))
    place = torch.tensor(roles[["layer", "neuron"]].to_numpy(dtype=np.int64)).unbind(dim=1)
    codes[place] = torch.tensor([ROLES.index(name) for name in roles["role"]], dtype=torch.int8)
    kurtosis[place] = torch.tensor(roles["kurtosis"].to_numpy(dtype=np.float32))
    found = case_study_neurons(
        kurtosis, codes, class_codes(cosines), classes=classes_of(cosines), typical_only=typical_only
    )
    if found.empty:
        raise OptionError(
            "there are no case-study neurons: no neuron is a prediction or suppression neuron",
            where="--case-studies",
            remedy="name neurons, or use --class",
        )
    return found


def neuron_cards(
    study: WeightStudy,
    neurons: Sequence[Neuron],
    *,
    k: int = 10,
    matrix: Matrix = "unembedding",
    by: By = "signed",
    null: bool = True,
    roles: pd.DataFrame | None = None,
) -> list[NeuronCard]:
    """The cards of some neurons, in the order given; a neuron named twice has one card.

    Vectors are processed like the study's, gate signs folded; they are not changed to unit length. One layer
    and one matrix of tokens are in memory at a time.

    Args:
        study: The weights.
        neurons: (layer, neuron) of each.
        k: Tokens per list.
        matrix: Lists through the ``unembedding`` (of gate, in and out), the ``embedding`` (of what reads:
            gate and in; as processed, that is, without a model's scale), or ``both``.
        by: See `rwcore.stats.tokens.top_tokens`.
        null: Also measure the regions of mismatched pairs of the layers concerned.
        roles: ``layer``, ``neuron``, ``role`` and, where known, `ROLE_FACTS`, of the neurons with a role;
            None if roles are not asked for.

    Raises:
        OptionError: There is no such neuron, or ``k`` is not between 1 and the number of tokens.
        ModelError: The tokenizer is missing or does not match.

    Source: RW functionalities, weight-based case studies; section 7.4 of the specification.
    """
    shape = study.mlp_weights().shape
    chosen = list(dict.fromkeys(check_neuron(one, shape) for one in neurons))
    if matrix not in ("unembedding", "embedding", "both"):
        raise OptionError(f"there is no matrix {matrix!r}", remedy="use unembedding, embedding or both")
    vectors = _vectors(study, chosen)
    lists: dict[Neuron, list[TokenList]] = {one: [] for one in chosen}
    for name in (UNEMBEDDING, EMBEDDING):
        if matrix in (name, "both"):
            for one, found in _lists(study, chosen, vectors, name, k, by).items():
                lists[one] += found
    regions = study.null_regions(sorted({layer for layer, _ in chosen})) if null else None
    codes, classes = class_codes(study.cosines), classes_of(study.cosines)
    names = [*(one.name for one in classes), UNDEFINED]  # an undefined neuron has the code -1
    provenance = _provenance(study)
    cards = []
    for one in chosen:
        role, facts = _role(one, roles)
        cards.append(
            NeuronCard(
                model=study.local.spec.id,
                layer=one[0],
                neuron=one[1],
                class_name=names[int(codes[one])],
                gated=study.cosines.gated,
                turned=vectors.turned[one],
                cosines=_cosines(study, one, regions),
                norms=_norms(study, one),
                ranked_by=by,
                lists=tuple(lists[one]),
                role=role,
                role_facts=facts,
                provenance=provenance,
            )
        )
    return cards


@dataclass(frozen=True)
class _Vectors:
    """The processed vectors of the chosen neurons, one row each, and which of them were turned round."""

    named: dict[str, Tensor]
    turned: dict[Neuron, bool | None]


def _vectors(study: WeightStudy, chosen: Sequence[Neuron]) -> _Vectors:
    weights = mlp_weights(study.local, processing=study.processing)
    rows: dict[Neuron, dict[str, Tensor]] = {}
    turned: dict[Neuron, bool | None] = {}
    layers = sorted({layer for layer, _ in chosen})
    for number in progress(layers, desc="neurons", total=len(layers), unit="layer"):
        places = [place for layer, place in chosen if layer == number]
        layer = weights[number]
        # Copies of a few rows: the layer itself is let go before the next one is read.
        small = MlpLayer(
            number,
            None if layer.gate is None else layer.gate[places],
            layer.in_[places],
            layer.out[places],
        )
        del layer
        signs = None if small.gate is None else gate_sign(small.gate, small.in_)
        vectors = layer_vectors(small if signs is None else fold_gate_sign(small))
        for row, place in enumerate(places):
            rows[number, place] = {name: matrix[row] for name, matrix in vectors.items()}
            turned[number, place] = None if signs is None else bool(signs[row] < 0)
    names = list(next(iter(rows.values())))
    return _Vectors({name: torch.stack([rows[one][name] for one in chosen]) for name in names}, turned)


def _lists(
    study: WeightStudy, chosen: Sequence[Neuron], vectors: _Vectors, matrix: str, k: int, by: By
) -> dict[Neuron, list[TokenList]]:
    """The lists of every neuron through one matrix, vectors in the order gate, in, out, + before −."""
    if matrix == UNEMBEDDING:
        columns = unembedding(study.local, processing=study.processing).W_U
        named = vectors.named
    else:
        columns = embedding(study.local, processing=study.processing).W_E.T
        named = {name: rows for name, rows in vectors.named.items() if name != "out"}
    words = vocabulary(study.local, columns.shape[1])
    found: dict[Neuron, list[TokenList]] = {one: [] for one in chosen}
    for name, rows in named.items():
        defined = rows.isfinite().all(dim=1) & (rows != 0).any(dim=1)
        for sign in (1, -1):
            top = top_tokens(sign * rows, columns, k, by=by)
            for row, one in enumerate(chosen):
                values, ids = top.values[row].tolist(), top.ids[row].tolist()
                tokens = [
                    Token(number, words[number], value) for number, value in zip(ids, values, strict=True)
                ]
                found[one].append(TokenList(name, sign, matrix, tuple(tokens) if defined[row] else ()))
    return found


def _cosines(study: WeightStudy, one: Neuron, regions: pd.DataFrame | None) -> tuple[Cosine, ...]:
    low, high = beta_region(study.mlp_weights().shape.d_model)
    found = []
    for name, values in study.cosines.present().items():
        # With gate signs folded, cos(gate, in) is its own absolute value.
        floor = 0.0 if name == "gatelin" else None
        measured = None
        if regions is not None:
            row = regions[(regions["layer"] == one[0]) & (regions["cosine"] == name)].iloc[0]
            ends = (float(row["low"]) if floor is None else floor, float(row["high"]))
            measured = None if any(map(math.isnan, ends)) else ends
        layer = values[one[0]].double().numpy()
        layer = layer[~np.isnan(layer)]
        value = float(values[one])
        found.append(
            Cosine(
                name,
                value,
                (low if floor is None else floor, high),
                measured,
                float((layer < value).mean()) if value == value else math.nan,
                tuple(np.histogram(np.clip(layer, -1, 1), bins=BINS, range=(-1, 1))[0].tolist()),
            )
        )
    return tuple(found)


def _norms(study: WeightStudy, one: Neuron) -> tuple[Norm, ...]:
    found = []
    for name, values in study.statistics.norms().items():
        layer = values[one[0]].double().numpy()
        layer = layer[np.isfinite(layer)]
        found.append(Norm(name, float(values[one]), float(np.median(layer)) if len(layer) else math.nan))
    return tuple(found)


def _role(one: Neuron, roles: pd.DataFrame | None) -> tuple[str | None, tuple[tuple[str, float], ...]]:
    if roles is None:
        return None, ()
    rows = roles[(roles["layer"] == one[0]) & (roles["neuron"] == one[1])]
    if rows.empty:
        return "none", ()
    row = rows.iloc[0]
    return str(row["role"]), tuple((name, float(row[name])) for name in ROLE_FACTS if name in roles)


def _provenance(study: WeightStudy) -> tuple[tuple[str, str], ...]:
    identity, versions, code = study.local.identity(), software(), commit()
    changed = ", changed" if code.get("dirty") else ""
    pairs = [
        ("model", identity["model"]),
        ("revision", identity["revision"] or identity["content"]),
        ("weights", study.processing.replace("_", " ")),
        ("definition", f"{DEFINITION}, {TOKENS_DEFINITION}"),
        ("rwcore", versions["rwcore"] + (f" (commit {str(code['commit'])[:12]}{changed})" if code else "")),
        ("torch", versions["torch"]),
    ]
    return tuple(pairs)
