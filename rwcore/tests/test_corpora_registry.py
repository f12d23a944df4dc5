"""The registry of corpora, the recipes of the papers, and the names a user may type."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rwcore.corpora.registry import CORPORA_TOML, about, find, published, read_registry, registry
from rwcore.corpora.spec import LONGEST_ROW, CorpusSpec
from rwcore.errors import CorpusError, OptionError
from rwcore.models.registry import registry as models

ENTRY = '[[corpus]]\nid = "{id}"\nsource = "handmade"\nbos = "model"\nlayout = "ragged"\nabout = "x"\n'


def test_the_dolma_sample_is_the_papers_recipe():
    # Neuroscope 2; ablations and frequencies 0.1.
    assert find("dolma-small").recipe() == {
        "id": "dolma-small",
        "source": "hub",
        "location": "emozilla/dolma-v1_7-3B",
        "revision": None,
        "split": "train",
        "text_field": "text",
        "shuffle_seed": 2512800,
        "documents": 80_000,
        "tokens": 20_000_000,
        "max_length": 1024,
        "overflow": False,
        "bos": "model",
        "layout": "ragged",
        "separator": "none",
        "tokenizer": "allenai/OLMo-1B-hf",
    }


def test_what_the_papers_say_of_their_rows():
    # Ablations and frequencies 0.1; the bounds of neuroscope 2 follow from the recipe.
    for name in ("dolma-small", "dolma-small-published"):
        said, recipe = published(name), find(name)
        assert said is not None
        assert said.rows == (45_734, 45_736)
        assert said.tokens == (recipe.tokens, recipe.tokens + recipe.max_length - 1)
        assert said.mean_length == 437.3 == round(said.tokens[0] / said.rows[0], 1)
        assert said.longest == recipe.max_length == 1024
    assert published("handmade") is None


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "dolma-small",
            "80,000 documents shuffled with seed 2512800, one a row, cut at 1,024 tokens, BOS first, until "
            "20,000,000 tokens",
        ),
        ("pile-10k", "all documents, in full rows of 512 tokens, BOS first"),
        ("handmade", "all documents shuffled with seed 0, in rows of at most 1,024 tokens, BOS first"),
    ],
)
def test_recipes_in_words(name: str, words: str):
    assert find(name).describe() == words


def test_the_rows_of_openwebtext_are_made_as_the_paper_made_them():
    # Copy suppression 3.
    for name, seed, rows, length in (("", 6, 800, 1000), ("-800", 1, 500, 800), ("-61", 6, 80, 61)):
        recipe = find(f"openwebtext-10k{name}").recipe()
        assert (recipe["shuffle_seed"], recipe["max_length"]) == (seed, length)
        assert recipe["tokens"] == rows * length
        assert recipe["shuffle"] == "legacy"
        assert recipe["straight_quotes"] is recipe["full_rows"] is True
    words = (
        "all documents shuffled with seed 6 by numpy's older generator, straight quotes, one a row, cut at 61"
    )
    assert find("openwebtext-10k-61").describe().startswith(f"{words} tokens, shorter ones left out")


def test_the_splits_of_the_pile():
    for name, split in (("pile-test", "test"), ("pile-validation", "validation")):
        papers = find(f"{name}-arxiv")
        assert {find(name).split, papers.split, find(f"{name}-uncopyrighted").split} == {split}
        assert papers.location == find(name).location
        assert papers.where == (("source", "ArXiv"),)
        assert find(name).where == ()
        assert find(name).labels == papers.labels == (("source", "meta.pile_set_name"),)
    assert find("pile-test-uncopyrighted").files == ("test.jsonl.zst",)
    assert "all documents with source 'ArXiv', one a row" in find("pile-test-arxiv").describe()


def test_recipes_lead_back_to_their_corpus():
    for spec in registry().values():
        assert CorpusSpec.from_recipe(spec.recipe()) == spec
    assert "labels" not in find("pile-10k").recipe()
    assert find("pile-test-arxiv").recipe()["where"] == {"source": "ArXiv"}
    with pytest.raises(OptionError, match="only data sets of the hub have files"):
        CorpusSpec("x", "handmade", files=("a",))


def test_every_part_of_a_recipe_is_in_its_words():
    plain = CorpusSpec("x", "handmade")
    others = [
        CorpusSpec("x", "handmade", **options)
        for options in (
            {"documents": 3}, {"shuffle_seed": 3}, {"max_length": 3}, {"tokens": 3}, {"overflow": True},
            {"shuffle_seed": 3, "shuffle": "legacy"}, {"straight_quotes": True}, {"full_rows": True},
            {"bos": "eot"}, {"bos": "none"}, {"layout": "packed"}, {"layout": "packed", "separator": "eot"},
        )
    ]  # fmt: skip
    assert len({spec.describe() for spec in [plain, *others]}) == 13
    assert plain.describe() == "all documents, one a row, cut at the model's context, BOS first"


def test_the_corpora_of_the_design_are_there():
    assert {"dolma-small", "pile-10k", "handmade", "python-topics"} <= set(registry())
    assert find("pile-10k").layout == "packed"
    assert find("pile-10k").max_length == 512


@pytest.mark.parametrize("spec", registry().values(), ids=lambda spec: spec.id)
def test_every_corpus_is_found_and_described(spec: CorpusSpec):
    assert find(spec.id) is find(f" {spec.id.upper()} ") is spec
    assert about(spec.id)
    assert spec.tokenizer is None or spec.tokenizer in models()


def test_an_alias_is_a_name():
    assert find("topics") == find("python-topics")


def test_every_key_is_explained():
    text = CORPORA_TOML.read_text(encoding="utf-8")
    explained = {
        line.split()[1] for line in text.split("[[corpus]]")[0].splitlines() if line.startswith("# ")
    }
    assert set(CorpusSpec.__dataclass_fields__) <= explained | {"id"}
    assert "aliases" in explained


def test_a_path_is_a_corpus_of_which_nothing_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "handmade").mkdir()
    monkeypatch.chdir(tmp_path)
    spec = find("./handmade/")
    assert spec == CorpusSpec(
        "./handmade", "file", str(tmp_path / "handmade"), max_length=LONGEST_ROW, overflow=True
    )
    assert find("handmade").source == "handmade"


@pytest.mark.parametrize(
    ("text", "hint"), [("dolma-smal", "dolma-small"), ("", "registered are"), ("x/y", "a path")]
)
def test_unknown_names_get_a_suggestion(text: str, hint: str):
    with pytest.raises(CorpusError, match="unknown corpus") as caught:
        find(text)
    assert hint in str(caught.value.remedy)


@pytest.mark.parametrize(
    ("content", "message", "where"),
    [
        ("[[corpus", "cannot be read", "c.toml"),
        (ENTRY.format(id="a") + 'colour = "red"', "Extra inputs", "corpus 1 (a).colour"),
        (ENTRY.format(id="a") + "tokens = 0", "greater than 0", "corpus 1 (a).tokens"),
        (ENTRY.format(id="a").replace("model", "start"), "'model', 'none' or 'eot'", "corpus 1 (a).bos"),
        (ENTRY.format(id="a").replace('bos = "model"\n', ""), "Field required", "corpus 1 (a).bos"),
        (ENTRY.format(id="a") + 'location = "b"', "has no location", "a: location"),
        (ENTRY.format(id="a").replace("handmade", "hub"), "needs location", "a: location"),
        (ENTRY.format(id="a") + 'separator = "eot"', "several documents", "a: separator"),
        (ENTRY.format(id="a") + ENTRY.format(id="A"), "two corpora answer to 'a'", "a and A"),
    ],
)
def test_a_damaged_registry_is_located(tmp_path: Path, content: str, message: str, where: str):
    file = tmp_path / "c.toml"
    file.write_text(content)
    with pytest.raises(CorpusError, match=message) as caught:
        read_registry(file)
    assert where in str(caught.value.where)
    assert str(file) in str(caught.value.where)


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"source": "web"}, "source"),
        ({"bos": "start"}, "bos"),
        ({"documents": 0}, "documents"),
        ({"tokens": -1}, "tokens"),
        ({"shuffle_seed": -1}, "shuffle_seed"),
        ({"max_length": 1}, "max_length"),
        ({"max_length": 0, "bos": "none"}, "max_length"),
        ({"layout": "packed", "overflow": True}, "overflow"),
        ({"separator": "eot"}, "separator"),
        ({"layout": "packed", "full_rows": True}, "full_rows"),
        ({"overflow": True, "full_rows": True}, "full_rows"),
        ({"shuffle": "legacy"}, "shuffle"),
        ({"shuffle": "legacy", "shuffle_seed": 2**32}, "shuffle"),
        ({"shuffle": "twice"}, "shuffle"),
    ],
)
def test_impossible_recipes_are_refused(options: dict[str, object], key: str):
    with pytest.raises(OptionError, match="cannot be made") as caught:
        CorpusSpec(**{"id": "x", "source": "handmade", **options})
    assert caught.value.where == f"x: {key}"


def test_names_cost_no_torch():
    code = "import sys, rwcore.corpora.registry; print('torch' in sys.modules, 'transformers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
