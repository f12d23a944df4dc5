"""Texts that a model writes with and without ablations, token by token, from the same draws."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from rwcore.ablation.hooks import ablating
from rwcore.ablation.interventions import Ablation
from rwcore.errors import ModelError, OptionError


@dataclass(frozen=True)
class Decoding:
    """How each next token is chosen.

    Attributes:
        tokens: Tokens to add, at most.
        temperature: T > 0: draw from ``softmax(z / T)`` of the logits z. None: take the largest logit (of
            equal ones the lowest id).
        top_k: Draw from the k largest logits only (and what equals the k-th); None for all.
        seed: Decides the draws.

    Raises:
        OptionError: A number is out of range, or ``top_k`` is given and nothing is drawn.
    """

    tokens: int
    temperature: float | None = None
    top_k: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.tokens < 1:
            raise OptionError(
                f"a text cannot grow by {self.tokens} tokens", where="--tokens", remedy="give 1 or more"
            )
        if self.temperature is not None and not 0 < self.temperature < math.inf:
            raise OptionError(
                f"the temperature cannot be {self.temperature:g}",
                where="--temperature",
                remedy="give a number above 0, or leave it out to take the likeliest token each time",
            )
        if self.top_k is not None and self.top_k < 1:
            raise OptionError(
                f"nothing can be drawn from {self.top_k} tokens", where="--top-k", remedy="give 1 or more"
            )
        if self.top_k is not None and self.temperature is None:
            raise OptionError(
                "the likeliest token is among any number of likeliest ones",
                where="--top-k",
                remedy="add --temperature 1 to draw tokens, or leave --top-k out",
            )
        if not 0 <= self.seed < 2**63:
            raise OptionError(
                f"the seed cannot be {self.seed}", where="--seed", remedy="give a whole number from 0"
            )

    def facts(self) -> dict[str, object]:
        """What decides a text, as JSON types; the seed does not if nothing is drawn."""
        drawn = self.temperature is not None
        return {
            "tokens": self.tokens,
            "temperature": self.temperature,
            "top_k": self.top_k,
            "seed": self.seed if drawn else None,
        }


@dataclass(frozen=True, eq=False)
class Continuation:
    """The tokens that follow a prompt.

    Attributes:
        tokens: Their ids; the last one is the token that ends a text if ``ended``.
        logprob: ``log P(token)``, nats, of the distribution the token was drawn from: after temperature and
            top-k; the model's own where the likeliest token is taken.
        entropy: ``-Σ_v P_v log P_v``, nats, of the same distribution.
        ended: Whether a stop token came before the tokens were used up, or as the last of them.
    """

    tokens: Int64[Tensor, " token"]
    logprob: Float64[Tensor, " token"]
    entropy: Float64[Tensor, " token"]
    ended: bool


def generate(
    model: Any,
    prompt: Sequence[int],
    decoding: Decoding,
    *ablations: Ablation,
    stop: Collection[int] = (),
    cache: bool = True,
) -> Continuation:
    """Continue a prompt while neurons are ablated.

    Every position is ablated, those of the prompt too, and conditions are evaluated at each position on the
    values of this very text. One text is run at a time, so that others cannot move its last digits.

    Draws are coupled: token t is ``argmax_v (log P_v + g_tv)`` with Gumbel noise g of the seed, which has the
    distribution P; ``g`` is the same whatever is ablated, so that texts differ by the ablation only.

    Args:
        model: What `rwcore.models.load.load_bridge` returns (duck-typed); a decoder.
        prompt: Token ids, with the BOS if there is to be one. None is added.
        decoding: How tokens are chosen.
        ablations: Of neurons of this model; none for the clean text.
        stop: Tokens that end a text.
        cache: Whether keys and values of the text so far are kept. Each step is then one token instead of
            the whole text, and the logits agree to rounding. Ablations at given positions of the text, and
            models that keep no cache, run the whole text each time in either case.

    Raises:
        OptionError: The prompt is empty, has a token that is not the model's, or leaves no room in its
            context; or a set names a neuron that is not there.
        NotGatedError: A condition is given and the MLPs have no gate.
        ModelError: The model is no decoder, or a logit is not a number.

    Source: ablations and frequencies specification, section 6 (there with two BOS, sampling not seeded);
        draws: Oberst & Sontag 2019, section 3.2.
    """
    require_decoder(model)
    require_room(len(prompt), decoding.tokens, model.cfg.n_ctx)
    require_tokens(prompt, int(model.cfg.d_vocab))
    # A step that is given one token has it at position 0.
    cached = cache and all(one.intervention.positions is None for one in ablations)
    generator = torch.Generator().manual_seed(decoding.seed)
    text, kept = list(prompt), None
    found: list[tuple[int, float, float]] = []
    with torch.no_grad(), ablating(model, *ablations), last_logits_only(model):
        while len(found) < decoding.tokens and not (found and text[-1] in stop):
            unread = text if kept is None else text[-1:]
            logits, now = read(model, torch.tensor([unread]), kept)
            kept = now if cached else None
            found.append(choose(logits[0].cpu(), decoding, generator))
            text.append(found[-1][0])
    tokens, logprob, entropy = zip(*found, strict=True)
    return Continuation(
        torch.tensor(tokens),
        torch.tensor(logprob, dtype=torch.float64),
        torch.tensor(entropy, dtype=torch.float64),
        ended=text[-1] in stop,
    )


def choose(
    logits: Float[Tensor, " vocab"], decoding: Decoding, generator: torch.Generator
) -> tuple[int, float, float]:
    """The next token, its log-probability and the entropy of the distribution; see `Continuation`.

    Args:
        logits: Of the model, on the CPU.
        decoding: How the token is chosen.
        generator: Of the draws; used only if the token is drawn.

    Raises:
        ModelError: A logit is not a number.
    """
    scores = logits.double()
    if decoding.temperature is not None:
        scores = scores / decoding.temperature
        if decoding.top_k is not None and decoding.top_k < len(scores):
            least = scores.topk(decoding.top_k).values[-1]
            scores = scores.where(scores >= least, -math.inf)
    log_probabilities = scores.log_softmax(dim=0)
    entropy = float(torch.special.entr(log_probabilities.exp()).sum())
    require_finite(math.isfinite(entropy))
    ranked = scores
    if decoding.temperature is not None:
        exponential = torch.empty_like(scores).exponential_(generator=generator)
        ranked = log_probabilities - exponential.log()  # -log of an exponential is Gumbel noise
    token = int(ranked.argmax())
    return token, float(log_probabilities[token]), entropy


def parts_at(one: Sequence[object], other: Sequence[object]) -> int | None:
    """The first place, from 0, at which two texts differ, or one has ended; None if they are the same."""
    for place, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return place
    return None if len(one) == len(other) else min(len(one), len(other))


def require_room(prompt: int, tokens: int, context: int | None) -> None:
    """Check that a prompt and what follows fit into a model's context; the last token is not read again.

    Args:
        prompt: Tokens of the prompt.
        tokens: Tokens to add.
        context: Positions of the model; None for no limit.

    Raises:
        OptionError: They do not, or the prompt is empty.
    """
    if prompt < 1:
        raise OptionError(
            "there is nothing to continue",
            where="the prompt",
            remedy="give a prompt, or let it begin with a BOS token",
        )
    if context is None or prompt + tokens - 1 <= context:
        return
    room = context - prompt + 1
    raise OptionError(
        f"a prompt of {prompt} tokens and {tokens} more do not fit into the {context} positions of the model",
        where="--tokens",
        remedy=f"ask for at most {room}, or shorten the prompt" if room > 0 else "shorten the prompt",
    )


def require_finite(finite: bool) -> None:
    """Refuse predictions that are not finite.

    Raises:
        ModelError: They are not.
    """
    if not finite:
        raise ModelError(
            "the prediction of the next token is not finite",
            where="generation",
            remedy="the weights are damaged, or the type of the numbers is too narrow: try float32",
        )


def require_tokens(prompt: Sequence[int], vocab: int) -> None:
    """Check that all tokens of a prompt are the model's.

    Args:
        prompt: Token ids.
        vocab: Tokens of the model.

    Raises:
        OptionError: One is not.
    """
    wrong = [token for token in prompt if not 0 <= token < vocab]
    if wrong:
        raise OptionError(
            f"token {wrong[0]} is none of the model's {vocab}",
            where="the prompt",
            remedy="use the tokenizer of this very model",
        )


def require_decoder(model: Any) -> None:
    """Check that a model writes texts token by token.

    Raises:
        ModelError: It does not.
    """
    adapter = getattr(model, "adapter", None)
    # A model with an encoder has no stack of blocks by this name.
    if not getattr(adapter, "supports_generation", True) or not hasattr(model, "blocks"):
        raise ModelError(
            "the model does not write texts token by token",
            where=str(model.cfg.model_name),
            remedy="use a decoder (Llama, OLMo, Gemma, GPT-2, …)",
        )


def read(
    model: Any, unread: Int64[Tensor, "batch pos"], kept: Any
) -> tuple[Float[Tensor, "batch vocab"], Any]:
    """Read on in some texts of equal length.

    Args:
        model: See `generate`.
        unread: Tokens of each text that were not read yet.
        kept: Keys and values of what was, as the last call gave them; None if that is nothing.

    Returns:
        The last logits after each text, float32; and keys and values of all of it, None if the model gives
        none, so that the texts must be read from their beginnings again.
    """
    # Asked for in any case: see `rwcore.activations.forward.run_hooks` for half precision.
    options = {} if kept is None else {"past_key_values": kept}
    tokens = unread.to(next(model.parameters()).device)
    logits, now = model(tokens, return_type="logits_and_cache", use_cache=True, **options)
    return logits[:, -1].float(), now


@contextmanager
def last_logits_only(model: Any) -> Iterator[None]:
    """Have logits made for the last position only: those of a long prompt would take gigabytes."""
    handle = model.unembed.hook_in.register_forward_hook(lambda module, arguments, values: values[:, -1:])
    try:
        yield
    finally:
        handle.remove()
