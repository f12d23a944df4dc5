"""File names, the cache folder, the checkout."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rwcore.errors import OptionError, StoreError
from rwcore.paths import cache_dir, claims_dir, golden_dir, project_root, slug


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("allenai/OLMo-7B-0424-hf", "allenai--OLMo-7B-0424-hf"),
        ("org/Model@refs/pr/1", "org--Model_refs--pr--1"),
        ("a b:c\\d*?", "a_b_c_d__"),
        ("modèle", "mod_le"),
    ],
)
def test_slug(text: str, expected: str) -> None:
    assert slug(text) == expected


def test_slug_keeps_names_apart_that_differ_in_case_or_punctuation() -> None:
    names = ["Qwen2.5-0.5B", "Qwen2_5-0_5B", "qwen2.5-0.5b", "Qwen2-5-0-5B"]
    assert len({slug(name) for name in names}) == len(names)


@given(st.text(max_size=60))
def test_slug_is_one_safe_file_name_and_idempotent(text: str) -> None:
    name = slug(text)
    assert re.fullmatch(r"[A-Za-z0-9._-]*", name)
    assert slug(name) == name


def test_cache_dir_is_the_named_folder_and_is_created(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RWCORE_CACHE", str(tmp_path / "a" / "b"))
    assert cache_dir() == tmp_path / "a" / "b"
    assert cache_dir().is_dir()


def test_cache_dir_expands_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RWCORE_CACHE", "~/kept")
    assert cache_dir() == tmp_path / "kept"


@pytest.mark.parametrize("setting", ["", None])
def test_cache_dir_defaults_to_the_users_cache(
    setting: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    if setting is None:
        monkeypatch.delenv("RWCORE_CACHE", raising=False)
    else:
        monkeypatch.setenv("RWCORE_CACHE", setting)
    assert cache_dir().name == "rwcore"
    assert tmp_path in cache_dir().parents


def test_cache_dir_that_is_a_file_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RWCORE_CACHE", str(tmp_path / "file"))
    with pytest.raises(StoreError, match="cannot be written") as caught:
        cache_dir()
    assert caught.value.where == str(tmp_path / "file")
    assert "RWCORE_CACHE" in str(caught.value.remedy)


def test_cache_dir_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RWCORE_CACHE", str(tmp_path))
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)  # root may write anywhere
    with pytest.raises(StoreError, match="permission denied"):
        cache_dir()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in ("claims", "golden", "below/deep"):
        (tmp_path / "checkout" / name).mkdir(parents=True)
    return tmp_path / "checkout"


def test_project_root_is_named(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RWCORE_ROOT", str(checkout))
    assert project_root() == checkout
    assert claims_dir() == checkout / "claims"
    assert golden_dir() == checkout / "golden"


def test_project_root_is_found_upwards_from_the_working_directory(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RWCORE_ROOT", raising=False)
    monkeypatch.chdir(checkout / "below" / "deep")
    assert project_root() == checkout


def test_project_root_is_found_from_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RWCORE_ROOT", raising=False)
    monkeypatch.chdir(tmp_path)
    assert project_root() == Path(__file__).resolve().parents[2]


def test_a_named_root_without_claims_is_an_error_and_not_searched_upwards(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RWCORE_ROOT", str(checkout / "below"))
    with pytest.raises(OptionError, match="no folder with claims/ and golden/") as caught:
        project_root()
    assert caught.value.where == "RWCORE_ROOT"
