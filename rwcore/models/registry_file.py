"""Read a registry: a TOML file with one kind of table, checked key by key, every name given once."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from rwcore.errors import RwcoreError

File = TypeVar("File", bound=BaseModel)


@dataclass(frozen=True)
class RegistryFile:
    """A registry file and how to speak of it.

    Attributes:
        path: The file.
        table: Name of its tables, e.g. ``model``.
        plural: What they are, e.g. ``models``.
        error: What is raised.
    """

    path: Path
    table: str
    plural: str
    error: type[RwcoreError]

    def read(self, schema: type[File]) -> File:
        """The content of the file.

        Raises:
            RwcoreError: (``error``) The file is not TOML, or a key is missing, unknown or of the wrong type;
                the message names the file and the key.
        """
        try:
            content = tomllib.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise self.error(
                f"the registry of {self.plural} cannot be read: {error}", where=str(self.path)
            ) from error
        try:
            return schema.model_validate(content)
        except ValidationError as error:
            first = error.errors()[0]
            raise self.invalid(
                f"{first['msg']} (got {first['input']!r:.60})", self._key(content, first["loc"])
            ) from error

    def names(self, entries: Iterable[tuple[str, Iterable[str]]]) -> dict[str, str]:
        """Everything an entry answers to, in lower case → its id.

        Args:
            entries: Id of each entry and its names; one entry may repeat a name.

        Raises:
            RwcoreError: (``error``) Two entries answer to one name.
        """
        found: dict[str, str] = {}
        for own, names in entries:
            for name in dict.fromkeys(name.lower() for name in names):
                if name in found:
                    raise self.invalid(
                        f"two {self.plural} answer to {name!r}",
                        f"{self.plural} {found[name]} and {own}",
                        remedy="change an id or alias",
                    )
                found[name] = own
        return found

    def invalid(self, what: str, key: str, remedy: str | None = None) -> RwcoreError:
        """The error about a key, to be raised."""
        return self.error(
            f"the registry of {self.plural} is invalid: {what}",
            where=f"{self.path}: {key}",
            remedy=remedy or f"see the list of keys at the top of {self.path.name}",
        )

    def _key(self, content: Mapping[str, Any], loc: tuple[int | str, ...]) -> str:
        """The path of a key for a person: ``model 3 (gpt2).d_mlp``."""
        key = ".".join(str(part) for part in loc)
        if len(loc) > 1 and loc[0] == self.table and isinstance(loc[1], int):
            entries = content[self.table]
            entry = entries[loc[1]] if isinstance(entries, list) else {}
            name = entry.get("id", "without id") if isinstance(entry, dict) else "not a table"
            key = ".".join([f"{self.table} {loc[1] + 1} ({name})", *(str(part) for part in loc[2:])])
        return key
