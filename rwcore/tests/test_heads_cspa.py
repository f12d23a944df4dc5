"""Copy-suppression-preserving ablation against vectors that are made and projected one pair at a time."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from fixtures.planted_heads import plant_heads
from fixtures.tiny import build, local_model
from rwcore.benchmarks.reference.cspa import kept_of, replaced_by
from rwcore.corpora.batches import Batch
from rwcore.heads.cspa import BOTH, MEAN, NEEDED, NEGATIVE, OV, QK, VARIANTS, LayerCspa, scaled
from rwcore.heads.cspa_filter import QueryFilter, kept_keys, key_rows, lens_scores
from rwcore.heads.cspa_run import z_sums
from rwcore.heads.readout import Readout
from rwcore.heads.run import LayerParts, output_matrices, run_heads
from rwcore.models.load import load_bridge

FAMILIES = ("gpt2", "llama", "gemma2", "gpt_neox", "planted")
LAYER = 1
VOCAB = 24
GENERATOR = torch.Generator().manual_seed(5)
TOKENS = torch.randint(4, VOCAB, (2, 11), generator=GENERATOR)
MASK = torch.ones_like(TOKENS, dtype=torch.bool)
MASK[1, 8:] = False
BATCH = Batch(0, torch.arange(2), torch.where(MASK, TOKENS, 0), MASK)
FUNCTION = torch.arange(64) % 7 == 0


class Case:
    """A layer of a pass, and everything about it that is not ablation."""

    def __init__(self, family: str, folder: Path) -> None:
        local = local_model(plant_heads(folder) if family == "planted" else build(family, folder))
        model = load_bridge(local)
        found: list[LayerParts] = []
        final = run_heads(model, BATCH, found.append, parts=NEEDED, layers=[LAYER])
        (self.parts,) = found
        self.readout, self.scale = Readout.of(local), final.scale
        self.output = output_matrices(model, LAYER)
        sums = {kind: z_sums(model, BATCH, [LAYER], kind)[LAYER] for kind in ("overall", "position")}
        self.overall = (sums["overall"] / MASK.sum()).float()
        self.position = (sums["position"] / len(TOKENS)).float()

    def layer(self, mean: Tensor, sets: Tensor | None = None, keep: float | int = 0.3) -> LayerCspa:
        rows = key_rows(BATCH.tokens, self.readout, sets)
        assert self.parts.stream is not None
        kept = kept_keys(
            lens_scores(self.parts.stream, self.scale, rows),
            BATCH.tokens,
            FUNCTION[BATCH.tokens],
            QueryFilter(keep),
            None if sets is None else sets[BATCH.tokens] < 0,
        )
        return LayerCspa.of(self.parts, self.output, mean, rows, kept)

    def head_outputs(self, row: int, head: int) -> Tensor:
        """What the head would add at each query if it looked at one key alone: [query key d_model]."""
        value, raw, z = self.parts.value, self.parts.raw_z[row], self.parts.z[row]
        assert value is not None
        behind = (raw.flatten(1).norm(dim=1) / z.flatten(1).norm(dim=1))[:, None, None]
        return (value[row, :, head] @ self.output[head])[None] / behind


@pytest.fixture(scope="module", params=FAMILIES)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(str(request.param), tmp_path_factory.mktemp(str(request.param)))


def expected(
    case: Case, row: int, head: int, mean: Tensor, rows: Tensor, variant: str, keep: float | int
) -> Tensor:
    """How the stream changes at the tokens of a row, by the slow construction."""
    size = int(MASK[row].sum())
    tokens = BATCH.tokens[row, :size].tolist()
    parts = case.parts
    assert parts.stream is not None
    assert parts.pattern is not None
    kept = kept_of(
        parts.stream[row], case.scale[row], rows[row, :size], tokens, FUNCTION[tokens].tolist(), keep
    )
    average = (mean[head] if mean.ndim == 2 else mean[:size, head]) @ case.output[head]
    average = average.expand(size, -1)
    clean = parts.z[row, :size, head] @ case.output[head]
    if variant == MEAN:
        return average - clean
    outputs = case.head_outputs(row, head)[:size, :size]
    pattern = parts.pattern[row, head, :size, :size]
    return replaced_by(pattern, outputs, average, rows[row, :size], kept, variant) - clean


def changed(layer: LayerCspa, variant: str, head: int) -> Tensor:
    change = layer.moved(variant, head)
    found = change.coefficients
    found = found if change.directions is None else found @ change.directions
    return found.reshape(*MASK.shape, -1)


@pytest.mark.parametrize("means", ["overall", "position"])
@pytest.mark.parametrize("variant", [MEAN, *VARIANTS])
def test_closed_form_equals_the_construction(case: Case, variant: str, means: str) -> None:
    mean = getattr(case, means)
    layer, rows = case.layer(mean), key_rows(BATCH.tokens, case.readout)
    for row, head in ((0, 1), (1, 2)):
        wanted = expected(case, row, head, mean, rows, variant, 0.3)
        found = changed(layer, variant, head)[row, : len(wanted)]
        assert (found - wanted).abs().max() < 1e-5 * max(1.0, float(wanted.abs().max()))


@pytest.mark.parametrize("variant", [BOTH, OV, QK])
def test_sets_are_projected_on_their_span(case: Case, variant: str) -> None:
    """Sets with missing members, with the same direction twice, and with nothing but the token."""
    generator = torch.Generator().manual_seed(1)
    sets = torch.randint(0, VOCAB, (VOCAB, 3), generator=generator)
    sets[:, 0] = torch.arange(VOCAB)
    sets[::4, 2] = sets[::4, 0]  # linearly dependent
    sets[1::4, 1:] = -1
    rows = key_rows(BATCH.tokens, case.readout, sets)
    layer = case.layer(case.overall, sets, keep=3)
    wanted = expected(case, 0, 1, case.overall, rows, variant, 3)
    found = changed(layer, variant, 1)[0]
    assert (found - wanted).abs().max() < 1e-4 * max(1.0, float(wanted.abs().max()))


def test_some_heads_are_the_same_as_all(case: Case) -> None:
    whole = case.layer(case.overall)
    parts, output, rows = case.parts, case.output, key_rows(BATCH.tokens, case.readout)
    some = LayerCspa.of(parts, output, case.position, rows, whole.kept, [2, 0])
    every = LayerCspa.of(parts, output, case.position, rows, whole.kept)
    for place, head in enumerate([2, 0]):
        assert torch.allclose(changed(some, NEGATIVE, place), changed(every, NEGATIVE, head), atol=1e-6)


def test_changes_are_scaled_at_the_tokens_only(case: Case) -> None:
    layer = case.layer(case.overall)
    found = scaled(layer.moved(MEAN, 1), case.scale, MASK)
    whole = layer.moved(MEAN, 1).coefficients.reshape(*MASK.shape, -1) / case.scale[..., None]
    assert torch.allclose(found.coefficients, whole[MASK])
    assert found.directions is not None


def test_ov_is_not_the_head_itself(case: Case) -> None:
    """Trap 4: what the published code called OV only was the clean head, 100 % explained."""
    layer = case.layer(case.overall)
    moves = [changed(layer, OV, head)[MASK].abs().max() for head in range(3)]
    assert max(moves) > 1e-3


def test_everything_kept_makes_qk_nothing_and_both_ov(case: Case) -> None:
    layer = case.layer(case.overall, keep=100)
    assert bool(layer.kept[0].all(dim=2).equal(torch.ones(11, 11, dtype=torch.bool).tril()))
    assert changed(layer, QK, 1)[MASK].abs().max() < 1e-5
    assert torch.allclose(changed(layer, BOTH, 1), changed(layer, OV, 1), atol=1e-6)


def test_negative_writes_against_tokens_only(case: Case) -> None:
    layer = case.layer(case.overall)
    both, negative = layer.coefficients(BOTH, 1), layer.coefficients(NEGATIVE, 1)
    assert negative.max() <= 0
    assert torch.equal(negative, both.clamp(max=0))
