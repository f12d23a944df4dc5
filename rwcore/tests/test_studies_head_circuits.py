"""The study of circuits: kept by layer, gone on with, and the same whatever order it is asked in."""

from dataclasses import replace

import pytest
import torch

from fixtures.planted_heads import COPIER, SUPPRESSOR, plant_heads
from fixtures.tiny import local_model
from rwcore.errors import OptionError
from rwcore.heads.query_key import QKOptions
from rwcore.parallel import InProcess
from rwcore.store import Store
from rwcore.studies import head_circuits, head_circuits_export
from rwcore.studies.forward import ForwardOptions
from rwcore.studies.head_circuits import OV, QK, CircuitOptions, CircuitStudy
from rwcore.studies.head_circuits_export import FEW, export_circuits, options_again, single_tokens
from rwcore.studies.weights import WeightStudy


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    return local_model(plant_heads(tmp_path_factory.mktemp("heads")))


@pytest.fixture
def study(planted, tmp_path):
    def make(**options):
        weights = WeightStudy(planted, "as_published", Store(tmp_path), InProcess())
        return CircuitStudy(weights, CircuitOptions(**options), ForwardOptions(device="cpu"))

    return make


def test_statistics_of_planted_heads(study):
    one = study()
    table = one.statistics(one.ranks(OV)).set_index(["layer", "head"])
    assert len(table) == 6
    assert table.loc[SUPPRESSOR, ["rank_0", "negative", "below_row_mean"]].tolist() == [1, 1, 1]
    assert table.loc[COPIER, ["rank_0", "last", "negative"]].tolist() == [0, 1, 0]
    # Trap T12: a row of the table is about its own layer.
    assert {layer for layer, _ in table.index} == {0, 1}
    attention = one.statistics(one.ranks(QK)).set_index(["layer", "head"])
    assert attention.loc[SUPPRESSOR, "rank_0"] == 1


def test_a_killed_run_goes_on_with_the_next_layer(study, monkeypatch):
    done = []

    def counted(local, layer, *arguments, **options):
        if options["rows"] == slice(0, 1):  # for its heads, not for the embedding
            done.append(layer)
        if len(done) == 2:
            raise KeyboardInterrupt
        return real(local, layer, *arguments, **options)

    real = head_circuits.one_layer_model
    monkeypatch.setattr(head_circuits, "one_layer_model", counted)
    with pytest.raises(KeyboardInterrupt):
        study().folders(OV)
    found = study().ranks(OV)
    assert done == [0, 1, 1]
    study().ranks(OV)
    assert done == [0, 1, 1]
    assert (found[1].ranks[SUPPRESSOR[1]] == 0).all()


def test_what_decides_numbers_is_in_the_key(study):
    def keys(circuit, **options):
        return {task.key.digest for task in study(**options).tasks(circuit)}

    for options in ({"rows": 5}, {"rows": 5, "seed": 1}, {"only": (3, 4)}, {"heads": ((1, 1),)}):
        assert not keys(OV) & keys(OV, **options)
    assert keys(OV, rows=5) != keys(OV, rows=5, seed=1)
    assert not keys(OV) & keys(OV, embedding="raw")
    assert keys(OV) == keys(OV, qk=QKOptions(distance=4))
    for options in ({"query": "EE-A"}, {"key": "raw"}, {"qk": QKOptions(distance=4)},
                    {"qk": QKOptions(biases=True)}, {"qk": QKOptions(normalised=False)}):  # fmt: skip
        assert not keys(QK) & keys(QK, **options)
    assert keys(QK) == keys(QK, embedding="raw")


def test_rows_and_heads_are_parts_of_the_whole(study):
    whole = study().ranks(OV)[1]
    part = study(heads=((1, 2), (1, 0)), only=(9, 3)).ranks(OV)
    assert [*part] == [1]
    assert part[1].heads == (0, 2)
    assert part[1].tokens.tolist() == [3, 9]
    assert torch.equal(part[1].ranks, whole.ranks[[0, 2]][:, [3, 9]])
    assert len(study(rows=5).ranks(OV)[0].tokens) == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": ((2, 0),)}, "layer 2 of a model that has 2"),
        ({"heads": ((1, 3),)}, "heads 3 of a layer that has 3"),
        ({"heads": ()}, "no heads"),
        ({"rows": 25}, "25 rows of a vocabulary of 24"),
        ({"only": (24,)}, "no token 24"),
    ],
)
def test_refused_before_anything_runs(study, options, message, monkeypatch):
    monkeypatch.setattr(head_circuits, "load_bridge", None)
    with pytest.raises(OptionError, match=message):
        study(**options).folders(OV)


@pytest.mark.parametrize("options", [{"embedding": "W_U"}, {"query": "EE"}, {"circuits": ("OQ",)}])
def test_no_such_table(options):
    with pytest.raises(OptionError, match="there is no"):
        CircuitOptions(**options)
    with pytest.raises(OptionError, match="drawn or given"):
        CircuitOptions(rows=3, only=(1,))


def test_tokens_are_named_as_they_stand_in_a_text():
    class Words:
        texts = (" the", "the", " a", " the")

    assert single_tokens(Words(), [" the", "the", "the"]) == [0, 1]
    with pytest.raises(OptionError, match="'a' is not one token") as refused:
        single_tokens(Words(), ["a"])
    assert '" a"' in str(refused.value)


def test_lists_have_other_tokens_beside_them_only_if_wanted(study):
    with_all = study().lists([SUPPRESSOR], [3, 9], 2)
    alone = study().lists([SUPPRESSOR], [3, 9], 2, beside=())
    assert {*with_all["layer"]} == {*alone["layer"]} == {SUPPRESSOR[0]}
    assert (with_all.groupby(["focus", "token", "list"]).size() >= 3).all()
    extra = alone[alone["place"] > 2]
    assert len(extra)
    assert (extra["other"] == extra["token"]).all()
    assert len(alone) < len(with_all)


def test_tables_are_kept_as_long_as_they_are_needed(study, monkeypatch):
    made = []
    real = head_circuits.effective_embedding
    monkeypatch.setattr(
        head_circuits, "effective_embedding", lambda *one, **more: made.append(one[1]) or real(*one, **more)
    )
    with head_circuits.keeping_tables():
        study().ranks(OV)
        study().ranks(QK)
        study().lists([COPIER], [3], 2)
    assert made == ["EE-A"]
    study().lists([COPIER], [3], 2)
    assert made == ["EE-A", "EE-A"]


def test_what_is_on_the_page(study, tmp_path, monkeypatch):
    """Heads best first, given tokens first; others drawn evenly where no word of ours is a token."""
    seen = []
    monkeypatch.setattr(head_circuits_export, "circuits_page", lambda one: seen.append(one) or "page")
    export_circuits(study(), tmp_path / "out", texts=["w3"], plots=False)
    (report,) = seen
    assert report.heads[0] == SUPPRESSOR
    assert len({*report.heads}) == len(report.heads) <= 6
    assert (report.asked[0], len(report.asked)) == (7, 1)
    assert len(report.words) in (FEW - 1, FEW)
    assert 7 not in report.words
    assert {*report.lists["token"]} == {7, *report.words}
    assert "drawn evenly" in report.chosen
    assert report.files[:2] == ["best_ov.md", "best_ov.tex"]
    assert {"manifest.json", "token_lists.csv"} <= {*report.files}


def test_options_that_ask_for_the_same_numbers(study):
    plain = study()
    assert options_again(plain) == ["--embedding=EE-A", "--qk=W_U:EE-A", "--distance=1"]
    other = study(rows=9, seed=2, query="EE-B", qk=QKOptions(False, True, 4))
    assert options_again(other) == [
        "--embedding=EE-A",
        "--qk=EE-B:EE-A",
        "--keys=raw",
        "--qk-biases",
        "--distance=4",
        "--rows=9",
        "--seed=2",
    ]
    assert options_again(study(circuits=(OV,))) == ["--embedding=EE-A", "--qk=none"]
    raw = replace(plain, weights=replace(plain.weights, processing="raw"))
    half = replace(raw, forward=replace(raw.forward, dtype="bfloat16"))
    assert options_again(raw) == [*options_again(plain), "--processing=raw"]
    assert options_again(half) == [*options_again(plain), "--processing=raw", "--dtype=bfloat16"]
