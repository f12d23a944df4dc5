"""Cards as files: complete, exact, removed when no longer asked for."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fixtures.planted import plant
from fixtures.tiny import save_tokenizer
from rwcore.errors import OptionError, StoreError
from rwcore.models.registry import find
from rwcore.pages.cards import NeuronCard
from rwcore.store import Store
from rwcore.studies.neuron_cards import neuron_cards
from rwcore.studies.neuron_export import COLUMNS, SCHEMA, export_cards
from rwcore.studies.weights import WeightStudy, weight_study
from rwcore.tests.command_line import names

NEURON = (1, 5)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> WeightStudy:
    folder = plant("llama", tmp_path_factory.mktemp("model") / "llama").folder
    save_tokenizer(folder, 64)
    return weight_study(find(str(folder)), store=Store(tmp_path_factory.mktemp("store")))


@pytest.fixture(scope="module")
def card(study: WeightStudy) -> NeuronCard:
    return neuron_cards(study, [NEURON], k=6, matrix="both")[0]


@pytest.fixture(scope="module")
def exported(study: WeightStudy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    cards = neuron_cards(study, [NEURON, (0, 2)], k=6, matrix="both")
    out = tmp_path_factory.mktemp("out") / "cards"
    options: dict[str, object] = {"k": 6}
    return export_cards(
        study, cards, out, chosen_by="Named.", command="rwcore neurons", options=options
    ).folder


def test_the_files_are_complete(exported: Path) -> None:
    stems = ("neuron-1.5", "neuron-0.2")
    pages = {f"{stem}.{ending}" for stem in stems for ending in ("html", "md")}
    assert set(names(exported)) == {"index.html", "manifest.json", *COLUMNS, *pages}
    manifest = json.loads((exported / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["schema"] == SCHEMA
    assert manifest["complete"] is True
    assert {one["name"] for one in manifest["files"]} == {*names(exported)} - {"manifest.json"}
    assert manifest["options"] == {"k": 6}
    assert manifest["chosen_by"] == "Named."


def test_tables_hold_what_the_cards_hold(exported: Path, card: NeuronCard) -> None:
    neurons = pd.read_csv(exported / "neurons.csv")
    assert tuple(neurons.columns) == COLUMNS["neurons.csv"]
    row = neurons.iloc[0]
    assert (row["layer"], row["neuron"], row["class"]) == (*NEURON, card.class_name)
    assert row["linout"] == pytest.approx(card.cosines[2].value, rel=1e-8)
    assert np.isnan(row["role"])
    tokens = pd.read_csv(exported / "tokens.csv", keep_default_na=False)
    assert tuple(tokens.columns) == COLUMNS["tokens.csv"]
    first = tokens.query("layer == 1 and matrix == 'unembedding' and vector == 'out' and sign == 1")
    assert first["rank"].tolist() == [1, 2, 3, 4, 5, 6]
    assert first["token"].tolist() == [token.text for token in card.lists[4].tokens]
    assert first["value"].tolist() == pytest.approx([token.value for token in card.lists[4].tokens], rel=1e-8)
    assert len(tokens) == 2 * (6 + 4) * 6


def test_a_folder_with_other_files_is_refused(study: WeightStudy, card: NeuronCard, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(StoreError, match="not empty"):
        export_cards(study, [card], tmp_path, chosen_by="Named.")
    export_cards(study, [card], tmp_path, chosen_by="Named.", force=True)
    assert "neuron-1.5.html" in names(tmp_path)
    with pytest.raises(OptionError, match="no neurons"):
        export_cards(study, [], tmp_path, chosen_by="Named.")


def test_cards_that_are_no_longer_asked_for_are_removed(study: WeightStudy, tmp_path: Path) -> None:
    for neuron in ((0, 1), (0, 2)):
        export_cards(
            study, neuron_cards(study, [neuron], k=1, null=False), tmp_path / "out", chosen_by="Named."
        )
    assert [name for name in names(tmp_path / "out") if name.startswith("neuron-")] == [
        "neuron-0.2.html",
        "neuron-0.2.md",
    ]
