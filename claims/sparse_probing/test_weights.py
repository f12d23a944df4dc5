"""Input bias times input norm of neurons (C23-C31)."""

import pandas as pd
import pytest

from rwcore.plugin.probing_tables import best_of_each, column, neurons
from rwcore.probing.weight_statistics import percentiles


@pytest.mark.claim("C23", "C24", "C25", "C26", "C27", "C28", "C29", "C30")
def test_bias_times_norm(subject, claim):
    """The product in layer 1: of three neurons of each model, and how many are negative."""
    if subject.kind == "tables":
        table = neurons(subject, "biasxnorm_p20_50_80.csv")
        claim.check(
            bias_times_norm=table[["neuron", "biasxnorm"]].rename(columns={"biasxnorm": "value"}),
            percentiles=sorted(table["percentile"].unique().tolist()),
            largest=best_of_each(table, "biasxnorm", "percentile"),
        )
        return
    weights = subject.neuron_weights([1])
    products = weights.products(1)
    claim.check(
        bias_times_norm=by_neuron(products),
        percentile_of_neurons=by_neuron(percentiles(products, range(len(products)))),
        share_of_negative=(products < 0).double().mean().item(),
    )


def by_neuron(values):
    """Columns neuron, value."""
    return column(pd.Series(values.numpy()), "neuron")


@pytest.mark.claim("C31")
def test_products_by_layer(subject, claim):
    """In which layers the product is most negative."""
    layers = subject.neuron_weights().by_layer()
    lowest = layers.loc[layers["median"].idxmin()]
    claim.check(relative_depth_of_minimum=lowest["depth"], share_of_negative_there=lowest["negative"])
