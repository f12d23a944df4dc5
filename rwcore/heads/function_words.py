"""Function words: words that heads which suppress copies leave alone, as lists of one's own or of others.

Source: copy suppression specification, section 8.2; trap 19 (published lists differ).
"""

from __future__ import annotations

import csv
import json
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from jaxtyping import Bool
from torch import Tensor

from rwcore.errors import OptionError, StoreError
from rwcore.models.vocabulary import Vocabulary

OWN, AS_PUBLISHED = "own", "as_published"
_OWN_LIST = Path(__file__).with_name("function_words.txt")
_COLUMN = "token_json"


@dataclass(frozen=True)
class FunctionWords:
    """A list of function words.

    Attributes:
        name: What it is called.
        words: The words.
        exact: Whether these are texts of tokens, with their spaces and capitals; otherwise a token counts
            whose text is one of them without spaces at its ends and in lower case, or which is nothing but
            such spaces.
    """

    name: str
    words: frozenset[str]
    exact: bool = False

    def tokens(self, words: Vocabulary, ends: Collection[int] = ()) -> Bool[Tensor, " vocab"]:
        """Which tokens are function words; special ones, such as BOS, and those that end a text always are.

        Args:
            words: The model's vocabulary.
            ends: Tokens that end a text (`rwcore.corpora.encoder.TextEncoder.ends`).
        """
        found = torch.tensor([self._has(text) for text in words.texts], dtype=torch.bool)
        # A padding token that was added to the tokenizer has no row.
        found[[token for token in sorted({*words.special, *ends}) if token < len(found)]] = True
        return found

    def _has(self, text: str) -> bool:
        if self.exact:
            return text in self.words
        word = text.strip().lower()
        return not word or word in self.words


@cache
def own_words() -> FunctionWords:
    """Our own list of English function words."""
    lines = _OWN_LIST.read_text(encoding="utf-8").splitlines()
    words = (word for line in lines if not line.startswith("#") for word in line.split())
    return FunctionWords(OWN, frozenset(words))


def published_words(file: Path) -> FunctionWords:
    """A published list: a CSV with the texts of tokens as JSON strings in a column ``token_json``.

    Args:
        file: The table.

    Raises:
        StoreError: There is no such file, or it has no such column.
        OptionError: An entry is no text.
    """
    try:
        with file.open(encoding="utf-8", newline="") as handle:
            texts = [json.loads(row[_COLUMN]) for row in csv.DictReader(handle)]
    except (OSError, KeyError, ValueError) as error:
        raise StoreError(
            f"there is no list of function words: {error!r}",
            where=str(file),
            remedy=f"give a CSV with a column {_COLUMN} of JSON strings",
        ) from error
    if not texts or not all(isinstance(text, str) for text in texts):
        raise OptionError(
            "the list of function words is empty, or has something else than texts",
            where=str(file),
            remedy="give the text of a token in every line",
        )
    return FunctionWords(AS_PUBLISHED, frozenset(texts), exact=True)
