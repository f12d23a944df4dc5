"""The circuits of the heads a paper names, with its own tables and settings (C01-C28)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from rwcore.plugin.heads.behaviour import listed_words, with_names
from rwcore.plugin.heads.tables import THRESHOLDS, by_head, first_heads, named_head
from rwcore.plugin.probing_tables import column

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from rwcore.heads.query_key import QKOptions
    from rwcore.plugin.heads.circuits import HeadCircuits
    from rwcore.studies.asked_heads import Head

BADLY, BYTES = 0.1, 256
"""A rank beyond this share of the vocabulary is that of a badly lowered token; single bytes, the first ids,
are left out."""
RELATED = (1, 9)
"""First and last rank at which a source is compared with the token that is lowered most."""
FULL, FIRST_MLP = "EE-B", "EE-B-MLP"
GRID_QUERIES = {"W_EE": FULL, "W_E": "raw", "W_U": "W_U"}
GRID_KEYS = {"W_EE": FULL, "MLP0": FIRST_MLP, "W_E": "raw"}
"""Tables of the grids of median ranks, by their names there."""
FIGURE = "EE-A-MLP"
"""What the figure of ranks calls W_EE: the first MLP alone."""


@dataclass(frozen=True)
class NamedCircuits:
    """Numbers about heads such as L10H7, of all tokens of the vocabulary.

    Attributes:
        circuits: The circuits of the model.
    """

    circuits: HeadCircuits

    def head(self, name: str) -> Head:
        """Layer and number; see `rwcore.plugin.heads.tables.named_head`."""
        return named_head(self.circuits.weights, name)

    def ranks(self, circuit: str, names: Sequence[str], **options: Any) -> dict[str, Tensor]:
        """Ranks of the own token, by the name of the head."""
        heads = {name: self.head(name) for name in names}
        found = self.circuits.ranks(circuit, heads.values(), **options)
        return {name: found[head] for name, head in heads.items()}

    def ov(self, name: str) -> dict[str, Any]:
        """Rank of every token among those that the head lowers when it attends to it (EE-B)."""
        rank = self.ranks("OV", [name], embedding=FULL)[name]
        beyond = {
            f"beyond_{percent}_percent": int((rank > self.circuits.vocab * percent / 100).sum())
            for percent in (5, 10)
        }
        return {
            "share_below": shares_below(rank),
            "mean": float(rank.double().mean()),
            "median": median(rank),
            **beyond,
        }

    def worst(self, name: str) -> dict[str, float]:
        """The tokens that the head lowers least (EE-B): share in the published list, rank of the first.

        The list is of function words; case and spaces do not count.
        """
        from rwcore.heads.function_words import FunctionWords

        words = FunctionWords("folded", frozenset(word.strip().lower() for word in listed_words().words))
        share, rank = self.circuits.worst_of(self.head(name), FULL, words)
        return {"share_of_published_words": share, "rank_of_worst": rank}

    def mean_ranks(self) -> dict[str, Any]:
        """Mean ranks of every head with the part that the first layer adds."""
        table = with_names(self.circuits.statistics(self.circuits.study(embedding="EE-B-added").ranks("OV")))
        return {
            "mean_rank": by_head(table, "mean_rank"),
            "lowest": first_heads(table, "mean_rank", 3, lowest=True),
            "quartile": float(table["mean_rank"].quantile(0.25)),
            "median": float(table["mean_rank"].median()),
        }

    def bottom_five(self, names: Sequence[str], embedding: str) -> pd.DataFrame:
        """Share of tokens among the five that are lowered most; columns head, value."""
        import pandas as pd

        found = self.ranks("OV", names, embedding=embedding)
        return column(
            pd.Series({name: float((rank < 5).double().mean()) for name, rank in found.items()}), "head"
        )

    def names_first(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Columns head, value: shares of names that heads lower, and raise, most of all tokens (EE-A)."""
        from rwcore.heads.embeddings import effective_embedding
        from rwcore.heads.name_shares import first_names

        model, names = self.circuits.behaviour.bridge(), self.circuits.names
        table = effective_embedding(model, "EE-A", names.to(self.circuits.readout.rows.device))
        found = with_names(first_names(model, self.circuits.readout, table, names))
        return by_head(found, "lowered"), by_head(found, "raised")

    def in_text(self, name: str, corpus: str) -> dict[str, Any]:
        """Sources the head attends to: ranks, the same without badly lowered tokens, what is lowered more."""
        import torch

        from rwcore.claim.values import point
        from rwcore.corpora.encoder import read_encoder
        from rwcore.plugin.heads.circuits import TEN
        from rwcore.plugin.heads.in_text import related

        circuits = self.circuits
        found = circuits.beginnings(corpus).sources(self.head(name))
        static = self.ranks("OV", [name], embedding=FULL)[name]
        ids = torch.arange(circuits.vocab)
        badly = (static > circuits.vocab * BADLY) & (ids >= min(BYTES, circuits.vocab // 2))
        after_first = (found.rank >= RELATED[0]) & (found.rank <= RELATED[1])
        near, every = found.at(after_first), int(found.times.sum())
        rows = circuits.readout.rows
        cosines = torch.cosine_similarity(rows[near.token], rows[near.lowered], dim=1).double().cpu()
        encoder = read_encoder(circuits.weights.local)
        same = related(near.token.tolist(), near.lowered.tolist(), circuits.words, encoder).double()
        pairs = near.times.double()
        without = found.at(~badly[found.token])
        return {
            "share_below": shares_below(found.ranks),
            "pairs": every,
            "pairs_at_ranks_1_to_9": int(pairs.sum()),
            "ranks_1_to_9": float(pairs.sum()) / max(every, 1),
            "median": median(found.ranks),
            "without_badly_lowered": point(without.share_below(TEN)),
            "gain_without_badly_lowered": point(found.gain(~badly[found.token], TEN)),
            "share_related": float((same * pairs).sum() / pairs.sum()),
            "mean_cosine": float((cosines * pairs).sum() / pairs.sum()),
        }

    @cached_property
    def plain(self) -> QKOptions:
        """Rows of keys as they are, no biases, no positions: as behind the printed numbers."""
        from rwcore.heads.query_key import QKOptions

        return QKOptions(normalised=False, biases=False, distance=0)

    def qk(self, name: str) -> pd.DataFrame:
        """Shares of ranks of a token's own key, for a query that is its unembedding."""
        return shares_below(self.ranks("QK", [name], query="W_U", key=FULL, qk=self.plain)[name])

    def qk_bars(self, name: str) -> dict[str, Any]:
        """The same as in the figures of ranks: normalised keys of the first MLP, several queries."""
        import pandas as pd

        from rwcore.heads.query_key import QKOptions

        asked = {
            "W_U, W_EE": ("W_U", False),
            "W_EE, W_EE": (FIGURE, False),
            "W_U, MLP0, biases": ("W_U", True),
            "MLP0, MLP0, biases": (FIGURE, True),
        }
        found = {
            shown: self.ranks("QK", [name], query=query, key=FIGURE, qk=QKOptions(biases=biases, distance=0))[
                name
            ]
            for shown, (query, biases) in asked.items()
        }
        largest, among_ten = (
            pd.Series({shown: float((rank < below).double().mean()) for shown, rank in found.items()})
            for below in (1, 10)
        )
        own = float(self.qk(name)["value"][0])
        matching = float(largest[["W_EE, W_EE", "MLP0, MLP0, biases"]].max())
        return {
            "largest": column(largest, "tables"),
            "among_ten": column(among_ten, "tables"),
            "matching_over_largest": matching / own if own > 0 else float("nan"),
            "difference_by_biases": abs(float(largest["W_U, MLP0, biases"] - largest["W_U, W_EE"])),
        }

    def medians(self, names: Sequence[str]) -> Mapping[str, Mapping[str, float]]:
        """Median rank of the own key, from 1, by query and key table, of each head."""
        found: dict[str, dict[str, float]] = {name: {} for name in names}
        for asking, query in GRID_QUERIES.items():
            for asked, key in GRID_KEYS.items():
                ranks = self.ranks("QK", names, query=query, key=key, qk=self.plain)
                for name, rank in ranks.items():
                    found[name][f"{asking}, {asked}"] = median(rank) + 1
        return found

    def cases(self, name: str, corpus: str) -> dict[str, Any]:
        """Where ablating a head hurts most: in how many cases heads attend to what is predicted most."""
        import pandas as pd

        from rwcore.heads.repair_groups import late_layers

        circuits = self.circuits
        hits = circuits.in_five(self.head(name), corpus)
        counts = pd.DataFrame(
            [(layer, head, int(number)) for layer, row in enumerate(hits) for head, number in enumerate(row)],
            columns=["layer", "head", "hits"],
        )
        late = counts["layer"] >= late_layers(len(hits)).start
        counts = with_names(counts)
        return {
            "in_top_five": by_head(counts, "hits"),
            "highest_late": first_heads(counts[late], "hits", 1)[0],
        }


def shares_below(ranks: Tensor) -> pd.DataFrame:
    """Columns below, value: the share of ranks under 1, 2, 5, 10, 20, 100."""
    import pandas as pd

    shares = [float((ranks < below).double().mean()) for below in THRESHOLDS]
    return pd.DataFrame({"below": THRESHOLDS, "value": shares})


def median(ranks: Tensor) -> float:
    """The median, the mean of the two in the middle of an even number; NaN of none."""
    found = float(ranks.double().quantile(0.5)) if len(ranks) else float("nan")
    return int(found) if found.is_integer() else found
