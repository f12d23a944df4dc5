"""The page of examples of attention heads: what they do to the predictions of a few texts; one file."""

from __future__ import annotations

from collections.abc import Mapping

from rwcore.errors import StoreError
from rwcore.pages.head_record import SCHEMA
from rwcore.pages.packed_json import packed_json
from rwcore.pages.render import render

SCRIPTS = (
    "activation_tokens.js",
    "head_examples_parts.js",
    "head_examples_record.js",
    "head_examples_views.js",
    "head_examples_state.js",
    "head_examples_text.js",
    "head_examples_details.js",
    "head_examples.js",
)
"""Scripts that show a record, in their order in a page, after ``head_examples_view.html``."""


def head_examples_page(record: Mapping[str, object], *, title: str) -> str:
    """The page as text; it needs no other file, no server and no network.

    Args:
        record: What `rwcore.pages.head_record.head_record` makes; perhaps with ``ablation``, a sentence that
            says what heads are replaced by.
        title: What the page is called.

    Raises:
        StoreError: The record has another schema, no row, no head or no effect, or not one reading for each
            row and head.
        ValueError: It holds a number that JSON has not.
    """
    rows, heads, effects, readings = (
        _listed(record, name) for name in ("rows", "heads", "effects", "readings")
    )
    if record.get("schema") != SCHEMA or not (rows and heads and effects):
        raise StoreError(
            f"the record is of schema {record.get('schema')!r}, with {len(rows)} rows, {len(heads)} heads "
            f"and {len(effects)} effects",
            where="record of heads",
            remedy=f"make one of schema {SCHEMA} with at least one of each",
        )
    if len(readings) != len(rows) * len(heads):
        raise StoreError(
            f"the record has {len(readings)} readings, and {len(rows)} rows of {len(heads)} heads",
            where="record of heads",
            remedy="give one reading for each row and head, row by row",
        )
    return render(
        "head_examples.html",
        title=title,
        model=record["model"],
        corpus=record["corpus"],
        rows=len(rows),
        record=packed_json(record),
        scripts=SCRIPTS,
    )


def _listed(record: Mapping[str, object], name: str) -> list[object]:
    found = record.get(name)
    return found if isinstance(found, list) else []
