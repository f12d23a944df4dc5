"""The record of a page about heads: what stands in the readings, and nothing else."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fixtures.letters import save_letters
from fixtures.tiny import SIZES, build, local_model
from rwcore.heads.reading import EFFECTS, HeadReading, read_heads
from rwcore.heads.reading_lists import NOBODY, TokenList
from rwcore.heads.readout import Readout
from rwcore.models.load import load_bridge
from rwcore.models.vocabulary import Vocabulary, vocabulary
from rwcore.pages.head_record import SCHEMA, TextRow, floats, head_record
from rwcore.tests.head_models import batch_of, overall_means

HEADS = [(2, 1), (1, 0)]
TEXTS = [[2, 9, 10, 9, 11, 12, 10], [2, 13, 9, 14]]
FUNCTION = {2, 9}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Vocabulary, list[TextRow], list[list[HeadReading]], dict[str, Any]]:
    folder: Path = save_letters(build("llama", tmp_path_factory.mktemp("model")), SIZES["vocab"])
    local = local_model(folder)
    model, words = load_bridge(local), vocabulary(local, SIZES["vocab"])
    rows = [
        TextRow(number, name, torch.tensor(tokens), bos=True)
        for number, name, tokens in zip((5, 3), ("a fable", None), TEXTS, strict=True)
    ]
    means = overall_means(model, batch_of(rows[0].tokens[None]))
    function = torch.tensor([token in FUNCTION for token in range(SIZES["vocab"])])
    readings = [
        read_heads(model, batch_of(row.tokens[None]), HEADS, means, Readout.of(local), function)
        for row in rows
    ]
    return words, rows, readings, head_record(rows, readings, words, model="tiny", corpus="fables")


def numbers(text: str, kind: str = "<f4") -> np.ndarray:
    return np.frombuffer(base64.b64decode(text, validate=True), kind)


def test_it_is_json_of_the_schema(made):
    words, rows, _, record = made
    assert json.loads(json.dumps(record, allow_nan=False)) == json.loads(json.dumps(record))
    assert record["schema"] == SCHEMA
    assert record["heads"] == ["2.1", "1.0"]
    assert record["effects"] == [*EFFECTS]
    assert [(one["row"], one["head"]) for one in record["readings"]] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert [(one["number"], one["document"], one["bos"]) for one in record["rows"]] == [
        (5, "a fable", True),
        (3, None, True),
    ]
    for row, one in zip(rows, record["rows"], strict=True):
        assert [record["words"][place] for place in one["tokens"]] == [words[token] for token in row.tokens]
        assert one["text"]["text"] == "".join(words.texts[token] for token in row.tokens.tolist())
        assert one["text"]["special"] == [0]
    assert len({*record["words"]}) == len(record["words"])
    assert "ablation" not in record
    said = head_record([], [], words, model="tiny", corpus=None, ablation="Zero.")
    assert (said["ablation"], said["corpus"], said["readings"]) == ("Zero.", None, [])


def test_numbers_of_positions(made):
    _, _, readings, record = made
    for one, found in zip([one for row in readings for one in row], record["readings"], strict=True):
        for name in ("loss", "p", "rank"):
            np.testing.assert_array_equal(numbers(found["clean"][name]), getattr(one.clean, name))
        assert "kl" not in found["clean"]
        for effect, after in one.effects.items():
            ours = found["effects"][effect]
            difference = (after.loss - one.clean.loss).numpy()
            np.testing.assert_array_equal(numbers(ours["loss"]), difference)
            np.testing.assert_array_equal(numbers(ours["kl"]), after.kl)
            np.testing.assert_array_equal(numbers(ours["p"]), after.p)
            assert np.isnan(numbers(ours["rank"])[-1])
        np.testing.assert_array_equal(numbers(found["cspa"]["mean"]), one.cspa.mean)
        np.testing.assert_array_equal(numbers(found["cspa"]["left"]), one.cspa.left)
        length = len(one.clean.loss)
        assert found["attention"]["shape"] == [length, length]
        for name in ("pattern", "written"):
            shares = numbers(found["attention"][name], "<u2").reshape(length, length) / 65535
            np.testing.assert_allclose(shares, getattr(one.attention, name), atol=1e-5)
            assert not np.triu(shares, 1).any()


def test_lists(made):
    words, rows, readings, record = made
    places = record["words"]

    def same(listed: list[list[float]], tokens: torch.Tensor, values: torch.Tensor) -> None:
        assert [places[int(place)] for place, _ in listed] == [words[token] for token in tokens.tolist()]
        assert [value for _, value in listed] == pytest.approx(values.tolist(), rel=1e-3)

    for number, of_row in enumerate(readings):
        tokens = rows[number].tokens.tolist()
        for place, one in enumerate(of_row):
            found = record["readings"][len(HEADS) * number + place]
            for query in range(len(tokens)):
                lists = {
                    "clean": (
                        found["clean"]["top"][query],
                        TokenList(one.clean.top_token, one.clean.top_p),
                    ),
                    "total": (
                        found["effects"]["total"]["top"][query],
                        TokenList(one.effects["total"].top_token, one.effects["total"].top_p),
                    ),
                    "lowered": (found["attribution"]["lowered"][query], one.lowered),
                    "raised": (found["attribution"]["raised"][query], one.raised),
                    "lens": (
                        found["lens"][query]["top"],
                        TokenList(one.lens.top_token, one.lens.top_p),
                    ),
                }
                for listed, wanted in lists.values():
                    same(listed, wanted.token[query], wanted.value[query])
                context = one.lens.context_token[query]
                there = context != NOBODY
                assert int(there.sum()) == len({*tokens[: query + 1]} - FUNCTION)
                listed = found["lens"][query]["context"]
                same([entry[:2] for entry in listed], context[there], one.lens.context_p[query][there])
                for entry, token in zip(listed, context[there].tolist(), strict=True):
                    assert entry[2] == [at for at in range(query + 1) if tokens[at] == token]
            kept = found["cspa"]["kept"]
            assert [entry[0] for entry in kept] == one.cspa.query.tolist()
            assert [entry[1] for entry in kept] == one.cspa.key.tolist()
            assert [places[entry[2]] for entry in kept] == [words[tokens[entry[1]]] for entry in kept]
            assert [entry[4] for entry in kept] == pytest.approx(one.cspa.coefficient.tolist(), rel=1e-3)


def test_floats_are_little_endian():
    assert base64.b64decode(floats(torch.tensor([1.0, float("nan")])))[:4] == b"\x00\x00\x80\x3f"
