"""MLP weights read from files against a slow reference that knows each checkpoint's names by heart."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import weakref
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.testing import assert_close

from fixtures.gguf_files import write_gguf
from fixtures.tiny import FAMILIES, build, local_model
from rwcore.benchmarks.reference import weights as reference
from rwcore.errors import NotGatedError, OptionError
from rwcore.weights.families import FAMILIES as TABLES
from rwcore.weights.mlp import MlpLayer, MlpWeights, mlp_weights

State = dict[str, Tensor]


class Expected(NamedTuple):
    """What a checkpoint stores for layer 1, as [neuron d_model], and how the paper processed it."""

    gate: Tensor | None
    in_: Tensor
    out: Tensor
    b_in: Tensor | None = None
    b_out: Tensor | None = None
    gain: Tensor | None = None
    shift: Tensor | None = None
    centre: bool = False


def llama(s: State, norm: str | None = "post_attention_layernorm", offset: float = 0) -> Expected:
    p = "model.layers.1."
    gain = s[f"{p}{norm}.weight"] + offset if norm else None
    names = (f"{p}mlp.{name}_proj.weight" for name in ("gate", "up", "down"))
    gate, up, down = (s[name] for name in names)
    return Expected(gate, up, down.T, gain=gain)


def plain(s: State, in_: str, out: str, norm: str) -> Expected:
    return Expected(
        None, s[f"{in_}.weight"], s[f"{out}.weight"].T, s[f"{in_}.bias"], s[f"{out}.bias"],
        s[f"{norm}.weight"], s[f"{norm}.bias"], centre=True,
    )  # fmt: skip


def gpt2(s: State) -> Expected:
    p = "transformer.h.1."
    got = plain(s, f"{p}mlp.c_fc", f"{p}mlp.c_proj", f"{p}ln_2")
    return got._replace(in_=got.in_.T, out=got.out.T)  # Conv1D


def bert(s: State) -> Expected:
    p = "bert.encoder.layer.1."
    i, o = f"{p}intermediate.dense", f"{p}output.dense"
    return Expected(None, s[f"{i}.weight"], s[f"{o}.weight"].T, s[f"{i}.bias"], s[f"{o}.bias"])


def t5(s: State, *, gated: bool = False) -> Expected:
    p = "encoder.block.1.layer.1.DenseReluDense."
    gate = s[f"{p}wi_0.weight"] if gated else None
    return Expected(gate, s[f"{p}{'wi_1' if gated else 'wi'}.weight"], s[f"{p}wo.weight"].T)


EXPECTED = {
    "llama": llama,
    "mistral": llama,
    "qwen2": llama,
    "qwen3": llama,
    "gemma": lambda s: llama(s, offset=1),
    "gemma2": lambda s: llama(s, "pre_feedforward_layernorm", offset=1),
    "gemma3": lambda s: llama(s, "pre_feedforward_layernorm", offset=1),
    "olmo": lambda s: llama(s, None)._replace(centre=True),
    "olmo2": lambda s: llama(s, None),
    "gpt2": gpt2,
    "gpt_neox": lambda s: plain(
        s, *(f"gpt_neox.layers.1.{n}" for n in ("mlp.dense_h_to_4h", "mlp.dense_4h_to_h")),
        "gpt_neox.layers.1.post_attention_layernorm",
    ),
    "gptj": lambda s: plain(s, *(f"transformer.h.1.{n}" for n in ("mlp.fc_in", "mlp.fc_out", "ln_1"))),
    "opt": lambda s: plain(s, *(f"model.decoder.layers.1.{n}" for n in ("fc1", "fc2", "final_layer_norm"))),
    "bloom": lambda s: plain(
        s, *(f"transformer.h.1.{n}" for n in ("mlp.dense_h_to_4h", "mlp.dense_4h_to_h")),
        "transformer.h.1.post_attention_layernorm",
    ),
    "bert": bert,
    "t5": t5,
    "t5_gated": lambda s: t5(s, gated=True),
    "mingpt": lambda s: plain(s, "blocks.1.mlp.0", "blocks.1.mlp.2", "blocks.1.ln2"),
}  # fmt: skip


def state_of(folder: Path) -> State:
    file = folder / "model.safetensors"
    return load_file(file) if file.exists() else torch.load(folder / "final.pth", weights_only=True)


def assert_processed(got: MlpLayer, want: Expected) -> None:
    """Neuron by neuron, within the rounding of float32."""
    assert got.in_.dtype == torch.float32
    assert got.in_.is_contiguous()
    assert got.out.is_contiguous()
    gain, shift = (None if v is None else v.numpy() for v in (want.gain, want.shift))
    for i in range(want.in_.shape[0]):
        bias = 0.0 if want.b_in is None else float(want.b_in[i])
        vector, bias = reference.reading_vector(want.in_[i].numpy(), bias, gain, shift, centre=want.centre)
        np.testing.assert_allclose(got.in_[i], vector, atol=1e-6)
        if got.b_in is None:
            assert want.b_in is None
            assert shift is None
        else:
            assert float(got.b_in[i]) == pytest.approx(bias, abs=3e-6)
        out = reference.writing_vector(want.out[i].numpy(), centre=want.centre)
        np.testing.assert_allclose(got.out[i], out, atol=1e-6)
        if want.gate is not None:
            vector, _ = reference.reading_vector(want.gate[i].numpy(), 0.0, gain, shift, centre=False)
            assert got.gate is not None
            np.testing.assert_allclose(got.gate[i], vector, atol=1e-6)
    assert (got.gate is None) == (want.gate is None)
    assert (got.b_out is None) == (want.b_out is None)
    if want.b_out is not None:
        centred = want.b_out - want.b_out.mean() if want.centre else want.b_out
        assert_close(got.b_out, centred, atol=1e-6, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_published_processing(tmp_path: Path, family: str) -> None:
    folder = build(family, tmp_path)
    got = mlp_weights(local_model(folder))
    assert got.shape.family == family
    assert_processed(got[1], EXPECTED[family](state_of(folder)))


@pytest.mark.parametrize("family", FAMILIES)
def test_raw_is_as_stored(tmp_path: Path, family: str) -> None:
    folder = build(family, tmp_path)
    want = EXPECTED[family](state_of(folder))
    got = mlp_weights(local_model(folder), processing="raw")
    assert got.processing == "raw"
    layer = got[1]
    assert torch.equal(layer.in_, want.in_)
    assert torch.equal(layer.out, want.out)
    for a, b in ((layer.gate, want.gate), (layer.b_in, want.b_in), (layer.b_out, want.b_out)):
        assert (a is None and b is None) or torch.equal(a, b)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox", "olmo"])
def test_as_many_neurons_as_dimensions(tmp_path: Path, family: str) -> None:
    """The layout is that of the layer's type; sizes cannot tell here (trap X18)."""
    folder = build(family, tmp_path, d_model=16, d_mlp=16)
    assert_processed(mlp_weights(local_model(folder))[1], EXPECTED[family](state_of(folder)))


def test_every_family_has_a_tiny_model() -> None:
    assert set(FAMILIES) == set(TABLES) == set(EXPECTED)


def test_the_reference_tells_processing_apart(tmp_path: Path) -> None:
    """Gains, biases and means of the tiny models are far enough from trivial to fail the comparison."""
    folder = build("gpt2", tmp_path)
    state, layer = state_of(folder), mlp_weights(local_model(folder))[1]
    for wrong in ({"gain": None}, {"shift": None}, {"centre": False}):
        with pytest.raises(AssertionError):
            assert_processed(layer, gpt2(state)._replace(**wrong))


def test_encoder_layers_come_first(tmp_path: Path) -> None:
    folder = build("t5", tmp_path, layers=3)  # and two decoder layers
    state = load_file(folder / "model.safetensors")
    weights = mlp_weights(local_model(folder))
    assert (len(weights), weights.shape.n_encoder_layers) == (5, 3)
    towers = [("encoder", 0, 1), ("encoder", 1, 1), ("encoder", 2, 1), ("decoder", 0, 2), ("decoder", 1, 2)]
    for got, (tower, block, sublayer) in zip(weights, towers, strict=True):
        name = f"{tower}.block.{block}.layer.{sublayer}.DenseReluDense.wi.weight"
        assert torch.equal(got.in_, state[name])
    assert [layer.index for layer in weights] == [0, 1, 2, 3, 4]


def test_the_gate_of_olmo_is_centred_only_on_demand(tmp_path: Path) -> None:
    local = local_model(build("olmo", tmp_path))
    published, centred = mlp_weights(local)[0], mlp_weights(local, centre_gate=True)[0]
    assert float(published.gate.mean(-1).abs().max()) > 0.05
    assert_close(centred.gate, published.gate - published.gate.mean(-1, keepdim=True))
    assert torch.equal(centred.in_, published.in_)
    # The numerators of the cosines do not know the difference.
    assert_close((centred.gate * centred.in_).sum(-1), (published.gate * published.in_).sum(-1))


def test_an_rms_gate_is_never_centred(tmp_path: Path) -> None:
    local = local_model(build("llama", tmp_path))
    assert torch.equal(mlp_weights(local, centre_gate=True)[0].gate, mlp_weights(local)[0].gate)


def test_post_norm_opt_is_left_as_stored(tmp_path: Path) -> None:
    local = local_model(build("opt", tmp_path, do_layer_norm_before=False))
    weights = mlp_weights(local)
    assert not weights.shape.processed
    assert torch.equal(weights[0].in_, mlp_weights(local, processing="raw")[0].in_)


@pytest.mark.parametrize("family", ["llama", "gemma2", "olmo", "t5_gated"])
def test_folded_sign(tmp_path: Path, family: str) -> None:
    local = local_model(build(family, tmp_path))
    before, after = mlp_weights(local), mlp_weights(local, fold_sign=True)
    assert after.fold_sign
    flipped = 0
    for a, b in zip(before, after, strict=True):
        for i in range(a.in_.shape[0]):
            in_, out, _ = reference.refactor_glu(a.gate[i].numpy(), a.in_[i].numpy(), a.out[i].numpy(), 0.0)
            np.testing.assert_array_equal(b.in_[i], in_)
            np.testing.assert_array_equal(b.out[i], out)
        assert torch.equal(a.gate, b.gate)
        flipped += int((a.in_ != b.in_).any(-1).sum())
    assert flipped > 0


def test_folded_sign_needs_a_gate(tmp_path: Path) -> None:
    with pytest.raises(NotGatedError, match="gpt2"):
        mlp_weights(local_model(build("gpt2", tmp_path)), fold_sign=True)


def test_the_model_decides_the_default_processing(tmp_path: Path) -> None:
    folder = build("llama", tmp_path)
    raw = mlp_weights(local_model(folder, processing="raw"))
    assert raw.processing == "raw"
    assert torch.equal(raw[0].in_, mlp_weights(local_model(folder), processing="raw")[0].in_)
    assert mlp_weights(local_model(folder, processing="raw"), processing="as_published").processing == (
        "as_published"
    )
    with pytest.raises(OptionError, match="folded"):
        mlp_weights(local_model(folder), processing="folded")


def test_a_sequence_of_fresh_layers(tmp_path: Path) -> None:
    weights = mlp_weights(local_model(build("llama", tmp_path)))
    assert len(weights) == 3
    assert weights[-1].index == 2
    for wrong in (3, -4):
        with pytest.raises(IndexError, match=f"layer {wrong} of a model with 3 layers"):
            weights[wrong]
    weights[0].in_.zero_()
    assert weights[0].in_.any()


def test_iteration_lets_go_of_each_layer(tmp_path: Path) -> None:
    """Two layers of a 7B model at once would break the memory target."""
    alive: list[weakref.ref[Tensor]] = []
    shape = mlp_weights(local_model(build("llama", tmp_path))).shape

    def read(layer: int) -> MlpLayer:
        assert all(ref() is None for ref in alive)
        matrix = torch.ones(4, 3)
        alive.append(weakref.ref(matrix))
        return MlpLayer(layer, None, matrix, torch.ones(4, 3))

    weights = MlpWeights(shape, "raw", False, False, read)
    assert list(map(lambda layer: layer.index, weights)) == [0, 1, 2]  # noqa: C417 - this is the point
    assert len(alive) == 3


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_cast_before_anything_is_folded(tmp_path: Path, dtype: torch.dtype) -> None:
    folder = build("gemma2", tmp_path, dtype=dtype)
    state = {name: tensor.float() for name, tensor in load_file(folder / "model.safetensors").items()}
    assert_processed(mlp_weights(local_model(folder))[1], EXPECTED["gemma2"](state))


@pytest.mark.parametrize("family", ["llama", "gpt2", "t5"])
@pytest.mark.parametrize("how", [{"max_shard_size": 10_000}, {"safetensors": False}])
def test_shards_and_torch_files_hold_the_same(tmp_path: Path, family: str, how: dict[str, object]) -> None:
    whole = mlp_weights(local_model(build(family, tmp_path / "whole")))
    other_folder = build(family, tmp_path / "other", **how)
    assert len(list(other_folder.glob("*.safetensors"))) != 1
    for a, b in zip(whole, mlp_weights(local_model(other_folder)), strict=True):
        assert_same(a, b)


@pytest.mark.parametrize("legacy", [False, True])
def test_torch_shards_with_an_index(tmp_path: Path, legacy: bool) -> None:
    folder = build("gpt2", tmp_path / "whole")
    state = load_file(folder / "model.safetensors")
    parts = tmp_path / "parts"
    parts.mkdir()
    (parts / "config.json").write_bytes((folder / "config.json").read_bytes())
    names = sorted(state)
    weight_map = {}
    for number, chosen in enumerate((names[::2], names[1::2])):
        file = f"pytorch_model-{number}.bin"
        part = {name: state[name] for name in chosen}
        torch.save(part, parts / file, _use_new_zipfile_serialization=not legacy)
        weight_map |= dict.fromkeys(chosen, file)
    (parts / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))
    for a, b in zip(mlp_weights(local_model(folder)), mlp_weights(local_model(parts)), strict=True):
        assert_same(a, b)


@pytest.mark.parametrize(
    ("family", "old", "new"),
    [
        ("gpt2", "transformer.", ""),
        ("bloom", "transformer.", ""),
        ("opt", "model.decoder.", "decoder."),
        ("bert", "bert.", ""),
        ("gemma3", "model.", "language_model.model."),
        ("gemma3", "model.", "model.language_model."),
    ],
)
def test_checkpoints_with_other_prefixes(tmp_path: Path, family: str, old: str, new: str) -> None:
    folder = build(family, tmp_path / "usual")
    other = tmp_path / "other"
    other.mkdir()
    state = load_file(folder / "model.safetensors")
    save_file(
        {name.replace(old, new, 1): t.clone() for name, t in state.items()}, other / "model.safetensors"
    )
    config = json.loads((folder / "config.json").read_text())
    if family == "gemma3":  # the vision models' config has the text model's one level down
        config = {"model_type": "gemma3", "text_config": config, "vision_config": {"hidden_size": 7}}
    (other / "config.json").write_text(json.dumps(config))
    for a, b in zip(mlp_weights(local_model(folder)), mlp_weights(local_model(other)), strict=True):
        assert_same(a, b)


@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma", "gemma2", "gemma3", "olmo", "olmo2"])
def test_gguf_holds_the_same(tmp_path: Path, family: str) -> None:
    folder = build(family, tmp_path / "hf")
    file = write_gguf(folder, tmp_path / "model.gguf")
    for processing in ("as_published", "raw"):
        hf = mlp_weights(local_model(folder), processing=processing)
        gguf = mlp_weights(local_model(file), processing=processing)
        for a, b in zip(hf, gguf, strict=True):
            assert_same(a, b)


def test_quantised_gguf_is_dequantised(tmp_path: Path) -> None:
    folder = build("llama", tmp_path / "hf", d_model=32, d_mlp=64)
    exact = mlp_weights(local_model(folder))[1]
    rounded = mlp_weights(local_model(write_gguf(folder, tmp_path / "m.gguf", quantisation="Q8_0")))[1]
    # A block of 32 shares a scale of max/127: half of it is the error, times gains of up to about 2.5.
    assert 0 < float((rounded.in_ - exact.in_).abs().max()) < 2.5 * 1.5 / 127 / 2
    assert 0 < float((rounded.out - exact.out).abs().max()) < 1.5 / 127 / 2


def test_damaged_neurons_are_handed_on(tmp_path: Path) -> None:
    """NaN and zero vectors are for the statistics to count."""
    folder = build("llama", tmp_path)
    state = load_file(folder / "model.safetensors")
    state["model.layers.0.mlp.up_proj.weight"][3, 5] = float("nan")
    state["model.layers.0.mlp.up_proj.weight"][4] = 0
    save_file(state, folder / "model.safetensors")
    layer = mlp_weights(local_model(folder), fold_sign=True)[0]
    assert int(layer.in_.isnan().sum()) == 1
    assert not layer.in_[4].any()
    assert layer.out[[3, 4]].any(-1).all()


def test_streaming_imports_no_model_library(tmp_path: Path) -> None:
    """Importing transformers alone costs more memory than a layer; see the memory target."""
    folder = build("llama", tmp_path)
    code = (
        "import sys; from pathlib import Path\n"
        "from rwcore.models.spec import LocalModel, ModelSpec\n"
        "from rwcore.weights.mlp import mlp_weights\n"
        "from rwcore.weights import attention, bridge, embedding\n"
        "folder = Path(sys.argv[1])\n"
        "local = LocalModel(ModelSpec('x', 'folder', str(folder)), folder, None, ())\n"
        "print(sum(float(x.in_.sum()) for x in mlp_weights(local, fold_sign=True)))\n"
        "heavy = {'transformers', 'transformer_lens', 'gguf', 'pandas'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) != 0


def assert_same(a: MlpLayer, b: MlpLayer) -> None:
    for field in dataclasses.fields(MlpLayer):
        x, y = getattr(a, field.name), getattr(b, field.name)
        assert torch.equal(x, y) if isinstance(x, Tensor) else x == y, field.name
