"""Keys against the bias of the query: by hand, without a bias, and on a head that rests by construction."""

import pytest
import torch

from fixtures.tiny import build, local_model, save, tiny_model
from rwcore.heads.resting import key_cosines, query_bias, table_key_cosines
from rwcore.heads.run import run_heads
from rwcore.models.load import load_bridge
from rwcore.tests.head_models import BATCH


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory):
    return load_bridge(local_model(build("gpt2", tmp_path_factory.mktemp("gpt2"))))


@torch.no_grad()
def test_by_hand(gpt2):
    found = key_cosines(gpt2, BATCH)
    assert found.shape == (3, 4, *BATCH.tokens.shape)
    kept = []
    run_heads(gpt2, BATCH, lambda one: kept.append(one.stream.clone()), parts=("stream",))
    for layer, head, row, at in ((0, 0, 0, 0), (2, 3, 1, 5)):
        x = kept[layer][row, at]
        read = x / (x.square().mean() + 1e-5).sqrt()
        attn = gpt2.blocks[layer].attn
        key = read @ attn.W_K[head] + attn.b_K[head]
        wanted = float(key @ attn.b_Q[head] / key.norm() / attn.b_Q[head].norm())
        assert found[layer, head, row, at] == pytest.approx(wanted, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("family", ["gpt_neox", "opt", "bloom", "gptj", "qwen2"])
def test_other_families_with_a_bias(family, tmp_path):
    model = load_bridge(local_model(build(family, tmp_path)))
    found = key_cosines(model, BATCH)
    assert found.isfinite().all()
    assert found.abs().max() <= 1 + 1e-5
    assert found.std() > 0.05


@pytest.mark.parametrize("family", ["llama", "gemma2", "qwen3", "olmo2"])
def test_models_without_a_bias_are_not_asked(family, tmp_path):
    model = load_bridge(local_model(build(family, tmp_path)))
    assert query_bias(model, 1) is None
    assert torch.isnan(key_cosines(model, BATCH)).all()
    assert torch.isnan(table_key_cosines(model, 1, torch.ones(2, 16))).all()


def test_a_head_that_rests(tmp_path):
    """Position 0 has a direction of its own; the key reads it, and the bias of the query asks for it."""
    model = tiny_model("gpt2", seed=0)
    d = model.config.n_embd
    with torch.no_grad():
        trunk = model.transformer
        trunk.wpe.weight.zero_()
        trunk.wte.weight.mul_(0.01)
        trunk.wpe.weight[:, 0], trunk.wpe.weight[:, 1] = -3.0, 3.0
        trunk.wpe.weight[0, 0], trunk.wpe.weight[0, 1] = 3.0, -3.0
        first = trunk.h[0]
        first.ln_1.weight.fill_(1.0)
        first.ln_1.bias.zero_()
        first.attn.c_attn.weight.zero_()
        first.attn.c_attn.bias.zero_()
        first.attn.c_attn.weight[0, d : d + 4] = 1.0
        first.attn.c_attn.bias[:4] = 0.7
    found = key_cosines(load_bridge(local_model(save(model, tmp_path))), BATCH)[0, 0]
    assert torch.allclose(found[:, 0], torch.ones(2), atol=1e-3)
    assert torch.allclose(found[:, 1:], -torch.ones(2, 6), atol=1e-3)


def test_tables_of_rows(gpt2):
    """Rows as they stand in the stream give the cosines of the positions they come from."""
    kept = []
    run_heads(gpt2, BATCH, lambda one: kept.append(one.stream.clone()), parts=("stream",), layers=[1])
    found = table_key_cosines(gpt2, 1, kept[0][0])
    assert torch.allclose(found, key_cosines(gpt2, BATCH)[1, :, 0], atol=1e-4)


def test_some_layers_alone(gpt2):
    """Their values are those of all layers; no layer behind the last of them is run."""
    every, ran = key_cosines(gpt2, BATCH), []
    hooks = [
        block.register_forward_pre_hook(lambda *_, layer=layer: ran.append(layer))
        for layer, block in enumerate(gpt2.blocks)
    ]
    found = key_cosines(gpt2, BATCH, layers=[1])
    for hook in hooks:
        hook.remove()
    assert ran == [0, 1]
    assert torch.equal(found[1], every[1])
    assert torch.isnan(found[[0, 2]]).all()
