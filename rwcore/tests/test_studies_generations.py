"""Texts of a study: kept, compared with the clean one, written so that a person can read them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from fixtures.tiny import BOS, EOS, build, local_model
from rwcore.ablation.generation import Continuation, Decoding, generate
from rwcore.ablation.grid import ChosenSet, Experiment, experiments, interventions
from rwcore.ablation.interventions import Intervention
from rwcore.corpora.encoder import read_encoder
from rwcore.errors import CorpusError, ModelError, NotGatedError, OptionError
from rwcore.models.load import load_bridge
from rwcore.models.spec import LocalModel
from rwcore.neurons import NeuronSet
from rwcore.parallel import InProcess
from rwcore.store import Store
from rwcore.studies import generations
from rwcore.studies.forward import ForwardOptions
from rwcore.studies.generation_export import (
    COLUMNS,
    MARK,
    export_generations,
    headline,
    markdown,
    passages,
    visible,
)
from rwcore.studies.generations import GenerationStudy, Text
from rwcore.studies.weights import weight_study
from rwcore.tests.corpus_makers import END, byte_tokenizer
from rwcore.tests.pass_makers import random_corpus, tiny_study

SET = ChosenSet(
    "some",
    NeuronSet.of("some", [(0, number) for number in range(12)]),
    NeuronSet.of("other", [(0, 20), (0, 21)]),
)
ZERO = experiments([SET], interventions(["zero"]))


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> LocalModel:
    return local_model(build("llama", tmp_path_factory.mktemp("llama")), id="tiny")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


def study_of(local: LocalModel, root: Path, tokens: int = 10, **changes: Any) -> GenerationStudy:
    weights = weight_study(local, store=Store(root))
    options = ForwardOptions(device="cpu")
    study = GenerationStudy(weights, read_encoder(local), Decoding(tokens), options=options)
    return dataclasses.replace(study, **changes)


@pytest.fixture
def study(local: LocalModel, store: Path) -> GenerationStudy:
    return study_of(local, store)


def ids(text: Text) -> list[int]:
    return text.continuation.tokens.tolist()


# --- prompts -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "bos", "expected"),
    [
        ("w0 w5", "model", (BOS, 4, 9)),
        ("<bos> w0", "model", (BOS, 4)),
        ("<bos> <bos> w0", "model", (BOS, BOS, 4)),  # the original's two
        ("", "model", (BOS,)),
        ("w0", "none", (4,)),
        ("<bos> w0", "none", (BOS, 4)),
        ("w0", "eot", (EOS, 4)),
        ("<eos> w0", "eot", (EOS, 4)),
    ],
)
def test_a_prompt_has_one_bos(study: GenerationStudy, text: str, bos: str, expected: tuple[int, ...]) -> None:
    assert dataclasses.replace(study, bos=bos).prompt(text).tokens == expected


def test_prompts_that_cannot_be(study: GenerationStudy) -> None:
    with pytest.raises(OptionError, match="nothing to continue"):
        dataclasses.replace(study, bos="none").prompt("")
    with pytest.raises(OptionError, match="do not fit into the 64 positions"):
        study.prompt("w0 " * 60)
    assert len(study.prompt("w0 " * 54).tokens) == 55
    small = dataclasses.replace(study.encoder, vocab=20)
    with pytest.raises(OptionError, match="token 34, and the model's embedding has 20 rows"):
        dataclasses.replace(study, encoder=small).prompt("w30")
    without = dataclasses.replace(study.encoder, tokenizer=byte_tokenizer())
    with pytest.raises(CorpusError, match="neither BOS nor end-of-text"):
        dataclasses.replace(study, encoder=without).prompt("a")


def test_a_text_ends_with_any_end(study: GenerationStudy) -> None:
    chat = byte_tokenizer(END, "<|im_end|>", eos_token="<|im_end|>")
    encoder = dataclasses.replace(study.encoder, tokenizer=chat)
    assert dataclasses.replace(study, encoder=encoder).stop == (256, 257)
    assert study.stop == (EOS,)


# --- texts ---------------------------------------------------------------------------------------------


def test_texts_are_those_of_the_model_with_its_hooks(study: GenerationStudy, local: LocalModel) -> None:
    prompts = [study.prompt("w3 w8"), study.prompt("")]
    found = study.texts(prompts, ZERO)
    names = ["clean", "some zero", "some zero baseline"]
    assert [(text.prompt, text.name) for text in found] == [(n, name) for n in (0, 1) for name in names]
    model = load_bridge(local)
    for text in found:
        ablations = [] if text.experiment is None else [study.ablation(text.experiment)]
        alone = generate(model, prompts[text.prompt].tokens, study.decoding, *ablations, stop=[EOS])
        assert ids(text) == alone.tokens.tolist()
        assert text.continuation.logprob.tolist() == alone.logprob.tolist()
    clean, ablated = found[:2]
    assert clean.parts is None
    assert ablated.parts is not None
    assert ids(clean)[: ablated.parts] == ids(ablated)[: ablated.parts]
    assert ids(clean)[ablated.parts] != ids(ablated)[ablated.parts]


def test_a_text_is_never_made_twice(
    local: LocalModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def counting(*words: Any, **options: Any) -> Any:
        made.append(words)
        return generate(*words, **options)

    monkeypatch.setattr(generations, "generate", counting)

    def texts(text: str = "w3", tokens: int = 6, **changes: Any) -> int:
        made.clear()
        study = study_of(local, tmp_path, tokens, **changes)
        study.texts([study.prompt(text)], ZERO[:1])
        return len(made)

    assert texts() == 2
    assert texts() == 0
    assert texts(decoding=Decoding(6, seed=4)) == 0, "nothing is drawn"
    assert texts("w4") == 2
    assert texts(tokens=7) == 2
    assert texts(bos="none") == 2
    assert texts(decoding=Decoding(6, 1.0, seed=1)) == 2
    assert texts(decoding=Decoding(6, 1.0, seed=2)) == 2
    assert texts(decoding=Decoding(6, 1.0, 5, seed=2)) == 2
    assert texts(options=ForwardOptions(device="cpu", dtype="bfloat16")) == 2


def test_all_texts_are_tasks_of_the_engine(local: LocalModel, tmp_path: Path) -> None:
    seen: list[str] = []

    class Watching(InProcess):
        def map(self, function: Any, specs: Sequence[Any], *, desc: str) -> list[Any]:
            seen.extend(getattr(spec, "name", "") for spec in specs)
            return super().map(function, specs, desc=desc)

    weights = weight_study(local, store=Store(tmp_path), engine=Watching())
    study = dataclasses.replace(study_of(local, tmp_path), weights=weights)
    study.texts([study.prompt("w3")], ZERO)
    assert seen == ["clean", "some zero", "some zero baseline"]


def test_means_are_those_of_the_model(local: LocalModel, tmp_path: Path) -> None:
    corpus = random_corpus(rows=12, seed=2)
    todo = experiments([SET], [Intervention("mean", gate="-")])
    study = study_of(local, tmp_path)
    with pytest.raises(OptionError, match="needs the means"):
        study.texts([study.prompt("w3")], todo)
    with_means = dataclasses.replace(study, means=tiny_study(local, tmp_path, corpus))
    clean, ablated = with_means.texts([study.prompt("w3")], todo)
    assert clean.continuation.entropy[0] != ablated.continuation.entropy[0]
    other = local_model(build("llama", tmp_path / "other", seed=1, context=128), id="other")
    wrong = dataclasses.replace(study, means=tiny_study(other, tmp_path, corpus))
    with pytest.raises(OptionError, match="another model"):
        wrong.texts([study.prompt("w3")], todo)


def test_what_cannot_be_ablated(study: GenerationStudy, tmp_path: Path) -> None:
    outside = Experiment(NeuronSet.of("outside", [(9, 0)]), Intervention("zero"), ZERO[0].label)
    with pytest.raises(OptionError, match="9"):
        study.texts([study.prompt("w3")], [outside])
    plain = study_of(local_model(build("gpt2", tmp_path / "gpt2")), tmp_path)
    todo = experiments([SET], [Intervention("zero", gate="+")])
    with pytest.raises(NotGatedError):
        plain.texts([plain.prompt("w3")], todo)
    assert plain.texts([plain.prompt("w3")], ZERO)[1].parts is not None


def test_a_model_without_a_tokenizer(tmp_path: Path) -> None:
    folder = build("llama", tmp_path / "bare")
    for file in folder.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(ModelError, match="tokenizer"):
        study_of(local_model(folder), tmp_path)


# --- files ---------------------------------------------------------------------------------------------


def test_the_files_say_what_the_texts_are(study: GenerationStudy, tmp_path: Path) -> None:
    prompts = [study.prompt("w3 w8"), study.prompt("")]
    export = export_generations(study, prompts, ZERO, tmp_path / "out", command="rwcore generate …")
    table = pd.read_csv(tmp_path / "out" / "generations.csv", keep_default_na=False)
    assert tuple(table.columns) == COLUMNS
    assert len(table) == sum(len(ids(text)) for text in export.texts)
    part = table[(table["prompt"] == 0) & (table["set"] == "some") & ~table["baseline"]]
    (text,) = [text for text in export.texts if text.prompt == 0 and text.name == "some zero"]
    assert part["token"].tolist() == ids(text)
    assert part["step"].tolist() == list(range(len(ids(text))))
    assert part["mode"].unique().tolist() == ["zero"]
    assert part["logprob"].to_numpy() == pytest.approx(text.continuation.logprob.numpy(), rel=1e-8)
    assert part["entropy"].to_numpy() == pytest.approx(text.continuation.entropy.numpy(), rel=1e-8)
    assert [int(word[1:]) + 4 for word in part["text"]] == ids(text)
    clean = table[table["set"] == "clean"]
    assert clean["mode"].unique().tolist() == [""]
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest == json.loads(json.dumps(export.manifest))
    assert manifest["prompts"][0] == {"text": "w3 w8", "tokens": [BOS, 7, 12]}
    runs = {(run["prompt"], run["name"]): run for run in manifest["runs"]}
    assert runs[0, "some zero"] == {
        "prompt": 0,
        "name": "some zero",
        "tokens": len(ids(text)),
        "ended": text.continuation.ended,
        "parts_at": text.parts,
    }
    assert runs[1, "clean"]["parts_at"] is None
    neurons = json.loads((tmp_path / "out" / "neurons.json").read_text())
    assert list(neurons) == ["some zero", "some zero baseline"]
    assert neurons["some zero baseline"]["neuron"] == [20, 21]


def test_the_manifest_names_the_text_of_the_means(local: LocalModel, tmp_path: Path) -> None:
    corpus = random_corpus(rows=12, seed=2)
    study = study_of(local, tmp_path, means=tiny_study(local, tmp_path, corpus))
    export = export_generations(study, [study.prompt("w1")], [], tmp_path / "out")
    assert export.manifest["means"] == {
        "corpus": corpus.spec.id,
        "content_hash": corpus.content_hash,
        "tokens": corpus.n_tokens,
    }


def text_of(tokens: Sequence[int], parts: int | None) -> Text:
    """A text of given tokens; the clean one if it does not part."""
    numbers = torch.zeros(len(tokens), dtype=torch.float64)
    found = Continuation(torch.tensor(tokens), numbers, numbers, ended=False)
    return Text(0, None if parts is None else ZERO[0], found, parts)


def of_bytes(study: GenerationStudy) -> GenerationStudy:
    """The study with a tokenizer whose tokens are bytes."""
    encoder = dataclasses.replace(study.encoder, tokenizer=byte_tokenizer(END, eos_token=END), vocab=300)
    return dataclasses.replace(study, encoder=encoder)


def test_a_text_is_divided_where_it_parts(study: GenerationStudy) -> None:
    prompt = study.prompt("w3")
    assert passages(study, prompt, text_of([4, 5, 6], None)) == (" w0 w1 w2", "")
    assert passages(study, prompt, text_of([4, 5, 6], 2)) == (" w0 w1", " w2")
    assert passages(study, prompt, text_of([4, 5, 6], 0)) == ("", " w0 w1 w2")


def test_characters_of_several_tokens_are_not_broken(study: GenerationStudy) -> None:
    """The clean text has é where the other one has è: their first bytes are the same token."""
    study = of_bytes(study)
    prompt = study.prompt("caf")
    assert passages(study, prompt, text_of(list("è!".encode()), 1)) == ("", "è!")
    assert passages(study, prompt, text_of(list(b"\x1b[31m"), 0)) == ("", "⟨U+001B⟩[31m")


def test_markdown_shows_texts_as_they_are(study: GenerationStudy) -> None:
    study = of_bytes(study)
    tokens = list(b"_b_ <i>\n# c\n\n1. d\n- e\n    f\n```")
    page = markdown(study, [study.prompt("*a*")], [text_of(tokens, None), text_of(tokens[:7], 4)])
    assert [line for line in page.splitlines() if line.startswith(">")] == [
        "> \\*a\\*",
        "> \\_b\\_ \\<i\\>\\",
        "> \\# c",
        ">",
        "> 1\\. d\\",
        "> \\- e\\",
        "> &nbsp;&nbsp;&nbsp;&nbsp;f\\",
        "> \\`\\`\\`",
        f"> \\_b\\_ {MARK}\\<i\\>",
    ]
    assert "parts from the clean text at step 4" in page


def test_headlines(study: GenerationStudy) -> None:
    clean, ablated, _ = study.texts([study.prompt("w3 w8")], ZERO)
    assert headline(clean, clean).startswith("clean: ")
    assert "clean text" not in headline(clean, clean)
    assert headline(ablated, clean).endswith(f"parts from the clean text at step {ablated.parts}")
    same = dataclasses.replace(ablated, parts=None)
    assert headline(same, clean).endswith("the same as the clean text")
    ended = dataclasses.replace(clean, continuation=dataclasses.replace(clean.continuation, ended=True))
    assert "to the end of the text" in headline(ended, ended)


def test_what_cannot_be_seen_has_a_name() -> None:
    assert visible("a\tb\r\nc\x07\u200b é") == "a\tb\nc⟨U+0007⟩⟨U+200B⟩ é"


def test_a_folder_with_other_files_is_refused_first(study: GenerationStudy, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(Exception, match="not empty"):
        export_generations(study, [study.prompt("w1")], ZERO, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
