"""The loss that a neuron's ablation costs by class of text: references, planted effects, a null."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from rwcore.ablation.compare import token_differences
from rwcore.ablation.run_metrics import RunMetrics
from rwcore.corpora.tokens import TokenCorpus
from rwcore.errors import OptionError
from rwcore.probing.context_losses import class_losses, own_against_others, row_losses
from rwcore.probing.errors import ProbeError
from rwcore.probing.text_classes import UNLABELLED, TextClasses
from rwcore.tests.paired_runs import run_of
from rwcore.tests.planted_contexts import planted_text


def runs(seed: int = 0, documents: int = 40) -> tuple[RunMetrics, RunMetrics, TokenCorpus, TextClasses]:
    corpus, classes = planted_text(documents, seed=seed)
    clean = run_of(corpus, seed)
    return clean, run_of(corpus, seed + 1, near=clean), corpus, classes


def hurt(run: RunMetrics, where: torch.Tensor, by: float) -> RunMetrics:
    return dataclasses.replace(run, loss=torch.where(where, run.loss + by, run.loss))


def language(corpus: TokenCorpus, classes: TextClasses, name: str) -> torch.Tensor:
    return classes.of_tokens(corpus) == classes.place(name)


def test_rows_and_classes_equal_sums_made_prediction_by_prediction() -> None:
    clean, ablated, corpus, classes = runs()
    rows = row_losses(clean, ablated, corpus, classes)
    assert rows["row"].tolist() == (classes.row != UNLABELLED).nonzero()[:, 0].tolist()
    sums: dict[str, list[tuple[float, int]]] = {}
    for found in rows.to_dict("records"):
        start, end = corpus.offsets[found["row"]].item(), corpus.offsets[found["row"] + 1].item()
        before, after = (run.loss[start + 1 : end - 1].double() for run in (clean, ablated))
        assert found["predictions"] == len(before)
        assert found["clean_loss"] == pytest.approx(float(before.sum()))
        assert found["loss_increase"] == pytest.approx(float((after - before).sum()), abs=1e-9)
        assert found["percent"] == pytest.approx(100 * float((after.sum() - before.sum()) / before.sum()))
        assert found["class"] == classes.names[int(classes.row[found["row"]])]
        sums.setdefault(found["class"], []).append((float((after - before).sum()), len(before)))
    for row in class_losses(rows, "de", draws=50).to_dict("records"):
        increases, sizes = map(np.array, zip(*sums[row["class"]], strict=True))
        assert row["own"] == (row["class"] == "de")
        assert row["rows"] == len(sizes)
        assert row["documents"] == len(sizes) / 2
        assert row["loss_increase"] == pytest.approx(increases.sum() / sizes.sum())
        assert row["clean_minus_ablated"] == -row["loss_increase"]
        assert row["row_increase"] == pytest.approx(increases.mean())
        assert row["largest_row"] == pytest.approx(increases.max())
        for name in ("loss_increase", "row_increase"):
            assert row[f"{name}_low"] < row[name] < row[f"{name}_high"]


def test_the_sign_is_the_opposite_of_that_of_the_comparison() -> None:
    clean, ablated, corpus, classes = runs()
    rows = row_losses(clean, ablated, corpus, classes)
    labelled = (classes.of_tokens(corpus) != UNLABELLED).numpy()
    difference = token_differences(clean, ablated, corpus, "loss")[labelled]
    assert rows["loss_increase"].sum() == pytest.approx(-np.nansum(difference))
    worse = row_losses(clean, hurt(clean, torch.ones(corpus.n_tokens, dtype=torch.bool), 1), corpus, classes)
    assert (worse["loss_increase"].round(3) == worse["predictions"]).all()


def test_a_planted_effect_is_found_and_one_that_is_everywhere_is_not() -> None:
    clean, ablated, corpus, classes = runs()
    own = hurt(ablated, language(corpus, classes, "fr"), 2)
    found = own_against_others(row_losses(clean, own, corpus, classes), "fr")
    assert found.holds
    assert found.low > 0
    assert found.increase == pytest.approx(2, abs=0.2)
    everywhere = hurt(ablated, torch.ones(corpus.n_tokens, dtype=torch.bool), 2)
    found = own_against_others(row_losses(clean, everywhere, corpus, classes), "fr")
    assert not found.holds
    assert found.high < 0
    helped = hurt(clean, language(corpus, classes, "fr"), -1e-3)
    assert not own_against_others(row_losses(clean, helped, corpus, classes), "fr").holds


@pytest.mark.parametrize(("elsewhere", "holds"), [(0.30, False), (0.10, True)])
def test_the_factor_is_asked_of_every_other_class(elsewhere: float, holds: bool) -> None:
    clean, _, corpus, classes = runs()
    ablated = hurt(clean, language(corpus, classes, "fr"), 1)
    ablated = hurt(ablated, language(corpus, classes, "it"), elsewhere)
    rows = row_losses(clean, ablated, corpus, classes)
    found = own_against_others(rows, "fr")
    assert found.holds == holds
    assert found.other == "it"
    assert found.margin == pytest.approx(1 - 5 * elsewhere, abs=1e-4)
    assert own_against_others(rows, "fr", factor=2.0).holds


def test_classes_that_gain_do_not_make_a_contrast_larger() -> None:
    clean, _, corpus, classes = runs()
    ablated = hurt(clean, language(corpus, classes, "fr"), 1)
    for name in ("de", "it"):
        ablated = hurt(ablated, language(corpus, classes, name), -0.5)
    found = own_against_others(row_losses(clean, ablated, corpus, classes), "fr")
    assert (found.increase, found.margin) == (pytest.approx(1, abs=1e-4), pytest.approx(1, abs=1e-4))
    assert found.other_increase == pytest.approx(-0.5, abs=1e-4)
    # All lose nothing, the own one least: that is no context neuron either.
    ablated = hurt(clean, language(corpus, classes, "fr"), -0.1)
    for name in ("de", "it"):
        ablated = hurt(ablated, language(corpus, classes, name), -0.5)
    assert not own_against_others(row_losses(clean, ablated, corpus, classes), "fr").holds


def test_sums_of_rows_and_means_of_predictions_may_differ() -> None:
    rows = pd.DataFrame(
        {
            "document": [0, 1, 2, 3],
            "class": ["a", "a", "b", "b"],
            "predictions": [2, 2, 100, 100],
            "loss_increase": [1.0, 1.0, 2.0, 2.0],
        }
    )
    assert own_against_others(rows, "a").holds
    assert not own_against_others(rows, "a", per="row").holds
    with pytest.raises(OptionError, match="per"):
        own_against_others(rows, "a", per="token")


def test_random_effects_are_rarely_above_five_times_the_others() -> None:
    held = []
    for seed in range(30):
        clean, ablated, corpus, classes = runs(seed, documents=16)
        rows = row_losses(clean, ablated, corpus, classes)
        held.append(own_against_others(rows, "fr", draws=20).holds)
    assert sum(held) < 12  # three of five would be found, if it were six of ten


def test_without_own_rows_or_others_there_is_no_contrast() -> None:
    clean, ablated, corpus, classes = runs()
    rows = row_losses(clean, ablated, corpus, classes)
    for frame, own in ((rows, "nl"), (rows[rows["class"] == "fr"], "fr")):
        found = own_against_others(frame, own)
        assert np.isnan(found.margin)
        assert not found.holds
    alone = rows[(rows["class"] != "fr") | (rows["document"] == rows["document"].min())]
    assert np.isnan(own_against_others(alone, "fr").low)  # one document has no interval
    row = class_losses(alone, "fr").set_index("class").loc["fr"]
    assert row["documents"] == 1
    assert np.isnan(row["loss_increase_low"])


def test_published_losses_were_half_precision_and_counted_bos() -> None:
    clean, ablated, corpus, classes = runs()
    clean = dataclasses.replace(clean, loss=clean.loss.clone())
    clean.loss[corpus.offsets[0]] = 1000.0  # at BOS, where fixed does not look
    fixed = row_losses(clean, ablated, corpus, classes)
    published = row_losses(clean, ablated, corpus, classes, convention="as_published")
    assert (published["predictions"] == fixed["predictions"] + 1).all()
    start, end = int(corpus.offsets[0]), int(corpus.offsets[1]) - 1
    stored = [run.loss[start:end].clamp(1e-8, 100).half().double() for run in (clean, ablated)]
    assert published["loss_increase"][0] == pytest.approx(float((stored[1] - stored[0]).sum()), abs=1e-9)
    assert float(stored[0][0]) == 100
    with_first = row_losses(clean, ablated, corpus, classes, include_first=True)
    assert (with_first["predictions"] == published["predictions"]).all()
    assert not np.allclose(with_first["loss_increase"], published["loss_increase"])


def test_what_does_not_fit_is_refused() -> None:
    clean, ablated, corpus, classes = runs()
    with pytest.raises(OptionError, match="convention"):
        row_losses(clean, ablated, corpus, classes, convention="old")
    with pytest.raises(ProbeError, match="rows have a class"):
        row_losses(clean, ablated, corpus, TextClasses(classes.names, classes.row[2:]))
