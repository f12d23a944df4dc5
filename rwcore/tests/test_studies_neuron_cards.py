"""Cards of neurons whose tokens were planted: exact lists, honest regions, clear refusals, exact files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import load_file, save_file

from fixtures.planted import plant
from fixtures.tiny import save_tokenizer
from rwcore.errors import ModelError, OptionError
from rwcore.models.registry import find
from rwcore.pages.cards import NeuronCard
from rwcore.stats.classes import RW_CLASSES
from rwcore.stats.null import beta_region
from rwcore.store import Store
from rwcore.studies.neuron_cards import (
    BINS,
    case_studies,
    neuron_cards,
    neurons_of_class,
    parse_neuron,
)
from rwcore.studies.weights import WeightStudy, weight_study
from rwcore.tests.command_line import plant_damaged

VOCAB = 64
NEURON = (1, 5)
SPECIAL = ["<pad>", "<bos>", "<eos>", "<unk>"]
WORDS = [*SPECIAL, *(f"w{number}" for number in range(VOCAB - 4))]


def plant_tokens(folder: Path, **sizes: Any) -> Path:
    """A planted Llama that has tokens of length 3 and 2 along each vector of `NEURON`.

    As the processing must find them, tokens 10 and 11 point along out, 12 and 13 along in, 14 and 15 along
    gate; 20 to 25 the other way, so that the mean over the tokens is zero. The others are short.
    """
    plant("llama", folder, **sizes)
    file = folder / "model.safetensors"
    tensors = load_file(file)
    layer, neuron = NEURON
    gate, in_, out, _ = raw_vectors(tensors, layer, neuron)
    rng = np.random.default_rng(1)
    half = 0.01 * rng.standard_normal((VOCAB // 2, tensors["lm_head.weight"].shape[1]))
    rows = np.concatenate([half, -half])
    for first, vector in ((10, out), (12, in_), (14, gate)):
        unit = vector / np.linalg.norm(vector)
        for step, factor in ((0, 3.0), (1, 2.0)):
            rows[first + step] = factor * unit
            rows[first + 10 + step] = -factor * unit
    rows[[*range(42, 48), *range(52, 58)]] = 0  # counterparts of what was overwritten
    tensors["lm_head.weight"] = (rows / tensors["model.norm.weight"]).astype(np.float32)
    save_file(tensors, file, metadata={"format": "pt"})
    return save_tokenizer(folder, VOCAB)


def raw_vectors(tensors: dict[str, np.ndarray], layer: int, neuron: int) -> tuple[Any, Any, Any, bool]:
    """Gate, in and out of a neuron from the file, norm and sign folded; and whether it was turned."""
    prefix = f"model.layers.{layer}."
    gains = tensors[f"{prefix}post_attention_layernorm.weight"].astype(np.float64)
    gate = tensors[f"{prefix}mlp.gate_proj.weight"][neuron] * gains
    in_ = tensors[f"{prefix}mlp.up_proj.weight"][neuron] * gains
    out = tensors[f"{prefix}mlp.down_proj.weight"][:, neuron].astype(np.float64)
    sign = -1.0 if gate @ in_ < 0 else 1.0
    return gate, sign * in_, sign * out, sign < 0


def raw_lists(
    folder: Path, layer: int, neuron: int, k: int
) -> dict[tuple[str, str, int], list[tuple[int, float]]]:
    """All token lists of a neuron from the file, sorted in full."""
    tensors = load_file(folder / "model.safetensors")
    gate, in_, out, _ = raw_vectors(tensors, layer, neuron)
    unembedding = tensors["lm_head.weight"].astype(np.float64) * tensors["model.norm.weight"]
    matrices = {
        "unembedding": unembedding - unembedding.mean(axis=0),
        "embedding": tensors["model.embed_tokens.weight"].astype(np.float64),
    }
    found = {}
    for matrix, rows in matrices.items():
        for name, vector in (("gate", gate), ("in", in_), ("out", out)):
            for sign in (1, -1):
                products = sign * (rows @ vector)
                order = np.argsort(-products, kind="stable")[:k]
                found[matrix, name, sign] = [(int(token), float(products[token])) for token in order]
    return found


def study_of(folder: Path, root: Path) -> WeightStudy:
    return weight_study(find(str(folder)), store=Store(root))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plant_tokens(tmp_path_factory.mktemp("model") / "tokens")


@pytest.fixture(scope="module")
def study(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> WeightStudy:
    return study_of(folder, tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def card(study: WeightStudy) -> NeuronCard:
    return neuron_cards(study, [NEURON], k=6, matrix="both")[0]


def lists_of(card: NeuronCard) -> dict[tuple[str, str, int], list[tuple[int, float]]]:
    return {
        (one.matrix, one.vector, one.sign): [(token.id, token.value) for token in one.tokens]
        for one in card.lists
    }


def test_planted_tokens_come_first_in_the_right_lists(card: NeuronCard, folder: Path) -> None:
    vectors = raw_vectors(load_file(folder / "model.safetensors"), *NEURON)
    found = lists_of(card)
    for name, first, vector in (("out", 10, vectors[2]), ("in", 12, vectors[1]), ("gate", 14, vectors[0])):
        length = float(np.linalg.norm(vector))
        for sign, shift in ((1, 0), (-1, 10)):
            tokens, values = zip(*found["unembedding", name, sign][:2], strict=True)
            # The vector as it is, not of unit length (trap X2): three and two times its norm.
            assert tokens == (first + shift, first + shift + 1)
            assert values == pytest.approx((3 * length, 2 * length), rel=1e-5)
    texts = [token.text for token in card.top("out")]
    assert texts[:2] == [WORDS[10], WORDS[11]]


def test_every_list_is_that_of_the_files(card: NeuronCard, folder: Path) -> None:
    found, expected = lists_of(card), raw_lists(folder, *NEURON, 6)
    reading = {key for key in expected if key[0] == "unembedding" or key[1] != "out"}
    assert found.keys() == reading  # nothing is read with the output vector
    for key, pairs in found.items():
        assert [token for token, _ in pairs] == [token for token, _ in expected[key]], key
        assert [value for _, value in pairs] == pytest.approx([value for _, value in expected[key]], rel=1e-4)
    for one in card.lists:
        assert [token.text for token in one.tokens] == [WORDS[token.id] for token in one.tokens]


def test_as_many_neurons_as_dimensions(tmp_path: Path) -> None:
    """Trap X18: with square matrices sizes do not tell rows from columns."""
    folder = plant_tokens(tmp_path / "square", layers=2, per_class=8, d_model=88)
    study = study_of(folder, tmp_path / "store")
    shape = study.mlp_weights().shape
    assert shape.d_mlp == shape.d_model
    card = neuron_cards(study, [NEURON], k=4, null=False)[0]
    expected = raw_lists(folder, *NEURON, 4)
    for key, pairs in lists_of(card).items():
        assert [token for token, _ in pairs] == [token for token, _ in expected[key]], key


def test_several_neurons_keep_their_order_and_their_own_lists(study: WeightStudy, folder: Path) -> None:
    wanted = [(2, 7), (0, 3), (2, 1), (0, 3), (0, 0)]
    cards = neuron_cards(study, wanted, k=3)
    assert [(card.layer, card.neuron) for card in cards] == [(2, 7), (0, 3), (2, 1), (0, 0)]
    tensors = load_file(folder / "model.safetensors")
    for card in cards:
        expected = raw_lists(folder, card.layer, card.neuron, 3)
        for key, pairs in lists_of(card).items():
            assert [token for token, _ in pairs] == [token for token, _ in expected[key]], (card.name, key)
        assert card.turned is raw_vectors(tensors, card.layer, card.neuron)[3]
    assert {card.turned for card in cards} == {True, False}


def test_cosines_norms_and_class_are_the_studys(study: WeightStudy, card: NeuronCard, folder: Path) -> None:
    gate, in_, out, _ = raw_vectors(load_file(folder / "model.safetensors"), *NEURON)
    vectors = {"gate": gate, "in": in_, "out": out}
    pairs = {"gatelin": ("gate", "in"), "gateout": ("gate", "out"), "linout": ("in", "out")}
    assert [one.name for one in card.cosines] == list(pairs)
    for one in card.cosines:
        a, b = (vectors[name] for name in pairs[one.name])
        assert one.value == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b), abs=1e-6)
        layer = study.cosines.present()[one.name][NEURON[0]].tolist()
        assert one.below == sum(value < one.value for value in layer) / len(layer)
        counts = [0] * BINS
        for value in layer:
            counts[min(int((value + 1) / 2 * BINS), BINS - 1)] += 1
        assert list(one.layer) == counts
    for norm in card.norms:
        assert norm.value == pytest.approx(np.linalg.norm(vectors[norm.vector]), rel=1e-6)
        layer = study.statistics.norms()[norm.vector][NEURON[0]].tolist()
        assert norm.median == pytest.approx(np.median(layer))
    counts_of_class = study.class_counts().query("layer == 1").set_index("class")["count"]
    assert counts_of_class[card.class_name] > 0


def test_the_class_is_the_planted_one(tmp_path: Path) -> None:
    model = plant("llama", tmp_path / "m")
    save_tokenizer(model.folder, VOCAB)
    neurons = [(layer, neuron) for layer in range(3) for neuron in range(0, 22, 3)]
    cards = neuron_cards(study_of(model.folder, tmp_path / "store"), neurons, k=1, null=False)
    assert [card.class_name for card in cards] == [model.classes[one] for one in neurons]


def test_regions_are_those_of_the_whole_study(study: WeightStudy, card: NeuronCard) -> None:
    regions = study.null_regions().set_index(["layer", "cosine"])
    for one in card.cosines:
        row = regions.loc[(NEURON[0], one.name)]
        low, high = beta_region(48)
        folded = one.name == "gatelin"  # an absolute value has no lower end
        assert one.beta == (0.0 if folded else low, high)
        assert one.mismatched == (0.0 if folded else row["low"], row["high"])
        assert one.region == (min(one.beta[0], one.mismatched[0]), max(one.beta[1], one.mismatched[1]))


def test_roles_are_shown_where_they_are_asked_for(study: WeightStudy) -> None:
    roles = pd.DataFrame(
        {"layer": [1], "neuron": [5], "role": ["suppression"], "kurtosis": [7.0], "skew": [-1.0]}
    )
    cards = neuron_cards(study, [NEURON, (0, 0)], k=1, null=False, roles=roles)
    assert [card.role for card in cards] == ["suppression", "none"]
    assert cards[0].role_facts == (("kurtosis", 7.0), ("skew", -1.0))
    assert cards[1].role_facts == ()
    assert neuron_cards(study, [NEURON], k=1, null=False)[0].role is None


def test_ranked_by_magnitude(study: WeightStudy, folder: Path) -> None:
    card = neuron_cards(study, [NEURON], k=4, by="absolute", null=False)[0]
    assert [token.id for token in card.top("out", count=4)] == [10, 20, 11, 21]
    assert [token.value > 0 for token in card.top("out", count=4)] == [True, False, True, False]


def test_a_model_without_gates(tmp_path: Path) -> None:
    model = plant("gpt2", tmp_path / "gpt2")
    save_tokenizer(model.folder, VOCAB)
    card = neuron_cards(study_of(model.folder, tmp_path / "store"), [(0, 1)], k=2, matrix="both")[0]
    assert not card.gated
    assert card.turned is None
    assert [one.name for one in card.cosines] == ["linout"]
    assert card.class_name == model.classes[0, 1]
    lists = [(one.matrix, one.vector, one.sign) for one in card.lists]
    assert lists == [
        *(("unembedding", name, sign) for name in ("in", "out") for sign in (1, -1)),
        *(("embedding", "in", sign) for sign in (1, -1)),
    ]


def test_a_vector_without_direction_has_no_tokens(tmp_path: Path) -> None:
    folder = plant_damaged(tmp_path / "damaged")
    save_tokenizer(folder, VOCAB)
    cards = neuron_cards(study_of(folder, tmp_path / "store"), [(1, 2), (1, 4), (1, 5), (1, 6)], k=3)
    empty = [{one.vector for one in card.lists if not one.tokens} for card in cards]
    assert empty == [{"out"}, {"in"}, {"gate"}, set()]
    assert [card.class_name for card in cards[:3]] == ["undefined"] * 3
    assert cards[0].cosines[2].verdict == "undefined"


# --- choosing neurons ----------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["1.21", "0.0", "2.007"])
def test_names_of_neurons(study: WeightStudy, text: str) -> None:
    layer, neuron = text.split(".")
    assert parse_neuron(text, study.mlp_weights().shape) == (int(layer), int(neuron))


@pytest.mark.parametrize("text", ["3.0", "0.22", "99.99999"])
def test_a_neuron_that_does_not_exist(study: WeightStudy, text: str) -> None:
    with pytest.raises(OptionError, match=f"no neuron {text}") as caught:
        parse_neuron(text, study.mlp_weights().shape)
    assert "layers are 0 to 2" in str(caught.value.remedy)
    assert "0 to 21" in str(caught.value.remedy)


@pytest.mark.parametrize(
    "text", ["", "1", "1.", ".1", "1.2.3", "-1.2", "1.-2", "a.b", "1e0.2", "².1", "1 .2"]
)
def test_what_is_no_name_of_a_neuron(study: WeightStudy, text: str) -> None:
    with pytest.raises(OptionError, match="is no neuron") as caught:
        parse_neuron(text, study.mlp_weights().shape)
    assert "LAYER.NEURON" in str(caught.value.remedy)


def test_cards_check_their_neurons_themselves(study: WeightStudy) -> None:
    with pytest.raises(OptionError, match=r"no neuron -1\.0"):
        neuron_cards(study, [(-1, 0)])


def test_neurons_of_a_class_are_a_sample_and_always_the_same(study: WeightStudy) -> None:
    chosen = neurons_of_class(study, "weakening", 4)
    assert chosen == neurons_of_class(study, "weakening", 4) == sorted(set(chosen))
    assert len(chosen) == 4
    everybody = neurons_of_class(study, "weakening", 99)
    assert len(everybody) == 6
    assert set(chosen) < set(everybody)


def test_an_empty_class_names_those_that_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = plant("gpt2", tmp_path / "m")
    study = study_of(model.folder, tmp_path / "store")
    study.statistics.cosines.linout.clamp_(-0.3, 0.9)
    with pytest.raises(OptionError, match=r"no neuron of .* is in the class 'weakening'") as caught:
        neurons_of_class(study, "weakening", 1)
    assert caught.value.where == "--class"
    assert "strengthening, orthogonal output" in str(caught.value.remedy)
    with pytest.raises(OptionError, match="no neuron class 'conditional weakening'"):
        neurons_of_class(study, "conditional weakening", 1)
    with pytest.raises(OptionError, match="0 neurons"):
        neurons_of_class(study, "strengthening", 0)


def test_case_studies_from_a_table_of_roles(study: WeightStudy) -> None:
    classes = study.cosines
    roles = pd.DataFrame(
        [
            (0, 3, "prediction", 5.0),
            (2, 1, "prediction", 9.0),
            (1, 1, "suppression", 6.0),
            (1, 2, "partition", 99.0),
        ],
        columns=["layer", "neuron", "role", "kurtosis"],
    )
    found = case_studies(study, roles)
    assert found.iloc[0][["layer", "neuron", "role"]].tolist() == [2, 1, "prediction"]
    assert found.iloc[1][["layer", "neuron", "role"]].tolist() == [1, 1, "suppression"]
    assert set(found["class"]) <= {one.name for one in RW_CLASSES}
    assert classes.gated
    with pytest.raises(OptionError, match="no case-study neurons"):
        case_studies(study, roles[roles["role"] == "partition"])


# --- refusals ------------------------------------------------------------------------------------------


def test_too_many_tokens_name_the_range(study: WeightStudy) -> None:
    with pytest.raises(OptionError, match="65 tokens") as caught:
        neuron_cards(study, [NEURON], k=65, null=False)
    assert "1 to 64" in str(caught.value.remedy)


def test_a_foreign_tokenizer_is_refused(tmp_path: Path) -> None:
    model = plant("llama", tmp_path / "m")
    save_tokenizer(model.folder, VOCAB + 1)
    with pytest.raises(ModelError, match="it has 65 tokens, the last one with id 64; the unembedding has 64"):
        neuron_cards(study_of(model.folder, tmp_path / "store"), [(0, 0)], null=False)


def test_weights_are_not_changed_by_looking(study: WeightStudy, card: NeuronCard) -> None:
    """Trap X2 again: statistics of the same process stay what they are."""
    before = study.statistics.norm_out.clone()
    assert neuron_cards(study, [NEURON], k=6, matrix="both") == [card]
    assert torch.equal(study.statistics.norm_out, before)
    assert (before != 1).all()
