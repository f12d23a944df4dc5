"""Ranks of own tokens in OV and QK: against whole matrices in float64, and of heads whose jobs are known."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.planted_heads import COPIER, NEITHER, SUPPRESSOR, plant_heads
from fixtures.tiny import build, local_model
from rwcore.benchmarks.reference.head_circuits import whole_matrix_ranks
from rwcore.errors import ModelError, OptionError
from rwcore.heads.circuits import CircuitRanks, diagonal_ranks, ov_ranks, qk_ranks, sampled_tokens
from rwcore.heads.embeddings import effective_embedding
from rwcore.heads.query_key import QKOptions, as_read, keys, queries
from rwcore.heads.readout import Readout
from rwcore.models.load import load_bridge
from rwcore.weights.attention import attention_weights
from rwcore.weights.embedding import unembedding

FAMILIES = ("gpt2", "gpt_neox", "llama", "gemma2")
EVERY, LAYER = torch.arange(64), 1


@pytest.fixture(scope="module", params=FAMILIES)
def tiny(request, tmp_path_factory):
    local = local_model(build(request.param, tmp_path_factory.mktemp(request.param)))
    model = load_bridge(local)
    return local, model, effective_embedding(model, "EE-A", EVERY), Readout.of(local).rows


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    local = local_model(plant_heads(tmp_path_factory.mktemp("heads")))
    model = load_bridge(local)
    return model, effective_embedding(model, "EE-A", torch.arange(24)), Readout.of(local).rows


def normal(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    vocab=st.integers(1, 70),
    rows=st.integers(1, 70),
    width=st.integers(1, 5),
    tile=st.sampled_from([(1, 1), (3, 7), (16, 16), (100, 100)]),
)
def test_ranks_of_any_tiles(seed, vocab, rows, width, tile):
    left, right = normal(seed, rows, width), normal(seed + 1, vocab, width)
    own = torch.randint(vocab, (rows,), generator=torch.Generator().manual_seed(seed))
    found = diagonal_ranks(left, right, own, tile=tile, checked=1000)
    wanted = whole_matrix_ranks(left, right, own)
    assert ((found.rank - wanted).abs() <= found.near).all()
    matrix = left.double() @ right.double().T
    assert torch.allclose(found.diagonal.double(), matrix.gather(1, own[:, None])[:, 0], atol=1e-5)
    assert torch.allclose(found.mean.double(), matrix.mean(dim=1), atol=1e-5)


def test_equal_entries_are_not_below_and_are_reported():
    right = normal(0, 40, 8)
    right[[3, 17, 39]] = right[11].clone()
    found = diagonal_ranks(normal(1, 1, 8), right, torch.tensor([11]), tile=(4, 16))
    assert found.near.tolist() == [3]
    assert found.rank == whole_matrix_ranks(normal(1, 1, 8), right, torch.tensor([11]))


def test_only_some_rows_are_checked_for_near_ties():
    left = normal(0, 50, 4)
    found = diagonal_ranks(left, left, torch.arange(50), checked=7)
    assert int(found.near.isfinite().sum()) == 7


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000))
def test_scales_and_shifts_of_rows_change_nothing(seed):
    left, right, own = normal(seed, 30, 4), normal(seed + 1, 30, 4), torch.arange(30)
    clean = diagonal_ranks(left, right, own).rank
    scales = normal(seed + 2, 30, 1).round().exp2()  # powers of two, which round nothing
    assert torch.equal(diagonal_ranks(left * scales, right, own).rank, clean)
    # Centring the columns takes a number from each row; the scale of a column matters.
    assert (diagonal_ranks(left, right - right.mean(dim=0), own).rank - clean).abs().max() <= 1
    assert not torch.equal(diagonal_ranks(left, right * scales, own).rank, clean)


def test_ov_equals_the_whole_matrix(tiny):
    local, model, source, rows = tiny
    heads = attention_weights(local, LAYER).expanded()
    gain = model.blocks[LAYER].ln1_post.original_component(torch.ones(1, 1, 16))[0, 0] if hasattr(
        model.blocks[LAYER], "ln1_post") else torch.ones(16)  # fmt: skip
    found = ov_ranks(model, LAYER, source, rows, EVERY, tile=(10, 17))
    for head in range(heads.n_heads):
        left = source.double() @ heads.W_V[head].double()
        right = unembedding(local).W_U.T.double() @ (heads.W_O[head].double() * gain.detach().double()).T
        wanted = whole_matrix_ranks(left, right, EVERY)
        assert ((found.ranks[head] - wanted).abs() <= found.near[head]).all()
        assert torch.allclose(found.diagonal[head].double(), (left * right).sum(dim=1), atol=1e-3)


@pytest.mark.parametrize("options", [QKOptions(), QKOptions(normalised=False, biases=True, distance=5)])
def test_qk_equals_the_whole_matrix(tiny, options):
    _, model, source, rows = tiny
    found = qk_ranks(model, LAYER, rows, source, EVERY, options, tile=(10, 17))
    for head in range(4):
        asked = queries(model, LAYER, head, as_read(model, LAYER, rows), options)
        group = head * len(model.blocks[LAYER].attn.W_K) // 4
        read = as_read(model, LAYER, source) if options.normalised else source
        wanted = whole_matrix_ranks(-asked, keys(model, LAYER, group, read, options), EVERY)
        assert ((found.ranks[head] - wanted).abs() <= found.near[head]).all()


def test_some_heads_and_rows_are_those_of_all(tiny):
    _, model, source, rows = tiny
    whole, some = ov_ranks(model, LAYER, source, rows, EVERY), torch.tensor([3, 40, 63])
    part = ov_ranks(model, LAYER, source, rows, some, heads=[2])
    assert part.heads == (2,)
    assert torch.equal(part.ranks, whole.ranks[[2]][:, some])
    again = CircuitRanks.from_arrays(part.to_arrays())
    assert again.heads == part.heads
    assert torch.equal(again.ranks, part.ranks)


def test_what_changes_ranks_of_qk(tiny):
    """Trap T18 and section 7.1: the keys' scale and centring of W_U do; the queries' scale does not."""
    _, model, source, rows = tiny

    def ranks(query, **options):
        return qk_ranks(model, LAYER, query, source, EVERY, QKOptions(distance=0, **options)).ranks

    clean = ranks(rows)
    assert (ranks(3 * rows) - clean).abs().max() <= 1
    assert not torch.equal(ranks(rows, normalised=False), clean)
    assert not torch.equal(ranks(rows + rows.std(dim=0)), clean)


def test_scaling_by_dimension_is_not_normalising(tiny):
    """Trap T10: a table divided by its spread over the vocabulary is another table."""
    _, model, source, rows = tiny
    options = QKOptions(distance=0)
    wrong = qk_ranks(model, LAYER, rows / rows.std(dim=0), source, EVERY, options).ranks
    right = qk_ranks(model, LAYER, rows / rows.std(dim=1, keepdim=True), source, EVERY, options).ranks
    clean = qk_ranks(model, LAYER, rows, source, EVERY, options).ranks
    assert (right - clean).abs().max() <= 1
    assert (wrong - clean).abs().max() > 5


def test_planted_heads(planted):
    model, source, rows = planted
    every = torch.arange(24)
    found = ov_ranks(model, 1, source, rows, every)
    assert (found.ranks[SUPPRESSOR[1]] == 0).all()
    assert (found.diagonal[SUPPRESSOR[1]] < 0).all()
    assert (found.ranks[COPIER[1]] == 23).all()
    assert 4 < found.ranks[NEITHER[1]].float().mean() < 19
    match = qk_ranks(model, 1, rows, source, every, heads=[SUPPRESSOR[1]])
    assert (match.ranks == 0).all()
    assert match.near.max() == 0


def test_rotation_matters_with_distance(tmp_path):
    model = load_bridge(local_model(build("llama", tmp_path)))
    source = effective_embedding(model, "EE-A", EVERY)
    near, far = (qk_ranks(model, 0, source, source, EVERY, QKOptions(distance=d)).ranks for d in (1, 9))
    assert not torch.equal(near, far)


def test_sampled_tokens():
    first = sampled_tokens(1000, 100, 0)
    assert len(first.unique()) == 100
    assert torch.equal(first, first.sort().values)
    assert torch.equal(first, sampled_tokens(1000, 100, 0))
    assert not torch.equal(first, sampled_tokens(1000, 100, 1))
    assert torch.equal(sampled_tokens(9, None, 0), torch.arange(9))
    for rows in (0, 1001):
        with pytest.raises(OptionError, match=f"{rows} rows of a vocabulary of 1000"):
            sampled_tokens(1000, rows, 0)


def test_refused(tiny):
    _, model, source, rows = tiny
    with pytest.raises(OptionError, match="heads 4 of a layer that has 4"):
        ov_ranks(model, LAYER, source, rows, EVERY, heads=[1, 4])
    with pytest.raises(OptionError, match="layers 3 of a model that has 3"):
        qk_ranks(model, 3, rows, source, EVERY)
    broken = source.clone()
    broken[5] = torch.nan
    with pytest.raises(ModelError, match="not finite"):
        ov_ranks(model, LAYER, broken, rows, EVERY)
