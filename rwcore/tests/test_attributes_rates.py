"""The rate: shares of strings, against Python's sets."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rwcore.attributes.attribute_sets import AttributeSets
from rwcore.attributes.rates import rates
from rwcore.attributes.stop_words import STOP_WORDS
from rwcore.benchmarks.reference.attributes_rate import rate_of

TEXTS = (" Paris", "Paris", " the", " Seine", " ox", " Paris", " river", "The", " tower")


def sets_of(*attributes: set[str] | None) -> AttributeSets:
    """Attribute sets of subjects 0, 1, …; None for one without a rate."""
    numbers = {text: number for number, text in enumerate(dict.fromkeys(TEXTS))}
    kept = [len(text.strip()) > 2 and text.strip().lower() not in STOP_WORDS for text in TEXTS]
    return AttributeSets(
        subjects=tuple(f"subject {number}" for number in range(len(attributes))),
        member=torch.tensor([[text in (one or ()) for text in TEXTS] for one in attributes]),
        counted=torch.tensor(kept),
        string=torch.tensor([numbers[text] for text in TEXTS]),
        rated=torch.tensor([one is not None for one in attributes]),
    )


def rate(tokens: list[int], attributes: set[str] | None) -> float:
    top = torch.tensor([[tokens]], dtype=torch.int32)
    return float(rates(top, torch.tensor([0]), sets_of(attributes))[0, 0])


@pytest.mark.parametrize(
    ("tokens", "wanted"),
    [
        ([0, 3, 6, 8], 50.0),
        ([0, 3, 2, 4], 50.0),  # " the" and " ox" do not count
        ([1, 3, 6, 8], 25.0),  # without its space it is another token
        ([0, 5, 3, 8], 25.0),  # two ids of one text: once above the line, twice below
        ([2, 4, 7, 2], -1.0),  # nothing is left
    ],
)
def test_a_rate_by_hand(tokens: list[int], wanted: float) -> None:
    assert rate(tokens, {" Paris", " river", " the"} - ({" river"} if 5 in tokens else set())) == wanted


def test_without_attributes() -> None:
    """A subject that has no rate, and one whose rate is 0."""
    assert rate([0, 3], None) == -1
    assert rate([0, 3], set()) == 0


def test_no_prompts_have_no_rates() -> None:
    found = rates(torch.zeros(0, 3, 4, dtype=torch.int32), torch.zeros(0, dtype=torch.int64), sets_of({"a"}))
    assert found.shape == (0, 3)


texts = st.sets(st.sampled_from(TEXTS))


@given(
    st.lists(st.tuples(st.one_of(st.none(), texts), st.integers(0, 2**32)), min_size=1, max_size=4),
    st.integers(1, 12),
)
def test_the_reference_finds_the_same(given_sets: list[tuple[set[str] | None, int]], k: int) -> None:
    """Exactly, for several prompts of several subjects and all layers at once."""
    attributes = [one for one, _ in given_sets]
    generator = torch.Generator().manual_seed(given_sets[0][1])
    top: Tensor = torch.randint(0, len(TEXTS), (6, 3, k), generator=generator).int()
    subject = torch.randint(0, len(attributes), (6,), generator=generator)
    found = rates(top, subject, sets_of(*attributes))
    assert found.dtype == torch.float32
    for prompt in range(6):
        for layer in range(3):
            predicted = [TEXTS[token] for token in top[prompt, layer].tolist()]
            wanted = rate_of(predicted, attributes[int(subject[prompt])], STOP_WORDS)
            assert float(found[prompt, layer]) == torch.tensor(wanted).item()
            assert wanted == -1 or 0 <= wanted <= 100
