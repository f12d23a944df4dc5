"""Facts about subjects, each as the beginning of a sentence that a model is to complete."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from rwcore.corpora.own_texts import knowns
from rwcore.errors import CorpusError

HANDMADE = "handmade"
"""The source that is our own facts."""

HUB = "hf://"
SLOT = "{}"
"""Where the subject goes in a template."""

_HUB_FILE = re.compile(r"hf://datasets/(?P<name>[^/@]+/[^/@]+)(@(?P<revision>[^/]+))?/(?P<file>.+)")

Word = Annotated[str, Field(pattern=r"\S")]


@dataclass(frozen=True)
class Fact:
    """Something that may be known about a subject.

    Attributes:
        id: Tells it from the others.
        subject: Whom or what it is about.
        relation: What is asked about the subject.
        prompt: Beginning of a sentence; see `as_prompt`.
        attribute: How the sentence goes on if the fact is known.
    """

    id: str
    subject: str
    relation: str
    prompt: str
    attribute: str


class _Entry(BaseModel):
    """One object of a file, in the layout of ROME's ``known_1000.json``; other keys are passed over."""

    model_config = ConfigDict(extra="ignore", strict=True)

    known_id: int | Word | None = None
    subject: Word
    relation_id: Word
    attribute: Word
    template: Word | None = None
    prompt: Word | None = None

    @model_validator(mode="after")
    def _has_a_prompt(self) -> _Entry:
        if self.template is None and self.prompt is None:
            raise ValueError("there is neither a 'template' nor a 'prompt'")
        if self.template is not None and SLOT not in self.template:
            raise ValueError(f"the template {self.template!r} has no {SLOT} for the subject")
        return self

    def fact(self, number: int) -> Fact:
        """The fact, which is called by its number where it has no id."""
        # A file that was filtered by what a model knows has prompts of its own and no templates.
        text = self.prompt if self.template is None else self.template.replace(SLOT, self.subject)
        return Fact(
            id=str(number if self.known_id is None else self.known_id),
            subject=self.subject,
            relation=self.relation_id,
            prompt=as_prompt(str(text), self.subject),
            attribute=self.attribute,
        )


def as_prompt(text: str, subject: str) -> str:
    """A prompt as a model is given it: a space, a capital if it begins with the subject, no space at its end.

    Source: ablations and frequencies specification, section 4.1, step 1.
    """
    text = text.strip()
    if text.startswith(subject):
        text = text[:1].upper() + text[1:]
    return f" {text}"


def read_facts(source: str) -> list[Fact]:
    """The facts of a source, in its order.

    Args:
        source: ``handmade`` for our own; a JSON file in the layout of ROME's ``known_1000.json``, which is a
            list of objects with ``known_id``, ``subject``, ``attribute``, ``template`` (with ``{}`` for the
            subject) and ``relation_id``, or one such object per line; or ``hf://datasets/ORG/NAME[@REVISION]/
            FILE.json`` for such a file of a data set in the hub's cache. Where there is no template there
            is a whole ``prompt``; where there is no ``known_id`` the number of the object from 1 is the id.

    Raises:
        CorpusError: The file is not here (of a hub file, the remedy is the command that downloads it) or
            not JSON; an object lacks a key or has it wrong; two facts have the same id; or there are none.
    """
    if source == HANDMADE:
        return [
            Fact(str(n), one.subject, one.relation, as_prompt(one.prompt, one.subject), one.answer)
            for n, one in enumerate(knowns(), start=1)
        ]
    path = _hub_file(source) if source.startswith(HUB) else Path(source)
    facts: dict[str, Fact] = {}
    for where, number, fields in _objects(path):
        fact = _checked(fields, where).fact(number)
        if facts.setdefault(fact.id, fact) is not fact:
            raise CorpusError(
                f"there are two facts with the id {fact.id!r}",
                where=f"{where}: known_id",
                remedy="give every fact an id of its own, or none an id",
            )
    if not facts:
        raise CorpusError("there are no facts", where=str(path), remedy="write one object per fact")
    return list(facts.values())


def _objects(path: Path) -> Iterator[tuple[str, int, object]]:
    """Where each object stands, its number and the object."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise CorpusError(
            f"the facts cannot be read: {error}",
            where=str(path),
            remedy=f"give {HANDMADE}, a JSON file in UTF-8, or {HUB}datasets/ORG/NAME/FILE.json",
        ) from error
    # The library `datasets` calls JSON lines .json too, so that the name does not tell.
    if text.lstrip().startswith("["):
        entries: list[object] = _parsed(text, str(path))
        for number, fields in enumerate(entries, start=1):
            yield f"{path}: entry {number}", number, fields
    else:
        lines = ((at, line) for at, line in enumerate(text.split("\n"), start=1) if line.strip())
        for number, (at, line) in enumerate(lines, start=1):
            yield f"{path}: line {at}", number, _parsed(line, f"{path}: line {at}")


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CorpusError(
            f"the facts are not JSON: {error}",
            where=where,
            remedy="write a list of objects, or one object per line",
        ) from error


def _checked(fields: object, where: str) -> _Entry:
    try:
        return _Entry.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        key = f": {first['loc'][0]}" if first["loc"] else ""
        raise CorpusError(
            f"the fact is damaged: {first['msg']}",
            where=where + key,
            remedy="a fact needs the keys subject, relation_id, attribute, and template or prompt",
        ) from error


def _hub_file(source: str) -> Path:
    """The file of a data set in the hub's cache; the network is not touched."""
    import huggingface_hub
    from huggingface_hub.errors import HFValidationError

    named = _HUB_FILE.fullmatch(source)
    if named is None:
        raise CorpusError(
            f"{source!r} names no file of a data set",
            where="the facts",
            remedy=f"write {HUB}datasets/ORG/NAME/FILE.json, or {HUB}datasets/ORG/NAME@REVISION/FILE.json",
        )
    name, revision, file = named["name"], named["revision"], named["file"]
    try:
        found = huggingface_hub.hf_hub_download(
            name, file, repo_type="dataset", revision=revision, local_files_only=True
        )
    except HFValidationError as error:
        what = f"{name!r} is not a name the hub allows: {error}"
        raise CorpusError(what, where=source, remedy="write ORG/NAME") from error
    except OSError as error:
        at = f" --revision {revision}" if revision else ""
        raise CorpusError(
            "the facts are not on this machine",
            where=f"the hub's cache: {source}",
            remedy=f"hf download {name} {file} --repo-type dataset{at}",
        ) from error
    return Path(found)
