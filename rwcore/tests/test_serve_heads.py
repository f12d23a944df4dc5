"""Heads on a text that is typed: the record, what takes a head's place, limits and the server's answers."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fixtures.tiny import local_model
from rwcore.corpora.batches import BatchPlan, batches
from rwcore.errors import ModelError, OptionError
from rwcore.heads.reading import read_heads
from rwcore.heads.reading_means import means_over
from rwcore.heads.writers import WriterMeans
from rwcore.serve import heads as module
from rwcore.serve.head_question import HeadQuestion
from rwcore.serve.heads import MEAN_TOKENS, HeadReader, load_heads
from rwcore.serve.limits import Limits
from rwcore.serve.page import content_policy
from rwcore.tests.local_server import NO_HEADS, ask, request, running, tiny_heads, tiny_model

TEXT = "so it is, and so it goes"
ASKED = {"text": TEXT, "head": "2.1"}


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> HeadReader:
    return tiny_heads("llama", tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def server(heads: HeadReader) -> Iterator[str]:
    with running(heads.reader, heads=heads) as url:
        yield url


def floats(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), "<f4")


def expected(heads: HeadReader, text: str, head: tuple[int, int], means: WriterMeans) -> Any:
    batch = BatchPlan(0, (0,)).load(heads.reader.corpus(text))
    return read_heads(heads.reader.model, batch, [head], means, heads.readout, heads.function)[0]


def same(record: dict[str, Any], found: Any) -> None:
    (reading,) = record["readings"]
    for effect, packed in reading["effects"].items():
        np.testing.assert_array_equal(floats(packed["loss"]), found.loss_increase(effect).numpy())
    np.testing.assert_array_equal(floats(reading["clean"]["loss"]), found.clean.loss.numpy())


# --- what is measured ----------------------------------------------------------------------------------


def test_with_zero_in_its_place(heads: HeadReader) -> None:
    record = heads.answer(HeadQuestion(TEXT, " 2.1 ", "zero"))
    assert record["heads"] == ["2.1"]
    assert record["corpus"] is None
    assert "puts zero" in record["ablation"]
    assert record["rows"][0]["text"]["text"] == f"<bos>{TEXT}"
    assert record["rows"][0]["bos"] is True
    same(record, expected(heads, TEXT, (2, 1), WriterMeans.zero(heads.reader.model)))


def test_with_its_mean_over_our_own_texts_in_its_place(heads: HeadReader) -> None:
    record = heads.answer(HeadQuestion(TEXT, "2.1"))
    texts = heads._texts()
    assert MEAN_TOKENS <= texts.n_tokens < MEAN_TOKENS + 256
    assert int(texts.lengths.max()) <= 256  # the model has no more positions
    assert f"{texts.n_tokens:,} tokens of our own texts (handmade)" in record["ablation"]
    means = means_over(heads.reader.model, [plan.load(texts) for plan in batches(texts)])
    same(record, expected(heads, TEXT, (2, 1), means))
    zero = heads.answer(HeadQuestion(TEXT, "2.1", "zero"))
    assert record["readings"] != zero["readings"]


def test_the_means_are_taken_once(heads: HeadReader, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = replace(heads)
    swept: list[int] = []

    def counted(model: Any, batches: Any) -> WriterMeans:
        swept.append(1)
        return means_over(model, batches)

    monkeypatch.setattr(module, "means_over", counted)
    fresh.answer(HeadQuestion(TEXT, "0.0", "zero"))
    assert not swept
    for head in ("0.0", "2.1"):
        fresh.answer(HeadQuestion(TEXT, head))
    assert len(swept) == 1


def test_a_text_of_one_token_has_no_prediction(heads: HeadReader) -> None:
    bare = replace(heads, reader=replace(heads.reader, bos="none"))
    (reading,) = bare.answer(HeadQuestion("a", "1.1", "zero"))["readings"]
    assert np.isnan(floats(reading["clean"]["loss"])).tolist() == [True]
    assert len(reading["clean"]["top"]) == 1


def test_the_longest_text(heads: HeadReader, monkeypatch: pytest.MonkeyPatch) -> None:
    short = replace(heads, reader=replace(heads.reader, limits=Limits(8)))
    assert short.tokens == 8
    with pytest.raises(OptionError, match="the text has 9 tokens, and 8 are the most"):
        short.answer(HeadQuestion("12345678", "1.1", "zero"))
    monkeypatch.setattr(module, "MOST_TOKENS", 6)
    with pytest.raises(OptionError, match="has 7 tokens, and heads are read in 6 at most"):
        short.answer(HeadQuestion("123456", "1.1", "zero"))


@pytest.mark.parametrize(
    ("head", "part"), [("9.0", "no 9.0"), ("0.99", "no 0.99"), ("one", "'one' is no head")]
)
def test_heads_that_are_not_there(heads: HeadReader, head: str, part: str) -> None:
    with pytest.raises(OptionError, match=re.escape(part)):
        heads.answer(HeadQuestion(TEXT, head, "zero"))


def test_models_whose_heads_cannot_be_read(tmp_path: Path, heads: HeadReader) -> None:
    local = tiny_model("llama", tmp_path)
    raw = load_heads(local, heads.reader, "raw")
    assert isinstance(raw, OptionError)
    assert "processed weights" in raw.what
    (tmp_path / "empty").mkdir()
    broken = load_heads(local_model(tmp_path / "empty"), heads.reader)
    assert isinstance(broken, Exception)
    assert not isinstance(broken, HeadReader)


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "opt"])
def test_families(family: str, tmp_path: Path) -> None:
    found = tiny_heads(family, tmp_path)
    record = found.answer(HeadQuestion("hello", "1.0", "zero"))
    loss = floats(record["readings"][0]["effects"]["total"]["loss"])
    assert np.isfinite(loss[:-1]).all()
    assert torch.tensor(loss[:-1]).abs().max() > 0


# --- over HTTP -----------------------------------------------------------------------------------------


def test_the_pages_link_to_each_other(server: str) -> None:
    page = request(f"{server}/heads")
    assert page.status == 200
    assert b"Test a head on your own text" in page.body
    assert b'href="./"' in page.body
    assert b'href="heads"' in request(f"{server}/").body
    policy = page.headers["Content-Security-Policy"]
    assert policy == content_policy(page.body.decode())
    assert "unsafe" not in policy
    assert len(re.findall("'sha256-", policy)) == len(re.findall(b"<(?:script|style)\\b", page.body)) == 2
    assert not re.search(rb'\s(style|on\w+)="', page.body)


def test_an_answer(server: str, heads: HeadReader) -> None:
    found = ask(server, {**ASKED, "mode": "zero"}, "/heads/ask")
    assert found.status == 200
    assert found.json == heads.answer(HeadQuestion(TEXT, "2.1", "zero"))
    assert b"NaN" not in found.body
    assert ask(server).json["neuron"] == "1.5"  # and of a neuron


@pytest.mark.parametrize(
    ("given", "error", "remedy"),
    [
        ({**ASKED, "text": ""}, "the text is empty", "type"),
        ({**ASKED, "text": "x" * 256}, "the text has 257 tokens, and 256 are the most", "--max-tokens"),
        ({**ASKED, "head": "9.9"}, "the model has no 9.9", "layers from 0 to 2"),
        ({**ASKED, "head": "one"}, "'one' is no head", "LAYER.HEAD, such as 23.3"),
        ({**ASKED, "mode": "fixed"}, "no 'fixed'", "mean or zero"),
        ({**ASKED, "mode": 1}, "it has 'mode': 1", "send JSON"),
        ({**ASKED, "neuron": "1.5"}, "it has 'neuron'", "send JSON"),
        ({"text": "x"}, "no head", "send JSON"),
        ({**ASKED, "text": "\ud800"}, "half a character", "again"),
        (b"[]", "no object", "send JSON"),
    ],
)
def test_mistakes_are_explained(server: str, given: Any, error: str, remedy: str) -> None:
    found = ask(server, given, "/heads/ask")
    assert found.status == 400
    assert error in found.json["error"]
    assert remedy in found.json["remedy"]


def test_it_is_guarded_as_the_other_one(server: str, heads: HeadReader) -> None:
    assert ask(server, ASKED, "/heads/ask", Origin="http://evil.example").status == 403
    assert ask(server, ASKED, "/heads/ask", Content_Type="text/plain").status == 415
    assert ask(server, b" " * (heads.reader.limits.body + 1), "/heads/ask").status == 413
    assert request(f"{server}/heads/ask").status == 405
    assert request(f"{server}/heads", headers={"Host": "evil.example"}).status == 403


def test_without_readable_heads_the_page_says_so_and_neurons_can_be_asked(heads: HeadReader) -> None:
    with running(heads.reader) as server:
        page = request(f"{server}/heads")
        assert page.status == 200
        assert f"cannot be read: {NO_HEADS.what} (the model).".encode() in page.body
        assert b"To do: take another one" in page.body
        assert b"<form" not in page.body
        assert b"<script" not in page.body
        found = ask(server, ASKED, "/heads/ask")
        assert (found.status, found.json["error"]) == (400, NO_HEADS.what)
        assert ask(server).status == 200


def test_an_error_of_the_model_is_explained(heads: HeadReader) -> None:
    class Broken(HeadReader):
        def answer(self, question: HeadQuestion) -> dict[str, Any]:
            raise ModelError("a prediction is not finite", remedy="try float32")

    with running(heads.reader, heads=Broken(heads.reader, heads.readout, heads.function)) as server:
        found = ask(server, ASKED, "/heads/ask")
    assert (found.status, found.json["error"]) == (400, "a prediction is not finite")
