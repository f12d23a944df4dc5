"""What neurons do to tokens with a capital."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from fixtures.letters import save_letters
from fixtures.tiny import SIZES, SPECIALS, build, local_model
from rwcore.errors import OptionError
from rwcore.probing.errors import ProbeError
from rwcore.probing.logit_effects import capital_effects, capital_groups, effects_by_group, logit_effect
from rwcore.weights.embedding import unembedding
from rwcore.weights.mlp import mlp_weights

TEXTS = (
    "<pad>", " The", " the", "The", "THE", "A", "a", " Paris", "don't", "Don't", "3rd", ".", " ", "Über",
    "über", "ab1", "\udce2", "McGee", "mcgee", "<Sos>", "x",
)  # fmt: skip


def test_groups_of_tokens() -> None:
    groups = capital_groups(TEXTS, special={0, 19})
    named = {name: [TEXTS[number] for number in numbers] for name, numbers in groups.items()}
    # "The" has no "the" without a space, " Paris" no lower-case form; "THE" and "A" are all capitals.
    assert named["Uppercase"] == [" The", "Über", "McGee"]
    assert named["lowercase"] == [" the", "a", "don't", "über", "ab1", "mcgee", "x"]


def test_where_all_tokens_are_letters_the_capitals_are_the_group() -> None:
    groups = capital_groups([" ", "e", "A", "a", "E", "Q", "AB", "ab", "."])
    # "Q" has no lower-case form, and "AB" is no letter.
    assert groups["Uppercase"].tolist() == [2, 4]
    assert capital_groups(["A", "a", "The", "the"])["Uppercase"].tolist() == [2]


def test_a_special_token_is_no_lower_case_form() -> None:
    assert len(capital_groups(["Bos", "bos"], special={1})["Uppercase"]) == 0
    assert len(capital_groups(["Bos", "bos"])["Uppercase"]) == 1


def test_quartiles_by_group() -> None:
    effect = torch.randn(300, generator=torch.Generator().manual_seed(0))
    groups = {"one": torch.arange(0, 300, 3), "other": torch.arange(1, 300, 3)}
    frame = effects_by_group(effect, groups).set_index("tokens")
    for name, numbers in groups.items():
        values = effect[numbers].double().numpy()
        row = frame.loc[name]
        np.testing.assert_allclose(
            row[["q1", "median", "q3"]].astype(float), np.quantile(values, [0.25, 0.5, 0.75])
        )
        assert row["n"] == 100
        assert row["mean"] == pytest.approx(values.mean())
        assert row["positive"] == (values > 0).mean()


def test_an_empty_group_is_refused() -> None:
    with pytest.raises(ProbeError, match="group lowercase"):
        effects_by_group(
            torch.zeros(2), {"Uppercase": torch.tensor([0]), "lowercase": torch.tensor([], dtype=torch.int64)}
        )


@pytest.fixture(scope="module")
def cased(tmp_path_factory: pytest.TempPathFactory):
    """A tiny model with a tokenizer of whole words, half of them with a capital."""
    folder = build("gpt_neox", tmp_path_factory.mktemp("cased"))
    words = [f"{name}{letter}" for letter in "abcdefghijklmnopqrstuvwxyzäöüß" for name in ("No", "no")]
    save_words(folder, words[: SIZES["vocab"] - len(SPECIALS)])
    return local_model(folder, family="gpt_neox")


def save_words(folder, words) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    numbers = {word: number for number, word in enumerate([*SPECIALS, *words])}
    tokenizer = Tokenizer(models.WordLevel(numbers, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>", unk_token="<unk>"
    ).save_pretrained(folder)


def test_a_neuron_that_was_made_to_promote_capitals(cased) -> None:
    """It writes what tells the groups apart; with the other sign it promotes the others."""
    before = capital_effects(cased, 1, 5).set_index("tokens")["median"]
    W_U = unembedding(cased).W_U
    capitals = torch.arange(len(SPECIALS), SIZES["vocab"], 2)
    assert before["Uppercase"] == pytest.approx(
        float(np.median(logit_effect(mlp_weights(cased)[1].out[5], W_U)[capitals])), abs=1e-6
    )
    # Effects of a known size: least squares for a direction that is read as +1 and -1.
    wanted = torch.zeros(SIZES["vocab"])
    wanted[capitals], wanted[capitals + 1] = 1.0, -1.0
    direction = torch.linalg.lstsq(W_U.T, wanted[:, None]).solution[:, 0]
    file = cased.path / "model.safetensors"
    stored = load_file(file)
    stored["gpt_neox.layers.1.mlp.dense_4h_to_h.weight"][:, 5] = direction
    save_file(stored, file, metadata={"format": "pt"})
    found = capital_effects(cased, 1, 5).set_index("tokens")
    assert found.loc["Uppercase", "median"] > 0 > found.loc["lowercase", "median"]
    assert found["n"].tolist() == [30, 30]
    turned = capital_effects(cased, 1, 5, sign=-1).set_index("tokens")
    assert turned.loc["lowercase", "median"] == pytest.approx(-found.loc["lowercase", "median"])


@pytest.mark.parametrize(("layer", "neuron"), [(3, 0), (-1, 0), (0, 24)])
def test_neurons_that_are_none(cased, layer: int, neuron: int) -> None:
    with pytest.raises(OptionError, match="of a model with 3 layers of 24"):
        capital_effects(cased, layer, neuron)


def test_letters_have_capitals(tmp_path) -> None:
    """The small models read letters."""
    folder = save_letters(build("gpt_neox", tmp_path / "letters"), SIZES["vocab"])
    found = capital_effects(local_model(folder, family="gpt_neox"), 0, 0).set_index("tokens")
    assert found.loc["lowercase", "n"] == 26
    assert 0 < found.loc["Uppercase", "n"] <= 26
