r"""Predictions at the tokens of one row as people read them: loss, rank, the most probable tokens.

Logits of the whole vocabulary are made for a few tokens at a time and gone when the next ones are made, so
that all numbers of a token come from one product: ranks compare numbers that were rounded alike.

Source: copy suppression specification, section 15, page 2, tabs b and d.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from rwcore.ablation.head import CPU_LOGITS, GPU_LOGITS
from rwcore.heads.cspa_filter import first_occurrences
from rwcore.heads.readout import Readout

TOP = 10
"""Tokens of a list."""
CONTEXT_WORDS = 5
"""Words of the text so far that the logit lens predicts most."""
NOBODY = -1
"""Stands in a list for a token that is not there: the text so far has too few words."""


@dataclass(frozen=True, eq=False)
class Predicted:
    """The predictions of a run, at each token of a row; nats.

    Attributes:
        loss: -log p of the next token; NaN where there is none.
        kl: KL divergence from the prediction of the clean run, whose own is 0.
        p: Probability of the next token; NaN where there is none.
        rank: How many tokens have a larger logit than the next one: 0 is best; NaN where there is none.
        top_token: The most probable tokens, the first one first.
        top_p: Their probabilities.
    """

    loss: Float[Tensor, " token"]
    kl: Float[Tensor, " token"]
    p: Float[Tensor, " token"]
    rank: Float[Tensor, " token"]
    top_token: Int64[Tensor, "token place"]
    top_p: Float[Tensor, "token place"]


@dataclass(frozen=True, eq=False)
class TokenList:
    """Tokens and a value of each, at each token of a row.

    Attributes:
        token: Their numbers.
        value: Logits.
    """

    token: Int64[Tensor, "token place"]
    value: Float[Tensor, "token place"]


@dataclass(frozen=True, eq=False)
class Lens:
    """What the logit lens predicts at each token of a row.

    Attributes:
        top_token: The most probable tokens, the first one first.
        top_p: Their probabilities.
        context_token: The most probable ones among the words of the text so far, each once; `NOBODY` behind
            the last one.
        context_p: Their probabilities; 0 for `NOBODY`.
    """

    top_token: Int64[Tensor, "token place"]
    top_p: Float[Tensor, "token place"]
    context_token: Int64[Tensor, "token word"]
    context_p: Float[Tensor, "token word"]


@torch.no_grad()
def predicted(
    hidden: Float[Tensor, "run token d_model"],
    targets: Int64[Tensor, " token"],
    readout: Readout,
    *,
    count: int = TOP,
    tile: int | None = None,
) -> list[Predicted]:
    """The predictions of a clean run and of others over the same tokens.

    Args:
        hidden: Normalised final streams, float32; those of the clean run first.
        targets: The next token; -1 where there is none.
        readout: On the same device.
        count: How many of the most probable tokens.
        tile: Logits held at a time, of each of two runs; None for what suits the device.

    Returns:
        One for each run, on the same device.
    """
    parts: list[list[Predicted]] = [[] for _ in hidden]
    for tokens in _tiles(hidden.shape[1], readout, tile):
        clean = _log_softmax(hidden[0, tokens], readout)
        p = clean.exp()
        for number, run in enumerate(hidden):
            found = clean if number == 0 else _log_softmax(run[tokens], readout)
            kl = torch.linalg.vecdot(p, clean - found).clamp(min=0)
            parts[number].append(_predicted(found, kl, targets[tokens], count))
    return [
        Predicted(**{name: torch.cat([getattr(part, name) for part in of]) for name in vars(of[0])})
        for of in parts
    ]


@torch.no_grad()
def extremes(
    written: Float[Tensor, "token d_model"], readout: Readout, *, count: int = TOP, tile: int | None = None
) -> tuple[TokenList, TokenList]:
    """Direct logit attribution: the tokens whose logits are lowered and raised most by what is written.

    Logits are centred over the vocabulary, without a bias, and before a soft cap.

    Args:
        written: (r - m̄) / s, float32.
        readout: On the same device.
        count: How many tokens.
        tile: As for `predicted`.

    Returns:
        The lowered ones, the lowest first, and the raised ones, the highest first. In a list of the lowered
        ones there may be positive values, if nothing else is written.
    """
    centre = written @ readout.rows.mean(dim=0)
    ends: tuple[list[torch.return_types.topk], list[torch.return_types.topk]] = ([], [])
    for tokens in _tiles(len(written), readout, tile):
        logits = written[tokens] @ readout.rows.T - centre[tokens, None]
        for found, largest in zip(ends, (False, True), strict=True):
            found.append(logits.topk(min(count, logits.shape[1]), dim=1, largest=largest))
    lowered, raised = (
        TokenList(torch.cat([part.indices for part in of]), torch.cat([part.values for part in of]))
        for of in ends
    )
    return lowered, raised


@torch.no_grad()
def lens(
    hidden: Float[Tensor, "token d_model"],
    tokens: Int64[Tensor, " token"],
    skipped: Bool[Tensor, " token"],
    readout: Readout,
    *,
    count: int = TOP,
    words: int = CONTEXT_WORDS,
    tile: int | None = None,
) -> Lens:
    """What a stream within the model would predict if the model ended there.

    Args:
        hidden: The stream through the final norm, float32.
        tokens: The row.
        skipped: Tokens that are function words: no words of the text so far.
        readout: On the same device.
        count: How many of the most probable tokens.
        words: How many of the words of the text so far, the token itself included.
        tile: As for `predicted`.
    """
    first = first_occurrences(tokens[None])[0] & ~skipped
    places = torch.arange(len(tokens), device=tokens.device)
    kept: list[tuple[Tensor, ...]] = []
    for some in _tiles(len(hidden), readout, tile):
        p = _log_softmax(hidden[some], readout).exp()
        top = p.topk(min(count, p.shape[1]), dim=1)
        there = first & (places <= places[some, None])
        best = p[:, tokens].masked_fill(~there, -1.0).topk(min(words, len(tokens)), dim=1)
        missing = best.values < 0
        word = tokens[best.indices].masked_fill(missing, NOBODY)
        kept.append((top.indices, top.values, word, best.values.masked_fill(missing, 0.0)))
    return Lens(*(torch.cat(column) for column in zip(*kept, strict=True)))


def _tiles(tokens: int, readout: Readout, tile: int | None) -> Iterator[slice]:
    """A few tokens at a time."""
    logits = tile or (CPU_LOGITS if readout.rows.device.type == "cpu" else GPU_LOGITS)
    height = max(1, logits // len(readout.rows))
    for start in range(0, tokens, height):
        yield slice(start, min(start + height, tokens))


def _log_softmax(hidden: Tensor, readout: Readout) -> Float[Tensor, "token vocab"]:
    return readout.capped(readout.logits(hidden)).log_softmax(dim=1)


def _predicted(log_p: Tensor, kl: Tensor, targets: Tensor, count: int) -> Predicted:
    there = targets >= 0
    wanted = log_p.gather(1, targets.clamp(min=0)[:, None])
    top = log_p.topk(min(count, log_p.shape[1]), dim=1)
    rank = (log_p > wanted).sum(dim=1).float()
    return Predicted(
        loss=(-wanted[:, 0]).where(there, torch.nan),
        kl=kl,
        p=wanted[:, 0].exp().where(there, torch.nan),
        rank=rank.where(there, torch.nan),
        top_token=top.indices,
        top_p=top.values.exp(),
    )
