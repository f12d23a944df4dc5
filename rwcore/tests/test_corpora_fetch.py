"""Fetching data sets of the hub: what is asked for, and what every failure says."""

from __future__ import annotations

import errno
import shutil
from collections import namedtuple
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub import errors

from rwcore.corpora import fetch as module
from rwcore.corpora.documents import documents, source_identity
from rwcore.corpora.fetch import fetch
from rwcore.corpora.registry import find
from rwcore.errors import CorpusError
from rwcore.tests.hub_sets import COMMIT, json_lines, lay_out, offline_hub, rows_of

cache = pytest.fixture(offline_hub)
SPEC = find("pile-10k")
FILES = {"README.md": b"x", "a.jsonl": json_lines(rows_of(0, 3))}


class Hub:
    """Stands in for the two functions of huggingface_hub that reach the network."""

    def __init__(self, cache: Path, monkeypatch: pytest.MonkeyPatch):
        self.cache = cache
        self.error: Exception | None = None
        self.download_error: Exception | None = None
        self.asked: list[tuple[str, str | None]] = []
        self.downloads: list[dict[str, object]] = []
        self._real = huggingface_hub.snapshot_download
        monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", self.dataset_info)
        monkeypatch.setattr(huggingface_hub, "snapshot_download", self.snapshot_download)

    def dataset_info(self, name: str, *, revision: str | None, files_metadata: bool) -> SimpleNamespace:
        assert files_metadata
        self.asked.append((name, revision))
        if self.error is not None:
            raise self.error
        files = [SimpleNamespace(rfilename=file, size=len(data)) for file, data in FILES.items()]
        return SimpleNamespace(sha=COMMIT, siblings=files)

    def snapshot_download(self, name: str, **options: object) -> str:
        if options.get("local_files_only"):
            return self._real(name, **options)
        self.downloads.append({"name": name, **options})
        if self.download_error is not None:
            raise self.download_error
        if not (self.cache / f"datasets--{name.replace('/', '--')}").exists():
            lay_out(self.cache, FILES, name)
        return "somewhere"


@pytest.fixture
def hub(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    return Hub(cache, monkeypatch)


def http(kind: type[errors.HfHubHTTPError], status: int = 404) -> Exception:
    """One of the hub's HTTP errors as its client raises them."""
    return kind("no", response=SimpleNamespace(headers={}, request=None, status_code=status))


def test_the_whole_data_set_is_fetched_and_its_commit_is_known(hub: Hub) -> None:
    with pytest.raises(CorpusError, match="not on this machine"):
        source_identity(SPEC)
    folder = fetch(SPEC)
    assert hub.asked == [("NeelNanda/pile-10k", None)]
    asked = {"name": "NeelNanda/pile-10k", "repo_type": "dataset", "revision": None, "allow_patterns": None}
    assert hub.downloads == [asked]
    assert folder.name == COMMIT
    assert source_identity(SPEC) == f"commit:{COMMIT}"
    assert [document.text for document in documents(SPEC)] == ["text 0", "text 1", "text 2"]


def test_only_the_files_that_a_corpus_names_are_fetched(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = replace(SPEC, files=("a.*",))
    # Room for this file, not for the other one.
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=len(FILES["a.jsonl"])))
    monkeypatch.setitem(FILES, "train.jsonl", json_lines(rows_of(0, 9)))
    fetch(spec)
    assert [one["allow_patterns"] for one in hub.downloads] == [["a.*"]]
    with pytest.raises(CorpusError, match="are free"):
        fetch(replace(spec, location="org/other", files=()))


CASES = {
    "gated": (http(errors.GatedRepoError, 403), "behind a licence", "accept the licence at"),
    "missing": (http(errors.RepositoryNotFoundError), "no repository datasets/NeelNanda", "check the name"),
    "revision": (http(errors.RevisionNotFoundError), "no revision", "/tree/main"),
    "name": (errors.HFValidationError("bad"), "not a name the hub allows", ""),
    "offline": (errors.OfflineModeIsEnabled("off"), "switched off", "unset HF_HUB_OFFLINE"),
    "server": (http(errors.HfHubHTTPError, 502), "could not be fetched", "resumes"),
    "connection": (ConnectionError("refused"), "could not be fetched", "network"),
    "disk": (OSError(errno.ENOSPC, "No space left on device"), "disk is full", "HF_HOME"),
    "rights": (PermissionError(errno.EACCES, "Permission denied"), "cannot be written", "HF_HOME"),
}


@pytest.mark.parametrize("where", ["error", "download_error"])
@pytest.mark.parametrize(("error", "what", "remedy"), CASES.values(), ids=CASES)
def test_failures_say_what_to_do(hub: Hub, where: str, error: Exception, what: str, remedy: str) -> None:
    setattr(hub, where, error)
    with pytest.raises(CorpusError) as caught:
        fetch(SPEC)
    assert what in caught.value.what
    assert remedy in (caught.value.remedy or "")
    assert caught.value.where
    assert caught.value.__cause__ is error


def test_the_page_of_a_data_set_is_named(hub: Hub) -> None:
    hub.error = http(errors.GatedRepoError, 403)
    with pytest.raises(CorpusError) as caught:
        fetch(SPEC)
    assert caught.value.where == "https://huggingface.co/datasets/NeelNanda/pile-10k"


def test_what_is_here_is_enough_when_the_hub_is_away(hub: Hub, cache: Path) -> None:
    lay_out(cache, FILES, SPEC.location)
    hub.error = ConnectionError("refused")
    assert fetch(SPEC).name == COMMIT


def test_what_is_here_is_not_enough_for_other_failures(hub: Hub, cache: Path) -> None:
    lay_out(cache, FILES, SPEC.location)
    hub.download_error = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(CorpusError, match="disk is full"):
        fetch(SPEC)


def test_a_part_that_is_here_is_not_enough(hub: Hub, cache: Path) -> None:
    lay_out(cache, {"data/train-00000-of-00002.jsonl": FILES["a.jsonl"]}, SPEC.location)
    hub.error = ConnectionError("refused")
    with pytest.raises(CorpusError, match="could not be fetched"):
        fetch(SPEC)


def test_the_real_client_in_offline_mode(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(CorpusError, match="switched off"):
        fetch(SPEC)


def test_too_little_space_is_noticed_before_the_first_byte(
    hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    free = sum(map(len, FILES.values())) - 1
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage(1000, 1000 - free, free))
    with pytest.raises(CorpusError, match="are free") as caught:
        fetch(SPEC)
    assert "HF_HOME" in (caught.value.remedy or "")
    assert hub.downloads == []
    lay_out(cache, {"README.md": b"x"}, SPEC.location)
    fetch(SPEC)
    assert len(hub.downloads) == 1, "files that are already here need no space"


@pytest.mark.parametrize(
    ("wanted", "quiet", "shown"), [(True, False, True), (True, True, False), (False, False, False)]
)
def test_progress_bars(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, wanted: bool, quiet: bool, shown: bool
) -> None:
    from huggingface_hub.utils import are_progress_bars_disabled

    seen = []
    real = hub.snapshot_download

    def download(*args: object, **options: object) -> str:
        if not options.get("local_files_only"):
            seen.append(not are_progress_bars_disabled())
        return real(*args, **options)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.setattr(module, "quiet", lambda: quiet)
    fetch(SPEC, progress=wanted)
    assert seen == [shown]
    assert not are_progress_bars_disabled(), "the switch is put back"
