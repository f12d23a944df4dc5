"""Models that run: a ``TransformerBridge`` over a local Hugging Face folder or a ``.gguf`` file.

The only module that imports transformer_lens, and only inside functions: the import takes seconds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

import torch

from rwcore.errors import ModelError, WeightsError
from rwcore.models.gguf import check_complete, converted, quiet_transformers
from rwcore.models.spec import GGUF, LocalModel
from rwcore.models.vocabulary import read_tokenizer

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

# Their published numbers rest on weights as stored. Of BERT, compatibility mode would centre the writing
# weights only; of T5 it finds no `.blocks`.
UNPROCESSED = ("bert", "t5")


def load_bridge(
    local: LocalModel,
    device: str = "cpu",
    *,
    dtype: torch.dtype = torch.float32,
    compatibility: bool = True,
) -> TransformerBridge:
    """Load a model for running with hooks.

    Everything is read from this machine; the network is not touched. Queries, keys and values are clamped
    where the config says so, unless ``local.spec.clip_qkv`` forbids it. Attention is computed eagerly, so
    that hooks see patterns. The bridge's tokenizer prepends a BOS token where there is one; use an
    explicit policy for special tokens.

    Args:
        local: The model; a GGUF file is converted once, to a folder in the cache.
        device: ``cpu`` or ``cuda:i`` (see `rwcore.models.device.pick_device`).
        dtype: Type of the parameters.
        compatibility: Apply the published weight processing (norm scales folded, reading and writing
            weights and unembedding centred where the norm centres) and the usual hook names. Without
            it, the parameters are the stored ones. BERT, T5 and models registered as ``raw`` are never
            processed; T5 has no ``.blocks`` either way.

    Raises:
        ModelError: transformers or the bridge does not know the architecture, or a tokenizer is missing.
        WeightsError: Weights are missing, damaged or of the wrong shape.
    """
    folder = converted(local.path) if local.spec.source == GGUF else local.path
    config = _read_config(folder, local)
    with quiet_transformers():
        model = _hf_model(folder, config, dtype, clip_qkv=local.spec.clip_qkv).to(device)
        tokenizer = read_tokenizer(folder)
        from transformer_lens.model_bridge import TransformerBridge

        try:
            bridge = TransformerBridge.boot_transformers(
                str(folder), hf_model=model, tokenizer=tokenizer, device=device, dtype=dtype
            )
        except (ValueError, NotImplementedError, AttributeError, KeyError) as error:
            raise ModelError(
                f"TransformerBridge cannot wrap models of type {config['model_type']!r}: {error}",
                where=str(folder / "config.json"),
                remedy="weight statistics do not need it; for activations a supported architecture is needed",
            ) from error
        bridge.cfg.model_name = local.spec.id  # not the path of this machine
        if compatibility:
            raw = local.spec.processing == "raw" or config["model_type"] in UNPROCESSED
            bridge.enable_compatibility_mode(disable_warnings=True, no_processing=raw)
    return bridge


def native_bridge(config: Mapping[str, Any], seed: int) -> TransformerBridge:
    """A small model with random weights that a seed decides, without files and without a tokenizer.

    Args:
        config: Fields of ``TransformerBridgeConfig``: ``n_layers``, ``d_model``, ``n_heads``, ``d_head``,
            ``d_mlp``, ``n_ctx``, ``d_vocab``, ``act_fn``, ``gated_mlp``, ``normalization_type``, …
        seed: Decides the weights; the global random state is neither read nor changed.
    """
    from transformer_lens.model_bridge import TransformerBridge

    return TransformerBridge.boot_native({**config, "seed": seed})


def _read_config(folder: Path, local: LocalModel) -> dict[str, Any]:
    """The folder's config.json, which must name a type that transformers knows without remote code."""
    file = folder / "config.json"
    try:
        config: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except ValueError as error:
        raise ModelError(
            f"config.json is not JSON: {error}", where=str(file), remedy="fetch the model again"
        ) from error
    from transformers import CONFIG_MAPPING

    kind = config.get("model_type")
    if kind not in CONFIG_MAPPING:
        raise ModelError(
            f"{local.spec.id} cannot be run: transformers does not know the model type {kind!r}"
            + (", and code from repositories is never run" if "auto_map" in config else ""),
            where=f"{file}: model_type",
            remedy="weight statistics may still work (`rwcore weights`); activations need a known type",
        )
    return config


def _hf_model(folder: Path, config: Mapping[str, Any], dtype: torch.dtype, *, clip_qkv: bool) -> Any:
    """The transformers model with its language-model head, with every parameter read from the folder."""
    import transformers
    from safetensors import SafetensorError

    try:
        built = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # configurations check themselves, each in its own way
        raise ModelError(
            f"transformers cannot read this configuration: {error}",
            where=str(folder / "config.json"),
            remedy="fetch the model again",
        ) from error
    if not clip_qkv and getattr(built, "clip_qkv", None) is not None:
        built.clip_qkv = None
    if config.get("is_encoder_decoder"):
        auto = transformers.AutoModelForSeq2SeqLM
    elif any(name.endswith("ForMaskedLM") for name in config.get("architectures") or ()):
        auto = transformers.AutoModelForMaskedLM
    else:
        auto = transformers.AutoModelForCausalLM
    try:
        model, info = auto.from_pretrained(
            folder,
            config=built,
            dtype=dtype,
            attn_implementation="eager",
            local_files_only=True,
            output_loading_info=True,
        )
    except UnpicklingError as error:
        # The original message tells how to run the code; we never do.
        raise WeightsError(
            "the weights are pickled with code in them, which is never run",
            where=str(folder),
            remedy="use a safetensors version of this model",
        ) from error
    except (SafetensorError, RuntimeError, OSError, EOFError) as error:
        raise WeightsError(
            f"the weights cannot be loaded: {error}",
            where=str(folder),
            remedy="fetch the model again; if it stays, config.json does not belong to these weights",
        ) from error
    except (ValueError, KeyError) as error:
        raise ModelError(
            f"transformers has no language model for this configuration: {error}",
            where=str(folder / "config.json"),
            remedy="weight statistics may still work (`rwcore weights`)",
        ) from error
    check_complete(info, str(folder))
    return model.eval()
