"""Effective embeddings against slow formulas from the weights, in every family of decoders."""

import pytest
import torch
from safetensors.torch import load_file

from fixtures.tiny import build, local_model
from rwcore.errors import ModelError, OptionError
from rwcore.heads.embeddings import EMBEDDINGS, effective_embedding
from rwcore.models.load import load_bridge
from rwcore.weights.attention import attention_weights
from rwcore.weights.embedding import embedding
from rwcore.weights.mlp import mlp_weights
from rwcore.weights.shape import read_shape

DECODERS = ("llama", "qwen2", "gemma2", "olmo2", "gpt2", "gpt_neox", "gptj", "opt", "bloom")
VOCAB = 64
EVERY = torch.arange(VOCAB)


@pytest.fixture(scope="module", params=DECODERS)
def tiny(request, tmp_path_factory):
    local = local_model(build(request.param, tmp_path_factory.mktemp(request.param)))
    return request.param, local, load_bridge(local)


def tables(model, names=EMBEDDINGS):
    return {name: effective_embedding(model, name, EVERY, prompts=10) for name in names}


def slow(family, local):
    """Every variant from the weights, one token at a time in float64."""
    shape, heads, mlp = read_shape(local), attention_weights(local, 0).expanded(), mlp_weights(local)[0]
    b_in, b_out = biases(family, local)

    def norm(x):
        x = x - x.mean() if shape.norm == "layer" else x
        return x / (x.pow(2).mean() + shape.norm_eps).sqrt()

    def run(x):
        read = mlp.in_.double() @ norm(x) + b_in
        if family == "llama":
            active = torch.nn.functional.silu(mlp.gate.double() @ norm(x)) * read
        else:
            active = torch.nn.functional.gelu(read, approximate="tanh" if family == "gpt2" else "none")
        return active @ mlp.out.double() + b_out

    found = {name: [] for name in EMBEDDINGS}
    for row in embedding(local).W_E.double():
        each = [norm(row) @ heads.W_V[h].double() @ heads.W_O[h].double() for h in range(heads.n_heads)]
        bias = 0 if heads.b_O is None else heads.b_O.double()
        mids = {"EE-A": row, "EE-B": row + sum(each), "EE-C": row + sum(each) + bias}
        found["raw"].append(row)
        for name, mid in mids.items():
            added = run(row if family == "gpt_neox" else mid)  # GPT-NeoX: both read what enters the block
            found[name].append(mid + added)
            found[f"{name}-MLP"].append(added)
            if name != "EE-A":
                found[f"{name}-added"].append(mid + added - row)
    return {name: torch.stack(rows) for name, rows in found.items()}


def biases(family, local):
    """Of the first MLP: of its neurons, with what the norm before them adds to it, and of its output."""
    if family == "llama":
        return 0, 0
    state = {name: values.double() for name, values in load_file(local.path / "model.safetensors").items()}
    block, norm, reads, writes = {
        "gpt2": ("transformer.h.0.", "ln_2", "mlp.c_fc", "mlp.c_proj"),
        "gpt_neox": ("gpt_neox.layers.0.", "post_attention_layernorm", "mlp.dense_h_to_4h",
                     "mlp.dense_4h_to_h"),
    }[family]  # fmt: skip
    weight = state[f"{block}{reads}.weight"]
    rows = weight.T if family == "gpt2" else weight
    b_out = state[f"{block}{writes}.bias"]
    return state[f"{block}{reads}.bias"] + rows @ state[f"{block}{norm}.bias"], b_out - b_out.mean()


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "llama"])
def test_equal_the_formulas(family, tmp_path):
    local = local_model(build(family, tmp_path))
    found, wanted = tables(load_bridge(local)), slow(family, local)
    for name in EMBEDDINGS:
        assert torch.allclose(found[name].double(), wanted[name], atol=2e-5), name


def test_parts_belong_together(tiny):
    family, _, model = tiny
    post = family in ("gemma2", "olmo2")
    found = tables(model)
    assert torch.allclose(found["EE-A"], found["raw"] + found["EE-A-MLP"], atol=1e-5)
    for name in ("EE-B", "EE-C"):
        assert torch.allclose(found[f"{name}-added"], found[name] - found["raw"], atol=1e-5)
    mid = {name: found[name] - found[f"{name}-MLP"] for name in ("EE-B", "EE-C")}
    biases = mid["EE-C"] - mid["EE-B"]
    # Biases add the same to every token; what the heads add differs from token to token.
    assert torch.allclose(biases, biases[:1].expand_as(biases), atol=1e-5)
    assert (biases.abs().max() > 1e-3) == (family in ("gpt2", "gpt_neox", "gptj", "opt", "bloom", "qwen2"))
    assert (mid["EE-B"] - found["raw"]).std(dim=0).max() > 1e-3 or post


def test_positions_do_not_enter(tiny):
    family, local, model = tiny
    raw = effective_embedding(model, "raw", EVERY)
    if family != "bloom":  # normalises its embedding
        read = embedding(local)
        assert torch.allclose(raw, read.W_E * read.scale, atol=1e-5)


def test_batches_and_order_do_not_matter(tmp_path):
    model = load_bridge(local_model(build("gpt2", tmp_path)))
    some = torch.tensor([7, 3, 60])
    whole = effective_embedding(model, "EE-B", EVERY)
    assert torch.allclose(effective_embedding(model, "EE-B", some, prompts=2), whole[some], atol=1e-6)


def test_refused(tmp_path):
    model = load_bridge(local_model(build("bert", tmp_path / "bert")))
    with pytest.raises(ModelError, match="no decoder"):
        effective_embedding(model, "EE-A", EVERY)
    with pytest.raises(OptionError, match="EE-D"):
        effective_embedding(model, "EE-D", EVERY)
