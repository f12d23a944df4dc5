"""Statistics of a survey of heads, by hand and by plain loops."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rwcore.heads.effects import QUANTITIES, WriterEffects
from rwcore.heads.survey_scores import (
    COLUMNS,
    cumulative_shares,
    largest_helped,
    largest_share,
    writer_rows,
    writer_table,
)
from rwcore.heads.writers import Writer

WRITERS = [Writer(0, 0), Writer(0, 1), Writer(1, 0), Writer(0)]


def made(seed, tokens=60):
    """Effects of four writers; every tenth token has no next one."""
    generator = torch.Generator().manual_seed(seed)
    found = {name: torch.randn(len(WRITERS), tokens, generator=generator) for name in QUANTITIES}
    for name in ("loss_increase", "dla_next"):
        found[name][:, ::10] = math.nan
    document = torch.arange(tokens) // 7
    return WriterEffects(**found), document


@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_rows_equal_loops(seed):
    effects, document = made(seed)
    table = writer_table(writer_rows(WRITERS, effects, document))
    assert tuple(table.columns) == COLUMNS
    for place, row in enumerate(table.to_dict("records")):
        delta = [v for v in effects.loss_increase[place].tolist() if v == v]
        by_size = sorted(delta, key=abs, reverse=True)[: math.ceil(0.05 * len(delta))]
        positive = sorted((max(v, 0.0) for v in delta), reverse=True)
        wanted = {
            "tokens": 54,
            "documents": 9,
            "loss_increase": np.mean(delta),
            "loss_increase_std": np.std(delta),
            "loss_increase_abs": np.mean(np.abs(delta)),
            "helped_by_ablation": np.mean([v < 0 for v in delta]),
            "helped_by_ablation_largest": np.mean([v < 0 for v in by_size]),
            "largest_share": sum(positive[: len(delta) // 20]) / sum(positive),
            "kl": effects.kl[place].mean(),
            "dla_predicted": effects.dla_predicted[place].mean(),
            "against_prediction": np.mean([v < 0 for v in effects.dla_predicted[place].tolist()]),
        }
        for name, value in wanted.items():
            assert row[name] == pytest.approx(float(value), abs=1e-6), name
        assert row["loss_increase_low"] < row["loss_increase"] < row["loss_increase_high"]


def test_the_head_that_writes_most_against_predictions_is_first():
    effects, document = made(0)
    for place, value in enumerate((0.2, -0.5, -0.1, -3.0)):
        effects.dla_predicted[place] = value
    table = writer_table(writer_rows(WRITERS, effects, document))
    assert table["negative_rank"].tolist()[:3] == [3, 1, 2]
    assert table["negative_rank"].isna().tolist() == [False, False, False, True]  # MLPs are not ranked
    assert table["kind"].tolist() == ["head", "head", "head", "mlp"]


def test_one_document_has_no_interval():
    effects, document = made(0)
    row = writer_rows(WRITERS, effects, torch.zeros_like(document))[0]
    assert math.isnan(row["loss_increase_low"])


def test_few_large_tokens():
    delta = torch.tensor([[10.0, *[0.1] * 19, *[-0.05] * 20], [-10.0, *[0.1] * 39]])
    assert largest_share(delta).tolist() == pytest.approx([10.1 / 11.9, 0.2 / 3.9])
    assert largest_helped(delta).tolist() == [0.0, 0.5]


def test_cumulative_shares():
    found = cumulative_shares(torch.tensor([-1.0, 3.0, 1.0, 0.0]), points=4)
    assert found.tolist() == [[0, 0], [0.25, 0.75], [0.5, 1], [0.75, 1], [1, 1]]
    assert cumulative_shares(torch.tensor([-1.0, -2.0]), points=2)[:, 1].isnan().all()
