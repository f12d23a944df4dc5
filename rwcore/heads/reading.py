r"""Everything that one head does in one row, for people who read it: "Browse examples".

With r what the head adds, m̄ what takes its place, x the final stream and s its scale, at every token:

    effects       predictions of x' = x - r + m̄ with s (``direct``) or its own scale (``direct_rescaled``);
                  of what a pass gives in which m̄ stands for r (``total``), and of that without the direct
                  part (``indirect``), both with s (`rwcore.heads.paths`)
    attribution   ((r - m̄) / s) · W_U, centred over the vocabulary: tokens that are lowered and raised most
    attention     A_qk, and A_qk ‖v_k W_O‖ / max_k ‖v_k W_O‖: what is looked at, by how much it gives
    lens          what the stream before the head's layer predicts, through the final norm and b_U
    cspa          what is left of the direct effect if the head keeps nothing but its copy suppression
                  (`rwcore.heads.cspa`, ``negative``)

Source: copy suppression specification, section 15, page 2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from rwcore.corpora.batches import Batch
from rwcore.errors import ModelError, OptionError, require_choice
from rwcore.heads.cspa import BOTH, NEEDED, NEGATIVE, LayerCspa
from rwcore.heads.cspa_filter import QueryFilter, kept_keys, key_rows, lens_scores
from rwcore.heads.cspa_run import LEAST_ATTENTION
from rwcore.heads.effects import Predictions
from rwcore.heads.paths import DIRECT, INDIRECT, TOTAL, path_moves
from rwcore.heads.reading_lists import Lens, Predicted, TokenList, extremes, lens, predicted
from rwcore.heads.readout import Readout
from rwcore.heads.run import Final, LayerParts, output_matrices, run_heads
from rwcore.heads.writers import Writer, WriterMeans, require_writers

RESCALED = "direct_rescaled"
EFFECTS = (DIRECT, RESCALED, INDIRECT, TOTAL)
MOST_TOKENS = 1024
"""Of the longest row: attention is kept as tokens × tokens."""

Part = TypeVar("Part")


@dataclass(frozen=True, eq=False)
class Attention:
    """Attention of a head in a row.

    Attributes:
        pattern: After the softmax.
        written: Times ‖v_k W_O‖, as a share of the largest in the row.
    """

    pattern: Float[Tensor, "query key"]
    written: Float[Tensor, "query key"]


@dataclass(frozen=True, eq=False)
class CspaReading:
    """What copy-suppression-preserving ablation leaves of a head's direct effect, and what it keeps.

    Attributes:
        mean: Loss with mean ablation minus clean loss at each token; NaN where there is no next token.
        left: The same if the head keeps its copy suppression, negative only.
        query: Of pairs of a query and a key that is kept, with at least `LEAST_ATTENTION`.
        key: Of these pairs.
        score: How much the key's token is predicted at the query: logit lens with the final scale, no b_U.
        coefficient: What it writes along the direction of the key's token; dropped where it is positive.
    """

    mean: Float[Tensor, " token"]
    left: Float[Tensor, " token"]
    query: Int64[Tensor, " pair"]
    key: Int64[Tensor, " pair"]
    score: Float[Tensor, " pair"]
    coefficient: Float[Tensor, " pair"]


@dataclass(frozen=True, eq=False)
class HeadReading:
    """What one head does in one row; tensors are on the CPU. See the head of this module.

    Attributes:
        layer: Layer of the head.
        head: Its number.
        clean: Predictions of the model as it is.
        effects: Predictions without the head, by effect; `loss_increase` compares them.
        lowered: Tokens whose logits the head lowers most.
        raised: Tokens whose logits it raises most.
        attention: What it looks at.
        lens: What is predicted before its layer.
        cspa: What is left of it.
    """

    layer: int
    head: int
    clean: Predicted
    effects: Mapping[str, Predicted]
    lowered: TokenList
    raised: TokenList
    attention: Attention
    lens: Lens
    cspa: CspaReading

    def loss_increase(self, effect: str) -> Float[Tensor, " token"]:
        """Ablated - clean loss, nats: above 0 where the head helps; NaN where there is no next token."""
        return self.effects[effect].loss - self.clean.loss


@torch.no_grad()
def read_heads(
    model: Any,
    batch: Batch,
    heads: Sequence[tuple[int, int]],
    means: WriterMeans,
    readout: Readout,
    function: Bool[Tensor, " vocab"],
    *,
    effects: Sequence[str] = EFFECTS,
    choice: QueryFilter | None = None,
) -> list[HeadReading]:
    """Read what some heads do in a row.

    Beside two clean passes it costs a pass from each layer on, and of each head as many unembeddings as there
    are effects, and two more.

    Args:
        model: As for `rwcore.heads.run.run_heads`, with weights processed as published.
        batch: One row, without padding, of at most `MOST_TOKENS`.
        heads: Layer and number of each.
        means: What takes the place of what they add.
        readout: On the model's device.
        function: Which tokens are function words.
        effects: Of `EFFECTS`.
        choice: Which keys CSPA keeps; None for the published share.

    Returns:
        A reading of each head, in the order given.

    Raises:
        OptionError: There is no such head or effect, it is no single row of so many tokens, or there are no
            means for as many positions.
        ModelError: As `rwcore.heads.run.run_heads`, or a prediction is not finite.
    """
    for effect in effects:
        require_choice("effect", effect, EFFECTS)
    require_row(batch)
    writers = [Writer(layer, head) for layer, head in dict.fromkeys(heads)]
    require_writers(model, writers)
    means = means.to(readout.rows.device)
    clean, layers = _clean(model, batch, writers, means, readout, function, choice or QueryFilter())
    paths = [DIRECT, *(path for path in (INDIRECT, TOTAL) if path in effects)]
    found: dict[tuple[int, int], HeadReading] = {}
    for moves in path_moves(model, batch, writers, means, paths):
        for place, writer in enumerate(moves.writers):
            assert writer.head is not None
            by_path = {path: moved[place] for path, moved in moves.by_path.items()}
            reading = _reading(clean, layers[writer.layer], writer.head, by_path, effects, readout)
            found[writer.layer, writer.head] = reading
    return [found[layer, head] for layer, head in heads]


def require_row(batch: Batch) -> None:
    """Check that a batch is one row that is not too long.

    Raises:
        OptionError: It is none, or it is.
    """
    if len(batch.tokens) != 1 or not bool(batch.mask.all()):
        raise OptionError(
            f"{len(batch.tokens)} rows, perhaps padded, where one is read",
            where="rows",
            remedy="give one row without padding",
        )
    if batch.tokens.shape[1] > MOST_TOKENS:
        raise OptionError(
            f"a row of {batch.tokens.shape[1]:,} tokens; {MOST_TOKENS:,} are the most that can be read",
            where="rows",
            remedy=f"cut the text into shorter rows (--max-length {MOST_TOKENS})",
        )


@dataclass(frozen=True, eq=False)
class _Layer:
    """A layer in the clean pass over a row.

    Attributes:
        layer: Its number.
        heads: Numbers of the heads that are read.
        cspa: What these do, and what of it CSPA keeps.
        scores: How much the tokens of the keys are predicted before it.
        lens: What is.
    """

    layer: int
    heads: Sequence[int]
    cspa: LayerCspa
    scores: Float[Tensor, "1 query key 1"]
    lens: Lens

    def attention(self, place: int) -> Attention:
        """Attention of the head at a place of `heads`."""
        pattern = self.cspa.pattern[0, place]
        size = (self.cspa.value[0, :, place] @ self.cspa.output[place]).norm(dim=1)
        return Attention(pattern, pattern * (size / size.max().clamp(min=torch.finfo(size.dtype).tiny)))

    def kept(self, place: int, mean: Tensor, left: Tensor) -> CspaReading:
        """What CSPA leaves of the head at a place of `heads`, with what it keeps."""
        chosen = self.cspa.kept[0, ..., 0] & (self.cspa.pattern[0, place] >= LEAST_ATTENTION)
        query, key = chosen.nonzero(as_tuple=True)
        coefficient = self.cspa.coefficients(BOTH, place)[0, query, key, 0]
        return CspaReading(mean, left, query, key, self.scores[0, query, key, 0], coefficient)


def _clean(
    model: Any,
    batch: Batch,
    writers: Sequence[Writer],
    means: WriterMeans,
    readout: Readout,
    function: Bool[Tensor, " vocab"],
    choice: QueryFilter,
) -> tuple[Predictions, dict[int, _Layer]]:
    """How the clean pass over a row ends, and the layers of some heads in it."""
    heads: dict[int, list[int]] = {}
    for one in sorted(writers):
        assert one.head is not None
        heads.setdefault(one.layer, []).append(one.head)
    held: list[LayerParts] = []
    # Scores need the final scale, so that the parts of these heads are kept until the pass ends.
    final = run_heads(
        model, batch, lambda parts: held.append(_only(parts, heads[parts.layer])), parts=NEEDED, layers=heads
    )
    _require_finite(final, batch)
    tokens = batch.tokens.to(readout.rows.device)
    skipped, rows = function.to(tokens.device)[tokens], key_rows(tokens, readout)
    found = {}
    for parts in held:
        assert parts.stream is not None
        scores = lens_scores(parts.stream.float(), final.scale.float(), rows)
        some, mean = heads[parts.layer], means.of_layer(parts.layer, tokens.shape[1])[0]
        found[parts.layer] = _Layer(
            parts.layer,
            some,
            LayerCspa.of(
                parts,
                output_matrices(model, parts.layer)[some],
                mean[..., some, :],
                rows,
                kept_keys(scores, tokens, skipped, choice),
            ),
            scores,
            lens(model.ln_final(parts.stream)[0].float(), tokens[0], skipped[0], readout),
        )
    return Predictions.of(batch, final), found


def _reading(
    clean: Predictions,
    layer: _Layer,
    head: int,
    moved: Mapping[str, Float[Tensor, "1 pos d_model"]],
    effects: Sequence[str],
    readout: Readout,
) -> HeadReading:
    """The reading of a head without which the final stream moves so far by each path."""
    place = layer.heads.index(head)
    changes = {path: clean.frozen(move) for path, move in moved.items()}
    direct = changes[DIRECT]
    if RESCALED in effects:
        changes[RESCALED] = clean.recomputed(moved[DIRECT])
    changes[NEGATIVE] = clean.frozen(layer.cspa.moved(NEGATIVE, place).coefficients[None])
    streams = [clean.hidden, *(clean.hidden + one.coefficients for one in changes.values())]
    for name, stream in zip(changes, streams[1:], strict=True):
        if not stream.isfinite().all():
            raise ModelError(
                f"without head {layer.layer}.{head} ({name}) the model predicts what is no number",
                where="rows",
                remedy="run it in float32 (--dtype float32)",
            )
    before, *after = predicted(torch.stack(streams), clean.target, readout)
    by_name = dict(zip(changes, after, strict=True))
    mean, left = (by_name[name].loss - before.loss for name in (DIRECT, NEGATIVE))
    lowered, raised = extremes(-direct.coefficients, readout)
    return HeadReading(
        layer=layer.layer,
        head=head,
        clean=_on_cpu(before),
        effects={effect: _on_cpu(by_name[effect]) for effect in effects},
        lowered=_on_cpu(lowered),
        raised=_on_cpu(raised),
        attention=_on_cpu(layer.attention(place)),
        lens=_on_cpu(layer.lens),
        cspa=_on_cpu(layer.kept(place, mean, left)),
    )


def _only(parts: LayerParts, heads: list[int]) -> LayerParts:
    """A copy of some heads of a layer: what is shown of a pass is the model's own memory."""
    assert parts.stream is not None
    assert parts.pattern is not None
    assert parts.value is not None
    z = parts.z[:, :, heads]
    return LayerParts(
        parts.layer,
        z=z,
        raw_z=z if parts.raw_z is parts.z else parts.raw_z[:, :, heads],
        stream=parts.stream.clone(),
        pattern=parts.pattern[:, heads],
        value=parts.value[:, :, heads],
    )


def _require_finite(final: Final, batch: Batch) -> None:
    bad = (~final.stream.isfinite()).any(dim=2)[0].nonzero()[:, 0]
    if len(bad):
        raise ModelError(
            f"a prediction is not finite ({len(bad)} of {batch.tokens.shape[1]} in this row)",
            where=f"row {int(batch.rows[0])}, position {int(bad[0])}",
            remedy="the weights are damaged, or the type of the numbers is too narrow: try float32",
        )


def _on_cpu(part: Part) -> Part:
    return type(part)(**{name: values.cpu() for name, values in vars(part).items()})
