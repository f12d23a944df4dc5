"""Tables of rates: means, differences and intervals against slow ones."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from rwcore.ablation.bootstrap import intervals, sums_by_document
from rwcore.ablation.compare import RunLabel
from rwcore.attributes.tables import (
    LAYER_COLUMNS,
    MEAN_COLUMNS,
    RELATION_COLUMNS,
    _curves,
    late_layers,
    layer_table,
    mean_table,
    relation_table,
)
from rwcore.errors import OptionError

LABELS = [RunLabel("weakening", "zero"), RunLabel("weakening", "zero", baseline=True)]
RELATIONS = ["capital", "author", "capital", "capital", "author", "river", "capital", "author"]
SUBJECT = torch.tensor([0, 1, 0, 2, 3, 4, 5, 5])


def runs() -> tuple[Tensor, list[Tensor]]:
    """8 prompts, the embedding and 8 layers; some rates are unknown, others in every run."""
    generator = torch.Generator().manual_seed(0)
    clean = (torch.rand(8, 9, generator=generator) * 100).round()
    other = [(clean - 10 * torch.rand(8, 9, generator=generator)).clamp(min=0), clean.clone()]
    clean[2, 3] = -1
    other[0][2, 3] = other[0][4, 5] = -1
    other[1][:, 6] = -1
    return clean, other


def kept(rates: Tensor, layer: int) -> list[float]:
    return [float(rate) for rate in rates[:, layer] if rate >= 0]


def test_rates_and_differences_by_hand() -> None:
    clean, other = runs()
    table = layer_table(clean, other, SUBJECT, LABELS, draws=200)
    assert tuple(table.columns) == LAYER_COLUMNS
    assert len(table) == 3 * 9
    assert table["layer"].tolist() == list(range(-1, 8)) * 3
    assert table["set"].tolist() == ["clean"] * 9 + ["weakening"] * 18
    assert table["baseline"].tolist() == [False] * 18 + [True] * 9
    for number, rates in enumerate([clean, *other]):
        for layer in range(9):
            row = table.iloc[9 * number + layer]
            wanted = kept(rates, layer)
            assert row["n"] == len(wanted)
            assert row["rate"] == pytest.approx(np.mean(wanted)) if wanted else math.isnan(row["rate"])
            both = [
                float(one - two)
                for one, two in zip(clean[:, layer], rates[:, layer], strict=True)
                if one >= 0 and two >= 0
            ]
            if number and both:
                assert row["difference"] == pytest.approx(np.mean(both))
                assert row["difference_low"] <= row["difference"] <= row["difference_high"]
            else:
                assert math.isnan(row["difference"])
    # The intact neurons raise the rate: positive.
    assert (table[table["set"] == "weakening"].head(9)["difference"] > 0).all()


def test_intervals_draw_subjects_not_prompts() -> None:
    clean, other = runs()
    row = layer_table(clean, other, SUBJECT, LABELS, draws=300, seed=4).iloc[2]
    sums, counts = sums_by_document([(clean[:, 2].double().numpy(), SUBJECT.numpy())])
    (wanted,) = intervals(sums, counts, draws=300, seed=4)
    assert (row["low"], row["high"]) == pytest.approx((wanted.low, wanted.high))
    alone = layer_table(clean, other, torch.arange(8), LABELS, draws=300, seed=4).iloc[2]
    assert alone["low"] != row["low"]


def test_the_same_subjects_are_drawn_in_all_runs() -> None:
    """A run that is the clean one plus a constant differs from it by that constant in every draw."""
    clean = runs()[0].clamp(min=0)
    table = layer_table(clean, [clean + 3], SUBJECT, LABELS[:1], draws=50)
    changed = table[table["set"] == "weakening"]
    for name in ("difference", "difference_low", "difference_high"):
        assert changed[name].tolist() == pytest.approx([-3.0] * 9)


def test_one_subject_has_no_interval() -> None:
    clean, other = runs()
    table = layer_table(clean, other, torch.zeros(8, dtype=torch.int64), LABELS, draws=20)
    assert table["rate"].notna().sum() == 26
    assert table[["low", "high", "difference_low"]].isna().all(axis=None)


def test_means_over_layers() -> None:
    clean, other = runs()
    table = mean_table(clean, other[:1], SUBJECT, LABELS[:1], draws=200)
    by_layer = layer_table(clean, other[:1], SUBJECT, LABELS[:1], draws=200)
    assert tuple(table.columns) == MEAN_COLUMNS
    of_layers = by_layer[by_layer["layer"] >= 0]
    for row, name in zip(table.to_dict("records"), ["clean", "weakening"], strict=True):
        rows = of_layers[of_layers["set"] == name]
        assert row["rate"] == pytest.approx(rows["rate"].mean())
        assert row["low"] < row["rate"] < row["high"]
        assert row["n"] == 8
    change = of_layers[of_layers["set"] == "weakening"].reset_index(drop=True)
    row = table.iloc[1]
    assert row["difference"] == pytest.approx(change["difference"].mean())
    assert row["mean_absolute"] == pytest.approx(change["difference"].abs().mean())
    largest = int(change["difference"].abs().idxmax())
    assert row["largest_layer"] == change.loc[largest, "layer"]
    assert row["largest"] == pytest.approx(change.loc[largest, "difference"])
    assert row["largest_low"] == pytest.approx(change.loc[largest, "difference_low"])
    assert table.iloc[0][["difference", "mean_absolute", "largest", "largest_layer"]].isna().all()


def test_the_size_of_opposite_changes_does_not_cancel_and_the_largest_keeps_its_sign() -> None:
    clean = torch.full((4, 5), 50.0)
    run = clean.clone()
    run[:, 1:] += torch.tensor([4.0, -4.0, 8.0, -8.5])
    row = mean_table(clean, [run], torch.arange(4), LABELS[:1], draws=20).iloc[1]
    assert row["difference"] == pytest.approx(0.125)
    assert row["mean_absolute"] == pytest.approx(6.125)
    assert (row["largest"], row["largest_layer"]) == (8.5, 3)
    run[:, 3] += 1
    assert mean_table(clean, [run], torch.arange(4), LABELS[:1], draws=20).iloc[1]["largest"] == -9


def test_the_embedding_is_no_layer() -> None:
    clean = torch.full((4, 5), 50.0)
    run = clean.clone()
    run[:, 0] = 0
    row = mean_table(clean, [run], torch.arange(4), LABELS[:1], draws=20).iloc[1]
    assert (row["rate"], row["difference"], row["largest"]) == (50, 0, 0)


def test_relations() -> None:
    clean, other = runs()
    table = relation_table(clean, other, SUBJECT, LABELS, RELATIONS, draws=100)
    assert tuple(table.columns) == RELATION_COLUMNS
    assert table["relation"].tolist() == ["author"] * 3 + ["capital"] * 3 + ["river"] * 3
    assert table["facts"].tolist() == [3] * 3 + [4] * 3 + [1] * 3
    at = [number for number, name in enumerate(RELATIONS) if name == "author"]
    row = table.iloc[1]
    whole = mean_table(clean[at], [other[0][at]], SUBJECT[at], LABELS[:1], draws=100).iloc[1]
    for name in ("rate", "low", "high", "difference", "difference_low", "difference_high"):
        assert row[name] == pytest.approx(whole[name])
    assert row["late"] == pytest.approx(np.mean([np.mean(kept(other[0][at], layer)) for layer in (7, 8)]))
    assert math.isnan(table.iloc[-2]["low"])  # one subject


def test_the_last_quarter() -> None:
    assert [late_layers(n) for n in (1, 3, 8, 30, 32)] == [1, 1, 2, 7, 8]


def test_without_runs_there_is_the_clean_one() -> None:
    clean = runs()[0]
    for table in (
        layer_table(clean, [], SUBJECT, [], draws=20),
        mean_table(clean, [], SUBJECT, [], draws=20),
        relation_table(clean, [], SUBJECT, [], RELATIONS, draws=20),
    ):
        assert isinstance(table, pd.DataFrame)
        assert {*table["set"]} == {"clean"}


def test_what_does_not_belong_together_is_refused() -> None:
    clean, other = runs()
    for runs_, subject, labels in (
        (other, SUBJECT, LABELS[:1]),
        ([other[0][:5]], SUBJECT, LABELS[:1]),
        (other, SUBJECT[:5], LABELS),
    ):
        with pytest.raises(OptionError, match="belong together"):
            _curves(clean, runs_, subject, labels, 20, 0)
    with pytest.raises(OptionError, match="relations"):
        relation_table(clean, other, SUBJECT, LABELS, RELATIONS[:3])
