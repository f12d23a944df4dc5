"""Data sets and metrics, as far as the published tables say something of them (C02, C12-C22)."""

import pytest

from rwcore.plugin.probing_tables import column, dataset_sizes, examples, neurons, notebook, positives
from rwcore.plugin.subjects import Kind

TOP, NOTABLE = "top_mono_neurons.csv", "all_neurons_of_interest.csv"
SEQUENCES = ("programming_lang_id", "natural_lang_id", "distribution_id")
ABLATION = "ablate_L3.N609_seq_summed_loss_increase_nats"


@pytest.mark.claim("C12", "C13", "C14", "C15", "C16", "C18")
def test_sizes(subject, claim):
    """Rows and tokens of the data sets."""
    found = dataset_sizes(subject)
    full = [name for name in (*SEQUENCES, "latex") if name in found.index]
    missing = found["Non padding tokens"] - found["Sequences"] * (found["Context Length"] - 1)
    claim.check(
        rows=column(found["Sequences"], "dataset"),
        tokens=column(found["Non padding tokens"], "dataset"),
        features=column(found["Total Features"], "dataset"),
        padding=column(missing[full], "dataset"),
    )


@pytest.mark.claim("C17", "C20", "C21")
def test_class_sizes(subject, claim):
    """Examples of the test splits, from the digits of precision, recall and MCC."""
    found = dataset_sizes(subject)
    if "compound_words" in found.index:
        size = found.loc["compound_words"]
        claim.check(
            windows=size["Sequences"],
            padding_of_windows=size["Non padding tokens"] - size["Sequences"] * size["Context Length"],
        )
    if subject.kind is Kind.PAPER:
        return
    files = TOP, NOTABLE, "monosemantic_language_neurons.csv"
    table = neurons(subject, *files, datasets=(*SEQUENCES, "ewt", "compound_words"))
    probes = table.groupby("feature")
    claim.check(
        positives=column(probes["test_recall"].apply(positives), "feature"),
        examples=column(probes[["test_mcc", "test_precision", "test_recall"]].apply(examples), "feature"),
    )


@pytest.mark.claim("C22")
def test_stimuli(subject, claim):
    """Occurrences of the tokens that excite a neuron, after their prefixes and after others."""
    found = notebook(subject, "stimulus_dataset_counts")
    token = found["token"].astype(int)
    claim.check(
        tokens=len(found),
        after_prefix=column(found.set_index(token)["n_pos"], "token"),
        after_others=column(found.set_index(token)["n_neg"], "token"),
    )


@pytest.mark.claim("C02")
def test_average_precision(subject, claim):
    """The stored average precision is that of hard predictions."""
    found = notebook(subject, "suffix_top25_k1_unnormalised")
    precision, recall = found["test_precision"], found["test_recall"]
    # accuracy = 1 - p (1 - R) - p R (1 - P) / P
    p = (1 - found["test_acc"]) / ((1 - recall) + recall * (1 / precision - 1))
    hard = precision * recall + (1 - recall) * p
    claim.check(
        probes=len(found),
        largest_error=(hard - found["test_average_precision"]).abs().max(),
        share=p.iloc[0],
        first=hard.iloc[0],
    )


@pytest.mark.claim("C19")
def test_rows_by_source(subject, claim):
    """Rows of the text that neurons were ablated on."""
    found = notebook(subject, ABLATION).set_index("feature")
    claim.check(rows=found["count"].sum(), rows_by_source=column(found["count"], "source"))
