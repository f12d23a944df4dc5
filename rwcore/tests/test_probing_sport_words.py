"""Words of a sport: those the paper shows are among them, words of another sport or of none are not."""

from __future__ import annotations

import pytest

from rwcore.probing.sport_words import SPORT_WORDS, is_sport_word

SHOWN = {
    "soccer": [" striker", " header", " kick", " midfielder", " loan"],
    "american football": [" yard", " Pass", " Running"],
    "ice hockey": [" Quebec", " Canadian", " Winnipeg"],
}


@pytest.mark.parametrize("sport", SHOWN)
def test_the_words_that_the_paper_shows(sport: str) -> None:
    assert all(is_sport_word(word, sport) for word in SHOWN[sport])
    others = [word for other, words in SHOWN.items() if other != sport for word in words]
    assert not any(is_sport_word(word, sport) for word in others)
    assert not any(is_sport_word(word, sport) for word in (" the", " Smith", " born", " court", "", " 7"))


def test_words_are_lower_case_letters() -> None:
    assert {*SPORT_WORDS} == {*SHOWN}
    assert all(word.isalpha() and word.islower() for words in SPORT_WORDS.values() for word in words)
