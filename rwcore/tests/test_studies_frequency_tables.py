"""Tables of class means: numbers, dashes, captions and labels in LaTeX and Markdown."""

from __future__ import annotations

import pandas as pd
import pytest

from rwcore.activations.quadrants import QUADRANTS
from rwcore.studies.frequency_tables import (
    frequency_latex,
    frequency_markdown,
    frequency_slug,
    frequency_table,
)

NAN = float("nan")
NAMES = ("summary", *QUADRANTS)
MEANS = pd.DataFrame(
    [
        ("strengthening", 47, 0.2356, 0.43649, 0.2, 0.27114),
        ("weakening", 0, NAN, NAN, NAN, NAN),
        ("orthogonal output", 123456, 0.00449, 1.0, -0.0012, 0.01),
        ("conditional weakening", 3, 0.5, 0.25, NAN, NAN),
    ],
    columns=["class", "n", "true", "baseline", "low", "high"],
)


def test_cells_have_three_decimals_and_dashes() -> None:
    table = frequency_table(MEANS)
    assert [*table.columns] == ["n", "true", "baseline", "95 % interval"]
    assert table.index.name == "Class"
    assert [*table.index] == [*MEANS["class"]]
    assert table.to_numpy().tolist() == [
        ["47", "0.236", "0.436", "[0.200, 0.271]"],
        ["0", "–", "–", "–"],
        ["123,456", "0.004", "1.000", "[-0.001, 0.010]"],
        ["3", "0.500", "0.250", "–"],
    ]


def test_the_latex_table() -> None:
    assert frequency_latex(MEANS, "org/my_model") == (
        "\\begin{table*}\n"
        "\\caption{Mean frequency of $\\mathrm{gate} > 0$ of the neurons of each class of "
        "org/my\\_model, and of random neurons of the same layers (baseline); "
        "the intervals are over documents}\n"
        "\\label{tab:org--my_model_frequency_summary}\n"
        "\\begin{tabular}{lrrrr}\n"
        "Class & n & true & baseline & 95 \\% interval \\\\\n"
        "strengthening & 47 & 0.236 & 0.436 & [0.200, 0.271] \\\\\n"
        "weakening & 0 & – & – & – \\\\\n"
        "orthogonal output & 123,456 & 0.004 & 1.000 & [$-$0.001, 0.010] \\\\\n"
        "conditional weakening & 3 & 0.500 & 0.250 & – \\\\\n"
        "\\end{tabular}\n"
        "\\end{table*}\n"
    )


def test_the_markdown_table() -> None:
    lines = frequency_markdown(MEANS, "org/my_model", "gate-_in+").splitlines()
    assert lines[0].startswith("Mean frequency of gate < 0 and in > 0 of the neurons")
    assert "`org/my_model`" in lines[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    assert cells[0] == ["Class", "n", "true", "baseline", "95 % interval"]
    assert [row[0] for row in cells[2:]] == [*MEANS["class"]]
    assert [row[1:] for row in cells[2:]] == frequency_table(MEANS).to_numpy().tolist()


@pytest.mark.parametrize(
    ("name", "condition", "slug"),
    [
        ("gate+_in-", r"$\mathrm{gate} > 0$, $\mathrm{in} < 0$ of", "gate_plus_in_minus"),
        ("gate-_in+", r"$\mathrm{gate} < 0$, $\mathrm{in} > 0$ of", "gate_minus_in_plus"),
    ],
)
def test_captions_and_labels_name_the_quadrant(name: str, condition: str, slug: str) -> None:
    caption, label = frequency_latex(MEANS, "m", name).splitlines()[1:3]
    assert condition in caption
    assert label == rf"\label{{tab:m_frequency_{slug}}}"


def test_no_two_tables_of_a_model_have_the_same_label() -> None:
    assert len({frequency_slug(name) for name in NAMES}) == len(NAMES)
    assert len({frequency_latex(MEANS, "m", name).splitlines()[2] for name in NAMES}) == len(NAMES)
    assert len({frequency_markdown(MEANS, "m", name).splitlines()[0] for name in NAMES}) == len(NAMES)
