"""The study of suppression: gone on with, in parts, by kind of token, refused."""

import dataclasses
import json

import pytest
import torch

from fixtures.letters import save_letters
from fixtures.tiny import SIZES, build, local_model
from rwcore.corpora.encoder import read_encoder
from rwcore.corpora.prepare import prepare
from rwcore.corpora.registry import find
from rwcore.errors import CorpusError, ModelError, OptionError
from rwcore.store import Store, read_arrays
from rwcore.studies.forward import ForwardOptions
from rwcore.studies.head_suppression import ARRAYS, SuppressionOptions, SuppressionStudy
from rwcore.studies.head_suppression_files import SuppressionFiles
from rwcore.studies.weights import weight_study
from rwcore.tests.command_line import write_notes

TEXTS = ["abcde abcde edcba abc", "fghij jihgf fgh", "kab kab bak", "xyzfa xyz fax", "abc"]


def made(family, folder):
    return local_model(save_letters(build(family, folder), SIZES["vocab"]))


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    return made("llama", tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def notes(tmp_path_factory):
    return write_notes(tmp_path_factory.mktemp("notes"), TEXTS)


def study_in(store, local, notes, *, processing="as_published", parts=1, text=None, **options):
    encoder = read_encoder(local)
    spec = find(str(notes))
    spec = dataclasses.replace(spec, **{"max_length": 30, **(text or {})})
    rows = prepare(spec, encoder, Store(store))
    weights = weight_study(local, processing=processing, store=Store(store))
    forward = ForwardOptions(token_budget=40, device="cpu")
    return SuppressionStudy(weights, rows, SuppressionOptions(**options), forward, parts=parts)


def arrays_of(study):
    return read_arrays(study.folder / ARRAYS)


def test_a_killed_sweep_goes_on_and_parts_decide_nothing(local, notes, tmp_path, monkeypatch):
    whole = arrays_of(study_in(tmp_path / "whole", local, notes))
    killed = study_in(tmp_path / "killed", local, notes)
    keep, batches = SuppressionFiles.keep, []

    def dying(self, model, batch):
        batches.append(batch.number)
        if len(batches) == 2:
            raise KeyboardInterrupt
        return keep(self, model, batch)

    monkeypatch.setattr(SuppressionFiles, "keep", dying)
    with pytest.raises(KeyboardInterrupt):
        _ = killed.folder
    later = arrays_of(study_in(tmp_path / "killed", local, notes, parts=2))
    assert batches.count(batches[0]) == 1
    for name, values in whole.items():
        assert torch.equal(later[name], values), name


def test_every_position_but_the_first_is_there_once(local, notes, tmp_path):
    study = study_in(tmp_path, local, notes)
    places = arrays_of(study)["place"].tolist()
    starts = {*study.corpus.offsets[:-1].tolist()}
    assert places == [place for place in range(study.corpus.n_tokens) if place not in starts]
    scores = study.main
    assert scores.counts.sum() == len(places)
    assert len(scores.counts) == len(TEXTS)


def test_kinds_add_up_and_in_context_is_another_choice(local, notes, tmp_path):
    study = study_in(tmp_path, local, notes)
    table = study.groups.set_index(["tokens", "writers", "group"])["suppression"]
    for writers, group in (("heads", "all"), ("neurons", "any weakening")):
        parts = table[("earlier", writers, group)] + table[("new", writers, group)]
        assert table[("predicted", writers, group)] == pytest.approx(parts, rel=1e-6)
    inside = study_in(tmp_path, local, notes, in_context=True)
    assert inside.folder == study.folder
    earlier = inside.scores("earlier").negative
    assert torch.equal(inside.negative, earlier)
    assert inside.main.kinds == ("earlier",)


def test_a_least_probability_is_another_artefact(local, notes, tmp_path):
    study = study_in(tmp_path, local, notes)
    some = study_in(tmp_path, local, notes, least_probability=0.2)
    assert some.folder != study.folder
    assert some.main.chosen.sum() < study.main.chosen.sum()


def test_a_model_without_gates_has_three_classes(notes, tmp_path):
    study = study_in(tmp_path / "store", made("gpt2", tmp_path / "gpt2"), notes)
    assert "any weakening" not in study.families
    assert study.classes == ("strengthening", "orthogonal output", "weakening", "undefined")
    assert len(study.weakening) == 1
    assert study.neurons(3)["class"].isin(study.classes).all()


def test_provenance_says_what_was_asked(local, notes, tmp_path):
    found = study_in(tmp_path, local, notes, in_context=True).provenance
    assert found["options"] == {"in_context": True, "least_probability": 0.0}
    assert found["batches"] >= 2
    assert json.dumps(found)


@pytest.mark.parametrize("probability", [-0.1, 1.0, float("nan")])
def test_no_such_probability(probability):
    with pytest.raises(OptionError, match="least probability"):
        SuppressionOptions(least_probability=probability)


def test_refusals(local, notes, tmp_path):
    with pytest.raises(ModelError, match="no decoder"):
        study_in(tmp_path, made("bert", tmp_path / "bert"), notes)
    with pytest.raises(OptionError, match="processed weights"):
        study_in(tmp_path, local, notes, processing="raw")
    with pytest.raises(CorpusError, match="behind its first"):
        study_in(tmp_path, local, notes, text={"bos": "none", "max_length": 1})
