"""What is kept of a batch for probes, against the model run one row at a time and against planted numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fixtures.tiny import build, local_model
from rwcore.corpora.batches import Batch, batches
from rwcore.corpora.tokens import TokenCorpus
from rwcore.models.load import load_bridge
from rwcore.probing import capture
from rwcore.probing.capture import pool, run_examples, select
from rwcore.probing.datasets.features import AS_PUBLISHED, FIXED, MAX, MEAN
from rwcore.probing.errors import ProbeError
from rwcore.tests.corpus_makers import rows_corpus
from rwcore.tests.example_makers import row_by_row
from rwcore.tests.pass_makers import random_corpus

CORPUS = random_corpus(rows=12, seed=4)
TOKEN = torch.arange(1, CORPUS.n_tokens, 3)
VALID = torch.ones(CORPUS.n_tokens, dtype=torch.bool)
VALID[CORPUS.offsets[:-1]] = False  # the first token of every row, and there is always a second


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox"])
def test_kept_is_what_one_row_at_a_time_gives(family: str, tmp_path: Path) -> None:
    local = local_model(build(family, tmp_path), id="tiny")
    slow = torch.cat(
        [each[:, 3] for each in row_by_row(local, CORPUS, family)], dim=1
    )  # [layer token neuron]
    chosen = select(CORPUS, [TOKEN], {"average": (MEAN, VALID), "top": (MAX, VALID)}, [0, 2])
    model, seen, rows = load_bridge(local), [], []
    for plan in batches(CORPUS, token_budget=60):
        kept = run_examples(model, plan.load(CORPUS), chosen)
        assert kept["tokens/0"].dtype == kept["rows/top/0"].dtype == torch.float16
        assert not any(name.endswith("/1") for name in kept), "layer 1 was not asked for"
        place, row = kept["tokens/place"], kept["rows/place"]
        seen += place.tolist()
        rows += row.tolist()
        for layer in (0, 2):
            close(kept[f"tokens/{layer}"], slow[layer, place])
            of_row = [slow[layer, CORPUS.offsets[r] + 1 : CORPUS.offsets[r + 1]] for r in row]
            close(kept[f"rows/average/{layer}"], torch.stack([one.mean(dim=0) for one in of_row]))
            close(kept[f"rows/top/{layer}"], torch.stack([one.amax(dim=0) for one in of_row]))
    assert sorted(seen) == TOKEN.tolist(), "every example once, and nothing else"
    assert sorted(rows) == list(range(len(CORPUS)))


def close(kept: Tensor, expected: Tensor) -> None:
    """Equal but for rounding to float16, and the last digits of float32."""
    torch.testing.assert_close(kept.float(), expected, rtol=2**-10, atol=2e-6)


def test_only_rows_with_examples_are_needed_unless_rows_are_examples() -> None:
    first = int(CORPUS.offsets[3])
    twice = [torch.tensor([first, first + 1]), torch.tensor([0, first])]
    chosen = select(CORPUS, twice, {}, [0])
    assert chosen.token.tolist() == [0, first, first + 1], "a token of two data sets once"
    assert chosen.needed.tolist() == [0, 3]
    everything = select(CORPUS, twice, {"top": (MAX, VALID)}, [0])
    assert everything.needed.tolist() == list(range(len(CORPUS)))


@st.composite
def posts(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    batch, pos, neurons = (draw(st.integers(1, 4)) for _ in range(3))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    post = torch.randn(batch, pos, neurons, generator=generator) * 3 - 2
    valid = torch.rand(batch, pos, generator=generator) < 0.5
    valid[torch.arange(batch), torch.randint(pos, (batch,), generator=generator)] = True
    return post, valid


@given(posts())
def test_pooling_is_the_mean_or_maximum_of_the_valid_tokens(given_: tuple[Tensor, Tensor]) -> None:
    post, valid = given_
    for row in range(len(post)):
        ours = post[row][valid[row]]
        torch.testing.assert_close(pool(post, valid, MEAN)[row], ours.mean(dim=0))
        assert torch.equal(pool(post, valid, MAX)[row], ours.amax(dim=0))
        lowest = -torch.inf if bool(valid[row].all()) else -1.0
        published = pool(post, valid, MAX, AS_PUBLISHED)[row]
        assert torch.equal(published, ours.amax(dim=0).clamp(min=lowest))


def test_what_is_not_valid_may_be_anything() -> None:
    post = torch.tensor([1.0, 3.0, torch.nan, torch.inf]).view(1, 4, 1)
    valid = torch.tensor([[True, True, False, False]])
    for convention in (FIXED, AS_PUBLISHED):
        assert pool(post, valid, MEAN, convention).item() == 2
        assert pool(post, valid, MAX, convention).item() == 3


def test_published_means_are_float16_through_and_through() -> None:
    """2048 + 1 is 2048 in float16, and a third of it 682.5, not 683."""
    post, valid = torch.tensor([2048.0, 1.0, 0.0]).view(1, 3, 1), torch.ones(1, 3, dtype=torch.bool)
    assert pool(post, valid, MEAN).item() == 683
    assert pool(post, valid, MEAN, AS_PUBLISHED).item() == 682.5


Planter = Callable[[dict[tuple[int, int, int], float]], TokenCorpus]


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> Planter:
    """A corpus of two rows whose activations are 1 but for some, by (layer, place in the corpus, neuron)."""

    def plant(values: dict[tuple[int, int, int], float]) -> TokenCorpus:
        corpus = rows_corpus([[5, 6, 7], [8, 9]], document=[30, 40])

        def layers(model: object, batch: Batch, visit: Callable[..., None], **options: object) -> None:
            for layer in range(2):
                act = torch.ones(*batch.mask.shape, 4)
                act[~batch.mask] = torch.nan  # padding is nobody's business
                for (where, place, neuron), value in values.items():
                    row = int(place >= 3)
                    at = batch.rows.tolist().index(row)
                    if where == layer:
                        act[at, place - 3 * row, neuron] = value
                visit(layer, act, torch.ones_like(act), act)

        monkeypatch.setattr(capture, "run_layers", layers)
        return corpus

    return plant


@pytest.mark.parametrize(("value", "what", "remedy"), [
    (torch.nan, "an activation is nan", "damaged"),
    (-torch.inf, "an activation is -inf", "damaged"),
    (70_000.0, "is 70000, which is beyond the largest number of float16", "leave out"),
])  # fmt: skip
@pytest.mark.parametrize("aggregation", [None, MEAN, MAX])
def test_values_that_have_no_place_are_located(
    value: float, what: str, remedy: str, aggregation: str | None, planted: Planter
) -> None:
    if aggregation == MAX and value == -torch.inf:
        value, what = torch.inf, "an activation is inf"  # the minimum is no maximum
    scale = 2 if aggregation == MEAN and value == 70_000.0 else 1  # of two tokens, the other 1
    corpus = planted({(1, 4, 2): value * scale - (scale - 1)})
    (plan,) = batches(corpus, token_budget=40)
    valid = torch.ones(5, dtype=torch.bool)
    pooled = {} if aggregation is None else {"some": (aggregation, valid)}
    tokens = [torch.tensor([0, 4])] if aggregation is None else []
    with pytest.raises(ProbeError, match=what) as caught:
        run_examples(torch.nn.Linear(1, 1), plan.load(corpus), select(corpus, tokens, pooled, [0, 1]))
    assert caught.value.where == "layer 1, neuron 2, document 40 of rows (row 1), position 1"
    assert remedy in str(caught.value.remedy)


@pytest.mark.parametrize(("value", "kept"), [(65519.0, 65504.0), (-65519.0, -65504.0)])
def test_what_rounds_to_the_largest_number_is_kept(value: float, kept: float, planted: Planter) -> None:
    corpus = planted({(0, 1, 3): value})
    (plan,) = batches(corpus, token_budget=40)
    found = run_examples(
        torch.nn.Linear(1, 1), plan.load(corpus), select(corpus, [torch.tensor([1])], {}, [0])
    )
    assert found["tokens/0"].tolist() == [[1, 1, 1, kept]]


def test_elsewhere_anything_may_be(planted: Planter) -> None:
    corpus = planted({(0, 1, 3): torch.nan, (1, 4, 0): 1e9})
    (plan,) = batches(corpus, token_budget=40)
    chosen = select(corpus, [torch.tensor([0, 3])], {}, [0, 1])
    found = run_examples(torch.nn.Linear(1, 1), plan.load(corpus), chosen)
    assert bool((found["tokens/1"] == 1).all())
