"""Self-repair of heads, as claims ask it of one model: late heads, the final scale, noise, and neurons."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch

from rwcore.claim.values import Interval
from rwcore.heads.repair import MEAN, RESAMPLE, ZERO, Head
from rwcore.heads.repair_groups import late_layers
from rwcore.heads.repair_intervals import (
    DrawnMeans,
    ends_of,
    excess_of_clipped,
    mean_over_heads,
    of_late_heads,
    repaired,
    scale_over_direct,
    share_overcorrected,
    spread_of_ratio,
    token_values,
)
from rwcore.heads.repair_neurons import exceeding, recurrence, top_shares
from rwcore.models.device import pick_device
from rwcore.plugin.heads.tables import by_head, head_name
from rwcore.plugin.subjects import Kind
from rwcore.studies.activation_pass import bridge
from rwcore.studies.forward import as_processed
from rwcore.studies.head_repair import RepairOptions, RepairResults, RepairStudy
from rwcore.weights.shape import ModelShape, read_shape

if TYPE_CHECKING:
    import pandas as pd
    from jaxtyping import Bool, Float64
    from torch import Tensor

    from rwcore.corpora.tokens import TokenCorpus
    from rwcore.studies.weights import WeightStudy

T = TypeVar("T")

LEAST_LAYERS = 8
"""With fewer layers there are no late ones to speak of: what is measured is shown, and decides nothing."""
LATE_HEADS, LAST_HEADS, ABLATED_HEADS = 96, 4, 12
"""At most so many late heads, of the last layer, and late ones that are ablated in three ways."""
PAPER_TOKENS = 100_000
"""As many as the paper's own breakdown had; every head keeps what happens at each of them."""


@dataclass(frozen=True)
class HeadRepair:
    """Who repairs the loss of the heads of one model.

    A paper's own model and a stand-in are asked about all heads. Any other model is asked about late ones
    (from two thirds of the layers to the last but one, and always of that one), all of them or `LATE_HEADS`
    at equal distances, and about the first `LAST_HEADS` of the last layer.

    Attributes:
        weights: The weight study of the model.
        corpus: Rows of text.
        kind: What kind of subject the model is.
    """

    weights: WeightStudy
    corpus: TokenCorpus
    kind: Kind

    @cached_property
    def shape(self) -> ModelShape:
        """Sizes of the model."""
        return read_shape(self.weights.local)

    @cached_property
    def study(self) -> RepairStudy:
        """The ablations, with values of other rows; nothing is computed before it is asked for."""
        return self._ablated(RESAMPLE, self.heads)

    @property
    def heads(self) -> tuple[Head, ...]:
        """Which heads are ablated."""
        layers, width = self.shape.n_layers, self.shape.n_heads
        if self.kind in (Kind.PAPER, Kind.STAND_IN):
            return tuple((layer, head) for layer in range(layers) for head in range(width))
        # With two or three layers the last but one is not among the late ones.
        asked = sorted({*late_layers(layers), *self._last_but_one})
        late = [(layer, head) for layer in asked for head in range(width)]
        last = [(layers - 1, head) for head in range(min(width, LAST_HEADS))]
        return tuple(sorted({*spread(late, LATE_HEADS), *last}))

    @cached_property
    def means(self) -> DrawnMeans:
        """Of every head at the tokens with its largest direct effects."""
        found = self.study.results
        return self._drawn(found, token_values(found.repairs), found.selected)

    @cached_property
    def everywhere(self) -> DrawnMeans:
        """Of every head at all tokens."""
        found = self.study.results
        return self._drawn(found, token_values(found.repairs))

    def parts(self) -> dict[str, float]:
        """Rounding of the sum of the parts, and repair by what a head of the last layer does not reach."""
        repairs = self.study.results.repairs
        last = torch.from_numpy(self._of_layers(range(self.shape.n_layers - 1, self.shape.n_layers)))
        unreached = [repairs.heads, repairs.mlp] if self._beside else [repairs.heads]
        return {
            "largest_error_of_parts": float(repairs.remainder.abs().max()),
            "repair_by_unreached": max(float(values[last].abs().max()) for values in unreached),
        }

    def late(self) -> dict[str, float | Interval]:
        """Shares of the loss of late heads that are repaired, and of the heads that are."""
        found = of_late_heads(self._late)
        if self.kind in (Kind.PAPER, Kind.STAND_IN):
            first = self._of_layers(range(self.shape.n_layers // 2))
            found["repaired_in_first_half"] = repaired(self.means.only(first))
        return self._said(found)

    def scale(self) -> dict[str, float | Interval]:
        """Repair by the final scale over the direct effect, in the layer before the last."""
        heads = self._kept(self._of_layers(self._last_but_one))
        return self._said({"scale_over_direct_effect": scale_over_direct(self.means.only(heads))})

    def unselected(self) -> dict[str, float | Interval | pd.DataFrame]:
        """How much less is repaired over all tokens; by group of heads where all heads are asked."""
        groups = {"late": self._kept(self._of_layers(late_layers(self.shape.n_layers)))}
        if self.kind in (Kind.PAPER, Kind.STAND_IN):
            groups["all"] = np.ones(len(self.study.heads), bool)
        lost = {
            name: repaired(self.means.only(heads)) - repaired(self.everywhere.only(heads))
            for name, heads in groups.items()
        }
        return {
            **self._said({"loss_of_late_by_selection": lost["late"]}),
            "loss_by_selection": _column({name: float(of[0]) for name, of in lost.items()}, "heads"),
        }

    def clipped(self) -> dict[str, float | Interval]:
        """Clipped shares of the parts against that of the whole, token by token."""
        return self._said({"excess_of_clipped": excess_of_clipped(self._late)})

    def noise(self) -> dict[str, float | Interval]:
        """How repair differs from token to token in a late head."""
        return self._said(
            {
                "deviation_of_ratio": spread_of_ratio(self._late),
                "share_overcorrected": share_overcorrected(self._late),
            }
        )

    def strongest(self) -> dict[str, Any]:
        """Means of every head at its tokens, and which head has the largest direct effect; logits."""
        import pandas as pd

        table = pd.DataFrame({"head": [head_name(head) for head in self.study.heads]})
        of = {"direct_effect": "direct", "logit": "logit_change", "self_repair": "repair"}
        of["repair_by_mlps"] = "mlp"
        for name, quantity in of.items():
            table[name] = self.means[quantity][0]
        first = table.iloc[int(table["direct_effect"].to_numpy().argmax())]
        return {
            **{name: by_head(table, name) for name in of},
            "first_by_direct_effect": str(first["head"]),
            "share_of_mlps_in_first": float(first["repair_by_mlps"] / first["self_repair"]),
        }

    def shrinking(self) -> dict[str, float | Interval]:
        """Share of the tokens at which the final stream becomes smaller, by ablation.

        Of the strongest head of late layers, as far as the final scale repairs it when it is resampled.
        """
        strongest = np.isin(np.arange(len(self.study.heads)), self._strongest)
        found = {"resampled": self.means.only(strongest)}
        for ablation, results in self._other_ablations.items():
            found[ablation] = self._drawn(results, token_values(results.repairs), results.selected)
        helped = found["resampled"]["norm"][0] > 0
        return self._said(
            {
                f"share_shrunk_{name}": mean_over_heads(means.only(helped), "grows")
                for name, means in found.items()
            }
        )

    def identity(self) -> dict[str, float]:
        """Rounding of the sum of the parts, whatever a head's values are replaced by."""
        every = [self.study.results, *self._other_ablations.values()]
        return {"largest_error": max(float(of.repairs.remainder.abs().max()) for of in every)}

    def neurons(self) -> dict[str, float | Interval]:
        """Which neurons of the last MLP repair heads of the layer before the last."""
        found, width = self.study.results, self.shape.d_mlp
        places = np.flatnonzero(self._of_layers(self._last_but_one)).tolist()
        uniform = max(1, width // 100) / width
        sums = found.neurons
        best = (sums.best_clean < 0).double().where(sums.gain > 0, torch.nan)
        values = {"best_erases": best, "over_uniform": torch.full_like(best, torch.nan)}
        outcome = list(found.selected)
        rises, largest = 0, []
        for place in places:
            details, tokens = found.details_of(place), found.selected[place]
            values["over_uniform"][place, tokens] = top_shares(details).double() / uniform
            outcome[place] = found.repairs.mlp[place].topk(len(tokens)).indices
            over = exceeding(details.leading, found.repairs.direct[place][tokens].clamp(min=0)).double()
            # Fractions of the direct effect fall from left to right, so that shares rise.
            rises += int((over.diff(dim=0) > 0).sum()) + int((over.diff(dim=1) < 0).sum())
            largest.append(float(recurrence(details.neuron)["share"].max()))
        chosen = np.isin(np.arange(len(self.study.heads)), places)
        by_effect = self._drawn(found, values, found.selected).only(chosen)
        by_outcome = self._drawn(found, {"best_erases": best}, outcome).only(chosen)
        said = self._said(
            {
                "best_percent_over_uniform": mean_over_heads(by_effect, "over_uniform"),
                "share_of_anti_erasure": mean_over_heads(by_effect, "best_erases"),
                "share_of_anti_erasure_by_outcome": mean_over_heads(by_outcome, "best_erases"),
                "largest_share_of_a_neuron": np.array([np.mean(largest)]),
            }
        )
        return {**said, "largest_share_in_a_head": max(largest), "rises": rises}

    @property
    def _last_but_one(self) -> range:
        layers = self.shape.n_layers
        return range(max(layers - 2, 0), max(layers - 1, 1))

    @property
    def _late(self) -> DrawnMeans:
        return self.means.only(self._kept(self._of_layers(late_layers(self.shape.n_layers))))

    def _of_layers(self, layers: range) -> Bool[np.ndarray, " head"]:
        return np.array([layer in layers for layer, _ in self.study.heads])

    def _kept(self, heads: Bool[np.ndarray, " head"]) -> Bool[np.ndarray, " head"]:
        """Published numbers are of all heads; otherwise those that lose nothing are left out."""
        return heads if self.kind is Kind.PAPER else heads & self.means.lost

    @property
    def _strongest(self) -> list[int]:
        """Places of the heads with the largest direct effects, one of each late layer; ascending."""
        heads, direct = self.study.heads, self.means["direct"][0]
        of_layers = [
            [place for place, head in enumerate(heads) if head[0] == layer]
            for layer in late_layers(self.shape.n_layers)
        ]
        found = [max(places, key=lambda place: float(direct[place])) for places in of_layers if places]
        return spread(found, ABLATED_HEADS)

    @cached_property
    def _other_ablations(self) -> Mapping[str, RepairResults]:
        """The strongest heads, with the mean or nothing in place of their values."""
        heads = tuple(self.study.heads[place] for place in self._strongest)
        return {ablation: self._ablated(ablation, heads).results for ablation in (MEAN, ZERO)}

    def _ablated(self, ablation: str, heads: tuple[Head, ...]) -> RepairStudy:
        corpus = beginning(self.corpus, PAPER_TOKENS) if self.kind is Kind.PAPER else self.corpus
        return RepairStudy(self.weights, corpus, RepairOptions(heads=heads, ablation=ablation))

    def _drawn(
        self, found: RepairResults, values: Mapping[str, Tensor], selected: list[Tensor] | None = None
    ) -> DrawnMeans:
        corpus = self.study.corpus
        row = torch.searchsorted(corpus.offsets, found.token, right=True) - 1
        return DrawnMeans.of(values, corpus.document[row], selected)

    @property
    def _beside(self) -> bool:
        """Whether the MLP of a block reads what its heads read, and does not see them."""
        model = bridge(as_processed(self.weights), pick_device("auto"), "float32")
        return bool(getattr(model.cfg, "parallel_attn_mlp", False))

    def _said(self, found: Mapping[str, Float64[np.ndarray, " draw"]]) -> dict[str, float | Interval]:
        """With intervals over documents; those of a paper's model, which is held to values, without."""
        return {name: self._with_ends(of) for name, of in found.items()}

    def _with_ends(self, draws: Float64[np.ndarray, " draw"]) -> float | Interval:
        value, low, high = ends_of(draws)
        if self.kind is Kind.PAPER:
            return value
        if self.kind is not Kind.STAND_IN and self.shape.n_layers < LEAST_LAYERS:
            return Interval(-math.inf, math.inf, value)
        return value if math.isnan(value) or math.isnan(low) else Interval(low, high, value)


def spread(members: Sequence[T], most: int) -> list[T]:
    """Members of a list at equal distances, at most so many."""
    count = min(most, len(members))
    return [members[number * len(members) // count] for number in range(count)]


def beginning(corpus: TokenCorpus, tokens: int) -> TokenCorpus:
    """The first rows of a corpus, of so many tokens together or a little less; at least two.

    Args:
        corpus: The rows.
        tokens: How many tokens at most.
    """
    rows = int((corpus.offsets[1:] <= tokens).sum())
    rows = min(max(rows, 2), len(corpus))
    end = int(corpus.offsets[rows])
    return dataclasses.replace(
        corpus,
        tokens=corpus.tokens[:end],
        document=corpus.document[:rows],
        offsets=corpus.offsets[: rows + 1],
    )


def _column(values: Mapping[str, float], key: str) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame({key: [*values], "value": [*values.values()]})
