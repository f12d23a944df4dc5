"""Weight tying: by declaration, by equal tensors, and never by what a model multiplies the embedding with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from fixtures.gguf_files import write_gguf
from fixtures.tiny import build, local_model
from rwcore.errors import WeightsError
from rwcore.stats import tying as module
from rwcore.stats.tying import Tying, weight_tying
from rwcore.weights.embedding import embedding, unembedding

EMBED, UNEMBED = "model.embed_tokens.weight", "lm_head.weight"


def edit(folder: Path, *, tie: bool | None = None, **tensors: torch.Tensor | None) -> Path:
    """Set tensors (``unembed``, ``embed``; None removes one) and what the config says."""
    file = folder / "model.safetensors"
    stored = load_file(file)
    for name, value in tensors.items():
        stored.pop({"embed": EMBED, "unembed": UNEMBED}[name], None)
        if value is not None:
            stored[{"embed": EMBED, "unembed": UNEMBED}[name]] = value.contiguous()
    save_file(stored, file, metadata={"format": "pt"})
    if tie is not None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": tie}))
    return folder


@pytest.fixture
def untied(tmp_path: Path) -> Path:
    return build("llama", tmp_path / "llama", tie_word_embeddings=False)


def embedding_of(folder: Path) -> torch.Tensor:
    return load_file(folder / "model.safetensors")[EMBED]


def test_two_matrices_that_differ_are_not_tied(untied: Path) -> None:
    found = weight_tying(local_model(untied))
    assert found == Tying(False, False, "not tied by the config; two matrices are stored, and they differ")
    assert not found.tied


def test_one_stored_matrix_is_tied(tmp_path: Path) -> None:
    folder = build("llama", tmp_path / "tied", tie_word_embeddings=True)
    assert UNEMBED not in load_file(folder / "model.safetensors")
    found = weight_tying(local_model(folder))
    assert (found.declared, found.equal, found.tied) == (True, True, True)
    assert "one matrix is stored" in found.reason


def test_two_equal_matrices_are_tied_whatever_the_config_says(untied: Path) -> None:
    edit(untied, unembed=embedding_of(untied))
    found = weight_tying(local_model(untied))
    assert (found.declared, found.equal, found.tied) == (False, True, True)
    assert found.reason.endswith("and they are equal")


@pytest.mark.parametrize("row", [0, 31, 63])
def test_a_single_other_number_in_any_block_is_seen(
    untied: Path, row: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BLOCK_ROWS", 10)
    other = embedding_of(untied).clone()
    assert len(other) == 64
    other[row, -1] += 1e-6 + other[row, -1].abs() * 1e-6
    edit(untied, unembed=other)
    assert not weight_tying(local_model(untied)).equal


def test_equal_numbers_in_another_precision_are_equal(untied: Path) -> None:
    half = embedding_of(untied).to(torch.bfloat16)
    edit(untied, embed=half, unembed=half.float())
    assert weight_tying(local_model(untied)).equal


def test_a_declared_tie_counts_even_if_an_unused_matrix_differs(untied: Path) -> None:
    edit(untied, tie=True)
    found = weight_tying(local_model(untied))
    assert (found.declared, found.equal, found.tied) == (True, False, True)
    assert "the second of which is not used" in found.reason
    # That is what the unembedding is read from.
    assert torch.equal(unembedding(local_model(untied), processing="raw").W_U.T, embedding_of(untied))


@pytest.mark.parametrize("family", ["gemma", "gemma2", "gemma3"])
def test_gemma_is_tied_although_it_scales_its_embedding(tmp_path: Path, family: str) -> None:
    """X12: the matrices are compared as stored; scaled by sqrt(d_model) they differ."""
    folder = build(family, tmp_path / family)
    edit(folder, unembed=embedding_of(folder), tie=False)
    found = weight_tying(local_model(folder))
    assert (found.declared, found.equal) == (False, True)
    local = local_model(folder)
    used = embedding(local, processing="raw")
    assert used.scale == 4.0
    assert not torch.equal(used.W_E * used.scale, unembedding(local, processing="raw").W_U.T)


def test_other_numbers_of_tokens_are_not_equal(untied: Path) -> None:
    edit(untied, unembed=torch.zeros(70, 16))
    found = weight_tying(local_model(untied))
    assert not found.tied
    assert "of 64 and 70 tokens" in found.reason


@pytest.mark.parametrize(
    ("family", "tied"), [("gpt2", True), ("gpt_neox", False), ("opt", True), ("bert", True)]
)
def test_families_store_their_unembedding_under_their_own_names(
    tmp_path: Path, family: str, tied: bool
) -> None:
    options = {} if tied else {"tie_word_embeddings": False}
    assert weight_tying(local_model(build(family, tmp_path / family, **options))).tied is tied


@pytest.mark.parametrize("tied", [True, False])
def test_gguf_files(tmp_path: Path, tied: bool) -> None:
    folder = build("llama", tmp_path / "folder", d_mlp=64, tie_word_embeddings=tied)
    assert weight_tying(local_model(write_gguf(folder, tmp_path / "tiny.gguf"))).tied is tied


def test_no_unembedding_at_all_is_an_error(untied: Path) -> None:
    edit(untied, unembed=None)
    with pytest.raises(WeightsError, match="no unembedding") as caught:
        weight_tying(local_model(untied))
    assert "lm_head.weight" in str(caught.value)
    assert "tie_word_embeddings" in str(caught.value)
