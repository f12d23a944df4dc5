"""Where sentences begin and end in English prose, and what stands in brackets and quotation marks."""

from __future__ import annotations

import re

from rwcore.probing.datasets.spans import Span, matches

_BEGINNING = re.compile(r"(?:\A|\n\s*\n|(?P<after>[.!?])[\"')\]]*\s+)([\"'(]?)(?P<word>[^\W\d_]+)")
_ENDING = re.compile(r"(?<=[\w\"')\]])(?P<sign>[.!?])(?=[\"')\]]*(?:\s+[\"'(]?[A-Z]|\s*\n\s*\n|\s*\Z))")
_CAPITALISED = re.compile(r"\b[A-Z][^\W\d_]*")
_BRACKETS = re.compile(r"\(([^()\n]{1,200})\)")
_QUOTED = re.compile(r"[\"“]([^\"“”\n]{2,200})[\"”]")
_BLANK = re.compile(r"\n\s*\n")
_PERIOD = re.compile(r"[.!?]")

AMONG = {"capital_begins_sentence": "capitalised", "sign_ends_sentence": "period"}
"""Features that are told from hard negatives only: other capitalised words, other full stops."""


def prose_spans(text: str) -> dict[str, list[Span]]:
    """The stretches of a text that have each of the features, for `labelled_tokens.span_features`.

    A sentence begins with a word at the beginning of a text, behind a blank line, or, with a capital, behind
    ``.``, ``!`` or ``?`` and white space; it ends in such a sign if a capital or nothing follows. What stands
    in round brackets or double quotation marks is at most 200 characters of one line. ``sign_ends_sentence``
    and ``end_of_sentence`` are the same signs: told from other full stops, and from all other tokens, which
    is the paper's feature (sparse probing 3.5, ``eos_True``).
    """
    beginnings = [
        found.span("word")
        for found in _BEGINNING.finditer(text)
        if found["after"] is None or found["word"][0].isupper() or _BLANK.search(found[0])
    ]
    endings = matches(_ENDING, text, "sign")
    return {
        "first_word_of_sentence": beginnings,
        "capital_begins_sentence": [span for span in beginnings if text[span[0]].isupper()],
        "capitalised": matches(_CAPITALISED, text),
        "sign_ends_sentence": endings,
        "end_of_sentence": endings,
        "period": matches(_PERIOD, text),
        "in_brackets": matches(_BRACKETS, text, 1),
        "in_quotation_marks": matches(_QUOTED, text, 1),
    }
