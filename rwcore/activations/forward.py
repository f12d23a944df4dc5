"""Run a batch through a model, as far as it is needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from rwcore.corpora.batches import Batch


class Finished(Exception):
    """Raised by a hook that has seen all that is needed: what comes behind it is never computed."""


def run_hooks(model: Any, batch: Batch, hooks: Sequence[tuple[str, Callable[..., Any]]]) -> bool:
    """Run a batch through a model with hooks, without gradients.

    Args:
        model: What `rwcore.models.load.load_bridge` returns (duck-typed).
        batch: Tokens, padded on the right; padding is hidden from attention.
        hooks: Names and functions, as ``run_with_hooks`` takes them.

    Returns:
        Whether a hook has ended the pass by raising `Finished`.
    """
    device = next(model.parameters()).device
    options = pass_options(model, batch)
    try:
        with torch.no_grad():
            model.run_with_hooks(batch.tokens.to(device), fwd_hooks=list(hooks), **options)
    except Finished:
        return True
    return False


def pass_options(model: Any, batch: Batch) -> dict[str, Any]:
    """What a single pass over a batch is called with, beside its tokens.

    Args:
        model: What `rwcore.models.load.load_bridge` returns (duck-typed).
        batch: Tokens, padded on the right; padding is hidden from attention.
    """
    parameter = next(model.parameters())
    # Keys and values of a single pass are not used again. In half precision they are kept nevertheless: the
    # rotary embedding of OLMo makes float32 of queries and keys, and only the cache brings them back.
    options: dict[str, Any] = {"use_cache": False} if parameter.dtype == torch.float32 else {}
    if not bool(batch.mask.all()):
        options["attention_mask"] = batch.mask.long().to(parameter.device)
    return options
