"""`rwcore models`, `fetch`, `doctor` and `cache`."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path

import pytest

from fixtures.planted import plant
from rwcore.models.registry import find, registry
from rwcore.store import ArtefactKey, Store, write_text
from rwcore.tests.command_line import assert_explained, documented, environment, rwcore

_environment = pytest.fixture(autouse=True)(environment)


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A planted model."""
    return plant("gpt2", tmp_path_factory.mktemp("planted") / "gpt2").folder


def test_models_are_listed() -> None:
    done = rwcore("models")
    assert all(model in done.out for model in registry())
    assert "google/gemma-2-2b gemma2 26 9216 2304 yes yes" in done.rows


def test_models_of_a_group() -> None:
    done = rwcore("models", "--group", "instruct", "--json")
    assert [one["id"] for one in json.loads(done.out)] == [
        spec.id for spec in registry().values() if "instruct" in spec.groups
    ]


def test_models_as_json_have_the_documented_keys() -> None:
    listed = json.loads(rwcore("models", "--json").out)
    assert len(listed) == len(registry())
    assert all(set(one) == set(documented("`rwcore models --json`")) for one in listed)


def test_fetch_downloads_nothing_if_a_name_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[str] = []
    monkeypatch.setattr("rwcore.models.fetch.fetch", lambda spec: fetched.append(spec.id))
    assert_explained(rwcore("fetch", "gpt2", "nosuch"), "nosuch")
    assert fetched == []


def test_fetch_says_what_it_fetched_and_where(gpt2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rwcore.models.locate import locate

    local = locate(find(str(gpt2)))
    monkeypatch.setattr("rwcore.models.fetch.fetch", lambda spec: local)
    done = rwcore("fetch", "gpt2", "gpt2-xl")
    assert done.code == 0
    lines = done.out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["gpt2", "gpt2-xl"]
    assert all(str(local.path) in line and "KiB" in line for line in lines)


@pytest.mark.parametrize(("ok", "code"), [(True, 0), (None, 0), (False, 1)])
def test_doctor_exits_with_1_if_something_is_broken(
    monkeypatch: pytest.MonkeyPatch, ok: bool | None, code: int
) -> None:
    from rwcore.models.doctor import Finding

    asked: list[object] = []
    findings = [Finding(True, "one", "fine"), Finding(ok, "two [b]", "odd", "do something")]
    monkeypatch.setattr("rwcore.models.doctor.diagnose", lambda spec: asked.append(spec) or findings)
    done = rwcore("doctor", "gpt2")
    assert done.code == code
    assert "to do: do something" in done.out
    assert "two [b]" in done.out
    assert asked == [find("gpt2")]


@pytest.fixture
def filled(gpt2: Path, tmp_path: Path) -> Path:
    """A cache with an artefact and a converted model."""
    assert rwcore("weights", gpt2, "--no-null", "--out", tmp_path / "out").code == 0
    write_text(tmp_path / "cache" / "models" / "tiny" / "model.safetensors", "x" * 2048)
    return tmp_path / "cache"


def test_the_cache_is_shown(gpt2: Path, filled: Path) -> None:
    done = rwcore("cache")
    assert "converted model tiny 2.0 KiB" in done.rows
    assert any(row.startswith(f"weights {gpt2} ") for row in done.rows)
    assert {entry.parent.name for entry in Store().entries()} == {"weights", "weight-products"}


def test_the_cache_is_cleared_only_when_asked_twice(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("n\n"))
    assert rwcore("cache", "clear").code == 0
    assert len(Store().entries()) == 2
    assert (filled / "models" / "tiny").exists()
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    done = rwcore("cache", "clear")
    assert "freed" in done.out
    assert Store().entries() == []
    assert not (filled / "models" / "tiny").exists()


def test_the_cache_is_cleared_without_asking(filled: Path) -> None:
    assert "freed" in rwcore("cache", "clear", "--yes").out
    assert Store().entries() == []
    assert rwcore("cache", "clear", "--yes").out.strip().endswith("0 B in all")


def test_a_damaged_artefact_is_shown_as_damaged(tmp_path: Path) -> None:
    rwcore("cache")
    entry = Store().path(ArtefactKey.of("weights", "weights/1"))
    write_text(entry / "manifest.json", "not json")
    assert re.search(r"weights\W+damaged", rwcore("cache").out)


def test_an_unwritable_cache_is_explained(
    gpt2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RWCORE_CACHE", str(tmp_path / "file" / "cache"))
    done = rwcore("weights", gpt2, "--out", tmp_path / "out")
    assert_explained(done, "RWCORE_CACHE")
    assert not (tmp_path / "out").exists()
