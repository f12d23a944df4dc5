"""Where subjects end: by hand, against decoding ever longer prefixes, and as the original finds them."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from rwcore.ablation.compare import AS_PUBLISHED, FIXED
from rwcore.attributes.facts import Fact
from rwcore.attributes.judge import OTHER, Judgement
from rwcore.attributes.subjects import ABSENT, REASONS, SHARED, TOO_LONG, SubjectPrompt, place_subjects
from rwcore.corpora.encoder import TextEncoder
from rwcore.corpora.own_texts import handmade_documents, knowns
from rwcore.errors import CorpusError
from rwcore.tests.corpus_makers import END, byte_tokenizer, encoder

CONVENTIONS = [FIXED, AS_PUBLISHED]


def known(subject: str, prompt: str, id: str = "1") -> Judgement:
    return Judgement(Fact(id, subject, "relation", prompt, "it"), True, " it", "", prompt)


def placed(
    one: Judgement, read: TextEncoder | None = None, *, convention: str = FIXED, bos: str = "model"
) -> SubjectPrompt | str:
    """The prompt, or why there is none."""
    prompts, excluded = place_subjects(read or encoder(), [one], bos=bos, convention=convention)
    assert [found.fact for found in prompts] + [left.fact for left in excluded] == [one.fact]
    return prompts[0] if prompts else excluded[0].reason


def trained(kind: str) -> TextEncoder:
    """A tokenizer of 400 pieces of our own texts: of bytes, as OLMo's, or of characters, as Llama's."""
    tokenizer = Tokenizer(models.BPE(unk_token=None if kind == "bytes" else "<unk>"))
    if kind == "bytes":
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
        tokenizer.decoder = decoders.Metaspace(prepend_scheme="first")
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=[END, "<unk>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet() if kind == "bytes" else [],
        show_progress=False,
    )
    texts = [document.text for document in handmade_documents() if document.labels["kind"] == "fact"]
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, unk_token="<unk>")
    return TextEncoder(kind, fast, 4096, None)


BYTES, PIECES = trained("bytes"), trained("pieces")


# --- by hand: one token per byte, and the BOS before them ----------------------------------------------


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize(
    ("subject", "prompt", "start", "position"),
    [
        ("Peru", " The capital of Peru is ", 17, 20),
        ("New York", " New York, New York is", 2, 9),
        ("macOS", " MacOS is made by", 2, 6),
        ("Yahoo!", " Who owns Yahoo!?", 11, 16),
        ("a+b", " Say a+b", 6, 8),
    ],
)
def test_where_a_subject_ends(subject: str, prompt: str, start: int, position: int, convention: str) -> None:
    found = placed(known(subject, prompt), convention=convention)
    assert isinstance(found, SubjectPrompt)
    assert (found.start, found.position) == (start, position)
    assert found.tokens == (256, *prompt.encode()[:position])
    bare = placed(known(subject, prompt), convention=convention, bos="none")
    assert isinstance(bare, SubjectPrompt)
    assert (bare.start, bare.tokens) == (start - 1, found.tokens[1:])


def test_a_subject_is_a_word_of_its_own() -> None:
    iranian = known("Iran", " An Iranian of Iran is")
    one, other = (placed(iranian, convention=convention) for convention in CONVENTIONS)
    assert isinstance(one, SubjectPrompt)
    assert isinstance(other, SubjectPrompt)
    assert (one.position, other.position) == (len(" An Iranian of Iran"), len(" An Iran"))
    alone = known("Iran", " An Iranian is")
    assert placed(alone) == ABSENT
    assert isinstance(placed(alone, convention=AS_PUBLISHED), SubjectPrompt)
    # The subject as it is written comes first, even if the one with a capital stands before it.
    assert placed(known("gold", " Gold is gold")).position == len(" Gold is gold")  # type: ignore[union-attr]


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_a_subject_that_is_not_there(convention: str) -> None:
    assert placed(known("Peru", " The capital of Chile is"), convention=convention) == ABSENT
    assert placed(known("Peru", " the capital of PERU is"), convention=convention) == ABSENT


@pytest.mark.parametrize("subject", ["Zoë", "Åse Ås", "東京"])
def test_characters_that_are_divided_among_tokens(subject: str) -> None:
    one = known(subject, f" The home of {subject} is")
    found = placed(one)
    assert isinstance(found, SubjectPrompt)
    assert bytes(found.tokens[found.start :]).decode() == subject
    # The original decodes half a character as a sign for nothing.
    assert placed(one, convention=AS_PUBLISHED) == ABSENT


@pytest.mark.parametrize(
    ("token", "prompt", "reason"),
    [
        ("is,", " Paris, of", SHARED),
        ("(Paris", " See (Paris, of", SHARED),
        (" Paris", " See Paris, of", None),
        ("s ", " See Paris , of", None),
    ],
)
def test_a_last_token_that_holds_something_else(token: str, prompt: str, reason: str | None) -> None:
    read = encoder(byte_tokenizer(END, token, special=False, eos_token=END))
    one = known("Paris", prompt)
    # The original does not mind.
    found = placed(one, read, convention=AS_PUBLISHED)
    assert isinstance(found, SubjectPrompt)
    assert found.tokens[-1] == 257
    assert placed(one, read) == (found if reason is None else reason)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_only_the_subject_must_fit_into_the_context(convention: str) -> None:
    one = known("Peru", " Peru is a land " + "x" * 50)
    assert isinstance(placed(one, encoder(context=6), convention=convention), SubjectPrompt)
    assert placed(one, encoder(context=5), convention=convention) == TOO_LONG


def test_the_name_of_a_special_token_is_text() -> None:
    prompt = f" In {END} of Peru is"
    found = placed(known("Peru", prompt))
    assert isinstance(found, SubjectPrompt)
    assert bytes(found.tokens[1:]).decode() == prompt.removesuffix(" is")


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_facts_that_are_not_known_are_passed_over(convention: str) -> None:
    one, other = known("Peru", " In Peru", "a"), known("Chile", " In Peru", "b")
    unknown = Judgement(one.fact, False, " oh", OTHER, " In Peru")
    given = [unknown, other, one, unknown, known("Peru", " Peru", "c")]
    prompts, excluded = place_subjects(encoder(), given, convention=convention)
    assert [prompt.fact.id for prompt in prompts] == ["a", "c"]
    assert [left.fact.id for left in excluded] == ["b"]
    assert place_subjects(encoder(), [unknown], convention=convention) == ([], [])


def test_the_prompt_is_the_judged_one() -> None:
    fact = Fact("1", "Peru", "r", " In Peru", "it")
    found = placed(Judgement(fact, True, "", "", " Yes, in Peru of "))
    assert isinstance(found, SubjectPrompt)
    assert found.position == len(" Yes, in Peru")


# --- tokenizers that merge characters ------------------------------------------------------------------


def reference(read: TextEncoder, subject: str, prompt: str) -> int | None:
    """The last token of a subject: the first with which the decoded beginning has all of the subject."""
    found = next(
        (
            match
            for form in (subject, subject[:1].upper() + subject[1:])
            if (match := re.search(rf"(?<!\w){re.escape(form)}(?!\w)", prompt))
        ),
        None,
    )
    if found is None:
        return None
    (ids,) = read.encode([prompt])
    whole = read.tokenizer.decode(ids)
    gone = len(prompt) - len(whole)  # the space at the beginning, of tokenizers of pieces
    for last in range(len(ids)):
        text = read.tokenizer.decode(ids[: last + 1]).rstrip("\ufffd")
        if len(text) >= found.end() - gone:
            return None if text[found.end() - gone :].strip() else last
    raise AssertionError("the prompt has all of the subject")


WORDS = st.sampled_from([*{known.subject for known in knowns()}, "Zoë", "São Tomé", "Hawai\u02bbi", "iPod"])
LETTERS = st.text(alphabet="abcdeéëñAZ '-.,!", min_size=1, max_size=8).map(str.strip).filter(bool)


@pytest.mark.parametrize("read", [BYTES, PIECES, encoder()], ids=["bytes", "pieces", "single bytes"])
@given(
    subject=WORDS | LETTERS, before=st.text("the of,(' é", max_size=6), after=st.text(" is,)'é", max_size=4)
)
def test_the_last_token_is_the_one_that_completes_the_subject(
    read: TextEncoder, subject: str, before: str, after: str
) -> None:
    prompt = f" {before}{subject}{after}"
    (ids,) = read.encode([prompt])
    # What a tokenizer does not know, or does not give back as it was, has no obvious reference.
    assume(read is not PIECES or (read.tokenizer.unk_token_id not in ids and not before.startswith(" ")))
    expected = reference(read, subject, prompt)
    found = placed(known(subject, prompt), read, bos="none")
    if isinstance(found, SubjectPrompt):
        assert found.position == expected
        assert list(found.tokens) == ids[: found.position + 1]
        assert 0 <= found.start <= found.position
    else:
        assert found in REASONS
        assert expected is None or found == SHARED


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_our_own_facts_are_all_placed(convention: str) -> None:
    facts = [known(one.subject, f" {one.prompt}", str(n)) for n, one in enumerate(knowns())]
    prompts, excluded = place_subjects(BYTES, facts, convention=convention)
    assert not excluded
    for prompt in prompts:
        text = BYTES.tokenizer.decode(prompt.tokens[prompt.start :]).strip()
        assert text == prompt.fact.subject
    longest = max(len(prompt.tokens) - prompt.start for prompt in prompts)
    assert longest > 2


def test_pieces_decoded_alone_lose_their_spaces() -> None:
    # Only where the subject is one word does the original find it.
    one, two = known("Peru", " The capital of Peru is"), known("New York", " The mayor of New York is")
    assert placed(one, PIECES, convention=AS_PUBLISHED) == placed(one, PIECES)
    assert placed(two, PIECES, convention=AS_PUBLISHED) == ABSENT
    assert isinstance(placed(two, PIECES), SubjectPrompt)


# --- what cannot be ------------------------------------------------------------------------------------


def test_characters_that_a_tokenizer_drops() -> None:
    tokenizer = byte_tokenizer(END, eos_token=END)
    tokenizer.backend_tokenizer.normalizer = normalizers.Replace("Ω", "")
    assert placed(known("Ω", " An Ω is"), encoder(tokenizer)) == ABSENT
    found = placed(known("Peru", " Ω Peru is"), encoder(tokenizer))
    assert isinstance(found, SubjectPrompt)
    assert bytes(found.tokens[found.start :]) == b"Peru"


def test_a_tokenizer_that_does_not_say_which_characters_a_token_holds() -> None:
    class Slow(PreTrainedTokenizerFast):  # type: ignore[misc]
        is_fast = False

    backend: Any = byte_tokenizer(END, eos_token=END).backend_tokenizer
    read = encoder(Slow(tokenizer_object=backend, eos_token=END))
    with pytest.raises(CorpusError, match="does not say") as caught:
        placed(known("Peru", " In Peru"), read)
    assert "tokenizer.json" in str(caught.value.remedy)
    assert isinstance(placed(known("Peru", " In Peru"), read, convention=AS_PUBLISHED), SubjectPrompt)


def test_a_bos_that_there_is_not() -> None:
    with pytest.raises(CorpusError, match="BOS"):
        placed(known("Peru", " In Peru"), encoder(byte_tokenizer()))
