"""A model that reads texts: its tokens are those of a corpus, and long texts are refused."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fixtures.tiny import BOS, build, local_model
from rwcore.ablation.interventions import Intervention
from rwcore.ablation.run_metrics import RunMetrics
from rwcore.corpora.documents import Document
from rwcore.corpora.spec import CorpusSpec
from rwcore.corpora.tokenise import tokenise
from rwcore.corpora.tokens import TokenCorpus
from rwcore.errors import ModelError, OptionError
from rwcore.serve import reader as module
from rwcore.serve.answer import answer
from rwcore.serve.form import layer_and_number
from rwcore.serve.limits import Limits
from rwcore.serve.measure import clean_metrics
from rwcore.serve.question import Question
from rwcore.serve.reader import Reader, load_reader
from rwcore.tests.local_server import tiny_reader

ZERO = Intervention("zero")


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    return tiny_reader("llama", tmp_path_factory.mktemp("llama"))


@pytest.mark.parametrize("text", ["hello there", "a", " ", "two\nlines\t!", "<bos>", "é😀"])
def test_tokens_are_those_of_a_corpus(reader: Reader, text: str) -> None:
    spec = CorpusSpec("texts", "file", "/texts", max_length=100)
    expected = tokenise(spec, reader.encoder, [Document("one", text)])
    found = reader.corpus(text)
    assert found.tokens.tolist() == expected.tokens.tolist()
    assert found.tokens[0] == BOS
    assert len(found) == 1


def test_a_text_may_begin_without_a_token_of_its_own(reader: Reader) -> None:
    bare = replace(reader, bos="none").corpus("hello")
    assert bare.policy.bos is None
    assert bare.tokens.tolist() == reader.corpus("hello").tokens.tolist()[1:]


def test_the_longest_text_and_one_letter_more(reader: Reader) -> None:
    short = replace(reader, limits=Limits(8))
    assert len(short.corpus("1234567").tokens) == 8
    with pytest.raises(OptionError, match="the text has 9 tokens, and 8 are the most"):
        short.corpus("12345678")
    with pytest.raises(OptionError, match="the text has 101 tokens, and 8 are the most"):
        short.corpus("x" * 100)
    with pytest.raises(OptionError, match="the text has 257 characters, and 256 are the most"):
        short.corpus("x" * 257)


def test_an_empty_text(reader: Reader) -> None:
    with pytest.raises(OptionError, match="empty"):
        reader.corpus("")


@pytest.mark.parametrize(
    ("text", "expected"), [("28.4737", (28, 4737)), (" 0.0 ", (0, 0)), ("007.010", (7, 10))]
)
def test_layer_and_number(text: str, expected: tuple[int, int]) -> None:
    assert layer_and_number(text, "neuron", "28.4737") == expected


@pytest.mark.parametrize(
    "text",
    ["", " ", "1", "1.", ".1", "1.2.3", "1.2-3", "1,2", "-1.2", "1.2 1.3", "@/etc/passwd", "١.٢", "1" * 60],
)
def test_what_is_no_layer_and_number(text: str) -> None:
    with pytest.raises(OptionError, match="is no neuron") as error:
        layer_and_number(text, "neuron", "28.4737")
    assert error.value.remedy == "write LAYER.NEURON, such as 28.4737"


def test_the_clean_run_of_a_text_is_made_once(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []

    def counted(model: Any, corpus: TokenCorpus) -> RunMetrics:
        read.append(corpus.n_tokens)
        return clean_metrics(model, corpus)

    monkeypatch.setattr(module, "clean_metrics", counted)
    fresh = replace(reader)
    for text, neuron in [("hello", "0.1"), ("hello", "2.9"), ("hello you", "2.9"), ("hello you", "0.1")]:
        found = fresh.answer(Question(text, neuron, ZERO))
        assert torch.equal(found.clean.loss[:-1], clean_metrics(fresh.model, found.corpus).loss[:-1])
    assert read == [6, 10]


def test_the_answer_has_the_loss_of_each_token_at_that_token(reader: Reader) -> None:
    found = reader.answer(Question("so it is", "1.5", ZERO))
    given = answer(found, reader.words)
    assert (given["neuron"], given["gated"], given["ablation"], given["bos"]) == ("1.5", True, "zero", True)
    assert given["names"] == ["<bos>", "s", "o", "␣", "i", "t", "␣", "i", "s"]
    assert given["text"]["text"] == "<bos>so it is"
    assert given["text"]["special"] == [0]
    arrays = {name: floats(text) for name, text in given["values"].items()}
    assert list(arrays) == ["gate", "in", "act"]
    assert (arrays["act"] * arrays["in"]).tolist() == found.post.tolist()
    loss = floats(given["clean"]["loss"])
    assert np.isnan(loss[0])
    assert loss[1:].tolist() == found.clean.loss[:-1].tolist()
    assert floats(given["ablated"]["entropy"])[1:].tolist() == found.ablated.entropy[:-1].tolist()
    assert given["mean"] == {**vars(found.mean)}
    assert given["mean"]["predictions"] == 7


def test_the_answer_of_a_neuron_without_a_gate_has_no_in(tmp_path: Path) -> None:
    plain = tiny_reader("gpt2", tmp_path)
    given = answer(plain.answer(Question("so", "1.5", ZERO)), plain.words)
    assert list(given["values"]) == ["gate", "act"]
    assert given["gated"] is False


def floats(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), "<f4")


@pytest.mark.parametrize("family", ["bert", "t5"])
def test_models_that_are_no_decoders_are_refused_at_once(family: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        load_reader(local_model(build(family, tmp_path)), device="cpu")


def test_raw_weights_make_the_same_predictions(tmp_path: Path, reader: Reader) -> None:
    raw = tiny_reader("llama", tmp_path, processing="raw")
    question = Question("hello", "1.5", ZERO)
    one, other = reader.answer(question), raw.answer(question)
    torch.testing.assert_close(one.clean.loss, other.clean.loss, rtol=1e-4, atol=1e-4, equal_nan=True)
    torch.testing.assert_close(one.gate, other.gate, rtol=1e-4, atol=1e-4)


def test_more_tokens_than_positions_are_refused_before_the_model_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "load_bridge", None)
    with pytest.raises(OptionError, match="64 positions"):
        load_reader(local_model(build("llama", tmp_path)), tokens=65)
