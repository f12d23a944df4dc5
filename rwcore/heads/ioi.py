"""Prompts in which one of two names is right: indirect object identification (IOI).

*When Anna and Peter got to the park, Peter handed a book to* goes on with the name that was said once (IO,
"Anna"), not with the one that was said twice (S, "Peter"). Half of the prompts say IO first (ABB), half
S (BAB). Names are single tokens of the tokenizer, so that prompts of a template have equal positions, and
variants of a prompt differ in the tokens at these positions only.

Templates and words are our own (``ioi.toml``); the published ones are others.

Source: copy suppression specification, section 3.
"""

from __future__ import annotations

import random
import string
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated

import torch
from jaxtyping import Bool, Int64
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from rwcore.corpora.batches import Batch
from rwcore.corpora.encoder import TextEncoder
from rwcore.errors import OptionError, require_least

OWN_TEXTS = Path(__file__).with_name("ioi.toml")
NAMES, PLACES, OBJECTS = "names", "places", "objects"
LEAST = {NAMES: 2, PLACES: 1, OBJECTS: 2}
"""How many words of each kind a tokenizer must have as single tokens."""
LEAST_FRESH = 5
"""Names for prompts with fresh names: two and three others."""
_CARRIER = "and"  # what words stand behind when they are tokenised
_SLOTS = {"first", "second", "giver"}
_MAY = {*_SLOTS, "place", "object"}

Word = Annotated[str, Field(pattern=r"^\S+$")]


class IoiTexts(BaseModel):
    """Templates and words, as in ``ioi.toml``, whose head says what they must be like."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    templates: tuple[str, ...] = Field(min_length=1, strict=False)
    names: tuple[Word, ...] = Field(strict=False)
    places: tuple[Word, ...] = Field(strict=False)
    objects: tuple[Word, ...] = Field(strict=False)


def read_texts(file: Path = OWN_TEXTS) -> IoiTexts:
    """Templates and words from a file.

    Args:
        file: TOML with the keys of `IoiTexts`.

    Raises:
        OptionError: It cannot be read, a key is missing or wrong, or a template has wrong slots.
    """
    try:
        texts = IoiTexts.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise _damaged(str(error), str(file)) from error
    except ValidationError as error:
        first = error.errors()[0]
        raise _damaged(first["msg"], f"{file}: {'.'.join(map(str, first['loc']))}") from error
    for number, template in enumerate(texts.templates, start=1):
        try:
            slots = [slot for _, slot, _, _ in string.Formatter().parse(template) if slot is not None]
        except ValueError as error:
            raise _damaged(str(error), f"{file}: template {number}") from error
        fits = {*slots} >= _SLOTS and {*slots} <= _MAY and len({*slots}) == len(slots)
        if not fits or template.startswith("{") or template != template.strip():
            raise _damaged(
                f"{template!r} must have {{first}}, {{second}} and {{giver}}, once each, and may have "
                "{place} and {object}, no others, and begin with a word",
                f"{file}: template {number}",
            )
    return texts


@dataclass(frozen=True)
class SingleTokens:
    """The words of a kind that are one token behind a space.

    Attributes:
        numbers: Their ids, in the order of the words.
        left_out: The others, and those whose token another word has, too.
    """

    numbers: dict[str, int]
    left_out: tuple[str, ...]


def single_tokens(encoder: TextEncoder, words: Sequence[str]) -> SingleTokens:
    """Which words are one token behind a space, in a text; the space may be a token of its own."""
    before = encoder.encode([_CARRIER, f"{_CARRIER} "])
    rows = encoder.encode([f"{_CARRIER} {word}" for word in words])
    unknown = encoder.tokenizer.unk_token_id
    numbers: dict[str, int] = {}
    left_out = []
    for word, row in zip(words, rows, strict=True):
        single = row[:-1] in before and row[-1] != unknown and row[-1] not in numbers.values()
        if single:
            numbers[word] = row[-1]
        else:
            left_out.append(word)
    return SingleTokens(numbers, tuple(left_out))


@dataclass(frozen=True)
class IoiWords:
    """Templates, and the words that a tokenizer has as single tokens; make it with `of`."""

    templates: tuple[str, ...]
    names: SingleTokens
    places: SingleTokens
    objects: SingleTokens

    @classmethod
    def of(cls, texts: IoiTexts, encoder: TextEncoder) -> IoiWords:
        """The words of some texts that are single tokens.

        Raises:
            OptionError: There are too few (`LEAST`).
        """
        kinds = {name: single_tokens(encoder, getattr(texts, name)) for name in LEAST}
        for name, least in LEAST.items():
            if len(kinds[name].numbers) < least:
                every = len(getattr(texts, name))
                raise OptionError(
                    f"the tokenizer of {encoder.model} has {len(kinds[name].numbers)} of {every} {name} as "
                    f"single tokens behind a space; prompts need {least}",
                    where=name,
                    remedy="give words that it has: --ioi FILE, as rwcore/heads/ioi.toml",
                )
        return cls(texts.templates, **kinds)


@dataclass(frozen=True, eq=False)
class IoiPrompts:
    """Prompts as tokens, padded on the right; each ends before the name that is asked for.

    Attributes:
        tokens: BOS, if there is one, and the text.
        mask: Where a position holds a token.
        io: Position of the right name.
        s1: Position of the other name in the first clause.
        s2: Position of the same in the second one.
        end: The last position.
        fresh: Three other names for each prompt; -1 where there are too few names for that.
    """

    tokens: Int64[Tensor, "prompt pos"]
    mask: Bool[Tensor, "prompt pos"]
    io: Int64[Tensor, " prompt"]
    s1: Int64[Tensor, " prompt"]
    s2: Int64[Tensor, " prompt"]
    end: Int64[Tensor, " prompt"]
    fresh: Int64[Tensor, "prompt 3"]

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def io_token(self) -> Int64[Tensor, " prompt"]:
        """Id of the right name."""
        return self.tokens.gather(1, self.io[:, None])[:, 0]

    @property
    def s_token(self) -> Int64[Tensor, " prompt"]:
        """Id of the other name."""
        return self.tokens.gather(1, self.s1[:, None])[:, 0]

    @property
    def batch(self) -> Batch:
        """All prompts as one batch."""
        return Batch(0, torch.arange(len(self)), self.tokens, self.mask)

    def flipped(self) -> IoiPrompts:
        """The names of the first clause in the other order: ABB becomes BAB; what is right stays."""
        return replace(
            self._with([(self.io, self.s_token), (self.s1, self.io_token)]), io=self.s1, s1=self.io
        )

    def without_repeat(self) -> IoiPrompts:
        """Three fresh names in place of the two (ABC): nothing says which name comes next.

        Positions stay; ``io_token`` and ``s_token`` are then fresh ones.

        Raises:
            OptionError: The tokenizer has too few names.
        """
        if bool((self.fresh < 0).any()):
            raise OptionError(
                f"prompts with fresh names need {LEAST_FRESH} names that are single tokens",
                where=NAMES,
                remedy="give names that the tokenizer has: --ioi FILE, as rwcore/heads/ioi.toml",
            )
        places = (self.io, self.s1, self.s2)
        return self._with([(place, self.fresh[:, number]) for number, place in enumerate(places)])

    def chunks(self, positions: int) -> Iterator[IoiPrompts]:
        """Some prompts at a time, of about so many positions together."""
        step = max(1, positions // self.tokens.shape[1])
        for start in range(0, len(self), step):
            rows = slice(start, start + step)
            yield IoiPrompts(**{one.name: getattr(self, one.name)[rows] for one in fields(self)})

    def _with(self, changes: Sequence[tuple[Tensor, Tensor]]) -> IoiPrompts:
        tokens = self.tokens.clone()
        for place, token in changes:
            tokens.scatter_(1, place[:, None], token[:, None])
        return replace(self, tokens=tokens)


def ioi_prompts(
    words: IoiWords, encoder: TextEncoder, count: int, *, seed: int, bos: str = "model"
) -> IoiPrompts:
    """Prompts by chance, each followed by its twin with the names swapped.

    Args:
        words: Templates and words.
        encoder: The tokenizer they are of.
        count: How many, twins included.
        seed: Decides templates, orders, names, places and objects.
        bos: What stands before the text, a policy of `rwcore.corpora.encoder.TextEncoder.bos`.

    Raises:
        OptionError: ``count`` is no even number from 2 on, a prompt is longer than the model's context, or a
            name of a prompt is not one token there.
        CorpusError: The tokenizer has no such BOS.
    """
    require_least("--prompts", count, 2)
    if count % 2:
        raise OptionError(
            f"{count} prompts, and every prompt has a twin", where="--prompts", remedy="give an even number"
        )
    chance = random.Random(seed)
    names = words.names.numbers
    start = encoder.bos(bos)
    plans: list[tuple[str, str, str, list[str]]] = []
    for _ in range(count // 2):
        template, io_first = chance.choice(words.templates), chance.random() < 0.5
        some = chance.sample([*names], min(len(names), LEAST_FRESH))
        place, thing = chance.choice([*words.places.numbers]), chance.choice([*words.objects.numbers])
        for io, s in (some[:2], some[1::-1]):
            first, second = (io, s) if io_first else (s, io)
            text = template.format(first=first, second=second, giver=s, place=place, object=thing)
            plans.append((text, io, s, some[2:]))
    rows = [([] if start is None else [start]) + row for row in encoder.encode([one[0] for one in plans])]
    longest = max(map(len, rows))
    if encoder.context is not None and longest > encoder.context:
        raise OptionError(
            f"a prompt has {longest} tokens, and the model {encoder.context} positions",
            where=encoder.model,
            remedy="give shorter templates: --ioi FILE",
        )
    tokens = torch.zeros(count, longest, dtype=torch.int64)
    at = torch.zeros(count, 4, dtype=torch.int64)
    fresh = torch.full((count, 3), -1)
    for number, (row, (text, io, s, others)) in enumerate(zip(rows, plans, strict=True)):
        tokens[number, : len(row)] = torch.tensor(row)
        right_at = [place for place, token in enumerate(row) if token == names[io]]
        s_at = [place for place, token in enumerate(row) if token == names[s]]
        if len(right_at) != 1 or len(s_at) != 2:
            raise OptionError(
                f"the names of {text!r} are {len(right_at)} and {len(s_at)} tokens, not 1 and 2",
                where=encoder.model,
                remedy="names must not occur in templates, and need spaces before them",
            )
        at[number] = torch.tensor([*right_at, *s_at, len(row) - 1])
        if len(others) == 3:
            fresh[number] = torch.tensor([names[one] for one in others])
    mask = torch.arange(longest) <= at[:, 3:]
    io_at, s1, s2, end = at.unbind(1)
    return IoiPrompts(tokens, mask, io_at, s1, s2, end, fresh)


def _damaged(what: str, where: str) -> OptionError:
    return OptionError(
        f"templates and words cannot be used: {what}",
        where=where,
        remedy="see the head of rwcore/heads/ioi.toml",
    )
