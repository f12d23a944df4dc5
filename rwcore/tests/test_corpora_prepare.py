"""Rows that are kept: made once, found again, and made again when anything changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rwcore.corpora.prepare import prepare, prepared
from rwcore.corpora.spec import CorpusSpec
from rwcore.corpora.tokenise import tokenise
from rwcore.corpora.tokens import TokenCorpus
from rwcore.errors import CorpusError
from rwcore.store import Store
from rwcore.tests.corpus_makers import byte_tokenizer, encoder


def text_file(folder: Path) -> CorpusSpec:
    """A corpus of one short text."""
    (folder / "a.txt").write_text("abc")
    return CorpusSpec("x", "file", str(folder / "a.txt"), max_length=8)


def rows(corpus: TokenCorpus) -> list[list[int]]:
    return [corpus.row(number).tolist() for number in range(len(corpus))]


def test_rows_are_made_once_and_again_when_the_text_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = text_file(tmp_path)
    store = Store(tmp_path / "store")
    made: list[str] = []

    def counted(*arguments: object) -> TokenCorpus:
        made.append("once")
        return tokenise(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("rwcore.corpora.prepare.tokenise", counted)
    first = prepare(recipe, encoder(), store)
    assert prepare(recipe, encoder(), store).content_hash == first.content_hash
    assert len(made) == 1
    assert rows(first) == [[256, 97, 98, 99]]
    prepare(recipe, encoder(vocab=299), store)
    prepare(recipe, encoder(byte_tokenizer("</s>", eos_token="</s>")), store)
    prepare(replace(recipe, bos="none"), encoder(), store)
    assert len(made) == 4
    (tmp_path / "a.txt").write_text("abd")
    assert rows(prepare(recipe, encoder(), store)) == [[256, 97, 98, 100]]


def test_rows_are_found_only_if_they_were_made(tmp_path: Path) -> None:
    recipe, store = text_file(tmp_path), Store(tmp_path / "store")
    assert prepared(recipe, encoder(), store) is None
    made = prepare(recipe, encoder(), store)
    found = prepared(recipe, encoder(), store)
    assert found is not None
    assert found.content_hash == made.content_hash
    assert prepared(replace(recipe, tokens=2), encoder(), store) is None
    assert prepared(recipe, encoder(vocab=299), store) is None
    (tmp_path / "a.txt").write_text("abd")
    assert prepared(recipe, encoder(), store) is None
    (tmp_path / "a.txt").unlink()
    with pytest.raises(CorpusError, match="no such file"):
        prepared(recipe, encoder(), store)
