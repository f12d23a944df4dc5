"""What a model does at every token, computed one row at a time, for the tests of examples."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rwcore.corpora.tokens import TokenCorpus
from rwcore.models.load import load_bridge
from rwcore.models.spec import LocalModel

ACTIVATIONS = {
    "llama": torch.nn.functional.silu,
    "gpt2": lambda pre: torch.nn.functional.gelu(pre, approximate="tanh"),
    "gptj": lambda pre: torch.nn.functional.gelu(pre, approximate="tanh"),
    "bloom": lambda pre: torch.nn.functional.gelu(pre, approximate="tanh"),
    "gpt_neox": torch.nn.functional.gelu,
    "opt": torch.nn.functional.relu,
}


def row_by_row(
    local: LocalModel, corpus: TokenCorpus, family: str, dtype: torch.dtype = torch.float32
) -> list[Tensor]:
    """Gate, in, act and post of every neuron: of each row, a tensor [layer quantity pos neuron].

    The model's own hooks, one row at a time, nothing padded, nothing left out; of a model without gates in
    is 1.
    """
    model = load_bridge(local, dtype=dtype)
    return [_row(model, corpus.row(row).long()[None], family) for row in range(len(corpus))]


def _row(model: Any, tokens: Tensor, family: str) -> Tensor:
    with torch.no_grad():
        _, cache = model.run_with_cache(tokens)
    layers = []
    for layer in range(model.cfg.n_layers):
        gate, post = (cache[f"blocks.{layer}.mlp.{name}"][0] for name in ("hook_pre", "hook_post"))
        in_ = cache[f"blocks.{layer}.mlp.hook_pre_linear"][0] if family == "llama" else torch.ones_like(gate)
        layers.append(torch.stack([gate, in_, ACTIVATIONS[family](gate), post]))
    return torch.stack(layers)
