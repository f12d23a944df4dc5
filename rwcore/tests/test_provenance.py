"""What is recorded about the software, machine and commit that made a value."""

from __future__ import annotations

import datetime
import json
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

import pytest
import torch

from rwcore import provenance


def git(folder: Path, *words: str) -> str:
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *words]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one commit that provenance takes for the one it runs from."""
    if shutil.which("git") is None:
        pytest.skip("needs git")
    file = tmp_path / "repository" / "rwcore" / "provenance.py"
    file.parent.mkdir(parents=True)
    file.write_text("")
    git(tmp_path / "repository", "init", "--quiet")
    git(tmp_path / "repository", "add", ".")
    git(tmp_path / "repository", "commit", "--quiet", "-m", "first")
    monkeypatch.setattr(provenance, "__file__", str(file))
    return tmp_path / "repository"


def test_software_tells_the_installed_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "PACKAGES", ("torch", "no-such-package-rwcore"))
    versions = provenance.software()
    assert versions["torch"] == metadata.version("torch")
    assert versions["no-such-package-rwcore"] == "not installed"
    assert set(versions) == {"python", "torch", "no-such-package-rwcore"}


def test_commit_is_the_one_checked_out(checkout: Path) -> None:
    head = git(checkout, "rev-parse", "HEAD")
    assert provenance.commit() == {"commit": head, "dirty": False}


def test_a_changed_or_new_file_makes_it_dirty(checkout: Path) -> None:
    (checkout / "new.py").write_text("")
    assert provenance.commit()["dirty"] is True
    (checkout / "new.py").unlink()
    (checkout / "rwcore" / "provenance.py").write_text("changed")
    assert provenance.commit()["dirty"] is True


def test_no_commit_outside_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "provenance.py"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert provenance.commit() == {}


def test_no_commit_of_somebody_elses_checkout(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = checkout / ".venv" / "rwcore" / "provenance.py"
    installed.parent.mkdir(parents=True)
    installed.write_text("")
    monkeypatch.setattr(provenance, "__file__", str(installed))
    assert provenance.commit() == {}


def test_no_commit_without_git(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert provenance.commit() == {}


def test_machine_tells_what_moves_the_last_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MKL_CBWR", "COMPATIBLE")
    facts = provenance.machine()
    assert facts["threads"] == torch.get_num_threads()
    assert facts["cpu_capability"] == torch.backends.cpu.get_cpu_capability()
    assert facts["mkl_cbwr"] == "COMPATIBLE"
    assert ("gpu" in facts) == torch.cuda.is_available()


def test_collect_keeps_the_facts_and_is_plain_json() -> None:
    before = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    record = provenance.collect(provenance.Stopwatch(), definition="weights/1", model={"id": "m"})
    assert json.loads(json.dumps(record)) == record
    assert record["definition"] == "weights/1"
    assert record["model"] == {"id": "m"}
    assert {"software", "machine", "date", "peak_memory_bytes", "wall_seconds"} <= set(record)
    date = datetime.datetime.fromisoformat(str(record["date"]))
    assert before <= date <= datetime.datetime.now(datetime.UTC)


def test_collect_without_a_stopwatch_claims_no_time() -> None:
    assert "wall_seconds" not in provenance.collect()


def test_stopwatch(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 11.23456])
    monkeypatch.setattr(provenance.time, "perf_counter", lambda: next(clock))
    assert provenance.Stopwatch().seconds == 1.235
