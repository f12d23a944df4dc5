"""What heads add to the residual stream, in every family of decoders."""

import pytest
import torch

from fixtures.tiny import build, local_model
from rwcore.corpora.batches import Batch
from rwcore.errors import ModelError, OptionError
from rwcore.heads.run import PARTS, output_matrices, replacing, run_heads
from rwcore.models.load import load_bridge
from rwcore.weights.embedding import unembedding

DECODERS = (
    "llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3", "olmo", "olmo2", "gpt2", "gpt_neox",
    "gptj", "opt", "bloom",
)  # fmt: skip
TOKENS = torch.tensor([[1, 5, 6, 7, 8, 20, 21], [1, 5, 6, 7, 9, 30, 31]])
BATCH = Batch(0, torch.arange(2), TOKENS, torch.ones_like(TOKENS, dtype=torch.bool))
CHANGED = 1


@pytest.fixture(scope="module", params=DECODERS)
def tiny(request, tmp_path_factory):
    local = local_model(build(request.param, tmp_path_factory.mktemp(request.param)))
    return local, load_bridge(local)


def seen(model, **options):
    """Every layer of a pass, and its end."""
    layers = []
    final = run_heads(model, BATCH, layers.append, **options)
    return layers, final


def test_heads_and_mlps_add_up_to_the_stream(tiny):
    _, model = tiny
    layers, final = seen(model, parts=PARTS)
    entering = [one.stream for one in layers] + [final.stream]
    without_heads = []
    for one, before, after in zip(layers, entering, entering[1:], strict=False):
        heads = torch.einsum("bphe,hed->bpd", one.z, output_matrices(model, one.layer))
        without_heads.append(after - before - one.mlp - heads)
    for left in without_heads:
        # What is left is the same at every position: the bias of the attention (behind a norm: nothing).
        assert torch.allclose(left, left[:1, :1].expand_as(left), atol=1e-4)


def test_z_is_attention_times_value(tiny):
    _, model = tiny
    for one in seen(model, parts=PARTS)[0]:
        assert torch.allclose(one.raw_z, torch.einsum("bhqk,bkhe->bqhe", one.pattern, one.value), atol=1e-5)


def test_final_stream_and_scale_make_the_logits(tiny):
    local, model = tiny
    final = run_heads(model, BATCH)
    read = unembedding(local)
    logits = final.stream / final.scale[..., None] @ read.W_U + (0 if read.b_U is None else read.b_U)
    with torch.no_grad():
        whole = model(TOKENS)
    cap = getattr(model.cfg, "output_logits_soft_cap", None) or -1.0
    if cap > 0:
        logits = cap * (logits / cap).tanh()
    difference = logits - whole
    assert torch.allclose(difference, difference[..., :1].expand_as(difference), atol=1e-4)


def test_a_replaced_z_changes_the_stream_by_what_the_head_adds(tiny):
    _, model = tiny
    head = 2

    def zeroed(z):
        z = z.clone()
        z[:, :, head] = 0
        return z

    clean, _ = seen(model, parts=("stream", "mlp"))
    changed, _ = seen(model, parts=("stream", "mlp"), hooks=[replacing(CHANGED, zeroed)])
    assert torch.equal(clean[CHANGED].stream, changed[CHANGED].stream)
    moved = changed[CHANGED + 1].stream - clean[CHANGED + 1].stream
    # Beside the heads the MLP of the layer may react; a norm behind the attention scales all its heads anew.
    moved = moved - (changed[CHANGED].mlp - clean[CHANGED].mlp)
    W_O = output_matrices(model, CHANGED)
    added = [torch.einsum("bphe,hed->bpd", one[CHANGED].z, W_O) for one in (clean, changed)]
    assert torch.allclose(moved, added[1] - added[0], atol=1e-4)
    assert moved.abs().max() > 1e-3


def test_padding_changes_nothing(tiny):
    _, model = tiny
    mask = torch.ones(2, 7, dtype=torch.bool)
    mask[1, 4:] = False
    padded = Batch(0, torch.arange(2), torch.where(mask, TOKENS, 0), mask)
    short = Batch(0, torch.arange(1), TOKENS[1:, :4], torch.ones(1, 4, dtype=torch.bool))
    whole, alone = (run_heads(model, batch) for batch in (padded, short))
    assert torch.allclose(whole.stream[1, :4], alone.stream[0], atol=1e-4)


def test_parts_that_nobody_asked_for_are_not_there(tiny):
    _, model = tiny
    layers, _ = seen(model, layers=[2, 0])
    assert [one.layer for one in layers] == [0, 2]
    assert layers[0].stream is layers[0].pattern is layers[0].value is layers[0].mlp is None


class TestRefused:
    @pytest.fixture
    def model(self, tmp_path):
        return load_bridge(local_model(build("gpt2", tmp_path)))

    def test_layer(self, model):
        with pytest.raises(OptionError, match="layers 3 of a model that has 3"):
            run_heads(model, BATCH, lambda one: None, layers=[3])

    def test_part(self, model):
        with pytest.raises(OptionError, match="no such part of a layer: query"):
            run_heads(model, BATCH, parts=["query"])

    def test_shape_of_what_replaces_z(self, model):
        with pytest.raises(ModelError, match="what replaces it"):
            run_heads(model, BATCH, hooks=[replacing(0, lambda z: z[:, :, :1])])

    def test_encoder(self, tmp_path):
        with pytest.raises(ModelError, match="no decoder"):
            run_heads(load_bridge(local_model(build("bert", tmp_path))), BATCH)
