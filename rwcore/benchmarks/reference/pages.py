"""The examples of one neuron as the original's ``--from_scratch`` makes them: a model run for every neuron.

For each of its rows the model is run as far as the neuron's layer, alone, and the four quantities of the
neuron are kept. The original runs a row again for every list that has it, padded to 1024 tokens; here each
row is run once and as long as it is.

Source: neuroscope specification, section 4.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from rwcore.activations.forward import Finished
from rwcore.corpora.tokens import TokenCorpus


def examples_alone(
    model: Any,
    corpus: TokenCorpus,
    layer: int,
    neuron: int,
    rows: Sequence[int],
    act: Callable[[Tensor], Tensor],
) -> dict[int, Tensor]:
    """Gate, in, act and post of a gated neuron, ``[4 pos]``, of each row."""
    found = {}
    for row in rows:
        held: dict[str, Tensor] = {}

        def keep(values: Tensor, hook: Any, held: dict[str, Tensor] = held) -> None:
            held[hook.name.rpartition(".")[2]] = values[0, :, neuron].clone()
            if hook.name.endswith("hook_post"):
                raise Finished

        names = [f"blocks.{layer}.mlp.{name}" for name in ("hook_pre", "hook_pre_linear", "hook_post")]
        try:
            with torch.no_grad():
                model.run_with_hooks(
                    corpus.row(row).long()[None], fwd_hooks=[(name, keep) for name in names], use_cache=False
                )
        except Finished:
            pass
        gate, in_, post = (held[name] for name in ("hook_pre", "hook_pre_linear", "hook_post"))
        found[row] = torch.stack([gate, in_, act(gate), post])
    return found
