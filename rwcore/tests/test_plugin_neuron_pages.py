"""Claims that need published neuron pages are asked of a subject of their own, which says what is missing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

# Runs inside this process forget every module they import; compiled ones cannot be imported twice.
import rwcore.activations.published_facts
import rwcore.report.write
import rwcore.stats.null
import rwcore.studies.weights  # noqa: F401
from rwcore.golden.paths import published_dir
from rwcore.plugin.neuron_pages import PagesSubject, near_the_middle
from rwcore.plugin.subjects import Kind, SubjectSpec
from rwcore.stats.classes import class_codes
from rwcore.stats.cosines import RWCosines
from rwcore.tests.demo_paper import paper

pytest_plugins = ["pytester"]

OLMO = "allenai/OLMo-7B-0424-hf"
PUBLISHED = Path(__file__).parent / "data" / "published_pages"

CLAIM = """
statement = "the tables say one thing, and the files another"
where = "pages"
definition = "pages/1"
kind = "F"

[[claim.expect]]
scope = "data"
models = ["org/a"]
holds = { kind = "exact", quantity = "pages", value = false }

[[claim.expect]]
scope = "data"
models = ["org/a"]
holds = { kind = "exact", quantity = "files", value = 3 }
needs = { published_pages = true }
"""

TESTS = """
import pytest

@pytest.mark.claim("C01")
def test_pages(subject, claim):
    if subject.spec.pages:
        claim.check(pages=True, files=int(subject.page_facts()["files"].sum()))
    else:
        claim.check(pages=False)
"""


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A checkout with one claim about tables and about files of pages."""
    for name in ("RWCORE_MODELS", "RWCORE_REPORT", "RWCORE_PUBLISHED_PAGES", "CI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RWCORE_ROOT", str(pytester.path))
    monkeypatch.setenv("RWCORE_CACHE", str(pytester.path / "cache"))
    pytester.makeconftest('pytest_plugins = ["rwcore.plugin"]')
    claims = pytester.mkdir("claims") / "demo"
    claims.mkdir()
    (claims / "paper.toml").write_text(paper(CLAIM, claims_in_spec=1))
    (claims / "test_demo.py").write_text(TESTS)
    pytester.mkdir("golden")
    shutil.copytree(PUBLISHED, pytester.path / "pages")
    return pytester


def results(project: pytest.Pytester, *arguments: str) -> dict[str, dict]:
    """Results by expectation."""
    project.runpytest_inprocess(
        "claims", "-p", "no:randomly", "-p", "no:cacheprovider", "--rw-report", "report", *arguments
    )
    found = json.loads((project.path / "report/results.json").read_text())
    return {one["expectation"]: one for one in found["results"]}


def test_without_the_files_only_their_claims_are_not_run(project: pytest.Pytester) -> None:
    found = results(project)
    assert found["data#0"]["verdict"] == "consistent"
    assert found["data#1"]["verdict"] == "not run"
    assert "--rw-published-pages DIR" in found["data#1"]["reason"]
    assert "[tables.org--a]" in found["data#0"]["node_id"]
    assert "[pages.org--a]" in found["data#1"]["node_id"]


def test_strict_runs_fail_without_them(project: pytest.Pytester) -> None:
    project.runpytest_inprocess("claims", "--rw-strict").assert_outcomes(passed=1, errors=1)


@pytest.mark.parametrize("how", ["option", "variable", "ini"])
def test_the_folder_is_given_in_three_ways(
    how: str, project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["--rw-published-pages", "pages"] if how == "option" else []
    if how == "variable":
        monkeypatch.setenv("RWCORE_PUBLISHED_PAGES", "pages")
    if how == "ini":
        project.makeini("[pytest]\nrw_published_pages = pages\n")
    found = results(project, *arguments)
    assert found["data#1"]["verdict"] == "consistent"
    assert found["data#1"]["rerun"].endswith(f"--rw-published-pages {project.path / 'pages'}")
    assert "pages" not in found["data#0"]["rerun"].split("]")[-1]


def test_a_folder_without_pages_is_an_error_that_says_so(project: pytest.Pytester) -> None:
    found = results(project, "--rw-published-pages", "claims")
    assert found["data#1"]["verdict"] == "error"
    assert "there are no published pages here" in found["data#1"]["reason"]
    assert found["data#0"]["verdict"] == "consistent"


def test_published_files_are_compared_with_the_published_table(tmp_path: Path) -> None:
    spec = SubjectSpec(Kind.TABLES, OLMO, (OLMO,), "neuroscope", pages=True)
    subject = PagesSubject(spec, published_dir("neuroscope"), PUBLISHED)
    assert len(subject.peaks()) == 3
    assert subject.peaks_unlike_the_table() == 0
    shutil.copytree(PUBLISHED, tmp_path / "pages")
    file = tmp_path / "pages/L5/N10602/gate+_in-_hook_post_example_4.json"
    file.write_text(file.read_text().replace("-1.7393232583999634", "-1.7393232583999633"))
    assert file.read_text() != (PUBLISHED / "L5/N10602" / file.name).read_text()
    assert PagesSubject(spec, published_dir("neuroscope"), tmp_path / "pages").peaks_unlike_the_table() == 0
    file.write_text(file.read_text().replace("-1.7393232583999633", "-1.7393234"))
    assert PagesSubject(spec, published_dir("neuroscope"), tmp_path / "pages").peaks_unlike_the_table() == 1


def test_the_neuron_of_each_class_is_the_one_nearest_to_the_middle() -> None:
    linout = torch.tensor([[0.9, 0.0], [0.9, 0.9], [0.0, -0.9], [0.9, -0.9], [0.0, 0.0]])
    zero = torch.zeros_like(linout)
    cosines = RWCosines(gatelin=zero, gateout=zero, linout=linout)
    chosen = near_the_middle(cosines, per_class=2)
    # Conditional strengthening and weakening are atypical or not by cos(gate, in), which is 0 here.
    assert chosen[:2] == [(1, 0), (1, 1)], "as near as (3, 0), but earlier"
    assert (2, 1) in chosen
    codes = class_codes(cosines)
    assert len(chosen) == sum(min(2, int((codes == code).sum())) for code in codes.unique())
