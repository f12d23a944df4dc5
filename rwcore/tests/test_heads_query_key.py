"""Queries, keys and their rotation, against the attention of the models themselves."""

import pytest
import torch

from fixtures.tiny import build, local_model
from rwcore.errors import OptionError
from rwcore.heads.query_key import QKOptions, Rotation, as_read, group_of, keys, queries, rotation
from rwcore.models.load import load_bridge

# These tell scores; of GPT-J and OPT only patterns are seen, of Bloom scores have ALiBi in them.
SCORES = ("gpt2", "gpt_neox", "llama", "qwen2", "qwen3", "gemma2", "gemma3", "olmo", "olmo2")
LAYER = 1


def seen(family, folder):
    model = load_bridge(local_model(build(family, folder)))
    with torch.no_grad():
        _, cache = model.run_with_cache(torch.tensor([[1, 5, 6, 7, 8, 20, 21]]))
    parts = ("hook_resid_pre", "attn.hook_pattern", "attn.hook_attn_scores")
    return model, {name: cache[f"blocks.{LAYER}.{name}"][0] for name in parts}


def score(model, stream, head, query, key):
    """Of two positions, from their streams and their distance."""
    options = QKOptions(biases=True, distance=query - key)
    read = as_read(model, LAYER, stream)
    asked = queries(model, LAYER, head, read[[query]], options)
    return float(asked @ keys(model, LAYER, group_of(model, LAYER, head), read[[key]], options).T)


@pytest.mark.parametrize("family", SCORES)
def test_products_are_the_scores(family, tmp_path):
    model, cache = seen(family, tmp_path)
    pairs = [(head, query, key) for head in (0, 1, 3) for query, key in ((5, 2), (6, 5), (3, 0), (4, 4))]
    found = torch.tensor([score(model, cache["hook_resid_pre"], *pair) for pair in pairs])
    wanted = torch.tensor([float(cache["attn.hook_attn_scores"][pair]) for pair in pairs])
    # 1/√d_head, or what the family divides by instead; Gemma-2 caps its scores, which are small here.
    ratio = (found @ wanted) / (wanted @ wanted)
    assert torch.allclose(found, ratio * wanted, rtol=1e-3, atol=1e-4)
    assert ratio > 1


@pytest.mark.parametrize("family", ["gptj", "opt"])
def test_products_are_the_logarithms_of_the_pattern(family, tmp_path):
    model, cache = seen(family, tmp_path)
    for head in range(4):
        for key in (1, 4):
            found = score(model, cache["hook_resid_pre"], head, 5, key) - score(
                model, cache["hook_resid_pre"], head, 5, 2
            )
            logs = cache["attn.hook_pattern"][head, 5].log()
            assert found / 2 == pytest.approx(float(logs[key] - logs[2]), abs=1e-3)  # √d_head is 2


def test_a_rotation_turns_pairs():
    values = torch.tensor([[1.0, 0.0, 0.0, 0.0, 7.0]])
    quarter = {"cos": torch.zeros(4), "sin": torch.ones(4)}
    assert Rotation(**quarter)(values).tolist() == [[0, 0, 1, 0, 7]]
    assert Rotation(**quarter, neighbours=True)(values).tolist() == [[0, 1, 0, 0, 7]]


def test_partial_rotation_and_none(tmp_path):
    neox = load_bridge(local_model(build("gpt_neox", tmp_path / "neox")))
    turn = rotation(neox, 0, 3)
    assert len(turn.cos) == 2  # half of the four dimensions of a head
    assert rotation(neox, 0, 0) is None
    assert rotation(load_bridge(local_model(build("gpt2", tmp_path / "gpt2"))), 0, 3) is None
    assert rotation(load_bridge(local_model(build("bloom", tmp_path / "bloom"))), 0, 3) is None


@pytest.mark.parametrize("distance", [-1, 64])
def test_no_such_distance(distance, tmp_path):
    model = load_bridge(local_model(build("llama", tmp_path)))
    with pytest.raises(OptionError, match="positions behind its key"):
        rotation(model, 0, distance)
