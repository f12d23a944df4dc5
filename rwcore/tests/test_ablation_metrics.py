"""Loss, entropy, rank and scale of live models against the full softmax and a full sort."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.tiny import build, local_model
from rwcore.ablation.head import PUBLISHED_EPSILON, Unembedding, predictions
from rwcore.ablation.metrics import MetricsRecorder, next_tokens, run_to_the_end
from rwcore.ablation.run_metrics import RunMetrics
from rwcore.corpora.batches import batches
from rwcore.errors import ModelError
from rwcore.models.load import load_bridge
from rwcore.tests.corpus_makers import rows_corpus
from rwcore.tests.pass_makers import random_corpus

CORPUS = random_corpus(rows=20, seed=11)


@pytest.fixture(scope="module", params=["llama", "olmo", "gemma2"])
def bridge(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return load_bridge(local_model(build(request.param, tmp_path_factory.mktemp(request.param))))


def recorded(bridge: Any, budget: int, **options: float) -> RunMetrics:
    recorder = MetricsRecorder(CORPUS)
    for plan in batches(CORPUS, token_budget=budget):
        recorder.add(bridge, plan.load(CORPUS), **options)
    return recorder.metrics


def direct(bridge: Any) -> dict[str, torch.Tensor]:
    """Row by row, from all logits in float64."""
    found: dict[str, list[torch.Tensor]] = {"loss": [], "entropy": [], "rank": []}
    for row in range(len(CORPUS)):
        tokens = CORPUS.row(row).long()
        with torch.no_grad():
            logits = bridge(tokens[None], use_cache=False)[0].double()
        logp = logits.log_softmax(dim=-1)
        found["entropy"].append(-(logp.exp() * logp).sum(dim=-1))
        loss = torch.full((len(tokens),), torch.nan, dtype=torch.float64)
        loss[:-1] = -logp[:-1].gather(1, tokens[1:, None])[:, 0]
        found["loss"].append(loss)
        order = logits.argsort(dim=-1, descending=True)
        rank = torch.full((len(tokens),), -1)
        rank[:-1] = (order[:-1] == tokens[1:, None]).int().argmax(dim=-1)
        found["rank"].append(rank)
    return {name: torch.cat(values) for name, values in found.items()}


def test_equals_the_full_softmax_and_a_full_sort(bridge: Any) -> None:
    found, expected = recorded(bridge, 64), direct(bridge)
    torch.testing.assert_close(found.loss.double(), expected["loss"], rtol=1e-5, atol=1e-5, equal_nan=True)
    torch.testing.assert_close(found.entropy.double(), expected["entropy"], rtol=1e-5, atol=1e-5)
    assert torch.equal(found.rank.long(), expected["rank"])
    found.require_fit(CORPUS)


def test_batches_and_padding_do_not_matter(bridge: Any) -> None:
    """I6: another budget makes other batches, with other padding."""
    alone, together = recorded(bridge, 1), recorded(bridge, 4096)
    for name in ("loss", "entropy", "scale"):
        one, other = getattr(alone, name), getattr(together, name)
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5, equal_nan=True)
    assert torch.equal(alone.rank, together.rank)


def test_the_scale_is_the_denominator_of_the_final_norm(bridge: Any) -> None:
    (plan, *_) = batches(CORPUS, token_budget=64)
    batch = plan.load(CORPUS)
    seen = {}
    hook = ("ln_final.hook_in", lambda values, hook: seen.update(stream=values))
    options = {"attention_mask": batch.mask.long(), "use_cache": False}
    with torch.no_grad():
        bridge.run_with_hooks(batch.tokens, fwd_hooks=[hook], **options)
    stream = seen["stream"]
    if bridge.cfg.normalization_type.startswith("LN"):
        stream = stream - stream.mean(dim=-1, keepdim=True)
    expected = (stream.square().mean(dim=-1) + bridge.cfg.eps).sqrt()
    scale = run_to_the_end(bridge, batch).scale
    torch.testing.assert_close(scale[batch.mask], expected[batch.mask], rtol=1e-5, atol=1e-6)


def test_the_published_entropy_is_lower(bridge: Any) -> None:
    plain, published = recorded(bridge, 64), recorded(bridge, 64, epsilon=PUBLISHED_EPSILON)
    assert torch.equal(plain.loss.nan_to_num(), published.loss.nan_to_num())
    difference = plain.entropy - published.entropy
    assert bool((difference > -1e-6).all())
    assert float(difference.max()) < 1e-4


def test_the_next_token_of_a_row_is_never_padding() -> None:
    corpus = rows_corpus([[5, 6, 7], [8, 9]])
    (plan,) = batches(corpus, token_budget=64)
    assert next_tokens(plan.load(corpus, pad_id=3)).tolist() == [[6, 7, -1], [9, -1, -1]]


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 1000),
    st.integers(1, 9),
    st.integers(2, 40),
    st.sampled_from([None, 2.5]),
    st.integers(1, 200),
)
def test_tiles_do_not_matter(seed: int, tokens: int, vocab: int, cap: float | None, tile: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(tokens, 6, generator=generator)
    # Halves: ties among logits.
    weight = (torch.randn(vocab, 6, generator=generator) * 2).round() / 2
    weight[vocab // 2 :] = weight[: vocab - vocab // 2].clone()
    targets = torch.randint(-1, vocab, (tokens,), generator=generator)
    unembedding = Unembedding(weight, torch.zeros(vocab), cap)
    whole = predictions(hidden, targets, unembedding, tile=tokens * vocab)
    parts = predictions(hidden, targets, unembedding, tile=tile)
    torch.testing.assert_close(parts.loss, whole.loss, rtol=1e-5, atol=1e-5, equal_nan=True)
    torch.testing.assert_close(parts.entropy, whole.entropy, rtol=1e-5, atol=1e-5)
    logits = torch.nn.functional.linear(hidden, weight)
    if cap:
        logits = cap * torch.tanh(logits / cap)
    for place, target in enumerate(targets.tolist()):
        if target < 0:
            assert int(whole.rank[place]) == -1
            assert whole.loss[place].isnan()
            continue
        # Logits that differ by rounding only may count or not.
        larger = int((logits[place] > logits[place, target] + 1e-5).sum())
        not_smaller = int((logits[place] >= logits[place, target] - 1e-5).sum())
        assert larger <= int(whole.rank[place]) < not_smaller
        assert int(whole.rank[place]) == pytest.approx(int(parts.rank[place]), abs=not_smaller - larger)


def test_a_sure_prediction_has_the_digits_of_its_small_entropy() -> None:
    weight = torch.tensor([[30.0], [0.0], [-torch.inf]])
    found = predictions(torch.ones(1, 1), torch.tensor([0]), Unembedding(weight, None, None))
    share = torch.tensor(30.0, dtype=torch.float64).neg().exp()
    expected = float(share * 30 + share)  # to first order
    assert float(found.entropy) == pytest.approx(expected, rel=1e-5)
    assert int(found.rank) == 0


def test_no_tokens_give_no_predictions() -> None:
    found = predictions(
        torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), Unembedding(torch.ones(3, 4), None, None)
    )
    assert len(found.loss) == len(found.rank) == 0


def test_a_prediction_that_is_not_finite_is_located(tmp_path: Path) -> None:
    broken = load_bridge(local_model(build("llama", tmp_path / "llama")))
    odd = int(CORPUS.row(7)[1])
    with torch.no_grad():
        broken.embed.weight[odd] = torch.inf
    with pytest.raises(ModelError, match="not finite") as caught:
        recorded(broken, 64)
    where = str(caught.value.where)
    row = int(where.partition("(row ")[2].partition(")")[0])
    assert odd in CORPUS.row(row).tolist()
    assert f"document {int(CORPUS.document[row])} of rows" in where
