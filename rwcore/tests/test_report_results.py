"""results.json: strict reading, exact round trips, merging in any order."""

from __future__ import annotations

import datetime
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rwcore.claim.schema import Scope
from rwcore.claim.verdict import SubjectKind, Verdict
from rwcore.errors import RwcoreError, StoreError
from rwcore.report import claim_view, matrix, summary
from rwcore.report.results import (
    ClaimInfo,
    Figure,
    PaperInfo,
    Result,
    Results,
    ResultsFileError,
    Run,
    as_plain,
    json_schema,
    merge,
    natural,
    read_results,
    to_json,
    write_results,
)
from rwcore.report.verdicts import FAMILIES, SCOPE_FAMILY, STYLES

CANNED = Path(__file__).parent / "data" / "report" / "results.json"


def one_result(**changes: Any) -> Result:
    fields: dict[str, Any] = {
        "paper": "p",
        "claim": "C1",
        "expectation": "published#0",
        "scope": "published",
        "model": "m",
        "subject_kind": "paper",
        "verdict": "reproduced",
        "ran": True,
    }
    return Result(**{**fields, **changes})


def day(number: int, **changes: Any) -> Run:
    start = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(days=number)
    return Run(
        started=start, finished=start + datetime.timedelta(hours=1), command=f"pytest {9 - number}", **changes
    )


def bundle(runs: list[Run], results: list[Result], figures: list[Figure] | None = None) -> Results:
    papers = [PaperInfo(slug="p", title="P", authors="A", year=2025, claims_in_spec=3)]
    claims = [
        ClaimInfo(paper="p", id=name, statement="s", where="w", definition="d/1", kind="W", automated=True)
        for name in ("C1", "C2", "C10")
    ]
    return Results(runs=runs, papers=papers, claims=claims, results=results, figures=figures or [])


def test_the_canned_file_survives_reading_and_writing_byte_for_byte(tmp_path: Path) -> None:
    write_results(tmp_path / "again.json", read_results(CANNED))
    assert (tmp_path / "again.json").read_bytes() == CANNED.read_bytes()


def test_the_canned_file_has_every_verdict() -> None:
    assert {result.verdict for result in read_results(CANNED).results} == set(Verdict)


def test_the_file_is_plain_json_without_nan() -> None:
    def refuse(text: str) -> None:
        raise AssertionError(text)

    found = json.loads(CANNED.read_text(encoding="utf-8"), parse_constant=refuse)
    assert found["schema"] == "rwcore-results/1"


@pytest.mark.parametrize("value", [math.inf, -math.inf, 0.25, None])
def test_ratios_without_limit_survive(tmp_path: Path, value: float | None) -> None:
    write_results(tmp_path / "r.json", bundle([day(1)], [one_result(delta_over_tolerance=value)]))
    assert read_results(tmp_path / "r.json").results[0].delta_over_tolerance == value


def test_not_a_number_survives(tmp_path: Path) -> None:
    write_results(tmp_path / "r.json", bundle([day(1)], [one_result(margin=math.nan)]))
    margin = read_results(tmp_path / "r.json").results[0].margin
    assert margin is not None
    assert math.isnan(margin)


def test_a_plain_record_has_built_in_types_only() -> None:
    # Results cross process borders under xdist, whose serialiser knows nothing else.
    rows = [{"key": ("a", 1), "n": np.int64(3), "x": np.float32(0.5), "bad": math.nan, "path": Path("x")}]
    result = one_result(
        verdict=Verdict.REPRODUCED,
        rows=rows,
        delta_over_tolerance=np.float64(0.5),
        provenance={"a": {1: {2}}},
    )
    plain = as_plain(result)

    def types(value: Any) -> set[type]:
        inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        return {type(value)}.union(*(types(item) for item in inside))

    assert types(plain) <= {dict, list, str, int, float, bool, type(None)}
    assert plain["rows"] == [{"key": ["a", 1], "n": 3, "x": 0.5, "bad": "nan", "path": "x"}]
    assert plain["provenance"] == {"a": {"1": [2]}}
    assert Result.model_validate(plain) == result


def broken(change: str) -> Any:
    found = json.loads(CANNED.read_text(encoding="utf-8"))
    first = found["results"][0]
    match change:
        case "missing":
            del first["verdict"]
        case "unknown key":
            first["verdikt"] = "reproduced"
        case "unknown verdict":
            first["verdict"] = "agrees"
        case "type":
            first["ran"] = "yes"
        case "contradiction":
            first["agrees"] = False
        case "not run but ran":
            first["verdict"], first["agrees"] = "not run", None
        case "unknown claim":
            first["claim"] = "C77"
        case "twice":
            found["results"].append(first)
        case "unknown run":
            first["run"] = 2
        case "claim twice":
            found["claims"].append(found["claims"][0])
        case "paper":
            found["claims"][1]["paper"] = "nowhere"
        case "figure":
            found["figures"][0]["name"] = "pie"
        case "date":
            found["runs"][0]["started"] = "yesterday"
        case "too many rows":
            first["rows"] = [{}] * 21
        case "schema":
            found["schema"] = "rwcore-results/9"
        case "list":
            found = [found]
    return found


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("missing", "results[0].verdict"),
        ("unknown key", "results[0].verdikt"),
        ("unknown verdict", "results[0].verdict"),
        ("type", "results[0].ran"),
        ("contradiction", "results[0]"),
        ("not run but ran", "results[0]"),
        ("unknown claim", "results[0].claim"),
        ("twice", "results[17]"),
        ("unknown run", "results[0].run"),
        ("claim twice", "listed twice"),
        ("paper", "claims[1].paper"),
        ("figure", "figures[0].name"),
        ("date", "runs[0].started"),
        ("too many rows", "results[0].rows"),
        ("schema", "schema"),
        ("list", "schema"),
    ],
)
def test_a_malformed_file_is_refused_by_file_and_key(tmp_path: Path, change: str, named: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(broken(change)), encoding="utf-8")
    with pytest.raises(ResultsFileError) as caught:
        read_results(path)
    assert isinstance(caught.value, RwcoreError)
    assert str(path) in str(caught.value.where)
    assert named in str(caught.value)
    assert caught.value.remedy


@pytest.mark.parametrize("text", ["{", "", '{"schema": "rwcore-results/1"', "\x00"])
def test_what_is_not_json_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.json").write_text(text, encoding="utf-8")
    with pytest.raises(ResultsFileError, match="not JSON"):
        read_results(tmp_path / "bad.json")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ResultsFileError, match="cannot read"):
        read_results(tmp_path / "none.json")


def test_a_file_that_cannot_be_written_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError):
        write_results(tmp_path / "file" / "results.json", bundle([day(1)], []))
    assert [path.name for path in tmp_path.rglob("*")] == ["file"]


def test_the_schema_knows_every_verdict_and_refuses_unknown_keys() -> None:
    schema = json_schema()
    assert schema["$id"] == "rwcore-results/1"
    assert set(schema["$defs"]["Verdict"]["enum"]) == set(Verdict)
    assert schema["$defs"]["Result"]["additionalProperties"] is False
    assert set(json.loads(CANNED.read_text(encoding="utf-8"))) == set(schema["properties"])


def test_every_verdict_scope_and_kind_of_subject_has_its_place_in_the_report() -> None:
    assert set(STYLES) == set(Verdict)
    assert set(SCOPE_FAMILY) == set(claim_view.SCOPES) == set(get_args(Scope))
    assert set(summary.SUBJECTS) == set(get_args(SubjectKind))
    assert set(get_args(SubjectKind)) <= set(matrix.GROUPS)
    assert set(SCOPE_FAMILY.values()) <= set(FAMILIES)


def test_no_two_verdicts_look_alike() -> None:
    assert len({style.symbol for style in STYLES.values()}) == len(STYLES)
    assert len({style.css for style in STYLES.values()}) == len(STYLES)


def test_only_verdicts_on_published_values_count_as_reproduced() -> None:
    counted = {
        str(verdict)
        for verdict, style in STYLES.items()
        if style.counts_as == "reproduction" and style.agrees
    }
    assert counted == {"reproduced", "reproduced (drifted)"}


def test_natural_order() -> None:
    assert sorted(["C10", "C9", "C1b", "C1", "a2"], key=natural) == ["C1", "C1b", "C9", "C10", "a2"]


# Merging: runs of different days, each with some results that ran and some that did not.
claims = st.sampled_from(["C1", "C2", "C10"])
models = st.sampled_from(["m", "n"])
outcomes = st.sampled_from(["reproduced", "differs", "not run"])
daily = st.dictionaries(st.tuples(claims, models), outcomes, max_size=6)


def run_of(number: int, found: dict[tuple[str, str], str]) -> Results:
    results = [
        one_result(
            claim=claim, model=model, verdict=verdict, ran=verdict != "not run", obtained=f"day {number}"
        )
        for (claim, model), verdict in found.items()
    ]
    figure = Figure(
        name="linout_medians", model="m", subject_kind="paper", rows=[{"layer": 0, "median": number}]
    )
    return bundle([day(number)], results, [figure])


@given(st.lists(daily, min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_merging_keeps_what_ran_then_what_is_newest(days: list[dict[Any, str]], random: Any) -> None:
    parts = [run_of(number, found) for number, found in enumerate(days)]
    expected: dict[Any, tuple[str, str]] = {}
    for ran in (False, True):  # slow and obvious: those that ran overwrite the others, each in order of time
        for number, found in enumerate(days):
            for key, verdict in found.items():
                if (verdict != "not run") == ran:
                    expected[key] = (verdict, f"day {number}")
    merged = merge(parts)
    assert {(r.claim, r.model): (str(r.verdict), r.obtained) for r in merged.results} == expected
    assert all(r.obtained == f"day {merged.runs[r.run].started.day - 1}" for r in merged.results)
    assert merged.figures[0].rows[0]["median"] == len(days) - 1
    shuffled = list(parts)
    random.shuffle(shuffled)
    assert to_json(merge(shuffled)) == to_json(merged)


@given(daily, daily, daily)
def test_merging_is_associative_and_repeats_nothing(a: Any, b: Any, c: Any) -> None:
    one, two, three = (run_of(number, found) for number, found in enumerate((a, b, c)))
    whole = merge([one, two, three])
    assert merge([merge([three, one]), two]) == whole
    assert merge([merge([one, two]), merge([two, three])]) == whole
    assert len(whole.runs) == 3


def test_merging_sorts_claims_by_their_numbers_and_keeps_the_later_wording() -> None:
    old, new = run_of(1, {}), run_of(2, {})
    new.claims[0] = new.claims[0].model_copy(update={"statement": "corrected"})
    merged = merge([new, old])
    assert [claim.id for claim in merged.claims] == ["C1", "C2", "C10"]
    assert merged.claims[0].statement == "corrected"


def test_merging_nothing_gives_nothing() -> None:
    assert merge([]) == Results(runs=[], papers=[], claims=[], results=[])


def test_the_report_loads_without_torch_matplotlib_and_pandas() -> None:
    code = (
        "import sys, rwcore.report.write, rwcore.report.html;"
        "print([name for name in ('torch', 'matplotlib', 'pandas') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
