"""Self-repair in IOI: the published tables, and the paper's model (C65-C70)."""

import pytest

from rwcore.plugin.heads.tables import head_rows
from rwcore.plugin.probing_tables import column
from rwcore.plugin.subjects import Kind

BEHIND = 10  # the first layer behind the name movers that are ablated


@pytest.mark.claim("C65", "C66", "C67")
def test_self_repair_in_ioi(subject, claim):
    """Direct effects on the difference of logits, before and after the name movers are ablated."""
    if subject.kind is not Kind.TABLES:
        claim.check(**subject.heads.movers.self_repair())
        return
    table = head_rows(subject, "copy_suppression_ioi_self_repair").set_index("component")
    clean, ablated = table["clean_logit_diff"], table["post_ablation_logit_diff"]
    change = ablated - clean
    behind = change[table["layer"] >= BEHIND]
    negative = behind[["L10H7", "L11H10"]].sum()
    shares = table["share_of_downstream_self_repair"][behind.index]
    claim.check(
        share_of_negative_heads=negative / behind.sum(),
        share_without_L10H0=negative / behind.drop("L10H0").sum(),
        largest_share_error=(behind / behind.sum() - shares).abs().max(),
        clean=column(clean, "head"),
        ablated=column(ablated, "head"),
        change=column(change, "head"),
        largest_change_before=change[table["layer"] < BEHIND].abs().max(),
    )


@pytest.mark.claim("C68", "C69")
def test_q_composition(subject, claim):
    """Median rank of a name, when what a name mover writes of it is the query."""
    if subject.kind is not Kind.TABLES:
        claim.check(**subject.heads.movers.composition())
        return
    table = head_rows(subject, "copy_suppression_qcomposition_median_ranks")
    pairs = table["name_mover_ov_head"] + " to " + table["qk_head"]
    rank = column(table.set_index(pairs)["median_rank_of_141"], "pair")
    negative, backup = (
        rank[table["qk_head"].isin(heads)] for heads in (["L10H7", "L11H10"], ["L10H2", "L10H10", "L11H2"])
    )
    claim.check(negative=negative, backup=backup)


@pytest.mark.claim("C70")
def test_attention_without_movers(subject, claim):
    """Attention to IO and to S1 of the negative heads, with name movers of other names."""
    claim.check(difference=subject.heads.movers.attention())
