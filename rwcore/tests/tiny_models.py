"""Tiny models on disk for the tests of `rwcore.models`: a Llama folder and the same model as a GGUF file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch

# 40 words and a width of 32: the bridge tells the axes of an unembedding apart by their sizes.
WORDS = [f"w{number}" for number in range(36)] + ["<unk>", "<s>", "</s>", "<pad>"]
UNK, BOS, EOS, PAD = range(36, 40)
# A byte-pair vocabulary must hold the parts of its merges.
PAIRS = ["ab", "abc", "a", "b", "c", *WORDS[5:]]
SHAPE = {
    "vocab_size": len(WORDS),
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "bos_token_id": BOS,
    "eos_token_id": EOS,
    "pad_token_id": PAD,
}


def word_tokenizer() -> Any:
    """A tokenizer whose tokens are words between spaces; it adds no special token by itself."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: number for number, word in enumerate(WORDS)}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=words, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )


def randomise(model: Any, seed: int = 0) -> Any:
    """Give a model weights that a test cannot confuse: norm gains away from 1, biases away from 0."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(1 + 0.3 * noise if "norm" in name and "weight" in name else 0.3 * noise)
    return model.eval()


def tiny_llama(**changes: Any) -> Any:
    """A Llama with two layers, in memory."""
    from transformers import LlamaConfig, LlamaForCausalLM

    return randomise(LlamaForCausalLM(LlamaConfig(**{**SHAPE, **changes})))


def save(model: Any, folder: Path) -> Path:
    """Save a model and the word tokenizer in Hugging Face format."""
    model.save_pretrained(folder)
    word_tokenizer().save_pretrained(folder)
    return folder


# Llama's tensor names in GGUF files.
_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def _gguf_name(name: str) -> str:
    fixed = {
        "model.embed_tokens.weight": "token_embd.weight",
        "model.norm.weight": "output_norm.weight",
        "lm_head.weight": "output.weight",
    }
    if name in fixed:
        return fixed[name]
    _, _, layer, *middle, kind = name.split(".")
    return f"blk.{layer}.{_NAMES['.'.join(middle)]}.{kind}"


def _permuted(weight: np.ndarray, heads: int) -> np.ndarray:
    """Rows of a query or key matrix in the order llama.cpp stores them: rotary pairs side by side."""
    shape = weight.shape
    return weight.reshape(heads, 2, shape[0] // heads // 2, *shape[1:]).swapaxes(1, 2).reshape(shape)


def write_gguf(
    path: Path,
    model: Any,
    *,
    architecture: str = "llama",
    leave_out: str | None = None,
    tokenizer: bool = True,
    mlp_type: gguf.GGMLQuantizationType | None = None,
) -> Path:
    """Write a Llama as a GGUF file, as llama.cpp's converter would.

    Args:
        path: The file.
        model: From `tiny_llama`.
        architecture: The name of the architecture the file claims.
        leave_out: GGUF name of a tensor to leave out.
        tokenizer: Whether to write a tokenizer.
        mlp_type: Quantisation of the MLP matrices; None keeps float32.
    """
    config = model.config
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name("tiny")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_vocab_size(config.vocab_size)
    if tokenizer:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("default")
        writer.add_token_list(PAIRS)
        writer.add_token_types([gguf.TokenType.NORMAL] * 36 + [gguf.TokenType.CONTROL] * 4)
        writer.add_token_merges(["a b", "ab c"])
        writer.add_bos_token_id(BOS)
        writer.add_eos_token_id(EOS)
        writer.add_unk_token_id(UNK)
        writer.add_pad_token_id(PAD)
    for name, parameter in model.state_dict().items():
        data = parameter.numpy()
        if "q_proj" in name:
            data = _permuted(data, config.num_attention_heads)
        if "k_proj" in name:
            data = _permuted(data, config.num_key_value_heads)
        stored = _gguf_name(name)
        if stored == leave_out:
            continue
        if mlp_type is not None and "mlp" in name:
            writer.add_tensor(stored, gguf.quantize(data, mlp_type), raw_dtype=mlp_type)
        else:
            writer.add_tensor(stored, np.ascontiguousarray(data))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
