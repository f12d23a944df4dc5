"""Sources of passages: what a user may name, and articles by their titles."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rwcore.ablation.compare import AS_PUBLISHED, FIXED
from rwcore.attributes import sources
from rwcore.attributes.by_title import articles
from rwcore.attributes.dump import Page, read_stream
from rwcore.attributes.sources import DumpSource, PassageSource, open_source, title_of
from rwcore.corpora.own_texts import handmade_documents, knowns
from rwcore.errors import CorpusError, OptionError
from rwcore.tests.dump_maker import NAME, index_lines, write_dump, write_index

PAGES = [
    Page("Zürich", "A city.", 10),
    Page("Turicum", "#REDIRECT [[Zürich]]", 12, redirect="Zürich"),
    Page("NYC", "#REDIRECT [[Big Apple]]", 13, redirect="Big Apple"),
    Page("Big Apple", "#REDIRECT [[New York City]]", 15, redirect="New York City"),
    Page("New York City", "The city.", 17),
    Page("IPhone", "A telephone.", 18),
    Page("Lost", "#REDIRECT [[Nowhere]]", 20, redirect="Nowhere"),
    Page("Category:Cities", "Cities.", 21, namespace=14),
    Page("Alien: Covenant", "A film.", 22),
    Page("Empty", "", 23),
]


def everything(source: PassageSource) -> list[Page]:
    return [page for part in source.parts(1) for page in source.read(part)]


def write_lines(path: Path, *lines: object) -> Path:
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    return path


# --- what may be named ----------------------------------------------------------------------------------


def test_our_own_texts_are_about_their_subjects() -> None:
    source = open_source("handmade")
    facts = [one for one in handmade_documents() if one.labels["kind"] == "fact"]
    assert everything(source) == [Page(one.labels["subject"], one.text) for one in facts]
    assert not source.wikitext
    assert {known.subject for known in knowns()} <= {page.title for page in everything(source)}


def test_a_file_of_documents(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "d.jsonl", {"title": "A", "text": "a"}, {"title": "東京", "text": "b"})
    source = open_source(str(path))
    assert everything(source) == [Page("A", "a"), Page("東京", "b")]
    before = source.identity()
    write_lines(path, {"title": "A", "text": "c"})
    assert source.identity() != before


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"text": "b"}, "no field 'title'"),
        ({"title": 3, "text": "b"}, "no field 'title'"),
        ({"title": "B"}, "no field 'text'"),
        (["B"], "no JSON object"),
    ],
)
def test_a_line_without_title_or_text_is_named(tmp_path: Path, second: object, message: str) -> None:
    path = write_lines(tmp_path / "d.jsonl", {"title": "A", "text": "a"}, second)
    with pytest.raises(CorpusError, match=message) as caught:
        everything(open_source(str(path)))
    assert caught.value.where is not None
    assert caught.value.where.startswith(str(tmp_path))
    assert caught.value.where.replace("line ", "").rstrip().endswith("2")


def test_a_dump(tmp_path: Path) -> None:
    dump = write_dump(tmp_path, PAGES, per_stream=3)
    source = open_source(str(dump))
    assert source.wikitext
    assert everything(source) == PAGES
    assert [len(part) for part in source.parts(3)] == [3, 1]
    before = source.identity()
    write_index(dump, index_lines(dump)[1:])
    assert source.identity() != before


@pytest.mark.parametrize("name", ["nowhere.jsonl", "handmad", "", "text.txt", "folder"])
def test_what_is_no_source_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.txt").write_text("text", encoding="utf-8")
    with pytest.raises(OptionError) as caught:
        open_source(str(tmp_path / name) if name else "")
    assert "FILE.jsonl or a dump" in str(caught.value)


def test_a_dump_without_its_index_is_refused_at_once(tmp_path: Path) -> None:
    dump = tmp_path / NAME
    dump.write_bytes(b"BZh91")
    with pytest.raises(CorpusError, match="without its index"):
        open_source(str(dump))


# --- articles by title ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("subject", "title"),
    [
        ("iPhone", "IPhone"),
        ("new_york  City ", "New york City"),
        ("éclair", "Éclair"),
        ("ßtraße", "ßtraße"),
        ("2pac", "2pac"),
        ("", ""),
    ],
)
def test_titles_as_mediawiki_makes_them(subject: str, title: str) -> None:
    assert title_of(subject) == title


ASKED = ("zürich", "Turicum", "NYC", "iPhone", "Lost", "Category:Cities", "Alien: Covenant", "Empty", "Paris")


@pytest.mark.parametrize("as_lines", [False, True])
def test_articles_of_subjects(tmp_path: Path, as_lines: bool) -> None:
    if as_lines:
        whole = [{"title": page.title, "text": page.text} for page in PAGES if page.text]
        found = articles(open_source(str(write_lines(tmp_path / "d.jsonl", *whole))), ASKED, FIXED)
        # Plain documents know of no redirects.
        assert found["Turicum"].text == "#REDIRECT [[Zürich]]"
        assert found["Category:Cities"].text == "Cities."
    else:
        source = open_source(str(write_dump(tmp_path, PAGES)))
        fixed = {subject: page.title for subject, page in articles(source, ASKED, FIXED).items()}
        # One redirect is followed, a second one is not; a colon does not make a namespace.
        expected = {"zürich": "Zürich", "Turicum": "Zürich", "iPhone": "IPhone"}
        assert fixed == expected | {"Alien: Covenant": "Alien: Covenant"}
        found = articles(source, ASKED, AS_PUBLISHED)
        redirects = {
            "zürich": "Zürich",
            "Turicum": "Turicum",
            "NYC": "NYC",
            "iPhone": "IPhone",
            "Lost": "Lost",
        }
        assert {subject: page.title for subject, page in found.items()} == redirects


def test_all_subjects_of_our_own_facts_have_articles() -> None:
    subjects = sorted({known.subject for known in knowns()})
    assert any(subject[0].islower() for subject in subjects)
    for convention in (FIXED, AS_PUBLISHED):
        assert set(articles(open_source("handmade"), subjects, convention)) == set(subjects)


def test_only_the_streams_that_are_needed_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = [Page(f"Page {n}", f"Text {n}.", n + 1) for n in range(460)]
    pages[300] = Page("Other", "#REDIRECT [[Page 400]]", 301, redirect="Page 400")
    source = open_source(str(write_dump(tmp_path, pages)))
    assert isinstance(source, DumpSource)
    assert sum(1 for _ in source.parts(1)) == 230
    opened = []

    def counted(dump, stream):
        opened.append(stream.offset)
        return read_stream(dump, stream)

    monkeypatch.setattr(sources, "read_stream", counted)
    found = articles(source, ("page 7", "Page 459", "Other", "None"), FIXED)
    assert {subject: page.text for subject, page in found.items()} == {
        "page 7": "Text 7.",
        "Page 459": "Text 459.",
        "Other": "Text 400.",
    }
    assert len(opened) == 4


def test_a_title_that_the_dump_has_not_is_noticed(tmp_path: Path) -> None:
    dump = write_dump(tmp_path, PAGES)
    write_index(dump, [line.replace("Zürich", "Genève") for line in index_lines(dump)])
    with pytest.raises(CorpusError, match="page 10 is 'Zürich', but 'Genève' in the index"):
        articles(open_source(str(dump)), ("Genève",), FIXED)
