"""Heads that a study is asked of."""

import pytest

from fixtures.planted_heads import plant_heads
from fixtures.tiny import build, local_model
from rwcore.errors import ModelError, OptionError
from rwcore.studies.asked_heads import asked_heads, require_heads, require_readable_heads
from rwcore.studies.weights import weight_study
from rwcore.weights.fold import AS_PUBLISHED, RAW


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return weight_study(local_model(plant_heads(tmp_path_factory.mktemp("heads"))), processing=AS_PUBLISHED)


def test_heads_by_name_and_by_number(weights):
    late = range(1, 2)
    assert asked_heads(weights, "late", late) == ((1, 0), (1, 1), (1, 2))
    assert asked_heads(weights, "all", late) == ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2))
    assert asked_heads(weights, ((1, 2), (0, 1), (1, 2)), late) == ((0, 1), (1, 2))


def test_heads_that_are_not_there(weights):
    with pytest.raises(OptionError, match=r"no heads 2\.0, 1\.3") as caught:
        require_heads(weights, ((0, 0), (2, 0), (1, 3)), "--paths")
    assert caught.value.where == "--paths"
    assert "heads 0 to 2" in str(caught.value.remedy)
    with pytest.raises(OptionError, match="no heads are named"):
        asked_heads(weights, (), range(2))


def test_models_whose_heads_cannot_be_read(weights, tmp_path):
    assert require_readable_heads(weights).n_heads == 3
    with pytest.raises(OptionError, match="processed weights"):
        require_readable_heads(weight_study(weights.local, processing=RAW))
    encoder = weight_study(local_model(build("bert", tmp_path)), processing=AS_PUBLISHED)
    with pytest.raises(ModelError, match="no decoder"):
        require_readable_heads(encoder)
