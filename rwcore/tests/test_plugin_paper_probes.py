"""Lists of neurons as published, of probes of a small model: which neurons they have, and what is asked."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch

from fixtures.letters import save_letters
from fixtures.tiny import SIZES, build, local_model
from rwcore.claim.needs import Needs
from rwcore.claim.schema import Expectation
from rwcore.models.spec import LocalModel
from rwcore.plugin.asked_features import FeatureTexts, read_feature_texts
from rwcore.plugin.checks import CHECKS
from rwcore.plugin.gates import _features_missing, other_text
from rwcore.plugin.model_subject import ModelSubject
from rwcore.plugin.options import SETTINGS
from rwcore.plugin.paper_probes import PaperProbes, candidates, listed
from rwcore.plugin.probing_tables import dataset_sizes, neurons
from rwcore.plugin.subjects import Kind, SubjectSpec
from rwcore.probing.atlas import COLUMNS
from rwcore.probing.tasks import ProbeTask, Split
from rwcore.store import Store
from rwcore.studies.probe_tables import Atlas
from rwcore.studies.weights import weight_study
from rwcore.tests.corpus_makers import byte_tokenizer
from rwcore.tests.demo_paper import SUM, paper
from rwcore.tests.test_plugin_releases import V0, with_published_products

pytest_plugins = ["pytester"]
LAYERS, WIDTH = 2, 40
PAPER = SubjectSpec(Kind.PAPER, "org/paper-v0", ("org/paper-v0",))


def task(name: str, family: str = "x", dataset: str = "ewt") -> ProbeTask:
    places, label = torch.arange(4), torch.tensor([True, False, True, False])
    nothing = torch.zeros(0, dtype=torch.int64)
    return ProbeTask(dataset, family, name, places, label, places, Split(places[:2], nothing, places[2:]))


def atlas(*tasks: ProbeTask) -> Atlas:
    """Neuron n of layer l has the mean difference −n + l/2 and the F1 and MCC n / 100 + l / 1000."""
    neuron = torch.arange(WIDTH).expand(LAYERS, len(tasks), WIDTH).float()
    layer = torch.arange(LAYERS)[:, None, None]
    score = neuron / 100 + layer / 1000
    columns = dict.fromkeys(COLUMNS, score) | {"mean_dif": -neuron + layer / 2}
    return Atlas("model", tasks, tuple(range(LAYERS)), LAYERS, columns)


def test_candidates_are_the_largest_mean_differences_of_each_layer() -> None:
    found = candidates(atlas(task("Gender_Fem", "morphology")))
    assert len(found) == LAYERS * 30
    assert set(found["neuron"]) == set(range(WIDTH - 30, WIDTH))
    row = found[(found["layer"] == 1) & (found["neuron"] == 20)].iloc[0]
    assert row["test_mcc"] == row["coef"] == pytest.approx(0.201)
    assert (row["model"], row["dataset"], row["hook_loc"], row["k"]) == ("model", "ewt", "mlp.hook_post", 1)


def test_names_are_those_of_the_published_files() -> None:
    found = candidates(atlas(task("upos_PUNCT", "upos"), task("start_math"), task("is_math")))
    assert list(found["feature"].unique()) == ["upos_PUNC", "is_math"]


def test_the_best_neuron_is_that_of_the_best_f1_and_relations_have_none() -> None:
    found = candidates(atlas(task("eos_True"), task("dep_cc", "dep")))
    best = listed(found, "top_mono_neurons.csv")
    assert best[["feature", "layer", "neuron"]].to_numpy().tolist() == [["eos_True", 1, WIDTH - 1]]
    languages = found.assign(dataset="natural_lang_id")
    assert not len(listed(languages, "top_mono_neurons.csv"))


@pytest.mark.parametrize(("dataset", "least"), [("natural_lang_id", 1.0), ("ewt", 0.95), ("latex", 0.85)])
def test_notable_neurons_have_the_published_thresholds(dataset: str, least: float) -> None:
    found = candidates(atlas(task("f"))).assign(dataset=dataset)
    mcc = [least, math.nextafter(least, 0), *[0.0] * (len(found) - 2)]
    assert len(listed(found.assign(test_mcc=mcc), "all_neurons_of_interest.csv")) == 1


def test_the_hundred_best_of_one_pair() -> None:
    many = pd.concat([candidates(atlas(task("prime-factors"), task("high-school")))] * 2, ignore_index=True)
    best = listed(many, "pythia70m_prime_factor_neurons.csv")
    assert len(best) == 100
    assert set(best["feature"]) == {"prime-factors"}
    assert best["test_mcc"].is_monotonic_decreasing
    assert best["test_mcc"].iloc[0] == many["test_mcc"].max()


# --- a small model, from its texts to the lists


def model(folder: Path, **shape: int) -> LocalModel:
    """A GPT-NeoX with random weights that reads bytes."""
    build("gpt_neox", folder, vocab=320, context=64, **shape)
    byte_tokenizer("<|endoftext|>", bos_token="<|endoftext|>", eos_token="<|endoftext|>").save_pretrained(
        folder
    )
    return local_model(folder, id="org/paper-v0", family="gpt_neox")


def texts(folder: Path) -> Path:
    """A file of texts in two languages, and the TOML file that names it."""
    lines = [
        json.dumps({"text": word * 40 + str(number), "meta": {"language": name}})
        for number in range(30)
        for name, word in (("de", f"Haus {number} und "), ("fr", f"la MAISON {number % 7} est "))
    ]
    (folder / "texts.jsonl").write_text("\n".join(lines), encoding="utf-8")
    toml = folder / "features.toml"
    toml.write_text('natural_languages = { corpus = "texts.jsonl", label = "meta.language" }\n')
    return toml


def subject(folder: Path) -> ModelSubject:
    local = model(folder / "model")
    return ModelSubject(
        PAPER, (local,), Store(folder / "store"), None,  # type: ignore[arg-type]
        recorded=False, features=read_feature_texts(texts(folder)),
    )  # fmt: skip


def test_neurons_of_a_model_are_listed_as_the_published_ones(tmp_path: Path) -> None:
    asked = subject(tmp_path)
    files = "all_neurons_of_interest.csv", "monosemantic_language_neurons.csv"
    found = neurons(asked, *files, datasets=("natural_lang_id", "latex"))
    picked = found[found["source"] == files[1]]
    # Two languages, all neurons of the three layers: fewer than thirty.
    assert len(picked) == 2 * SIZES["layers"] * SIZES["d_mlp"]
    assert set(found["dataset"]) == {"natural_lang_id"}, "latex has no texts here"
    assert set(picked["feature"]) == {"de", "fr"}
    assert set(picked["model"]) == {"org/paper-v0"}
    assert (found[found["source"] == files[0]]["test_mcc"] == 1).all()
    # One class is the other's negation, and a probe's weight turns with it.
    de, fr = (picked[picked["feature"] == name].set_index(["layer", "neuron"]) for name in ("de", "fr"))
    assert (de["test_mcc"] - fr["test_mcc"]).abs().max() < 1e-5
    assert (de["coef"] + fr["coef"]).abs().max() < 1e-2
    sizes = dataset_sizes(asked)
    assert sizes.loc["natural_lang_id", ["Sequences", "Total Features"]].tolist() == [60, 2]
    assert sizes.loc["natural_lang_id", "Non padding tokens"] == 60 * 63


def test_layers_that_do_not_fit_on_the_disk_together_come_to_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = subject(tmp_path)
    (study,) = asked.studies.values()
    whole = asked.paper_probes.candidates("natural_lang_id")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2))
    other = weight_study(study.local, store=Store(tmp_path / "other"))
    probes = PaperProbes(other, asked.paper_probes.texts)
    assert list(probes._passes(60)) == [(0,), (1,), (2,)]
    pd.testing.assert_frame_equal(probes.candidates("natural_lang_id"), whole)


CLAIM = SUM.replace('scope = "synthetic"', f'scope = "published"\nmodels = ["{V0}"]').replace(
    "values = 2.0", 'needs = { features = ["natural_languages"] }\nvalues = 2.0'
)
TEST = """
import pytest
from rwcore.plugin.probing_tables import neurons

@pytest.mark.claim("C01")
def test_one(subject, claim):
    table = neurons(subject, "monosemantic_language_neurons.csv", datasets=("natural_lang_id",))
    claim.check(float(table["feature"].nunique()))
"""


@pytest.mark.slow
def test_the_first_release_is_probed_and_nothing_else_under_its_name(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Texts are asked for; then other weights are refused; then the claim is answered by probes."""
    root = pytester.path
    for name, value in (("ROOT", root), ("CACHE", root / "cache"), ("REPORT", ""), ("FEATURES", "")):
        monkeypatch.setenv(f"RWCORE_{name}", str(value))
    monkeypatch.setenv("HF_HUB_CACHE", str(root / "hub"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    pytester.makeconftest("pytest_plugins = ['rwcore.plugin']\n")
    for folder in ("golden/demo", "claims/demo", "texts"):
        (root / folder).mkdir(parents=True)
    (root / "claims/demo/test_demo.py").write_text(TEST)
    (root / "claims/demo/paper.toml").write_text(paper(CLAIM, claims_in_spec=1))
    repository = root / f"hub/models--{V0.replace('/', '--')}"
    commit = "0123456789abcdef0123456789abcdef01234567"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs/main").write_text(commit)
    weights = repository / "snapshots" / commit
    model(weights, d_mlp=900)

    def run(*options: str) -> pytest.RunResult:
        asked = ("claims", "-p", "no:cacheprovider", "-rs", "--rw-models", V0, *options)
        return pytester.runpytest_subprocess(*asked)

    missing = run()
    missing.assert_outcomes(skipped=1)
    missing.stdout.fnmatch_lines(["*needs texts for the features natural_languages*--rw-features FILE.toml*"])
    given = "--rw-features", str(texts(root / "texts"))
    refused = run(*given)
    refused.assert_outcomes(errors=1)
    refused.stdout.fnmatch_lines([f"*these are not the weights of {V0}: *"])
    with_published_products(weights)
    run(*given).assert_outcomes(passed=1)
    wrong = run("--rw-features", str(root / "nothing.toml"))
    assert wrong.ret == pytest.ExitCode.USAGE_ERROR
    wrong.stderr.fnmatch_lines(["*the texts of features cannot be read*"])


# --- what is missing


def wanting(*families: str) -> Expectation:
    needs = Needs(weights=True, features=list(families))
    rule = {"kind": "exact", "value": 0}
    return Expectation.model_validate({"scope": "ours", "needs": needs, "holds": rule})


def asked_of(tmp_path: Path, *expectations: Expectation) -> tuple[Any, Any]:
    settings = SimpleNamespace(features=read_feature_texts(texts(tmp_path)), knowledge=None)
    pairs = [(None, number, one) for number, one in enumerate(expectations)]
    item: Any = SimpleNamespace(stash={CHECKS: SimpleNamespace(pairs=pairs, claims=[])})
    config: Any = SimpleNamespace(stash={SETTINGS: settings})
    return config, item


@pytest.fixture
def no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.mark.usefixtures("no_hub")
def test_what_is_missing_is_said_with_what_would_help(tmp_path: Path) -> None:
    none = FeatureTexts()
    assert "--rw-features FILE.toml with treebank" in str(none.missing("treebank"))
    assert "rwcore fetch --corpus pile-test;" in str(none.missing("compound_words"))
    assert "rwcore fetch --corpus pile-test-arxiv" in str(none.missing("latex"))
    assert read_feature_texts(texts(tmp_path)).missing("natural_languages") is None


@pytest.mark.usefixtures("no_hub")
def test_a_test_runs_for_the_expectations_whose_texts_are_here(tmp_path: Path) -> None:
    here, away = wanting("natural_languages"), wanting("natural_languages", "treebank")
    config, item = asked_of(tmp_path, here, away)
    assert _features_missing(config, item, PAPER) is None
    assert other_text(config, here, PAPER) is None
    assert "treebank" in str(other_text(config, away, PAPER))
    config, item = asked_of(tmp_path, away)
    assert "treebank" in str(_features_missing(config, item, PAPER))
    other = SubjectSpec(Kind.OTHER, "org/a", ("org/a",))
    assert _features_missing(config, item, other) is None
    assert other_text(config, away, other) is None


def test_letters_are_no_tokens_of_the_papers(tmp_path: Path) -> None:
    """Stand-ins are not asked, and say why."""
    local = local_model(save_letters(build("gpt_neox", tmp_path), SIZES["vocab"]), id="tiny")
    stand_in = SubjectSpec(Kind.STAND_IN, "tiny", ("tiny",))
    asked = ModelSubject(stand_in, (local,), Store(tmp_path), None, recorded=True)  # type: ignore[arg-type]
    with pytest.raises(pytest.skip.Exception, match="a small model reads letters"):
        neurons(asked, "top_mono_neurons.csv", datasets=("ewt",))
