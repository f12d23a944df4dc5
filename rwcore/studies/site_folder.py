"""A folder of neuron pages: an older site of the same pass is added to, anything else is left alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rwcore.errors import StoreError
from rwcore.pages.neuron_page import Neighbour, with_neighbours
from rwcore.store import MANIFEST, hash_file, read_json, write_json, write_text, writing
from rwcore.studies.folder import check_target

SCHEMA = "rwcore-site/1"
PAGES, DATA, INDEX = "neurons", "data", "index.html"
IDENTITY = ("model", "processing", "pass")
"""Parts of the manifest that all pages of a site have in common."""
LONGEST = 40
"""Characters of a value in a message."""


@dataclass(frozen=True, order=True)
class SitePage:
    """A page of a site.

    Attributes:
        layer: Layer of its neuron.
        neuron: Place in the layer.
        class_name: Its read-write class.
        promoted: First tokens along the output vector, as the index shows them.
        suppressed: Likewise along its negative.
    """

    layer: int
    neuron: int
    class_name: str
    promoted: tuple[str, ...]
    suppressed: tuple[str, ...]

    @property
    def name(self) -> str:
        """``layer.neuron``."""
        return f"{self.layer}.{self.neuron}"

    @property
    def file(self) -> str:
        """The file, relative to the site."""
        return f"{PAGES}/{self.name}.html"


@dataclass(frozen=True)
class SiteFolder:
    """A folder that a site is written into.

    Attributes:
        folder: The folder.
        identity: What its pages have in common, by the names of `IDENTITY`.
        older: Pages of earlier commands that are still there, by layer and neuron.
    """

    folder: Path
    identity: Mapping[str, Any]
    older: tuple[SitePage, ...]

    def begin(self) -> None:
        """Make the folders and say that the site is not complete, until `finish` says that it is.

        Raises:
            StoreError: The folder cannot be written.
        """
        with writing(self.folder):
            for name in (PAGES, DATA):
                (self.folder / name).mkdir(parents=True, exist_ok=True)
        self._write(self.older, {}, complete=False)

    def add(self, page: SitePage, text: str) -> None:
        """Write a page, whole or not at all.

        Raises:
            StoreError: The folder cannot be written.
        """
        write_text(self.folder / page.file, text)

    def pages(self, new: Iterable[SitePage]) -> tuple[SitePage, ...]:
        """All pages with some new ones, by layer and neuron; a new one takes an older one's place."""
        merged = {(page.layer, page.neuron): page for page in (*self.older, *new)}
        return tuple(sorted(merged.values()))

    def relink(self, pages: Sequence[SitePage]) -> None:
        """Make each of the older pages link to its neighbours among all pages.

        Raises:
            StoreError: The folder cannot be written.
        """
        kept = {*self.older}
        for page, (before, after) in neighbours(pages):
            if page in kept:
                file = self.folder / page.file
                write_text(file, with_neighbours(file.read_text(encoding="utf-8"), before, after))

    def finish(self, pages: Sequence[SitePage], facts: Mapping[str, Any]) -> dict[str, Any]:
        """Write the manifest of the complete site, and return it.

        Raises:
            StoreError: The folder cannot be written.
        """
        return self._write(pages, facts, complete=True)

    def _write(
        self, pages: Sequence[SitePage], facts: Mapping[str, Any], *, complete: bool
    ) -> dict[str, Any]:
        manifest = {
            "schema": SCHEMA,
            "complete": complete,
            **self.identity,
            **facts,
            "pages": [asdict(page) for page in pages],
            "files": self._files(pages) if complete else [],
        }
        write_json(self.folder / MANIFEST, manifest)
        return manifest

    def _files(self, pages: Sequence[SitePage]) -> list[dict[str, Any]]:
        data = sorted(path.relative_to(self.folder).as_posix() for path in (self.folder / DATA).glob("*.js"))
        found = []
        for name in (INDEX, *data, *(page.file for page in pages)):
            file = self.folder / name
            found.append({"name": name, "bytes": file.stat().st_size, "sha256": hash_file(file)})
        return found


def open_site(out: Path, identity: Mapping[str, Any], *, force: bool = False) -> SiteFolder:
    """The folder of a new site, or of an older one that pages are added to. Nothing is written yet.

    Args:
        out: The folder; it need not exist.
        identity: What the pages have in common, by the names of `IDENTITY`.
        force: Write into a folder that holds other files; they stay.

    Raises:
        StoreError: The folder cannot be written, holds other files, or holds a site of another model, of
            weights processed otherwise, or of another pass.
    """
    folder = check_target(out, force=force)
    manifest = read_json(folder / MANIFEST) if (folder / MANIFEST).is_file() else {}
    if manifest.get("schema") != SCHEMA:
        if str(manifest.get("schema", "")).startswith("rwcore-"):
            raise StoreError(
                f"the folder holds another export of rwcore ({manifest['schema']})",
                where=str(folder),
                remedy="name another folder with --out",
            )
        return SiteFolder(folder, identity, ())
    differing = [
        f"{name}: {_short(there)} there, {_short(asked)} asked for"
        for name, there, asked in _differences(manifest, identity)
    ]
    if differing:
        raise StoreError(
            "the site in this folder is about something else: " + "; ".join(differing),
            where=str(folder),
            remedy="name another folder with --out, or remove the site",
        )
    return SiteFolder(folder, identity, tuple(sorted(_still_there(folder, manifest))))


def neighbours(
    pages: Sequence[SitePage],
) -> list[tuple[SitePage, tuple[Neighbour | None, Neighbour | None]]]:
    """Each page with the pages before and behind it; None at the ends."""
    links = [None, *(Neighbour(page.name, Path(page.file).name) for page in pages), None]
    return list(zip(pages, zip(links[:-2], links[2:], strict=True), strict=True))


def _still_there(folder: Path, manifest: Mapping[str, Any]) -> Iterable[SitePage]:
    for entry in manifest.get("pages", []):
        tokens = (tuple(map(str, entry.get(name, ()))) for name in ("promoted", "suppressed"))
        page = SitePage(int(entry["layer"]), int(entry["neuron"]), str(entry["class_name"]), *tokens)
        if (folder / page.file).is_file():
            yield page


def _differences(there: Mapping[str, Any], asked: Mapping[str, Any]) -> Iterable[tuple[str, object, object]]:
    """Each field of the identities that differs: its name, its value there, and the one asked for."""
    for part in IDENTITY:
        one, other = (each.get(part) for each in (there, asked))
        if not (isinstance(one, Mapping) and isinstance(other, Mapping)):
            one, other = {"": one}, {"": other}
        for name in sorted({*one, *other}):
            if one.get(name) != other.get(name):
                yield f"{part} {name}".strip(), one.get(name), other.get(name)


def _short(value: object) -> str:
    """A value of an identity; of a long one, such as a hash, as much as tells it apart."""
    text = str(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
