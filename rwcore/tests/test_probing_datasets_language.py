"""Treebanks, true and false statements, and names of people."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rwcore.corpora.own_texts import Known, knowns
from rwcore.errors import CorpusError
from rwcore.probing.datasets.conllu import read_conllu
from rwcore.probing.datasets.ewt import RELATIONS, TAGS, treebank_features, word_rules
from rwcore.probing.datasets.features import FeatureDataset
from rwcore.probing.datasets.people import Person, mentions, people_features
from rwcore.probing.datasets.truths import Statement, statements_of, truth_features
from rwcore.tests.corpus_makers import encoder
from rwcore.tests.test_probing_datasets_rows import SPEC, source, text_of

BANK = """\
# newdoc id = a
# sent_id = a-0001
# text = Cats don't run del.
1\tCats\tcat\tNOUN\tNNS\tNumber=Plur\t4\tnsubj\t_\t_
2-3\tdon't\t_\t_\t_\t_\t_\t_\t_\t_
2\tdo\tdo\tAUX\tVBP\tMood=Ind|Tense=Pres|VerbForm=Fin\t4\taux\t_\t_
3\tn't\tnot\tPART\tRB\t_\t4\tadvmod\t_\t_
4\trun\trun\tVERB\tVB\tVerbForm=Inf\t0\troot\t_\t_
5-6\tdel\t_\t_\t_\t_\t_\t_\t_\t_
5\tde\tde\tADP\tX\t_\t4\tcase\t_\t_
6\tel\tel\tDET\tX\tPronType=Art\t4\tdet\t_\tSpaceAfter=No
6.1\truns\trun\tVERB\tX\t_\t_\t_\t_\tCopyOf=4
7\t.\t.\tPUNCT\t.\t_\t4\tpunct\t_\t_

# sent_id = a-0002
# text = Go\u00a0on
1\tGo\tgo\tVERB\tVB\tMood=Imp|VerbForm=Fin\t0\troot\t_\t_
2\ton\ton\tADV\tRB\t_\t1\tdep\t_\t_

# sent_id = b-0001
# text = One
1\tOne\tone\tNUM\tCD\tNumType=Card\t0\troot\t_\t_

# sent_id = b-0002
# text = A man ran.
1\tA\ta\tDET\tDT\tPronType=Art\t2\tdet\t_\t_
2\tman\tman\tNOUN\tNN\tNumber=Sing\t3\tnsubj\t_\t_
3\tran\trun\tVERB\tVBD\tMood=Ind|Tense=Past|VerbForm=Fin\t0\troot\t_\tSpaceAfter=No
4\t.\t.\tPUNCT\t.\t_\t3\tpunct\t_\t_
"""


def bank(folder: Path, text: str = BANK) -> Path:
    (folder / "b.conllu").write_text(text, encoding="utf-8")
    return folder / "b.conllu"


def treebank(folder: Path, **options: object) -> FeatureDataset:
    return treebank_features(SPEC, encoder(), read_conllu(bank(folder)), least=1, **options)  # type: ignore[arg-type]


def letters(data: FeatureDataset, name: str, value: bool = True) -> str:
    """The characters of all positives or negatives of a feature."""
    assert data.token is not None
    found = data.feature(name)
    return bytes(data.corpus.tokens[data.token[found.example[found.label == value]]].tolist()).decode()


def test_words_of_contractions_stand_where_their_parts_do(tmp_path: Path) -> None:
    first, second, *_ = read_conllu(bank(tmp_path))
    spelled = [
        (word.form, None if word.span is None else first.text[slice(*word.span)]) for word in first.words
    ]
    # `el` is not spelled out in `del`, and the full stop behind it is found all the same.
    assert spelled == [
        ("Cats", "Cats"), ("do", "do"), ("n't", "n't"), ("run", "run"), ("de", "de"), ("el", None),
        (".", "."),
    ]  # fmt: skip
    assert (first.document, second.text) == ("a", "Go on")
    assert first.words[1].features == {"Mood": "Ind", "Tense": "Pres", "VerbForm": "Fin"}


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("# sent_id = a-0001\n# text = a\n1\ta\n", "line 3", "2 columns, not 10"),
        ("# sent_id = a-0001\n1\ta" + "\t_" * 8 + "\n", "line 3", "no comment 'text'"),
    ],
)
def test_damaged_treebanks_name_the_line(tmp_path: Path, text: str, where: str, what: str) -> None:
    with pytest.raises(CorpusError, match=what) as caught:
        list(read_conllu(bank(tmp_path, text)))
    assert caught.value.where is not None
    assert caught.value.where.endswith(where)


def test_there_are_as_many_features_of_words_as_published() -> None:
    families = [family for family, _ in word_rules()]
    assert (len(TAGS), len(RELATIONS)) == (16, 29)
    # With the two features of sentence ends 22 others.
    assert [families.count(one) for one in ("upos", "dep", "morphology")] == [16, 29, 20]


def test_tokens_of_words_have_their_labels(tmp_path: Path) -> None:
    data = treebank(tmp_path)
    assert [text_of(data, row) for row in range(len(data.corpus))] == [
        " Cats don't run del. Go on",
        " A man ran.",
    ]
    assert sorted(letters(data, "upos_VERB")) == sorted("runGoran")  # from position 5 on
    assert letters(data, "Tense_Past") == "ran"
    assert letters(data, "Tense_Past", value=False) == "do"
    assert letters(data, "Mood_Imp") == "Go"
    assert letters(data, "VerbForm_Inf") == "run"
    assert letters(data, "eos_True") == ".."
    # The relation `dep` is in no list: its tokens are no negatives either.
    assert "on" not in letters(data, "dep_root", value=False)[-4:]
    assert set(data.group.tolist()) == {0, 1}


def test_rows_are_packed_with_whole_sentences_or_as_published(tmp_path: Path) -> None:
    text = "".join(
        f"# sent_id = a-{n:04}\n# text = {'ab' * 3}\n"
        "1\tab\tab\tX\t_\t_\t0\troot\t_\t_\n2\tabab\t_\tX\t_\t_\t1\tconj\t_\t_\n\n"
        for n in range(4)
    )
    bank(tmp_path, text)
    sentences = list(read_conllu(tmp_path / "b.conllu"))
    lengths = {
        convention: treebank_features(
            SPEC, encoder(), sentences, context=16, least=1, convention=convention
        ).corpus.lengths.tolist()
        for convention in ("fixed", "as_published")
    }
    # Sentences of 7 tokens in rows of 15: two fit. The counts 7, 14, 21, 28 fall into rows 0, 0, 1, 1.
    assert lengths == {"fixed": [15, 15], "as_published": [15, 15]}
    third = [*sentences, *sentences[:1]]
    published = treebank_features(SPEC, encoder(), third[:3], context=15, least=1, convention="as_published")
    # Rows of 14: the counts 7, 14, 21 fall into rows 0, 1, 1, so the first one is half empty.
    assert published.corpus.lengths.tolist() == [8, 15]
    assert treebank_features(SPEC, encoder(), third[:3], context=15, least=1).corpus.lengths.tolist() == [
        15,
        8,
    ]


def test_two_rows_of_a_statement_are_one_group_and_end_with_the_example() -> None:
    statements = [Statement("The sky is", "blue", "green", "colour"),
                  Statement("Two is", "even", "odd", "parity"),
                  Statement("The sky is", "wide", "narrow", "size"), Statement("Long" * 30, "a", "b", "x"),
                  Statement("Same is", "same", "same", "x")]  # fmt: skip
    data = truth_features(SPEC, encoder(), statements, by_relation=True, least=1)
    assert [text_of(data, row) for row in range(len(data.corpus))] == [
        "The sky is blue", "The sky is green", "Two is even", "Two is odd", "The sky is wide",
        "The sky is narrow",
    ]  # fmt: skip
    assert data.group.tolist() == [0, 0, 1, 1, 0, 0]
    assert data.feature("is_true").label.tolist() == [True, False] * 3
    assert data.feature("is_true_parity").example.tolist() == [2, 3]
    assert data.token is not None
    assert torch.equal(data.token, data.corpus.offsets[1:] - 1)


def test_false_answers_are_of_the_relation_and_not_true() -> None:
    facts = [Known("A", "x", "A is", "one"), Known("A", "x", "A is", "two"), Known("B", "x", "B is", "three"),
             Known("C", "y", "C is", "four")]  # fmt: skip
    assert [(one.prompt, one.true, one.false) for one in statements_of(facts)] == [
        ("A is", "one", "three"), ("A is", "two", "three"), ("B is", "three", "one")
    ]  # fmt: skip
    own = statements_of(knowns())
    assert len(own) > 50
    assert all(one.true != one.false for one in own)


PEOPLE = [
    Person("Ann Little", 9, {"job": ("singer",)}),
    Person("Bob van Dyke", 5, {"job": ("actor",)}),
    Person("Bob van Dyker", 7, {"job": ("actor", "singer")}),
    Person("Cher", 99, {"job": ("singer",)}),
    Person("Dan Strong", 3, {"job": ("actor",)}),
]


def test_names_are_whole_words_and_the_longest_one_counts() -> None:
    texts = source(
        "Bob van Dyker met Ann Little, and Ann Littlest met Ann Little; Cher sang.", "Bob van Dyke"
    )
    found = [(one.document, PEOPLE[one.person].name, one.end) for one in mentions(texts, PEOPLE)]
    assert found == [
        (0, "Bob van Dyker", 13),
        (0, "Ann Little", 28),
        (0, "Ann Little", 61),
        (1, "Bob van Dyke", 12),
    ]
    published = list(mentions(texts, PEOPLE, convention="as_published"))
    # One group of names: only its first mention in each text.
    assert [(one.document, PEOPLE[one.person].name) for one in published] == [
        (0, "Bob van Dyker"),
        (1, "Bob van Dyke"),
    ]


def test_rows_end_with_the_name_and_the_surname_is_pooled() -> None:
    texts = source("First Ann Little, then Dan Strong.", "Again Ann Little.", "Bob van Dyker. Bob van Dyke!")
    data = people_features(texts, PEOPLE, "job", ("actor", "singer"), context=20, least=1)
    rows = [text_of(data, row) for row in range(len(data))]
    # Most famous first, each once, only people of one class; 19 characters of each text.
    assert rows == ["First Ann Little", "Dyker. Bob van Dyke", "ittle, then Dan Strong"[-19:]]
    assert data.valid is not None
    valid = [
        bytes(
            data.corpus.row(n)[data.valid[data.corpus.offsets[n] : data.corpus.offsets[n + 1]]].tolist()
        ).decode()
        for n in range(len(data))
    ]
    assert valid == [" Little", " van Dyke", " Strong"]
    assert data.aggregation == "max"
    assert data.feature("singer").label.tolist() == [True, False, False]
    assert data.group.tolist() == [0, 2, 0]


def test_documents_that_share_a_name_are_one_group() -> None:
    texts = source("Ann Little and", "Dan Strong and Ann Little", "Bob van Dyke")
    data = people_features(texts, PEOPLE, "job", ("actor", "singer"), per_name=5, least=1)
    groups = dict(
        zip([text_of(data, row)[-6:] for row in range(len(data))], data.group.tolist(), strict=True)
    )
    assert groups["Strong"] == groups["Little"] != groups["n Dyke"]
