"""Effects of copy-suppression-preserving ablations: whole softmaxes, planted heads, sums and shares."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from fixtures.planted_heads import COPIER, NEITHER, SUPPRESSOR, VOCAB, plant_heads
from fixtures.tiny import build, local_model
from rwcore.corpora.batches import Batch
from rwcore.errors import OptionError
from rwcore.heads.cspa import BOTH, MEAN, NEEDED, NEGATIVE, QK, VARIANTS, LayerCspa
from rwcore.heads.cspa_filter import QueryFilter, kept_keys, key_rows, lens_scores
from rwcore.heads.cspa_run import CspaEffects, CspaPlan, Head, KeptPairs, run_cspa, z_sums
from rwcore.heads.cspa_scores import MEASURES, EffectSums, explained_table, percentile_line
from rwcore.heads.readout import Readout
from rwcore.heads.run import LayerParts, output_matrices, run_heads
from rwcore.models.load import load_bridge
from rwcore.models.spec import LocalModel

HEADS = [(1, 0), (1, 3), (2, 2)]


def batch_of(tokens: Tensor, lengths: list[int] | None = None) -> Batch:
    mask = torch.ones_like(tokens, dtype=torch.bool)
    for row, length in enumerate(lengths or []):
        mask[row, length:] = False
    return Batch(0, torch.arange(len(tokens)), torch.where(mask, tokens, 0), mask)


def planned(local: LocalModel, batch: Batch, heads: list[Head], **options: object) -> tuple[object, CspaPlan]:
    model = load_bridge(local)
    layers = sorted({layer for layer, _ in heads})
    sums = z_sums(model, batch, layers, "overall")
    means = {layer: (each / batch.mask.sum()).float() for layer, each in sums.items()}
    function = torch.zeros(64, dtype=torch.bool)
    return model, CspaPlan(heads, means, function, **options)  # type: ignore[arg-type]


def logits_of(stream: Tensor, scale: Tensor, readout: Readout) -> Tensor:
    normed = stream / scale[..., None]
    return readout.capped(normed @ readout.rows.T + (0 if readout.bias is None else readout.bias))


@pytest.fixture(scope="module", params=["gpt2", "gemma2"])
def local(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LocalModel:
    return local_model(build(str(request.param), tmp_path_factory.mktemp("model")))


TOKENS = torch.randint(4, 24, (3, 12), generator=torch.Generator().manual_seed(2))
BATCH = batch_of(TOKENS, [12, 9, 5])


def test_effects_are_those_of_the_changed_stream(local: LocalModel) -> None:
    """The stream with the head's output replaced, through the frozen scale and a whole softmax."""
    choice = QueryFilter(0.3)
    model, plan = planned(local, BATCH, HEADS, choice=choice)
    readout = Readout.of(local)
    found = run_cspa(model, BATCH, plan, readout)
    layers: list[LayerParts] = []
    final = run_heads(model, BATCH, layers.append, parts=NEEDED)
    rows = key_rows(BATCH.tokens, readout)
    clean = logits_of(final.stream, final.scale, readout).log_softmax(-1)
    following = TOKENS.roll(-1, dims=1)[..., None]
    last = ~(BATCH.mask & BATCH.mask.roll(-1, dims=1))
    last[0, -1] = True
    for place, (layer, head) in enumerate(HEADS):
        parts = layers[layer]
        assert parts.stream is not None
        kept = kept_keys(
            lens_scores(parts.stream, final.scale, rows), BATCH.tokens, torch.zeros_like(BATCH.mask), choice
        )
        one = LayerCspa.of(parts, output_matrices(model, layer), plan.means[layer], rows, kept, [head])
        for number, variant in enumerate((MEAN, *VARIANTS)):
            change = one.moved(variant, 0)
            moved = change.coefficients
            moved = moved if change.directions is None else moved @ change.directions
            stream = final.stream + moved.reshape(final.stream.shape)
            ablated = logits_of(stream, final.scale, readout).log_softmax(-1)
            kl = (clean.exp() * (clean - ablated)).sum(-1)[BATCH.mask]
            loss = (clean - ablated).gather(2, following)[..., 0]
            loss[last] = torch.nan
            assert torch.allclose(found.kl[place, number], kl, atol=2e-5)
            assert torch.allclose(found.loss[place, number], loss[BATCH.mask], atol=2e-5, equal_nan=True)
    assert torch.equal(found.clean_loss.isnan(), last[BATCH.mask])


def test_chunks_of_heads_change_nothing(local: LocalModel, monkeypatch: pytest.MonkeyPatch) -> None:
    model, plan = planned(local, BATCH, [(1, head) for head in range(4)])
    readout = Readout.of(local)
    whole = run_cspa(model, BATCH, plan, readout)
    monkeypatch.setattr("rwcore.heads.cspa_run.CHANGE_BYTES", 1)
    assert torch.allclose(run_cspa(model, BATCH, plan, readout).kl, whole.kl, atol=1e-6)


def test_kept_pairs_are_the_kept_ones_with_attention(local: LocalModel) -> None:
    model, plan = planned(local, BATCH, HEADS, choice=QueryFilter(2))
    pairs: list[KeptPairs] = []
    readout = Readout.of(local)
    run_cspa(model, BATCH, plan, readout, pairs)
    layers: list[LayerParts] = []
    final = run_heads(model, BATCH, layers.append, parts=NEEDED)
    tokens = BATCH.mask.nonzero()
    assert {*torch.cat([one.head for one in pairs]).tolist()} == {0, 1, 2}
    for one in pairs:
        for number, at in enumerate(one.query.tolist()):
            row, query = tokens[at].tolist()
            layer, head = HEADS[int(one.head[number])]
            key = int(one.key[number])
            assert key <= query
            pattern, stream = layers[layer].pattern, layers[layer].stream
            assert pattern is not None
            assert stream is not None
            assert one.attention[number] == pattern[row, head, query, key] >= 0.01
            column = readout.rows[TOKENS[row, key]] - readout.rows.mean(dim=0)
            score = stream[row, query] / final.scale[row, query] @ column
            assert float(one.score[number]) == pytest.approx(float(score), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize(
    ("variants", "sets"),
    [(("all",), None), ((BOTH, BOTH), None), ((), None), ((NEGATIVE,), torch.zeros(64, 2))],
)
def test_plans_that_are_refused(variants: tuple[str, ...], sets: Tensor | None) -> None:
    with pytest.raises(OptionError, match=r"variants|several directions"):
        CspaPlan([(0, 0)], {}, torch.zeros(64, dtype=torch.bool), variants=variants,
                 sets=None if sets is None else sets.long())  # fmt: skip


# --- planted heads -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Shares of the planted heads on texts with words of very different frequency."""
    folder: Path = plant_heads(tmp_path_factory.mktemp("planted"))
    share = 1 / torch.arange(1, VOCAB - 3)
    drawn = torch.multinomial(share, 32 * 40, replacement=True, generator=torch.Generator().manual_seed(0))
    batch = batch_of(drawn.reshape(32, 40) + 4)
    heads = [COPIER, SUPPRESSOR, NEITHER]
    local = local_model(folder)
    model, plan = planned(local, batch, heads)
    effects = run_cspa(model, batch, plan, Readout.of(local))
    rows = torch.arange(32).repeat_interleave(40)
    table = explained_table(EffectSums.of(effects, rows, 32), heads, VARIANTS)
    return table.set_index(["layer", "head", "variant"])


def test_a_suppressor_is_explained(planted: pd.DataFrame) -> None:
    found = planted.loc[(*SUPPRESSOR, NEGATIVE)]
    assert found["explained_low"] > 0.6
    assert found["explained_low"] < found["explained"] < found["explained_high"]
    # It writes against tokens only, so that both signs are the same.
    assert planted.loc[(*SUPPRESSOR, BOTH), "explained"] == pytest.approx(found["explained"], abs=0.01)
    assert planted.loc[(*SUPPRESSOR, QK), "explained"] > found["explained"]


def test_a_copier_is_not_and_only_for_its_sign(planted: pd.DataFrame) -> None:
    found = planted.loc[(*COPIER, NEGATIVE)]
    assert found["kl_mean_ablation"] > 0.1
    assert abs(found["explained"]) < 0.01
    # Without the filter of signs something else is left of it.
    assert abs(planted.loc[(*COPIER, BOTH), "explained"]) > 0.5


def test_a_head_without_effect_has_no_share(planted: pd.DataFrame) -> None:
    found = planted.loc[NEITHER]
    assert (found["kl_mean_ablation"] < 1e-6).all()
    assert found[[*MEASURES, "explained_low"]].isna().all(axis=None)


# --- sums and shares -----------------------------------------------------------------------------------


def effects(seed: int = 0, tokens: int = 60) -> CspaEffects:
    generator = torch.Generator().manual_seed(seed)
    kl = torch.rand(2, 3, tokens, generator=generator) + 0.1
    loss = torch.randn(2, 3, tokens, generator=generator)
    clean = torch.rand(tokens, generator=generator)
    for values in (loss, clean):
        values[..., 9::10] = torch.nan
    return CspaEffects(kl, loss, clean)


def test_shares_are_those_of_all_tokens_together() -> None:
    """Trap 6: nothing of the clean loss is subtracted twice; trap 21: KL has a value where loss has none."""
    found = effects()
    row = torch.arange(60) // 10
    sums = EffectSums.of(found, row, 6).of_documents(torch.tensor([4, 4, 7, 9, 9, 9]))
    assert sums.number.tolist() == [4, 7, 9]
    assert sums.tokens.tolist() == [20, 10, 30]
    assert sums.predictions.tolist() == [18, 9, 27]
    table = explained_table(sums, [(3, 1), (5, 0)], (NEGATIVE, QK))
    assert len(table) == 4
    last = table.iloc[3]
    assert last[["layer", "head", "variant"]].tolist() == [5, 0, QK]
    kl, loss = found.kl[1].double().numpy(), found.loss[1].double().numpy()
    expected = {
        "explained": 1 - kl[2].mean() / kl[0].mean(),
        "net_loss": 1 - np.nanmean(loss[2]) / np.nanmean(loss[0]),
        "absolute_loss": 1 - np.nanmean(abs(loss[2])) / np.nanmean(abs(loss[0])),
        "squared_loss": 1 - np.nanmean(loss[2] ** 2) / np.nanmean(loss[0] ** 2),
        "kl": kl[2].mean(),
        "loss_increase": np.nanmean(loss[2]),
        "loss_std_mean_ablation": np.nanstd(loss[0]),
    }
    for name, value in expected.items():
        assert last[name] == pytest.approx(value, rel=1e-9), name


def test_intervals_are_those_of_the_ratio_of_drawn_documents() -> None:
    row = torch.arange(60) // 10
    sums = EffectSums.of(effects(), row, 6)
    table = explained_table(sums, [(0, 0), (0, 1)], (NEGATIVE, QK), draws=4000)
    kl = sums.sums[:, 0, :2, 0].numpy()
    generator = np.random.default_rng(5)
    chosen = kl[generator.integers(0, 6, (4000, 6))].sum(axis=1)
    low, high = np.quantile(1 - chosen[:, 1] / chosen[:, 0], [0.025, 0.975])
    assert table["explained_low"][0] == pytest.approx(low, abs=0.02)
    assert table["explained_high"][0] == pytest.approx(high, abs=0.02)
    one = explained_table(EffectSums.of(effects(), torch.zeros(60, dtype=torch.int64), 1), [(0, 0), (0, 1)],
                          (NEGATIVE, QK))  # fmt: skip
    assert one["explained"].notna().all()
    assert one["explained_low"].isna().all()


def test_percentile_lines_have_equal_bins_and_the_last_one() -> None:
    """Trap 7: the published loop never draws the most extreme bin."""
    by = np.random.default_rng(0).permutation(1000).astype(np.float32)
    line = percentile_line(by, 2 * by, bins=100)
    assert (line[:, 0] == 10).all()
    assert line[-1].tolist() == [10, 994.5, 1989]
    assert line[0, 1] == 4.5
    assert percentile_line(by[:7], bins=100).shape == (7, 2)
