"""Where in a prompt the subject ends: the position whose representation is looked at."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from rwcore.ablation.compare import AS_PUBLISHED, FIXED
from rwcore.attributes.facts import Fact
from rwcore.attributes.judge import Judgement
from rwcore.corpora.encoder import TextEncoder
from rwcore.errors import CorpusError

ABSENT = "the subject is not in the prompt"
SHARED = "the last token of the subject holds more than the subject"
TOO_LONG = "the subject does not fit into the context of the model"
REASONS = (ABSENT, SHARED, TOO_LONG)

Span = tuple[int, int]


@dataclass(frozen=True)
class SubjectPrompt:
    """A prompt up to the end of its subject; what follows cannot change the representation there.

    Attributes:
        fact: The fact.
        tokens: Tokens of the prompt up to and including the last one of the subject, BOS included.
        start: Position of the subject's first token.
    """

    fact: Fact
    tokens: tuple[int, ...]
    start: int

    @property
    def position(self) -> int:
        """Position of the subject's last token."""
        return len(self.tokens) - 1


@dataclass(frozen=True)
class Excluded:
    """A fact that a model knows, and whose subject cannot be looked at.

    Attributes:
        fact: The fact.
        reason: Why: one of `REASONS`.
    """

    fact: Fact
    reason: str


def place_subjects(
    encoder: TextEncoder, judgements: Sequence[Judgement], *, bos: str = "model", convention: str = FIXED
) -> tuple[list[SubjectPrompt], list[Excluded]]:
    """Find the tokens of the subjects in the prompts of the facts that a model knows.

    The subject may have a capital that it has not in the fact, as at the beginning of a sentence.

    - ``fixed``: by what the tokenizer says which characters a token holds, so that characters which are
      divided among tokens do no harm. The subject must stand there as words of its own (not Iran in
      Iranian), and its last token must hold nothing else but spaces: "Paris" is not looked at where a token
      is "Paris,".
    - ``as_published``: in the concatenation of the tokens decoded one by one. Wherever it first stands; a
      subject is not found there if one of its characters is divided among tokens, or if the tokenizer
      decodes a word alone without the space before it.

    Args:
        encoder: The tokenizer.
        judgements: Of `rwcore.attributes.judge.judge_facts`; facts that are not known are passed over.
        bos: Token before every prompt, a policy of `TextEncoder.bos`.
        convention: See above.

    Returns:
        The prompts, and those of the known facts that are left out; each in the order of the judgements.

    Raises:
        CorpusError: There is no token for ``bos``, the tokenizer is of another model, or it does not say
            which characters a token holds.

    Source: ablations and frequencies specification, section 4.3.
    """
    known = [one for one in judgements if one.known]
    if not known:
        return [], []
    first = encoder.bos(bos)
    head = [] if first is None else [first]
    texts = [one.prompt for one in known]
    rows = [[*head, *ids] for ids in encoder.encode(texts)]
    if convention == AS_PUBLISHED:
        texts, spans = _decoded_alone(encoder, rows)
    else:
        spans = [[(0, 0)] * len(head) + own for own in _offsets(encoder, texts)]
    placed: list[SubjectPrompt] = []
    excluded: list[Excluded] = []
    for one, row, text, held in zip(known, rows, texts, spans, strict=True):
        found = _find(text, one.fact.subject, words=convention != AS_PUBLISHED)
        inside = [] if found is None else _tokens_of(found, held)
        if found is None or not inside:
            excluded.append(Excluded(one.fact, ABSENT))
        elif convention != AS_PUBLISHED and _holds_more(text, found, held[inside[-1]]):
            excluded.append(Excluded(one.fact, SHARED))
        elif encoder.context is not None and inside[-1] >= encoder.context:
            excluded.append(Excluded(one.fact, TOO_LONG))
        else:
            placed.append(SubjectPrompt(one.fact, tuple(row[: inside[-1] + 1]), inside[0]))
    return placed, excluded


def _find(text: str, subject: str, *, words: bool) -> Span | None:
    """The first place of a subject, or else of the subject with a capital."""
    for form in (subject, subject[:1].upper() + subject[1:]):
        pattern = re.escape(form)
        found = re.search(rf"(?<!\w){pattern}(?!\w)" if words else pattern, text)
        if found is not None:
            return found.span()
    return None


def _tokens_of(subject: Span, held: Sequence[Span]) -> list[int]:
    """The tokens that hold a part of the subject; some tokenizers drop characters they do not know."""
    return [at for at, (start, end) in enumerate(held) if start < subject[1] and end > subject[0]]


def _holds_more(text: str, subject: Span, token: Span) -> bool:
    """Whether a token holds something outside the subject that is no space."""
    before, after = text[token[0] : subject[0]], text[subject[1] : token[1]]
    return bool(before.strip() or after.strip())


def _offsets(encoder: TextEncoder, texts: Sequence[str]) -> list[list[Span]]:
    """Which characters of its text each token holds: from, to before."""
    if not encoder.tokenizer.is_fast:
        raise CorpusError(
            f"the tokenizer of {encoder.model} does not say which characters a token holds",
            where=f"{encoder.model}: tokenizer",
            remedy="put the tokenizer.json of this model into its folder",
        )
    found: list[list[Span]] = encoder.tokenizer(
        list(texts),
        add_special_tokens=False,
        split_special_tokens=True,
        return_offsets_mapping=True,
        verbose=False,
    )["offset_mapping"]
    return found


def _decoded_alone(encoder: TextEncoder, rows: Sequence[Sequence[int]]) -> tuple[list[str], list[list[Span]]]:
    """The texts of the tokens one by one, and where in them each stands."""
    texts: list[str] = []
    spans: list[list[Span]] = []
    for row in rows:
        pieces = [encoder.tokenizer.decode([token], clean_up_tokenization_spaces=False) for token in row]
        texts.append("".join(pieces))
        spans.append(list(pairwise(accumulate(map(len, pieces), initial=0))))
    return texts, spans
