"""The attributes rate as sections 4.2 and 4.3 of the specification say it: plain, never tuned.

One prompt at a time, a hook for every layer, all logits sorted, Python's sets of strings. Tests and
benchmarks compare with it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

Hook = tuple[str, Callable[..., Any]]


def attributes_of(
    paragraphs: Sequence[str],
    encode: Callable[[str], Sequence[int]],
    decode: Callable[[int], str],
    stop_words: Collection[str],
    *,
    bos: int | None = None,
    context: int | None = None,
    cased: bool = False,
) -> set[str]:
    """Section 4.2: the set of the tokens of the paragraphs, without short ones and stop words.

    Args:
        paragraphs: Of the subject, in order.
        encode: Text to tokens.
        decode: The text of one token.
        stop_words: In lower case.
        bos: First token; as published, that of the model.
        context: Number of tokens, BOS included; as published, that of the model.
        cased: As published: stop words are recognised in lower case only.
    """
    text = ""
    for paragraph in paragraphs:
        text += " " + paragraph
    tokens = ([] if bos is None else [bos]) + list(encode(text))
    if context is not None:
        tokens = tokens[:context]
    found = set()
    for token in tokens:
        word = decode(token).strip()
        if len(word) > 2 and (word if cased else word.lower()) not in stop_words:
            found.add(decode(token))
    return found


def predictions_of(
    model: Any,
    tokens: Sequence[int],
    start: int,
    hooks: Sequence[Hook] = (),
    *,
    k: int = 50,
    normed: bool = True,
) -> list[list[int]]:
    """Section 4.3: the k tokens with the largest logits, for the embedding and after each layer.

    Args:
        model: The bridge.
        tokens: The prompt up to the last token of the subject.
        start: Position of its first token.
        hooks: What ablates, for ``run_with_hooks``.
        k: How many.
        normed: Through the final norm and the bias; as published, neither.
    """
    kept: dict[int, Tensor] = {}

    def keep(layer: int) -> Hook:
        def hook(stream: Tensor, hook: Any) -> None:
            kept[layer] = stream[0, -1].clone()

        return f"blocks.{layer}.hook_out", hook

    n_layers = int(model.cfg.n_layers)
    watching = [keep(layer) for layer in range(n_layers)]
    unembedding = model.unembed.original_component
    with torch.no_grad():
        model.run_with_hooks(torch.tensor([list(tokens)]), fwd_hooks=[*hooks, *watching])
        embedding = model.W_E[list(tokens[start:])].mean(dim=0)
        found = []
        for state in [embedding, *(kept[layer] for layer in range(n_layers))]:
            if normed:
                logits = unembedding(model.ln_final(state[None, None]))[0, 0]
            else:
                logits = unembedding.weight @ state
            found.append(torch.argsort(logits, descending=True, stable=True)[:k].tolist())
    return found


def rate_of(
    predicted: Sequence[str], attributes: Collection[str] | None, stop_words: Collection[str]
) -> float:
    """Section 4.3: the percentage of the cleaned predictions that are attributes, -1 if there is none.

    Args:
        predicted: Texts of the predicted tokens.
        attributes: Of the subject; None if it has no entry.
        stop_words: In lower case.
    """
    cleaned = [text for text in predicted if len(text.strip()) > 2 and text.strip().lower() not in stop_words]
    if attributes is None or not cleaned:
        return -1.0
    return 100 * len(set(cleaned) & set(attributes)) / len(cleaned)


def rates_of(
    model: Any,
    prompts: Sequence[tuple[Sequence[int], int, str]],
    attributes: Mapping[str, set[str]],
    decode: Callable[[int], str],
    stop_words: Collection[str],
    hooks: Sequence[Hook] = (),
    *,
    k: int = 50,
    normed: bool = True,
) -> list[list[float]]:
    """Section 4.3 for all prompts, one by one.

    Args:
        model: The bridge.
        prompts: Tokens, start and subject of each.
        attributes: By subject.
        decode: The text of one token.
        stop_words: In lower case.
        hooks: What ablates.
        k: How many predictions.
        normed: As for `predictions_of`.
    """
    return [
        [
            rate_of([decode(token) for token in layer], attributes.get(subject), stop_words)
            for layer in predictions_of(model, tokens, start, hooks, k=k, normed=normed)
        ]
        for tokens, start, subject in prompts
    ]
