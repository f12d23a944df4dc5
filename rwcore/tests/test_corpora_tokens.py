"""Rows of tokens: the papers' recipe, every policy against a slow reference, the hash, the way to disk."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fixtures.gguf_files import write_gguf
from fixtures.tiny import build, local_model, save_tokenizer
from rwcore.corpora import tokenise as module
from rwcore.corpora.documents import Document
from rwcore.corpora.encoder import TextEncoder, context_of, read_encoder
from rwcore.corpora.registry import find
from rwcore.corpora.spec import CorpusSpec
from rwcore.corpora.tokenise import tokenise
from rwcore.corpora.tokens import TokenCorpus
from rwcore.errors import CorpusError, StoreError
from rwcore.tests.corpus_makers import END, byte_tokenizer, encoder, rows_corpus

EOT = 256
OLMO = {"fill": 50277 - 256, "eos_token": END, "pad_token": "<|padding|>"}


def spec(**options: object) -> CorpusSpec:
    return CorpusSpec(**{"id": "x", "source": "file", "location": "/x", "max_length": 8, **options})


def docs(*texts: str) -> list[Document]:
    return [Document(str(number), text) for number, text in enumerate(texts)]


def rows(corpus: TokenCorpus) -> list[list[int]]:
    return [corpus.row(number).tolist() for number in range(len(corpus))]


# --- the papers' recipe


def olmo() -> TextEncoder:
    """Ids as of OLMo-1B: no BOS, a tokenizer of 50280, end-of-text 50279, an embedding of 50304 rows."""
    tokenizer = byte_tokenizer("<|first|>", "<|padding|>", END, **OLMO)
    return TextEncoder("olmo", tokenizer, 50304, 2048)


def test_olmo_has_no_bos_so_rows_begin_with_the_end_of_text() -> None:
    assert olmo().tokenizer.bos_token_id is None
    assert olmo().bos("model") == olmo().bos("eot") == 50279


def test_the_dolma_recipe() -> None:
    # 1024 ids with the BOS, no EOS, nothing of the rest; the row that reaches the count is whole.
    recipe = replace(find("dolma-small"), tokens=2060)
    texts = docs("a" * 5000, "b" * 10, "", "c" * 1023, "d" * 1022, "never")
    corpus = tokenise(recipe, olmo(), texts)
    assert rows(corpus) == [
        [50279, *[ord("a")] * 1023],
        [50279, *[ord("b")] * 10],
        [50279],
        [50279, *[ord("c")] * 1023],
    ]
    assert corpus.n_tokens == 1024 + 11 + 1 + 1024 == 2060
    assert corpus.policy.bos == 50279
    assert corpus.document.tolist() == [0, 1, 2, 3]


@given(st.lists(st.integers(0, 30), min_size=1, max_size=20), st.integers(1, 60))
def test_rows_are_taken_until_the_count_first_reaches_the_goal(sizes: list[int], goal: int) -> None:
    corpus = tokenise(spec(tokens=goal, max_length=16), encoder(), docs("start", *("x" * n for n in sizes)))
    running = corpus.offsets[1:].tolist()
    assert all(count < goal for count in running[:-1])
    assert running[-1] >= goal or len(corpus) == len(sizes) + 1
    assert running[-1] < goal + 16


def test_no_document_is_read_beyond_the_goal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TOGETHER", 6)

    def source() -> Iterator[Document]:
        yield from docs("abc", "abc", "abc")
        raise AssertionError("read too far")

    assert len(tokenise(spec(tokens=8), encoder(), source())) == 2


# --- special tokens


def test_names_of_special_tokens_in_a_text_are_text() -> None:
    tokenizer = byte_tokenizer(END, "<|im_start|>", bos_token="<|im_start|>", eos_token=END)
    corpus = tokenise(spec(max_length=64), encoder(tokenizer), docs(f"a{END}b<|im_start|>"))
    assert rows(corpus) == [[257, *f"a{END}b<|im_start|>".encode()]]
    # The tokenizer itself is left as it was.
    assert tokenizer(END)["input_ids"] == [256]


def test_added_tokens_that_are_not_special_stay_tokens() -> None:
    tokenizer = byte_tokenizer("   ", special=False, eos_token=None)
    assert encoder(tokenizer).encode(["a   b"]) == [[97, 256, 98]]


@pytest.mark.parametrize(
    ("names", "model", "eot"),
    [
        ({"bos_token": "<s>", "eos_token": "</s>"}, 258, 257),
        ({"eos_token": "</s>"}, 257, 257),
        ({"bos_token": "<s>", "eos_token": "<chat>"}, 258, 257),  # a model tuned for chat
    ],
)
def test_the_bos_of_a_tokenizer(names: dict[str, str], model: int, eot: int) -> None:
    found = encoder(byte_tokenizer("<chat>", "</s>", "<s>", **names))
    assert (found.bos("model"), found.bos("eot"), found.bos("none")) == (model, eot, None)


def test_an_eos_without_a_known_name_ends_texts() -> None:
    assert encoder(byte_tokenizer("<stop>", eos_token="<stop>")).bos("eot") == 256


def test_a_tokenizer_without_such_tokens_is_refused() -> None:
    found = encoder(byte_tokenizer())
    with pytest.raises(CorpusError, match="neither BOS nor end-of-text") as caught:
        tokenise(spec(), found, docs("a"))
    assert caught.value.remedy == 'use a corpus with bos = "none"'
    assert rows(tokenise(spec(bos="none"), found, docs("a"))) == [[97]]
    with pytest.raises(CorpusError, match="no end-of-text token"):
        tokenise(spec(layout="packed", bos="none", separator="eot"), found, docs("a"))


# --- rows against a slow reference

TEXTS = st.lists(st.text(st.sampled_from("abé "), max_size=20), min_size=1, max_size=8)


@given(TEXTS, st.integers(2, 9), st.booleans(), st.sampled_from(["model", "none"]))
def test_ragged_rows(texts: list[str], longest: int, overflow: bool, bos: str) -> None:
    expected: list[tuple[int, list[int]]] = []
    for number, text in enumerate(texts):
        left = list(text.encode())
        while True:
            row = [EOT] if bos == "model" else []
            while left and len(row) < longest:
                row.append(left.pop(0))
            if row:
                expected.append((number, row))
            if not (overflow and left):
                break
    if not any(texts):
        return
    corpus = tokenise(spec(max_length=longest, overflow=overflow, bos=bos), encoder(), docs(*texts))
    assert list(zip(corpus.document.tolist(), rows(corpus), strict=True)) == expected
    if overflow:
        assert bytes(t for row in rows(corpus) for t in row if t != EOT).decode() == "".join(texts)


@given(TEXTS, st.integers(2, 9), st.sampled_from(["model", "none"]))
def test_full_rows_are_of_longer_documents(texts: list[str], longest: int, bos: str) -> None:
    begin = [EOT] if bos == "model" else []
    whole = [(number, begin + list(text.encode())) for number, text in enumerate(texts)]
    expected = [(number, row[:longest]) for number, row in whole if len(row) > longest]
    recipe = spec(max_length=longest, full_rows=True, bos=bos)
    if not expected:
        with pytest.raises(CorpusError, match=f"not enough for one row of {longest} tokens"):
            tokenise(recipe, encoder(), docs(*texts))
        return
    corpus = tokenise(recipe, encoder(), docs(*texts))
    assert list(zip(corpus.document.tolist(), rows(corpus), strict=True)) == expected


@given(TEXTS, st.integers(2, 9), st.sampled_from(["eot", "none"]), st.sampled_from(["model", "none"]))
def test_packed_rows(texts: list[str], longest: int, separator: str, bos: str) -> None:
    stream = [
        (number, token)
        for number, text in enumerate(texts)
        for token in [*text.encode(), *([EOT] if separator == "eot" else [])]
    ]
    start = [EOT] if bos == "model" else []
    step = longest - len(start)
    parts = [stream[i : i + step] for i in range(0, len(stream), step)]
    parts = [part for part in parts if len(part) == step]
    packed = spec(layout="packed", max_length=longest, separator=separator, bos=bos)
    if not parts:
        with pytest.raises(CorpusError, match="not enough for one row"):
            tokenise(packed, encoder(), docs(*texts))
        return
    corpus = tokenise(packed, encoder(), docs(*texts))
    assert rows(corpus) == [start + [token for _, token in part] for part in parts]
    assert corpus.document.tolist() == [part[0][0] for part in parts]


def test_the_number_of_documents_tokenised_together_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = docs(*("x" * (number % 7) for number in range(50)))
    once = tokenise(spec(overflow=True, max_length=3), encoder(), texts)
    monkeypatch.setattr(module, "_TOGETHER", 3)
    assert tokenise(spec(overflow=True, max_length=3), encoder(), texts).content_hash == once.content_hash


# --- what does not fit


@pytest.mark.parametrize("bos", ["model", "none"])
def test_a_corpus_without_text_is_refused(bos: str) -> None:
    with pytest.raises(CorpusError, match="'x' holds no text"):
        tokenise(spec(bos=bos), encoder(), docs("", ""))


def test_rows_longer_than_the_context_are_refused() -> None:
    small = encoder(context=7)
    with pytest.raises(CorpusError, match="up to 8 tokens, and tiny has 7 positions") as caught:
        tokenise(spec(), small, docs("a"))
    assert caught.value.remedy == "use at most 7 tokens per row: --max-length 7"
    corpus = tokenise(spec(max_length=None), small, docs("a" * 20))
    assert corpus.lengths.tolist() == [7]
    with pytest.raises(CorpusError, match="tiny does not say"):
        tokenise(spec(max_length=None), encoder(context=None), docs("a"))


@pytest.mark.parametrize(("vocab", "text", "bos"), [(98, "abc", "none"), (256, "abc", "model")])
def test_a_tokenizer_with_ids_beyond_the_model_is_refused(vocab: int, text: str, bos: str) -> None:
    with pytest.raises(CorpusError, match=f"does not fit the model tiny: it gives token id .* {vocab} rows"):
        tokenise(spec(bos=bos), encoder(vocab=vocab), docs(text))


def test_a_token_that_no_text_gives_may_be_beyond_the_model() -> None:
    assert rows(tokenise(spec(bos="none"), encoder(vocab=256), docs("a"))) == [[97]]


def test_tokens_of_another_tokenizer_are_refused() -> None:
    # The published ablations of Llama ran on OLMo's ids: every id was below Llama's vocabulary.
    corpus = tokenise(spec(), encoder(), docs("abc"))
    corpus.require_fit(encoder())
    corpus.require_fit(encoder(vocab=257, context=4))
    with pytest.raises(CorpusError, match="token id 256, and the model's embedding has 256 rows"):
        corpus.require_fit(encoder(vocab=256))
    other = TextEncoder("other", byte_tokenizer("<s>", END, bos_token="<s>", eos_token=END), 300, 4096)
    with pytest.raises(
        CorpusError, match="of x do not fit the model other: its ids were made by the tokenizer of tiny"
    ):
        corpus.require_fit(other)
    with pytest.raises(CorpusError, match="longest row has 4 tokens, and the model has 3 positions"):
        corpus.require_fit(encoder(context=3))


# --- tokenizers on disk


@pytest.mark.parametrize(("family", "context"), [("llama", 64), ("gpt2", 64), ("bloom", None), ("t5", None)])
def test_limits_come_from_the_model(tmp_path: Path, family: str, context: int | None) -> None:
    build(family, tmp_path / "model", vocab=48)
    save_tokenizer(tmp_path / "model", 40)
    found = read_encoder(local_model(tmp_path / "model"))
    assert (found.vocab, found.context) == (48, context)


def test_limits_of_a_gguf_file_are_those_of_its_conversion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RWCORE_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "tiny.gguf"
    write_gguf(build("llama", tmp_path / "folder"), file)
    found = read_encoder(local_model(file))
    assert (found.vocab, found.context) == (64, 64)
    assert found.encode(["ab"])


@pytest.mark.parametrize(
    ("config", "limit", "context"),
    [
        ({"max_position_embeddings": 70, "n_ctx": 71}, 72, 70),
        ({"max_position_embeddings": 70, "text_config": {"max_position_embeddings": 71}}, 72, 71),
        ({"max_position_embeddings": None}, 72, 72),
        (None, 72, 72),
        ({}, 10**30, None),
    ],
)
def test_the_context_is_looked_for(
    tmp_path: Path, config: dict[str, object] | None, limit: int, context: int | None
) -> None:
    if config is not None:
        (tmp_path / "config.json").write_text(json.dumps(config))
    tokenizer = byte_tokenizer(END)
    tokenizer.model_max_length = limit
    assert context_of(tmp_path, tokenizer) == context


def test_the_hash_of_a_tokenizer_is_about_its_ids() -> None:
    same = byte_tokenizer(END, eos_token=END)
    same("a" * 20, truncation=True, max_length=4)  # leaves truncation set behind
    assert encoder(same).hash == encoder().hash
    others = [
        byte_tokenizer(END, "<s>", eos_token=END),
        byte_tokenizer(END, "<s>", eos_token=END, bos_token="<s>"),
        byte_tokenizer("</s>", eos_token="</s>"),
    ]
    assert len({encoder().hash, *(encoder(other).hash for other in others)}) == 4


# --- hash and files

ROWS = st.lists(st.lists(st.integers(0, 99), min_size=1, max_size=5), min_size=1, max_size=6)


@given(ROWS, ROWS)
def test_the_hash_is_that_of_the_rows(one: list[list[int]], two: list[list[int]]) -> None:
    assert (rows_corpus(one).content_hash == rows_corpus(two).content_hash) == (one == two)


def test_the_hash_changes_with_policy_and_documents_and_with_nothing_else() -> None:
    corpus = rows_corpus([[1, 2], [3]])
    changed = [
        replace(corpus, policy=replace(corpus.policy, bos=1)),
        replace(corpus, policy=replace(corpus.policy, separator=0)),
        replace(corpus, policy=replace(corpus.policy, max_length=8)),
        replace(corpus, policy=replace(corpus.policy, overflow=True)),
        replace(corpus, policy=replace(corpus.policy, layout="packed")),
        replace(corpus, document=torch.tensor([0, 0])),
        replace(corpus, offsets=torch.tensor([0, 1, 3])),
    ]
    assert len({other.content_hash for other in [corpus, *changed]}) == 8
    renamed = replace(corpus, spec=spec(id="other"), tokenizer_hash="sha256:1", model="other")
    assert renamed.content_hash == corpus.content_hash


@given(rows=ROWS)
def test_the_way_to_disk_and_back(tmp_path_factory: pytest.TempPathFactory, rows: list[list[int]]) -> None:
    folder = tmp_path_factory.mktemp("corpus")
    corpus = rows_corpus(rows)
    corpus.save(folder)
    found = TokenCorpus.load(folder)
    assert (found.spec, found.policy) == (corpus.spec, corpus.policy)
    assert (found.tokenizer_hash, found.model) == (corpus.tokenizer_hash, corpus.model)
    assert found.content_hash == corpus.content_hash
    assert [found.row(number).tolist() for number in range(len(found))] == rows
    assert (len(found), found.n_tokens) == (len(rows), sum(map(len, rows)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"content_hash": "sha256:0"}, "not those of its content hash"),
        ({"format": "token-corpus/0"}, "its format is"),
        ({"model": 3}, "model is 3"),
        ({"spec": {"id": "x"}}, "source"),
        ({"spec": {"id": "x", "source": "web"}}, "cannot be made"),
        ({"policy": {}}, "bos"),
    ],
)
def test_damaged_facts_are_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    rows_corpus([[1, 2], [3]]).save(tmp_path)
    facts = json.loads((tmp_path / "corpus.json").read_text())
    (tmp_path / "corpus.json").write_text(json.dumps(facts | change))
    with pytest.raises(StoreError, match="no whole corpus of tokens") as caught:
        TokenCorpus.load(tmp_path)
    assert message in str(caught.value)
    assert caught.value.where == str(tmp_path)


def test_files_of_two_corpora_are_told_apart(tmp_path: Path) -> None:
    rows_corpus([[1, 2], [3]]).save(tmp_path / "one")
    rows_corpus([[1, 2], [4]]).save(tmp_path / "two")
    (tmp_path / "two" / "tokens.safetensors").replace(tmp_path / "one" / "tokens.safetensors")
    with pytest.raises(StoreError, match="not those of its content hash"):
        TokenCorpus.load(tmp_path / "one")
    with pytest.raises(StoreError, match="cannot read arrays"):
        TokenCorpus.load(tmp_path / "two")
    with pytest.raises(StoreError, match="cannot read JSON"):
        TokenCorpus.load(tmp_path / "three")


def test_rows_that_are_not_there(tmp_path: Path) -> None:
    corpus = rows_corpus([[1, 2], [3]])
    for number in (-1, 2):
        with pytest.raises(IndexError, match=f"row {number} of 2"):
            corpus.row(number)
    assert corpus.n_documents == 2
    assert rows_corpus([[1], [2]], [4, 4]).n_documents == 1
