"""What a corpus is: where its documents come from, which of them are taken, and how rows are cut."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rwcore import paths
from rwcore.errors import OptionError

HUB, HANDMADE, PYTHON_TOPICS, FILE = "hub", "handmade", "python-topics", "file"
SOURCES = (HUB, HANDMADE, PYTHON_TOPICS, FILE)
BOS_POLICIES = ("model", "none", "eot")
LAYOUTS = ("ragged", "packed")
SEPARATORS = ("none", "eot")
GENERATOR, LEGACY = "generator", "legacy"
SHUFFLES = (GENERATOR, LEGACY)

LONGEST_ROW = 1024
"""Tokens per row where nobody says otherwise: the length of the papers' ragged corpora."""


@dataclass(frozen=True)
class CorpusSpec:
    """A corpus by name: the recipe, before anything was read.

    The documents of the source that have the labels ``where``, in its own order, are shuffled if there is a
    seed; the first ``documents`` of them are tokenised and cut into rows; rows are taken until their running
    count of tokens first reaches ``tokens``, so the last row is whole and the count may be larger by less
    than a row.

    Attributes:
        id: What the user types and what reports show: a registry id or a path.
        source: ``hub``, ``handmade``, ``python-topics`` or ``file``.
        location: Hub data set or absolute path of a file or folder; empty for the others.
        revision: Branch, tag or commit of the hub data set; None is its main branch.
        split: Split of the hub data set.
        text_field: Field or column that holds the text.
        files: Files of the hub data set that are downloaded, as patterns such as ``test.*``; none for all.
        labels: Further names of labels, each with the field it is (nested ones as ``outer.inner``).
        where: Labels, by their further names or fields, with the value that documents must have.
        shuffle_seed: Seed by which the documents are put in another order; None is that of the source.
        shuffle: How. ``generator``: ``numpy.random.default_rng(seed).permutation``, as the ``shuffle`` of the
            library ``datasets`` does; ``legacy``: ``numpy.random.seed(seed)`` and ``numpy.random.shuffle`` of
            a list.
        straight_quotes: Whether curly quotation marks become straight ones.
        documents: Documents taken, counted after the shuffle; None is all.
        tokens: The running count at which no further row is taken; None is all.
        max_length: Tokens of the longest row, the token at its beginning included; None is the context of
            the model.
        overflow: Whether the rest of a longer document becomes further rows instead of being dropped.
            Ragged layout only: packed rows drop nothing but the last, incomplete row.
        full_rows: Whether documents are left out that have no more tokens, BOS included, than a row. Ragged
            layout without overflow only.
        bos: Token at the beginning of every row. ``model``: the tokenizer's BOS, or where it defines none
            (OLMo) its end-of-text token; ``eot``: the end-of-text token; ``none``: no such token.
        layout: ``ragged``: a row is the beginning of one document (or a part of it, see ``overflow``);
            ``packed``: documents follow each other in rows of ``max_length`` tokens.
        separator: What stands between packed documents: ``none`` or ``eot``.
        tokenizer: Model whose tokenizer made the published rows; another tokenizer makes another corpus.
    """

    id: str
    source: str
    location: str = ""
    revision: str | None = None
    split: str = "train"
    text_field: str = "text"
    files: tuple[str, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    where: tuple[tuple[str, str], ...] = ()
    shuffle_seed: int | None = None
    shuffle: str = GENERATOR
    straight_quotes: bool = False
    documents: int | None = None
    tokens: int | None = None
    max_length: int | None = None
    overflow: bool = False
    full_rows: bool = False
    bos: str = "model"
    layout: str = "ragged"
    separator: str = "none"
    tokenizer: str | None = None

    def __post_init__(self) -> None:
        for key, allowed in (
            ("source", SOURCES), ("bos", BOS_POLICIES), ("layout", LAYOUTS), ("separator", SEPARATORS),
            ("shuffle", SHUFFLES)
        ):  # fmt: skip
            value = getattr(self, key)
            if value not in allowed:
                self._refuse(key, f"{value!r} is none of {', '.join(allowed)}")
        for key, least in (("documents", 1), ("tokens", 1), ("shuffle_seed", 0)):
            value = getattr(self, key)
            if value is not None and value < least:
                self._refuse(key, f"{value} is less than {least}")
        if self.shuffle == LEGACY and (self.shuffle_seed is None or self.shuffle_seed >= 2**32):
            self._refuse("shuffle", "numpy's older generator needs a shuffle_seed below 2**32")
        # A row that held nothing but its BOS would say nothing of the text.
        least = 1 if self.bos == "none" else 2
        if self.max_length is not None and self.max_length < least:
            self._refuse("max_length", f"{self.max_length} is less than {least}")
        if self.files and self.source != HUB:
            self._refuse("files", "only data sets of the hub have files that are chosen")
        if self.layout == "packed" and self.overflow:
            self._refuse("overflow", "packed rows drop nothing, so there is no overflow")
        if self.full_rows and (self.layout == "packed" or self.overflow):
            self._refuse("full_rows", "packed rows are full, and with overflow nothing is left out")
        if self.layout == "ragged" and self.separator != "none":
            self._refuse("separator", "only packed rows hold several documents")

    def _refuse(self, key: str, reason: str) -> None:
        raise OptionError(
            f"the corpus {self.id!r} cannot be made: {key}: {reason}",
            where=f"{self.id}: {key}",
            remedy="change the option, or the entry in corpora.toml",
        )

    @classmethod
    def from_recipe(cls, recipe: Mapping[str, Any]) -> CorpusSpec:
        """The spec of a recipe."""
        chosen: dict[str, Any] = {
            name: tuple(sorted(recipe.get(name, {}).items())) for name in ("labels", "where")
        }
        return cls(**{**recipe, **chosen, "files": tuple(recipe.get("files", ()))})

    @property
    def slug(self) -> str:
        """The id as a file name."""
        return paths.slug(self.id)

    def describe(self) -> str:
        """The recipe in words, for people."""
        taken = "all documents" if self.documents is None else f"{self.documents:,} documents"
        order = "" if self.shuffle_seed is None else f" shuffled with seed {self.shuffle_seed}"
        order += " by numpy's older generator" if self.shuffle == LEGACY else ""
        order += ", straight quotes" if self.straight_quotes else ""
        longest = "the model's context" if self.max_length is None else f"{self.max_length:,} tokens"
        if self.layout == "packed":
            rows = f"in full rows of {longest}"
            rows += ", an end-of-text token after each" if self.separator == "eot" else ""
        else:
            rows = f"in rows of at most {longest}" if self.overflow else f"one a row, cut at {longest}"
            rows += ", shorter ones left out" if self.full_rows else ""
        start = {"model": ", BOS first", "eot": ", end-of-text token first", "none": ", no BOS"}[self.bos]
        end = "" if self.tokens is None else f", until {self.tokens:,} tokens"
        only = "".join(f" with {name} {value!r}" for name, value in self.where)
        return f"{taken}{only}{order}, {rows}{start}{end}"

    def recipe(self) -> dict[str, Any]:
        """Everything that decides the rows, as JSON types; part of every artefact's key.

        What a corpus does not choose is left out, so that keys outlive new ways to choose.
        """
        plain = dataclasses.asdict(self)
        chosen = {"files": list(self.files), "labels": dict(self.labels), "where": dict(self.where)}
        unchosen = [name for name, value in chosen.items() if not value]
        later = {"shuffle": GENERATOR, "straight_quotes": False, "full_rows": False}
        unchosen += [name for name, value in later.items() if plain[name] == value]
        return {name: value for name, value in (plain | chosen).items() if name not in unchosen}
