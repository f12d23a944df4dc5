"""GGUF files: converted without loss, refused when damaged or unknown."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from fixtures.gguf_files import byte_pairs, write_gguf
from fixtures.tiny import BOS, EOS, SPECIALS, save, tiny_model
from rwcore.errors import ModelError, WeightsError
from rwcore.models import gguf as gguf_module
from rwcore.models.gguf import (
    check_complete,
    conversion,
    convert_gguf,
    converted,
    gguf_architecture,
    gguf_hash,
    quiet_transformers,
)

VOCAB = 40


@pytest.fixture(scope="module")
def original():
    # Rows of 32 and 64 numbers: a quantised block has 32.
    return tiny_model("llama", layers=2, d_model=32, d_mlp=64, vocab=VOCAB)


@pytest.fixture(scope="module")
def saved(original, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder GGUF files are made from."""
    return save(original, tmp_path_factory.mktemp("original"))


@pytest.fixture(scope="module")
def file(saved: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(saved, tmp_path_factory.mktemp("gguf") / "tiny.gguf")


@pytest.fixture(scope="module")
def folder(file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    into = tmp_path_factory.mktemp("converted")
    assert convert_gguf(file, into) == into
    return into


def test_every_weight_survives_bit_for_bit(original, folder: Path):
    again = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    expected = original.state_dict()
    found = again.state_dict()
    assert set(found) == set(expected)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_logits_of_the_converted_model_are_those_of_the_original(original, folder: Path):
    again = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    tokens = torch.randint(len(SPECIALS), VOCAB, (2, 9), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected, found = original(tokens).logits, again(tokens).logits
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=0)


def test_the_folder_is_an_ordinary_unquantised_model(folder: Path):
    config = json.loads((folder / "config.json").read_text())
    assert "quantization_config" not in config
    assert (config["model_type"], config["dtype"]) == ("llama", "float32")
    assert [file.name for file in folder.glob("*.safetensors")] == ["model.safetensors"]
    assert not list(folder.glob("*.gguf"))


def test_the_tokenizer_comes_along(folder: Path):
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    assert tokenizer("abcabac", add_special_tokens=False).input_ids == [5, 4, 6, 8]
    assert tokenizer.convert_ids_to_tokens(range(VOCAB)) == byte_pairs(VOCAB)
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id) == (BOS, EOS)
    assert "local_files_only" not in (folder / "tokenizer_config.json").read_text()


def test_quantised_weights_are_dequantised_to_float32(original, saved: Path, tmp_path: Path):
    kind = gguf.GGMLQuantizationType.Q8_0
    file = write_gguf(saved, tmp_path / "q8.gguf", quantisation=kind.name)
    (tmp_path / "out").mkdir()
    convert_gguf(file, tmp_path / "out")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "out", local_files_only=True)
    for name in ("gate_proj", "up_proj", "down_proj"):
        exact = getattr(original.model.layers[1].mlp, name).weight.detach()
        found = getattr(again.model.layers[1].mlp, name).weight.detach()
        expected = torch.from_numpy(gguf.dequantize(gguf.quantize(exact.numpy(), kind), kind))
        assert found.dtype == torch.float32
        assert torch.equal(found, expected)
        assert not torch.equal(found, exact), "this test would not notice that nothing was quantised"


# --- damage


@pytest.mark.parametrize("keep", [0, 3, 10, 100, 0.3, 0.5, 0.9, -1])
def test_truncated_files(file: Path, tmp_path: Path, keep: float):
    data = file.read_bytes()
    cut = int(len(data) * keep) if 0 < keep < 1 else int(keep)
    (tmp_path / "cut.gguf").write_bytes(data[:cut])
    with pytest.raises(WeightsError, match="not a whole GGUF file") as caught:
        convert_gguf(tmp_path / "cut.gguf", tmp_path)
    assert "cut.gguf" in (caught.value.where or "")
    assert caught.value.remedy


def test_another_kind_of_file(tmp_path: Path):
    (tmp_path / "x.gguf").write_bytes(b"PK\x03\x04 this is not it" * 100)
    with pytest.raises(WeightsError, match="not a whole GGUF file"):
        gguf_architecture(tmp_path / "x.gguf")


def test_file_without_tensors(tmp_path: Path):
    writer = gguf.GGUFWriter(tmp_path / "x.gguf", "llama")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(WeightsError, match="no tensors"):
        gguf_architecture(tmp_path / "x.gguf")


def test_a_missing_tensor_is_not_made_up(saved: Path, tmp_path: Path):
    file = write_gguf(saved, tmp_path / "x.gguf", leave_out="blk.1.ffn_up.weight")
    with pytest.raises(WeightsError, match=r"1 parameters are missing: model\.layers\.1\.mlp\.up_proj"):
        convert_gguf(file, tmp_path)


def test_unknown_architecture(saved: Path, tmp_path: Path):
    file = write_gguf(saved, tmp_path / "x.gguf", architecture="newthing")
    assert gguf_architecture(file) == "newthing"
    with pytest.raises(ModelError, match="architecture 'newthing'") as caught:
        convert_gguf(file, tmp_path)
    assert "Hugging Face format" in (caught.value.remedy or "")


def test_file_without_tokenizer(saved: Path, tmp_path: Path):
    file = write_gguf(saved, tmp_path / "x.gguf", vocabulary=False)
    with pytest.raises(ModelError, match="architecture 'llama'"):
        convert_gguf(file, tmp_path)


# --- the cache


def test_converted_once(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RWCORE_CACHE", str(tmp_path))
    folder = converted(file)
    assert folder.parent == tmp_path / "models"
    manifest = conversion(folder)
    assert manifest is not None
    assert manifest["gguf_sha256"] == gguf_hash(file)
    assert manifest["files"]["model.safetensors"] == (folder / "model.safetensors").stat().st_size

    def refuse(*_args: object) -> None:
        raise AssertionError("converted again")

    monkeypatch.setattr(gguf_module, "convert_gguf", refuse)
    assert converted(file) == folder
    (folder / "model.safetensors").write_bytes(b"cut")
    assert conversion(folder) is None
    with pytest.raises(AssertionError, match="again"):
        converted(file)


def test_nothing_is_left_of_a_failed_conversion(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RWCORE_CACHE", str(tmp_path))

    def fail(_path: Path, into: Path) -> None:
        (into / "config.json").write_text("{}")
        raise WeightsError("damaged")

    monkeypatch.setattr(gguf_module, "convert_gguf", fail)
    with pytest.raises(WeightsError):
        converted(file)
    assert [path.suffix for path in (tmp_path / "models").iterdir()] == [".lock"]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": "other/1", "files": {}}', '{"format": 1}'])
def test_manifests_that_do_not_count(tmp_path: Path, content: str):
    (tmp_path / "conversion.json").write_text(content)
    assert conversion(tmp_path) is None


# --- helpers


def test_check_complete_names_the_first_few():
    check_complete({"missing_keys": [], "mismatched_keys": set(), "unexpected_keys": ["extra"]}, "x")
    with pytest.raises(WeightsError, match="5 parameters are missing: a, b, c and 2 more"):
        check_complete({"missing_keys": list("edcba")}, "x")
    with pytest.raises(WeightsError, match="1 parameters have another shape"):
        check_complete({"mismatched_keys": {("a", (1,), (2,))}}, "x")


def test_quiet_transformers_puts_everything_back(monkeypatch: pytest.MonkeyPatch):
    from transformers.utils import logging

    monkeypatch.setattr(gguf_module, "quiet", lambda: True)
    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    with quiet_transformers():
        assert logging.get_verbosity() == logging.ERROR
        assert not logging.is_progress_bar_enabled()
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before
