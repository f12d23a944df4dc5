"""Token lists of heads: of planted ones, and against whole rows and columns of the circuits."""

import pytest
import torch

from fixtures.planted_heads import COPIER, SUPPRESSOR, plant_heads
from fixtures.tiny import build, local_model
from rwcore.errors import OptionError
from rwcore.heads.embeddings import effective_embedding
from rwcore.heads.query_key import QKOptions, as_read, keys, queries
from rwcore.heads.readout import Readout
from rwcore.heads.run import output_matrices
from rwcore.heads.token_lists import LISTS, ov_lists, qk_lists
from rwcore.models.load import load_bridge


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    local = local_model(plant_heads(tmp_path_factory.mktemp("heads")))
    model = load_bridge(local)
    return model, (effective_embedding(model, "EE-A", torch.arange(24)), Readout.of(local).rows)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    local = local_model(build("llama", tmp_path_factory.mktemp("llama")))
    model = load_bridge(local)
    return model, (effective_embedding(model, "EE-A", torch.arange(64)), Readout.of(local).rows)


def first(frame, token, name):
    return frame[(frame["token"] == token) & (frame["list"] == name)].iloc[0]


@pytest.mark.parametrize("focus", ["source", "destination"])
def test_planted_heads(planted, focus):
    model, (source, rows) = planted
    for (layer, head), name in ((SUPPRESSOR, "suppressed"), (COPIER, "boosted")):
        found = ov_lists(model, layer, head, (source, rows), [5, 9], focus=focus, count=4)
        assert list(found) == list(LISTS)
        for token in (5, 9):
            row = first(found, token, name)
            assert (row["other"], row["place"]) == (token, 1)
            assert (row["value"] < 0) == (name == "suppressed")
    layer, head = SUPPRESSOR
    match = qk_lists(model, layer, head, (rows, source), [5, 9], focus=focus, count=4)
    assert [first(match, token, "attended")["other"] for token in (5, 9)] == [5, 9]


def test_given_tokens_follow_with_their_place(planted):
    model, tables = planted
    found = ov_lists(model, *COPIER, tables, [5, 9], count=2)
    part = found[(found["token"] == 5) & (found["list"] == "suppressed")]
    assert len(part) == 4
    assert part["place"].tolist()[:2] == [1, 2]
    assert part[part["other"] == 5]["place"].tolist() == [24]
    assert part["place"].is_monotonic_increasing


def test_values_are_rows_and_columns_of_the_circuits(tiny):
    model, (source, rows) = tiny
    W_V, W_O = model.blocks[1].attn.W_V.detach(), output_matrices(model, 1)
    matrix = as_read(model, 1, source) @ W_V[1] @ W_O[3] @ rows.T
    options = QKOptions(distance=2)
    scores = (
        queries(model, 1, 3, as_read(model, 1, rows), options)
        @ keys(model, 1, 1, as_read(model, 1, source), options).T
    )
    for focus in ("source", "destination"):
        ov = ov_lists(model, 1, 3, (source, rows), [7], focus=focus, count=64)
        qk = qk_lists(model, 1, 3, (rows, source), [7], options, focus=focus, count=64)
        for frame, whole in ((ov, matrix if focus == "source" else matrix.T),
                             (qk, scores.T if focus == "source" else scores)):  # fmt: skip
            for name, part in frame.groupby("list"):
                assert sorted(part["other"]) == list(range(64))
                values = torch.tensor(part["value"].to_numpy())
                assert torch.allclose(values, whole[7, part["other"].to_list()], atol=1e-4)
                falls = values.diff() <= 1e-5
                assert (falls if name != "suppressed" else ~(values.diff() < -1e-5)).all()


def test_refused(tiny):
    model, tables = tiny
    with pytest.raises(OptionError, match="middle"):
        ov_lists(model, 0, 0, tables, [1], focus="middle")
