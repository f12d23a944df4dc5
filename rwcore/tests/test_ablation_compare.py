"""Clean minus ablated: which predictions count, in both conventions, and the table."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rwcore.ablation.bootstrap import intervals
from rwcore.ablation.compare import (
    COLUMNS,
    CONVENTIONS,
    REPORTED,
    Differences,
    RunLabel,
    compare_run,
    differences,
    paired_table,
    statistics,
)
from rwcore.ablation.run_metrics import METRICS, RunMetrics
from rwcore.corpora.tokens import TokenCorpus
from rwcore.errors import CorpusError, OptionError, StoreError
from rwcore.tests.paired_runs import corpus_of, run_of

CORPUS = corpus_of([7, 1, 2, 12, 3], [0, 0, 4, 4, 9])
CLEAN = run_of(CORPUS)
ABLATED = run_of(CORPUS, 1, near=CLEAN)
WEAKENING = RunLabel("weakening", "zero")


def by_hand(
    clean: RunMetrics,
    ablated: RunMetrics,
    corpus: TokenCorpus,
    metric: str,
    convention: str = "fixed",
    include_first: bool = False,
) -> tuple[list[float], list[int], int]:
    """Token by token, as the specification says it (sections 3.2 and 3.3): values, documents, scored."""
    values, documents, scored, token = [], [], 0, 0
    for row in range(len(corpus)):
        length = len(corpus.row(row))
        for position in range(length):
            one, other = (getattr(run, metric)[token].item() for run in (clean, ablated))
            token += 1
            if metric in ("loss", "rank") and position == length - 1:
                continue
            if convention == "fixed" and position == 0 and not include_first:
                continue
            scored += 1
            if convention == "fixed":
                values.append(math.log(one) - math.log(other) if metric == "scale" else one - other)
            else:
                if metric == "rank":
                    difference = float(one - other)
                else:
                    halves = [torch.tensor(number, dtype=torch.float16) for number in (one, other)]
                    halves = [half.log() for half in halves] if metric == "scale" else halves
                    difference = float(halves[0] - halves[1])
                if difference == 0 or math.isnan(difference):
                    continue
                values.append(difference)
            documents.append(int(corpus.document[row]))
    return values, documents, scored


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("metric", METRICS)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=6),
    seed=st.integers(0, 1000),
    include_first=st.booleans(),
)
def test_differences_are_those_of_going_token_by_token(
    metric: str, convention: str, lengths: list[int], seed: int, include_first: bool
) -> None:
    corpus = corpus_of(lengths, [3 * (row // 2) for row in range(len(lengths))])
    clean = run_of(corpus, seed)
    ablated = run_of(corpus, seed + 1, near=clean)
    found = differences(clean, ablated, corpus, metric, convention=convention, include_first=include_first)
    values, documents, scored = by_hand(clean, ablated, corpus, metric, convention, include_first)
    assert (found.metric, found.scored, found.convention) == (REPORTED[metric], scored, convention)
    np.testing.assert_allclose(found.values, values, rtol=1e-12, atol=1e-12)
    assert found.document.tolist() == documents
    assert found.values.dtype == np.float64


def test_an_ablation_that_raises_the_loss_has_a_negative_difference() -> None:
    worse = replace(CLEAN, loss=CLEAN.loss + 1, entropy=CLEAN.entropy + 2, scale=CLEAN.scale * math.e)
    expected = {"loss": -1.0, "entropy": -2.0, "scale": -1.0}
    for metric, value in expected.items():
        found = differences(CLEAN, worse, CORPUS, metric)
        np.testing.assert_allclose(found.values, value, rtol=1e-5)


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("metric", METRICS)
def test_swapping_the_runs_negates(metric: str, convention: str) -> None:
    one = differences(CLEAN, ABLATED, CORPUS, metric, convention=convention)
    other = differences(ABLATED, CLEAN, CORPUS, metric, convention=convention)
    np.testing.assert_array_equal(one.values, -other.values)
    np.testing.assert_array_equal(one.document, other.document)
    (a,), (b,) = statistics([one]), statistics([other])
    assert (a.mean, a.low, a.high) == pytest.approx((-b.mean, -b.high, -b.low), rel=1e-9)
    assert (a.min, a.q1, a.median, a.q3, a.max) == pytest.approx((-b.max, -b.q3, -b.median, -b.q1, -b.min))
    assert a.changed == b.changed


# -- traps of sections 3.3 and 9.1


def test_unchanged_predictions_count_and_are_not_dropped() -> None:
    """Trap 1: the published means are those of the changed predictions only."""
    loss = CLEAN.loss.clone()
    loss[2] += 1.0
    found = differences(CLEAN, replace(CLEAN, loss=loss), CORPUS, "loss")
    (row,) = statistics([found])
    n = CORPUS.n_tokens - 2 * len(CORPUS) + 1  # the row of one token has its first and last in one
    assert row.n == found.scored == n
    assert row.mean == pytest.approx(-1 / n)
    assert row.median == 0
    assert row.changed == pytest.approx(1 / n)
    (as_published,) = statistics(
        [differences(CLEAN, replace(CLEAN, loss=loss), CORPUS, "loss", convention="as_published")]
    )
    assert as_published.n == 1
    assert as_published.mean == pytest.approx(-1, abs=4e-3)
    # The correction of section 3.3: mean · N / N_scored.
    scored = CORPUS.n_tokens - len(CORPUS)
    assert as_published.changed == pytest.approx(1 / scored)


@pytest.mark.parametrize("metric", METRICS)
def test_nothing_of_the_first_position_of_a_row_counts(metric: str) -> None:
    """Trap 11: the prediction from BOS alone is the same in all rows of a run."""
    first = CORPUS.offsets[:-1]
    changed = {name: getattr(ABLATED, name).clone() for name in METRICS}
    changed[metric][first] += 7
    other = RunMetrics(**changed)
    same = [differences(CLEAN, run, CORPUS, metric).values for run in (ABLATED, other)]
    np.testing.assert_array_equal(same[0], same[1])
    with_first = [
        differences(CLEAN, run, CORPUS, metric, include_first=True).values for run in (ABLATED, other)
    ]
    assert len(with_first[0]) > len(same[0])
    assert np.count_nonzero(with_first[0] != with_first[1]) == len(with_first[0]) - len(same[0])


@pytest.mark.parametrize("metric", ["loss", "rank"])
def test_the_last_token_of_a_row_predicts_nothing(metric: str) -> None:
    """Published ranks hold one of the padding token there."""
    last = CORPUS.offsets[1:] - 1
    changed = {name: getattr(ABLATED, name).clone() for name in METRICS}
    changed[metric][last] = 50_000
    for convention in CONVENTIONS:
        found = [
            differences(CLEAN, run, CORPUS, metric, convention=convention, include_first=True).values
            for run in (ABLATED, RunMetrics(**changed))
        ]
        np.testing.assert_array_equal(found[0], found[1])
        assert np.isfinite(found[0]).all()


def test_small_differences_are_kept_whole_and_not_steps_of_float16() -> None:
    """Trap 4: at losses from 4 to 8 a step is 2^-8, and what is less than half of one is lost."""
    clean = replace(CLEAN, loss=torch.where(CLEAN.loss.isnan(), torch.nan, torch.tensor(5.0)))
    near = replace(clean, loss=clean.loss + 1e-3)
    (fixed,) = statistics([differences(clean, near, CORPUS, "loss")])
    assert fixed.mean == pytest.approx(-1e-3, rel=1e-3)
    published = differences(clean, near, CORPUS, "loss", convention="as_published")
    assert len(published.values) == 0
    far = replace(clean, loss=clean.loss + 2.5e-3)
    published = differences(clean, far, CORPUS, "loss", convention="as_published")
    assert set(published.values) == {-(2**-8)}


def test_published_means_are_rounded_to_float16_but_those_of_ranks() -> None:
    """Trap 5."""
    values = np.array([1.0, 1.0009765625, 1.0009765625])
    document = np.arange(3)

    def mean(metric: str, convention: str) -> float:
        (found,) = statistics([Differences(metric, values, document, 3, convention)])
        return found.mean

    exact = float(values.mean())
    assert mean("loss", "fixed") == exact
    assert mean("loss", "as_published") == float(np.float16(exact)) != exact
    assert mean("rank", "as_published") == exact


def test_many_float16_values_are_not_summed_in_float16() -> None:
    values = np.full(10_000, 0.25)
    (found,) = statistics([Differences("loss", values, np.arange(10_000), 10_000, "as_published")], draws=2)
    assert found.mean == 0.25  # a sum in float16 stops at 512


def test_published_scales_are_logarithms_rounded_twice() -> None:
    corpus = corpus_of([2])
    run = run_of(corpus)
    one, other = (replace(run, scale=torch.tensor([1.0, scale])) for scale in (3.0, 3.004))
    (value,) = differences(one, other, corpus, "scale", convention="as_published").values
    halves = [np.log(np.float16(scale)).astype(np.float16) for scale in (3.0, 3.004)]
    assert value == float(halves[0] - halves[1])
    assert value != pytest.approx(math.log(3) - math.log(3.004), rel=0.1)


# -- nothing changed (I10), nothing scored


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("metric", METRICS)
def test_an_unchanged_run_has_all_its_predictions_and_no_effect(metric: str) -> None:
    (fixed,) = statistics([differences(CLEAN, CLEAN, CORPUS, metric)])
    lost = 2 * len(CORPUS) - 1 if metric in ("loss", "rank") else len(CORPUS)
    assert fixed.n == CORPUS.n_tokens - lost
    assert (fixed.mean, fixed.low, fixed.high, fixed.min, fixed.max, fixed.changed) == (0,) * 6
    (published,) = statistics([differences(CLEAN, CLEAN, CORPUS, metric, convention="as_published")])
    assert published.n == 0
    assert published.changed == 0
    numbers = [
        getattr(published, name) for name in ("mean", "low", "high", "min", "q1", "median", "q3", "max")
    ]
    assert all(math.isnan(number) for number in numbers)


@pytest.mark.filterwarnings("error")
def test_rows_of_one_token_predict_nothing() -> None:
    corpus = corpus_of([1, 1])
    rows = compare_run(WEAKENING, run_of(corpus), run_of(corpus, 1), corpus)
    assert [row["n"] for row in rows] == [0, 0, 0, 0]
    assert all(math.isnan(row["mean"]) and math.isnan(row["changed"]) for row in rows)


def test_metrics_of_one_run_share_their_draws_and_do_not_touch_each_other() -> None:
    parts = [differences(CLEAN, ABLATED, CORPUS, metric) for metric in METRICS]
    together = statistics(parts)
    assert [one.n for one in together] == [len(part.values) for part in parts]
    for part, found in zip(parts, together, strict=True):
        values = part.values
        assert found.mean == pytest.approx(values.mean())
        assert (found.q1, found.median, found.q3) == pytest.approx(
            tuple(np.quantile(values, [0.25, 0.5, 0.75]))
        )
        assert found.changed == pytest.approx(np.mean(values != 0))
        assert found.low <= found.mean <= found.high
        assert found.documents == len(set(part.document.tolist()))
    assert statistics([]) == []


def test_a_document_may_have_predictions_of_one_metric_only() -> None:
    """A row of two tokens has an entropy that counts and no loss; its document is drawn all the same."""
    corpus = corpus_of([2, 9, 2, 8, 5])
    clean = run_of(corpus)
    ablated = run_of(corpus, 1, near=clean)
    parts = [differences(clean, ablated, corpus, metric) for metric in ("loss", "entropy")]
    sums = np.array([[part.values[part.document == one].sum() for part in parts] for one in range(5)])
    counts = np.array([[(part.document == one).sum() for part in parts] for one in range(5)])
    for found, expected in zip(statistics(parts), intervals(sums, counts), strict=True):
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert [found.documents for found in statistics(parts)] == [3, 5]


# -- the table


def test_the_table_has_the_documented_columns_and_one_row_per_metric() -> None:
    runs = [
        WEAKENING,
        RunLabel("weakening", "zero", baseline=True),
        RunLabel("weakening", "mean", gate="-", post="+"),
    ]
    rows: list[dict[str, Any]] = []
    for seed, label in enumerate(runs):
        rows += compare_run(label, CLEAN, run_of(CORPUS, seed, near=CLEAN), CORPUS)
    table = paired_table(rows)
    header = "set,baseline,mode,gate,post,metric,n,mean,low,high,min,q1,median,q3,max,changed"
    assert ",".join(table.columns) == ",".join(COLUMNS) == header
    assert table["metric"].tolist() == ["loss", "entropy", "rank", "log_scale"] * 3
    assert table["gate"].tolist() == [""] * 8 + ["-"] * 4
    assert table["baseline"].tolist() == [False] * 4 + [True] * 4 + [False] * 4
    expected = differences(CLEAN, run_of(CORPUS, 1, near=CLEAN), CORPUS, "entropy").values.mean()
    assert table.loc[5, "mean"] == pytest.approx(expected)
    assert paired_table([]).columns.tolist() == list(COLUMNS)


def test_some_metrics_only() -> None:
    rows = compare_run(WEAKENING, CLEAN, ABLATED, CORPUS, metrics=["rank"])
    assert [row["metric"] for row in rows] == ["rank"]


def test_the_table_is_the_same_again_and_another_with_another_seed() -> None:
    corpus = corpus_of([5, 9, 4, 8, 11, 6])
    clean = run_of(corpus)
    ablated = run_of(corpus, 1, near=clean)
    one, again, other = (
        paired_table(compare_run(WEAKENING, clean, ablated, corpus, seed=seed)) for seed in (0, 0, 1)
    )
    pd.testing.assert_frame_equal(one, again, check_exact=True)
    assert not one["low"].equals(other["low"])
    pd.testing.assert_frame_equal(one.drop(columns=["low", "high"]), other.drop(columns=["low", "high"]))


# -- what is refused


def test_runs_on_other_tokens_are_refused() -> None:
    other = corpus_of([7, 1, 2, 12, 4])
    with pytest.raises(CorpusError, match="ablated run has 26 tokens and the corpus rows 25"):
        differences(CLEAN, run_of(other), CORPUS, "loss")
    with pytest.raises(CorpusError, match="clean run has 26 tokens"):
        differences(run_of(other), CLEAN, CORPUS, "loss")


@pytest.mark.parametrize(
    ("metric", "value"), [("loss", math.nan), ("entropy", math.inf), ("scale", 0.0), ("rank", -1)]
)
def test_predictions_without_a_number_are_refused_and_not_dropped(metric: str, value: float) -> None:
    """The published code dropped NaN in silence; before, one NaN made a whole table NaN."""
    values = getattr(ABLATED, metric).clone()
    values[12] = value
    for convention in CONVENTIONS:
        with pytest.raises(StoreError, match=f"1 of .* predictions of the ablated run have no {metric}"):
            differences(CLEAN, replace(ABLATED, **{metric: values}), CORPUS, metric, convention=convention)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(OptionError, match="no metric 'log_scale'"):
        differences(CLEAN, ABLATED, CORPUS, "log_scale")
    with pytest.raises(OptionError, match="no convention 'published'"):
        differences(CLEAN, ABLATED, CORPUS, "loss", convention="published")


# -- run metrics


def test_arrays_go_round() -> None:
    arrays = CLEAN.to_arrays()
    assert list(arrays) == list(METRICS)
    again = RunMetrics.from_arrays(arrays)
    for metric in METRICS:
        assert torch.equal(getattr(again, metric).nan_to_num(-9), getattr(CLEAN, metric).nan_to_num(-9))
    again.require_fit(CORPUS)


@pytest.mark.parametrize(
    "change",
    [
        {"rank": CLEAN.rank.long()},
        {"loss": CLEAN.loss.half()},
        {"scale": CLEAN.scale[:-1]},
        {"other": CLEAN.scale},
    ],
)
def test_other_arrays_are_refused(change: dict[str, torch.Tensor]) -> None:
    with pytest.raises(StoreError, match="no metrics of a run"):
        RunMetrics.from_arrays(CLEAN.to_arrays() | change)
    with pytest.raises(StoreError, match="no metrics of a run"):
        RunMetrics.from_arrays({"loss": CLEAN.loss})


@pytest.mark.parametrize(
    ("metric", "token", "value", "message"),
    [
        ("loss", 3, math.nan, "loss is NaN at other tokens"),
        ("loss", 6, 1.0, "loss is NaN at other tokens"),
        ("loss", 3, math.inf, "loss is infinite"),
        ("rank", 3, -1, "rank is -1 at other tokens"),
        ("rank", 6, 2, "rank is -1 at other tokens"),
        ("rank", 6, -2, "rank is -1 at other tokens"),
        ("entropy", 6, math.nan, "entropy is not finite"),
        ("scale", 6, -1.0, "scale is not a positive number"),
    ],
)
def test_a_run_that_cannot_be_is_refused(metric: str, token: int, value: float, message: str) -> None:
    values = getattr(CLEAN, metric).clone()
    values[token] = value
    with pytest.raises(StoreError, match=message):
        replace(CLEAN, **{metric: values}).require_fit(CORPUS)


def test_a_run_on_another_corpus_is_refused() -> None:
    with pytest.raises(CorpusError, match="25 tokens and the corpus rows 3"):
        CLEAN.require_fit(corpus_of([3]))
