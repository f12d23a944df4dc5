"""Candidates ranked by BM25 on disk: memory does not grow with their number."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rwcore.attributes.passages import Passage
from rwcore.extras import WIKI, extra_library

HEAP = 64 << 20  # bytes that the writer holds before it writes


def rank_candidates(
    candidates: Iterable[tuple[Passage, Sequence[int]]], subjects: Sequence[str], *, top: int, folder: Path
) -> Iterator[list[tuple[Passage, float]]]:
    """The best candidates of every subject with their scores, best first; equal ones in their order.

    BM25 of tantivy (k1 = 1.2, b = 0.75): terms are whole words in lower case, and how rare a term is and how
    long a paragraph are counted among the candidates.

    Args:
        candidates: Paragraphs, each with the numbers of the subjects it mentions.
        subjects: The subjects.
        top: How many paragraphs a subject gets at most.
        folder: An empty folder for the index.
    """
    tantivy = extra_library("tantivy", WIKI)
    schema = (
        tantivy.SchemaBuilder()
        .add_text_field("title", stored=True, tokenizer_name="raw")
        .add_text_field("text", stored=True)
        .add_unsigned_field("number", stored=True)
        .add_unsigned_field("subject", indexed=True)
        .build()
    )
    index = tantivy.Index(schema, path=str(folder))
    # One thread: with more, the order of equal paragraphs would be that of chance.
    writer = index.writer(heap_size=HEAP, num_threads=1)
    for number, (passage, mentioned) in enumerate(candidates):
        document = tantivy.Document(title=passage.title, text=passage.text, number=number)
        for which in mentioned:
            document.add_unsigned("subject", which)
        writer.add_document(document)
    writer.commit()
    writer.wait_merging_threads()
    index.reload()
    searcher = index.searcher()
    for which, subject in enumerate(subjects):
        found = searcher.search(_query(tantivy, schema, which, subject), top).hits
        documents = [(score, searcher.doc(address)) for score, address in found]
        documents.sort(key=lambda one: (-one[0], one[1]["number"][0]))
        yield [(Passage(one["title"][0], one["text"][0]), score) for score, one in documents]


def _query(tantivy: Any, schema: Any, which: int, subject: str) -> Any:
    """Paragraphs that mention a subject, scored by its words."""
    query, occur = tantivy.Query, tantivy.Occur
    # The analyser of the field, without its limit to the length of words.
    analyser = (
        tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple()).filter(tantivy.Filter.lowercase()).build()
    )
    mentions = query.const_score_query(query.term_query(schema, "subject", which), 0.0)
    words = [query.term_query(schema, "text", word) for word in analyser.analyze(subject)]
    return query.boolean_query([(occur.Must, mentions), *((occur.Should, word) for word in words)])
