"""The claim files themselves: complete, consistent with the tests, with every recorded value in place."""

import pandas as pd
import pytest

from rwcore.claim.coverage import coverage
from rwcore.claim.known import read_known
from rwcore.claim.review import check_paper
from rwcore.claim.schema import load_papers
from rwcore.golden.files import load
from rwcore.golden.paths import collisions, missing, orphans
from rwcore.golden.sidecar import read_sidecar
from rwcore.paths import claims_dir, golden_dir
from rwcore.plugin.expected import recorded_files
from rwcore.plugin.parametrize import STAND_INS

REGENERATE = "run `tox run -e regen`, or delete what no test compares"


@pytest.fixture
def expected_files(request):
    """Every recorded file that a test compares."""
    folders = sorted(file.parent for file in claims_dir().glob("*/paper.toml"))
    stand_ins = request.config.stash[STAND_INS]
    return [path for folder in folders for path in recorded_files(folder, stand_ins)]


@pytest.mark.parametrize("paper", load_papers(claims_dir()), ids=lambda paper: paper.slug)
def test_every_published_value_can_be_read(paper):
    assert check_paper(paper, golden_dir(), read_known(claims_dir() / paper.slug)) == []


@pytest.mark.parametrize("paper", load_papers(claims_dir()), ids=lambda paper: paper.slug)
def test_every_claim_of_the_spec_has_an_entry(paper):
    assert len(paper.claims) == paper.claims_in_spec


def test_every_claim_has_a_test_or_a_reason():
    covered = coverage(load_papers(claims_dir()), claims_dir())
    assert covered.problems == ()
    assert [row.id for row in covered.rows if not row.automated and not row.reason] == []


def test_every_statement_about_any_model_fails_on_a_null_model(request, expected_files):
    """Random weights, or as many neurons of every class: a statement that holds there too says nothing."""
    nulls = {stand_in.id for stand_in in request.config.stash[STAND_INS].values() if stand_in.null}
    verdicts = [path for path in expected_files if path.parent.name.endswith(".verdicts")]
    answers = pd.concat([load(path) for path in verdicts if path.stem in nulls])
    fails = answers["answer"].eq("does not hold").groupby([answers["claim"], answers["expectation"]]).any()
    assert len(fails) > 0
    assert fails[~fails].index.tolist() == []


def test_every_recorded_value_has_its_file(expected_files):
    assert len(expected_files) == len(set(expected_files)) > 0
    assert missing(expected_files) == [], REGENERATE


def test_no_two_recorded_values_share_a_file(expected_files):
    assert collisions(str(path) for path in expected_files) == []


def test_no_recorded_file_is_orphaned(expected_files):
    assert orphans(expected_files) == [], REGENERATE


def test_every_recorded_file_is_what_its_side_car_describes(expected_files):
    for path in expected_files:
        assert read_sidecar(path)["rows"] > 0, path
