"""How much of what heads do is copy suppression: swept once over a corpus, then in the store.

A first sweep measures the mean output of the heads, a second one what is left of their effects when they keep
only their copy suppression, summed over documents. Of a few heads a third one keeps every token.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

import pandas as pd
from torch import Tensor

from rwcore.corpora.encoder import read_encoder
from rwcore.corpora.tokens import TokenCorpus
from rwcore.errors import OptionError, require_choice, require_least
from rwcore.heads.cspa import MEAN, NEGATIVE, VARIANTS
from rwcore.heads.cspa_filter import QueryFilter
from rwcore.heads.cspa_run import Z_MEANS, Head, require_variants
from rwcore.heads.cspa_scores import LINE_COLUMNS, EffectSums, explained_table, percentile_line
from rwcore.heads.function_words import FunctionWords, own_words
from rwcore.heads.semantic_sets import semantic_sets
from rwcore.models.vocabulary import vocabulary
from rwcore.provenance import Stopwatch, collect
from rwcore.store import ArtefactKey, read_arrays, write_arrays
from rwcore.studies.asked_heads import ALL, LATE, asked_heads, require_readable_heads
from rwcore.studies.forward import ForwardOptions, forward_fields, identity_of, keep_rows
from rwcore.studies.head_cspa_files import FUNCTION, SETS, EffectFiles, MeanFiles
from rwcore.studies.sweeps import sweep
from rwcore.studies.weights import WeightStudy
from rwcore.weights.shape import ModelShape, read_shape

DEFINITION, MEANS_DEFINITION = "cspa/1", "head_means/1"
MEANS_FILE, EFFECTS_FILE = "means.safetensors", "effects.safetensors"
LINE_BINS = 100


@dataclass(frozen=True)
class CspaOptions:
    """What is measured.

    Attributes:
        heads: ``late`` (those of the second half of the layers), ``all``, or layer and number of each.
        variants: Of `rwcore.heads.cspa.VARIANTS`.
        choice: Which keys are kept.
        means: ``overall``: one mean for each head; ``position``: one for each position, as published, for
            rows of equal length.
        related: Tokens of a key's set (`rwcore.heads.semantic_sets`); 1 for its own token alone, as in the
            main results. ``negative`` is defined for 1 only.

    Raises:
        OptionError: There is no such variant or mean, or they do not go together.
    """

    heads: str | tuple[Head, ...] = LATE
    variants: tuple[str, ...] = VARIANTS
    choice: QueryFilter = field(default_factory=QueryFilter)
    means: str = "overall"
    related: int = 1

    def __post_init__(self) -> None:
        require_choice("--means", self.means, Z_MEANS)
        require_least("--related", self.related, 1)
        require_variants(self.variants, sets=self.related > 1)
        if isinstance(self.heads, str):
            require_choice("--heads", self.heads, (LATE, ALL))


@dataclass(frozen=True)
class CspaStudy:
    """Copy-suppression-preserving ablations of the heads of one model on one corpus.

    Attributes:
        weights: The weight study of the model; its store and engine serve here too.
        corpus: The rows.
        options: What is measured.
        forward: How the model is run.
        words: Which words are function words.
        parts: Tasks of the engine; they decide no number.

    Raises:
        OptionError: The model has no such head, weights are not processed as published, or means by position
            are asked for and the rows have different lengths.
        ModelError: The model is an encoder.
    """

    weights: WeightStudy
    corpus: TokenCorpus
    options: CspaOptions = field(default_factory=CspaOptions)
    forward: ForwardOptions = field(default_factory=ForwardOptions)
    words: FunctionWords = field(default_factory=own_words)
    parts: int = 1

    def __post_init__(self) -> None:
        require_readable_heads(self.weights)
        if self.options.means == "position" and int(self.corpus.lengths.min()) < int(
            self.corpus.lengths.max()
        ):
            raise OptionError(
                f"the rows of {self.corpus.spec.id} have different lengths: late positions have few",
                where="--means position",
                remedy="use --means overall, or a corpus in full rows",
            )
        _ = self.heads

    @cached_property
    def shape(self) -> ModelShape:
        """Sizes of the model."""
        return read_shape(self.weights.local)

    @cached_property
    def heads(self) -> tuple[Head, ...]:
        """Which heads, ascending."""
        layers = self.shape.n_layers
        return asked_heads(self.weights, self.options.heads, range(layers // 2, layers))

    @cached_property
    def function(self) -> Tensor:
        """Which tokens are function words."""
        words = vocabulary(self.weights.local, self.shape.vocab)
        return self.words.tokens(words, read_encoder(self.weights.local).ends)

    @cached_property
    def means(self) -> dict[str, Tensor]:
        """Mean z of all heads of the layers, by ``layer_L``; swept first if the store has none.

        Raises:
            ModelError: The model cannot be run as expected.
            StoreError: The store cannot be written.
        """
        layers = tuple(sorted({layer for layer, _ in self.heads}))
        key = self._key("head-means", MEANS_DEFINITION, layers=layers, means=self.options.means)

        def compute(folder: Path) -> dict[str, object]:
            stopwatch = Stopwatch()
            rows = keep_rows(self.corpus, self.weights.store)
            work = self.weights.store.work(key)
            files = MeanFiles(work, rows, self.forward.positions, layers, self.options.means)
            run = sweep(self.weights, files, self.forward, parts=self.parts)
            write_arrays(folder / MEANS_FILE, files.read())
            return collect(stopwatch, batches=len(files.plans), batches_before=len(files.plans) - run)

        return read_arrays(self.weights.store.get_or_compute(key, compute) / MEANS_FILE)

    @cached_property
    def documents(self) -> EffectSums:
        """Effects of all heads, summed over documents; the first variant is mean ablation."""
        return EffectSums(**self._effects(self.heads, by_token=False))

    @cached_property
    def table(self) -> pd.DataFrame:
        """How much of the heads' effects is explained; see `rwcore.heads.cspa_scores.explained_table`."""
        return explained_table(self.documents, self.heads, self.options.variants)

    def best(self, count: int) -> list[Head]:
        """The heads of which ``negative`` (or the first variant) explains most; those without effect last."""
        chosen = NEGATIVE if NEGATIVE in self.options.variants else self.options.variants[0]
        rows = self.table[self.table["variant"] == chosen].sort_values(
            "explained", ascending=False, kind="stable", na_position="last"
        )
        return [(int(layer), int(head)) for layer, head in rows[["layer", "head"]].head(count).to_numpy()]

    def tokens(self, head: Head) -> dict[str, Tensor]:
        """Effects of one head at every token of the corpus, and its kept pairs.

        Args:
            head: Any head of the layers that are measured.

        Returns:
            See `rwcore.studies.head_cspa_files.EffectFiles.read_tokens`; variants are mean ablation and those
            of the options.
        """
        return self._effects((head,), by_token=True)

    def line(self, head: Head, *, bins: int = LINE_BINS) -> pd.DataFrame:
        """D_CSPA over D_MA in bins of tokens with similar D_MA; columns `LINE_COLUMNS`."""
        kl = self.tokens(head)["kl"][0].double().numpy()
        parts = []
        for number, variant in enumerate(self.options.variants, start=1):
            found = percentile_line(kl[0], kl[number], bins=bins)
            part = pd.DataFrame(found, columns=["tokens", "kl_mean_ablation", "kl"]).astype({"tokens": int})
            part["explained"] = (1 - part["kl"] / part["kl_mean_ablation"]).where(
                part["kl_mean_ablation"] > 0
            )
            parts.append(part.assign(layer=head[0], head=head[1], variant=variant, bin=range(len(part))))
        return pd.concat(parts, ignore_index=True)[[*LINE_COLUMNS]]

    def _effects(self, heads: Sequence[Head], *, by_token: bool) -> dict[str, Tensor]:
        options = self.options
        function = hashlib.sha256(self.function.numpy().tobytes()).hexdigest()
        # Related words are those of the tokenizer, which the rows are of.
        key = self._key(
            "cspa-tokens" if by_token else "cspa",
            DEFINITION,
            **{**asdict(options), "heads": heads},
            function=function,
        )

        def compute(folder: Path) -> dict[str, object]:
            stopwatch = Stopwatch()
            inputs = {**self.means, FUNCTION: self.function}
            if options.related > 1:
                words = vocabulary(self.weights.local, self.shape.vocab)
                inputs[SETS] = semantic_sets(words, options.related)
            files = EffectFiles(
                self.weights.store.work(key),
                keep_rows(self.corpus, self.weights.store),
                self.forward.positions,
                local=self.weights.local,
                heads=tuple(heads),
                choice=options.choice,
                variants=options.variants,
                by_token=by_token,
            )
            run = sweep(self.weights, files, self.forward, inputs, self.parts)
            found = files.read_tokens() if by_token else vars(files.read_sums())
            write_arrays(folder / EFFECTS_FILE, found)
            return collect(
                stopwatch,
                variants=[MEAN, *options.variants],
                batches=len(files.plans),
                batches_before=len(files.plans) - run,
            )

        return read_arrays(self.weights.store.get_or_compute(key, compute) / EFFECTS_FILE)

    def _key(self, kind: str, definition: str, **fields: object) -> ArtefactKey:
        # The software too: what was begun with other versions does not go on.
        software = identity_of(ArtefactKey.of(kind, definition))
        common = forward_fields(self.weights, self.corpus, self.forward)
        return ArtefactKey.of(kind, definition, **common, **fields, software=software)
