"""What the heads of one model do on random tokens and on prompts with two names (C47-C64)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from rwcore.claim.values import Interval
from rwcore.plugin.heads.sampled import NO_HEAD, mean_of, place
from rwcore.plugin.heads.tables import by_head, first_heads, head_name, named_head
from rwcore.plugin.probing_tables import column
from rwcore.plugin.subjects import Kind

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from rwcore.corpora.tokens import TokenCorpus
    from rwcore.heads.function_words import FunctionWords
    from rwcore.heads.ioi import IoiTexts
    from rwcore.studies.asked_heads import Head
    from rwcore.studies.head_behaviour import BehaviourStudy
    from rwcore.studies.head_behaviour_runs import BehaviourOptions
    from rwcore.studies.weights import WeightStudy

ASKED_BY_NAME = frozenset({Kind.PAPER, Kind.STAND_IN})
"""Of which subjects named heads are asked: in any other model the number of a head means nothing."""
AS_PUBLISHED = {"sequences": 100, "prompts": 200, "embedding": "EE-B"}
SHORT = {"sequences": 32, "prompts": 32}
"""Rows of random tokens and prompts of models that are not the paper's own."""
LEAST_SCORE = 0.1
"""A model whose heads all have a lower copy suppression score has no copy suppression in prompts."""
LATER = (9, 19, 39)
"""Positions at which keys are compared with those of position 0."""
RESTING = 0.5
"""A head rests on position 0 if it has so much of its attention there, on average."""
ONE_TOKEN_PROMPTS = 1024
"""Prompts of one token that are run together."""
LEAST_HEADS = 10
"""Of fewer heads with two positive scores no correlation is asked."""


@dataclass(frozen=True)
class HeadBehaviour:
    """Scores, keys and queries of one model's heads.

    Attributes:
        weights: The weight study of the model.
        text: Gives rows by the id of the paper's corpus.
        kind: What kind of subject it is.
    """

    weights: WeightStudy
    text: Callable[[str], TokenCorpus]
    kind: Kind

    @cached_property
    def texts(self) -> IoiTexts:
        """Templates and words of the prompts: our own English ones, of stand-ins in their own words."""
        from rwcore.corpora.encoder import read_encoder
        from rwcore.heads.ioi import read_texts
        from rwcore.models.vocabulary import vocabulary
        from rwcore.plugin.heads.toy_prompts import toy_texts

        if self.kind is not Kind.STAND_IN:
            return read_texts()
        encoder = read_encoder(self.weights.local)
        return toy_texts(encoder, vocabulary(self.weights.local, encoder.vocab))

    @cached_property
    def options(self) -> BehaviourOptions:
        """How much is read."""
        from rwcore.corpora.encoder import read_encoder
        from rwcore.studies.head_behaviour_runs import BehaviourOptions

        sizes: dict[str, Any] = AS_PUBLISHED if self.kind is Kind.PAPER else SHORT
        if self.kind is not Kind.STAND_IN:
            return BehaviourOptions(**sizes)
        encoder = read_encoder(self.weights.local)
        # Random tokens of a row differ: a vocabulary of letters has few, and a special one stands for four.
        length = min(BehaviourOptions.length, encoder.vocab // 2, (encoder.context or encoder.vocab) // 2 - 1)
        return BehaviourOptions(**sizes, length=length)

    @cached_property
    def study(self) -> BehaviourStudy:
        """Random tokens and prompts; nothing is run before it is asked for."""
        return self.on_text(None)

    def on_text(self, corpus: str | None) -> BehaviourStudy:
        """The same with a text, by its id; where the lens predicts and heads rest is of the text.

        Function words, which are not predicted, are those of the published list for the paper's own model.
        """
        from rwcore.heads.function_words import own_words
        from rwcore.studies.head_behaviour import BehaviourStudy

        rows = None if corpus is None else self.text(corpus)
        words = listed_words() if rows is not None and self.kind is Kind.PAPER else own_words()
        return BehaviourStudy(self.weights, rows, self.options, texts=self.texts, words=words)

    def named(self, name: str) -> Head:
        """Layer and number of a head the paper names; see `rwcore.plugin.heads.tables.named_head`."""
        return named_head(self.weights, name)

    @cached_property
    def anti_induction(self) -> Tensor:
        """Mean score of every head on random tokens [layer head]."""
        return self.study.rows["anti_induction"].double().mean(dim=2)

    @cached_property
    def scores(self) -> pd.DataFrame:
        """Both scores of every head; see `rwcore.studies.head_behaviour_tables.score_table`."""
        from rwcore.studies.head_behaviour_tables import score_table

        return score_table(self.study.rows, self.study.prompts)

    def both_scores(self) -> dict[str, Any]:
        """The heads by each score, and how the scores go together over heads where both are positive."""
        table = with_names(self.scores)
        by_suppression, by_induction = (
            first_heads(table, score, 3) for score in ("copy_suppression", "anti_induction")
        )
        first = table.iloc[int(table["copy_suppression"].argmax())]
        return {
            "copy_suppression": by_head(table, "copy_suppression"),
            "anti_induction": by_head(table, "anti_induction"),
            "first_by_copy_suppression": by_suppression[0],
            "first_by_anti_induction": by_induction[0],
            "first_three_by_copy_suppression": by_suppression,
            "first_three_by_anti_induction": by_induction,
            "highest_copy_suppression": float(first["copy_suppression"]),
            "anti_induction_of_it": float(first["anti_induction"]),
            "pearson_of_heads": self._pearson(2),
        }

    def agreement(self) -> dict[str, float]:
        """How both scores go together, and where the first head is; NaN if none reaches `LEAST_SCORE`.

        The correlation is NaN too if it would be of fewer than `LEAST_HEADS` heads.
        """
        table = self.scores
        first = int(table["copy_suppression"].argmax())
        if table["copy_suppression"][first] < LEAST_SCORE:
            return dict.fromkeys(("pearson", "place_of_first_by_anti_induction", "depth_of_first"), NO_HEAD)
        return {
            "pearson": self._pearson(LEAST_HEADS),
            "place_of_first_by_anti_induction": place(table["anti_induction"], first),
            "depth_of_first": float(table["layer"][first]) / self.study.shape.n_layers,
        }

    def _pearson(self, least: int) -> float:
        """Over heads where both scores are positive, if there are so many."""
        from rwcore.studies.head_behaviour_tables import score_summary

        found = score_summary(self.scores)
        if found["heads_both_positive"] < least or found["pearson_both_positive"] is None:
            return NO_HEAD
        return float(found["pearson_both_positive"])

    def first_position(self, name: str) -> dict[str, Any]:
        """Cosines of keys with the query bias of a named head.

        At position 0 they are of every token of the vocabulary that is not special, at `LATER` positions of
        random rows.
        """
        import pandas as pd
        import torch

        from rwcore.corpora.encoder import read_encoder
        from rwcore.heads.induction import plain_tokens, row_batches
        from rwcore.heads.resting import key_cosines
        from rwcore.models.vocabulary import vocabulary

        layer, head = self.named(name)
        words = vocabulary(self.weights.local, self.study.shape.vocab)
        tokens = plain_tokens(words, read_encoder(self.weights.local).ends)
        model = self.bridge()
        first = torch.cat(
            [
                key_cosines(model, batch, layers=[layer])[layer, head, :, 0]
                for batch in row_batches(tokens[:, None], ONE_TOKEN_PROMPTS)
            ]
        )
        means, largest = (self.study.rows[f"key_{name}"][layer, head] for name in ("mean", "largest"))
        later = [position for position in LATER if position < len(means)]
        return {
            "mean_first": float(first.mean()),
            "lowest_first": float(first.min()),
            "highest_first": float(first.max()),
            "mean_later": column(pd.Series(means[later].numpy(), later), "position"),
            "highest_later": float(largest[later].max()),
        }

    def keys_of_bos(self, name: str) -> pd.DataFrame:
        """Cosines with the query bias of keys that are made of BOS alone, by what it is embedded as."""
        import pandas as pd
        import torch

        from rwcore.corpora.encoder import read_encoder
        from rwcore.heads.embeddings import effective_embedding
        from rwcore.heads.resting import table_key_cosines

        layer, head = self.named(name)
        bos = torch.tensor([read_encoder(self.weights.local).bos("model")])
        tables = {"W_E": "raw", "EE-B": "EE-B", "MLP0": "EE-B-MLP"}
        model = self.bridge()
        found = {
            shown: float(table_key_cosines(model, layer, effective_embedding(model, table, bos))[head, 0])
            for shown, table in tables.items()
        }
        return column(pd.Series(found), "embedding")

    def share_turning(self, corpus: str) -> float:
        """Of heads that rest on position 0: how many have positive cosines there, negative ones behind.

        NaN without biases of queries, or where no head rests.
        """
        from rwcore.studies.head_behaviour_tables import resting_table

        study = self.on_text(corpus)
        table = resting_table(study.rows, study.lens)
        resting = table[(table["attention_first"] >= RESTING) & table["key_first"].notna()]
        turning = (resting["key_first"] > 0) & (resting["key_later"] < 0)
        return float(turning.mean()) if len(resting) else NO_HEAD

    def query_scores(self, name: str) -> dict[str, Any]:
        """Differences of the scores of IO and S1 of a named head, by what its query is made of."""
        import pandas as pd

        layer, head = self.named(name)
        made = {
            "clean": "score_clean",
            "swapped": "score_swapped",
            "projected": "score_projected",
            "unembedding": "fixed_unembedding",
            "true residual": "fixed_stream",
        }
        prompts = self.study.prompts
        score = pd.Series({shown: float(prompts[kept][layer, head].mean()) for shown, kept in made.items()})
        return {
            "score": column(score, "query"),
            "unembedding_over_residual": score["unembedding"] / (score["true residual"] or NO_HEAD),
        }

    def unembedding_query(self, head: Head | None) -> dict[str, float | Interval]:
        """The score of a query that is the unembedding of IO, and its excess over twice that of the stream.

        Intervals are over pairs of twin prompts, which are not independent.
        """
        if head is None:
            return dict.fromkeys(("score_of_unembedding", "excess_over_twice_the_residual"), NO_HEAD)
        unembedding, stream = (
            self.study.prompts[name][head].double().reshape(-1, 2).mean(dim=1).numpy()
            for name in ("fixed_unembedding", "fixed_stream")
        )
        return {
            "score_of_unembedding": mean_of(unembedding),
            "excess_over_twice_the_residual": mean_of(unembedding - 2 * stream),
        }

    def share_of_square(self, name: str) -> float:
        """Share of the squared norm of what a named head adds at the end that lies along W_U[:, IO]."""
        return float(self.study.prompts["along"][self.named(name)].mean())

    def attended(self, name: str, corpus: str) -> pd.DataFrame:
        """Of sources that are predicted most: how many a named head attends to, by rule."""
        import pandas as pd

        from rwcore.studies.head_behaviour_tables import lens_table

        layer, head = self.named(name)
        table = lens_table(self.on_text(corpus).lens)
        (row,) = table[(table["layer"] == layer) & (table["head"] == head)].to_dict("records")
        rules = {
            "argmax": "expected_attended",
            "argmax, not resting": "awake_expected_attended",
            "top 3": "expected_in_three",
            "top 3, not resting": "awake_expected_in_three",
        }
        return column(pd.Series({rule: row[kept] for rule, kept in rules.items()}), "rule")

    def bridge(self) -> Any:
        """The model, to be run; kept until another one is."""
        from rwcore.models.device import pick_device
        from rwcore.studies.activation_pass import bridge
        from rwcore.studies.forward import as_processed

        return bridge(as_processed(self.weights), pick_device("auto"), "float32")


def listed_words() -> FunctionWords:
    """The published list of function words: texts of tokens, with their spaces and capitals."""
    from rwcore.golden.paths import published_dir
    from rwcore.heads.function_words import published_words

    return published_words(published_dir("copy_suppression") / "copy_suppression_function_tokens.csv")


def with_names(table: pd.DataFrame) -> pd.DataFrame:
    """The same with names such as ``L10H7`` in ``head``, which holds numbers."""
    names = [head_name(pair) for pair in zip(table["layer"], table["head"], strict=True)]
    return table.assign(head=names)
