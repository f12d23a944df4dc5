"""Families whose MLPs have a gate: descendants of Llama."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from rwcore.weights.families.schema import Attention, Family, Keys, Tower

_LLAMA_TOWER = Tower(
    block="layers.{layer}",
    gate="mlp.gate_proj",
    in_="mlp.up_proj",
    out="mlp.down_proj",
    mlp_norm="post_attention_layernorm",
    attention=Attention(
        q="self_attn.q_proj", k="self_attn.k_proj", v="self_attn.v_proj", o="self_attn.o_proj"
    ),
    attention_norm="input_layernorm",
)
_LLAMA = Family(
    name="llama",
    model_types=("llama",),
    bases=("model.", ""),
    towers=(_LLAMA_TOWER,),
    norm="rms",
    embed="embed_tokens",
    final_norm="norm",
    gguf=("llama",),
    gguf_permuted=True,
)
_QWEN2 = replace(_LLAMA, name="qwen2", model_types=("qwen2",), gguf=("qwen2",), gguf_permuted=False)
_GEMMA = replace(
    _LLAMA,
    name="gemma",
    model_types=("gemma",),
    norm_offset=1.0,
    tied=True,
    activation="gelu_pytorch_tanh",
    # `hidden_act` of the first Gemma configs says "gelu" but was never used.
    keys=Keys(activation=("hidden_activation",)),
    defaults=MappingProxyType({"head_dim": 256}),
    gguf=("gemma",),
    gguf_permuted=False,
)
_GEMMA2 = replace(
    _GEMMA,
    name="gemma2",
    model_types=("gemma2",),
    # The norm before the MLP; `post_attention_layernorm` stands after the attention here.
    towers=(replace(_LLAMA_TOWER, mlp_norm="pre_feedforward_layernorm"),),
    gguf=("gemma2",),
)
_GEMMA3 = replace(
    _GEMMA2,
    name="gemma3",
    model_types=("gemma3", "gemma3_text"),
    bases=("model.", "language_model.model.", "model.language_model.", ""),
    unembed=("lm_head.weight", "language_model.lm_head.weight"),
    # Configs of the vision models give only what differs from these.
    defaults=MappingProxyType(
        {
            "vocab_size": 262208,
            "hidden_size": 2304,
            "intermediate_size": 9216,
            "num_hidden_layers": 26,
            "num_attention_heads": 8,
            "num_key_value_heads": 4,
            "head_dim": 256,
        }
    ),
    gguf=("gemma3",),
)
_OLMO = replace(
    _LLAMA,
    name="olmo",
    model_types=("olmo",),
    # Its LayerNorm has no parameters: nothing to fold, but it does centre.
    towers=(replace(_LLAMA_TOWER, mlp_norm=None, attention_norm=None),),
    norm="layer",
    final_norm=None,
    eps=1e-5,
    keys=Keys(eps=()),
    gguf=("olmo",),
)
_OLMO2 = replace(
    _LLAMA,
    name="olmo2",
    model_types=("olmo2",),
    # Its norms stand after attention and MLP: nothing feeds the readers that could be folded.
    towers=(replace(_LLAMA_TOWER, mlp_norm=None, attention_norm=None),),
    gguf=("olmo2",),
    gguf_permuted=False,
)

GATED = (
    _LLAMA,
    replace(_LLAMA, name="mistral", model_types=("mistral",), gguf=()),
    _QWEN2,
    replace(_QWEN2, name="qwen3", model_types=("qwen3",), gguf=("qwen3",)),
    _GEMMA,
    _GEMMA2,
    _GEMMA3,
    _OLMO,
    _OLMO2,
)
"""Families with a gate."""
