"""A layer as a model of its own: what it computes is what the whole model computes, in every family."""

from dataclasses import replace

import pytest
import torch

from fixtures.gguf_files import write_gguf
from fixtures.tiny import build, local_model
from rwcore.errors import ModelError
from rwcore.heads.circuits import ov_ranks, qk_ranks
from rwcore.heads.embeddings import EMBEDDINGS, effective_embedding
from rwcore.heads.query_key import QKOptions, as_read, keys, queries
from rwcore.heads.readout import Readout
from rwcore.heads.run import output_matrices
from rwcore.models.load import load_bridge
from rwcore.parallel import InProcess
from rwcore.store import Store
from rwcore.studies import head_circuits
from rwcore.studies.forward import ForwardOptions
from rwcore.studies.head_circuits import OV, QK, CircuitOptions, CircuitStudy
from rwcore.studies.weights import WeightStudy
from rwcore.weights.one_layer import one_layer_model
from rwcore.weights.shape import read_shape

DECODERS = ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3", "olmo", "olmo2", "gpt2",
            "gpt_neox", "gptj", "opt", "bloom")  # fmt: skip
VOCAB, LAYERS, WIDTH = 64, 3, 16


@pytest.fixture(scope="module", params=DECODERS)
def tiny(request, tmp_path_factory):
    local = local_model(build(request.param, tmp_path_factory.mktemp(request.param)))
    return local, load_bridge(local)


def near(one, other):
    return torch.allclose(one, other, rtol=0, atol=1e-5)


def test_the_first_layer_makes_the_same_embeddings_of_parts_of_the_vocabulary(tiny, tmp_path):
    local, whole = tiny
    for rows in (slice(0, 25), slice(25, VOCAB)):
        part = load_bridge(one_layer_model(local, 0, tmp_path / str(rows.start), rows=rows))
        assert part.cfg.n_layers == 1
        for name in EMBEDDINGS:
            wanted = effective_embedding(whole, name, torch.arange(VOCAB))[rows]
            found = effective_embedding(part, name, torch.arange(len(wanted)))
            assert near(found, wanted), name


def test_every_layer_makes_the_same_queries_keys_and_outputs(tiny, tmp_path):
    local, whole = tiny
    table = torch.randn(VOCAB, WIDTH, generator=torch.Generator().manual_seed(0))
    options = QKOptions(biases=True, distance=7)

    def parts(model, layer):
        read = as_read(model, layer, table)
        yield queries(model, layer, 3, read, options)
        yield keys(model, layer, 0, read, options)
        yield model.blocks[layer].attn.W_V
        yield output_matrices(model, layer)

    seen = []
    for layer in range(LAYERS):
        one = load_bridge(one_layer_model(local, layer, tmp_path / str(layer)))
        found, wanted = [*parts(one, 0)], [*parts(whole, layer)]
        assert all(near(*pair) for pair in zip(found, wanted, strict=True))
        seen.append(found[0])
    assert not near(seen[0], seen[1])  # a layer is that layer


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "llama", "gemma2", "olmo2", "qwen3"])
def test_the_study_equals_the_whole_model(family, tmp_path, monkeypatch):
    """The slow path: everything from a bridge of the whole model."""
    local = local_model(build(family, tmp_path / "model"))
    monkeypatch.setattr(head_circuits, "TOKENS", 30)
    weights = WeightStudy(local, "as_published", Store(tmp_path / "store"), InProcess())
    study = CircuitStudy(weights, CircuitOptions(), ForwardOptions(device="cpu"))
    found = {circuit: study.ranks(circuit) for circuit in (OV, QK)}
    whole, every = load_bridge(local), torch.arange(VOCAB)
    source, rows = effective_embedding(whole, "EE-A", every), Readout.of(local).rows
    for layer in range(LAYERS):
        wanted = {
            OV: ov_ranks(whole, layer, source, rows, every),
            QK: qk_ranks(whole, layer, rows, source, every),
        }
        for circuit, one in wanted.items():
            ours = found[circuit][layer]
            assert near(ours.diagonal, one.diagonal)
            assert near(ours.mean, one.mean)
            assert ((ours.ranks - one.ranks).abs() <= one.near).all()


def test_stored_in_shards_as_torch_files_or_gguf(tmp_path, monkeypatch):
    monkeypatch.setenv("RWCORE_CACHE", str(tmp_path / "cache"))
    whole = local_model(build("llama", tmp_path / "whole"))
    wanted = effective_embedding(load_bridge(whole), "EE-A", torch.arange(5))
    for name, options in {"shards": {"max_shard_size": "10KB"}, "torch": {"safetensors": False}}.items():
        local = local_model(build("llama", tmp_path / name, **options))
        part = load_bridge(one_layer_model(local, 0, tmp_path / f"{name}-part", rows=slice(0, 5)))
        assert near(effective_embedding(part, "EE-A", torch.arange(5)), wanted)
    packed = local_model(write_gguf(whole.path, tmp_path / "tiny.gguf"))
    layer = one_layer_model(packed, 1, tmp_path / "gguf-part")
    assert read_shape(layer).n_layers == 1
    found = load_bridge(layer).blocks[0].attn.W_V
    assert near(found, load_bridge(packed).blocks[1].attn.W_V)


def test_the_new_model_keeps_the_name_and_the_processing(tmp_path):
    local = local_model(build("gpt2", tmp_path / "whole"))
    raw = replace(local, spec=replace(local.spec, processing="raw"))
    made = one_layer_model(raw, 2, tmp_path / "part")
    assert (made.spec.id, made.spec.processing) == (local.spec.id, "raw")
    assert near(load_bridge(made).blocks[0].attn.W_V, load_bridge(raw).blocks[2].attn.W_V)
    assert not near(load_bridge(made).blocks[0].attn.W_V, load_bridge(local).blocks[2].attn.W_V)


def test_refused(tmp_path):
    local = local_model(build("gpt2", tmp_path / "gpt2"))
    for layer, rows in ((3, slice(0, 1)), (-1, slice(0, 1)), (0, slice(60, 65)), (0, slice(4, 4))):
        with pytest.raises(IndexError):
            one_layer_model(local, layer, tmp_path / "no", rows=rows)
    with pytest.raises(ModelError, match="no decoder"):
        one_layer_model(local_model(build("t5", tmp_path / "t5")), 0, tmp_path / "no")
    assert not (tmp_path / "no").exists()
