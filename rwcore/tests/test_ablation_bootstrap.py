"""Intervals over documents: against drawing documents one by one, and how often they hold the truth."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rwcore.ablation.bootstrap import bootstrap_means, document_sums, intervals
from rwcore.errors import OptionError

RNG = np.random.default_rng(5)


def parts(documents: int = 12, columns: int = 2) -> tuple[np.ndarray, np.ndarray]:
    counts = RNG.integers(1, 30, (documents, columns))
    return RNG.normal(size=(documents, columns)) * counts, counts


def one_by_one(sums: np.ndarray, counts: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """The definition: draw documents with replacement, put their predictions together, take the mean."""
    generator = np.random.default_rng(seed)
    means = []
    for _ in range(draws):
        drawn = generator.integers(0, len(sums), len(sums)).tolist()
        means.append(
            [
                sum(sums[document, column] for document in drawn)
                / sum(counts[document, column] for document in drawn)
                for column in range(sums.shape[1])
            ]
        )
    return np.array(means)


def test_draws_are_those_of_drawing_document_by_document() -> None:
    sums, counts = parts()
    np.testing.assert_allclose(
        bootstrap_means(sums, counts, draws=50, seed=3), one_by_one(sums, counts, 50, 3), rtol=1e-10
    )


def test_how_many_draws_are_computed_at_a_time_makes_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    sums, counts = parts()
    whole = bootstrap_means(sums, counts, draws=101)
    monkeypatch.setattr("rwcore.ablation.bootstrap._CHUNK_BYTES", 8 * 12 * 7)
    np.testing.assert_allclose(bootstrap_means(sums, counts, draws=101), whole, rtol=1e-12)
    np.testing.assert_array_equal(
        bootstrap_means(sums, counts, draws=40), bootstrap_means(sums, counts, draws=101)[:40]
    )


def test_intervals_are_quantiles_of_the_draws() -> None:
    sums, counts = parts()
    means = bootstrap_means(sums, counts, draws=500, seed=1)
    for column, found in enumerate(intervals(sums, counts, draws=500, seed=1)):
        assert (found.low, found.high) == pytest.approx(tuple(np.quantile(means[:, column], [0.025, 0.975])))
        assert found.standard_error == pytest.approx(means[:, column].std())
        assert found.documents == 12
    narrow, wide = (intervals(sums, counts, draws=500, level=level)[0] for level in (0.5, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high


def test_a_seed_gives_the_same_interval_again_and_another_seed_another() -> None:
    sums, counts = parts()
    assert intervals(sums, counts, seed=4) == intervals(sums, counts, seed=4)
    assert intervals(sums, counts, seed=4) != intervals(sums, counts, seed=5)


def test_the_standard_error_is_that_of_the_mean_of_documents_of_equal_size() -> None:
    values = RNG.normal(size=400)
    (found,) = intervals(values[:, None] * 10, np.full((400, 1), 10), draws=4000)
    assert found.standard_error == pytest.approx(values.std() / 20, rel=0.05)


def test_a_document_is_one_cluster_however_many_tokens_it_has() -> None:
    """Each token ten times over is no new text: the interval must not become narrower."""
    document = np.repeat(np.arange(30), RNG.integers(2, 20, 30))
    values = RNG.normal(size=len(document)) + RNG.normal(size=30)[document]

    def interval(times: int) -> tuple[float, float]:
        _, sums, counts = document_sums(np.repeat(values, times), np.repeat(document, times))
        (found,) = intervals(sums[:, None], counts[:, None])
        return found.low, found.high

    assert interval(10) == pytest.approx(interval(1), rel=1e-9)
    # Were tokens drawn instead, the interval would shrink by the square root of ten.
    tokens = intervals(np.repeat(values, 10)[:, None], np.ones((10 * len(values), 1), np.int64), draws=300)[0]
    assert tokens.high - tokens.low < 0.6 * (interval(1)[1] - interval(1)[0])


def test_about_95_of_100_intervals_hold_the_true_mean() -> None:
    """Documents of random length with effects of their own, whose true mean is 0.3; 80 documents."""
    generator = np.random.default_rng(11)
    hits, trials = 0, 400
    for trial in range(trials):
        counts = generator.integers(5, 50, 80)
        effect = 0.3 + generator.normal(size=80)
        sums = counts * effect + np.sqrt(counts) * generator.normal(size=80)
        (found,) = intervals(sums[:, None], counts[:, None], draws=400, seed=trial)
        hits += found.low <= 0.3 <= found.high
    # With 95 %, 400 trials hold it 380 ± 4.4 times; percentile intervals of 80 documents a little less often.
    assert 0.915 * trials <= hits <= 0.975 * trials


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(-9, 9)), max_size=20))
def test_sums_and_counts_are_those_of_the_documents(pairs: list[tuple[int, int]]) -> None:
    document = np.array([number for number, _ in pairs], np.int64)
    numbers, sums, counts = document_sums(np.array([value for _, value in pairs], np.float64), document)
    expected = {number: [value for other, value in pairs if other == number] for number, _ in pairs}
    assert numbers.tolist() == sorted(expected)
    assert sums.tolist() == [sum(expected[number]) for number in sorted(expected)]
    assert counts.tolist() == [len(expected[number]) for number in sorted(expected)]


@pytest.mark.filterwarnings("error")
def test_a_document_without_values_is_none_of_that_column() -> None:
    sums, counts = parts(8, 2)
    sums[3:, 1], counts[3:, 1] = 0, 0
    both = intervals(sums, counts, draws=300)
    assert [found.documents for found in both] == [8, 3]
    sums[1:, 1], counts[1:, 1] = 0, 0
    one = intervals(sums, counts, draws=300)[1]
    assert one.documents == 1
    assert math.isnan(one.low)
    assert math.isnan(one.high)


@pytest.mark.filterwarnings("error")
def test_no_documents_have_no_interval() -> None:
    (found,) = intervals(np.zeros((0, 1)), np.zeros((0, 1), np.int64), draws=10)
    assert found.documents == 0
    assert math.isnan(found.low)


@pytest.mark.parametrize("options", [{"draws": 0}, {"level": 1.0}, {"level": 0.0}])
def test_impossible_options_are_refused(options: dict[str, float]) -> None:
    sums, counts = parts()
    with pytest.raises(OptionError):
        intervals(sums, counts, **options)  # type: ignore[arg-type]


def test_the_documents_of_the_paper_take_seconds() -> None:
    """45,734 documents and 2,000 draws; as one array of weights they would be 730 MB."""
    counts = np.full((45_734, 1), 437)
    sums = RNG.normal(size=(45_734, 1))
    began = time.perf_counter()
    intervals(sums, counts)
    assert time.perf_counter() - began < 20
