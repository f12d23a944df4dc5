"""Means of heads in draws of documents: against plain loops, and where the answer is known."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rwcore.heads.repair_groups import group_table, head_table
from rwcore.heads.repair_intervals import (
    DrawnMeans,
    correlation,
    ends_of,
    excess_of_clipped,
    mean_over_heads,
    of_late_heads,
    repaired,
    scale_over_direct,
    share_of,
    share_overcorrected,
    spread_of_ratio,
    token_values,
)
from rwcore.tests.test_heads_repair_groups import made

HEADS = ((0, 0), (1, 0), (1, 1), (1, 2))
DOCUMENT = torch.tensor([4, 4, 4, 7, 7, 9, 9, 9, 9, 12])
SELECTED = [torch.tensor(places) for places in ([0, 1, 5], [3, 4, 9], [5, 6, 7], [0, 8, 9])]


def noisy(seed=0, heads=4, tokens=10):
    generator = torch.Generator().manual_seed(seed)
    direct, *parts = (torch.randn(heads, tokens, generator=generator) for _ in range(4))
    repairs, _ = made(direct.abs() + 0.2, 0.1 * direct, heads=parts[0], mlp=parts[1], norm=parts[2])
    return repairs


def slow_means(values, documents, selected):
    """Mean over the selected tokens of documents that may occur several times."""
    found = []
    for document in documents:
        for token in selected.tolist():
            if int(DOCUMENT[token]) == document and not bool(values[token].isnan()):
                found.append(float(values[token]))
    return sum(found) / len(found) if found else float("nan")


def test_draws_are_means_over_the_tokens_of_drawn_documents():
    values = token_values(noisy())
    values["ratio"][1, 3] = torch.nan  # a token that has no value
    means = DrawnMeans.of(values, DOCUMENT, SELECTED, draws=40, seed=5)
    numbers = [4, 7, 9, 12]
    generator = np.random.default_rng(5)
    drawn = [numbers, *([numbers[at] for at in generator.integers(0, 4, 4)] for _ in range(40))]
    for name in ("repair", "ratio", "clip_mlp"):
        for draw, documents in enumerate(drawn):
            for head in range(4):
                wanted = slow_means(values[name][head], documents, SELECTED[head])
                assert means[name][draw, head] == pytest.approx(wanted, nan_ok=True), (name, draw, head)


def test_the_sample_itself_is_what_the_tables_have():
    repairs = noisy(seed=3)
    _, neurons = made(repairs.direct)
    heads = head_table(HEADS, 2, repairs, neurons, SELECTED)
    means = DrawnMeans.of(token_values(repairs), DOCUMENT, SELECTED, draws=0)
    for column, name in {
        "direct": "direct",
        "due": "due",
        "logit_change": "logit_change",
        "repair": "repair",
        "repair_mlp": "mlp",
        "clip_repair": "clip_repair",
        "clip_norm": "clip_norm",
        "share_norm_grows": "grows",
        "share_over": "over",
    }.items():
        np.testing.assert_allclose(means[name][0], heads[column], rtol=1e-5, err_msg=column)
    every = group_table(heads, 2, least=-np.inf).set_index("group").loc["all"]
    found = {name: float(of[0]) for name, of in of_late_heads(means).items()}
    assert found == {
        "repaired": pytest.approx(every["ratio"], rel=1e-5),
        "repaired_by_heads": pytest.approx(every["ratio_heads"], rel=1e-5),
        "repaired_by_mlps": pytest.approx(every["ratio_mlp"], rel=1e-5),
        "repaired_by_scale": pytest.approx(every["ratio_norm"], rel=1e-5),
        "share_repaired": every["share_repaired"],
        "share_imperfect": every["share_partly"],
        "share_overrepaired": every["share_over"],
        "share_helped_by_scale": every["share_norm"],
        "correlation": pytest.approx(every["correlation"], rel=1e-5),
    }
    assert scale_over_direct(means)[0] == pytest.approx(every["norm_over_direct"], rel=1e-5)
    assert means.lost.tolist() == heads["kept"].tolist()
    assert len(means["direct"]) == 1


def test_two_selections_are_drawn_together():
    values = token_values(noisy())
    once, again = (DrawnMeans.of(values, DOCUMENT, None, draws=50) for _ in range(2))
    assert np.array_equal(once["repair"], again["repair"])
    difference = repaired(once) - repaired(again)
    assert not difference.any()


def test_a_document_that_holds_everything_makes_the_interval_wide():
    # Nine documents repair half of the loss, one repairs nothing and loses as much as all others together.
    direct = torch.tensor([[1.0] * 9 + [9.0]])
    repairs, _ = made(direct, mlp=torch.tensor([[0.5] * 9 + [0.0]]))
    means = DrawnMeans.of(token_values(repairs), torch.arange(10))
    value, low, high = ends_of(repaired(means))
    assert value == pytest.approx(0.25)
    assert low < 0.2
    assert high == pytest.approx(0.5)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_clipped_parts_are_never_less_than_the_whole(seed):
    # SR14: so only a positive excess says something, and none is negative.
    means = DrawnMeans.of(token_values(noisy(seed)), DOCUMENT, SELECTED, draws=10)
    found = excess_of_clipped(means)
    assert (found[np.isfinite(found)] >= -1e-6).all()


def test_a_single_part_has_no_excess():
    repairs, _ = made(torch.ones(2, 10), norm=torch.linspace(-1, 2, 10).repeat(2, 1))
    means = DrawnMeans.of(token_values(repairs), DOCUMENT, draws=20)
    assert np.abs(excess_of_clipped(means)).max() < 1e-6


class TestByHand:
    def test_noise(self):
        # SR / D: 0, 2, 0.5 in the first head; in the second one token has lost too little to be counted.
        mlp = [[0.0, 2, 1], [9.0, 1, 0]]
        repairs, _ = made([[1.0, 1, 2], [4.0, 1, 1]], [[0.0, 0, 0], [3.9, 0, 0]], mlp=mlp)
        means = DrawnMeans.of(token_values(repairs), torch.tensor([0, 0, 0]), draws=0)
        deviations = [np.std([0, 2, 0.5]), np.std([1, 0])]
        assert spread_of_ratio(means)[0] == pytest.approx(np.median(deviations))
        assert share_overcorrected(means)[0] == pytest.approx(np.median([1 / 3, 0]))
        assert mean_over_heads(means, "repair")[0] == pytest.approx((3 / 3 + 10 / 3) / 2)

    def test_heads_without_values_are_left_out(self):
        values = np.array([[1.0, np.nan, -1.0], [np.nan, np.nan, np.nan]])
        shares = share_of(values > 0, values)
        assert shares[0] == 0.5
        assert np.isnan(shares[1])

    def test_correlation(self):
        x = np.array([[1.0, 2, 4, np.nan], [1, 2, np.nan, np.nan], [3, 3, 3, 3]])
        y = np.array([[2.0, 1, 5, 9], [1, 2, 3, 4], [1, 2, 3, 4]])
        found = correlation(DrawnMeans({"x": x, "y": y}), "x", "y")
        assert found[0] == pytest.approx(np.corrcoef([1, 2, 4], [2, 1, 5])[0, 1])
        assert np.isnan(found[1:]).all()

    def test_ends(self):
        value, low, high = ends_of(np.array([7.0, *range(101), np.nan]))
        assert (value, low, high) == pytest.approx((7, 2.5, 97.5))
        assert np.isnan(ends_of(np.array([1.0]))[1])

    def test_nothing_lost(self):
        repairs, _ = made(torch.zeros(2, 10))
        means = DrawnMeans.of(token_values(repairs), DOCUMENT, draws=5)
        assert not means.lost.any()
        late = of_late_heads(means.only(means.lost))
        assert all(np.isnan(of).all() for of in late.values())
