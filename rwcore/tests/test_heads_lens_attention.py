"""Whether heads look at what the lens predicts: against loops over pairs, and on the planted suppressor."""

import pytest
import torch

from fixtures.planted_heads import NEITHER, SUPPRESSOR, plant_heads
from fixtures.tiny import build, local_model
from rwcore.corpora.batches import Batch
from rwcore.heads.lens_attention import ATTENDED, COUNTS, FIVE, SUMS, lens_attention
from rwcore.heads.readout import Readout
from rwcore.heads.run import run_heads
from rwcore.models.load import load_bridge
from rwcore.tests.head_models import batch_of, repeating_rows

GENERATOR = torch.Generator().manual_seed(5)
TOKENS = torch.randint(4, 11, (3, 13), generator=GENERATOR)  # few tokens, so that they come again
MASK = torch.ones_like(TOKENS, dtype=torch.bool)
MASK[1, 8:] = False
BATCH = Batch(0, torch.arange(3), torch.where(MASK, TOKENS, 0), MASK)
SKIPPED = torch.zeros(64, dtype=torch.bool)
SKIPPED[[1, 5]] = True


@pytest.fixture(scope="module", params=["gpt2", "gpt_neox", "llama", "gemma2"])
def tiny(request, tmp_path_factory):
    local = local_model(build(request.param, tmp_path_factory.mktemp(request.param)))
    return load_bridge(local), Readout.of(local)


def reference(parts, head, readout, queries):
    """Everything by loops over queries and positions."""
    found = dict.fromkeys((*COUNTS, *SUMS), 0.0)
    for row, query in queries:
        tokens = BATCH.tokens[row].tolist()
        attention = parts.pattern[row, head, query].tolist()
        lens = {at: float(parts.stream[row, query] @ readout.rows[tokens[at]]) for at in range(1, query + 1)}
        places = [*lens]
        candidates = [at for at in places if not SKIPPED[tokens[at]]]
        expected = []
        if candidates:
            best = max(candidates, key=lens.__getitem__)
            expected = [at for at in places if tokens[at] == tokens[best] and lens[best] > 0]
        by_attention = sorted(places, key=lambda at: -attention[at])
        awake = attention[by_attention[0]] > attention[0]
        found["queries"] += 1
        found["awake_queries"] += awake
        found["expected"] += len(expected)
        found["awake_expected"] += len(expected) * awake
        found["pairs"] += len(places)
        for which, size in ATTENDED.items():
            chosen = {tokens[at] for at in by_attention[:size]}
            attended = [at for at in places if tokens[at] in chosen]
            both = len([at for at in attended if at in expected])
            found[f"{which}_both"] += both
            found[f"{which}_attended"] += len(attended)
            found[f"{which}_awake_both"] += both * awake
            found[f"{which}_awake_attended"] += len(attended) * awake
        if query >= FIVE:
            found["long_queries"] += 1
            five = sorted(range(query + 1), key=lambda at: -attention[at])[:FIVE]
            top = tokens[max(places, key=lens.__getitem__)]
            found["in_five"] += any(tokens[at] == top for at in five if at > 0)
        found["attention_first"] += attention[0]
        found["attention_expected"] += sum(attention[at] for at in expected)
        found["attention_others"] += sum(attention[at] for at in places if at not in expected)
    return found


@pytest.mark.parametrize("chosen", [False, True])
def test_equals_loops(tiny, chosen):
    model, readout = tiny
    wanted = MASK.clone()
    wanted[:, 0] = False
    queries = torch.rand(MASK.shape, generator=torch.Generator().manual_seed(1)) < 0.5 if chosen else None
    if queries is not None:
        wanted &= queries
    found = lens_attention(model, BATCH, readout, SKIPPED, queries=queries)
    assert {*found} == {*COUNTS, *SUMS}
    kept = []
    run_heads(model, BATCH, kept.append, parts=("stream", "pattern"))
    for layer, head in ((0, 1), (2, 3)):
        expected = reference(kept[layer], head, readout, wanted.nonzero().tolist())
        for name, value in expected.items():
            assert float(found[name][layer, head]) == pytest.approx(value, rel=1e-5), name


def test_the_planted_suppressor_looks_at_what_is_predicted(tmp_path):
    local = local_model(plant_heads(tmp_path))
    rows = repeating_rows()
    found = lens_attention(
        load_bridge(local), batch_of(rows), Readout.of(local), torch.zeros(24, dtype=torch.bool)
    )
    share = found["first_both"] / found["expected"]
    assert share[SUPPRESSOR] > 0.9
    assert share[SUPPRESSOR] > share[NEITHER] + 0.2  # which looks at all positions alike
    mean = found["attention_expected"] / found["expected"]
    others = found["attention_others"] / (found["pairs"] - found["expected"])
    assert mean[SUPPRESSOR] > others[SUPPRESSOR]
    assert mean[NEITHER] == pytest.approx(float(others[NEITHER]), rel=0.5)


def test_nothing_is_expected_among_function_words(tiny):
    model, readout = tiny
    found = lens_attention(model, BATCH, readout, torch.ones(64, dtype=torch.bool))
    assert not found["expected"].any()
    assert not found["first_both"].any()
    assert found["in_five"].any()  # function words count there
