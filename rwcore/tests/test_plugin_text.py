"""Which text a subject reads, what it says about it, and what claims get out of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch

from fixtures.letters import save_letters
from fixtures.planted import VOCAB
from fixtures.planted_frequencies import PlantedFrequencies, plant_frequencies
from fixtures.tiny import local_model
from rwcore.activations.frequencies import class_frequencies, frequency_correlations
from rwcore.activations.reductions import gaps, pooled_r
from rwcore.claim.values import Interval
from rwcore.corpora.encoder import read_encoder
from rwcore.golden.paths import published_dir
from rwcore.models.spec import LocalModel
from rwcore.parallel import InProcess
from rwcore.plugin.model_subject import ModelSubject
from rwcore.plugin.options import SETTINGS
from rwcore.plugin.parametrize import pytest_collection_modifyitems
from rwcore.plugin.subjects import Kind, SubjectSpec
from rwcore.plugin.tables import TablesSubject
from rwcore.plugin.text import own_text, paper_text, stand_in_text
from rwcore.stats.classes import RW_CLASSES
from rwcore.store import Store

OLMO = "allenai/OLMo-7B-0424-hf"


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> PlantedFrequencies:
    found = plant_frequencies("agreeing", tmp_path_factory.mktemp("model"), per_class=3)
    save_letters(found.folder, VOCAB)
    return found


@pytest.fixture(scope="module")
def local(planted: PlantedFrequencies) -> LocalModel:
    return local_model(planted.folder, id="planted", family="llama")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("store"))


def subject_of(kind: Kind, local: LocalModel, store: Store, tokens: int | None = None) -> ModelSubject:
    spec = SubjectSpec(kind, local.spec.id, (local.spec.id,))
    return ModelSubject(spec, (local,), store, InProcess(), recorded=False, tokens=tokens)


@pytest.fixture(scope="module")
def subject(local: LocalModel, store: Store) -> ModelSubject:
    return subject_of(Kind.STAND_IN, local, store)


def test_a_stand_in_reads_the_beginnings_of_many_documents(local: LocalModel) -> None:
    spec = stand_in_text(read_encoder(local))
    assert (spec.id, spec.tokens, spec.max_length, spec.overflow) == ("handmade", 2000, 64, False)


@pytest.mark.parametrize(("kind", "tokens"), [(Kind.PACKAGED, None), (Kind.OTHER, 700)])
def test_other_models_read_our_own_text(
    local: LocalModel, store: Store, kind: Kind, tokens: int | None
) -> None:
    """As far as the option says; but values of the packaged model are recorded and depend on no option."""
    study = subject_of(kind, local, store, 700).activation_study()
    whole = own_text(read_encoder(local), None)
    assert (study.corpus.spec.id, study.corpus.spec.tokens) == ("handmade", tokens)
    assert whole.overflow
    if tokens is not None:
        assert 700 <= study.corpus.n_tokens < 700 + 64
    else:
        assert study.corpus.n_documents > 50


@pytest.mark.parametrize(
    ("asked", "tokens"), [(1_000_000, 1_000_000), (10**9, 20_000_000), (None, 20_000_000)]
)
def test_the_papers_models_read_the_papers_text(asked: int | None, tokens: int) -> None:
    spec = paper_text("dolma-small", asked)
    assert (spec.id, spec.tokens, spec.max_length) == ("dolma-small", tokens, 1024)


def test_frequencies_are_the_planted_ones(subject: ModelSubject, planted: PlantedFrequencies) -> None:
    study = subject.activation_study()
    share = torch.bincount(study.corpus.tokens.long(), minlength=VOCAB).double() / study.corpus.n_tokens
    known = (torch.tensor(planted.gate) > 0).double() @ share
    assert float((study.frequencies()["summary"] - known).abs().max()) < 1e-12
    frame, numbers = subject.class_frequencies(gaps)
    expected = class_frequencies(known, study.class_codes, RW_CLASSES)
    pd.testing.assert_frame_equal(frame[list(expected)], expected, check_exact=False, rtol=1e-9)
    assert (frame["true_low"] < frame["true"]).all()
    assert (frame["true"] < frame["true_high"]).all()
    assert (frame["baseline_low"] < frame["baseline_high"]).all()
    weakening = numbers["weakening"]
    assert isinstance(weakening, Interval)
    assert weakening.estimate == pytest.approx(gaps(expected)["weakening"])
    assert weakening.low > 0.1


def test_correlations_and_numbers_made_from_them(subject: ModelSubject) -> None:
    study = subject.activation_study()
    full = frequency_correlations(study.frequencies(), study.weights.cosines)
    frame, numbers = subject.frequency_correlations(lambda found: {"r": pooled_r(found)})
    assert list(frame) == ["quadrant", "cosine", "layer", "r", "r_low", "r_high"]
    pd.testing.assert_frame_equal(
        frame[["quadrant", "cosine", "layer", "r"]], full.drop(columns=["p", "n"]), check_dtype=False
    )
    row = frame[(frame["quadrant"] == "summary") & (frame["cosine"] == "linout") & (frame["layer"] == "all")]
    assert numbers["r"] == Interval(*row[["r_low", "r_high", "r"]].iloc[0])
    pooled, same = subject.frequency_correlations(lambda found: {"r": pooled_r(found)}, pooled=True)
    assert set(pooled["layer"]) == {"all"}
    assert same["r"].estimate == pytest.approx(numbers["r"].estimate)  # type: ignore[union-attr]


def test_what_was_read_stands_in_the_provenance(subject: ModelSubject) -> None:
    subject.begin()
    subject.weight_study()
    assert subject.sample() is None
    assert "activations" not in subject.provenance()["planted"]  # type: ignore[operator]
    study = subject.activation_study()
    sample = subject.sample()
    assert sample is not None
    assert (sample.corpus, sample.tokens, sample.whole) == ("handmade", study.corpus.n_tokens, None)
    facts = subject.provenance()["planted"]["activations"]  # type: ignore[index]
    assert study.corpus.content_hash in str(facts)
    assert "handmade" in str(facts)
    subject.begin()
    assert subject.sample() is None


def test_rows_run_by_themselves_are_counted_by_themselves(subject: ModelSubject) -> None:
    shapes = []

    def visit_batch(batch):  # type: ignore[no-untyped-def]
        return lambda layer, gate, in_, act: shapes.append((layer, tuple(gate.shape), batch.mask.shape))

    subject.visit_layers(visit_batch, rows=2, positions=10)
    assert [layer for layer, _, _ in shapes] == [0, 1, 2]
    sample = subject.sample()
    assert sample is not None
    assert sample.tokens == 20
    assert {shape for _, shape, _ in shapes} == {(2, 10, 33)}


def test_published_tables_have_the_columns_of_the_statistics() -> None:
    subject = TablesSubject(
        SubjectSpec(Kind.TABLES, OLMO, (OLMO,), "rw_functionalities"), published_dir("rw_functionalities")
    )
    frame, numbers = subject.class_frequencies(gaps)
    assert list(frame) == ["class", "true", "baseline"]
    assert numbers["weakening"] == pytest.approx(0.345)
    frame, found = subject.frequency_correlations(lambda table: {"r": pooled_r(table)})
    assert found == {"r": -0.91}
    assert list(frame) == ["quadrant", "cosine", "r", "layer"]
    assert set(frame["layer"]) == {"all", *map(str, range(32))}
    pooled, _ = subject.frequency_correlations(lambda _: {}, pooled=True)
    assert len(pooled) == 15
    assert subject.sample() is None


@pytest.mark.parametrize(
    ("kind", "limited"),
    [
        (Kind.PAPER, False),
        (Kind.PACKAGED, False),
        (Kind.OTHER, False),
        (Kind.STAND_IN, True),
        (Kind.TABLES, True),
    ],
)
def test_a_pass_of_a_real_model_is_not_stopped_by_the_limit_of_tests(kind: Kind, limited: bool) -> None:
    markers: list[Any] = []
    spec = SubjectSpec(kind, "org/model", ("org/model",))
    item = SimpleNamespace(callspec=SimpleNamespace(params={"subject": spec}), add_marker=markers.append)
    settings = SimpleNamespace(papers=(), budget_seconds=None)
    config = SimpleNamespace(stash={SETTINGS: settings})
    pytest_collection_modifyitems(config, [item])  # type: ignore[arg-type, list-item]
    assert [marker.mark.args for marker in markers] == ([] if limited else [(0,)])
