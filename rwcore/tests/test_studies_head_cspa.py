"""Whole studies: means and effects of batches together, found again, gone on with after a kill."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from fixtures.tiny import build, local_model
from rwcore.corpora.tokens import TokenCorpus
from rwcore.errors import ModelError, OptionError
from rwcore.heads.cspa import BOTH, NEGATIVE, QK
from rwcore.heads.cspa_filter import QueryFilter
from rwcore.models.load import load_bridge
from rwcore.models.spec import LocalModel
from rwcore.parallel import open_engine
from rwcore.store import Store
from rwcore.studies import head_cspa_files
from rwcore.studies.forward import ForwardOptions
from rwcore.studies.head_cspa import CspaOptions, CspaStudy
from rwcore.studies.weights import weight_study
from rwcore.tests.corpus_makers import rows_corpus
from rwcore.tests.pass_makers import random_corpus

CORPUS = random_corpus(rows=20, seed=3)
FORWARD = ForwardOptions(token_budget=40, device="cpu")
OPTIONS = CspaOptions(variants=(NEGATIVE, BOTH, QK), choice=QueryFilter(0.3))


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> LocalModel:
    return local_model(build("llama", tmp_path_factory.mktemp("model")), id="tiny")


def studied(
    local: LocalModel, root: Path, corpus: TokenCorpus = CORPUS, parts: int = 1, **options: Any
) -> CspaStudy:
    chosen = CspaOptions(**{**vars(OPTIONS), **options})
    return CspaStudy(weight_study(local, store=Store(root)), corpus, chosen, FORWARD, parts=parts)


@pytest.fixture(scope="module")
def study(local: LocalModel, tmp_path_factory: pytest.TempPathFactory) -> CspaStudy:
    return studied(local, tmp_path_factory.mktemp("store"))


def test_means_are_over_all_tokens(study: CspaStudy, local: LocalModel) -> None:
    model = load_bridge(local)
    kept: list[torch.Tensor] = []
    for row in range(len(CORPUS)):
        with torch.no_grad():
            model.run_with_hooks(
                CORPUS.row(row)[None].long(),
                fwd_hooks=[("blocks.2.attn.hook_z", lambda z, hook: kept.append(z[0]))],
            )
    assert sorted(study.means) == ["layer_1", "layer_2"]
    assert torch.allclose(study.means["layer_2"], torch.cat(kept).mean(0), atol=1e-5)


def test_means_by_position(local: LocalModel, tmp_path: Path) -> None:
    corpus = rows_corpus([[4, 5, 6, 7], [8, 9, 4, 6], [7, 7, 5, 4]])
    small = studied(local, tmp_path, corpus, means="position")
    whole = studied(local, tmp_path, corpus)
    assert small.means["layer_1"].shape == (4, *whole.means["layer_1"].shape)
    assert torch.allclose(small.means["layer_1"].mean(0), whole.means["layer_1"], atol=1e-5)
    assert (small.table["kl"] - whole.table["kl"]).abs().max() > 1e-4


def test_documents_and_tokens_are_the_same_measurement(study: CspaStudy) -> None:
    head = study.best(1)[0]
    tokens = study.tokens(head)
    place = study.heads.index(head)
    rows = torch.arange(len(CORPUS)).repeat_interleave(CORPUS.lengths)
    document = CORPUS.document[rows]
    for at, number in enumerate(study.documents.number.tolist()):
        mine = tokens["kl"][0][:, document == number].double().sum(1)
        assert torch.allclose(study.documents.sums[at, place, :, 0], mine, rtol=1e-4, atol=1e-6)
    ends = CORPUS.offsets[1:] - 1
    assert bool(tokens["clean_loss"][ends].isnan().all())
    assert int(tokens["clean_loss"].isnan().sum()) == len(CORPUS)


def test_pairs_lie_in_their_rows(study: CspaStudy) -> None:
    tokens = study.tokens(study.best(1)[0])
    row = torch.searchsorted(CORPUS.offsets, tokens["pair_query"], right=True) - 1
    assert len(row) > 0
    assert bool((tokens["pair_key"] <= tokens["pair_query"] - CORPUS.offsets[row]).all())
    assert bool((tokens["pair_query"].diff() >= 0).all())
    assert bool((tokens["pair_attention"] >= 0.01).all())


def test_the_top_percentile_is_that_of_the_tokens(study: CspaStudy) -> None:
    head = study.best(1)[0]
    line = study.line(head, bins=5)
    assert line["variant"].tolist() == [one for one in OPTIONS.variants for _ in range(5)]
    assert int(line["tokens"].sum()) == 3 * CORPUS.n_tokens
    kl = study.tokens(head)["kl"][0]
    top = kl[0].argsort()[-int(line["tokens"][4]) :]
    assert line["kl"][4] == pytest.approx(float(kl[1][top].mean()), rel=1e-5)


def test_what_was_killed_goes_on(
    local: LocalModel, study: CspaStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The third batch never comes; what was kept of the first two is used."""
    undisturbed = study.documents.sums  # before anything is patched: whoever asks first computes it
    real, calls = head_cspa_files.run_cspa, []

    def killed(*arguments: Any) -> Any:
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(arguments[1].number)
        return real(*arguments)

    again = studied(local, tmp_path)
    monkeypatch.setattr(head_cspa_files, "run_cspa", killed)
    with pytest.raises(KeyboardInterrupt):
        _ = again.documents
    done: list[int] = []
    monkeypatch.setattr(
        head_cspa_files, "run_cspa", lambda *words: (done.append(words[1].number), real(*words))[1]
    )
    assert torch.equal(again.documents.sums, undisturbed)
    assert not {*done} & {*calls}
    done.clear()
    assert torch.equal(studied(local, tmp_path).documents.sums, undisturbed)
    assert done == []


def test_parts_are_the_same_bits(local: LocalModel, study: CspaStudy, tmp_path: Path) -> None:
    assert torch.equal(studied(local, tmp_path, parts=3).documents.sums, study.documents.sums)


@pytest.mark.slow
def test_two_workers(local: LocalModel, study: CspaStudy, tmp_path: Path) -> None:
    with open_engine("local:2") as engine:
        weights = weight_study(local, store=Store(tmp_path), engine=engine)
        found = CspaStudy(weights, CORPUS, OPTIONS, FORWARD, parts=2).documents
    assert torch.allclose(found.sums, study.documents.sums, rtol=1e-4, atol=1e-6)


def test_heads(local: LocalModel, tmp_path: Path) -> None:
    assert len(studied(local, tmp_path, heads="all").heads) == 12
    assert studied(local, tmp_path).heads[0] == (1, 0)
    assert studied(local, tmp_path, heads=((2, 1), (0, 3), (2, 1))).heads == ((0, 3), (2, 1))


def test_refused_before_anything_runs(local: LocalModel, tmp_path: Path) -> None:
    for options, message in (
        ({"heads": ((3, 0),)}, "no heads 3.0"),
        ({"heads": ()}, "no heads"),
        ({"heads": "early"}, "early"),
        ({"means": "position"}, "different lengths"),
        ({"related": 2}, "several directions"),
    ):
        with pytest.raises(OptionError, match=message):
            studied(local, tmp_path, **options)
    raw = weight_study(local, processing="raw", store=Store(tmp_path))
    with pytest.raises(OptionError, match="processed weights"):
        CspaStudy(raw, CORPUS)
    with pytest.raises(ModelError, match="no decoder"):
        studied(local_model(build("bert", tmp_path / "bert")), tmp_path)
    assert not any(path.suffix == ".work" for path in tmp_path.rglob("*"))


def test_damaged_weights_are_named(local: LocalModel, tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(local.path, folder)
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    tensors["model.layers.2.self_attn.o_proj.weight"][:] = float("nan")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="not finite"):
        _ = studied(local_model(folder, id="damaged"), tmp_path / "store").documents
