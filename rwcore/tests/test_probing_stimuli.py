"""Tokens and n-grams that excite a neuron: slow references and planted stimuli."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch

from rwcore.corpora.tokens import TokenCorpus
from rwcore.errors import OptionError
from rwcore.probing.errors import ProbeError
from rwcore.probing.stimuli import (
    choose_tokens,
    distinct_groups,
    exciting_tokens,
    prefix_groups,
    share_above,
    token_summary,
    top_tokens,
)
from rwcore.tests.corpus_makers import rows_corpus

VOCAB = 12
STRINGS = dict(enumerate([" a", " b", "c", "dé", "e1", ",", " g ", "h", "i", "j", "k", "\n"]))


def placed(rows: int = 60, seed: int = 0) -> tuple[TokenCorpus, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    tokens = [torch.randint(0, VOCAB, (20,), generator=generator).tolist() for _ in range(rows)]
    corpus = rows_corpus(tokens)
    return corpus, torch.randn(corpus.n_tokens, generator=generator)


def test_token_summary_is_that_of_each_token_alone() -> None:
    corpus, values = placed()
    values[::7] = torch.nan
    where = torch.arange(corpus.n_tokens) % 3 > 0
    table = token_summary(values, corpus, where=where).set_index("token")
    assert table.index.tolist() == list(range(VOCAB))
    for token in range(VOCAB):
        alone = values[(corpus.tokens == token) & where & ~values.isnan()].double().numpy()
        row = table.loc[token]
        expected = [len(alone), alone.mean(), alone.std(), *np.quantile(alone, [0, 0.25, 0.5, 0.75, 1])]
        found = row[["count", "mean", "std", "min", "q1", "median", "q3", "max"]]
        np.testing.assert_allclose(found.to_numpy(float), expected)


def test_exciting_tokens_are_words_that_are_seen_often() -> None:
    corpus, values = placed()
    for token, more in ((0, 3.0), (3, 2.0), (4, 9.0), (5, 9.0), (11, 9.0)):  # 4, 5 and 11 are no words
        values[corpus.tokens == token] += more
    rare = (corpus.tokens == 8).nonzero()[:, 0]
    values[rare] += 5
    where = torch.ones(corpus.n_tokens, dtype=torch.bool)
    where[rare[10:]] = False
    summary = token_summary(values, corpus, where=where)
    found = exciting_tokens(summary, STRINGS, top=2)
    assert found["token"].tolist() == [0, 3]
    assert found["text"].tolist() == [" a", "dé"]
    assert exciting_tokens(summary, STRINGS, seen=9, top=1)["token"].tolist() == [8]
    assert exciting_tokens(summary, STRINGS, by="count", top=99)["count"].is_monotonic_decreasing
    with pytest.raises(OptionError, match="top"):
        exciting_tokens(summary, STRINGS, top=0)


def test_bytes_that_are_no_character_are_no_words() -> None:
    corpus, values = placed()
    summary = token_summary(values, corpus)
    strings = {**STRINGS, 0: "\udce2", 1: "a\udce2"}
    assert not {0, 1} & {*exciting_tokens(summary, strings, top=99)["token"]}
    assert not {0, 1} & {*choose_tokens(summary, strings)["token"]}


def test_tokens_that_are_sometimes_high_are_chosen() -> None:
    corpus, values = placed(200)
    values *= 0.1
    always, sometimes, spread = ((corpus.tokens == token).nonzero()[:, 0] for token in (1, 2, 7))
    values[always] += 5
    values[sometimes[:3]] += 4
    values[spread] *= 20
    summary = token_summary(values, corpus)
    found = choose_tokens(summary, STRINGS, candidates=4, chosen=1).set_index("token")
    assert {*found.index} == {2, 7}
    assert found["by_std"].to_dict() == {7: True, 2: False}
    assert found["by_gap"].to_dict() == {7: False, 2: True}
    assert 1 not in choose_tokens(summary, STRINGS, candidates=4, chosen=2).loc[:, "token"].tolist()
    # The candidates are those with the largest maximum.
    assert choose_tokens(summary, STRINGS, candidates=1, chosen=3)["token"].tolist() == [
        int(summary[summary["token"].isin([0, 1, 2, 3, 7, 8, 9, 10])].set_index("token")["max"].idxmax())
    ]


def test_prefixes_are_found_within_rows_and_in_order() -> None:
    corpus, values = placed(300, seed=3)
    token = 5
    groups: dict[tuple[int, ...], list[float]] = {}
    for row in range(len(corpus)):
        ids, start = corpus.row(row).tolist(), int(corpus.offsets[row])
        for position in range(2, len(ids)):
            if ids[position] == token:
                groups.setdefault(tuple(ids[position - 2 : position]), []).append(
                    float(values[start + position])
                )
    kept = {prefix: found for prefix, found in groups.items() if len(found) >= 3}
    table = prefix_groups(values, corpus, token, lengths=[2], top=10**6)
    assert {*table["prefix"]} == {*kept}
    for row in table.to_dict("records"):
        alone = np.array(kept[row["prefix"]])
        assert (row["token"], row["length"], row["count"]) == (token, 2, len(alone))
        np.testing.assert_allclose([row["mean"], row["max"]], [alone.mean(), alone.max()], atol=1e-6)
    assert table["max"].is_monotonic_decreasing
    assert prefix_groups(values, corpus, token, lengths=[2], top=4).equals(table.head(4))


def test_a_planted_ngram_comes_first_for_each_length() -> None:
    corpus, values = placed(300, seed=4)
    tokens = corpus.tokens.tolist()
    for row in range(0, 40):
        start = int(corpus.offsets[row])
        corpus.tokens[start + 5 : start + 9] = torch.tensor([9, 10, 8, 2], dtype=torch.int32)
        values[start + 8] = 9 + 0.01 * row
    assert corpus.tokens.tolist() != tokens
    table = prefix_groups(values, corpus, 2)
    best = table.groupby("length", sort=True).first()
    assert best["prefix"].tolist() == [(8,), (10, 8), (9, 10, 8)]
    assert best["count"].tolist()[2] == 40
    assert best["median"][3] == pytest.approx(9.195, abs=1e-5)
    assert (table.groupby("length").size() <= 10).all()


def test_no_group_is_an_empty_table_with_its_columns() -> None:
    corpus, values = placed(2)
    table = prefix_groups(values, corpus, 99)
    assert len(table) == 0
    assert table.columns.tolist()[:4] == ["token", "length", "prefix", "count"]
    with pytest.raises(OptionError, match="lengths"):
        prefix_groups(values, corpus, 2, lengths=[0])


def test_the_share_above_a_threshold_counts_what_exceeds_it() -> None:
    values = torch.tensor([0.0, 2.0, 2.5, torch.nan, 9.0])
    assert share_above(values, 2.0) == 0.5
    assert share_above(values, 2.0, where=torch.tensor([True, True, False, True, True])) == pytest.approx(
        1 / 3
    )
    assert math.isnan(share_above(values, 2.0, where=torch.zeros(5, dtype=torch.bool)))


def test_values_of_another_corpus_are_refused() -> None:
    corpus, values = placed()
    for function in (lambda: token_summary(values[1:], corpus), lambda: prefix_groups(values[1:], corpus, 2)):
        with pytest.raises(ProbeError, match="values are given"):
            function()


def test_of_nested_groups_the_higher_one_stays() -> None:
    prefixes = [(5,), (4, 5), (3, 4, 5), (9,), (8, 9), (7,)]
    groups = pd.DataFrame(
        {
            "prefix": pd.Series(prefixes, dtype=object),
            "length": [len(prefix) for prefix in prefixes],
            "mean": [1.0, 3.0, 2.0, 2.5, 2.5, 0.5],
        }
    )
    assert distinct_groups(groups, 9)["prefix"].tolist() == [(4, 5), (9,), (7,)]
    assert distinct_groups(groups, 2)["prefix"].tolist() == [(4, 5), (9,)]
    assert len(distinct_groups(groups.head(0), 2)) == 0


def test_top_tokens_are_counted_and_compared_with_chance() -> None:
    corpus, values = placed(rows=100)  # 2,000 tokens: 20 places
    values[:] = 0
    places = (corpus.tokens == 3).nonzero()[:12, 0], (corpus.tokens == 7).nonzero()[:8, 0]
    for place in places:
        values[place] = 5
    found = top_tokens(values, corpus)
    assert (found.places, found.tokens, found.half) == (20, 2, 1)
    values[places[0][:4]] = -1
    values[(corpus.tokens == 9).nonzero()[:4, 0]] = 4
    assert (top_tokens(values, corpus).tokens, top_tokens(values, corpus).half) == (3, 2)
    where = corpus.tokens != 7
    assert top_tokens(values, corpus, where=where).tokens == len({3, 9, *_earliest(values, corpus, where)})


def _earliest(values: torch.Tensor, corpus: TokenCorpus, where: torch.Tensor) -> list[int]:
    """Tokens of the places that fill the rest: of equal values the earlier ones."""
    places = math.ceil(0.01 * int(where.sum()))
    high = int((where & (values > 0)).sum())
    rest = (where & (values == 0)).nonzero()[: places - high, 0]
    return corpus.tokens[rest].tolist()


@pytest.mark.parametrize("share", [0.01, 0.2, 1.0])
def test_tokens_by_chance_are_the_mean_over_draws(share: float) -> None:
    corpus, values = placed(rows=10, seed=3)
    found = top_tokens(values, corpus, share=share)
    generator = np.random.default_rng(0)
    ids = corpus.tokens.numpy()
    drawn = [len({*generator.choice(ids, found.places, replace=False).tolist()}) for _ in range(3000)]
    assert found.by_chance == pytest.approx(np.mean(drawn), abs=0.05)
    assert found.tokens == len({*ids[np.argsort(-values.numpy())[: found.places]].tolist()})
