"""What excites neurons of whole models: a planted bigram is found, correlations are those of the values."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from fixtures.tiny import local_model
from rwcore.errors import OptionError
from rwcore.models.load import load_bridge
from rwcore.models.spec import LocalModel
from rwcore.neurons import NeuronSet
from rwcore.plugin.stimuli import NeuronsOnText
from rwcore.probing.errors import ProbeError
from rwcore.probing.text_classes import classes_of_documents
from rwcore.store import Store
from rwcore.studies import token_values as values_module
from rwcore.studies.forward import ForwardOptions
from rwcore.studies.stimuli import (
    NEURON_COLUMNS,
    PAIR_COLUMNS,
    PREFIX_COLUMNS,
    TOKEN_COLUMNS,
    StimulusOptions,
    StimulusStudy,
    StimulusTables,
    TextSide,
)
from rwcore.studies.token_values import token_values
from rwcore.studies.weights import WeightStudy, weight_study
from rwcore.tests.corpus_makers import rows_corpus
from rwcore.tests.planted_bigram import FIRST, IDLE, NEURON, OTHER, SECOND, bigram_rows, letter, plant_bigram

FORWARD = ForwardOptions(token_budget=500, device="cpu")
NEURONS = NeuronSet.of("two", [NEURON, IDLE])
CORPUS = bigram_rows()


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> LocalModel:
    return local_model(plant_bigram(tmp_path_factory.mktemp("planted")), id="planted")


@pytest.fixture(scope="module")
def weights(local: LocalModel, tmp_path_factory: pytest.TempPathFactory) -> WeightStudy:
    return weight_study(local, store=Store(tmp_path_factory.mktemp("store")))


@pytest.fixture(scope="module")
def study(weights: WeightStudy) -> StimulusStudy:
    return StimulusStudy(weights, CORPUS, StimulusOptions(above=0.0), FORWARD)


@pytest.fixture(scope="module")
def side() -> TextSide:
    # A third of the documents is of no class, and on neither side.
    return TextSide(classes_of_documents(CORPUS, ["a", "b", None] * (len(CORPUS) // 3)), "b", "kind")


@pytest.fixture(scope="module")
def tables(study: StimulusStudy, side: TextSide) -> StimulusTables:
    return study.tables(NEURONS, pairs=True, side=side)


def of(frame: pd.DataFrame, pair: tuple[int, int]) -> pd.DataFrame:
    return frame[(frame["layer"] == pair[0]) & (frame["neuron"] == pair[1])]


def test_the_planted_neuron_answers_to_its_bigram_and_to_nothing_else(tables: StimulusTables) -> None:
    groups = of(tables.prefixes, NEURON)
    groups = groups[groups["text"] == SECOND]
    by_prefix = groups[groups["length"] == 1].set_index("prefix_text")
    assert {*by_prefix.index} == {FIRST, OTHER}
    assert by_prefix.index[0] == FIRST
    assert by_prefix.loc[FIRST, "min"] > 1
    assert by_prefix.loc[OTHER, "max"] < 0
    assert by_prefix["count"].tolist() == [20, 20]
    assert by_prefix.loc[FIRST, "prefix"] == str(letter(FIRST))
    longer = groups[groups["length"] > 1]
    assert len(longer)
    assert ((longer["min"] > 0) == longer["prefix_text"].str.endswith(FIRST)).all()
    tokens = of(tables.tokens, NEURON).set_index("text")
    assert tokens.loc[SECOND, "by_std"]
    assert tokens.loc[SECOND, "max"] > 1
    assert (tokens["max"].drop(SECOND) < 0).all()


def test_the_row_of_a_neuron_is_that_of_its_values(
    study: StimulusStudy, tables: StimulusTables, weights: WeightStudy
) -> None:
    found = token_values(weights, CORPUS, NEURONS.pairs(), FORWARD)
    position = torch.cat([torch.arange(length) for length in CORPUS.lengths.tolist()])
    for pair in NEURONS.pairs():
        values = found[pair]["pre"][position > 0].double().numpy()
        ids = CORPUS.tokens[position > 0].numpy()
        (row,) = of(tables.neurons, pair).to_dict("records")
        assert row["tokens"] == len(values) == len(CORPUS) * 6
        np.testing.assert_allclose(
            [row["mean"], row["std"], row["max"]], [values.mean(), values.std(), values.max()]
        )
        assert row["share_above"] == pytest.approx((values > 0).mean())
        assert row["sparsity"] == pytest.approx((values <= 0).mean())
        each = [values[ids == token] for token in np.unique(ids)]
        pairs = [(one.mean(), one.max()) for one in each]
        assert row["mean_max_correlation"] == pytest.approx(np.corrcoef(np.transpose(pairs))[0, 1])
        best = np.argsort(-values, kind="stable")[: row["top_places"]]
        assert row["top_places"] == 4  # the highest percent of 360
        assert row["top_tokens"] == len({*ids[best].tolist()})
    assert of(tables.neurons, NEURON)["top_tokens"].item() == 1
    assert of(tables.neurons, NEURON)["share_above"].item() == pytest.approx(20 / 360)


def test_pairs_are_correlated_inside_and_outside(study: StimulusStudy, tables: StimulusTables) -> None:
    values = study.values(NEURONS.pairs())
    x, y = (values[pair].double().numpy() for pair in NEURONS.pairs())
    position = torch.cat([torch.arange(length) for length in CORPUS.lengths.tolist()]).numpy()
    row = np.repeat(np.arange(len(CORPUS)), CORPUS.lengths.numpy())
    found = tables.pairs.set_index("where")
    assert found.index.tolist() == ["all", "inside", "outside"]
    for where, kind in (("all", None), ("inside", 1), ("outside", 0)):
        kept = (position > 0) & (True if kind is None else row % 3 == kind)
        line = found.loc[where]
        assert line["r"] == pytest.approx(np.corrcoef(x[kept], y[kept])[0, 1], abs=1e-9)
        assert line["low"] <= line["r"] <= line["high"]
        assert (line["tokens"], line["documents"]) == (kept.sum(), len({*row[kept]}))
    assert list(combinations(NEURONS.pairs(), 2)) == [
        ((line.layer, line.neuron), (line.other_layer, line.other_neuron))
        for line in tables.pairs.head(1).itertuples()
    ]


def test_tables_have_their_columns(study: StimulusStudy, tables: StimulusTables) -> None:
    assert tables.neurons.columns.tolist() == [*NEURON_COLUMNS]
    assert tables.tokens.columns.tolist() == [*TOKEN_COLUMNS]
    assert tables.prefixes.columns.tolist() == [*PREFIX_COLUMNS]
    assert tables.pairs.columns.tolist() == [*PAIR_COLUMNS]
    without = study.tables(NEURONS)
    assert len(without.pairs) == 0
    assert without.neurons.equals(tables.neurons)


def test_values_are_read_one_neuron_at_a_time(weights: WeightStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    found = token_values(weights, CORPUS, [NEURON, IDLE, NEURON], FORWARD)
    read = []
    original = values_module.read_arrays
    monkeypatch.setattr(values_module, "read_arrays", lambda path: read.append(path) or original(path))
    assert list(found) == [NEURON, IDLE]
    assert len(found) == 2
    assert not read
    assert {*found[IDLE]} == {"pre", "post"}
    assert len(read) == 1
    with pytest.raises(KeyError):
        found[1, 7]
    assert len(token_values(weights, CORPUS, [], FORWARD)) == 0


def test_what_cannot_be_is_refused_before_the_model_runs(
    weights: WeightStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("the model was run")

    monkeypatch.setattr("rwcore.studies.stimuli.token_values", never)
    study = StimulusStudy(weights, CORPUS, StimulusOptions(), FORWARD)
    with pytest.raises(OptionError, match="0 is less than 1"):
        study.tables(NeuronSet.of("none", []))
    with pytest.raises(OptionError, match="1 is less than 2"):
        study.tables(NeuronSet.of("one", [NEURON]), pairs=True)
    rare = StimulusStudy(weights, CORPUS, StimulusOptions(seen=500), FORWARD)
    with pytest.raises(ProbeError, match="no word occurs more than 500 times in 420 tokens") as error:
        rare.tables(NEURONS)
    assert "--tokens" in str(error.value)
    signs = StimulusStudy(weights, rows_corpus([[1, letter(" ")] * 20]), StimulusOptions(), FORWARD)
    with pytest.raises(ProbeError, match="no word"):
        signs.tables(NEURONS)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"quantity": "in"}, "--quantity"),
        ({"seen": -1}, "--seen"),
        ({"top": 0}, "--top"),
        ({"above": float("nan")}, "--above"),
    ],
)
def test_impossible_options(options: dict[str, object], what: str) -> None:
    with pytest.raises(OptionError) as error:
        StimulusOptions(**options)  # type: ignore[arg-type]
    assert what in str(error.value)


def test_what_claims_ask_for(study: StimulusStudy, weights: WeightStudy) -> None:
    found = NeuronsOnText.of(weights, CORPUS, stand_in=False)
    assert found.top_words(NEURON, 1) == [SECOND]
    texts = {"bigram": FIRST + SECOND, "other": OTHER + SECOND, "any": SECOND}
    means = found.mean_at(NEURON, texts, key="text", least=20).set_index("text")["value"]
    groups = study.tables(NEURONS).prefixes.query("layer == 0 and neuron == 5 and length == 1")
    groups = groups[groups["text"] == SECOND].set_index("prefix_text")["mean"]
    assert means["bigram"].estimate == pytest.approx(groups[FIRST])
    assert means["other"].estimate == pytest.approx(groups[OTHER])
    assert means["any"].estimate == pytest.approx(groups.mean())
    assert means["any"].low < means["any"].estimate < means["any"].high
    share = found.percent_above(NEURON, 0.0)
    assert share.estimate == pytest.approx(100 * 20 / 360)
    with pytest.raises(pytest.skip.Exception, match="'qu' is 20 times in 420 tokens"):
        found.mean_at(NEURON, texts, key="text", least=21)
    small = NeuronsOnText.of(weights, CORPUS, stand_in=True)
    assert small.top_words((NEURON[0] + 2, NEURON[1] + 8), 1) == [SECOND]


def test_the_cost_of_a_neuron_after_a_text_is_that_of_an_ablation_by_hand(
    weights: WeightStudy, local: LocalModel
) -> None:
    model, found = load_bridge(local), []

    def zero(post: torch.Tensor, hook: Any) -> torch.Tensor:
        post[..., NEURON[1]] = 0
        return post

    for number in range(0, len(CORPUS), 3):
        row = CORPUS.row(number).long()[None]
        at = row[0].tolist().index(letter(SECOND))
        with torch.no_grad():
            runs = [
                model.run_with_hooks(row, fwd_hooks=hooks)[0, at].log_softmax(-1)[row[0, at + 1]]
                for hooks in ([], [(f"blocks.{NEURON[0]}.mlp.hook_post", zero)])
            ]
        found.append(float(runs[0] - runs[1]))
    expected = float(np.mean(found))
    cost = NeuronsOnText.of(weights, CORPUS, stand_in=False).cost_after(NEURON, FIRST + SECOND, least=20)
    assert abs(expected) > 1e-2
    assert cost.estimate == pytest.approx(expected, abs=1e-5)
    assert cost.low <= cost.estimate <= cost.high
