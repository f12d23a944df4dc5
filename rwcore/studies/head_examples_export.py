"""What a few heads do in a few rows, as files: a page, its data, a table, a manifest; see ``OUTPUTS.md``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from rwcore.heads.reading import EFFECTS, HeadReading
from rwcore.heads.reading_lists import NOBODY, TokenList
from rwcore.pages.head_examples import head_examples_page
from rwcore.pages.head_record import TextRow
from rwcore.provenance import Stopwatch, collect
from rwcore.store import MANIFEST, write_json, write_text
from rwcore.studies.folder import check_target, files_of, filling, write_csv
from rwcore.studies.head_cspa import DEFINITION as CSPA_DEFINITION
from rwcore.studies.head_cspa import MEANS_DEFINITION
from rwcore.studies.head_examples import DEFINITION, Choice, HeadExamples

SCHEMA = "rwcore-heads-examples/1"
OF_EFFECT = ("loss_increase", "kl", "p", "rank")
TOKEN_COLUMNS = (
    "layer", "head", "row", "document", "position", "token", "next", "loss", "p", "rank",
    *(f"{effect}_{name}" for effect in EFFECTS for name in OF_EFFECT),
    "most_lowered", "most_lowered_logit", "most_raised", "most_raised_logit",
    "most_attended", "attention", "lens", "lens_p", "lens_context", "lens_context_p", "cspa_loss_increase",
)  # fmt: skip
COLUMNS = {"tokens.csv": TOKEN_COLUMNS}
"""The tables, and their columns."""


@dataclass(frozen=True, eq=False)
class ExamplesExport:
    """What was written, and what was found.

    Attributes:
        folder: Where the files are.
        manifest: Content of ``manifest.json``.
        tokens: Content of ``tokens.csv``.
    """

    folder: Path
    manifest: dict[str, Any]
    tokens: pd.DataFrame


def export_examples(
    study: HeadExamples, out: Path, *, force: bool = False, command: str = ""
) -> ExamplesExport:
    """Read what heads do in rows and write it into a folder, whole or not at all.

    Args:
        study: The study; what the store has is not computed again.
        out: See `rwcore.studies.folder.check_target`.
        force: Write into a folder that holds other files.
        command: The command line, for the manifest.

    Raises:
        StoreError: The folder is refused or the disk is full.
        RwcoreError: The model cannot be run.
    """
    stopwatch = Stopwatch()
    folder = check_target(out, force=force)
    model, corpus, record, tokens = study.weights.local, study.corpus, study.record, token_table(study)
    with filling(folder) as new:
        write_text(
            new / "examples.html",
            head_examples_page(record, title=f"Heads {', '.join(record['heads'])}"),
        )
        write_text(new / "examples.json", _compact(record))
        write_csv(new / "tokens.csv", tokens, TOKEN_COLUMNS)
        manifest = {
            "schema": SCHEMA,
            "complete": True,
            "command": command,
            "model": model.identity(),
            "processing": study.weights.processing,
            "corpus": corpus.identity(),
            "chosen": [] if study.options.rows is not None else [_choice(one) for one in study.choices],
            "function_words": {"list": study.words.name, "tokens": int(study.cspa.function.sum())},
            "measure": study.measure,
            "options": {**asdict(study.forward), "clip_qkv": model.spec.clip_qkv},
            "definitions": {"readings": DEFINITION, "cspa": CSPA_DEFINITION, "means": MEANS_DEFINITION},
            "files": files_of(new, COLUMNS),
            "provenance": collect(stopwatch),
        }
        write_json(new / MANIFEST, manifest)
    return ExamplesExport(folder, manifest, tokens)


def token_table(study: HeadExamples) -> pd.DataFrame:
    """One row per head, row and position; columns `TOKEN_COLUMNS`. See ``OUTPUTS.md``."""
    rows = [
        line
        for place in range(len(study.heads))
        for text, of_row in zip(study.texts, study.readings, strict=True)
        for line in _lines(study, text, of_row[place])
    ]
    return pd.DataFrame(rows, columns=[*TOKEN_COLUMNS])


def _lines(study: HeadExamples, text: TextRow, one: HeadReading) -> Iterator[dict[str, object]]:
    words, tokens = study.vocabulary, text.tokens.tolist()
    attention, key = one.attention.pattern.max(dim=1)
    increases = {effect: one.loss_increase(effect) for effect in one.effects}
    lists = {
        "most_lowered": (one.lowered, "logit"),
        "most_raised": (one.raised, "logit"),
        "lens": (TokenList(one.lens.top_token, one.lens.top_p), "p"),
        "lens_context": (TokenList(one.lens.context_token, one.lens.context_p), "p"),
    }
    for position, token in enumerate(tokens):
        line: dict[str, object] = {
            "layer": one.layer,
            "head": one.head,
            "row": text.number,
            "document": int(study.corpus.document[text.number]),
            "position": position,
            "token": words[token],
            "next": words[tokens[position + 1]] if position + 1 < len(tokens) else None,
            "most_attended": int(key[position]),
            "attention": float(attention[position]),
            "cspa_loss_increase": float(one.cspa.left[position]),
            **{name: float(getattr(one.clean, name)[position]) for name in ("loss", "p", "rank")},
        }
        for effect, found in one.effects.items():
            line[f"{effect}_loss_increase"] = float(increases[effect][position])
            line |= {
                f"{effect}_{name}": float(getattr(found, name)[position]) for name in ("kl", "p", "rank")
            }
        for name, (listed, unit) in lists.items():
            first = int(listed.token[position, 0])
            if first != NOBODY:
                line |= {name: words[first], f"{name}_{unit}": float(listed.value[position, 0])}
        yield line


def _compact(record: Mapping[str, object]) -> str:
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"), allow_nan=False) + "\n"


def _choice(one: Choice) -> dict[str, object]:
    """A choice for the manifest."""
    return {**asdict(one), "head": f"{one.head[0]}.{one.head[1]}"}
