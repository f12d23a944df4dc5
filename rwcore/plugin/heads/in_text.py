"""What a head does with the sources it attends to in a text, and where its ablation hurts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from rwcore.plugin.heads.sampled import NO_HEAD, mean_of

if TYPE_CHECKING:
    from torch import Tensor

    from rwcore.claim.values import Interval
    from rwcore.corpora.batches import Batch
    from rwcore.corpora.encoder import TextEncoder
    from rwcore.corpora.tokens import TokenCorpus
    from rwcore.heads.readout import Readout
    from rwcore.models.vocabulary import Vocabulary
    from rwcore.studies.asked_heads import Head

ATTENDED = 0.1
"""A source counts where its attention is above this."""
POSITIONS = 2048
"""Of a batch."""
TILE = 256


@dataclass(frozen=True, eq=False)
class Sources:
    """Sources that a head attends to, each as often as it is attended to.

    Attributes:
        token: What stands there.
        rank: How many tokens the head lowers more when it attends to this position.
        lowered: The token that it lowers most.
        times: From how many queries it is attended to.
        row: Number of the row.
    """

    token: Tensor
    rank: Tensor
    lowered: Tensor
    times: Tensor
    row: Tensor

    def at(self, chosen: Tensor) -> Sources:
        """Some of them."""
        return Sources(**{name: values[chosen] for name, values in vars(self).items()})

    @property
    def ranks(self) -> Tensor:
        """The rank of every pair of a query and a source."""
        return self.rank.repeat_interleave(self.times)

    def share_below(self, rank: int) -> float | Interval:
        """Share of pairs whose source has a lower rank, with an interval over rows."""
        sums, counts = self._by_row(self.rank < rank)
        return mean_of(sums.numpy(), counts.numpy())

    def gain(self, kept: Tensor, rank: int) -> float | Interval:
        """What the same share rises by if other sources are left out, with an interval over rows."""
        import numpy as np
        import torch

        from rwcore.ablation.bootstrap import bootstrap_means
        from rwcore.claim.values import Interval

        pairs = [self._by_row(self.rank < rank), self.at(kept)._by_row(self.rank[kept] < rank, self.row)]
        sums, counts = (torch.stack(columns, dim=1) for columns in zip(*pairs, strict=True))
        if not bool(counts.sum(dim=0).min() > 0):
            return NO_HEAD
        whole, without = (sums.sum(dim=0) / counts.sum(dim=0)).tolist()
        drawn = bootstrap_means(sums.numpy(), counts.numpy())
        low, high = np.nanquantile(drawn[:, 1] - drawn[:, 0], [0.025, 0.975]).tolist()
        return Interval(low, high, without - whole)

    def _by_row(self, hit: Tensor, rows: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Pairs that are hit, and all pairs, of every row that is there."""
        size = int((self.row if rows is None else rows).max()) + 1 if len(self.row) else 1
        weight = self.times.double()
        return (
            self.row.bincount(weight * hit, minlength=size),
            self.row.bincount(weight, minlength=size).long(),
        )


@dataclass(frozen=True)
class HeadsInText:
    """The heads of one model on the beginnings of some rows.

    Attributes:
        model: What `rwcore.models.load.load_bridge` returns, in compatibility mode.
        readout: Of the model.
        corpus: The rows.
        rows: How many of them at most.
        length: How many tokens of each at most.
    """

    model: Any
    readout: Readout
    corpus: TokenCorpus
    rows: int
    length: int

    @cached_property
    def batches(self) -> list[Batch]:
        """The beginnings, of rows that are long enough; of all if none is."""
        import dataclasses

        from rwcore.corpora.batches import BatchPlan

        lengths = self.corpus.lengths
        enough = (lengths >= min(self.length, int(lengths.max()))).nonzero()[:, 0].tolist()[: self.rows]
        step = max(1, POSITIONS // self.length)
        found = []
        for number, start in enumerate(range(0, len(enough), step)):
            whole = BatchPlan(number, tuple(enough[start : start + step])).load(self.corpus)
            tokens, mask = whole.tokens[:, : self.length], whole.mask[:, : self.length]
            found.append(dataclasses.replace(whole, tokens=tokens, mask=mask))
        return found

    def sources(self, head: Head) -> Sources:
        """What a head attends to, the first position left out, and how it lowers what stands there.

        What it writes is read from the value of the source alone; scales and biases of the read-out move no
        rank, or are left out.
        """
        import torch

        from rwcore.heads.circuits import diagonal_ranks
        from rwcore.heads.run import PATTERN, VALUE, LayerParts, output_matrices, run_heads

        layer, number = head
        written = self.readout.rows @ output_matrices(self.model, layer)[number].float().T
        found: list[Sources] = []
        for batch in self.batches:

            def visit(parts: LayerParts, batch: Batch = batch) -> None:
                assert parts.pattern is not None
                assert parts.value is not None
                attends = parts.pattern[:, number].cpu() > ATTENDED
                attends[:, :, 0] = False
                times = (attends & batch.mask[:, :, None]).sum(dim=1)
                row, place = (times > 0).nonzero(as_tuple=True)
                values, token = parts.value[row, place, number].float(), batch.tokens[row, place]
                lowest = [(some @ written.T).argmin(dim=1) for some in torch.split(values, TILE)]
                found.append(
                    Sources(
                        token,
                        diagonal_ranks(values, written, token).rank.long().cpu(),
                        torch.cat(lowest).cpu() if lowest else token,
                        times[row, place],
                        batch.rows[row],
                    )
                )

            run_heads(self.model, batch, visit, parts=(PATTERN, VALUE), layers=[layer])
        return Sources(**{name: torch.cat([vars(one)[name] for one in found]) for name in vars(found[0])})

    def hurt(self, head: Head, number: int | None = None, seed: int = 0) -> list[Tensor]:
        """Where the loss rises most if what a head adds is replaced by its mean, everything else as it was.

        The first `rwcore.heads.lens_attention.FIVE` positions of a row are left out: `in_five` says nothing
        about them.

        Args:
            head: The head.
            number: How many of `rwcore.heads.mids.largest_increases` are drawn; None for all.
            seed: Of the draw.

        Returns:
            A mask for each batch.
        """
        import torch

        from rwcore.heads.effects import direct_effects
        from rwcore.heads.lens_attention import FIVE
        from rwcore.heads.mids import largest_increases
        from rwcore.heads.writers import Writer, WriterMeans, writer_sums

        parts = [writer_sums(self.model, batch) for batch in self.batches]
        count = sum(int(batch.mask.sum()) for batch in self.batches)
        means = WriterMeans(*(sum(vars(one)[name] for one in parts) / count for name in ("z", "mlp")))
        rises = [
            direct_effects(self.model, batch, means, self.readout, writers=[Writer(*head)]).effects
            for batch in self.batches
        ]
        rise = torch.cat([one.loss_increase[0] for one in rises])
        position = torch.cat([batch.mask.nonzero()[:, 1] for batch in self.batches])
        largest = largest_increases(rise)
        largest = largest[position[largest] >= FIVE]
        if number is not None:
            order = torch.randperm(len(largest), generator=torch.Generator().manual_seed(seed))
            largest = largest[order[:number]]
        chosen = torch.zeros(len(rise), dtype=torch.bool)
        chosen[largest] = True
        masks = []
        sizes = [len(one.loss_increase[0]) for one in rises]
        for batch, some in zip(self.batches, torch.split(chosen, sizes), strict=True):
            mask = torch.zeros_like(batch.mask)
            mask[batch.mask] = some
            masks.append(mask)
        return masks

    def in_five(self, queries: Sequence[Tensor], function: Tensor) -> Tensor:
        """At how many queries the source that is predicted most is among a head's five largest attentions.

        Args:
            queries: A mask for each batch.
            function: Which tokens are function words.

        Returns:
            The number [layer head]; queries at the first five positions are not counted.
        """
        import torch

        from rwcore.heads.lens_attention import lens_attention

        found = [
            lens_attention(self.model, batch, self.readout, function, queries=some)["in_five"]
            for batch, some in zip(self.batches, queries, strict=True)
        ]
        return torch.stack(found).sum(dim=0)


def related(first: Sequence[int], second: Sequence[int], words: Vocabulary, encoder: TextEncoder) -> Tensor:
    """Which pairs of tokens are forms of one word: their forms, cut into tokens, have a token in common.

    Forms of a token are its text without spaces, the other number (with or without s) if that is one token,
    the same with a capital, and all of them with a space before them (section on the OV circuit in text).

    Args:
        first: Ids.
        second: As many.
        words: The vocabulary.
        encoder: The tokenizer.
    """
    import torch

    single = {*words.texts}
    wanted = sorted({*first, *second})
    forms: list[tuple[int, str]] = []
    for token in wanted:
        word = words.texts[token].strip()
        other = word[:-1] if word.endswith("s") else f"{word}s"
        bare = [word, *([other] if other in single or f" {other}" in single else [])]
        bare += [one[:1].upper() + one[1:] for one in bare]
        forms += [(token, form) for one in dict.fromkeys(bare) for form in (one, f" {one}")]
    pieces: dict[int, set[int]] = {token: {token} for token in wanted}
    for (token, _), row in zip(forms, encoder.encode([form for _, form in forms]), strict=True):
        pieces[token] |= {*row}
    return torch.tensor(
        [bool(pieces[a] & pieces[b]) for a, b in zip(first, second, strict=True)], dtype=torch.bool
    )
