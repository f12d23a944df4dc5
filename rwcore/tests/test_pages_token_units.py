"""Units of a text: nothing is lost, characters are whole, tokens are counted."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rwcore.models.vocabulary import shown
from rwcore.pages.token_units import BROKEN, Unit, packed, token_units


def escaped(data: bytes) -> str:
    """Bytes as the text of a token."""
    return data.decode("utf-8", errors="surrogateescape")


def test_a_token_is_a_unit() -> None:
    assert token_units(["The", " cat", "\n"]) == [Unit("The"), Unit(" cat"), Unit("\n")]


def test_tokens_that_share_a_character_are_one_unit() -> None:
    smile = "😀".encode()
    tokens = ["a", escaped(b" " + smile[:2]), escaped(smile[2:3]), escaped(smile[3:] + b"!"), "b"]
    assert token_units(tokens) == [Unit("a"), Unit(" 😀!", 3), Unit("b")]


def test_neighbouring_characters_are_not_joined() -> None:
    one, other = "é".encode(), "文".encode()
    tokens = [escaped(part) for part in (one[:1], one[1:], other[:1], other[1:])]
    assert token_units(tokens) == [Unit("é", 2), Unit("文", 2)]


def test_a_token_that_ends_one_character_and_begins_another_joins_both() -> None:
    one, other = "é".encode(), "文".encode()
    tokens = [escaped(part) for part in (one[:1], one[1:] + other[:1], other[1:])]
    assert token_units(tokens) == [Unit("é文", 3)]


def test_bytes_that_are_no_character_stay_visible() -> None:
    broken = Unit(f"a{BROKEN}{BROKEN}", bytes=b"\xe2\x80")
    assert token_units([escaped(b"a\xe2\x80"), "b"]) == [broken, Unit("b")]
    assert token_units([BROKEN]) == [Unit(BROKEN)]


def test_a_vocabulary_may_write_ascii_as_bytes() -> None:
    assert token_units([chr(0xDC00 + 0x0A), chr(0xDC00 + 0x41)]) == [Unit("\n"), Unit("A")]


def test_special_tokens_keep_to_themselves() -> None:
    smile = "😀".encode()
    tokens = ["<s>", escaped(smile[:2]), "<s>", escaped(smile[2:])]
    units = token_units(tokens, {0, 2})
    assert [unit.special for unit in units] == [True, False, True, False]
    assert units[1] == Unit(BROKEN * 2, bytes=smile[:2])


def test_an_empty_token_counts() -> None:
    assert token_units(["", "a", ""]) == [Unit(""), Unit("a"), Unit("")]
    assert token_units([]) == []


pieces = st.lists(st.integers(0, 12), max_size=12)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40), pieces, st.binary(max_size=4))
def test_whatever_the_tokens_the_text_is_the_text(text: str, cuts: list[int], tail: bytes) -> None:
    whole = text.encode() + tail
    places = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    tokens = [escaped(whole[a:b]) for a, b in itertools.pairwise(places)]
    units = token_units(tokens)
    expected = "".join(BROKEN if 0xDC80 <= ord(one) <= 0xDCFF else one for one in escaped(whole))
    assert "".join(unit.text for unit in units) == expected
    assert sum(unit.tokens for unit in units) == len(tokens)
    # No unit can be divided: what is shown of it alone is not what its tokens show one by one.
    place = 0
    for unit in units:
        parts = tokens[place : place + unit.tokens]
        assert unit.tokens == 1 or any("⟨" in shown(part) for part in parts)
        place += unit.tokens


def test_packed_units_can_be_cut_out_again() -> None:
    smile = "😀".encode()
    units = token_units(["<s>", "a", escaped(smile[:2]), escaped(smile[2:]), escaped(b"\xff"), "文"], {0})
    data = json.loads(json.dumps(packed(units)))
    # As the browser does it, which counts in UTF-16.
    text, place, found = data["text"].encode("utf-16-le"), 0, []
    for length in data["lengths"]:
        found.append(text[2 * place : 2 * (place + length)].decode("utf-16-le"))
        place += length
    assert found == ["<s>", "a", "😀", BROKEN, "文"]
    assert (data["tokens"], data["special"], data["bytes"]) == ({"2": 2}, [0], {"3": "FF"})


@pytest.mark.parametrize("count", [1, 3])
def test_several_bytes_are_told_in_order(count: int) -> None:
    (unit,) = token_units([escaped(b"\xff\xfe\xfd"[:count])])
    assert packed([unit])["bytes"] == {0: "FF FE FD"[: 3 * count - 1]}
