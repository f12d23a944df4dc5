"""Direct effects of heads and MLPs, against whole logits of changed streams, in every family."""

import pytest
import torch

from fixtures.planted_heads import COPIER, NEITHER, SUPPRESSOR, VOCAB
from rwcore.benchmarks.reference.head_effects import effects_of, final_stream, logits_of, writer_output
from rwcore.corpora.batches import Batch
from rwcore.errors import OptionError
from rwcore.heads import effects
from rwcore.heads.calibration import top_predictions
from rwcore.heads.effects import QUANTITIES, Predictions, direct_effects
from rwcore.heads.paths import DIRECT, path_moves
from rwcore.heads.run import run_heads
from rwcore.heads.writers import Writer, WriterMeans, every_writer, writer_sums
from rwcore.tests.head_models import BATCH, FAMILIES, TOKENS, batch_of, planted_parts, tiny_parts

SOME = [Writer(0, 1), Writer(1, 3), Writer(2, 0), Writer(0), Writer(2)]


@pytest.fixture(scope="module", params=FAMILIES)
def tiny(request, tmp_path_factory):
    return tiny_parts(request.param, tmp_path_factory.mktemp(request.param))


def reference(model, writer, mean, *, recompute=False):
    """Effects of ablating one writer, from whole logits."""
    clean = final_stream(model, TOKENS)
    scale = run_heads(model, BATCH).scale[..., None]
    moved = clean - writer_output(model, TOKENS, writer.layer, writer.head) + mean
    ablated = logits_of(model, TOKENS, moved, None if recompute else scale)
    return effects_of(logits_of(model, TOKENS, clean), ablated, TOKENS)


def assert_equal(found, place, wanted):
    for name, values in wanted.items():
        ours = getattr(found, name)[place].reshape(TOKENS.shape).double()[:, : values.shape[1]]
        assert torch.allclose(ours, values, rtol=1e-3, atol=1e-4), name


@pytest.mark.parametrize("recompute", [False, True])
def test_mean_ablation_equals_whole_logits(tiny, recompute):
    model, readout, means = tiny
    found = direct_effects(model, BATCH, means, readout, writers=SOME, recompute=recompute).effects
    for place, writer in enumerate(SOME):
        mean = writer_output(model, TOKENS, writer.layer, writer.head).mean(dim=(0, 1))
        assert_equal(found, place, reference(model, writer, mean, recompute=recompute))


def test_zero_ablation_takes_away_all_that_is_added(tiny):
    model, readout, _ = tiny
    found = direct_effects(model, BATCH, WriterMeans.zero(model), readout, writers=SOME).effects
    for place, writer in enumerate(SOME):
        assert_equal(found, place, reference(model, writer, 0.0))


def test_means_of_positions(tiny):
    model, readout, _ = tiny
    sums = writer_sums(model, BATCH, "position")
    by_position = WriterMeans(sums.z / len(TOKENS), sums.mlp / len(TOKENS))
    found = direct_effects(model, BATCH, by_position, readout, writers=SOME).effects
    for place, writer in enumerate(SOME):
        mean = writer_output(model, TOKENS, writer.layer, writer.head).mean(dim=0)
        assert_equal(found, place, reference(model, writer, mean))
    # Both rows begin alike: there a writer adds its mean, and nothing changes.
    assert found.kl.reshape(len(SOME), *TOKENS.shape)[:, :, :4].max() < 1e-5


def test_all_writers_are_heads_then_mlps(tiny):
    model, readout, means = tiny
    every = direct_effects(model, BATCH, means, readout).effects
    writers = every_writer(3, 4)
    assert len(every.kl) == len(writers) == 15
    some = direct_effects(model, BATCH, means, readout, writers=SOME).effects
    places = [writers.index(one) for one in SOME]
    for name in QUANTITIES:
        assert torch.allclose(getattr(every, name)[places], getattr(some, name), atol=1e-4, equal_nan=True), (
            name
        )


def test_how_many_changes_are_in_memory_decides_nothing(tiny, monkeypatch):
    model, readout, means = tiny
    whole = direct_effects(model, BATCH, means, readout).effects
    monkeypatch.setattr(effects, "CHANGE_BYTES", 1)
    parts = direct_effects(model, BATCH, means, readout).effects
    for name in QUANTITIES:
        assert torch.allclose(getattr(whole, name), getattr(parts, name), atol=1e-5, equal_nan=True)


def test_recomputed_scale_is_the_models_own(tiny):
    """Trap 16: the scale of a norm is no unbiased standard deviation."""
    model, readout, _ = tiny
    final = run_heads(model, BATCH)
    clean = Predictions.of(BATCH, final)
    moved = torch.randn(final.stream.shape, generator=torch.Generator().manual_seed(0))
    if not hasattr(model.blocks[0], "ln1_post") and model.cfg.normalization_type in ("LN", "LNPre"):
        moved = moved - moved.mean(dim=-1, keepdim=True)
    change = clean.recomputed(moved)
    wanted = logits_of(model, TOKENS, final.stream + moved)
    ours = readout.capped(readout.logits(clean.hidden + change.coefficients))
    difference = ours.reshape(wanted.shape) - wanted
    assert torch.allclose(difference, difference[..., :1].expand_as(difference), atol=1e-3)


def test_split_inputs_of_heads_change_nothing(tiny):
    """Trap 28: with inputs split by head, scales of norms have one more axis."""
    model, readout, means = tiny
    whole = direct_effects(model, BATCH, means, readout, writers=SOME).effects
    model.set_use_split_qkv_input(True)
    try:
        split = direct_effects(model, BATCH, means, readout, writers=SOME).effects
    finally:
        model.set_use_split_qkv_input(False)
    for name in QUANTITIES:
        assert torch.allclose(getattr(whole, name), getattr(split, name), atol=1e-4, equal_nan=True)


def test_padding_changes_nothing(tiny):
    model, readout, means = tiny
    mask = torch.ones_like(BATCH.mask)
    mask[1, 4:] = False
    padded = Batch(0, torch.arange(2), torch.where(mask, TOKENS, 0), mask)
    found = direct_effects(model, padded, means, readout, writers=SOME)
    alone = direct_effects(model, batch_of(TOKENS[1:, :4]), means, readout, writers=SOME)
    assert len(found.clean_loss) == 11
    for name in QUANTITIES:
        values = getattr(found.effects, name)[:, 7:]
        assert torch.allclose(values, getattr(alone.effects, name), atol=1e-4, equal_nan=True), name
    assert found.clean_loss[[6, 10]].isnan().all()


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    model, readout, batch, means = planted_parts(tmp_path_factory.mktemp("planted"))
    return direct_effects(model, batch, means, readout).effects


class TestPlanted:
    """What the planted heads do is known."""

    def test_who_writes_for_and_against_the_prediction(self, found):
        places = {one: place for place, one in enumerate(every_writer(2, 3))}
        dla = {head: float(found.dla_predicted[places[Writer(*head)]].mean()) for head in
               (SUPPRESSOR, COPIER, NEITHER)}  # fmt: skip
        heads = found.dla_predicted[:6].mean(dim=1)
        assert heads.argmin() == places[Writer(*SUPPRESSOR)]
        assert dla[SUPPRESSOR] < -0.02
        assert dla[COPIER] > 0.05
        assert abs(dla[NEITHER]) < 1e-4

    def test_the_suppressor_lowers_the_predicted_token(self, found):
        place = every_writer(2, 3).index(Writer(*SUPPRESSOR))
        assert (found.dla_predicted[place] < 0).float().mean() > 0.6
        # Without it predictions are more certain.
        assert found.entropy_change_with_head[place].mean() > 0

    def test_without_the_suppressor_what_is_predicted_is_more_probable(self, tmp_path):
        model, readout, batch, means = planted_parts(tmp_path)
        clean = Predictions.of(batch, run_heads(model, batch))
        before = top_predictions(clean.hidden, readout, count=1)
        moves = next(path_moves(model, batch, [Writer(*SUPPRESSOR)], means, [DIRECT])).by_path[DIRECT]
        after = top_predictions(clean.hidden, readout, clean.frozen(moves[0]), count=VOCAB)
        p = after.probability.gather(1, (after.token == before.token).int().argmax(dim=1, keepdim=True))
        assert (p - before.probability).mean() > 0.002

    def test_who_writes_where_nobody_reads_does_nothing(self, found):
        place = every_writer(2, 3).index(Writer(*NEITHER))
        assert found.kl[place].max() < 1e-5


class TestRefused:
    @pytest.fixture
    def parts(self, tmp_path):
        return tiny_parts("gpt2", tmp_path)

    def test_writers_that_are_not_there(self, parts):
        model, readout, means = parts
        with pytest.raises(OptionError, match=r"the model has no 2\.4, MLP 3"):
            direct_effects(model, BATCH, means, readout, writers=[Writer(2, 4), Writer(3)])

    def test_longer_rows_than_there_are_means_of_positions(self, parts):
        model, readout, _ = parts
        sums = writer_sums(model, batch_of(TOKENS[:, :4]), "position")
        with pytest.raises(OptionError, match="rows of 7 tokens, and means of 4 positions"):
            direct_effects(model, BATCH, sums, readout)

    def test_means_of_positions_of_unequal_rows(self, parts):
        mask = torch.ones_like(BATCH.mask)
        mask[1, 4:] = False
        with pytest.raises(OptionError, match="different lengths"):
            writer_sums(parts[0], Batch(0, torch.arange(2), TOKENS, mask), "position")
