"""The page of OV and QK circuits: for chosen heads and tokens, what is lowered, raised and attended to."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rwcore.heads.circuit_statistics import UNDECIDED
from rwcore.heads.token_lists import ATTENDED, BOOSTED, FOCUSES, SUPPRESSED
from rwcore.models.vocabulary import Vocabulary
from rwcore.pages.packed_json import packed_json
from rwcore.pages.render import render

if TYPE_CHECKING:
    import pandas as pd

MOST_BYTES = 1_500_000
BARS = 20
"""Bars of a chart at most: the length of the lists."""
LISTS = (SUPPRESSED, BOOSTED, ATTENDED)
SHARE = "below_10"
"""What the map of heads shows: a column of ``heads.csv``."""
NOTHING = -1.0
"""Stands for the share of a head whose entries are all alike, of which ranks say nothing."""
READ = {
    "raw": "the embedding of a token, nothing else",
    "EE-A": "a token's embedding and what the first MLP adds to it; the first attention is left out",
    "EE-B": "the first layer's output for a token that stands alone, without the biases of its attention",
    "EE-C": "the first layer's output for a token that stands alone",
    "EE-A-MLP": "only what the first MLP adds to a token's embedding; the first attention is left out",
    "EE-B-MLP": "only what the first MLP adds, behind the first attention without its biases",
    "EE-C-MLP": "only what the first MLP adds, behind the first attention",
    "EE-B-added": "what the first layer adds to a token's embedding, without the biases of its attention",
    "EE-C-added": "what the first layer adds to a token's embedding",
    "W_U": "a token's row of the unembedding: a position that predicts this token",
}
"""What each table of tokens is made of."""


@dataclass(frozen=True, eq=False)
class CircuitsReport:
    """What the page says.

    Attributes:
        model: Id of the model.
        shape: Layers of the model, and heads of a layer.
        vocabulary: Texts of all tokens.
        statistics: ``heads.csv``: one row per circuit and head.
        lists: Lists of `BARS` tokens of the heads and tokens below; columns of
            `rwcore.heads.token_lists.LISTS`, no tokens beside a list but its own.
        heads: (layer, head) pairs with lists, in the order of the page; the first is shown first.
        asked: Ids of tokens that were asked for.
        words: Ids of tokens that were chosen; the last are left out where the page would be too large.
        chosen: How these were chosen, a sentence.
        embedding: Name of the table OV reads.
        query: Name of the table of queries, or None without QK.
        key: Name of the table of keys, or None.
        distance: Positions from key to query.
        again: Options of the command line that make these numbers, but for heads, tokens and folder.
        files: Names of files beside the page.
        provenance: Names and texts for the foot of the page.
    """

    model: str
    shape: tuple[int, int]
    vocabulary: Vocabulary
    statistics: pd.DataFrame
    lists: pd.DataFrame
    heads: Sequence[tuple[int, int]]
    asked: Sequence[int]
    words: Sequence[int]
    chosen: str
    embedding: str
    query: str | None
    key: str | None
    distance: int
    again: Sequence[str]
    files: Sequence[str]
    provenance: Sequence[tuple[str, str]]


def circuits_page(report: CircuitsReport, *, most_bytes: int = MOST_BYTES) -> str:
    """The page as one file that needs nothing else.

    Args:
        report: What it says.
        most_bytes: If the page would be larger, it leaves out words that were not asked for (but one, if none
            was asked for), then heads, then tokens that were, the last ones first; it says so of heads and
            of tokens that were asked for.
    """
    heads, words = [*report.heads], [*report.words]
    asked = [*dict.fromkeys(report.asked)]
    while True:
        tokens = [*asked, *(word for word in words if word not in asked)]
        page = render(
            "head_circuits.html",
            report=report,
            data=packed_json(page_data(report, heads, tokens)),
            heads=len(heads),
            tokens=len(tokens),
            asked=len(asked),
            left_out=_left_out(report, len(heads), len(asked)),
            read=READ,
            bars=BARS,
            rows=int(report.statistics["rows"].iloc[0]),
            circuits=[*dict.fromkeys(report.statistics["circuit"])],
        )
        if len(page.encode()) <= most_bytes:
            return page
        if len(words) > (0 if asked else 1):
            words = words[: len(words) // 2]
        elif len(heads) > 1:
            heads = heads[: (len(heads) + 1) // 2]
        elif len(asked) > 1:
            asked = asked[: (len(asked) + 1) // 2]
        else:
            return page


def page_data(
    report: CircuitsReport, heads: Sequence[tuple[int, int]], tokens: Sequence[int]
) -> dict[str, Any]:
    """Texts, lists and shares.

    Returns:
        ``texts`` of all tokens in lists; ``raw``: how the first of them, which have lists, stand in a text;
        ``heads``; ``lists`` by name, focus, head and token: numbers of texts, values, and the place and value
        of the token itself; ``map``: shares by circuit, layer and head (None: not looked at; `NOTHING`).
    """
    lists = report.lists[report.lists["token"].isin(tokens)]
    wanted = {*heads}
    kept = [pair in wanted for pair in zip(lists["layer"], lists["head"], strict=True)]
    lists = lists[kept]
    numbers = {token: n for n, token in enumerate(dict.fromkeys([*tokens, *lists["other"].tolist()]))}
    found: dict[tuple[Any, ...], list[Any]] = {}
    for key, part in lists.groupby(["list", "focus", "layer", "head", "token"], sort=False):
        own = part[part["other"] == part["token"]].iloc[0]
        first = part[part["place"] <= BARS]
        found[key] = [
            [numbers[other] for other in first["other"]],
            [_short(value) for value in first["value"]],
            [int(own["place"]), _short(own["value"])],
        ]
    names = [name for name in LISTS if (lists["list"] == name).any()]
    return {
        "model": report.model,
        "vocabulary": len(report.vocabulary),
        "again": shlex.join(["rwcore", "heads", "circuits", report.model, *report.again]),
        "texts": [report.vocabulary[token] for token in numbers],
        "raw": [_sayable(report.vocabulary.texts[token]) for token in tokens],
        "heads": [f"{layer}.{head}" for layer, head in heads],
        "lists": {
            name: {
                focus: [[found[name, focus, *head, token] for token in tokens] for head in heads]
                for focus in FOCUSES
            }
            for name in names
        },
        "map": _map(report.statistics, report.shape),
    }


def _map(statistics: pd.DataFrame, shape: tuple[int, int]) -> Mapping[str, list[list[float | None]]]:
    layers, heads = shape
    found: dict[str, list[list[float | None]]] = {}
    for row in statistics.to_dict("records"):
        shares = found.setdefault(str(row["circuit"]), [[None] * heads for _ in range(layers)])
        nothing = row["near_ties"] >= UNDECIDED
        shares[int(row["layer"])][int(row["head"])] = NOTHING if nothing else round(float(row[SHARE]), 4)
    return found


def _short(value: float) -> float:
    """Four digits: bars and their labels need no more."""
    return float(f"{value:.4g}")


def _sayable(text: str) -> str:
    """A text that JSON and a browser can hold: bytes that are no character become U+FFFD."""
    return text.encode("utf-8", errors="surrogateescape").decode("utf-8", errors="replace")


def _left_out(report: CircuitsReport, heads: int, asked: int) -> str:
    """What the page had no room for, but for words that nobody asked for."""
    parts = [
        f"{there - here} {name}"
        for here, there, name in (
            (heads, len(report.heads), "heads"),
            (asked, len({*report.asked}), "of the asked tokens"),
        )
        if here < there
    ]
    return " and ".join(parts)
