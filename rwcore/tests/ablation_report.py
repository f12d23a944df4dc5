"""A made-up grid with examples, failures and awkward tokens, for the tests of its page."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import torch

from rwcore.ablation.compare import COLUMNS, FIXED, RunLabel
from rwcore.ablation.continuations import LISTS, Continuations
from rwcore.ablation.examples import FALL, RISE, Example, RunExamples
from rwcore.models.vocabulary import Vocabulary
from rwcore.pages.ablation import AblationReport

WORDS = Vocabulary(
    (
        "<script>alert(1)</script>",
        "␣the",
        "⏎",
        "␣mic",
        '"quoted"',
        "&amp;",
        "العربية",
        "⟨U+200B⟩",
        "</details>",
        "␣O",
    ),
    10,
    texts=(),
    special=frozenset(),
)
WEAKENING = RunLabel("weakening", "zero")
BASELINE = RunLabel("weakening", "zero", baseline=True)
DOMINANT = RunLabel("weakening <&>", "zero", gate="-", post="+")
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63f8ffff3f0005fe02"
    "fe0def46b80000000049454e44ae426082"
)


def row(label: RunLabel, metric: str, mean: float, half: float, **more: float) -> dict[str, Any]:
    """A row of ``ablation.csv``."""
    names = {name: getattr(label, name) for name in ("set", "baseline", "mode", "gate", "post")}
    low, high = (mean - half, mean + half) if math.isfinite(half) else (math.nan, math.nan)
    numbers = {"n": 1234, "mean": mean, "low": low, "high": high, "changed": 0.5}
    ends = {"min": -8.0, "q1": -0.1, "median": 0.0, "q3": 0.1, "max": 2.5}
    return {**names, "metric": metric, **numbers, **ends, **more}


def rows(label: RunLabel, mean: float, half: float = 0.01) -> list[dict[str, Any]]:
    """The rows of a run."""
    factors = {"loss": 1.0, "entropy": -2.0, "rank": 100.0, "log_scale": 0.1}
    return [row(label, metric, factor * mean, half) for metric, factor in factors.items()]


def example(**changes: Any) -> Example:
    """The Omicron example, shortened: at ``␣O`` the model predicts ``␣mic``."""
    given: dict[str, Any] = {
        "metric": "loss",
        "direction": RISE,
        "row": 31,
        "document": 7,
        "position": 25,
        "clean": 0.125,
        "ablated": 8.25,
        "difference": -8.125,
        "next_token": 3,
        "start": 22,
        "tokens": (1, 0, 2, 9, 3, 8, 6),
        "clean_values": (math.nan, 1.0, 2.0, 0.5, 0.125, 3.0, 4.0),
        "ablated_values": (math.nan, 1.5, 1.0, 0.5, 8.25, 3.25, 2.0),
        "differences": (math.nan, -0.5, 1.0, 0.0, -8.125, -0.25, 2.0),
    }
    return Example(**{**given, **changes})


def lists_at(*places: tuple[int, int]) -> Continuations:
    """Made-up lists of three tokens at each place."""
    ids = torch.tensor([[3, 7, 0]], dtype=torch.int32).repeat(len(places), 1)
    values = torch.tensor([[0.9, 0.05, 0.0002]]).repeat(len(places), 1)
    arrays = {f"{name}_ids": ids for name in LISTS} | {f"{name}_values": values for name in LISTS}
    arrays["suppressed_values"] = -10 * values
    arrays["ablated_ids"] = ids.flip(1)
    return Continuations(torch.tensor(places), **arrays)


EXAMPLES = (
    example(),
    example(row=32, document=8, difference=-2.0),
    example(direction=FALL, difference=6.0, differences=(math.nan, -0.5, 1.0, 0.0, 6.0, -0.25, 2.0)),
    # The prediction at the end of a row is of no token.
    example(
        metric="entropy",
        next_token=None,
        tokens=(1, 0, 2, 9),
        clean_values=(math.nan, 1.0, 2.0, 0.5),
        ablated_values=(math.nan, 1.0, 2.0, 0.5),
        differences=(math.nan, 0.0, 0.0, 0.0),
        difference=-1.0,
        clean=1.0,
        ablated=2.0,
    ),
)


def report(**changes: Any) -> AblationReport:
    """A report of three runs: one with everything, its baseline, and one whose lists are missing."""
    table = pd.DataFrame(
        [*rows(WEAKENING, -0.2), *rows(BASELINE, -0.01), *rows(DOMINANT, 0.4, math.nan)],
        columns=list(COLUMNS),
    )
    given: dict[str, Any] = {
        "model": "org/<model>",
        "corpus": "texts & <more>",
        "tokens": 12345,
        "documents": 67,
        "convention": FIXED,
        "table": table,
        "neurons": {WEAKENING: 526, BASELINE: 526, DOMINANT: 3},
        "examples": [
            RunExamples(WEAKENING, 526, EXAMPLES, lists_at((31, 25), (32, 25))),
            RunExamples(DOMINANT, 3, EXAMPLES[:1], None),
        ],
        "words": WORDS,
        "failures": [
            {
                "name": "weakening mean",
                "error": "mean ablation needs <means>",
                "where": "--mode mean",
                "remedy": "give & take",
            },
            {"name": "examples of x", "error": "no memory", "where": None, "remedy": None},
        ],
        "figure": PNG,
        "files": ["ablation.csv", "examples.csv"],
        "provenance": [("command", "rwcore ablate <x>")],
    }
    return AblationReport(**{**given, **changes})
