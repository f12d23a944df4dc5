"""RW classes of found neurons against neurons of the same layers."""

import numpy as np
import pytest
import torch

from rwcore.errors import OptionError
from rwcore.probing.rw_classes import COLUMNS, FoundNeurons, class_enrichment

LAYERS, WIDTH = 3, 200
MEMBER = [("a", [0]), ("b or c", [1, 2]), ("never", [7])]


@pytest.fixture(scope="module")
def codes():
    """Class 0 is rare in the first layer and frequent in the last."""
    shares = torch.tensor([[0.05, 0.25, 0.70], [0.2, 0.3, 0.5], [0.6, 0.2, 0.2]])
    generator = torch.Generator().manual_seed(0)
    return torch.stack([torch.multinomial(row, WIDTH, True, generator=generator) for row in shares]).to(
        torch.int8
    )


def of_class(codes, layer, wanted, count):
    return [(layer, int(neuron)) for neuron in (codes[layer] == wanted).nonzero()[:count, 0]]


def table(found, codes, **options):
    frame = class_enrichment(FoundNeurons.of(found), MEMBER, codes, **{"draws": 400, **options})
    assert tuple(frame.columns) == COLUMNS
    return frame.set_index("class")


def test_a_planted_class_stands_out(codes):
    """Ten neurons of a class that one in twenty has."""
    pairs = of_class(codes, 0, 0, 8)
    found = table([(number, *pair) for number, pair in enumerate(pairs)], codes)
    assert found.loc["a", "share"] == 1
    assert found.loc["a", "ratio"] > 10
    assert found.loc["a", "p"] == pytest.approx(1 / 401)
    assert found.loc["b or c", "ratio"] == 0
    assert np.isnan(found.loc["never", "ratio"])


def test_a_class_that_is_frequent_where_features_are_found_does_not(codes):
    """Sixty of a hundred neurons of the last layer are of class 0: of 40 random ones some 24 are."""
    chosen = np.random.default_rng(1).choice(WIDTH, 40, replace=False)
    found = table([(number // 4, 2, int(neuron)) for number, neuron in enumerate(chosen)], codes)
    share = float((codes[2] == 0).double().mean())
    assert found.loc["a", "expected"] == pytest.approx(40 * share, rel=0.03)
    assert found.loc["a", "p"] > 0.05
    assert found.loc["a", "low"] <= share <= found.loc["a", "high"]


def test_against_the_hypergeometric_distribution(codes):
    """One layer: chance is drawing without replacement."""
    from scipy.stats import hypergeom

    inside = int((codes[1] == 0).sum())
    pairs = of_class(codes, 1, 0, 9) + of_class(codes, 1, 1, 11)
    found = table([(0, *pair) for pair in pairs], codes, draws=4000)
    law = hypergeom(WIDTH, inside, 20)
    mean = law.mean()
    two_sided = sum(law.pmf(k) for k in range(21) if abs(k - mean) >= abs(9 - mean) - 1e-9)
    assert found.loc["a", "expected"] == pytest.approx(mean, rel=0.02)
    assert found.loc["a", "p"] == pytest.approx(two_sided, rel=0.35)


def test_features_are_what_is_sampled(codes):
    """One feature with all neurons has no interval; the same neurons from many features have one."""
    pairs = of_class(codes, 1, 0, 5) + of_class(codes, 1, 2, 5)
    one = table([(0, *pair) for pair in pairs], codes)
    many = table([(number, *pair) for number, pair in enumerate(pairs)], codes)
    assert np.isnan(one.loc["a", "low"])
    assert many.loc["a", "low"] < 0.5 < many.loc["a", "high"]
    assert one.loc["a", "share"] == many.loc["a", "share"] == 0.5


def test_a_neuron_counts_once_for_its_first_feature():
    found = FoundNeurons.of([(4, 1, 7), (2, 1, 7), (2, 0, 3)])
    assert found.neurons.pairs() == [(1, 7), (0, 3)]
    assert found.feature.tolist() == [4, 2]


def test_refusals(codes):
    with pytest.raises(OptionError, match="no neuron was found"):
        class_enrichment(FoundNeurons.of([]), MEMBER, codes)
    with pytest.raises(OptionError, match=r"no neuron 9\.0"):
        class_enrichment(FoundNeurons.of([(0, 9, 0)]), MEMBER, codes)
