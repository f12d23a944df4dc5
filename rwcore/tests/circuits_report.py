"""A page of circuits to test: two heads of a made-up vocabulary, with lists that are sorted one by one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from rwcore.heads.circuit_statistics import STATISTICS
from rwcore.heads.token_lists import FOCUSES, LISTS
from rwcore.models.vocabulary import Vocabulary, shown
from rwcore.pages.head_circuits import BARS, CircuitsReport

VOCAB, LAYERS, HEADS = 120, 3, 4
CHARTED = ((2, 1), (0, 3))
"""The first suppresses copies, the second does nothing of the kind."""
ODD = {
    5: " love",
    6: "love",
    7: " pier",
    8: "</script><script>alert(1)</script>",
    9: " it's",
    10: "\n",
    11: ' "so"',
}
ASKED, WORDS = (5, 7, 8, 9), (6, 10, 11, 40, 41)
TEXTS = tuple(ODD.get(number, f" w{number}") for number in range(VOCAB))
VOCABULARY = Vocabulary(tuple(map(shown, TEXTS)), VOCAB, TEXTS, frozenset())


def matrix(circuit: str, head: tuple[int, int]) -> np.ndarray:
    """Row: the source of OV, the destination of QK."""
    found = np.random.default_rng([*head, circuit == "QK"]).normal(size=(VOCAB, VOCAB)).round(3)
    if head == CHARTED[0]:
        found[np.diag_indices(VOCAB)] = -9 if circuit == "OV" else 9
    return found


def ordered(name: str, focus: str, head: tuple[int, int], token: int) -> list[tuple[int, float]]:
    """All tokens of a list with their values, the first one first."""
    circuit = "QK" if name == "attended" else "OV"
    whole = matrix(circuit, head)
    row = whole[token] if (focus == "source") == (circuit == "OV") else whole[:, token]
    sign = 1 if name == "suppressed" else -1
    return [(other, float(row[other])) for other in sorted(range(VOCAB), key=lambda one: sign * row[one])]


def list_rows(tokens: tuple[int, ...]) -> Iterator[dict[str, Any]]:
    """Rows as `rwcore.studies.head_circuits.CircuitStudy.lists` gives them."""
    for layer, head in CHARTED:
        for name in ("suppressed", "boosted", "attended"):
            for focus in FOCUSES:
                for token in tokens:
                    for place, (other, value) in enumerate(
                        ordered(name, focus, (layer, head), token), start=1
                    ):
                        if place <= BARS or other == token:
                            circuit = "QK" if name == "attended" else "OV"
                            row = (layer, head, circuit, focus, token, name, place, other, value)
                            yield dict(zip(LISTS, row, strict=True))


def share(circuit: str, layer: int, head: int) -> float:
    """Of the map."""
    return ((7 * layer + 3 * head + (circuit == "QK")) % 11) / 20


def statistics() -> pd.DataFrame:
    """One row per circuit and head; head 1.0 was not looked at, head 1.1 does nothing."""
    rows = [
        {**dict.fromkeys(STATISTICS, 0), "circuit": circuit, "layer": layer, "head": head, "rows": 50,
         "below_10": share(circuit, layer, head), "near_ties": 119 if (layer, head) == (1, 1) else 0}
        for circuit in ("OV", "QK")
        for layer in range(LAYERS)
        for head in range(HEADS)
        if (layer, head) != (1, 0)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def report(**changes: Any) -> CircuitsReport:
    """What the page is about."""
    facts: dict[str, Any] = {
        "model": "org/<model>",
        "shape": (LAYERS, HEADS),
        "vocabulary": VOCABULARY,
        "statistics": statistics(),
        "lists": pd.DataFrame([*list_rows((*ASKED, *WORDS))], columns=[*LISTS]),
        "heads": CHARTED,
        "asked": ASKED,
        "words": WORDS,
        "chosen": "words that were & are <frequent>.",
        "embedding": "EE-A",
        "query": "W_U",
        "key": "EE-B",
        "distance": 3,
        "again": ["--rows=50", "--seed=0"],
        "files": ["heads.csv", "manifest.json"],
        "provenance": [("command", "rwcore heads circuits '<x>'")],
    }
    return CircuitsReport(**{**facts, **changes})
