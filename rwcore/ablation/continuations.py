"""What a model says comes next at chosen places, with and without an ablation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import groupby
from typing import Any

import torch
from jaxtyping import Float, Float32, Int32, Int64
from torch import Tensor

from rwcore.ablation.head import Unembedding
from rwcore.ablation.hooks import ablating
from rwcore.ablation.interventions import Ablation
from rwcore.ablation.metrics import run_to_the_end
from rwcore.corpora.batches import Batch
from rwcore.corpora.tokens import TokenCorpus
from rwcore.errors import OptionError, StoreError

TOP = 5
LISTS = ("clean", "ablated", "promoted", "suppressed")


@dataclass(frozen=True, eq=False)
class Continuations:
    """The tokens with the largest numbers at each place, the largest first, equal ones by id.

    Attributes:
        places: Row and position of each place, ascending.
        clean_ids: The most probable next tokens of the clean model.
        clean_values: Their probabilities.
        ablated_ids: The most probable next tokens of the ablated model.
        ablated_values: Their probabilities.
        promoted_ids: The tokens that the intact neurons promote most: largest clean - ablated logit.
        promoted_values: Clean - ablated logit, less its mean over the vocabulary (which no probability
            depends on).
        suppressed_ids: The tokens that the intact neurons suppress most: smallest clean - ablated logit.
        suppressed_values: Likewise.
    """

    places: Int64[Tensor, "place 2"]
    clean_ids: Int32[Tensor, "place top"]
    clean_values: Float32[Tensor, "place top"]
    ablated_ids: Int32[Tensor, "place top"]
    ablated_values: Float32[Tensor, "place top"]
    promoted_ids: Int32[Tensor, "place top"]
    promoted_values: Float32[Tensor, "place top"]
    suppressed_ids: Int32[Tensor, "place top"]
    suppressed_values: Float32[Tensor, "place top"]

    def to_arrays(self) -> dict[str, Tensor]:
        """The arrays by name, as `from_arrays` takes them."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Tensor]) -> Continuations:
        """The inverse of `to_arrays`.

        Raises:
            StoreError: Arrays are missing or too many, or do not belong together.
        """
        wanted = {field.name for field in fields(cls)}
        lists = {tuple(array.shape) for name, array in arrays.items() if name != "places"}
        if set(arrays) != wanted or len(lists) != 1 or [*lists.pop()][:1] != [len(arrays["places"])]:
            shapes = {name: tuple(array.shape) for name, array in arrays.items()}
            raise StoreError(
                f"these are no continuations: {shapes}", remedy="delete the artefact; it is computed again"
            )
        return cls(**arrays)

    def at(self, row: int, position: int) -> dict[str, list[tuple[int, float]]]:
        """The lists of one place by name (`LISTS`): token ids and numbers.

        Raises:
            StoreError: The place is not there.
        """
        found = (self.places == torch.tensor([row, position])).all(dim=1).nonzero()[:, 0].tolist()
        if len(found) != 1:
            raise StoreError(
                "there is no continuation of this prediction",
                where=f"row {row}, position {position}",
                remedy="compute those of the examples that are shown",
            )
        return {
            name: list(
                zip(
                    getattr(self, f"{name}_ids")[found[0]].tolist(),
                    getattr(self, f"{name}_values")[found[0]].tolist(),
                    strict=True,
                )
            )
            for name in LISTS
        }


def continuations(
    model: Any,
    corpus: TokenCorpus,
    places: Sequence[tuple[int, int]],
    ablation: Ablation,
    clean: Float[Tensor, "place d_model"],
    *,
    top: int = TOP,
) -> Continuations:
    """What a model predicts at some places, clean and ablated.

    Logits are made of one place at a time.

    Args:
        model: What `rwcore.models.load.load_bridge` returns.
        corpus: The rows.
        places: Row and position of each, ascending.
        ablation: Of neurons of this model.
        clean: `hidden_states` of the model without ablation at these places.
        top: Length of each list; the whole vocabulary if it is shorter.

    Raises:
        OptionError: A list has no length, a place is not in the corpus, or a neuron is not in the model.
        NotGatedError: A condition is asked of a model without a gate.
    """
    if top < 1:
        raise OptionError(f"lists of {top} tokens", where="top", remedy="give 1 or more")
    with ablating(model, ablation):
        ablated = hidden_states(model, corpus, places)
    unembedding = Unembedding.of(model)
    columns: dict[str, list[Tensor]] = {}
    for pair in zip(clean.to(ablated), ablated, strict=True):
        for name, array in _lists(unembedding, torch.stack(pair), top).items():
            columns.setdefault(name, []).append(array)
    arrays = {name: torch.stack(found).cpu() for name, found in columns.items()}
    if not places:
        empty = {"ids": torch.zeros(0, top, dtype=torch.int32), "values": torch.zeros(0, top)}
        arrays = {f"{name}_{kind}": array for name in LISTS for kind, array in empty.items()}
    return Continuations(torch.tensor(places, dtype=torch.int64).reshape(-1, 2), **arrays)


def hidden_states(
    model: Any, corpus: TokenCorpus, places: Sequence[tuple[int, int]], *, whole: bool = False
) -> Float[Tensor, "place d_model"]:
    """What the unembedding reads at some places. Each row is run alone.

    Args:
        model: What `rwcore.models.load.load_bridge` returns, perhaps with hooks that ablate.
        corpus: The rows.
        places: Row and position of each, ascending.
        whole: Run rows to their ends and not to their last place only: what is found at a place does then
            not depend, not even in its last digit, on which other places are asked for.

    Raises:
        OptionError: A place is not in the corpus, or they are not ascending.
    """
    for row, position in places:
        if not 0 <= row < len(corpus) or not 0 <= position < int(corpus.lengths[row]):
            raise OptionError(
                "the corpus has no such place",
                where=f"row {row}, position {position} of {corpus.spec.id}",
                remedy=f"rows are 0 to {len(corpus) - 1}",
            )
    if [*places] != sorted(set(places)):
        raise OptionError("places must be ascending, each there once", remedy="sort them")
    found = [torch.zeros(0, model.cfg.d_model)]
    for row, group in groupby(places, key=lambda place: place[0]):
        positions = [position for _, position in group]
        tokens = corpus.row(row)[None].long()
        tokens = tokens if whole else tokens[:, : positions[-1] + 1]
        batch = Batch(0, torch.tensor([row]), tokens, torch.ones_like(tokens, dtype=torch.bool))
        # Rows of an index are a copy: the hidden states of the whole row are not kept alive.
        found.append(run_to_the_end(model, batch).hidden[0, positions])
    return torch.cat(found[1:] or found)


@torch.no_grad()
def _lists(unembedding: Unembedding, hidden: Float[Tensor, "2 d_model"], top: int) -> dict[str, Tensor]:
    """The lists of one place by the names of their arrays."""
    logits = unembedding.logits(hidden)
    clean, ablated = logits.softmax(dim=1)
    change = logits[0] - logits[1]
    change -= change.mean()
    found = {}
    for name, values, sign in zip(LISTS, (clean, ablated, change, change), (1, 1, 1, -1), strict=True):
        ids = _largest(sign * values, top)
        found[f"{name}_ids"], found[f"{name}_values"] = ids.to(torch.int32), values[ids]
    return found


def _largest(values: Float[Tensor, " vocab"], top: int) -> Int64[Tensor, " top"]:
    """The indices of the largest values, equal ones ascending: `torch.topk` leaves their order open."""
    top = min(top, len(values))
    candidates = (values >= values.topk(top).values[-1]).nonzero()[:, 0]
    order = torch.sort(values[candidates], descending=True, stable=True).indices
    return candidates[order[:top]]
