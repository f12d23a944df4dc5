"""The change study: right on planted checkpoints, computed once, refused where neurons cannot be paired."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from fixtures.planted import Planted, plant
from rwcore.errors import WeightsError, WeightsMissing
from rwcore.models.registry import find
from rwcore.stats.change import change_correlations
from rwcore.store import Store
from rwcore.studies import change as module
from rwcore.studies.change import ChangeStudy, change_study
from rwcore.studies.weights import weight_study
from rwcore.tests.checkpoint_pairs import at_random, earlier, narrower


@pytest.fixture(scope="module")
def last(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    return plant("llama", tmp_path_factory.mktemp("last") / "last", per_class=3)


def study(first: Path, last: Path, root: Path, **options: Any) -> ChangeStudy:
    return change_study(find(str(first)), find(str(last)), store=Store(root), **options)


def test_planted_changes_of_raw_weights_are_found(last: Planted, tmp_path: Path) -> None:
    found = study(at_random(last.folder, tmp_path / "first"), last.folder, tmp_path / "store")
    for name in ("gate", "in", "out"):
        assert found.changes[name].shape == last.linout.shape
        torch.testing.assert_close(found.changes[name], torch.full(last.linout.shape, 0.3), atol=1e-6, rtol=0)
    frame = found.correlations()
    expected = change_correlations(found.changes, found.last.cosines)
    assert frame.equals(expected)
    assert len(frame) == 9 * len(last.classes)
    # Published: gate signs of the later checkpoint are folded.
    assert found.last.cosines.gatelin is not None
    assert (found.last.cosines.gatelin >= 0).all()


def test_flips_are_another_artefact(last: Planted, tmp_path: Path) -> None:
    first = at_random(last.folder, tmp_path / "first")
    plain = study(first, last.folder, tmp_path / "store")
    own = study(first, last.folder, tmp_path / "store", flip="own")
    assert plain.provenance["key"] != own.provenance["key"]
    assert own.provenance["flip"] == "own"
    assert torch.equal(own.changes["in"].abs(), plain.changes["in"].abs())
    assert (own.changes["in"] < 0).any()
    assert not (plain.changes["in"] < 0).any()


def test_transitions_are_the_planted_ones(last: Planted, tmp_path: Path) -> None:
    moves = {(0, 0): (1, 3), (2, 5): (0, 7), (1, 1): (1, 2)}
    first = earlier(last, tmp_path / "first", moves)
    frame = study(first, last.folder, tmp_path / "store").transitions()
    counted = frame.set_index(["from", "to"])["count"]
    expected = counted * 0
    for name in set(last.classes.flatten()):
        expected[name, name] = (last.classes == name).sum()
    for (layer, neuron), source in moves.items():
        now, before = last.classes[layer, neuron], last.classes[source]
        expected[now, now] -= 1
        expected[before, now] += 1
    assert counted.to_dict() == expected.to_dict()


def test_the_second_study_finds_the_first_one_s_results(
    last: Planted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = at_random(last.folder, tmp_path / "first")
    before = study(first, last.folder, tmp_path / "store").changes

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr(module, "change_cosines", fail)
    again = study(first, last.folder, tmp_path / "store").changes
    assert list(again) == ["gate", "in", "out"]
    assert all(torch.equal(again[name], before[name]) for name in before)
    with pytest.raises(AssertionError, match="computed again"):
        _ = study(last.folder, first, tmp_path / "store").changes


def test_models_without_gates_have_changes_too(tmp_path: Path) -> None:
    first, last = (plant("gpt2", tmp_path / str(seed), seed=seed).folder for seed in (0, 1))
    found = study(first, last, tmp_path / "store")
    assert list(found.changes) == ["in", "out"]
    assert set(found.correlations()["cosine"]) == {"linout"}
    assert set(found.transitions()["from"]) == {"strengthening", "orthogonal output", "weakening"}


def test_provenance_names_both_checkpoints(last: Planted, tmp_path: Path) -> None:
    first = at_random(last.folder, tmp_path / "first")
    facts = study(first, last.folder, tmp_path / "store").provenance
    assert facts["definition"] == "checkpoint_change/1"
    assert facts["first"]["model"] == str(first)  # type: ignore[index]
    assert facts["last"]["model"] == str(last.folder)  # type: ignore[index]
    assert facts["processing"] == "raw"


def test_studies_can_be_given_instead_of_models(last: Planted, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    first = at_random(last.folder, tmp_path / "first")
    studies = [weight_study(find(str(folder)), store=store) for folder in (first, last.folder)]
    found = change_study(*studies, store=store)
    assert found.first is studies[0]
    assert found.provenance["key"] == study(first, last.folder, tmp_path / "store").provenance["key"]


def test_a_checkpoint_of_another_shape_is_refused_and_both_are_named(last: Planted, tmp_path: Path) -> None:
    others = [
        narrower(last.folder, tmp_path / "narrower"),
        plant("llama", tmp_path / "fewer", per_class=1).folder,
        plant("llama", tmp_path / "thin", per_class=3, d_model=40).folder,
        plant("gpt2", tmp_path / "plain", per_class=11).folder,
    ]
    for other in others:
        with pytest.raises(WeightsError, match="not of one shape") as caught:
            study(other, last.folder, tmp_path / "store")
        assert str(other) in str(caught.value)
        assert str(last.folder) in str(caught.value)
        assert "3 layers × 33 neurons, width 48, gated" in str(caught.value)
    assert not (tmp_path / "store").exists()


def test_a_checkpoint_that_is_not_here_says_how_to_fetch_it(last: Planted) -> None:
    with pytest.raises(WeightsMissing) as caught:
        change_study(find("no-such-organisation/model@step0"), find(str(last.folder)))
    assert "rwcore fetch no-such-organisation/model@step0" in str(caught.value)
