"""A comparison of models: what OUTPUTS.md says, the models' own numbers, and refusals."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from safetensors.torch import load_file

from fixtures.planted import plant
from fixtures.tiny import build
from rwcore.errors import NotGatedError, OptionError, StoreError, WeightsError
from rwcore.models.registry import find
from rwcore.stats.cosines import RWCosines
from rwcore.stats.reductions import layer_total_variations, total_variation
from rwcore.store import Store
from rwcore.studies import compare as module
from rwcore.studies.change import change_study
from rwcore.studies.compare import COLUMNS, SCHEMA, Comparison, change_figures, compare, short_names
from rwcore.studies.weights import WeightStudy, weight_study
from rwcore.tests.checkpoint_pairs import at_random, earlier, narrower
from rwcore.tests.command_line import OUTPUTS, documented, names, promises

TITLE = "`rwcore weights MODEL MODEL … --compare --out DIR`"


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, WeightStudy]:
    """A model, two earlier checkpoints, it with a layer less, an unrelated one, and one without gates."""
    root = tmp_path_factory.mktemp("models")
    last = plant("llama", root / "last", per_class=3)
    folders = {
        "last": last.folder,
        "start": at_random(last.folder, root / "start"),
        "mid": earlier(last, root / "mid", {(0, 0): (1, 3), (2, 5): (0, 7)}),
        "short": narrower(last.folder, root / "short"),
        "other": plant("llama", root / "other-1b", per_class=2, layers=2, seed=7).folder,
        "plain": plant("gpt2", root / "plain", per_class=11).folder,
    }
    store = Store(root / "store")
    return {name: weight_study(find(str(folder)), store=store) for name, folder in folders.items()}


@pytest.fixture(scope="module")
def drawn(studies: dict[str, WeightStudy], tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """Three checkpoints with their figures and changes."""
    out = tmp_path_factory.mktemp("out") / "compared"
    chosen = [studies[name] for name in ("start", "mid", "last")]
    return compare(chosen, out, change=True, layers=[1], command="rwcore weights …")


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes most of a comparison."""
    monkeypatch.setattr(module, "_figures", lambda *_: [("medians", Figure((1, 1)))])
    monkeypatch.setattr(module, "change_figures", lambda *_, **__: [])


def promised(*cases: str) -> set[str]:
    """Files that OUTPUTS.md promises in these cases, families of files by a pattern."""
    return {name for name, when in promises(TITLE) if when == "always" or when in cases}


# --- what is written ---------------------------------------------------------------------------------------


def test_the_files_are_those_of_outputs_md(drawn: Comparison) -> None:
    found = set()
    for name in names(drawn.folder):
        name = re.sub(r"^transitions_\d_\d", "transitions_A_B", name)
        found.add(re.sub(r"^change_(gate|in|out)_vs_\w+\.", "change_VECTOR_vs_COSINE.", name))
    assert found == promised("`--change`", "neighbours of one shape")
    assert {
        f"change_{v}_vs_{c}.pdf" for v in ("gate", "in", "out") for c in ("gatelin", "gateout", "linout")
    } < {*names(drawn.folder)}
    assert {"transitions_1_2.png", "transitions_2_3.png"} < {*names(drawn.folder)}


def test_columns_arrays_and_manifest_are_those_of_outputs_md(drawn: Comparison) -> None:
    for name, columns in COLUMNS.items():
        header = (drawn.folder / name).read_text().splitlines()[0].split(",")
        assert header == list(columns) == documented(f"Comparison: `{name}`")
    assert [*load_file(drawn.folder / "changes.safetensors")] == documented("`changes.safetensors`")
    manifest = json.loads((drawn.folder / "manifest.json").read_text())
    assert sorted(manifest) == sorted(documented("Comparison: `manifest.json`"))
    assert f"Schema `{SCHEMA}`" in OUTPUTS
    assert manifest["schema"] == SCHEMA
    assert manifest["complete"] is True
    assert [one["name"] for one in manifest["files"]] == [
        name for name in names(drawn.folder) if name != "manifest.json"
    ]
    assert manifest["change"]["flip"] == "none"
    assert manifest["classes"] == "gated"


def test_the_numbers_are_those_of_each_model(drawn: Comparison, studies: dict[str, WeightStudy]) -> None:
    counts = pd.read_csv(drawn.folder / "class_counts.csv")
    medians = pd.read_csv(drawn.folder / "medians.csv")
    shares = pd.read_csv(drawn.folder / "class_shares.csv")
    for name in ("start", "mid", "last"):
        study = studies[name]
        of_model = counts[counts["model"] == study.local.spec.id]
        own = study.class_counts()
        assert of_model["count"].tolist() == own["count"].tolist()
        assert of_model["class"].tolist() == own["class"].tolist()
        median = medians[medians["model"] == study.local.spec.id]
        np.testing.assert_allclose(median["median"], study.medians()["median"], rtol=1e-8)
        assert median["relative_depth"].tolist() == [0, 0, 0, 0.5, 0.5, 0.5, 1, 1, 1]
        share = shares[shares["model"] == study.local.spec.id]
        assert share["count"].tolist() == study.class_totals()["count"].tolist()
        np.testing.assert_allclose(share["share"], share["count"] / 99)


def test_distances_are_between_all_pairs_whole_and_by_layer(
    drawn: Comparison, studies: dict[str, WeightStudy]
) -> None:
    frame = pd.read_csv(drawn.folder / "total_variation.csv").set_index(["first", "second"])
    pairs = [("start", "mid"), ("start", "last"), ("mid", "last")]
    assert list(dict.fromkeys(frame.index)) == [
        (studies[a].local.spec.id, studies[b].local.spec.id) for a, b in pairs
    ]
    for a, b in pairs:
        own = [studies[name].class_counts() for name in (a, b)]
        rows = frame.loc[(studies[a].local.spec.id, studies[b].local.spec.id)]
        whole = rows[rows["layer"].isna()]["total_variation"]
        assert whole.tolist() == pytest.approx([total_variation(*own)])
        by_layer = rows[rows["layer"].notna()]
        assert by_layer["total_variation"].tolist() == pytest.approx(layer_total_variations(*own).tolist())
    # Two of 99 planted neurons are copies of others, so the shares differ by at most 2/99.
    mid_last = total_variation(*(studies[name].class_counts() for name in ("mid", "last")))
    assert 0 < mid_last <= 2 / 99


def test_transitions_follow_the_neurons_that_were_planted(
    drawn: Comparison, studies: dict[str, WeightStudy]
) -> None:
    ids = {name: studies[name].local.spec.id for name in ("mid", "last")}
    moved = pd.read_csv(drawn.folder / "changed_neurons.csv")
    moved = moved[(moved["first"] == ids["mid"]) & (moved["second"] == ids["last"])]
    assert list(zip(moved["layer"], moved["neuron"], strict=True)) == [(0, 0), (2, 5)]
    frame = pd.read_csv(drawn.folder / "transitions.csv")
    frame = frame[frame["first"] == ids["mid"]]
    assert frame["count"].sum() == 99
    assert frame.loc[frame["from"] != frame["to"], "count"].sum() == 2


def test_change_is_from_the_first_to_the_last(drawn: Comparison, studies: dict[str, WeightStudy]) -> None:
    expected = change_study(studies["start"], studies["last"], store=studies["last"].store)
    written = load_file(drawn.folder / "changes.safetensors")
    assert all(written[name].equal(values) for name, values in expected.changes.items())
    frame = pd.read_csv(drawn.folder / "change_correlations.csv")
    assert set(frame["first"]) == {studies["start"].local.spec.id}
    assert set(frame["last"]) == {studies["last"].local.spec.id}
    np.testing.assert_allclose(frame["r"], expected.correlations()["r"], rtol=1e-8)


def test_tables_for_papers(drawn: Comparison) -> None:
    shares = (drawn.folder / "class_shares.md").read_text()
    assert shares.startswith("Shares of neuron IO classes in `start`, `mid` and `last` (in per cent)\n")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in shares.splitlines()[2:]]
    assert rows[0] == ["class", "start", "mid", "last"]
    assert [rows[2][0], rows[2][3]] == ["strengthening", "9.09"]
    assert rows[-1] == ["neurons", "99", "99", "99"]
    latex = (drawn.folder / "total_variation.tex").read_text()
    matrix = re.findall(r"^(start|mid|last) & (.*) \\\\$", latex, re.MULTILINE)
    values = np.array([[float(cell) for cell in row.split("&")] for _, row in matrix])
    assert (values == values.T).all()
    assert (values.diagonal() == 0).all()
    assert values[0, 1] > values[1, 2] > 0
    assert r"\label{tab:total_variation}" in latex


def test_a_comparison_without_pairs_has_no_transitions(
    studies: dict[str, WeightStudy], tmp_path: Path, undrawn: None
) -> None:
    done = compare([studies["last"], studies["other"]], tmp_path / "out")
    assert not [name for name in names(done.folder) if "transition" in name or "change" in name]
    distances = pd.read_csv(done.folder / "total_variation.csv")
    assert len(distances) == 1  # 3 and 2 layers: whole models only
    assert done.manifest["change"] is None


def test_only_neighbours_of_one_shape_are_paired(
    studies: dict[str, WeightStudy], tmp_path: Path, undrawn: None
) -> None:
    done = compare([studies[name] for name in ("other", "mid", "last", "short")], tmp_path / "out")
    frame = pd.read_csv(done.folder / "transitions.csv")
    pairs = set(zip(frame["first"], frame["second"], strict=True))
    assert pairs == {(studies["mid"].local.spec.id, studies["last"].local.spec.id)}


def test_plain_classes_compare_gated_models_with_others(
    studies: dict[str, WeightStudy], tmp_path: Path, undrawn: None
) -> None:
    done = compare([studies["last"], studies["plain"]], tmp_path / "out", classes="plain")
    shares = pd.read_csv(done.folder / "class_shares.csv")
    assert set(shares["class"]) == {"strengthening", "orthogonal output", "weakening"}
    assert set(pd.read_csv(done.folder / "medians.csv")["cosine"]) == {"linout"}
    assert done.manifest["classes"] == "plain"


def test_random_weights_are_all_orthogonal_output_and_far_from_a_planted_model(
    studies: dict[str, WeightStudy], tmp_path: Path, undrawn: None
) -> None:
    """A null model: the distance can be large, and vanish."""
    store = studies["last"].store
    same = weight_study(find(str(build("llama", tmp_path / "a", d_model=512, layers=1))), store=store)
    also = weight_study(find(str(build("llama", tmp_path / "b", d_model=512, layers=1, seed=1))), store=store)
    done = compare([same, also, studies["last"]], tmp_path / "out", classes="plain")
    whole = pd.read_csv(done.folder / "total_variation.csv").query("layer.isna()")["total_variation"]
    assert whole.iloc[0] == 0
    assert (whole.iloc[1:] > 0.3).all()


def test_an_earlier_comparison_is_replaced(
    studies: dict[str, WeightStudy], tmp_path: Path, undrawn: None
) -> None:
    out = tmp_path / "out"
    compare([studies["mid"], studies["last"]], out)
    assert "transitions.csv" in names(out)
    compare([studies["other"], studies["last"]], out)
    assert "transitions.csv" not in names(out)


# --- figures -----------------------------------------------------------------------------------------------


def test_the_medians_of_all_models_are_drawn_and_small_ones_left_out_of_the_selected(
    studies: dict[str, WeightStudy],
) -> None:
    chosen = [studies["last"], studies["other"], studies["mid"]]
    frames = module._frames(chosen, [study.cosines for study in chosen])
    ids = [study.local.spec.id for study in chosen]
    figures = dict(module._figures(frames, ids, short_names(ids), "accessible"))
    assert list(figures) == ["medians", "selected_medians"]
    lines = {
        name: [line.get_gid() for line in figure.axes[0].lines if str(line.get_gid()).startswith("curve:")]
        for name, figure in figures.items()
    }
    assert lines["medians"] == ["curve:last", "curve:other-1b", "curve:mid"]
    assert lines["selected_medians"] == ["curve:last", "curve:mid"]


def test_change_panels_show_change_against_cosine(studies: dict[str, WeightStudy]) -> None:
    found = change_study(studies["start"], studies["last"], store=studies["last"].store)
    figures = dict(change_figures(found.changes, studies["last"].cosines, [0, 2]))
    assert len(figures) == 9
    figure = figures["change_in_vs_gatelin"]
    panels = [axes for axes in figure.axes if axes.get_title().startswith("Layer")]
    assert [axes.get_title() for axes in panels] == ["Layer 0", "Layer 2"]
    assert panels[0].get_xlim() == (-1, 1)
    assert panels[0].get_ylim() == (0, 1)
    assert figures["change_in_vs_linout"].axes[0].get_ylim() == (-1, 1)
    counts = panels[0].images[0].get_array()
    rows, columns = np.nonzero(np.ma.filled(counts, 0))
    assert np.ma.filled(counts, 0).sum() == 33
    # All changes are 0.3: one column of cells, somewhere to the right of the middle.
    assert len({*columns}) <= 2
    assert 60 <= columns.min() <= columns.max() <= 66
    assert len({*rows}) > 3


def test_names_in_figures_tell_models_apart() -> None:
    assert short_names(["org/a", "org/b@step1", "c/"]) == ("a", "b@step1", "c")
    assert short_names(["x/final", "y/final", "z"]) == ("final #1", "final #2", "z")


# --- what cannot be compared -------------------------------------------------------------------------------


def refused(studies: list[WeightStudy], out: Path, error: type[Exception], **options: Any) -> str:
    with pytest.raises(error) as caught:
        compare(studies, out, **options)
    assert not out.exists()
    return str(caught.value)


def test_different_class_systems_are_refused_with_the_option_that_helps(
    studies: dict[str, WeightStudy], tmp_path: Path
) -> None:
    text = refused([studies["last"], studies["plain"]], tmp_path / "out", OptionError)
    assert "--classes plain" in text
    assert studies["plain"].local.spec.id in text
    refused([studies["last"], studies["plain"]], tmp_path / "out", OptionError, classes="gated")
    refused([studies["plain"], tiny_plain(tmp_path)], tmp_path / "out", NotGatedError, classes="gated")


def tiny_plain(root: Path) -> WeightStudy:
    return weight_study(find(str(build("gpt2", root / "tiny"))), store=Store(root / "store"))


@pytest.mark.parametrize("last", ["short", "plain"])
def test_a_change_between_other_shapes_is_refused_before_anything_is_computed(
    studies: dict[str, WeightStudy], tmp_path: Path, last: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RWCosines, "present", lambda self: pytest.fail("computed"))
    text = refused(
        [studies["last"], studies[last]], tmp_path / "out", WeightsError, change=True, classes="plain"
    )
    assert "--change" in text
    assert studies["last"].local.spec.id in text
    assert studies[last].local.spec.id in text


def test_one_model_or_one_twice_is_no_comparison(studies: dict[str, WeightStudy], tmp_path: Path) -> None:
    assert "two models" in refused([studies["last"]], tmp_path / "out", OptionError)
    assert "more than once" in refused([studies["last"]] * 2, tmp_path / "out", OptionError)


@pytest.mark.parametrize("layers", [[3], [-1], []])
def test_layers_that_are_not_there_are_refused(
    studies: dict[str, WeightStudy], tmp_path: Path, layers: list[int]
) -> None:
    text = refused(
        [studies["mid"], studies["last"]], tmp_path / "out", OptionError, change=True, layers=layers
    )
    assert "--layers" in text
    assert "0 to 2" in text


def test_a_folder_of_somebody_else_s_is_refused(studies: dict[str, WeightStudy], tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years of work")
    with pytest.raises(StoreError, match="not empty"):
        compare([studies["mid"], studies["last"]], tmp_path / "thesis")
