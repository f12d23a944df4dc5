"""Anti-induction and copy suppression: against differences of whole logits, and on heads with known jobs."""

import pytest
import torch

from fixtures.ioi_words import TOY_TEXTS
from fixtures.planted_heads import COPIER, NEITHER, SUPPRESSOR, plant_heads
from fixtures.tiny import build, local_model
from rwcore.corpora.batches import Batch
from rwcore.corpora.encoder import read_encoder
from rwcore.errors import OptionError
from rwcore.heads.induction import (
    anti_induction,
    copy_suppression,
    plain_tokens,
    random_rows,
    row_batches,
    writes_to_source,
)
from rwcore.heads.ioi import IoiWords, ioi_prompts
from rwcore.heads.readout import Readout
from rwcore.heads.run import PATTERN, VALUE, output_matrices, run_heads
from rwcore.models.load import load_bridge
from rwcore.models.vocabulary import vocabulary
from rwcore.tests.head_models import FAMILIES, batch_of

POOL = torch.arange(4, 24)
LENGTH = 6


class Case:
    """A model with rows and prompts."""

    def __init__(self, local):
        self.local, self.model, self.readout = local, load_bridge(local), Readout.of(local)
        encoder = read_encoder(local)
        self.rows = random_rows(POOL, sequences=5, length=LENGTH, seed=1, bos=1, repeat=True)
        self.prompts = ioi_prompts(IoiWords.of(TOY_TEXTS, encoder), encoder, 20, seed=2)


@pytest.fixture(scope="module", params=FAMILIES)
def tiny(request, tmp_path_factory):
    return Case(local_model(build(request.param, tmp_path_factory.mktemp(request.param))))


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    return Case(local_model(plant_heads(tmp_path_factory.mktemp("planted"))))


def logit_moved(case, batch, layer, head, row, destination, source, token):
    """How much a centred logit falls if a head's addition from one source leaves the final stream."""
    kept = []
    final = run_heads(case.model, batch, kept.append, parts=(PATTERN, VALUE), layers=[layer])
    (parts,) = kept
    raw = parts.pattern[row, head, destination, source] * parts.value[row, source, head]
    # Behind a norm: what the whole output of the heads is divided by, from its first nonzero number.
    z, before = parts.z[row, destination, head], parts.raw_z[row, destination, head]
    added = raw * (z[0] / before[0]) @ output_matrices(case.model, layer)[head]
    stream, scale = final.stream[row, destination], final.scale[row, destination]
    whole, less = (case.readout.logits((x / scale)[None])[0] for x in (stream, stream - added))
    moved = whole - less
    return float(moved[token] - moved.mean())


@pytest.mark.parametrize("layer", [0, 2])
def test_equals_a_difference_of_whole_logits(tiny, layer):
    head, batch = 3, batch_of(tiny.rows)
    found = anti_induction(tiny.model, batch, tiny.readout)
    assert found.shape == (3, 4, 5)
    for row in (0, 4):
        total = 0.0
        for i in range(LENGTH - 1):  # as the specification counts
            destination, source = LENGTH + 1 + i, 2 + i
            token = tiny.rows[row, source]
            assert token == tiny.rows[row, destination + 1]
            total += logit_moved(tiny, batch, layer, head, row, destination, source, token)
        assert found[layer, head, row] == pytest.approx(-total / (LENGTH - 1), rel=2e-3, abs=2e-5)


def test_copy_suppression_is_the_same_from_the_end_to_the_right_name(tiny):
    found = copy_suppression(tiny.model, tiny.prompts, tiny.readout)
    batch = tiny.prompts.batch
    for row in (0, 7):
        end, io = int(tiny.prompts.end[row]), int(tiny.prompts.io[row])
        moved = logit_moved(tiny, batch, 1, 2, row, end, io, tiny.prompts.io_token[row])
        assert found[1, 2, row] == pytest.approx(-moved, rel=2e-3, abs=2e-5)


def test_sources_add_up_to_what_the_head_adds(tiny):
    """With the same direction for every source: not its own token, but one that stands everywhere."""
    tokens = torch.full((1, 7), 9)
    batch = Batch(0, torch.arange(1), tokens, torch.ones_like(tokens, dtype=torch.bool))
    destination, source = torch.full((1, 5), 4), torch.arange(5)[None]
    found = writes_to_source(tiny.model, batch, destination, source, tiny.readout).sum(dim=3)
    kept = []
    final = run_heads(tiny.model, batch, kept.append)
    for parts in kept:
        added = torch.einsum("he,hed->hd", parts.z[0, 4], output_matrices(tiny.model, parts.layer))
        centred = tiny.readout.rows[9] - tiny.readout.rows.mean(dim=0)
        wanted = added @ centred / final.scale[0, 4]
        assert torch.allclose(found[parts.layer, :, 0], wanted, atol=1e-4)


def test_planted_heads_have_the_signs_of_their_jobs(planted):
    scores = {
        "anti-induction": anti_induction(planted.model, batch_of(planted.rows), planted.readout).mean(dim=2),
        "copy suppression": copy_suppression(planted.model, planted.prompts, planted.readout).mean(dim=2),
    }
    for name, found in scores.items():
        assert divmod(int(found.argmax()), found.shape[1]) == SUPPRESSOR, name
        assert found[SUPPRESSOR] > 0.005, name
        assert found[COPIER] < -0.1, name
        assert abs(found[NEITHER]) < 1e-6, name


def test_rows_without_bos(planted):
    bare = planted.rows[:, 1:]
    found = anti_induction(planted.model, batch_of(bare), planted.readout, bos=False)
    first = torch.arange(LENGTH - 1).expand(5, -1)
    wanted = writes_to_source(planted.model, batch_of(bare), first + LENGTH, first + 1, planted.readout)
    assert torch.equal(found, -wanted.mean(dim=3))


def test_random_rows():
    rows = random_rows(POOL, sequences=50, length=20, seed=0, bos=1, repeat=True)
    assert rows.shape == (50, 41)
    assert (rows[:, 0] == 1).all()
    assert torch.equal(rows[:, 1:21], rows[:, 21:])
    assert all(len(row.unique()) == 20 for row in rows[:, 1:21])
    assert not torch.equal(rows, random_rows(POOL, sequences=50, length=20, seed=1, bos=1, repeat=True))
    assert random_rows(POOL, sequences=2, length=5, seed=0).shape == (2, 5)


@pytest.mark.parametrize(
    ("changed", "message"),
    [({"length": 21}, "21 different tokens"), ({"length": 1}, "--length"), ({"sequences": 0}, "--sequences")],
)
def test_impossible_rows(changed, message):
    with pytest.raises(OptionError, match=message):
        random_rows(POOL, **{"sequences": 2, "length": 5, "seed": 0, **changed})


def test_batches_of_rows():
    rows = random_rows(POOL, sequences=7, length=5, seed=0)
    batches = [*row_batches(rows, 15)]
    assert [len(batch.tokens) for batch in batches] == [3, 3, 1]
    assert torch.equal(torch.cat([batch.rows for batch in batches]), torch.arange(7))
    assert torch.equal(torch.cat([batch.tokens for batch in batches]), rows)


def test_plain_tokens(tiny):
    encoder = read_encoder(tiny.local)
    found = plain_tokens(vocabulary(tiny.local, 70), encoder.ends)
    assert torch.equal(found, torch.arange(4, 64))  # four special ones, six rows without a token
