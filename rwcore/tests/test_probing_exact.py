"""Exact sparse probing: the subproblem, cuts, bounds, and the search against brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.svm import SVC

from rwcore.errors import OptionError
from rwcore.probing import cuts
from rwcore.probing.cuts import Cut, Program, Table, cut_of, mixture
from rwcore.probing.errors import ProbeError
from rwcore.probing.exact import balanced_bound, brute_force, exact_probe, published_intercept
from rwcore.probing.exact_sweep import exact_sweep
from rwcore.probing.relaxation import relaxed, survivors
from rwcore.probing.subproblem import (
    Rows,
    _certified,
    balanced_rows,
    balanced_weights,
    best_intercept,
    hinge_objective,
    hinge_probe,
)
from rwcore.tests.probing_planted import planted_rows

GAMMAS = (0.01, 1.0, 100.0)


def rows_of(x, label) -> Rows:
    return balanced_rows(x.numpy(), label.numpy())


# ---- one support ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("shift", [0.3, 8.0])
def test_one_support_against_libsvm(gamma, shift):
    """Also where the classes can be separated."""
    rows = rows_of(*planted_rows(300, 4, (0, 1, 2), shift=shift))
    ours = hinge_probe(rows, gamma)
    theirs = SVC(kernel="linear", C=gamma, tol=1e-8).fit(rows.x, rows.sign, sample_weight=rows.weight)
    theirs_objective = hinge_objective(theirs.coef_[0], theirs.intercept_[0], rows, gamma)
    assert ours.objective == pytest.approx(theirs_objective, rel=1e-5)
    np.testing.assert_allclose(ours.weights, theirs.coef_[0], rtol=5e-3, atol=5e-4)


@settings(max_examples=40)
@given(
    st.integers(4, 60),
    st.integers(1, 5),
    st.sampled_from([1e-3, 0.1, 10.0, 1e3]),
    st.floats(0.05, 0.95),
    st.integers(0, 999),
)
def test_the_certificate_is_valid_and_tight(n, k, gamma, positive, seed):
    x, label = planted_rows(n, k, (0,), positive=positive, seed=seed)
    rows = rows_of(x, label)
    probe = hinge_probe(rows, gamma)
    assert (probe.dual >= 0).all()
    assert (probe.dual <= rows.weight * (1 + 1e-12)).all()
    assert probe.dual @ rows.sign == pytest.approx(0, abs=1e-9 * n)
    assert probe.objective == pytest.approx(
        hinge_objective(probe.weights, probe.intercept, rows, gamma), rel=1e-12
    )
    assert probe.bound <= probe.objective + 1e-9 * n
    assert probe.objective - probe.bound <= 1e-6 * max(1.0, probe.objective)


@given(st.integers(0, 999), st.sampled_from(GAMMAS))
def test_any_dual_variables_are_made_feasible_and_bound(seed, gamma):
    """As if the method had stopped early, outside the box and out of balance."""
    rows = rows_of(*planted_rows(40, 3, (0,), seed=seed))
    wild = np.random.default_rng(seed).uniform(-0.5, 2.0, 40)
    probe = _certified(wild, rows, gamma)
    assert (probe.dual >= 0).all()
    assert (probe.dual <= rows.weight * (1 + 1e-12)).all()
    assert probe.dual @ rows.sign == pytest.approx(0, abs=1e-9)
    assert probe.bound <= hinge_probe(rows, gamma).objective <= probe.objective * (1 + 1e-6) + 1e-6


@given(st.integers(2, 30), st.integers(0, 999))
def test_the_intercept_is_the_best_of_all_knots(n, seed):
    generator = np.random.default_rng(seed)
    sign = np.where(generator.random(n) < 0.5, 1.0, -1.0)
    sign[:2] = [1, -1]
    score = generator.integers(-3, 4, n).astype(float)
    rows = Rows(np.zeros((n, 0)), sign, balanced_weights(sign > 0))
    scored = Rows(score[:, None], sign, rows.weight)
    one = np.ones(1)
    best = min(hinge_objective(one, knot, scored, 1.0) for knot in sign - score)
    assert hinge_objective(one, best_intercept(score, rows), scored, 1.0) == pytest.approx(best)


def test_no_neuron_costs_all_weights():
    """F of the empty support is n: every row is at its bound, and half of the weight is on the wrong side."""
    rows = rows_of(*planted_rows(50, 3, (0,)))
    probe = hinge_probe(rows.on(()), 1.0)
    assert probe.objective == pytest.approx(50)
    np.testing.assert_allclose(probe.dual, rows.weight, rtol=1e-4)


# ---- cuts and bounds ------------------------------------------------------------------------------------


@settings(max_examples=15)
@given(st.integers(0, 999), st.sampled_from(GAMMAS), st.integers(1, 3))
def test_cuts_of_one_support_bound_all_others(seed, gamma, k):
    rows = rows_of(*planted_rows(60, 6, (0, 1), seed=seed))
    generator = np.random.default_rng(seed)
    one, two, other = (tuple(sorted(generator.choice(6, k, replace=False).tolist())) for _ in range(3))
    made = [cut_of(hinge_probe(rows.on(support), gamma), rows, gamma) for support in (one, two)]
    mixed = mixture(made, np.array([0.3, 0.9]))
    value = hinge_probe(rows.on(other), gamma).objective
    for cut in (*made, mixed):
        assert cut.total - cut.pull[list(other)].sum() <= value + 1e-6 * 60
        assert cut.everywhere(k) <= value + 1e-6 * 60
        assert max(cut.with_neuron(k)[list(other)]) <= value + 1e-6 * 60
    assert made[0].total - made[0].pull[list(one)].sum() == pytest.approx(
        hinge_probe(rows.on(one), gamma).objective, rel=1e-6, abs=1e-6
    )


def test_with_neuron_is_the_best_support_that_contains_it():
    cut = Cut(10.0, np.array([4.0, 1.0, 3.0, 0.5]))
    assert cut.everywhere(2) == 3
    np.testing.assert_allclose(cut.with_neuron(2), [3, 5, 3, 5.5])


@settings(max_examples=15)
@given(st.integers(0, 999), st.sampled_from(GAMMAS), st.integers(1, 3))
def test_relaxation_bounds_brute_force_and_keeps_the_best(seed, gamma, k):
    x, label = planted_rows(60, 7, (0, 1, 2), seed=seed)
    support, objective = brute_force(x, label, k, gamma=gamma)
    found = relaxed(rows_of(x, label), k, gamma, start=tuple(range(k)))
    assert found.bound <= objective * (1 + 1e-6)
    assert set(support) <= set(survivors(found.best, k, objective * (1 + 1e-6)).tolist())


def test_the_relaxation_of_all_neurons_is_their_probe():
    """With k all of them, every share is 1."""
    rows = rows_of(*planted_rows(100, 5, (0, 1)))
    found = relaxed(rows, 5, 1.0, start=(0, 1, 2, 3, 4))
    assert found.bound == pytest.approx(hinge_probe(rows, 1.0).objective, rel=1e-3)


def test_table_and_program_name_the_same_support():
    generator = np.random.default_rng(0)
    table, program = Table(8, 3), Program(8, 3, gap=1e-7)
    for _ in range(6):
        # Weak enough that the table does not scale them: then both see the same linear bounds.
        cut = Cut(30 + generator.random(), generator.random(8) * 4)
        table.add(cut)
        program.add(cut)
    (one, low), (other, lower) = table.lowest(1.0), program.lowest(10.0)
    assert one == other
    assert low == pytest.approx(lower, rel=1e-6)


def test_closed_supports_are_not_named_but_bound():
    table = Table(4, 1)
    table.add(Cut(10.0, np.array([1.0, 4.0, 2.0, 3.0])))
    assert table.lowest(1.0) == ((1,), 6.0)
    table.close(6.0)
    assert table.lowest(1.0) == (None, 6.0)


def test_a_table_uses_a_cut_at_its_best_scale():
    """θ·10 − θ²·8 is highest at θ = 10/16; with a pull of 1 that would be beyond 1."""
    table = Table(2, 1)
    table.add(Cut(10.0, np.array([8.0, 1.0])))
    assert table.lowest(1.0) == ((0,), 3.125)


# ---- the search -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("k", [1, 2])
def test_the_search_finds_the_brute_force_optimum(k, gamma):
    x, label = planted_rows(200, 20, (3, 11, 17), shift=0.8)
    support, objective = brute_force(x, label, k, gamma=gamma)
    found = exact_probe(x, label, k, gamma=gamma, gap=1e-6)
    assert found.status == "optimal"
    assert found.support == support
    assert found.objective == pytest.approx(objective, rel=1e-5)
    assert found.bound <= objective * (1 + 1e-9)


@settings(max_examples=20)
@given(st.integers(0, 999), st.sampled_from(GAMMAS), st.integers(1, 3), st.booleans())
def test_any_search_is_within_its_gap(seed, gamma, k, published):
    x, label = planted_rows(50, 7, (0, 1), shift=0.6, seed=seed)
    _, objective = brute_force(x, label, k, gamma=gamma)
    convention = "as_published" if published else "fixed"
    found = exact_probe(x, label, k, gamma=gamma, gap=1e-3, candidates=7, convention=convention)
    assert found.bound <= objective + 1e-5
    assert objective - 1e-5 <= found.objective <= objective * (1 + 1.1e-3) + 1e-5
    assert found.gap <= 1e-3


@pytest.mark.parametrize("convention", ["fixed", "as_published"])
def test_program_and_brute_force_agree(monkeypatch, convention):
    """As with too many supports for a table."""
    monkeypatch.setattr(cuts, "MOST_SUPPORTS", 0)
    x, label = planted_rows(150, 10, (2, 5, 7), shift=0.7)
    _, objective = brute_force(x, label, 3, gamma=1.0)
    found = exact_probe(x, label, 3, gamma=1.0, convention=convention)
    assert found.status == "optimal"
    assert found.objective == pytest.approx(objective, rel=1e-4)
    assert found.bound <= objective * (1 + 1e-6)


def test_time_limits_are_never_called_optimal():
    x, label = planted_rows(300, 60, (1, 2), shift=0.2)
    found = exact_probe(x, label, 4, gamma=30.0, gap=1e-6, seconds=0.3)
    assert found.status == "time limit"
    assert found.gap > 1e-6
    assert found.gap == pytest.approx((found.objective - found.bound) / found.objective)
    assert found.objective == pytest.approx(
        hinge_probe(rows_of(x, label).on(found.support), 30.0).objective, rel=1e-9
    )


def test_a_program_honours_its_time_limit():
    generator = np.random.default_rng(0)
    program = Program(200, 8, gap=1e-9)
    for _ in range(60):
        program.add(Cut(100.0, generator.random(200) * 5))
    named, bound = program.lowest(0.5)
    assert bound <= 100
    if named is not None:
        value = max(cut.total - cut.pull[list(named)].sum() for cut in program._cuts)
        assert bound <= value + 1e-6


def test_all_neurons_are_searched_unless_told():
    """The planted pair has a small mean difference on its own: each is the other's noise with a trace."""
    generator = torch.Generator().manual_seed(0)
    n = 400
    label = torch.arange(n) < n // 2
    noise = torch.randn(n, generator=generator, dtype=torch.float64)
    x = 0.3 * torch.randn(n, 12, generator=generator, dtype=torch.float64)
    x[:, :10] += torch.where(label, 0.25, -0.25)[:, None]
    x[:, 10] = noise
    x[:, 11] = noise + torch.where(label, 0.2, -0.2)
    x -= x.mean(0)
    found = exact_probe(x, label, 2, gamma=100.0)
    among = exact_probe(x, label, 2, gamma=100.0, candidates=10)
    assert found.support == (10, 11)
    assert (found.candidates, among.candidates) == (12, 10)
    assert found.objective < 0.95 * among.objective


def test_heavy_norms_choose_the_largest_mean_differences():
    """F is n − (γn²/8) Σ Δ² where no margin exceeds 1; no support is below that."""
    x, label = planted_rows(400, 30, (4, 9, 21), shift=1.0)
    gamma = 10 / len(x) / 10
    delta = (x[label].mean(0) - x[~label].mean(0)).abs()
    found = exact_probe(x, label, 3, gamma=gamma, gap=1e-7)
    assert found.support == tuple(sorted(delta.topk(3).indices.tolist()))
    assert found.objective == pytest.approx(balanced_bound(x, label, found.support, gamma=gamma), rel=1e-6)
    light = exact_probe(x, label, 3, gamma=10.0)
    assert light.objective > 1.1 * balanced_bound(x, label, light.support, gamma=10.0)


@settings(max_examples=20)
@given(st.integers(0, 999), st.sampled_from(GAMMAS))
def test_the_balanced_bound_bounds(seed, gamma):
    x, label = planted_rows(60, 4, (0, 1), seed=seed)
    support = (0, 2)
    value = hinge_probe(rows_of(x, label).on(support), gamma).objective
    assert balanced_bound(x, label, support, gamma=gamma) <= value * (1 + 1e-9) + 1e-6


def test_default_gamma_and_start_do_not_change_the_answer():
    x, label = planted_rows(200, 20, (3, 11), shift=1.0)
    plain = exact_probe(x, label, 2)
    told = exact_probe(x, label, 2, gamma=1 / math.sqrt(200), start=(0, 1), candidates=20)
    assert plain.support == told.support == (3, 11)


def test_as_published():
    """50 candidates, the intercept's formula, weights of the last support that was evaluated."""
    x, label = planted_rows(200, 60, (3, 11), shift=0.6)
    found = exact_probe(x, label, 2, convention="as_published")
    assert found.candidates == found.kept == 50
    assert found.weights_support == found.last_candidate
    rows = rows_of(x, label).on(found.last_candidate)
    probe = hinge_probe(rows, 1 / math.sqrt(200))
    np.testing.assert_allclose(found.weights, probe.weights, rtol=1e-6)
    assert found.intercept == pytest.approx(published_intercept(probe, rows))
    middle = found.score(x)[label].mean() + found.score(x)[~label].mean()
    assert abs(float(middle)) / 2 < 0.1 * float(found.score(x).std())
    fixed = exact_probe(x, label, 2)
    assert fixed.intercept == pytest.approx(best_intercept(rows.x @ probe.weights, rows), abs=1e-6)


def test_published_weights_may_belong_to_another_support():
    """The support that was evaluated last need not be the best one."""
    x, label = planted_rows(200, 30, (3, 11, 20), shift=0.4, seed=3)
    found = [exact_probe(x, label, 2, gamma=gamma, convention="as_published") for gamma in (1.0, 10.0, 100.0)]
    other = [one for one in found if one.last_candidate != one.support]
    assert other
    for one in found:
        assert one.weights_support == one.last_candidate
    searches = {1.0: found[0], 10.0: found[1], 100.0: found[2]}
    for gamma, one in searches.items():
        last = hinge_probe(rows_of(x, label).on(one.last_candidate), gamma)
        np.testing.assert_allclose(one.weights, last.weights, rtol=1e-6)


def test_the_sweep_refits_and_begins_at_the_strongest(monkeypatch):
    x, label = planted_rows(300, 20, (3, 11, 17), shift=1.5)
    starts = []

    def spy(*args, start, **options):
        starts.append(start)
        return exact_probe(*args, start=start, **options)

    monkeypatch.setattr("rwcore.probing.exact_sweep.exact_probe", spy)
    found = exact_sweep(x, label, (3, 1, 2))
    assert list(found) == [3, 2, 1]
    assert starts[0] is None
    larger = found[3].refit
    kept = np.argsort(-np.abs(larger.weights))[:2]
    assert set(starts[1]) == {larger.support[at] for at in kept}
    assert found[3].search.support == found[3].refit.support == (3, 11, 17)
    said = found[3].refit.score(x.numpy()) > 0
    assert (said == label.numpy()).mean() > 0.8


# ---- what cannot be searched ----------------------------------------------------------------------------


def test_bad_input_is_refused():
    x, label = planted_rows(40, 5, (0,))
    with pytest.raises(ProbeError, match="40 of 40"):
        exact_probe(x, torch.ones(40, dtype=torch.bool), 1)
    broken = x.clone()
    broken[7, 3] = math.nan
    with pytest.raises(ProbeError, match="neuron 3 at example 7"):
        exact_probe(broken, label, 1)
    for options, word in [({"k": 6}, "1 to 5"), ({"k": 0}, "1 to 5"), ({"k": 3, "candidates": 2}, "1 to 2")]:
        with pytest.raises(OptionError, match=word):
            exact_probe(x, label, **options)
    with pytest.raises(OptionError, match="gap"):
        exact_probe(x, label, 1, gap=0.0)
    with pytest.raises(OptionError, match="seconds"):
        exact_probe(x, label, 1, seconds=0.0)


def test_constant_and_duplicate_neurons_do_no_harm():
    x, label = planted_rows(100, 6, (1,), shift=2.0)
    x[:, 0] = 0.5
    x[:, 4] = x[:, 1]
    found = exact_probe(x, label, 1)
    assert found.support in {(1,), (4,)}
    assert found.gap <= 1e-4
