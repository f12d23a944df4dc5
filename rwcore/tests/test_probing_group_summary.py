"""Moments and quantiles by group equal those of each group alone."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from rwcore.probing.group_summary import QUANTILES, STATISTICS, group_summary

PAIRS = st.lists(st.tuples(st.integers(-3, 5), st.floats(-1e3, 1e3, width=32)), min_size=0, max_size=60)


@given(PAIRS)
def test_each_group_is_summed_up_as_if_alone(pairs: list[tuple[int, float]]) -> None:
    group = torch.tensor([one for one, _ in pairs], dtype=torch.int64)
    values = torch.tensor([value for _, value in pairs], dtype=torch.float32)
    found = group_summary(values, group)
    assert list(found.columns) == ["group", *STATISTICS]
    assert found["group"].tolist() == sorted({one for one, _ in pairs})
    for row in found.to_dict("records"):
        alone = np.array([value for one, value in pairs if one == row["group"]], dtype=np.float32)
        alone = alone.astype(np.float64)
        assert row["count"] == len(alone)
        np.testing.assert_allclose(row["mean"], alone.mean(), rtol=1e-12, atol=1e-9)
        np.testing.assert_allclose(row["std"], alone.std(), rtol=1e-9, atol=1e-9)
        for name, share in QUANTILES.items():
            np.testing.assert_allclose(row[name], np.quantile(alone, share), rtol=1e-12, atol=1e-9)


def test_a_spread_far_from_zero_is_not_lost() -> None:
    values = torch.tensor([4e6, 4e6 + 1, 4e6 + 2], dtype=torch.float64)
    (std,) = group_summary(values, torch.zeros(3, dtype=torch.int64))["std"]
    np.testing.assert_allclose(std, np.sqrt(2 / 3), rtol=1e-12)
