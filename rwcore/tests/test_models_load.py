"""Bridges over local models: the right numbers, no network, and errors instead of random weights."""

from __future__ import annotations

import json
import shutil
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from fixtures.gguf_files import write_gguf
from fixtures.tiny import SIZES, SPECIALS, save, tiny_model
from rwcore.errors import ModelError, WeightsError
from rwcore.models.load import load_bridge, native_bridge
from rwcore.models.locate import locate
from rwcore.models.registry import find
from rwcore.models.spec import LocalModel

TOKENS = torch.randint(len(SPECIALS), SIZES["vocab"], (2, 9), generator=torch.Generator().manual_seed(1))


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch):
    def refuse(*_args: object, **_kwargs: object) -> None:
        raise AssertionError("loading a local model touched the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture(scope="module")
def llama() -> Any:
    model = tiny_model("llama")
    model.set_attn_implementation("eager")
    return model


@pytest.fixture(scope="module")
def saved(llama, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(llama, tmp_path_factory.mktemp("llama"))


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy of the tiny Llama that a test may damage."""
    return Path(shutil.copytree(saved, tmp_path / "llama"))


def local(folder: Path) -> LocalModel:
    return locate(find(str(folder)))


def logits(model: Any, tokens: torch.Tensor = TOKENS) -> torch.Tensor:
    with torch.no_grad():
        found = model(tokens)
    return found if isinstance(found, torch.Tensor) else found.logits


# --- numbers


def test_stored_weights_and_logits_without_processing(llama, saved: Path):
    bridge = load_bridge(local(saved), compatibility=False)
    assert logits(llama).std() > 0.1
    torch.testing.assert_close(logits(bridge), logits(llama), atol=1e-5, rtol=0)
    assert torch.equal(bridge.blocks[1].mlp.out.weight, llama.model.layers[1].mlp.down_proj.weight)


def test_processed_weights_keep_the_prediction_and_fold_the_norm(llama, saved: Path):
    bridge = load_bridge(local(saved))
    expected = logits(llama)
    torch.testing.assert_close(logits(bridge), expected - expected.mean(-1, keepdim=True), atol=2e-5, rtol=0)
    layer = llama.model.layers[1]
    gain = layer.post_attention_layernorm.weight.detach()
    assert (gain - 1).abs().max() > 0.1
    folded = (layer.mlp.up_proj.weight.detach() * gain).T
    torch.testing.assert_close(bridge.blocks[1].mlp.W_in.detach(), folded, atol=1e-6, rtol=0)


def test_facts_of_the_bridge(saved: Path):
    spec = replace(find(str(saved)), id="tiny-llama")
    bridge = load_bridge(replace(local(saved), spec=spec))
    assert bridge.cfg.model_name == "tiny-llama", "no path of this machine"
    assert (bridge.cfg.n_layers, bridge.cfg.d_model, bridge.cfg.d_mlp) == (3, 16, 24)
    assert not bridge.original_model.training
    assert bridge.original_model.config._attn_implementation == "eager"
    assert {parameter.dtype for parameter in bridge.parameters()} == {torch.float32}
    _, cache = bridge.run_with_cache(TOKENS)
    assert cache["blocks.0.attn.hook_pattern"].shape == (2, 4, 9, 9)
    assert cache["blocks.1.mlp.hook_post"].shape == (2, 9, 24)


def test_dtype(saved: Path):
    bridge = load_bridge(local(saved), dtype=torch.bfloat16, compatibility=False)
    assert {parameter.dtype for parameter in bridge.parameters()} == {torch.bfloat16}


def test_gguf_file(llama, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RWCORE_CACHE", str(tmp_path / "cache"))
    file = write_gguf(saved, tmp_path / "tiny.gguf")
    bridge = load_bridge(locate(find(str(file))), compatibility=False)
    torch.testing.assert_close(logits(bridge), logits(llama), atol=2e-5, rtol=0)


def test_bert_is_loaded_as_masked_model_and_not_processed(tmp_path: Path):
    bert = tiny_model("bert")
    bridge = load_bridge(local(save(bert, tmp_path)))
    stored = bert.bert.encoder.layer[0].output.dense.weight.detach()
    assert stored.mean(0).abs().max() > 1e-3
    assert torch.equal(bridge.blocks[0].mlp.W_out.detach(), stored.T)
    torch.testing.assert_close(logits(bridge), logits(bert), atol=1e-5, rtol=0)


def test_t5_is_loaded_and_not_processed(tmp_path: Path):
    t5 = tiny_model("t5")
    bridge = load_bridge(local(save(t5, tmp_path)))
    stored = t5.encoder.block[1].layer[1].DenseReluDense.wi.weight.detach().clone()
    found = bridge.original_model.encoder.block[1].layer[1].DenseReluDense.wi.weight.detach()
    assert torch.equal(found, stored)
    with torch.no_grad():
        expected = t5(TOKENS, decoder_input_ids=TOKENS).logits
        torch.testing.assert_close(bridge(TOKENS, decoder_input=TOKENS), expected, atol=1e-5, rtol=0)


def test_a_model_registered_as_raw_is_not_processed(llama, saved: Path):
    raw = replace(local(saved), spec=replace(find(str(saved)), processing="raw"))
    stored = llama.model.layers[0].mlp.up_proj.weight.detach()
    assert torch.equal(load_bridge(raw).blocks[0].mlp.W_in.detach(), stored.T)


def test_queries_keys_and_values_are_clamped_unless_it_is_forbidden(tmp_path: Path):
    """OLMo's config has the clamp; what the published runs were made with most likely had none."""
    clamped = local(save(tiny_model("olmo", clip_qkv=0.02), tmp_path / "clamped"))
    plain = local(save(tiny_model("olmo"), tmp_path / "plain"))
    free = replace(clamped, spec=replace(clamped.spec, clip_qkv=False))
    found = [logits(load_bridge(one)) for one in (clamped, free, plain)]
    assert torch.equal(found[1], found[2])
    assert (found[0] - found[1]).abs().max() > 1e-3
    assert find("allenai/OLMo-7B-0424-hf").clip_qkv is False
    assert find("allenai/OLMo-1B-hf").clip_qkv is True


def test_conv1d_family(tmp_path: Path):
    gpt2 = tiny_model("gpt2")
    bridge = load_bridge(local(save(gpt2, tmp_path)))
    torch.testing.assert_close(
        logits(bridge).log_softmax(-1), logits(gpt2).log_softmax(-1), atol=2e-5, rtol=0
    )


# --- damage


def test_missing_parameters_are_not_made_up(folder: Path):
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.0.mlp.gate_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=r"1 parameters are missing: model\.layers\.0\.mlp\.gate_proj"):
        load_bridge(local(folder))


def test_weights_of_another_shape(folder: Path):
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"] = torch.ones(8)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError) as caught:
        load_bridge(local(folder))
    assert str(folder) in (caught.value.where or "")


@pytest.mark.parametrize("keep", [4, 2000, -100])
def test_truncated_weights(folder: Path, keep: int):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(WeightsError, match="cannot be loaded"):
        load_bridge(local(folder))


def test_pickled_code_is_not_run(folder: Path, tmp_path: Path):
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "exploded",))

    (folder / "model.safetensors").unlink()
    torch.save({"model.norm.weight": Bomb()}, folder / "pytorch_model.bin")
    with pytest.raises(WeightsError, match="never run") as caught:
        load_bridge(local(folder))
    assert "weights_only" not in str(caught.value)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"model_type": "newthing"}, "does not know the model type 'newthing'"),
        ({"model_type": "newthing", "auto_map": {"AutoConfig": "x.Y"}}, "is never run"),
        ({"model_type": None}, "does not know the model type None"),
        ({"model_type": "vit"}, "no language model"),
        ({"num_attention_heads": 0}, "cannot read this configuration"),
        ({"num_attention_heads": 3}, "cannot read this configuration"),
    ],
)
def test_unusable_configurations(folder: Path, change: dict[str, Any], what: str):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(ModelError, match=what) as caught:
        load_bridge(local(folder))
    assert str(folder) in (caught.value.where or "")


def test_config_that_is_not_json(folder: Path):
    (folder / "config.json").write_text("{")
    with pytest.raises(ModelError, match="not JSON"):
        load_bridge(local(folder))


def test_folder_without_tokenizer(folder: Path):
    for file in folder.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(ModelError, match="no readable tokenizer"):
        load_bridge(local(folder))


def test_damaged_tokenizer(folder: Path):
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match="no readable tokenizer"):
        load_bridge(local(folder))


def test_othello_cannot_be_run(tmp_path: Path):
    (tmp_path / "final.pth").touch()
    spec = find("othello-gpt")
    with pytest.raises(ModelError, match="does not know the model type None") as caught:
        load_bridge(LocalModel(spec, tmp_path, "commit", (tmp_path / "final.pth",)))
    assert "weight statistics" in (caught.value.remedy or "")


# --- models without files

NATIVE = {
    "n_layers": 2, "d_model": 16, "n_heads": 2, "d_head": 8, "d_mlp": 32, "n_ctx": 16, "d_vocab": 20,
    "act_fn": "silu", "gated_mlp": True, "normalization_type": "RMS",
}  # fmt: skip


def test_native_bridge_depends_on_the_seed_alone():
    tokens = torch.arange(10)[None]
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = native_bridge(NATIVE, seed=3)
    assert torch.equal(torch.get_rng_state(), before), "the global random state is left alone"
    torch.manual_seed(2)
    assert torch.equal(logits(native_bridge(NATIVE, seed=3), tokens), logits(first, tokens))
    assert not torch.equal(logits(native_bridge(NATIVE, seed=4), tokens), logits(first, tokens))
    assert first.blocks[0].mlp.gate.weight.shape == (32, 16)
    assert "seed" not in NATIVE
