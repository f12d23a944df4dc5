"""The role study: planted neurons are found from the files on, computed once, and never for other weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from fixtures.planted import plant
from fixtures.tiny import BOS, build, local_model
from rwcore.benchmarks.reference import roles as reference
from rwcore.benchmarks.reference.rw_statistics import whole_llama
from rwcore.errors import ModelError, OptionError
from rwcore.models.registry import find
from rwcore.stats.classes import RW_CLASSES
from rwcore.stats.roles.attention import ACTIVATION, DEACTIVATION
from rwcore.stats.roles.choose import PREDICTION, ROLES, SUPPRESSION
from rwcore.stats.roles.moments import MOMENTS
from rwcore.store import Store
from rwcore.studies import role_artefacts as module
from rwcore.studies.roles import COLUMNS, RoleStudy, role_study
from rwcore.studies.weights import weight_study
from rwcore.tests import planted_roles as planted
from rwcore.tests.planted_roles import PlantedRoles, plant_roles


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> PlantedRoles:
    return plant_roles(tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="module")
def study(model: PlantedRoles, tmp_path_factory: pytest.TempPathFactory) -> RoleStudy:
    return study_of(model.folder, tmp_path_factory.mktemp("store"))


def study_of(folder: Path, root: Path, engine: Any = None, **options: Any) -> RoleStudy:
    chosen = {"partition": planted.N_PARTITION, "n_null": planted.N_NULL, **options}
    return role_study(weight_study(find(str(folder)), store=Store(root), engine=engine), **chosen)


def pairs(frame: pd.DataFrame) -> set[tuple[int, int]]:
    return set(zip(frame["layer"].tolist(), frame["neuron"].tolist(), strict=True))


def test_planted_roles_are_found(study: RoleStudy) -> None:
    frame = study.roles()
    assert list(frame.columns) == [*COLUMNS]
    assert pairs(frame[frame["role"] == "partition"]) == planted.PARTITION
    assert pairs(frame[frame["role"] == "prediction"]) == planted.PREDICTION
    assert pairs(frame[frame["role"] == "suppression"]) == planted.SUPPRESSION
    assert len(frame) == 9
    assert frame[["layer", "neuron"]].to_numpy().tolist() == sorted(map(list, pairs(frame)))


def test_planted_entropy_neurons_are_found(study: RoleStudy) -> None:
    frame = study.entropy()
    assert len(frame) == planted.NEURONS
    assert pairs(frame[frame["entropy"]]) == planted.ENTROPY == pairs(frame.head(2))
    assert frame["ratio"].is_monotonic_decreasing
    assert frame["ratio"].iloc[1] > 0.99 > 0.5 > frame["ratio"].iloc[2]


def test_planted_attention_neurons_are_found(study: RoleStudy) -> None:
    frame = study.attention()
    found = {
        (row.layer, row.neuron): (row.head, 1 if row.effect == DEACTIVATION else -1)
        for row in frame.itertuples()
        if (row.layer, row.neuron) in planted.ATTENTION
    }
    assert found == planted.ATTENTION
    own = frame[[pair in planted.ATTENTION for pair in zip(frame["layer"], frame["neuron"], strict=True)]]
    assert own["score"].abs().min() > 0.98
    assert (frame["score"].abs() > math.sqrt(0.5)).all()


def test_clearest_neurons(study: RoleStudy) -> None:
    for code, role in ((PREDICTION, "prediction"), (SUPPRESSION, "suppression")):
        found = study.clearest(code)
        assert found is not None
        assert (found["layer"], found["neuron"]) == planted.CLEAREST[role]
        frame = study.roles()
        assert found["kurtosis"] == frame.loc[frame["role"] == role, "kurtosis"].max()
    assert study.clearest(0) is None


def test_random_output_vectors_have_no_planted_roles(model: PlantedRoles, tmp_path: Path) -> None:
    """A null model: everything as planted, but for output vectors as at initialisation."""
    tensors = load_file(model.folder / "model.safetensors")
    folder = build("llama", tmp_path / "random", layers=3, d_model=24, d_mlp=30, vocab=600)
    generator = torch.Generator().manual_seed(0)
    for layer in range(3):
        name = f"model.layers.{layer}.mlp.down_proj.weight"
        tensors[name] = torch.randn(tensors[name].shape, generator=generator)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    untrained = study_of(folder, tmp_path / "store")
    frame = untrained.roles()
    for role, members in (("partition", planted.PARTITION), ("prediction", planted.PREDICTION)):
        assert pairs(frame[frame["role"] == role]) != members
    assert untrained.entropy()["ratio"].iloc[0] < 0.99


def dense_unembedding(folder: Path) -> torch.Tensor:
    tensors = load_file(folder / "model.safetensors")
    W_U = (tensors["lm_head.weight"].double() * tensors["model.norm.weight"]).T
    return W_U - W_U.mean(dim=1, keepdim=True)


def test_moments_are_those_of_the_dense_formulation(model: PlantedRoles, study: RoleStudy) -> None:
    outs = [layer.out.double() for layer in whole_llama(model.folder / "model.safetensors")]
    for name, expected in reference.dense_moments(outs, dense_unembedding(model.folder)).items():
        torch.testing.assert_close(
            getattr(study.moments, name).double(), expected, rtol=1e-4, atol=1e-5, msg=name
        )


def test_entropy_ratios_are_those_of_the_last_layer(model: PlantedRoles, study: RoleStudy) -> None:
    out = whole_llama(model.folder / "model.safetensors")[-1].out
    expected = reference.entropy_ratio(out, dense_unembedding(model.folder), planted.N_NULL)
    torch.testing.assert_close(study.entropy_ratio.double(), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", ["llama", "qwen2", "gemma2", "olmo", "gpt2", "gpt_neox", "opt", "bloom"])
def test_query_directions_are_what_the_heads_of_transformers_do(family: str, tmp_path: Path) -> None:
    """Scores of a later token: adding what q names to its normalised stream raises its score on BOS.

    Keys and queries are taken from transformers' own projections; rotary embedding and scale do not matter
    for the direction.
    """
    folder = build(family, tmp_path)
    local = local_model(folder)
    captured = projections(folder, family)
    for layer, query in enumerate(module.bos_queries_of(local, BOS), start=1):
        heads = len(query)
        W_Q, gain, keys = captured[layer]
        expected = []
        for head in range(heads):
            rows = W_Q.reshape(heads, -1, W_Q.shape[1])[head].double() * gain
            if family in ("olmo", "gpt2", "gpt_neox", "opt", "bloom"):
                rows = rows - rows.mean(dim=1, keepdim=True)
            shared = keys.reshape(-1, rows.shape[0])
            expected.append(rows.T @ shared[head // (heads // len(shared))].double())
        torch.testing.assert_close(query, torch.stack(expected), rtol=1e-3, atol=1e-4)


def projections(folder: Path, family: str) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Of each layer: rows of the query projection, gain of the norm before it, keys at BOS."""
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    base = model.base_model
    layers = base.decoder.layers if family == "opt" else getattr(base, "layers", getattr(base, "h", None))
    found = []
    for layer in layers:
        norm = next(
            getattr(layer, name)
            for name in ("input_layernorm", "ln_1", "self_attn_layer_norm")
            if hasattr(layer, name)
        )
        attention = next(
            getattr(layer, name)
            for name in ("self_attn", "attn", "attention", "self_attention")
            if hasattr(layer, name)
        )
        gain = getattr(norm, "weight", None)
        gain = torch.ones(16) if gain is None else gain.detach() + (family == "gemma2")
        seen: list[torch.Tensor] = []
        fused = next((n for n in ("c_attn", "query_key_value") if hasattr(attention, n)), None)
        module_ = getattr(attention, fused or "k_proj")
        module_.register_forward_hook(lambda _, __, out, seen=seen: seen.append(out[0, 0].detach()))
        found.append((attention, gain, seen, fused))
    with torch.no_grad():
        model(torch.tensor([[BOS]]))
    result = []
    for attention, gain, seen, fused in found:
        if fused is None:
            result.append((attention.q_proj.weight.detach(), gain, seen[0]))
        elif fused == "c_attn":
            result.append((attention.c_attn.weight.detach()[:, :16].T, gain, seen[0][16:32]))
        else:
            rows = attention.query_key_value.weight.detach().reshape(4, 3, 4, 16)
            result.append((rows[:, 0].reshape(16, 16), gain, seen[0].reshape(4, 3, 4)[:, 1].flatten()))
    return result


def test_contingency_is_a_tally_of_roles_and_classes(study: RoleStudy) -> None:
    table = study.contingency()
    assert list(dict.fromkeys(table["role"])) == [*ROLES, "entropy", ACTIVATION, DEACTIVATION]
    exclusive = table[table["role"].isin(ROLES)]
    assert exclusive["count"].sum() == 90
    frame = study.roles()
    tally = reference.contingency(frame["role"].tolist(), frame["class"].tolist())
    for row in exclusive[exclusive["role"] != "none"].itertuples():
        assert row.count == tally.get((row.role, row[2]), 0)
    by_class = exclusive.groupby("class", sort=False)["count"].sum()
    totals = study.weights.class_totals().set_index("class")["count"]
    assert by_class.to_dict() == totals.to_dict()
    assert table[table["role"] == "entropy"]["count"].sum() == 2
    assert "entropy" in set(study.contingency(attention=False)["role"])
    assert ACTIVATION not in set(study.contingency(attention=False)["role"])


def test_attention_neurons_with_another_role_are_not_counted(study: RoleStudy) -> None:
    """As in the paper, where they were dropped by hand; error 5 of its script compared single coordinates."""
    frame = study.attention()
    counted = study.members()
    for effect in (ACTIVATION, DEACTIVATION):
        free = frame[(frame["effect"] == effect) & (frame["role"] == "none")]
        assert {tuple(pair) for pair in counted[effect].nonzero().tolist()} == pairs(free)
    # With all neurons but one in the partition, the flagged ones have that role.
    other = RoleStudy(study.weights, partition=89, n_null=planted.N_NULL)
    assert (other.attention()["role"] == "partition").sum() >= 2
    held = other.members()
    overlap = (held[ACTIVATION] | held[DEACTIVATION]) & (other.chosen.codes != 0)
    assert not overlap.any()


def test_roles_with_planted_classes_are_associated(tmp_path: Path) -> None:
    """Weights of planted classes and an unembedding made of one class's output vectors."""
    model = plant("llama", tmp_path / "llama", per_class=4)
    file = model.folder / "model.safetensors"
    tensors = load_file(file)
    weakening = model.classes == "weakening"
    outs = np.stack([tensors[f"model.layers.{layer}.mlp.down_proj.weight"].numpy().T for layer in range(3)])[
        weakening
    ]
    # Five times each of the twelve, of either sign, so that tokens differ in those directions only.
    sign = torch.where(torch.arange(64) // len(outs) % 2 == 0, 1.0, -1.0)[:, None]
    tokens = sign * torch.from_numpy(outs)[torch.arange(64) % len(outs)]
    tensors["lm_head.weight"] = tokens / tensors["model.norm.weight"]
    save_file(tensors, file, metadata={"format": "pt"})
    planted_study = study_of(model.folder, tmp_path / "store", partition=len(outs), n_null=8)
    table = planted_study.contingency(attention=False)
    found = table[(table["role"] == "partition") & (table["class"] == "weakening")]
    assert found["count"].item() > 4 * found["expected"].item()
    assert planted_study.association().p_permutation == pytest.approx(1e-4)
    assert planted_study.association_within_layers().p_permutation < 0.01
    summary = planted_study.summary(attention=False)
    assert summary["counts"]["partition"] == len(outs)
    assert summary["flagged_attention_neurons"] is None


def no_computing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("computed again")

    for name in ("layer_moments", "null_directions", "attention_scores", "residual_stream"):
        monkeypatch.setattr(module, name, fail)


def test_the_second_study_finds_the_first_one_s_results(
    model: PlantedRoles, study: RoleStudy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    summary = study.summary()
    no_computing(monkeypatch)
    again = study_of(model.folder, study.weights.store.root)
    assert again.summary() == summary
    pd.testing.assert_frame_equal(again.roles(), study.roles())
    for name in ("moments", "entropy_ratio", "attention_scores"):
        with pytest.raises(AssertionError, match="computed again"):
            getattr(study_of(model.folder, tmp_path / "elsewhere"), name)


def test_other_options_find_what_does_not_depend_on_them(
    model: PlantedRoles, study: RoleStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    _ = study.summary()
    no_computing(monkeypatch)
    other = study_of(model.folder, study.weights.store.root, partition=7, n_entropy=5)
    assert (other.roles()["role"] == "partition").sum() == 7
    assert other.entropy()["entropy"].sum() == 5
    assert len(other.attention()) == len(study.attention())
    with pytest.raises(AssertionError, match="computed again"):
        _ = study_of(model.folder, study.weights.store.root, n_null=5).entropy_ratio
    with pytest.raises(AssertionError, match="computed again"):
        _ = study_of(model.folder, study.weights.store.root, bos=9).attention_scores


def test_layers_are_tasks_of_the_engine(model: PlantedRoles, study: RoleStudy, tmp_path: Path) -> None:
    asked: list[str] = []

    class Backwards:
        """An engine that runs the tasks in another order and returns results in theirs."""

        def map(self, function: Callable[..., Any], specs: Sequence[Any], *, desc: str) -> list[Any]:
            asked.append(desc)
            return [function(spec) for spec in reversed(specs)][::-1]

    other = study_of(model.folder, tmp_path, engine=Backwards())
    for name in MOMENTS:
        assert torch.equal(getattr(other.moments, name), getattr(study.moments, name))
    assert len(asked) == 1
    assert module._tokens.cache_info().currsize == 0


def test_provenance_says_what_was_computed_from_what(study: RoleStudy) -> None:
    facts = study.provenance
    assert facts["definition"] == module.MOMENTS_DEFINITION
    assert facts["model"] == study.weights.local.identity()
    assert facts["zero_tokens"] == 0
    assert {"software", "machine", "date", "wall_seconds"} <= facts.keys()


def test_a_model_without_a_gate(tmp_path: Path) -> None:
    model = plant("gpt2", tmp_path / "gpt2")
    found = study_of(model.folder, tmp_path / "store", partition=3, n_null=8)
    frame = found.roles()
    assert (frame["role"] == "partition").sum() == 3
    assert frame[["gatelin", "gateout"]].isna().all().all()
    assert frame["linout"].notna().all()
    assert set(frame["class"]) <= {"strengthening", "orthogonal output", "weakening"}
    assert len(found.contingency()) == 7 * 3


def test_undefined_neurons_have_neither_role_nor_test(tmp_path: Path) -> None:
    file = plant("llama", tmp_path / "llama").folder / "model.safetensors"
    tensors = load_file(file)
    tensors["model.layers.1.mlp.down_proj.weight"][:, 2] = 0
    tensors["model.layers.2.mlp.down_proj.weight"][:, 5] = 0
    save_file(tensors, file, metadata={"format": "pt"})
    found = study_of(file.parent, tmp_path / "store", partition=20, n_null=8)
    assert found.chosen.codes[1, 2] == found.chosen.codes[2, 5] == 0
    assert found.association().neurons == 64
    table = found.contingency()
    assert table.loc[table["class"] == "undefined", "count"].sum() == 2
    assert found.entropy()["ratio"].isna().tolist() == [False] * 21 + [True]
    assert len(set(found.contingency()["class"])) == len(RW_CLASSES) + 1


@pytest.mark.parametrize(
    ("options", "where", "valid"),
    [
        ({"partition": 90}, "--partition 90", "from 1 to 89"),
        ({"partition": 0}, "--partition 0", "from 1 to 89"),
        ({"n_null": 24}, "--null-directions 24", "from 1 to 23"),
        ({"n_entropy": 31}, "--entropy-neurons 31", "from 0 to 30"),
        ({"n_entropy": -1}, "--entropy-neurons -1", "from 0 to 30"),
        ({"bos": 600}, "--bos 600", "from 0 to 599"),
        ({"bos": -1}, "--bos -1", "from 0 to 599"),
    ],
)
def test_impossible_options_are_refused_before_anything_is_computed(
    model: PlantedRoles,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, int],
    where: str,
    valid: str,
) -> None:
    no_computing(monkeypatch)
    bad = study_of(model.folder, tmp_path, **options)
    with pytest.raises(OptionError) as caught:
        _ = bad.attention_scores if "bos" in options else bad.roles()
    assert where in str(caught.value)
    assert valid in str(caught.value)


@pytest.mark.parametrize("family", ["qwen3", "gemma3", "olmo2"])
def test_heads_that_normalise_are_refused(family: str, tmp_path: Path) -> None:
    folder = build(family, tmp_path / family)
    refused = study_of(folder, tmp_path / "store")
    with pytest.raises(ModelError, match="normalise queries and keys") as caught:
        _ = refused.attention_scores
    assert "--no-attention" in str(caught.value)
    assert len(refused.contingency(attention=False))
