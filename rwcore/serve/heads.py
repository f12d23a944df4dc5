"""What one attention head does on a text that somebody types: the record that the page of heads shows."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from rwcore.corpora.batches import BatchPlan, batches
from rwcore.corpora.registry import find
from rwcore.corpora.spec import HANDMADE
from rwcore.corpora.tokenise import tokenise
from rwcore.corpora.tokens import TokenCorpus
from rwcore.errors import ModelError, OptionError, RwcoreError
from rwcore.heads.function_words import own_words
from rwcore.heads.reading import MOST_TOKENS, read_heads
from rwcore.heads.reading_means import means_over
from rwcore.heads.readout import Readout
from rwcore.heads.run import output_matrices
from rwcore.heads.writers import WriterMeans
from rwcore.models.spec import LocalModel
from rwcore.pages.head_record import TextRow, head_record
from rwcore.serve.form import layer_and_number
from rwcore.serve.head_question import ZERO, HeadQuestion
from rwcore.serve.reader import Reader
from rwcore.weights.fold import AS_PUBLISHED

MEAN_TOKENS = 2048
"""Of our own texts, that the means are taken over: enough for two digits, and some seconds of work."""


@dataclass
class HeadReader:
    """A loaded model, asked about one head at a time.

    Attributes:
        reader: The model, its tokenizer and limits.
        readout: What makes its logits, on its device.
        function: Which tokens are function words.
    """

    reader: Reader
    readout: Readout
    function: Bool[Tensor, " vocab"]
    # Made at the first question that needs it: means, and how many tokens they are of.
    _means: tuple[WriterMeans, int] | None = field(default=None, init=False)

    @property
    def shape(self) -> tuple[int, int]:
        """Layers, and heads of each."""
        model = self.reader.model
        return len(model.blocks), len(output_matrices(model, 0))

    @property
    def tokens(self) -> int:
        """Tokens of the longest text."""
        return min(self.reader.limits.tokens, MOST_TOKENS)

    def answer(self, question: HeadQuestion) -> dict[str, Any]:
        """The record of one row and one head, as `rwcore.pages.head_record.head_record` makes it.

        ``ablation`` says in words what took the place of the head's output.

        Raises:
            OptionError: The text is empty or too long, or there is no such head.
            CorpusError: Our own texts cannot be read for means.
            ModelError: A prediction is not finite.
        """
        head = layer_and_number(question.head, "head", "23.3")
        corpus = self._corpus(question.text)
        means, ablation = self._replacement(question.mode)
        found = self._read(corpus, head, means)
        return {**found, "ablation": ablation}

    def require_readable(self) -> None:
        """Read a first text, so that what cannot work is known at once.

        Raises:
            RwcoreError: It cannot.
        """
        layers, _ = self.shape
        self._read(self._corpus("a"), (layers - 1, 0), WriterMeans.zero(self.reader.model))

    def _corpus(self, text: str) -> TokenCorpus:
        corpus = self.reader.corpus(text)
        if corpus.n_tokens > self.tokens:
            raise OptionError(
                f"the text has {corpus.n_tokens:,} tokens, and heads are read in {self.tokens:,} at most",
                where="text",
                remedy="take a shorter one",
            )
        return corpus

    def _read(self, corpus: TokenCorpus, head: tuple[int, int], means: WriterMeans) -> dict[str, Any]:
        reader = self.reader
        batch = BatchPlan(0, (0,)).load(corpus)
        found = read_heads(reader.model, batch, [head], means, self.readout, self.function)
        row = TextRow(0, None, corpus.row(0).long(), corpus.policy.bos is not None)
        return head_record([row], [found], reader.words, model=reader.encoder.model, corpus=None)

    def _replacement(self, mode: str) -> tuple[WriterMeans, str]:
        """What takes the head's place, and that in words."""
        if mode == ZERO:
            return WriterMeans.zero(
                self.reader.model
            ), "Ablation puts zero in the place of what the head adds."
        if self._means is None:
            texts = self._texts()
            swept = (plan.load(texts) for plan in batches(texts))
            self._means = means_over(self.reader.model, swept), texts.n_tokens
        means, tokens = self._means
        return means, (
            "Ablation puts the mean of what the head adds in its place, taken over "
            f"{tokens:,} tokens of our own texts ({HANDMADE})."
        )

    def _texts(self) -> TokenCorpus:
        """Our own texts, in rows as long as the model can read."""
        reader, spec = self.reader, find(HANDMADE)
        longest = min(filter(None, (spec.max_length, reader.encoder.context)))
        return tokenise(replace(spec, tokens=MEAN_TOKENS, max_length=longest, bos=reader.bos), reader.encoder)


def load_heads(local: LocalModel, reader: Reader, processing: str | None = None) -> HeadReader | RwcoreError:
    """What reads the heads of a model that neurons are read of, or why none can.

    Args:
        local: The model.
        reader: What `rwcore.serve.reader.load_reader` made of it.
        processing: As given there.

    Returns:
        The reader of heads; or the error, for the page that would have shown them.
    """
    try:
        if (processing or local.spec.processing) != AS_PUBLISHED:
            raise OptionError(
                "what heads write is read with processed weights",
                where=f"--processing {processing or local.spec.processing}",
                remedy="start the server without it",
            )
        readout = Readout.of(local, next(iter(reader.model.parameters())).device)
        function = own_words().tokens(reader.words, reader.encoder.ends)
        heads = HeadReader(reader, readout, function)
        heads.require_readable()
    except RwcoreError as error:
        return error
    except (MemoryError, torch.OutOfMemoryError):
        return ModelError(
            "there is no memory for the unembedding beside the model, so that heads cannot be read",
            where=f"{local.spec.id} on {next(iter(reader.model.parameters())).device}",
            remedy="start the server with --device cpu, or ask about neurons only",
        )
    return heads
