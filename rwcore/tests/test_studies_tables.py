"""Tables of counts as LaTeX and Markdown: layout, totals, escapes."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rwcore.studies import tables


@pytest.fixture
def counts() -> pd.DataFrame:
    rows = [(0, "b", 1), (0, "a", 20), (1, "b", 300), (1, "a", 0)]
    return pd.DataFrame(rows, columns=["layer", "class", "count"])


def test_the_class_table_has_totals_and_keeps_the_order_of_classes(counts: pd.DataFrame) -> None:
    table = tables.class_table(counts)
    assert [*table.columns] == ["b", "a"]
    assert table.to_dict("index") == {
        "0": {"b": 1, "a": 20},
        "1": {"b": 300, "a": 0},
        "Total": {"b": 301, "a": 20},
    }


def test_the_latex_table_is_the_published_layout(counts: pd.DataFrame) -> None:
    assert tables.class_latex(counts, "org/my_model") == (
        "\\begin{table*}\n"
        "\\caption{Distribution of neuron IO classes by layer and category in org/my\\_model}\n"
        "\\label{tab:org--my_model}\n"
        "\\begin{tabular}{lrr}\n"
        " & b & a \\\\\n"
        "Layer &  &  \\\\\n"
        "0 & 1 & 20 \\\\\n"
        "1 & 300 & 0 \\\\\n"
        "Total & 301 & 20 \\\\\n"
        "\\end{tabular}\n"
        "\\end{table*}\n"
    )


def test_the_markdown_table(counts: pd.DataFrame) -> None:
    lines = tables.class_markdown(counts, "org/my_model").splitlines()
    assert lines[0].endswith("in `org/my_model`")
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    assert cells[0] == ["Layer", "b", "a"]
    assert cells[2:] == [["0", "1", "20"], ["1", "300", "0"], ["Total", "301", "20"]]


def test_bins_are_labelled_by_their_edges_and_the_last_one_is_closed() -> None:
    frame = pd.DataFrame(
        [(0, -1.0, -0.8, 1), (0, 0.8, 1.0, 2), (0, np.nan, np.nan, 3)],
        columns=["layer", "bin_low", "bin_high", "count"],
    )
    latex, markdown = tables.bin_latex(frame, "m"), tables.bin_markdown(frame, "m")
    assert r" & $-1.00 \leq \cos < -0.80$ & $0.80 \leq \cos \leq 1.00$ & undefined \\" in latex
    assert r"\label{tab:m_half_coarse}" in latex
    assert r"0 & 1 & 2 & 3 \\" in latex
    assert "[-1.00, -0.80)" in markdown
    assert "[0.80, 1.00]" in markdown


UNESCAPED = {
    r"\textbackslash{}": "\\",
    r"\textasciitilde{}": "~",
    r"\textasciicircum{}": "^",
    r"\textless{}": "<",
    r"\textgreater{}": ">",
    **{f"\\{sign}": sign for sign in "{}&%$#_"},
}


@given(st.text(alphabet="\\{}&%$#_~^<>aä ", max_size=20))
def test_latex_escapes_say_the_same_text_with_no_special_character_left(text: str) -> None:
    escaped = tables.latex_escape(text)
    pattern = "|".join(re.escape(code) for code in UNESCAPED)
    assert re.sub(pattern, lambda match: UNESCAPED[match[0]], escaped) == text
    assert not re.search(r"[\\{}&%$#_~^<>]", re.sub(pattern, "", escaped))


@given(st.text(min_size=1, max_size=20))
def test_labels_need_no_escapes(text: str) -> None:
    assert re.fullmatch(r"tab:[A-Za-z0-9._-]+", tables.latex_label(text))
