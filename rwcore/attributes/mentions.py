"""Which subjects a text mentions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rwcore.extras import WIKI, extra_library


class Mentions:
    """Finds many subjects in a text at once.

    A subject is found as it is spelled, or with its first letter in upper case.

    Args:
        subjects: The subjects; they are numbered in this order.
    """

    def __init__(self, subjects: Sequence[str]) -> None:
        spellings = {
            (spelling, number)
            for number, subject in enumerate(subjects)
            for spelling in (subject, subject[:1].upper() + subject[1:])
        }
        self._spelled = sorted(spellings)
        patterns = [spelling for spelling, _ in self._spelled]
        # Overlapping matches are wanted: who looks for York must find it in New York.
        self._machine = extra_library("ahocorasick_rs", WIKI).AhoCorasick(patterns)

    def any_in(self, text: str) -> bool:
        """Whether a text holds one of the subjects, if only within a word."""
        return bool(self._machine.find_matches_as_indexes(text))

    def of(self, text: str) -> list[int]:
        """Numbers of the subjects in a text, ascending; a match within a longer word is none."""
        matches: Iterable[tuple[int, int, int]] = self._machine.find_matches_as_indexes(
            text, overlapping=True
        )
        return sorted(
            {self._spelled[which][1] for which, start, end in matches if _is_word(text, start, end)}
        )


def _is_word(text: str, start: int, end: int) -> bool:
    """Whether no letter or digit of a part of a text goes on beyond its ends."""
    before, after = text[max(start - 1, 0) : start + 1], text[end - 1 : end + 1]
    return not (start > 0 and before.isalnum()) and not (end < len(text) and after.isalnum())
