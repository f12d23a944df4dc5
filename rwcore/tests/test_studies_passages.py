"""Passages from end to end: found once, gone on with after a crash, the same whatever the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rwcore.ablation.compare import AS_PUBLISHED, FIXED
from rwcore.attributes.dump import Page
from rwcore.attributes.paragraph_file import write_paragraphs
from rwcore.attributes.passages import Passage, Passages
from rwcore.attributes.sources import open_source
from rwcore.errors import CorpusError, OptionError, StoreError
from rwcore.parallel import InProcess
from rwcore.store import Store
from rwcore.studies import passage_shards
from rwcore.studies import passages as passages_module
from rwcore.studies.passages import (
    BM25,
    TABLE,
    TITLE,
    Counts,
    PassageOptions,
    find_passages,
    passage_folder,
    read_counts,
    read_passages,
)
from rwcore.tests.dump_maker import write_dump

SUBJECTS = ["Zürich", "Alan Turing", "iPhone", "apple Inc", "Nobody"]
PAGES = [
    Page(
        "Zürich",
        "{{Box|name=Zürich}}'''Zürich''' is a [[city]].<ref>Zürich</ref>\n\n== History ==\nRomans came.\n\n"
        "=== Later ===\n{| \n| x\n\n| y\n|}\nPeace &amp; quiet in Zürich.\n\n[[Category:Zürich]]",
        10,
    ),
    Page("Turicum", "#REDIRECT [[Zürich]]", 12, redirect="Zürich"),
    Page("Alan Turing", "'''Alan Turing''' was a mathematician.\n\nHe was born in London.", 13),
    Page("Apple", "Apple inc makes the Iphone.\n\nThe iPhone is a telephone of Apple Inc.", 20),
    Page("2001: A Film", "Alan Turing is not in it.", 22),
    Page("Talk:Zürich", "Zürich, Zürich, Zürich.", 23, namespace=1),
    Page("Machine", "A machine of Alan Turing.\n\nAlan Turings of this world.", 30),
    Page("Empty", "", 31),
    Page("Other", "Nothing to be seen here.", 32),
]


class Watched(InProcess):
    """Counts the tasks; after some of them it fails as a machine does that is switched off."""

    def __init__(self, fail_after: int = 10**9) -> None:
        self.done = 0
        self.fail_after = fail_after

    def map(self, function: Any, specs: Sequence[Any], *, desc: str) -> list[Any]:
        def watched(spec: Any) -> Any:
            if self.done == self.fail_after:
                raise KeyboardInterrupt
            self.done += 1
            return function(spec)

        return super().map(watched, specs, desc=desc)


def found(tmp_path: Path, retrieval: str, convention: str, **more: Any) -> Passages:
    source = open_source(str(write_dump(tmp_path / "dump", PAGES)))
    options = PassageOptions(retrieval, convention, **more)
    return find_passages(source, SUBJECTS, options, store=Store(tmp_path / "store"), engine=InProcess())


def test_by_title(tmp_path: Path) -> None:
    assert found(tmp_path, TITLE, FIXED) == {
        "Zürich": (
            Passage("Zürich", "Zürich is a city."),
            Passage("Zürich. History", "Romans came."),
            Passage("Zürich. History. Later", "Peace & quiet in Zürich."),
        ),
        "Alan Turing": (
            Passage("Alan Turing", "Alan Turing was a mathematician."),
            Passage("Alan Turing", "He was born in London."),
        ),
        "iPhone": (),
        "apple Inc": (),
        "Nobody": (),
    }


def test_by_words(tmp_path: Path) -> None:
    passages = found(tmp_path, BM25, FIXED)
    assert {one.text for one in passages["Zürich"]} == {
        "Zürich is a city.",
        "Romans came.",
        "Peace & quiet in Zürich.",
    }
    assert [one.text for one in passages["Alan Turing"]][-1] == "He was born in London.", "only its title"
    assert {one.title for one in passages["Alan Turing"]} == {"Alan Turing", "2001: A Film", "Machine"}
    assert [one.text for one in passages["iPhone"]] == ["The iPhone is a telephone of Apple Inc."]
    assert [one.text for one in passages["apple Inc"]] == ["The iPhone is a telephone of Apple Inc."]
    assert passages["Nobody"] == ()


def test_by_words_as_published(tmp_path: Path) -> None:
    passages = found(tmp_path, BM25, AS_PUBLISHED)
    titles = {"Zürich", "Zürich. History", "Zürich. History. Later", "Turicum"}
    assert {one.title for one in passages["Zürich"]} == titles
    # A title with a colon is no article, and a match may go on.
    assert {one.text for one in passages["Alan Turing"]} == {
        "Alan Turing was a mathematician.",
        "He was born in London.",
        "A machine of Alan Turing.",
        "Alan Turings of this world.",
    }
    # capitalize(): Iphone and Apple inc.
    assert len(passages["iPhone"]) == 2
    assert [one.text for one in passages["apple Inc"]] == ["Apple inc makes the Iphone."]


@pytest.mark.parametrize("convention", [FIXED, AS_PUBLISHED])
def test_the_parts_do_not_matter(tmp_path: Path, convention: str) -> None:
    source = open_source(str(write_dump(tmp_path, PAGES, per_stream=1)))
    results = []
    for streams in (1, 2, 100):
        engine = Watched()
        options = PassageOptions(BM25, convention, streams_per_shard=streams)
        store = Store(tmp_path / f"store{streams}")
        folder = passage_folder(source, SUBJECTS, options, store=store, engine=engine)
        assert engine.done == -(-len(PAGES) // streams)
        results.append((read_passages(folder, SUBJECTS), read_counts(folder), folder.name))
    assert results[0] == results[1] == results[2], "nor are they a part of the key"


def test_what_was_looked_at_is_counted(tmp_path: Path) -> None:
    source, store = open_source(str(write_dump(tmp_path, PAGES))), Store(tmp_path / "store")
    counts = {
        how: read_counts(
            passage_folder(source, SUBJECTS, PassageOptions(*how), store=store, engine=InProcess())
        )
        for how in ((TITLE, FIXED), (BM25, FIXED), (BM25, AS_PUBLISHED))
    }
    assert counts[TITLE, FIXED] == Counts(pages=2, paragraphs=5, kept=5)
    # Six articles; the one that mentions no subject is not looked into.
    assert counts[BM25, FIXED] == Counts(pages=6, paragraphs=10, kept=9)
    # Without the film, with the redirect; the table is cut in two.
    assert counts[BM25, AS_PUBLISHED].pages == 6
    assert counts[BM25, AS_PUBLISHED].paragraphs == 12


def test_documents_in_plain_text(tmp_path: Path) -> None:
    lines = [{"title": page.title, "text": page.text} for page in PAGES if page.text]
    path = tmp_path / "documents.jsonl"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    options = PassageOptions(BM25)
    store = Store(tmp_path / "store")
    passages = find_passages(open_source(str(path)), SUBJECTS, options, store=store, engine=InProcess())
    assert Passage("Turicum", "#REDIRECT [[Zürich]]") in passages["Zürich"]


def test_our_own_texts(tmp_path: Path) -> None:
    engine, store = Watched(), Store(tmp_path)
    passages = find_passages(open_source("handmade"), ["Portugal", "Atlantis"], store=store, engine=engine)
    assert passages["Atlantis"] == ()
    assert [passage.title for passage in passages["Portugal"]] == ["Portugal"]
    assert passages["Portugal"][0].text.startswith("Portugal")


def test_no_more_than_the_top(tmp_path: Path) -> None:
    for retrieval, convention in ((TITLE, FIXED), (BM25, FIXED), (BM25, AS_PUBLISHED)):
        passages = found(tmp_path, retrieval, convention, top=1)
        assert len(passages["Alan Turing"]) == 1


def test_a_subject_is_looked_for_once_and_in_any_order(tmp_path: Path) -> None:
    source, store = open_source(str(write_dump(tmp_path, PAGES))), Store(tmp_path / "store")
    folders = {
        passage_folder(source, names, store=store, engine=InProcess())
        for names in (["Zürich", "iPhone"], ["iPhone", "Zürich", "iPhone"])
    }
    assert len(folders) == 1
    assert find_passages(source, [], store=store, engine=InProcess()) == {}


def test_passages_are_found_once(tmp_path: Path) -> None:
    source = open_source(str(write_dump(tmp_path, PAGES)))
    store, engine = Store(tmp_path / "store"), Watched()
    first = find_passages(source, SUBJECTS, PassageOptions(BM25), store=store, engine=engine)
    assert engine.done > 0
    again = find_passages(source, SUBJECTS, PassageOptions(BM25), store=store, engine=Watched(fail_after=0))
    assert again == first
    with pytest.raises(KeyboardInterrupt):
        find_passages(source, SUBJECTS[1:], PassageOptions(BM25), store=store, engine=Watched(fail_after=0))
    assert not list(store.root.rglob("*.work/*/*/paragraphs.parquet")), "nothing of the work is left"


@pytest.mark.parametrize("convention", [FIXED, AS_PUBLISHED])
def test_an_interrupted_search_goes_on(
    tmp_path: Path, convention: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = open_source(str(write_dump(tmp_path, PAGES, per_stream=1)))
    options = PassageOptions(BM25, convention, streams_per_shard=1)
    whole = find_passages(source, SUBJECTS, options, store=Store(tmp_path / "a"), engine=InProcess())
    store = Store(tmp_path / "b")
    with pytest.raises(KeyboardInterrupt):
        find_passages(source, SUBJECTS, options, store=store, engine=Watched(fail_after=5))
    assert len(list(store.root.rglob("paragraphs.parquet"))) == 5
    written = []

    def counted(path: Path, chosen: Any) -> None:
        written.append(path)
        write_paragraphs(path, chosen)

    monkeypatch.setattr(passage_shards, "write_paragraphs", counted)
    assert find_passages(source, SUBJECTS, options, store=store, engine=InProcess()) == whole
    assert len(written) == len(PAGES) - 5, "only what is missing"
    assert not list(store.root.rglob("paragraphs.parquet"))


def test_ranking_that_was_interrupted_begins_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = passages_module.rank_candidates

    def half(candidates: Any, subjects: Any, *, top: int, folder: Path) -> Any:
        list(real(candidates, subjects, top=top, folder=folder))
        raise KeyboardInterrupt

    monkeypatch.setattr(passages_module, "rank_candidates", half)
    with pytest.raises(KeyboardInterrupt):
        found(tmp_path, BM25, FIXED)
    monkeypatch.undo()
    assert len(found(tmp_path, BM25, FIXED)["Alan Turing"]) == 4


WORKER = """
import sys
from pathlib import Path
from rwcore.attributes.sources import open_source
from rwcore.parallel import InProcess
from rwcore.store import Store
from rwcore.studies.passages import PassageOptions, find_passages
options = PassageOptions("bm25", streams_per_shard=1)
subjects = sys.argv[3:]
find_passages(open_source(sys.argv[1]), subjects, options, store=Store(Path(sys.argv[2])), engine=InProcess())
"""


@pytest.mark.slow
def test_a_killed_search_goes_on(tmp_path: Path) -> None:
    pages = [
        Page(f"Page {n}", "\n\n".join(f"A '''[[machine]]''' of Alan Turing, {n}." for _ in range(40)), n + 1)
        for n in range(800)
    ]
    dump = write_dump(tmp_path, pages, per_stream=4)
    store = Store(tmp_path / "store")
    command = [sys.executable, "-c", WORKER, str(dump), str(store.root), *SUBJECTS]
    worker = subprocess.Popen(command)
    end = time.monotonic() + 60
    while len(list(store.root.rglob("paragraphs.parquet"))) < 5:
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait(timeout=30)
    engine = Watched()
    options = PassageOptions(BM25, streams_per_shard=1)
    source = open_source(str(dump))
    resumed = find_passages(source, SUBJECTS, options, store=store, engine=engine)
    assert engine.done == 200
    whole = find_passages(source, SUBJECTS, options, store=Store(tmp_path / "whole"), engine=InProcess())
    assert resumed == whole
    assert len(whole["Alan Turing"]) == 100


# --- bad input ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"retrieval": "bm52"}, "there is no 'bm52'"),
        ({"convention": "published"}, "there is no 'published'"),
        ({"top": 0}, "0 is less than 1"),
        ({"streams_per_shard": -1}, "-1 is less than 1"),
    ],
)
def test_impossible_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        PassageOptions(**options)


def test_a_dump_that_is_cut_off_leaves_nothing(tmp_path: Path) -> None:
    dump = write_dump(tmp_path, PAGES)
    dump.write_bytes(dump.read_bytes()[:-20])
    store = Store(tmp_path / "store")
    options = PassageOptions(BM25, streams_per_shard=1)
    with pytest.raises(CorpusError, match="cut off in the middle of a stream"):
        find_passages(open_source(str(dump)), SUBJECTS, options, store=store, engine=InProcess())
    assert store.entries() == []


def test_a_damaged_artefact(tmp_path: Path) -> None:
    source, store = open_source("handmade"), Store(tmp_path)
    folder = passage_folder(source, SUBJECTS, store=store, engine=InProcess())
    (folder / TABLE).write_bytes(b"PAR1")
    with pytest.raises(StoreError, match="cannot read table"):
        find_passages(source, SUBJECTS, store=store, engine=InProcess())
