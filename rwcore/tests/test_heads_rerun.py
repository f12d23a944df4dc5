"""Passes that begin at a layer, several ablations at once, end as whole passes do."""

import pytest
import torch

from fixtures.tiny import build, local_model
from rwcore.errors import OptionError
from rwcore.heads.rerun import entering, rerun
from rwcore.heads.run import replacing, run_heads
from rwcore.models.load import load_bridge
from rwcore.tests.test_heads_repair import BATCH, MASK


@pytest.fixture(scope="module", params=["gpt2", "gpt_neox", "gemma2"])
def model(request, tmp_path_factory):
    return load_bridge(local_model(build(request.param, tmp_path_factory.mktemp(request.param))))


def without(head):
    def change(z):
        z = z.clone()
        z[:, :, head] = 0
        return z

    return change


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_copies_are_whole_passes(model, layer):
    with entering(model, [2, 1, 0]) as before:
        clean = run_heads(model, BATCH)
    assert sorted(before) == [1, 2]  # layer 0 is run from the embedding on
    seen = []
    changes = [without(1), lambda z: z, without(3)]
    final = rerun(model, BATCH, layer, before, changes, lambda one: seen.append(one.layer))
    assert seen == list(range(layer, 3))
    ends = [run_heads(model, BATCH, hooks=[replacing(layer, change)]) for change in changes]
    for stream, scale, end in zip(final.stream.chunk(3), final.scale.chunk(3), ends, strict=True):
        assert torch.allclose(stream[MASK], end.stream[MASK], atol=1e-4)
        assert torch.allclose(scale[MASK], end.scale[MASK], atol=1e-4)
    assert torch.allclose(final.stream.chunk(3)[1][MASK], clean.stream[MASK], atol=1e-4)
    assert not torch.allclose(ends[0].stream[MASK], clean.stream[MASK], atol=1e-2)


def test_nothing_is_left_behind(model):
    with entering(model, [1]) as before:
        first = run_heads(model, BATCH)
    rerun(model, BATCH, 1, before, [without(0)])
    kept = before[1]
    assert torch.equal(run_heads(model, BATCH).stream, first.stream)
    assert before[1] is kept  # the hook is gone


def test_no_such_layer(model):
    with pytest.raises(OptionError, match="layers 3"), entering(model, [3]):
        pass
