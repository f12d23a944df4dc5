"""Passages about subjects, as an artefact: found once, whatever is asked of them then.

Ranking needs the paragraphs of all pages first. They are gathered part by part, and what was gathered
outlives a killed process; it is removed as soon as the passages are there.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import pandas as pd

from rwcore.ablation.compare import AS_PUBLISHED, CONVENTIONS, FIXED
from rwcore.attributes.bm25 import rank_candidates
from rwcore.attributes.bm25_published import SubjectWords, is_kept, rank_paragraphs
from rwcore.attributes.by_title import articles
from rwcore.attributes.paragraph_file import read_numbers, read_paragraphs
from rwcore.attributes.passages import Passage, Passages
from rwcore.attributes.sources import PassageSource
from rwcore.attributes.wikitext import paragraphs
from rwcore.errors import require_choice, require_least
from rwcore.parallel import Engine
from rwcore.provenance import Stopwatch, collect
from rwcore.store import MANIFEST, ArtefactKey, Store, read_json, read_table, write_table, writing
from rwcore.studies.passage_shards import FILE, ShardTask, gather

DEFINITION = "passages/1"
TABLE = "passages.parquet"
TITLE, BM25 = "title", "bm25"
RETRIEVALS = (TITLE, BM25)

Ranked = Iterable[tuple[str, Sequence[tuple[Passage, float]]]]
"""Subjects, each with passages and their scores, best first."""


@dataclass(frozen=True)
class PassageOptions:
    """How passages are found.

    Attributes:
        retrieval: ``title``: the paragraphs of the article whose title is the subject; ``bm25``: the best
            paragraphs that mention the subject, of any article.
        convention: ``fixed``, or ``as_published``: with the quirks of the original.
        top: Passages of a subject, at most.
        streams_per_shard: Streams of a dump that are read between two savings.

    Raises:
        OptionError: There is no such retrieval or convention, or a number is too small.
    """

    retrieval: str = TITLE
    convention: str = FIXED
    top: int = 100
    streams_per_shard: int = 200

    def __post_init__(self) -> None:
        require_choice("--retrieval", self.retrieval, RETRIEVALS)
        require_choice("convention", self.convention, CONVENTIONS)
        require_least("top", self.top, 1)
        require_least("streams per shard", self.streams_per_shard, 1)


@dataclass(frozen=True)
class Counts:
    """What was looked at.

    Attributes:
        pages: Articles that were read; of the retrieval by title, those that were found.
        paragraphs: Their paragraphs that were looked at.
        kept: Passages, of all subjects.
    """

    pages: int
    paragraphs: int
    kept: int


def find_passages(
    source: PassageSource,
    subjects: Iterable[str],
    options: PassageOptions | None = None,
    *,
    store: Store,
    engine: Engine,
) -> Passages:
    """Passages about some subjects; a subject nothing was found for has none.

    Args:
        source: Where they are looked for.
        subjects: The subjects; one that is there twice counts once.
        options: How.
        store: Where they are kept.
        engine: What gathers paragraphs.

    Raises:
        CorpusError: The source cannot be read; see `rwcore.attributes.dump` and `rwcore.corpora.files`.
        OptionError: The extra ``wiki`` is missing.
        StoreError: The store cannot be written or is damaged.
    """
    names = _unique(subjects)
    return read_passages(passage_folder(source, names, options, store=store, engine=engine), names)


def passage_folder(
    source: PassageSource,
    subjects: Iterable[str],
    options: PassageOptions | None = None,
    *,
    store: Store,
    engine: Engine,
) -> Path:
    """The artefact that `find_passages` reads; made if it is not there."""
    names, options = _unique(subjects), options or PassageOptions()
    identity = source.identity()
    chosen = {"retrieval": options.retrieval, "convention": options.convention, "top": options.top}
    key = ArtefactKey.of("passages", DEFINITION, source=identity, subjects=names, **chosen)

    def compute(folder: Path) -> dict[str, object]:
        stopwatch = Stopwatch()
        if options.retrieval == TITLE:
            ranked, pages, read = _by_title(source, names, options)
        else:
            shards = _gathered(source, names, options, store.work(key), engine)
            pages, read = (
                sum(read_json(shard / MANIFEST)[what] for shard in shards) for what in ("pages", "paragraphs")
            )
            ranked = _by_words(shards, names, options, store.work(key) / "index")
        table = _table(ranked)
        write_table(folder / TABLE, table)
        return collect(stopwatch, pages=pages, paragraphs=read, kept=len(table))

    return store.get_or_compute(key, compute)


def read_passages(folder: Path, subjects: Iterable[str]) -> Passages:
    """The passages of an artefact, for these subjects.

    Raises:
        StoreError: The folder is damaged.
    """
    found: dict[str, list[Passage]] = {subject: [] for subject in subjects}
    table = read_table(folder / TABLE)
    for subject, title, text in zip(table["subject"], table["title"], table["text"], strict=True):
        found[subject].append(Passage(title, text))
    return {subject: tuple(passages) for subject, passages in found.items()}


def read_counts(folder: Path) -> Counts:
    """What was looked at for the passages of an artefact.

    Raises:
        StoreError: The folder is damaged.
    """
    facts = read_json(folder / MANIFEST)
    return Counts(facts["pages"], facts["paragraphs"], facts["kept"])


def _unique(subjects: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(subjects)))


def _table(ranked: Ranked) -> pd.DataFrame:
    rows = [
        (subject, rank, passage.title, passage.text, score)
        for subject, passages in ranked
        for rank, (passage, score) in enumerate(passages, start=1)
    ]
    return pd.DataFrame(rows, columns=["subject", "rank", "title", "text", "score"])


def _by_title(
    source: PassageSource, subjects: Sequence[str], options: PassageOptions
) -> tuple[Ranked, int, int]:
    """Passages without scores; how many articles there are, and how many paragraphs they have."""
    found = {
        subject: list(paragraphs(page, wikitext=source.wikitext, convention=options.convention))
        for subject, page in articles(source, subjects, options.convention).items()
    }
    ranked = ((subject, [(one, math.nan) for one in all_[: options.top]]) for subject, all_ in found.items())
    return ranked, len(found), sum(map(len, found.values()))


def _gathered(
    source: PassageSource, subjects: tuple[str, ...], options: PassageOptions, work: Path, engine: Engine
) -> list[Path]:
    """Folders with the paragraphs of all parts of a source, in its order."""
    # What else decides the paragraphs decides the passages too, and this folder is only for them.
    store = Store(work)
    tasks = [
        ShardTask(
            source=source,
            part=part,
            subjects=subjects,
            convention=options.convention,
            store=store,
            key=ArtefactKey.of("paragraphs", DEFINITION, streams=[stream.offset for stream in part]),
        )
        for part in source.parts(options.streams_per_shard)
    ]
    return engine.map(gather, tasks, desc="paragraphs")


def _by_words(
    shards: Sequence[Path], subjects: Sequence[str], options: PassageOptions, folder: Path
) -> Ranked:
    """Passages ranked by BM25."""
    if options.convention == AS_PUBLISHED:
        return _as_published(shards, subjects, options.top)
    candidates = chain.from_iterable(read_paragraphs(shard / FILE) for shard in shards)
    with writing(folder):
        shutil.rmtree(folder, ignore_errors=True)  # of a killed process
        folder.mkdir(parents=True)
    return zip(subjects, rank_candidates(candidates, subjects, top=options.top, folder=folder), strict=True)


def _as_published(shards: Sequence[Path], subjects: Sequence[str], top: int) -> Ranked:
    """The best paragraphs by words, and of these the ones in which the subject stands."""
    words = [numbers for shard in shards for numbers in read_numbers(shard / FILE)]
    best = list(rank_paragraphs(words, SubjectWords(subjects), top=top)) if words else []
    wanted = {number for found in best for number, _ in found}
    everything = enumerate(chain.from_iterable(read_paragraphs(shard / FILE) for shard in shards))
    passages = {number: passage for number, (passage, _) in everything if number in wanted}
    for subject, found in zip(subjects, best, strict=False):
        yield subject, [(passages[n], score) for n, score in found if is_kept(passages[n], subject)]
