"""Token texts: every character visible, no two tokens alike, and only of a tokenizer that fits the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from fixtures.gguf_files import byte_pairs, write_gguf
from fixtures.tiny import build, local_model, save_tokenizer
from rwcore.errors import ModelError
from rwcore.models.spec import LocalModel
from rwcore.models.vocabulary import NAMED_SHARE, SIGNS, shown, vocabulary

BYTES = ["a", "Ġmicro", "Ċ", "ĠĠ", "č", "ĉ", "Ã©", "âĢ", "âĢĭ", "Ġ", "âĲ£", "ï¿½"]
TEXTS = ["a", "␣micro", "⏎", "␣␣", "⇤", "⇥", "é", "⟨E2⟩⟨80⟩", "⟨U+200B⟩", "␣", "⟨U+2423⟩", "\ufffd"]


def saved(folder: Path, tokenizer: Tokenizer, *added: str) -> LocalModel:
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in added])
    PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(folder)
    return local_model(folder)


def words(names: list[str], model: Any = models.WordLevel, **options: Any) -> Tokenizer:
    return Tokenizer(model({name: number for number, name in enumerate(names)}, **options))


def byte_level(names: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE({name: number for number, name in enumerate(names)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def test_bytes_become_texts(tmp_path: Path) -> None:
    found = vocabulary(saved(tmp_path, byte_level(BYTES)), len(BYTES))
    assert found.tokens == tuple(TEXTS)
    assert found.named == len(found) == len(BYTES)


def test_texts_are_what_the_tokens_are_in_a_text(tmp_path: Path) -> None:
    found = vocabulary(saved(tmp_path, byte_level(BYTES), "<|end|>"), len(BYTES) + 2)
    plain = ["a", " micro", "\n", "  ", "\r", "\t", "é", "\udce2\udc80", "\u200b", " ", "␣", "\ufffd"]
    assert found.texts == (*plain, "<|end|>", "<unused 13>")
    assert (found.texts[7] + "\udc8b").encode(errors="surrogateescape").decode() == "\u200b"
    assert found.special == frozenset()


def test_special_tokens_are_known(tmp_path: Path) -> None:
    found = vocabulary(local_model(save_tokenizer(build("llama", tmp_path), 50)), 50)
    assert {found.texts[number] for number in found.special} == {"<pad>", "<bos>", "<eos>", "<unk>"}


def test_bytes_agree_with_the_decoder_wherever_it_loses_nothing() -> None:
    decoder = decoders.ByteLevel()
    for piece, text in zip(BYTES, TEXTS, strict=True):
        decoded = decoder.decode([piece])
        assert text == shown(decoded) or "\ufffd" in decoded


def test_added_tokens_are_what_they_say(tmp_path: Path) -> None:
    local = saved(tmp_path, byte_level(["a", "Ġb"]), "  ", "<|end|>", "Ġliteral")
    assert vocabulary(local, 5).tokens == ("a", "␣b", "␣␣", "<|end|>", "Ġliteral")


def test_pieces_become_texts(tmp_path: Path) -> None:
    names = ["<unk>", "<0x0A>", "<0xE2>", "▁micro", "micro", "▁", "\n", "▁▁"]
    tokenizer = words(names, models.BPE, merges=[], byte_fallback=True)
    replace = decoders.Replace("▁", " ")
    tokenizer.decoder = decoders.Sequence([replace, decoders.ByteFallback(), decoders.Fuse()])
    local = saved(tmp_path, tokenizer, "▁▁▁")
    texts = ("<unk>", "⟨0A⟩", "⟨E2⟩", "␣micro", "micro", "␣", "⏎", "␣␣", "␣␣␣")
    assert vocabulary(local, 9).tokens == texts


def test_metaspace_alone_tells_pieces(tmp_path: Path) -> None:
    tokenizer = words(["▁a", "b"])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    assert vocabulary(saved(tmp_path, tokenizer), 2).tokens == ("␣a", "b")


def test_word_pieces_stay_as_they_are(tmp_path: Path) -> None:
    tokenizer = words(["[UNK]", "ing", "##ing", "Ġ"], models.WordPiece, unk_token="[UNK]")
    tokenizer.decoder = decoders.WordPiece()
    assert vocabulary(saved(tmp_path, tokenizer), 4).tokens == ("[UNK]", "ing", "##ing", "Ġ")


def test_rows_without_a_token_are_named(tmp_path: Path) -> None:
    local = saved(tmp_path, words(["a", "b", "<unused 4>"]))
    found = vocabulary(local, 4)
    assert found.tokens == ("a", "b", "<unused␣4>", "<unused 3>")
    assert found.named == 3


@pytest.mark.parametrize("rows", [63, 64 * 2])
def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path, rows: int) -> None:
    save_tokenizer(tmp_path, 64)
    with pytest.raises(ModelError, match=rf"it has 64 tokens.*the unembedding has {rows} rows") as caught:
        vocabulary(local_model(tmp_path), rows)
    assert caught.value.where == str(tmp_path)
    assert "tokenizer.json" in str(caught.value.remedy)
    assert ("with id 63" in str(caught.value)) == (rows == 63)


def test_added_tokens_that_the_model_has_no_row_for_do_no_harm(tmp_path: Path) -> None:
    local = saved(tmp_path, words(["a", "b", "c"]), "<pad>")
    assert vocabulary(local, 3).tokens == ("a", "b", "c")
    assert vocabulary(local, 4).tokens == ("a", "b", "c", "<pad>")
    with pytest.raises(ModelError, match="it has 3 tokens, the last one with id 2; the unembedding has 2"):
        vocabulary(local, 2)


def test_padding_up_to_a_quarter_is_accepted(tmp_path: Path) -> None:
    save_tokenizer(tmp_path, 60)
    most = int(60 / NAMED_SHARE)
    assert len(vocabulary(local_model(tmp_path), most)) == most
    with pytest.raises(ModelError, match="does not match"):
        vocabulary(local_model(tmp_path), most + 1)


def test_without_a_tokenizer_the_error_says_what_to_copy(tmp_path: Path) -> None:
    folder = build("llama", tmp_path / "m")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelError) as caught:
        vocabulary(local_model(folder), 64)
    assert "tokenizer.json" in str(caught.value.remedy)
    (folder / "tokenizer.json").write_text("{", encoding="utf-8")
    with pytest.raises(ModelError, match="no readable tokenizer"):
        vocabulary(local_model(folder), 64)


def test_a_gguf_file_has_the_tokens_of_its_conversion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RWCORE_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "tiny.gguf"
    write_gguf(build("llama", tmp_path / "folder"), file)
    found = vocabulary(local_model(file), 64)
    assert found.tokens[4:6] == tuple(byte_pairs(64)[4:6])
    assert found.named == 64


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "⟨empty⟩"),
        (" a b ", "␣a␣b␣"),
        ("\x00\x7f", "⟨U+0000⟩⟨U+007F⟩"),
        ("\u00a0\u00ad\u202e", "⟨U+00A0⟩⟨U+00AD⟩⟨U+202E⟩"),
        ("\u0301e\u0301", "◌\u0301e\u0301"),
        ("␣⟨◌", "⟨U+2423⟩⟨U+27E8⟩⟨U+25CC⟩"),
        ("العربية 日本", "العربية␣日本"),
    ],
)
def test_what_has_no_glyph_is_spelled_out(text: str, expected: str) -> None:
    assert shown(text) == expected


@given(st.text(alphabet=st.characters(codec="utf-8")), st.text(alphabet=st.characters(codec="utf-8")))
def test_two_texts_never_look_alike(a: str, b: str) -> None:
    assert (shown(a) == shown(b)) == (a == b)


@given(st.text(alphabet=[*SIGNS, *SIGNS.values(), "◌", "⟨", "⟩", "\u0301", "a", "U", "+"], max_size=4))
def test_the_signs_themselves_never_look_like_what_they_stand_for(text: str) -> None:
    variants = {
        shown(text),
        *(shown(text.replace(sign, mark)) for sign, mark in SIGNS.items() if sign in text),
    }
    assert len(variants) == 1 + len({text.replace(s, m) for s, m in SIGNS.items() if s in text})
    assert shown(text).isprintable()
