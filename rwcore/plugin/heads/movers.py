"""Who steps in when two name movers are taken away, and whom heads behind them look at (C65-C70)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pandas as pd

from rwcore.heads.embeddings import effective_embedding
from rwcore.heads.ioi_queries import composition_ranks
from rwcore.heads.movers import IoiEffects, effects_without, ioi_effects
from rwcore.heads.readout import Readout
from rwcore.plugin.probing_tables import column
from rwcore.plugin.subjects import Kind

if TYPE_CHECKING:
    from rwcore.heads.repair import Head
    from rwcore.plugin.heads.behaviour import HeadBehaviour

MOVERS, NEGATIVE, BACKUP = ("L9H9", "L9H6"), ("L10H7", "L11H10"), ("L10H2", "L10H10", "L11H2")
PAPER_NAMES = 141
"""Ranks are said as if there were so many names."""


@dataclass(frozen=True)
class MoverRepair:
    """Prompts with two names, with and without what two name movers add.

    Attributes:
        behaviour: Prompts and named heads of the model.
    """

    behaviour: HeadBehaviour

    @cached_property
    def movers(self) -> list[Head]:
        """The name movers; those of a stand-in are in its first layer, so that something comes behind."""
        found = [self.behaviour.named(name) for name in MOVERS]
        if self.behaviour.kind is Kind.STAND_IN:
            found = [(0, head) for _, head in found]
        return sorted({*found})

    @cached_property
    def effects(self) -> tuple[IoiEffects, IoiEffects]:
        """As it is, and with the movers' output of prompts with fresh names."""
        model, prompts = self.behaviour.bridge(), self.behaviour.study.inputs.prompts
        readout = self._readout
        before, after = [], []
        for chunk in prompts.chunks(self.behaviour.study.forward.positions):
            before.append(ioi_effects(model, chunk, readout))
            after.append(effects_without(model, chunk, readout, self.movers, before[-1].scale))
        return IoiEffects.together(before), IoiEffects.together(after)

    @cached_property
    def table(self) -> pd.DataFrame:
        """Direct contributions to logit(IO) - logit(S) of heads and MLPs behind the movers.

        Columns component, before, after (mean over prompts), change (after - before).
        """
        before, after = self.effects
        layers = range(self.movers[-1][0] + 1, len(before.heads))
        rows = [
            {"component": f"L{layer}H{head}", "before": one, "after": other}
            for layer in layers
            for head, (one, other) in enumerate(
                zip(*(of.heads[layer].mean(dim=1).tolist() for of in self.effects), strict=True)
            )
        ]
        rows += [
            {
                "component": f"MLP{layer}",
                "before": float(before.mlps[layer].mean()),
                "after": float(after.mlps[layer].mean()),
            }
            for layer in layers
        ]
        table = pd.DataFrame(rows, columns=["component", "before", "after"])
        return table.assign(change=table["after"] - table["before"])

    def self_repair(self) -> dict[str, Any]:
        """Contributions by head, and the share of the two negative heads in all changes."""
        table = self.table.set_index("component")
        negative = table["change"][table.index.isin(self._names(NEGATIVE))].sum()
        return {
            "share_of_negative_heads": float(negative / table["change"].sum()),
            "clean": column(table["before"], "head"),
            "ablated": column(table["after"], "head"),
            "change": column(table["change"], "head"),
        }

    def attention(self) -> pd.DataFrame:
        """Attention from the end to IO minus that to S1 without the movers, of the negative heads."""
        _, after = self.effects
        difference = (after.attention_io - after.attention_s1).mean(dim=2)
        found = {name: float(difference[self.behaviour.named(name)]) for name in NEGATIVE}
        return column(pd.Series(found), "head")

    def composition(self) -> dict[str, pd.DataFrame]:
        """Median rank of a name in queries that a mover makes of it, of negative and of backup heads."""
        model, study = self.behaviour.bridge(), self.behaviour.study
        names = [*study.inputs.words.names.numbers.values()]
        tokens = study.inputs.prompts.tokens.new_tensor(names).to(self._readout.rows.device)
        table = effective_embedding(model, study.options.embedding, tokens)
        ranks = {mover: composition_ranks(model, mover, table).cpu() for mover in self.movers}
        scale = (PAPER_NAMES - 1) / max(len(names) - 1, 1)

        def of(heads: Sequence[str]) -> pd.DataFrame:
            found = {
                f"L{mover[0]}H{mover[1]} to {name}": 1 + scale * float(of[self.behaviour.named(name)] - 1)
                for mover, of in ranks.items()
                for name in heads
            }
            return column(pd.Series(found), "pair")

        return {"negative": of(NEGATIVE), "backup": of(BACKUP)}

    @cached_property
    def _readout(self) -> Readout:
        device = next(self.behaviour.bridge().parameters()).device
        return Readout.of(self.behaviour.weights.local, device)

    def _names(self, names: Sequence[str]) -> set[str]:
        """The same heads as the table calls them; a stand-in has others in their place."""
        return {"L{}H{}".format(*self.behaviour.named(name)) for name in names}
