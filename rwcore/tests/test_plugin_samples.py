"""How much text a claim may read: options, what must be there, what it costs, how the verdict says it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

# Runs inside this process forget every module they import; compiled ones cannot be imported twice.
import rwcore.benchmarks.reference
import rwcore.corpora.hub
import rwcore.corpora.registry
import rwcore.models.locate
import rwcore.report.write
import rwcore.stats.null
import rwcore.studies.weights
import rwcore.weights.shape
import rwcore.weights.sources  # noqa: F401
from rwcore.tests.demo_paper import SUM, paper

pytest_plugins = ["pytester"]

MODEL = "gpt2"

# Two claims about a model that reads text; `TEXT` is told to the subject by the test itself.
SAMPLED = """
statement = "seven tenths"
where = "table 2"
definition = "shares/1"
kind = "W"
cost = 10
study = "pass"

[[claim.expect]]
scope = "published"
models = ["gpt2"]
values = 0.7
tolerance = { kind = "sampled", abs = 0.01, sample_abs = 0.02, enough = 1000, because = "printed digits" }
needs = { weights = true }
"""

STUDIES = "\n[studies]\npass = 1000\n"

CONFTEST = """
pytest_plugins = ["rwcore.plugin"]
"""

TESTS = """
import pytest
from rwcore.claim.sample import Sample

def obtain(subject, claim):
    subject._sample = Sample("the text", TOKENS, 20000)
    claim.check(VALUE)

@pytest.mark.claim("C01")
def test_first(subject, claim):
    obtain(subject, claim)

@pytest.mark.claim("C02")
def test_second(subject, claim):
    obtain(subject, claim)
"""


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A checkout with one paper of two claims, and a model under the name of a published one."""
    from fixtures.planted import plant

    for name in ("RWCORE_MODELS", "RWCORE_REPORT", "RWCORE_TOKENS", "RWCORE_FULL", "CI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RWCORE_ROOT", str(pytester.path))
    monkeypatch.setenv("RWCORE_CACHE", str(pytester.path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(pytester.path / "hub"))
    pytester.makeconftest(CONFTEST)
    (pytester.path / "golden/demo").mkdir(parents=True)
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = pytester.path / "hub/models--gpt2"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs/main").write_text(commit)
    plant("gpt2", repository / "snapshots" / commit, layers=1)
    write(pytester)
    return pytester


def write(project: pytest.Pytester, *, value: object = 0.7, tokens: int = 5000, **changes: str) -> None:
    folder = project.path / "claims/demo"
    folder.mkdir(parents=True, exist_ok=True)
    text = paper(SAMPLED, SAMPLED, claims_in_spec=2).replace("\n[groups]", STUDIES + "\n[groups]")
    for old, new in changes.items():
        text = text.replace({"needs": "{ weights = true }", "study": 'study = "pass"'}[old], new)
    (folder / "paper.toml").write_text(text)
    tests = TESTS.replace("TOKENS", str(tokens)).replace("VALUE", repr(value))
    (folder / "test_demo.py").write_text(tests)


def run(project: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return project.runpytest_inprocess(
        "claims", "-p", "no:randomly", "-p", "no:cacheprovider", "--rw-models", MODEL, *arguments
    )


def first_result(project: pytest.Pytester) -> dict:
    run(project, "--rw-report", "report")
    return json.loads((project.path / "report/results.json").read_text())["results"][0]


@pytest.mark.parametrize(
    ("value", "tokens", "verdict", "tolerance"),
    [
        (0.715, 5000, "reproduced", "±0.02 on 5 k tokens"),
        (0.715, 20000, "differs", "±0.01"),
        (0.705, 20000, "reproduced", "±0.01"),
        (0.705, 900, "reproduced", "±0.02 on 900 tokens, with the interval"),
    ],
)
def test_verdict_depends_on_how_much_was_read(project, value, tokens, verdict, tolerance):
    write(project, value=value, tokens=tokens)
    found = first_result(project)
    assert (found["verdict"], found["tolerance"]) == (verdict, tolerance)


@pytest.mark.parametrize(
    ("tokens", "told"),
    [(5000, "5 k of 20 k tokens of the text"), (20000, "20 k tokens of the text")],
)
def test_the_report_says_how_much_was_read(project, tokens, told):
    write(project, tokens=tokens)
    assert first_result(project)["text"] == told
    assert f"reproduced ({told})" in (project.path / "report/report.md").read_text()
    pages = [page.read_text() for page in (project.path / "report").rglob("*.html")]
    assert sum(f"({told})" in page for page in pages) >= 2  # the page of the claim, that of the model


def test_what_one_test_has_read_is_not_said_of_the_next(project):
    file = project.path / "claims/demo/test_demo.py"
    head, _, tail = file.read_text().rpartition("    obtain(subject, claim)")
    file.write_text(f"{head}    claim.check(0.7){tail}")
    run(project, "--rw-report", "report")
    results = json.loads((project.path / "report/results.json").read_text())["results"]
    assert [one["text"] for one in results] == ["5 k of 20 k tokens of the text", None]


def test_a_shared_study_is_charged_once(project):
    """Ten minutes are too few for a study of 1,000 seconds; twenty are enough for both tests."""
    run(project, "--rw-budget", "10").assert_outcomes(skipped=2)
    result = run(project, "--rw-budget", "17")  # 1,020 seconds: the study and one test, but not two studies
    result.assert_outcomes(passed=2)


def test_a_study_that_was_not_run_is_still_charged(project):
    file = project.path / "claims/demo/test_demo.py"
    file.write_text(file.read_text().replace("def test_first", "@pytest.mark.skip\ndef test_first"))
    result = run(project, "--rw-budget", "17")
    result.assert_outcomes(passed=1, skipped=1)
    result = run(project, "--rw-budget", "16", "-rs")
    result.assert_outcomes(skipped=2)
    result.stdout.fnmatch_lines(["*over budget*"])


def test_an_unknown_study_is_refused(project):
    write(project, study='study = "pas"')
    result = run(project)
    assert result.ret != 0
    result.stdout.fnmatch_lines(["*needs the study 'pas'*did you mean 'pass'*"])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--rw-tokens", "0"], "*positive number of tokens*"),
        (["--rw-tokens", "-5"], "*positive number of tokens*"),
        (["--rw-tokens", "1.5"], "*positive number of tokens*"),
        (["--rw-tokens", "many"], "*positive number of tokens*"),
        (["--rw-tokens", "5", "--rw-full"], "*exclude each other*"),
    ],
)
def test_impossible_numbers_of_tokens(project, options, told):
    result = run(project, *options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([told])


@pytest.mark.parametrize(
    ("arguments", "environment", "tokens"),
    [
        ([], {}, "1000000"),
        (["--rw-tokens", "250000"], {}, "250000"),
        (["--rw-tokens", "2_000_000"], {"RWCORE_TOKENS": "7"}, "2000000"),
        ([], {"RWCORE_TOKENS": "7"}, "7"),
        (["--rw-full"], {}, "None"),
        ([], {"RWCORE_FULL": "1"}, "None"),
    ],
)
def test_number_of_tokens(project, monkeypatch, arguments, environment, tokens):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    run(project, "--rw-report", "report", *arguments)
    found = json.loads((project.path / "report/results.json").read_text())
    assert found["runs"][0]["options"]["tokens"] == tokens
    again = {"1000000": "", "None": " --rw-full"}.get(tokens, f" --rw-tokens {tokens}")
    assert found["results"][0]["rerun"].endswith(f"--rw-models gpt2{again}")


NEEDS_TEXT = '{ weights = true, corpus = "dolma-small" }'


def test_a_missing_corpus_is_named_with_the_command_that_fetches_it(project):
    write(project, needs=NEEDS_TEXT)
    result = run(project, "-rs")
    result.assert_outcomes(skipped=2)
    result.stdout.fnmatch_lines(["*'dolma-small' is not on this machine*rwcore fetch --corpus dolma-small*"])


def test_a_corpus_that_is_there_keeps_nothing_from_running(project):
    write(project, needs=NEEDS_TEXT)
    put_corpus(project.path / "hub", "one text")
    run(project).assert_outcomes(passed=2)


def test_a_corpus_that_needs_no_download_is_there(project):
    write(project, needs='{ corpus = "handmade" }')
    run(project).assert_outcomes(passed=2)


def test_a_model_that_reads_text_must_fit_into_memory(project, monkeypatch):
    write(project, needs=NEEDS_TEXT)
    put_corpus(project.path / "hub", "one text")
    monkeypatch.setattr("rwcore.plugin.gates._parameters", lambda model: 10**15)
    result = run(project, "-rs")
    result.assert_outcomes(skipped=2)
    result.stdout.fnmatch_lines(["*GiB of free memory, or a GPU with as much*"])


def put_corpus(hub: Path, *texts: str) -> None:
    """A data set where the hub's cache would have that of ``dolma-small``."""
    commit = "fedcba9876543210fedcba9876543210fedcba98"
    repository = hub / "datasets--emozilla--dolma-v1_7-3B"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs/main").write_text(commit)
    snapshot = repository / "snapshots" / commit
    snapshot.mkdir(parents=True)
    lines = (json.dumps({"text": text}) for text in texts)
    (snapshot / "train.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


GATED_IDENTITY = SUM.replace('scope = "synthetic"', 'scope = "identity"\ngated = true').replace(
    'values = 2.0\ntolerance = { kind = "within", abs = 0.1, because = "float64 sums" }',
    'holds = { kind = "exact", value = 1 }',
)


def test_a_claim_about_gates_is_not_asked_of_a_model_without(project):
    (project.path / "claims/demo/paper.toml").write_text(paper(GATED_IDENTITY, claims_in_spec=1))
    tests = "import pytest\n@pytest.mark.claim('C01')\ndef test_one(subject, claim):\n    claim.check(1)\n"
    (project.path / "claims/demo/test_demo.py").write_text(tests)
    result = run(project, "-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*the MLP of gpt2 has no gate: ask a gated model*"])
    text = (project.path / "claims/demo/paper.toml").read_text()
    (project.path / "claims/demo/paper.toml").write_text(text.replace("gated = true\n", ""))
    run(project).assert_outcomes(passed=1)
