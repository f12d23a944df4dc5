"""How far a pass depends on how the text is cut up: not at all, or within the bounds of the model's rounding.

The same batches, sharded, merged and resumed in any way: the same bits. Other batches (budget, padding,
order of documents): the model itself computes other last digits, so a token may change its quadrant where
gate or in is that small, and sums and extremes move by as much.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fixtures.tiny import SIZES, build, local_model
from rwcore.activations.accumulate import ActivationAccumulator
from rwcore.activations.artefact import Activations, load, save
from rwcore.activations.capture import run_layers
from rwcore.activations.fixed import from_fixed
from rwcore.activations.groups import GROUPS, group_of
from rwcore.activations.merge import merge
from rwcore.activations.statistics import LayerStatistics
from rwcore.corpora.batches import BatchPlan, batches, shard
from rwcore.corpora.tokens import TokenCorpus
from rwcore.models.load import load_bridge
from rwcore.tests.activation_parts import quadrants, same_all
from rwcore.tests.corpus_makers import rows_corpus

pytestmark = pytest.mark.slow  # all of it together

K = 4
RELATIVE = 1e-5  # of float32 through three layers; float32 has 6e-8
"""Bound: of the largest |gate| or |in| of the layer for quadrants, of Σ|q| for sums."""


def corpus_of(seed: int, rows: int = 30) -> TokenCorpus:
    """Ragged rows; a document has one or two of them."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 49, (rows,), generator=generator).tolist()
    texts = [torch.randint(4, SIZES["vocab"], (length,), generator=generator).tolist() for length in lengths]
    return rows_corpus(texts, [row - row % 7 // 6 for row in range(rows)])


@pytest.fixture(scope="module", params=["llama", "gemma"])
def bridge(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return load_bridge(local_model(build(request.param, tmp_path_factory.mktemp(request.param))))


def run(
    bridge: Any,
    corpus: TokenCorpus,
    plans: Sequence[BatchPlan],
    which: tuple[int, int] = (0, 1),
    state: Activations | None = None,
    spoil: Callable[[Tensor], Tensor] = lambda mask: mask,
) -> Activations:
    """A pass over some batches; ``spoil`` damages the masks that are counted with."""
    if state is None:
        accumulator = ActivationAccumulator(SIZES["layers"], SIZES["d_mlp"], K)
    else:
        accumulator = ActivationAccumulator.resumed(state.layers)
    for plan in plans:
        batch = plan.load(corpus)
        groups = group_of(corpus.document[batch.rows])

        def visit(layer: int, *values: Tensor, batch: Any = batch, groups: Tensor = groups) -> None:
            accumulator.layers[layer].update(*values, spoil(batch.mask), batch.rows, groups)

        run_layers(bridge, batch, visit)
    numbers = tuple(sorted([*(plan.number for plan in plans), *(state.batches if state else ())]))
    rows = [row for plan in plans for row in plan.rows]
    tokens = torch.tensor(state.group_tokens if state else [0] * GROUPS)
    tokens = tokens.index_add(0, group_of(corpus.document[rows]), corpus.lengths[rows])
    made = len(rows) + (state.rows if state else 0)
    return Activations(
        {"model": "tiny"}, (which,), numbers, made, accumulator.statistics(), tuple(tokens.tolist())
    )


# --- the same batches: the same bits ----------------------------------------------------------------------


@pytest.mark.parametrize("of", [2, 5])
def test_shards_merged_in_any_order_are_the_same_bits(bridge: Any, of: int) -> None:
    corpus = corpus_of(1)
    plans = batches(corpus, token_budget=128)
    whole = run(bridge, corpus, plans)
    shards = [run(bridge, corpus, shard(plans, index, of), (index, of)) for index in range(of)]
    for order in (range(of), reversed(range(of)), [*range(1, of), 0]):
        merged = merge(shards[index] for index in order)
        assert same_all(merged, whole)
        assert sum(merged.group_tokens) == merged.tokens == corpus.n_tokens


@pytest.mark.parametrize("stop", [1, 5, 8])
def test_resumed_from_a_checkpoint_it_is_the_same_bits(bridge: Any, stop: int, tmp_path: Path) -> None:
    """Test S6 of the neuroscope specification."""
    corpus = corpus_of(2)
    plans = batches(corpus, token_budget=96)
    assert len(plans) > 8
    save(tmp_path / "checkpoint", run(bridge, corpus, plans[:stop]))
    resumed = run(bridge, corpus, plans[stop:], state=load(tmp_path / "checkpoint"))
    assert same_all(resumed, run(bridge, corpus, plans))


# --- other batches: within the bounds ---------------------------------------------------------------------


def near_zero(bridge: Any, corpus: TokenCorpus) -> list[tuple[Tensor, Tensor]]:
    """For each layer: tokens of each neuron whose quadrant is open, and Σ|q| over all tokens.

    [neuron] and [quantity neuron], from rows one by one.
    """
    gates: list[list[Tensor]] = [[] for _ in range(SIZES["layers"])]
    for plan in batches(corpus, max_rows=1):

        def visit(layer: int, gate: Tensor, in_: Tensor, act: Tensor) -> None:
            gates[layer].append(torch.stack([gate[0], in_[0], act[0], act[0] * in_[0]]).double())

        run_layers(bridge, plan.load(corpus), visit)
    found = []
    for parts in gates:
        values = torch.cat(parts, dim=1)
        open_ = values[:2].abs() < RELATIVE * values[:2].abs().amax()
        found.append((open_.any(dim=0).sum(dim=0), values.abs().sum(dim=1)))
    return found


def differences(left: LayerStatistics, right: LayerStatistics, bound: tuple[Tensor, Tensor]) -> list[str]:
    """In what two passes over the same rows differ by more than the bound."""
    open_, scale = bound
    found = []
    for name in ("counts", "gate_positive", "group_counts"):
        if ((getattr(left, name) - getattr(right, name)).abs() > open_).any():
            found.append(name)
    sums = [from_fixed(one.sums, one.units.sum_bits) for one in (left, right)]
    settled = open_ == 0
    if ((sums[0] - sums[1]).abs() > RELATIVE * scale)[..., settled].any():
        found.append("sums")
    squares = [from_fixed(one.squares, one.units.square_bits) for one in (left, right)]
    if not torch.allclose(*squares, rtol=2 * RELATIVE, atol=1e-4):
        found.append("squares")
    values = [one.top.values[:, settled] for one in (left, right)]
    if not torch.allclose(*values, rtol=10 * RELATIVE, atol=RELATIVE, equal_nan=True):
        found.append("extremes")
    if left.tokens != right.tokens:
        found.append("tokens")
    return found


@pytest.mark.parametrize("other", ["64", "4096", "one by one"])
def test_padding_and_the_shape_of_batches_change_nothing_beyond_the_bound(bridge: Any, other: str) -> None:
    """Test S2 of the neuroscope specification."""
    corpus = corpus_of(3)
    whole = run(bridge, corpus, batches(corpus, token_budget=512))
    options = {"64": {"token_budget": 64}, "4096": {"token_budget": 4096}, "one by one": {"max_rows": 1}}
    plans = batches(corpus, **options[other])
    assert len(plans) == 1 if other == "4096" else len(plans) >= 12
    found = run(bridge, corpus, plans)
    assert found.group_tokens == whole.group_tokens
    bounds = near_zero(bridge, corpus)
    many = torch.cat([open_ for open_, _ in bounds]).double().mean() / corpus.n_tokens
    assert many < 5e-4, "the bound allows anything"
    for left, right, bound in zip(whole.layers, found.layers, bounds, strict=True):
        assert differences(left, right, bound) == []


def test_the_order_of_documents_changes_nothing_beyond_the_bound(bridge: Any) -> None:
    corpus = corpus_of(4)
    turn = torch.randperm(len(corpus), generator=torch.Generator().manual_seed(0))
    texts = [corpus.row(int(row)).tolist() for row in turn]
    turned = rows_corpus(texts, corpus.document[turn].tolist())
    left = run(bridge, corpus, batches(corpus, token_budget=256))
    right = run(bridge, turned, batches(turned, token_budget=200))
    for one, other, bound in zip(left.layers, right.layers, near_zero(bridge, corpus), strict=True):
        assert differences(one, other, bound) == []
        # The same documents under their other numbers; tokens that occur in two rows may be equally good.
        rows = turn[other.top.rows.clamp(min=0)]
        same = (rows == one.top.rows) | (one.top.rows == -1)
        assert same.float().mean() > 0.9


def test_what_is_beyond_the_bound_is_found(bridge: Any) -> None:
    """Padding that is counted, and one token too few."""
    corpus = corpus_of(3)
    plans = batches(corpus, token_budget=512)
    whole, bounds = run(bridge, corpus, plans), near_zero(bridge, corpus)
    padded = run(bridge, corpus, plans, spoil=torch.ones_like)
    short = run(bridge, corpus, plans, spoil=lambda mask: mask & (torch.arange(mask.shape[1]) > 0))
    for damaged in (padded, short):
        for left, right, bound in zip(whole.layers, damaged.layers, bounds, strict=True):
            assert {"counts", "group_counts", "sums", "tokens"} <= set(differences(left, right, bound))


# --- identities and special cases -------------------------------------------------------------------------


def test_frequencies_are_those_of_the_tokens_that_are_in_a_quadrant(bridge: Any) -> None:
    """Claim F16 and test S4 of the neuroscope specification, on a model some of whose neurons have in = 0."""
    corpus = corpus_of(5, rows=12)
    accumulator = ActivationAccumulator(SIZES["layers"], SIZES["d_mlp"], K)
    seen: list[list[Tensor]] = [[] for _ in accumulator.layers]
    for plan in batches(corpus, token_budget=64):
        batch = plan.load(corpus)

        def visit(layer: int, gate: Tensor, in_: Tensor, act: Tensor, batch: Any = batch) -> None:
            in_ = torch.where(in_.abs() < 0.05, 0.0, in_)
            seen[layer].append(torch.stack([gate, in_, act * in_])[:, batch.mask])
            accumulator.layers[layer].update(gate, in_, act, batch.mask, batch.rows, group_of(batch.rows))

        run_layers(bridge, batch, visit)
    for layer, found in enumerate(accumulator.statistics()):
        gate, in_, post = torch.cat(seen[layer], dim=1).double()
        none = (gate == 0) | (in_ == 0)
        assert bool(none.any())
        frequencies = found.frequencies()
        assert bool((frequencies.sum(0) <= 1).all())
        torch.testing.assert_close(frequencies.sum(0), 1 - none.double().mean(0), rtol=0, atol=1e-12)
        on_and_out = ((gate > 0) & (in_ == 0)).double().mean(0)
        torch.testing.assert_close(
            found.gate_frequency(), frequencies[:2].sum(0) + on_and_out, rtol=0, atol=1e-12
        )
        torch.testing.assert_close((gate > 0).double().mean(0), found.gate_frequency(), rtol=0, atol=1e-12)
        in_quadrants = (frequencies * found.means()[:, 3]).nan_to_num().sum(0)
        torch.testing.assert_close(in_quadrants, post.mean(0), rtol=1e-6, atol=1e-8)
        assert torch.equal(quadrants(gate, in_).sum(1), found.counts)


def test_a_neuron_that_peaks_at_bos_has_a_list_of_bos() -> None:
    """Test S8 of the neuroscope specification: BOS is part of all statistics, as in the original (quirk B8).

    All documents tie at position 0. The list is then the first rows of the corpus, whatever the order they
    came in, and a reader can tell from the positions that it says nothing about the text.
    """
    accumulator = ActivationAccumulator(1, 1, k=16)
    for start in (20, 0, 10):
        gate = torch.rand(10, 6, 1, generator=torch.Generator().manual_seed(start))
        gate[:, 0] = 9.0
        rows = torch.arange(start, start + 10)
        in_ = torch.ones_like(gate)
        accumulator.layers[0].update(gate, in_, torch.nn.functional.silu(gate), None, rows, group_of(rows))
    top = accumulator.statistics()[0].top
    assert top.rows[0, 0].tolist() == list(range(16))
    assert top.positions[0, 0].tolist() == [0] * 16
    assert top.values[0, 0].tolist() == [9.0] * 16
