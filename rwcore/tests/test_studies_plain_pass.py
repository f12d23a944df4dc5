"""A pass and examples of models without gates, against the model run one row at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from fixtures.tiny import build, local_model
from rwcore.activations.quadrants import (
    LISTS,
    PLAIN_QUADRANTS,
    PLAIN_QUANTITIES,
    QUADRANTS,
    QUANTITIES,
    SUMMARY,
)
from rwcore.errors import NotGatedError, OptionError
from rwcore.models.spec import LocalModel
from rwcore.stats.classes import VANILLA_CLASSES
from rwcore.store import Store
from rwcore.studies.activations import ActivationStudy, PassOptions
from rwcore.studies.neuron_examples import ExampleOptions, ExampleStudy
from rwcore.studies.plain_pass import PlainActivationStudy, any_activation_study
from rwcore.studies.weights import weight_study
from rwcore.tests.example_makers import row_by_row
from rwcore.tests.pass_makers import random_corpus, tiny_study

CORPUS = random_corpus(rows=40, seed=4)
K = 3


@dataclass(frozen=True)
class Case:
    """A model, its pass, and every row of it run alone."""

    local: LocalModel
    study: ActivationStudy
    rows: list[Tensor]

    @property
    def tokens(self) -> Tensor:
        """[layer quantity token neuron]."""
        return torch.cat(self.rows, dim=2)


def studied(local: LocalModel, root: Path) -> ActivationStudy:
    options = PassOptions(k=K, token_budget=40, device="cpu")
    return any_activation_study(weight_study(local, store=Store(root)), CORPUS, options)


@pytest.fixture(scope="module", params=["gpt2", "gpt_neox", "opt"])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    family = str(request.param)
    local = local_model(build(family, tmp_path_factory.mktemp(family)), id="tiny")
    return Case(local, studied(local, tmp_path_factory.mktemp("store")), row_by_row(local, CORPUS, family))


def test_the_kind_of_pass_follows_from_the_model(case: Case, tmp_path: Path) -> None:
    assert isinstance(case.study, PlainActivationStudy)
    assert not case.study.gated
    assert bool((case.study.signs == 1).all())
    gated = local_model(build("llama", tmp_path), id="gated")
    assert type(studied(gated, tmp_path / "store")) is ActivationStudy


def test_the_pass_for_gated_models_goes_on_refusing_them_and_this_one_gated_ones(
    case: Case, tmp_path: Path
) -> None:
    with pytest.raises(NotGatedError):
        _ = tiny_study(case.local, tmp_path / "one", CORPUS).folder
    gated = weight_study(local_model(build("llama", tmp_path / "llama")), store=Store(tmp_path / "two"))
    with pytest.raises(OptionError, match="for models without gates is asked of a gated one"):
        _ = PlainActivationStudy(gated, CORPUS, PassOptions(device="cpu")).folder


def test_frequencies_are_those_of_the_signs(case: Case) -> None:
    pre = case.tokens[:, 0]
    found = case.study.frequencies()
    assert torch.allclose(found["gate+_in+"], (pre > 0).double().mean(dim=1), atol=1e-9)
    assert torch.allclose(found["gate-_in+"], (pre < 0).double().mean(dim=1), atol=1e-9)
    assert torch.equal(found[SUMMARY], found["gate+_in+"])
    for name in set(QUADRANTS) - set(PLAIN_QUADRANTS):
        assert not bool(found[name].any())


def test_means_are_those_of_the_tokens(case: Case) -> None:
    values, means = case.tokens, case.study.summary.means
    for quadrant, positive in (("gate+_in+", True), ("gate-_in+", False)):
        inside = (values[:, 0] > 0) == positive
        for place in range(len(QUANTITIES)):
            expected = (values[:, place] * inside).double().sum(dim=1) / inside.sum(dim=1)
            found = means[:, QUADRANTS.index(quadrant), place]
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5, equal_nan=True)
    assert bool(means[:, QUADRANTS.index("gate+_in-")].isnan().all())


def test_classes_are_those_without_a_gate(case: Case) -> None:
    study = case.study
    frame, codes = study.class_frequency(), study.class_codes
    assert list(frame["class"]) == [one.name for one in VANILLA_CLASSES]
    assert frame["n"].sum() == codes.numel()
    frequencies = study.frequencies()[SUMMARY]
    for code, row in enumerate(frame.itertuples()):
        if row.n:
            assert row.true == pytest.approx(float(frequencies[codes == code].mean()))
    assert set(study.class_names()) <= {one.name for one in VANILLA_CLASSES}
    assert np.isfinite(study.correlations()["r"]).any()


def best_rows(rows: Sequence[Tensor], layer: int, neuron: int, place: int, positive: bool) -> list[float]:
    """The largest value of each row in a quadrant, best first."""
    peaks = []
    for values in rows:
        here = values[layer, :, :, neuron]
        inside = here[0] > 0 if positive else here[0] < 0
        if bool(inside.any()):
            peaks.append(float(here[place, inside].abs().max()))
    return sorted(peaks, reverse=True)[:K]


def test_examples_are_the_best_of_all_rows(case: Case) -> None:
    pairs = [(0, 3), (2, 17), (1, 8)]
    study = ExampleStudy(case.study, ExampleOptions(before=3, after=2, sample_tokens=150))
    for found in study.examples(pairs):
        assert not found.gated
        assert list(found.lists) == list(LISTS)
        for (quadrant, quantity), entries in found.lists.items():
            if quadrant not in PLAIN_QUADRANTS or quantity not in PLAIN_QUANTITIES:
                assert entries == ()
                continue
            expected = best_rows(
                case.rows, found.layer, found.neuron, QUANTITIES.index(quantity), quadrant.startswith("gate+")
            )
            values = [abs(entry.value) for entry in entries]
            assert values == pytest.approx(expected, rel=1e-4, abs=1e-6)
        for stretch in found.stretches:
            expected_values = case.rows[stretch.row][
                found.layer, :, stretch.start : stretch.end, found.neuron
            ]
            ours = torch.stack([stretch.of(name) for name in QUANTITIES])
            torch.testing.assert_close(ours, expected_values, rtol=1e-4, atol=1e-5)
            assert bool((stretch.in_ == 1).all())
        assert torch.equal(found.sample.post, found.sample.act)
        signs = {name for name, entries in found.random.items() if entries}
        gate = found.sample.gate
        assert signs == {
            name
            for name, there in (("gate+_in+", (gate > 0).any()), ("gate-_in+", (gate < 0).any()))
            if bool(there)
        }
