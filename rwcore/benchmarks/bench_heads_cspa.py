"""Copy-suppression-preserving ablation: the closed form against vectors of queries × keys × d_model."""

from __future__ import annotations

import pytest
import torch

from rwcore.benchmarks.measure import fresh_process, interleaved
from rwcore.benchmarks.reference.cspa import materialised
from rwcore.heads.cspa import NEGATIVE, LayerCspa

# A layer of GPT-2 small.
HEADS, D_HEAD, D_MODEL = 12, 64, 768
POSITIONS = (128, 256)


def made(positions: int) -> LayerCspa:
    """Random numbers of that shape; 5 % of the keys are kept."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    causal = torch.ones(positions, positions, dtype=torch.bool).tril()
    unit = normal(1, positions, 1, D_MODEL)
    pattern = normal(1, HEADS, positions, positions).masked_fill(~causal, -torch.inf).softmax(dim=-1)
    value = normal(1, positions, HEADS, D_HEAD)
    return LayerCspa(
        z=torch.einsum("bhqk,bkhe->bqhe", pattern, value),
        value=value,
        pattern=pattern,
        behind=None,
        output=normal(HEADS, D_HEAD, D_MODEL) / D_MODEL**0.5,
        mean=normal(HEADS, D_HEAD),
        unit=unit / unit.norm(dim=-1, keepdim=True),
        kept=((torch.rand(1, positions, positions, generator=generator) < 0.05) & causal)[..., None],
    )


def fresh(layer: LayerCspa) -> LayerCspa:
    """The same layer, of which nothing is known yet."""
    return LayerCspa(**{name: getattr(layer, name) for name in LayerCspa.__dataclass_fields__})


def ours(layer: LayerCspa) -> list[torch.Tensor]:
    """The change of the stream by every head."""
    new = fresh(layer)
    return [new.moved(NEGATIVE, head).coefficients for head in range(HEADS)]


def reference(layer: LayerCspa) -> list[torch.Tensor]:
    """Likewise, head by head."""
    found = []
    for head in range(HEADS):
        output, kept = layer.output[head], layer.kept[0, :, :, 0]
        mean, unit = layer.mean[head] @ output, layer.unit[0, :, 0]
        replaced = materialised(layer.pattern[0, head], layer.value[0, :, head], output, mean, unit, kept)
        found.append(replaced - layer.z[0, :, head] @ output)
    return found


@pytest.mark.parametrize("positions", POSITIONS)
def test_ratio_against_the_construction(benchmark, positions):
    """All heads of a layer: at least ten times faster, and equal to 1e-5."""
    layer = made(positions)
    worst = max(float((a - b).abs().max()) for a, b in zip(ours(layer), reference(layer), strict=True))
    assert worst < 1e-5
    ratio = interleaved(lambda: ours(layer), lambda: reference(layer), pairs=3)
    benchmark.extra_info |= {**ratio.facts(), "largest_difference": worst, "target_ratio_at_least": 10}
    benchmark.pedantic(lambda: ours(layer), rounds=1)


PEAK = """
import sys
from rwcore.benchmarks import bench_heads_cspa as bench
layer = bench.made(int(sys.argv[2]))
getattr(bench, sys.argv[1])(layer)
"""


@pytest.mark.parametrize("positions", POSITIONS)
def test_memory(benchmark, positions):
    """Peak of a fresh process beyond that of one that makes the inputs only: at least twenty times less."""
    names = ("fresh", "ours", "reference")
    peaks = {name: fresh_process(PEAK, name, str(positions))["peak_bytes"] for name in names}
    beyond = {name: max(peaks[name] - peaks["fresh"], 1.0) for name in ("ours", "reference")}
    benchmark.extra_info |= {
        **{f"{name}_peak_bytes": peak for name, peak in peaks.items()},
        "ratio": beyond["reference"] / beyond["ours"],
        "target_ratio_at_least": 20,
    }
    benchmark.pedantic(lambda: None, rounds=1)
