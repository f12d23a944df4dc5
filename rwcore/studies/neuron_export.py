"""Cards of neurons as files: web pages, Markdown and tables. ``OUTPUTS.md`` documents them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from rwcore.errors import OptionError
from rwcore.pages.cards import NeuronCard, card_markdown, card_page, index_page
from rwcore.provenance import Stopwatch, collect
from rwcore.store import MANIFEST, write_json, write_text
from rwcore.studies.folder import check_target, files_of, filling, write_csv
from rwcore.studies.neuron_cards import TOKENS_DEFINITION
from rwcore.studies.weights import DEFINITION, NULL_DEFINITION, WeightStudy

SCHEMA = "rwcore-neurons/1"
COLUMNS = {
    "neurons.csv": (
        "layer",
        "neuron",
        "class",
        "role",
        "gatelin",
        "gateout",
        "linout",
        "norm_gate",
        "norm_in",
        "norm_out",
        "turned",
        "kurtosis",
        "skew",
        "variance",
    ),
    "tokens.csv": ("layer", "neuron", "matrix", "vector", "sign", "rank", "token_id", "token", "value"),
}


@dataclass(frozen=True)
class CardsExport:
    """What was written: the folder, its ``manifest.json``, and the table of neurons."""

    folder: Path
    manifest: dict[str, Any]
    neurons: pd.DataFrame


def neurons_frame(cards: Sequence[NeuronCard]) -> pd.DataFrame:
    """One row per card, columns as in `COLUMNS`; empty where a model or study has no such value."""
    rows = []
    for card in cards:
        row: dict[str, object] = dict.fromkeys(COLUMNS["neurons.csv"])
        row |= {"layer": card.layer, "neuron": card.neuron, "class": card.class_name, "role": card.role}
        row |= {one.name: one.value for one in card.cosines}
        row |= {f"norm_{one.vector}": one.value for one in card.norms}
        row |= {"turned": card.turned, **dict(card.role_facts)}
        rows.append(row)
    return pd.DataFrame(rows, columns=[*COLUMNS["neurons.csv"]])


def tokens_frame(cards: Sequence[NeuronCard]) -> pd.DataFrame:
    """One row per token of a list, columns as in `COLUMNS`."""
    rows = [
        (card.layer, card.neuron, one.matrix, one.vector, one.sign, rank, token.id, token.text, token.value)
        for card in cards
        for one in card.lists
        for rank, token in enumerate(one.tokens, start=1)
    ]
    return pd.DataFrame(rows, columns=[*COLUMNS["tokens.csv"]])


def export_cards(
    study: WeightStudy,
    cards: Sequence[NeuronCard],
    out: Path,
    *,
    chosen_by: str,
    force: bool = False,
    command: str = "",
    options: dict[str, object] | None = None,
) -> CardsExport:
    """Write cards into a folder, whole or not at all.

    Args:
        study: What the cards were made from.
        cards: At least one.
        out: See `rwcore.studies.folder.check_target`.
        chosen_by: How the neurons were chosen, a sentence for the index.
        force: Write into a folder that holds other files.
        command: The command line, for the manifest.
        options: What decided the lists, for the manifest.

    Raises:
        OptionError: There are no cards.
        StoreError: The folder is refused or the disk is full.
    """
    stopwatch = Stopwatch()
    if not cards:
        raise OptionError("there are no neurons to write cards of", remedy="name at least one")
    folder = check_target(out, force=force)
    neurons = neurons_frame(cards)
    with filling(folder) as new:
        write_csv(new / "neurons.csv", neurons, COLUMNS["neurons.csv"])
        write_csv(new / "tokens.csv", tokens_frame(cards), COLUMNS["tokens.csv"])
        for card in cards:
            write_text(new / f"{card.stem}.html", card_page(card, siblings=cards))
            write_text(new / f"{card.stem}.md", card_markdown(card))
        title = f"{len(cards)} neuron{'s' if len(cards) > 1 else ''} of {study.local.spec.id}"
        write_text(new / "index.html", index_page(cards, title=title, lead=chosen_by, files=[*COLUMNS]))
        manifest = {
            "schema": SCHEMA,
            "complete": True,
            "command": command,
            "model": study.local.identity(),
            "processing": study.processing,
            "fold_sign": study.cosines.gated,
            "chosen_by": chosen_by,
            "options": options or {},
            "definitions": {
                "cosines": DEFINITION,
                "mismatched_region": NULL_DEFINITION,
                "tokens": TOKENS_DEFINITION,
            },
            "files": files_of(new, COLUMNS),
            "provenance": {"statistics": study.provenance, "export": collect(stopwatch)},
        }
        write_json(new / MANIFEST, manifest)
    return CardsExport(folder, manifest, neurons)
