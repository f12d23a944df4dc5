"""Total, indirect and one-hop effects, against passes with plain hooks and whole logits."""

import pytest
import torch

from rwcore.benchmarks.reference.head_effects import (
    effects_of,
    final_stream,
    logits_of,
    one_hop_stream,
    stream_without,
    writer_output,
)
from rwcore.errors import OptionError
from rwcore.heads import paths as module
from rwcore.heads.effects import direct_effects
from rwcore.heads.paths import (
    DIRECT,
    FROZEN,
    HELD,
    INDIRECT,
    ONE_HOP,
    PATHS,
    READINGS,
    RECOMPUTED,
    TOTAL,
    path_effects,
    path_moves,
)
from rwcore.heads.run import run_heads
from rwcore.heads.writers import Writer
from rwcore.tests.head_models import BATCH, FAMILIES, TOKENS, planted_parts, tiny_parts

SOME = [Writer(2, 1), Writer(0, 1), Writer(0, 3), Writer(0), Writer(1, 2), Writer(1), Writer(2)]
FEW = [Writer(0, 1), Writer(1), Writer(1, 2)]
HELD_HEADS = [Writer(1, 0), Writer(2, 2), Writer(2, 3)]
LAST = 2


@pytest.fixture(scope="module", params=FAMILIES)
def tiny(request, tmp_path_factory):
    return (*tiny_parts(request.param, tmp_path_factory.mktemp(request.param)), request.param)


@pytest.fixture(scope="module")
def moves(tiny):
    """Moves of every writer of `SOME`, by path."""
    model, _, means, _ = tiny
    found = path_moves(model, BATCH, SOME, means, PATHS, HELD_HEADS)
    return {
        writer: {path: moved[place] for path, moved in one.by_path.items()}
        for one in found
        for place, writer in enumerate(one.writers)
    }


def reference_streams(model, writer):
    """Final streams by path, and the clean one."""
    layer, head = writer.layer, writer.head
    output = writer_output(model, TOKENS, layer, head)
    mean = output.mean(dim=(0, 1)).expand_as(output)
    clean, delta = final_stream(model, TOKENS), mean - output
    total = stream_without(model, TOKENS, layer, head, mean)
    hold = [(one.layer, one.head) for one in HELD_HEADS if one.layer > layer]
    held = stream_without(model, TOKENS, layer, head, mean, hold)
    return clean, {
        DIRECT: clean + delta,
        TOTAL: total,
        INDIRECT: total - delta,
        HELD: held - delta,
        ONE_HOP: one_hop_stream(model, TOKENS, layer, head, delta),
    }


def test_streams_equal_plain_hooks(tiny, moves):
    model, _, _, _ = tiny
    for writer in SOME:
        clean, wanted = reference_streams(model, writer)
        for path, stream in wanted.items():
            assert torch.allclose(clean + moves[writer][path], stream, atol=2e-4), (str(writer), path)


@pytest.mark.parametrize("reading", READINGS)
def test_effects_equal_whole_logits(tiny, reading):
    model, readout, means, _ = tiny
    found = path_effects(model, BATCH, FEW, means, readout, paths=PATHS, readings=[reading], held=HELD_HEADS)
    scale = run_heads(model, BATCH).scale[..., None] if reading == FROZEN else None
    for place, writer in enumerate(FEW):
        clean, streams = reference_streams(model, writer)
        before = logits_of(model, TOKENS, clean)
        for path, stream in streams.items():
            wanted = effects_of(before, logits_of(model, TOKENS, stream, scale), TOKENS)
            for name, values in wanted.items():
                ours = getattr(found.effects[path, reading], name)[place]
                ours = ours.reshape(TOKENS.shape).double()[:, : values.shape[1]]
                assert torch.allclose(ours, values, rtol=3e-3, atol=1e-3), (str(writer), path, name)


def test_total_is_direct_where_nothing_is_downstream(tiny, moves):
    _, _, _, family = tiny
    ends = [Writer(LAST)]
    if family == "gpt_neox":  # the MLP of the layer reads what the heads read
        ends.append(Writer(LAST, 1))
    for writer in ends:
        found = moves[writer]
        assert torch.allclose(found[TOTAL], found[DIRECT], atol=1e-4)
        assert found[INDIRECT].abs().max() < 1e-4
        assert found[ONE_HOP].abs().max() < 1e-4
    if family != "gpt_neox":
        assert moves[Writer(LAST, 1)][INDIRECT].abs().max() > 1e-3


def test_paths_add_up(moves):
    for found in moves.values():
        assert torch.allclose(found[DIRECT] + found[INDIRECT], found[TOTAL], atol=1e-4)


def test_one_hop_is_all_where_one_component_is_downstream(tiny, moves):
    _, _, _, family = tiny
    if family != "gpt_neox":
        found = moves[Writer(LAST, 1)]
        assert torch.allclose(found[ONE_HOP], found[INDIRECT], atol=1e-4)
    first = moves[Writer(0, 1)]
    assert not torch.allclose(first[ONE_HOP], first[INDIRECT], atol=1e-3)


def test_a_held_head_is_restored_and_no_other_is_touched(tiny):
    """Trap 13: what is held must get its clean value, not its mean; and only what is named."""
    model, _, means, _ = tiny
    everyone = [Writer(layer, head) for layer in (1, 2) for head in range(4)]
    found = next(path_moves(model, BATCH, [Writer(0, 1)], means, [HELD, INDIRECT], everyone)).by_path
    nobody = next(path_moves(model, BATCH, [Writer(0, 1)], means, [HELD], [Writer(0, 1)])).by_path
    # With all heads held only MLPs react; a head of no later layer is out of reach.
    assert torch.allclose(nobody[HELD], found[INDIRECT], atol=1e-5)
    assert not torch.allclose(found[HELD], found[INDIRECT], atol=1e-3)
    output = writer_output(model, TOKENS, 0, 1)
    mean = output.mean(dim=(0, 1)).expand_as(output)
    wanted = stream_without(model, TOKENS, 0, 1, mean, [(one.layer, one.head) for one in everyone])
    moved = wanted - final_stream(model, TOKENS) - (mean - output)
    assert torch.allclose(found[HELD], moved, atol=2e-4)


def test_direct_path_is_the_direct_effect(tiny):
    model, readout, means, _ = tiny
    ours = path_effects(model, BATCH, FEW, means, readout, paths=[DIRECT])
    for reading in READINGS:
        alone = direct_effects(model, BATCH, means, readout, writers=FEW, recompute=reading == RECOMPUTED)
        for name, values in vars(alone.effects).items():
            found = getattr(ours.effects[DIRECT, reading], name)
            assert torch.allclose(found, values, atol=2e-4, equal_nan=True), name
        assert torch.allclose(ours.clean_loss, alone.clean_loss, atol=1e-5, equal_nan=True)


def test_how_many_run_together_decides_nothing(tiny, moves, monkeypatch):
    model, _, means, _ = tiny
    monkeypatch.setattr(module, "TOGETHER", 1)
    for one in path_moves(model, BATCH, FEW, means, PATHS, HELD_HEADS):
        for path, moved in one.by_path.items():
            assert torch.allclose(moved[0], moves[one.writers[0]][path], atol=1e-4)


def test_split_inputs_of_heads_change_nothing(tiny, moves):
    """Trap 28."""
    model, _, means, _ = tiny
    model.set_use_split_qkv_input(True)
    try:
        found = [*path_moves(model, BATCH, [Writer(0, 1)], means, PATHS, HELD_HEADS)]
    finally:
        model.set_use_split_qkv_input(False)
    for path, moved in found[0].by_path.items():
        assert torch.allclose(moved[0], moves[Writer(0, 1)][path], atol=1e-4)


def test_the_model_is_as_before(tiny):
    model, readout, means, _ = tiny
    before = final_stream(model, TOKENS)
    path_effects(model, BATCH, FEW, means, readout, paths=PATHS, held=HELD_HEADS)
    assert torch.equal(before, final_stream(model, TOKENS))


def test_erasing_neurons_repair_what_a_copier_does(tmp_path):
    """The last MLP writes against what is predicted: without the copier it erases less."""
    model, readout, batch, means = planted_parts(tmp_path)
    found = path_effects(model, batch, [Writer(1, 0)], means, readout, paths=[DIRECT, TOTAL, INDIRECT])
    dla = {path: float(found.effects[path, FROZEN].dla_predicted.mean()) for path in (DIRECT, TOTAL)}
    assert 0 < dla[TOTAL] < dla[DIRECT]
    assert found.effects[INDIRECT, FROZEN].dla_predicted.mean() < 0


class TestRefused:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"paths": ["detour"]}, "there is no 'detour'"),
            ({"readings": ["thawed"]}, "there is no 'thawed'"),
            ({"paths": [HELD]}, "go together"),
            ({"held": [Writer(1, 1)]}, "go together"),
            ({"paths": [HELD], "held": [Writer(1)]}, "go together"),
            ({"paths": [HELD], "held": [Writer(7, 1)]}, r"the model has no 7\.1"),
        ],
    )
    def test_options(self, tmp_path, options, message):
        model, readout, means = tiny_parts("gpt2", tmp_path)
        with pytest.raises(OptionError, match=message):
            path_effects(model, BATCH, [Writer(0, 0)], means, readout, **options)
