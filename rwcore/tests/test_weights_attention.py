"""Attention, embedding and unembedding where a bridge cannot be the reference, and what they preserve."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.testing import assert_close

from fixtures.gguf_files import write_gguf
from fixtures.tiny import FAMILIES, build, local_model
from rwcore.errors import OptionError, WeightsError
from rwcore.weights.attention import AttentionLayer, attention_weights
from rwcore.weights.embedding import embedding, final_norm, unembedding


def state_of(folder: Path) -> dict[str, Tensor]:
    file = folder / "model.safetensors"
    return load_file(file) if file.exists() else torch.load(folder / "final.pth", weights_only=True)


def heads(stored: Tensor, n: int) -> Tensor:
    """Rows ``(head d_head)`` as [head d_model d_head]."""
    return torch.stack([part.T for part in stored.chunk(n)])


def test_raw_projections_of_separate_matrices(tmp_path: Path) -> None:
    folder = build("llama", tmp_path)
    state, p = state_of(folder), "model.layers.2.self_attn."
    got = attention_weights(local_model(folder), 2, processing="raw")
    assert got.index == 2
    assert torch.equal(got.W_Q, heads(state[f"{p}q_proj.weight"], 4))
    assert torch.equal(got.W_K, heads(state[f"{p}k_proj.weight"], 2))
    assert torch.equal(got.W_V, heads(state[f"{p}v_proj.weight"], 2))
    assert torch.equal(got.W_O, torch.stack([part.T for part in state[f"{p}o_proj.weight"].chunk(4, dim=1)]))
    assert got.b_Q is None
    assert got.b_O is None


def test_raw_projections_fused_one_after_the_other(tmp_path: Path) -> None:
    folder = build("gpt2", tmp_path)
    state, p = state_of(folder), "transformer.h.1.attn."
    got = attention_weights(local_model(folder), 1, processing="raw")
    for name, part in zip("QKV", state[f"{p}c_attn.weight"].chunk(3, dim=1), strict=True):
        assert torch.equal(getattr(got, f"W_{name}"), heads(part.T, 4))
    for name, part in zip("QKV", state[f"{p}c_attn.bias"].chunk(3), strict=True):
        assert torch.equal(getattr(got, f"b_{name}"), part.reshape(4, 4))
    assert torch.equal(got.W_O.reshape(16, 16), state[f"{p}c_proj.weight"])


@pytest.mark.parametrize(
    ("family", "name"),
    [
        ("gpt_neox", "gpt_neox.layers.1.attention.query_key_value"),
        ("bloom", "transformer.h.1.self_attention.query_key_value"),
    ],
)
def test_raw_projections_fused_head_by_head(tmp_path: Path, family: str, name: str) -> None:
    folder = build(family, tmp_path)
    state = state_of(folder)
    got = attention_weights(local_model(folder), 1, processing="raw")
    for head in range(4):
        for which, letter in enumerate("QKV"):
            rows = slice(12 * head + 4 * which, 12 * head + 4 * which + 4)
            assert torch.equal(getattr(got, f"W_{letter}")[head], state[f"{name}.weight"][rows].T)
            assert torch.equal(getattr(got, f"b_{letter}")[head], state[f"{name}.bias"][rows])


@pytest.mark.parametrize("family", ["t5", "t5_gated", "bert"])
def test_models_that_were_left_raw(tmp_path: Path, family: str) -> None:
    local = local_model(build(family, tmp_path))
    for layer in range(3):
        a, b = (attention_weights(local, layer, processing=p) for p in ("as_published", "raw"))
        assert all(same(getattr(a, name), getattr(b, name)) for name in vars(a))
    a, b = (unembedding(local, processing=p) for p in ("as_published", "raw"))
    assert same(a.W_U, b.W_U)
    assert same(a.b_U, b.b_U)


def test_decoder_self_attention_of_t5(tmp_path: Path) -> None:
    folder = build("t5", tmp_path, layers=3)
    state = state_of(folder)
    for layer, tower in ((2, "encoder.block.2"), (3, "decoder.block.0"), (-1, "decoder.block.1")):
        got = attention_weights(local_model(folder), layer)
        assert torch.equal(got.W_V, heads(state[f"{tower}.layer.0.SelfAttention.v.weight"], 4))
    assert got.index == 4


@pytest.mark.parametrize("family", ["gpt2", "gptj", "opt", "bloom", "gpt_neox", "mingpt", "qwen2", "olmo"])
def test_processing_keeps_what_attention_computes(tmp_path: Path, family: str) -> None:
    """Scores and (centred) outputs from a residual vector, raw with the norm and processed without."""
    folder = build(family, tmp_path)
    local = local_model(folder)
    raw, done = (attention_weights(local, 1, processing=p).expanded() for p in ("raw", "as_published"))
    layer_norm = family != "qwen2"
    x = torch.randn(6, 16, generator=torch.Generator().manual_seed(1))
    if layer_norm:
        x = x - x.mean(-1, keepdim=True)
    x = x / x.pow(2).mean(-1, keepdim=True).sqrt()
    gain, shift = attention_norm(state_of(folder), family)
    y = x * gain + shift
    for name in "QK":
        assert_close(project(done, name, x), project(raw, name, y), atol=1e-5, rtol=0)
    # Attention sums to one: all of it on one position is enough to see the folded value bias.
    before = torch.einsum("hpk,hkd->pd", project(raw, "V", y), raw.W_O) + zero(raw.b_O)
    after = torch.einsum("hpk,hkd->pd", project(done, "V", x), done.W_O) + zero(done.b_O)
    if layer_norm:
        before = before - before.mean(-1, keepdim=True)
    assert_close(after, before, atol=2e-5, rtol=0)
    assert done.b_V is None or not done.b_V.any()


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "gptj", "llama", "gemma", "gemma2", "mingpt", "olmo"])
def test_processing_keeps_log_probabilities(tmp_path: Path, family: str) -> None:
    local = local_model(build(family, tmp_path))
    raw, done = (unembedding(local, processing=p) for p in ("raw", "as_published"))
    norm = final_norm(local, processing="raw")
    assert final_norm(local).gain is None
    x = torch.randn(5, 16, generator=torch.Generator().manual_seed(1))
    if norm.kind == "layer":
        x = x - x.mean(-1, keepdim=True)
    x = x / x.pow(2).mean(-1, keepdim=True).sqrt()
    y = x if norm.gain is None else x * norm.gain
    before = (y if norm.shift is None else y + norm.shift) @ raw.W_U + zero(raw.b_U)
    after = x @ done.W_U + zero(done.b_U)
    assert_close(after.log_softmax(-1), before.log_softmax(-1), atol=1e-4, rtol=1e-5)
    if family == "gemma2":  # soft-capped: the logits themselves must stay
        assert_close(after, before, atol=1e-5, rtol=1e-5)
    else:
        assert float(done.W_U.mean(-1).abs().max()) < 1e-6
    if norm.kind == "layer":
        assert float(done.W_U.mean(0).abs().max()) < 1e-6


def test_embedding_of_every_family(tmp_path: Path) -> None:
    for family in FAMILIES:
        local = local_model(build(family, tmp_path / family))
        raw, done = (embedding(local, processing=p) for p in ("raw", "as_published"))
        assert raw.W_E.shape == (64, 16)
        assert raw.scale == (4.0 if family in ("gemma", "gemma2", "gemma3") else 1.0)
        assert (raw.W_pos is not None) == (family in ("gpt2", "opt", "bert", "mingpt"))
        if raw.W_pos is not None:
            assert raw.W_pos.shape == (64, 16)
        centred = family in ("olmo", "gpt2", "gpt_neox", "gptj", "opt", "bloom", "mingpt")
        assert torch.equal(done.W_E, raw.W_E) == (not centred)
        if centred:
            assert_close(done.W_E, raw.W_E - raw.W_E.mean(-1, keepdim=True))


def test_position_tables(tmp_path: Path) -> None:
    opt = build("opt", tmp_path / "opt")
    stored = state_of(opt)["model.decoder.embed_positions.weight"]
    assert torch.equal(embedding(local_model(opt), processing="raw").W_pos, stored[2:])
    mingpt = build("mingpt", tmp_path / "mingpt")
    assert torch.equal(embedding(local_model(mingpt), processing="raw").W_pos, state_of(mingpt)["pos_emb"][0])


def test_final_norm(tmp_path: Path) -> None:
    gemma = build("gemma2", tmp_path / "gemma2")
    norm = final_norm(local_model(gemma), processing="raw")
    assert torch.equal(norm.gain, state_of(gemma)["model.norm.weight"] + 1)
    assert (norm.kind, norm.shift, norm.eps) == ("rms", None, 1e-6)
    gpt2 = final_norm(local_model(build("gpt2", tmp_path / "gpt2")), processing="raw")
    assert (gpt2.kind, gpt2.eps) == ("layer", 1e-5)
    assert gpt2.shift is not None
    olmo = final_norm(local_model(build("olmo", tmp_path / "olmo")), processing="raw")
    assert (olmo.kind, olmo.gain) == ("layer", None)
    assert final_norm(local_model(build("bert", tmp_path / "bert"))).kind == "none"
    t5 = build("t5", tmp_path / "t5")
    # T5 is left raw, so its final norm is not part of the unembedding.
    assert torch.equal(final_norm(local_model(t5)).gain, state_of(t5)["decoder.final_layer_norm.weight"])


def test_tied_and_untied_unembeddings(tmp_path: Path) -> None:
    tied = build("llama", tmp_path / "tied", tie_word_embeddings=True)
    assert "lm_head.weight" not in state_of(tied)
    got = unembedding(local_model(tied), processing="raw")
    assert torch.equal(got.W_U.T, embedding(local_model(tied), processing="raw").W_E)
    untied = build("llama", tmp_path / "untied", tie_word_embeddings=False)
    got = unembedding(local_model(untied), processing="raw")
    assert torch.equal(got.W_U.T, state_of(untied)["lm_head.weight"])
    state = state_of(untied)
    del state["lm_head.weight"]
    save_file(state, untied / "model.safetensors")
    with pytest.raises(WeightsError, match=r"lm_head\.weight(.|\n)*tie_word_embeddings"):
        unembedding(local_model(untied))


def test_bert_keeps_its_unembedding_bias_elsewhere(tmp_path: Path) -> None:
    folder = build("bert", tmp_path)
    assert torch.equal(unembedding(local_model(folder)).b_U, state_of(folder)["cls.predictions.bias"])


def test_vocabulary_of_another_size(tmp_path: Path) -> None:
    folder = build("llama", tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "vocab_size": 65}))
    for function in (embedding, unembedding):
        with pytest.raises(WeightsError, match=r"\[64, 16\], the config says \[65, 16\]"):
            function(local_model(folder))


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "qwen3", "gemma2", "olmo", "olmo2"])
def test_gguf_holds_the_same(tmp_path: Path, family: str) -> None:
    folder = build(family, tmp_path / "hf")
    file = write_gguf(folder, tmp_path / "model.gguf")
    hf, gguf = (attention_weights(local_model(path), 1) for path in (folder, file))
    assert all(same(getattr(hf, name), getattr(gguf, name)) for name in vars(hf))
    assert same(unembedding(local_model(folder)).W_U, unembedding(local_model(file)).W_U)
    raw = [final_norm(local_model(path), processing="raw") for path in (folder, file)]
    assert same(raw[0].gain, raw[1].gain)


def test_transformers_undoes_llama_cpp_conventions_alike(tmp_path: Path) -> None:
    """An independent reader of GGUF: our writer and reader might share a mistake."""
    from transformers import AutoModelForCausalLM

    from rwcore.models.gguf import quiet_transformers

    for family in ("llama", "gemma2"):
        folder = build(family, tmp_path / family)
        write_gguf(folder, tmp_path / family / "m.gguf")
        with quiet_transformers():
            model = AutoModelForCausalLM.from_pretrained(folder, gguf_file="m.gguf")
        state = model.state_dict()
        stored = state_of(folder)
        assert stored.keys() <= state.keys()
        for name, tensor in stored.items():
            assert_close(state[name], tensor, atol=1e-6, rtol=0)


def test_layers_that_do_not_exist(tmp_path: Path) -> None:
    local = local_model(build("llama", tmp_path))
    assert attention_weights(local, -1).index == 2
    for layer in (3, -4):
        with pytest.raises(IndexError, match=f"layer {layer} of a model with 3 layers"):
            attention_weights(local, layer)
    with pytest.raises(OptionError):
        attention_weights(local, 0, processing="half")
    with pytest.raises(OptionError):
        unembedding(local, processing="half")


def test_the_scale_of_gemma_is_not_applied(tmp_path: Path) -> None:
    folder = build("gemma", tmp_path, d_model=24, heads=4)
    got = embedding(local_model(folder))
    assert got.scale == pytest.approx(math.sqrt(24))
    assert torch.equal(got.W_E, state_of(folder)["model.embed_tokens.weight"])


def attention_norm(state: dict[str, Tensor], family: str) -> tuple[Tensor, Tensor]:
    stem = {
        "gpt2": "transformer.h.1.ln_1",
        "gptj": "transformer.h.1.ln_1",
        "opt": "model.decoder.layers.1.self_attn_layer_norm",
        "bloom": "transformer.h.1.input_layernorm",
        "gpt_neox": "gpt_neox.layers.1.input_layernorm",
        "mingpt": "blocks.1.ln1",
        "qwen2": "model.layers.1.input_layernorm",
    }.get(family)
    if stem is None:
        return torch.ones(16), torch.zeros(16)
    return state[f"{stem}.weight"], state.get(f"{stem}.bias", torch.zeros(16))


def project(layer: AttentionLayer, name: str, x: Tensor) -> Tensor:
    """[head pos d_head]."""
    bias = getattr(layer, f"b_{name}")
    y = torch.einsum("pd,hdk->hpk", x, getattr(layer, f"W_{name}"))
    return y if bias is None else y + bias[:, None]


def zero(value: Tensor | None) -> Tensor:
    return torch.zeros(()) if value is None else value


def same(a: object, b: object) -> bool:
    return torch.equal(a, b) if isinstance(a, Tensor) and isinstance(b, Tensor) else a == b
