"""Content words of our own texts: frequent, no function words, one token each."""

import re
from collections import Counter

from rwcore.corpora.own_texts import handmade_documents
from rwcore.heads.content_words import content_tokens
from rwcore.heads.function_words import own_words
from rwcore.models.vocabulary import Vocabulary


def vocabulary(texts):
    return Vocabulary(tuple(texts), len(texts), tuple(texts), frozenset())


def slow_counts():
    prose = (one.text for one in handmade_documents() if one.labels["kind"] in ("genre", "fact"))
    words = [word for text in prose for word in re.split(r"[^\w'-]+", text)]
    return Counter(word for word in words if re.fullmatch("[a-z]{4,}", word))


def test_they_are_the_most_frequent_ones():
    counts = slow_counts()
    every = sorted(counts)
    found = content_tokens(vocabulary([f" {word}" for word in every]), 60)
    words = [every[number] for number in found]
    assert len(set(words)) == 60
    assert not own_words().words & {*words}
    wanted = sorted(
        (word for word in counts if word not in own_words().words), key=lambda one: (-counts[one], one)
    )
    assert words == wanted[:60]
    assert counts[words[0]] > counts[words[-1]] >= 2


def test_only_those_that_are_one_token_with_a_space():
    first, second = [word for word, _ in slow_counts().most_common() if word not in own_words().words][:2]
    words = vocabulary([first, f" {second}", " the", f" {first.title()}", f" {second}"])
    assert content_tokens(words, 60) == [1]
    assert content_tokens(words, 0) == []
    assert content_tokens(vocabulary(["w1", " w2"]), 60) == []
