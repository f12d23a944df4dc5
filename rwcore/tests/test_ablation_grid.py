"""Which runs a grid makes."""

from __future__ import annotations

import pytest
import torch

from rwcore.ablation.grid import choose_set, experiments, interventions, label_of, published_grid
from rwcore.ablation.interventions import Intervention
from rwcore.errors import OptionError
from rwcore.stats.classes import RW_CLASSES

NAMES = [one.name for one in RW_CLASSES]


def codes(**counts: int) -> torch.Tensor:
    """Two layers of 60 neurons; the first ones of each have the named classes, the rest orthogonal output."""
    made = torch.full((2, 60), NAMES.index("orthogonal output"), dtype=torch.int8)
    place = 0
    for name, count in counts.items():
        made[:, place : place + count] = NAMES.index(name.replace("_", " "))
        place += count
    return made


CODES = codes(strengthening=2, weakening=5, conditional_strengthening=12, proportional_change=3)


@pytest.mark.parametrize(
    ("text", "name", "count"),
    [
        ("weakening", "weakening", 10),
        ("weakening:3", "weakening@3", 3),
        ("weakening: 0.5", "weakening@0.5", 5),
        ("conditional strengthening:weakening", "conditional strengthening@weakening", 10),
        ("0.3,1.7-9", "0.3,1.7-9", 4),
    ],
)
def test_a_text_names_a_set(text: str, name: str, count: int) -> None:
    chosen = choose_set(text, CODES, RW_CLASSES)
    assert chosen is not None
    assert (chosen.name, len(chosen.neurons)) == (name, count)
    if chosen.baseline is None:
        assert name[0].isdigit()
    else:
        assert chosen.neurons.name == name
        assert chosen.baseline.counts() == chosen.neurons.counts()


def test_a_set_larger_than_its_class_is_no_experiment() -> None:
    assert choose_set("strengthening:weakening", CODES, RW_CLASSES) is None
    assert choose_set("strengthening:40", CODES, RW_CLASSES) is None


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("weakning", "weakning"),
        ("weakening:", "size is missing"),
        ("weakening:strong", "strong"),
        ("9.9", "9.9"),
    ],
)
def test_texts_that_name_nothing(text: str, part: str) -> None:
    with pytest.raises(OptionError) as caught:
        choose_set(text, CODES, RW_CLASSES)
    assert part in f"{caught.value.what} {caught.value.where}"


def test_every_mode_with_every_pair_of_signs() -> None:
    found = interventions(["zero", "mean"], ["+", "-"], ["-"])
    assert [one.label for one in found] == [
        "zero gate+ post-", "zero gate- post-", "mean gate+ post-", "mean gate- post-"
    ]  # fmt: skip
    assert [one.label for one in interventions(["zero"])] == ["zero"]
    with pytest.raises(OptionError, match="nothing to do"):
        interventions([])


def test_baselines_follow_their_set_and_only_without_conditions() -> None:
    sets = [choose_set(text, CODES, RW_CLASSES) for text in ("weakening", "0.1")]
    found = experiments(sets, interventions(["zero"]))  # type: ignore[arg-type]
    assert [(one.label.set, one.label.baseline) for one in found] == [
        ("weakening", False), ("weakening", True), ("0.1", False)
    ]  # fmt: skip
    assert not any(one.label.baseline for one in experiments(sets, interventions(["zero"], ["+"])))  # type: ignore[arg-type]
    assert len(experiments(sets, interventions(["zero"]), baselines=False)) == 2  # type: ignore[arg-type]


def test_labels_tell_runs_apart() -> None:
    labels = {
        label_of("weakening", one)
        for one in (
            Intervention("zero"),
            Intervention("zero", gate="+"),
            Intervention("zero", post="+"),
            Intervention("fixed", parameter=0.5),
            Intervention("fixed", parameter=1.0),
            Intervention("zero", positions=(3, 5)),
        )
    }
    assert {(one.mode, one.gate, one.post) for one in labels} == {
        ("zero", "", ""), ("zero", "+", ""), ("zero", "", "+"), ("fixed 0.5", "", ""), ("fixed 1", "", ""),
        ("zero at 3,5", "", ""),
    }  # fmt: skip


def test_the_published_grid_of_olmo_has_69_sweeps_with_the_clean_one() -> None:
    """Section 7.2 of the specification: 34 per mode, one of them by chance the whole class."""
    sizes = {"strengthening": 24, "weakening": 263, "conditional strengthening": 900,
             "proportional change": 800, "conditional weakening": 700}  # fmt: skip
    made = torch.full((2, 6000), NAMES.index("orthogonal output"), dtype=torch.int8)
    place = 0
    for name, size in sizes.items():
        made[:, place : place + size] = NAMES.index(name)
        place += size
    found = published_grid(made, RW_CLASSES)
    per_mode = [one for one in found if one.intervention.mode == "zero"]
    whole = [one for one in per_mode if "@" not in one.label.set and not one.label.gate]
    cut = {
        size: [one for one in per_mode if one.label.set.endswith(f"@{size}")]
        for size in ("strengthening", "weakening")
    }
    conditional = [one for one in per_mode if one.label.gate]
    # Weakening and strengthening cut to their own size are the whole classes, which are run once.
    assert (len(whole), len(cut["strengthening"]), len(cut["weakening"]), len(conditional)) == (12, 8, 6, 4)
    assert len(found) == 2 * len(per_mode)
    assert len({(one.label, one.intervention.label) for one in found}) == len(found)
