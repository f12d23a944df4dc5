"""The page of examples of heads as text: all of the record is in it, and nothing in it can get out."""

from __future__ import annotations

import base64
import json
import re
import zlib
from typing import Any

import pytest

from rwcore.errors import StoreError
from rwcore.pages.head_examples import SCRIPTS, head_examples_page
from rwcore.pages.packed_json import packed_json
from rwcore.pages.render import static
from rwcore.tests.head_records import HOSTILE, TEXTS, make_record

RECORD = re.compile(r'<script type="text/plain" id="record">([A-Za-z0-9+/=]*)</script>')


def unpacked(found: str) -> Any:
    return json.loads(zlib.decompress(base64.b64decode(found)))


def page(record: dict[str, Any] | None = None) -> str:
    return head_examples_page(record or make_record(), title="Examples of heads")


def test_the_record_is_in_the_page_as_it_is() -> None:
    record = make_record()
    (found,) = RECORD.findall(page(record))
    assert unpacked(found) == record


def test_names_that_would_end_the_script_are_text() -> None:
    record = make_record()
    record["model"] = HOSTILE
    record["rows"][0]["document"] = "<!-- <script>"
    text = head_examples_page(record, title=HOSTILE)
    assert len(re.findall("<script", text)) == len(re.findall("</script>", text)) == 2
    assert "<!-- <script>" not in text
    assert HOSTILE not in text
    assert "&lt;/script&gt;&lt;script&gt;alert(1)" in text  # in the heading
    (found,) = RECORD.findall(text)
    assert unpacked(found)["model"] == HOSTILE
    assert sum(HOSTILE in one for row in TEXTS for one in row) == 2


def test_the_page_needs_nothing_but_itself() -> None:
    text = page()
    policy = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert len(policy) == 1
    assert policy[0].startswith("default-src 'none'")
    assert "connect-src" not in policy[0]
    without = RECORD.sub("", text)
    assert not re.findall(r"(?:src|href)=\"(?!data:,|#)", without)
    assert not re.findall(r"fetch\(|XMLHttpRequest|@import|url\(", without)
    assert not re.search(r'\s(style|on\w+)="', without)


def test_it_says_which_model_and_corpus() -> None:
    text = page()
    assert "<title>Examples of heads</title>" in text
    assert "made-up on made-up texts" in text
    assert "in 3 sequences" in text
    typed = page({**make_record(rows=1), "corpus": None})
    assert "in 1 sequence:" in typed
    assert "made-up on" not in typed


def test_every_script_is_in_it_once_and_strict() -> None:
    text = page()
    for name in (*SCRIPTS, "unpack.js", "head_examples_page.js"):
        script = str(static(name))
        assert text.count(script) == 1
        assert '"use strict";' in script
        assert len(script.splitlines()) <= 300


def test_numbers_that_json_has_not_are_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        packed_json({"value": float("nan")})


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"schema": "rwcore-head-reading/0"}, "schema 'rwcore-head-reading/0'"),
        ({"rows": []}, "with 0 rows, 2 heads and 4 effects"),
        ({"heads": None}, "3 rows, 0 heads"),
        ({"effects": []}, "and 0 effects"),
        ({"readings": []}, "has 0 readings, and 3 rows of 2 heads"),
    ],
)
def test_records_that_cannot_be_shown(change: dict[str, Any], part: str) -> None:
    with pytest.raises(StoreError, match=re.escape(part)):
        page({**make_record(), **change})
