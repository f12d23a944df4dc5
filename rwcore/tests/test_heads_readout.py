"""Effects of changes of the final stream, against the whole softmax in double precision."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.tiny import build, local_model
from rwcore.heads.readout import Change, Readout, change_effects

D, VOCAB, TOKENS, HEAD = 12, 37, 9, 3


def made(seed, *, spread=1.0, soft_cap=None, bias=True):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    readout = Readout(normal(VOCAB, D), normal(VOCAB) if bias else None, soft_cap)
    changes = [
        Change(spread * normal(TOKENS, HEAD), normal(HEAD, D)),
        Change(spread * normal(TOKENS, D)),
        Change(torch.zeros(TOKENS, HEAD), normal(HEAD, D)),
    ]
    targets = torch.randint(VOCAB, (TOKENS,), generator=generator)
    targets[4] = -1
    return normal(TOKENS, D), targets, changes, readout


def reference(hidden, targets, change, readout):
    """Loss, KL, entropy and the two logits, changed minus clean, from whole softmaxes in float64."""
    moved = change.coefficients.double()
    if change.directions is not None:
        moved = moved @ change.directions.double()
    rows = readout.rows.double()
    bias = 0 if readout.bias is None else readout.bias.double()

    def logits(values):
        raw = values @ rows.T + bias
        return raw if readout.soft_cap is None else readout.soft_cap * (raw / readout.soft_cap).tanh()

    before, after = logits(hidden.double()), logits(hidden.double() + moved)
    p, q = before.log_softmax(1), after.log_softmax(1)
    at = targets.clamp(min=0)[:, None]
    top = before.argmax(1)[:, None]
    found = {
        "loss": (p - q).gather(1, at)[:, 0],
        "kl": (p.exp() * (p - q)).sum(1),
        "entropy": (p.exp() * p).sum(1) - (q.exp() * q).sum(1),
        "target_logit": (after - before).gather(1, at)[:, 0],
        "top_logit": (after - before).gather(1, top)[:, 0],
    }
    for name in ("loss", "target_logit"):
        found[name][targets < 0] = math.nan
    return found


@pytest.mark.parametrize("soft_cap", [None, 3.0])
@pytest.mark.parametrize("tile", [None, (4, 5), (1, VOCAB)])
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10_000), spread=st.sampled_from([0.01, 1.0, 5.0]))
def test_equals_whole_softmaxes(tile, soft_cap, seed, spread):
    hidden, targets, changes, readout = made(seed, spread=spread, soft_cap=soft_cap, bias=seed % 2 == 0)
    found = change_effects(hidden, targets, changes, readout, tile=tile)
    for number, change in enumerate(changes):
        for name, wanted in reference(hidden, targets, change, readout).items():
            values = getattr(found, name)[number].double()
            assert torch.allclose(values, wanted, rtol=2e-4, atol=3e-5, equal_nan=True), name


def test_clean_numbers():
    hidden, targets, changes, readout = made(1)
    found = change_effects(hidden, targets, changes, readout, tile=(4, 5))
    log_p = (hidden.double() @ readout.rows.double().T + readout.bias.double()).log_softmax(1)
    loss = -log_p.gather(1, targets.clamp(min=0)[:, None])[:, 0]
    loss[targets < 0] = math.nan
    assert torch.allclose(found.clean_loss.double(), loss, atol=1e-5, equal_nan=True)
    assert torch.allclose(found.clean_entropy.double(), -(log_p.exp() * log_p).sum(1), atol=1e-5)


@pytest.mark.parametrize("size", [200.0, -200.0])
def test_changes_beyond_float32_are_exact(size):
    hidden, targets, _, readout = made(2)
    readout = Readout(readout.rows, readout.bias)
    # All logits by the same number, which is nothing; one of them by 200 more or less.
    along = torch.linalg.lstsq(readout.rows[:D].double(), torch.full((D, 1), size, dtype=torch.float64))
    change = Change(along.solution[:, 0].float().repeat(TOKENS, 1))
    found = change_effects(hidden, targets, [change], readout)
    for name, wanted in reference(hidden, targets, change, readout).items():
        assert torch.allclose(
            getattr(found, name)[0].double(), wanted, rtol=1e-3, atol=1e-3, equal_nan=True
        ), name


def test_what_is_not_a_number_stays_so_and_is_not_looked_into(monkeypatch):
    hidden, targets, changes, readout = made(5)
    changes[0].coefficients[3] = torch.nan
    hidden[6] = torch.nan
    monkeypatch.setattr("rwcore.heads.readout._exactly", None)
    found = change_effects(hidden, targets, changes, readout)
    assert found.kl.isnan().nonzero().tolist() == [[0, 3], [0, 6], [1, 6], [2, 6]]


def test_no_change_has_no_effect():
    hidden, targets, changes, readout = made(3)
    found = change_effects(hidden, targets, changes, readout)
    assert found.kl[2].abs().max() < 1e-6
    assert found.entropy[2].abs().max() < 2e-6
    assert torch.nan_to_num(found.loss[2]).abs().max() < 1e-6


def test_no_tokens_and_no_changes():
    hidden, targets, changes, readout = made(4)
    assert change_effects(hidden, targets, [], readout).loss.shape == (0, TOKENS)
    none = [Change(one.coefficients[:0], one.directions) for one in changes]
    assert change_effects(hidden[:0], targets[:0], none, readout).kl.shape == (3, 0)


def test_readout_of_a_model(tmp_path):
    readout = Readout.of(local_model(build("gemma2", tmp_path)))
    assert readout.rows.shape == (64, 16)
    assert readout.rows.is_contiguous()
    assert readout.soft_cap == 30.0
