"""Every claim about the published tables of sparse probing fails on tables in which one thing is changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from rwcore.tests.changed_tables import Apply, Change, PaperTables, becomes, edit_rows, more, swap, times
from rwcore.tests.neuroscope_claims import failing

pytestmark = pytest.mark.slow  # all of it together

TABLES = PaperTables("sparse_probing")
EXACT = {"model", "metric", "layer", "neuron", "feature", "label"}


def edit(name: str, column: str, change: Change | None, **where: str) -> Apply:
    """Change a column of some rows: columns of `EXACT` are those given, others contain the text."""
    return edit_rows(f"sparse_probing_{name}", column, change, frozenset(where) - EXACT, **where)


def top(column: str, change: Change | None, **where: str) -> Apply:
    """Change the list of the best neurons of a hundred features."""
    return edit("neurons", column, change, source="top_mono_neurons", **where)


def table(name: str, metric: str, change: Change, **where: str) -> Apply:
    """Change a number of a notebook's table."""
    return edit("tables", "value", change, table=name, metric=metric, **where)


def key(name: str, change: Change, **where: str) -> Apply:
    """Change what a row of a notebook's table is about."""
    return edit("tables", "key", change, table=name, **where)


def model(size: str) -> dict[str, str]:
    """Rows of one model."""
    return {"model": f"pythia-{size}"}


MCC, F1 = "test_mcc", "test_f1_score"
ABLATED, MEDIANS = "ablate_L3.N609", "language_neuron_median"
SINGLE, SEVERAL = "facts_best_single", "facts_best_any_k"
PRIME = "pythia70m_prime_factor"
ALL_PRODUCTS = {f"C{number}#0" for number in range(23, 30)}
CHANGES: dict[str, tuple[Apply, set[str]]] = {
    # data sets
    "another recall of a suffix": (
        table("suffix", "test_recall", more(0.001), key="[2628]"), {"C02#0", "C02#1", "C02#2"}
    ),
    "a row more": (
        table("dataset_sizes", "Sequences", more(1)),
        {"C12#0", "C13#0", "C14#1", "C14#2", "C16#0", "C17#0", "C18#0"},
    ),
    "a token more": (
        table("dataset_sizes", "Non padding tokens", more(1)),
        {"C14#0", "C14#2", "C15#0", "C16#1", "C17#0", "C18#1"},
    ),
    "a feature more": (
        table("dataset_sizes", "Total Features", more(1)), {"C12#1", "C13#1", "C15#1", "C16#2"}
    ),
    "a source's precision": (edit("neurons", "test_precision", times(0.95), feature="arxiv"), {"C20#1"}),
    "a pair's precision": (
        edit("neurons", "test_precision", times(0.95), feature="living-room", source="all_neurons"),
        {"C17#1"},
    ),
    "a tag's precision": (edit("neurons", "test_precision", times(0.95), feature="eos_True"), {"C21#1"}),
    "a source's recall": (top("test_recall", times(0.999), feature="arxiv", **model("1b")), {"C20#0"}),
    "a tag's recall": (top("test_recall", times(0.999), feature="Gender_Masc", **model("1b")), {"C21#0"}),
    "a row of a source": (table(ABLATED, "count", more(1), key="ArXiv"), {"C19#0", "C19#1"}),
    "a stimulus more": (table("stimulus", "n_pos", more(1), key="token=412|"), {"C22#0"}),
    "another n-gram more": (table("stimulus", "n_neg", more(1), key="token=412|"), {"C22#1"}),
    "a token less": (edit("tables", "value", None, table="stimulus", key="token=412|"), {"C22#0", "C22#2"}),
    # weights
    "other products": (edit("neurons", "biasxnorm", times(1.0001), source="biasxnorm"), ALL_PRODUCTS),
    "a positive product": (edit("neurons", "biasxnorm", times(-1), neuron="7533"), {"C26#0", "C30#0"}),
    "another percentile": (edit("neurons", "percentile", becomes(81), neuron="7533"), {"C30#1"}),
    # context
    "a French neuron that errs": (
        edit("neurons", MCC, more(-0.001), source="language", neuron="609"), {"C32#0"}
    ),
    "a French coefficient": (
        edit("neurons", "coef", more(0.001), source="language", neuron="609"), {"C32#2"}
    ),
    "a German neuron that errs": (
        edit("neurons", MCC, more(-0.001), source="language", neuron="343"), {"C33#0"}
    ),
    "a German coefficient": (edit("neurons", "coef", more(0.01), source="language", neuron="343"), {"C33#2"}),
    "no perfect Greek": (
        edit("neurons", MCC, becomes(0.999), source="all_neurons", feature="el", **model("160m")),
        {"C34#0", "C35#0", "C36#0", "C36#2"},
    ),
    "no perfect Portuguese": (
        edit("neurons", MCC, becomes(0.9993), source="all_neurons", feature="pt", **model("160m")),
        {"C34#0", "C35#0", "C35#2"},
    ),
    "a neuron of Go": (edit("neurons", MCC, more(0.001), source="_code_neurons", neuron="3108"), {"C37#0"}),
    "a neuron of patents": (
        edit("neurons", MCC, more(0.001), source="_distribution_", neuron="1816"), {"C38#0"}
    ),
    "sources of pythia-1b": (
        top(MCC, more(-0.002), dataset="distribution_id", **model("1b")),
        {"C39#0", "C40#0", "C41#0", "C42#0", "C43#0"},
    ),
    "a large model without Enron": (
        top(MCC, becomes(0.1), feature="enron", **model("6.9b")), {"C42#0", "C42#2"}
    ),
    "abstracts that are found": (
        top(MCC, becomes(0.99), feature="pubmed_abstracts", **model("70m")), {"C43#0", "C43#2"}
    ),
    "code of pythia-1b": (
        top(MCC, more(-0.05), dataset="programming_lang_id", **model("1b")), {"C44#0", "C44#2"}
    ),
    "an ablation's cost": (table(ABLATED, "mean", times(1.01), key="EuroParl"), {"C45#0"}),
    "a cost of abstracts": (table(ABLATED, "mean", times(2), key="PubMed Abstracts"), {"C45#2"}),
    "a cost elsewhere": (table(ABLATED, "mean", becomes(0.18), key="FreeLaw"), {"C45#3"}),
    "a largest cost": (table(ABLATED, "max", times(1.01), key="EuroParl"), {"C46#0"}),
    "a largest cost of another": (table(ABLATED, "max", times(1.01), key="NIH"), {"C46#2"}),
    "a French median": (
        table(MEDIANS, "median", more(0.02), key="neuron=French|text_language=French"), {"C48#0"}
    ),
    "an English median": (
        table(MEDIANS, "median", more(0.02), key="neuron=English 1|text_language=English"), {"C49#0"}
    ),
    "a lowest median": (
        table(MEDIANS, "median", more(-0.02), key="neuron=English 1|text_language=Greek"), {"C49#2"}
    ),
    "a highest median": (
        table(MEDIANS, "median", more(0.02), key="neuron=English 1|text_language=Portuguese"), {"C49#3"}
    ),
    "an early run": (table("language_top10", "test_pr_auc", more(-1e-4), key="[627]"), {"C51#0"}),
    # local features
    "compound words of pythia-1b": (
        top(MCC, more(-0.01), dataset="compound_words", **model("1b")), {"C52#0", "C54#0", "C56#0", "C57#0"}
    ),
    "a late neuron": (top("layer", becomes(9), feature="north-america", **model("160m")), {"C53#0"}),
    "a first neuron": (
        top("layer", becomes(0), feature="north-america", **model("160m")), {"C53#0", "C53#2"}
    ),
    "a prime factor less": (
        edit("neurons", "", None, source=PRIME, neuron="1117"), {"C55#0", "C55#1", "C55#3"}
    ),
    "a prime factor that errs": (edit("neurons", MCC, more(-0.0001), source=PRIME, neuron="1117"), {"C55#3"}),
    "better directions": (table("random_basis", MCC, more(0.01)), {"C58#0", "C58#2"}),
    "a feminine neuron": (top(MCC, more(-0.01), feature="Gender_Fem", **model("70m")), {"C61#0"}),
    "a positive neutral neuron": (top("coef", times(-1), feature="Gender_Neut", **model("70m")), {"C61#2"}),
    "an end of sentences": (top(MCC, more(-0.01), feature="eos_True", **model("70m")), {"C62#0"}),
    "another neuron of ends": (top("neuron", becomes(1187), feature="eos_True", **model("70m")), {"C62#2"}),
    "two neurons of digits": (top("neuron", becomes(1), feature="all_digits", **model("70m")), {"C64#0"}),
    "a digit": (top(MCC, more(-0.01), feature="contains_digit", **model("70m")), {"C64#1"}),
    "digits": (top(MCC, more(-0.01), feature="all_digits", **model("70m")), {"C64#3"}),
    "a suffix": (table("suffix", "test_pr_auc", more(-0.01), key="[2628]"), {"C81#0"}),
    # releases
    "no neuron in both": (
        edit("v1_context_neurons", "layer", becomes(99), source="europarl", **model("6.9b")),
        {"C65#0", "C65#2", "C65#3"},
    ),
    "weak language neurons": (
        edit("v1_context_neurons", "f1", becomes(0.98), source="europarl", **model("6.9b")),
        {"C65#1", "C65#2", "C67#0"},
    ),
    "a survivor": (
        edit("v1_context_neurons", "f1", more(-0.01), label="freelaw", neuron="189", **model("70m")),
        {"C66#0"},
    ),
    "a survivor before": (
        edit("neurons", F1, more(-0.01), feature="freelaw", layer="4", neuron="189", **model("70m")),
        {"C66#1"},
    ),
    "later patents": (edit("v1_context_neurons", "f1", times(0.98), label="uspto"), {"C68#0"}),
    "later opinions": (edit("v1_context_neurons", "f1", times(0.98), label="freelaw"), {"C68#1"}),
    "later papers": (edit("v1_context_neurons", "f1", times(0.98), label="arxiv"), {"C68#2"}),
    # scale
    "a weaker pythia-1b": (top(MCC, more(-0.01), **model("1b")), {"C69#0", "C69#3"}),
    "a best neuron less": (top("", None, feature="is_title", **model("1b")), {"C69#2"}),
    "a stronger pythia-70m": (top(MCC, more(0.05), **model("70m")), {"C70#0", "C70#2"}),
    "abstracts at scale": (
        top(F1, becomes(1), feature="is_abstract", **model("6.9b")), {"C71#0", "C71#1", "C71#2"}
    ),
    "no Enron at scale": (top(F1, becomes(0.1), feature="enron", **model("6.9b")), {"C71#3"}),
    # facts
    "gender": (table(SINGLE, MCC, more(-0.01), key="sex_or_gender", **model("6.9b")), {"C72#0"}),
    "another neuron of women": (
        key(SINGLE, swap("=4043", "=4044"), **{"key": "|female|"}, **model("6.9b")), {"C72#2", "C73#0"}
    ),
    "a sign": (table(SINGLE, "coef", times(-1), key="|male|", **model("6.9b")), {"C73#1", "C73#2"}),
    "five neurons": (table(SEVERAL, MCC, more(-0.01), key="|male|", **model("6.9b")), {"C74#0"}),
    "six neurons": (
        key(SEVERAL, swap("_k=5", "_k=6"), **{"key": "|male|"}, **model("6.9b")), {"C74#2"}
    ),
    "alive": (table("is_alive", MCC, more(-0.01), **model("6.9b")), {"C75#0"}),
    "baseball": (table("athlete", MCC, more(-0.01), key="neuron_or_k=549"), {"C76#0"}),
    "a neuron of a party": (table(SINGLE, MCC, becomes(0.5), key="Republican", **model("6.9b")), {"C78#0"}),
    "neurons of a party": (table(SEVERAL, MCC, more(-0.01), key="party", **model("2.8b")), {"C78#1"}),
    "few neurons of a party": (
        key(SEVERAL, swap("_k=128", "_k=64"), **{"key": "party"}, **model("2.8b")), {"C78#2"}
    ),
    "an occupation": (table("occupation_best", MCC, more(-0.01), key="neuron_or_k=12997"), {"C79#0"}),
    "truth in a neuron": (
        table("counterfact_top3_k1", "test_pr_auc", more(0.1), **model("70m")), {"C80#0", "C80#4"}
    ),
    "truth in many": (
        table("counterfact_top3_any_k", "test_pr_auc", becomes(0.9), **model("70m")), {"C80#2", "C80#5"}
    ),
}  # fmt: skip


def test_published_tables_hold_as_they_are() -> None:
    said = TABLES.as_published()
    assert failing(said) == set()
    assert set(said) == TABLES.expectations


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_table_fails(name: str, tmp_path: Path) -> None:
    TABLES.fail(*CHANGES[name], tmp_path)


def test_every_claim_about_tables_is_made_to_fail() -> None:
    assert {label for _, wanted in CHANGES.values() for label in wanted} == TABLES.expectations
