"""The registry of models and the names a user may type."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rwcore.errors import ModelError
from rwcore.models.registry import MODELS_TOML, find, group, read_registry, registry, similar
from rwcore.models.spec import ModelSpec

PUBLISHED = Path(__file__).parents[2] / "golden" / "rw_functionalities" / "published"

# --- the registered models against the published tables


def _published(file: str) -> pd.DataFrame:
    counts = pd.read_csv(PUBLISHED / file)
    if "checkpoint" in counts:
        counts = counts[counts["checkpoint"].isna()]
    return counts


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("gated", "rw_class_counts.csv"),
        ("instruct", "rw_class_counts_pdf_only.csv"),
        ("vanilla", "vanilla_class_counts.csv"),
    ],
)
def test_every_published_layer_has_the_declared_number_of_neurons(name: str, file: str):
    counts = _published(file)
    assert {spec.id for spec in group(name)} == set(counts["model"])
    for spec in group(name):
        neurons = counts[counts["model"] == spec.id].groupby("layer")["count"].sum()
        assert list(neurons.index) == list(range(spec.layers or 0)), spec.id
        assert set(neurons) == {spec.d_mlp}, spec.id


def test_widths_are_those_of_the_published_null_regions():
    # The regions depend on the width alone; every width they were computed for is one of a model.
    widths = set(pd.read_csv(PUBLISHED / "beta_regions.csv")["d_model"])
    declared = {spec.d_model for spec in registry().values()}
    assert {512, 768, 896, 1024, 2048, 2304, 3072, 3584, 4096} <= widths & declared


@pytest.mark.parametrize("spec", registry().values(), ids=lambda spec: spec.id)
def test_declared_shape_and_size_fit_together(spec: ModelSpec):
    assert spec.layers
    assert spec.d_mlp
    assert spec.d_model
    assert spec.parameters
    matrices = 3 if spec.gated_mlp else 2
    share = spec.layers * spec.d_mlp * spec.d_model * matrices / spec.parameters
    # The MLP is a third to three quarters of these models, less where the vocabulary dominates (0.06 of
    # pythia-14m, 0.18 of pythia-70m): a wrong layer count, width or size falls out of it.
    assert (0.05 if spec.parameters < 7.5e7 else 0.25) < share < 0.85


def test_groups_have_the_sizes_and_the_order_of_the_paper():
    assert [len(group(name)) for name in ("gated", "instruct", "vanilla", "packaged")] == [12, 6, 24, 1]
    gated = [spec.id for spec in group("gated")]
    assert gated[:2] == ["allenai/OLMo-7B-0424-hf", "allenai/OLMo-1B-hf"]
    assert gated[-1] == "01-ai/Yi-6B"


def test_instruct_models_have_the_shape_of_their_base():
    for spec in group("instruct"):
        base = registry()[spec.base or ""]
        assert "gated" in base.groups
        assert (spec.layers, spec.d_mlp, spec.d_model, spec.family) == (
            base.layers, base.d_mlp, base.d_model, base.family,
        )  # fmt: skip


def test_exceptions_of_the_published_numbers():
    raw = {spec.id for spec in registry().values() if spec.processing == "raw"}
    assert raw == {spec.id for spec in registry().values() if spec.family in ("bert", "t5")}
    assert len(raw) == 5
    for spec in registry().values():
        assert spec.n_encoder_layers == ((spec.layers or 0) // 2 if spec.family == "t5" else 0)
    assert [spec.id for spec in registry().values() if spec.recorded] == ["smollm2-135m-instruct-q4_1"]


def test_the_first_release_of_pythia_and_the_retrained_models_are_never_one():
    """Their neurons are others: no name of the one, with or without organisation, is the other."""
    first = [spec for spec in registry().values() if spec.id.endswith("-v0")]
    assert [spec.id.removeprefix("EleutherAI/pythia-") for spec in first] == [
        "70m-v0", "160m-v0", "410m-v0", "1b-v0", "1.4b-v0", "2.8b-v0", "6.9b-v0",
    ]  # fmt: skip
    for spec in first:
        assert spec.location == spec.id
        assert find(spec.id.rpartition("/")[2].upper()) == spec
        retrained = spec.id.removesuffix("-v0")
        assert find(retrained).location == retrained
        short = retrained.rpartition("/")[2]
        if short in read_registry().names:  # most short names are nobody's
            assert find(short).location == retrained
        else:
            with pytest.raises(ModelError, match="unknown model"):
                find(short)
    names = {name for name, id_ in read_registry().names.items() if id_ in {spec.id for spec in first}}
    assert all(name.endswith("-v0") for name in names)


def test_the_first_release_of_pythia_has_the_neurons_of_the_paper():
    neurons = {spec.id: (spec.layers or 0) * (spec.d_mlp or 0) for spec in registry().values()}
    first = {id_: count for id_, count in neurons.items() if id_.endswith("-v0")}
    assert sum(first.values()) == 1_327_104
    assert sum(registry()[id_].layers or 0 for id_ in first) == 146
    published = pd.read_csv(
        PUBLISHED.parents[1] / "sparse_probing" / "published" / "sparse_probing_neurons.csv"
    )
    last = published.groupby("model")[["layer", "neuron"]].max()
    assert {f"EleutherAI/{model}-v0" for model in last.index} == set(first)
    for model, row in last.iterrows():
        spec = registry()[f"EleutherAI/{model}-v0"]
        assert row["layer"] < (spec.layers or 0)
        assert (spec.d_mlp or 0) / 2 < row["neuron"] < (spec.d_mlp or 0)


def test_licences():
    gated = {spec.id.partition("/")[0] for spec in registry().values() if spec.licence_gated}
    assert gated == {"google", "meta-llama", "mistralai"}
    assert not find("t5-small").licence_gated


def test_othello_declares_what_its_repository_does_not_say():
    spec = find("othello-gpt")
    assert not spec.needs_config
    assert (spec.layers, spec.d_model, spec.d_mlp, spec.n_heads) == (8, 512, 2048, 8)
    assert all(pattern.endswith(".pth") for pattern in spec.weights)


def test_slugs_are_file_names_and_unique():
    slugs = [spec.slug for spec in registry().values()]
    assert len({slug.lower() for slug in slugs}) == len(slugs)
    assert not any(set(slug) & set('/\\:@ "') for slug in slugs)


def test_the_registry_cannot_be_changed_by_a_caller():
    registry().clear()
    assert len(registry()) == 53


# --- names


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gpt2-small", "gpt2"),
        ("openai-community/gpt2", "gpt2"),
        ("Llama-2-7b", "meta-llama/Llama-2-7b-hf"),
        ("meta-llama/Llama-2-7b", "meta-llama/Llama-2-7b-hf"),
        ("mistral-7b", "mistralai/Mistral-7B-v0.1"),
        ("yi-6b", "01-ai/Yi-6B"),
        ("olmo-7b-0424", "allenai/OLMo-7B-0424-hf"),
        ("OPT-125M", "facebook/opt-125m"),
        ("othello-gpt", "Baidicoot/Othello-GPT-Transformer-Lens"),
        ("google/GEMMA-2-2B", "google/gemma-2-2b"),
        ("packaged", "smollm2-135m-instruct-q4_1"),
        ("  distilgpt2 ", "distilgpt2"),
    ],
)
def test_aliases(text: str, expected: str):
    assert find(text) == registry()[expected]


@given(st.sampled_from(sorted(read_registry().names)), st.randoms())
def test_every_name_is_found_in_any_case(name: str, random):
    typed = "".join(random.choice((char.lower(), char.upper())) for char in name)
    assert find(typed).id == read_registry().names[name]


def test_a_revision_makes_another_model():
    spec = find("olmo-7b-0424@step0-tokens0B")
    assert spec.id == "allenai/OLMo-7B-0424-hf@step0-tokens0B"
    assert (spec.location, spec.revision) == ("allenai/OLMo-7B-0424-hf", "step0-tokens0B")
    assert (spec.layers, spec.family) == (32, "olmo")
    assert spec.groups == ()
    assert spec.id not in registry()
    assert spec.with_revision("main").id == "allenai/OLMo-7B-0424-hf@main"


def test_any_hub_name_is_accepted():
    spec = find("some-org/Some.Model_1")
    assert (spec.id, spec.source, spec.location) == (
        "some-org/Some.Model_1", "hub", "some-org/Some.Model_1",
    )  # fmt: skip
    assert (spec.gated_mlp, spec.layers, spec.groups) == (None, None, ())
    assert find("some-org/model@refs/pr/1").revision == "refs/pr/1"


def test_folders_and_gguf_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "gpt2").mkdir()
    (tmp_path / "gpt2" / "config.json").write_text("{}")
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    monkeypatch.chdir(tmp_path)
    folder = find("./gpt2/")
    assert (folder.source, folder.id, folder.location) == ("folder", "./gpt2", str(tmp_path / "gpt2"))
    assert find("gpt2").source == "hub", "a registered name wins over a folder of that name"
    assert find("m.gguf").source == "gguf"
    assert find(str(tmp_path / "m.gguf")).location == str(tmp_path / "m.gguf")


@pytest.mark.parametrize(
    ("text", "what", "remedy"),
    [
        ("gpt-2-small", "unknown model", "did you mean gpt2"),
        ("gemma-2-2", "unknown model", "google/gemma-2-2b"),
        ("zzzzzz", "unknown model", "rwcore models"),
        ("", "unknown model", "rwcore models"),
        ("org/name@", "unknown model", "org/name[@revision]"),
        ("org/na me", "unknown model", "org/name[@revision]"),
        ("packaged@main", "no revisions", "smollm2-135m-instruct-q4_1"),
        ("./nowhere", "no file or folder", "check the path"),
        ("a/b/c", "no file or folder", "check the path"),
        ("nowhere.gguf", "no file or folder", "check the path"),
        ("empty", "no config.json", "check the path"),
        ("ggufs", "no config.json", "model.Q4.gguf"),
        ("notes.txt", "not a .gguf file", "Hugging Face format"),
    ],
)
def test_names_that_are_none(
    text: str, what: str, remedy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "empty").mkdir()
    (tmp_path / "ggufs").mkdir()
    (tmp_path / "ggufs" / "model.Q4.gguf").touch()
    (tmp_path / "notes.txt").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError) as caught:
        find(text)
    assert what in caught.value.what
    assert remedy in (caught.value.remedy or "")


def test_similar_names_ignore_organisation_and_revision():
    assert similar("gogle/gemma-2-2b@main")[0] == "google/gemma-2-2b"
    assert similar("wrong-org/pythia-1b")[0] == "EleutherAI/pythia-1b"


def test_unknown_group():
    with pytest.raises(ModelError, match="unknown group") as caught:
        group("dense")
    assert "vanilla" in (caught.value.remedy or "")


# --- the file

ENTRY = """
[[model]]
id = "org/tiny"
family = "llama"
gated_mlp = true
layers = 2
d_mlp = 8
d_model = 4
billions = 0.1
groups = ["gated"]
"""
VALID = ENTRY + ENTRY.replace("org/tiny", "org/other")


def test_a_valid_file(tmp_path: Path):
    file = tmp_path / "models.toml"
    file.write_text(VALID)
    read = read_registry(file)
    assert list(read.models) == ["org/tiny", "org/other"]
    assert read.names["tiny"] == "org/tiny"
    assert read.models["org/tiny"].parameters == 100_000_000


@pytest.mark.parametrize(
    ("old", "new", "where", "what"),
    [
        ("d_mlp = 8", 'd_mlp = "8"', "model 1 (org/tiny).d_mlp", "valid integer"),
        ("d_mlp = 8", "d_mlp = 0", "model 1 (org/tiny).d_mlp", "greater than 0"),
        ("d_mlp = 8", "", "model 1 (org/tiny).d_mlp", "required"),
        ("d_mlp = 8", "d_mlp = 8\nneurons = 8", "model 1 (org/tiny).neurons", "not permitted"),
        ('"llama"', '"alpaca"', "model 1 (org/tiny).family", "llama"),
        ('["gated"]', '["glu"]', "model 1 (org/tiny).groups.0", "gated"),
        ('id = "org/tiny"', "", "model 1 (without id).id", "required"),
        ("gated_mlp = true", 'gated_mlp = "yes"', "model 1 (org/tiny).gated_mlp", "valid boolean"),
        ("gated_mlp = true", "gated_mlp = false", "org/tiny", "gated MLPs"),
        ('["gated"]', '["vanilla"]', "org/tiny", "without a gate"),
        ("layers = 2", 'layers = 2\nbase = "org/none"', "org/tiny", "base"),
        ("layers = 2", "layers = 2\nn_encoder_layers = 3", "org/tiny", "n_encoder_layers"),
        ("layers = 2", 'layers = 2\nsource = "wheel"', "org/tiny", "sha256"),
        ("layers = 2", 'layers = 2\nsha256 = "abc"', "model 1 (org/tiny).sha256", "pattern"),
        ("layers = 2", 'layers = 2\naliases = ["Other"]', "models org/tiny and org/other", "'other'"),
        ('id = "org/tiny"', 'id = "org/other"', "models org/other and org/other", "'org/other'"),
        ("layers = 2", "layers = = 2", "models.toml", "cannot be read"),
    ],
)
def test_mistakes_in_the_file_name_file_and_key(tmp_path: Path, old: str, new: str, where: str, what: str):
    file = tmp_path / "models.toml"
    file.write_text(VALID.replace(old, new, 1))
    with pytest.raises(ModelError) as caught:
        read_registry(file)
    assert str(file) in (caught.value.where or "")
    assert where in (caught.value.where or "")
    assert what in caught.value.what


def test_a_file_that_is_not_there(tmp_path: Path):
    with pytest.raises(ModelError, match="cannot be read"):
        read_registry(tmp_path / "none.toml")


def test_the_shipped_file_documents_every_key():
    comment = MODELS_TOML.read_text(encoding="utf-8").split("\n[[model]]")[0]
    keys = {line.split(" = ")[0] for line in MODELS_TOML.read_text().splitlines() if " = " in line[:30]}
    keys = {key for key in keys if not key.startswith("#")}
    assert {"d_mlp", "weights", "n_encoder_layers"} <= keys
    assert [key for key in sorted(keys) if f"# {key} " not in comment] == ["n_encoder_layers"]
    assert "n_encoder_layers" in comment


def test_names_cost_neither_torch_nor_transformers():
    code = (
        "import sys, rwcore.models.registry as r; r.find('yi-6b');"
        "print(sorted({'torch', 'transformers', 'pandas', 'huggingface_hub'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
