"""The pass against a direct implementation of the specification's recipe, on live models."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fixtures.tiny import SIZES, build, local_model
from rwcore.activations.accumulate import ActivationAccumulator
from rwcore.activations.capture import add_batch
from rwcore.activations.groups import group_of
from rwcore.activations.quadrants import LISTS, QUADRANTS, QUANTITIES
from rwcore.benchmarks.reference.activations import recipe, record
from rwcore.corpora.batches import Batch
from rwcore.models.load import load_bridge

DOCUMENTS, LAYERS, NEURONS = 50, 2, 32
K = 4
HOOKS = {"act": "swish"}


@pytest.mark.parametrize("family", ["llama", "olmo"])
def test_the_same_frequencies_sums_and_extremes(family: str, tmp_path: Path) -> None:
    """Test S1 of the neuroscope specification, with the original's recipe as the brute force."""
    bridge = load_bridge(local_model(build(family, tmp_path, layers=LAYERS, d_mlp=NEURONS)))
    generator = torch.Generator().manual_seed(2)
    lengths = torch.randint(1, 40, (DOCUMENTS,), generator=generator).tolist()
    rows = [torch.randint(4, SIZES["vocab"], (length,), generator=generator) for length in lengths]
    for number, row in enumerate(rows):
        row[0] = (
            4 + number
        )  # equal beginnings have equal extremes, and the recipe's order of those is nobody's
    running: dict = {}
    for number, row in enumerate(rows):
        recipe(record(bridge, row, torch.nn.functional.silu), number, running, K)
    accumulator = ActivationAccumulator(LAYERS, NEURONS, K)
    for number, row in enumerate(rows):
        where = torch.tensor([number])
        batch = Batch(number, where, row[None], torch.ones(1, len(row), dtype=torch.bool))
        add_batch(bridge, batch, accumulator, group_of(where))
    for layer, found in enumerate(accumulator.statistics()):
        assert found.tokens == sum(lengths)
        for place, case in enumerate(QUADRANTS):
            assert torch.equal(found.counts[place], running[case, "freq"][layer])
            for number, name in enumerate(QUANTITIES):
                expected = running[case, HOOKS.get(name, name), "sum"][layer] / found.counts[place]
                means = found.means()[place, number].float()
                torch.testing.assert_close(means, expected, rtol=1e-4, atol=1e-6, equal_nan=True)
        compared = 0
        for place, (case, name) in enumerate(LISTS):
            values, where = running[case, HOOKS.get(name, name), "max"]
            full = found.top.rows[place, :, -1] != -1  # the recipe fills short lists with zeros
            # Rows through a whole model and one that ends early agree to rounding, so equal ranks may turn.
            torch.testing.assert_close(
                found.top.values[place, full], values[:, layer, full].T, rtol=1e-5, atol=1e-7
            )
            same = (found.top.rows[place, full] == where[:, layer, full].T).float().mean()
            if name != "act" and full.any():  # flat at SiLU's minimum: the order of those is nobody's
                assert same == 1, (case, name)
                compared += int(full.sum())
        assert compared > 100
