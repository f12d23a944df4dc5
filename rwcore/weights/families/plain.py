"""Families whose MLPs have no gate, and T5 with its gated variant."""

from __future__ import annotations

from dataclasses import replace

from rwcore.weights.families.schema import Attention, Family, Keys, Tower

_GPT2 = Family(
    name="gpt2",
    model_types=("gpt2",),
    bases=("transformer.", ""),
    towers=(
        Tower(
            block="h.{layer}",
            in_="mlp.c_fc",
            out="mlp.c_proj",
            mlp_norm="ln_2",
            attention=Attention(qkv="attn.c_attn", o="attn.c_proj"),
            attention_norm="ln_1",
        ),
    ),
    norm="layer",
    biases=True,
    embed="wte",
    position="wpe",
    final_norm="ln_f",
    conv1d=True,
    tied=True,
    keys=Keys(
        n_layers=("n_layer", "num_hidden_layers"),
        d_model=("n_embd", "hidden_size"),
        d_mlp=("n_inner",),
        n_heads=("n_head", "num_attention_heads"),
        n_kv_heads=(),
        d_head=(),
        activation=("activation_function",),
        eps=("layer_norm_epsilon",),
    ),
    mlp_ratio=4,
    activation="gelu_new",
    eps=1e-5,
)
_GPT_NEOX = Family(
    name="gpt_neox",
    model_types=("gpt_neox",),
    bases=("gpt_neox.", ""),
    towers=(
        Tower(
            block="layers.{layer}",
            in_="mlp.dense_h_to_4h",
            out="mlp.dense_4h_to_h",
            mlp_norm="post_attention_layernorm",
            attention=Attention(qkv="attention.query_key_value", o="attention.dense", interleaved=True),
            attention_norm="input_layernorm",
        ),
    ),
    norm="layer",
    biases=True,
    embed="embed_in",
    final_norm="final_layer_norm",
    unembed=("embed_out.weight",),
    keys=Keys(n_kv_heads=(), d_head=(), eps=("layer_norm_eps",)),
    activation="gelu",
    eps=1e-5,
)
_GPTJ = replace(
    _GPT2,
    name="gptj",
    model_types=("gptj",),
    towers=(
        Tower(
            block="h.{layer}",
            in_="mlp.fc_in",
            out="mlp.fc_out",
            mlp_norm="ln_1",  # one norm feeds attention and MLP
            attention=Attention(q="attn.q_proj", k="attn.k_proj", v="attn.v_proj", o="attn.out_proj"),
            attention_norm="ln_1",
        ),
    ),
    position=None,
    conv1d=False,
    tied=False,
)
_OPT = Family(
    name="opt",
    model_types=("opt",),
    bases=("model.decoder.", "decoder.", ""),
    towers=(
        Tower(
            block="layers.{layer}",
            in_="fc1",
            out="fc2",
            mlp_norm="final_layer_norm",
            attention=Attention(
                q="self_attn.q_proj", k="self_attn.k_proj", v="self_attn.v_proj", o="self_attn.out_proj"
            ),
            attention_norm="self_attn_layer_norm",
        ),
    ),
    norm="layer",
    biases=True,
    embed="embed_tokens",
    position="embed_positions",
    position_offset=2,
    final_norm="final_layer_norm",
    tied=True,
    keys=Keys(d_mlp=("ffn_dim",), n_kv_heads=(), d_head=(), activation=("activation_function",), eps=()),
    activation="relu",
    eps=1e-5,
)
_BLOOM = Family(
    name="bloom",
    model_types=("bloom",),
    bases=("transformer.", ""),
    towers=(
        Tower(
            block="h.{layer}",
            in_="mlp.dense_h_to_4h",
            out="mlp.dense_4h_to_h",
            mlp_norm="post_attention_layernorm",
            attention=Attention(
                qkv="self_attention.query_key_value", o="self_attention.dense", interleaved=True
            ),
            attention_norm="input_layernorm",
        ),
    ),
    norm="layer",
    biases=True,
    embed="word_embeddings",
    final_norm="ln_f",
    tied=True,
    keys=Keys(
        n_layers=("n_layer", "num_hidden_layers"),
        d_model=("hidden_size", "n_embed"),
        d_mlp=(),
        n_heads=("n_head", "num_attention_heads"),
        n_kv_heads=(),
        d_head=(),
        activation=(),
        eps=("layer_norm_epsilon",),
    ),
    mlp_ratio=4,
    activation="gelu_new",
    eps=1e-5,
)
_BERT = Family(
    name="bert",
    model_types=("bert",),
    bases=("bert.", ""),
    towers=(
        Tower(
            block="encoder.layer.{layer}",
            in_="intermediate.dense",
            out="output.dense",
            attention=Attention(
                q="attention.self.query",
                k="attention.self.key",
                v="attention.self.value",
                o="attention.output.dense",
            ),
        ),
    ),
    norm="layer",
    biases=True,
    embed="embeddings.word_embeddings",
    position="embeddings.position_embeddings",
    final_norm=None,
    unembed=("cls.predictions.decoder.weight",),
    unembed_bias="cls.predictions.bias",
    processed=False,
    tied=True,
    keys=Keys(n_kv_heads=(), d_head=(), eps=("layer_norm_eps",)),
    activation="gelu",
    eps=1e-12,
)


def _t5_tower(stack: str, mlp: int, *, gated: bool) -> Tower:
    block = f"{stack}.block.{{layer}}.layer"
    return Tower(
        block=block,
        gate=f"{mlp}.DenseReluDense.wi_0" if gated else None,
        in_=f"{mlp}.DenseReluDense.wi_1" if gated else f"{mlp}.DenseReluDense.wi",
        out=f"{mlp}.DenseReluDense.wo",
        mlp_norm=f"{mlp}.layer_norm",
        attention=Attention(
            q="0.SelfAttention.q", k="0.SelfAttention.k", v="0.SelfAttention.v", o="0.SelfAttention.o"
        ),
        attention_norm="0.layer_norm",
    )


_T5 = Family(
    name="t5",
    model_types=("t5",),
    bases=("",),
    towers=(_t5_tower("encoder", 1, gated=False), _t5_tower("decoder", 2, gated=False)),
    norm="rms",
    embed="shared",
    final_norm="decoder.final_layer_norm",
    processed=False,
    tied=True,
    keys=Keys(
        n_layers=("num_layers",),
        d_model=("d_model",),
        d_mlp=("d_ff",),
        n_heads=("num_heads",),
        n_kv_heads=(),
        d_head=("d_kv",),
        activation=("dense_act_fn",),
        eps=("layer_norm_epsilon",),
    ),
    activation="relu",
)
_T5_GATED = replace(
    _T5,
    name="t5_gated",
    model_types=(),  # T5 v1.1 shares T5's model_type; its config says `feed_forward_proj = "gated-…"`
    towers=(_t5_tower("encoder", 1, gated=True), _t5_tower("decoder", 2, gated=True)),
    tied=False,
    activation="gelu_new",
)
_MINGPT = Family(
    name="mingpt",
    model_types=("mingpt",),
    bases=("",),
    towers=(
        Tower(
            block="blocks.{layer}",
            in_="mlp.0",
            out="mlp.2",
            mlp_norm="ln2",
            attention=Attention(q="attn.query", k="attn.key", v="attn.value", o="attn.proj"),
            attention_norm="ln1",
        ),
    ),
    norm="layer",
    biases=True,
    embed="tok_emb",
    position="pos_emb",
    final_norm="ln_f",
    unembed=("head.weight",),
    keys=Keys(
        n_layers=("n_layers", "n_layer"),
        d_model=("d_model", "n_embd"),
        d_mlp=("d_mlp",),
        n_heads=("n_heads", "n_head"),
        n_kv_heads=(),
        d_head=("d_head",),
        vocab=("d_vocab", "vocab_size"),
        activation=("act_fn",),
        eps=("eps",),
    ),
    mlp_ratio=4,
    activation="gelu",
    eps=1e-5,
)

PLAIN = (_GPT2, _GPT_NEOX, _GPTJ, _OPT, _BLOOM, _BERT, _T5, _T5_GATED, _MINGPT)
"""Families without a gate, and the gated T5."""
