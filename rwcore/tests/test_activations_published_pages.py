"""Pages in the published layout: three published files, what is written and read again, our own examples."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from rwcore.activations.published_facts import page_facts, peaks
from rwcore.activations.published_pages import (
    HOOKS,
    PublishedPage,
    labels_of,
    own_page,
    page_folders,
    published_text,
    read_page,
    read_pages,
    write_page,
)
from rwcore.activations.quadrants import LISTS
from rwcore.claim.published import read_csv
from rwcore.errors import NotGatedError, OptionError, StoreError
from rwcore.paths import golden_dir
from rwcore.tests.published_makers import random_examples, random_pages

PUBLISHED = Path(__file__).parent / "data" / "published_pages"


def same(left: PublishedPage, right: PublishedPage) -> bool:
    facts = [
        (page.layer, page.neuron, [(one.name, one.tokens, one.labels) for one in page.examples])
        for page in (left, right)
    ]
    pairs = zip(left.examples, right.examples, strict=True)
    return facts[0] == facts[1] and all(torch.equal(one.values, other.values) for one, other in pairs)


# --- the published files ----------------------------------------------------------------------------------


def test_published_files_are_read_as_the_published_table_has_them() -> None:
    found = peaks(read_pages(PUBLISHED))
    table = read_csv(golden_dir() / "neuroscope" / "published" / "neuroscope_examples.csv")
    assert [*found.columns] == [*table.columns]
    assert len(found) == 3
    assert len(found.merge(table, on=[*table.columns])) == 3, "every number to the digit"


def test_what_holds_within_published_files_holds_in_these() -> None:
    (facts,) = page_facts(read_pages(PUBLISHED)).to_dict("records")
    for name in (
        "other_labels",
        "not_float32",
        "other_beginnings",
        "inexact_products",
        "zeros_written_otherwise",
    ):
        assert facts[name] == 0, name
    assert facts["act_error"] < 1e-7
    assert 0 < facts["listed_error"] <= 1.01e-7


def test_what_is_written_are_the_published_characters(tmp_path: Path) -> None:
    """But for line breaks between numbers."""
    (page,) = read_pages(PUBLISHED)
    written = write_page(tmp_path, page)
    for file in (PUBLISHED / "L5/N10602").iterdir():
        ours, theirs = ((folder / file.name).read_text() for folder in (written, file.parent))
        assert "".join(ours.split()) == "".join(theirs.split())
        assert [*json.loads(ours)] == ["tokens", "values", "labels"]


# --- our own ----------------------------------------------------------------------------------------------


def test_a_page_is_read_as_it_was_written(tmp_path: Path) -> None:
    pages = random_pages(2)
    for page in reversed(pages):
        write_page(tmp_path, page)
    (tmp_path / "L0/N0/vis.html").write_text("not ours")
    (tmp_path / "L0/N0/notes.json").write_text("nor this")
    (tmp_path / "Lx/Ny").mkdir(parents=True)
    assert [place[:2] for place in page_folders(tmp_path)] == [(0, 0), (1, 7)]
    assert all(same(one, other) for one, other in zip(read_pages(tmp_path), pages, strict=True))


def test_own_examples_become_the_published_columns() -> None:
    examples, texts = random_examples()
    page = own_page(examples, texts)
    assert sum(map(len, page.lists().values())) == sum(map(len, examples.lists.values()))
    assert [*page.lists()] == [which for which in LISTS if examples.lists[which]]
    for which, shown in page.lists().items():
        for entry, example in zip(examples.lists[which], shown, strict=True):
            stretch = examples.stretches[entry.row]
            end = min(entry.position + 3, len(stretch.gate))
            assert example.tokens == tuple(texts[entry.row][:end])
            assert example.labels == labels_of(example.case, example.hook)
            for quantity in HOOKS:
                assert torch.equal(example.of(quantity), stretch.of(quantity)[:end].double())
            assert example.peak == entry.position
            assert float(example.listed[example.peak]) == entry.value
            sign = (1 if "gate+" in which[0] else -1, 1 if "in+" in which[0] else -1)
            wanted = (example.of("gate") * sign[0] > 0) & (example.of("in") * sign[1] > 0)
            assert torch.equal(example.inside(), wanted)
            assert torch.equal(example.listed, example.of(which[1]) * wanted)


def test_the_list_of_positive_gates_has_a_column_of_act_too() -> None:
    assert labels_of("gate+_in-", "hook_pre") == (
        "gate+_in-_hook_pre", "gate+_in-_swish", "hook_post", "hook_pre_linear", "hook_pre", "swish",
    )  # fmt: skip
    assert labels_of("gate-_in-", "hook_pre")[1] == "hook_post"
    page = own_page(*random_examples())
    (example, *_) = page.lists()["gate+_in-", "gate"]
    assert torch.equal(example.values[:, 1], example.of("act") * example.inside())


def test_zero_is_in_no_quadrant() -> None:
    examples, texts = random_examples(rows=3)
    stretch = examples.stretches[0]
    stretch.gate[1], stretch.in_[2] = 0, 0
    page = own_page(examples, texts)
    for example in page.examples:
        if example.tokens[1] == texts[0][1]:
            assert example.listed[1:3].tolist() == [0, 0]


def test_bytes_that_are_no_character_are_written_as_published() -> None:
    assert published_text("é".encode()[:1].decode("utf-8", "surrogateescape")) == "�"
    assert published_text(" plain\n") == " plain\n"


def test_examples_that_cannot_make_a_page_are_refused() -> None:
    examples, texts = random_examples()
    with pytest.raises(NotGatedError, match="has no gate"):
        own_page(replace(examples, gated=False), texts)
    later = replace(examples, stretches=(replace(examples.stretches[0], start=1), *examples.stretches[1:]))
    with pytest.raises(OptionError, match="before=None"):
        own_page(later, texts)
    with pytest.raises(OptionError, match="one text per token"):
        own_page(examples, [texts[0][1:], *texts[1:]])


# --- damaged files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda content: content.pop("labels"), "labels"),
        (lambda content: content["tokens"].pop(), "4 tokens"),
        (lambda content: content["labels"].reverse(), "last columns"),
        (lambda content: content["values"][0].pop(), "inhomogeneous"),
        (lambda content: content["tokens"].__setitem__(0, 3), "no text"),
        (lambda content: content["values"][1].__setitem__(0, "x"), "could not convert"),
    ],
)
def test_a_damaged_file_is_named(damage, told: str, tmp_path: Path) -> None:
    shutil.copytree(PUBLISHED / "L5", tmp_path / "L5")
    file = tmp_path / "L5/N10602/gate+_in-_hook_post_example_4.json"
    content = json.loads(file.read_text())
    damage(content)
    file.write_text(json.dumps(content))
    with pytest.raises(StoreError, match=told) as caught:
        read_page(file.parent, 5, 10602)
    assert caught.value.where == str(file)


def test_a_folder_without_pages_and_a_list_that_is_not_kept_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no published pages") as caught:
        list(read_pages(tmp_path))
    assert "L<layer>/N<neuron>" in str(caught.value.remedy)
    folder = tmp_path / "L0/N0"
    folder.mkdir(parents=True)
    shutil.copy(
        PUBLISHED / "L5/N10602/gate+_in-_hook_post_example_4.json", folder / "gate+_in-_swish_example_0.json"
    )
    with pytest.raises(StoreError, match="no list of swish"):
        list(read_pages(tmp_path))


def test_peaks_are_in_the_columns_of_the_published_table() -> None:
    found = peaks(random_pages(1))
    assert isinstance(found, pd.DataFrame)
    row = found.iloc[0]
    assert row["context"].startswith("<|endoftext|>")
    assert (found["n_ties_at_peak"] >= 1).all()
    assert (found["n_in_quadrant"] >= 1).all()
