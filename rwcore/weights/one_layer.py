"""One layer of a model, with some rows of its vocabulary, as a model of its own that is small and runs.

What a layer's attention makes of a table of tokens depends on that layer alone: its norms, matrices, biases
and rotation. A model that has this one layer holds all of it, and loading it costs what one layer costs. It
is written as a folder in Hugging Face format, so that it is loaded, processed and hooked by the same code as
the whole model, in every family.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from rwcore.errors import ModelError
from rwcore.models.gguf import converted, quiet_transformers
from rwcore.models.spec import FOLDER, GGUF, LocalModel
from rwcore.store import write_arrays, write_json
from rwcore.weights.reader import ModelReader, open_model
from rwcore.weights.shape import read_shape

CONFIG, WEIGHTS = "config.json", "model.safetensors"


def one_layer_model(local: LocalModel, layer: int, folder: Path, *, rows: slice = slice(0, 1)) -> LocalModel:
    """Write one layer of a model as a model with a single layer, and some rows of its vocabulary.

    The tokens of the new model are numbered from 0; a tokenizer of one word stands in for the real one.
    Tensors are copied as they are stored, so that processing finds what it finds in the whole model; only the
    centring of W_U over the vocabulary is then about the rows that are left.

    Args:
        local: The model, a decoder.
        layer: Number of the layer.
        folder: Where to; created.
        rows: Of embedding and unembedding, step 1.

    Returns:
        The new model; its ``spec`` has the id and the processing of the old one.

    Raises:
        ModelError: The model is no decoder, or transformers cannot read its configuration.
        WeightsError: Files are missing, damaged or of an unknown architecture.
        IndexError: There is no such layer, or there are no such rows.
    """
    if local.spec.source == GGUF:
        path = converted(local.path)
        local = replace(local, spec=replace(local.spec, source=FOLDER), path=path, files=())
    shape = read_shape(local)
    if shape.n_encoder_layers:
        raise ModelError(
            "a layer is asked of a model that is no decoder with one stack of layers",
            where=local.spec.id,
            remedy="use a decoder (GPT-2, Pythia, Llama, OLMo, Gemma, Qwen, …)",
        )
    if not 0 <= layer < shape.n_layers:
        raise IndexError(f"layer {layer} of a model with {shape.n_layers} layers")
    if not 0 <= rows.start < rows.stop <= shape.vocab:
        raise IndexError(f"rows {rows.start} to {rows.stop - 1} of a vocabulary of {shape.vocab}")
    folder.mkdir(parents=True, exist_ok=True)
    reader = open_model(local)
    write_arrays(folder / WEIGHTS, dict(_tensors(reader, layer, rows)))
    write_json(folder / CONFIG, _config(local, reader, layer, rows.stop - rows.start))
    _one_word(folder)
    spec = replace(local.spec, source=FOLDER)
    return LocalModel(spec, folder, local.revision, (folder / WEIGHTS,))


def _tensors(reader: ModelReader, layer: int, rows: slice) -> Iterator[tuple[str, Tensor]]:
    """Tensors of the layer under the names of the first one, and those of no layer."""
    family = reader.family
    blocks = reader.base + family.towers[0].block.partition("{")[0]
    of_layer, of_first = reader.block(layer)[1], reader.block(0)[1]
    biases = {f"{name.removesuffix('.weight')}.bias" for name in family.unembed}
    tables = {f"{reader.base}{family.embed}.weight", *family.unembed, *biases, family.unembed_bias}
    for name in sorted(reader.source.names):
        if name.startswith(of_layer):
            yield of_first + name.removeprefix(of_layer), reader.source.read(name)
        elif not name.startswith(blocks):
            values = reader.source.read(name)
            # A copy: the file may hold nothing but what is needed, and is closed before it is written.
            yield name, values[rows].clone() if name in tables else values


def _config(local: LocalModel, reader: ModelReader, layer: int, vocab: int) -> dict[str, Any]:
    """The configuration with one layer and a smaller vocabulary."""
    from transformers import AutoConfig

    try:
        with quiet_transformers():
            config: dict[str, Any] = AutoConfig.from_pretrained(local.path, local_files_only=True).to_dict()
    except Exception as error:  # configurations check themselves, each in its own way
        raise ModelError(
            f"transformers cannot read this configuration: {error}",
            where=str(local.path / CONFIG),
            remedy="fetch the model again",
        ) from error
    keys, layers = reader.family.keys, reader.shape.n_layers
    # Vision models keep the sizes of their language model one level down.
    for part in (config, config.get("text_config") or {}):
        for names, value in ((keys.n_layers, 1), (keys.vocab, vocab)):
            part.update({name: value for name in names if name in part})
        # What kind each layer is of, where windows of attention alternate.
        kinds = {name: found for name, found in part.items() if "layer" in name and isinstance(found, list)}
        part.update({name: [found[layer]] for name, found in kinds.items() if len(found) == layers})
        # Numbers of tokens that may be gone now; nothing is padded or generated here.
        part.update({name: 0 for name in part if name.endswith("_token_id") and part[name] is not None})
        # No logits are made: a soft cap of them would only be warned of, layer by layer.
        part.update({name: None for name in ("pad_token_id", "final_logit_softcapping") if name in part})
    return config


def _one_word(folder: Path) -> None:
    """A tokenizer, as models are loaded with one."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    word = "<unk>"
    tokenizer = Tokenizer(models.WordLevel({word: 0}, unk_token=word))
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=word, eos_token=word, pad_token=word, unk_token=word
    ).save_pretrained(folder)
