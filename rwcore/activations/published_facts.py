"""What holds within neuron pages of the published layout: one row of numbers per page, one row per peak.

Source: neuroscope specification, section 8 (claims J1 to J16) and section 14.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import combinations

import pandas as pd
import torch
from torch import Tensor

from rwcore.activations.examples import quadrant_codes
from rwcore.activations.published_pages import (
    QUANTITY_OF,
    PublishedExample,
    PublishedPage,
    labels_of,
)
from rwcore.activations.quadrants import QUADRANTS
from rwcore.errors import OptionError

NO_ZERO = float(torch.tensor(-1e-7, dtype=torch.float32))
"""What the published pages have in place of 0 in a column without positive numbers; their viewer paints
exact zeros wrongly there."""

CONTEXT = 8
"""Tokens before the peak that a row of `peaks` shows."""

FLAT = 1e-6
"""A list is flat if |peak| differs by less between its first and its last example."""

LIST = ["layer", "neuron", "case", "hook"]
"""The columns of a table of peaks that say which list an example belongs to."""


def _gelu(x: Tensor) -> Tensor:
    return 0.5 * x * torch.erfc(-x / math.sqrt(2))


def _gelu_tanh(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


# Written out, so that they do not come from the library that the models use.
FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": lambda x: x / (1 + torch.exp(-x)),
    "gelu": _gelu,
    "gelu_pytorch_tanh": _gelu_tanh,
    "relu": lambda x: x.clamp(min=0),
}


def function_of(name: str) -> Callable[[Tensor], Tensor]:
    """The activation function of a name in a model's config.

    Raises:
        OptionError: It is not one of `FUNCTIONS`.
    """
    if name not in FUNCTIONS:
        raise OptionError(
            f"unknown activation function {name!r}", where="config", remedy=f"known: {', '.join(FUNCTIONS)}"
        )
    return FUNCTIONS[name]


# --- one row per page -------------------------------------------------------------------------------------


def page_facts(pages: Iterable[PublishedPage], function: str = "silu") -> pd.DataFrame:
    """Numbers about the files of each page; most count what should not be.

    Args:
        pages: The pages.
        function: Name of the activation function f.

    Returns:
        One row per page, with layer and neuron. Counts: ``files``; ``other_labels`` (files);
        ``not_float32`` (numbers); ``other_beginnings`` (files that begin with another token than the first
        one), ``beginnings_again`` (tokens behind the beginning that have its text); ``inexact_products``
        (tokens whose post is not the float32 product of act and in); ``zeros_written_otherwise`` (columns,
        see `NO_ZERO`); ``pairs`` and ``equal_pairs``, see `common_prefixes`; ``repeating_lists`` (with one
        text several times). Largest: ``act_error`` |act - f(gate)| and ``act_error_by_size``, over
        max(1, |gate|); ``post_error`` |post - f(gate)·in|, ``post_relative_error``, over the product, and
        ``post_error_by_size``, over max(1, |gate|)·|in|; ``listed_error`` of the first column against the raw
        one, 0 outside the quadrant; ``pair_difference``; ``most_repeats``. And ``smallest_act``.
    """
    return pd.DataFrame([_facts_of(page, function_of(function)) for page in pages])


def _facts_of(page: PublishedPage, function: Callable[[Tensor], Tensor]) -> dict[str, float | int]:
    beginning = page.examples[0].tokens[0]
    each = [_facts_of_example(example, function, beginning) for example in page.examples]
    repeats = [_most_repeats(examples) for examples in page.lists().values()]
    return {
        "layer": page.layer,
        "neuron": page.neuron,
        "files": len(page.examples),
        **{name: (max if "error" in name else sum)(one[name] for one in each) for name in each[0]},
        "smallest_act": min(float(example.of("act").min()) for example in page.examples),
        **_facts_of_pairs(page),
        "repeating_lists": sum(most > 1 for most in repeats),
        "most_repeats": max(repeats),
    }


def _facts_of_example(
    example: PublishedExample, function: Callable[[Tensor], Tensor], beginning: str
) -> dict[str, float | int]:
    gate, in_, act, post = (example.of(name) for name in ("gate", "in", "act", "post"))
    wanted, size = function(gate), gate.abs().clamp(min=1)
    off_act, off_post = (act - wanted).abs(), (post - wanted * in_).abs()
    listed = example.of(QUANTITY_OF[example.hook]).where(example.inside(), 0)
    errors = {
        "act_error": off_act,
        "act_error_by_size": off_act / size,
        "post_error": off_post,
        "post_relative_error": off_post / (wanted * in_).abs(),
        "post_error_by_size": off_post / (size * in_.abs()),
        "listed_error": (example.listed - listed).abs(),
    }
    return {
        "other_labels": int(example.labels != labels_of(example.case, example.hook)),
        "not_float32": int((example.values != example.values.float().double()).sum()),
        "other_beginnings": int(example.tokens[0] != beginning),
        "beginnings_again": example.tokens[1:].count(beginning),
        "inexact_products": int((act.float() * in_.float() != post.float()).sum()),
        "zeros_written_otherwise": sum(map(_zeros_written_otherwise, example.values.T)),
        # 0/0 is no error: both sides are 0.
        **{name: float(off.nan_to_num(nan=0.0).max()) for name, off in errors.items()},
    }


def _zeros_written_otherwise(column: Tensor) -> bool:
    """Whether a column breaks the rule that zeros are `NO_ZERO` if and only if nothing is positive."""
    return bool((column == (NO_ZERO if bool((column > 0).any()) else 0.0)).any())


def _most_repeats(examples: list[PublishedExample]) -> int:
    return max(Counter(example.tokens for example in examples).values())


def _facts_of_pairs(page: PublishedPage) -> dict[str, float | int]:
    differences = [_difference(first, second, length) for first, second, length in common_prefixes(page)]
    return {
        "pairs": len(differences),
        "equal_pairs": sum(difference == 0 for difference in differences),
        "pair_difference": max(differences, default=0.0),
    }


def common_prefixes(page: PublishedPage) -> list[tuple[PublishedExample, PublishedExample, int]]:
    """Pairs of examples in different lists, the shorter text being the beginning of the longer; its length.

    A model reads from left to right: what it does on the common beginning must be the same.
    """
    found = []
    for first, second in combinations(page.examples, 2):
        length = min(len(first.tokens), len(second.tokens))
        if first.which != second.which and first.tokens[:length] == second.tokens[:length]:
            found.append((first, second, length))
    return found


def _difference(first: PublishedExample, second: PublishedExample, length: int) -> float:
    """The largest difference of post, in, gate and act over the first tokens."""
    return float((first.raw[:length] - second.raw[:length]).abs().max())


# --- one row per peak -------------------------------------------------------------------------------------


def peaks(pages: Iterable[PublishedPage]) -> pd.DataFrame:
    """The peak of every example, in the columns of ``neuroscope_examples.csv``.

    Returns:
        layer, neuron, case, hook, rank; n_tokens_shown; peak_pos, peak_value (of the first column); gate,
        in, post there; n_in_quadrant (tokens of the text); n_ties_at_peak; token; context (the
        `CONTEXT` tokens before).
    """
    return pd.DataFrame(
        [
            {"layer": page.layer, "neuron": page.neuron, **_peak(example)}
            for page in pages
            for example in page.examples
        ]
    )


def _peak(example: PublishedExample) -> dict[str, object]:
    peak, size = example.peak, example.listed.abs()
    return {
        "case": example.case,
        "hook": example.hook,
        "rank": example.rank,
        "n_tokens_shown": len(example.tokens),
        "peak_pos": peak,
        "peak_value": float(example.listed[peak]),
        **{name: float(example.of(name)[peak]) for name in ("gate", "in", "post")},
        "n_in_quadrant": int(example.inside().sum()),
        "n_ties_at_peak": int((size == size[peak]).sum()),
        "token": example.tokens[peak],
        "context": "".join(example.tokens[max(0, peak - CONTEXT) : peak]),
    }


def wrong_peaks(found: pd.DataFrame, function: str = "silu") -> dict[str, float | int]:
    """What is wrong at the peaks themselves.

    Returns:
        ``not_the_listed_quantity`` and ``outside_the_quadrant``, numbers of peaks; ``act_error_at_peaks`` of
        lists of act, ``post_error_at_peaks`` and ``post_relative_error_at_peaks``, the largest difference
        from the product.
    """
    gate, in_, post, value = (
        torch.tensor(found[name].tolist(), dtype=torch.float64)
        for name in ("gate", "in", "post", "peak_value")
    )
    act = function_of(function)(gate)
    of = {"post": post, "in": in_, "gate": gate, "act": value}
    quantities = [QUANTITY_OF[hook] for hook in found["hook"]]
    raw = torch.stack([of[quantity][place] for place, quantity in enumerate(quantities)])
    codes = torch.tensor([QUADRANTS.index(case) for case in found["case"]])
    of_act = torch.tensor([quantity == "act" for quantity in quantities])
    off = (post - act * in_).abs()
    return {
        "not_the_listed_quantity": int((raw != value).sum()),
        "outside_the_quadrant": int((quadrant_codes(gate, in_) != codes).sum()),
        "act_error_at_peaks": float((act - value).abs().where(of_act, 0).max()),
        "post_error_at_peaks": float(off.max()),
        "post_relative_error_at_peaks": float((off / (act * in_).abs()).max()),
    }


def places_of_peaks(found: pd.DataFrame) -> pd.Series[str]:
    """Where peaks are: ``third last`` (as cut), ``second last``, ``last`` (document ends), ``elsewhere``."""
    after = found["n_tokens_shown"] - 1 - found["peak_pos"]
    return after.map({2: "third last", 1: "second last", 0: "last"}).fillna("elsewhere")


def rises(found: pd.DataFrame) -> pd.DataFrame:
    """By how much |peak| rises from one rank to the next, negative where it falls: ``rise``, ``relative``."""
    size = found.sort_values([*LIST, "rank"])["peak_value"].abs()
    lists = [found[name] for name in LIST]
    before = size.groupby(lists).shift()
    rise = (size - before).dropna()
    return pd.DataFrame({"rise": rise, "relative": rise / before.dropna()})


def spreads(found: pd.DataFrame) -> pd.DataFrame:
    """One row per list: layer, neuron, case, hook; ``first`` and ``last`` |peak|, ``ratio``, ``flat``."""
    ordered = found.assign(size=found["peak_value"].abs()).sort_values([*LIST, "rank"])
    lists = ordered.groupby(LIST)["size"].agg(["first", "last"]).reset_index()
    return lists.assign(
        ratio=lists["last"] / lists["first"], flat=(lists["first"] - lists["last"]).abs() < FLAT
    )


def measure(pages: Iterable[PublishedPage], function: str = "silu") -> tuple[pd.DataFrame, pd.DataFrame]:
    """`page_facts` and `peaks` of pages that are read only once."""
    facts, places = [], []
    for page in pages:
        facts.append(page_facts([page], function))
        places.append(peaks([page]))
    return pd.concat(facts, ignore_index=True), pd.concat(places, ignore_index=True)
