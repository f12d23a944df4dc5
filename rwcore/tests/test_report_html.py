"""The pages: complete, linked, self-contained, escaped, the same every time."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pandas as pd
import pytest

from rwcore.claim.verdict import Verdict
from rwcore.paths import slug
from rwcore.report import html
from rwcore.report.claim_view import facts, number, row_table
from rwcore.report.figures import counts_table, medians_table
from rwcore.report.html import ticks, write_report
from rwcore.report.matrix import build_matrix
from rwcore.report.results import Results, read_results
from rwcore.report.verdicts import STYLES
from rwcore.report.write import write_all

CANNED = Path(__file__).parent / "data" / "report" / "results.json"
GROUPS = {"org/gated-7B": "gated", "org/gated-1B": "gated", "org/plain-small": "vanilla"}
VOID = {"meta", "link", "input", "br", "hr", "img"}
LOADING = {"src", "srcset", "data", "poster", "xlink:href", "action", "background"}
PUBLISHED = pd.DataFrame({"model": ["org/gated-7B"] * 3, "layer": [0, 1, 2], "median": [0.1, 0.3, -0.1]})


class Page(HTMLParser):
    """What a page holds; fails on tags that do not nest."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: Counter[str] = Counter()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.hidden: list[str] = []
        self.tags: Counter[str] = Counter()
        self.text = ""
        self._open: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        assert self._open == [], f"{path.name}: left open {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags[tag] += 1
        if tag not in VOID:
            self._open.append(tag)
        if found.get("id"):
            self.ids[str(found["id"])] += 1
        if "hidden" in found:
            self.hidden.append(tag)
        for name, value in found.items():
            if name == "href" and tag == "a":
                self.links.append(str(value))
            elif name in LOADING or name == "href":
                self.loads.append(str(value))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        assert self._open, f"</{tag}> without start"
        assert self._open[-1] == tag, f"</{tag}> closes <{self._open[-1]}>"
        self._open.pop()

    def handle_data(self, data: str) -> None:
        self.text += data if not self._open or self._open[-1] not in ("script", "style") else ""


@pytest.fixture(scope="module")
def canned() -> Results:
    return read_results(CANNED)


@pytest.fixture(scope="module")
def report(canned: Results, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    return write_report(canned, folder, published_medians=PUBLISHED, model_groups=GROUPS).parent


@pytest.fixture(scope="module")
def pages(report: Path) -> dict[Path, Page]:
    return {path: Page(path) for path in sorted(report.rglob("*.html"))}


@pytest.fixture(scope="module")
def index(report: Path, pages: dict[Path, Page]) -> Page:
    return pages[report / "index.html"]


def test_there_is_a_page_per_claim_and_per_real_model_that_ran(report: Path, canned: Results) -> None:
    found = {str(path.relative_to(report)) for path in report.rglob("*.html")}
    claims = {f"claims/{claim.paper}/{claim.id}.html" for claim in canned.claims}
    real = ("smollm2-135m-instruct-q4_1", "./mine", "org/gated-1B", "org/gated-7B")
    assert found == {"index.html", *claims, *(f"models/{slug(model)}.html" for model in real)}


def test_every_link_leads_to_a_page_and_a_place_on_it(pages: dict[Path, Page]) -> None:
    for path, page in pages.items():
        for link in page.links:
            address, place = urldefrag(link)
            if address.startswith("https://example.org/"):
                continue
            target = (path.parent / unquote(address)).resolve() if address else path.resolve()
            assert target in {known.resolve() for known in pages}, f"{path.name}: {link}"
            known = next(page for known, page in pages.items() if known.resolve() == target)
            assert not place or place in known.ids, f"{path.name}: {link}"


def test_the_index_links_every_claim(index: Page, canned: Results) -> None:
    linked = {urldefrag(link)[0] for link in index.links}
    assert {f"claims/{claim.paper}/{claim.id}.html" for claim in canned.claims} <= linked


def test_nothing_is_loaded_from_anywhere(report: Path, pages: dict[Path, Page]) -> None:
    for path, page in pages.items():
        assert [load for load in page.loads if not load.startswith(("#", "data:"))] == [], path.name
        text = path.read_text(encoding="utf-8")
        assert "@import" not in text
        assert [found for found in re.findall(r"url\(([^)]*)\)", text) if not found.startswith("#")] == []
        links = [link for link in page.links if link.startswith("http")]
        assert text.count("http") == len(links), f"{path.name}: an address that is not a link"


def test_no_id_is_there_twice(pages: dict[Path, Page]) -> None:
    for path, page in pages.items():
        assert [name for name, count in page.ids.items() if count > 1] == [], path.name


def test_every_verdict_is_said_in_words_with_its_sign(index: Page, pages: dict[Path, Page]) -> None:
    everything = "".join(page.text for path, page in pages.items() if path.parent.parent.name == "claims")
    for verdict in Verdict:
        assert f"{STYLES[verdict].symbol} {verdict}" in index.text.replace("\n", "")
        if verdict != Verdict.NOT_RUN:
            assert str(verdict) in everything


def test_a_claim_page_says_everything_about_its_checks(
    report: Path, canned: Results, pages: dict[Path, Page]
) -> None:
    for claim in canned.claims:
        text = pages[report / f"claims/{claim.paper}/{claim.id}.html"].text
        said = [claim.statement.replace("`", ""), claim.where, claim.definition, claim.note or ""]
        for one in canned.results:
            if (one.paper, one.claim) == (claim.paper, claim.id):
                said += [one.model, str(one.verdict), one.expected, one.obtained, one.tolerance, one.rerun]
                said += [one.because or "", one.note or "", (one.reason or "").replace("`", "")]
        for part in said:
            assert part in text, f"{claim.id}: {part!r} is missing"
    text = pages[report / "claims/demo/C1.html"].text
    assert "layer 3 · weakening" in text
    assert "Worst 2 of 352 rows" in text
    assert "deadbeef" in text
    assert "∞" in text


def test_a_remark_about_an_expectation_stands_once_above_its_models(canned: Results, tmp_path: Path) -> None:
    first = next(one for one in canned.results if one.ran and one.claim == "C1")
    several = [
        first.model_copy(update={"model": f"org/m{n}", "note": "asked on its own tokens"}) for n in range(3)
    ]
    others = [several[0], several[1].model_copy(update={"note": None})]
    for given, times in ((several, 1), (others, 1)):
        results = canned.model_copy(update={"results": given})
        write_report(results, tmp_path / "report", published_medians=PUBLISHED, model_groups=GROUPS)
        text = (tmp_path / f"report/claims/{first.paper}/C1.html").read_text()
        assert text.count("asked on its own tokens") == times
        above = text.index("asked on its own tokens") < text.index("<tbody>")
        assert above is (given is several)


def test_a_claim_without_a_test_says_why(report: Path, pages: dict[Path, Page], index: Page) -> None:
    for text in (pages[report / "claims/demo/C11.html"].text, index.text):
        assert "the ids are not in the paper" in text


def test_the_header_says_what_was_run_on_which_model(index: Page) -> None:
    head = index.text[: index.text.index("Summary")]
    assert "2 of 3 claims about published values ran" in head
    assert "4-bit, dequantised, a small gated model that no paper used" in head


def test_ran_and_agrees_are_two_numbers_in_every_column(report: Path) -> None:
    text = (report / "index.html").read_text(encoding="utf-8")
    tiles = re.findall(r'<section class="tile (\w+).*?</section>', text, flags=re.DOTALL)
    assert tiles == ["reproduction", "here", "data", "identity", "exercised"]
    assert text.count("<dt>ran</dt>") == text.count("<dt>agrees</dt>") == 5
    assert "not counted" in text


def test_what_was_not_run_is_there_with_its_commands(index: Page, canned: Results) -> None:
    for one in canned.results:
        if one.verdict == "not run":
            assert one.rerun in index.text
            assert (one.reason or "").replace("`", "") in index.text


def test_without_scripts_the_table_is_whole(index: Page) -> None:
    assert index.hidden == ["form"]  # it would do nothing; the script shows it


def test_texts_are_texts_not_markup(report: Path, pages: dict[Path, Page]) -> None:
    page = pages[report / "claims/other_paper/C1.html"]
    assert "a <b>bold</b> claim | with pipes" in page.text
    assert "the shard <a> ends early" in page.text


def test_a_title_that_is_markup_is_shown_as_text(canned: Results, tmp_path: Path) -> None:
    index = write_report(canned, tmp_path, model_groups=GROUPS, title="<script>alert(1)</script>")
    assert "<script>alert" not in index.read_text(encoding="utf-8")


def test_only_web_addresses_become_links(canned: Results, tmp_path: Path) -> None:
    paper = canned.papers[0].model_copy(update={"url": "javascript:alert(1)"})
    changed = canned.model_copy(update={"papers": [paper, canned.papers[1]]})
    write_report(changed, tmp_path, model_groups=GROUPS)
    assert "javascript:" not in (tmp_path / "claims/demo/C1.html").read_text(encoding="utf-8")


def test_the_same_results_give_the_same_bytes(report: Path, canned: Results, tmp_path: Path) -> None:
    write_report(canned, tmp_path, published_medians=PUBLISHED, model_groups=GROUPS)
    for path in report.rglob("*.html"):
        assert (tmp_path / path.relative_to(report)).read_bytes() == path.read_bytes()


def test_figures_follow_the_page_and_show_no_random_weights(report: Path, index: Page) -> None:
    text = (report / "index.html").read_text(encoding="utf-8")
    assert index.tags["svg"] == 2  # medians of the two real models, classes of the packaged one
    figures = re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL)
    assert "currentColor" in figures[0]
    assert "var(--curve)" in figures[0]
    assert "<title>org/gated-7B</title>" in figures[0]
    assert "tiny-llama" not in figures[0]
    assert ">20</text>" in figures[1].replace("\n", "")
    assert "conditional strengthening: 33" in figures[1]


def test_write_all_leaves_one_folder_with_everything(canned: Results, tmp_path: Path) -> None:
    assert write_all(canned, tmp_path) == tmp_path / "index.html"
    assert (tmp_path / "results.json").read_bytes() == CANNED.read_bytes()
    assert (tmp_path / "report.md").read_text(encoding="utf-8").startswith("# Claims report")


def test_columns_are_grouped_ordered_and_folded(canned: Results) -> None:
    matrix = build_matrix(canned, GROUPS)
    groups = {group.key: group for group in matrix.groups}
    assert list(groups) == ["packaged", "other", "gated", "vanilla", "tables", "synthetic", "stand-in"]
    assert [column.model for column in groups["gated"].columns] == ["org/gated-7B", "org/gated-1B"]
    assert not any(column.folded for column in groups["gated"].columns)
    assert not groups["vanilla"].columns[0].folded  # the only one of its group: folding would hide the group
    row = matrix.sections[0][1][1]
    assert [mark.result.scope for mark in row.cells["gated", "org/gated-1B"]] == ["any-gated"]
    assert [mark.result.scope for mark in row.cells["tables", "org/gated-1B"]] == ["data"]


def test_columns_of_many_models_that_did_not_run_start_folded(canned: Results) -> None:
    idle = next(one for one in canned.results if one.verdict == "not run")
    many = [idle.model_copy(update={"model": f"org/idle-{number}"}) for number in range(42)]
    changed = canned.model_copy(update={"results": [*canned.results, *many]})
    groups = {group.key: group for group in build_matrix(changed, GROUPS).groups}
    assert len(groups["paper"].columns) == 42
    assert all(column.folded for column in groups["paper"].columns)
    assert groups["paper"].summary
    assert groups["paper"].columns[1].model == "org/idle-1"
    assert groups["paper"].columns[10].model == "org/idle-10"


def test_registered_models_are_grouped_in_the_papers_order() -> None:
    groups = html.registry_groups()
    assert list(groups)[:2] == ["allenai/OLMo-7B-0424-hf", "allenai/OLMo-1B-hf"]
    assert [list(groups.values()).count(name) for name in ("gated", "instruct", "vanilla")] == [12, 6, 24]
    assert "smollm2-135m-instruct-q4_1" not in groups


def test_tables_behind_figures(canned: Results) -> None:
    counts = next(figure for figure in canned.figures if figure.name == "class_counts")
    header, rows = counts_table(counts)
    assert header[:2] == ["layer", "strengthening"]
    assert [row[3] for row in rows] == ["10", "20", "3", "33"]
    medians = [figure for figure in canned.figures if figure.name == "linout_medians"][:2]
    header, rows = medians_table(medians)
    assert header == ["layer", "smollm2-135m-instruct-q4_1", "org/gated-1B"]
    assert rows[3] == ["3", "", "-0.2000"]


def test_texts_for_numbers_rows_and_facts() -> None:
    assert [number(value) for value in (None, float("nan"), float("-inf"), -0.5, 1234567.0)] == [
        "–", "–", "−∞", "−0.5", "1.23457e+06",
    ]  # fmt: skip
    header, rows = row_table(
        [{"key": {"layer": 1}, "ok": True}, {"key": {"layer": 2}, "delta": "inf", "ok": None}]
    )
    assert header == ["layer", "ok", "delta"]
    assert rows == [["1", "yes", ""], ["2", "–", "∞"]]
    assert facts({"a": {"b": 1, "empty": ""}, "c": [1, 2], "d": False}) == [
        ("a.b", "1"),
        ("c", "1 · 2"),
        ("d", "no"),
    ]
    assert ticks("a `b` <c>") == "a <code>b</code> &lt;c&gt;"


BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.skipif(BROWSER is None, reason="needs chromium or google-chrome on the PATH")
def test_the_filter_leaves_what_was_asked_for(report: Path, tmp_path: Path) -> None:
    act = (
        "<script>const form = document.getElementById('filters'); form.verdict.value = 'fails';"
        "form.dispatchEvent(new Event('input'))</script></body>"
    )
    page = tmp_path / "index.html"
    page.write_text(
        (report / "index.html").read_text(encoding="utf-8").replace("</body>", act), encoding="utf-8"
    )
    assert BROWSER is not None
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", page.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    rows = re.findall(r'<tr class="row"( hidden="")?>.*?<b>(\w+)</b>', dom, flags=re.DOTALL)
    assert [name for hidden, name in rows if not hidden] == ["C2"]
    assert "1 of 7 claims" in dom
    assert not re.search(r"<form[^>]*hidden", dom)
    heads = re.findall(r'<th scope="col" [^>]*data-model="([^"]*)"([^>]*)>', dom)
    assert [model for model, rest in heads if "hidden" not in rest] == ["./mine"]
