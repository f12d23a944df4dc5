"""The direct effect of an ablation: what the neurons themselves add to the final stream, and nothing else.

In the clean run every neuron n at which the conditions hold at the last position adds ``s_n w_n`` to the
residual stream there (after a norm behind the MLP, where a model has one), and the ablation would make it
``v_n w_n``. The sum of the differences is taken from the final stream; no layer in between reacts.

Source: ablations and frequencies specification, sections 6 and 8.4 (O7).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from rwcore.ablation.interventions import Ablation
from rwcore.ablation.metrics import run_to_the_end
from rwcore.ablation.variants import ablating_rows, one_prompt

Value = TypeVar("Value")
CLEAN, CHANGED = 0, 1


@dataclass(frozen=True)
class Direct(Generic[Value]):
    """Something without the direct contribution of the ablated neurons, under two readings of the final norm.

    Attributes:
        frozen: With the scale of the clean run. Logits are then linear in the stream (but for a soft cap),
            so this is the clean prediction minus the direct contribution to the logits: the published
            quantity.
        recomputed: With the scale of the changed stream: neurons that write where the unembedding does not
            read act on predictions in this way only.
    """

    frozen: Value
    recomputed: Value


@torch.no_grad()
def direct_hidden(model: Any, tokens: Sequence[int], ablation: Ablation) -> Direct[Float[Tensor, " d_model"]]:
    """What the unembedding reads at the last position if only direct contributions are missing.

    The prompt runs in two rows. The second is ablated in each layer; how far that moves its last position
    is noted, and the row is set back before the next layer. In the end all that was noted is subtracted.

    Args:
        model: What `rwcore.models.load.load_bridge` returns, in compatibility mode.
        tokens: The prompt.
        ablation: Of neurons of this model.

    Raises:
        OptionError: As `rwcore.ablation.hooks.ablating`; the others too.
        NotGatedError: There is a condition and the MLPs have no gate.
        ModelError: The model cannot be run with hooks up to the unembedding.
    """
    neurons = torch.tensor([[False], [True]]).expand(2, len(ablation.neurons))
    positions = torch.ones(2, len(tokens), dtype=torch.bool)
    gone: list[Tensor] = []
    last = len(model.blocks) - 1

    def hook_of(layer: int) -> Any:
        def hook(module: Any, arguments: Any, stream: Float[Tensor, "2 pos d_model"]) -> Tensor:
            clean, changed = stream[CLEAN], stream[CHANGED]
            gone.append(clean[-1] - changed[-1])
            again = torch.stack([clean, clean])
            if layer == last:
                again[CHANGED, -1] -= torch.stack([one.to(clean.device) for one in gone]).sum(dim=0)
            return again

        return hook

    with ExitStack() as stack:
        stack.enter_context(ablating_rows(model, ablation, neurons, positions))
        for layer in sorted({*ablation.neurons.counts(), last}):
            stack.callback(model.blocks[layer].hook_out.register_forward_hook(hook_of(layer)).remove)
        ending = run_to_the_end(model, one_prompt(tokens, 2))
    recomputed = ending.hidden[CHANGED, -1]
    scale = ending.scale[:, -1]
    bias = getattr(model.ln_final.original_component, "bias", None)
    offset = torch.zeros_like(recomputed) if bias is None else bias
    frozen = (recomputed - offset) * (scale[CHANGED] / scale[CLEAN]) + offset
    return Direct(frozen=frozen, recomputed=recomputed)
