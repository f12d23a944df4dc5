"""Claim files: what they may say, and what an error in one of them looks like."""

from __future__ import annotations

from pathlib import Path

import pytest

from rwcore.claim.schema import Paper, expand, load_paper, load_papers
from rwcore.errors import ClaimFileError

HEAD = """\
title = "A paper"
authors = "A. Author"
year = 2025
url = "https://example.org/paper"
version_read = "v2"
spec = "its own"
claims_in_spec = 3

[groups]
gated = ["org/a", "org/b", "org/c"]
more = ["@gated", "org/d", "!org/b"]
"""

CLAIM = """
[[claim]]
id = "C39"
statement = "the median is positive in the first half"
where = "section 5"
definition = "layer_medians/1"
kind = "F"
"""

EXPECT = """
[[claim.expect]]
scope = "published"
models = ["org/a"]
values = 0.5
tolerance = { kind = "within", abs = 1e-5, because = "summation order" }
"""

HOLDS = """
[[claim.expect]]
scope = "any-gated"
holds = { kind = "at_least", quantity = "smallest", value = 0 }
"""


def write(folder: Path, text: str) -> Path:
    paper = folder / "some_paper"
    paper.mkdir(exist_ok=True)
    (paper / "paper.toml").write_text(text, encoding="utf-8")
    return paper


def read(folder: Path, text: str) -> Paper:
    return load_paper(write(folder, text))


def complaint(folder: Path, text: str) -> ClaimFileError:
    with pytest.raises(ClaimFileError) as caught:
        read(folder, text)
    assert caught.value.remedy, "every complaint says what to do"
    assert str(folder / "some_paper" / "paper.toml") in str(caught.value)
    return caught.value


# --- what is read --------------------------------------------------------------------------------------


def test_a_claim_file_is_read(tmp_path: Path) -> None:
    paper = read(tmp_path, HEAD + CLAIM + EXPECT + HOLDS)
    assert paper.slug == "some_paper"
    claim = paper.claim("C39")
    assert claim.cost == 1
    assert [expectation.scope for expectation in claim.expect] == ["published", "any-gated"]
    assert claim.expect[0].tolerance is not None
    assert claim.expect[0].tolerance.because == "summation order"
    assert claim.expect[1].label == "some_paper/C39 → expect[1]"
    assert claim.expect[0].file is None


def test_papers_are_found_by_folder(tmp_path: Path) -> None:
    read(tmp_path, HEAD)
    (tmp_path / "no_paper").mkdir()
    assert [paper.slug for paper in load_papers(tmp_path)] == ["some_paper"]


def test_groups(tmp_path: Path) -> None:
    paper = read(tmp_path, HEAD)
    assert expand(paper, ["@gated"]) == ["org/a", "org/b", "org/c"]
    assert expand(paper, ["@gated", "!org/b"]) == ["org/a", "org/c"]
    assert expand(paper, ["@more"]) == ["org/a", "org/c", "org/d"]
    assert expand(paper, ["org/c", "@gated"]) == ["org/c", "org/a", "org/b"]
    assert expand(paper, ["@gated", "org/d", "!@gated"]) == ["org/d"]
    with pytest.raises(ClaimFileError, match="did you mean 'gated'"):
        expand(paper, ["@gatd"])
    with pytest.raises(ClaimFileError, match="org/x"):
        expand(paper, ["@gated", "!org/x"])


def test_an_unknown_claim_is_suggested(tmp_path: Path) -> None:
    with pytest.raises(ClaimFileError, match="did you mean 'C39'"):
        read(tmp_path, HEAD + CLAIM + EXPECT).claim("C38")


@pytest.mark.parametrize(
    "expect",
    [
        'scope = "published"\nmodels = ["@gated"]\nvalues = "t.csv"\nvalue = "count"\n'
        'tolerance = { kind = "band", delta = 1e-6, cap = 2, because = "float32" }',
        'scope = "published"\nmodels = ["org/a", "org/b"]\nvalues = { "org/a" = 1, "org/b" = 2 }\n'
        'tolerance = { kind = "exact", because = "counts" }',
        'scope = "published"\nmodels = ["org/a"]\nkey = "class"\nvalues = { "org/a" = { W = 1, S = 2 } }\n'
        'tolerance = { kind = "exact", because = "counts" }',
        'scope = "data"\nmodels = ["@gated"]\ntogether = true\nkey = "class"\nvalues = { W = 8, S = 1 }\n'
        'tolerance = { kind = "exact", because = "counts" }',
        'scope = "synthetic"\nkey = "d_model"\nvalues = { 896 = 0.065 }\n'
        'tolerance = { kind = "within", abs = 1e-8, because = "closed form" }',
        'scope = "published"\nmodels = ["org/a"]\nvalues = { "org/a" = ["x", "y"] }\n'
        'tolerance = { kind = "set", overlap = 0.5, because = "ties" }',
        'scope = "published"\nmodels = ["org/a"]\nvalues = 0.3\ninvalid = "computed from another model"',
        'scope = "any-decoder"\nmodels = ["org/a"]\nholds = { kind = "exact", value = true }',
        'scope = "published"\nmodels = ["org/a"]\nholds = { kind = "all_of", of = [{ kind = "at_least", '
        'value = 0.3 }, { kind = "at_most", value = 0.7 }] }\nneeds = { gpu_gib = 24, weights = true }',
    ],
)  # fmt: skip
def test_expectations_of_every_form(tmp_path: Path, expect: str) -> None:
    assert len(read(tmp_path, HEAD + CLAIM + "\n[[claim.expect]]\n" + expect).claim("C39").expect) == 1


# --- what is rejected ----------------------------------------------------------------------------------


def test_a_tolerance_without_a_reason(tmp_path: Path) -> None:
    error = complaint(tmp_path, HEAD + CLAIM + EXPECT.replace(', because = "summation order"', ""))
    assert error.where is not None
    assert error.where.endswith("paper.toml:14: claim C39 → expect[0] → tolerance → because")
    assert "is missing" in error.what
    assert error.remedy == 'tolerance = { kind = "within", abs = 1e-5, because = "float32 summation order" }'


def test_a_bare_number_as_tolerance(tmp_path: Path) -> None:
    text = EXPECT.replace('{ kind = "within", abs = 1e-5, because = "summation order" }', "1e-5")
    error = complaint(tmp_path, HEAD + CLAIM + text)
    assert error.where is not None
    assert error.where.endswith("claim C39 → expect[0] → tolerance")
    assert "bare number (1e-05)" in error.what
    assert error.remedy == 'tolerance = { kind = "within", abs = 1e-05, because = "why this much" }'


def test_a_reason_missing_deep_inside(tmp_path: Path) -> None:
    of = '{ kind = "all_of", of = [{ kind = "exact", because = "x" }, { kind = "at_most" }] }'
    text = EXPECT.replace('{ kind = "within", abs = 1e-5, because = "summation order" }', of)
    error = complaint(tmp_path, HEAD + CLAIM + text)
    assert error.where is not None
    assert error.where.endswith("claim C39 → expect[0] → tolerance → of[1] → because")


@pytest.mark.parametrize(
    ("old", "new", "place", "what"),
    [
        ("tolerance = {", "tolerence = {", "expect[0] → tolerence", "did you mean 'tolerance'?"),
        ("abs = 1e-5", "abss = 1e-5", "expect[0] → tolerance → abss", "did you mean 'abs'?"),
        ('"within"', '"withn"', "expect[0] → tolerance", "unknown kind 'withn'; did you mean 'within'?"),
        ('kind = "within", ', "", "expect[0] → tolerance", "has no `kind`"),
        ('scope = "published"', 'scope = "publised"', "expect[0] → scope", "did you mean 'published'?"),
        ('models = ["org/a"]', "", "expect[0]", "needs models"),
        ('models = ["org/a"]', 'models = ["@gatd"]', "expect[0] → models", "did you mean 'gated'?"),
        ("values = 0.5", "", "expect[0]", "no values"),
        ("values = 0.5", 'values = "medians"', "expect[0] → values", "not the name of a CSV file"),
        ("values = 0.5", "values = nan", "expect[0] → values", "nan is not a published value"),
        ("values = 0.5", "values = 2025-01-01", "expect[0] → values", "cannot be a value"),
        ("values = 0.5", "values = {}", "expect[0] → values", "empty"),
        ("values = 0.5", 'values = { "org/b" = 1 }', "expect[0] → values", "no value for org/a"),
        ("values = 0.5", 'values = { "org/a" = 1, "org/x" = 2 }', "expect[0] → values", "'org/x'"),
        ("values = 0.5", 'values = { "org/a" = { W = 1 } }', "expect[0]", "`key`"),
        ("values = 0.5", 'key = ["a", "b"]\nvalues = { "org/a" = { W = 1 } }', "expect[0]", "one key column"),
        ("values = 0.5", 'values = 0.5\nholds = { kind = "at_least", value = 0 }', "expect[0]", "both"),
        ('scope = "published"', 'scope = "any-gated"', "expect[0]", "no published value"),
        ('id = "C39"\n', "", "claim[0] → id", "is missing"),
        ('where = "section 5"\n', "", "where", "is missing"),
        ('definition = "layer_medians/1"', 'definition = "layer_medians"', "definition", "pattern"),
        ('kind = "F"', 'knd = "F"', "knd", "did you mean 'kind'?"),
        ("year = 2025", 'year = "2025"', "year", "valid integer"),
        ("claims_in_spec = 3", "", "claims_in_spec", "is missing"),
        ('title = "A paper"', 'title = "A paper"\nslug = "x"', "slug", "name of the folder"),
        ('"!org/b"', '"!org/x"', "groups → more", "org/x"),
        ('"org/d"', '"@more"', "groups → more", "contains itself"),
    ],
)
def test_mistakes_are_named_with_their_place(
    tmp_path: Path, old: str, new: str, place: str, what: str
) -> None:
    text = HEAD + CLAIM + EXPECT
    assert text.count(old) == 1
    error = complaint(tmp_path, text.replace(old, new))
    assert place in str(error)
    assert what in str(error)


def test_an_expectation_needs_a_target(tmp_path: Path) -> None:
    error = complaint(tmp_path, HEAD + CLAIM + '\n[[claim.expect]]\nscope = "identity"\n')
    assert "neither tolerance nor holds" in error.what


def test_a_claim_without_expectations_says_why(tmp_path: Path) -> None:
    assert "expects nothing" in complaint(tmp_path, HEAD + CLAIM).what
    assert read(tmp_path, HEAD + CLAIM + 'not_automated = "needs a plot"\n').claim("C39").expect == []


def test_ids_are_unique(tmp_path: Path) -> None:
    assert "C39" in complaint(tmp_path, HEAD + (CLAIM + EXPECT) * 2).what


def test_all_problems_are_listed_at_once(tmp_path: Path) -> None:
    second = CLAIM.replace("C39", "C40") + EXPECT.replace("abs = 1e-5", "abs = -1")
    error = complaint(
        tmp_path, HEAD + CLAIM + EXPECT.replace('because = "summation order"', 'becuase = "x"') + second
    )
    text = str(error)
    assert "2 problems" in error.what
    assert "paper.toml:14: claim C39 → expect[0] → tolerance → becuase" in text
    assert "did you mean 'because'" in text
    assert "claim C40 → expect[0] → tolerance → abs" in text


def test_a_syntax_error_names_its_line(tmp_path: Path) -> None:
    error = complaint(tmp_path, HEAD + '\n[[claim]]\nid = "C39\n')
    assert error.where is not None
    assert error.where.endswith("paper.toml:14")


def test_files_that_are_not_there_or_not_text(tmp_path: Path) -> None:
    with pytest.raises(ClaimFileError, match="does not exist"):
        load_paper(tmp_path / "nowhere")
    folder = write(tmp_path, HEAD)
    (folder / "paper.toml").write_bytes(b"title = '\xff'")
    with pytest.raises(ClaimFileError, match="UTF-8"):
        load_paper(folder)


def test_braces_in_a_value_do_not_break_the_message(tmp_path: Path) -> None:
    assert "{x}" in complaint(tmp_path, HEAD + CLAIM + EXPECT.replace("values = 0.5", 'values = "{x}"')).what
