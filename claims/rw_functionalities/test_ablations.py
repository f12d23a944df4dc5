"""What ablating classes of neurons does to loss, entropy, rank and final scale (A01-A40)."""

import numpy as np
import pandas as pd
import pytest

from rwcore.ablation.compare import RunLabel
from rwcore.ablation.grid import PUBLISHED_CLASSES

MODES = ("zero", "mean")
SIGNS = ("+", "-")
DOMINANT = ("-", "+")
SIZED = ("conditional strengthening", "proportional change", "conditional weakening")
SMOOTH = ("loss", "entropy", "log_scale")


def run(name, mode="zero", *, random=False, gate="", post=""):
    """A run; ``random`` stands for as many random neurons of the same layers."""
    return RunLabel(name, mode, baseline=random, gate=gate, post=post)


def paired(names, modes=MODES):
    """Runs of sets, each with its baseline."""
    return [run(name, mode, random=random) for name in names for mode in modes for random in (False, True)]


def quadrants(mode):
    """Weakening neurons, each only where gate and post have two given signs."""
    return {(gate, post): run("weakening", mode, gate=gate, post=post) for gate in SIGNS for post in SIGNS}


def recorded(found):
    """What is kept of a table: means of metrics without heavy tails, and how many ranks changed."""
    if found.drawn is None:
        return found.table
    rows = [
        {
            "set": one.set + (" (random)" if one.baseline else ""),
            "mode": " ".join(
                [one.mode, *(f"{n}{s}" for n, s in (("gate", one.gate), ("post", one.post)) if s)]
            ),
            "neurons": neurons,
            **{metric: np.nan_to_num(found.estimates(metric, one)) for metric in SMOOTH},
            "rank_changed": np.nan_to_num(found.statistic("rank", one, "changed")),
        }
        for one, neurons in found.sizes.items()
    ]
    return pd.DataFrame(rows)


def harm(mean, metric, one):
    """By how much ablating raises a metric."""
    return -mean(metric, one)


def beyond_twice_random(mean, metric, mode):
    """How far raising a metric exceeds twice what random neurons change."""
    chosen, random = run("weakening", mode), run("weakening", mode, random=True)
    return harm(mean, metric, chosen) - 2 * np.abs(mean(metric, random))


def of_the_class(mean):
    """Numbers of the whole weakening class."""
    return {
        "loss_increase": harm(mean, "loss", run("weakening")),
        "loss_increase_beyond_twice_random": beyond_twice_random(mean, "loss", "zero"),
        "entropy_increase": harm(mean, "entropy", run("weakening")),
        "entropy_increase_beyond_twice_random": beyond_twice_random(mean, "entropy", "zero"),
        "loss_increase_of_means": harm(mean, "loss", run("weakening", "mean")),
        "loss_increase_of_means_beyond_twice_random": beyond_twice_random(mean, "loss", "mean"),
        "entropy_increase_of_means": harm(mean, "entropy", run("weakening", "mean")),
        "zero_over_mean": mean("entropy", run("weakening")) / mean("entropy", run("weakening", "mean")),
        **{
            f"entropy_decrease_of_random_{mode}": mean("entropy", run("weakening", mode, random=True))
            for mode in MODES
        },
    }


def of_the_quadrants(mean):
    """Numbers of the weakening class in its four quadrants, set to zero."""
    by_quadrant = quadrants("zero")
    others = [one for signs, one in by_quadrant.items() if signs != DOMINANT]
    numbers = {
        "loss_increase_of_gate+_post-": harm(mean, "loss", by_quadrant["+", "-"]),
        "entropy_decrease_of_gate+_post-": mean("entropy", by_quadrant["+", "-"]),
    }
    for metric in ("loss", "entropy"):
        dominant = np.abs(mean(metric, by_quadrant[DOMINANT]))
        most = np.maximum.reduce([np.abs(mean(metric, one)) for one in others])
        numbers |= {
            f"{metric}_lead_of_gate-_post+": dominant - most,
            f"{metric}_share_of_gate-_post-": np.abs(mean(metric, by_quadrant["-", "-"]))
            / np.maximum(dominant, most),
            f"{metric}_of_gate-_post+_beyond_the_whole": dominant - np.abs(mean(metric, run("weakening"))),
        }
    return numbers


@pytest.mark.claim("A01", "A02", "A03", "A04", "A05", "A28", "A29")
def test_weakening_class(subject, claim, golden):
    """The whole class and as many random neurons of the same layers, set to zero and to their means."""
    found = subject.ablations(paired(["weakening"]))

    def over_median(mean):
        return {
            f"mean_over_median_{mode}": np.abs(mean("loss", run("weakening", mode)))
            / abs(found.statistic("loss", run("weakening", mode), "median"))
            for mode in MODES
        }

    claim.check(ablations=found.table, **found.numbers(of_the_class), **found.numbers(over_median))
    golden.check(recorded(found))


@pytest.mark.claim("A06", "A07", "A08", "A09", "A10", "A11")
def test_weakening_by_quadrant(subject, claim, golden):
    """Set to zero only where gate and post have given signs."""
    by_quadrant = quadrants("zero")
    found = subject.ablations([*by_quadrant.values(), run("weakening")])

    def entropies(mean):
        return {
            **{f"gate{gate} post{post}": mean("entropy", one) for (gate, post), one in by_quadrant.items()},
            "everywhere": mean("entropy", run("weakening")),
            "nowhere": 0 * mean("entropy", run("weakening")),
        }

    claim.check(
        ablations=found.table,
        entropies=pd.DataFrame(found.numbers(entropies).items(), columns=["where", "value"]),
        **found.numbers(of_the_quadrants),
    )
    golden.check(recorded(found))


@pytest.mark.claim("A12", "A13")
def test_means_of_quadrants(subject, claim, golden):
    """Set to the mean of the quadrant, in this quadrant only."""
    by_quadrant = quadrants("mean")
    zero = quadrants("zero")[DOMINANT]
    found = subject.ablations([*by_quadrant.values(), zero])

    def derive(mean):
        return {
            f"{metric}_times_milder": mean(metric, zero) / mean(metric, by_quadrant[DOMINANT])
            for metric in ("loss", "entropy")
        }

    claim.check(ablations=found.table, **found.numbers(derive))
    golden.check(recorded(found))


@pytest.mark.claim("A14", "A15")
def test_strengthening_class(subject, claim, golden):
    """The whole class, and as many random neurons of the same layers."""
    found = subject.ablations(paired(["strengthening"]))
    claim.check(ablations=found.table)
    golden.check(recorded(found))


@pytest.mark.claim("A36")
def test_zero_or_means_of_strengthening(subject, claim, golden):
    """The whole class, set to zero and to their means."""
    found = subject.ablations([run("strengthening", mode) for mode in MODES])

    def derive(mean):
        zero, other = (mean("loss", run("strengthening", mode)) for mode in MODES)
        return {"difference_beyond_a_fifth": np.abs(zero - other) - np.abs(zero) / 5}

    claim.check(ablations=found.table, **found.numbers(derive))
    golden.check(recorded(found))


@pytest.mark.claim("A16", "A17", "A18")
def test_sets_as_large_as_strengthening(subject, claim, golden):
    """As many neurons of every class as there are strengthening neurons."""
    weakening = "weakening@strengthening"
    others = [f"{name}@strengthening" for name in SIZED]
    runs = [*paired([weakening]), *paired(["strengthening", *others], ["zero"])]
    found = subject.ablations(runs)

    def derive(mean):
        return {
            **{
                f"{metric}_times_strengthening": mean(metric, run(weakening))
                / mean(metric, run("strengthening"))
                for metric in ("loss", "entropy")
            },
            **{
                f"{metric}_of_other_classes": np.maximum.reduce(
                    [np.abs(mean(metric, run(name))) for name in others]
                )
                for metric in ("loss", "entropy")
            },
            "strengthening_beyond_random": np.abs(mean("loss", run("strengthening")))
            - np.abs(mean("loss", run("strengthening", random=True))),
        }

    claim.check(ablations=found.table, **found.numbers(derive))
    golden.check(recorded(found))


@pytest.mark.claim("A19", "A20")
def test_sets_as_large_as_weakening(subject, claim, golden):
    """As many neurons of every class as there are weakening neurons, set to their means."""
    others = [f"{name}@weakening" for name in SIZED]
    found = subject.ablations([run("weakening", "mean"), *paired(others, ["mean"])])

    def derive(mean):
        most = np.maximum.reduce([np.abs(mean("loss", run(name, "mean"))) for name in others])
        return {"times_the_next_class": np.abs(mean("loss", run("weakening", "mean"))) / most}

    claim.check(ablations=found.table, **found.numbers(derive))
    golden.check(recorded(found))


@pytest.mark.claim("A21", "A22", "A23", "A24", "A25", "A26", "A27")
def test_whole_classes(subject, claim, golden):
    """Six classes, each against random neurons of the same layers."""
    found = subject.ablations(paired(PUBLISHED_CLASSES))

    def derive(mean):
        def lead(metric, name, mode):
            return mean(metric, run(name, mode)) - mean(metric, run(name, mode, random=True))

        per_neuron = {
            name: harm(mean, "loss", run(name)) / max(found.sizes[run(name)], 1) for name in PUBLISHED_CLASSES
        }
        rest = np.maximum.reduce([value for name, value in per_neuron.items() if name != "weakening"])
        return {
            **{
                f"{metric}_lead_of_conditional_strengthening": lead(
                    metric, "conditional strengthening", "mean"
                )
                for metric in ("loss", "entropy")
            },
            **{f"loss_lead_of_conditional_weakening_{mode}": lead("loss", SIZED[2], mode) for mode in MODES},
            "lead_per_neuron": per_neuron["weakening"] - rest,
            "weakening_over_proportional_change": mean("loss", run("weakening"))
            / mean("loss", run("proportional change")),
        }

    claim.check(ablations=found.table, **found.numbers(derive))
    golden.check(recorded(found))


RANKED = {
    "weakening": run("weakening"),
    "weakening, random": run("weakening", random=True),
    **{f"weakening gate{gate} post{post}": one for (gate, post), one in quadrants("zero").items()},
    "strengthening": run("strengthening"),
    "strengthening, random": run("strengthening", random=True),
    "conditional strengthening": run("conditional strengthening"),
    "proportional change": run("proportional change"),
    "conditional weakening": run("conditional weakening"),
    "conditional weakening, random": run("conditional weakening", random=True),
    "orthogonal output": run("orthogonal output"),
}


@pytest.mark.claim("A30", "A31", "A32")
def test_changed_ranks(subject, claim, golden):
    """How many predictions of the right token change their rank, and by how much these do."""
    found = subject.ablations(list(RANKED.values()))
    changed = pd.DataFrame(
        [(name, 100 * found.statistic("rank", one, "changed")) for name, one in RANKED.items()],
        columns=["run", "percent"],
    )
    claim.check(ablations=found.table, changed_ranks=changed)
    golden.check(changed.fillna(0))


@pytest.mark.claim("A33", "A34")
def test_final_scale(subject, claim, golden):
    """The denominator of the final norm: what it was in the clean run, as a logarithm, minus what it is."""
    runs = {name: one for name, one in RANKED.items() if not name.startswith("strengthening")}
    runs["orthogonal output, random"] = run("orthogonal output", random=True)
    found = subject.ablations(list(runs.values()))
    signs = pd.DataFrame(
        [(name, np.sign(found.estimates("log_scale", one))) for name, one in runs.items()],
        columns=["run", "sign"],
    )
    claim.check(ablations=found.table, signs=signs)
    golden.check(recorded(found))


@pytest.mark.claim("A35")
def test_numbers_of_predictions(subject, claim):
    """How many values there are of each metric: none of padding, none of a token that has no next one."""
    tokens, rows = subject.tokens_and_rows()
    values = subject.numbers_of_values()
    claim.check(
        losses_too_many=values["loss"] - (tokens - rows),
        ranks_too_many=values["rank"] - (tokens - rows),
        entropies_too_many=values["entropy"] - tokens,
        scales_too_many=values["log_scale"] - tokens,
    )


@pytest.mark.claim("A37", "A38", "A39", "A40")
def test_on_tokens_of_the_model_itself(subject, claim, golden):
    """The weakening class of Llama-3.2-3B, which the paper ran on the token ids of another model."""
    found = subject.ablations([*paired(["weakening"]), *quadrants("zero").values()])

    def zero_over_mean(mean):
        return {
            "loss_of_zero_over_mean": mean("loss", run("weakening")) / mean("loss", run("weakening", "mean"))
        }

    numbers = [found.numbers(one) for one in (of_the_class, of_the_quadrants, zero_over_mean)]
    claim.check(ablations=found.table, **numbers[0], **numbers[1], **numbers[2])
    golden.check(recorded(found))
