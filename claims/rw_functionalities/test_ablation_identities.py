"""What must hold for ablations of any weights (I1-I14), on the first tokens of the text."""

import dataclasses
import random
from math import isnan

import pytest
import torch

from rwcore.ablation.compare import AS_PUBLISHED, FIXED, differences, statistics
from rwcore.ablation.edits import edited, flip_signs
from rwcore.ablation.head import Unembedding, predictions
from rwcore.ablation.hooks import ablating
from rwcore.ablation.interventions import Ablation, Intervention
from rwcore.ablation.metrics import next_tokens, run_to_the_end
from rwcore.ablation.run_metrics import METRICS
from rwcore.neurons import SEED, NeuronSet, choose_neurons
from rwcore.stats.classes import class_codes, classes_of
from rwcore.studies.frequencies import gate_signs

ROWS, POSITIONS = 3, 40
MOST = 64
QUADRANTS = [(gate, post) for gate in "+-" for post in "+-"]
GATE_MINUS = Intervention("zero", "-", "+")


def some_neurons(signs):
    """Neurons from all over the model, the same ones on every run."""
    every = [(layer, neuron) for layer in range(signs.shape[0]) for neuron in range(signs.shape[1])]
    return NeuronSet.of("some", random.Random(SEED).sample(every, min(MOST, len(every) // 4)))


def log_probabilities(bridge, batch):
    """Of all tokens of the vocabulary, at every token of the batch."""
    ending = run_to_the_end(bridge, batch)
    mask = batch.mask.to(ending.hidden.device)
    return Unembedding.of(bridge).logits(ending.hidden[mask]).log_softmax(-1)


def apart(first, second):
    """The largest difference."""
    return float((first - second).detach().abs().max())


@pytest.mark.claim("I1", "I2", "I3", "I4", "I5", "I11")
def test_interventions(subject, claim):
    """Hooks, weight edits, the four quadrants, and the model with its gate signs folded."""
    bridge, batch = subject.bridge(), subject.beginning(rows=ROWS, positions=POSITIONS)
    signs = gate_signs(subject.weight_study())
    chosen = some_neurons(signs)
    summary = subject.activation_study().summary
    silent = dataclasses.replace(
        summary,
        frequencies=torch.zeros_like(summary.frequencies),
        means=torch.full_like(summary.means, torch.nan),
    )

    def made(intervention, signs=signs, summary=summary):
        return Ablation.of(chosen, intervention, signs=signs, summary=summary)

    def run(*ablations):
        with ablating(bridge, *ablations):
            return log_probabilities(bridge, batch)

    def by_edits(ablation):
        with edited(bridge, ablation):
            return log_probabilities(bridge, batch)

    zero, mean = made(Intervention("zero")), made(Intervention("mean"))
    clean, zeroed, conditional = run(), run(zero), run(made(GATE_MINUS))
    fours = [made(Intervention("zero", *signs_of)) for signs_of in QUADRANTS]
    flip_signs(bridge, signs)
    try:
        folded, folded_conditional = run(), run(made(GATE_MINUS, torch.ones_like(signs)))
    finally:
        flip_signs(bridge, signs)
    claim.check(
        change_by_folding=apart(folded, clean),
        zero_by_edits=apart(by_edits(zero), zeroed),
        means_by_edits=apart(by_edits(mean), run(mean)),
        four_quadrants_at_once=apart(run(*fours), zeroed),
        three_quadrants_at_once=apart(run(*fours[1:]), zeroed),
        conditions_on_the_folded_model=apart(folded_conditional, conditional),
        means_of_what_never_occurs=apart(
            run(made(Intervention("mean", "-", "+"), summary=silent)), conditional
        ),
        effect_of_zero=apart(zeroed, clean),
    )


@pytest.mark.claim("I6", "I7", "I8")
def test_metrics(subject, claim):
    """Metrics of a padded batch against those of each row alone, and against a sort and a softmax."""
    bridge, batch = subject.bridge(), subject.beginning(rows=ROWS, positions=POSITIONS)
    lengths = (batch.mask.shape[1] - torch.arange(len(batch.mask))).clamp(min=2)
    mask = batch.mask & (torch.arange(batch.mask.shape[1]) < lengths[:, None])
    # Padding is arbitrary: token 0 in one batch, whatever follows in the text in the other.
    first, other = (
        numbers(bridge, dataclasses.replace(batch, tokens=tokens, mask=mask))
        for tokens in (batch.tokens.where(mask, 0), batch.tokens)
    )
    alone = [numbers(bridge, row) for row in rows_of(batch, mask)]
    single = {name: torch.cat([one[name] for one in alone]) for name in METRICS}
    sorting = against_sorting(bridge, batch)
    claim.check(
        loss_alone=apart(first["loss"], single["loss"]),
        entropy_alone=apart(first["entropy"], single["entropy"]),
        scale_alone=float((first["scale"] / single["scale"] - 1).abs().max()),
        share_of_ranks_alone=float((first["rank"] != single["rank"]).float().mean()),
        loss_with_other_padding=apart(first["loss"], other["loss"]),
        **sorting,
    )


def rows_of(batch, mask):
    """Each row as a batch without padding."""
    for row in range(len(mask)):
        length = int(mask[row].sum())
        yield dataclasses.replace(
            batch,
            tokens=batch.tokens[row : row + 1, :length],
            mask=mask[row : row + 1, :length],
            rows=batch.rows[row : row + 1],
        )


def numbers(bridge, batch):
    """The four metrics of all tokens that have a next one."""
    ending = run_to_the_end(bridge, batch)
    mask = batch.mask.to(ending.hidden.device)
    targets = next_tokens(batch)[batch.mask].to(ending.hidden.device)
    found = predictions(ending.hidden[mask], targets, Unembedding.of(bridge))
    there = targets >= 0
    return {
        "loss": found.loss[there],
        "entropy": found.entropy[there],
        "rank": found.rank[there],
        "scale": ending.scale[mask][there],
    }


def against_sorting(bridge, batch):
    """Ranks, entropies and losses of all logits at once."""
    ending = run_to_the_end(bridge, batch)
    hidden = ending.hidden[batch.mask.to(ending.hidden.device)]
    targets = next_tokens(batch)[batch.mask].to(hidden.device)
    there = targets >= 0
    head = Unembedding.of(bridge)
    found = predictions(hidden, targets, head, tile=2**40)
    logits = head.logits(hidden)
    wanted = logits.gather(1, targets.clamp(min=0)[:, None])
    untied = ((logits == wanted).sum(1) == 1) & there
    place = (logits.argsort(dim=1, descending=True) == targets[:, None]).int().argmax(dim=1)
    log_p = logits.double().log_softmax(-1)
    return {
        "ranks_other_than_by_sorting": int((place != found.rank)[untied].sum()),
        "share_of_untied": float(untied.sum() / there.sum()),
        "entropy_error": apart(found.entropy, -(log_p.exp() * log_p).sum(1)),
        "loss_error": apart(found.loss[there], -log_p.gather(1, targets.clamp(min=0)[:, None])[there, 0]),
    }


@pytest.mark.claim("I9", "I14")
def test_baselines_of_a_whole_class(subject, claim):
    """Random neurons of the same layers, with and without a size that is that of the class."""
    cosines = subject.weight_study().cosines
    codes, classes = class_codes(cosines), classes_of(cosines)
    unlike, overlapping, different = 0, 0, 0
    for one in classes:
        choice = choose_neurons(codes, one.name, baseline=True, classes=classes)
        counts, others = choice.chosen.counts(), choice.baseline.counts()
        capped = set(choice.short_layers)
        unlike += sum(others.get(layer, 0) != count for layer, count in counts.items() if layer not in capped)
        overlapping += len({*choice.chosen.pairs()} & {*choice.baseline.pairs()})
        if len(choice.chosen):
            sized = choose_neurons(codes, one.name, subset=len(choice.chosen), baseline=True, classes=classes)
            different += sized.chosen.pairs() != choice.chosen.pairs()
            different += sized.baseline.pairs() != choice.baseline.pairs()
    claim.check(layers_unlike=unlike, overlapping=overlapping, different_with_a_size=different)


@pytest.mark.claim("I10")
def test_an_empty_set(subject, claim):
    """Ablating no neuron is the clean run: every difference is 0, and the table does not fail."""
    study = subject.ablation_study()
    clean = study.clean()

    def compared(convention):
        return [differences(clean, clean, study.corpus, metric, convention=convention) for metric in METRICS]

    without_values = [one for one in statistics(compared(AS_PUBLISHED)) if one.n == 0 and isnan(one.mean)]
    bridge, batch = subject.bridge(), subject.beginning(rows=ROWS, positions=POSITIONS)
    signs = gate_signs(subject.weight_study())
    before = log_probabilities(bridge, batch)
    with ablating(bridge, Ablation.of(NeuronSet.of("none", []), GATE_MINUS, signs=signs)):
        after = log_probabilities(bridge, batch)
    claim.check(
        changed=max(one.changed for one in statistics(compared(FIXED))),
        metrics_without_values=len(without_values),
        effect=apart(before, after),
    )
