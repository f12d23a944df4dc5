"""What heads do to predictions, and how much of it is copy suppression: what claims ask of one model.

Claims about any model are asked of its *reference head*: of the last third of the layers, the head of which
copy-suppression-preserving ablation with negative components explains most. In the paper's own model, and in
stand-ins of its family, it is the head that the paper names.

Looking for it costs an unembedding for every head, so that models are scanned on the beginning of their text
(`SCANNED` rows); the reference head is then looked at on all of it (of the paper's text on the first 500
rows).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from rwcore.ablation.bootstrap import sums_by_document
from rwcore.golden.paths import published_dir
from rwcore.heads.cspa import BOTH, NEGATIVE, OV, QK, VARIANTS
from rwcore.heads.cspa_scores import LEAST_EFFECT
from rwcore.heads.function_words import FunctionWords, own_words, published_words
from rwcore.heads.mids import largest_increases
from rwcore.heads.paths import DIRECT, HELD, INDIRECT, RECOMPUTED, TOTAL
from rwcore.heads.writers import Writer
from rwcore.plugin.heads.intervals import Share, ratio_interval
from rwcore.plugin.heads.numbers import WEB_TEXT
from rwcore.plugin.heads.tables import by_head, first_heads, head_name, named_head
from rwcore.plugin.subjects import Kind
from rwcore.plugin.text import first_rows
from rwcore.studies.head_ablations import LOSS, cases, total_losses
from rwcore.studies.head_cspa import CspaOptions, CspaStudy
from rwcore.studies.head_survey import HeadSurvey, SurveyOptions
from rwcore.weights.shape import read_shape

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from rwcore.corpora.tokens import TokenCorpus
    from rwcore.studies.weights import WeightStudy

PAPERS_MODEL, FAMILY, NAMED = "gpt2", "gpt2", "L10H7"
"""The model in which the paper names heads, its family, and the head it is about."""
NEGATIVE_HEADS = ("L10H7", "L11H10", "L8H10", "L9H5")
PATHS_TEXT = "openwebtext-10k-800"
SCANNED, PAPERS_SCANNED, PAPERS_ROWS = 8, 50, 500
"""Rows of text on which all heads of a model are looked at; of the paper's model; and those on which it
looked at its head."""
FUNCTION_WORDS = "copy_suppression_function_tokens.csv"
FOLLOWED = 10
"""Late heads whose total effects and calibration are looked at there."""
SUPPRESSING, HALF = 0.1, 0.5
"""Shares that are explained: of a copy suppression head at least; of many heads if both signs count."""

Head = tuple[int, int]


@dataclass(frozen=True)
class HeadEffects:
    """Effects of the heads of one model, direct ones unless something else is said.

    Attributes:
        weights: The weight study of the model.
        text: Gives rows by the id of the paper's corpus.
        kind: What kind of subject the model is.
    """

    weights: WeightStudy
    text: Callable[[str], TokenCorpus]
    kind: Kind

    @cached_property
    def named(self) -> bool:
        """Whether heads are those that the paper names: in its model, and in stand-ins of its family."""
        own = self.weights.local.spec.id == PAPERS_MODEL
        return own or (self.kind is Kind.STAND_IN and read_shape(self.weights.local).family == FAMILY)

    def named_head(self, name: str) -> Head:
        """See `rwcore.plugin.heads.tables.named_head`."""
        return named_head(self.weights, name)

    @cached_property
    def means(self) -> str:
        """By position, as published; over all tokens where there are too few rows for that."""
        return "position" if self.named else "overall"

    @cached_property
    def late(self) -> tuple[Head, ...]:
        """The heads of the last third of the layers."""
        shape = read_shape(self.weights.local)
        first = 2 * shape.n_layers // 3
        return tuple((layer, head) for layer in range(first, shape.n_layers) for head in range(shape.n_heads))

    @cached_property
    def scan(self) -> CspaStudy:
        """CSPA of all late heads, with negative components and with both signs."""
        heads = {*self.late, *map(self.named_head, NEGATIVE_HEADS if self.named else ())}
        options = CspaOptions(heads=tuple(sorted(heads)), variants=(NEGATIVE, BOTH), means=self.means)
        return CspaStudy(self.weights, self._scanned, options, words=self._words)

    @cached_property
    def head(self) -> Head:
        """The reference head; see the head of this module."""
        return self.named_head(NAMED) if self.named else self.scan.best(1)[0]

    @cached_property
    def closer(self) -> CspaStudy:
        """CSPA of the reference head on the whole text, with all variants."""
        options = CspaOptions(heads=(self.head,), variants=VARIANTS, means=self.means)
        return CspaStudy(self.weights, self._read, options, words=self._words)

    @cached_property
    def silent(self) -> bool:
        """Whether the reference head does nothing, so that there is nothing to say of it but rounding."""
        return not self._kl[0].mean() >= LEAST_EFFECT

    @cached_property
    def survey(self) -> HeadSurvey:
        """Direct effects of all heads, on what is scanned."""
        return HeadSurvey(self.weights, self._scanned, SurveyOptions(means=self.means, paths=0))

    @cached_property
    def around(self) -> HeadSurvey:
        """Where sweeps over the text of the reference head begin."""
        return HeadSurvey(self.weights, self._read, SurveyOptions(means=self.means, paths=0))

    def explained(self) -> dict[str, object]:
        """How much of the effects of late heads is copy suppression (C29, C32-C35)."""
        self.note_text()
        negative, both = (self._scan_of(variant) for variant in (NEGATIVE, BOTH))
        above = (negative["explained"] > SUPPRESSING).mean()
        halves = [int((table["explained"] > HALF).sum()) for table in (both, negative)]
        found: dict[str, object] = {
            "explained": by_head(negative, "explained"),
            "highest_explained": self._between(lambda kl: 1 - kl[..., 1] / kl[..., 0]),
            "share_above_tenth": float(above),
            "more_above_half_by_both": halves[0] - halves[1],
            "both_minus_negative": self._between(lambda kl: (kl[..., 1] - kl[..., 2]) / kl[..., 0]),
            "reference_head": head_name(self.head),
        }
        return found | (self._of_named_heads(negative, both) if self.named else {})

    def _of_named_heads(self, negative: pd.DataFrame, both: pd.DataFrame) -> dict[str, object]:
        four = [head_name(self.named_head(name)) for name in NEGATIVE_HEADS]
        change = (negative.set_index("head") - both.set_index("head")[["explained"]])["explained"].abs()
        late = both["layer"] >= 9 * read_shape(self.weights.local).n_layers // 12
        others = both[late & ~both["head"].isin(four[:2])]["explained"]
        return {
            "explained_elsewhere": negative[~negative["head"].isin(four)]["explained"].max(),
            "net_loss": by_head(negative, "net_loss"),
            "absolute_loss": by_head(negative, "absolute_loss"),
            "change_by_sign": change[four[:2]].max(),
            "others_above_half": int((others > HALF).sum()),
            "highest_with_both_signs": first_heads(both, "explained", 1)[0],
        }

    def parts(self) -> dict[str, object]:
        """CSPA of the reference head by parts: what it looks at, and what it writes (C30)."""
        import pandas as pd

        self.note_text()
        left = dict(zip(self.closer.options.variants, self._kl[1:].sum(axis=1), strict=True))
        parts = (QK, OV, BOTH)
        rows = {"part": parts, "value": [float(1 - left[part] / self._kl[0].sum()) for part in parts]}
        # 1 - D/D_MA of one part minus that of another.
        return {
            "explained_by": pd.DataFrame(rows),
            "lead_of_qk": self._between(lambda kl: (kl[..., 4] - kl[..., 3]) / kl[..., 0]),
            "lead_of_ov": self._between(lambda kl: (kl[..., 2] - kl[..., 4]) / kl[..., 0]),
        }

    def strongest(self) -> dict[str, object]:
        """CSPA of the reference head where it matters most (C31), and the scale of both (C36)."""
        self.note_text()
        kl = self._kl[:2]
        chosen = np.zeros(kl.shape[1], dtype=bool)
        percentiles = np.array_split(np.argsort(kl[0], kind="stable"), min(100, kl.shape[1]))
        chosen[percentiles[-1]] = True
        second = kl[:, percentiles[-2:][0]].sum(axis=1)
        sums = self._sums([*kl, *(kl * chosen)])

        def gain(values: np.ndarray) -> np.ndarray:
            return np.asarray(values[..., 1] / values[..., 0] - values[..., 3] / values[..., 2])

        return {
            "explained_overall": float(1 - kl[1].sum() / kl[0].sum()),
            "explained_in_top_percentile": float(1 - kl[1, chosen].sum() / kl[0, chosen].sum()),
            "explained_in_second_percentile": float(1 - second[1] / second[0]),
            "gain_in_top_percentile": self._share(sums, gain),
            "kl_mean_ablated": float(kl[0].mean()),
            "kl_cspa": float(kl[1].mean()),
        }

    def losses(self) -> dict[str, object]:
        """How the reference head's effect on the loss is spread over predictions (C37, C42, C44)."""
        self.note_text()
        loss = self.closer.tokens(self.head)["loss"][0, :2].double()
        spread = loss[:, loss[0].isfinite()].std(dim=1, correction=0)
        delta, places = self._increases()
        top = largest_increases(delta).numpy()
        values = delta.double().numpy()
        positive, chosen = values.clip(min=0), np.zeros(len(values), dtype=bool)
        chosen[top] = True
        one = np.ones(len(values))
        sums = self._sums([positive * chosen, positive, values < 0, values, one], places)
        return {
            "ratio_of_deviations": float(spread[1] / spread[0]),
            "top_twentieth": self._share(sums, lambda of: of[..., 0] / of[..., 1]),
            "share_helped": self._share(sums, lambda of: of[..., 2] / of[..., 4]),
            "loss_increase": self._share(sums, lambda of: of[..., 3] / of[..., 4]),
        }

    def cases(self) -> dict[str, object]:
        """Copy suppression among the predictions where the reference head matters most (C43).

        What a prediction at random has on average, all have.
        """
        self.note_text()
        delta, places = self._increases()
        met = cases(self.around, [self.head]).lowered[0][places].double().numpy()
        chosen = np.zeros(len(met), dtype=bool)
        chosen[largest_increases(delta).numpy()] = True
        sums = self._sums([met * chosen, chosen, met, np.ones(len(met))], places)
        return {
            "share": self._share(sums, lambda of: of[..., 0] / of[..., 1]),
            "share_at_random": self._share(sums, lambda of: of[..., 2] / of[..., 3]),
        }

    def paths(self) -> dict[str, object]:
        """By which paths L10H7 acts, L11H10 held at its clean value in one of them (C38-C41)."""
        import pandas as pd

        head, held = self.named_head(NAMED), self.named_head("L11H10")
        options = SurveyOptions(means=self.means, paths=(head,), held=(held,))
        files = HeadSurvey(self.weights, self.text(PATHS_TEXT), options).paths
        assert files is not None
        asked = {DIRECT: DIRECT, INDIRECT: INDIRECT, HELD: "indirect_excluding_L11H10", TOTAL: "both"}
        found = files.gathered([f"{path}/frozen/{name}" for path in asked for name in (LOSS, "kl")])

        def means(name: str) -> pd.DataFrame:
            values = [float(found[f"{path}/frozen/{name}"][0].double().nanmean()) for path in asked]
            return pd.DataFrame({"paths": [*asked.values()], "value": values})

        loss = means(LOSS)
        of = loss.set_index("paths")["value"]
        return {
            "loss": loss,
            "kl": means("kl"),
            "direct_loss": of["direct"],
            "direct_over_indirect": of["direct"] / of["indirect"],
            "share_without_L11H10": of["indirect_excluding_L11H10"] / of["indirect"],
        }

    def repaired(self) -> dict[str, object]:
        """Of the ten late heads that help most by themselves: the share whose total effect is smaller (C39).

        NaN if there is no such head.
        """
        self.note_text()
        table = self.late_survey()
        helpful = table[(table["loss_increase"] > 0) & (table["kl"] >= LEAST_EFFECT)]
        helpful = helpful.nlargest(FOLLOWED, "loss_increase")
        if not len(helpful):
            return {"share_smaller": math.nan}
        heads = [*zip(helpful["layer"], helpful["number"], strict=True)]
        total = total_losses(self.survey, heads)[LOSS].double().nanmean(dim=1).numpy()
        return {"share_smaller": float((total < helpful["loss_increase"].to_numpy()).mean())}

    def totals(self) -> dict[str, object]:
        """Relative increase of the loss when a head is ablated with all that follows, of all heads (C46)."""
        import pandas as pd

        self.note_text()
        heads = [writer_head(one) for one in self.survey.writers if one.head is not None]
        found = total_losses(self.survey, heads, RECOMPUTED)
        relative = found[LOSS].double().nanmean(dim=1) / found["clean_loss"].double().nanmean()
        table = pd.DataFrame({"head": [head_name(head) for head in heads], "value": relative.numpy()})
        return {"relative_increase": table, "largest": first_heads(table, "value", 1)[0]}

    @cached_property
    def _scanned(self) -> TokenCorpus:
        return first_rows(self.text(WEB_TEXT), PAPERS_SCANNED if self.named else SCANNED)

    @cached_property
    def _read(self) -> TokenCorpus:
        """What the reference head is looked at on: all there is, but for the paper's model."""
        return first_rows(self.text(WEB_TEXT), PAPERS_ROWS)

    @cached_property
    def _words(self) -> FunctionWords:
        """The paper's function words where heads are the paper's, else our own list."""
        if not self.named:
            return own_words()
        return published_words(published_dir("copy_suppression") / FUNCTION_WORDS)

    def note_text(self) -> None:
        """Tell the subject which text is read: studies outlive the test that has made them."""
        self.text(WEB_TEXT)

    def _scan_of(self, variant: str) -> pd.DataFrame:
        table = self.scan.table[self.scan.table["variant"] == variant]
        heads = [head_name(head) for head in zip(table["layer"], table["head"], strict=True)]
        return table.assign(head=heads).reset_index(drop=True)

    @cached_property
    def survey_of_heads(self) -> pd.DataFrame:
        """Rows of the survey about heads, with their ``number`` and name."""
        table = self.survey.table
        table = table[table["kind"] == "head"].reset_index(drop=True)
        heads = [*zip(table["layer"].astype(int), table["head"].astype(int), strict=True)]
        return table.assign(number=[one for _, one in heads], head=[head_name(head) for head in heads])

    def late_survey(self) -> pd.DataFrame:
        """Rows of the survey of the heads of `late`."""
        table = self.survey_of_heads
        return table[table["layer"] >= self.late[0][0]]

    def _between(self, statistic: Callable[[np.ndarray], np.ndarray]) -> Share:
        """Of `_kl`."""
        return self._share(self._sums([*self._kl]), statistic)

    def _share(self, sums: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray]) -> Share:
        """Of the reference head; NaN if it does nothing."""
        return math.nan if self.silent else ratio_interval(sums, statistic)

    @cached_property
    def _kl(self) -> np.ndarray:
        """KL divergences of the reference head [variant token]: mean ablation, then `VARIANTS`."""
        return self.closer.tokens(self.head)["kl"][0].double().numpy()

    def _increases(self) -> tuple[Tensor, np.ndarray]:
        """Loss increases of the reference head (ablated - clean), and the tokens of the text they are of."""
        delta = self.closer.tokens(self.head)["loss"][0, 0]
        places = delta.isfinite().nonzero()[:, 0]
        return delta[places], places.numpy()

    def _sums(self, columns: Sequence[np.ndarray], places: np.ndarray | None = None) -> np.ndarray:
        """Sums over the documents of the text."""
        corpus = self.closer.corpus
        document = corpus.document.repeat_interleave(corpus.lengths).numpy()
        document = document if places is None else document[places]
        sums, _ = sums_by_document([(column.astype(np.float64), document) for column in columns])
        return sums


def writer_head(writer: Writer) -> Head:
    """Layer and number of a writer that is a head."""
    assert writer.head is not None
    return writer.layer, writer.head
