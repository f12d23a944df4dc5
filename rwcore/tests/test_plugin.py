"""The plugin on small claims folders made for each test: what is asked, what is recorded, what fails."""

from __future__ import annotations

import json

import pytest

# Runs inside this process forget every module they import; compiled ones cannot be imported twice.
import rwcore.benchmarks.reference
import rwcore.models.locate
import rwcore.report.write
import rwcore.stats.null
import rwcore.studies.weights  # noqa: F401
from rwcore.tests.demo_paper import SUM, TABLE, UNCHECKED, paper

pytest_plugins = ["pytester"]

CONFTEST = """
import pytest
pytest_plugins = ["rwcore.plugin"]

@pytest.fixture
def factor():
    return 1.0
"""

PUBLISHED = """
[[claim.expect]]
scope = "published"
models = ["gpt2"]
values = 7
tolerance = { kind = "exact", because = "integers" }
needs = { weights = true }
"""

PAPER = paper(SUM, TABLE + PUBLISHED, UNCHECKED, claims_in_spec=3)

TESTS = """
import pandas as pd
import pytest

@pytest.mark.claim("C01")
def test_sum(subject, claim, golden, factor):
    total = (1.0 + 1.0) * factor
    claim.check(total)
    golden.check(pd.DataFrame({"term": ["sum"], "value": [total]}))

@pytest.mark.claim("C02")
def test_total(subject, claim):
    claim.check({"org/a": 3, "org/b": 5}.get(subject.id, 0))
"""

NOISE = """
[columns.value]
abs = 0.001
rel = 0.0
because = "measured"
measured_on = ["default", "avx2"]
date = 2026-01-01
"""


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A checkout with one paper of three claims."""
    for name in ("RWCORE_MODELS", "RWCORE_REPORT", "CI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RWCORE_ROOT", str(pytester.path))
    monkeypatch.setenv("RWCORE_CACHE", str(pytester.path / "cache"))
    # The variable is read once, when the hub's library is loaded.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(pytester.path / "hub"))
    pytester.makeconftest(CONFTEST)
    claims = pytester.mkdir("claims") / "demo"
    claims.mkdir()
    (claims / "paper.toml").write_text(PAPER)
    (claims / "test_demo.py").write_text(TESTS)
    (pytester.mkdir("golden") / "demo").mkdir()
    (pytester.path / "golden/demo/noise.toml").write_text(NOISE)
    return pytester


def run(project: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return project.runpytest_inprocess("claims", "-p", "no:randomly", "-p", "no:cacheprovider", *arguments)


def results_of(project: pytest.Pytester, *arguments: str) -> dict[tuple[str, str], dict]:
    run(project, "--rw-report", "report", *arguments)
    found = json.loads((project.path / "report/results.json").read_text())
    return {(result["claim"], result["model"]): result for result in found["results"]}


def record(project: pytest.Pytester) -> None:
    run(project, "--regen-all")


def test_first_run_fails_and_writes_nothing(project):
    result = run(project)
    result.assert_outcomes(failed=1, passed=2, skipped=1)
    result.stdout.fnmatch_lines(["*no value is recorded here yet*", "*--regen-all*"])
    assert not list((project.path / "golden/demo").rglob("*.csv"))


def test_record_then_pass(project):
    record(project)
    run(project).assert_outcomes(passed=3, skipped=1)
    assert sorted(file.name for file in (project.path / "golden/demo/recorded/sum").iterdir()) == [
        "synthetic.csv",
        "synthetic.meta.json",
    ]


def test_change_of_our_value_fails_with_the_command(project):
    record(project)
    project.makeconftest(CONFTEST.replace("1.0", "1.02"))
    result = run(project)
    result.assert_outcomes(failed=1, passed=2, skipped=1)
    result.stdout.fnmatch_lines(["*--force-regen*"])


def test_force_regen_fails_once_and_rewrites(project):
    record(project)
    project.makeconftest(CONFTEST.replace("1.0", "1.02"))
    run(project, "--force-regen").assert_outcomes(failed=1, passed=2, skipped=1)
    run(project).assert_outcomes(passed=3, skipped=1)


def test_noise_is_no_change(project):
    record(project)
    project.makeconftest(CONFTEST.replace("1.0", "1.0004"))
    run(project).assert_outcomes(passed=3, skipped=1)


def test_deleted_file_fails(project):
    record(project)
    (project.path / "golden/demo/recorded/sum/synthetic.csv").unlink()
    result = run(project)
    result.assert_outcomes(failed=1, passed=2, skipped=1)
    result.stdout.fnmatch_lines(["*--regen-all*"])


def test_dropped_column_fails(project):
    record(project)
    file = project.path / "claims/demo/test_demo.py"
    file.write_text(TESTS.replace('"term": ["sum"], ', ""))
    result = run(project)
    result.assert_outcomes(failed=1, passed=2, skipped=1)
    result.stdout.fnmatch_lines(["*term*"])


def test_ci_never_regenerates(project, monkeypatch):
    monkeypatch.setenv("CI", "true")
    result = run(project, "--regen-all")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*CI*"])


def test_new_only_records_what_is_missing(project):
    record(project)
    project.makeconftest(CONFTEST.replace("1.0", "1.02"))
    run(project, "--rw-new-only").assert_outcomes(failed=1, passed=2, skipped=1)
    (project.path / "golden/demo/recorded/sum/synthetic.csv").unlink()
    run(project, "--rw-new-only").assert_outcomes(passed=3, skipped=1)


def test_published_value_is_never_rewritten(project):
    record(project)
    project.makeconftest(CONFTEST.replace("1.0", "1.5"))
    record(project)
    result = run(project)
    result.assert_outcomes(failed=1, passed=2, skipped=1)
    result.stdout.fnmatch_lines(["*demo/C01*within tolerance*"])


def test_verdicts_and_report(project):
    record(project)
    results = results_of(project)
    assert results["C01", "synthetic"]["verdict"] == "correct"
    assert results["C02", "org/a"]["verdict"] == "consistent"
    assert results["C02", "gpt2"]["verdict"] == "not run"
    assert not results["C02", "gpt2"]["ran"]
    assert "pytest -m gpu" in results["C02", "gpt2"]["reason"]
    assert (project.path / "report/index.html").exists()
    assert (project.path / "report/report.md").exists()


def test_results_survive_xdist(project):
    record(project)
    alone = results_of(project)
    parallel = results_of(project, "-n", "2")
    assert {key: value["verdict"] for key, value in alone.items()} == {
        key: value["verdict"] for key, value in parallel.items()
    }


def test_wrong_table_is_inconsistent(project):
    file = project.path / "claims/demo/paper.toml"
    file.write_text(PAPER.replace('"org/b" = 5', '"org/b" = 6'))
    results = results_of(project)
    assert results["C02", "org/b"]["verdict"] == "inconsistent"
    assert results["C02", "org/a"]["verdict"] == "consistent"


def test_exception_is_an_error(project):
    project.makeconftest(CONFTEST.replace("return 1.0", "raise RuntimeError('broken')"))
    results = results_of(project)
    assert results["C01", "synthetic"]["verdict"] == "error"
    assert "broken" in results["C01", "synthetic"]["reason"]


def test_claim_that_is_never_checked_is_an_error(project):
    file = project.path / "claims/demo/test_demo.py"
    file.write_text(TESTS.replace("    claim.check(total)\n", ""))
    result = run(project, "-k", "sum")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*never called claim.check*"])


def test_unknown_claim_and_malformed_paper(project):
    file = project.path / "claims/demo/test_demo.py"
    file.write_text(TESTS.replace('"C01"', '"C99"'))
    result = run(project)
    assert result.ret != 0
    result.stdout.fnmatch_lines(["*no claim C99*"])
    file.write_text(TESTS)
    paper = project.path / "claims/demo/paper.toml"
    paper.write_text(PAPER.replace("tolerance = { kind", "tolernce = { kind", 1))
    result = run(project)
    assert result.ret != 0
    result.stdout.fnmatch_lines(["*tolernce*"])


def test_full_reproduction_without_weights(project):
    result = run(project, "-m", "gpu")
    assert result.ret == 0
    assert result.outlines[-1] == "0 of 1 claims ran: this is not a reproduction"
    result.stdout.fnmatch_lines(["*rwcore fetch gpt2*"])


def test_strict_fails_what_cannot_run(project):
    result = run(project, "-m", "gpu", "--rw-strict")
    result.assert_outcomes(errors=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_strict_without_any_claim_fails(project):
    paper = PAPER.replace('scope = "published"', 'scope = "data"').replace("values = 7", "values = 0")
    (project.path / "claims/demo/paper.toml").write_text(paper)
    assert run(project, "-m", "gpu").ret == pytest.ExitCode.NO_TESTS_COLLECTED
    assert run(project, "-m", "gpu", "--rw-strict").ret == pytest.ExitCode.TESTS_FAILED


def test_mark_expression_is_evaluated(project):
    result = run(project, "-m", "not gpu", "-rs")
    result.assert_outcomes(failed=1, passed=2, deselected=1)
    result.stdout.no_fnmatch_line("*this is not a reproduction*")


def test_budget_runs_the_cheap_claims(project):
    record(project)
    result = run(project, "--rw-budget", "0.5", "-rs")
    result.assert_outcomes(passed=1, skipped=3)
    result.stdout.fnmatch_lines(["*over budget*raise --rw-budget*"])


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--rw-budget", "-3"], "*positive number of minutes*"),
        (["--rw-models", "gpt3-tiny"], "*gpt3-tiny*"),
    ],
)
def test_impossible_options(project, option, message):
    result = run(project, *option)
    assert result.ret != 0
    (result.stderr if result.ret == pytest.ExitCode.USAGE_ERROR else result.stdout).fnmatch_lines([message])


def test_option_precedence(project, monkeypatch):
    record(project)
    monkeypatch.setenv("RWCORE_BUDGET", "0.5")
    run(project).assert_outcomes(passed=1, skipped=3)
    run(project, "--rw-budget", "60").assert_outcomes(passed=3, skipped=1)


def test_figures_reach_the_report(project):
    file = project.path / "claims/demo/test_demo.py"
    rows = 'pd.DataFrame({"layer": [0, 1], "median": [0.1, -0.2]})'
    drawn = f"    claim.check(total)\n    claim.figure('linout_medians', {rows})\n"
    file.write_text(TESTS.replace("    claim.check(total)\n", drawn))
    run(project, "--rw-report", "report")
    figures = json.loads((project.path / "report/results.json").read_text())["figures"]
    assert figures[0]["rows"] == [{"layer": 0, "median": 0.1}, {"layer": 1, "median": -0.2}]


@pytest.fixture
def weights(project):
    """A model under the name of a published one, where the hub's cache would have it."""
    from fixtures.planted import plant

    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = project.path / "hub/models--gpt2"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs/main").write_text(commit)
    plant("gpt2", repository / "snapshots" / commit, layers=1)
    return commit


def obtains(project, value):
    tests = TESTS.replace("subject.id, 0)", f"subject.id, {value})")
    (project.path / "claims/demo/test_demo.py").write_text(tests)


KNOWN = """
[[difference]]
claim = "C02"
model = "gpt2"
what = "the paper used another tokenizer"
since = 2026-01-01
revisit = "with the next version of the paper"
"""


@pytest.mark.parametrize(
    ("value", "known", "verdict", "passes"),
    [
        (7, False, "reproduced", True),
        (8, False, "differs", False),
        (8, True, "known difference", True),
        (7, True, "reproduced", False),
    ],
)
def test_verdicts_on_a_published_model(project, weights, value, known, verdict, passes):
    obtains(project, value)
    if known:
        (project.path / "claims/demo/known_differences.toml").write_text(KNOWN)
    result = run(project, "-m", "gpu", "--rw-report", "report")
    assert result.ret == (pytest.ExitCode.OK if passes else pytest.ExitCode.TESTS_FAILED)
    (found,) = json.loads((project.path / "report/results.json").read_text())["results"]
    assert found["verdict"] == verdict
    assert found["ran"]
    assert found["provenance"]["gpt2"]["model"]["revision"] == weights
    assert found["rerun"] == "pytest 'claims/demo/test_demo.py::test_total[gpt2]' --rw-models gpt2"


@pytest.mark.parametrize(
    ("needs", "told"),
    [
        ("ram_gib = 1e6", "*1000000.0 GiB of free memory*"),
        ("gpu_gib = 1e6", "*CUDA device with 1000000.0 GiB*"),
    ],
)
def test_what_a_claim_needs_is_checked_before_it_runs(project, weights, needs, told):
    paper = PAPER.replace("needs = { weights = true }", f"needs = {{ weights = true, {needs} }}")
    (project.path / "claims/demo/paper.toml").write_text(paper)
    result = run(project, "-m", "gpu")
    result.assert_outcomes(skipped=1, deselected=3)
    result.stdout.fnmatch_lines([told])


def test_published_model_by_name_needs_no_mark(project, weights):
    obtains(project, 7)
    results = results_of(project, "--rw-models", "gpt2")
    assert results["C02", "gpt2"]["verdict"] == "reproduced"
