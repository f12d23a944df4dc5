"""The page of a grid: complete, escaped, coloured as the differences are, self-contained, small, legible."""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rwcore.ablation.compare import AS_PUBLISHED
from rwcore.ablation.examples import RISE, RunExamples
from rwcore.pages.ablation import COLUMNS, ablation_page, interval_bar, limits, run_rows
from rwcore.pages.ablation_examples import (
    NOTHING,
    STEPS,
    ColourScale,
    metric_views,
    numbers,
    probability,
    shade,
)
from rwcore.pages.render import static
from rwcore.plots.ablation_names import BASELINE_NAME
from rwcore.tests.ablation_report import (
    BASELINE,
    DOMINANT,
    EXAMPLES,
    WEAKENING,
    WORDS,
    example,
    report,
    rows,
)
from rwcore.tests.test_pages_explorer import contrast
from rwcore.tests.test_report_html import Page


@pytest.fixture(scope="module")
def source() -> str:
    return ablation_page(report())


@pytest.fixture
def page(source: str, tmp_path: Path) -> Page:
    path = tmp_path / "index.html"
    path.write_text(source, encoding="utf-8")
    return Page(path)


# -- the page


def test_it_is_well_formed_and_needs_nothing_else(source: str, page: Page) -> None:
    assert max(page.ids.values()) == 1
    assert [one.partition(",")[0] for one in page.loads] == ["data:", "data:image/png;base64"]
    assert set(page.links) == {"#main", "#run-1", "#run-2", "ablation.csv", "examples.csv"}
    assert "http" not in source
    assert "url(" not in source
    assert "@import" not in source
    assert page.tags["script"] == page.tags["style"] == 1
    assert page.ids["run-1"] == page.ids["run-2"] == page.ids["main"] == 1


def test_everything_from_outside_is_escaped(source: str, page: Page) -> None:
    assert "<script>alert" not in source
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in source
    assert page.tags["details"] == 2
    for text in (
        "org/<model>",
        "texts & <more>",
        "weakening <&>",
        "mean ablation needs <means>",
        "</details>",
    ):
        assert text in page.text
    assert "<i>⏎</i>" in source
    assert "<i>⟨U+200B⟩</i>" in source


def test_the_sign_convention_is_spelled_out(page: Page) -> None:
    text = " ".join(page.text.split())
    assert (
        "Δ = clean − ablated. Δ < 0 the metric is higher without the neurons: intact, they lower it." in text
    )
    assert "Δ > 0 it is lower without them: intact, they raise it." in text
    assert "every other prediction counts, unchanged ones too" in text
    published = ablation_page(report(convention=AS_PUBLISHED))
    assert "As published: numbers in half precision" in published
    assert "unchanged ones too" not in published


def test_every_run_is_in_the_table_in_order_and_only_baselines_are_indented(source: str) -> None:
    body = source[source.index("<tbody>") : source.index("</tbody>")]
    found = [re.sub(r"<[^>]+>", " ", one).split() for one in body.split("<tr")[1:]]
    assert [("random," in words, "└" in words) for words in found] == [
        (False, False),
        (True, True),
        (False, False),
    ]
    first, second, third = (" ".join(words) for words in found)
    for text in ("526 1,234", "−0.2000 [−0.2100, −0.1900]", "+0.4000 [+0.3900, +0.4100]", "50.0 %"):
        assert text in first
    assert "−0.0100 [−0.0200, +0.0000]" in second
    assert "weakening &lt;&amp;&gt; zero gate− post+ 3 1,234 +0.4000 –" in third
    assert body.count('class="baseline"') == 1


def test_bars_of_a_column_share_a_scale_with_zero_in_the_middle() -> None:
    scales = limits(report().table)
    assert scales == pytest.approx({"loss": 0.4, "entropy": 0.8, "log_scale": 0.04})
    bar = interval_bar(-0.2, -0.4, 0.0, 0.4)
    assert re.findall(r'd="M([\d.]+) ', bar) == ["44", "5.0"]
    assert "H44.0" in bar
    assert re.findall(r'cx="([\d.]+)"', bar) == ["24.5"]
    assert "circle" not in interval_bar(math.nan, math.nan, math.nan, 1.0)
    assert interval_bar(0.1, math.nan, math.nan, 0.1).count("<path") == 1
    assert 'cx="44.0"' in interval_bar(0.0, 0.0, 0.0, 0.0)
    (row, *_) = run_rows(report())
    assert row.cells["loss"].bar == interval_bar(-0.2, -0.21, -0.19, scales["loss"])
    assert list(row.cells) == list(COLUMNS)


def test_failures_are_told_with_reason_and_remedy(source: str) -> None:
    text = " ".join(re.sub(r"<[^>]+>", " ", source).split())
    assert "weakening mean mean ablation needs &lt;means&gt; (--mode mean) give &amp; take" in text
    assert "examples of x no memory –" in text
    assert "Not run" not in ablation_page(report(failures=[]))


def test_sections_have_their_examples(page: Page, source: str) -> None:
    text = " ".join(page.text.split())
    assert "␣mic loss 0.125 → 8.250 Δ −8.125" in text
    assert "document 7, row 31, made at position 25" in text
    assert f"all Δ lie in −8.00 … +2.50; with {BASELINE_NAME} in −8.00 … +2.50" in text
    assert "Entropy is higher without the neurons Δ < 0" in text
    assert "No prediction changes in this direction." in text
    # Three predictions of tokens have four lists each; two of them are of the same place.
    assert source.count("<ol>") == 4 * len(EXAMPLES)
    assert '<li class="right"><span class="token"><i>␣</i>mic</span>' in source
    assert "<b>90.0 %</b>" in source
    assert "<b>&lt;0.1 %</b>" in source
    assert "<b>+0.90</b>" in source
    assert "<b>−9.00</b>" in source
    assert "with random neurons" not in source[source.index('id="run-2"') :]


def test_a_grid_without_examples_failures_figure_or_runs() -> None:
    empty = report(table=report().table.iloc[:0], neurons={}, examples=[], failures=[], figure=None)
    page = ablation_page(empty)
    assert "<table" not in page
    assert "<script" not in page
    assert "<img" not in page
    assert "Δ = clean − ablated" in page


def test_a_run_without_changes() -> None:
    unchanged = report(examples=[RunExamples(WEAKENING, 2, (), None)])
    assert "No prediction changes." in ablation_page(unchanged)


def test_the_page_of_the_published_grid_is_below_its_limit() -> None:
    """It shows fewer examples of each run, the first ones, and says so."""
    runs = 36
    long = example(
        tokens=(1,) * 49,
        start=0,
        position=39,
        clean_values=(1.0,) * 49,
        ablated_values=(2.0,) * 49,
        differences=(-1.0,) * 49,
    )
    examples = tuple(
        dataclasses.replace(long, metric=metric, direction=direction, clean=10.0 * place)
        for metric in ("loss", "entropy")
        for direction in (RISE, "fall")
        for place in range(5)
    )
    labels = [dataclasses.replace(WEAKENING, set=f"set {number}") for number in range(runs)]
    table = report().table.iloc[:0]
    table = type(table)([one for label in labels for one in rows(label, 0.1)], columns=table.columns)
    many = report(
        table=table,
        neurons=dict.fromkeys(labels, 5),
        examples=[RunExamples(label, 5, examples, None) for label in labels],
    )
    whole = ablation_page(many, most_bytes=10**9)
    assert whole.count('<li class="example">') == runs * 20
    assert "the page shows" not in whole
    limited = ablation_page(many)
    assert len(limited.encode()) <= 1_500_000 < len(whole.encode())
    (shown,) = re.findall(r"Of 5 examples in each list the page shows (\d)", limited)
    assert limited.count('<li class="example">') == runs * 4 * int(shown)
    assert "loss 0.000 →" in limited
    assert "loss 40.000 →" not in limited


def test_without_room_for_any_example_the_page_says_where_they_are() -> None:
    tiny = ablation_page(report(), most_bytes=1)
    assert '<li class="example">' not in tiny
    assert "too large" in tiny
    assert "#run-" not in tiny
    assert "<script" not in tiny


# -- colours


def test_shades_of_given_differences() -> None:
    scale = ColourScale(7.0)
    assert scale.bounds == pytest.approx([7 * (step / 7) ** 1.5 for step in range(1, 7)])
    steps = [scale.step(value) for value in (-7, -0.5, 0.0, 0.5, 7.0, 5.0, math.nan)]
    assert steps == [-6, -1, 0, 1, 6, 5, 0]
    assert scale.step(scale.bounds[2]) == 3
    assert scale.step(math.nextafter(scale.bounds[2], 0)) == 2
    assert [shade(step) for step in (-6, 0, 3)] == ["n6", "", "p3"]
    assert ColourScale(0.0).step(0.0) == 0


@given(st.floats(-100, 100), st.floats(1e-6, 100))
def test_the_scale_is_symmetric_and_monotonic(value: float, limit: float) -> None:
    scale = ColourScale(limit)
    assert scale.step(-value) == -scale.step(value)
    assert abs(scale.step(value)) <= STEPS
    assert scale.step(value) * value >= 0
    assert abs(scale.step(1.5 * value)) >= abs(scale.step(value))


def test_one_scale_for_both_directions_of_a_metric() -> None:
    run = RunExamples(WEAKENING, 1, EXAMPLES, None)
    loss, entropy = metric_views(run, WORDS)
    assert ColourScale.of(EXAMPLES[:3]).limit == 8.125
    assert [bound for _, bound in loss.legend][:2] == ["−6.4", "−4.9"]
    assert [step for step, _ in loss.legend] == list(range(-6, 7))
    assert [bound for _, bound in entropy.legend][-1] == "+0.79"
    assert len(dict(loss.directions)[RISE]) == 2


def test_tokens_are_coloured_by_their_own_differences() -> None:
    (view, *_) = metric_views(RunExamples(WEAKENING, 1, EXAMPLES, None), WORDS)
    first, _ = dict(view.directions)[RISE]
    elements = re.findall(r'<(span|mark)(?: class="(\w+)")?( tabindex="0")?>(.*?)</\1>', first.tokens)
    assert [(tag, name, bool(stop)) for tag, name, stop, _ in elements] == [
        ("span", "", False),
        ("span", "n1", False),
        ("span", "p1", False),
        ("span", "", False),
        ("mark", "n6", True),
        ("span", "", False),
        ("span", "p2", False),
    ]
    assert elements[1][3] == "&lt;script&gt;alert(1)&lt;/script&gt;"
    assert first.clean_values.split() == [NOTHING, "1.000", "2.000", "0.500", "0.125", "3.000", "4.000"]
    assert first.differences.split()[4] == "−8.125"
    assert len(first.ablated_values.split()) == len(elements)


def test_the_end_of_a_row_has_a_place_of_its_own() -> None:
    _, view = metric_views(RunExamples(WEAKENING, 1, EXAMPLES, None), WORDS)
    (one,) = dict(view.directions)[RISE]
    assert one.tokens.endswith('<mark class="n6" tabindex="0"><i>⟨end of row⟩</i></mark>')
    assert one.differences.split() == [NOTHING, "+0.000", "+0.000", "+0.000", "−1.000"]
    assert one.name == "⟨end of row⟩"


def test_numbers_in_words() -> None:
    value, change = numbers("rank")
    assert (value(12.0), change(-3.0), value(math.nan)) == ("12", "−3", NOTHING)
    assert [probability(one) for one in (0.0, 0.0004, 0.0005, 0.5, 0.9994, 0.9996, 1.0)] == [
        "0.0 %",
        "<0.1 %",
        "0.1 %",
        "50.0 %",
        "99.9 %",
        ">99.9 %",
        "100.0 %",
    ]


def mixed(tone: str, paper: str, share: float) -> str:
    """A colour over the paper, as the page mixes them."""

    def parts(colour: str) -> list[int]:
        long = "".join(2 * digit for digit in colour[1:]) if len(colour) == 4 else colour[1:]
        return [int(long[start : start + 2], 16) for start in (0, 2, 4)]

    both = zip(parts(tone), parts(paper), strict=True)
    return "#" + "".join(f"{round(share * one + (1 - share) * other):02x}" for one, other in both)


def colours_of(sheet: str, *, dark: bool) -> dict[str, str]:
    """The custom properties of a style sheet on a screen."""
    found: dict[str, str] = {}
    roots = r"(prefers-color-scheme: dark\) \{\s*)?:root \{([^}]*)\}"
    for only_dark, block in re.findall(roots, str(static(sheet)).partition("@media print")[0]):
        if dark or not only_dark:
            found |= dict(re.findall(r"--([\w-]+): (#\w+);", block))
    return found


@pytest.mark.parametrize("dark", [False, True])
def test_text_has_contrast_on_every_shade(dark: bool) -> None:
    css = str(static("ablation.css"))
    colours = colours_of("base.css", dark=dark) | colours_of("ablation.css", dark=dark)
    assert (colours["paper"] == "#fff") != dark
    shares = [float(share) / 100 for share in re.findall(r"--share: (\d+)%", css)]
    assert shares == sorted(shares)
    assert len(shares) == STEPS
    for tone in ("rises", "falls"):
        for share in shares:
            ground = mixed(colours[tone], colours["paper"], share)
            assert contrast(colours["ink"], ground) >= 4.5, (tone, share, ground)
        # Lines tell the sign where colours do not.
        assert contrast(colours[f"{tone}-line"], colours["paper"]) >= 4.5
    assert contrast(colours["muted"], colours["paper"]) >= 4.5


def test_signs_are_told_by_lines_too() -> None:
    css = str(static("ablation.css"))
    assert re.search(r"\.n6 \{[^}]*solid var\(--rises-line\)", css)
    assert re.search(r"\.p6 \{[^}]*dotted var\(--falls-line\)", css)


def test_ids_of_sections_are_linked_from_the_table(source: str) -> None:
    assert '<a href="#run-1">weakening</a>' in source
    assert '<a href="#run-2">weakening &lt;&amp;&gt;</a>' in source
    assert '<details id="run-1" open>' in source
    assert '<details id="run-2">' in source
    identities = {row.label: row.ident for row in run_rows(report())}
    assert identities == {WEAKENING: "run-1", BASELINE: None, DOMINANT: "run-2"}
