"""Documents of hub data sets, from the hub's cache alone, in every format and in the papers' order."""

from __future__ import annotations

import errno
import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import datasets
import pytest

from rwcore.corpora.documents import Document, document, documents, order, source_identity
from rwcore.corpora.hub import snapshot
from rwcore.corpora.registry import find
from rwcore.corpora.spec import CorpusSpec
from rwcore.corpora.tokenise import tokenise
from rwcore.errors import CorpusError, OptionError
from rwcore.tests.corpus_makers import END, byte_tokenizer, encoder
from rwcore.tests.hub_sets import (
    COMMIT,
    compressed,
    json_lines,
    lay_out,
    offline_hub,
    parquet,
    parts,
    rows_of,
)

hub = pytest.fixture(offline_hub)


def texts(spec: CorpusSpec) -> list[str]:
    return [document.text for document in documents(spec)]


def test_a_hub_data_set_is_read_from_its_cache(hub: Path) -> None:
    spec = lay_out(hub, parts(rows_of(0, 5), rows_of(5, 9)))
    found = list(documents(spec))
    assert [document.text for document in found] == [f"text {n}" for n in range(9)]
    assert found[6] == Document("train:6", "text 6", {"meta.set": "Pile", "lang": "de"})
    assert texts(replace(spec, documents=2)) == ["text 0", "text 1"]
    assert len(texts(replace(spec, documents=99))) == 9
    assert source_identity(spec) == f"commit:{COMMIT}"


# --- the papers' order


def published(hub: Path, spec: CorpusSpec) -> datasets.Dataset:
    """What `datasets` itself gives for the shuffle and the choice of a spec."""
    opened = datasets.load_dataset(str(snapshot(spec)), split="train")
    return opened.shuffle(seed=spec.shuffle_seed).select(range(spec.documents))


def test_a_hub_data_set_is_shuffled_as_the_papers_did(hub: Path) -> None:
    spec = replace(
        lay_out(hub, parts(rows_of(0, 300), rows_of(300, 301), rows_of(301, 1000))),
        shuffle_seed=2512800,
        documents=200,
    )
    assert texts(spec) == list(published(hub, spec)["text"])
    assert [document.id for document in documents(spec)] == [f"train:{n}" for n in order(spec, 1000)]
    assert texts(replace(spec, shuffle_seed=2512801)) != texts(spec)


def test_the_dolma_recipe_is_that_of_a_direct_implementation(hub: Path) -> None:
    # The original script: shuffle, choose, BOS and truncation by the tokenizer, rows until the count.
    rows = [{"text": f"<{n}> " + "word " * (n * 37 % 300), "id": str(n)} for n in range(500)]
    spec = replace(find("dolma-small"), documents=400, tokens=100_000)
    lay_out(hub, parts(rows[:250], rows[250:]), spec.location)
    tokenizer = byte_tokenizer(END, eos_token=END)
    expected: list[list[int]] = []
    for text in published(hub, spec)["text"]:
        if sum(map(len, expected)) >= 100_000:
            break
        expected.append([256, *tokenizer(text)["input_ids"]][:1024])
    assert len(expected) < 400, "the recipe must end by its count"
    corpus = tokenise(spec, encoder(tokenizer, context=2048))
    assert [corpus.row(number).tolist() for number in range(len(corpus))] == expected
    assert 100_000 <= corpus.n_tokens < 100_000 + 1024
    assert corpus.document.tolist() == list(range(len(expected)))


@pytest.mark.parametrize("seed", [None, 7])
def test_one_document_is_found_without_the_ones_before(hub: Path, seed: int | None) -> None:
    spec = replace(lay_out(hub, parts(rows_of(0, 150))), shuffle_seed=seed, documents=140)
    everything = list(documents(spec))
    assert [document(spec, number) for number in (0, 63, 64, 65, 139)] == [
        everything[number] for number in (0, 63, 64, 65, 139)
    ]
    with pytest.raises(OptionError, match="no document 140"):
        document(spec, 140)


# --- labels


def of_sources(*sources: str) -> list[dict[str, object]]:
    """Rows as the Pile has them."""
    return [{"text": f"text {n}", "meta": {"pile_set_name": name}} for n, name in enumerate(sources)]


NAMED = (("source", "meta.pile_set_name"),)


@pytest.mark.parametrize("jsonl", [True, False])
def test_documents_of_one_source_are_chosen_and_named(hub: Path, jsonl: bool) -> None:
    rows = of_sources(*["ArXiv", "Github", "ArXiv", "EuroParl"] * 50)
    files = {"test.jsonl": json_lines(rows)} if jsonl else {"data/test-00000-of-00001.parquet": parquet(rows)}
    spec = replace(lay_out(hub, files), split="test", labels=NAMED, where=(("source", "ArXiv"),))
    found = list(documents(spec))
    assert [one.text for one in found] == [f"text {n}" for n in range(0, 200, 2)]
    assert found[1] == Document("test:2", "text 2", {"meta.pile_set_name": "ArXiv", "source": "ArXiv"})
    by_field = replace(spec, labels=(), where=(("meta.pile_set_name", "ArXiv"),))
    assert texts(by_field) == [one.text for one in found]
    # The shuffle and the choice are of those that are left.
    some = replace(spec, shuffle_seed=3, documents=10)
    assert texts(some) == [found[n].text for n in order(some, 100)]
    assert document(some, 4).text == texts(some)[4]


def test_a_source_that_no_document_is_of(hub: Path) -> None:
    spec = lay_out(hub, {"test.jsonl": json_lines(of_sources("Github"))})
    spec = replace(spec, split="test", labels=NAMED, where=(("source", "ArXiv"),))
    with pytest.raises(CorpusError, match="no documents with source 'ArXiv'"):
        texts(spec)


def test_some_files_of_a_data_set_are_enough_where_no_others_are_wanted(hub: Path) -> None:
    spec = replace(lay_out(hub, {"test.jsonl": json_lines(ROWS)}), split="test", files=("test.jsonl",))
    assert len(texts(spec)) == 6
    with pytest.raises(CorpusError, match=r"there is no file val\.\*") as caught:
        texts(replace(spec, files=("test.jsonl", "val.*")))
    assert (
        caught.value.remedy
        == "hf download org/texts --repo-type dataset --include test.jsonl --include 'val.*'"
    )


# --- formats

ROWS = rows_of(0, 6)


@pytest.mark.parametrize(
    "files",
    [
        {"texts.jsonl": json_lines(ROWS)},
        {"README.md": b"---\nlicense: mit\n---\n", "data/a.json": json_lines(ROWS)},
        {"data/a.jsonl.gz": compressed(json_lines(ROWS), "gzip")},
        {"a.parquet": parquet(ROWS[:4]), "b.parquet": parquet(ROWS[4:])},
        {
            "README.md": b"---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n"
            b"    path: rows/*.parquet\n---\n",
            "rows/a.parquet": parquet(ROWS),
            "other.parquet": parquet(rows_of(7, 9)),
        },
    ],
    ids=["jsonl", "json and card", "gzip", "parquet", "configured"],
)
def test_formats_of_the_hub(hub: Path, files: dict[str, bytes]) -> None:
    found = list(documents(lay_out(hub, files)))
    assert [document.text for document in found] == [f"text {n}" for n in range(6)]
    assert found[3].labels == {"meta.set": "Pile", "lang": "de"}


def zstd_set(hub: Path) -> CorpusSpec:
    """JSON lines in two files packed with zstd, as Dolma's own files could be."""
    halves = {"a": ROWS[:4], "b": ROWS[4:]}
    files = {f"data/{name}.jsonl.zst": compressed(json_lines(rows), "zstd") for name, rows in halves.items()}
    return lay_out(hub, files)


@pytest.mark.skipif(importlib.util.find_spec("zstandard") is None, reason="needs zstandard")
def test_json_lines_packed_with_zstd(hub: Path) -> None:
    spec = zstd_set(hub)
    assert texts(spec) == [f"text {n}" for n in range(6)]
    shuffled = replace(spec, shuffle_seed=2512800, documents=4)
    assert texts(shuffled) == list(published(hub, shuffled)["text"])


def test_the_library_for_zstd_is_named(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(CorpusError, match="library zstandard, which is not installed") as caught:
        texts(zstd_set(hub))
    assert caught.value.remedy == "pip install zstandard"
    assert str(caught.value.where).endswith("data/a.jsonl.zst")


# --- what is wrong is said


def test_a_missing_data_set_names_the_command(hub: Path) -> None:
    with pytest.raises(CorpusError, match="not on this machine") as caught:
        texts(find("dolma-small"))
    assert caught.value.remedy == "rwcore fetch --corpus dolma-small"
    with pytest.raises(CorpusError) as caught:
        texts(replace(find("pile-10k"), tokens=5, documents=1))
    assert caught.value.remedy == "rwcore fetch --corpus pile-10k"


def test_a_data_set_that_is_not_registered_is_the_hubs_own_business(hub: Path) -> None:
    with pytest.raises(CorpusError) as caught:
        texts(replace(find("pile-10k"), revision="abc"))
    assert caught.value.remedy == "hf download NeelNanda/pile-10k --repo-type dataset --revision abc"
    with pytest.raises(CorpusError) as caught:
        texts(CorpusSpec("mine", "hub", "org/mine"))
    assert caught.value.remedy == "hf download org/mine --repo-type dataset"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "test"}, "cannot be read: Unknown split"),
        ({"text_field": "txt"}, "no field 'txt'"),
        ({"text_field": "input_ids"}, "no text but"),
        ({"location": "a/b/c"}, "not a name the hub allows"),
    ],
)
def test_what_a_data_set_lacks_is_said(hub: Path, options: dict[str, str], message: str) -> None:
    spec = replace(lay_out(hub, parts(rows_of(0, 3))), **options)
    with pytest.raises(CorpusError, match=message):
        texts(spec)


def test_a_text_that_is_missing_is_located_by_row(hub: Path) -> None:
    spec = lay_out(hub, {"a.parquet": parquet([{"text": "a"}, {"text": None}, {"text": "c"}])})
    with pytest.raises(CorpusError, match="no text but None") as caught:
        texts(spec)
    assert str(caught.value.where).endswith("train: row 1")


def test_another_revision_is_not_the_main_branch(hub: Path) -> None:
    spec = lay_out(hub, parts(rows_of(0, 3)))
    assert len(texts(replace(spec, revision=COMMIT))) == 3
    with pytest.raises(CorpusError, match="not on this machine") as caught:
        texts(replace(spec, revision="v2"))
    assert caught.value.where == "the hub's cache: org/texts@v2"


def test_a_part_of_a_data_set_does_not_pass_for_it(hub: Path) -> None:
    files = parts(rows_of(0, 3), rows_of(3, 6), rows_of(6, 9))
    del files["data/train-00001-of-00003.parquet"]
    with pytest.raises(CorpusError, match="2 of the 3 parts of 'train' are here") as caught:
        texts(lay_out(hub, files))
    assert caught.value.remedy == "hf download org/texts --repo-type dataset"


def test_parts_may_have_hashes_in_their_names(hub: Path) -> None:
    # As of pile-10k.
    name = "data/train-{}-of-00002-{}.parquet"
    files = {
        name.format("00000", "4746b8"): parquet(rows_of(0, 2)),
        name.format("00001", "2ec79d"): parquet(ROWS),
    }
    assert len(texts(lay_out(hub, files))) == 8


def test_a_link_to_nothing_is_a_missing_file(hub: Path) -> None:
    spec = lay_out(hub, {"a.jsonl": json_lines(rows_of(0, 3)), "b.jsonl": json_lines(rows_of(3, 6))})
    (hub / "datasets--org--texts" / "blobs" / f"{1:040x}").unlink()
    with pytest.raises(CorpusError, match=r"not complete on this machine: b\.jsonl is a link to nothing"):
        texts(spec)


def test_an_interrupted_download_is_noticed(hub: Path) -> None:
    spec = lay_out(hub, {"a.jsonl": json_lines(rows_of(0, 3))})
    tree = pytest.importorskip("huggingface_hub._tree_cache")  # what the client notes of a whole repository
    entry = tree.TreeCacheEntry(size=1, blob_id="0", lfs_sha256=None, lfs_size=None, xet_hash=None)
    tree.write_tree_cache(str(hub / "datasets--org--texts"), COMMIT, {"a.jsonl": entry, "b.jsonl": entry})
    with pytest.raises(CorpusError, match="not all of it"):
        texts(spec)


def test_a_missing_library_is_named(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = lay_out(hub, parts(rows_of(0, 3)))
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(CorpusError, match="library datasets") as caught:
        texts(spec)
    assert caught.value.remedy == "pip install datasets"


def test_a_damaged_data_set_is_said(hub: Path) -> None:
    spec = lay_out(hub, {"a.parquet": b"PAR1"})
    with pytest.raises(CorpusError, match="cannot be read") as caught:
        texts(spec)
    assert "hf download org/texts" in str(caught.value.remedy)


FULL = [
    OSError(errno.ENOSPC, "No space left on device"),
    OSError("Not enough disk space. Needed: 11.0 GiB (download: 5.0 GiB, generated: 6.0 GiB)"),
]


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("error", FULL, ids=["number", "words"])
def test_a_full_disk_is_said(
    hub: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, wrapped: bool
) -> None:
    def load_dataset(*_args: object, **_options: object) -> None:
        if wrapped:
            raise RuntimeError("generating failed") from error
        raise error

    spec = lay_out(hub, parts(rows_of(0, 3)))
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(CorpusError, match="the disk is full while texts is unpacked") as caught:
        texts(spec)
    assert "HF_DATASETS_CACHE" in str(caught.value.remedy)
    assert caught.value.where == str(hub.parent / "datasets")
