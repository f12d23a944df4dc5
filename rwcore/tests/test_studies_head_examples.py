"""Whole studies of examples: which heads and rows, found again, gone on with after a kill; the files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from fixtures.planted_heads import COPIER, NEITHER, SUPPRESSOR, plant_heads
from fixtures.tiny import build, local_model
from rwcore.corpora.batches import BatchPlan
from rwcore.corpora.tokens import TokenCorpus
from rwcore.errors import CorpusError, OptionError
from rwcore.heads.reading import EFFECTS, read_heads
from rwcore.heads.reading_arrays import to_arrays
from rwcore.heads.reading_means import means_over
from rwcore.heads.readout import Readout
from rwcore.heads.writers import WriterMeans, writer_sums
from rwcore.models.load import load_bridge
from rwcore.models.spec import LocalModel
from rwcore.store import Store
from rwcore.studies import head_examples as module
from rwcore.studies.forward import ForwardOptions
from rwcore.studies.head_examples import ExampleOptions, HeadExamples
from rwcore.studies.head_examples_export import token_table
from rwcore.studies.weights import weight_study
from rwcore.tests.corpus_makers import rows_corpus
from rwcore.tests.head_models import repeating_rows
from rwcore.tests.pass_makers import random_corpus

CORPUS = random_corpus(rows=12, seed=3)
FORWARD = ForwardOptions(token_budget=40, device="cpu")
NAMED = ((2, 1), (1, 0))


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> LocalModel:
    return local_model(build("llama", tmp_path_factory.mktemp("model")), id="tiny")


def studied(
    local: LocalModel, root: Path, corpus: TokenCorpus = CORPUS, parts: int = 1, **options: Any
) -> HeadExamples:
    weights = weight_study(local, store=Store(root))
    return HeadExamples(weights, corpus, ExampleOptions(**options), FORWARD, parts=parts)


@pytest.fixture(scope="module")
def study(local: LocalModel, tmp_path_factory: pytest.TempPathFactory) -> HeadExamples:
    return studied(local, tmp_path_factory.mktemp("store"), heads=NAMED, examples=4)


def test_rows_are_those_with_the_largest_direct_effect(study: HeadExamples, local: LocalModel) -> None:
    """Every row is read by itself; predictions at the first token do not count."""
    model, readout = load_bridge(local), Readout.of(local)
    means = means_over(model, [BatchPlan(0, (row,)).load(CORPUS) for row in range(len(CORPUS))])
    function = torch.zeros(len(readout.rows), dtype=torch.bool)
    largest: dict[int, tuple[float, int, tuple[int, int]]] = {}
    for row in range(len(CORPUS)):
        if len(CORPUS.row(row)) < 3:
            continue
        batch = BatchPlan(0, (row,)).load(CORPUS)
        for one in read_heads(model, batch, sorted(NAMED), means, readout, function, effects=["direct"]):
            loss = one.loss_increase("direct")[1:-1]
            largest[row] = max(
                largest.get(row, (-torch.inf, 0, (0, 0))),
                (float(loss.max()), int(loss.argmax()) + 1, (one.layer, one.head)),
            )
    wanted = sorted(largest, key=lambda row: -largest[row][0])[:4]
    assert study.heads == ((1, 0), (2, 1))
    assert study.rows == tuple(wanted)
    for one in study.choices:
        value, position, head = largest[one.row]
        assert (one.position, one.head) == (position, head)
        assert one.loss_increase == pytest.approx(value, abs=1e-4)


def test_readings_are_those_of_the_rows(study: HeadExamples, local: LocalModel) -> None:
    model, readout = load_bridge(local), Readout.of(local)
    batches = [BatchPlan(0, (row,)).load(CORPUS) for row in range(len(CORPUS))]
    means = means_over(model, batches)
    for row, found in zip(study.rows, study.readings, strict=True):
        wanted = to_arrays(read_heads(model, batches[row], study.heads, means, readout, study.cspa.function))
        ours = to_arrays(found)
        assert {*ours} == {*wanted}
        for name, values in ours.items():
            assert torch.allclose(values.float(), wanted[name].float(), atol=1e-3, equal_nan=True), name


def test_named_rows_in_their_order(local: LocalModel, study: HeadExamples) -> None:
    named = studied(local, study.weights.store.root, heads=NAMED, rows=(7, 2, 7), effects=("total",))
    assert named.rows == (7, 2)
    assert [one.number for one in named.texts] == [7, 2]
    assert named.texts[0].tokens.tolist() == CORPUS.row(7).tolist()
    assert named.texts[0].document is None
    assert [*named.readings[0][0].effects] == ["total"]
    assert [len(of_row[0].clean.loss) for of_row in named.readings] == [
        len(CORPUS.row(row)) for row in (7, 2)
    ]
    assert named.record["effects"] == ["total"]


def test_the_table_is_that_of_the_readings(study: HeadExamples) -> None:
    table = token_table(study)
    size = sum(len(CORPUS.row(row)) for row in study.rows)
    assert len(table) == 2 * size
    last = table.groupby(["layer", "head", "row"]).tail(1)
    assert last["next"].isna().all()
    assert last["loss"].isna().all()
    one = study.readings[1][0]
    mine = table[(table["layer"] == 1) & (table["head"] == 0) & (table["row"] == study.rows[1])]
    for effect in EFFECTS:
        wanted = one.loss_increase(effect).numpy()
        assert mine[f"{effect}_loss_increase"].to_numpy() == pytest.approx(wanted, abs=1e-6, nan_ok=True)
    assert mine["most_lowered"].tolist() == [study.vocabulary[int(t)] for t in one.lowered.token[:, 0]]
    assert mine["most_attended"].tolist() == one.attention.pattern.argmax(1).tolist()
    assert mine["token"].tolist()[1:] == mine["next"].tolist()[:-1]


def test_planted_heads_are_found(tmp_path: Path) -> None:
    """Of all late heads copy suppression explains most of the suppressor."""
    local = local_model(plant_heads(tmp_path / "model"), id="planted")
    corpus = rows_corpus(repeating_rows().tolist())
    found = studied(local, tmp_path / "store", corpus, examples=2)
    assert found.heads[0] == SUPPRESSOR
    assert {*found.heads} == {SUPPRESSOR, COPIER, NEITHER}
    assert len(found.rows) == 2


def test_means_by_position(local: LocalModel, tmp_path: Path) -> None:
    corpus = rows_corpus([[4, 5, 6, 7], [8, 9, 4, 6], [7, 7, 5, 4]])
    model, readout = load_bridge(local), Readout.of(local)
    sums = writer_sums(model, BatchPlan(0, (0, 1, 2)).load(corpus), "position")
    means = WriterMeans(sums.z / 3, sums.mlp / 3)
    by_position = studied(local, tmp_path, corpus, heads=NAMED, rows=(0,), means="position")
    (wanted,) = read_heads(
        model, BatchPlan(0, (0,)).load(corpus), [(1, 0)], means, readout, by_position.cspa.function
    )
    found = to_arrays([by_position.readings[0][0]])
    for name, values in to_arrays([wanted]).items():
        assert torch.allclose(found[name].float(), values.float(), atol=1e-3, equal_nan=True), name
    whole = studied(local, tmp_path, corpus, heads=NAMED, rows=(0,)).readings[0][0]
    assert (whole.cspa.mean - wanted.cspa.mean)[:-1].abs().max() > 1e-3


def test_what_was_killed_goes_on(
    local: LocalModel, study: HeadExamples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = [to_arrays(of_row) for of_row in study.readings]
    real, calls = module.read_heads, []

    def killed(*arguments: Any, **options: Any) -> Any:
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(int(arguments[1].rows[0]))
        return real(*arguments, **options)

    again = studied(local, tmp_path, heads=NAMED, examples=4)
    monkeypatch.setattr(module, "read_heads", killed)
    with pytest.raises(KeyboardInterrupt):
        _ = again.readings
    done: list[int] = []

    def counted(*arguments: Any, **options: Any) -> Any:
        done.append(int(arguments[1].rows[0]))
        return real(*arguments, **options)

    monkeypatch.setattr(module, "read_heads", counted)
    for ours, wanted in zip(again.readings, undisturbed, strict=True):
        assert all(
            torch.equal(values.nan_to_num(), wanted[name].nan_to_num())
            for name, values in to_arrays(ours).items()
        )
    assert sorted([*calls, *done]) == sorted(study.rows)
    done.clear()
    _ = studied(local, tmp_path, heads=NAMED, examples=4).readings
    assert done == []


def test_refused_before_anything_runs(local: LocalModel, tmp_path: Path) -> None:
    for options, message in (
        ({"heads": ((3, 0),)}, "no heads 3.0"),
        ({"heads": ()}, "no heads"),
        ({"rows": (12,)}, "no row 12"),
        ({"rows": ()}, "no row"),
        ({"rows": (-1, 2)}, "no row -1"),
        ({"examples": 0}, "--examples"),
        ({"effects": ("direct", "direct")}, "direct,direct"),
        ({"effects": ()}, "--effects"),
        ({"effects": ("detour",)}, "detour"),
        ({"means": "zero"}, "zero"),
        ({"means": "position"}, "different lengths"),
    ):
        with pytest.raises(OptionError, match=message):
            studied(local, tmp_path, **options)
    long = rows_corpus([[4] * 1025, [5, 6, 7]])
    with pytest.raises(OptionError, match="--max-length 1024"):
        studied(local, tmp_path, long, heads=NAMED)
    assert studied(local, tmp_path, long, heads=NAMED, rows=(1,)).rows == (1,)
    assert not any(path.suffix == ".work" for path in tmp_path.rglob("*"))
    with pytest.raises(CorpusError, match="more than two tokens"):
        _ = studied(local, tmp_path, rows_corpus([[4, 5], [6]]), heads=NAMED).rows


def test_more_than_a_browser_can_hold_is_refused(local: LocalModel, tmp_path: Path) -> None:
    long = rows_corpus([[1] * 1024] * 40)
    with pytest.raises(OptionError, match=r"40 rows and 2 heads make a page of 574 MiB") as caught:
        studied(local, tmp_path, long, heads=NAMED, rows=tuple(range(40)))
    assert "--max-length" in str(caught.value.where)
    assert studied(local, tmp_path, long, heads=NAMED, rows=(0, 1)).options.rows == (0, 1)


def test_zero_means_are_no_means(local: LocalModel) -> None:
    """What stands for a head matters: readings with means are not those with zeros."""
    model, readout = load_bridge(local), Readout.of(local)
    batch = BatchPlan(0, (1,)).load(CORPUS)
    function = torch.zeros(len(readout.rows), dtype=torch.bool)
    one, other = (
        read_heads(model, batch, [(2, 1)], means, readout, function)[0]
        for means in (means_over(model, [batch]), WriterMeans.zero(model))
    )
    assert not torch.allclose(one.lowered.value, other.lowered.value, atol=1e-3)
