"""Which texts the paper's features are made of: the registered ones, or those that a person has."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rwcore.errors import CorpusError, OptionError

if TYPE_CHECKING:
    from rwcore.corpora.encoder import TextEncoder
    from rwcore.corpora.spec import CorpusSpec
    from rwcore.probing.datasets.features import FeatureDataset

OPTION = "--rw-features"
LABELLED = {
    "programming_languages": "programming_language",
    "natural_languages": "language",
    "sources": "source",
}
"""Families of labelled documents, and the label that names the class."""
REGISTERED: Mapping[str, tuple[str, ...]] = {
    "sources": ("pile-test", "pile-validation"),
    "text_features": ("pile-test",),
    "latex": ("pile-test-arxiv", "pile-validation-arxiv"),
    "compound_words": ("pile-test",),
    "suffixes": ("pile-test",),
}
"""Families whose texts the registry of corpora has."""
FAMILIES = (*LABELLED, "text_features", "latex", "compound_words", "suffixes", "treebank")
_KEYS = ("corpus", "label")


@dataclass(frozen=True)
class FeatureTexts:
    """The texts of each family of features.

    Attributes:
        path: The file that names them; None if there is none.
        given: Texts that it names, by family.
        made: Data sets that were made in this session, which models with one tokenizer share.
    """

    path: Path | None = None
    given: Mapping[str, tuple[CorpusSpec, ...]] = field(default_factory=dict)
    made: dict[tuple[str, str, int | None], FeatureDataset] = field(default_factory=dict, compare=False)

    def corpora(self, family: str) -> tuple[CorpusSpec, ...]:
        """The texts of a family: given, else registered; none if there are none."""
        from rwcore.corpora.registry import find

        return self.given.get(family) or tuple(map(find, REGISTERED.get(family, ())))

    def missing(self, family: str) -> str | None:
        """Why the features of a family cannot be made here, with what would help; None if they can."""
        corpora = self.corpora(family)
        if not corpora:
            return (
                f"needs texts for the features {family}, which no data set of the hub has as published: "
                f'{OPTION} FILE.toml with {family} = "TEXTS" (README.md of the paper)'
            )
        from rwcore.corpora.hub import download_command, snapshot
        from rwcore.corpora.spec import HUB

        for corpus in corpora:
            try:
                if corpus.source == HUB:
                    snapshot(corpus)
            except CorpusError as error:
                return (
                    f"needs texts for the features {family}: {error.what}: {download_command(corpus)}; or "
                    f"others with {OPTION} FILE.toml"
                )
        return None

    def dataset(self, name: str, encoder: TextEncoder) -> FeatureDataset:
        """A data set as published; see `rwcore.probing.datasets.published_choice.published_dataset`.

        Raises:
            CorpusError: As of that function.
        """
        from rwcore.probing.datasets.published_choice import DATASETS, published_dataset

        key = name, encoder.hash, encoder.context
        if key not in self.made:
            self.made[key] = published_dataset(name, self.corpora(DATASETS[name]), encoder)
        return self.made[key]


def read_feature_texts(path: Path | None) -> FeatureTexts:
    """The texts that a TOML file names.

    A line is ``FAMILY = "TEXTS"``, with a registered corpus, a file or a folder, or a list of them; or
    ``FAMILY = { corpus = …, label = "meta.language" }``, with the field that names the class of a document.
    Files are looked for beside the TOML file, then where the command runs. Those of ``treebank`` are CoNLL-U.

    Args:
        path: The file; None for the registered texts alone.

    Raises:
        OptionError: The file cannot be read or is no TOML, or a key or text is unknown; the message names
            the file and the key.
    """
    if path is None:
        return FeatureTexts()
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise OptionError(
            f"the texts of features cannot be read: {error}",
            where=f"{OPTION} {path}",
            remedy='give a TOML file with lines such as treebank = "UD_English-EWT"',
        ) from error
    unknown = next((name for name in values if name not in FAMILIES), None)
    if unknown is not None:
        raise _wrong(path, unknown, f"there are no features {unknown!r}", f"known are {', '.join(FAMILIES)}")
    return FeatureTexts(path, {family: _texts(path, family, value) for family, value in values.items()})


def _texts(path: Path, family: str, value: Any) -> tuple[CorpusSpec, ...]:
    label = None
    if isinstance(value, dict):
        unknown = next((key for key in value if key not in _KEYS), None)
        if unknown is not None:
            raise _wrong(path, f"{family}.{unknown}", "the key is unknown", f"known are {', '.join(_KEYS)}")
        label, value = value.get("label"), value.get("corpus")
        if label is not None and (family not in LABELLED or not isinstance(label, str)):
            raise _wrong(
                path,
                f"{family}.label",
                "these features have no label" if family not in LABELLED else f"{label!r} is no name",
                f"only documents of {', '.join(LABELLED)} have a label that names their class",
            )
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        raise _wrong(path, family, f"{value!r} names no texts", "give a corpus, a file, a folder or a list")
    corpora = [_corpus(path, family, name) for name in names]
    if label is not None:
        corpora = [replace(one, labels=((LABELLED[family], label),)) for one in corpora]
    return tuple(corpora)


def _corpus(path: Path, family: str, name: str) -> CorpusSpec:
    from rwcore.corpora.registry import find
    from rwcore.corpora.spec import FILE

    beside = path.parent / Path(name).expanduser()
    try:
        found = find(str(beside) if beside.exists() else name)
    except CorpusError as error:
        raise _wrong(path, family, error.what, error.remedy or "check the path") from error
    if family == "treebank" and found.source != FILE:
        raise _wrong(path, family, f"{name!r} is no treebank", "give a CoNLL-U file or a folder of them")
    return found


def _wrong(path: Path, key: str, what: str, remedy: str) -> OptionError:
    return OptionError(what, where=f"{OPTION} {path}: {key}", remedy=remedy)


def first_missing(texts: FeatureTexts, families: Sequence[str]) -> str | None:
    """The first reason why one of some families cannot be made; None if all can."""
    return next((reason for family in families if (reason := texts.missing(family)) is not None), None)
