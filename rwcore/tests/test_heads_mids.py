"""Cases of copy suppression: against loops in every family, on planted heads, and by hand."""

import math

import pytest
import torch

from fixtures.planted_heads import COPIER, NEITHER, SUPPRESSOR
from rwcore.benchmarks.reference.head_effects import writer_output
from rwcore.benchmarks.reference.mids import cases_of
from rwcore.corpora.batches import Batch
from rwcore.errors import OptionError
from rwcore.heads import mids
from rwcore.heads.effects import direct_effects
from rwcore.heads.mids import (
    CONDITIONS,
    attended_tokens,
    copy_suppression_cases,
    largest_increases,
    largest_logits,
    sources,
)
from rwcore.heads.readout import Readout
from rwcore.heads.writers import Writer
from rwcore.tests.head_models import FAMILIES, batch_of, overall_means, planted_parts, tiny_parts

# Few tokens, so that they come again.
ROWS = torch.randint(4, 11, (3, 14), generator=torch.Generator().manual_seed(5))
BATCH = batch_of(ROWS)
HEADS = [Writer(2, 3), Writer(1, 0), Writer(1, 2)]


@pytest.fixture(scope="module", params=FAMILIES)
def tiny(request, tmp_path_factory):
    model, readout, _ = tiny_parts(request.param, tmp_path_factory.mktemp(request.param))
    return model, readout, overall_means(model, BATCH)


def test_equals_loops(tiny, monkeypatch):
    model, readout, means = tiny
    monkeypatch.setattr(mids, "TILE", 5)
    found = copy_suppression_cases(model, BATCH, HEADS, means, readout)
    answers = [getattr(found, name) for name in CONDITIONS]
    for place, one in enumerate(HEADS):
        mean = writer_output(model, ROWS, one.layer, one.head).mean(dim=(0, 1))
        wanted = torch.tensor(cases_of(model, ROWS, one.layer, one.head, mean)).flatten(0, 1)
        for column, answer in enumerate(answers):
            assert answer[place].tolist() == wanted[:, column].tolist(), (one, CONDITIONS[column])
    assert answers[0].any()
    assert not answers[0].all()


def test_padding_does_not_count(tiny):
    model, readout, means = tiny
    mask = torch.ones_like(ROWS, dtype=torch.bool)
    mask[1, 8:] = False
    padded = Batch(0, torch.arange(3), torch.where(mask, ROWS, 0), mask)
    whole = copy_suppression_cases(model, BATCH, HEADS, means, readout)
    found = copy_suppression_cases(model, padded, HEADS, means, readout)
    for name in CONDITIONS:
        assert torch.equal(getattr(found, name), getattr(whole, name)[:, mask.flatten()]), name


def planted_shares(folder):
    """Of the max-impact samples of each planted head, and of all predictions: the share of cases."""
    model, readout, batch, means = planted_parts(folder)
    heads = [Writer(*head) for head in (SUPPRESSOR, COPIER, NEITHER)]
    delta = direct_effects(model, batch, means, readout, writers=heads).effects.loss_increase
    found = copy_suppression_cases(model, batch, heads, means, readout).lowered
    return [
        (float(met[largest_increases(increase)].float().mean()), float(met.float().mean()))
        for met, increase in zip(found, delta, strict=True)
    ]


def test_only_the_planted_suppressor_has_cases(tmp_path, monkeypatch):
    monkeypatch.setattr(mids, "LOWERED", 2)  # of 24 tokens
    suppressor, copier, neither = planted_shares(tmp_path)
    assert suppressor[0] > 0.8
    assert suppressor[0] > suppressor[1]
    # The copier raises what it looks at; the other one writes where nobody reads.
    assert copier[0] == 0
    assert neither[0] < 0.1


def test_sources_are_in_the_context_and_not_first():
    tokens = torch.tensor([[7, 5, 7, 9]])
    mask = torch.ones(1, 4, dtype=torch.bool)
    found = sources(tokens, torch.tensor([[7, -1], [7, -1], [7, 5], [9, 5]]), mask)
    assert found.int().tolist() == [[0, 0, 0, 0], [0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 0, 1]]


def test_two_most_attended_positions():
    pattern = torch.tensor([[1.0, 0, 0, 0], [0.9, 0.1, 0, 0], [0.5, 0.1, 0.4, 0], [0.1, 0.2, 0.3, 0.4]])[None]
    found = attended_tokens(pattern, torch.tensor([[7, 5, 6, 9]]))[0].tolist()
    assert found == [[-1, -1], [5, -1], [6, 5], [9, 6]]


def test_nothing_is_lowered_by_a_head_that_only_raises():
    readout = Readout(torch.eye(3))
    hidden = torch.tensor([[0.5, -1.0, 0.0]])
    assert largest_logits(hidden, readout, 3).tolist() == [[0, 2, 1]]
    assert largest_logits(hidden, readout, 3, above=0.0).tolist() == [[0, -1, -1]]


def test_max_impact_samples_are_a_twentieth_of_the_predictions():
    delta = torch.arange(50.0)
    delta[::5] = math.nan
    assert largest_increases(delta).tolist() == [49, 48]
    assert largest_increases(torch.tensor([math.nan, 1.0])).tolist() == [1]


def test_a_head_that_is_not_there_is_refused(tiny):
    model, readout, means = tiny
    with pytest.raises(OptionError, match=r"no 9\.0"):
        copy_suppression_cases(model, BATCH, [Writer(9, 0)], means, readout)
