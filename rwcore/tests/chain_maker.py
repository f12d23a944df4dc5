"""A model whose texts are known: each token is followed by a certain other one."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from fixtures.tiny import local_model, save, tiny_model
from rwcore.models.load import load_bridge


def chain_bridge(folder: Path, follows: Mapping[int, int], vocab: int, context: int = 32) -> Any:
    """A Llama of one layer without attention: neuron i reads token i and writes the one that follows.

    Its post is silu(4) · 1 at token i, and 0 elsewhere.

    Args:
        folder: Where the checkpoint is saved.
        follows: Which token comes after a token; any other token repeats itself.
        vocab: Number of tokens, and the width of everything else; a multiple of 8.
        context: Number of positions.
    """
    sizes = {"layers": 1, "d_model": vocab, "d_mlp": vocab, "vocab": vocab, "context": context}
    model = tiny_model("llama", **sizes, rms_norm_eps=1e-12)
    eye = torch.eye(vocab)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.ones(()) if "norm" in name else torch.zeros(()))
        block = model.model.layers[0]
        model.model.embed_tokens.weight.copy_(eye)
        model.lm_head.weight.copy_(eye)
        block.mlp.gate_proj.weight.copy_(eye)
        block.mlp.up_proj.weight.copy_(eye / 4)
        for token, following in follows.items():
            block.mlp.down_proj.weight[following, token] = 1
    return load_bridge(local_model(save(model, folder)))


def along(*texts: str) -> dict[int, int]:
    """What follows each byte in some texts, for `rwcore.tests.corpus_makers.byte_tokenizer`."""
    return {one: other for text in texts for one, other in pairwise(text.encode())}
