"""What one head does in one row, against plain hooks and whole logits; and planted heads that are known."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from fixtures.planted_heads import COPIER, NEITHER, SUPPRESSOR, VOCAB
from rwcore.benchmarks.reference.head_effects import (
    effects_of,
    final_stream,
    logits_of,
    stream_without,
    watched,
    writer_output,
)
from rwcore.errors import ModelError, OptionError
from rwcore.heads.cspa import MEAN, NEGATIVE
from rwcore.heads.cspa_run import CspaPlan, KeptPairs, run_cspa
from rwcore.heads.paths import DIRECT, INDIRECT, TOTAL
from rwcore.heads.reading import EFFECTS, MOST_TOKENS, RESCALED, HeadReading, read_heads
from rwcore.heads.reading_arrays import of_arrays, to_arrays
from rwcore.heads.reading_lists import NOBODY
from rwcore.heads.reading_means import means_of_layers, means_over
from rwcore.heads.run import run_heads
from rwcore.heads.writers import WriterMeans
from rwcore.store import read_arrays, write_arrays
from rwcore.tests.head_models import (
    BATCH,
    FAMILIES,
    TOKENS,
    batch_of,
    planted_parts,
    tiny_parts,
)

HEADS = [(2, 1), (0, 3), (2, 0), (1, 2)]
ROW = torch.tensor([[1, 5, 6, 7, 5, 20, 6, 21]])


@pytest.fixture(scope="module", params=FAMILIES)
def tiny(request, tmp_path_factory):
    model, readout, means = tiny_parts(request.param, tmp_path_factory.mktemp(request.param))
    function = torch.zeros(len(readout.rows), dtype=torch.bool)
    function[[1, 7]] = True
    found = read_heads(model, batch_of(ROW), HEADS, means, readout, function)
    return model, readout, means, function, dict(zip(HEADS, found, strict=True))


def removed(model, means, head) -> tuple[Tensor, Tensor, Tensor]:
    """What the head adds, its mean in the place, and the clean final stream."""
    output = writer_output(model, ROW, *head)
    mean = means.z[head[0], head[1]].float() @ model.blocks[head[0]].attn.W_O[head[1]]
    if hasattr(model.blocks[head[0]], "ln1_post"):
        mean = mean * model.blocks[head[0]].ln1_post.original_component(torch.ones(model.cfg.d_model))
    return output, mean.expand_as(output), final_stream(model, ROW)


def test_effects_equal_whole_logits(tiny):
    model, _, means, _, readings = tiny
    scale = run_heads(model, batch_of(ROW)).scale[..., None]
    for head, one in readings.items():
        output, mean, clean = removed(model, means, head)
        total = stream_without(model, ROW, *head, mean)
        before = logits_of(model, ROW, clean)
        streams = {
            DIRECT: (clean + mean - output, scale),
            RESCALED: (clean + mean - output, None),
            INDIRECT: (total - mean + output, scale),
            TOTAL: (total, scale),
        }
        assert [*one.effects] == [*EFFECTS] == [*streams]
        for effect, (stream, fixed) in streams.items():
            logits = logits_of(model, ROW, stream, fixed)
            wanted, found = effects_of(before, logits, ROW), one.effects[effect]
            assert torch.allclose(
                one.loss_increase(effect)[:-1].double(), wanted["loss_increase"][0], atol=2e-3
            ), (head, effect)
            assert torch.allclose(found.kl.double(), wanted["kl"][0], rtol=5e-3, atol=1e-3)
            p = logits[0].double().softmax(-1)
            at = p[:-1].gather(1, ROW[0, 1:, None])[:, 0]
            assert torch.allclose(found.p[:-1].double(), at, atol=1e-3)
            assert torch.allclose(found.top_p.double(), p.gather(1, found.top_token), atol=1e-3)
            assert torch.allclose(found.top_p.double(), p.topk(10).values, atol=1e-3)
            clear = (p[:-1] - at[:, None]).abs() > 1e-3
            least = ((p[:-1] > at[:, None]) & clear).sum(1)
            most = ((p[:-1] > at[:, None]) | ~clear).sum(1)
            assert bool(((least <= found.rank[:-1]) & (found.rank[:-1] <= most)).all())
        p = before[0].double().softmax(-1)
        assert torch.allclose(one.clean.top_p.double(), p.topk(10).values, atol=1e-3)
        assert bool((one.clean.kl == 0).all())


def test_attribution_is_the_share_of_the_centred_logits(tiny):
    model, readout, means, _, readings = tiny
    scale = run_heads(model, batch_of(ROW)).scale[..., None]
    for head, one in readings.items():
        output, mean, _ = removed(model, means, head)
        logits = ((output - mean) / scale)[0] @ readout.rows.T
        logits = logits - logits.mean(1, keepdim=True)
        for listed, largest in ((one.lowered, False), (one.raised, True)):
            wanted = logits.topk(10, largest=largest).values
            assert torch.allclose(listed.value, wanted, atol=1e-4)
            assert torch.allclose(logits.gather(1, listed.token), wanted, atol=1e-4)


@torch.no_grad()
def test_attention_weighted_by_what_is_written(tiny):
    model, _, _, _, readings = tiny
    for (layer, head), one in readings.items():
        names = [f"blocks.{layer}.attn.hook_pattern", f"blocks.{layer}.attn.hook_v"]
        pattern, value = watched(model, ROW, names)
        block = model.blocks[layer]
        group = head // (model.cfg.n_heads // value.shape[2])
        gain = torch.ones(model.cfg.d_model)
        if hasattr(block, "ln1_post"):
            gain = block.ln1_post.original_component(gain)
        sizes = [
            float(((one_value @ block.attn.W_O[head]) * gain).norm()) for one_value in value[0, :, group]
        ]
        assert torch.allclose(one.attention.pattern, pattern[0, head], atol=1e-6)
        for key, size in enumerate(sizes):
            wanted = pattern[0, head, :, key] * size / max(sizes)
            assert torch.allclose(one.attention.written[:, key], wanted, atol=1e-5)


def test_the_lens_is_the_model_that_ends_before_the_layer(tiny):
    model, _, _, function, readings = tiny
    for (layer, _), one in readings.items():
        stream = watched(model, ROW, [f"blocks.{layer}.hook_in"])[0]
        p = logits_of(model, ROW, stream)[0].double().softmax(-1)
        assert torch.allclose(one.lens.top_p.double(), p.topk(10).values, atol=1e-4)
        assert torch.allclose(one.lens.top_p.double(), p.gather(1, one.lens.top_token), atol=1e-4)
        for query in range(ROW.shape[1]):
            words = {token for token in ROW[0, : query + 1].tolist() if not function[token]}
            best = sorted(words, key=lambda word: -float(p[query, word]))[:5]
            listed = one.lens.context_token[query].tolist()
            assert listed == best + [NOBODY] * (5 - len(best))


def test_cspa_is_that_of_the_sweeps(tiny):
    model, readout, means, function, readings = tiny
    heads = sorted(readings)
    plan = CspaPlan(heads, {layer: means.z[layer] for layer, _ in heads}, function, variants=(NEGATIVE,))
    pairs: list[KeptPairs] = []
    found = run_cspa(model, batch_of(ROW), plan, readout, pairs)
    assert plan.all_variants == (MEAN, NEGATIVE)
    for place, head in enumerate(heads):
        one = readings[head].cspa
        assert torch.allclose(one.mean, found.loss[place, 0], atol=1e-4, equal_nan=True)
        assert torch.allclose(one.left, found.loss[place, 1], atol=1e-4, equal_nan=True)
        assert torch.equal(one.mean.nan_to_num(), readings[head].loss_increase(DIRECT).nan_to_num())
        of_layer = next(each for each in pairs if bool((each.head == place).any()))
        mine = of_layer.head == place
        for name in ("query", "key"):
            assert getattr(one, name).tolist() == getattr(of_layer, name)[mine].tolist()
        for name in ("score", "coefficient"):
            assert torch.allclose(getattr(one, name), getattr(of_layer, name)[mine], atol=1e-4)


def test_heads_and_effects_are_read_as_if_alone(tiny):
    model, readout, means, function, readings = tiny
    (alone,) = read_heads(model, batch_of(ROW), [(2, 0)], means, readout, function, effects=[TOTAL])
    assert [*alone.effects] == [TOTAL]
    assert (alone.layer, alone.head) == (2, 0)
    for name, values in to_arrays([alone]).items():
        other = to_arrays([readings[2, 0]])[name]
        assert torch.allclose(values.float(), other.float(), atol=1e-4, equal_nan=True), name


def test_files_are_the_readings(tiny, tmp_path):
    _, _, _, _, readings = tiny
    arrays = to_arrays([*readings.values()])
    write_arrays(tmp_path / "row.safetensors", arrays)
    again = of_arrays(read_arrays(tmp_path / "row.safetensors"), [*readings], EFFECTS)
    assert [(one.layer, one.head) for one in again] == HEADS
    made = to_arrays(again)
    assert {*made} == {*arrays}
    assert all(torch.equal(made[name].nan_to_num(), values.nan_to_num()) for name, values in arrays.items())
    with pytest.raises(KeyError):
        of_arrays(arrays, [(1, 1)], EFFECTS)


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    return planted_parts(tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="module")
def readings(parts) -> list[list[HeadReading]]:
    model, readout, batch, means = parts
    function = torch.zeros(VOCAB, dtype=torch.bool)
    function[:4] = True
    return [
        read_heads(model, batch_of(row[None]), [COPIER, SUPPRESSOR, NEITHER], means, readout, function)
        for row in batch.tokens
    ]


class TestPlanted:
    def test_signs_tell_them_apart(self, parts, readings):
        """One raises what has been said and helps if it comes again; the other lowers it, and harms."""
        rows = parts[2].tokens
        for row, (copier, suppressor, _) in zip(rows, readings, strict=True):
            words = {*row[1:].tolist()}
            late = range(20, len(row))
            assert all(int(copier.raised.token[query, 0]) in words for query in late)
            assert all(int(suppressor.lowered.token[query, 0]) in words for query in late)
        increases = {"copier": [], "suppressor": []}
        for row, (copier, suppressor, _) in zip(rows, readings, strict=True):
            for query in range(20, len(row) - 1):
                following = int(row[query + 1])
                if following == int(copier.raised.token[query, 0]):
                    increases["copier"].append(float(copier.loss_increase(DIRECT)[query]))
                if following == int(suppressor.lowered.token[query, 0]):
                    increases["suppressor"].append(float(suppressor.loss_increase(DIRECT)[query]))
        assert min(map(len, increases.values())) > 100
        assert min(increases["copier"]) > 0
        assert max(increases["suppressor"]) < 0

    def test_neither_does_nothing(self, readings):
        for of_row in readings:
            assert of_row[2].loss_increase(DIRECT)[:-1].abs().max() < 1e-4
            assert of_row[2].effects[DIRECT].kl.max() < 1e-6
            assert of_row[0].effects[DIRECT].kl.max() > 1e-3

    def test_only_the_suppressor_is_explained(self, readings):
        """What CSPA leaves of it is near the clean prediction; of the copier everything is gone."""
        for place, near in ((0, False), (1, True)):
            mean, left = (
                torch.stack([getattr(of_row[place].cspa, name)[20:-1] for of_row in readings])
                for name in ("mean", "left")
            )
            share = float(left.abs().mean() / mean.abs().mean())
            assert share < 0.7 if near else share > 0.95, share

    def test_what_it_lowers_is_what_the_lens_predicts_and_where_it_looks(self, parts, readings):
        rows = parts[2].tokens
        together = total = 0
        for row, of_row in zip(rows, readings, strict=True):
            one = of_row[1]
            for query in range(20, len(row)):
                lowered = int(one.lowered.token[query, 0])
                attended = int(row[one.attention.written[query].argmax()])
                together += lowered == attended == int(one.lens.context_token[query, 0])
                total += 1
        assert together / total > 0.8  # of three words: a ninth by chance


def test_means(tmp_path: Path) -> None:
    model, _, means = tiny_parts("llama", tmp_path)
    wanted = means.to("cpu")
    halves = [batch_of(TOKENS[:1]), batch_of(TOKENS[1:])]
    for found in (means_over(model, halves), means_over(model, [BATCH])):
        assert torch.allclose(found.z, wanted.z, atol=1e-6)
        assert torch.allclose(found.mlp, wanted.mlp, atol=1e-6)
    some = means_of_layers(model, {1: wanted.z[1]})
    assert torch.equal(some.z[1], wanted.z[1])
    assert float(some.z[[0, 2]].abs().max()) == 0
    assert some.mlp.shape == wanted.mlp.shape
    long = means_of_layers(model, {2: wanted.z[2].expand(9, *wanted.z[2].shape)})
    assert [one.shape for one in long.of_layer(2, 7)] == [(7, *wanted.z[2].shape), (7, wanted.mlp.shape[1])]
    with pytest.raises(OptionError, match="no text"):
        means_over(model, [])


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    model, readout, _ = tiny_parts("llama", tmp_path_factory.mktemp("llama"))
    return model, WriterMeans.zero(model), readout, torch.zeros(len(readout.rows), dtype=torch.bool)


class TestRefused:
    @pytest.mark.parametrize(
        ("batch", "heads", "message"),
        [
            (BATCH, [(0, 0)], "2 rows"),
            (batch_of(torch.ones(1, MOST_TOKENS + 1, dtype=torch.int64)), [(0, 0)], "--max-length 1024"),
            (batch_of(ROW), [(3, 0)], r"the model has no 3\.0"),
            (batch_of(ROW), [(0, 4)], r"the model has no 0\.4"),
        ],
    )
    def test_rows_and_heads(self, plain, batch, heads, message):
        with pytest.raises(OptionError, match=message):
            read_heads(plain[0], batch, heads, *plain[1:])

    def test_effects(self, plain):
        with pytest.raises(OptionError, match="detour"):
            read_heads(plain[0], batch_of(ROW), [(0, 0)], *plain[1:], effects=["detour"])

    def test_an_ablation_that_leaves_what_numbers_can_be(self, plain):
        model, means, readout, function = plain
        far = WriterMeans(torch.full_like(means.z, 3e38), means.mlp)
        with pytest.raises(ModelError, match=r"without head 1\.2 .* no number"):
            read_heads(model, batch_of(ROW), [(1, 2)], far, readout, function)

    def test_damaged_weights(self, tmp_path):
        model, readout, means = tiny_parts("gpt2", tmp_path)
        with torch.no_grad():
            model.blocks[2].mlp.W_out[:] = torch.nan
        function = torch.zeros(len(readout.rows), dtype=torch.bool)
        with pytest.raises(ModelError, match="not finite"):
            read_heads(model, batch_of(ROW), [(0, 0)], means, readout, function)
