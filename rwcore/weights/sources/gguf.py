"""GGUF files, dequantised and turned back into the conventions of Hugging Face checkpoints."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rwcore.errors import WeightsError
from rwcore.weights.families import FAMILIES, GGUF_ARCHITECTURES, Family
from rwcore.weights.sources.base import damaged, no_tensor

# llama.cpp's stems → ours, for the descendants of Llama; `ffn_norm` depends on the family.
_BLOCK = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "attn_norm": "input_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "post_attention_norm": "post_attention_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
_TOP = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}


@dataclass(frozen=True)
class GgufTensor:
    """Where a tensor lies in a GGUF file.

    Attributes:
        name: Name in the file.
        offset: First byte.
        size: Bytes.
        kind: Number of the quantisation type.
        shape: Shape of the values, outermost axis first.
    """

    name: str
    offset: int
    size: int
    kind: int
    shape: tuple[int, ...]


@dataclass(frozen=True)
class GgufFile:
    """Header of a GGUF file.

    Attributes:
        path: The file.
        family: Family of the model.
        architecture: ``general.architecture``.
        metadata: Numbers and strings of the header, keys without the architecture's prefix.
        tensors: Tensors by the name a Hugging Face checkpoint gives them.
    """

    path: Path
    family: Family
    architecture: str
    metadata: Mapping[str, object]
    tensors: Mapping[str, GgufTensor]


def read_header(path: Path, remedy: str) -> GgufFile:
    """Read the header of a GGUF file; kept until the file changes, as it may hold a large vocabulary.

    Raises:
        WeightsError: The file is damaged, or of an architecture that is not read directly.
    """
    try:
        facts = path.stat()
    except OSError as error:
        raise damaged(str(path), error, remedy) from error
    return _parse(path, remedy, facts.st_size, facts.st_mtime_ns)


@lru_cache(maxsize=8)
def _parse(path: Path, remedy: str, size: int, mtime_ns: int) -> GgufFile:
    from gguf import GGUFReader, GGUFValueType

    try:
        reader = GGUFReader(path)
        scalars = {
            key: field.contents()
            for key, field in reader.fields.items()
            if field.types and field.types[0] != GGUFValueType.ARRAY
        }
        stored = [
            GgufTensor(
                name=tensor.name,
                offset=int(tensor.data_offset),
                size=int(tensor.n_bytes),
                kind=int(tensor.tensor_type),
                shape=tuple(int(n) for n in reversed(tensor.shape.tolist())),
            )
            for tensor in reader.tensors
        ]
    # The reader checks nothing: damage shows as whatever the wrong bytes lead to.
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, MemoryError, OSError) as error:
        raise damaged(str(path), f"{type(error).__name__}: {error}", remedy) from error
    architecture = str(scalars.get("general.architecture", ""))
    if architecture not in GGUF_ARCHITECTURES:
        raise WeightsError(
            f"GGUF files of architecture {architecture!r} are not read directly; "
            f"known: {', '.join(GGUF_ARCHITECTURES)}",
            where=f"{path}: general.architecture",
            remedy="use the model's Hugging Face folder",
        )
    family = FAMILIES[GGUF_ARCHITECTURES[architecture]]
    return GgufFile(
        path=path,
        family=family,
        architecture=architecture,
        metadata={key.removeprefix(f"{architecture}."): value for key, value in scalars.items()},
        tensors={hf_name(tensor.name, family): tensor for tensor in stored},
    )


def hf_name(name: str, family: Family) -> str:
    """Name of a GGUF tensor in a Hugging Face checkpoint; unknown names stay."""
    stem, _, suffix = name.rpartition(".")
    if stem in _TOP:
        return f"{_TOP[stem]}.{suffix}"
    block = stem.split(".", 2)
    if len(block) != 3 or block[0] != "blk":
        return name
    part = family.towers[0].mlp_norm if block[2] == "ffn_norm" else _BLOCK.get(block[2])
    return f"model.layers.{block[1]}.{part}.{suffix}" if part else name


class GgufSource:
    """Tensors of a GGUF file as a Hugging Face checkpoint would hold them, in float32.

    Undone are llama.cpp's own conventions: Gemma's gains are stored as ``1 + w``, and the rows of q
    and k of Llama are reordered for its rotary embedding.

    Args:
        header: What `read_header` found.
        remedy: What to do about a damaged file.
    """

    def __init__(self, header: GgufFile, *, remedy: str) -> None:
        self._header = header
        self._remedy = remedy

    @property
    def header(self) -> GgufFile:
        """The header of the file."""
        return self._header

    @property
    def names(self) -> Set[str]:
        """Names of all tensors."""
        return self._header.tensors.keys()

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor."""
        return self._stored(name).shape

    def read(self, name: str) -> Tensor:
        """A tensor, dequantised."""
        from gguf import GGMLQuantizationType
        from gguf.quants import dequantize, quant_shape_to_byte_shape

        stored = self._stored(name)
        # Read, not mapped: a map would count as memory for as long as the source lives.
        raw = np.fromfile(self._header.path, dtype=np.uint8, count=stored.size, offset=stored.offset)
        kind = GGMLQuantizationType(stored.kind)
        try:
            values = dequantize(raw.reshape(quant_shape_to_byte_shape(stored.shape, kind)), kind)
        except NotImplementedError as error:
            raise WeightsError(
                f"the quantisation {kind.name} cannot be undone", where=self.label(name), remedy=str(error)
            ) from error
        except ValueError as error:
            raise damaged(self.label(name), error, self._remedy) from error
        tensor = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)).reshape(stored.shape)
        family = self._header.family
        if family.norm_offset and name.endswith("norm.weight"):
            # Exact: where it would round, 1 + w has already been rounded to the same digits.
            return tensor - family.norm_offset
        if family.gguf_permuted and stored.name.split(".")[-2] in ("attn_q", "attn_k"):
            return _rotary_order(tensor, self._heads(stored.name))
        return tensor

    def label(self, name: str) -> str:
        """``file: tensor``, with the name the file uses."""
        stored = self._header.tensors.get(name)
        return f"{self._header.path}: {stored.name if stored else name}"

    def _stored(self, name: str) -> GgufTensor:
        if name not in self._header.tensors:
            raise no_tensor(name, self._header.path, self._remedy)
        return self._header.tensors[name]

    def _heads(self, name: str) -> int:
        key = "attention.head_count"
        heads = self._header.metadata.get(key)
        if "attn_k" in name:
            heads = self._header.metadata.get(f"{key}_kv", heads)
        if not isinstance(heads, int) or heads < 1:
            raise WeightsError(
                f"the number of heads is not a positive number: {heads!r}",
                where=f"{self._header.path}: {self._header.architecture}.{key}",
                remedy=self._remedy,
            )
        return heads


def _rotary_order(tensor: Tensor, n_heads: int) -> Tensor:
    """Rows of q or k (or their bias) from llama.cpp's order to Hugging Face's.

    llama.cpp interleaves the two halves of a head, because it rotates neighbouring pairs; Hugging Face
    rotates a dimension with the one half a head away.
    """
    pairs = tensor.reshape(n_heads, -1, 2, *tensor.shape[1:])
    return pairs.transpose(1, 2).reshape(tensor.shape)
