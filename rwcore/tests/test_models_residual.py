"""The residual stream: that of transformers, layer by layer, and never more than one layer in memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from fixtures.gguf_files import write_gguf
from fixtures.planted import plant
from fixtures.tiny import BOS, EOS, FAMILIES, build, local_model
from rwcore.errors import ModelError, WeightsError
from rwcore.models import residual as module
from rwcore.models.residual import bos_token, residual_stream

DECODERS = [name for name in FAMILIES if name not in ("bert", "t5", "t5_gated", "mingpt")]
TOKENS = torch.tensor([BOS, 7, 30])


def whole_model(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", local_files_only=True
    ).eval()


def states(folder: Path, tokens: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
    """What enters each layer, as transformers reports it, and the logits."""
    with torch.no_grad():
        done = whole_model(folder)(tokens[None], output_hidden_states=True)
    return [state[0] for state in done.hidden_states], done.logits[0]


@pytest.mark.parametrize("family", DECODERS)
def test_it_is_the_stream_of_transformers(family: str, tmp_path: Path) -> None:
    folder = build(family, tmp_path)
    found = residual_stream(local_model(folder), TOKENS)
    expected, _ = states(folder, TOKENS)
    assert found.shape == (4, 3, 16)
    assert found.dtype == torch.float32
    # The last state transformers reports has been through the final norm.
    torch.testing.assert_close(found[:3], torch.stack(expected[:3]), atol=1e-5, rtol=1e-5)


def test_the_last_state_is_before_the_final_norm(tmp_path: Path) -> None:
    folder = build("llama", tmp_path)
    model = whole_model(folder)
    found = residual_stream(local_model(folder), TOKENS)
    expected, logits = states(folder, TOKENS)
    with torch.no_grad():
        normed = model.model.norm(found[-1])
        torch.testing.assert_close(normed, expected[-1], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(model.lm_head(normed), logits, atol=1e-4, rtol=1e-5)
    assert not torch.allclose(found[-1], expected[-1], atol=1e-2)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_and_shards_are_read(dtype: torch.dtype, tmp_path: Path) -> None:
    folder = build("llama", tmp_path, dtype=dtype, max_shard_size="10KB")
    assert len([*folder.glob("*.safetensors")]) > 1
    expected, _ = states(folder, TOKENS)
    found = residual_stream(local_model(folder), TOKENS)
    torch.testing.assert_close(found[:3], torch.stack(expected[:3]), atol=1e-5, rtol=1e-5)


def test_other_formats_are_loaded_whole(tmp_path: Path) -> None:
    folder = build("opt", tmp_path, safetensors=False)
    assert not [*folder.glob("*.safetensors")]
    expected, _ = states(folder, TOKENS)
    found = residual_stream(local_model(folder), TOKENS)
    torch.testing.assert_close(found[:3], torch.stack(expected[:3]), atol=1e-5, rtol=1e-5)


def test_a_gguf_file_is_converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RWCORE_CACHE", str(tmp_path / "cache"))
    folder = build("llama", tmp_path / "folder", d_mlp=64)
    file = write_gguf(folder, tmp_path / "tiny.gguf")
    expected = residual_stream(local_model(folder), TOKENS)
    torch.testing.assert_close(residual_stream(local_model(file), TOKENS), expected, atol=1e-5, rtol=1e-5)


def test_one_layer_is_in_memory_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked in the middle of every layer: which layers have numbers?"""
    folder = build("llama", tmp_path, layers=4)
    present: list[list[int]] = []
    forward = nn.Linear.forward
    models: list[nn.Module] = []
    make = module._without_weights

    def made(config: Any) -> nn.Module:
        models.append(make(config))
        return models[-1]

    def watched(self: nn.Linear, x: torch.Tensor) -> torch.Tensor:
        layers: Any = models[-1].layers
        here = [
            k for k, layer in enumerate(layers) if any(p.device.type != "meta" for p in layer.parameters())
        ]
        present.append(here)
        return forward(self, x)

    monkeypatch.setattr(module, "_without_weights", made)
    monkeypatch.setattr(nn.Linear, "forward", watched)
    residual_stream(local_model(folder), TOKENS)
    assert sorted({here for (here,) in present}) == [0, 1, 2, 3]
    assert all(p.device.type == "meta" for p in models[-1].layers.parameters())  # type: ignore[union-attr]


def test_a_missing_parameter_is_named(tmp_path: Path) -> None:
    folder = build("llama", tmp_path)
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=r"layers\.1\.mlp\.up_proj\.weight"):
        residual_stream(local_model(folder), TOKENS)


@pytest.mark.parametrize("bad", [torch.zeros(3, 16), torch.zeros(24, 16, dtype=torch.int8)])
def test_a_wrong_tensor_is_named(bad: torch.Tensor, tmp_path: Path) -> None:
    folder = build("llama", tmp_path)
    tensors = load_file(folder / "model.safetensors") | {"model.layers.1.mlp.up_proj.weight": bad}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError) as caught:
        residual_stream(local_model(folder), TOKENS)
    assert "model.layers.1.mlp.up_proj.weight" in str(caught.value)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    folder = build("llama", tmp_path)
    (folder / "model.safetensors").write_bytes(b"rubbish")
    with pytest.raises(WeightsError, match="cannot be read") as caught:
        residual_stream(local_model(folder), TOKENS)
    assert "model.safetensors" in str(caught.value)


@pytest.mark.parametrize("family", ["t5", "bert"])
def test_models_that_are_no_decoders_are_refused(family: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not a decoder") as caught:
        residual_stream(local_model(build(family, tmp_path)), TOKENS)
    assert "--no-attention" in str(caught.value)


def test_an_unknown_architecture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot run"):
        residual_stream(local_model(build("mingpt", tmp_path)), TOKENS)


def test_bos_comes_from_the_tokenizer_first(tmp_path: Path) -> None:
    folder = build("llama", tmp_path, bos_token_id=9)
    assert bos_token(local_model(folder)) == BOS


def test_bos_comes_from_the_configuration_without_a_tokenizer(tmp_path: Path) -> None:
    planted = plant("llama", tmp_path)
    assert bos_token(local_model(planted.folder)) == 0


def edit(file: Path, **values: object) -> None:
    known = json.loads(file.read_text())
    file.write_text(json.dumps({**known, **values}))


def test_without_bos_the_end_token_is_taken_as_by_the_papers_loader(tmp_path: Path) -> None:
    folder = build("olmo", tmp_path)
    edit(folder / "config.json", bos_token_id=None)
    edit(folder / "generation_config.json", bos_token_id=None)
    edit(folder / "tokenizer_config.json", bos_token=None)
    assert bos_token(local_model(folder)) == EOS
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    edit(folder / "config.json", eos_token_id=[5, 6])
    assert bos_token(local_model(folder)) == 5


def test_no_first_token_at_all_is_an_error_with_a_way_out(tmp_path: Path) -> None:
    folder = plant("llama", tmp_path).folder
    edit(folder / "config.json", bos_token_id=None, eos_token_id=None)
    with pytest.raises(ModelError, match="names a first token") as caught:
        bos_token(local_model(folder))
    assert "--bos" in str(caught.value)
