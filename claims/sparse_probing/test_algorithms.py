"""Rankings, splits, probes and their solvers, asked of made-up activations (C01, C03-C10)."""

import itertools
import math
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
import torch

from rwcore.probing import cuts
from rwcore.probing.codes import CODES, published_code_book
from rwcore.probing.exact import balanced_bound, brute_force, exact_probe
from rwcore.probing.grid import k_grid
from rwcore.probing.histograms import ClassHistograms, count_codes
from rwcore.probing.logistic import fit_logistic
from rwcore.probing.moments import binary_moments
from rwcore.probing.newton import fit_histograms, fit_rows
from rwcore.probing.normalise import FLOOR, training_scale
from rwcore.probing.rankings import f_stat, mean_dif
from rwcore.probing.scores import histogram_scores, scores
from rwcore.probing.splits import published_split
from rwcore.probing.subproblem import balanced_rows, hinge_probe
from rwcore.probing.synthetic import Trial, plant
from rwcore.probing.toy_circle import circle_neuron

WIDTHS = (2048, 3072, 10240)
ROWS = (5397, 8413, 28084, 8000, 25000, 20000, 10000, 6000)
FLOAT16_ULP = 2.0**-10


def planted(rows, neurons, *, true=3, shift=0.5, positive=0.3, seed=0):
    """Normalised activations and labels."""
    found = plant(Trial(rows, neurons, true, shift, positive, seed))
    return (found.x / training_scale(found.x)).float(), found.label


def column(values, key):
    """Columns of the key and value."""
    return pd.DataFrame(sorted(values.items()), columns=[key, "value"])


@pytest.mark.claim("C01")
def test_rankings(subject, claim):
    """Pairs of neurons that mean difference and F put in another order, neurons below the floor apart."""
    pairs = 0
    for seed in range(5):
        found = plant(Trial(1000, 400, 10, 0.5, 0.2, seed))
        # Spreads of neurons differ by orders of magnitude; some are below the floor of the normalisation.
        spread = torch.logspace(-4, 1, 400)[
            torch.randperm(400, generator=torch.Generator().manual_seed(seed))
        ]
        moments = binary_moments(found.x * spread, found.label)
        usual = moments.variance().sqrt() > FLOOR
        assert 0 < int(usual.sum()) < len(usual)
        by_mean, by_f = (score[usual] for score in (mean_dif(moments), f_stat(moments)))
        pairs += in_another_order(by_mean, by_f)
    claim.check(pairs_in_another_order=pairs)


def in_another_order(one, other):
    """Pairs of which each score puts another one first; scores within 1e-5 are ties of float32 sums."""
    above = [score[:, None] > score[None] * (1 + 1e-5) for score in (one, other)]
    return int((above[0] & above[1].T).sum())


@pytest.mark.claim("C03")
def test_bound_of_the_exact_probe(subject, claim):
    """The bound n - (gamma n²/8) sum of squared mean differences, for every support of 1 to 3 neurons."""
    excess, equal, elsewhere, others = [], [], [], 0
    for seed, weight in itertools.product(range(3), ("heavy", "light")):
        n = 150
        x, label = planted(n, 5, shift=(0.1, 0.5, 2.0)[seed], seed=seed)
        x = x.double()
        gamma = 10 / n if weight == "heavy" else 10.0
        rows = balanced_rows(x.numpy(), label.numpy())
        delta = x[label].mean(0) - x[~label].mean(0)
        for k in (1, 2, 3):
            by_difference = tuple(sorted(delta.abs().argsort(descending=True)[:k].tolist()))
            if weight == "heavy":
                others += brute_force(x, label, k, gamma=gamma)[0] != by_difference
            for support in itertools.combinations(range(5), k):
                bound = balanced_bound(x, label, support, gamma=gamma)
                gap = (hinge_probe(rows.on(support), gamma).objective - bound) / n
                excess.append(-gap)
                score = gamma * n / 2 * (x[:, list(support)] @ delta[list(support)])
                # Some intercept keeps all margins at 1 or less.
                fits = score[label].max() - score[~label].min() <= 2
                (equal if fits else elsewhere).append(gap)
    claim.check(
        relative_excess_of_bound=max(excess),
        relative_gap_where_equal=max(map(abs, equal)),
        smallest_relative_gap_elsewhere=min(elsewhere),
        supports_not_by_mean_difference=others,
    )


@pytest.mark.claim("C04")
def test_exact_probe(subject, claim):
    """Cutting planes by HiGHS against all supports of one and two neurons."""
    worst = 0.0
    for seed, k in itertools.product(range(3), (1, 2)):
        x, label = planted(200, 12, seed=seed)
        gamma = 1 / math.sqrt(len(x))
        # However few the supports are, a mixed-integer program chooses among them.
        with patch.object(cuts, "MOST_SUPPORTS", 0):
            found = exact_probe(x, label, k, gamma=gamma, convention="as_published")
        best = brute_force(x, label, k, gamma=gamma)[1]
        worst = max(worst, abs(found.objective - best) / best)
    claim.check(relative_difference_of_objectives=worst)


@pytest.mark.claim("C05")
def test_grid(subject, claim):
    """Numbers of neurons for layers of three widths."""
    capped = {",".join(map(str, k_grid(width))) for width in WIDTHS}
    claim.check(
        largest_k=column({width: k_grid(width, None)[-1] for width in WIDTHS}, "width"),
        last_power=column({width: k_grid(width, None)[-2] for width in WIDTHS}, "width"),
        grid_up_to_256=" or ".join(sorted(capped)),
    )


@pytest.mark.claim("C06")
def test_test_split(subject, claim):
    """Examples of the test split."""
    sizes = {n: len(published_split(torch.arange(n) % 2 == 0).test) for n in ROWS}
    claim.check(test_examples=column(sizes, "rows"))


@pytest.mark.claim("C07")
def test_saga(subject, claim):
    """200 passes of SAGA against the exact optimum, for informative neurons."""
    found = plant(Trial(3000, 8, 8, 0.8, 0.3, 0))
    split = published_split(found.label)
    train, test = (found.x[part] for part in (split.train, split.test))
    exact = fit_rows(train, found.label[split.train])
    errors, mcc = [], []
    for neuron in range(8):
        saga = fit_logistic(train[:, [neuron]], found.label[split.train], as_published=True)
        errors.append(abs(float(saga.weight[0] / exact.weight[neuron]) - 1))
        decided = exact.decide(test.T.double())[neuron], saga.decide(test[:, [neuron]])
        mcc.append(abs(np.subtract(*(scores(found.label[split.test], one)["mcc"] for one in decided))))
    claim.check(relative_error_of_coefficient=max(errors), error_of_mcc=max(mcc))


@pytest.mark.claim("C08")
def test_eight_bits(subject, claim):
    """Restored activations against their own, over half a step and the rounding to float16."""
    worst = 0.0
    for seed, spread in itertools.product(range(3), (0.01, 1.0, 30.0)):
        x = spread * plant(Trial(3000, 40, 3, 2.0, 0.3, seed)).x
        book = published_code_book(x)
        restored = book.restore(book.encode(x))
        step = (book.high - book.low) / (CODES - 1)
        rounding = FLOAT16_ULP / 2 * torch.maximum(x.abs(), restored.abs()).clamp(min=2.0**-14)
        worst = max(worst, float(((restored - x).abs() / (step / 2 + rounding)).max()))
    claim.check(error_over_bound=worst)


@pytest.mark.claim("C09")
def test_histogram_probes(subject, claim):
    """Probes from counts of 256 codes against probes of the restored rows."""
    found = plant(Trial(2000, 60, 10, 0.7, 0.2, 0))
    book = published_code_book(found.x)
    codes = book.encode(found.x)
    rows = book.restore(codes)
    split = published_split(found.label)
    counts = {}
    for name in ("train", "test"):
        cell = torch.full((len(rows),), -1)
        places = getattr(split, name)
        cell[places] = found.label[places].long()
        counts[name] = ClassHistograms(book.values(), count_codes(codes, cell, 2))
    ours = fit_histograms(counts["train"])
    exact = fit_rows(rows[split.train], found.label[split.train])
    decided = exact.decide(rows[split.test].T.double())
    mcc = torch.tensor([scores(found.label[split.test], one)["mcc"] for one in decided])
    claim.check(
        relative_error_of_coefficient=float((ours.weight / exact.weight - 1).abs().max()),
        error_of_mcc=float((histogram_scores(ours, counts["test"])["mcc"] - mcc).abs().max()),
    )


@pytest.mark.claim("C10")
def test_toy_circle(subject, claim):
    """Norm times bias of a neuron that reads one of N features on a circle."""
    products = [circle_neuron(features).product for features in range(3, 100)]
    claim.check(at_99=products[-1], largest_increase=float(np.diff(products).max()))
