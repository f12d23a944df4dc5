"""Features of tokens of LaTeX documents, with mirrored negatives."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from rwcore.corpora.documents import Document
from rwcore.probing.datasets.features import FIXED, FeatureDataset
from rwcore.probing.datasets.labelled_rows import pooled
from rwcore.probing.datasets.latex import MIRRORS, latex_spans
from rwcore.probing.datasets.sampling import LEAST, Candidate, priorities, token_dataset
from rwcore.probing.datasets.source import Source, require_convention
from rwcore.probing.datasets.spans import PlacedCorpus, placed_rows, published_range
from rwcore.probing.datasets.strings import Placed

FIRST_POSITION = 6
SHARE = 0.25

Labels = Mapping[str, Bool[Tensor, " token"]]


def latex_features(
    source: Source,
    *,
    context: int = 1024,
    size: int = 20_000,
    seed: int = 0,
    least: int = LEAST,
    convention: str = FIXED,
) -> FeatureDataset:
    """Features of tokens in the first ``context`` tokens of LaTeX documents, a quarter of them positive.

    A document needs an even number of ``$`` and ``context`` tokens. Negatives of paired features (numerator
    and denominator, …) are for one half tokens of the other one, for the other half any; all stand at
    position 6 or later.

    ``as_published``: the text goes through the tokenizer and back first; a span's last token does not count,
    and spans that reach over the end of the window end before its last token; positives may stand before
    position 6; and a negative that both halves drew counts once, so that a feature has fewer.

    Args:
        source: LaTeX documents.
        context: Tokens of a row, BOS included.
        size: Examples of a feature.
        seed: Seed of the choice of examples.
        least: Examples of either class that a feature must have.
        convention: ``fixed`` or ``as_published``.

    Raises:
        CorpusError: No document is long enough.

    Source: sparse probing 3.7.
    """
    published = require_convention(convention)
    kept = Source(source.spec, source.encoder, _whole(source, context, round_trip=published))
    placed = placed_rows(kept, "latex", context=context, most=[1] * len(kept.texts))
    labels = _labels(kept, placed, published=published)
    later = pooled(placed.corpus, FIRST_POSITION)
    text = placed.start >= 0
    priority = priorities(placed.corpus, seed)
    chosen = []
    for number, (name, label) in enumerate(labels.items()):
        positive = (label & (text if published else later)).nonzero().flatten()
        positive = positive[priority[positive].argsort()][: int(size * SHARE)]
        mirror = labels[MIRRORS[name]] if name in MIRRORS else None
        negative = _negatives(
            label, later, mirror, size - int(size * SHARE), priority, seed=seed + number, published=published
        )
        place = torch.cat([positive, negative])
        order = place.argsort()
        is_positive = torch.arange(len(place)) < len(positive)
        chosen.append(Candidate(name, "latex", place[order], is_positive[order]))
    return token_dataset("latex", placed.corpus, chosen, least=least)


def _negatives(
    label: Bool[Tensor, " token"],
    later: Bool[Tensor, " token"],
    mirror: Bool[Tensor, " token"] | None,
    wanted: int,
    priority: Int64[Tensor, " token"],
    *,
    seed: int,
    published: bool,
) -> Int64[Tensor, " negative"]:
    anything = (~label & later).nonzero().flatten()
    if mirror is None:
        return anything[priority[anything].argsort()][:wanted]
    mirrored = (~label & later & mirror).nonzero().flatten()
    half = mirrored[priority[mirrored].argsort()][: wanted // 2]
    rest = anything if published else anything[~torch.isin(anything, half)]
    others = wanted - (wanted // 2 if published else len(half))
    # An order of its own: in the shared one both halves would begin with the same tokens.
    order = torch.randperm(len(rest), generator=torch.Generator().manual_seed(seed))
    either = np.concatenate([half.numpy(), rest[order][:others].numpy()])
    return torch.from_numpy(np.unique(either))


def _whole(source: Source, context: int, *, round_trip: bool) -> tuple[Document, ...]:
    """The documents that close all their mathematics and fill a row."""
    texts = [document.text for document in source.texts]
    if round_trip:
        texts = [source.encoder.tokenizer.decode(ids) for ids in source.encoder.encode(texts)]
    lengths = [len(ids) for ids in source.encoder.encode(texts)]
    return tuple(
        Document(document.id, text, document.labels)
        for document, text, length in zip(source.texts, texts, lengths, strict=True)
        if text.count("$") % 2 == 0 and length >= source.length(context)
    )


def _labels(source: Source, placed: PlacedCorpus, *, published: bool) -> Labels:
    labels = {name: torch.zeros(placed.corpus.n_tokens, dtype=torch.bool) for name in latex_spans("")}
    if not published:
        for number, document in enumerate(source.texts):
            for name, spans in latex_spans(document.text).items():
                placed.mark(number, spans, labels[name])
        return labels
    starts, first = placed.corpus.offsets, len(source.bos)
    for row, number in enumerate(placed.corpus.document.tolist()):
        text = source.texts[number].text
        low, high = int(starts[row]) + first, int(starts[row + 1])
        window = Placed([], placed.start[low:high], placed.end[low:high])
        for name, spans in latex_spans(text).items():
            inside = labels[name][low:high]
            for span in spans:
                inside[_marked(name, window, span)] = True
    return labels


def _marked(name: str, window: Placed, span: tuple[int, int]) -> slice | int:
    tokens = published_range(window, span)
    # Of a delimiter only the token of its first character, which behind the window is −1: the last token.
    return tokens.start if name in ("start_math", "end_math") else tokens
