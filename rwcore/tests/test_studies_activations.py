"""The numbers of an activation study: folded, by class, with intervals over documents."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from fixtures.tiny import build, local_model
from rwcore.activations.groups import GROUPS
from rwcore.activations.quadrants import QUADRANTS, QUANTITIES, SUMMARY
from rwcore.corpora.tokens import TokenCorpus
from rwcore.models.spec import LocalModel
from rwcore.stats.classes import RW_CLASSES
from rwcore.store import read_arrays
from rwcore.studies.activations import PASS, SIGNS, ActivationStudy
from rwcore.studies.frequencies import gate_signs
from rwcore.tests.corpus_makers import rows_corpus
from rwcore.tests.pass_makers import random_corpus, tiny_study
from rwcore.weights.mlp import mlp_weights

CORPUS = random_corpus(rows=90, seed=5)


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> LocalModel:
    return local_model(build("llama", tmp_path_factory.mktemp("llama")), id="tiny")


@pytest.fixture(scope="module")
def study(local: LocalModel, tmp_path_factory: pytest.TempPathFactory) -> ActivationStudy:
    return tiny_study(local, tmp_path_factory.mktemp("store"), CORPUS, token_budget=200)


def without_group(corpus: TokenCorpus, group: int) -> TokenCorpus:
    """The rows of all documents that are not of a group."""
    kept = [row for row in range(len(corpus)) if int(corpus.document[row]) % GROUPS != group]
    return rows_corpus([corpus.row(row).tolist() for row in kept], corpus.document[kept].tolist())


def test_signs_are_those_of_the_processed_weights(study: ActivationStudy, local: LocalModel) -> None:
    found = gate_signs(study.weights)
    layers = mlp_weights(local, fold_sign=False)
    for number, signs in enumerate(found):
        layer = layers[number]
        products = (layer.gate * layer.in_).sum(dim=1)
        assert torch.equal(signs, torch.where(products < 0, -1, 1).to(torch.int8))
    assert set(found.unique().tolist()) == {-1, 1}
    assert torch.equal(read_arrays(study.folder / SIGNS)["sign"], found)


def test_folding_exchanges_the_sides_of_in_and_negates_what_it_must(study: ActivationStudy) -> None:
    turned = gate_signs(study.weights)[1] < 0
    plain, folded = study.unfolded.layers[1], study.activations.layers[1]
    plus, minus = QUADRANTS.index("gate+_in+"), QUADRANTS.index("gate+_in-")
    assert torch.equal(folded.counts[plus][turned], plain.counts[minus][turned])
    assert torch.equal(folded.counts[plus][~turned], plain.counts[plus][~turned])
    post, gate = QUANTITIES.index("post"), QUANTITIES.index("gate")
    assert torch.equal(folded.sums[plus, post][turned], -plain.sums[minus, post][turned])
    assert torch.equal(folded.sums[plus, gate][turned], plain.sums[minus, gate][turned])
    assert torch.equal(folded.gate_positive, plain.gate_positive)


def test_frequencies_add_up_and_the_summary_is_that_of_gate(study: ActivationStudy) -> None:
    named = study.frequencies()
    assert list(named) == [SUMMARY, *QUADRANTS]
    total = sum(named[name] for name in QUADRANTS)
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-12)
    assert torch.equal(named[SUMMARY], named["gate+_in+"] + named["gate+_in-"])
    torch.testing.assert_close(named[SUMMARY], study.summary.gate_frequency, rtol=0, atol=1e-12)


def test_the_mean_norm_is_the_mean_of_the_size_of_the_output(study: ActivationStudy) -> None:
    norms = study.mean_norms()
    out = study.weights.statistics.norm_out.double()
    means = study.summary.means[:, :, QUANTITIES.index("post")]
    for place, name in enumerate(QUADRANTS):
        expected = torch.where(means[:, place].isnan(), 0.0, means[:, place].abs()) * out
        torch.testing.assert_close(norms[name], expected)
    total = sum(study.frequencies()[name] * norms[name] for name in QUADRANTS)
    torch.testing.assert_close(norms[SUMMARY], total)
    assert bool((norms[SUMMARY] > 0).all())


def test_class_frequencies_are_means_over_the_neurons_of_a_class(study: ActivationStudy) -> None:
    names = np.array(study.class_names()).reshape(study.class_codes.shape)
    for which in (SUMMARY, "gate-_in+"):
        frame = study.class_frequency(which)
        assert frame.columns.tolist() == ["class", "n", "true", "baseline", "low", "high"]
        assert frame["class"].tolist() == [one.name for one in RW_CLASSES]
        frequency = study.frequencies()[which].numpy()
        for row in frame.to_dict("records"):
            members = frequency[names == row["class"]]
            assert row["n"] == len(members)
            if len(members):
                assert row["true"] == pytest.approx(members.mean(), abs=1e-12)
                assert row["low"] <= row["true"] <= row["high"]
            else:
                assert all(np.isnan(row[column]) for column in ("true", "baseline", "low", "high"))
        assert (frame["n"] == 0).any(), "an empty class is among them"


def test_intervals_are_those_of_passes_without_each_group_of_documents(
    study: ActivationStudy, local: LocalModel, tmp_path: Path
) -> None:
    asked = []

    def reduce(frequencies):  # type: ignore[no-untyped-def]
        asked.append(frequencies)
        return {"mean": float(frequencies[SUMMARY][0].mean()), "one": float(frequencies["gate-_in-"][2, 7])}

    found = study.intervals(reduce)
    whole, without = asked[0], asked[1:]
    assert len(without) == GROUPS
    for group in (0, 13):
        other = tiny_study(local, tmp_path, without_group(CORPUS, group), token_budget=200)
        for name, frequency in other.frequencies().items():
            torch.testing.assert_close(without[group][name], frequency, rtol=0, atol=1e-12)
    for name, estimate in found.items():
        values = np.array([reduce(one)[name] for one in without])
        error = np.sqrt((GROUPS - 1) / GROUPS * ((values - values.mean()) ** 2).sum())
        assert estimate.estimate == reduce(whole)[name]
        assert estimate.standard_error == pytest.approx(error, rel=1e-9)
        assert estimate.groups == GROUPS
        assert estimate.low < estimate.estimate < estimate.high


def test_correlations_are_of_every_frequency_with_every_cosine(study: ActivationStudy) -> None:
    frame = study.correlations()
    assert set(frame["quadrant"]) == {SUMMARY, *QUADRANTS}
    row = frame[(frame["quadrant"] == "gate+_in-") & (frame["cosine"] == "linout") & (frame["layer"] == "2")]
    x, y = study.frequencies()["gate+_in-"][2], study.weights.cosines.linout[2]
    assert row["r"].item() == pytest.approx(np.corrcoef(x.numpy(), y.double().numpy())[0, 1], abs=1e-6)


def test_the_model_and_the_folder_of_the_pass_are_named(study: ActivationStudy) -> None:
    provenance = study.provenance
    assert provenance["corpus_id"] == "rows"
    assert provenance["dtype"] == "float32"
    assert provenance["model"]["model"] == "tiny"
    assert (study.folder / PASS / "activations.json").exists()
