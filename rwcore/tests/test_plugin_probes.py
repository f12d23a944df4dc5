"""Which neurons of probes claims about any model are asked of."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pandas as pd
import pytest
import torch

from rwcore.plugin.probes import END, OwnTextProbes
from rwcore.probing.splits import Split
from rwcore.probing.tasks import ProbeTask
from rwcore.studies.probe_tables import Atlas
from rwcore.studies.weights import WeightStudy

NOBODY = cast(WeightStudy, None)


def atlas(**columns: list[list[float]]) -> Atlas:
    """One feature; a list of neurons for each layer."""
    split = Split(*(torch.tensor([0, 1]) for _ in range(3)))
    label = torch.tensor([True, False])
    task = ProbeTask("pronouns", "pronouns", "Gender_Fem", torch.arange(2), label, torch.arange(2), split)
    found = {name: torch.tensor(values)[:, None] for name, values in columns.items()}
    return Atlas("m", [task], [0, 1], 2, found)


def probes(**known: Any) -> OwnTextProbes:
    """Probes of which something is known already."""
    found = OwnTextProbes(NOBODY)
    vars(found).update(known)
    return found


def of_pronouns(**columns: list[list[float]]) -> OwnTextProbes:
    one = SimpleNamespace(atlas=atlas(**columns), data=SimpleNamespace(name="pronouns"))
    other = SimpleNamespace(data=SimpleNamespace(name="code"), atlas=None)
    return probes(study=SimpleNamespace(found=[other, one]))


def test_neurons_that_validation_does_not_tell_apart_count_alike() -> None:
    found = of_pronouns(
        validation_mcc=[[1.0, 0.5], [1.0, 1.0]],
        validation_pr_auc=[[1.0, 1.0], [1.0, 0.9]],
        test_mcc=[[0.8, 0.1], [1.0, 0.3]],
    )
    assert found.genders == {"Gender_Fem": pytest.approx(0.9)}


@pytest.mark.parametrize(("polarity", "sign"), [("+", 1), ("-", -1)])
def test_the_neuron_of_the_ends_of_sentences(polarity: str, sign: int) -> None:
    rows = [("first_word_of_sentence", 1, 2, "+"), (END, 3, 4, polarity)]
    table = pd.DataFrame(rows, columns=["feature", "layer", "neuron", "polarity"])
    assert probes(tables={"sentences": table}).end_of_sentence == (3, 4, sign)
