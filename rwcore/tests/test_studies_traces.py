"""Traces of a prompt: the prediction that is asked about, the store, the table, the files."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pandas as pd
import pytest
import torch

from fixtures.tiny import BOS, build, local_model
from rwcore.ablation.interventions import Ablation, Intervention
from rwcore.ablation.last import Prediction, Prompt
from rwcore.ablation.trace import Trace, trace
from rwcore.corpora.encoder import read_encoder
from rwcore.corpora.prepare import prepare
from rwcore.corpora.registry import find
from rwcore.corpora.tokens import TokenCorpus
from rwcore.errors import CorpusError, NotGatedError, OptionError
from rwcore.models.load import load_bridge
from rwcore.neurons import NeuronSet
from rwcore.stats.classes import class_codes, classes_of
from rwcore.store import Store
from rwcore.studies import traces
from rwcore.studies.forward import ForwardOptions
from rwcore.studies.trace_export import SCHEMA, escaped, export_trace
from rwcore.studies.trace_tables import COLUMNS, PARTS, part, trace_table
from rwcore.studies.traces import Question, TraceOptions, TraceStudy
from rwcore.studies.weights import weight_study
from rwcore.tests.command_line import assert_all_listed
from rwcore.tests.pass_makers import tiny_study

TEXT = "w1 w5 w7 w30 w2"
IDS = (BOS, 5, 9, 11, 34, 6)
SOME = NeuronSet.of("some", [(0, 3), (1, 5), (1, 6), (2, 0), (2, 9)])
ZERO = Intervention("zero", gate="-", post="+")


def study_of(folder: Path, root: Path, **changes: object) -> TraceStudy:
    local = local_model(build("llama", folder), id="tiny")
    options = ForwardOptions(device="cpu", token_budget=30)
    study = TraceStudy(weight_study(local, store=Store(root)), read_encoder(local), options=options)
    return dataclasses.replace(study, **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> TraceStudy:
    return study_of(tmp_path_factory.mktemp("llama"), tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def corpus(study: TraceStudy, tmp_path_factory: pytest.TempPathFactory) -> TokenCorpus:
    file = tmp_path_factory.mktemp("text") / "notes.jsonl"
    lines = ["w1 w2 w3", TEXT, "w9"]
    file.write_text("\n".join(json.dumps({"text": line}) for line in lines), encoding="utf-8")
    spec = dataclasses.replace(find(str(file)), max_length=16)
    return prepare(spec, study.encoder, study.weights.store)


def test_a_text_is_a_prompt_with_a_bos_once(study: TraceStudy) -> None:
    asked = study.of_text(TEXT, target="w4")
    assert asked.prompt == Prompt(IDS, target=8)
    assert study.of_text(f"<bos> {TEXT}").prompt == Prompt(IDS)
    assert study.of_text(TEXT, bos="none").prompt == Prompt(IDS[1:])
    assert study.of_text(TEXT, target="#63").prompt.target == 63


@pytest.mark.parametrize(
    ("target", "match"),
    [("w4 w5", "2: 'w4', 'w5'"), ("", "0: none"), ("#64", "no token 64")],
)
def test_a_target_is_one_token(target: str, match: str, study: TraceStudy) -> None:
    with pytest.raises(OptionError, match=match) as caught:
        study.of_text(TEXT, target=target)
    assert caught.value.remedy


def test_a_row_of_a_corpus_up_to_a_position(study: TraceStudy, corpus: TokenCorpus) -> None:
    asked = study.of_row(corpus, 1, 3)
    assert asked.prompt == Prompt(IDS[:4], following=34)
    assert (asked.source["row"], asked.source["position"]) == (1, 3)
    assert study.of_row(corpus, 1, 5).prompt == Prompt(IDS)
    for row, position, match in ((3, 0, "no row 3"), (-1, 0, "no row -1"), (1, 6, "no position 6")):
        with pytest.raises(OptionError, match=match) as caught:
            study.of_row(corpus, row, position)
        assert "are 0 to" in str(caught.value.remedy)
    foreign = dataclasses.replace(corpus, tokenizer_hash="sha256:other")
    with pytest.raises(CorpusError, match="tokenizer"):
        study.of_row(foreign, 1, 3)


def test_prompts_that_cannot_be_run(study: TraceStudy) -> None:
    with pytest.raises(OptionError, match="empty"):
        study.of_text("")
    with pytest.raises(OptionError, match=r"65 tokens.*64 positions"):
        study.of_text(" ".join(["w1"] * 64))


def test_a_trace_is_that_of_the_model_and_is_made_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = study_of(tmp_path / "llama", tmp_path / "store")  # a store that no other test has filled
    asked = study.of_text(TEXT)
    options = TraceOptions(groups=((0, 2),))
    found = study.trace(asked, SOME, ZERO, options)
    model = load_bridge(study.weights.local)
    ablation = Ablation.of(SOME, ZERO, signs=study.signs)
    expected = trace(model, asked.prompt, ablation, groups=[(0, 2)], budget=30)
    assert found.target == expected.target
    pd.testing.assert_frame_equal(
        found.table[[name for name in COLUMNS if name in trace_table(expected, ablation)]],
        trace_table(expected, ablation),
    )

    def never(*arguments: object, **options: object) -> Trace:
        raise AssertionError("made again")

    monkeypatch.setattr(traces, "trace", never)
    again = study.trace(asked, SOME, ZERO, dataclasses.replace(options, parts=options.parts[::-1]))
    pd.testing.assert_frame_equal(again.table, found.table)
    others = [
        (Question(Prompt(IDS[:-1]), {}), SOME, ZERO, options),
        (asked, NeuronSet.of("one", [(0, 3)]), ZERO, options),
        (asked, SOME, Intervention("zero", gate="-"), options),
        (asked, SOME, ZERO, dataclasses.replace(options, strength="target_logit")),
        (asked, SOME, ZERO, dataclasses.replace(options, groups=())),
    ]
    for other in others:
        with pytest.raises(AssertionError, match="made again"):
            study.trace(*other)


def test_names_stand_beside_numbers(study: TraceStudy) -> None:
    found = study.trace(study.of_text(TEXT), SOME, ZERO)
    assert part(found.table, "position")["token"].tolist() == ["<bos>", "w1", "w5", "w7", "w30", "w2"]
    codes, names = class_codes(study.weights.cosines), classes_of(study.weights.cosines)
    neurons = part(found.table, "neuron")
    for layer, neuron, name in zip(neurons["layer"], neurons["neuron"], neurons["class"], strict=True):
        assert name == names[int(codes[int(layer), int(neuron)])].name
    clean = found.table.iloc[0]
    assert clean["argmax_token"] == study.words[found.target]
    assert clean["target_rank"] == 0


def test_the_table_has_a_row_for_each_part() -> None:
    def prediction(entropy: float) -> Prediction:
        return Prediction(entropy, 3, 2 * entropy, 0.5, 1, loss=0.25 + entropy)

    ablation = Ablation.of(SOME, Intervention("zero"), signs=torch.ones(3, 24, dtype=torch.int8))
    table = trace_table(
        Trace(
            8,
            prediction(1.0),
            prediction(3.0),
            by_layer={0: prediction(1.5), 1: prediction(1.25), 2: prediction(1.0)},
            up_to={0: prediction(1.5), 1: prediction(2.0), 2: prediction(3.0)},
            since={0: prediction(3.0), 1: prediction(1.5), 2: prediction(1.0)},
            groups={(1, 2): prediction(1.5)},
            by_position={4: prediction(0.5)},
            by_neuron={(1, 6): prediction(2.0), (0, 3): prediction(1.0)},
            strongest={1: prediction(2.0)},
            all_but={(1, 6): prediction(1.5)},
        ),
        ablation,
    )
    assert list(dict.fromkeys(table["part"])) == [name for name in PARTS if not name.startswith("direct")]
    assert part(table, "layer")["n"].tolist() == [1, 2, 2]
    assert part(table, "up_to")["n"].tolist() == [1, 3, 5]
    assert part(table, "since")["n"].tolist() == [5, 4, 2]
    assert part(table, "group").iloc[0][["layers", "n"]].tolist() == ["1,2", 4]
    assert part(table, "all_but").iloc[0][["layer", "neuron", "n"]].tolist() == [1, 6, 4]
    assert part(table, "neuron")["neuron"].tolist() == [6, 3], "in the order of strength"
    position = part(table, "position").iloc[0]
    assert position["position"] == 4
    assert position["delta_entropy"] == position["delta_loss"] == 0.5, "clean − ablated"
    assert position["delta_target_logit"] == 1.0
    assert "layer" not in position


def test_means_are_those_of_the_model(study: TraceStudy, corpus: TokenCorpus, tmp_path: Path) -> None:
    asked, mean = study.of_text(TEXT), Intervention("mean")
    with pytest.raises(OptionError, match="needs the means"):
        study.trace(asked, SOME, mean)
    measured = tiny_study(study.weights.local, study.weights.store.root, corpus)
    found = dataclasses.replace(study, means=measured).trace(asked, SOME, mean, TraceOptions(parts=()))
    assert found.table["part"].tolist() == ["clean", "ablated"]
    assert abs(found.table["delta_entropy"].iloc[1]) > 1e-5
    other = local_model(build("llama", tmp_path / "other", seed=1, context=128), id="other")
    wrong = dataclasses.replace(study, means=tiny_study(other, tmp_path, corpus))
    with pytest.raises(OptionError, match="another model"):
        wrong.trace(asked, SOME, mean)


def test_neurons_and_conditions_must_be_possible(study: TraceStudy, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"no neuron 3\.0"):
        study.trace(study.of_text(TEXT), NeuronSet.of("far", [(3, 0)]), ZERO)
    local = local_model(build("gpt2", tmp_path / "gpt2"), id="plain")
    plain = TraceStudy(weight_study(local, store=Store(tmp_path / "store")), read_encoder(local))
    with pytest.raises(NotGatedError, match="no gate"):
        plain.trace(plain.of_text(TEXT), SOME, ZERO)
    assert len(plain.trace(plain.of_text(TEXT), SOME, Intervention("zero", post=None)).table) > 20


def test_an_export_is_whole_and_says_what_was_done(
    study: TraceStudy, corpus: TokenCorpus, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    asked = study.of_row(corpus, 1, 3, target="w4")
    done = export_trace(study, asked, SOME, ZERO, out, options=TraceOptions(groups=((1, 2),)))
    facts = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    assert facts["schema"] == SCHEMA
    assert facts["complete"]
    assert_all_listed(facts, out)
    assert facts["prompt"]["tokens"] == ["<bos>", "w1", "w5", "w7"]
    assert (facts["prompt"]["row"], facts["prompt"]["position"]) == (1, 3)
    assert (facts["target"], facts["next"]) == ({"id": 8, "token": "w4"}, {"id": 34, "token": "w30"})
    assert facts["ablation"] == {"set": "some", "neurons": 5, **dataclasses.asdict(ZERO)}
    written = pd.read_csv(out / "trace.csv", keep_default_na=False)
    assert written.columns.tolist() == list(COLUMNS)
    assert written["entropy"].to_numpy() == pytest.approx(done.traced.table["entropy"].to_numpy(), rel=1e-8)
    summary = (out / "trace.md").read_text(encoding="utf-8")
    for heading in ("The whole", "Layers", "Positions", "Neurons", "Strongest neurons together"):
        assert f"## {heading}\n" in summary
    assert "layers 1,2 only" in summary
    assert r"0: \<bos\>" in summary
    assert "Next comes w30" in summary
    first = part(done.traced.table, "neuron").iloc[0]
    assert f"| {first['layer']}.{first['neuron']} " in summary


def test_what_was_not_asked_for_is_not_written(study: TraceStudy, tmp_path: Path) -> None:
    out = tmp_path / "out"
    few = TraceOptions(parts=("positions",))
    export_trace(study, study.of_text(TEXT), SOME, ZERO, out, options=few)
    assert {path.stem for path in out.glob("*.png")} == {"positions"}
    summary = (out / "trace.md").read_text(encoding="utf-8")
    assert "## Positions" in summary
    assert "## Layers" not in summary
    assert "loss" not in summary
    nothing = tmp_path / "nothing"
    export_trace(study, study.of_text(TEXT), NeuronSet.of("none", []), ZERO, nothing, plots=True)
    table = pd.read_csv(nothing / "trace.csv")
    assert table["delta_entropy"].eq(0).all()
    assert {path.stem for path in nothing.glob("*.png")} == {"positions"}


def test_markup_in_tokens_is_text() -> None:
    assert escaped("a|b") == r"a\|b"
    assert escaped("<s>_*`#") == r"\<s\>\_\*\`\#"
