"""Predictions as lists, against whole softmaxes and sorted logits, token by token."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from rwcore.heads.reading_lists import NOBODY, extremes, lens, predicted
from rwcore.heads.readout import Readout

WIDTH, VOCAB, LENGTH = 6, 23, 9


def made(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def readout(*, bias: bool = False, cap: float | None = None) -> Readout:
    rows = torch.randn(VOCAB, WIDTH, generator=made(1))
    return Readout(rows, torch.randn(VOCAB, generator=made(2)) if bias else None, cap)


READOUTS = [readout(), readout(bias=True), readout(bias=True, cap=2.0)]
HIDDEN = 2 * torch.randn(3, LENGTH, WIDTH, generator=made(3))
TARGETS = torch.cat([torch.randint(VOCAB, (LENGTH - 1,), generator=made(4)), torch.tensor([-1])])


def probabilities(hidden: Tensor, one: Readout) -> list[float]:
    logits = one.rows.double() @ hidden.double()
    if one.bias is not None:
        logits = logits + one.bias.double()
    if one.soft_cap is not None:
        logits = one.soft_cap * torch.tanh(logits / one.soft_cap)
    return [float(p) for p in logits.softmax(0)]


@pytest.mark.parametrize("one", READOUTS)
@pytest.mark.parametrize("tile", [None, 1, 2 * VOCAB])
def test_predictions(one: Readout, tile: int | None) -> None:
    found = predicted(HIDDEN, TARGETS, one, count=4, tile=tile)
    for run, ours in enumerate(found):
        for token in range(LENGTH):
            p, q = (probabilities(HIDDEN[number, token], one) for number in (0, run))
            order = sorted(range(VOCAB), key=lambda word: -q[word])
            assert ours.top_token[token].tolist() == order[:4]
            assert ours.top_p[token].tolist() == pytest.approx([q[word] for word in order[:4]], rel=1e-4)
            kl = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
            assert float(ours.kl[token]) == pytest.approx(kl, abs=1e-5)
            target = int(TARGETS[token])
            numbers = [float(values[token]) for values in (ours.loss, ours.p, ours.rank)]
            if target < 0:
                assert all(map(math.isnan, numbers))
            else:
                wanted = [-math.log(q[target]), q[target], order.index(target)]
                assert numbers == pytest.approx(wanted, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("one", READOUTS)
@pytest.mark.parametrize("tile", [None, 1])
def test_what_is_lowered_and_raised(one: Readout, tile: int | None) -> None:
    """Centred over the vocabulary, without bias and cap."""
    lowered, raised = extremes(HIDDEN[1], one, count=5, tile=tile)
    for token in range(LENGTH):
        logits = [float(row @ HIDDEN[1, token]) for row in one.rows]
        centred = [value - sum(logits) / VOCAB for value in logits]
        order = sorted(range(VOCAB), key=lambda word: centred[word])
        assert lowered.token[token].tolist() == order[:5]
        assert raised.token[token].tolist() == order[:-6:-1]
        for of in (lowered, raised):
            wanted = [centred[word] for word in of.token[token].tolist()]
            assert of.value[token].tolist() == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("one", READOUTS)
@pytest.mark.parametrize("tile", [None, 1])
def test_the_lens_and_the_words_so_far(one: Readout, tile: int | None) -> None:
    tokens = torch.tensor([1, 7, 8, 7, 3, 9, 8, 10, 11])
    skipped = torch.tensor([token in (1, 3) for token in tokens.tolist()])
    found = lens(HIDDEN[2], tokens, skipped, one, count=3, words=4, tile=tile)
    for query in range(LENGTH):
        p = probabilities(HIDDEN[2, query], one)
        order = sorted(range(VOCAB), key=lambda word: -p[word])
        assert found.top_token[query].tolist() == order[:3]
        assert found.top_p[query].tolist() == pytest.approx([p[word] for word in order[:3]], rel=1e-4)
        words = {*tokens[: query + 1].tolist()} - {1, 3}
        best = sorted(words, key=lambda word: -p[word])[:4]
        missing = 4 - len(best)
        assert found.context_token[query].tolist() == best + [NOBODY] * missing
        wanted = [p[word] for word in best] + [0.0] * missing
        assert found.context_p[query].tolist() == pytest.approx(wanted, rel=1e-4)


def test_short_texts_and_small_vocabularies() -> None:
    one = Readout(torch.randn(4, WIDTH, generator=made(5)))
    (found,) = predicted(HIDDEN[:1, :1], torch.tensor([2]), one)
    assert found.top_token.shape == (1, 4)
    assert float(found.top_p.sum()) == pytest.approx(1, abs=1e-5)
    assert found.kl.tolist() == [0]
    context = lens(HIDDEN[0, :1], torch.tensor([2]), torch.tensor([False]), one).context_token
    assert context.tolist() == [[2]]
