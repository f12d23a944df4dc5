"""Neuron sets that are listed, united, saved, and checked against a model."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rwcore.errors import OptionError, StoreError
from rwcore.neurons import NeuronSet, parse_neurons


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("28.4737", [(28, 4737)]),
        ("28.4737,31.9634", [(28, 4737), (31, 9634)]),
        (" 31.9634 , 28.4737\n0.0 ", [(31, 9634), (28, 4737), (0, 0)]),
        ("28.4737-4740", [(28, 4737), (28, 4738), (28, 4739), (28, 4740)]),
        ("3.5-5", [(3, 5)]),
        ("3.5,3.4-6,3.6", [(3, 5), (3, 4), (3, 6)]),
        ("31.11007", [(31, 11007)]),
    ],
)
def test_explicit_lists(text, pairs):
    found = parse_neurons(text, 32, 11008)
    assert found.pairs() == pairs
    assert found.name == text.strip()
    assert parse_neurons(text, 32, 11008, name="mine").name == "mine"


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        ("28.4737;31.9634", "28.4737;31.9634"),
        ("28.1,weakening", "weakening"),
        ("28.1,28", "28"),
        ("28.1,-1.5", "-1.5"),
        ("28.1,2.-5", "2.-5"),
        ("28.1,2.5-", "2.5-"),
        ("28.1,2.5-3.7", "2.5-3.7"),
        ("28.1,1.5e3", "1.5e3"),
        ("28.1,2.٣", "2.٣"),
        ("28.1,0." + "9" * 5000, "0." + "9" * 5000),
        ("28.1,32.0", "32.0"),
        ("28.1,31.11008", "31.11008"),
        ("28.1,31.5-11008", "31.5-11008"),
        ("28.1,0.0-999999999", "0.0-999999999"),
        ("28.1,31.9-8", "31.9-8"),
    ],
)
def test_lists_with_mistakes_name_the_entry(text, entry):
    with pytest.raises(OptionError) as error:
        parse_neurons(text, 32, 11008)
    assert repr(entry) in error.value.what
    assert error.value.where == text
    assert error.value.remedy


@pytest.mark.parametrize("text", ["", " ", ",", "\n"])
def test_empty_lists(text):
    with pytest.raises(OptionError, match="a list of neurons is empty"):
        parse_neurons(text, 32, 11008)


@pytest.mark.parametrize("prefix", ["", "@"])
def test_lists_in_files(tmp_path, prefix):
    file = tmp_path / "late ones.txt"
    file.write_text("# LAYER.NEURON\n28.4737, 31.9634  # two\n\n3.4-6 28.4737\n", encoding="utf-8")
    found = parse_neurons(f"{prefix}{file}", 32, 11008)
    assert found.pairs() == [(28, 4737), (31, 9634), (3, 4), (3, 5), (3, 6)]
    assert found.name == "late ones"


def test_a_set_that_was_saved_is_a_list(tmp_path):
    saved = NeuronSet.of("weakening 3", [(31, 7), (0, 2), (5, 5)])
    file = tmp_path / "set.json"
    file.write_text(json.dumps(saved.to_json()), encoding="utf-8")
    found = parse_neurons(str(file), 32, 11008)
    assert (found.name, found.pairs()) == (saved.name, saved.pairs())
    assert parse_neurons(f"@{file}", 32, 11008, name="other").name == "other"
    with pytest.raises(OptionError, match=r"no neuron 31\.7 in this model"):
        parse_neurons(str(file), 31, 11008)
    file.write_text('{"name": "weakening 3"', encoding="utf-8")
    with pytest.raises(StoreError, match="no set of neurons") as error:
        parse_neurons(str(file), 32, 11008)
    assert error.value.where == str(file)


def test_files_with_mistakes_name_the_line(tmp_path):
    file = tmp_path / "list.txt"
    file.write_text("1.1\n2.2, 3\n", encoding="utf-8")
    with pytest.raises(OptionError, match="'3' is no neuron") as error:
        parse_neurons(str(file), 32, 11008)
    assert error.value.where == f"{file}:2"
    file.write_text("# nothing\n", encoding="utf-8")
    with pytest.raises(OptionError, match="empty") as error:
        parse_neurons(str(file), 32, 11008)
    assert error.value.where == str(file)
    file.write_bytes(b"\xff\xfe1.1")
    with pytest.raises(OptionError, match="cannot be read"):
        parse_neurons(str(file), 32, 11008)
    with pytest.raises(OptionError, match="cannot be read"):
        parse_neurons(f"@{tmp_path / 'nowhere.txt'}", 32, 11008)
    with pytest.raises(OptionError, match=r"'.*nowhere\.txt' is no neuron"):
        parse_neurons(str(tmp_path / "nowhere.txt"), 32, 11008)


# --- unions, saving, range ------------------------------------------------------------------------------

PAIRS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), max_size=12)


@given(parts=st.lists(PAIRS, max_size=4))
def test_unions_have_each_neuron_once_in_order(parts):
    found = NeuronSet.union("all", [NeuronSet.of("part", part) for part in parts]).pairs()
    wanted = []
    for part in parts:
        for pair in part:
            if pair not in wanted:
                wanted.append(pair)
    assert found == wanted


@given(pairs=PAIRS, name=st.text(max_size=10))
def test_sets_survive_json(pairs, name):
    given_set = NeuronSet.of(name, pairs)
    back = NeuronSet.from_json(json.loads(json.dumps(given_set.to_json())))
    assert (back.name, back.pairs()) == (name, pairs)
    assert back.layer.dtype == back.neuron.dtype == np.int64


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {},
        {"name": "x", "layer": [1], "neuron": [1, 2]},
        {"name": "x", "layer": [1]},
        {"name": 1, "layer": [1], "neuron": [1]},
        {"name": "x", "layer": [1.0], "neuron": [1]},
        {"name": "x", "layer": [True], "neuron": [1]},
        {"name": "x", "layer": [1], "neuron": [-1]},
        {"name": "x", "layer": [1], "neuron": [2**63]},
        {"name": "x", "layer": "1", "neuron": "1"},
    ],
)
def test_other_json_is_no_set(data):
    with pytest.raises(StoreError, match="no set of neurons"):
        NeuronSet.from_json(data, where="set.json")


@given(pairs=PAIRS.filter(bool), layers=st.integers(1, 4), neurons=st.integers(1, 6))
def test_neurons_outside_a_model_are_named(pairs, layers, neurons):
    given_set = NeuronSet.of("some", pairs)
    outside = [pair for pair in pairs if pair[0] >= layers or pair[1] >= neurons]
    if not outside:
        given_set.require_within(layers, neurons)
        return
    with pytest.raises(OptionError) as error:
        given_set.require_within(layers, neurons)
    assert error.value.what == f"there is no neuron {outside[0][0]}.{outside[0][1]} in this model"
    assert error.value.where == f"some: {len(outside)} of {len(pairs)} neurons"


def test_negative_numbers_are_outside():
    for pair in ((-1, 0), (0, -1)):
        with pytest.raises(OptionError, match="in this model"):
            NeuronSet.of("some", [(0, 0), pair]).require_within(2, 2)
    NeuronSet.of("none", []).require_within(1, 1)
