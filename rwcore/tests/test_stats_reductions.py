"""Reductions against tables small enough to work out by hand."""

from __future__ import annotations

import math

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rwcore.errors import RwcoreError
from rwcore.stats import reductions as r

# Three layers of 100 neurons.
COUNTS = pd.DataFrame(
    [
        (0, "strengthening", 2),
        (0, "atypical strengthening", 4),
        (0, "conditional strengthening", 30),
        (0, "orthogonal output", 60),
        (0, "weakening", 1),
        (0, "conditional weakening", 3),
        (1, "conditional strengthening", 10),
        (1, "atypical proportional change", 5),
        (1, "orthogonal output", 80),
        (1, "weakening", 5),
        (2, "orthogonal output", 90),
        (2, "atypical conditional weakening", 1),
        (2, "weakening", 9),
    ],
    columns=["layer", "class", "count"],
)


def medians(*values: float, cosine: str = "linout") -> pd.DataFrame:
    return pd.DataFrame({"layer": range(len(values)), "cosine": cosine, "median": values})


def test_class_total_and_share() -> None:
    assert r.class_total(COUNTS, "weakening") == 15
    assert r.class_total(COUNTS, "proportional change") == 0
    assert r.class_share(COUNTS, "orthogonal output") == pytest.approx(230 / 300)
    assert math.isnan(r.class_share(COUNTS.assign(count=0), "weakening"))


def test_classes_by_size_keeps_the_order_of_the_table_for_ties() -> None:
    tied = pd.DataFrame({"class": ["b", "a", "c"], "count": [1, 1, 2]})
    assert list(r.classes_by_size(tied).index) == ["c", "b", "a"]
    assert list(r.classes_by_size(COUNTS).index[:3]) == [
        "orthogonal output",
        "conditional strengthening",
        "weakening",
    ]


def test_largest_class() -> None:
    assert r.largest_class(COUNTS) == ("orthogonal output", 230)
    assert r.largest_class(COUNTS, without=["orthogonal output", "no such class"]) == (
        "conditional strengthening",
        40,
    )


def test_has_gate_classes() -> None:
    gated = pd.DataFrame({"class": ["weakening", "proportional change"], "count": [3, 0]})
    assert r.has_gate_classes(gated)
    assert not r.has_gate_classes(gated.iloc[:1])


def test_families_hold_the_four_classes_of_a_sign() -> None:
    assert set(r.family(COUNTS, "weakening")["class"]) == {
        "weakening",
        "conditional weakening",
        "atypical conditional weakening",
    }
    assert r.family_total(COUNTS, "strengthening") == 2 + 4 + 30 + 10
    assert r.family_total(COUNTS, "weakening") == 1 + 3 + 5 + 1 + 9
    assert r.family_total(COUNTS, "weakening", layers=range(2, 3)) == 10
    with pytest.raises(RwcoreError, match="no class family 'output'"):
        r.family(COUNTS, "output")


def test_atypical_share() -> None:
    assert r.atypical_share(COUNTS) == pytest.approx((4 + 5 + 1) / 300)


def test_class_by_layer_fills_layers_without_a_row() -> None:
    by_layer = r.class_by_layer(COUNTS, "conditional strengthening")
    assert by_layer.to_dict() == {0: 30, 1: 10, 2: 0}
    assert r.class_by_layer(COUNTS.sample(frac=1, random_state=0), "weakening").to_list() == [1, 5, 9]


def test_neurons_per_layer() -> None:
    assert r.neurons_per_layer(COUNTS).to_dict() == {0: 100, 1: 100, 2: 100}


def test_halves_and_quarters() -> None:
    assert r.first_half(5) == range(2)
    assert r.last_quarter(26) == range(20, 26)
    assert r.last_quarter(3) == range(3, 3)
    assert r.share_in_first_half(pd.Series([3, 1, 0, 4])) == 0.5
    assert r.share_in_first_half(pd.Series([1, 1, 2])) == 0.5, "layer 1 of 3 lies below L/2 = 1.5"
    assert math.isnan(r.share_in_first_half(pd.Series([0, 0])))


def test_total_variation() -> None:
    a = pd.DataFrame({"layer": [0, 0, 1, 1], "class": ["x", "y"] * 2, "count": [1, 3, 4, 0]})
    b = pd.DataFrame({"layer": [0, 0, 1, 1], "class": ["x", "y"] * 2, "count": [1, 3, 1, 3]})
    assert r.total_variation(a, a) == 0
    assert r.total_variation(a, b) == pytest.approx(3 / 8)
    assert r.layer_total_variations(a, b).to_list() == pytest.approx([0, 3 / 4])
    disjoint = pd.DataFrame({"class": ["z"], "count": [7]})
    assert r.total_variation(a, disjoint) == pytest.approx(1)
    with pytest.raises(RwcoreError, match="different layers"):
        r.layer_total_variations(a, b[b["layer"] == 0])


def test_pair_variations_name_the_first_model() -> None:
    a = pd.DataFrame({"model": "org/base", "layer": [0, 1], "class": "x", "count": [2, 2]})
    b = a.assign(model="org/tuned", **{"class": ["x", "y"]})
    assert r.pair_variations([(a, b)]).to_dict("records") == [
        {"pair": "base", "model": 0.5, "largest_layer": 1.0}
    ]


@given(
    st.lists(st.integers(0, 50), min_size=3, max_size=3), st.lists(st.integers(0, 50), min_size=3, max_size=3)
)
def test_total_variation_is_symmetric_and_bounded(x: list[int], y: list[int]) -> None:
    a, b = (pd.DataFrame({"class": list("pqr"), "count": [c + 1 for c in counts]}) for counts in (x, y))
    assert r.total_variation(a, b) == pytest.approx(r.total_variation(b, a))
    assert 0 <= r.total_variation(a, b) <= 1


def bins(*counts: int) -> pd.DataFrame:
    return pd.DataFrame({"layer": 0, "bin_low": [round(-1 + 0.2 * i, 1) for i in range(10)], "count": counts})


@pytest.mark.parametrize(
    ("weakening", "strengthening", "inside"),
    [(3, 4, True), (8, 9, True), (2, 4, False), (9, 4, False), (3, 3, False), (3, 10, False)],
)
def test_bins_bound_classes(weakening: int, strengthening: int, inside: bool) -> None:
    # Below -0.6 lie 1 + 2 neurons, below -0.4 5 more; from 0.6 on 3 + 1, from 0.4 on 5 more.
    table = bins(1, 2, 5, 9, 9, 9, 9, 5, 3, 1)
    counts = pd.DataFrame(
        {"class": ["weakening", "conditional strengthening"], "count": [weakening, strengthening]}
    )
    assert r.bins_bound_classes(counts, table) is inside


def test_median_by_layer_selects_the_cosine_and_sorts() -> None:
    table = pd.concat([medians(0.1, 0.2), medians(0.8, 0.9, cosine="gatelin")]).iloc[::-1]
    assert r.median_by_layer(table).to_list() == [0.1, 0.2]
    assert r.median_by_layer(table, "gatelin").to_list() == [0.8, 0.9]


def test_peak_is_the_first_largest_layer() -> None:
    assert r.peak(pd.Series([0.1, 0.5, 0.5, -0.9, 0.0])) == r.Peak(layer=1, value=0.5, depth=0.25)
    assert r.peak(pd.Series([7])) == r.Peak(0, 7.0, 0.0)


def test_first_negative() -> None:
    falling = r.median_by_layer(medians(0.3, 0.0, -0.1, 0.2, -0.3))
    assert r.first_negative_layer(falling) == 2, "zero is not negative"
    assert r.first_negative_depth(falling) == 0.5
    positive = r.median_by_layer(medians(0.3, 0.1))
    assert r.first_negative_layer(positive) is None
    assert r.first_negative_depth(positive) == math.inf


def test_region_ratios_keep_a_bound_that_is_not_a_number() -> None:
    regions = pd.DataFrame({"layer": [0], "cosine": ["linout"], "low": [float("nan")], "high": [0.04]})
    assert r.region_ratios(regions, beta_high=0.04)["ratio"].isna().sum() == 1


def test_region_ratios_take_both_sides_but_of_the_absolute_cosine() -> None:
    regions = pd.DataFrame(
        {
            "layer": [0, 0],
            "cosine": ["linout", "gatelin"],
            "low": [-0.02, float("nan")],
            "high": [0.05, 0.06],
        }
    )
    ratios = r.region_ratios(regions, beta_high=0.04)
    assert list(ratios.itertuples(index=False, name=None)) == [
        (0, "gatelin", "high", pytest.approx(1.5)),
        (0, "linout", "high", pytest.approx(1.25)),
        (0, "linout", "low", pytest.approx(0.5)),
    ]


def test_per_model_keeps_the_order_of_the_table() -> None:
    table = pd.concat([COUNTS.assign(model="b"), COUNTS[COUNTS["layer"] == 0].assign(model="a")])
    totals = r.per_model(table, lambda rows: r.class_total(rows, "weakening"))
    assert totals == {"b": 15, "a": 1}
    assert list(totals) == ["b", "a"]


def test_without_small_models_is_a_filter_on_names() -> None:
    names = [
        "allenai/OLMo-1B-hf",
        "Qwen/Qwen2.5-0.5B",
        "meta-llama/Llama-3.1-8B",
        "EleutherAI/pythia-1b",
        "gpt2",
    ]
    assert r.without_small_models(names) == ["meta-llama/Llama-3.1-8B", "gpt2"]
