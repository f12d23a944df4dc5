"""One-neuron probes of whole layers: all of a model of SmolLM2's size, and a neuron against scikit-learn."""

from __future__ import annotations

import multiprocessing
import os
import resource
from concurrent.futures import ProcessPoolExecutor

import pytest
import torch
from jaxtyping import Float16
from torch import Tensor

from rwcore.benchmarks.measure import interleaved, seconds
from rwcore.extras import PROBE, extra_library
from rwcore.probing.atlas import layer_atlas
from rwcore.probing.codes import code_book
from rwcore.probing.controls import control_scores
from rwcore.probing.histograms import ClassHistograms, count_codes
from rwcore.probing.newton import fit_histograms
from rwcore.probing.normalise import training_scale
from rwcore.probing.splits import deal_groups, split_feature
from rwcore.probing.tasks import ProbeTask

LAYERS, NEURONS, DATASETS, FEATURES = 30, 1536, 3, 10
EXAMPLES, LABELLED = 12_000, (2000, 5000)
TARGET_SECONDS = 240
SAMPLE = 32
PROCESSES = 2


def made_up(seed: int, neurons: int = NEURONS) -> tuple[Float16[Tensor, "example neuron"], list[ProbeTask]]:
    """A data set at one layer: activations of a smooth gate, features that some neurons carry."""
    generator = torch.Generator().manual_seed(seed)
    group = torch.arange(EXAMPLES) // 10
    part = deal_groups(group, seed=seed)
    x = torch.nn.functional.silu(torch.randn(EXAMPLES, neurons, generator=generator))
    x *= torch.rand(neurons, generator=generator) * 4
    tasks = []
    for number, size in enumerate(torch.linspace(*LABELLED, FEATURES).int().tolist()):
        example = torch.randperm(EXAMPLES, generator=generator)[:size].sort().values
        label = torch.rand(size, generator=generator) < 0.2
        carried = torch.arange(number, neurons, FEATURES)
        x[example[label][:, None], carried] += torch.linspace(2, 0, len(carried))
        split = split_feature(part, example, label)
        tasks.append(ProbeTask("made up", "benchmark", str(number), example, label, group[example], split))
    return x.to(torch.float16), tasks


def one_layer(seed: int) -> float:
    """Seconds of the atlas of one layer and all data sets, made of new activations."""
    taken = 0.0
    for dataset in range(DATASETS):
        x, tasks = made_up(seed * DATASETS + dataset)
        taken += seconds(lambda: layer_atlas(x, tasks))  # noqa: B023
    return taken


def test_a_layer_of_thirty_features(benchmark):
    """46,080 neurons × 30 features in 4 minutes on two cores: 30 layers like this one, two at a time."""
    sets = [made_up(dataset) for dataset in range(DATASETS)]
    layer_atlas(*sets[0])

    def layer() -> None:
        for x, tasks in sets:
            layer_atlas(x, tasks)

    benchmark.pedantic(layer, rounds=3)
    median = benchmark.stats.stats.median
    benchmark.extra_info |= {
        "milliseconds_per_probe": 1000 * median / (NEURONS * DATASETS * FEATURES),
        "whole_model_one_core_seconds": median * LAYERS,
        "whole_model_two_cores_seconds": median * LAYERS / PROCESSES,
        "target_seconds": TARGET_SECONDS,
    }


def test_a_whole_model(benchmark):
    """All layers, in as many processes as there are cores of a small machine.

    Sums of seconds within the processes leave out what makes activations up; start-up is not counted.
    """
    spawned = multiprocessing.get_context("spawn")

    def model() -> list[float]:
        with ProcessPoolExecutor(PROCESSES, mp_context=spawned) as pool:
            return list(pool.map(one_layer, range(LAYERS)))

    taken = benchmark.pedantic(model, rounds=1)
    benchmark.extra_info |= {
        "core_seconds": sum(taken),
        "seconds": sum(taken) / PROCESSES,
        "target_seconds": TARGET_SECONDS,
        "peak_gib_of_a_process": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20,
        "cores": os.cpu_count(),
    }


@pytest.mark.parametrize("solver", ["newton-cholesky", "newton-cg", "lbfgs", "saga"])
def test_a_neuron_against_scikit_learn(benchmark, solver):
    """From activations to weights, ours with codes and counts; the target is 30 × the best of theirs.

    The published solver is saga; liblinear penalises the intercept and so solves another problem.
    """
    x, tasks = made_up(0)
    task = tasks[FEATURES // 2]
    train = task.split.train
    rows, label = x[task.example[train]].float(), task.label[train]
    few = rows[:, torch.arange(SAMPLE) * (NEURONS // SAMPLE)].double()
    normalised = (few / training_scale(few)).numpy()
    model = extra_library("sklearn.linear_model", PROBE).LogisticRegression(
        C=1.0, class_weight="balanced", solver=solver, max_iter=200, random_state=0
    )

    def ours() -> None:
        book = code_book(rows)
        counts = count_codes(book.encode(rows), label.to(torch.int64), 2)
        fit_histograms(ClassHistograms(book.values(), counts))

    def theirs() -> None:
        for neuron in range(SAMPLE):
            model.fit(normalised[:, neuron : neuron + 1], label.numpy())

    ratio = interleaved(ours, theirs)
    benchmark.extra_info |= {
        "ratio_per_neuron": [value * NEURONS / SAMPLE for value in ratio.quartiles],
        "ours_milliseconds": 1000 * ratio.ours / NEURONS,
        "reference_milliseconds": 1000 * ratio.reference / SAMPLE,
        "target_ratio": 30,
    }
    benchmark.pedantic(theirs, rounds=1)


def test_controls_of_a_layer(benchmark):
    """Neurons, random directions and shuffled labels of one data set."""
    x, tasks = made_up(0)
    benchmark.pedantic(control_scores, args=(x, tasks), kwargs={"seed": 0}, rounds=3)
    benchmark.extra_info |= {
        "features": FEATURES,
        "whole_model_seconds": benchmark.stats.stats.median * LAYERS,
    }
