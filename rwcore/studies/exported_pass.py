"""A pass in the folder that ``rwcore activations --out`` has written, in place of one in the store."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from jaxtyping import Int8
from torch import Tensor

from rwcore.activations.artefact import MANIFEST as PASS_MANIFEST
from rwcore.activations.artefact import Activations, load
from rwcore.activations.merge import missing_shards
from rwcore.activations.top import EMPTY
from rwcore.corpora.tokens import TokenCorpus
from rwcore.errors import OptionError, StoreError
from rwcore.store import MANIFEST, hash_file, read_arrays, read_json
from rwcore.studies.activation_export import SCHEMA, SHARD_SCHEMA
from rwcore.studies.activations import SIGNS, PassOptions, PassStudy
from rwcore.studies.weights import WeightStudy

AGAIN = "run `rwcore activations` again with this --out"


@dataclass(frozen=True)
class ExportedPass(PassStudy):
    """A pass that was computed before, by whomever; see `exported_pass`.

    Attributes:
        folder: The folder of the export.
        measured: What the pass has measured, gate signs not folded.
    """

    folder: Path = field(kw_only=True)
    measured: Activations = field(kw_only=True, repr=False)

    @property
    def unfolded(self) -> Activations:
        """Statistics on weights whose gate signs are not folded: what the pass has measured."""
        return self.measured

    @cached_property
    def signs(self) -> Int8[Tensor, "layer neuron"]:
        """The sign of cos(gate, in) of every neuron, which folding makes positive."""
        return read_arrays(self.folder / SIGNS)["sign"]

    @property
    def provenance(self) -> dict[str, object]:
        """What produced the statistics."""
        return dict(read_json(self.folder / MANIFEST)["provenance"]["pass"])


def exported_pass(weights: WeightStudy, folder: Path, options: PassOptions | None = None) -> ExportedPass:
    """The pass in a folder, checked: whole, of this model, of the corpus beside it, and with lists.

    Args:
        weights: The weight study of the model the pass is asked for.
        folder: What ``rwcore activations --out`` named.
        options: How the model is run where it has to run again: device, threads, shards and checkpoints. What
            decides numbers (type, batches, length of the lists) is taken from the pass.

    Raises:
        StoreError: The folder is missing, holds no export, only a part of a pass, or is incomplete or
            damaged; the pass is of another model, or the corpus beside it is not the one it saw. The message
            has each difference.
        OptionError: The pass kept no lists.
    """
    folder = folder.expanduser().resolve()
    _check_export(folder)
    found = load(folder)
    if missing_shards(found):
        raise _only_a_part(folder)
    if found.k == 0:
        raise OptionError(
            "the pass kept no texts: its lists have length 0",
            where=str(folder),
            remedy="run `rwcore activations` with --top 16",
        )
    _check_model(found, weights, folder)
    corpus = TokenCorpus.load(folder)
    _check_corpus(found, corpus, folder)
    options = replace(
        options or PassOptions(),
        k=found.k,
        dtype=_field(found, "dtype", folder),
        token_budget=_field(found, "token_budget", folder),
    )
    return ExportedPass(weights, corpus, options, folder=folder, measured=found)


def _check_export(folder: Path) -> None:
    """Whether the folder is a whole export with the files that were written."""
    if not folder.is_dir():
        raise StoreError(
            "there is no such folder",
            where=str(folder),
            remedy="name what `rwcore activations --out` has written",
        )
    manifest = read_json(folder / MANIFEST) if (folder / MANIFEST).is_file() else None
    schema = manifest.get("schema") if isinstance(manifest, dict) else None
    if schema == SHARD_SCHEMA:
        raise _only_a_part(folder)
    if schema != SCHEMA:
        reason = f"its manifest says {schema!r}, not {SCHEMA!r}" if schema else f"it has no {MANIFEST} of one"
        raise StoreError(
            f"the folder holds no pass over a text: {reason}",
            where=str(folder),
            remedy="name what `rwcore activations --out` has written",
        )
    assert isinstance(manifest, dict)
    listed = {str(entry.get("name")): entry for entry in manifest.get("files", []) if isinstance(entry, dict)}
    needed = {PASS_MANIFEST, SIGNS, *(name for name in listed if name.startswith("layer_"))}
    missing = sorted(name for name in needed if name not in listed or not (folder / name).is_file())
    if missing or not manifest.get("complete"):
        raise StoreError(
            "the export is not complete" + (f": {missing[0]} is missing" if missing else ""),
            where=str(folder),
            remedy=AGAIN,
        )
    # Layers and tokens are checked against their own hashes when they are read.
    for name in (PASS_MANIFEST, SIGNS):
        if hash_file(folder / name) != listed[name].get("sha256"):
            raise StoreError(
                "the file is not the one that was written", where=str(folder / name), remedy=AGAIN
            )


def _only_a_part(folder: Path) -> StoreError:
    return StoreError(
        "this is one part of a pass only",
        where=str(folder),
        remedy="put all parts together with `rwcore activations --merge`, and name the result",
    )


def _check_model(found: Activations, weights: WeightStudy, folder: Path) -> None:
    """Whether the pass was made of this model; its name does not matter where its content is the same."""
    was, now = _field(found, "model", folder), weights.local.identity()
    pairs = {
        name: (was.get(name), value) for name, value in now.items() if was.get("content") != now["content"]
    }
    pairs["processing"] = (_field(found, "processing", folder), weights.processing)
    # Named where it is off only, see `rwcore.studies.forward.model_fields`.
    clipped = (
        "off" if "clip_qkv" in found.identity else "on",
        "on" if weights.local.spec.clip_qkv else "off",
    )
    pairs["clip_qkv"] = clipped
    differences = [f"{name}: {old} → {new}" for name, (old, new) in pairs.items() if old != new]
    if differences:
        raise StoreError(
            f"the pass was not made of {weights.local.spec.id} as asked for: " + "; ".join(differences),
            where=str(folder),
            remedy="name the model and processing it was made of, or run `rwcore activations` on this one",
        )


def _check_corpus(found: Activations, corpus: TokenCorpus, folder: Path) -> None:
    """Whether the rows in the folder are those the pass has seen."""
    facts = {
        "corpus": (_field(found, "corpus", folder), corpus.content_hash),
        "tokenizer": (_field(found, "tokenizer", folder), corpus.tokenizer_hash),
        "tokens": (found.tokens, corpus.n_tokens),
        "rows": (found.rows, len(corpus)),
    }
    differences = [f"{name}: {old} → {new}" for name, (old, new) in facts.items() if old != new]
    if differences:
        raise StoreError(
            "the text in the folder is not the one the pass has read: " + "; ".join(differences),
            where=str(folder),
            remedy=AGAIN,
        )
    for missing in _missing_documents(found, corpus):
        raise StoreError(f"a missing document: {missing}", where=str(folder), remedy=AGAIN)


def _missing_documents(found: Activations, corpus: TokenCorpus) -> Iterator[str]:
    """Places in the lists that the corpus does not have."""
    for number, layer in enumerate(found.layers):
        rows, positions = layer.top.rows, layer.top.positions
        there = rows != EMPTY
        inside = rows < len(corpus)
        short = inside & (positions >= corpus.lengths[rows.clamp(0, len(corpus) - 1)])
        for bad in (there & (~inside | short | (positions < 0))).nonzero().tolist():
            row, position = int(rows[tuple(bad)]), int(positions[tuple(bad)])
            yield (
                f"a list of neuron {number}.{bad[1]} has position {position} of row {row}, and the text has "
                + (f"{int(corpus.lengths[row])} tokens there" if row < len(corpus) else f"{len(corpus)} rows")
            )


def _field(found: Activations, name: str, folder: Path) -> Any:
    """A field of what identifies the pass."""
    try:
        return json.loads(found.identity[name])
    except (KeyError, ValueError) as error:
        raise StoreError(
            f"the pass does not say {name}", where=str(folder / PASS_MANIFEST), remedy=AGAIN
        ) from error
