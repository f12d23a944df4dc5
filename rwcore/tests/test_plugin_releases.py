"""Claims about the first release of Pythia are never answered by another; claims about biases need biases."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

# Runs inside this process forget every module they import; compiled ones cannot be imported twice.
import rwcore.models.locate
import rwcore.probing.releases
import rwcore.report.write
import rwcore.stats.null
import rwcore.studies.weights
import rwcore.weights.sources  # noqa: F401
from rwcore.claim.schema import load_papers
from rwcore.models.registry import registry
from rwcore.paths import claims_dir
from rwcore.plugin.parametrize import Asked, applies, subjects_of
from rwcore.tests.demo_paper import SUM, paper

pytest_plugins = ["pytester"]

V0 = "EleutherAI/pythia-70m-v0"
RETRAINED = "EleutherAI/pythia-70m"
LAYERS, WIDTH, NEURONS = 2, 8, 900

ABOUT = SUM.replace('scope = "synthetic"', f'scope = "published"\nmodels = ["{V0}"]')
OF_BIASES = SUM.replace('scope = "synthetic"', 'scope = "any-decoder"\nbiased = true').replace(
    'values = 2.0\ntolerance = { kind = "within", abs = 0.1, because = "float64 sums" }',
    'holds = { kind = "exact", value = 2 }',
)
TEST = """
import pytest

@pytest.mark.claim("C01")
def test_one(subject, claim):
    claim.check(2.0)
"""
CONFTEST = "pytest_plugins = ['rwcore.plugin']\n"


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A checkout with one claim."""
    for name in ("RWCORE_MODELS", "RWCORE_REPORT", "RWCORE_TOKENS", "RWCORE_FULL", "CI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RWCORE_ROOT", str(pytester.path))
    monkeypatch.setenv("RWCORE_CACHE", str(pytester.path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(pytester.path / "hub"))
    pytester.makeconftest(CONFTEST)
    for folder in ("golden/demo", "claims/demo"):
        (pytester.path / folder).mkdir(parents=True)
    (pytester.path / "claims/demo/test_demo.py").write_text(TEST)
    return pytester


def says(project: pytest.Pytester, claim: str) -> None:
    (project.path / "claims/demo/paper.toml").write_text(paper(claim, claims_in_spec=1))


def put(project: pytest.Pytester, model: str) -> Path:
    """A small random GPT-NeoX where the hub's cache would have another."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = project.path / f"hub/models--{model.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs/main").write_text(commit)
    return save_neox(repository / "snapshots" / commit)


def save_neox(folder: Path) -> Path:
    """As transformers would save it: what it loads cannot be loaded twice, see above."""
    folder.mkdir(parents=True)
    config = {
        "model_type": "gpt_neox", "num_hidden_layers": LAYERS, "hidden_size": WIDTH,
        "intermediate_size": NEURONS, "num_attention_heads": 2, "vocab_size": 16,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    shapes: dict[str, tuple[int, ...]] = {"embed_in.weight": (16, WIDTH), "final_layer_norm.weight": (WIDTH,)}
    for layer in range(LAYERS):
        block = f"layers.{layer}."
        matrices = {"mlp.dense_h_to_4h": (NEURONS, WIDTH), "mlp.dense_4h_to_h": (WIDTH, NEURONS)}
        for name, size in matrices.items():
            shapes |= {f"{block}{name}.weight": size, f"{block}{name}.bias": size[:1]}
        for part in ("weight", "bias"):
            shapes[f"{block}post_attention_layernorm.{part}"] = (WIDTH,)
    generator = torch.Generator().manual_seed(0)
    stored = {f"gpt_neox.{name}": torch.randn(size, generator=generator) for name, size in shapes.items()}
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def run(project: pytest.Pytester, models: str, *arguments: str) -> pytest.RunResult:
    return project.runpytest_inprocess(
        "claims", "-p", "no:randomly", "-p", "no:cacheprovider", "--rw-models", models, *arguments
    )


def with_published_products(folder: Path) -> None:
    """Give three neurons of layer 1 the input biases that their published products ask for."""
    from fixtures.tiny import local_model
    from rwcore.probing.releases import LAYER, PRODUCTS
    from rwcore.probing.weight_statistics import neuron_weights
    from rwcore.weights.mlp import mlp_weights

    found = neuron_weights(mlp_weights(local_model(folder, family="gpt_neox")), [LAYER])
    stored = load_file(folder / "model.safetensors")
    bias = stored[f"gpt_neox.layers.{LAYER}.mlp.dense_h_to_4h.bias"]
    for neuron, product in PRODUCTS[V0].items():
        bias[neuron] += product / found.in_norm[0, neuron] - found.bias[0, neuron]
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})


def test_other_weights_under_the_name_of_the_first_release_answer_nothing(project) -> None:
    says(project, ABOUT)
    folder = put(project, V0)
    result = run(project, V0)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        [f"*these are not the weights of {V0}: *neuron 1.828 is published as -0.633641*"]
    )
    with_published_products(folder)
    run(project, V0).assert_outcomes(passed=1)


def test_the_retrained_model_is_not_asked_about_the_first_release(project) -> None:
    says(project, ABOUT)
    put(project, RETRAINED)
    result = run(project, RETRAINED, "-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines([f"*belongs to the full reproduction*--rw-models {V0}*"])


@pytest.mark.parametrize("slug", [paper.slug for paper in load_papers(claims_dir())])
def test_no_claim_of_any_paper_about_the_first_release_is_asked_of_another_model(slug: str) -> None:
    """Also not by an alias, a revision, or together with others."""
    (found,) = [paper for paper in load_papers(claims_dir()) if paper.slug == slug]
    first = [id_ for id_ in registry() if id_.endswith("-v0")]
    retrained = [id_.removesuffix("-v0") for id_ in first]
    others = [*retrained, *(f"{id_}@main" for id_ in retrained), *(f"{id_}@step1000" for id_ in first)]
    for spec in subjects_of(found, found.claims, Asked({}, tuple(others), papers_own=True)):
        about = [
            expectation
            for claim in found.claims
            for expectation in claim.expect
            if expectation.scope == "published" and applies(expectation, found, spec, {})
        ]
        listed = {model for expectation in about for model in expectation.models}
        if set(spec.models) & set(others):
            assert not any(model.endswith("-v0") or model == "@v0" for model in listed), spec


@pytest.mark.parametrize(("family", "outcome"), [("gpt2", "passed"), ("llama", "skipped")])
def test_claims_about_biases_need_biases(project, family: str, outcome: str) -> None:
    """Of a folder only its files tell."""
    says(project, OF_BIASES)
    from fixtures.planted import plant

    plant(family, project.path / "folder", layers=1)
    result = run(project, "./folder", "-rs", "--rw-new-only")
    result.assert_outcomes(**{outcome: 1})
    if outcome == "skipped":
        result.stdout.fnmatch_lines(["*about input biases and the MLP of ./folder has none: ask e.g. gpt2*"])


@pytest.mark.parametrize(
    ("model", "asked"), [("packaged", False), ("gpt2", True), (V0, True), (RETRAINED, True)]
)
def test_registered_models_without_biases_are_not_asked_about_them(model: str, asked: bool) -> None:
    from rwcore.models.registry import find

    (found,) = [paper for paper in load_papers(claims_dir()) if paper.slug == "sparse_probing"]
    claims = [found.claim("C31")]
    specs = subjects_of(found, claims, Asked({}, (find(model).id,), papers_own=False))
    assert bool(specs) is asked
