"""Errors in claim files, said in the file's own words: file, claim, key, and what to write instead."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from rwcore.errors import ClaimFileError

RIGHT_TOLERANCE = 'tolerance = { kind = "within", abs = 1e-5, because = "float32 summation order" }'


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong in a claim file.

    Attributes:
        path: Where in the file, e.g. ``claim C39 → expect[0] → tolerance → because``; may be empty.
        what: What is wrong there.
        remedy: What to write instead.
    """

    path: str
    what: str
    remedy: str


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``; did you mean 'x'?`` for the nearest known word, or nothing."""
    near = difflib.get_close_matches(word, sorted(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


class Strict(BaseModel):
    """A table of a claim file: frozen, no coercion, unknown keys rejected with the nearest known one."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        known = {field.alias or name for name, field in cls.model_fields.items()}
        unknown = [key for key in data if key not in known and key not in cls.model_fields]
        if unknown:
            hints = "; ".join(f"unknown key {key!r}{did_you_mean(str(key), known)}" for key in unknown)
            raise PydanticCustomError(
                "unknown_key",
                "{hints}",
                {
                    "hints": hints,
                    "key": str(unknown[0]),
                    "remedy": f"keys known here: {', '.join(sorted(known))}",
                },
            )
        return data


def complaint(what: str, remedy: str) -> PydanticCustomError:
    """An error for use in validators, with its own remedy."""
    # The text goes in as a value: braces in it are not a template.
    return PydanticCustomError("claim_file", "{what}", {"what": what, "remedy": remedy})


def reject_bare(value: Any, name: str) -> Any:
    """Let tables pass; reject a bare number or word where a table with a reason is wanted."""
    if isinstance(value, Mapping | BaseModel):
        return value
    number = isinstance(value, int | float) and not isinstance(value, bool)
    kind = "number" if number else type(value).__name__
    if name == "holds":
        right = 'holds = { kind = "at_least", quantity = "NAME", value = 0 }'
    elif kind == "number":
        right = f'tolerance = {{ kind = "within", abs = {value!r}, because = "why this much" }}'
    elif isinstance(value, str):
        right = f'tolerance = {{ kind = "{value}", because = "why this much" }}'
    else:
        right = RIGHT_TOLERANCE
    raise complaint(f"a bare {kind} ({value!r}) is not a {name}: it must name its kind and its reason", right)


def read_toml(file: Path) -> tuple[dict[str, Any], str]:
    """The contents of a TOML file, parsed and as text.

    Raises:
        ClaimFileError: The file is missing, not UTF-8, or not TOML (with the line).
    """
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ClaimFileError("the file does not exist", where=str(file), remedy="create it") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ClaimFileError(
            f"cannot be read as UTF-8 text: {error}", where=str(file), remedy="save it as UTF-8"
        ) from error
    try:
        return tomllib.loads(text), text
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"at line (\d+)", str(error))
        place = f"{file}:{line[1]}" if line else str(file)
        raise ClaimFileError(
            f"not valid TOML: {error}", where=place, remedy="correct the syntax there"
        ) from error


def path_text(location: Sequence[str | int], raw: Any) -> str:
    """A pydantic location in the words of the file; tags of unions, which are not keys, are left out."""
    words: list[str] = []
    here = raw
    for step in location:
        if isinstance(here, Mapping) and step not in here and step == here.get("kind"):
            continue
        if isinstance(step, int):
            here = here[step] if isinstance(here, Sequence) and step < len(here) else None
            name = here.get("id") if isinstance(here, Mapping) else None
            words[-1] = f"{words[-1]} {name}" if isinstance(name, str) else f"{words[-1]}[{step}]"
        else:
            here = here.get(step) if isinstance(here, Mapping) else None
            words.append(step)
    return " → ".join(words)


def problems_of(error: ValidationError, raw: Any) -> list[Problem]:
    """Every problem of a failed validation."""
    return [_problem(details, raw) for details in error.errors(include_url=False)]


def _problem(details: ErrorDetails, raw: Any) -> Problem:
    location, context, kind = list(details["loc"]), details.get("ctx", {}), details["type"]
    if kind == "unknown_key":
        return Problem(path_text([*location, context["key"]], raw), details["msg"], context["remedy"])
    path = path_text(location, raw)
    if kind == "missing" and location[-1] == "because":
        return Problem(path, "is missing: every tolerance says why it is as wide as it is", RIGHT_TOLERANCE)
    if kind == "missing":
        return Problem(path, "is missing", f"add `{location[-1]} = …`")
    if kind == "union_tag_not_found":
        return Problem(path, "has no `kind`", RIGHT_TOLERANCE)
    if kind == "union_tag_invalid":
        known = [word.strip(" '") for word in str(context["expected_tags"]).split(",")]
        tag = str(context["tag"])
        return Problem(path, f"unknown kind {tag!r}{did_you_mean(tag, known)}", f"kinds: {', '.join(known)}")
    if kind == "claim_file":
        return Problem(path, details["msg"], context["remedy"])
    hint = did_you_mean(str(details["input"]), re.findall(r"'([^']+)'", str(context.get("expected", ""))))
    return Problem(path, f"{details['msg']} (got {details['input']!r:.80}){hint}", "write such a value there")


def raise_problems(problems: Sequence[Problem], file: Path, text: str = "") -> None:
    """Raise one ClaimFileError that lists all problems; do nothing if there are none.

    Args:
        problems: What is wrong.
        file: The file that is wrong.
        text: Its text, used to find the lines of the claims.
    """
    if not problems:
        return
    if len(problems) == 1:
        problem = problems[0]
        raise ClaimFileError(problem.what, where=_place(problem.path, file, text), remedy=problem.remedy)
    lines = [f"{len(problems)} problems"]
    for problem in problems:
        lines.append(f"  {_place(problem.path, file, text)}: {problem.what}")
        lines.append(f"    to do: {problem.remedy}")
    raise ClaimFileError("\n".join(lines), where=str(file), remedy="correct each of them")


def _place(path: str, file: Path, text: str) -> str:
    claim = re.match(r"claim ([^ ]+)", path)
    found = re.search(rf"^\s*id\s*=\s*[\"']{re.escape(claim[1])}[\"']", text, re.MULTILINE) if claim else None
    line = f":{text.count(chr(10), 0, found.end()) + 1}" if found else ""
    return f"{file}{line}: {path}" if path else f"{file}{line}"
