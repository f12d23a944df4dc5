"""Dumps in the real format: every page is read once, and what is damaged is said."""

from __future__ import annotations

import bz2
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rwcore.ablation.compare import AS_PUBLISHED, FIXED
from rwcore.attributes import dump as dump_module
from rwcore.attributes.dump import Page, is_article, read_stream
from rwcore.attributes.dump_index import index_of, listed
from rwcore.errors import CorpusError
from rwcore.tests.dump_maker import (
    INDEX,
    NAME,
    articles,
    index_lines,
    offsets,
    page_xml,
    write_dump,
    write_index,
)

PAGES = [
    Page("AccessibleComputing", "#REDIRECT [[Accessibility]]", 10, redirect="Accessibility"),
    Page("Zürich", "'''Zürich''' is a city.\n\nIt lies at a lake.", 12),
    Page('"Heroes" & <Villains>', 'An album.<ref name="a">R&amp;D</ref>', 25),
    Page("Category:Cities", "Cities.", 39, namespace=14),
    Page("Nothing", "", 290),
    Page("東京", "日本の首都。", 303),
    Page("2001: A Space Odyssey", "A film.", 305),
]


def read(dump: Path) -> list[Page]:
    index = index_of(dump)
    return [page for stream, _ in listed(index, dump) for page in read_stream(dump, stream)]


@pytest.mark.parametrize("per_stream", [1, 2, 3, 7, 100])
def test_every_page_is_read_once_and_in_order(tmp_path: Path, per_stream: int) -> None:
    assert read(write_dump(tmp_path, PAGES, per_stream=per_stream)) == PAGES


@settings(max_examples=25, deadline=None)
@given(st.lists(st.text(st.characters(codec="utf-8", min_codepoint=32), max_size=40), min_size=1, max_size=6))
def test_any_text_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    pages = [Page(f"Page {n}", text, n + 1) for n, text in enumerate(texts)]
    assert read(write_dump(tmp_path_factory.mktemp("dump"), pages)) == pages


def test_pieces_of_any_size_give_the_same_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dump = write_dump(tmp_path, PAGES, per_stream=3)
    for piece, unpacked in ((1, 1), (7, 100), (100, 7)):
        monkeypatch.setattr(dump_module, "_PIECE", piece)
        monkeypatch.setattr(dump_module, "_UNPACKED", unpacked)
        assert read(dump) == PAGES


def test_the_end_may_stand_in_the_last_stream_with_pages(tmp_path: Path) -> None:
    dump = write_dump(tmp_path, PAGES[:2], per_stream=2)
    first = offsets(dump)[0]
    last = bz2.compress(("".join(map(page_xml, PAGES[:2])) + "</mediawiki>").encode())
    dump.write_bytes(dump.read_bytes()[:first] + last)
    assert read(dump) == PAGES[:2]


def test_titles_stand_in_the_index_as_in_the_xml(tmp_path: Path) -> None:
    dump = write_dump(tmp_path, PAGES)
    assert any("&quot;Heroes&quot; &amp; &lt;Villains&gt;" in line for line in index_lines(dump))
    titles = [title for _, pages in listed(index_of(dump), dump) for _, title in pages]
    assert titles == [page.title for page in PAGES]


def test_what_an_article_is() -> None:
    names = [[page.title for page in PAGES if is_article(page, how)] for how in (FIXED, AS_PUBLISHED)]
    fixed, published = names
    assert fixed == ["Zürich", '"Heroes" & <Villains>', "東京", "2001: A Space Odyssey"]
    # Redirects count, and every title with a colon is taken for one of another namespace.
    assert published == ["AccessibleComputing", "Zürich", '"Heroes" & <Villains>', "東京"]


# --- what is damaged ------------------------------------------------------------------------------------


def refusal(dump: Path) -> str:
    with pytest.raises(CorpusError) as caught:
        read(dump)
    assert dump.name in str(caught.value) or INDEX in str(caught.value)
    return str(caught.value)


def test_no_dump_and_none_of_many_streams(tmp_path: Path) -> None:
    assert "there is no such dump" in refusal(tmp_path / NAME)
    single = tmp_path / "xxwiki-20211020-pages-articles.xml.bz2"
    single.write_bytes(b"BZh")
    assert "multistream.xml.bz2" in refusal(single)


def test_a_dump_without_its_index(tmp_path: Path) -> None:
    dump = write_dump(tmp_path, PAGES)
    lines = "".join(f"{line}\n" for line in index_lines(dump))
    (tmp_path / INDEX).unlink()
    message = refusal(dump)
    assert "without its index" in message
    assert INDEX in message
    (tmp_path / INDEX.removesuffix(".bz2")).write_text(lines, encoding="utf-8")
    assert read(dump) == PAGES, "an index that is not compressed is one too"


def test_a_part_of_a_large_dump_has_an_index_of_its_own(tmp_path: Path) -> None:
    dump = write_dump(tmp_path, PAGES)
    part = dump.rename(tmp_path / "xxwiki-20211020-pages-articles-multistream1.xml-p10p305.bz2")
    index = tmp_path / "xxwiki-20211020-pages-articles-multistream-index1.txt-p10p305.bz2"
    (tmp_path / INDEX).rename(index)
    assert index_of(part) == index
    assert read(part) == PAGES


def test_a_dump_that_is_cut_off(tmp_path: Path) -> None:
    dump = write_dump(tmp_path, PAGES)
    data, starts = dump.read_bytes(), offsets(dump)
    for size in range(starts[0] + 1, len(data), 5):
        dump.write_bytes(data[:size])
        assert "cut off" in refusal(dump), size


def test_where_a_dump_is_cut_off_is_said(tmp_path: Path) -> None:
    pages = articles({f"Page {n}": bz2.compress(bytes(range(n, 256))).hex() * 40 for n in range(40)})
    dump = write_dump(tmp_path, pages, per_stream=40)
    start = offsets(dump)[0]
    dump.write_bytes(dump.read_bytes()[: -(dump.stat().st_size - start) // 4])
    message = refusal(dump)
    assert "in the middle of a stream" in message
    assert f"byte {start}, " in message
    dump.write_bytes(write_dump(tmp_path / "b", PAGES, per_stream=99, end="").read_bytes())
    write_index(dump, index_lines(tmp_path / "b" / NAME))
    assert "after the page '2001: A Space Odyssey'" in refusal(dump)


def test_a_dump_that_is_not_compressed(tmp_path: Path) -> None:
    dump = write_dump(tmp_path, PAGES)
    dump.write_bytes(bz2.decompress(dump.read_bytes()))
    assert "not compressed with bz2" in refusal(dump)


def test_a_flipped_byte_changes_no_page(tmp_path: Path) -> None:
    dump = write_dump(tmp_path, PAGES)
    data, start = dump.read_bytes(), offsets(dump)[1]
    said = []
    for place in range(start, start + 200, 7):
        dump.write_bytes(data[:place] + bytes([data[place] ^ 16]) + data[place + 1 :])
        try:
            assert read(dump) == PAGES, "a few bits of the format mean nothing"
        except CorpusError as error:
            said.append(error.what)
    assert len(said) >= 25
    assert all("damaged" in what or "not that of this" in what or "cut off" in what for what in said)


def test_damaged_xml_is_located(tmp_path: Path) -> None:
    dump = write_dump(tmp_path, PAGES[:2], per_stream=2)
    first = offsets(dump)[0]
    broken = page_xml(PAGES[0]) + page_xml(PAGES[1]).replace("</text>", "</texts>")
    dump.write_bytes(dump.read_bytes()[:first] + bz2.compress(broken.encode()))
    message = refusal(dump)
    assert "its XML is: mismatched tag" in message
    assert "after the page 'AccessibleComputing'" in message
    broken = page_xml(PAGES[0]).replace("<id>10</id>", "<id>ten</id>") + page_xml(PAGES[1]) + "</mediawiki>"
    dump.write_bytes(dump.read_bytes()[:first] + bz2.compress(broken.encode()))
    assert "'ten'" in refusal(dump)


def test_the_index_of_another_dump(tmp_path: Path) -> None:
    dump = write_dump(tmp_path / "a", PAGES)
    lines = index_lines(dump)
    other = [line.replace(":12:", ":13:") for line in lines]
    write_index(dump, other)
    assert "not that of this dump" in refusal(dump), "another id"
    write_index(dump, lines[:1] + lines[2:])
    assert "not that of this dump" in refusal(dump), "a page less"
    moved = [f"{int(line.split(':', 1)[0]) + 5}:{line.split(':', 1)[1]}" for line in lines]
    write_index(dump, moved)
    assert "no stream begins there" in refusal(dump)
    starts = offsets(write_dump(tmp_path / "b", PAGES))
    write_dump(tmp_path / "b", PAGES)
    whole = index_lines(tmp_path / "b" / NAME)
    left_out = [line for line in whole if not line.startswith(f"{starts[1]}:")]
    write_index(tmp_path / "b" / NAME, left_out)
    assert "the stream ends before the next one begins" in refusal(tmp_path / "b" / NAME)
    write_index(dump, [*lines, "99999999:1:Far away"])
    assert "names byte 99999999" in refusal(dump)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: [], "it is empty"),
        (lambda lines: [lines[0], "a:b:c"], "line 2"),
        (lambda lines: [*lines, "12"], f"line {len(PAGES) + 1}"),
        (lambda lines: lines[::-1], "is named after byte"),
    ],
)
def test_a_damaged_index(tmp_path: Path, change, message: str) -> None:
    dump = write_dump(tmp_path, PAGES)
    write_index(dump, change(index_lines(dump)))
    found = refusal(dump)
    assert "index of the dump is damaged" in found
    assert message in found


def test_an_index_that_is_cut_off_or_no_text(tmp_path: Path) -> None:
    dump = write_dump(tmp_path, PAGES)
    index = tmp_path / INDEX
    data = index.read_bytes()
    index.write_bytes(data[: len(data) // 2])
    assert "cannot be read after line" in refusal(dump)
    index.write_bytes(bz2.compress(b"600:10:Z\xfcrich\n"))
    assert "not UTF-8" in refusal(dump)


# --- memory ---------------------------------------------------------------------------------------------

READER = """
import sys
from pathlib import Path
from rwcore.attributes.dump import read_stream
from rwcore.attributes.dump_index import index_of, listed
from rwcore.runtime import peak_memory_bytes
dump = Path(sys.argv[1])
pages = sum(1 for stream, _ in listed(index_of(dump), dump) for page in read_stream(dump, stream))
print(pages, peak_memory_bytes())
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_dump(tmp_path: Path) -> None:
    peaks = []
    for streams in (10, 150):
        text = "A sentence about nothing, with [[links]] and '''markup'''. " * 400
        pages = (Page(f"Page {n}", text, n + 1) for n in range(streams * 20))
        dump = write_dump(tmp_path / str(streams), pages, per_stream=20)
        command = [sys.executable, "-c", READER, str(dump)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        count, peak = map(int, done.stdout.split())
        assert count == streams * 20
        peaks.append(peak)
    assert peaks[1] < peaks[0] + (16 << 20), "fifteen times as many pages, 70 MB of text"
    assert peaks[1] < 600 << 20
