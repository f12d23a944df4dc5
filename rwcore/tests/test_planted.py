"""Planted models: read from disk, all neurons have the classes they were given, unless a step is left out."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file

from fixtures.planted import GATED, VANILLA, plant
from rwcore.models.spec import LocalModel, ModelSpec
from rwcore.stats.classes import class_codes, class_counts, class_totals, classes_of
from rwcore.stats.cosines import rw_cosines
from rwcore.weights.mlp import mlp_weights

FAMILIES = ("llama", "olmo", "gpt2")


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    return {family: plant(family, tmp_path_factory.mktemp(family) / "model") for family in FAMILIES}


def local_model(model):
    spec = ModelSpec(id=str(model.folder), source="folder", location=str(model.folder))
    return LocalModel(spec, model.folder, None, tuple(sorted(model.folder.iterdir())))


def found_classes(cosines, **options):
    names = np.array([rw_class.name for rw_class in classes_of(cosines)])
    return names[class_codes(cosines, **options).numpy()]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_class_is_planted_and_found(family, planted):
    model = planted[family]
    cosines = rw_cosines(mlp_weights(local_model(model)))
    assert set(model.classes.flat) == set(VANILLA if family == "gpt2" else GATED)
    assert (found_classes(cosines) == model.classes).all()
    for name, values in cosines.present().items():
        np.testing.assert_allclose(values.numpy(), getattr(model, name), atol=2e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_counts_are_known_exactly(family, planted):
    model = planted[family]
    counts = class_counts(rw_cosines(mlp_weights(local_model(model))))
    assert set(counts["count"]) == {2}
    assert set(class_totals(counts)["count"]) == {6}
    assert set(counts["near_1e-3"]) == {0}


@pytest.mark.parametrize("family", ["llama", "olmo"])
@pytest.mark.parametrize("rule", ["product", "copysign_2025_05"])
def test_folding_the_sign_keeps_the_classes(family, rule, planted):
    model = planted[family]
    cosines = rw_cosines(mlp_weights(local_model(model), fold_sign=True))
    assert (cosines.gatelin >= 0).all()
    assert (found_classes(cosines, rule=rule) == model.classes).all()
    np.testing.assert_allclose(cosines.gatelin.numpy(), np.abs(model.gatelin), atol=2e-6)


@pytest.mark.parametrize("family", ["llama", "olmo"])
def test_copysign_rule_fails_on_unfolded_signs(family, planted):
    model = planted[family]
    found = found_classes(rw_cosines(mlp_weights(local_model(model))), rule="copysign_2025_05")
    both_large = np.isin(model.classes, ["strengthening", "weakening", "atypical proportional change"])
    wrong = found != model.classes
    assert wrong.any()
    assert (model.gatelin[wrong] < 0).all()
    assert (found[wrong] == np.char.add("atypical ", model.classes[wrong])).all()
    assert both_large[wrong].all()


@pytest.mark.parametrize(("family", "least"), [("llama", 0.25), ("olmo", 0.25), ("gpt2", 0.25)])
def test_raw_weights_fail(family, least, planted):
    """Without folding (llama), without centring (olmo), without both (gpt2)."""
    model = planted[family]
    found = found_classes(rw_cosines(mlp_weights(local_model(model), processing="raw")))
    assert (found != model.classes).mean() > least


def test_centring_the_gate_fails(planted):
    """X7: published OLMo numbers rest on a gate that is not centred."""
    model = planted["olmo"]
    cosines = rw_cosines(mlp_weights(local_model(model), centre_gate=True))
    assert (found_classes(cosines) != model.classes).any()
    np.testing.assert_allclose(cosines.linout.numpy(), model.linout, atol=2e-6)


def centred(matrix):
    return matrix - matrix.mean(-1, keepdim=True)


@pytest.mark.parametrize("broken", ["in_", "out", "gain"])
def test_each_step_matters_without_a_gate(broken, planted):
    """LayerNorm with gains: leave out one step of the processing at a time."""
    import torch

    model = planted["gpt2"]
    stored = {k: torch.from_numpy(v) for k, v in load_file(model.folder / "model.safetensors").items()}
    found = []
    for layer in mlp_weights(local_model(model), processing="raw"):
        gain = stored[f"transformer.h.{layer.index}.ln_2.weight"]
        in_ = layer.in_ if broken == "gain" else layer.in_ * gain
        in_ = in_ if broken == "in_" else centred(in_)
        out = layer.out if broken == "out" else centred(layer.out)
        found.append(replace(layer, in_=in_, out=out))
    assert (found_classes(rw_cosines(found)) != model.classes).any()


@pytest.mark.parametrize("family", FAMILIES)
def test_targets_are_away_from_the_threshold(family, planted):
    model = planted[family]
    for values in (model.gatelin, model.gateout, model.linout):
        if values is not None:
            assert (np.abs(np.abs(values) - 0.5) >= 0.05).all()
    if model.gatelin is not None:
        assert 0.25 < (model.gatelin < 0).mean() < 0.75


@pytest.mark.parametrize("family", FAMILIES)
def test_same_seed_same_bytes(family, tmp_path):
    first, again, other = (plant(family, tmp_path / str(k), seed=seed) for k, seed in enumerate((3, 3, 4)))
    weights = [(model.folder / "model.safetensors").read_bytes() for model in (first, again, other)]
    assert weights[0] == weights[1]
    assert weights[0] != weights[2]
    assert (first.classes == again.classes).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_sizes(family, tmp_path):
    model = plant(family, tmp_path, layers=2, per_class=3, d_model=32)
    n_neurons = 3 * (3 if family == "gpt2" else 11)
    assert model.classes.shape == model.linout.shape == (2, n_neurons)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["n_inner" if family == "gpt2" else "intermediate_size"] == n_neurons
    cosines = rw_cosines(mlp_weights(local_model(model)))
    assert (found_classes(cosines) == model.classes).all()
