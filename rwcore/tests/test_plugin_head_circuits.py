"""What claims ask about circuits of heads: of a model with a planted suppressor, and of one without it."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from safetensors.torch import load_file, save_file

from fixtures.planted_heads import COPIER, SUPPRESSOR, VOCAB, plant_heads
from fixtures.tiny import build, local_model
from rwcore.claim.values import Interval, ends, point
from rwcore.heads.embeddings import effective_embedding
from rwcore.parallel import InProcess
from rwcore.plugin.heads import behaviour as behaviour_module
from rwcore.plugin.heads.behaviour import listed_words
from rwcore.plugin.heads.numbers import HeadNumbers
from rwcore.plugin.subjects import Kind
from rwcore.store import Store
from rwcore.studies.weights import weight_study
from rwcore.tests.corpus_makers import rows_corpus
from rwcore.tests.head_models import repeating_rows

ABOUT_THE_BEST = (
    "mean_ranks", "effective_over_raw", "sources_in_text", "place_by_attention", "matching_over_largest",
    "worst", "place_in_late_layers",
)  # fmt: skip


def numbers_of(folder, root):
    """The heads of a model, on rows of a few words each."""
    rows = rows_corpus(repeating_rows(rows=24).tolist())
    weights = weight_study(local_model(folder), store=Store(root), engine=InProcess())
    return HeadNumbers(weights, lambda corpus: rows, Kind.STAND_IN)


def planted_with(root, loudness):
    """The planted model with a suppressor that writes so many times as much."""
    file = plant_heads(root / "model") / "model.safetensors"
    weights = load_file(file)
    layer, head = SUPPRESSOR
    (name,) = [name for name in weights if name.endswith(f"h.{layer}.attn.c_proj.weight")]
    weights[name][head * VOCAB : (head + 1) * VOCAB] *= loudness
    save_file(weights, file, metadata={"format": "pt"})
    return numbers_of(root / "model", root / "store")


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    return planted_with(tmp_path_factory.mktemp("planted"), 40)


@pytest.fixture(scope="module")
def silenced(tmp_path_factory):
    return planted_with(tmp_path_factory.mktemp("silenced"), 0)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    root = tmp_path_factory.mktemp("tiny")
    return numbers_of(build("gpt2", root / "model"), root / "store")


def said(circuits, name):
    """What is said about the best head, as numbers."""
    found = getattr(circuits, name)(*(["any"] if name in {"sources_in_text", "place_in_late_layers"} else []))
    return found if isinstance(found, dict) else {name: found}


def test_the_planted_suppressor_is_the_best_head(planted):
    assert planted.circuits.candidates == [SUPPRESSOR]


def test_without_it_there_is_no_best_head(silenced):
    assert silenced.circuits.best is None


@pytest.mark.parametrize("name", ABOUT_THE_BEST)
def test_without_a_best_head_nothing_is_said_about_it(silenced, planted, name):
    """NaN, of which no predicate holds; with one it is a number."""
    missing = said(silenced.circuits, name) | {"median_over_vocabulary": math.nan}
    assert all(math.isnan(point(value)) for value in missing.values())
    assert not any(math.isnan(point(value)) for value in said(planted.circuits, name).values())


def test_what_the_suppressor_does(planted):
    circuits = planted.circuits
    assert circuits.mean_ranks()["best_over_vocabulary"] == 0  # its own token is always lowered most
    assert circuits.place_by_attention() == 1
    assert (
        circuits.place_in_late_layers("any") == 3
    )  # heads that look at all alike have everything among five
    assert point(circuits.sources_in_text("any")["share_of_sources"]) == 1
    assert circuits.name_places() == {
        "place_of_first_by_names": 1, "raising_among_lowering": 0, "lowered_over_raised_by_best": 1
    }  # fmt: skip
    assert circuits.effective_over_raw() == 0  # the first MLP is silent
    assert math.isnan(circuits.change_by_biases())  # there are none


def of_heads(circuits, best, **given):
    """The same circuits with another best head, and with something in place of what is computed."""
    found = dataclasses.replace(circuits)
    vars(found).update(candidates=[best], **given)
    return found


def test_ranks_of_a_head_in_which_all_keys_are_alike_are_no_hits(planted):
    """Nor is a head without hits the first of all."""
    layer, head = SUPPRESSOR
    found = planted.circuits._attracted

    def place(rank, near, own=None):
        """Every rank and number of equal keys the same, but those of the suppressor if they are given."""
        given = {}
        for number, one in found.items():
            ranks, ties = torch.full_like(one.ranks, rank), torch.full_like(one.near, near)
            if own is not None and number == layer:
                ranks[head], ties[head] = own, 0.0
            given[number] = dataclasses.replace(one, ranks=ranks, near=ties)
        return of_heads(planted.circuits, SUPPRESSOR, _attracted=given).place_by_attention()

    assert place(0, 50.0, own=9) == 1
    assert math.isnan(place(0, 50.0))
    assert math.isnan(place(20, 0.0))


def test_equal_heads_share_the_last_of_their_places(planted, monkeypatch):
    circuits, (layer, head) = planted.circuits, SUPPRESSOR
    hits = torch.zeros(2, planted.circuits.study().shape.n_heads, dtype=torch.int64)
    monkeypatch.setattr(type(circuits), "in_five", lambda *given: hits)
    assert math.isnan(circuits.place_in_late_layers("any"))
    hits[:] = 3
    assert circuits.place_in_late_layers("any") == hits.shape[1]
    hits[layer, head] = 4
    assert circuits.place_in_late_layers("any") == 1


def test_biases_that_change_nothing_because_nothing_is_found(tiny, monkeypatch):
    circuits = of_heads(tiny.circuits, (1, 2))

    def change(with_, without):
        """By the ranks of a token, and of another that is never the first."""
        ranks = {True: with_, False: without}
        found = lambda *_, qk, **options: {(1, 2): torch.tensor([ranks[qk.biases], 7])}  # noqa: E731
        monkeypatch.setattr(type(circuits), "ranks", found)
        return circuits.change_by_biases()

    assert point(change(0, 7)) == point(change(7, 0)) == 0.5
    assert change(0, 0) == 0
    assert math.isnan(change(7, 7))


def test_a_head_that_does_nothing_lowers_no_name(silenced):
    """Whether or not names are among the rows in which equal entries are counted."""
    circuits = dataclasses.replace(silenced.circuits)
    read = silenced.circuits._read
    unseen = {
        layer: dataclasses.replace(
            one, near=one.near.masked_fill(torch.isin(one.tokens, circuits.some_names), torch.nan)
        )
        for layer, one in read.items()
    }
    vars(circuits)["lowering"] = silenced.circuits.lowering
    vars(circuits)["_read"] = unseen
    table = circuits.statistics(unseen, circuits.some_names)
    dead = (silenced.circuits.lowering["near_ties"] > 10) & (table["rank_0"] == 1)
    assert dead.any()
    assert circuits.name_places() == silenced.circuits.name_places()


def test_only_the_papers_model_has_the_published_function_words(planted):
    behaviour = planted.behaviour
    own = behaviour.on_text("any").words
    paper = dataclasses.replace(behaviour, kind=Kind.PAPER)
    vars(paper).update(options=behaviour.options, texts=behaviour.texts)
    found = paper.on_text("any").words
    assert (own.exact, found.exact) == (False, True)
    assert found == listed_words()
    assert len(found.words) == 147


def test_no_correlation_of_a_few_heads(planted, monkeypatch):
    monkeypatch.setattr(behaviour_module, "LEAST_SCORE", 0.0)
    assert math.isfinite(planted.behaviour.both_scores()["pearson_of_heads"])
    assert math.isnan(planted.behaviour.agreement()["pearson"])
    monkeypatch.setattr(behaviour_module, "LEAST_HEADS", 2)
    assert math.isfinite(planted.behaviour.agreement()["pearson"])


def test_names_with_the_bias_of_the_unembedding(planted):
    lowered, raised = (
        table.set_index("head")["value"] for table in planted.circuits.of_named_heads.names_first()
    )
    suppressor, copier = (f"L{layer}H{head}" for layer, head in (SUPPRESSOR, COPIER))
    assert (lowered[suppressor], raised[suppressor]) == (1, 0)
    assert (lowered[copier], raised[copier]) == (0, 1)


def test_a_query_that_is_the_unembedding_finds_the_name(planted):
    found = planted.behaviour.unembedding_query(SUPPRESSOR)
    assert ends(found["score_of_unembedding"])[0] > 0
    assert all(math.isnan(value) for value in planted.behaviour.unembedding_query(None).values())


def test_scores_of_the_planted_heads(planted, monkeypatch):
    found = planted.behaviour.both_scores()
    name = "L{}H{}".format(*SUPPRESSOR)
    assert found["first_by_copy_suppression"] == found["first_by_anti_induction"] == name
    # So small a model writes little.
    monkeypatch.setattr(behaviour_module, "LEAST_SCORE", 0.9 * found["highest_copy_suppression"])
    agreement = planted.behaviour.agreement()
    assert (agreement["place_of_first_by_anti_induction"], agreement["depth_of_first"]) == (1, 0.5)


def test_low_scores_say_nothing_about_a_first_head(silenced):
    assert silenced.behaviour.both_scores()["highest_copy_suppression"] < 0.1
    assert all(math.isnan(value) for value in silenced.behaviour.agreement().values())


def test_plain_ranks_of_queries_and_keys(tiny):
    """Keys as they are, no biases: against the whole matrix."""
    circuits = tiny.circuits
    named, model = circuits.of_named_heads, circuits.behaviour.bridge()
    layer, head = named.head("L10H7")
    attn = model.blocks[layer].attn
    key = effective_embedding(model, "EE-B", torch.arange(circuits.vocab))
    query = circuits.readout.rows - circuits.readout.rows.mean(dim=1, keepdim=True)
    scores = (query @ attn.W_Q[head]) @ (key @ attn.W_K[head]).T
    rank = (scores > scores.diagonal()[:, None]).sum(dim=1)
    shares = [float((rank < below).double().mean()) for below in (1, 2, 5, 10, 20, 100)]
    assert named.qk("L10H7")["value"].tolist() == pytest.approx(shares, abs=1e-9)
    assert named.medians(["L10H7"])["L10H7"]["W_U, W_EE"] == float(rank.double().quantile(0.5)) + 1


def test_keys_at_the_first_position(tiny):
    """Of every token alone, against the model's own keys."""
    found = tiny.behaviour.first_position("L10H7")
    layer, head = tiny.behaviour.named("L10H7")
    model, cosines = tiny.behaviour.bridge(), []
    for token in range(4, tiny.circuits.vocab):
        _, cache = model.run_with_cache(torch.tensor([[token]]))
        key = cache[f"blocks.{layer}.attn.hook_k"][0, 0, head]
        cosines.append(float(torch.cosine_similarity(key, model.blocks[layer].attn.b_Q[head], dim=0)))
    shown = [found[f"{name}_first"] for name in ("lowest", "mean", "highest")]
    assert shown == pytest.approx([min(cosines), sum(cosines) / len(cosines), max(cosines)], abs=1e-5)


def test_sources_count_as_often_as_they_are_attended_to(tiny):
    found = tiny.circuits.beginnings("any").sources((1, 2))
    share = found.share_below(10)
    assert point(share) == pytest.approx(float((found.ranks < 10).double().mean()))
    assert isinstance(share, Interval)
    kept = found.rank < 10
    assert point(found.gain(kept, 10)) == pytest.approx(1 - point(share))
    assert point(found.gain(torch.ones_like(kept), 10)) == 0


def test_tokens_where_ablation_hurts(planted):
    """Of the largest twentieth those behind five sources, or some of them; the same ones every time."""
    text = planted.circuits.beginnings("any")
    every, some, again = (text.hurt(SUPPRESSOR, number) for number in (None, 5, 5))
    followed = sum(int(batch.mask.sum()) - len(batch.mask) for batch in text.batches)
    assert 5 < sum(int(one.sum()) for one in every) <= followed // 20
    assert not any(one[:, :5].any() for one in every)
    assert sum(int(one.sum()) for one in some) == 5
    for whole, drawn, same in zip(every, some, again, strict=True):
        assert not (drawn & ~whole).any()
        assert torch.equal(drawn, same)
