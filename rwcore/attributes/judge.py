"""Which facts a model knows: those whose prompts it completes with the attribute."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch

from rwcore.ablation.compare import AS_PUBLISHED, FIXED
from rwcore.ablation.generation import parts_at
from rwcore.attributes.facts import Fact
from rwcore.attributes.greedy import greedy
from rwcore.corpora.batches import TOKEN_BUDGET
from rwcore.corpora.encoder import TextEncoder
from rwcore.errors import OptionError

STEP = 10
"""Tokens that are written before an answer is looked at, and again as long as it says nothing yet."""
ROUNDS = 10

OTHER = "the model goes on otherwise"
UNDECIDED = "the model neither answers nor ends its text"
TOO_LONG = "the prompt does not fit into the context of the model"
REASONS = (OTHER, UNDECIDED, TOO_LONG)
REPLACEMENT = "\ufffd"
"""What a tokenizer shows for bytes that are no character."""


@dataclass(frozen=True)
class Judgement:
    """Whether a model knows a fact.

    Attributes:
        fact: The fact.
        known: Whether it does.
        answer: What it writes after the prompt, as far as it was read.
        reason: Why not: one of `REASONS`; empty if it is known.
        prompt: The text up to where the attribute begins; that of the fact if it is not known.
    """

    fact: Fact
    known: bool
    answer: str
    reason: str
    prompt: str


def judge(new: str, attribute: str, ended: bool, convention: str = FIXED) -> bool | None:
    """Whether a model gave the attribute as its answer; None if it must write on to tell.

    An answer is what a text says up to the first word with a capital, and including it.

    - ``fixed``: yes if the attribute begins there, as words of its own (not He in The); upper and lower case
      are the same, and so are all spaces. What was decided stays so however the text goes on.
    - ``as_published``: yes if all of the attribute is there, be it within words, in upper or lower case. If
      instead the attribute begins with that word, the text is compared from the *character* whose number is
      that of the word, a slip: so an attribute of several words is recognised only if the text begins with
      it. Without such a word, in a text that has ended, the attribute may be anywhere in its own spelling.

    Args:
        new: What the model wrote after the prompt.
        attribute: What it should have written.
        ended: Whether the model ended its text.
        convention: See above.

    Source: ablations and frequencies specification, section 4.1, step 2.
    """
    if convention == AS_PUBLISHED:
        return _judge_as_published(new.split(), attribute, ended)
    text = " ".join(new.split())
    first = next((word for word in re.finditer(r"\S+", text) if word[0][0].isupper()), None)
    found = _pattern(attribute).search(text)
    # A word at the end may not be complete.
    if found is not None and (ended or found.end() < len(text)):
        return first is None or found.start() < first.end()
    if ended:
        return False
    # It may begin with the last letter of that word, and end as many letters later.
    return None if first is None or len(text) - first.end() < len(attribute) else False


def _judge_as_published(words: Sequence[str], attribute: str, ended: bool) -> bool | None:
    text = " ".join(words)
    at = next((number for number, word in enumerate(words) if word[0].isupper()), None)
    if at is None:
        return attribute in text if ended else None
    if attribute.lower() in " ".join(words[: at + 1]).lower():
        return True
    if not attribute.startswith(words[at]):
        return False
    rest = text[at:]
    return rest.startswith(attribute) if ended or len(rest) >= len(attribute) else None


def _pattern(attribute: str) -> re.Pattern[str]:
    """Finds an attribute as words of their own, in either case and over any spaces."""
    words = r"\s+".join(map(re.escape, attribute.split()))
    return re.compile(rf"(?<!\w){words}(?!\w)", re.IGNORECASE)


def before_answer(fact: Fact, new: str, convention: str = FIXED) -> str:
    """The text up to the answer of a model that knows a fact; usually it ends with a space.

    - ``fixed``: up to where the attribute begins in what the model wrote.
    - ``as_published``: up to the attribute as spelled, else in lower case, else with a capital and the rest
      in lower case; whichever of these comes first in this order. It is looked for in the prompt too, where
      it may stand within the subject, which is then cut. The prompt alone if there is none of them.

    Source: ablations and frequencies specification, section 4.1, step 3.
    """
    if convention != AS_PUBLISHED:
        found = _pattern(fact.attribute).search(new)
        return fact.prompt if found is None else fact.prompt + new[: found.start()]
    text, own = fact.prompt + new, fact.attribute
    delimiter = next((form for form in (own, own.lower(), own.capitalize()) if form in text), None)
    return fact.prompt if delimiter is None else text[: text.index(delimiter)]


def judge_facts(
    model: Any,
    encoder: TextEncoder,
    facts: Sequence[Fact],
    *,
    bos: str = "model",
    convention: str = FIXED,
    rounds: int = ROUNDS,
    token_budget: int = TOKEN_BUDGET,
    report: Callable[[int], object] | None = None,
) -> list[Judgement]:
    """Let a model complete the prompts of some facts, and look whether it does so with the attribute.

    The likeliest tokens are written, `STEP` at a time, until `judge` can tell. Prompts of equal length are
    batched (see `rwcore.attributes.greedy.greedy`).

    Args:
        model: What `rwcore.models.load.load_bridge` returns (duck-typed); a decoder.
        encoder: Its tokenizer.
        facts: The facts.
        bos: Token before every prompt, a policy of `TextEncoder.bos`.
        convention: See `judge`.
        rounds: After how many times `STEP` tokens a model is said not to answer. The original goes on for
            ever.
        token_budget: Positions of a batch, new ones included.
        report: Called with the number of facts that were judged since it was called last.

    Returns:
        In the order of the facts.

    Raises:
        CorpusError: There is no token for ``bos``, or the tokenizer is of another model.
        OptionError: There is no round.
        ModelError: The model is no decoder, or a prediction is not finite.
    """
    if rounds < 1:
        raise OptionError("an answer needs a token", where="rounds", remedy="give 1 or more")
    if not facts:
        return []
    first = encoder.bos(bos)
    head = [] if first is None else [first]
    prompts = [[*head, *ids] for ids in encoder.encode([fact.prompt for fact in facts])]
    judged = [Judgement(fact, False, "", TOO_LONG, fact.prompt) for fact in facts]
    texts = dict(enumerate(prompts))  # those that must go on, by the number of the fact
    for _ in range(rounds):
        for batch in _batches(texts, token_budget, model.cfg.n_ctx):
            new = greedy(model, torch.tensor([texts[number] for number in batch]), STEP)
            for number, tokens in zip(batch, new.tolist(), strict=True):
                texts[number] = [*texts[number], *tokens]
                answer, ended = _answer(encoder, prompts[number], texts[number])
                judged[number] = _judgement(facts[number], answer, ended, convention)
                if judged[number].reason != UNDECIDED:
                    del texts[number]
                    _tell(report, 1)
    _tell(report, len(texts))
    return judged


def _tell(report: Callable[[int], object] | None, count: int) -> None:
    if report is not None:
        report(count)


def _batches(texts: Mapping[int, Sequence[int]], token_budget: int, context: int | None) -> list[list[int]]:
    """Numbers of texts of equal length that have room to grow, the longest first."""

    def length(number: int) -> int:
        return len(texts[number])

    # The last token that is written is not read again.
    growing = [number for number in texts if context is None or length(number) + STEP - 1 <= context]
    found: list[list[int]] = []
    for size, numbers in groupby(sorted(growing, key=length, reverse=True), key=length):
        together = list(numbers)
        rows = max(1, token_budget // (size + STEP))
        found += [together[start : start + rows] for start in range(0, len(together), rows)]
    return found


def _answer(encoder: TextEncoder, prompt: Sequence[int], text: Sequence[int]) -> tuple[str, bool]:
    """What was written after a prompt, and whether the text was ended."""
    written = text[len(prompt) :]
    end = next((at for at, token in enumerate(written) if token in encoder.ends), None)
    # As a whole: bytes of a character may be divided among tokens, and a space may hang on the next.
    whole, before = (_decoded(encoder, ids) for ids in ([*prompt, *written[:end]], prompt))
    own = whole[parts_at(whole, before) or len(whole) :]
    # The last character may not be complete yet.
    return own.rstrip(REPLACEMENT), end is not None


def _decoded(encoder: TextEncoder, tokens: Sequence[int]) -> str:
    decoded = encoder.tokenizer.decode(
        list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False
    )
    return str(decoded)


def _judgement(fact: Fact, answer: str, ended: bool, convention: str) -> Judgement:
    known = judge(answer, fact.attribute, ended, convention)
    if known:
        return Judgement(fact, True, answer, "", before_answer(fact, answer, convention))
    return Judgement(fact, False, answer, UNDECIDED if known is None else OTHER, fact.prompt)
