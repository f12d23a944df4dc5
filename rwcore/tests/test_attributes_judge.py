"""What counts as an answer, and whole judgements by a model whose texts are known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rwcore.ablation.compare import AS_PUBLISHED, FIXED
from rwcore.attributes.facts import Fact, read_facts
from rwcore.attributes.judge import (
    OTHER,
    STEP,
    TOO_LONG,
    UNDECIDED,
    Judgement,
    before_answer,
    judge,
    judge_facts,
)
from rwcore.corpora.encoder import TextEncoder, read_encoder
from rwcore.errors import OptionError, WeightsMissing
from rwcore.models.load import load_bridge
from rwcore.models.locate import locate
from rwcore.models.registry import find
from rwcore.tests.chain_maker import along, chain_bridge
from rwcore.tests.corpus_makers import END, byte_tokenizer

# --- the rule ------------------------------------------------------------------------------------------

# New text, attribute, whether the text has ended; the verdict, or that of the fixed and the published rule.
BOTH = [
    (" Rome. It", "Rome", False, True),
    (" the city of Rome, where", "Rome", False, True),
    (" ROME is", "Rome", False, True),
    (" Milan, not Rome", "Rome", False, False),
    (" a jazz band. He", "jazz", False, True),
    (" a band. He played jazz", "jazz", False, False),
    (" the city of many names", "Rome", False, None),
    (" the city of many names", "Rome", True, False),
    (" nothing but jazz", "jazz", True, True),
    (" New York City", "New York", False, True),
    (" New", "New York", False, None),
    (" New", "New York", True, False),
    (" New Jersey is", "New York", False, False),
    ("\n\nNew\nYork is", "New York", False, True),
    ("", "Rome", False, None),
    ("", "Rome", True, False),
    (" Élan vital is", "Élan vital", False, True),
    (" 61 people. They", "61", False, True),
    (" the Anglo-Saxon king", "Saxon", False, True),
]
APART = [
    # The published rule takes the second word's number for a character's: "he York Times" is no "York Times".
    (" the York Times, a", "York Times", False, True, False),
    (" a New York paper", "New York", False, True, False),
    # Words within words.
    (' "H". The symbol', "He", False, False, True),
    (" Romeo and", "Rome", False, False, True),
    (" Élan vital is", "élan vital", False, True, False),
    # A word that may go on.
    (" Rome", "Rome", False, None, True),
    (" A Bug", "A Bug", False, None, True),
    (" Rom", "Rome", False, None, None),
    (" Par", "Rome", False, None, False),
    # The attribute begins before the first capital.
    (" the United States of America. It", "the United States of America", False, True, False),
    # Without a capital the published rule reads to the end, and there minds the case.
    (" plain jazz for", "jazz", False, True, None),
    (" plain rome", "Rome", True, True, False),
]


@pytest.mark.parametrize(("new", "attribute", "ended", "verdict"), BOTH)
def test_answers_on_which_the_rules_agree(
    new: str, attribute: str, ended: bool, verdict: bool | None
) -> None:
    assert judge(new, attribute, ended, AS_PUBLISHED) is verdict
    assert judge(new, attribute, ended, FIXED) is verdict


@pytest.mark.parametrize(("new", "attribute", "ended", "fixed", "published"), APART)
def test_answers_on_which_the_rules_differ(
    new: str, attribute: str, ended: bool, fixed: bool | None, published: bool | None
) -> None:
    assert judge(new, attribute, ended, FIXED) is fixed
    assert judge(new, attribute, ended, AS_PUBLISHED) is published


TEXTS = st.text(alphabet="aAbB  \n-", max_size=24)
ATTRIBUTES = st.from_regex(r"[aAbB]{1,3}( [aAbB]{1,2})?", fullmatch=True)


@given(TEXTS, ATTRIBUTES, st.integers(0, 24))
def test_what_was_decided_stays_so_however_the_text_goes_on(text: str, attribute: str, cut: int) -> None:
    early = judge(text[:cut], attribute, False, FIXED)
    assert early in (None, judge(text, attribute, False, FIXED))
    assert early in (None, judge(text, attribute, True, FIXED))
    assert judge(text, attribute, True, FIXED) is not None


@given(TEXTS, ATTRIBUTES)
def test_the_fixed_rule_is_that_the_attribute_comes_before_the_end_of_the_first_capitalised_word(
    text: str, attribute: str
) -> None:
    words, wanted = text.split(), attribute.lower().split()
    first = next((n for n, word in enumerate(words) if word[0].isupper()), len(words))
    # All runs of letters, each with the number of the word it is in.
    runs = [(run, n) for n, word in enumerate(words) for run in word.lower().split("-") if run]
    starts = [
        at
        for at in range(len(runs) - len(wanted) + 1)
        if [run for run, _ in runs[at : at + len(wanted)]] == wanted and runs[at][1] <= first
    ]
    # The runs of an attribute must be apart by a space, not by a dash.
    apart = [at for at in starts if len(wanted) == 1 or _spaced(words, runs, at)]
    assert judge(text, attribute, True, FIXED) is bool(apart)


def _spaced(words: Sequence[str], runs: Sequence[tuple[str, int]], at: int) -> bool:
    one, other = runs[at][1], runs[at + 1][1]
    return other == one + 1 and words[one][-1] != "-" and words[other][0] != "-"


FACT = Fact("1", "Los Angeles Times", "city", " The Los Angeles Times is based in", "Los Angeles")


def test_the_prompt_goes_up_to_the_answer() -> None:
    new = " the city of Los  Angeles. Los Angeles"
    assert before_answer(FACT, new, FIXED) == " The Los Angeles Times is based in the city of "
    # The published rule finds the attribute within the subject, which is lost.
    assert before_answer(FACT, new, AS_PUBLISHED) == " The "


@pytest.mark.parametrize(
    ("new", "published"),
    [
        (" jazz and Jazz", " He plays jazz and "),
        (" hot jazz", " He plays hot "),
        (" hot JAZZ", " He plays"),
        (" hot jAzz or JAZZ or jazz", " He plays hot jAzz or JAZZ or "),
    ],
)
def test_the_published_rule_looks_for_one_spelling_after_the_other(new: str, published: str) -> None:
    fact = Fact("1", "He", "genre", " He plays", "Jazz")
    assert before_answer(fact, new, AS_PUBLISHED) == published
    assert before_answer(fact, new, FIXED) == " He plays" + new[: new.lower().index("jazz")]
    odd = Fact("1", "He", "genre", " He plays", "jAZZ")
    assert before_answer(odd, " a Jazz", AS_PUBLISHED) == " He plays a "
    assert before_answer(odd, " Jazz, a jazz", AS_PUBLISHED) == " He plays Jazz, a "


# --- judgements by a model -----------------------------------------------------------------------------

VOCAB, CONTEXT = 264, 64


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    """Ids are bytes, and 256 ends a text."""
    return TextEncoder("chain", byte_tokenizer(END, eos_token=END), VOCAB, CONTEXT)


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """After "s" it writes " Rome." and ends; after "f" "hkfhkf…"; after "y" nine letters and half of one.

    Asked for more than the end, it goes on with "hkf".
    """
    follows = along("s Rome.", "fhkf", "yabcdvijlué!") | {ord("."): 256, 256: ord("h")}
    return chain_bridge(tmp_path_factory.mktemp("chain"), follows, VOCAB, CONTEXT)


def fact(prompt: str, attribute: str = "Rome", id: str = "1") -> Fact:
    return Fact(id, "It", "capital", prompt, attribute)


def judged(model: Any, encoder: TextEncoder, *facts: Fact, **options: Any) -> list[Judgement]:
    return judge_facts(model, encoder, facts, **options)


@pytest.mark.parametrize("convention", [FIXED, AS_PUBLISHED])
@pytest.mark.parametrize("bos", ["model", "none"])
def test_facts_that_are_known_and_not(chain: Any, encoder: TextEncoder, convention: str, bos: str) -> None:
    known, other = fact(" It is"), fact(" It is", "Milan")
    forever, long = fact(" It, of"), fact(" It, " + "o" * 60 + "f")
    found = judged(chain, encoder, forever, known, long, other, bos=bos, convention=convention, rounds=3)
    assert found == [
        Judgement(forever, False, ("hkf" * STEP), UNDECIDED, forever.prompt),
        Judgement(known, True, " Rome.", "", " It is "),
        Judgement(long, False, "", TOO_LONG, long.prompt),
        Judgement(other, False, " Rome.", OTHER, other.prompt),
    ]


def test_a_text_that_reaches_the_end_of_the_context_is_undecided(chain: Any, encoder: TextEncoder) -> None:
    (found,) = judged(chain, encoder, fact(" It, " + "o" * 38 + "f"), rounds=99)
    # 45 tokens with the BOS, 10 and 10 more, of which the last is not read: 64 are full.
    assert (found.reason, len(found.answer)) == (UNDECIDED, 2 * STEP)


def test_half_a_character_is_no_part_of_an_answer(chain: Any, encoder: TextEncoder) -> None:
    one, two = (judged(chain, encoder, fact(" It, by"), rounds=rounds)[0].answer for rounds in (1, 2))
    assert one == "abcdvijlu"
    assert two.startswith("abcdvijlué!")


def test_batches_change_nothing(chain: Any, encoder: TextEncoder) -> None:
    facts = [fact(f" It{' ' * (n % 3)}{'x' * (n % 5)}{'sfy'[n % 3]}", id=str(n)) for n in range(12)]
    told: list[int] = []
    whole = judge_facts(chain, encoder, facts, rounds=2, report=told.append)
    assert whole == judge_facts(chain, encoder, facts, rounds=2, token_budget=1)
    assert whole == [one for alone in facts for one in judge_facts(chain, encoder, [alone], rounds=2)]
    assert {one.reason for one in whole} == {"", UNDECIDED}
    assert sum(told) == 12


def test_there_must_be_a_round(chain: Any, encoder: TextEncoder) -> None:
    with pytest.raises(OptionError, match="needs a token"):
        judge_facts(chain, encoder, [fact(" It is")], rounds=0)
    assert judge_facts(chain, encoder, []) == []


@pytest.mark.slow
def test_the_packaged_model_knows_many_of_our_own_facts() -> None:
    try:
        local = locate(find("packaged"))
    except WeightsMissing as missing:
        pytest.skip(str(missing.remedy))
    bridge, encoder, facts = load_bridge(local), read_encoder(local), read_facts("handmade")
    found = judge_facts(bridge, encoder, facts)
    assert found[0].known
    assert found[0].fact.attribute == "Lisbon"
    assert sum(one.known for one in found) >= 60
    some = facts[:6]
    assert judge_facts(bridge, encoder, some, token_budget=1) == found[:6]
