"""Predictions behind a prompt without a head, against whole logits in every family."""

import pytest
import torch

from rwcore.benchmarks.reference.head_effects import final_stream, logits_of, writer_output
from rwcore.errors import OptionError
from rwcore.heads.last_token import predictions_without
from rwcore.heads.run import run_heads
from rwcore.heads.writers import Writer
from rwcore.tests.head_models import BATCH, FAMILIES, TOKENS, batch_of, tiny_parts


@pytest.fixture(scope="module", params=FAMILIES)
def tiny(request, tmp_path_factory):
    return tiny_parts(request.param, tmp_path_factory.mktemp(request.param))


@pytest.mark.parametrize("head", [Writer(1, 3), Writer(2)])
def test_equals_whole_logits(tiny, head):
    model, readout, means = tiny
    prompt = TOKENS[1]
    found = predictions_without(model, prompt, head, means, readout)
    clean = final_stream(model, prompt[None])
    scale = run_heads(model, batch_of(prompt[None])).scale[..., None]
    mean = writer_output(model, TOKENS, head.layer, head.head).mean(dim=(0, 1))
    moved = clean - writer_output(model, prompt[None], head.layer, head.head) + mean
    for row, stream in enumerate((clean, moved)):
        wanted = logits_of(model, prompt[None], stream, scale)[0, -1].softmax(0)
        assert torch.allclose(found[row], wanted, rtol=1e-3, atol=1e-6)
    assert not torch.allclose(found[0], found[1], rtol=1e-3)


def test_a_head_that_is_not_there_is_refused(tiny):
    model, readout, means = tiny
    with pytest.raises(OptionError, match=r"no 1\.9"):
        predictions_without(model, BATCH.tokens[0], Writer(1, 9), means, readout)
