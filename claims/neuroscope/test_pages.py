"""What holds within neuron pages, the published ones and our own (J1-J16), token by token."""

import pandas as pd
import pytest

from rwcore.activations.published_facts import places_of_peaks, rises, spreads, wrong_peaks

OF_FILES = (
    "act_error",
    "post_error",
    "post_relative_error",
    "post_error_by_size",
    "listed_error",
    "smallest_act",
)


@pytest.mark.claim("J1", "J2", "J4", "J5", "J6", "J9", "J14", "J15")
def test_files(subject, claim):
    """Columns, tokens and numbers of every file; texts that begin alike; texts that are there twice."""
    facts = subject.page_facts()
    claim.check(
        lists_with_a_repeated_text=int(facts["repeating_lists"].sum()),
        texts_in_a_list=int(facts["most_repeats"].max()),
        **{name: page_by_page(facts, name) for name in facts if name not in ("layer", "neuron")},
        **({} if subject.spec.pages else {"rows_twice_in_a_list": rows_twice(subject)}),
    )


@pytest.mark.claim("J3", "J7", "J8", "J10", "J11", "J12", "J13", "J16")
def test_peaks(subject, claim):
    """The peak of every example: where it is, what the neuron does there, how the ranks of a list compare."""
    found = about_peaks(subject.peaks())
    if subject.kind != "tables" or subject.spec.pages:
        facts = subject.page_facts()
        found |= {name: page_by_page(facts, name) for name in OF_FILES}
    else:
        found |= wrong_peaks(subject.peaks())
    if subject.spec.pages:
        found["peaks_unlike_the_table"] = subject.peaks_unlike_the_table()
    claim.check(**found)


def about_peaks(peaks):
    """Numbers from the table of peaks alone."""
    places, up, lists = places_of_peaks(peaks), rises(peaks), spreads(peaks)
    shown, of_act = peaks["n_tokens_shown"], peaks["hook"] == "swish"
    flat = lists.loc[lists["hook"] == "swish", "flat"]
    return {
        "tokens": named({"fewest": shown.min(), "most": shown.max(), "all": shown.sum()}),
        "fewest_tokens": shown.min(),
        "most_tokens": shown.max(),
        "places_of_peaks": named(places.value_counts().to_dict()),
        "elsewhere_but_in_lists_of_act": int(((places == "elsewhere") & ~of_act).sum()),
        "steps": named({"up": int((up["rise"] > 0).sum()), "all": len(up)}),
        "largest_rise": up["rise"].max(),
        "largest_relative_rise": up["relative"].max(),
        "smallest_peak_of_act": peaks["peak_value"].where(of_act).min(),
        "lists_of_act": named({"flat": int(flat.sum()), "all": len(flat)}),
        "median_ratios": lists.groupby("hook")["ratio"].median().rename("value").reset_index(),
    }


def rows_twice(subject):
    """Lists, of all neurons, that have a row of the text twice."""
    rows = subject.activation_study().summary.top_rows.sort(dim=-1).values
    return int(((rows.diff(dim=-1) == 0) & (rows[..., 1:] >= 0)).any(dim=-1).sum())


def page_by_page(facts, name):
    """One number of every page."""
    return facts[["layer", "neuron", name]].rename(columns={name: "value"})


def named(numbers):
    """Numbers by name."""
    return pd.DataFrame(list(numbers.items()), columns=["name", "value"])
