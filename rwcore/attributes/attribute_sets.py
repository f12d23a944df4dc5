"""Which tokens are attributes of a subject: those that occur in what is written about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from rwcore.ablation.compare import AS_PUBLISHED, CONVENTIONS
from rwcore.attributes.passages import Passages
from rwcore.attributes.stop_words import STOP_WORDS
from rwcore.corpora.encoder import TextEncoder
from rwcore.errors import require_choice

SHORTEST = 3
"""Characters of a token, without spaces around it, below which it says nothing."""


@dataclass(frozen=True, eq=False)
class AttributeSets:
    """Attributes of some subjects, and what it takes to compare predicted tokens with them.

    Tokens are compared by their text, spaces and case included; several ids may have the same.

    Attributes:
        subjects: The subjects.
        member: Whether a token's text is an attribute of the subject.
        counted: Tokens that are kept of the predictions.
        string: Number of the token's text; ids with equal texts share it.
        rated: Subjects that have a rate: ``fixed``, those with any attribute; ``as_published``, those that
            passages were looked up for, even if none were found.
    """

    subjects: tuple[str, ...]
    member: Bool[Tensor, "subject vocab"]
    counted: Bool[Tensor, " vocab"]
    string: Int64[Tensor, " vocab"]
    rated: Bool[Tensor, " subject"]

    @property
    def sizes(self) -> Int64[Tensor, " subject"]:
        """Attributes of each subject: different texts."""
        by_text = torch.zeros(len(self.subjects), int(self.string.max()) + 1, dtype=torch.bool)
        by_text[:, self.string] = self.member  # ids with the same text agree
        return by_text.sum(dim=1)


def attribute_sets(
    passages: Passages,
    subjects: Sequence[str],
    encoder: TextEncoder,
    texts: Sequence[str],
    *,
    convention: str,
) -> AttributeSets:
    """The tokens of the passages about each subject, but for short ones and stop words.

    The passages of a subject are joined with a space before each, and their tokens taken one by one. A token
    is dropped if, without the spaces around it, it has less than three characters or is a stop word.

    ``as_published``: the joined text begins with BOS and is cut where the context of the model ends; stop
    words are recognised in lower case only, although predictions (in both conventions) are cleaned of
    capitalised ones too; BOS is an attribute of every subject. ``fixed``: the whole text without BOS, and
    stop words in any case.

    Args:
        passages: By subject.
        subjects: Each once.
        encoder: Of the model.
        texts: Text of each token, `rwcore.models.vocabulary.Vocabulary.texts`.
        convention: ``fixed`` or ``as_published``.

    Raises:
        OptionError: There is no such convention.
        CorpusError: As published, and there is no BOS; or the tokenizer belongs to another model.

    Source: ablations and frequencies specification, sections 4.2 and 4.3.
    """
    require_choice("convention", convention, CONVENTIONS)
    published = convention == AS_PUBLISHED
    alone = [decoded(text) for text in texts]
    numbers = {text: number for number, text in enumerate(dict.fromkeys(alone))}
    string = torch.tensor([numbers[text] for text in alone])
    named = [text != f"<unused {number}>" for number, text in enumerate(texts)]
    kept = torch.tensor([_says_something(text, cased=published) for text in alone])
    member = torch.zeros(len(subjects), len(texts), dtype=torch.bool)
    bos = [encoder.bos("model")] if published else []
    for row, subject in enumerate(subjects):
        if subject not in passages:
            continue
        joined = "".join(f" {passage.text}" for passage in passages[subject])
        tokens = torch.tensor([*bos, *encoder.encode([joined])[0]], dtype=torch.int64)
        if published:
            tokens = tokens[: encoder.context]
        member[row] = torch.isin(string, string[tokens[kept[tokens]]])
    found = [subject in passages for subject in subjects]
    return AttributeSets(
        subjects=tuple(subjects),
        member=member,
        counted=torch.tensor([_says_something(text) for text in alone]) & torch.tensor(named),
        string=string,
        rated=torch.tensor(found, dtype=torch.bool) if published else member.any(dim=1),
    )


def decoded(text: str) -> str:
    """A token's text as a tokenizer decodes it alone: bytes that are no character become ``�``.

    Args:
        text: Of `rwcore.models.vocabulary.Vocabulary.texts`.
    """
    return text.encode("utf-8", errors="surrogateescape").decode("utf-8", errors="replace")


def _says_something(text: str, *, cased: bool = False) -> bool:
    """Whether a token is kept; ``cased``: a capitalised stop word is taken for another word."""
    word = text.strip()
    return len(word) >= SHORTEST and (word if cased else word.lower()) not in STOP_WORDS
