r"""How much heads write against tokens they look at: anti-induction and copy suppression.

What a head adds at a destination d by looking at a source s, read out for the token t_s that stands there:

    w(d, s) = A[d, s] (v_s W_O) · W_U[:, t_s] / s_d

with s_d the scale of the final norm at d. It is a dot product with one column of W_U: no other logits are
computed. Norms behind the attention divide it by their own scale at d; soft caps and b_U are left out.

*   Anti-induction, on BOS, n random tokens and the same n again: d is the second copy of a token, s the first
    copy of the token behind it, which an induction head predicts. No text is needed.
*   Copy suppression, on the prompts of `rwcore.heads.ioi`: d is the end, s the name that is right.

Both scores are -w, averaged: positive for a head that writes against what it looks at, negative for one that
copies it. In heads of real models the two agree.

Random tokens of a row differ from each other, so that a copy is a copy of one token only; the published
ones were drawn with repeats, of which there are hardly any in a vocabulary of 50,000.

Source: copy suppression specification, section 13.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from rwcore.corpora.batches import Batch
from rwcore.errors import OptionError, require_least
from rwcore.heads.ioi import IoiPrompts
from rwcore.heads.readout import Readout
from rwcore.heads.run import PATTERN, VALUE, LayerParts, output_matrices, run_heads
from rwcore.models.vocabulary import Vocabulary


def plain_tokens(words: Vocabulary, ends: Collection[int] = ()) -> Int64[Tensor, " token"]:
    """Tokens that texts are made of: no special ones, none that end a text, no rows without a token.

    Args:
        words: The model's vocabulary.
        ends: Tokens that end a text (`rwcore.corpora.encoder.TextEncoder.ends`).
    """
    out = {*words.special, *ends}
    found = [
        number
        for number, text in enumerate(words.texts)
        if number not in out and text != f"<unused {number}>"
    ]
    return torch.tensor(found, dtype=torch.int64)


def random_rows(
    pool: Int64[Tensor, " token"],
    *,
    sequences: int,
    length: int,
    seed: int,
    bos: int | None = None,
    repeat: bool = False,
) -> Int64[Tensor, "batch pos"]:
    """Rows of random tokens, no token twice in a row (but for its second copy).

    Args:
        pool: What is drawn from.
        sequences: Number of rows.
        length: Tokens that are drawn for each.
        seed: Of the generator.
        bos: What stands before them, or None.
        repeat: Append the same tokens again.

    Raises:
        OptionError: A number is too small, or there are fewer tokens than ``length``.
    """
    require_least("--sequences", sequences, 1)
    require_least("--length", length, 2)
    if length > len(pool):
        raise OptionError(
            f"{length} different tokens, and the vocabulary has {len(pool)}",
            where="--length",
            remedy=f"give at most {len(pool)}",
        )
    generator = torch.Generator().manual_seed(seed)
    drawn = [pool[torch.randperm(len(pool), generator=generator)[:length]] for _ in range(sequences)]
    rows = torch.stack(drawn)
    parts = [] if bos is None else [torch.full((sequences, 1), bos)]
    return torch.cat([*parts, rows, *([rows] if repeat else [])], dim=1)


def row_batches(rows: Int64[Tensor, "batch pos"], positions: int) -> Iterator[Batch]:
    """Rows of equal length as batches of about so many positions."""
    step = max(1, positions // rows.shape[1])
    for number, tokens in enumerate(torch.split(rows, step)):
        start = number * step
        yield Batch(
            number,
            torch.arange(start, start + len(tokens)),
            tokens,
            torch.ones_like(tokens, dtype=torch.bool),
        )


@torch.no_grad()
def writes_to_source(
    model: Any,
    batch: Batch,
    destination: Int64[Tensor, "batch pair"],
    source: Int64[Tensor, "batch pair"],
    readout: Readout,
) -> Float[Tensor, "layer head batch pair"]:
    """w(d, s) of every head, for some pairs of positions in each row; logits, not negated.

    Args:
        model: As for `rwcore.heads.run.run_heads`.
        batch: The batch.
        destination: Positions that look.
        source: Positions looked at.
        readout: On the model's device.

    Raises:
        ModelError: As `rwcore.heads.run.run_heads`.
    """
    device = readout.rows.device
    row = torch.arange(len(batch.tokens), device=device)[:, None]
    directions = readout.centred(batch.tokens.gather(1, source).to(device))
    at, of = destination.to(device), source.to(device)
    found: list[Tensor] = []

    def visit(parts: LayerParts) -> None:
        assert parts.pattern is not None
        assert parts.value is not None
        along = torch.einsum("bnd,hed->bnhe", directions, output_matrices(model, parts.layer).float())
        written = (
            torch.linalg.vecdot(parts.value[row, of].float(), along) * parts.pattern[row, :, at, of].float()
        )
        if parts.raw_z is not parts.z:  # a norm behind the attention, one scale for all heads
            after, before = (z.float().flatten(2).norm(dim=2)[row, at] for z in (parts.z, parts.raw_z))
            written = written * (after / before.clamp(min=torch.finfo(torch.float32).tiny))[..., None]
        found.append(written.permute(2, 0, 1))

    final = run_heads(model, batch, visit, parts=(PATTERN, VALUE))
    return torch.stack(found) / final.scale[row, at].float()


def anti_induction(
    model: Any, batch: Batch, readout: Readout, *, bos: bool = True
) -> Float[Tensor, "layer head batch"]:
    """Anti-induction score of every head, for each row.

    Args:
        model: As for `rwcore.heads.run.run_heads`.
        batch: Rows of `random_rows` with ``repeat``.
        readout: On the model's device.
        bos: Whether the rows begin with a BOS.

    Raises:
        ModelError: As `rwcore.heads.run.run_heads`.
    """
    begin = int(bos)
    length = (batch.tokens.shape[1] - begin) // 2
    first = torch.arange(begin, begin + length - 1).expand(len(batch.tokens), -1)
    return -writes_to_source(model, batch, first + length, first + 1, readout).mean(dim=3)


def copy_suppression(model: Any, prompts: IoiPrompts, readout: Readout) -> Float[Tensor, "layer head prompt"]:
    """Copy-suppression score of every head, for each prompt.

    Args:
        model: As for `rwcore.heads.run.run_heads`.
        prompts: The prompts.
        readout: On the model's device.

    Raises:
        ModelError: As `rwcore.heads.run.run_heads`.
    """
    pairs = prompts.end[:, None], prompts.io[:, None]
    return -writes_to_source(model, prompts.batch, *pairs, readout)[..., 0]
