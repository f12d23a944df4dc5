"""The published neurons: what context they tell (C32-C49, C51)."""

import pandas as pd
import pytest

from rwcore.plugin.probing_tables import (
    best_of_each,
    column,
    count_of_each,
    neurons,
    notebook,
    of_feature,
    of_subject,
    places,
)
from rwcore.plugin.subjects import Kind

TOP, NOTABLE = "top_mono_neurons.csv", "all_neurons_of_interest.csv"
ABLATION = "ablate_L3.N609_seq_summed_loss_increase_nats"


@pytest.mark.claim("C32", "C33", "C37", "C38")
def test_context_neurons(subject, claim):
    """Neurons of a language, a programming language or a source."""
    table = neurons(
        subject,
        "monosemantic_language_neurons.csv",
        "monosemantic_code_neurons.csv",
        "monosemantic_distribution_neurons.csv",
        datasets=("natural_lang_id", "programming_lang_id", "distribution_id"),
    )
    table = table.assign(name=table["feature"] + " " + places(table))
    claim.check(
        mcc=table[["name", "test_mcc"]].rename(columns={"test_mcc": "value"}),
        coefficients=table[["name", "coef"]].rename(columns={"coef": "value"}),
    )


@pytest.mark.claim("C34", "C36")
def test_perfect_language_neurons(subject, claim):
    """Neurons with MCC 1, by model and language."""
    table = language_neurons(subject)
    perfect = table[table["test_mcc"] == 1]
    counts = perfect.groupby(["model", "feature"]).size().rename("value").reset_index()
    most = counts.loc[counts.groupby("model")["value"].idxmax()]
    found = of_subject(
        subject,
        perfect=count_of_each(perfect, subject),
        greek=count_of_each(perfect[perfect["feature"] == "el"], subject),
        most=column(most.set_index("model")["feature"]),
    )
    claim.check(**found)


@pytest.mark.claim("C35")
def test_a_perfect_neuron_for_every_language(subject, claim):
    """Languages with such a neuron; of any model chosen on validation, in rows of our own prose."""
    if subject.kind in (Kind.TABLES, Kind.PAPER):
        table = language_neurons(subject)
        perfect = table[table["test_mcc"] == 1]
        found = of_subject(
            subject,
            languages=count_of_each(perfect.drop_duplicates(["model", "feature"]), subject),
            best_portuguese=column(table[table["feature"] == "pt"].groupby("model")["test_mcc"].max()),
        )
        claim.check(**found)
    if subject.kind is Kind.TABLES:
        return
    found = subject.language_probes
    claim.check(share_of_languages=found.perfect / len(found.table))
    if subject.kind is not Kind.PAPER:
        claim.check(languages=column(pd.Series({subject.models[0]: found.perfect})))


def language_neurons(subject):
    """The published neurons of languages, each once."""
    files = NOTABLE, "monosemantic_language_neurons.csv"
    table = neurons(subject, *files, datasets=("natural_lang_id",))
    return table.drop_duplicates(["model", "feature", "layer", "neuron"])


@pytest.mark.claim("C47")
def test_ablated_context_neurons(subject, claim):
    """What the loss of a neuron costs in its own language, against every other language."""
    claim.check(neurons_of_five=subject.language_probes.own_context)


@pytest.mark.claim("C39", "C40", "C41", "C42", "C43", "C44")
def test_sources(subject, claim):
    """The best neuron of each source, and of programming languages on average."""
    table = neurons(subject, TOP, datasets=("distribution_id", "programming_lang_id"))
    sources = best_of_each(table[table["dataset"] == "distribution_id"])
    code = best_of_each(table[table["dataset"] == "programming_lang_id"])
    worst = sources.loc[sources.groupby("model")["value"].idxmin()]
    enron = of_feature(sources, "enron")
    found = of_subject(
        subject,
        **{name: of_feature(sources, name) for name in ("uspto", "freelaw", "arxiv", "pubmed_abstracts")},
        enron=enron,
        rank_correlation=enron["value"].corr(pd.Series(in_order(enron, subject)), method="spearman"),
        worst=column(worst.set_index("model")["feature"]),
        code=column(code.groupby("model")["value"].mean()),
    )
    claim.check(**found)


def in_order(table, subject):
    """Places of the rows in the order of the models, smallest first."""
    return [subject.models.index(model) for model in table["model"]]


@pytest.mark.claim("C45", "C46")
def test_ablated_neuron(subject, claim):
    """Loss of a row of text by source, when the French neuron is set to zero."""
    found = notebook(subject, ABLATION).set_index("feature")
    claim.check(
        mean=column(found["mean"], "source"),
        largest=column(found["max"], "source"),
        largest_mean_of_others=found["mean"].sort_values().iloc[-8],
    )


@pytest.mark.claim("C48", "C49")
def test_medians_by_language(subject, claim):
    """Median pre-activations of language neurons, by the language of the text."""
    found = notebook(subject, "language_neuron_median_preactivation(old_dataset_version)")
    medians = found.pivot_table("median", "text_language", "neuron")
    english = medians[["English 1", "English 2"]]
    claim.check(
        french=column(medians["French"], "language"),
        in_english=column(english.loc["English"], "neuron"),
        lowest_elsewhere=column(english.drop("English").min(), "neuron"),
        highest_elsewhere=column(english.drop("English").max(), "neuron"),
    )


@pytest.mark.claim("C51")
def test_early_run(subject, claim):
    """Language neurons of an early run."""
    found = notebook(subject, "language_top10_k1_unnormalised_max_agg")
    place = found["feature"] + " " + found["layer"] + "." + found["support"].str.strip("[]")
    claim.check(pr_auc=column(found.set_index(place)["test_pr_auc"], "name"))
