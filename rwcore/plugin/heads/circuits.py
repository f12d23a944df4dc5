"""OV and QK circuits of the heads of one model, as claims ask them (C01-C28).

The best copy suppression head of a model in which nobody has named one is among the first three of all heads
both by the share of tokens that it lowers (OV, ten lowest) and by anti-induction, of which it must have some
(`LEAST_INDUCTION`). There may be none: what is said about it is then NaN, and no statement about it holds.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from rwcore.claim.values import Interval
from rwcore.plugin.heads.behaviour import HeadBehaviour
from rwcore.plugin.heads.in_text import HeadsInText
from rwcore.plugin.heads.sampled import NO_HEAD, mean_of, place, place_of_mean, size_of
from rwcore.plugin.subjects import Kind

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from rwcore.corpora.tokens import TokenCorpus
    from rwcore.heads.circuits import CircuitRanks
    from rwcore.heads.function_words import FunctionWords
    from rwcore.heads.readout import Readout
    from rwcore.models.vocabulary import Vocabulary
    from rwcore.plugin.heads.named_circuits import NamedCircuits
    from rwcore.studies.asked_heads import Head
    from rwcore.studies.head_circuits import CircuitStudy
    from rwcore.studies.weights import WeightStudy

READ, ASKED = 128, 64
"""Tokens that are drawn where all heads of a model are compared by OV, and by QK."""
NAMES = 64
"""At most so many names, where all heads are compared."""
OF_ONE_HEAD = 1000
"""Tokens that are drawn where one head is asked about."""
FIRST, LEAST_INDUCTION = 3, 0.02
"""Among so many heads is the best one by each score, and so much is its anti-induction at least: the
published table lists no head below."""
WORST, BYTES = 20, 256
"""So many tokens are called the worst; those of single bytes, which come first, are left out."""
ROWS, LENGTH = 400, 100
"""Beginnings that are read: so many rows of so many tokens."""
TEN = 10
"""Ranks from the bottom below which a token is called suppressed."""
CASES, CASE_ROWS = 100, 100
"""Of a paper's own model so many tokens are drawn at which ablation hurts most, from so many rows."""


@dataclass(frozen=True)
class HeadCircuits:
    """Circuits of one model's heads, by weights and in text.

    Attributes:
        weights: The weight study of the model.
        behaviour: What its heads do on random tokens.
        text: Gives rows by the id of the paper's corpus.
        kind: What kind of subject it is.
    """

    weights: WeightStudy
    behaviour: HeadBehaviour
    text: Callable[[str], TokenCorpus]
    kind: Kind

    def study(self, **options: Any) -> CircuitStudy:
        """A study with some options; nothing is computed before it is asked for."""
        from rwcore.studies.head_circuits import CircuitOptions, CircuitStudy

        return CircuitStudy(self.weights, CircuitOptions(**options))

    def ranks(self, circuit: str, heads: Collection[Head], **options: Any) -> dict[Head, Tensor]:
        """Ranks of the own token of some heads; every row of the vocabulary if the options do not say."""
        found = self.study(heads=tuple(sorted({*heads})), **options).ranks(circuit)
        return {
            (layer, head): one.ranks[number].long()
            for layer, one in found.items()
            for number, head in enumerate(one.heads)
        }

    @cached_property
    def vocab(self) -> int:
        """Rows of the vocabulary."""
        return self.study().shape.vocab

    @cached_property
    def words(self) -> Vocabulary:
        """The vocabulary."""
        from rwcore.models.vocabulary import vocabulary

        return vocabulary(self.weights.local, self.vocab)

    @cached_property
    def names(self) -> Tensor:
        """First names that are single tokens, ascending."""
        import torch

        return torch.tensor(sorted(self.behaviour.study.inputs.words.names.numbers.values()))

    @cached_property
    def _read(self) -> dict[int, CircuitRanks]:
        """OV of all heads with EE-A: of tokens that are drawn, and of names, in one go."""
        tokens = {*self._drawn.tolist(), *self.some_names.tolist()}
        return self.study(only=tuple(sorted(tokens))).ranks("OV")

    @cached_property
    def some_names(self) -> Tensor:
        """`NAMES` of them, at equal distances."""
        import torch

        count = min(NAMES, len(self.names))
        return self.names[torch.linspace(0, len(self.names) - 1, count).long()]

    @property
    def _drawn(self) -> Tensor:
        from rwcore.heads.circuits import sampled_tokens

        return sampled_tokens(self.vocab, min(READ, self.vocab), seed=0)

    def statistics(self, found: Mapping[int, CircuitRanks], tokens: Tensor | None = None) -> pd.DataFrame:
        """One row per head, of some of the tokens that were read."""
        from dataclasses import replace

        import torch

        some = {}
        for layer, one in found.items():
            kept = torch.ones(len(one.tokens), dtype=torch.bool)
            if tokens is not None:
                kept = torch.isin(one.tokens, tokens)
            shared = {name: getattr(one, name)[:, kept] for name in ("ranks", "diagonal", "mean", "near")}
            some[layer] = replace(one, tokens=one.tokens[kept], **shared)
        return self.study().statistics(some)

    @cached_property
    def lowering(self) -> pd.DataFrame:
        """What OV does to tokens that are drawn, of all heads."""
        return self.statistics(self._read, self._drawn)

    @cached_property
    def candidates(self) -> list[Head]:
        """Heads that are among the first three by OV and by anti-induction; the best by OV first."""
        from rwcore.heads.circuit_statistics import best_heads

        scores = self.behaviour.anti_induction
        order = scores.flatten().argsort(descending=True, stable=True)[:FIRST].tolist()
        inducing = {divmod(number, scores.shape[1]) for number in order}
        by_ov = best_heads(self.lowering, FIRST)
        return [head for head in by_ov if head in inducing and float(scores[head]) >= LEAST_INDUCTION]

    @cached_property
    def of_named_heads(self) -> NamedCircuits:
        """What the paper says about heads that it names."""
        from rwcore.plugin.heads.named_circuits import NamedCircuits

        return NamedCircuits(self)

    @property
    def best(self) -> Head | None:
        """The best copy suppression head; see the head of this module."""
        return self.candidates[0] if self.candidates else None

    def mean_ranks(self) -> dict[str, float]:
        """The median over heads of the mean rank, over the vocabulary, and the mean rank of the best head."""
        table = self.lowering
        best = NO_HEAD
        if self.best is not None:
            at_best = (table["layer"] == self.best[0]) & (table["head"] == self.best[1])
            best = float(table["mean_rank"][at_best].iloc[0])
        return {
            "median_over_vocabulary": float(table["mean_rank"].median()) / self.vocab,
            "best_over_vocabulary": best / self.vocab,
        }

    def name_places(self) -> dict[str, float | Interval]:
        """Heads by the share of names that they lower, or raise, most of all tokens (b_U left out).

        ``place_of_first_by_names`` is the place by OV of the head that lowers most names, and
        ``raising_among_lowering`` counts heads among the first three both ways. NaN if no head does.
        ``lowered_over_raised_by_best`` is a difference of shares, of the best head.
        """
        from rwcore.heads.circuit_statistics import UNDECIDED

        table = self.statistics(self._read, self.some_names)
        # Of a head that does nothing all entries are equal; names alone may not have been looked at for that.
        decided = self.lowering["near_ties"] < UNDECIDED
        lowered, raised = (table[name].where(decided, 0.0) for name in ("rank_0", "last"))
        lowering, raising = (
            [*one[one > 0].sort_values(ascending=False, kind="stable").index[:FIRST]]
            for one in (lowered, raised)
        )
        every = self.lowering["below_10"].where(decided, 0.0)
        return {
            "place_of_first_by_names": place(every, lowering[0]) if lowering else NO_HEAD,
            "raising_among_lowering": len({*lowering} & {*raising}) if lowering and raising else NO_HEAD,
            "lowered_over_raised_by_best": self._names_lowered_over_raised(),
        }

    def _names_lowered_over_raised(self) -> float | Interval:
        import torch

        if self.best is None:
            return NO_HEAD
        layer, head = self.best
        found = self._read[layer]
        rank = found.ranks[found.heads.index(head), torch.isin(found.tokens, self.some_names)]
        return mean_of(((rank == 0).double() - (rank == self.vocab - 1).double()).numpy())

    def _asked(self, query: str, layers: int) -> dict[int, CircuitRanks]:
        """QK of the heads of the first layers on tokens that are drawn; keys are EE-A."""
        heads = tuple((layer, head) for layer in range(layers) for head in range(self.study().shape.n_heads))
        return self.study(query=query, rows=min(ASKED, self.vocab), heads=heads).ranks("QK")

    @cached_property
    def _attracted(self) -> dict[int, CircuitRanks]:
        """How much keys of tokens that are drawn attract their unembeddings as queries, of all heads."""
        return self._asked("W_U", self.study().shape.n_layers)

    def place_by_attention(self) -> float | Interval:
        """Place of the best head by how many tokens have their own key among the ten it attends to most.

        NaN too if it has none. A head in which all keys are alike has no hits: its ranks of 0 say nothing.
        """
        import torch

        from rwcore.heads.circuit_statistics import UNDECIDED

        if self.best is None:
            return NO_HEAD
        hits = torch.cat([one.ranks < TEN for one in self._attracted.values()]).double().numpy()
        undecided = self.statistics(self._attracted)["near_ties"] >= UNDECIDED
        hits[undecided.to_numpy()] = 0.0
        layer, head = self.best
        row = layer * self.study().shape.n_heads + head
        return place_of_mean(hits, row) if hits[row].any() else NO_HEAD

    def duplicate_heads(self) -> int:
        """Heads of the first half of the layers that find equal tokens, but not for an unembedding."""
        from rwcore.heads.circuit_statistics import UNDECIDED

        matching = self.statistics(self._asked("EE-A", (self.study().shape.n_layers + 1) // 2))
        predicted = self.statistics(self._attracted).iloc[: len(matching)]
        # Medians count from 0 here, and from 1 in the paper.
        found = (matching["median_rank"] + 1 <= 3) & (predicted["median_rank"] + 1 > self.vocab / 100)
        return int((found & (matching["near_ties"] < UNDECIDED)).sum())

    def matching_over_largest(self) -> float | Interval:
        """Tokens that attend to their own key most, as embeddings over as unembeddings, in the best head."""
        if self.best is None:
            return NO_HEAD
        rows = min(OF_ONE_HEAD, self.vocab)
        matching, largest = (
            (self.ranks("QK", [self.best], query=query, rows=rows)[self.best] == 0).double().numpy()
            for query in ("EE-A", "W_U")
        )
        return mean_of(matching, largest)

    def change_by_biases(self) -> float | Interval:
        """What biases change of the share of tokens whose own key is the first, in the best head.

        NaN too where queries and keys have no biases, and where no own key is the first with or without them.
        """
        from rwcore.heads.query_key import QKOptions

        if self.best is None or not self._biased(self.best[0]):
            return NO_HEAD
        rows = min(OF_ONE_HEAD, self.vocab)
        with_, without = (
            (self.ranks("QK", [self.best], qk=QKOptions(biases=biases), rows=rows)[self.best] == 0).double()
            for biases in (True, False)
        )
        return size_of(mean_of((with_ - without).numpy())) if bool((with_ + without).any()) else NO_HEAD

    def _biased(self, layer: int) -> bool:
        attn = self.behaviour.bridge().blocks[layer].attn
        biases = (getattr(attn, name, None) for name in ("b_Q", "b_K"))
        return any(bias is not None and bool(bias.any()) for bias in biases)

    def effective_over_raw(self) -> float | Interval:
        """Share of tokens among the five that the best head lowers most: with EE-A minus with W_E."""
        if self.best is None:
            return NO_HEAD
        rows = min(OF_ONE_HEAD, self.vocab)
        effective, raw = (
            (self.ranks("OV", [self.best], embedding=name, rows=rows)[self.best] < 5).double()
            for name in ("EE-A", "raw")
        )
        return mean_of((effective - raw).numpy())

    def worst(self) -> float:
        """Share of function words (our list) among the tokens that the best head lowers least, with EE-A."""
        from rwcore.heads.function_words import own_words

        return NO_HEAD if self.best is None else self.worst_of(self.best, "EE-A", own_words())[0]

    def worst_of(self, head: Head, embedding: str, words: FunctionWords) -> tuple[float, int]:
        """Of the tokens that a head lowers least: share of function words, and the rank of the first.

        Left out are special tokens, those of single bytes, and those that no text has
        (`rwcore.heads.unseen_tokens`).

        Args:
            head: The head.
            embedding: What it reads.
            words: Which are function words.
        """
        import torch

        rank = self.ranks("OV", [head], embedding=embedding)[head]
        out = {*self.words.special, *self._unseen, *range(min(BYTES, self.vocab - WORST))}
        rank[torch.tensor(sorted(out), dtype=torch.int64)] = -1
        worst = rank.argsort(descending=True, stable=True)[:WORST]
        return float(words.tokens(self.words)[worst].double().mean()), int(rank[worst[0]])

    @cached_property
    def _unseen(self) -> frozenset[int]:
        import torch

        from rwcore.heads.embeddings import effective_embedding
        from rwcore.heads.unseen_tokens import unseen_tokens

        table = effective_embedding(self.behaviour.bridge(), "raw", torch.arange(self.vocab))
        return unseen_tokens(self.words, table)

    @cached_property
    def readout(self) -> Readout:
        """The unembedding of the model."""
        from rwcore.heads.readout import Readout
        from rwcore.models.device import pick_device

        return Readout.of(self.weights.local, pick_device("auto"))

    def beginnings(self, corpus: str, rows: int = ROWS) -> HeadsInText:
        """Beginnings of so many rows of a text, by its id."""
        return HeadsInText(self.behaviour.bridge(), self.readout, self.text(corpus), rows, LENGTH)

    def sources_in_text(self, corpus: str) -> dict[str, float | Interval]:
        """Sources that the best head attends to: share among the ten it lowers most, and what is added to it.

        It is added by leaving out function words.
        """
        if self.best is None:
            return dict.fromkeys(("share_of_sources", "gain_without_function_words"), NO_HEAD)
        found = self.beginnings(corpus).sources(self.best)
        kept = ~self.behaviour.study.function[found.token]
        return {
            "share_of_sources": found.share_below(TEN),
            "gain_without_function_words": found.gain(kept, TEN),
        }

    def in_five(self, head: Head, corpus: str) -> Tensor:
        """Where ablating a head hurts most; see `rwcore.plugin.heads.in_text.HeadsInText.in_five`."""
        published = self.kind is Kind.PAPER
        text = self.beginnings(corpus, CASE_ROWS)
        cases = text.hurt(head, CASES if published else None)
        return text.in_five(cases, self.behaviour.study.function)

    def place_in_late_layers(self, corpus: str) -> float:
        """Place of the best head in the last third of layers by `in_five`, where ablating it hurts most.

        Of equal heads all have the last of their places. NaN too if the best head is in an earlier layer, or
        is among the five nowhere.
        """
        from rwcore.heads.repair_groups import late_layers

        first = late_layers(self.study().shape.n_layers).start
        if self.best is None or self.best[0] < first:
            return NO_HEAD
        hits = self.in_five(self.best, corpus)
        own = hits[self.best]
        return int((hits[first:] >= own).sum()) if own > 0 else NO_HEAD
