"""A model of OLMo-1B's shape with random weights, and a batch for it: what benchmarks run on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from rwcore.corpora.batches import Batch
from rwcore.models.load import load_bridge

SHAPE = {"layers": 16, "d_model": 2048, "d_mlp": 8192, "heads": 16, "vocab": 50304, "context": 1024}
ROWS = 16


@dataclass(frozen=True)
class Large:
    """A model, rows of random tokens, and how to wait for the device.

    Attributes:
        model: The bridge, bfloat16.
        batch: `ROWS` rows of the whole context.
        device: Where the model is.
    """

    model: Any
    batch: Batch
    device: str

    def finished(self, function: Callable[[], object]) -> Callable[[], None]:
        """The function, which returns when the device has done it."""

        def once() -> None:
            function()
            if self.device.startswith("cuda"):
                torch.cuda.synchronize()

        return once


def large(folder: Path, device: str = "cuda:0", **smaller: int) -> Large:
    """Build it.

    Args:
        folder: Where the weights are written.
        device: Where the model goes.
        smaller: Other values of `SHAPE`, to try a benchmark where there is no GPU.
    """
    from fixtures.tiny import build, local_model  # builders are not in wheels

    shape = SHAPE | smaller
    weights = build("olmo", folder, dtype=torch.bfloat16, **shape)
    model = load_bridge(local_model(weights), device, dtype=torch.bfloat16)
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(4, shape["vocab"], (ROWS, shape["context"]), generator=generator)
    batch = Batch(0, torch.arange(ROWS), tokens, torch.ones_like(tokens, dtype=torch.bool))
    return Large(model, batch, device)
