"""Which neurons get a page: named ones, the clearest of a class, those of claims."""

from __future__ import annotations

from pathlib import Path

import pytest

from fixtures.planted import plant
from fixtures.tiny import local_model
from rwcore.errors import OptionError
from rwcore.stats.classes import class_codes, classes_of
from rwcore.stats.margins import class_margins
from rwcore.store import Store
from rwcore.studies.page_neurons import (
    ALL,
    clearest_of_class,
    named_neurons,
    neurons_of_claims,
    published_neurons,
)
from rwcore.studies.roles import role_study
from rwcore.studies.weights import WeightStudy, weight_study

OLMO = "allenai/OLMo-7B-0424-hf"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> WeightStudy:
    root = tmp_path_factory.mktemp("planted")
    plant("llama", root / "model")
    return weight_study(local_model(root / "model", id="planted"), store=Store(root / "store"))


def members(study: WeightStudy) -> dict[str, list[tuple[float, int, int]]]:
    """(margin, layer, neuron) of every neuron by class, the largest margin first."""
    codes, margins = class_codes(study.cosines), class_margins(study.cosines)
    found: dict[str, list[tuple[float, int, int]]] = {}
    for number, one in enumerate(classes_of(study.cosines)):
        places = (codes == number).nonzero().tolist()
        rows = [(-float(margins[layer, neuron]), layer, neuron) for layer, neuron in places]
        if rows:
            found[one.name] = sorted(rows)
    return found


def test_the_clearest_of_a_class_lie_farthest_inside(study: WeightStudy) -> None:
    for name, rows in members(study).items():
        for top in (1, 3, len(rows), len(rows) + 5):
            assert clearest_of_class(study, name, top) == [(layer, neuron) for _, layer, neuron in rows[:top]]


def test_all_is_every_class_in_order(study: WeightStudy) -> None:
    expected = [(layer, neuron) for rows in members(study).values() for _, layer, neuron in rows[:2]]
    assert len(expected) > 10
    assert clearest_of_class(study, ALL, 2) == expected


@pytest.mark.parametrize(
    ("name", "top", "said"),
    [
        ("weakning", 3, "weakning"),
        ("weakening", 0, "0 neurons"),
    ],
)
def test_a_wrong_class_or_number_is_refused(study: WeightStudy, name: str, top: int, said: str) -> None:
    with pytest.raises(OptionError, match=said):
        clearest_of_class(study, name, top)


def test_lists_are_joined_and_checked(study: WeightStudy, tmp_path: Path) -> None:
    shape = study.mlp_weights().shape
    file = tmp_path / "chosen.txt"
    file.write_text("0.7 # seven\n1.0-2\n", encoding="utf-8")
    assert named_neurons(["1.1,0.3", f"@{file}", "0.3"], shape) == [(1, 1), (0, 3), (0, 7), (1, 0), (1, 2)]
    with pytest.raises(OptionError, match=f"{shape.d_mlp}.*does not have"):
        named_neurons([f"0.{shape.d_mlp}"], shape)


def test_papers_publish_neurons_of_their_models(tmp_path: Path) -> None:
    folder = tmp_path / "paper" / "published"
    folder.mkdir(parents=True)
    (folder / "a.csv").write_text(
        f"layer,model,neuron\n3,{OLMO},7\n1,other,2\n3,{OLMO},7\n", encoding="utf-8"
    )
    (folder / "b.csv").write_text(f"model,neuron,layer\n{OLMO},4,2\n", encoding="utf-8")
    (folder / "c.csv").write_text(f"model,layer\n{OLMO},9\n", encoding="utf-8")
    assert published_neurons(OLMO, tmp_path) == [(3, 7), (2, 4)]
    assert published_neurons("nobody/knows", tmp_path) == []


def test_neurons_of_claims_are_the_published_ones_and_the_case_studies(
    study: WeightStudy, tmp_path: Path
) -> None:
    folder = tmp_path / "paper" / "published"
    folder.mkdir(parents=True)
    (folder / "a.csv").write_text("model,layer,neuron\nplanted,1,5\n", encoding="utf-8")
    roles = role_study(study, partition=8)
    found = neurons_of_claims(study, roles, tmp_path)
    assert found[0] == (1, 5)
    assert {*found} - {(1, 5)} <= {(row.layer, row.neuron) for row in roles.roles().itertuples()}
    assert len(found) > 1
    (folder / "a.csv").write_text("model,layer,neuron\nplanted,99,5\n", encoding="utf-8")
    with pytest.raises(OptionError, match=r"99\.5"):
        neurons_of_claims(study, roles, tmp_path)
