"""Tiny models, their gate signs, and runs of them with and without ablations."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from fixtures.tiny import SIZES, build, local_model
from rwcore.ablation.hooks import ablating
from rwcore.ablation.interventions import Ablation, Intervention
from rwcore.activations.accumulate import ActivationAccumulator
from rwcore.activations.artefact import Activations
from rwcore.activations.capture import add_batch
from rwcore.activations.groups import GROUPS, group_of
from rwcore.activations.summary import Summary, summary_of
from rwcore.benchmarks.reference.ablation import ablation_hooks
from rwcore.corpora.batches import Batch
from rwcore.models.load import load_bridge
from rwcore.neurons import NeuronSet
from rwcore.weights.bridge import bridge_mlp_weights
from rwcore.weights.fold import gate_sign

LAYERS, NEURONS = SIZES["layers"], SIZES["d_mlp"]
LENGTHS = (7, 5, 3)
EVERY = [(layer, neuron) for layer in range(LAYERS) for neuron in range(NEURONS)]
ALL = NeuronSet.of("all", EVERY)
QUADRANTS = [(gate, post) for gate in "+-" for post in "+-"]

# Families as their models come, and two with biases in the MLP.
SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in ("llama", "mistral", "qwen2", "gemma2", "olmo", "gpt2", "gpt_neox")},
    "llama with biases": ("llama", {"mlp_bias": True}),
}
GATED = [name for name in SHAPES if not name.startswith("gpt")]
PARAMETERS = {"fixed": 0.7, "threshold": -0.05, "multiply": -2.0}


def load(name: str, folder: Path, **options: Any) -> Any:
    """The bridge of one of `SHAPES`."""
    family, shape = SHAPES[name]
    return load_bridge(local_model(build(family, folder, **shape)), **options)


@cache
def shared(name: str) -> Any:
    """The same bridge for all tests of a process, which leave it as it was."""
    with TemporaryDirectory() as folder:
        return load(name, Path(folder))


def tokens_and_mask(lengths: Sequence[int] = LENGTHS, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Random rows, padded on the right."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return torch.randint(4, SIZES["vocab"], mask.shape, generator=generator) * mask, mask


def logits(bridge: Any, hooks: Sequence[Any] = (), **given: Any) -> Tensor:
    """The logits of the real tokens of `tokens_and_mask`, [token vocab]."""
    tokens, mask = tokens_and_mask(**given)
    device = next(bridge.parameters()).device
    with torch.no_grad():
        found = bridge.run_with_hooks(
            tokens.to(device), fwd_hooks=list(hooks), attention_mask=mask.long().to(device), use_cache=False
        )
    return found[mask.to(device)]


def signs_of(bridge: Any) -> Tensor:
    """σ of all neurons of the weights that the bridge runs, int8; +1 without a gate."""
    layers = list(bridge_mlp_weights(bridge))
    if layers[0].gate is None:
        return torch.ones(len(layers), len(layers[0].in_), dtype=torch.int8)
    return torch.stack([gate_sign(layer.gate, layer.in_) for layer in layers]).to(torch.int8)


def random_set(seed: int, count: int) -> NeuronSet:
    """Neurons in no order."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(EVERY), generator=generator)[:count]
    return NeuronSet.of(f"random {count}", [EVERY[place] for place in order])


def made(neurons: NeuronSet, given: Intervention, signs: Tensor, seed: int = 0) -> Ablation:
    """An ablation whose means, if it has any, are random."""
    places = torch.from_numpy(neurons.layer), torch.from_numpy(neurons.neuron)
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(len(neurons), generator=generator, dtype=torch.float64)
    return Ablation(neurons, given, signs[places], values if given.mode == "mean" else None)


def reference_logits(bridge: Any, ablation: Ablation) -> Tensor:
    """The logits under the hooks of the reference."""
    given = ablation.intervention
    hooks = ablation_hooks(
        ablation.neurons.pairs(),
        given.mode,
        signs=ablation.signs.tolist(),
        gate=given.gate,
        post=given.post,
        parameter=given.parameter,
        means=None if ablation.values is None else ablation.values.tolist(),
        positions=given.positions,
        as_published=given.as_published,
    )
    return logits(bridge, hooks)


def ablated(bridge: Any, *ablations: Ablation, **given_tokens: Any) -> Tensor:
    with ablating(bridge, *ablations):
        return logits(bridge, **given_tokens)


def zero(neurons: NeuronSet, signs: Tensor, **conditions: Any) -> Ablation:
    return made(neurons, Intervention("zero", **conditions), signs)


def summary_of_bridge(bridge: Any) -> Summary:
    """Frequencies and means over the tokens that the tests use, not folded."""
    tokens, mask = tokens_and_mask()
    rows = torch.arange(len(tokens))
    accumulator = ActivationAccumulator(LAYERS, NEURONS)
    add_batch(bridge, Batch(0, rows, tokens, mask), accumulator, group_of(rows))
    group_tokens = (int(mask.sum()),) * GROUPS  # not used here
    return summary_of(
        Activations({}, ((0, 1),), (0,), len(rows), tuple(accumulator.statistics()), group_tokens)
    )


def posts(bridge: Any) -> list[Tensor]:
    """Post of every layer at the real tokens of the present pass, [token neuron]."""
    mask = tokens_and_mask()[1]
    found: list[Tensor] = []

    def keep(values: Tensor, hook: Any) -> None:
        found.append(values[mask].clone())

    logits(bridge, [(f"blocks.{layer}.mlp.hook_post", keep) for layer in range(LAYERS)])
    return found


def hooks_of(bridge: Any) -> int:
    return sum(len(module._forward_hooks) for module in bridge.modules())
