"""Prompts with two names for small models, whose vocabulary has no names: in words that it has."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rwcore.corpora.encoder import TextEncoder
    from rwcore.heads.ioi import IoiTexts
    from rwcore.models.vocabulary import Vocabulary

NAMES, PLACES, OBJECTS = 8, 1, 2
_TEMPLATES = (
    "{a} {{first}} {b} {{second}} {c} {{giver}} {d} {{object}}",
    "{b} {{first}} {d} {{second}} {a} {{place}} {{giver}} {c}",
)


def toy_texts(encoder: TextEncoder, words: Vocabulary) -> IoiTexts:
    """Templates and words of a vocabulary, whatever it is; the last ones of it are the names.

    Args:
        encoder: The tokenizer.
        words: Its vocabulary.

    Raises:
        OptionError: It has not even so many words.
    """
    from rwcore.errors import OptionError
    from rwcore.heads.induction import plain_tokens
    from rwcore.heads.ioi import IoiTexts, single_tokens

    texts = dict.fromkeys(
        words.texts[number].strip() for number in plain_tokens(words, encoder.ends).tolist()
    )
    plain = [text for text in texts if text and not {*text} & {*"{} \n\t"}]
    single = [*single_tokens(encoder, plain).numbers]
    fillers = "abcd"
    if len(single) < len(fillers) + PLACES + OBJECTS + NAMES:
        raise OptionError(
            f"the tokenizer of {encoder.model} has {len(single)} words of one token",
            where="prompts with two names",
            remedy="ask a model with a larger vocabulary",
        )
    between = dict(zip(fillers, single, strict=False))
    others, names = single[len(fillers) : -NAMES], single[-NAMES:]
    return IoiTexts(
        templates=tuple(one.format(**between) for one in _TEMPLATES),
        names=tuple(names),
        places=tuple(others[:PLACES]),
        objects=tuple(others[PLACES : PLACES + OBJECTS]),
    )
