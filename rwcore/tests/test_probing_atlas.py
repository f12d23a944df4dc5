"""The atlas of a layer: columns against one neuron at a time, planted neurons, and what must not matter."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import f_oneway
from torch import Tensor

from rwcore.errors import OptionError
from rwcore.probing import atlas
from rwcore.probing.atlas import COLUMNS, LayerAtlas, layer_atlas
from rwcore.probing.codes import CodeBook, code_book, published_code_book
from rwcore.probing.errors import ProbeError
from rwcore.probing.newton import fit_rows
from rwcore.probing.scores import scores
from rwcore.probing.tasks import ProbeTask
from rwcore.tests.probing_layers import planted_layer, planted_neuron


def book_of(x: Tensor, tasks: list[ProbeTask], codes: str) -> CodeBook:
    """The codes that the head of the module says: of training examples, or as published of all."""
    if codes == "uniform":
        return published_code_book(x[torch.unique(torch.cat([task.example for task in tasks]))].float())
    train = torch.unique(torch.cat([task.example[task.split.train] for task in tasks]))
    return code_book(x[train].float())


@pytest.fixture(scope="module", params=["companded", "uniform"])
def probed(request: pytest.FixtureRequest) -> tuple[Tensor, Tensor, list[ProbeTask], LayerAtlas]:
    """Activations, what codes restore of them, tasks, atlas."""
    codes: str = request.param
    x, tasks = planted_layer(published=codes == "uniform")
    book = book_of(x, tasks, codes)
    return x, book.restore(book.encode(x.float())), tasks, layer_atlas(x, tasks, codes=codes)


def each_feature(tasks: list[ProbeTask], found: LayerAtlas) -> Iterator[tuple[ProbeTask, dict[str, Tensor]]]:
    for number, task in enumerate(tasks):
        yield task, {name: column[number] for name, column in found.columns.items()}


def test_the_columns_are_those_that_were_promised(probed) -> None:
    x, _, tasks, found = probed
    assert tuple(found.columns) == COLUMNS
    for column in found.columns.values():
        assert column.shape == (len(tasks), x.shape[1])
        assert column.dtype == torch.float32


def test_probes_are_those_of_the_restored_activations(probed) -> None:
    _, restored, tasks, found = probed
    for task, columns in each_feature(tasks, found):
        train = task.split.train
        wanted = fit_rows(restored[task.example[train]], task.label[train])
        for name in ("weight", "intercept", "scale"):
            torch.testing.assert_close(columns[name].double(), getattr(wanted, name), rtol=1e-3, atol=1e-4)


def test_scores_are_those_of_the_probes_one_neuron_at_a_time(probed) -> None:
    _, restored, tasks, found = probed
    for task, columns in each_feature(tasks, found):
        train = task.split.train
        probes = fit_rows(restored[task.example[train]], task.label[train])
        decided = probes.decide(restored[task.example].T.double())
        for part, names in atlas.JUDGED.items():
            places = getattr(task.split, part)
            for neuron in range(len(probes)):
                wanted = scores(task.label[places], decided[neuron, places])
                for name in names:
                    value = float(columns[f"{part}_{name}"][neuron])
                    if len(places):
                        assert value == pytest.approx(wanted[name], abs=1e-3)
                    else:
                        assert np.isnan(value)


def test_statistics_are_those_of_scipy_on_the_activations_as_they_are(probed) -> None:
    x, _, tasks, found = probed
    for task, columns in each_feature(tasks, found):
        train = task.split.train
        rows, label = x[task.example[train]].double().numpy(), task.label[train].numpy()
        wanted = f_oneway(rows[label], rows[~label])
        np.testing.assert_allclose(columns["f_stat"], wanted.statistic, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(columns["p"], wanted.pvalue, rtol=2e-2, atol=1e-38)
        difference = (rows[label].mean(0) - rows[~label].mean(0)) / (10 * rows.std(0))
        np.testing.assert_allclose(columns["mean_dif"], difference, rtol=1e-3, atol=1e-6)
        assert (columns["mean_dif"].sign() == columns["weight"].sign()).double().mean() > 0.8


def test_each_feature_finds_its_planted_neuron(probed) -> None:
    _, _, tasks, found = probed
    for number in range(len(tasks)):
        for column in ("mean_dif", "f_stat", "mi", "test_mcc", "test_roc_auc"):
            assert int(found.columns[column][number].argmax()) == planted_neuron(number)
        assert float(found.columns["test_mcc"][number, planted_neuron(number)]) > 0.6
        assert int(found.best(5)[number, 0]) == planted_neuron(number)


def test_the_best_neurons_are_in_order_of_magnitude() -> None:
    table = torch.tensor([[0.5, -3.0, 2.0, torch.nan], [1.0, 1.0, -1.0, 0.0]])
    assert LayerAtlas({"mean_dif": table, "mi": -table}).best(3).tolist() == [[1, 2, 0], [0, 1, 2]]
    assert LayerAtlas({"mi": table}).best(9, column="mi").tolist() == [[1, 2, 0, 3], [0, 1, 2, 3]]


def test_nothing_of_validation_and_test_is_in_codes_probes_or_statistics() -> None:
    """Activations of the two may be anything: what training found stays the same, to the bit."""
    x, tasks = planted_layer(labelled=1.0)
    changed = x.clone()
    for part in (tasks[0].split.validation, tasks[0].split.test):
        changed[tasks[0].example[part]] = 1000
    one, other = layer_atlas(x, tasks), layer_atlas(changed, tasks)
    for name in (*atlas.STATISTICS, *atlas.PROBES):
        assert torch.equal(one.columns[name], other.columns[name])
    assert not torch.equal(one.columns["test_mcc"], other.columns["test_mcc"])


def test_blocks_of_neurons_and_other_features_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    x, tasks = planted_layer(neurons=40, labelled=1.0)
    whole = layer_atlas(x, tasks)
    monkeypatch.setattr(atlas, "_BLOCK", 7)
    pieces, alone = layer_atlas(x, tasks), layer_atlas(x, tasks[1:2])
    for name, column in whole.columns.items():
        torch.testing.assert_close(pieces.columns[name], column, rtol=1e-5, atol=1e-7)
        torch.testing.assert_close(alone.columns[name][0], column[1], rtol=1e-5, atol=1e-7)


def test_the_number_of_threads_is_left_as_it_was() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        layer_atlas(*planted_layer(examples=100, neurons=8))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_dead_and_constant_neurons_know_nothing() -> None:
    x, tasks = planted_layer()
    x[:, 20], x[:, 21] = 0, -0.17
    found = layer_atlas(x, tasks)
    for number, name in ((20, "dead"), (21, "constant")):
        columns = {key: column[:, number] for key, column in found.columns.items()}
        assert all(torch.isfinite(column).all() for column in columns.values()), name
        assert not any(columns[key].any() for key in ("mean_dif", "f_stat", "mi", "weight", "test_mcc"))
        assert columns["p"].eq(1).all()
        assert columns["test_roc_auc"].eq(0.5).all()


def test_a_neuron_far_from_zero_keeps_its_statistics() -> None:
    """Its variance is a millionth of its square; the first neuron is moved as far as float16 lets it."""
    x, tasks = planted_layer(neurons=8)
    moved = x.clone()
    moved[:, 1] = 1000 + (x[:, 1] * 4).round()
    one = layer_atlas(moved, tasks).columns
    moved[:, 1] -= 1000
    other = layer_atlas(moved, tasks).columns
    for name in ("mean_dif", "f_stat"):
        torch.testing.assert_close(one[name][:, 1], other[name][:, 1], rtol=1e-3, atol=1e-4)


def test_shuffled_labels_leave_nothing_for_the_best_neuron() -> None:
    x, tasks = planted_layer(examples=3000, neurons=200, features=2)
    generator = torch.Generator().manual_seed(9)
    mixed = [
        replace(task, label=task.label[torch.randperm(len(task.label), generator=generator)])
        for task in tasks
    ]
    for wanted, these in ((0.8, tasks), (None, mixed)):
        columns = layer_atlas(x, these).columns
        best = columns["validation_mcc"].argmax(1, keepdim=True)
        test = columns["test_mcc"].gather(1, best)
        assert (test > wanted).all() if wanted else (test.abs() < 0.12).all()


def test_what_cannot_be_probed_is_refused() -> None:
    x, tasks = planted_layer()
    with pytest.raises(OptionError, match="'fine'"):
        layer_atlas(x, tasks, codes="fine")
    x[tasks[0].example[3], 2] = torch.nan
    with pytest.raises(ProbeError, match="neuron 2 at example") as caught:
        layer_atlas(x, tasks)
    assert "feature 0" in str(caught.value)
