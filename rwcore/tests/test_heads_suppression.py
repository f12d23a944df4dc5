"""What heads and neurons write to the token that is already predicted, beside slow constructions."""

import pytest
import torch

from fixtures.planted_heads import COPIER, NEITHER, SUPPRESSOR, plant_heads
from fixtures.tiny import build, local_model
from rwcore.corpora.batches import Batch
from rwcore.heads.readout import Readout
from rwcore.heads.run import PARTS, output_matrices, run_heads
from rwcore.heads.suppression import (
    KINDS,
    UNCERTAIN,
    NeuronGroups,
    asked_positions,
    kinds,
    random_groups,
    suppression,
)
from rwcore.models.load import load_bridge
from rwcore.tests.head_models import FAMILIES, batch_of, repeating_rows

CLASSES = 3
TOKENS = torch.randint(4, 64, (2, 9), generator=torch.Generator().manual_seed(2))
TOKENS[:, 5:] = TOKENS[:, 1:5]
MASK = torch.ones_like(TOKENS, dtype=torch.bool)
MASK[1, 6:] = False
BATCH = Batch(0, torch.arange(2), torch.where(MASK, TOKENS, 0), MASK)


def groups_of(layers, width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(-1, CLASSES, (layers, width), generator=generator).to(torch.int8)
    return NeuronGroups(codes, CLASSES, random_groups(codes == 0, 4))


@pytest.fixture(scope="module", params=FAMILIES)
def tiny(request, tmp_path_factory):
    """A model, its read-out, groups of neurons, what is found, and a pass."""
    local = local_model(build(request.param, tmp_path_factory.mktemp(request.param)))
    model, readout = load_bridge(local), Readout.of(local)
    layers = []
    final = run_heads(model, BATCH, layers.append, parts=PARTS)
    groups = groups_of(len(layers), layers[0].neurons.shape[2])
    return model, readout, groups, suppression(model, BATCH, readout, groups), layers, final


def places():
    return [(row, position) for row, position in asked_positions(BATCH).nonzero().tolist()]


def directions(readout, final, layers, layer, row, position):
    """Predicted token, its probability, and u / s, from logits of the whole vocabulary."""
    scale = final.scale[row, position]
    logits = readout.capped(readout.logits(layers[layer].stream[row, position][None] / scale))[0]
    token = int(logits.argmax())
    column = readout.rows[token].double() - readout.rows.double().mean(0)
    return token, float(logits.softmax(0)[token]), column / scale


def test_against_vectors_of_heads(tiny):
    model, readout, _, found, layers, final = tiny
    assert asked_positions(BATCH).sum() == len(found.heads) == 8 + 5
    for place, (row, position) in enumerate(places()):
        for layer, parts in enumerate(layers):
            token, probability, u = directions(readout, final, layers, layer, row, position)
            assert int(found.predicted[place, layer]) == token
            assert float(found.probability[place, layer]) == pytest.approx(probability, rel=1e-4)
            for head, matrix in enumerate(output_matrices(model, layer)):
                added = parts.z[row, position, head].double() @ matrix.double()
                assert float(found.heads[place, layer, head]) == pytest.approx(float(added @ u), abs=1e-4)


def test_neurons_add_up_to_the_mlp(tiny):
    """All of it but the bias, which belongs to no neuron: the same vector at every position."""
    model, readout, _, found, layers, final = tiny
    for layer, parts in enumerate(layers):
        block = model.blocks[layer]
        left = parts.mlp
        if hasattr(block, "ln2_post"):
            bias = torch.zeros(left.shape[2])
        else:
            bias = left[0, 0] - parts.neurons[0, 0] @ block.mlp.W_out.detach()
        for place, (row, position) in enumerate(places()):
            *_, u = directions(readout, final, layers, layer, row, position)
            wanted = float((left[row, position] - bias).double() @ u)
            assert float(found.net[place, layer].sum()) == pytest.approx(wanted, abs=2e-4)


def test_neurons_one_by_one(tiny):
    """Classes, random groups, and each neuron's sums, from the product of every pair."""
    model, readout, groups, found, layers, final = tiny
    wanted = torch.zeros_like(found.neurons)
    random = torch.zeros_like(found.random)
    for layer, parts in enumerate(layers):
        block = model.blocks[layer]
        for place, (row, position) in enumerate(places()):
            vectors = block.mlp.W_out.detach().double()
            if hasattr(block, "ln2_post"):
                # What the norm behind the MLP multiplies by at this position.
                added, raw = parts.mlp[row, position], parts.neurons[row, position].double() @ vectors
                vectors = vectors * (added / raw)
            *_, u = directions(readout, final, layers, layer, row, position)
            kind = int(found.kind[place, layer])
            written = parts.neurons[row, position].double() * (vectors @ u)
            negative = written.clamp(max=0)
            wanted[:, kind, layer] += torch.stack([negative, written])
            random[place, kind] += (groups.random[layer].double() @ negative).float()
            for number, code in enumerate((0, 1, 2, -1)):
                inside = groups.codes[layer] == code
                for values, total in ((found.against, negative), (found.net, written)):
                    expected = float(total[inside].sum())
                    assert float(values[place, layer, number]) == pytest.approx(expected, abs=1e-4)
    assert torch.allclose(found.neurons, wanted, atol=1e-3)
    assert torch.allclose(found.random, random, atol=1e-4)


def test_uncertain_predictions_count_nowhere(tiny):
    model, readout, groups, found, *_ = tiny
    middle = float(found.probability.median())
    some = suppression(model, BATCH, readout, groups, least_probability=middle)
    uncertain = found.probability < middle
    assert bool((some.kind[uncertain] == UNCERTAIN).all())
    assert torch.equal(some.kind[~uncertain], found.kind[~uncertain])
    assert torch.equal(some.heads, found.heads)
    assert some.neurons[0].sum() > found.neurons[0].sum()


def test_kinds_by_looking():
    tokens = torch.tensor([[9, 5, 6, 5, 7], [5, 8, 5, 8, 0]])
    asked = torch.tensor([[0, 1, 1, 1, 1], [0, 1, 1, 1, 0]], dtype=torch.bool)
    predicted = torch.tensor([5, 5, 6, 9, 5, 5, 8])
    wanted = ["standing", "earlier", "earlier", "new", "new", "standing", "standing"]
    assert [KINDS[code] for code in kinds(predicted, tokens, asked).tolist()] == wanted


def test_padding_changes_nothing(tiny):
    model, readout, groups, found, *_ = tiny
    short = Batch(0, torch.arange(1), BATCH.tokens[1:, :6], torch.ones(1, 6, dtype=torch.bool))
    alone = suppression(model, short, readout, groups)
    assert torch.allclose(alone.heads, found.heads[8:], atol=1e-5)
    assert torch.equal(alone.kind, found.kind[8:])


def test_random_groups_are_as_large_in_every_layer():
    inside = torch.tensor([[True] * 3 + [False] * 7, [False] * 10])
    found = random_groups(inside, 200)
    assert found.sum(dim=2)[0].tolist() == [3] * 200
    assert not found[1].any()
    # Each neuron is in three of ten groups.
    assert (found[0].double().mean(dim=0) - 0.3).abs().max() < 0.13


def test_planted_suppressors(tmp_path):
    """In the last layer the suppressor and the erasing neurons write against what is predicted, alone."""
    local = local_model(plant_heads(tmp_path))
    codes = torch.zeros(2, 24, dtype=torch.int8)
    groups = NeuronGroups(codes, 1, random_groups(codes == 0, 1))
    found = suppression(load_bridge(local), batch_of(repeating_rows()), Readout.of(local), groups)
    layer = SUPPRESSOR[0]
    there = found.kind[:, layer] == KINDS.index("earlier")
    assert there.sum() > 300
    heads = found.heads[there, layer].clamp(max=0).mean(dim=0)
    assert heads[SUPPRESSOR[1]] < -0.5
    assert abs(float(heads[COPIER[1]])) < 1e-6
    assert abs(float(heads[NEITHER[1]])) < 1e-6
    assert found.heads[there, layer, COPIER[1]].min() > 0
    assert found.net[there, layer, 0].mean() < -0.5
    # The neurons of the first layer are silent.
    assert found.neurons[:, :, 0].abs().max() == 0
