"""Single neurons on a text, as claims ask for them."""

from types import SimpleNamespace

import torch

from rwcore.plugin.stimuli import NeuronsOnText


def test_medians_with_and_without_a_feature():
    values = torch.tensor([5.0, -1.0, 9.0, 2.0, -3.0, 4.0, 7.0])
    study = SimpleNamespace(values=lambda pairs: dict.fromkeys(pairs, values))
    # Of the tokens 1 to 6 the data set has labels; the examples of the feature leave one of them out.
    ends = SimpleNamespace(
        name="ends",
        example=torch.tensor([0, 1, 2, 4, 5]),
        label=torch.tensor([False, True, False, True, True]),
    )
    data = SimpleNamespace(token=torch.arange(1, 7), features=[SimpleNamespace(name="other"), ends])
    found = NeuronsOnText(study, data, stand_in=False).medians(
        (0, 0), "ends", names=("without", "with"), key="label"
    )
    # Without: tokens 1 and 3 (torch takes the lower of two); with: tokens 2, 5 and 6.
    assert found["value"].tolist() == [-1.0, 7.0]
    assert found["label"].tolist() == ["without", "with"]
