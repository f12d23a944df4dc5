"""What the representation of a subject is closest to after every layer: the logit lens.

Source: ablations and frequencies specification, section 4.3; Geva et al., "Dissecting recall of factual
associations in auto-regressive language models" (2023), section 5.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from jaxtyping import Float, Int32
from torch import Tensor

from rwcore.ablation.compare import CONVENTIONS, FIXED
from rwcore.ablation.head import Unembedding
from rwcore.ablation.hooks import ablating
from rwcore.ablation.interventions import Ablation
from rwcore.ablation.variants import ablating_rows
from rwcore.activations.forward import Finished, run_hooks
from rwcore.attributes.largest import Unembedded
from rwcore.attributes.subjects import SubjectPrompt
from rwcore.corpora.batches import TOKEN_BUDGET, Batch
from rwcore.errors import ModelError, require_choice, require_least

TOP = 50
"""How many tokens are looked at."""
EVERYWHERE, SUBJECT = WHERE = "everywhere", "subject"


def top_tokens(
    model: Any,
    prompts: Sequence[SubjectPrompt],
    *ablations: Ablation,
    k: int = TOP,
    where: str = EVERYWHERE,
    convention: str = FIXED,
    token_budget: int = TOKEN_BUDGET,
    report: Callable[[int], object] | None = None,
) -> Int32[Tensor, "prompt layer k"]:
    """The k tokens with the largest logits at the last token of each subject, after every layer.

    ``fixed``: what the model itself would predict if this layer were its last: the final norm, the
    unembedding and its bias; a soft cap does not change the order. ``as_published``: ``h · W_U`` without norm
    and bias, which is the same order where the norm has no parameters and the unembedding no bias.

    Prompts end with their subjects, and rows are padded on the right: what follows a subject cannot change
    what is before it. All layers come from one pass, which ends with the last layer.

    Args:
        model: What `rwcore.models.load.load_bridge` returns, in compatibility mode; a decoder.
        prompts: Prompts up to the last token of their subjects.
        ablations: Of neurons of this model; none for the clean run.
        k: How many.
        where: Ablate at every position (as the original does), or from the first token of the subject to
            its last; several ablations then act one after the other, each on what the ones before it left.
        convention: ``fixed`` or ``as_published``.
        token_budget: Positions of a batch, padding included.
        report: Called with the number of prompts of each batch that is done.

    Returns:
        In the order of the prompts, on the CPU. The first "layer" is the mean of the embeddings of the
        subject's tokens (which no ablation changes), then comes the residual stream after each layer.

    Raises:
        OptionError: There is no such convention or place, the budget is not positive, or a set names a
            neuron that is not there.
        NotGatedError: A condition is given and the MLPs have no gate.
        ModelError: The layers are not reached, or a representation is not finite.
    """
    require_choice("convention", convention, CONVENTIONS)
    require_choice("where", where, WHERE)
    unembedding = Unembedding.of(model)
    normed = convention == FIXED
    lens = Unembedded.of(unembedding.weight, unembedding.bias if normed else None)
    layers = len(_blocks(model))
    found = torch.empty(len(prompts), layers + 1, k, dtype=torch.int32)
    for rows in _batches(prompts, token_budget):
        chosen = [prompts[row] for row in rows]
        with _ablating(model, chosen, ablations, where):
            states = subject_states(model, chosen)
        if normed:
            with torch.no_grad():
                states = model.ln_final(states)
        found[rows] = lens.largest(_finite(states, chosen), k).cpu()
        if report is not None:
            report(len(rows))
    return found


def subject_states(model: Any, prompts: Sequence[SubjectPrompt]) -> Float[Tensor, "prompt layer d_model"]:
    """The embedding of each subject, then the residual stream after every layer at its last token.

    Args:
        model: As for `top_tokens`, perhaps with hooks that ablate.
        prompts: One batch of them.

    Returns:
        On the model's device and in its type.

    Raises:
        ModelError: The layers are not reached.
    """
    batch = one_batch(prompts)
    device = next(model.parameters()).device
    rows = torch.arange(len(prompts), device=device)
    last = torch.tensor([prompt.position for prompt in prompts], device=device)
    embedding = model.W_E
    states: Tensor = embedding.new_empty(len(prompts), len(_blocks(model)) + 1, embedding.shape[1])
    for row, prompt in enumerate(prompts):
        states[row, 0] = embedding[list(prompt.tokens[prompt.start :])].float().mean(dim=0)
    final = states.shape[1] - 1

    def watch(layer: int) -> Callable[..., None]:
        def hook(stream: Tensor, hook: Any) -> None:
            states[:, layer] = stream[rows, last]
            if layer == final:
                raise Finished

        return hook

    if run_hooks(
        model, batch, [(f"blocks.{layer - 1}.hook_out", watch(layer)) for layer in range(1, final + 1)]
    ):
        return states
    raise ModelError(
        "the output of the last layer was not reached",
        where=str(model.cfg.model_name),
        remedy="the rate of attributes needs a decoder with one stack of layers",
    )


def one_batch(prompts: Sequence[SubjectPrompt]) -> Batch:
    """Prompts as one rectangle, padded on the right."""
    lengths = torch.tensor([len(prompt.tokens) for prompt in prompts])
    mask = torch.arange(int(lengths.max())) < lengths[:, None]
    tokens = torch.zeros(mask.shape, dtype=torch.int64)
    tokens[mask] = torch.tensor([token for prompt in prompts for token in prompt.tokens])
    return Batch(0, torch.arange(len(prompts)), tokens, mask)


def _batches(prompts: Sequence[SubjectPrompt], budget: int) -> Iterator[list[int]]:
    """Numbers of prompts of similar length, the longest first, cut as `rwcore.corpora.batches` does."""
    require_least("token_budget", budget, 1)
    order = sorted(range(len(prompts)), key=lambda row: -len(prompts[row].tokens))
    while order:
        size = max(1, budget // len(prompts[order[0]].tokens))
        yield order[:size]
        order = order[size:]


@contextmanager
def _ablating(
    model: Any, prompts: Sequence[SubjectPrompt], ablations: Sequence[Ablation], where: str
) -> Iterator[None]:
    """Ablate in one batch, at all positions or at those of the subjects."""
    with ExitStack() as stack:
        if where == EVERYWHERE:
            stack.enter_context(ablating(model, *ablations))
        else:
            position = torch.arange(max(len(prompt.tokens) for prompt in prompts))
            inside = torch.stack([(position >= one.start) & (position <= one.position) for one in prompts])
            for ablation in ablations:
                every = torch.ones(len(prompts), len(ablation.neurons), dtype=torch.bool)
                stack.enter_context(ablating_rows(model, ablation, every, inside))
        yield


def _blocks(model: Any) -> list[Any]:
    blocks = list(getattr(model, "blocks", None) or ())
    if not blocks:
        raise ModelError(
            "the model has no layers to look behind",
            where=type(model).__name__,
            remedy="the rate of attributes needs a decoder with one stack of layers",
        )
    return blocks


def _finite(states: Tensor, prompts: Sequence[SubjectPrompt]) -> Tensor:
    bad = (~states.isfinite()).any(dim=2).nonzero().cpu()
    if len(bad):
        row, layer = bad[0].tolist()
        raise ModelError(
            "a representation is not finite",
            where=f"fact {prompts[row].fact.id}, " + (f"layer {layer - 1}" if layer else "the embedding"),
            remedy="the weights are damaged, or the type of the numbers is too narrow: try float32",
        )
    return states
