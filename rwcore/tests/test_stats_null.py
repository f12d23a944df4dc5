"""Randomness regions: published values, brute force over all pairs, and every way the search can go wrong."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rwcore.benchmarks.reference import rw_statistics as reference
from rwcore.errors import OptionError
from rwcore.stats import null
from rwcore.stats.null import beta_region, mismatched_region
from rwcore.weights.layer import MlpLayer

PUBLISHED = {
    512: 0.08658317,
    768: 0.07070465,
    896: 0.06546237,
    1024: 0.06123625,
    1600: 0.04899264,
    2048: 0.04330504,
    2304: 0.04082885,
    2560: 0.03873400,
    3072: 0.03535963,
    3584: 0.03273698,
    4096: 0.03062286,
    5120: 0.02739020,
}


def random_layer(seed=0, n_neurons=60, d_model=12, gated=True):
    generator = torch.Generator().manual_seed(seed)

    def matrix():
        return torch.randn(n_neurons, d_model, generator=generator) + torch.randn(
            d_model, generator=generator
        )

    return MlpLayer(3, matrix() if gated else None, matrix(), matrix())


def assert_equals_brute_force(frame, layer, p=0.05):
    """To the rounding of float32 cosines: which product is rounded how depends on the tile."""
    expected = reference.mismatched_region(layer.gate, layer.in_, layer.out, p)
    for row in frame.itertuples():
        bounds = expected[row.cosine]
        if row.cosine == "gatelin":
            assert math.isnan(row.low)
        else:
            assert row.low == pytest.approx(bounds[0], abs=3e-7)
        assert row.high == pytest.approx(bounds[-1], abs=3e-7)


def pairs_of(a, b, absolute=False):
    return null._Pairs(a, b, a.norm(dim=1), b.norm(dim=1), absolute=absolute)


def all_cosines(pairs):
    keys = torch.cat([tile.flatten() for tile in pairs.tiles()])
    return np.array([null._cosine(key) for key in keys.tolist() if key != null._EXCLUDED])


@pytest.mark.parametrize("d_model", PUBLISHED)
def test_beta_region_published(d_model):
    """C50."""
    low, high = beta_region(d_model)
    assert high == pytest.approx(PUBLISHED[d_model], abs=1e-8)
    assert low == -high


@pytest.mark.parametrize(("d_model", "p"), [(16, 0.05), (300, 0.05), (64, 0.001)])
def test_beta_region_is_the_area_under_the_density(d_model, p):
    assert beta_region(d_model, p)[1] == pytest.approx(reference.beta_bound(d_model, p), abs=1e-7)


@given(seed=st.integers(0, 2**20), n_neurons=st.integers(2, 90), p=st.sampled_from([0.01, 0.05, 0.3]))
def test_mismatched_region_equals_brute_force(seed, n_neurons, p):
    layer = random_layer(seed, n_neurons)
    frame = mismatched_region(layer, p)
    assert list(frame.columns) == ["layer", "cosine", "low", "high", "undefined"]
    assert list(frame["cosine"]) == ["gatelin", "gateout", "linout"]
    assert set(frame["layer"]) == {3}
    assert set(frame["undefined"]) == {0}
    assert_equals_brute_force(frame, layer, p)


@given(
    seed=st.integers(0, 2**20),
    n_neurons=st.integers(2, 40),
    absolute=st.booleans(),
    levels=st.lists(st.floats(0, 1), min_size=1, max_size=3),
)
def test_quantiles_are_exact(seed, n_neurons, absolute, levels):
    """Of the float32 cosines as the tiles hold them, `numpy.quantile` to the last bits of float64."""
    layer = random_layer(seed, n_neurons)
    pairs = pairs_of(layer.in_, layer.out, absolute)
    values = all_cosines(pairs)
    assert len(values) == len(pairs)
    expected = np.quantile(values, levels).tolist()
    assert null.mismatched_quantiles(pairs, levels) == pytest.approx(expected, abs=1e-15)


def test_real_sizes_are_within_1e_8_of_float64():
    layer = random_layer(12, n_neurons=300, d_model=2048, gated=False)
    layer = replace(layer, in_=layer.in_ - layer.in_.mean(0), out=layer.out - layer.out.mean(0))
    exact = MlpLayer(0, None, layer.in_.double(), layer.out.double())
    values = reference.mismatched_values(exact.in_, exact.out)
    frame = mismatched_region(layer)
    assert frame["low"].item() == pytest.approx(reference.linear_quantile(values, 0.025), abs=1e-8)
    assert frame["high"].item() == pytest.approx(reference.linear_quantile(values, 0.975), abs=1e-8)


@pytest.mark.parametrize("tile", [7, 30, 59, 60, 61])
def test_tiles_do_not_show(tile, monkeypatch):
    monkeypatch.setattr(null, "TILE", tile)
    layer = random_layer(1)
    assert_equals_brute_force(mismatched_region(layer), layer)


def count_passes(monkeypatch):
    passes = []
    tiles = null._Pairs.tiles

    def counted(self):
        passes.append(self)
        return tiles(self)

    monkeypatch.setattr(null._Pairs, "tiles", counted)
    return passes


def test_one_pass_keeps_few_values(monkeypatch):
    """What makes it cheap: one product per pair of kinds, and almost nothing kept."""
    passes = count_passes(monkeypatch)
    kept = []
    narrow = null._Window.narrow

    def watched(self, rank):
        kept.append(self.inside)
        return narrow(self, rank)

    monkeypatch.setattr(null._Window, "narrow", watched)
    layer = random_layer(2, n_neurons=1500)
    assert_equals_brute_force(mismatched_region(layer), layer)
    assert len(passes) == 3
    assert max(kept) < 0.05 * 1500 * 1499


@pytest.mark.parametrize("wrong", [-1.0, 0.0, 0.999])
def test_a_misleading_sample_costs_passes_not_correctness(wrong, monkeypatch):
    layer = random_layer(3)
    expected = mismatched_region(layer)

    def misled(self, size):
        return self._keys(torch.full((size,), abs(wrong) if self.absolute else wrong))

    passes = count_passes(monkeypatch)
    monkeypatch.setattr(null._Pairs, "sample", misled)
    assert mismatched_region(layer).equals(expected)
    assert len(passes) > 3


@pytest.mark.parametrize(("max_kept", "n_buckets"), [(0, 2), (0, 16), (50, 16), (50, 2**16)])
def test_windows_that_are_too_full_are_narrowed(max_kept, n_buckets, monkeypatch):
    layer = random_layer(4)
    expected = mismatched_region(layer)
    monkeypatch.setattr(null, "TILE", 16)
    tiled = mismatched_region(layer)
    monkeypatch.setattr(null, "MAX_KEPT", max_kept)
    monkeypatch.setattr(null, "N_BUCKETS", n_buckets)
    passes = count_passes(monkeypatch)
    assert mismatched_region(layer).equals(tiled)
    assert len(passes) > 3
    for column in ("low", "high"):
        assert tiled[column].tolist() == pytest.approx(expected[column].tolist(), abs=1e-7, nan_ok=True)


@pytest.mark.parametrize("max_kept", [10, 2**22])
def test_equal_cosines(max_kept, monkeypatch):
    """All pairs tie, so no window ever becomes small by narrowing alone."""
    monkeypatch.setattr(null, "MAX_KEPT", max_kept)
    one = torch.zeros(20, 4)
    one[:, 0] = 2.0
    other = torch.zeros(20, 4)
    other[:, 1] = -0.5
    frame = mismatched_region(MlpLayer(0, one, -one, other)).set_index("cosine")
    assert frame.loc["gatelin", "high"] == 1
    assert frame.loc["gateout", ["low", "high"]].tolist() == [0, 0]
    assert frame.loc["linout", ["low", "high"]].tolist() == [0, 0]
    same = mismatched_region(MlpLayer(0, one, one, -one)).set_index("cosine")
    assert same.loc["linout", ["low", "high"]].tolist() == [-1, -1]


@given(st.lists(st.floats(-1, 1, width=32), min_size=2, max_size=40))
def test_keys_order_as_the_cosines(values):
    cosines = torch.tensor(values, dtype=torch.float32)
    keys = pairs_of(torch.ones(1, 1), torch.ones(1, 1))._keys(cosines.clone())
    assert [null._cosine(key) for key in keys.tolist()] == values
    for x, key_x in zip(values, keys.tolist(), strict=True):
        for y, key_y in zip(values, keys.tolist(), strict=True):
            assert (x < y) == (key_x < key_y)
            assert (x == y) == (key_x == key_y)


def test_sample_holds_mismatched_pairs_only():
    """Two neurons: each pair of the sample is (0, 1) or (1, 0)."""
    a = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert pairs_of(a, a).sample(100).unique().tolist() == [0]


def test_diagonal_is_excluded():
    """C56: with in = out the matched pairs have cosine 1, and would be a tenth of all at ten neurons."""
    layer = random_layer(5, n_neurons=10)
    layer = replace(layer, out=layer.in_.clone())
    frame = mismatched_region(layer).set_index("cosine")
    assert_equals_brute_force(frame.reset_index(), layer)
    assert frame.loc["linout", "high"] < 0.999
    square = reference.cosine(layer.in_[:, None], layer.out[None]).flatten()
    with_diagonal = reference.linear_quantile(square.sort().values.numpy(), 0.975)
    assert with_diagonal == pytest.approx(1, abs=1e-6)


def test_gaussian_vectors_give_the_beta_region():
    """C55."""
    generator = torch.Generator().manual_seed(6)
    layer = MlpLayer(0, *(torch.randn(1000, 256, generator=generator) for _ in range(3)))
    low, high = beta_region(256)
    frame = mismatched_region(layer).set_index("cosine")
    assert frame["high"].tolist() == pytest.approx([high] * 3, rel=0.02)
    assert frame["low"].tolist()[1:] == pytest.approx([low] * 2, rel=0.02)


def test_common_directions_widen_the_region():
    """What the beta region cannot see, and why both are reported (X25)."""
    generator = torch.Generator().manual_seed(7)
    common = torch.randn(256, generator=generator)
    layer = MlpLayer(0, *(torch.randn(200, 256, generator=generator) + common / 2 for _ in range(3)))
    low, high = beta_region(256)
    frame = mismatched_region(layer).set_index("cosine")
    assert (frame["high"] > 2 * high).all()
    assert (frame["low"].iloc[1:] > low).all()


def test_undefined_neurons_are_left_out_and_counted():
    layer = random_layer(8, n_neurons=20)
    keep = [k for k in range(20) if k not in (4, 11)]
    without = MlpLayer(3, layer.gate[keep], layer.in_[keep], layer.out[keep])
    layer.gate[4] = 0
    layer.out[11, 3] = torch.nan
    frame = mismatched_region(layer)
    assert set(frame["undefined"]) == {2}
    assert frame.drop(columns="undefined").equals(mismatched_region(without).drop(columns="undefined"))


def test_too_few_neurons_have_no_region():
    frame = mismatched_region(random_layer(9, n_neurons=1))
    assert frame[["low", "high"]].isna().all().all()


def test_without_a_gate():
    layer = random_layer(10, gated=False)
    frame = mismatched_region(layer)
    assert list(frame["cosine"]) == ["linout"]
    assert frame["low"].item() < frame["high"].item()


def test_folding_gate_signs_leaves_gatelin():
    layer = random_layer(11)
    folded = MlpLayer(3, *reference.refactor_glu(layer.gate, layer.in_, layer.out))
    before, after = (mismatched_region(la).set_index("cosine") for la in (layer, folded))
    assert before.loc["gatelin", "high"] == after.loc["gatelin", "high"]
    assert before.loc["gateout", "high"] != after.loc["gateout", "high"]


@pytest.mark.parametrize("p", [0.0, 1.0, -0.1, 1.5, float("nan")])
def test_impossible_probabilities(p):
    with pytest.raises(OptionError, match="between 0 and 1"):
        beta_region(64, p)
    with pytest.raises(OptionError, match="between 0 and 1"):
        mismatched_region(random_layer(), p)
