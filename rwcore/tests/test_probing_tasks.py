"""Tasks of a data set: one split for all features, no text on two sides, and what is left out."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from sklearn.model_selection import train_test_split
from torch import Tensor

from rwcore.errors import OptionError
from rwcore.probing.datasets.features import NONE, Feature, FeatureDataset
from rwcore.probing.duplicates import refuse_duplicates
from rwcore.probing.errors import ProbeError
from rwcore.probing.tasks import labelled_rows, probe_tasks
from rwcore.tests.corpus_makers import rows_corpus
from rwcore.tests.probing_layers import planted_layer

ROWS, WIDTH = 60, 6


def dataset(*, repeated: int = 0) -> FeatureDataset:
    """Examples are tokens 2 … of each row, a row is a document; the first rows have one text, if repeated."""
    generator = torch.Generator().manual_seed(3)
    tokens = torch.randint(0, 50, (ROWS, WIDTH), generator=generator)
    tokens[:repeated] = tokens[0].clone()
    corpus = rows_corpus(tokens.tolist())
    token = (torch.arange(ROWS * WIDTH) % WIDTH >= 2).nonzero()[:, 0]
    group = token // WIDTH
    label = tokens.reshape(-1)[token] % 2 == 0
    every = torch.arange(len(token))
    half = every[::2]
    rare = group == 7
    features = (
        Feature("even", "number", every, label),
        Feature("even, half", "number", half, label[half]),
        Feature("row 7", "row", every, rare),
    )
    return FeatureDataset("tokens", corpus, NONE, token, None, features, group)


def parts_of(data: FeatureDataset, tasks: list, example: int) -> set[str]:
    """The parts that an example is in, over all tasks."""
    return {
        part
        for task in tasks
        for part, places in task.split.parts().items()
        if bool((task.example[places] == example).any())
    }


def test_all_features_share_one_split_and_what_has_one_class_is_left_out_and_said() -> None:
    data = dataset()
    tasks, unsplit = probe_tasks(data)
    assert [task.name for task in tasks] == ["even", "even, half"]
    assert [(one.name, one.family, one.positives, one.negatives) for one in unsplit] == [
        ("row 7", "row", 4, 236)
    ]
    assert unsplit[0].documents == 1
    assert "row 7" in unsplit[0].why
    assert "0 of" in unsplit[0].why
    for example in range(len(data)):
        assert len(parts_of(data, tasks, example)) == 1
    for task in tasks:
        feature = data.feature(task.name)
        assert torch.equal(task.example, feature.example)
        assert torch.equal(task.label, feature.label)
        places = torch.cat(list(task.split.parts().values()))
        assert places.sort().values.tolist() == list(range(len(task.example)))
        shares = [len(part) / len(task.example) for part in task.split.parts().values()]
        assert shares == pytest.approx([0.5, 0.2, 0.3], abs=0.03)


def test_documents_with_one_text_are_one_and_stay_on_one_side() -> None:
    data = dataset(repeated=5)
    tasks, _ = probe_tasks(data)
    first = tasks[0]
    assert torch.unique(first.group[first.example < 5 * (WIDTH - 2)]).tolist() == [0]
    assert len(torch.unique(first.group)) == ROWS - 4
    contexts = data.contexts()
    for task in tasks:
        refuse_duplicates(contexts[task.example], task.split)
    published, _ = probe_tasks(data, convention="as_published")
    with pytest.raises(ProbeError, match="same text"):
        refuse_duplicates(contexts[published[0].example], published[0].split)


def test_seeds_give_different_splits_and_the_same_seed_the_same() -> None:
    data = dataset()

    def train(seed: int | None, convention: str = "fixed") -> list[int]:
        return probe_tasks(data, seed=seed, convention=convention)[0][0].split.train.tolist()

    assert train(0) == train(None)
    assert train(0) != train(1)
    assert train(42, "as_published") == train(None, "as_published") != train(1, "as_published")


def test_as_published_is_the_split_of_scikit_learn_without_validation() -> None:
    data = dataset()
    tasks, unsplit = probe_tasks(data, convention="as_published")
    # Four positives of 240 happen to be on both sides of a split that tears documents apart.
    assert [task.name for task in tasks] + [one.name for one in unsplit] == [
        one.name for one in data.features
    ]
    for task in tasks:
        train, test = train_test_split(torch.arange(len(task.example)), test_size=0.3, random_state=42)
        assert task.split.train.tolist() == train.tolist()
        assert task.split.test.tolist() == test.tolist()
        assert len(task.split.validation) == 0


def test_an_unknown_convention_is_refused() -> None:
    with pytest.raises(OptionError, match="'published'"):
        probe_tasks(dataset(), convention="published")


def test_labelled_rows_are_each_example_once() -> None:
    x, tasks = planted_layer(labelled=0.4)
    rows = labelled_rows(x, tasks)
    for task, places in zip(tasks, rows.places, strict=True):
        assert torch.equal(rows.x[places], x[task.example])
    assert len(rows.x) == len({int(one) for task in tasks for one in task.example}) < len(x)
    wanted: Tensor = torch.cat([task.example[task.split.train] for task in tasks]).sort().values.unique()
    assert torch.equal(rows.x[rows.train], x[wanted])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_activations_that_are_not_finite_are_named(value: float) -> None:
    x, tasks = planted_layer()
    only_second = sorted(set(tasks[1].example.tolist()) - set(tasks[0].example.tolist()))[0]
    x[only_second, 5] = value
    with pytest.raises(ProbeError, match=f"neuron 5 at example {only_second} is not finite") as caught:
        labelled_rows(x, tasks)
    assert caught.value.where == "planted, feature 1"
    unlabelled = sorted(set(range(len(x))) - {int(one) for task in tasks for one in task.example})[0]
    x[only_second, 5], x[unlabelled, 5] = 0, value
    labelled_rows(x, tasks)


def test_rows_of_other_data_sets_are_refused() -> None:
    x, tasks = planted_layer()
    with pytest.raises(OptionError, match="0 data sets"):
        labelled_rows(x, [])
    with pytest.raises(OptionError, match="other, planted"):
        labelled_rows(x, [tasks[0], replace(tasks[1], dataset="other")])
    with pytest.raises(ProbeError, match="10 examples"):
        labelled_rows(x[:10], tasks)
