"""Bins of predictions, overconfidence, and what a head does to it."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rwcore.errors import OptionError
from rwcore.heads import calibration as module
from rwcore.heads.calibration import (
    FIXED,
    PUBLISHED,
    Calibration,
    Overconfidence,
    TopPredictions,
    calibration,
    marginal_overconfidence,
    overconfidence,
    summed,
    top_predictions,
)
from rwcore.heads.readout import Change, Readout

VOCAB, D, TOKENS = 29, 8, 11


def made(seed, soft_cap=None):
    generator = torch.Generator().manual_seed(seed)
    rows, bias = torch.randn(VOCAB, D, generator=generator), torch.randn(VOCAB, generator=generator)
    hidden = torch.randn(TOKENS, D, generator=generator)
    change = Change(torch.randn(TOKENS, 2, generator=generator), torch.randn(2, D, generator=generator))
    return hidden, Readout(rows, bias, soft_cap), change


def of_shares(shares, size=1000):
    """Counts of bins that come true with some shares."""
    total = torch.full((len(shares),), size)
    return Calibration(total, (torch.tensor(shares) * size).round().long(), torch.zeros(2, dtype=torch.int64))


@pytest.mark.parametrize("soft_cap", [None, 20.0])
@pytest.mark.parametrize("width", [4, 8192])
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_top_predictions_are_those_of_the_whole_softmax(soft_cap, width, seed):
    hidden, readout, change = made(seed, soft_cap)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_WIDTH", width)
        for moved, found in (
            (hidden, top_predictions(hidden, readout)),
            (
                hidden + change.coefficients @ change.directions,
                top_predictions(hidden, readout, change),
            ),
        ):
            logits = moved @ readout.rows.T + readout.bias
            if soft_cap is not None:
                logits = soft_cap * (logits / soft_cap).tanh()
            wanted = logits.softmax(1).topk(3, dim=1)
            assert torch.equal(found.token, wanted.indices)
            assert torch.allclose(found.probability, wanted.values, atol=1e-5)


def test_bins_by_hand():
    found = TopPredictions(
        torch.tensor([[3, 4, 5], [6, 7, 8], [9, 1, 2]]),
        torch.tensor([[0.5, 0.25, 0.0], [1.0, 0.0, 0.0], [0.9, 0.05, 0.05]]),
    )
    counted = calibration(found, torch.tensor([4, 6, -1]), bins=4)
    # 0.5 is in the third quarter and 0.25 in the second; a certain prediction in none; the last has no next.
    assert counted.total.tolist() == [3, 1, 1, 0]
    assert counted.correct.tolist() == [0, 1, 0, 0]
    assert counted.certain.tolist() == [1, 1]
    assert counted.binned(PUBLISHED)[0].tolist() == [3, 1, 1, 0]
    assert [one.tolist() for one in counted.binned(FIXED)] == [[3, 1, 1, 1], [0, 1, 0, 1]]


def test_batches_add_up():
    whole = summed([of_shares([0.5, 0.2]), of_shares([0.1, 0.2])])
    assert whole.total.tolist() == [2000, 2000]
    assert whole.correct.tolist() == [600, 400]


@pytest.mark.parametrize("convention", [PUBLISHED, FIXED])
@pytest.mark.parametrize(
    ("shares", "wanted"),
    [
        ([(i + 0.5) / 10 for i in range(10)], 0.0),  # calibrated
        ([0.5] * 10, 1.0),  # half of everything comes true
        ([(i + 0.5) / 10 * 2 - 0.5 for i in range(3, 7)], None),
    ],
)
def test_known_overconfidence(convention, shares, wanted):
    found = overconfidence(of_shares(shares), convention)
    middles = [(i + 0.5) / len(shares) for i in range(len(shares))]
    f, g = [s - c for s, c in zip(shares, middles, strict=True)], [0.5 - c for c in middles]
    by_hand = sum(a * b for a, b in zip(f, g, strict=True)) / sum(b * b for b in g)
    assert found.value == pytest.approx(by_hand if wanted is None else wanted, abs=2e-3)
    assert found.empty_bins == 0


def test_a_timid_model_is_below_zero():
    assert overconfidence(of_shares([0.0, 0.0, 1.0, 1.0])).value < 0


def test_empty_bins():
    whole = of_shares([0.3, 0.4, 0.6, 0.7])
    holed = Calibration(whole.total.clone(), whole.correct.clone(), whole.certain)
    holed.total[1] = holed.correct[1] = 0
    published, fixed = overconfidence(holed, PUBLISHED), overconfidence(holed, FIXED)
    assert math.isnan(published.value)
    assert published.empty_bins == fixed.empty_bins == 1
    f, g = [0.3 - 0.125, 0.6 - 0.625, 0.7 - 0.875], [0.375, -0.125, -0.375]
    by_hand = sum(a * b for a, b in zip(f, g, strict=True)) / sum(b * b for b in g)
    assert fixed.value == pytest.approx(by_hand, abs=1e-3)


def test_nothing_at_all():
    nothing = Calibration(*(torch.zeros(n, dtype=torch.int64) for n in (100, 100, 2)))
    assert math.isnan(overconfidence(nothing, FIXED).value)
    assert overconfidence(nothing, FIXED).empty_bins == 100


def test_published_sign_of_the_marginal_effect():
    """From the published numbers: 0.0224 with the head, 0.0522 without it, so -133 %."""
    clean, ablated = Overconfidence(0.0224, 0), Overconfidence(0.0522, 0)
    assert marginal_overconfidence(clean, ablated) == pytest.approx(-1.33, abs=0.01)


def test_unknown_convention():
    with pytest.raises(OptionError, match="there is no 'strict'"):
        overconfidence(of_shares([0.5]), "strict")
