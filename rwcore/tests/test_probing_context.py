"""Classes of text, and what a neuron does in them: slow references and planted values."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rwcore.corpora.tokens import TokenCorpus
from rwcore.errors import OptionError
from rwcore.probing.context import class_histogram, class_summary, row_summary, token_disambiguation
from rwcore.probing.datasets.features import MEAN, NONE, Feature, FeatureDataset
from rwcore.probing.errors import ProbeError
from rwcore.probing.text_classes import (
    UNLABELLED,
    TextClasses,
    classes_of_documents,
    classes_of_features,
)
from rwcore.tests.corpus_makers import rows_corpus
from rwcore.tests.planted_contexts import planted_text


def placed(seed: int = 0) -> tuple[TokenCorpus, TextClasses, dict[str, torch.Tensor]]:
    corpus, classes = planted_text(24, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    values = {name: torch.randn(corpus.n_tokens, generator=generator) for name in ("pre", "post")}
    return corpus, classes, values


def tokens_by_class(corpus: TokenCorpus, classes: TextClasses, first: int) -> dict[str, list[int]]:
    """Places of the tokens that count, token by token."""
    found: dict[str, list[int]] = {name: [] for name in classes.names}
    for row in range(len(corpus)):
        number = int(classes.row[row])
        for position in range(int(corpus.lengths[row])):
            if number != UNLABELLED and position >= first:
                found[classes.names[number]].append(int(corpus.offsets[row]) + position)
    return found


@pytest.mark.parametrize("first", [0, 1, 7])
def test_class_summary_counts_the_tokens_of_each_class(first: int) -> None:
    corpus, classes, values = placed()
    table = class_summary(values, corpus, classes, first=first).set_index(["quantity", "class"])
    assert len(table) == 6
    for name, places in tokens_by_class(corpus, classes, first).items():
        for quantity in values:
            alone = values[quantity][places].double().numpy()
            row = table.loc[(quantity, name)]
            assert row["count"] == len(places)
            assert row["rows"] == 12
            np.testing.assert_allclose(
                [row["mean"], row["median"], row["p95"]],
                [alone.mean(), np.median(alone), np.quantile(alone, 0.95)],
            )


def test_histograms_hold_every_token_once() -> None:
    corpus, classes, values = placed()
    table = class_histogram(values, corpus, classes, "de", bins=7)
    places = tokens_by_class(corpus, classes, 1)
    for quantity, bins in table.groupby("quantity"):
        assert len(bins) == 7
        assert bins["inside"].sum() == len(places["de"])
        assert bins["outside"].sum() == len(places["fr"]) + len(places["it"])
        inside = values[str(quantity)][places["de"]]
        for row in bins.iloc[:-1].to_dict("records"):
            assert row["inside"] == int(((inside >= row["low"]) & (inside < row["high"])).sum())
    with pytest.raises(OptionError, match="bins"):
        class_histogram(values, corpus, classes, "de", bins=0)


def test_rows_have_their_mean_and_maximum() -> None:
    corpus, classes, values = placed()
    table = row_summary(values, corpus, classes)
    found = table[table["quantity"] == "post"]
    labelled = (classes.row != UNLABELLED).nonzero()[:, 0].tolist()
    assert found["row"].tolist() == labelled
    for row in found.to_dict("records"):
        alone = values["post"][corpus.offsets[row["row"]] + 1 : corpus.offsets[row["row"] + 1]].double()
        np.testing.assert_allclose([row["mean"], row["max"]], [alone.mean(), alone.max()])
        assert row["tokens"] == len(alone)
        assert row["document"] == int(corpus.document[row["row"]])
        assert row["class"] == classes.names[int(classes.row[row["row"]])]


def test_the_token_that_means_another_thing_in_context_comes_first() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = [[1, *torch.randint(4, 10, (30,), generator=generator).tolist()] for _ in range(40)]
    corpus = rows_corpus(rows)
    classes = classes_of_documents(corpus, ["fr" if row % 2 else "en" for row in range(40)])
    values = 0.01 * torch.randn(corpus.n_tokens, generator=generator)
    inside = classes.of_tokens(corpus) == classes.place("fr")
    values[(corpus.tokens == 6) & inside] += 2
    values[(corpus.tokens == 8) & ~inside] += 1
    found = token_disambiguation({"pre": values}, corpus, classes, "fr", least=20, top=3)
    assert found["token"].tolist()[:2] == [6, 8]
    assert found["difference"].tolist() == pytest.approx([2, -1, 0], abs=0.02)
    assert found["inside_median"][0] == pytest.approx(2, abs=0.02)
    assert found["outside_p95"][0] == pytest.approx(0, abs=0.05)
    seen = [int(((corpus.tokens == token) & inside).sum()) for token in range(4, 10)]
    rarest = min(seen)
    strict = token_disambiguation({"pre": values}, corpus, classes, "fr", least=rarest, top=9)
    assert 4 + seen.index(rarest) not in strict["token"].tolist()  # more often than that, not as often
    assert len(token_disambiguation({"pre": values}, corpus, classes, "fr", least=10**6)) == 0


def test_classes_of_documents_reach_all_their_rows() -> None:
    corpus = rows_corpus([[1, 2]] * 5, [0, 0, 2, 3, 3])
    classes = classes_of_documents(corpus, ["b", "x", None, "a"])
    assert classes.names == ("a", "b", "x")
    assert classes.row.tolist() == [1, 1, UNLABELLED, 0, 0]
    with pytest.raises(ProbeError, match="labels of 3 documents"):
        classes_of_documents(corpus, ["b", "x", None])


def features(*labels: tuple[str, list[int], list[bool]]) -> tuple[Feature, ...]:
    return tuple(
        Feature(name, "language", torch.tensor(example), torch.tensor(label))
        for name, example, label in labels
    )


def test_classes_of_features_of_rows_and_of_tokens() -> None:
    corpus = rows_corpus([[1, 5, 6], [1, 7, 8], [1, 9, 9]])
    of_rows = features(("fr", [0, 1], [True, False]), ("de", [0, 2], [False, True]))
    valid = torch.ones(9, dtype=torch.bool)
    data = FeatureDataset("rows", corpus, MEAN, None, valid, of_rows, corpus.document)
    assert classes_of_features(data).row.tolist() == [0, UNLABELLED, 1]
    assert classes_of_features(data, ["de"]).row.tolist() == [UNLABELLED, UNLABELLED, 0]
    token = torch.tensor([1, 2, 4, 7])
    of_tokens = features(("fr", [0, 1, 3], [True, True, False]), ("de", [0, 3], [False, True]))
    data = FeatureDataset("tokens", corpus, NONE, token, None, of_tokens, torch.tensor([0, 0, 1, 2]))
    assert classes_of_features(data).row.tolist() == [0, UNLABELLED, 1]
    both = features(("fr", [0, 3], [True, False]), ("de", [1, 3], [True, False]))
    data = FeatureDataset("both", corpus, NONE, token, None, both, torch.tensor([0, 0, 1, 2]))
    with pytest.raises(ProbeError, match="row 0 has the feature 'de' and the feature 'fr'"):
        classes_of_features(data)
    with pytest.raises(ProbeError, match="no feature 'nl'"):
        classes_of_features(data, ["nl"])


def test_what_does_not_belong_together_is_refused() -> None:
    corpus, classes, values = placed()
    with pytest.raises(ProbeError, match="no class of text 'nl'"):
        class_histogram(values, corpus, classes, "nl")
    with pytest.raises(ProbeError, match="values of pre are given"):
        class_summary({"pre": values["pre"][1:]}, corpus, classes)
    with pytest.raises(ProbeError, match="rows have a class"):
        class_summary(values, corpus, TextClasses(classes.names, classes.row[1:]))
    with pytest.raises(ProbeError, match="none of the 1"):
        TextClasses(("a",), torch.tensor([0, 1]))
    with pytest.raises(ProbeError, match="one name"):
        TextClasses(("a", "a"), torch.tensor([0, 1]))
