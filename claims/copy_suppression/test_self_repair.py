"""Self-repair of single heads on ordinary text: the stored tables, and models (SR1-SR20, C71)."""

import pandas as pd
import pytest

from rwcore.plugin.heads.asked_repair import repair_of
from rwcore.plugin.heads.tables import (
    by_head,
    first_heads,
    head_rows,
    late,
    repaired,
    self_repair,
    share,
)
from rwcore.plugin.probing_tables import column
from rwcore.plugin.subjects import Kind

GPT2, GPT2_MEDIUM, PYTHIA = "gpt2", "gpt2-medium", "EleutherAI/pythia-410m"
CLIPPED = ["clip_ln", "clip_heads", "clip_mlp"]


@pytest.mark.claim("SR1", "SR2")
def test_parts_of_repair(subject, claim):
    """Repair by heads, MLPs and the final scale: their sum, and those behind the last layer."""
    if subject.kind is not Kind.TABLES:
        claim.check(**repair_of(subject).parts())
        return
    table = self_repair(subject)
    rest = table["sr"] - table[["sr_heads", "sr_mlp", "sr_ln"]].sum(axis=1)
    definition = table["sr"] - (table["dlogit"] + table["loss"])
    last = table[table["layer"] == table["layers"] - 1]
    largest = last.set_index("model")[["sr_heads", "sr_mlp"]].abs().groupby(level=0, sort=False).max()
    claim.check(
        largest_error_of_parts=rest.abs().max(),
        largest_error_of_definition=definition.abs().max(),
        repair_by_heads_of_last=column(largest["sr_heads"]),
        repair_by_mlps_of_last=column(largest["sr_mlp"]),
    )


@pytest.mark.claim("SR3", "SR4", "SR5", "SR6", "SR8", "SR9", "SR10")
def test_repair_in_late_layers(subject, claim):
    """Shares of the loss that are repaired, and of the heads that are."""
    if subject.kind is not Kind.TABLES:
        claim.check(**repair_of(subject).late())
        return
    table = self_repair(subject)
    found = of_late_heads(late(table))
    by_heads, by_mlps = found["R_heads"], found["R_mlp"]
    claim.check(
        share_repaired=column(found["share_sr_pos"]),
        repaired=column(found["R_total"]),
        share_imperfect=column(found["share_imperfect"]),
        difference_from_summary=(found - stored(subject, "late")[found.columns]).abs().to_numpy().max(),
        share_overrepaired=column(found["share_over"]),
        repaired_by_scale=column(found["R_ln"]),
        share_helped_by_scale=column(found["share_ln_pos"]),
        correlation=column(found["corr_de_sr"]),
        repaired_by_heads=column(by_heads),
        repaired_by_mlps=column(by_mlps),
        lead_of_gpt2_by_heads=by_heads[[GPT2, GPT2_MEDIUM]].min() - by_heads[PYTHIA],
        lead_of_pythia_by_mlps=by_mlps[PYTHIA] - by_mlps[[GPT2, GPT2_MEDIUM]].max(),
        repaired_in_first_half=column(repaired(table[2 * table["layer"] < table["layers"]])),
    )


def of_late_heads(heads):
    """A row per model, with the names of the stored summary."""
    positive, imperfect = heads["sr"] > 0, heads["sr"] < heads["loss"]
    correlation = {model: rows["de"].corr(rows["sr"]) for model, rows in heads.groupby("model", sort=False)}
    return pd.DataFrame(
        {
            "R_total": repaired(heads),
            "R_ln": repaired(heads, "sr_ln"),
            "R_mlp": repaired(heads, "sr_mlp"),
            "R_heads": repaired(heads, "sr_heads"),
            "share_sr_pos": share(heads, positive),
            "share_ln_pos": share(heads, heads["sr_ln"] > 0),
            "share_imperfect": share(heads, positive & imperfect),
            "share_over": share(heads, heads["sr"] > heads["loss"]),
            "corr_de_sr": pd.Series(correlation),
        }
    )


def stored(subject, group):
    """The summary that is stored with the tables, of one group of layers."""
    summary = head_rows(subject, "self_repair_group_summary")
    rows = summary[(summary["selection"] == "top2pct") & (summary["group"] == group)]
    return rows.set_index("model")


@pytest.mark.claim("SR7")
def test_repair_by_the_final_scale(subject, claim):
    """Repair by the final scale over the direct effect, in the layer before the last."""
    if subject.kind is not Kind.TABLES:
        claim.check(**repair_of(subject).scale())
        return
    table = self_repair(subject)
    heads = table[table["layer"] == table["layers"] - 2]
    ratio = (heads["sr_ln"] / heads["de"]).groupby(heads["model"], sort=False).mean()
    means = head_rows(subject, "self_repair_layer_means")
    means = means[means["selection"] == "top2pct"].set_index(["model", "layer"])["mean_ratio_ln_de"]
    layer = heads.groupby("model", sort=False)["layer"].first()
    of_layer = means[list(layer.items())].to_numpy()
    claim.check(
        scale_over_direct_effect=column(ratio),
        mean=ratio.mean(),
        difference_from_layer_means=abs(ratio.to_numpy() - of_layer).max(),
    )


@pytest.mark.claim("SR11")
def test_repair_without_selection(subject, claim):
    """The same share over all tokens, against the tokens with a head's largest direct effects."""
    if subject.kind is not Kind.TABLES:
        claim.check(**repair_of(subject).unselected())
        return
    everywhere, selected = self_repair(subject, "all_tokens"), self_repair(subject)
    found = both_groups(everywhere)
    claim.check(
        repaired=column(found, "heads"), loss_by_selection=column(both_groups(selected) - found, "heads")
    )


def both_groups(table):
    """Share of the loss that is repaired, over all heads and over late ones."""
    return pd.Series(
        {name: repaired(heads).item() for name, heads in (("all", table), ("late", late(table)))}
    )


@pytest.mark.claim("SR12", "SR13")
def test_strongest_heads(subject, claim):
    """Direct effect, change of the logit and repair of single heads."""
    if subject.kind is not Kind.TABLES:
        claim.check(**repair_of(subject).strongest())
        return
    table = self_repair(subject)
    first = first_heads(table, "de", 1)[0]
    row = table.set_index("head").loc[first]
    claim.check(
        direct_effect=by_head(table, "de"),
        logit=by_head(table, "dlogit"),
        self_repair=by_head(table, "sr"),
        repair_by_mlps=by_head(table, "sr_mlp"),
        first_by_direct_effect=first,
        share_of_mlps_in_first=row["sr_mlp"] / row["sr"],
    )


@pytest.mark.claim("SR14")
def test_clipped_shares(subject, claim):
    """Means over heads of the clipped shares of the parts, against that of the whole."""
    if subject.kind is not Kind.TABLES:
        claim.check(**repair_of(subject).clipped())
        return
    table = self_repair(subject)
    models = table["model"]
    parts = table[CLIPPED].groupby(models, sort=False).mean().sum(axis=1)
    whole = (table["sr"] / table["de"]).clip(0, 1).groupby(models, sort=False).mean()
    claim.check(sum_of_clipped=column(parts), excess_of_clipped=column(parts - whole))


@pytest.mark.claim("C71", "SR15", "SR16")
def test_scale_and_noise(subject, claim):
    """Whether the final stream shrinks without a late head, and how repair differs from token to token."""
    repair = repair_of(subject)
    claim.check(**repair.shrinking(), **repair.noise(), **repair.identity())


@pytest.mark.claim("SR17", "SR18", "SR19", "SR20")
def test_neurons_that_repair(subject, claim):
    """Neurons of the last MLP that repair heads of the layer before the last."""
    claim.check(**repair_of(subject).neurons())
