"""Weight statistics: the packaged model against a plain reference; a checkpoint of a 7B model's shape."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from rwcore.benchmarks.measure import PACKAGED, fresh_process, interleaved, packaged_model
from rwcore.benchmarks.reference.rw_statistics import whole_llama, whole_model_statistics
from rwcore.stats.classes import class_counts
from rwcore.stats.cosines import weight_statistics
from rwcore.stats.medians import layer_medians
from rwcore.weights.mlp import mlp_weights

STATISTICS = """
import sys
from pathlib import Path
from rwcore.models.locate import locate
from rwcore.models.registry import find
from rwcore.stats.classes import class_counts
from rwcore.stats.cosines import weight_statistics
from rwcore.stats.medians import layer_medians
from rwcore.weights.mlp import mlp_weights

statistics = weight_statistics(mlp_weights(locate(find(sys.argv[1])), fold_sign=True))
class_counts(statistics.cosines), layer_medians(statistics.cosines)
"""


@pytest.fixture(scope="module")
def packaged():
    return packaged_model()


def test_ratio_against_plain_reference(benchmark, packaged):
    """SmolLM2 from its file: streamed, against all of it in memory, normalised copies and 11 comparisons."""

    def ours():
        statistics = weight_statistics(mlp_weights(packaged, fold_sign=True))
        return class_counts(statistics.cosines), layer_medians(statistics.cosines)

    def reference():
        return whole_model_statistics(whole_llama(packaged.files[0]))

    counts, medians = ours()
    expected_counts, expected_medians = reference()
    for name, expected in expected_counts.items():
        assert counts.loc[counts["class"] == name, "count"].tolist() == expected
    for name, expected in expected_medians.items():
        found = medians.loc[medians["cosine"] == name, "median"]
        assert found.tolist() == pytest.approx(expected, abs=1e-6)
    ratio = interleaved(ours, reference)
    benchmark.extra_info |= {**ratio.facts(), "target_ratio": 3}
    benchmark.pedantic(ours, rounds=3)


def test_start_up_and_statistics_of_packaged(benchmark, packaged):
    """SmolLM2 in a fresh process with a warm cache, start-up included: 10 s."""
    measured = benchmark.pedantic(fresh_process, args=(STATISTICS, PACKAGED), rounds=3)
    benchmark.extra_info |= {"peak_gib": measured["peak_bytes"] / 2**30, "target_seconds": 10}


def test_checkpoint_of_olmo_7b_shape(benchmark, tmp_path_factory):
    """32 × 11008 × 4096 in bfloat16 shards, in a fresh process: 40 s and 1.2 GiB."""
    from fixtures.checkpoints import OLMO_7B, write_checkpoint

    kept = os.environ.get("RWCORE_BENCH_CHECKPOINT")
    folder = Path(kept) if kept else tmp_path_factory.mktemp("olmo-7b-shape")
    if not (folder / "config.json").exists():
        if shutil.disk_usage(folder.parent).free < 12 * 2**30:
            pytest.skip("needs 12 GiB of free disk: set RWCORE_BENCH_CHECKPOINT to a folder that has it")
        write_checkpoint(folder, OLMO_7B)
    measured = benchmark.pedantic(fresh_process, args=(STATISTICS, str(folder)), rounds=2)
    benchmark.extra_info |= {
        "peak_gib": measured["peak_bytes"] / 2**30,
        "target_seconds": 40,
        "target_gib": 1.2,
    }
    if not kept:
        shutil.rmtree(folder)
