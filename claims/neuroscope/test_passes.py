"""The pass over a text against numbers made one by one, and what it must not depend on (S1-S4, S6, S7)."""

import dataclasses
from itertools import chain

import pandas as pd
import pytest
import torch
from torch.nn.functional import silu

from rwcore.ablation.edits import flip_signs
from rwcore.ablation.head import Unembedding
from rwcore.ablation.metrics import run_to_the_end
from rwcore.activations.accumulate import LayerAccumulator
from rwcore.activations.artefact import load
from rwcore.activations.capture import add_batch, run_layers
from rwcore.activations.examples import quadrant_codes
from rwcore.activations.groups import group_of
from rwcore.activations.quadrants import LISTS, QUADRANTS, QUANTITIES, SWAPPED
from rwcore.activations.statistics import LayerStatistics
from rwcore.benchmarks.reference.activations import statistics_of
from rwcore.parallel import InProcess
from rwcore.store import Store
from rwcore.studies import activation_pass
from rwcore.studies.activation_pass import run_shard
from rwcore.studies.activations import PassOptions, activation_study
from rwcore.studies.frequencies import gate_signs
from rwcore.studies.published_comparison import texts_corpus

ROWS, POSITIONS, K = 4, 48, 16
SOME = 8
"""Neurons of a layer that are counted number by number."""

MINI_GATE = [[0.5, -1.0, 2.0, 0.0], [-1.25, 1.0, -3.0, 9.0], [2.0, 2.0, -1.0, -0.5]]
MINI_IN = [[1.0, 2.0, -1.0, 3.0], [-2.0, 1.0, 0.5, 9.0], [-1.0, 0.5, 2.0, -0.25]]
MINI_LENGTHS = [4, 3, 4]


@pytest.mark.claim("S1", "S4")
def test_statistics(subject, claim):
    """Counts, sums and lists of a pass, against each token in turn; exact zeros are among them."""
    if subject.kind == "synthetic":
        claim.check(**compare_layer(*random_numbers()))
        return
    found = []
    batch = subject.beginning(rows=ROWS, positions=POSITIONS)

    def visit(number, gate, in_, act):
        some = slice(None, None, max(1, gate.shape[-1] // SOME))
        zeros = with_exact_zeros(*(values[..., some].cpu() for values in (gate, in_, act)))
        found.append(compare_layer(*zeros, batch.mask, batch.rows))

    run_layers(subject.bridge(), batch, visit)
    frame = pd.DataFrame(found)
    claim.check(**frame.max().to_dict() | {"smallest_share_of_zeros": frame["largest_share_of_zeros"].min()})


def random_numbers():
    """50 ragged rows and 32 neurons; multiples of 1/8, so that there are ties and zeros."""
    generator = torch.Generator().manual_seed(0)
    shape = (50, 20, 32)
    gate, in_ = ((torch.randn(shape, generator=generator) * 8).round() / 8 for _ in range(2))
    lengths = torch.randint(1, shape[1] + 1, (shape[0],), generator=generator)
    mask = torch.arange(shape[1]) < lengths[:, None]
    return gate, in_, silu(gate), mask, torch.randperm(shape[0], generator=generator)


def with_exact_zeros(gate, in_, act):
    """At every seventh token in is zero, at another gate: numbers of a model hardly ever are."""
    gate, in_, act = gate.clone(), in_.clone(), act.clone()
    in_[:, 1::7] = 0
    gate[:, 2::7] = 0
    act[:, 2::7] = 0
    return gate, in_, act


def count(gate, in_, act, mask, rows, k=K):
    """What the pass says about a layer."""
    accumulator = LayerAccumulator(LayerStatistics.empty(gate.shape[-1], k))
    accumulator.update(gate, in_, act, mask, rows, group_of(rows))
    return accumulator.statistics


def compare_layer(gate, in_, act, mask, rows):
    """What the pass says, and what counting number by number says."""
    statistics = count(gate, in_, act, mask, rows)
    groups = group_of(rows).tolist()
    arrays = (values.numpy() for values in (gate, in_, act, mask))
    wanted = statistics_of(*arrays, rows.tolist(), K, groups)
    counts = torch.tensor([list(one["count"].values()) for one in wanted]).T
    sums = torch.tensor(
        [[[float(one["sum"][case, name]) for one in wanted] for name in QUANTITIES] for case in QUADRANTS],
        dtype=torch.float64,
    )
    lists = [[one["top"].get(which, []) for one in wanted] for which in LISTS]
    got = [entries_of(statistics.top, place) for place in range(len(LISTS))]
    frequencies, means = statistics.frequencies(), statistics.means()
    real_gate, real_in, real_act = (values[mask].double() for values in (gate, in_, act))
    zeros = ((real_gate == 0) | (real_in == 0)).double().mean(dim=0)
    size = statistics.means().nan_to_num().abs() * counts[:, None]
    of_post = (frequencies * means[:, -1].nan_to_num()).sum(dim=0) - (real_act * real_in).mean(dim=0)
    return {
        "counts_that_differ": int((statistics.counts != counts).sum()),
        "largest_error_of_sum": apart((means.nan_to_num() * counts[:, None]), sums) / float(size.max()),
        "lists_that_differ": sum(a != b for a, b in zip(chain(*lists), chain(*got), strict=True)),
        "largest_error_of_sum_of_frequencies": apart(frequencies.sum(dim=0), 1 - zeros),
        "largest_error_of_mean_post": float(of_post.abs().max()),
        "largest_share_of_zeros": float(zeros.max()),
    }


def entries_of(top, place):
    """Of each neuron the entries of one list: value, row, position."""
    lists = zip(
        top.values[place].tolist(), top.rows[place].tolist(), top.positions[place].tolist(), strict=True
    )
    return [[entry for entry in zip(*one, strict=True) if entry[1] != -1] for one in lists]


def apart(first, second):
    """The largest difference."""
    return float((first - second).detach().abs().max())


@pytest.mark.claim("S2")
def test_order_and_padding(subject, claim):
    """The same rows together, alone, in another order and with more padding."""
    if subject.kind == "synthetic":
        claim.check(**other_batches(*random_numbers()))
        return
    bridge, batch = subject.bridge(), subject.beginning(rows=ROWS, positions=POSITIONS)
    lengths = (POSITIONS - 5 * torch.arange(len(batch.mask))).clamp(min=2)
    mask = batch.mask & (torch.arange(batch.mask.shape[1]) < lengths[:, None])
    batch = dataclasses.replace(batch, mask=mask, tokens=batch.tokens.where(mask, 0))
    whole = layers_of(bridge, batch)
    variants = {
        "alone": [rows_of(batch, slice(row, row + 1), int(mask[row].sum())) for row in range(len(mask))],
        "order": [rows_of(batch, torch.arange(len(mask)).flip(0))],
        "padding": [padded(batch, 7)],
    }
    found = [compared(whole, layers_of(bridge, *variant)) for variant in variants.values()]
    claim.check(**pd.DataFrame(found).max().to_dict(), pass_with_other_numbers=pass_of_other_numbers(whole))


def rows_of(batch, rows, length=None):
    """Some rows of a batch, cut off where no row has a token."""
    cut = (rows, slice(length))
    return dataclasses.replace(batch, tokens=batch.tokens[cut], mask=batch.mask[cut], rows=batch.rows[rows])


def padded(batch, more):
    """The batch with more padding, of another token."""
    tokens = torch.nn.functional.pad(batch.tokens, (0, more), value=1)
    return dataclasses.replace(batch, tokens=tokens, mask=torch.nn.functional.pad(batch.mask, (0, more)))


def layers_of(bridge, *batches):
    """Values of gate and in at every token, by layer, and the lists of the layer; rows ascending."""
    found = {}
    for batch in batches:

        def visit(number, gate, in_, act, batch=batch):
            part = [values.cpu() for values in (gate, in_, act)]
            found.setdefault(number, []).append((*part, batch.mask, batch.rows))

        run_layers(bridge, batch, visit)
    return {number: joined(parts) for number, parts in found.items()}


def joined(parts):
    """The tokens of several batches in the order of their rows, and the lists of extremes."""
    width = parts[0][0].shape[-1]
    accumulator = LayerAccumulator(LayerStatistics.empty(width, K))
    rows = []
    for gate, in_, act, mask, numbers in parts:
        accumulator.update(gate, in_, act, mask, numbers, group_of(numbers))
        rows += [
            (int(row), gate[place][mask[place]], in_[place][mask[place]]) for place, row in enumerate(numbers)
        ]
    rows.sort(key=lambda one: one[0])
    gate, in_ = (torch.cat([one[place] for one in rows]) for place in (1, 2))
    return gate, in_, accumulator.statistics


def compared(whole, other):
    """How far from zero, over the largest of its neuron, a number is whose sign differs; and the lists."""
    found = []
    for number, (gate, in_, statistics) in whole.items():
        other_gate, other_in, others = other[number]
        changed = quadrant_codes(gate, in_) != quadrant_codes(other_gate, other_in)
        shares = torch.minimum(share(gate, other_gate), share(in_, other_in))
        values, other_values = statistics.top.values, others.top.values
        off = (values - other_values).abs() / values.abs()
        found.append({
            "share_of_a_changed_sign": float(shares[changed].max()) if changed.any() else 0.0,
            "relative_difference_of_lists": float(off.nan_to_num(nan=0.0).max()),
            "lists_of_other_lengths": int((values.isnan() != other_values.isnan()).any(dim=-1).sum()),
        })  # fmt: skip
    return pd.DataFrame(found).max().to_dict()


def share(values, others):
    """|value| over the largest of its neuron where the signs differ, infinite where they do not."""
    size = torch.maximum(values.abs(), others.abs()) / values.abs().amax(dim=0).clamp(min=1e-30)
    return size.where(values.sign() != others.sign(), torch.inf)


def pass_of_other_numbers(whole):
    """The same comparison with other numbers, 1 % larger ones: it can fail."""
    larger = {
        number: (
            1.01 * gate,
            in_,
            count((1.01 * gate)[None], in_[None], silu(1.01 * gate)[None], None, torch.zeros(1).long()),
        )
        for number, (gate, in_, _) in whole.items()
    }
    return compared(whole, larger)["relative_difference_of_lists"]


def other_batches(gate, in_, act, mask, rows):
    """The same numbers in other batches, another order, and padding at the other side."""
    whole = count(gate, in_, act, mask, rows)
    parts = LayerAccumulator(LayerStatistics.empty(gate.shape[-1], K))
    for place in torch.randperm(len(rows), generator=torch.Generator().manual_seed(1)).split(7):
        parts.update(gate[place], in_[place], act[place], mask[place], rows[place], group_of(rows[place]))
    more = [torch.nn.functional.pad(values, (0, 0, 3, 2), value=9.0) for values in (gate, in_, act)]
    left = count(*more, torch.nn.functional.pad(mask, (3, 2)), rows)
    moved = left.top.positions - whole.top.positions
    return {
        "counts_that_differ": sum(
            int((whole.counts != one.counts).sum()) for one in (parts.statistics, left)
        ),
        "lists_that_differ": sum(
            int((whole.top.keys != one.top.keys).sum()) for one in (parts.statistics, left)
        )
        + int((whole.top.positions != parts.statistics.top.positions).sum())
        + int((moved[whole.top.positions >= 0] != 3).sum()),
    }


@pytest.mark.claim("S3")
def test_folding(subject, claim):
    """Folding turns in and post of some neurons, swaps their quadrants, and changes no logit."""
    bridge, batch = subject.bridge(), subject.beginning(rows=ROWS, positions=POSITIONS)
    signs = gate_signs(subject.weight_study())
    before, logits = values_of(bridge, batch), logits_of(bridge, batch)
    flip_signs(bridge, signs)
    try:
        after, folded_logits = values_of(bridge, batch), logits_of(bridge, batch)
    finally:
        flip_signs(bridge, signs)
    swapped = torch.tensor([*SWAPPED, -1])  # nowhere stays nowhere
    found = []
    for sign, (gate, in_, post), (new_gate, new_in, new_post) in zip(signs, before, after, strict=True):
        codes = quadrant_codes(gate, in_)
        wanted = torch.where(sign < 0, swapped[codes], codes)
        found.append({
            "change_of_gate": apart(gate, new_gate),
            "error_of_in": apart(sign * in_, new_in),
            "error_of_post": apart(sign * post, new_post),
            "quadrants_that_are_not_swapped": int((quadrant_codes(new_gate, new_in) != wanted).sum()),
            "change_of_in": apart(in_, new_in),
        })  # fmt: skip
    claim.check(**pd.DataFrame(found).max().to_dict(), change_of_logits=apart(logits, folded_logits))


def values_of(bridge, batch):
    """gate, in and post of each layer at every token."""
    found = []

    def visit(number, gate, in_, act):
        found.append([values[batch.mask].cpu() for values in (gate, in_, act * in_)])

    run_layers(bridge, batch, visit)
    return found


def logits_of(bridge, batch):
    """Of all tokens of the vocabulary, at every token of the batch."""
    ending = run_to_the_end(bridge, batch)
    return Unembedding.of(bridge).logits(ending.hidden[batch.mask.to(ending.hidden.device)]).detach().cpu()


class Interrupted(Exception):
    """What stands for a killed process in this one."""


@pytest.mark.claim("S6")
def test_resumed_pass(subject, claim, tmp_path, monkeypatch):
    """A pass that is stopped in two batches and gone on with, against one that is not."""
    batch = subject.beginning(rows=ROWS, positions=POSITIONS)
    rows = [tuple(tokens[mask].tolist()) for tokens, mask in zip(batch.tokens, batch.mask, strict=True)]
    corpus = texts_corpus([row[: len(row) - 3 * place] for place, row in enumerate(rows)])

    def task(folder):
        weights = dataclasses.replace(subject.weight_study(), store=Store(folder), engine=InProcess())
        options = PassOptions(token_budget=POSITIONS, checkpoint_every=1, k=K)
        return activation_study(weights, corpus, options).tasks()[0]

    whole = load(run_shard(task(tmp_path / "whole")))
    stops = 0
    for done in (1, 2):
        seen = []

        def stopping(*words, seen=seen, done=done, **options):
            seen.append(1)
            if len(seen) > done:
                raise Interrupted
            add_batch(*words, **options)

        monkeypatch.setattr(activation_pass, "add_batch", stopping)
        try:
            run_shard(task(tmp_path / "resumed"))
        except Interrupted:
            stops += 1
    monkeypatch.setattr(activation_pass, "add_batch", add_batch)
    resumed = load(run_shard(task(tmp_path / "resumed")))
    claim.check(
        stops=stops,
        runs=len(resumed.runs),
        arrays_that_differ=sum(
            not torch.equal(values, other.to_arrays()[name])
            for one, other in zip(whole.layers, resumed.layers, strict=True)
            for name, values in one.to_arrays().items()
        ),
        tokens_that_differ=abs(whole.tokens - corpus.n_tokens) + abs(resumed.tokens - corpus.n_tokens),
    )


@pytest.mark.claim("S7")
def test_golden_mini_example(subject, claim):
    """Eleven tokens of three documents and one neuron: every number of the table and of the lists."""
    gate, in_ = (torch.tensor(numbers)[..., None] for numbers in (MINI_GATE, MINI_IN))
    mask = torch.arange(gate.shape[1]) < torch.tensor(MINI_LENGTHS)[:, None]
    found = count(gate, in_, silu(gate), mask, torch.arange(len(gate)), k=2)
    order = {"post": "mean post", "in": "mean in", "gate": "mean gate", "act": "mean swish"}
    cases = []
    for place, case in enumerate(QUADRANTS):
        cases.append((case, "count", float(found.counts[place, 0])))
        cases.append((case, "freq", float(found.frequencies()[place, 0])))
        means = found.means()[place, :, 0]
        cases += [(case, name, float(means[QUANTITIES.index(one)])) for one, name in order.items()]
    rows = [
        (case, {"act": "swish"}.get(quantity, quantity), rank, row, position, value)
        for place, (case, quantity) in enumerate(LISTS)
        for rank, (value, row, position) in enumerate(entries_of(found.top, place)[0])
    ]
    claim.check(
        cases=pd.DataFrame(cases, columns=["case", "statistic", "value"]),
        lists=pd.DataFrame(rows, columns=["case", "quantity", "rank", "document", "position", "value"]),
        sum_of_frequencies=float(found.frequencies().sum()),
    )
