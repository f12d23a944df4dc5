"""Tables of ablations: numbers, signs, dashes, captions and labels in LaTeX and Markdown."""

from __future__ import annotations

import pandas as pd
import pytest

from rwcore.ablation.compare import COLUMNS, RunLabel, compare_run, paired_table
from rwcore.studies.ablation_tables import ablation_latex, ablation_markdown, ablation_table, number_text
from rwcore.tests.paired_runs import corpus_of, run_of

NAN = float("nan")
FIRST = ["−21.5", "−0.2676", "−0.05103", "7.39e−06", "12,346", "99.8 %"]
COMMON = ("weakening", False, "zero", "", "", "loss")
TABLE = pd.DataFrame(
    [
        (*COMMON, 19954266, -0.158203, -0.16, -0.15, -21.5, -0.2676, -0.0510254, 7.39e-6, 12345.6, 0.9983),
        ("weakening", True, *COMMON[2:], 100, -1.5e-6, NAN, NAN, -0.5, 0.0, 0.0, 0.25, 1.0, 0.0),
        ("weakening", False, "zero", "-", "+", "loss", 0, *[NAN] * 9),
        ("weakening", False, "mean", NAN, NAN, "loss", 7, 2.0, 1.0, 3.0, 1.0, 1.5, 2.0, 2.5, 3.0, 1.0),
        (*COMMON[:5], "rank", 9, -21.6049, -30.0, -10.0, -50267.0, -5.0, -1.0, 1.0, 36653.0, 0.389),
    ],
    columns=list(COLUMNS),
)


def test_cells() -> None:
    table = ablation_table(TABLE, "loss")
    assert [*table.index] == ["weakening", "weakening baseline", "weakening gate− post+", "weakening"]
    assert table.index.name == "Set"
    assert [*table.columns] == [
        "ablation",
        "n",
        "mean",
        "95 % interval",
        "min",
        "q1",
        "median",
        "q3",
        "max",
        "changed",
    ]
    assert table.to_numpy().tolist() == [
        ["zero", "19,954,266", "−0.1582", "[−0.16, −0.15]", *FIRST],
        ["zero", "100", "−1.5e−06", "–", "−0.5", "0", "0", "0.25", "1", "0.0 %"],
        ["zero", "0", *["–"] * 8],
        ["mean", "7", "2", "[1, 3]", "1", "1.5", "2", "2.5", "3", "100.0 %"],
    ]
    assert ablation_table(TABLE, "rank")["min"].tolist() == ["−50,267"]
    assert len(ablation_table(TABLE, "entropy")) == 0


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (-0.0001, "−0.0001"),
        (0.00009999, "9.999e−05"),
        (1.23456e-7, "1.235e−07"),
        (999.94, "999.9"),
        (999.96, "1,000"),
        (-50303, "−50,303"),
        (NAN, "–"),
        (float("inf"), "–"),
    ],
)
def test_numbers(value: float, text: str) -> None:
    assert number_text(value) == text


def test_the_latex_table() -> None:
    lines = ablation_latex(TABLE, "org/my_model", "loss").splitlines()
    assert lines[1].startswith(
        r"\caption{Change of the loss (nats) of org/my\_model by ablation: clean minus ablated, so negative "
        "where the intact neurons lower it; a baseline is random neurons of the same layers."
    )
    assert lines[2] == r"\label{tab:org--my_model_ablation_loss}"
    assert lines[4:-2] == [
        r"Set & ablation & n & mean & 95 \% interval & min & q1 & median & q3 & max & changed \\",
        r"weakening & zero & 19,954,266 & $-0.1582$ & [$-0.16$, $-0.15$] & $-21.5$ & $-0.2676$ & "
        r"$-0.05103$ & $7.39 \times 10^{-6}$ & 12,346 & 99.8 \% \\",
        r"weakening baseline & zero & 100 & $-1.5 \times 10^{-6}$ & – & "
        r"$-0.5$ & 0 & 0 & 0.25 & 1 & 0.0 \% \\",
        r"weakening gate- post+ & zero & 0 & – & – & – & – & – & – & – & – \\",
        r"weakening & mean & 7 & 2 & [1, 3] & 1 & 1.5 & 2 & 2.5 & 3 & 100.0 \% \\",
    ]
    rank = ablation_latex(TABLE, "org/my_model", "rank")
    assert "$-50{,}267$" in rank
    assert "−" not in rank


def test_the_markdown_table() -> None:
    lines = ablation_markdown(TABLE, "org/my_model", "loss").splitlines()
    assert "of `org/my_model` by ablation: clean minus ablated" in lines[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    table = ablation_table(TABLE, "loss")
    assert cells[0] == ["Set", *table.columns]
    assert cells[2:] == [
        [name, *row] for name, row in zip(table.index, table.to_numpy().tolist(), strict=True)
    ]


def test_captions_say_which_metric_and_whether_there_are_baselines() -> None:
    captions = {
        metric: ablation_markdown(TABLE, "m", metric).splitlines()[0]
        for metric in ("loss", "rank", "log_scale")
    }
    assert len(set(captions.values())) == 3
    assert "rank of the next token (places) of `m`" in captions["rank"]
    assert "log scale of the final norm of `m`" in captions["log_scale"]
    assert "no baselines" in ablation_markdown(TABLE[~TABLE["baseline"]], "m", "loss")
    assert len({ablation_latex(TABLE, "m", metric).splitlines()[2] for metric in captions}) == 3


def test_the_table_of_a_comparison_can_be_printed() -> None:
    corpus = corpus_of([5, 7, 4])
    clean = run_of(corpus)
    rows = compare_run(RunLabel("weakening", "zero"), clean, run_of(corpus, 1, near=clean), corpus)
    for metric in ("loss", "entropy", "rank", "log_scale"):
        table = ablation_table(paired_table(rows), metric)
        assert table.shape == (1, 10)
        assert "–" not in table.to_numpy()
