"""What a family of models is: the columns of the tables in this folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True)
class Attention:
    """Names of the attention projections of a block.

    Like all names of tensors in the tables these are *stems*: ``.weight`` and ``.bias`` are added
    where they are read.

    Attributes:
        o: Output projection.
        q: Query projection, or None where the three are fused.
        k: Key projection.
        v: Value projection.
        qkv: Fused projection.
        interleaved: Rows of the fused projection: ``(head 3 d_head)`` where true, ``(3 head d_head)`` else.
    """

    o: str
    q: str | None = None
    k: str | None = None
    v: str | None = None
    qkv: str | None = None
    interleaved: bool = False


@dataclass(frozen=True)
class Tower:
    """A stack of equal blocks.

    Attributes:
        block: Stem of a block below the base, with ``{layer}``.
        in_: Input ("up") projection of the MLP.
        out: Output projection of the MLP.
        gate: Gate projection, or None.
        mlp_norm: Norm that feeds the MLP; None where it has no parameters or stands elsewhere.
        attention: Names of the attention projections.
        attention_norm: Norm that feeds the attention; None as for ``mlp_norm``.
    """

    block: str
    in_: str
    out: str
    attention: Attention
    gate: str | None = None
    mlp_norm: str | None = None
    attention_norm: str | None = None


@dataclass(frozen=True)
class Keys:
    """Names of ``config.json`` keys, alternatives in order of preference."""

    n_layers: tuple[str, ...] = ("num_hidden_layers",)
    d_model: tuple[str, ...] = ("hidden_size",)
    d_mlp: tuple[str, ...] = ("intermediate_size",)
    n_heads: tuple[str, ...] = ("num_attention_heads",)
    n_kv_heads: tuple[str, ...] = ("num_key_value_heads",)
    d_head: tuple[str, ...] = ("head_dim",)
    vocab: tuple[str, ...] = ("vocab_size",)
    activation: tuple[str, ...] = ("hidden_act",)
    eps: tuple[str, ...] = ("rms_norm_eps",)


@dataclass(frozen=True)
class Family:
    """How the weights of one family of models are stored and processed.

    Attributes:
        name: Name of the family.
        model_types: Values of ``model_type`` in ``config.json`` that belong to it.
        bases: Prefixes under which the tensors may be stored; some checkpoints lack the outer one.
        towers: Block stacks in analysis order: the encoder first.
        norm: ``rms`` or ``layer``.
        embed: Token embedding.
        final_norm: Norm before the unembedding; None where it has no parameters or there is none.
        unembed: Full names the unembedding may have.
        position: Learned position embedding, or None.
        position_offset: Leading rows of the position table that no position uses.
        unembed_bias: Full name of an unembedding bias that does not lie beside its weight.
        norm_offset: What is added to a stored norm gain before it is applied (Gemma: 1).
        biases: Whether the MLP has input biases.
        processed: Whether "as published" folds and centres; BERT and T5 were left raw.
        conv1d: Whether matrices are stored ``[in, out]`` (GPT-2's Conv1D) instead of ``[out, in]``.
        tied: Whether the unembedding is the embedding where the config does not say.
        keys: Names of the config keys.
        defaults: Values of config keys that old configs leave out.
        mlp_ratio: ``d_mlp / d_model`` where the config does not give ``d_mlp``.
        activation: Activation where the config does not give one.
        eps: Epsilon of the norms where the config does not give one.
        gguf: Architecture names in GGUF files, or empty where GGUF is not read directly.
        gguf_permuted: Whether llama.cpp stores the rows of q and k in its own rotary order.
    """

    name: str
    model_types: tuple[str, ...]
    bases: tuple[str, ...]
    towers: tuple[Tower, ...]
    norm: str
    embed: str
    final_norm: str | None
    unembed: tuple[str, ...] = ("lm_head.weight",)
    position: str | None = None
    position_offset: int = 0
    unembed_bias: str | None = None
    norm_offset: float = 0.0
    biases: bool = False
    processed: bool = True
    conv1d: bool = False
    tied: bool = False
    keys: Keys = Keys()
    defaults: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    mlp_ratio: int | None = None
    activation: str = "silu"
    eps: float = 1e-6
    gguf: tuple[str, ...] = ()
    gguf_permuted: bool = False

    @property
    def gated(self) -> bool:
        """Whether the MLP has a gate."""
        return self.towers[0].gate is not None
