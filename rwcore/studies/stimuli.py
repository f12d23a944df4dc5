"""What excites single neurons: the tokens they are highest at, what stands before them, and other neurons.

Source: Gurnee et al., "Finding Neurons in a Haystack" (2023), section 6 (polysemantic neurons) and its token
summaries; sparse probing specification, sections 4, 7.4 and 7.6.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from functools import cached_property
from itertools import combinations, islice

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rwcore.corpora.documents import documents
from rwcore.corpora.tokens import TokenCorpus
from rwcore.errors import OptionError, require_choice, require_least
from rwcore.models.vocabulary import Vocabulary, vocabulary
from rwcore.neurons import NeuronSet
from rwcore.probing.context import FIRST
from rwcore.probing.datasets.labelled_rows import pooled
from rwcore.probing.errors import ProbeError
from rwcore.probing.group_summary import STATISTICS
from rwcore.probing.stimuli import (
    CHOSEN,
    SEEN,
    choose_tokens,
    exciting_tokens,
    prefix_groups,
    share_above,
    token_summary,
    top_tokens,
)
from rwcore.probing.superposition import correlation, correlation_by_class, mean_max_correlation
from rwcore.probing.text_classes import UNLABELLED, TextClasses, classes_of_documents
from rwcore.runtime import progress
from rwcore.studies.forward import ForwardOptions
from rwcore.studies.token_values import QUANTITIES, Pair, ValuesOfNeurons, token_values
from rwcore.studies.weights import WeightStudy
from rwcore.weights.shape import read_shape

DEFINITION = "stimuli/1"
ABOVE = 2.0
"""The published threshold, of pre-activations."""
NEURON = ("layer", "neuron")
TOKEN_COLUMNS = (*NEURON, "token", "text", "by_mean", "by_std", "by_gap", *STATISTICS)
PREFIX_COLUMNS = (*NEURON, "token", "text", "length", "prefix", "prefix_text", *STATISTICS)
NEURON_COLUMNS = (
    *NEURON, "tokens", "mean", "std", "max", "above", "share_above", "sparsity", "mean_max_correlation",
    "mean_max_correlation_seen", "top_places", "top_tokens", "top_tokens_half", "top_tokens_by_chance",
)  # fmt: skip
PAIR_COLUMNS = (
    *NEURON, "other_layer", "other_neuron", "where", "r", "low", "high", "tokens", "documents",
)  # fmt: skip


@dataclass(frozen=True)
class StimulusOptions:
    """What is looked for.

    Attributes:
        quantity: ``pre`` or ``post``; see `rwcore.studies.token_values.QUANTITIES`.
        above: The threshold of the share of tokens above it.
        seen: Only tokens that occur more often than this are shown.
        top: Tokens with the largest mean.

    Raises:
        OptionError: A value is impossible.
    """

    quantity: str = QUANTITIES[0]
    above: float = ABOVE
    seen: int = SEEN
    top: int = CHOSEN

    def __post_init__(self) -> None:
        require_choice("--quantity", self.quantity, QUANTITIES)
        require_least("--seen", self.seen, 0)
        require_least("--top", self.top, 1)
        if not np.isfinite(self.above):
            raise OptionError(f"{self.above} is no threshold", where="--above", remedy="give a number")


@dataclass(frozen=True, eq=False)
class TextSide:
    """A class of text, beside the other classes.

    Attributes:
        classes: The classes of the rows; rows of none are on neither side.
        own: The one that is meant.
        key: What the classes are values of, if that has a name.
    """

    classes: TextClasses
    own: str
    key: str = ""

    @property
    def name(self) -> str:
        """``language=fr``, or the class alone."""
        return f"{self.key}={self.own}" if self.key else self.own

    def of_tokens(self, corpus: TokenCorpus) -> tuple[Bool[Tensor, " token"], Bool[Tensor, " token"]]:
        """Which tokens are of a class, and which of this one.

        Raises:
            ProbeError: The classes are those of another corpus, or this one is not among them.
        """
        of_token = self.classes.of_tokens(corpus)
        return of_token != UNLABELLED, of_token == self.classes.place(self.own)


@dataclass(frozen=True, eq=False)
class StimulusTables:
    """What excites some neurons.

    Attributes:
        neurons: One row per neuron, `NEURON_COLUMNS`.
        tokens: Words of each neuron, `TOKEN_COLUMNS`: those with the largest mean (``by_mean``), and those
            at which it is sometimes high and often not (``by_std``, ``by_gap``).
        prefixes: Groups of the latter by what stands before them, `PREFIX_COLUMNS`.
        pairs: Correlations of pairs of neurons, `PAIR_COLUMNS`; without rows if they were not asked for.
    """

    neurons: pd.DataFrame
    tokens: pd.DataFrame
    prefixes: pd.DataFrame
    pairs: pd.DataFrame


@dataclass(frozen=True, eq=False)
class StimulusStudy:
    """What excites the neurons of one model in one corpus. The first position of a row never counts.

    Attributes:
        weights: The weight study of the model; its store and engine serve here too.
        corpus: The rows.
        options: What is looked for.
        forward: How the model is run.
    """

    weights: WeightStudy
    corpus: TokenCorpus
    options: StimulusOptions = field(default_factory=StimulusOptions)
    forward: ForwardOptions = field(default_factory=ForwardOptions)

    @cached_property
    def words(self) -> Vocabulary:
        """The texts of the tokens."""
        return vocabulary(self.weights.local, read_shape(self.weights.local).vocab)

    @cached_property
    def counted(self) -> Bool[Tensor, " token"]:
        """Which tokens count: at the first position a model shows the same whatever follows."""
        return pooled(self.corpus, FIRST)

    def values(self, neurons: Sequence[Pair]) -> Mapping[Pair, Float[Tensor, " token"]]:
        """The chosen quantity of neurons at every token; in memory one at a time.

        Raises:
            OptionError: The model has no such neuron.
            ModelError: An activation is not finite, or the model cannot be run as expected.
            StoreError: The store cannot be written, or what it has is damaged.
        """
        return _Quantity(
            token_values(self.weights, self.corpus, neurons, self.forward), self.options.quantity
        )

    def summary(self, values: Float[Tensor, " token"]) -> pd.DataFrame:
        """What a neuron is like at each token of the vocabulary; see `rwcore.probing.stimuli`."""
        return token_summary(values, self.corpus, where=self.counted)

    def exciting(self, values: Float[Tensor, " token"], top: int | None = None) -> pd.DataFrame:
        """The words with the largest mean, the largest first, with their ``text``."""
        options = self.options
        return exciting_tokens(self.summary(values), self.texts, seen=options.seen, top=top or options.top)

    @cached_property
    def texts(self) -> dict[int, str]:
        """Text of each token as it stands in a text."""
        return dict(enumerate(self.words.texts))

    def tables(
        self, neurons: NeuronSet, *, pairs: bool = False, side: TextSide | None = None
    ) -> StimulusTables:
        """All that is found about some neurons.

        Args:
            neurons: The neurons.
            pairs: Also how each two of them go together.
            side: With ``pairs``: also inside and outside of a class of text.

        Raises:
            OptionError: There are no neurons or, for pairs, fewer than two; or the model has no such neuron.
            ProbeError: No word occurs often enough, or the classes are those of another corpus.
            ModelError: As for `values`.
            StoreError: As for `values`.
        """
        require_least("--neurons", len(neurons), 2 if pairs else 1)
        self.require_words()
        chosen = neurons.pairs()
        values = self.values(chosen)
        parts: list[tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]] = []
        for pair in progress(chosen, desc="neurons"):
            frames = self._of_neuron(values[pair])
            for frame in frames:
                frame.insert(0, "layer", pair[0])
                frame.insert(1, "neuron", pair[1])
            parts.append(frames)
        rows, tokens, prefixes = (_stacked(frames) for frames in zip(*parts, strict=True))
        found = self.correlations(values, side) if pairs else pd.DataFrame(columns=PAIR_COLUMNS)
        return StimulusTables(
            rows[[*NEURON_COLUMNS]], tokens[[*TOKEN_COLUMNS]], prefixes[[*PREFIX_COLUMNS]], found
        )

    def correlations(
        self, values: Mapping[Pair, Float[Tensor, " token"]], side: TextSide | None = None
    ) -> pd.DataFrame:
        """Pearson's correlation over tokens of each two neurons, with 95 % intervals over documents.

        Args:
            values: From `values`.
            side: Also inside and outside of a class of text.

        Returns:
            `PAIR_COLUMNS`; ``where`` is ``all``, ``inside`` or ``outside``.

        Raises:
            ProbeError: The classes of text are those of another corpus.
        """
        kept = self.counted
        document = self.corpus.document.repeat_interleave(self.corpus.lengths)
        known, inside = (kept, kept) if side is None else side.of_tokens(self.corpus)
        known = known & kept
        every = dict(values)
        rows = []
        for one, other in progress(list(combinations(every, 2)), desc="pairs"):
            x, y = every[one], every[other]
            found = {"all": correlation(x[kept], y[kept], document[kept])}
            if side is not None:
                found |= correlation_by_class(x[known], y[known], inside[known], document[known])
            rows += [(*one, *other, where, *astuple(each)) for where, each in found.items()]
        return pd.DataFrame(rows, columns=[*PAIR_COLUMNS])

    def require_words(self) -> None:
        """Check, before anything is run, that some word occurs often enough to be looked at.

        Raises:
            ProbeError: None does.
        """
        ids, counts = torch.unique(self.corpus.tokens[self.counted], return_counts=True)
        often = ids[counts > self.options.seen].tolist()
        if not any(self.words.texts[number].strip().isalpha() for number in often):
            raise ProbeError(
                f"no word occurs more than {self.options.seen} times in {self.corpus.n_tokens:,} tokens",
                where=self.corpus.spec.id,
                remedy="read more text (--tokens), or lower --seen",
            )

    def _of_neuron(self, values: Float[Tensor, " token"]) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
        """Its rows of the three tables."""
        options, kept = self.options, self.counted
        summary = self.summary(values)
        by_mean = exciting_tokens(summary, self.texts, seen=options.seen, top=options.top)
        chosen = choose_tokens(summary, self.texts, seen=options.seen)
        tokens = pd.concat([by_mean, chosen[~chosen["token"].isin(by_mean["token"])]], ignore_index=True)
        tokens["by_mean"] = tokens["token"].isin(by_mean["token"])
        for name in ("by_std", "by_gap"):
            tokens[name] = tokens["token"].isin(chosen["token"][chosen[name]])
        frames = [prefix_groups(values, self.corpus, token) for token in chosen["token"].tolist()]
        prefixes = _stacked(frames)
        for frame in (tokens, prefixes):
            frame["text"] = [self.words[number] for number in frame["token"]]
        prefixes["prefix_text"] = [self._joined(prefix) for prefix in prefixes["prefix"]]
        prefixes["prefix"] = [" ".join(map(str, prefix)) for prefix in prefixes["prefix"]]
        held = top_tokens(values, self.corpus, where=kept)
        here = values[kept].double()
        facts = {
            "tokens": len(here),
            "mean": float(here.mean()),
            "std": float(here.std(correction=0)),
            "max": float(here.max()),
            "above": options.above,
            "share_above": share_above(values, options.above, where=kept),
            "sparsity": 1 - share_above(values, 0.0, where=kept),
            "mean_max_correlation": mean_max_correlation(summary),
            "mean_max_correlation_seen": mean_max_correlation(summary, seen=options.seen),
            "top_places": held.places,
            "top_tokens": held.tokens,
            "top_tokens_half": held.half,
            "top_tokens_by_chance": held.by_chance,
        }
        return pd.DataFrame([facts]), tokens, prefixes

    def _joined(self, tokens: Sequence[int]) -> str:
        return "".join(self.words[number] for number in tokens)


def text_side(corpus: TokenCorpus, label: str) -> TextSide:
    """Rows of documents that have a label, beside those of documents with another value of it.

    Args:
        corpus: The rows.
        label: ``language=fr``.

    Raises:
        OptionError: The text is of another form, no document has the label or the value, or all have it; or a
            row holds several documents.
    """
    key, equals, value = (part.strip() for part in label.partition("="))
    if not (key and equals and value):
        raise OptionError(
            f"{label!r} is no label of documents", where="--label", remedy="write KEY=VALUE: language=fr"
        )
    if corpus.policy.layout == "packed":
        raise OptionError(
            f"rows of {corpus.spec.id} hold several documents, and labels are of documents",
            where="--label",
            remedy="use a corpus with one document a row (`rwcore corpora`)",
        )
    read = islice(documents(corpus.spec), int(corpus.document.max()) + 1)
    found = [document.labels for document in read]
    classes = classes_of_documents(corpus, [labels.get(key) for labels in found])
    if value not in classes.names or len(classes.names) < 2:
        keys = ", ".join(sorted({name for labels in found for name in labels})) or "none"
        values = ", ".join(classes.names) or "none"
        raise OptionError(
            f"there are not documents with {label} and documents with another {key}",
            where=f"--label, {corpus.spec.id}",
            remedy=f"values of {key} in these rows: {values}; labels: {keys}",
        )
    return TextSide(classes, value, key)


@dataclass(frozen=True)
class _Quantity(Mapping[Pair, Tensor]):
    """One quantity of neurons, read when it is asked for."""

    found: ValuesOfNeurons
    name: str

    def __getitem__(self, pair: Pair) -> Tensor:
        return self.found[pair][self.name]

    def __iter__(self) -> Iterator[Pair]:
        return iter(self.found)

    def __len__(self) -> int:
        return len(self.found)


def _stacked(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Tables below each other; those without rows have no types, and are left out if others have some."""
    return pd.concat([frame for frame in frames if len(frame)] or frames[:1], ignore_index=True)
