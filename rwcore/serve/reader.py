"""A model that reads the texts that people type."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch

from rwcore.ablation.hooks import require_fit
from rwcore.ablation.run_metrics import RunMetrics
from rwcore.corpora.documents import Document
from rwcore.corpora.encoder import TextEncoder, read_encoder
from rwcore.corpora.spec import FILE, CorpusSpec
from rwcore.corpora.tokenise import row_policy, rows_of
from rwcore.corpora.tokens import TokenCorpus
from rwcore.errors import OptionError
from rwcore.models.device import pick_device
from rwcore.models.load import load_bridge
from rwcore.models.spec import LocalModel
from rwcore.models.vocabulary import Vocabulary, vocabulary
from rwcore.runtime import configure
from rwcore.serve.form import layer_and_number
from rwcore.serve.limits import Limits, fitting
from rwcore.serve.measure import Measurement, clean_metrics, measure
from rwcore.serve.question import Question

NAME = "your text"


@dataclass
class Reader:
    """A loaded model, asked one question at a time.

    Attributes:
        model: What `rwcore.models.load.load_bridge` returned.
        encoder: Its tokenizer.
        words: Text of every token.
        limits: What is refused.
        bos: Token at the beginning of every text, a policy of `rwcore.corpora.spec.CorpusSpec.bos`.
    """

    model: Any
    encoder: TextEncoder
    words: Vocabulary
    limits: Limits
    bos: str = "model"
    # The last text: most questions are about another neuron on the same one.
    _clean: tuple[str, RunMetrics] | None = field(default=None, init=False)

    def corpus(self, text: str) -> TokenCorpus:
        """A text as one row of tokens, made as those of a corpus.

        Names of special tokens are ordinary text.

        Raises:
            OptionError: The text is empty or too long.
            CorpusError: There is no token for ``bos``.
        """
        if not text:
            raise OptionError("the text is empty", where="text", remedy="type something")
        if len(text) > self.limits.characters:
            raise OptionError(
                f"the text has {len(text):,} characters, and {self.limits.characters:,} are the most",
                where="text",
                remedy="take a shorter one",
            )
        spec = CorpusSpec(NAME, FILE, max_length=self.limits.tokens, bos=self.bos, overflow=True)
        policy = row_policy(spec, self.encoder)
        rows = [row for _, row in rows_of(spec, self.encoder, [Document(NAME, text)])]
        if len(rows) > 1:
            tokens = sum(map(len, rows)) - (len(rows) - 1) * (policy.bos is not None)
            raise OptionError(
                f"the text has {tokens:,} tokens, and {self.limits.tokens:,} are the most",
                where="text",
                remedy="take a shorter one, or start the server with --max-tokens",
            )
        return TokenCorpus(
            spec,
            policy,
            tokens=torch.tensor(rows[0], dtype=torch.int32),
            document=torch.zeros(1, dtype=torch.int64),
            offsets=torch.tensor([0, len(rows[0])]),
            tokenizer_hash=self.encoder.hash,
            model=self.encoder.model,
        )

    def answer(self, question: Question) -> Measurement:
        """What the neuron does on the text.

        Raises:
            OptionError: The text is empty or too long, or there is no such neuron.
            ModelError: A prediction is not finite.
        """
        neuron = layer_and_number(question.neuron, "neuron", "28.4737")
        corpus = self.corpus(question.text)
        key = corpus.content_hash
        if self._clean is None or self._clean[0] != key:
            self._clean = key, clean_metrics(self.model, corpus)
        return measure(self.model, corpus, neuron, question.intervention, clean=self._clean[1])

    @property
    def shape(self) -> tuple[int, int]:
        """Layers, and neurons of each."""
        mlps = require_fit(self.model)
        return len(mlps), mlps[0].W_out.shape[0]


def load_reader(
    local: LocalModel,
    *,
    processing: str | None = None,
    device: str = "auto",
    dtype: str = "float32",
    tokens: int | None = None,
    bos: str = "model",
) -> Reader:
    """Load a model and let it read a first text, so that what cannot work is known at once.

    Args:
        local: The model.
        processing: ``as_published`` or ``raw``; the model's own if None.
        device: See `rwcore.models.device.pick_device`.
        dtype: Type the model runs in.
        tokens: Tokens of the longest text; see `rwcore.serve.limits.fitting`.
        bos: Token at the beginning of every text.

    Raises:
        OptionError: The number of tokens does not fit, or there is no such device.
        ModelError: The model is no decoder with MLPs, or cannot be run with hooks.
        CorpusError: There is no token for ``bos``.
    """
    encoder = read_encoder(local)
    limits = fitting(tokens, encoder.context, encoder.model)
    configure()
    chosen = replace(local, spec=replace(local.spec, processing=processing or local.spec.processing))
    model = load_bridge(chosen, pick_device(device), dtype=getattr(torch, dtype))
    reader = Reader(model, encoder, vocabulary(local, encoder.vocab), limits, bos)
    layers, _ = reader.shape
    measure(model, reader.corpus("a"), (layers - 1, 0))
    return reader
