"""The residual stream of a model on a few tokens, with one layer's weights in memory at a time."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from rwcore.errors import ModelError, WeightsError
from rwcore.models.gguf import check_complete, converted, quiet_transformers
from rwcore.models.spec import GGUF, LocalModel

_CONFIGS = ("config.json", "generation_config.json")
_VOCABULARIES = ("tokenizer.json", "tokenizer.model", "vocab.json", "spiece.model")

# Where checkpoints of vision models keep their language model.
_OUTER = ("language_model.model.", "model.language_model.")


def bos_token(local: LocalModel) -> int:
    """The token a text begins with.

    The first that is declared of: the tokenizer's BOS token, ``bos_token_id`` in ``config.json`` or
    ``generation_config.json``, and the end-of-sequence token from the same three places, in that order. The
    last resort is what the papers' loader does for tokenizers without a BOS token, such as OLMo's.

    Args:
        local: The model.

    Raises:
        ModelError: None is declared.
    """
    folder = _folder(local)
    tokenizer = _tokenizer(folder)
    configs = [_json(folder / name) for name in _CONFIGS]
    for name in ("bos_token_id", "eos_token_id"):
        for found in (getattr(tokenizer, name, None), *(config.get(name) for config in configs)):
            # A model may end in several ways; the first is the tokenizer's own.
            token = found[0] if isinstance(found, list) and found else found
            if isinstance(token, int) and not isinstance(token, bool) and token >= 0:
                return token
    raise ModelError(
        f"neither the tokenizer nor the configuration of {local.spec.id} names a first token",
        where=str(folder / _CONFIGS[0]) + ": bos_token_id",
        remedy="name the token yourself (--bos ID), or leave out what needs it (--no-attention)",
    )


def residual_stream(
    local: LocalModel, tokens: Int[Tensor, " pos"], device: str = "cpu"
) -> Float[Tensor, "layer_plus_1 pos d_model"]:
    """What enters every layer of a model, and what leaves the last one, before the final norm.

    The forward pass is that of transformers, in float32. A layer's weights are read from the safetensors
    files when its turn comes and dropped behind it; only the embeddings stay. Weights in another format are
    loaded whole.

    Args:
        local: The model.
        tokens: One sequence.
        device: Where it runs.

    Returns:
        On the CPU.

    Raises:
        ModelError: transformers does not know the architecture, or it is not one stack of layers.
        WeightsError: Weights are missing, damaged or of the wrong shape.
    """
    folder = _folder(local)
    config = _config(folder, local)
    files = [file for file in local.files if file.suffix == ".safetensors"] or [*folder.glob("*.safetensors")]
    with quiet_transformers(), torch.no_grad():
        model = _without_weights(config) if files else _whole(config, folder)
        prefix, layers = _stack(model, config, folder)
        stored = _Stored(model, sorted(files), folder) if files else None
        if stored is not None:
            stored.fill([name for name in stored.parameters if not name.startswith(f"{prefix}.")], device)
        for module in model.modules():
            for name, buffer in module.named_buffers(recurse=False):
                setattr(module, name, buffer.to(device))
        entering = _watched(layers, prefix, stored, device)
        model.eval()(input_ids=tokens.to(device)[None], use_cache=False)
    return torch.stack([state[0].to("cpu", torch.float32) for state in entering])


def _folder(local: LocalModel) -> Path:
    return converted(local.path) if local.spec.source == GGUF else local.path


def _json(file: Path) -> dict[str, Any]:
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _tokenizer(folder: Path) -> Any:
    """The tokenizer, or None: without one the configuration decides."""
    # Where there are no files transformers makes a tokenizer up, with a first token of its own.
    if not any((folder / name).is_file() for name in _VOCABULARIES):
        return None
    from transformers import AutoTokenizer

    try:
        with quiet_transformers():
            return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception:  # the tokenizers library raises a bare Exception for a damaged file
        return None


def _config(folder: Path, local: LocalModel) -> Any:
    """The configuration of the language model, which must be one stack of decoder layers."""
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True).get_text_config(decoder=True)
    except Exception as error:  # configurations check themselves, each in its own way
        raise ModelError(
            f"transformers cannot run {local.spec.id}: {error}",
            where=str(folder / _CONFIGS[0]),
            remedy="leave out what needs a forward pass (--no-attention)",
        ) from error
    masked = any(name.endswith("ForMaskedLM") for name in config.architectures or ())
    if config.is_encoder_decoder or masked:
        raise ModelError(
            f"{local.spec.id} is not a decoder: no first token is seen by all later ones",
            where=str(folder / _CONFIGS[0]),
            remedy="leave out what needs a forward pass (--no-attention)",
        )
    return config


def _without_weights(config: Any) -> nn.Module:
    """The model without its language-model head and without numbers: parameters have shapes only."""
    from accelerate import init_empty_weights
    from transformers import AutoModel

    # Buffers (rotary frequencies, masks) are no weights: they are computed from the configuration.
    with init_empty_weights(include_buffers=False):
        model: nn.Module = AutoModel.from_config(config, dtype=torch.float32, attn_implementation="eager")
    return model


def _whole(config: Any, folder: Path) -> nn.Module:
    """The model with its weights, whatever their format."""
    from transformers import AutoModel

    try:
        model, info = AutoModel.from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            attn_implementation="eager",
            local_files_only=True,
            output_loading_info=True,
        )
    # Pickled code is refused with an UnpicklingError, damage shows as whatever the wrong bytes lead to.
    except Exception as error:
        raise WeightsError(
            f"the weights cannot be loaded: {error}", where=str(folder), remedy="fetch the model again"
        ) from error
    check_complete(info, str(folder))
    loaded: nn.Module = model
    return loaded


def _stack(model: nn.Module, config: Any, folder: Path) -> tuple[str, nn.ModuleList]:
    """The layers of the model, and their name in it."""
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == config.num_hidden_layers:
            return name, module
    raise ModelError(
        f"transformers' {type(model).__name__} holds no list of {config.num_hidden_layers} layers",
        where=str(folder),
        remedy="leave out what needs a forward pass (--no-attention)",
    )


class _Stored:
    """The parameters of a model in its safetensors files, read and dropped by name."""

    def __init__(self, model: nn.Module, files: Sequence[Path], folder: Path) -> None:
        self._model = model
        self.parameters = {name: tuple(values.shape) for name, values in model.named_parameters()}
        base = str(getattr(model, "base_model_prefix", ""))
        self._places: dict[str, tuple[Path, str]] = {}
        for file in files:
            with _opened(file) as source:
                for stored in source.keys():  # noqa: SIM118 (no dictionary)
                    for prefix in ("", f"{base}.", *_OUTER):
                        name = stored.removeprefix(prefix)
                        if stored.startswith(prefix) and name in self.parameters:
                            self._places[name] = (file, stored)
        missing = sorted(self.parameters.keys() - self._places.keys())
        if missing:
            raise WeightsError(
                f"{len(missing)} parameters are missing, the first is {missing[0]}",
                where=str(folder),
                remedy="fetch the model again; if it stays, config.json does not belong to these weights",
            )

    def fill(self, names: Iterable[str], device: str) -> None:
        """Read parameters into the model."""
        by_file: dict[Path, list[str]] = {}
        for name in names:
            by_file.setdefault(self._places[name][0], []).append(name)
        for file, wanted in by_file.items():
            # Opened anew each time: pages of a mapped file count as memory until it is closed.
            with _opened(file) as source:
                for name in wanted:
                    values = source.get_tensor(self._places[name][1])
                    self._check(name, values)
                    self._set(name, values.to(device, torch.float32, copy=True))

    def drop(self, names: Iterable[str]) -> None:
        """Leave nothing of these parameters but their shapes."""
        for name in names:
            self._set(name, torch.empty(self.parameters[name], device="meta"))

    def _set(self, name: str, values: Tensor) -> None:
        owner, _, leaf = name.rpartition(".")
        setattr(self._model.get_submodule(owner), leaf, nn.Parameter(values, requires_grad=False))

    def _check(self, name: str, values: Tensor) -> None:
        file, stored = self._places[name]
        if tuple(values.shape) != self.parameters[name] or not values.is_floating_point():
            raise WeightsError(
                f"the tensor is {values.dtype} of shape {list(values.shape)}, the config says floating-point "
                f"numbers of shape {list(self.parameters[name])}",
                where=f"{file}: {stored}",
                remedy="use the unquantised checkpoint that belongs to this config.json",
            )


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as source:
            yield source
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"the file cannot be read: {error}", where=str(file), remedy="fetch the model again"
        ) from error


def _watched(layers: nn.ModuleList, prefix: str, stored: _Stored | None, device: str) -> list[Tensor]:
    """A list that a forward pass fills with what enters each layer and leaves the last one."""
    seen: list[Tensor] = []

    def attach(place: int, layer: nn.Module) -> None:
        inside = [f"{prefix}.{place}.{name}" for name, _ in layer.named_parameters()]

        def before(_: nn.Module, words: tuple[Any, ...], named: dict[str, Any]) -> None:
            if stored is not None:
                stored.fill(inside, device)
            seen.append(words[0] if words else named["hidden_states"])

        def after(_: nn.Module, __: object, output: Any) -> None:
            if stored is not None:
                stored.drop(inside)
            if place == len(layers) - 1:
                seen.append(output[0] if isinstance(output, tuple) else output)

        layer.register_forward_pre_hook(before, with_kwargs=True)
        layer.register_forward_hook(after)

    for place, layer in enumerate(layers):
        attach(place, layer)
    return seen
