"""What the server reads from a request, and what it refuses."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rwcore.ablation.interventions import MODES, PARAMETER_MODES, Intervention
from rwcore.errors import OptionError
from rwcore.serve.limits import TOKENS, Limits, fitting
from rwcore.serve.question import ASKED_MODES, Question


def body(**given: Any) -> bytes:
    return json.dumps({"text": "Once", "neuron": "1.5", **given}).encode()


def test_a_text_and_a_neuron_are_enough() -> None:
    assert Question.from_json(body()) == Question("Once", "1.5", Intervention("zero"))


@pytest.mark.parametrize("mode", ASKED_MODES)
def test_every_mode_but_the_mean(mode: str) -> None:
    question = Question.from_json(body(mode=mode, parameter=-2))
    assert question.intervention == Intervention(mode, parameter=-2.0 if mode in PARAMETER_MODES else None)
    assert {*ASKED_MODES, "mean"} == {*MODES}


@pytest.mark.parametrize(
    ("request_body", "part"),
    [
        (b"", "not JSON"),
        (b"neuron=1.5", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "no object"),
        (b"{}", "no text and no neuron"),
        (b'{"text": "Once"}', "no neuron"),
        (body(text=3), "'text': 3"),
        (body(neuron=1.5), "'neuron': 1.5"),
        (body(neuron=None), "'neuron': None"),
        (body(parameter=True), "'parameter': True"),
        (body(parameter="1"), "'parameter': '1'"),
        (body(file="/etc/passwd"), "'file'"),
        (body(text="\ud83d"), "half a character"),
        (body(mode="mean"), "rwcore ablate"),
        (body(mode="nil"), "'nil'"),
        (body(mode="fixed"), "needs a number"),
        (body(mode="fixed", parameter=float("inf")), "finite"),
        (body(mode="multiply", parameter=float("nan")), "finite"),
    ],
)
def test_what_cannot_be_read_is_explained(request_body: bytes, part: str) -> None:
    with pytest.raises(OptionError) as caught:
        Question.from_json(request_body)
    assert part in str(caught.value)
    assert caught.value.remedy


@given(st.binary(max_size=60))
def test_no_bytes_do_more_than_an_error(anything: bytes) -> None:
    with pytest.raises(OptionError):
        Question.from_json(anything)


@given(st.text(max_size=40))
def test_any_text_arrives_as_it_is(text: str) -> None:
    assert Question.from_json(body(text=text)).text == text


def test_a_whole_text_fits_into_the_largest_request() -> None:
    limits = Limits(8)
    longest = json.dumps({"text": "😀" * limits.characters, "neuron": "1.5"}).encode()
    assert len(longest) <= limits.body < 2 * len(longest)


def test_limits_follow_the_context() -> None:
    assert fitting(None, None, "m").tokens == TOKENS
    assert fitting(None, 64, "m").tokens == 64
    assert fitting(None, 10**6, "m").tokens == TOKENS
    assert fitting(1024, 2048, "m").tokens == 1024
    assert fitting(1024, None, "m").tokens == 1024


@pytest.mark.parametrize(("tokens", "context"), [(65, 64), (1, 64), (0, None), (-3, None)])
def test_impossible_limits(tokens: int, context: int | None) -> None:
    with pytest.raises(OptionError, match=r"64 positions|less than 2"):
        fitting(tokens, context, "m")
