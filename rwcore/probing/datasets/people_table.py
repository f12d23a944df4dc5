"""Tables of people in files, and the facts about people whom texts name: ``people:TABLE@CORPUS``."""

from __future__ import annotations

import csv
import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, TextIO

from rwcore.corpora.encoder import TextEncoder
from rwcore.corpora.registry import find
from rwcore.errors import CorpusError, OptionError
from rwcore.probing.datasets.features import FIXED, FeatureDataset
from rwcore.probing.datasets.people import Mention, Person, is_name, mentions, people_features
from rwcore.probing.datasets.sampling import LEAST
from rwcore.probing.datasets.source import Source, read_source

PEOPLE = "people"
FORM = f"{PEOPLE}:TABLE@CORPUS"
SUFFIXES = (".csv", ".jsonl", ".parquet")
NAME, FAME = "name", "fame"
BIRTH, DEATH = "date_of_birth", "date_of_death"
LATEST_DEATH = 1980
"""Who died later is neither alive nor dead; published."""


@dataclass(frozen=True)
class Property:
    """A property of people.

    Attributes:
        classes: Its published values.
        per_class: Mentions of a class, at most.
    """

    classes: tuple[str, ...]
    per_class: int


ATHLETE, POLITICIAN = "athlete", "politician"
ALIVE = "is_alive"
SPORTS = (
    "association football player", "basketball player", "American football player", "baseball player",
    "ice hockey player",
)  # fmt: skip
COUNTRIES = ("United States", "United Kingdom", "Canada", "Australia", "France", "Germany")
PUBLISHED: Mapping[str, Property] = {
    "sex_or_gender": Property(("female", "male"), 3000),
    ALIVE: Property(("true", "false"), 3000),
    "occupation": Property((POLITICIAN, "actor", "researcher", "singer", "journalist", ATHLETE), 1000),
    "occupation_athlete": Property(SPORTS, 1000),
    "political_party": Property(("Republican Party", "Democratic Party"), 1500),
    "country_of_citizenship": Property(COUNTRIES, 3000),
}
"""The published properties; sparse probing 3.8."""
IDS = {
    "Q6581072": "female", "Q6581097": "male",
    "Q82955": POLITICIAN, "Q33999": "actor", "Q1650915": "researcher", "Q177220": "singer",
    "Q1930187": "journalist",
    "Q937857": SPORTS[0], "Q3665646": SPORTS[1], "Q19204627": SPORTS[2], "Q10871364": SPORTS[3],
    "Q11774891": SPORTS[4],
    "Q29468": "Republican Party", "Q29552": "Democratic Party",
    "Q30": "United States", "Q145": "United Kingdom", "Q16": "Canada", "Q408": "Australia",
    "Q142": "France", "Q183": "Germany",
}  # fmt: skip
"""Names of the published classes by their ids in Wikidata."""


def people_datasets(
    text: str, encoder: TextEncoder, *, least: int = LEAST, convention: str = FIXED
) -> list[FeatureDataset] | None:
    """The facts that ``people:TABLE@CORPUS`` names, a data set per property, or None if a text is not that.

    Of the published properties (`PUBLISHED`) the published classes are taken, of other columns the values
    that at least ``least`` people have. Properties without a class that has enough rows are left out.

    Args:
        text: ``people:``, a file that `read_people` can read, ``@``, and the name of a corpus or a file.
        encoder: The tokenizer and the limits of the model.
        least: Rows of either class that a feature must have.
        convention: ``fixed`` or ``as_published``, see `rwcore.probing.datasets.people.mentions`.

    Raises:
        OptionError: No table or no corpus is named.
        CorpusError: The table is missing or damaged (see `read_people`), so is the corpus, or no property has
            a class with enough rows; the message says how many people are named.
    """
    family, colon, rest = text.partition(":")
    if family != PEOPLE or not colon:
        return None
    parts = re.fullmatch(rf"(.+?(?:{'|'.join(map(re.escape, SUFFIXES))}))@(.+)", rest, re.IGNORECASE)
    if parts is None:
        raise OptionError(
            f"{text!r}: whose facts, and in which texts?",
            where="--features",
            remedy=f"give {FORM}, a table that ends with {' or '.join(SUFFIXES)}",
        )
    people = read_people(Path(parts[1]).expanduser())
    source = read_source(find(parts[2]), encoder)
    found = list(mentions(source, people, convention=convention))
    made = []
    counts = []
    for name, values in _properties(people, least).items():
        number = Counter(
            own[0]
            for place in dict.fromkeys(one.person for one in found)
            if len(own := _among(people[place], name, values)) == 1
        )
        counts.append(f"{name}: {', '.join(f'{value} {number[value]}' for value in values)}")
        if _enough(number, least):
            data = _dataset(source, people, name, values, found, least, convention)
            if data.features:
                made.append(replace(data, name=f"{name} of people in {parts[2]}"))
    if not made:
        raise CorpusError(
            f"no property has a class with {least} people that the texts name, and as many of other classes "
            f"({'; '.join(counts) or 'no value is that of as many people'})",
            where=f"{parts[1]}, {parts[2]}",
            remedy="give more people or texts, or ask for fewer (--least N)",
        )
    return made


def _dataset(
    source: Source,
    people: Sequence[Person],
    name: str,
    values: Sequence[str],
    found: Sequence[Mention],
    least: int,
    convention: str,
) -> FeatureDataset:
    per_class = PUBLISHED[name].per_class if name in PUBLISHED else None
    return people_features(
        source, people, name, values, per_class=per_class, least=least, convention=convention, found=found
    )


def _properties(people: Sequence[Person], least: int) -> dict[str, tuple[str, ...]]:
    """The classes of every property of a table."""
    properties: dict[str, tuple[str, ...]] = {}
    for name in dict.fromkeys(name for person in people for name in person.properties):
        if name in PUBLISHED:
            properties[name] = PUBLISHED[name].classes
        else:
            number = Counter(value for person in people for value in person.properties.get(name, ()))
            often = tuple(sorted(value for value, count in number.items() if count >= least))
            if often:
                properties[name] = often
    return properties


def _among(person: Person, name: str, values: Sequence[str]) -> list[str]:
    return [value for value in person.properties.get(name, ()) if value in values]


def _enough(number: Counter[str], least: int) -> bool:
    """Whether a class and the others together have enough people."""
    return any(min(count, number.total() - count) >= max(least, 1) for count in number.values())


def read_people(path: Path) -> list[Person]:
    """A table of people.

    Columns (keys of an object per line in JSON lines): ``name``; ``fame``, the number of properties that the
    source has of a person, by which the most famous come first (without the column, those that stand first);
    every other column is a property. A value is a text (in CSV several with ``;`` between them), in JSON
    lines and Parquet also a number, a date, true or false, or a list of these; nothing where it is not known.
    Ids of Wikidata of the published classes (`IDS`) become their names. Of equal names the most famous person
    is kept.

    Derived, as published: ``is_alive`` from ``date_of_birth`` and ``date_of_death`` (which begin with the
    year), where there is no such column; ``athlete`` from the five kinds of sportspeople (published: from 622
    occupations) and ``occupation_athlete``, both from ``occupation``; a ``political_party`` counts only of
    politicians, if there is a column ``occupation``.

    Args:
        path: A file that ends with ``.csv``, ``.jsonl`` or ``.parquet``.

    Raises:
        CorpusError: The file cannot be read or has no such columns, or a value is none of these; the message
            names line or row and column.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise _wrong(path, None, f"a table of people ends with {', '.join(SUFFIXES)}")
    people: dict[str, Person] = {}
    columns: set[str] = set()
    for row, values in _rows(path):
        person = _person(path, row, values)
        columns |= person.properties.keys()
        if person.name not in people or people[person.name].fame < person.fame:
            people[person.name] = person
    if not any(map(is_name, people)):
        raise _wrong(path, None, "no name has eight characters and a space")
    if not columns:
        raise _wrong(path, None, f"nothing is known of anybody; e.g. {', '.join(PUBLISHED)}")
    return [_derived(person, columns) for person in people.values()]


def _rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Where a row stands, and its values by column."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if path.suffix.lower() == ".parquet":
            yield from ((f"row {number}", row) for number, row in enumerate(pq.read_table(path).to_pylist()))
            return
        with path.open(encoding="utf-8-sig", newline="") as lines:
            yield from (_csv_rows if path.suffix.lower() == ".csv" else _json_rows)(path, lines)
    except (OSError, UnicodeDecodeError, csv.Error, pa.ArrowException) as error:
        raise _wrong(path, None, f"it cannot be read: {error}") from error


def _csv_rows(path: Path, lines: TextIO) -> Iterator[tuple[str, Mapping[str, Any]]]:
    table = csv.DictReader(lines, strict=True)
    for row in table:
        where = f"line {table.line_num}"
        if None in row or None in row.values():
            raise _wrong(path, where, "it has another number of columns than the first line")
        yield (
            where,
            {name: text if name in (NAME, FAME) else text.split(";") for name, text in row.items()},
        )


def _json_rows(path: Path, lines: TextIO) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise _wrong(path, f"line {number}", f"it is not JSON: {error}") from error
        if not isinstance(row, dict):
            raise _wrong(path, f"line {number}", "it is no object")
        yield f"line {number}", row


def _person(path: Path, where: str, row: Mapping[str, Any]) -> Person:
    name, fame = row.get(NAME), row.get(FAME, 0)
    if not isinstance(name, str) or not name.strip():
        raise _wrong(path, f"{where}: {NAME}", f"{name!r} is no name")
    try:
        number = int(fame)
    except (TypeError, ValueError, OverflowError) as error:
        raise _wrong(path, f"{where}: {FAME}", f"{fame!r} is no number of properties") from error
    properties = {
        column: found
        for column, value in row.items()
        if column not in (NAME, FAME) and (found := _values(path, f"{where}: {column}", value))
    }
    if ALIVE in properties:  # as tables of other programs write it
        properties[ALIVE] = tuple(value.lower() for value in properties[ALIVE])
    return Person(name.strip(), number, properties)


def _values(path: Path, where: str, value: object) -> tuple[str, ...]:
    """The values of a property, each once."""
    found = []
    for part in value if isinstance(value, list) else [value]:
        if isinstance(part, bool):
            found.append(str(part).lower())
        elif isinstance(part, str | int | date):
            found.append(str(part).strip())
        elif isinstance(part, float) and not math.isnan(part):
            found.append(f"{part:.15g}")
        elif part is not None and part == part:
            raise _wrong(path, where, f"{part!r} is no text, number, date, true or false")
    return tuple(dict.fromkeys(IDS.get(text, text) for text in found if text))


def _derived(person: Person, columns: set[str]) -> Person:
    """A person with the properties that follow from others."""
    known = {name: values for name, values in person.properties.items() if name not in (BIRTH, DEATH)}
    if ALIVE not in columns and (alive := _alive(person)) is not None:
        known[ALIVE] = (alive,)
    jobs = known.get("occupation", ())
    sports = tuple(job for job in jobs if job in SPORTS)
    if sports:
        known["occupation"] = tuple(dict.fromkeys((*jobs, ATHLETE)))
        known.setdefault("occupation_athlete", sports)
    if "occupation" in columns and POLITICIAN not in jobs:
        known.pop("political_party", None)
    return replace(person, properties=known)


def _alive(person: Person) -> str | None:
    """``true`` with a birth and no death, ``false`` with a death until `LATEST_DEATH`; else nothing."""
    deaths = person.properties.get(DEATH, ())
    if not deaths:
        return "true" if BIRTH in person.properties else None
    year = re.match(r"[+-]?\d+", deaths[0])
    return "false" if year is not None and int(year[0]) <= LATEST_DEATH else None


def _wrong(path: Path, where: str | None, reason: str) -> CorpusError:
    return CorpusError(
        f"the table of people is not as it should be: {reason}",
        where=str(path) if where is None else f"{path}: {where}",
        remedy=f"give a table with the columns {NAME}, {FAME} and one for each property, such as "
        f"{', '.join(PUBLISHED)}",
    )
