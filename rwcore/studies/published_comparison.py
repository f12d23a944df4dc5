"""Neuron pages of the published layout on a model: made of its examples, and recomputed from texts."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from rwcore.activations.capture import run_layers
from rwcore.activations.published_pages import (
    AFTER,
    HOOKS,
    PublishedExample,
    PublishedPage,
    own_page,
    published_text,
)
from rwcore.corpora.batches import batches
from rwcore.corpora.spec import CorpusSpec
from rwcore.corpora.tokens import RowPolicy, TokenCorpus
from rwcore.models.device import pick_device
from rwcore.models.vocabulary import vocabulary
from rwcore.neurons import NeuronSet
from rwcore.studies.activation_pass import bridge
from rwcore.studies.activations import PassStudy
from rwcore.studies.forward import ForwardOptions, as_processed
from rwcore.studies.frequencies import gate_signs
from rwcore.studies.neuron_examples import ExampleOptions, ExampleStudy
from rwcore.studies.weights import WeightStudy
from rwcore.weights.shape import read_shape

Pair = tuple[int, int]

AS_PUBLISHED = ExampleOptions(before=None, after=AFTER, sample_tokens=1, random=0)
"""As much of a text as the published pages show, and nothing that they do not."""


def own_pages(pass_: PassStudy, neurons: Sequence[Pair]) -> list[PublishedPage]:
    """The pages of some neurons in the published layout, recomputed from a pass in one sweep.

    Args:
        pass_: The pass over the text.
        neurons: Layer and number of each.

    Raises:
        NotGatedError: The MLPs of the model have no gate.
        OptionError: The model has no such neuron.
        ModelError: The model computes other values than the pass has found.
    """
    local = pass_.weights.local
    texts = vocabulary(local, read_shape(local).vocab).texts
    pages = []
    for examples in ExampleStudy(pass_, AS_PUBLISHED).examples(neurons):
        rows = [pass_.corpus.row(stretch.row)[: stretch.end].tolist() for stretch in examples.stretches]
        pages.append(own_page(examples, [[texts[number] for number in row] for row in rows]))
    return pages


@dataclass(frozen=True)
class TokenIds:
    """Token ids of one model by the published text of the token."""

    ids: Mapping[str, Sequence[int]]

    @classmethod
    def of(cls, texts: Iterable[str]) -> TokenIds:
        """From the texts of all tokens by id."""
        found: dict[str, list[int]] = defaultdict(list)
        for number, text in enumerate(texts):
            found[published_text(text)].append(number)
        return cls(dict(found))

    def beginning(self, tokens: Sequence[str]) -> tuple[int, ...]:
        """The ids of the tokens before the first one whose text is not that of exactly one id.

        What a model does there does not depend on the tokens behind; what it does behind, does.
        """
        ids: list[int] = []
        for text in tokens:
            found = self.ids.get(text, ())
            if len(found) != 1:
                break
            ids.append(found[0])
        return tuple(ids)

    def several(self, tokens: Iterable[str]) -> int:
        """How many tokens have the text of several ids; bytes of broken characters all look alike."""
        return sum(len(self.ids.get(text, ())) > 1 for text in tokens)

    def unknown(self, tokens: Iterable[str]) -> int:
        """How many tokens have the text of no id."""
        return sum(text not in self.ids for text in tokens)


def compare_pages(
    weights: WeightStudy, pages: Iterable[PublishedPage], options: ForwardOptions | None = None
) -> pd.DataFrame:
    """What pages say against what a model computes on their texts, gate signs folded.

    Args:
        weights: The weight study of the model.
        pages: The pages.
        options: How the model is run.

    Returns:
        One row per page: layer, neuron, ``files``; ``tokens``; ``several_ids`` and ``no_id``, tokens whose
        text does not say which one it is; ``compared``, the tokens before the first such token of each file;
        ``runs``, texts that the model has read, none the beginning of another; for each quantity
        ``<quantity>_error``, the largest difference, and ``<quantity>_relative``, that over the largest
        value of the page. NaN where nothing could be compared.

    Raises:
        NotGatedError: The MLPs of the model have no gate.
        OptionError: A neuron is not in the model.
    """
    options = options or ForwardOptions()
    local = weights.local
    ids = TokenIds.of(vocabulary(local, read_shape(local).vocab).texts)
    signs = gate_signs(weights)
    rows = []
    for page in pages:
        NeuronSet.of("pages", [(page.layer, page.neuron)]).require_within(*signs.shape)
        rows.append(_compared(weights, page, ids, int(signs[page.layer, page.neuron]), options))
    return pd.DataFrame(rows)


def _compared(
    weights: WeightStudy, page: PublishedPage, ids: TokenIds, sign: int, options: ForwardOptions
) -> dict[str, float | int]:
    beginnings = [ids.beginning(example.tokens) for example in page.examples]
    texts = longest(beginnings)
    found = recompute(weights, page.layer, page.neuron, texts, sign, options) if texts else {}
    tokens = [text for example in page.examples for text in example.tokens]
    return {
        "layer": page.layer,
        "neuron": page.neuron,
        "files": len(page.examples),
        "tokens": len(tokens),
        "several_ids": ids.several(tokens),
        "no_id": ids.unknown(tokens),
        "compared": sum(map(len, beginnings)),
        "runs": len(texts),
        **_errors(page.examples, beginnings, found),
    }


def _errors(
    examples: Sequence[PublishedExample],
    beginnings: Sequence[tuple[int, ...]],
    found: Mapping[tuple[int, ...], Float[Tensor, "pos quantity"]],
) -> dict[str, float]:
    """The largest differences and, relative to the largest value, by quantity."""
    texts = sorted(found)
    # The first text that does not come before a beginning has it, if any has.
    runs = [found[texts[bisect_left(texts, ids)]] for ids in beginnings if ids]
    nothing = torch.zeros(0, len(HOOKS), dtype=torch.float64)
    theirs = torch.cat(
        [nothing, *(one.raw[: len(ids)] for one, ids in zip(examples, beginnings, strict=True))]
    )
    ours = torch.cat(
        [nothing, *(run[: len(ids)] for run, ids in zip(runs, filter(None, beginnings), strict=True))]
    )
    errors: dict[str, float] = {}
    for place, quantity in enumerate(HOOKS):
        compared = bool(len(ours))
        error = float((theirs - ours)[:, place].abs().max()) if compared else math.nan
        largest = float(theirs[:, place].abs().max()) if compared else math.nan
        errors |= {f"{quantity}_error": error, f"{quantity}_relative": error / (largest or 1.0)}
    return errors


def longest(texts: Iterable[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """The texts that are not the beginning of another one, each once, in order."""
    ordered = sorted({*texts} - {()})
    return [
        text for text, after in zip_longest(ordered, ordered[1:], fillvalue=()) if after[: len(text)] != text
    ]


def recompute(
    weights: WeightStudy,
    layer: int,
    neuron: int,
    texts: Sequence[tuple[int, ...]],
    sign: int,
    options: ForwardOptions,
) -> dict[tuple[int, ...], Float[Tensor, "pos quantity"]]:
    """What one neuron does on some texts: post, in, gate, act as in `HOOKS`; float64 of float32 numbers.

    Args:
        weights: The weight study of the model.
        layer: Layer of the neuron.
        neuron: Its number in the layer.
        texts: Token ids.
        sign: Its gate sign; in and post are multiplied by it.
        options: How the model is run.
    """
    model = bridge(as_processed(weights), pick_device(options.device), options.dtype)
    corpus = texts_corpus(texts, weights.local.spec.id)
    found: dict[tuple[int, ...], Tensor] = {}
    for plan in batches(corpus, token_budget=options.positions):
        batch = plan.load(corpus)

        def visit(_: int, gate: Tensor, in_: Tensor, act: Tensor, rows: Tensor = batch.rows) -> None:
            one_gate, one_in, one_act = (values[..., neuron].float().cpu() for values in (gate, in_, act))
            one_in = sign * one_in
            stacked = torch.stack([one_act * one_in, one_in, one_gate, one_act], dim=-1).double()
            for place, row in enumerate(rows.tolist()):
                found[texts[row]] = stacked[place, : len(texts[row])]

        run_layers(model, batch, visit, layers=[layer])
    return found


def texts_corpus(texts: Sequence[tuple[int, ...]], model: str = "") -> TokenCorpus:
    """Texts of token ids as the rows of a corpus, for its batches.

    Args:
        texts: Token ids of each.
        model: Whose ids they are, for messages.
    """
    lengths = torch.tensor([0, *map(len, texts)])
    most = int(lengths.max())
    return TokenCorpus(
        CorpusSpec("texts of pages", "file", "/", max_length=most),
        RowPolicy(bos=None, separator=None, max_length=most, overflow=False, layout="ragged"),
        tokens=torch.tensor([number for text in texts for number in text], dtype=torch.int32),
        document=torch.arange(len(texts)),
        offsets=lengths.cumsum(dim=0),
        tokenizer_hash="",
        model=model,
    )
