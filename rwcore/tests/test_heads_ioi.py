"""Prompts with two names: positions, twins, variants, and what a tokenizer lacks."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.ioi_words import TOY_TEXTS, write_toy_texts
from fixtures.tiny import BOS, build, local_model
from rwcore.corpora.encoder import read_encoder
from rwcore.errors import OptionError
from rwcore.heads.ioi import IoiWords, ioi_prompts, read_texts, single_tokens

FIRST_NAME = 4  # id of w0


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return read_encoder(local_model(build("gpt2", tmp_path_factory.mktemp("gpt2"))))


@pytest.fixture(scope="module")
def words(encoder):
    return IoiWords.of(TOY_TEXTS, encoder)


def made(words, encoder, count=40, seed=3):
    return ioi_prompts(words, encoder, count, seed=seed)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_positions(words, encoder, seed):
    prompts = made(words, encoder, 8, seed)
    for number, row in enumerate(prompts.tokens):
        text = row[prompts.mask[number]].tolist()
        io, s = int(prompts.io_token[number]), int(prompts.s_token[number])
        assert text[0] == BOS
        assert text.count(io) == 1
        assert text.count(s) == 2
        assert [place for place, token in enumerate(text) if token == s] == [
            int(prompts.s1[number]),
            int(prompts.s2[number]),
        ]
        assert text.index(io) == prompts.io[number]
        assert prompts.end[number] == len(text) - 1
        assert prompts.s2[number] > max(prompts.io[number], prompts.s1[number])
        assert len({io, s, *prompts.fresh[number].tolist()}) == 5


def test_every_prompt_has_a_twin_with_the_names_swapped(words, encoder):
    prompts = made(words, encoder)
    assert torch.equal(prompts.io_token[::2], prompts.s_token[1::2])
    assert torch.equal(prompts.s_token[::2], prompts.io_token[1::2])
    assert torch.equal(prompts.io[::2], prompts.io[1::2])
    named = prompts.tokens.clone()
    for place in (prompts.io, prompts.s1, prompts.s2):
        named.scatter_(1, place[:, None], 0)
    assert torch.equal(named[::2], named[1::2])


def test_both_orders_of_names_occur(words, encoder):
    prompts = made(words, encoder)
    first = prompts.io < prompts.s1
    assert 0.2 < first.float().mean() < 0.8


def test_flipped_prompts_say_the_names_in_the_other_order(words, encoder):
    prompts = made(words, encoder)
    flipped = prompts.flipped()
    assert torch.equal(flipped.io_token, prompts.io_token)
    assert torch.equal(flipped.s_token, prompts.s_token)
    assert torch.equal(flipped.io, prompts.s1)
    assert torch.equal(flipped.flipped().tokens, prompts.tokens)
    assert ((flipped.tokens != prompts.tokens).sum(dim=1) == 2).all()


def test_prompts_without_repeat_have_three_other_names(words, encoder):
    prompts = made(words, encoder)
    fresh = prompts.without_repeat()
    assert ((fresh.tokens != prompts.tokens).sum(dim=1) == 3).all()
    for row, own in zip(fresh.tokens, prompts.tokens, strict=True):
        names = row[(row >= FIRST_NAME) & (row < FIRST_NAME + 8)]
        assert len(names.unique()) == 3
        assert not set(names.tolist()) & set(own[(own >= FIRST_NAME) & (own < FIRST_NAME + 8)].tolist())


def test_chunks_put_together_are_the_prompts(words, encoder):
    prompts = made(words, encoder)
    chunks = [*prompts.chunks(prompts.tokens.shape[1] * 7)]
    assert [len(chunk) for chunk in chunks] == [7] * 5 + [5]
    assert torch.equal(torch.cat([chunk.tokens for chunk in chunks]), prompts.tokens)


def test_the_seed_decides(words, encoder):
    assert torch.equal(made(words, encoder).tokens, made(words, encoder).tokens)
    assert not torch.equal(made(words, encoder).tokens, made(words, encoder, seed=4).tokens)


def test_words_of_several_tokens_and_unknown_ones_are_left_out_and_reported(encoder):
    found = single_tokens(encoder, ["w1", "Anna", "w2-w3", "w3", "w1"])
    assert found.numbers == {"w1": 5, "w3": 7}
    assert found.left_out == ("Anna", "w2-w3", "w1")


def test_a_tokenizer_without_names_is_refused(encoder):
    with pytest.raises(OptionError, match="has 0 of 2 names as single tokens") as caught:
        IoiWords.of(TOY_TEXTS.model_copy(update={"names": ("Anna", "Peter")}), encoder)
    assert "--ioi FILE" in str(caught.value)


def test_prompts_with_fresh_names_need_five(encoder):
    few = IoiWords.of(TOY_TEXTS.model_copy(update={"names": ("w0", "w1", "w2", "w3")}), encoder)
    prompts = made(few, encoder)
    assert (prompts.fresh == -1).all()
    with pytest.raises(OptionError, match="need 5 names"):
        prompts.without_repeat()


@pytest.mark.parametrize(
    ("count", "message"), [(7, "7 prompts, and every prompt has a twin"), (0, "--prompts")]
)
def test_odd_numbers_are_refused(words, encoder, count, message):
    with pytest.raises(OptionError, match=message):
        made(words, encoder, count)


def test_a_name_in_a_template_is_refused(encoder):
    texts = TOY_TEXTS.model_copy(update={"templates": ("w0 w1 w2 w3 {first} {second} {giver} w4 w5 w6 w7",)})
    with pytest.raises(OptionError, match="tokens, not 1 and 2"):
        made(IoiWords.of(texts, encoder), encoder)


def test_prompts_beyond_the_context_are_refused(tmp_path, words):
    short = read_encoder(local_model(build("gpt2", tmp_path, context=8)))
    with pytest.raises(OptionError, match="and the model 8 positions"):
        made(words, short)


class TestFile:
    def test_own_texts(self):
        texts = read_texts()
        assert len(texts.templates) >= 10
        assert len(set(texts.names)) == len(texts.names) > 100
        for kind in (texts.places, texts.objects):
            assert len(set(kind)) == len(kind) >= 10

    def test_round_trip(self, tmp_path):
        assert read_texts(write_toy_texts(tmp_path / "toy.toml")) == TOY_TEXTS

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ("{giver}", "{taker}", "must have"),
            ("{first}", "{second}", "must have"),
            ("w12 {first}", "{first}", "must have"),
            ("{first}", "{", "templates and words cannot be used"),
            ("names =", "people =", "names"),
            ("names =", "names", "templates and words cannot be used"),
        ],
    )
    def test_damaged(self, tmp_path, old, new, message):
        file = write_toy_texts(tmp_path / "toy.toml")
        file.write_text(file.read_text().replace(old, new))
        with pytest.raises(OptionError, match=message) as caught:
            read_texts(file)
        assert str(file) in str(caught.value)

    def test_missing(self, tmp_path):
        with pytest.raises(OptionError, match="cannot be used"):
            read_texts(tmp_path / "none.toml")
