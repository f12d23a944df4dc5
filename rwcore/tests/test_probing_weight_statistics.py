"""Norms and biases of neurons against a slow reference; which release some weights are of."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from fixtures.tiny import FAMILIES, build, local_model
from rwcore.errors import ModelError, OptionError
from rwcore.paths import golden_dir
from rwcore.probing.errors import ProbeError
from rwcore.probing.releases import LAYER, PRODUCTS, refuse_retrained
from rwcore.probing.weight_statistics import (
    NeuronWeights,
    has_input_biases,
    neuron_weights,
    percentiles,
)
from rwcore.weights.families import FAMILIES as TABLES
from rwcore.weights.mlp import MlpLayer, mlp_weights

V0 = "EleutherAI/pythia-70m-v0"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory):
    return local_model(build("gpt_neox", tmp_path_factory.mktemp("neox")), family="gpt_neox")


def of_products(products: np.ndarray, *, n_layers: int = 2) -> NeuronWeights:
    """Layer 1 with given products."""
    bias = torch.tensor(products, dtype=torch.float32)[None]
    one = torch.ones_like(bias)
    return NeuronWeights((LAYER,), n_layers, one, bias, one, one)


def test_every_neuron_against_numpy(tiny) -> None:
    """Norm's gain and bias folded, input vectors and output vectors centred."""
    stored = {
        name: array.double().numpy() for name, array in load_file(tiny.path / "model.safetensors").items()
    }
    found = neuron_weights(mlp_weights(tiny))
    assert (found.layers, found.n_layers) == ((0, 1, 2), 3)
    for layer in range(3):
        block = f"gpt_neox.layers.{layer}."
        gain, shift = (stored[f"{block}post_attention_layernorm.{part}"] for part in ("weight", "bias"))
        matrix = stored[f"{block}mlp.dense_h_to_4h.weight"]
        bias = stored[f"{block}mlp.dense_h_to_4h.bias"] + matrix @ shift
        in_ = matrix * gain
        in_ = in_ - in_.mean(1, keepdims=True)
        out = stored[f"{block}mlp.dense_4h_to_h.weight"].T
        out = out - out.mean(1, keepdims=True)
        norms = np.linalg.norm(in_, axis=1), np.linalg.norm(out, axis=1)
        cosine = (in_ * out).sum(1) / (norms[0] * norms[1])
        for obtained, expected in (
            (found.in_norm, norms[0]), (found.bias, bias), (found.out_norm, norms[1]), (found.cosine, cosine)
        ):  # fmt: skip
            np.testing.assert_allclose(obtained[layer], expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(found.products(layer), norms[0] * bias, rtol=1e-5, atol=1e-5)


def test_some_layers_are_those_of_all(tiny) -> None:
    read = []
    weights = mlp_weights(tiny)
    every = neuron_weights(weights)

    def noting(layer: int) -> MlpLayer:
        read.append(layer)
        return weights.read(layer)

    some = neuron_weights(dataclasses.replace(weights, read=noting), [2, 1, 2])
    assert read == [1, 2]
    assert some.layers == (1, 2)
    assert torch.equal(some.bias, every.bias[1:])
    assert torch.equal(some.products(2), every.products(2))
    with pytest.raises(OptionError, match="layer 0 was not read"):
        some.products(0)


@pytest.mark.parametrize("layers", [[], [3], [-1]])
def test_layers_that_are_none(tiny, layers: list[int]) -> None:
    with pytest.raises(OptionError, match="of a model with 3"):
        neuron_weights(mlp_weights(tiny), layers)


@pytest.mark.parametrize("family", FAMILIES)
def test_which_families_have_biases(family: str, tmp_path) -> None:
    local = local_model(build(family, tmp_path / family), family=family)
    biases = mlp_weights(local, processing="raw")[1].b_in
    assert TABLES[family].biases == (biases is not None) == has_input_biases(local)
    if biases is None:
        with pytest.raises(ProbeError, match="no input biases"):
            neuron_weights(mlp_weights(local))
    else:
        assert neuron_weights(mlp_weights(local, processing="raw")).bias[1].equal(biases)


def test_the_distribution_by_layer() -> None:
    generator = torch.Generator().manual_seed(0)
    bias = torch.randn(4, 400, generator=generator) - torch.tensor([0.5, 2.0, 0.3, -0.1])[:, None]
    one = torch.ones_like(bias)
    frame = NeuronWeights((0, 1, 2, 3), 4, 2 * one, bias, one, one).by_layer()
    np.testing.assert_allclose(frame["depth"], [0, 1 / 3, 2 / 3, 1])
    for layer in range(4):
        q = 2 * bias[layer].numpy().astype(float)
        row = frame.loc[layer, ["low", "q1", "median", "q3", "high"]]
        np.testing.assert_allclose(
            row.astype(float), np.quantile(q, [0.005, 0.25, 0.5, 0.75, 0.995]), rtol=1e-6
        )
        assert frame.loc[layer, "negative"] == (q < 0).mean()
    assert frame["relative"].min() == frame.loc[1, "relative"] == -1
    assert frame["relative"].abs().max() == 1


@given(st.lists(st.integers(-5, 5), min_size=2, max_size=30), st.data())
def test_percentiles_count_smaller_products(values: list[int], data) -> None:
    neuron = data.draw(st.integers(0, len(values) - 1))
    found = percentiles(torch.tensor(values, dtype=torch.float64), [neuron])
    smaller = sum(value < values[neuron] for value in values)
    assert found.item() == pytest.approx(100 * smaller / (len(values) - 1))


def test_percentiles_run_from_0_to_100() -> None:
    products = torch.tensor([3.0, -1.0, 2.0, 7.0, 5.0], dtype=torch.float64)
    assert percentiles(products, [1, 2, 0, 4, 3]).tolist() == [0, 25, 50, 75, 100]


# ---- releases -------------------------------------------------------------------------------------------


def test_the_numbers_are_the_published_ones() -> None:
    published = pd.read_csv(golden_dir() / "sparse_probing" / "published" / "sparse_probing_neurons.csv")
    rows = published[published["source"].str.endswith("biasxnorm_p20_50_80.csv")]
    assert set(rows["layer"]) == {LAYER}
    listed: dict[str, dict[int, float]] = {}
    for row in rows.itertuples():
        listed.setdefault(f"EleutherAI/{row.model}-v0", {})[int(row.neuron)] = round(float(row.biasxnorm), 6)
    assert {model: dict(values) for model, values in PRODUCTS.items()} == listed


@pytest.mark.parametrize("model", PRODUCTS)
def test_only_the_published_products_are_recognised(model: str) -> None:
    products = np.random.default_rng(0).normal(-0.5, 0.3, 16384)
    products[list(PRODUCTS[model])] = list(PRODUCTS[model].values())
    refuse_retrained(model, of_products(1.0009 * products))
    for neuron in PRODUCTS[model]:
        for other in (1.02 * products[neuron], -products[neuron], np.nan):
            changed = products.copy()
            changed[neuron] = other
            with pytest.raises(
                ModelError, match=f"not the weights of {model}: .* neuron 1.{neuron} "
            ) as caught:
                refuse_retrained(model, of_products(changed))
            assert f"rwcore fetch {model}" in (caught.value.remedy or "")


def test_models_of_another_release_pass_and_too_few_neurons_do_not() -> None:
    few = of_products(np.zeros(10))
    refuse_retrained("EleutherAI/pythia-70m", few)
    with pytest.raises(ModelError, match="there is no such neuron"):
        refuse_retrained(V0, few)


def test_a_folder_of_the_published_neurons_is_recognised(tmp_path) -> None:
    """Through the files: biases are chosen such that three neurons have the published products."""
    folder = build("gpt_neox", tmp_path / "neox", d_mlp=900)
    local = local_model(folder, family="gpt_neox", id=V0)
    with pytest.raises(ModelError, match="not the weights"):
        refuse_retrained(V0, neuron_weights(mlp_weights(local), [LAYER]))
    found = neuron_weights(mlp_weights(local), [LAYER])
    stored = load_file(folder / "model.safetensors")
    bias = stored[f"gpt_neox.layers.{LAYER}.mlp.dense_h_to_4h.bias"]
    for neuron, product in PRODUCTS[V0].items():
        bias[neuron] += product / found.in_norm[0, neuron] - found.bias[0, neuron]
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    refuse_retrained(V0, neuron_weights(mlp_weights(local), [LAYER]))
