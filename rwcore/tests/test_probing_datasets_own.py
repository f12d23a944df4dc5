"""Features of one's own, names of data sets, and the data sets that need no network."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from rwcore.corpora.documents import Document
from rwcore.corpora.encoder import TextEncoder
from rwcore.corpora.own_texts import handmade_documents
from rwcore.errors import CorpusError, OptionError
from rwcore.probing.datasets import offline
from rwcore.probing.datasets.catalogue import about, find_features, names
from rwcore.probing.datasets.interpreter import interpreter_documents, interpreter_prose
from rwcore.probing.datasets.offline import FAMILIES, PAIRS, Offline, offline_datasets, pieces
from rwcore.probing.datasets.own_features import own_features
from rwcore.tests.corpus_makers import END, alphabet, encoder


def written(folder: Path, *lines: object, name: str = "mine.jsonl") -> Path:
    path = folder / name
    path.write_text("\n".join(one if isinstance(one, str) else json.dumps(one) for one in lines))
    return path


def test_labels_that_are_true_or_false_are_one_feature_of_the_name_of_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, {"text": "ab", "label": True}, "",
                   {"text": "cde", "label": False},
                   {"text": "ab", "label": True},
                   {"text": "f", "label": False, "document": "line 1"})  # fmt: skip
    data = own_features(path, encoder(), least=1)
    (found,) = data.features
    assert (found.name, found.label.tolist()) == ("mine", [True, False, False])  # the double is dropped
    assert data.aggregation == "mean"
    assert data.valid is not None
    assert data.valid.tolist() == [False, True, True, False, True, True, True, False, True]
    assert data.group.tolist() == [0, 1, 0]


def test_labels_with_names_are_one_feature_each(tmp_path: Path) -> None:
    path = written(
        tmp_path, *({"text": text, "label": label} for text, label in (("ab", "x"), ("c", "y"), ("d", "z")))
    )
    data = own_features(path, encoder(), least=1)
    assert {one.name: one.label.tolist() for one in data.features} == {
        "x": [True, False, False], "y": [False, True, False], "z": [False, False, True]
    }  # fmt: skip


def test_spans_label_tokens(tmp_path: Path) -> None:
    path = written(
        tmp_path, {"text": "abcd", "spans": [[1, 3], [3, 4, "end"]]}, {"text": "éx", "spans": [[0, 1]]}
    )
    data = own_features(path, encoder(), least=1)
    assert data.token is not None
    assert data.token.tolist() == [1, 2, 3, 4, 6, 7, 8]  # not the tokens at the beginning
    assert data.feature("mine").label.tolist() == [False, True, True, False, True, True, False]
    assert data.feature("end").label.tolist() == [False, False, False, True, False, False, False]
    assert data.group.tolist() == [0, 0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize(
    ("line", "key", "what"),
    [
        ("{", "the whole line", "it is not JSON"),
        ("[]", "the whole line", "it is no object"),
        ({"text": "a", "lable": True}, "lable", "none of text, label, spans, document"),
        ({"text": " ", "label": True}, "text", "not empty"),
        ({"label": True}, "text", "not empty"),
        ({"text": "a"}, "label", "one of 'label' and 'spans'"),
        ({"text": "a", "label": True, "spans": []}, "label", "one of 'label' and 'spans'"),
        ({"text": "a", "label": 1}, "label", "neither true, false nor a name"),
        ({"text": "a", "label": None}, "label", "neither true, false nor a name"),
        ({"text": "a", "label": True, "document": 3}, "document", "3 is no string"),
        ({"text": "a", "spans": {}}, "spans", "is no list"),
        ({"text": "a", "spans": [[0]]}, "spans", "is not [start, end]"),
        ({"text": "a", "spans": [[0, True]]}, "spans", "is not [start, end]"),
        ({"text": "a", "spans": [[0, 1, 2]]}, "spans", "is not [start, end]"),
        ({"text": "a", "spans": [[0, 2]]}, "spans", "no stretch of a text of 1 characters"),
        ({"text": "a", "spans": [[0, 1]]}, "spans", "a line with 'spans' in a file of lines with 'label'"),
    ],
)
def test_damaged_lines_name_line_and_key(tmp_path: Path, line: object, key: str, what: str) -> None:
    path = written(tmp_path, {"text": "fine", "label": True}, line)
    with pytest.raises(CorpusError) as caught:
        own_features(path, encoder())
    assert what in caught.value.what
    assert caught.value.where is not None
    assert f"line 2: {key}" in caught.value.where


def test_one_text_with_two_labels_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, {"text": "ab", "label": True}, {"text": "ab", "label": False})
    with pytest.raises(CorpusError, match="'true' in line 1 and 'false' in line 2"):
        own_features(path, encoder())


def test_files_that_are_empty_missing_or_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe")
    for path, what in (
        (written(tmp_path, "", name="empty.jsonl"), "the file has no line"),
        (tmp_path / "none.jsonl", "cannot be read"),
        (tmp_path / "binary.jsonl", "cannot be read"),
    ):
        with pytest.raises(CorpusError, match=what):
            own_features(path, encoder())


def test_a_file_is_found_by_its_path_and_too_few_examples_are_counted(tmp_path: Path) -> None:
    path = written(
        tmp_path, {"text": "ab", "label": True}, {"text": "c", "label": False}, {"text": "d", "label": False}
    )
    (data,) = find_features(str(path), encoder(), least=1)
    assert data.name == "mine"
    with pytest.raises(CorpusError, match=r"has 200 examples .* \(mine: 1 and 2\)"):
        find_features(str(path), encoder())


def test_unknown_names_are_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="unknown features 'langages'") as caught:
        find_features("langages", encoder())
    assert caught.value.remedy is not None
    assert caught.value.remedy.startswith("did you mean languages or ")
    with pytest.raises(OptionError, match="no features are named"):
        find_features(" , ", encoder())
    (tmp_path / "a").mkdir()
    one = written(tmp_path, {"text": "ab", "label": True}, {"text": "c", "label": False})
    two = written(tmp_path / "a", {"text": "ab", "label": True}, {"text": "d", "label": False})
    with pytest.raises(OptionError, match="two different data sets are called 'mine'"):
        find_features(f"{one},{two}", encoder(), least=1)
    assert len(find_features(f"{one},{one}", encoder(), least=1)) == 1


def test_every_name_says_what_it_is() -> None:
    assert names() == ["offline", *FAMILIES]
    assert all(about(name).endswith(".") for name in names())


def test_pieces_are_cut_at_blank_lines_and_nothing_is_lost() -> None:
    text = "a" * 9 + "\n\n" + "b" * 3 + "\n\n" + "c" * 8 + "\n\n" + "d"
    assert pieces(text, 8) == ["a" * 9, "b" * 3 + "\n\n" + "c" * 8 + "\n\n" + "d"]
    assert "\n\n".join(pieces(text, 2)) == text
    assert pieces("one\ntwo\nsix", 3) == ["one", "two", "six"]


def test_the_interpreter_has_programs_and_prose() -> None:
    programs = {one.id: one for one in interpreter_documents(500)}
    assert len(programs["python/argparse.py"].text) == 500
    assert {one.labels["code"] for one in programs.values()} <= {"python", "c"}
    prose = {one.id: one.text for one in interpreter_prose()}
    assert "Command-line parsing library" in prose["prose/argparse.py"]
    assert "import" not in prose["prose/keyword.py"].split()
    assert not [name for name in prose if "/test/" in name or "site-packages" in name]


@pytest.fixture(scope="module")
def words() -> TextEncoder:
    """A tokenizer of English word parts, trained on our own texts."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=2000, special_tokens=[END], initial_alphabet=alphabet(), show_progress=False
    )
    terms = " ".join(f" {first} {second}" for first, second in PAIRS) * 200
    tokenizer.train_from_iterator([*(one.text for one in handmade_documents()), terms], trainer)
    return TextEncoder("words", PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END), 2000, 512)


def test_offline_families_share_rows_and_say_what_they_mean(
    words: TextEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = list(offline.offline_documents())
    few = [one for n, one in enumerate(everything) if one.labels["source"] == "own-texts" or n % 12 == 0]
    monkeypatch.setattr(offline, "offline_documents", lambda: few)
    monkeypatch.setattr(
        offline, "interpreter_prose", lambda: [Document("p", "the base class, a base and a class, " * 3)]
    )
    texts = Offline(words, least=20)
    made = [make(texts) for name, make in FAMILIES.items() if name != "facts"]
    own = ("compound_words", "language_rows")
    assert {one.corpus.content_hash for one in made if one.name not in own} == {
        texts.placed.corpus.content_hash
    }
    labels = [document.labels for document in texts.source.texts]
    language = texts.languages()
    german = language.feature("language_de")
    of_document = [labels[number]["language"] for number in language.group[german.example].tolist()]
    assert [one == "de" for one in of_document] == german.label.tolist()
    rows = texts.language_rows()
    swedish = rows.feature("sv")
    of_row = [texts.source.texts[number].labels.get("language") for number in range(len(labels))]
    prose = [language for language in of_row if language]
    assert [prose[number] == "sv" for number in rows.corpus.document.tolist()] == swedish.label.tolist()
    assert rows.corpus.lengths.max() <= 24
    sources = texts.sources()
    python = sources.feature("python")
    # Our own programs in Python are no part of the interpreter.
    names_of_rows = [texts.source.texts[number].id for number in sources.group.tolist()]
    assert [name.startswith("python/") for name in names_of_rows] == python.label.tolist()


@pytest.mark.slow
def test_offline_features_are_many_large_and_the_same_every_time(words: TextEncoder) -> None:
    made = offline_datasets(words)
    large = [f for data in made for f in data.features if min(f.positives, f.negatives) >= 200]
    assert len(large) >= 30
    for data in made:
        data.require_fit(words)
        for found in data.features:
            assert len(set(data.group[found.example[found.label]].tolist())) >= 4
            assert found.family
    again = offline_datasets(replace(words))
    assert [one.content_hash for one in made] == [one.content_hash for one in again]
    other = Offline(words, seed=1).text_features()
    assert other.content_hash != made[0].content_hash
    rows = made[0].corpus
    contents = {tuple(rows.row(number).tolist()) for number in range(len(rows))}
    assert len(contents) == len(rows)
    assert torch.equal(made[0].corpus.document, made[1].corpus.document)
