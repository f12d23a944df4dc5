"""The page of circuits: complete, escaped, self-contained, small, legible; its data are the lists."""

from __future__ import annotations

import base64
import json
import re
import zlib
from pathlib import Path
from typing import Any

import pytest

from rwcore.heads.embeddings import EMBEDDINGS
from rwcore.heads.token_lists import FOCUSES
from rwcore.pages.head_circuits import BARS, NOTHING, READ, circuits_page
from rwcore.pages.render import static
from rwcore.studies.head_circuits import TABLES
from rwcore.tests import circuits_report as made
from rwcore.tests.test_pages_explorer import contrast
from rwcore.tests.test_report_html import Page


@pytest.fixture(scope="module")
def source() -> str:
    return circuits_page(made.report())


def data_of(source: str) -> dict[str, Any]:
    text = re.search(r'<script id="data" type="text/plain">([^<]+)</script>', source)
    assert text
    found: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(text[1])))
    return found


def page_of(source: str, folder: Path) -> Page:
    path = folder / "circuits.html"
    path.write_text(source, encoding="utf-8")
    return Page(path)


def test_it_is_well_formed_and_needs_nothing_else(source: str, tmp_path: Path) -> None:
    page = page_of(source, tmp_path)
    assert max(page.ids.values()) == 1
    assert page.loads == ["data:,"]
    assert set(page.links) == {"#main", "heads.csv", "manifest.json"}
    for asking in ("http", "url(", "@import", "fetch(", "XMLHttpRequest"):
        assert asking not in source
    assert page.tags["script"] == 2
    assert page.ids["QK"] == page.ids["OV"] == 1
    assert source.index('id="QK"') < source.index('id="OV"')  # QK left


def test_everything_from_outside_is_escaped(source: str, tmp_path: Path) -> None:
    text = page_of(source, tmp_path).text
    assert "<script>alert" not in source
    for part in ("org/<model>", "words that were & are <frequent>.", "rwcore heads circuits '<x>'"):
        assert part in text


def test_it_says_what_the_numbers_are_made_of(source: str, tmp_path: Path) -> None:
    """Trap T22: whether attention is part of the embedding stands beside its name."""
    text = " ".join(page_of(source, tmp_path).text.split())
    assert f"E is EE-A: {READ['EE-A']}" in text
    assert "the first attention is left out" in READ["EE-A"]
    assert f"The key is made of EE-B: {READ['EE-B']}" in text
    assert "3 positions behind the key" in text
    assert "4 asked for with --tokens; the others: words that were" in text
    assert set(READ) == {*TABLES} == {"W_U", *EMBEDDINGS}


def test_data_are_the_lists_with_the_own_token_and_its_place(source: str) -> None:
    data = data_of(source)
    tokens = [*made.ASKED, *made.WORDS]
    assert data["raw"] == [made.TEXTS[token] for token in tokens]
    assert data["heads"] == ["2.1", "0.3"]
    assert data["vocabulary"] == made.VOCAB
    for name in ("suppressed", "boosted", "attended"):
        for focus in FOCUSES:
            for place, head in enumerate(made.CHARTED):
                for number, token in enumerate(tokens):
                    others, values, own = data["lists"][name][focus][place][number]
                    wanted = made.ordered(name, focus, head, token)
                    shown = [made.VOCABULARY[other] for other, _ in wanted[:BARS]]
                    assert [data["texts"][other] for other in others] == shown
                    assert values == pytest.approx([value for _, value in wanted[:BARS]], rel=1e-3)
                    at = [other for other, _ in wanted].index(token)
                    assert own == [at + 1, pytest.approx(wanted[at][1], rel=1e-3)]


def test_the_map_has_every_head(source: str) -> None:
    data = data_of(source)
    for circuit, shares in data["map"].items():
        assert (len(shares), {len(row) for row in shares}) == (made.LAYERS, {made.HEADS})
        assert shares[2][3] == made.share(circuit, 2, 3)
        assert shares[1][0] is None
        assert shares[1][1] == NOTHING


def test_the_command_line_is_quoted_for_a_shell() -> None:
    data = data_of(circuits_page(made.report(model="./my model")))
    assert data["again"] == "rwcore heads circuits './my model' --rows=50 --seed=0"


def test_ov_alone(tmp_path: Path) -> None:
    given = made.report()
    only = {
        "statistics": given.statistics[given.statistics["circuit"] == "OV"],
        "lists": given.lists[given.lists["circuit"] == "OV"],
        "query": None,
        "key": None,
    }
    source = circuits_page(made.report(**only))
    page = page_of(source, tmp_path)
    assert page.ids["OV"] == 1
    assert page.ids["QK"] == 0
    assert set(data_of(source)["lists"]) == {"suppressed", "boosted"}
    assert "query is made of" not in page.text


def test_a_page_too_large_leaves_out_words_then_heads_then_tokens_and_says_so() -> None:
    whole = len(circuits_page(made.report()))
    least = len(circuits_page(made.report(), most_bytes=0))
    seen = []
    for limit in range(whole, least, -200):
        source = circuits_page(made.report(), most_bytes=limit)
        assert len(source.encode()) <= limit
        data = data_of(source)
        seen.append((len(data["raw"]), len(data["heads"])))
        assert ("did not fit" in source) == (len(data["heads"]) < 2 or len(data["raw"]) < len(made.ASKED))
    assert seen == sorted(seen, key=lambda one: (-one[1], -one[0]))
    assert (4, 2) in seen  # the words first
    smallest = circuits_page(made.report(), most_bytes=0)
    assert "1 heads and 3 of the asked tokens did not fit" in smallest
    assert data_of(smallest)["raw"] == [" love"]


def test_without_given_tokens_it_leaves_out_words_before_heads() -> None:
    limit, seen = 10**9, []
    for _ in range(4):
        source = circuits_page(made.report(asked=()), most_bytes=limit)
        data, limit = data_of(source), len(source.encode()) - 1
        seen.append((len(data["raw"]), len(data["heads"])))
    assert seen == [(5, 2), (2, 2), (1, 2), (1, 1)]
    assert circuits_page(made.report(asked=()), most_bytes=0) == source


def test_bytes_that_are_no_character_do_not_break_it() -> None:
    texts = (*made.TEXTS[:5], "\udcff", *made.TEXTS[6:])
    words = type(made.VOCABULARY)(made.VOCABULARY.tokens, made.VOCAB, texts, frozenset())
    assert data_of(circuits_page(made.report(vocabulary=words)))["raw"][0] == "\ufffd"


def test_text_and_marks_are_legible_in_light_and_dark() -> None:
    for number, (base, own) in enumerate(
        zip(
            re.findall(r":root \{(.*?)\}", static("base.css"), re.DOTALL)[:2],
            re.findall(r":root \{(.*?)\}", static("head_circuits.css"), re.DOTALL)[:2],
            strict=True,
        )
    ):
        colours = dict(re.findall(r"--([\w-]+): (#\w+)", base + own))
        assert contrast(colours["muted"], colours["paper"]) >= 4.5, number
        assert contrast(colours["ink"], colours["paper"]) >= 7
        for name in ("bar", "own", "field", "bad", "shade"):
            assert contrast(colours[name], colours["paper"]) >= 3, (number, name)
