"""Gather the paragraphs of a source that may be about some subjects, part by part."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rwcore.ablation.compare import AS_PUBLISHED
from rwcore.attributes.bm25_published import SubjectWords
from rwcore.attributes.dump import is_article
from rwcore.attributes.mentions import Mentions
from rwcore.attributes.paragraph_file import Paragraph, write_paragraphs
from rwcore.attributes.sources import Part, PassageSource
from rwcore.attributes.wikitext import paragraphs
from rwcore.provenance import Stopwatch, collect
from rwcore.store import ArtefactKey, Store

FILE = "paragraphs.parquet"


@dataclass(frozen=True)
class ShardTask:
    """A part of a source: what a worker needs, wherever it is.

    Attributes:
        source: The source.
        part: The part.
        subjects: The subjects.
        convention: ``as_published``: every paragraph, with the words of subjects in it. ``fixed``: those that
            mention a subject, with the numbers of these.
        store: Where the paragraphs are kept.
        key: What they are a function of.
    """

    source: PassageSource
    part: Part
    subjects: tuple[str, ...]
    convention: str
    store: Store
    key: ArtefactKey


def gather(task: ShardTask) -> Path:
    """The artefact with the paragraphs of a part; written if it is not there.

    Raises:
        CorpusError: The source cannot be read.
        StoreError: The store cannot be written.
    """

    def compute(folder: Path) -> dict[str, object]:
        stopwatch, counts = Stopwatch(), Counter(pages=0, paragraphs=0)
        chosen = _all(task, counts) if task.convention == AS_PUBLISHED else _candidates(task, counts)
        write_paragraphs(folder / FILE, chosen)
        return collect(stopwatch, **counts)

    return task.store.get_or_compute(task.key, compute)


def _all(task: ShardTask, counts: Counter[str]) -> Iterator[Paragraph]:
    words = SubjectWords(task.subjects)
    for page in task.source.read(task.part):
        if is_article(page, task.convention):
            counts["pages"] += 1
            for passage in paragraphs(page, wikitext=task.source.wikitext, convention=task.convention):
                counts["paragraphs"] += 1
                yield passage, words.of(passage.text)


def _candidates(task: ShardTask, counts: Counter[str]) -> Iterator[Paragraph]:
    mentions = Mentions(task.subjects)
    for page in task.source.read(task.part):
        if is_article(page, task.convention):
            counts["pages"] += 1
            wikitext, convention = task.source.wikitext, task.convention
            for passage in paragraphs(page, wikitext=wikitext, convention=convention, worth=mentions.any_in):
                counts["paragraphs"] += 1
                if mentioned := mentions.of(passage.whole):
                    yield passage, mentioned
