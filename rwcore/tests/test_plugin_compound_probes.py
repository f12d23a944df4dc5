"""What claims about superposition are made of: shares of pairs, ranks of directions, who is not asked."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pandas as pd
import pytest

from rwcore.errors import CorpusError
from rwcore.plugin import compound_probes as module
from rwcore.plugin.compound_probes import CompoundProbes, own_pairs, papers_pairs
from rwcore.plugin.subjects import Kind
from rwcore.probing.controls import DIRECTIONS, NEURONS
from rwcore.store import Store
from rwcore.studies.probes import ProbeOptions
from rwcore.studies.weights import WeightStudy, weight_study
from rwcore.tests.probe_study_makers import tiny_datasets, tiny_model


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> WeightStudy:
    folder = tmp_path_factory.mktemp("model")
    return weight_study(tiny_model(folder), store=Store(folder / "store"))


def probes(weights: WeightStudy, **known: object) -> CompoundProbes:
    """With some of what it would compute."""
    made = CompoundProbes(weights, tiny_datasets(weights.local)[0], ProbeOptions(curves=()))
    made.__dict__.update(known)
    return made


def ranks(*rows: tuple[str, int, str, int, float]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["feature", "layer", "control", "rank", "mean"])
    return table.assign(ranked_by=table["mean"])


def test_the_share_is_of_the_first_ranks_in_layers_1_to_4(weights: WeightStudy) -> None:
    table = ranks(
        ("a", 1, NEURONS, 1, 0.8),
        ("a", 2, DIRECTIONS, 1, 0.7),
        ("a", 2, DIRECTIONS, 2, 0.9),  # not the first
        ("a", 0, DIRECTIONS, 1, 0.9),  # not one of these layers
        ("b", 3, NEURONS, 1, 0.5),
        ("b", 4, DIRECTIONS, 1, 0.6),
        ("c", 0, NEURONS, 1, 0.9),
        ("c", 1, NEURONS, 1, 0.4),
        ("c", 1, DIRECTIONS, 1, 0.5),
        ("d", 1, NEURONS, 1, 0.6),
        ("d", 1, DIRECTIONS, 1, 0.5),
    )
    assert probes(weights, ranks=table).share_of_pairs == 0.5


def test_ranks_of_directions_are_of_the_pair_and_layer(weights: WeightStudy) -> None:
    table = ranks(
        ("a", 0, DIRECTIONS, 1, 0.5),
        ("a", 0, DIRECTIONS, 2, 0.4),
        ("a", 0, NEURONS, 1, 0.9),
        ("a", 1, DIRECTIONS, 1, 0.8),
        ("b", 0, DIRECTIONS, 1, 0.3),
    )
    tasks = [SimpleNamespace(name="a"), SimpleNamespace(name="b")]
    found = SimpleNamespace(atlas=SimpleNamespace(tasks=tasks))
    made = probes(weights, ranks=table, found=found)
    assert made.directions("a", 0).to_numpy().tolist() == [[1, 0.5], [2, 0.4]]
    assert made.directions("b", 0)["value"].tolist() == [0.3]
    assert made.directions("blood-pressure", 0)["value"].tolist() == [0.5, 0.4]


def test_the_excess_is_at_k_or_below(weights: WeightStudy) -> None:
    made = probes(weights, excess=pd.Series([0.1, 0.2, 0.4], index=[1, 8, 24]))
    assert made.excess_at(8) == 0.2
    assert made.excess_at(256) == 0.4


def subject(weights: WeightStudy, kind: Kind, **more: object) -> Any:
    return cast(Any, SimpleNamespace(kind=kind, weight_study=lambda: weights, **more))


def test_a_tokenizer_without_the_words_is_not_asked(
    weights: WeightStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: Any, **__: Any) -> None:
        raise CorpusError("no feature has enough examples", where="here", remedy="give more")

    monkeypatch.setattr(module, "find_features", none)
    with pytest.raises(pytest.skip.Exception, match="enough examples"):
        own_pairs(subject(weights, Kind.PACKAGED))
    data = tiny_datasets(weights.local)[0]
    monkeypatch.setattr(module, "find_features", lambda *_, **__: [data])
    with pytest.raises(pytest.skip.Exception, match=r"both words of 3 pairs .* 5 pairs are needed"):
        own_pairs(subject(weights, Kind.OTHER))
    monkeypatch.setattr(module, "FEWEST", 3)
    assert own_pairs(subject(weights, Kind.PAPER)).study.layers == (0, 1, 2)


def test_the_papers_pairs_are_of_its_own_model_where_their_text_is(weights: WeightStudy) -> None:
    assert papers_pairs(subject(weights, Kind.PACKAGED)) is None
    data = tiny_datasets(weights.local)[0]
    texts = SimpleNamespace(missing=lambda family: "no text")
    without = SimpleNamespace(texts=texts, data=lambda name: data)
    assert papers_pairs(subject(weights, Kind.PAPER, paper_probes=without)) is None
    texts.missing = lambda family: None
    made = papers_pairs(subject(weights, Kind.PAPER, paper_probes=without))
    assert made is not None
    options = made.study.options
    assert (options.convention, options.seed, options.trials) == ("as_published", 42, 5)
    assert (options.layers, options.curves, options.kept) == ((0, 1, 2), (1, 2), None)


def test_a_best_direction_is_no_neuron(weights: WeightStudy) -> None:
    controls = pd.DataFrame({"control": [NEURONS, DIRECTIONS, DIRECTIONS], "test_mcc": [0.9, 0.4, 0.6]})
    assert probes(weights, found=SimpleNamespace(controls=controls)).best_direction == 0.6
