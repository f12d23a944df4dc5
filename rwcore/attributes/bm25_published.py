"""The retrieval of the original: BM25 over every paragraph, with the words of the subjects only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rwcore.attributes.passages import Passage
from rwcore.extras import WIKI, extra_library


class SubjectWords:
    """The words of some subjects, numbered; texts are read as if there were no others.

    The tokenizer is the library's own: words of two or more word characters in lower case, without English
    stop words, not stemmed. A text without any of the words counts as one (nameless) word.

    Args:
        subjects: The subjects.
    """

    def __init__(self, subjects: Sequence[str]) -> None:
        self._tokenizer: Any = extra_library("bm25s.tokenization", WIKI).Tokenizer()
        # The vocabulary is complete after this.
        self.queries: list[list[int]] = self._tokenizer.tokenize(
            list(subjects), update_vocab=True, show_progress=False
        )

    @property
    def vocabulary(self) -> dict[str, int]:
        """Word → number."""
        return dict(self._tokenizer.get_vocab_dict())

    def of(self, text: str) -> list[int]:
        """Numbers of the words of a text that are words of subjects."""
        (words,) = self._tokenizer.streaming_tokenize([text], update_vocab="never")
        return list(words)


def rank_paragraphs(
    paragraphs: Sequence[Sequence[int]], words: SubjectWords, *, top: int
) -> Iterator[list[tuple[int, float]]]:
    """The paragraphs that score highest for every subject, with their scores, best first.

    BM25 of bm25s, method ``lucene`` with k1 = 1.5 and b = 0.75. Memory grows with the number of paragraphs
    (tens of gigabytes for all of Wikipedia): the library holds the words of all of them.

    Args:
        paragraphs: The words of every paragraph, as `SubjectWords.of` numbers them.
        words: The words, and the subjects.
        top: How many paragraphs a subject gets at most.
    """
    bm25s = extra_library("bm25s", WIKI)
    index = bm25s.BM25(method="lucene", k1=1.5, b=0.75)
    index.index((paragraphs, words.vocabulary), show_progress=False)
    count = min(top, len(paragraphs))
    for query in words.queries:
        found, scores = index.retrieve([query], k=count, show_progress=False)
        yield list(zip(found[0].tolist(), scores[0].tolist(), strict=True))


def is_kept(passage: Passage, subject: str) -> bool:
    """Whether the original keeps a paragraph it found for a subject.

    It looks for the subject as it is spelled, or with a capital first letter *and all others in lower case*.
    """
    return subject in passage.whole or subject.capitalize() in passage.whole
