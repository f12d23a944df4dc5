"""A small model that knows facts, because they are made of what it says; with texts about some subjects."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from fixtures.tiny import build, local_model
from rwcore.attributes.facts import Fact
from rwcore.attributes.judge import judge_facts
from rwcore.corpora.encoder import read_encoder
from rwcore.models.load import load_bridge

SUBJECTS = 8
WRITTEN_ABOUT = SUBJECTS - 1
"""Subjects that there is a text about: all but the last."""


@dataclass(frozen=True)
class KnowingModel:
    """A model, and what is asked of it.

    Attributes:
        folder: The model.
        facts: A file in the published layout: one fact of each subject, and another one that the model does
            not know, of the first.
        passages: A JSONL file about all subjects but the last.
        subjects: The subjects, every second one of two words.
    """

    folder: Path
    facts: Path
    passages: Path
    subjects: tuple[str, ...]


def knowing_model(folder: Path) -> KnowingModel:
    """Make a small Llama, facts that it knows and passages; answers are its own first words."""
    model = build("llama", folder / "model", vocab=64)
    # An answer is looked for up to the first word with a capital, and words of two letters are no attributes.
    file = model / "tokenizer.json"
    file.write_text(file.read_text(encoding="utf-8").replace('"w', '"W'), encoding="utf-8")
    subjects = tuple(f"W{12 + number}" + f" W{30 + 2 * number}" * (number % 2) for number in range(SUBJECTS))
    entries = [
        {
            "known_id": 100 + number,
            "subject": subject,
            "attribute": answer,
            "template": "{} W3",
            "relation_id": ("colour", "size")[number % 2],
        }
        for number, (subject, answer) in enumerate(zip(subjects, _answers(model, subjects), strict=True))
    ]
    entries.append({**entries[0], "known_id": 7, "attribute": "Nothing"})
    facts, passages = folder / "facts.json", folder / "passages.jsonl"
    facts.write_text(json.dumps(entries), encoding="utf-8")
    words = [[f"W{(7 * number + step * step) % 60}" for step in range(12)] for number in range(WRITTEN_ABOUT)]
    documents = [
        {"title": subject, "text": " ".join([subject, *text])}
        for subject, text in zip(subjects, words, strict=False)
    ]
    passages.write_text("".join(json.dumps(one) + "\n" for one in documents), encoding="utf-8")
    return KnowingModel(model, facts, passages, subjects)


def _answers(folder: Path, subjects: tuple[str, ...]) -> list[str]:
    """The first word the model writes about each subject."""
    local = local_model(folder)
    facts = [Fact(subject, subject, "r", f" {subject} W3", "?") for subject in subjects]
    judged = judge_facts(load_bridge(local), read_encoder(local), facts)
    return [one.answer.split()[0] for one in judged]
