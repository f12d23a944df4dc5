"""Where the effect of an ablation on one prediction comes from: traced once, kept in the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from jaxtyping import Int8
from torch import Tensor

from rwcore.ablation.interventions import Ablation, Intervention
from rwcore.ablation.last import Prompt
from rwcore.ablation.trace import LEFT_OUT, PARTS, trace
from rwcore.corpora.encoder import TextEncoder
from rwcore.corpora.tokens import TokenCorpus
from rwcore.errors import OptionError
from rwcore.models.device import pick_device
from rwcore.models.vocabulary import Vocabulary, vocabulary
from rwcore.neurons import NeuronSet
from rwcore.provenance import Stopwatch, collect
from rwcore.runtime import configure
from rwcore.stats.classes import UNDEFINED, class_codes, classes_of
from rwcore.store import MANIFEST, ArtefactKey, read_json, read_table, write_table
from rwcore.studies.ablation_runs import ablation_hash
from rwcore.studies.ablation_values import means_of, signs_of
from rwcore.studies.activation_pass import bridge
from rwcore.studies.forward import ForwardOptions, as_processed, model_fields
from rwcore.studies.frequencies import FrequencyStudy
from rwcore.studies.trace_tables import trace_table, with_names
from rwcore.studies.weights import WeightStudy

if TYPE_CHECKING:
    import pandas as pd

DEFINITION = "trace/1"
TABLE = "trace.parquet"


@dataclass(frozen=True)
class Question:
    """The prediction that is looked at.

    Attributes:
        prompt: Token ids, target and next token.
        source: Where the prompt is from: ``text``, or ``corpus``, ``content_hash``, ``row`` and ``position``.
    """

    prompt: Prompt
    source: dict[str, object]


@dataclass(frozen=True)
class TraceOptions:
    """What is traced; see `rwcore.ablation.trace.trace`.

    Attributes:
        parts: Of `rwcore.ablation.trace.PARTS`.
        groups: Groups of layers.
        strength: What a strong neuron moves: ``entropy`` or ``target_logit``.
        left_out: How many of the strongest neurons are left out one by one.
    """

    parts: tuple[str, ...] = PARTS
    groups: tuple[tuple[int, ...], ...] = ()
    strength: str = "entropy"
    left_out: int = LEFT_OUT


@dataclass(frozen=True, eq=False)
class Traced:
    """A finished trace.

    Attributes:
        question: The prediction.
        neurons: What was ablated.
        intervention: How.
        target: The token that logits, probabilities and ranks are of.
        words: Text of every token.
        table: Columns as `rwcore.studies.trace_tables.COLUMNS`.
    """

    question: Question
    neurons: NeuronSet
    intervention: Intervention
    target: int
    words: Vocabulary
    table: pd.DataFrame


@dataclass(frozen=True)
class TraceStudy:
    """Traces of one model.

    Attributes:
        weights: The weight study of the model; its store serves here too.
        encoder: Tokenizer and limits of the model.
        means: Where mean ablation takes its values from: the frequencies of the same model. None if no trace
            needs them.
        options: How the model is run; ``token_budget`` is the number of positions of a batch of variants.
    """

    weights: WeightStudy
    encoder: TextEncoder
    means: FrequencyStudy | None = None
    options: ForwardOptions = field(default_factory=ForwardOptions)

    @cached_property
    def signs(self) -> Int8[Tensor, "layer neuron"]:
        """σ of every neuron; +1 where the model has no gate."""
        return signs_of(self.weights)

    @cached_property
    def words(self) -> Vocabulary:
        """Text of every token."""
        return vocabulary(self.weights.local, self.encoder.vocab)

    def of_text(self, text: str, *, target: str | None = None, bos: str = "model") -> Question:
        """The prediction after a text.

        Names of special tokens in the text are these tokens.

        Args:
            text: The prompt.
            target: See `token`; None for what the clean model finds most probable.
            bos: Token before a prompt that does not begin with it (`TextEncoder.bos`).

        Raises:
            OptionError: The text is empty or longer than the model's context, or the target is not one token.
            CorpusError: There is no token for ``bos``.
        """
        ids = self._ids(text)
        if not ids:
            raise OptionError("the prompt is empty", where="--prompt", remedy="give a text")
        first = self.encoder.bos(bos)
        if first is not None and ids[0] != first:
            ids = [first, *ids]
        context = self.encoder.context
        if context is not None and len(ids) > context:
            raise OptionError(
                f"the prompt has {len(ids)} tokens, and {self.encoder.model} has {context} positions",
                where="--prompt",
                remedy="give a shorter prompt",
            )
        return Question(Prompt(tuple(ids), self._target(target)), {"text": text, "bos": bos})

    def of_row(self, corpus: TokenCorpus, row: int, position: int, *, target: str | None = None) -> Question:
        """The prediction at a position of a row of a corpus; what comes next is known unless the row ends.

        Raises:
            OptionError: There is no such row or position, or the target is not one token.
            CorpusError: The corpus was made for another tokenizer.
        """
        corpus.require_fit(self.encoder)
        if not 0 <= row < len(corpus):
            raise OptionError(
                f"there is no row {row} in {corpus.spec.id}",
                where="--row",
                remedy=f"rows are 0 to {len(corpus) - 1}; with more --tokens there may be more",
            )
        ids = corpus.row(row).tolist()
        if not 0 <= position < len(ids):
            raise OptionError(
                f"there is no position {position} in row {row} of {corpus.spec.id}",
                where="--position",
                remedy=f"positions are 0 to {len(ids) - 1}",
            )
        following = ids[position + 1] if position + 1 < len(ids) else None
        source: dict[str, object] = {
            "corpus": corpus.spec.id,
            "content_hash": corpus.content_hash,
            "row": row,
            "position": position,
        }
        return Question(Prompt(tuple(ids[: position + 1]), self._target(target), following), source)

    def token(self, text: str) -> int:
        """The token that a text is, or ``#1234`` for the one with that number.

        Raises:
            OptionError: The text is several tokens or none, or there is no such number.
        """
        number = text[1:]
        if text.startswith("#") and number.isascii() and number.isdigit():
            if int(number) >= self.encoder.vocab:
                raise OptionError(
                    f"there is no token {number}",
                    where="--target",
                    remedy=f"numbers are 0 to {self.encoder.vocab - 1}",
                )
            return int(number)
        ids = self._ids(text)
        if len(ids) != 1:
            found = ", ".join(repr(self.words[one]) for one in ids) or "none"
            raise OptionError(
                f"{text!r} is not one token of {self.encoder.model}, but {len(ids)}: {found}",
                where="--target",
                remedy="give one of its tokens (a space before a word belongs to it), or a number: '#1234'",
            )
        return ids[0]

    def trace(
        self,
        question: Question,
        neurons: NeuronSet,
        intervention: Intervention,
        options: TraceOptions | None = None,
    ) -> Traced:
        """Where the effect of an ablation on a prediction comes from; found in the store or computed.

        Raises:
            OptionError: As `rwcore.ablation.trace.trace`, or a mean ablation has no means, or those of
                another model.
            NotGatedError: There is a condition and the MLPs have no gate.
            ModelError: As `rwcore.ablation.trace.trace`.
            StoreError: The store cannot be written.
        """
        asked = options or TraceOptions()
        mean = intervention.mode == "mean"
        summary = means_of(self.weights, self.means) if mean else None
        ablation = Ablation.of(neurons, intervention, signs=self.signs, summary=summary)
        folder = self._folder(question.prompt, ablation, asked)
        pairs = zip(neurons.pairs(), self._classes(neurons), strict=True)
        named = with_names(read_table(folder / TABLE), question.prompt.tokens, self.words.tokens, dict(pairs))
        target = int(read_json(folder / MANIFEST)["target"])
        return Traced(question, neurons, intervention, target, self.words, named)

    def _folder(self, prompt: Prompt, ablation: Ablation, asked: TraceOptions) -> Path:
        options = self.options
        key = ArtefactKey.of(
            "trace",
            DEFINITION,
            **model_fields(self.weights, options),
            prompt=asdict(prompt),
            ablation=ablation_hash(ablation),
            positions=options.positions,
            **{**asdict(asked), "parts": {*asked.parts}},  # their order does not matter
        )

        def compute(folder: Path) -> dict[str, object]:
            stopwatch = Stopwatch()
            configure(threads=options.threads)
            try:
                model = bridge(as_processed(self.weights), pick_device(options.device), options.dtype)
                found = trace(model, prompt, ablation, **asdict(asked), budget=options.positions)
            finally:
                bridge.cache_clear()  # the model
            write_table(folder / TABLE, trace_table(found, ablation))
            return collect(stopwatch, target=found.target)

        return self.weights.store.get_or_compute(key, compute)

    def _classes(self, neurons: NeuronSet) -> Sequence[str]:
        """Read-write class of each neuron."""
        names = [one.name for one in classes_of(self.weights.cosines)]
        codes = class_codes(self.weights.cosines).numpy()[neurons.layer, neurons.neuron].tolist()
        return [UNDEFINED if code < 0 else names[code] for code in codes]

    def _target(self, text: str | None) -> int | None:
        return None if text is None else self.token(text)

    def _ids(self, text: str) -> list[int]:
        """Token ids of a text, without a token at its beginning."""
        found = self.encoder.tokenizer(
            text, add_special_tokens=False, split_special_tokens=False, verbose=False
        )["input_ids"]
        ids = [int(token) for token in found]
        if max(ids, default=0) >= self.encoder.vocab:
            raise OptionError(
                f"{text!r} has token {max(ids)}, and the model's embedding has {self.encoder.vocab} rows",
                where="--prompt, --target",
                remedy="put the tokenizer files of this very model into its folder",
            )
        return ids
