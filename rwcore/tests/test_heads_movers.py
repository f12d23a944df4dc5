"""Direct contributions on prompts with two names, and what comes of them without the name movers."""

import json
import math

import pytest
import torch

from fixtures.ioi_words import TOY_TEXTS
from fixtures.planted_heads import COPIER, NEITHER, SUPPRESSOR, plant_heads
from fixtures.tiny import build, local_model
from rwcore.corpora.encoder import read_encoder
from rwcore.errors import ModelError, OptionError
from rwcore.heads.ioi import IoiWords, ioi_prompts
from rwcore.heads.ioi_queries import (
    CLEAN,
    PROJECTED,
    SWAPPED,
    composition_ranks,
    fixed_key_differences,
    score_differences,
)
from rwcore.heads.movers import (
    IoiEffects,
    effects_without,
    first_movers,
    ioi_effects,
    name_movers,
    repair_shares,
)
from rwcore.heads.readout import Readout
from rwcore.heads.run import output_matrices, replacing, run_heads
from rwcore.models.load import load_bridge
from rwcore.tests.head_models import FAMILIES


class Case:
    """A model with prompts."""

    def __init__(self, local):
        self.model, self.readout = load_bridge(local), Readout.of(local)
        config = json.loads((local.path / "config.json").read_text())
        self.query_scalar = config.get("query_pre_attn_scalar")  # Gemma's own; others divide by √d_head
        encoder = read_encoder(local)
        self.prompts = ioi_prompts(IoiWords.of(TOY_TEXTS, encoder), encoder, 12, seed=2)


@pytest.fixture(scope="module", params=FAMILIES)
def tiny(request, tmp_path_factory):
    return Case(local_model(build(request.param, tmp_path_factory.mktemp(request.param))))


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory):
    return Case(local_model(build("gpt2", tmp_path_factory.mktemp("gpt2"))))


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    return Case(local_model(plant_heads(tmp_path_factory.mktemp("planted"))))


def test_difference_is_that_of_the_models_own_logits(tiny):
    found = ioi_effects(tiny.model, tiny.prompts, tiny.readout)
    with torch.no_grad():
        logits = tiny.model(tiny.prompts.tokens)  # padding is on the right: nothing before it sees it
    at = torch.arange(len(tiny.prompts))
    ends = logits[at, tiny.prompts.end]
    wanted = ends[at, tiny.prompts.io_token] - ends[at, tiny.prompts.s_token]
    assert torch.allclose(found.difference, wanted, atol=1e-4)
    assert torch.equal(found.top, ends.argmax(dim=1) == tiny.prompts.io_token)


def test_contributions_are_what_the_logits_lose(tiny):
    found = ioi_effects(tiny.model, tiny.prompts, tiny.readout)
    kept = []
    final = run_heads(tiny.model, tiny.prompts.batch, kept.append, parts=("mlp", "pattern"))
    row, layer, head = 5, 1, 2
    end = int(tiny.prompts.end[row])
    parts = kept[layer]
    added = parts.z[row, end, head] @ output_matrices(tiny.model, layer)[head]
    x, s = final.stream[row, end], final.scale[row, end]
    io, other = int(tiny.prompts.io_token[row]), int(tiny.prompts.s_token[row])
    for vector, value in (
        (added, found.heads[layer, head, row]),
        (parts.mlp[row, end], found.mlps[layer, row]),
    ):
        before, after = (tiny.readout.logits((one / s)[None])[0] for one in (x, x - vector))
        moved = (before - after)[io] - (before - after)[other]
        assert value == pytest.approx(float(moved), rel=1e-3, abs=1e-4)
    unit = tiny.readout.rows[io] / tiny.readout.rows[io].norm()
    share = float((added @ unit) ** 2 / (added @ added))
    assert found.along[layer, head, row] == pytest.approx(share, rel=1e-3)
    assert found.attention_io[layer, head, row] == parts.pattern[row, head, end, tiny.prompts.io[row]]
    assert found.attention_s1[layer, head, row] == parts.pattern[row, head, end, tiny.prompts.s1[row]]


def test_ablated_movers_change_what_comes_behind_and_nothing_else(tiny):
    clean = ioi_effects(tiny.model, tiny.prompts, tiny.readout)
    found = effects_without(tiny.model, tiny.prompts, tiny.readout, [(0, 1), (0, 3)], clean.scale)
    assert torch.equal(found.heads[0], clean.heads[0])
    assert torch.equal(found.mlps[0], clean.mlps[0])
    for now, before in ((found.heads[1:], clean.heads[1:]), (found.mlps[1:], clean.mlps[1:])):
        assert (now - before).abs().amax() > 1e-3
    assert torch.equal(found.scale, clean.scale)


def test_ablation_of_every_head_of_a_layer_equals_other_z_there(gpt2):
    """Blocks in series: with the MLP of the layer held as it was, the next layer sees the fresh names' z."""
    clean = ioi_effects(gpt2.model, gpt2.prompts, gpt2.readout)
    found = effects_without(
        gpt2.model, gpt2.prompts, gpt2.readout, [(1, head) for head in range(4)], clean.scale
    )
    fresh, own = [], []
    run_heads(gpt2.model, gpt2.prompts.without_repeat().batch, lambda one: fresh.append(one.raw_z.clone()))
    run_heads(gpt2.model, gpt2.prompts.batch, lambda one: own.append(one.mlp.clone()), parts=("mlp",))
    hooks = [replacing(1, lambda z: fresh[1]), ("blocks.1.hook_mlp_out", lambda values, hook: own[1])]
    wanted = ioi_effects(gpt2.model, gpt2.prompts, gpt2.readout, scale=clean.scale, hooks=hooks)
    assert torch.allclose(found.heads[2], wanted.heads[2], atol=1e-4)
    assert torch.allclose(found.mlps[2], wanted.mlps[2], atol=1e-4)


def test_planted_heads(planted):
    found = ioi_effects(planted.model, planted.prompts, planted.readout)
    heads = found.heads.mean(dim=2)
    # What is said twice is copied twice, and suppressed more.
    assert heads[COPIER] < -0.5
    assert heads[SUPPRESSOR] > 0.5
    assert abs(heads[NEITHER]) < 1e-5
    assert name_movers(found.heads, 3) == [SUPPRESSOR]
    assert first_movers([SUPPRESSOR], 2) == []


def test_movers_are_the_largest_positive_ones():
    heads = torch.tensor([[1.0, -2.0], [3.0, 0.0], [2.0, -1.0]])[..., None].expand(-1, -1, 4)
    assert name_movers(heads, 5) == [(1, 0), (2, 0), (0, 0)]
    assert name_movers(heads, 1) == [(1, 0)]
    assert first_movers([(9, 9), (9, 6), (10, 0)], 12) == [(9, 6), (9, 9)]
    assert first_movers([(11, 0)], 12) == []
    assert first_movers([], 12) == []


@pytest.mark.parametrize("movers", [[(2, 0)], []])
def test_nothing_behind_or_nothing_ablated_is_refused(gpt2, movers):
    clean = ioi_effects(gpt2.model, gpt2.prompts, gpt2.readout)
    with pytest.raises(OptionError, match="no layer comes behind" if movers else "no head is ablated"):
        effects_without(gpt2.model, gpt2.prompts, gpt2.readout, movers, clean.scale)


def test_shares_of_a_repair():
    found = repair_shares(torch.tensor([-2.0, -1.0, 0.5]), torch.tensor([0.0, 0.0, 1.5]))
    assert found.tolist() == pytest.approx([0.5, 0.25, 0.25])
    assert torch.isnan(repair_shares(torch.ones(2), torch.ones(2))).all()


def test_chunks_put_together(tiny):
    parts = [ioi_effects(tiny.model, chunk, tiny.readout) for chunk in tiny.prompts.chunks(60)]
    whole = ioi_effects(tiny.model, tiny.prompts, tiny.readout)
    assert len(parts) > 1
    assert torch.allclose(IoiEffects.together(parts).heads, whole.heads, atol=1e-4)


class TestQueries:
    def test_clean_differences_are_those_of_the_pattern(self, tiny):
        found = score_differences(tiny.model, tiny.prompts, tiny.readout)
        effects = ioi_effects(tiny.model, tiny.prompts, tiny.readout)
        wanted = (effects.attention_io / effects.attention_s1).log()
        assert torch.allclose(found[CLEAN], wanted, atol=1e-4)
        for name in (SWAPPED, PROJECTED):
            assert (found[name][1:] - wanted[1:]).abs().amax(dim=(1, 2)).min() > 1e-2

    def test_the_first_layer_reads_no_names_at_the_end(self, tiny):
        found = score_differences(tiny.model, tiny.prompts, tiny.readout)
        assert torch.allclose(found[SWAPPED][0], found[CLEAN][0], atol=1e-4)

    @torch.no_grad()
    def test_by_hand(self, gpt2):
        """GPT-2: scores are q · k / √d_head, queries those of streams with the clean pass' scale."""
        layer, head, row = 2, 1, 3
        attn, prompts = gpt2.model.blocks[layer].attn, gpt2.prompts
        streams, scales = [], []
        for some in (prompts, prompts.flipped()):
            kept = []
            run_heads(gpt2.model, some.batch, kept.append, parts=("stream",), layers=[layer])
            x = kept[0].stream[row].clone()
            scales.append((x.square().mean(dim=1, keepdim=True) + 1e-5).sqrt())  # writers are centred
            streams.append(x / scales[0])
        end, io, s1 = (int(place[row]) for place in (prompts.end, prompts.io, prompts.s1))
        key = streams[0] @ attn.W_K[head]
        names = gpt2.readout.rows[[int(prompts.io_token[row]), int(prompts.s_token[row])]]
        basis = torch.linalg.qr(names.T).Q
        inputs = {
            CLEAN: streams[0][end],
            SWAPPED: streams[1][end],
            PROJECTED: basis @ (basis.T @ streams[0][end]),
        }
        found = score_differences(gpt2.model, prompts, gpt2.readout)
        for name, given in inputs.items():
            query = given @ attn.W_Q[head] + attn.b_Q[head]
            wanted = float(query @ (key[io] - key[s1])) / math.sqrt(4)
            assert found[name][layer, head, row] == pytest.approx(wanted, rel=1e-3, abs=1e-3), name

    @torch.no_grad()
    def test_fixed_keys(self, tiny):
        layer = 1
        generator = torch.Generator().manual_seed(0)
        table = torch.randn(6, 16, generator=generator)
        rows = torch.randn(3, 16, generator=generator)
        io, s = torch.tensor([0, 2, 5]), torch.tensor([1, 1, 0])
        found = fixed_key_differences(tiny.model, layer, rows, table, io, s)
        swapped = fixed_key_differences(tiny.model, layer, rows, table, s, io)
        assert found.shape == (4, 3)
        assert torch.allclose(found, -swapped, atol=1e-5)
        attn = tiny.model.blocks[layer].attn
        normed = [tiny.model.blocks[layer].ln1(one[None])[0] for one in (rows, table)]
        for head in range(4):
            group = head // (4 // len(attn.W_K))
            query, key = normed[0] @ attn.W_Q[head], normed[1] @ attn.W_K[group]
            if attn.b_Q is not None:
                query, key = query + attn.b_Q[head], key + attn.b_K[group]
            wanted = (query[1] * (key[2] - key[1])).sum() / math.sqrt(tiny.query_scalar or key.shape[1])
            assert found[head, 1] == pytest.approx(float(wanted), rel=1e-3, abs=1e-4)

    def test_composition_by_hand(self, gpt2):
        table = torch.randn(7, 16, generator=torch.Generator().manual_seed(0))
        found = composition_ranks(gpt2.model, (0, 2), table)
        assert torch.isnan(found[0]).all()
        mover, other = (gpt2.model.blocks[layer].attn for layer in (0, 2))
        matrix = table @ mover.W_V[2] @ mover.W_O[2] @ other.W_Q[3] @ other.W_K[3].T @ table.T
        ranks = [sum(float(one) > float(row[at]) for one in row) + 1 for at, row in enumerate(matrix)]
        assert found[2, 3] == sorted(ranks)[3]

    def test_a_model_without_queries_of_its_own_is_refused(self, gpt2, monkeypatch):
        hooks = {name: hook for name, hook in gpt2.model.hook_dict.items() if "attn.q.hook_in" not in name}
        monkeypatch.setattr(type(gpt2.model), "hook_dict", property(lambda self: hooks))
        with pytest.raises(ModelError, match="input of queries"):
            score_differences(gpt2.model, gpt2.prompts, gpt2.readout)
