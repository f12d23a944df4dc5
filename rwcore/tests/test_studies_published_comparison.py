"""Pages against what a model computes on their texts: texts back to ids, one run per text, differences."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fixtures.letters import save_letters
from fixtures.tiny import SIZES, build, local_model
from rwcore.activations.published_pages import HOOKS, PublishedPage, read_pages, write_page
from rwcore.activations.quadrants import LISTS
from rwcore.corpora.encoder import read_encoder
from rwcore.corpora.prepare import prepare
from rwcore.errors import ModelError, OptionError
from rwcore.parallel import InProcess
from rwcore.plugin.model_subject import ModelSubject
from rwcore.plugin.subjects import Kind, SubjectSpec
from rwcore.plugin.text import own_text
from rwcore.store import Store
from rwcore.studies import published_comparison
from rwcore.studies.activations import ActivationStudy, activation_study
from rwcore.studies.frequencies import gate_signs
from rwcore.studies.published_comparison import TokenIds, compare_pages, longest, own_pages, texts_corpus
from rwcore.studies.weights import weight_study

NEURONS = [(0, 3), (2, 5), (1, 0)]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> ActivationStudy:
    root = tmp_path_factory.mktemp("model")
    folder = build("llama", root / "tiny")
    save_letters(folder, SIZES["vocab"])
    local = local_model(folder, id="tiny")
    encoder, store = read_encoder(local), Store(root / "store")
    return activation_study(
        weight_study(local, store=store), prepare(own_text(encoder, 1200), encoder, store)
    )


@pytest.fixture(scope="module")
def pages(study: ActivationStudy) -> list[PublishedPage]:
    return own_pages(study, NEURONS)


def test_own_pages_are_those_of_the_pass(study: ActivationStudy, pages: list[PublishedPage]) -> None:
    assert [(page.layer, page.neuron) for page in pages] == NEURONS
    beginnings = {one.tokens[0] for page in pages for one in page.examples}
    assert len(beginnings) == 1
    for page in pages:
        lists = page.lists()
        for place, which in enumerate(LISTS):
            values = study.summary.top_values[page.layer, place, page.neuron]
            values = values[~values.isnan()]
            examples = lists.get(which, [])
            assert [one.rank for one in examples] == [*range(len(values))]
            found = [float(one.listed[one.peak]) for one in examples]
            assert found == pytest.approx(values.tolist(), rel=1e-5)


def test_pages_that_were_written_agree_with_the_model(
    study: ActivationStudy, pages: list[PublishedPage], tmp_path: Path
) -> None:
    for page in pages:
        write_page(tmp_path, page)
    table = compare_pages(study.weights, read_pages(tmp_path))
    assert table[["layer", "neuron"]].to_numpy().tolist() == sorted(map(list, NEURONS))
    assert (table["tokens"] == table["compared"]).all()
    assert (table["several_ids"] == 0).all()
    assert (table["runs"] < table["files"]).all(), "texts are run once"
    for quantity in HOOKS:
        assert (table[f"{quantity}_error"] <= 1e-5).all()


def test_of_the_papers_own_model_the_published_pages_are_computed(
    study: ActivationStudy, pages: list[PublishedPage], tmp_path: Path
) -> None:
    write_page(tmp_path, pages[2])
    spec = SubjectSpec(Kind.PAPER, "tiny", ("tiny",))
    subject = ModelSubject(
        spec,
        (study.weights.local,),
        study.weights.store,
        InProcess(),
        recorded=False,
        published_pages=tmp_path,
    )
    (row,) = subject.recomputed_pages().to_dict("records")
    assert (row["layer"], row["neuron"]) == NEURONS[2]
    assert row["files"] == len(pages[2].examples)
    assert row["post_relative"] < 1e-5


def test_a_number_that_is_another_is_found(study: ActivationStudy, pages: list[PublishedPage]) -> None:
    page = pages[1]
    chosen = page.examples[7]
    values = chosen.values.clone()
    values[2, -3] += 0.25
    changed = replace(
        page, examples=tuple(replace(one, values=values) if one is chosen else one for one in page.examples)
    )
    (row,) = compare_pages(study.weights, [changed]).to_dict("records")
    assert row["in_error"] == pytest.approx(0.25, abs=1e-5)
    assert row["gate_error"] < 1e-5
    assert row["in_relative"] == pytest.approx(
        0.25 / max(float(one.of("in").abs().max()) for one in changed.examples), rel=1e-4
    )


def test_the_gate_sign_is_folded(
    study: ActivationStudy, pages: list[PublishedPage], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert set(gate_signs(study.weights).unique().tolist()) == {-1, 1}
    signs = published_comparison.gate_signs
    monkeypatch.setattr(published_comparison, "gate_signs", lambda weights: -signs(weights))
    table = compare_pages(study.weights, pages)
    assert (table["in_error"] > 0.1).all()
    assert (table["gate_error"] < 1e-5).all()


def test_only_texts_that_say_which_token_they_are_become_ids() -> None:
    ids = TokenIds.of(["a", "b\udcc3", "b\udcc3", "b", "c", "\udcc3", "\udca9"])
    assert ids.beginning(["a", "c", "�", "a"]) == (0, 4), "two ids are a byte of a broken character"
    assert ids.beginning(["a", "b�"]) == (0,), "two ids have this text"
    assert ids.beginning(["x", "a"]) == (), "no id has this text"
    assert ids.several(["b�", "�", "a", "x"]) == 2
    assert ids.unknown(["b�", "�", "a", "x"]) == 1


def test_what_is_behind_an_unknown_token_is_not_compared(
    study: ActivationStudy, pages: list[PublishedPage]
) -> None:
    whole = max(pages[0].examples, key=lambda one: len(one.tokens))
    for place, compared in ((3, 3), (0, 0)):
        tokens = (*whole.tokens[:place], "no such token", *whole.tokens[place + 1 :])
        page = replace(pages[0], examples=(replace(whole, tokens=tokens),))
        (row,) = compare_pages(study.weights, [page]).to_dict("records")
        assert (row["tokens"], row["compared"], row["no_id"]) == (len(tokens), compared, 1)
        assert row["runs"] == bool(compared)
        assert row["post_error"] < 1e-5 if compared else row["post_error"] != row["post_error"]


def test_only_the_longest_texts_are_run() -> None:
    texts = [(1, 2), (1, 2, 3), (1,), (2,), (1, 2, 3), (), (1, 3)]
    assert longest(texts) == [(1, 2, 3), (1, 3), (2,)]
    assert longest([()]) == []


def test_texts_are_rows() -> None:
    corpus = texts_corpus([(5, 6, 7), (8,)])
    assert [corpus.row(number).tolist() for number in range(2)] == [[5, 6, 7], [8]]
    assert corpus.n_tokens == 4


def test_a_neuron_that_the_model_does_not_have_is_refused(
    study: ActivationStudy, pages: list[PublishedPage]
) -> None:
    with pytest.raises(OptionError, match=r"99"):
        compare_pages(study.weights, [replace(pages[0], layer=99)])
    with pytest.raises(OptionError):
        own_pages(study, [(0, 10_000)])


def test_the_pass_of_other_weights_is_noticed(study: ActivationStudy) -> None:
    """The values that are found are compared with those of the pass."""
    layer = study.unfolded.layers[0]
    keys = torch.where(layer.top.keys > 0, layer.top.keys + 2**55, layer.top.keys)
    changed = replace(layer, top=replace(layer.top, keys=keys))
    other = replace(study)
    other.__dict__["unfolded"] = replace(study.unfolded, layers=(changed, *study.unfolded.layers[1:]))
    with pytest.raises(ModelError, match=r"pass has found"):
        own_pages(other, [(0, 9)])
