"""Saving, loading and merging passes; reading the published summaries."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rwcore.activations.accumulate import ActivationAccumulator
from rwcore.activations.artefact import MANIFEST, load, save
from rwcore.activations.fixed import Units
from rwcore.activations.merge import check_same_pass, merge, missing_shards
from rwcore.activations.quadrants import LISTS, QUADRANTS, QUANTITIES
from rwcore.activations.summary import Summary, summary_of
from rwcore.activations.summary_pt import HOOKS, read_summary
from rwcore.errors import StoreError
from rwcore.tests.activation_parts import activations, random_batch, same, same_all

# --- files ----------------------------------------------------------------------------------------------


def test_what_is_loaded_is_what_was_saved(tmp_path: Path) -> None:
    made = activations([0, 1, 4], shard=(1, 3))
    save(tmp_path / "part", made)
    found = load(tmp_path / "part")
    assert same_all(found, made)
    assert found.shards == ((1, 3),)
    assert found.group_tokens == made.group_tokens
    assert sum(found.group_tokens) == found.tokens
    assert (found.tokens, found.k, found.units) == (made.tokens, 3, Units())
    names = sorted(file.name for file in (tmp_path / "part").iterdir())
    assert names == ["activations.json", "layer_000.safetensors", "layer_001.safetensors"]


def test_saving_twice_gives_the_same_bytes_and_replaces_a_checkpoint(tmp_path: Path) -> None:
    save(tmp_path / "one", activations([0]))
    save(tmp_path / "one", activations([0, 1]))
    save(tmp_path / "two", activations([1, 0]))
    assert load(tmp_path / "one").batches == (0, 1)
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]


def test_a_pass_that_goes_on_from_its_folder_ends_in_the_same_bits(tmp_path: Path) -> None:
    save(tmp_path / "checkpoint", activations([0, 1, 2]))
    resumed = ActivationAccumulator.resumed(load(tmp_path / "checkpoint").layers)
    for number in (4, 3):
        gate, in_, act, mask, rows, groups = random_batch(number, n_neurons=6)
        for layer, one in enumerate(resumed.layers):
            one.update(gate * (layer + 1), in_ * (layer + 1), act, mask, rows, groups)
    whole = activations(range(5))
    assert all(map(same, resumed.statistics(), whole.layers))


@pytest.mark.parametrize(
    "damage", ["cut", "other", "missing", "manifest", "definition", "json", "no manifest"]
)
def test_damaged_folders_are_refused(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "part"
    save(folder, activations([0]))
    layer = folder / "layer_001.safetensors"
    manifest = json.loads((folder / MANIFEST).read_text())
    if damage == "cut":
        layer.write_bytes(layer.read_bytes()[:-9])
    elif damage == "other":
        layer.write_bytes((folder / "layer_000.safetensors").read_bytes())
    elif damage == "missing":
        layer.unlink()
    elif damage == "manifest":
        del manifest["batches"]
        (folder / MANIFEST).write_text(json.dumps(manifest))
    elif damage == "definition":
        (folder / MANIFEST).write_text(json.dumps(manifest | {"definition": "activations/0"}))
    elif damage == "json":
        (folder / MANIFEST).write_text("{")
    else:
        (folder / MANIFEST).unlink()
    with pytest.raises(StoreError) as caught:
        load(folder)
    assert (caught.value.where or "").startswith(str(folder))
    if damage == "definition":
        assert "activations/0" in caught.value.what


# --- merging --------------------------------------------------------------------------------------------


@given(order=st.permutations(range(4)), inner=st.booleans())
@settings(max_examples=15)
def test_shards_in_any_order_are_an_undivided_pass(order: list[int], inner: bool) -> None:
    whole = activations(range(8))
    shards = [activations(range(index, 8, 4), shard=(index, 4)) for index in range(4)]
    parts = [shards[index] for index in order]
    if inner:
        parts = [merge(parts[:2], complete=False), merge(parts[2:], complete=False)]
    merged = merge(iter(parts))
    assert same_all(merged, whole)
    assert merged.shards == ((0, 4), (1, 4), (2, 4), (3, 4))
    assert missing_shards(merged) == []


def test_a_missing_shard_is_named() -> None:
    shards = [activations([index], shard=(index, 4)) for index in (0, 3)]
    with pytest.raises(StoreError, match="1 of 4, 2 of 4 missing"):
        merge(shards)
    assert missing_shards(merge(shards, complete=False)) == [(1, 4), (2, 4)]
    with pytest.raises(StoreError, match="nothing to merge"):
        merge([])


def test_a_shard_given_twice_is_named() -> None:
    shards = [activations([index], shard=(index, 2)) for index in (0, 1)]
    with pytest.raises(StoreError, match="shard 1 of 2 is there twice"):
        merge([*shards, shards[1]])


def test_batches_that_are_in_two_shards_are_named() -> None:
    with pytest.raises(StoreError, match="batch 5 is in two shards"):
        merge([activations([1, 5], shard=(0, 2)), activations([5, 7], shard=(1, 2))])


def test_parts_of_different_passes_are_refused_with_every_difference() -> None:
    left = activations([0], shard=(0, 2))
    right = activations([1], shard=(1, 3), k=2, n_layers=1)
    right = dataclasses.replace(right, identity={"model": "other", "seed": "1", "corpus": "sha256:00"})
    with pytest.raises(StoreError) as caught:
        merge([left, right])
    for difference in ("model: tiny and other", "seed: nothing and 1", "layers: 2 and 1", "lists: 3 and 2"):
        assert difference in caught.value.what
    assert "corpus" not in caught.value.what
    assert "number of shards: {2} and {3}" in caught.value.what
    with pytest.raises(StoreError, match="model") as caught:
        check_same_pass(left, right, where="checkpoint")
    assert caught.value.where == "checkpoint"
    with pytest.raises(StoreError, match="groups of documents: 20 and 2"):
        check_same_pass(right, dataclasses.replace(right, group_tokens=(1, 2)))
    layer = dataclasses.replace(right.layers[0], units=Units(sum_bits=20))
    other = dataclasses.replace(right, layers=(layer,))
    with pytest.raises(StoreError, match="units"):
        check_same_pass(right, other)
    check_same_pass(left, activations([7], shard=(1, 2)))


# --- summaries --------------------------------------------------------------------------------------------


def published(found: Summary) -> dict:
    """A summary in the layout of the original: means called sums, short lists filled up with zeros."""
    entries: dict = {}
    for place, case in enumerate(QUADRANTS):
        entries[case, "freq"] = found.frequencies[:, place].float()
        for number, name in enumerate(QUANTITIES):
            entries[case, HOOKS[name], "sum"] = found.means[:, place, number].float()
    for place, (case, name) in enumerate(LISTS):
        values = found.top_values[:, place].permute(2, 0, 1).nan_to_num()
        rows = found.top_rows[:, place].permute(2, 0, 1).clamp(min=0)
        # Its order of equal values is nobody's.
        order = values.flip(0).abs().argsort(dim=0, descending=True, stable=True)
        entries[case, HOOKS[name], "max"] = {
            "values": values.flip(0).gather(0, order),
            "indices": rows.flip(0).gather(0, order),
        }
    return entries


def test_published_layout_is_read(tmp_path: Path) -> None:
    ours = summary_of(activations(range(2), k=16))
    assert bool(ours.top_values.isnan().any()), "no list is short"
    entries = published(ours)
    assert len(entries) == 34
    torch.save(entries, tmp_path / "summary.pt")
    found = read_summary(tmp_path / "summary.pt", tokens=ours.tokens)
    assert found.tokens == ours.tokens
    torch.testing.assert_close(found.frequencies, ours.frequencies, rtol=1e-6, atol=0)
    torch.testing.assert_close(found.means, ours.means, rtol=1e-6, atol=0, equal_nan=True)
    torch.testing.assert_close(found.top_values, ours.top_values, rtol=0, atol=0, equal_nan=True)
    assert torch.equal(found.top_rows, ours.top_rows)
    assert bool((found.top_positions == -1).all())
    torch.testing.assert_close(found.gate_frequency, found.frequencies[:, :2].sum(1))


class _Code:
    def __reduce__(self) -> tuple:
        return (print, ("executed",))


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"summary_freq": torch.zeros(1, 1)}, "before October 2025"),
        ({}, "no \\[layer neuron\\] tensor"),
        ([1], "holds a list"),
        (_Code(), "never run"),
    ],
)
def test_other_files_are_refused(
    tmp_path: Path, entries: object, message: str, capsys: pytest.CaptureFixture
) -> None:
    file = tmp_path / "summary.pt"
    torch.save(entries, file)
    with pytest.raises(StoreError, match=message) as caught:
        read_summary(file)
    assert str(file) in (caught.value.where or "")
    assert "executed" not in capsys.readouterr().out


def test_missing_and_damaged_entries_are_named(tmp_path: Path) -> None:
    file = tmp_path / "summary.pt"
    ours = summary_of(activations([0], k=2))

    def refused(key: tuple, value: object) -> str:
        entries = published(ours)
        entries[key] = value
        torch.save(entries, file)
        with pytest.raises(StoreError) as caught:
            read_summary(file)
        assert str(key) in (caught.value.where or "")
        return caught.value.what

    assert "found [2, 5]" in refused(("gate-_in+", "swish", "sum"), torch.zeros(2, 5))
    assert "found NoneType" in refused(("gate-_in-", "freq"), None)
    assert "values and indices" in refused(("gate+_in+", "hook_post", "max"), torch.zeros(2, 2, 6))
    wrong = {"values": torch.zeros(2, 2, 6), "indices": torch.zeros(2, 2, 5)}
    assert "[2, 2, 6]" in refused(("gate+_in+", "hook_pre", "max"), wrong)
    file.write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(StoreError):
        read_summary(file)
    with pytest.raises(StoreError, match="cannot read"):
        read_summary(tmp_path / "none.pt")


def test_summary_has_the_positions_of_our_own_pass() -> None:
    made = activations([0, 1])
    summary = summary_of(made)
    assert torch.equal(summary.top_positions[1], made.layers[1].top.positions.long())
    assert int(summary.top_positions.max()) > 0
    assert summary.tokens == made.tokens
    torch.testing.assert_close(summary.gate_frequency[0], made.layers[0].gate_frequency())
