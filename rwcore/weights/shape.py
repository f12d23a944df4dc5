"""The shape of a model: how many layers, neurons and heads, which norm, which activation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rwcore.errors import WeightsError
from rwcore.models.spec import LocalModel
from rwcore.weights.families import FAMILIES, MODEL_TYPES, Family
from rwcore.weights.sources import TensorSource, open_source
from rwcore.weights.sources.base import restore
from rwcore.weights.sources.gguf import GgufFile, GgufSource, read_header


@dataclass(frozen=True)
class ModelShape:
    """What must be known of a model to read its weights.

    Attributes:
        family: Family of the tables, a key of `FAMILIES`.
        architecture: ``model_type`` of the config, or ``general.architecture`` of a GGUF file.
        n_layers: Layers; of encoder and decoder together.
        d_model: Width of the residual stream.
        d_mlp: Neurons per layer.
        n_heads: Query heads per layer; 0 where nothing says it.
        n_kv_heads: Key and value heads per layer.
        d_head: Width of a head.
        vocab: Rows of the embedding.
        gated_mlp: Whether the MLP has a gate.
        norm: ``rms`` or ``layer``.
        activation: Name of the MLP's activation, as in the config.
        tied: Whether the unembedding is the embedding.
        n_encoder_layers: How many of the layers belong to an encoder; they come first.
        processed: Whether "as published" changes the weights: not for BERT and T5 (the papers left them
            raw) and not where norms follow the sublayers (OPT-350m).
        softcap: Soft cap of the final logits, or None.
        norm_eps: Epsilon of the norms.
    """

    family: str
    architecture: str
    n_layers: int
    d_model: int
    d_mlp: int
    n_heads: int
    n_kv_heads: int
    d_head: int
    vocab: int
    gated_mlp: bool
    norm: str
    activation: str
    tied: bool
    n_encoder_layers: int = 0
    processed: bool = True
    softcap: float | None = None
    norm_eps: float = 1e-5

    @property
    def tables(self) -> Family:
        """The family's table of names."""
        return FAMILIES[self.family]


def read_shape(local: LocalModel) -> ModelShape:
    """Shape of a model from its ``config.json``, the header of its GGUF file, or the registry.

    The registry decides where it declares ``n_heads``: for a bare state dict (Othello-GPT).

    Raises:
        WeightsError: The config is missing, invalid or incomplete, or the architecture unknown.
    """
    if local.path.suffix == ".gguf":
        return _from_gguf(read_header(local.path, restore(local)))
    return _from_folder(local)


def shape_of(local: LocalModel, source: TensorSource) -> ModelShape:
    """`read_shape` for a model that is already open: a GGUF header is not parsed twice."""
    return _from_gguf(source.header) if isinstance(source, GgufSource) else _from_folder(local, source)


class _Config:
    """Keys of a config, with errors that name the file and the key."""

    def __init__(self, values: Mapping[str, object], where: str, remedy: str) -> None:
        self.values = values
        self.where = where
        self.remedy = remedy

    def get(self, keys: tuple[str, ...]) -> object:
        return next((self.values[key] for key in keys if self.values.get(key) is not None), None)

    def integer(self, keys: tuple[str, ...], default: int | None = None) -> int:
        value = self.get(keys)
        value = default if value is None else value
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise WeightsError(
                f"the config gives no positive number for {keys[0] if keys else 'a size'}: {value!r}",
                where=f"{self.where}: {' or '.join(keys)}",
                remedy=self.remedy,
            )
        return value

    def real(self, keys: tuple[str, ...]) -> float | None:
        value = self.get(keys)
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

    def text(self, keys: tuple[str, ...], default: str) -> str:
        value = self.get(keys)
        return value if isinstance(value, str) else default

    def flag(self, key: str, default: bool) -> bool:
        value = self.values.get(key)
        return value if isinstance(value, bool) else default


def _from_folder(local: LocalModel, source: TensorSource | None = None) -> ModelShape:
    if local.spec.n_heads is not None:
        return _from_registry(local, source or open_source(local))
    path, remedy = local.path / "config.json", restore(local)
    return shape_of_config(_load(path, remedy), where=str(path), remedy=remedy, family=local.spec.family)


def shape_of_config(
    values: Mapping[str, object], *, where: str, remedy: str, family: str | None = None
) -> ModelShape:
    """Shape of a model from the contents of its ``config.json``.

    Args:
        values: The config.
        where: Where it comes from, for error messages.
        remedy: What to do about an invalid one.
        family: Family of a config that does not name its ``model_type``.

    Raises:
        WeightsError: The config is incomplete, or the architecture unknown.
    """
    outer = _Config(values, where, remedy)
    model_type = outer.text(("model_type", "architecture"), family or "")
    tables = _family(model_type, outer)
    # Vision models keep the sizes of their language model one level down.
    inner = values.get("text_config")
    given = {**values, **(inner if isinstance(inner, Mapping) else {})}
    known = {**tables.defaults, **{key: value for key, value in given.items() if value is not None}}
    return _from_config(tables, model_type, _Config(known, where, remedy))


def _load(path: Path, remedy: str) -> dict[str, object]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise WeightsError("the model folder has no config.json", where=str(path), remedy=remedy) from error
    except (OSError, ValueError) as error:
        raise WeightsError(f"config.json cannot be read: {error}", where=str(path), remedy=remedy) from error
    if not isinstance(values, dict):
        raise WeightsError("config.json is not an object", where=str(path), remedy=remedy)
    return values


def _family(model_type: str, config: _Config) -> Family:
    if model_type not in MODEL_TYPES:
        raise WeightsError(
            f"unknown architecture {model_type!r}; known families: {', '.join(FAMILIES)}",
            where=f"{config.where}: model_type",
            remedy="a new family is a table in rwcore/weights/families",
        )
    family = FAMILIES[MODEL_TYPES[model_type]]
    if family.name == "t5" and config.text(("feed_forward_proj",), "").startswith("gated"):
        return FAMILIES["t5_gated"]
    return family


def _from_config(family: Family, model_type: str, config: _Config) -> ModelShape:
    keys = family.keys
    d_model = config.integer(keys.d_model)
    n_heads = config.integer(keys.n_heads)
    layers = config.integer(keys.n_layers)
    encoder = layers if len(family.towers) > 1 else 0
    if encoder:
        layers += config.integer(("num_decoder_layers",), layers)
    ratio = family.mlp_ratio
    return ModelShape(
        family=family.name,
        architecture=model_type,
        n_layers=layers,
        d_model=d_model,
        d_mlp=config.integer(keys.d_mlp, ratio * d_model if ratio else None),
        n_heads=n_heads,
        n_kv_heads=config.integer(keys.n_kv_heads, n_heads),
        d_head=config.integer(keys.d_head, d_model // n_heads),
        vocab=config.integer(keys.vocab),
        gated_mlp=family.gated,
        norm=family.norm,
        activation=config.text(keys.activation, family.activation),
        tied=config.flag("tie_word_embeddings", family.tied),
        n_encoder_layers=encoder,
        # OPT-350m alone of its family has its norms after the sublayers.
        processed=family.processed and config.flag("do_layer_norm_before", True),
        softcap=config.real(("final_logit_softcapping",)),
        norm_eps=config.real(keys.eps) or family.eps,
    )


def _from_registry(local: LocalModel, source: TensorSource) -> ModelShape:
    """Shape of a bare state dict: declared in ``models.toml`` but for the vocabulary."""
    spec = local.spec
    family = FAMILIES.get(spec.family or "")
    if family is None or not (spec.layers and spec.d_model and spec.d_mlp and spec.n_heads):
        raise WeightsError(
            "the registry entry declares n_heads but not all of family, layers, d_model and d_mlp",
            where=f"models.toml: {spec.id}",
            remedy="declare them all, or none and add config.json to the folder",
        )
    return ModelShape(
        family=family.name,
        architecture=family.name,
        n_layers=spec.layers,
        d_model=spec.d_model,
        d_mlp=spec.d_mlp,
        n_heads=spec.n_heads,
        n_kv_heads=spec.n_heads,
        d_head=spec.d_model // spec.n_heads,
        vocab=source.shape(f"{family.embed}.weight")[0],
        gated_mlp=family.gated,
        norm=family.norm,
        activation=family.activation,
        tied=family.tied,
        processed=family.processed,
        norm_eps=family.eps,
    )


def _from_gguf(file: GgufFile) -> ModelShape:
    family = file.family
    embedding = file.tensors.get("model.embed_tokens.weight")
    config = _Config(
        {"vocab_size": embedding.shape[0] if embedding else None, **file.metadata},
        str(file.path),
        "use the model's Hugging Face folder",
    )
    d_model = config.integer(("embedding_length",))
    n_heads = config.integer(("attention.head_count",))
    return ModelShape(
        family=family.name,
        architecture=file.architecture,
        n_layers=config.integer(("block_count",)),
        d_model=d_model,
        d_mlp=config.integer(("feed_forward_length",)),
        n_heads=n_heads,
        n_kv_heads=config.integer(("attention.head_count_kv",), n_heads),
        d_head=config.integer(("attention.key_length",), d_model // n_heads),
        vocab=config.integer(("vocab_size",)),
        gated_mlp=family.gated,
        norm=family.norm,
        activation=family.activation,
        tied="lm_head.weight" not in file.tensors,
        processed=family.processed,
        softcap=config.real(("final_logit_softcapping",)),
        norm_eps=config.real(("attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon"))
        or family.eps,
    )
