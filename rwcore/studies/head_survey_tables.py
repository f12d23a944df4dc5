"""Tables of a survey of heads: tokens that a head helps most, curves, paths, calibration."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch

from rwcore.ablation.bootstrap import intervals, sums_by_document
from rwcore.corpora.encoder import read_encoder
from rwcore.heads.calibration import BINS, CONVENTIONS, marginal_overconfidence, overconfidence
from rwcore.heads.effects import QUANTITIES
from rwcore.heads.paths import READINGS
from rwcore.heads.survey_scores import cumulative_shares
from rwcore.heads.writers import Writer
from rwcore.models.vocabulary import vocabulary
from rwcore.studies.head_survey import HeadSurvey
from rwcore.studies.head_survey_files import CLEAN, Head

HEAD = ("layer", "head")
TOKEN_COLUMNS = (
    *HEAD, "place", "document", "row", "position", "context", "next", "loss_clean", "loss_ablated",
    "loss_increase", "dla_next", "dla_predicted",
)  # fmt: skip
CURVE_COLUMNS = (*HEAD, "token_share", "effect_share")
PATH_COLUMNS = (
    *HEAD, "path", "reading", "clean_loss", "loss_increase", "loss_increase_low", "loss_increase_high",
    "loss_increase_abs", "kl", "entropy_change_with_head", "dla_next", "dla_predicted",
)  # fmt: skip
BIN_COLUMNS = ("without", "bin", "probability", "predictions", "correct")
OVERCONFIDENCE_COLUMNS = (
    *HEAD, "convention", "overconfidence", "overconfidence_ablated", "marginal", "empty_bins",
    "empty_bins_ablated",
)  # fmt: skip
MOST = 20
"""Tokens that a head helps most."""
CONTEXT = 40
"""Tokens of a context, at most."""


def helped_tokens(survey: HeadSurvey, heads: Sequence[Head], count: int = MOST) -> pd.DataFrame:
    """The predictions that lose most if a head is mean-ablated (direct, frozen), the first one most.

    Args:
        survey: The survey.
        heads: Which heads.
        count: Tokens of each.
    """
    corpus = survey.corpus
    encoder = read_encoder(survey.weights.local)
    words = vocabulary(survey.weights.local, encoder.vocab)
    clean = survey.effects.gathered(["clean_loss"])["clean_loss"]
    rows: list[dict[str, object]] = []
    for layer, head in heads:
        effects = survey.effects.effects(_of(survey, (layer, head)))
        increase = effects.loss_increase[0].nan_to_num(nan=-torch.inf)
        for place, token in enumerate(increase.topk(min(count, len(increase))).indices.tolist(), start=1):
            row = int(torch.searchsorted(corpus.offsets, token, right=True)) - 1
            position = token - int(corpus.offsets[row])
            ids = corpus.row(row).tolist()
            if position + 1 == len(ids):
                continue  # a corpus with fewer predictions than are asked for
            context = ids[max(0, position + 1 - CONTEXT) : position + 1]
            rows.append(
                {
                    "layer": layer,
                    "head": head,
                    "place": place,
                    "document": int(corpus.document[row]),
                    "row": row,
                    "position": position,
                    "context": encoder.tokenizer.decode(context),
                    "next": words[ids[position + 1]],
                    "loss_clean": float(clean[token]),
                    "loss_ablated": float(clean[token] + increase[token]),
                    "loss_increase": float(increase[token]),
                    "dla_next": float(effects.dla_next[0, token]),
                    "dla_predicted": float(effects.dla_predicted[0, token]),
                }
            )
    return pd.DataFrame(rows, columns=[*TOKEN_COLUMNS])


def curve_table(survey: HeadSurvey, heads: Sequence[Head]) -> pd.DataFrame:
    """On how few tokens heads help; see `rwcore.heads.survey_scores.cumulative_shares`."""
    parts = []
    for layer, head in heads:
        found = survey.effects.gathered(["loss_increase"], _of(survey, (layer, head)))["loss_increase"][0]
        shares = cumulative_shares(found[found.isfinite()]).numpy()
        part = pd.DataFrame(shares, columns=["token_share", "effect_share"])
        parts.append(part.assign(layer=layer, head=head))
    return _together(parts, CURVE_COLUMNS)


def path_table(survey: HeadSurvey) -> pd.DataFrame:
    """Effects of the chosen heads by path and reading, with intervals over documents for the loss."""
    if survey.paths is None:
        return pd.DataFrame(columns=[*PATH_COLUMNS])
    clean = survey.effects.gathered(["clean_loss"])["clean_loss"]
    there = clean.isfinite()
    document = survey.document[there].numpy()
    rows: list[dict[str, object]] = []
    for path in survey.paths.paths:
        for reading in READINGS:
            names = [f"{path}/{reading}/{name}" for name in QUANTITIES]
            found = survey.paths.gathered(names)
            for place, (layer, head) in enumerate(survey.paths.heads):
                values = {
                    name: found[key][place].double() for name, key in zip(QUANTITIES, names, strict=True)
                }
                delta = values["loss_increase"][there]
                ends = intervals(*sums_by_document([(delta.numpy(), document)]))[0]
                means = {name: float(one[one.isfinite()].mean()) for name, one in values.items()}
                rows.append(
                    {
                        "layer": layer,
                        "head": head,
                        "path": path,
                        "reading": reading,
                        "clean_loss": float(clean[there].double().mean()),
                        **means,
                        "loss_increase_low": ends.low,
                        "loss_increase_high": ends.high,
                        "loss_increase_abs": float(delta.abs().mean()),
                    }
                )
    table = pd.DataFrame(rows, columns=[*PATH_COLUMNS])
    order = {head: place for place, head in enumerate(survey.paths.heads)}
    keys = [order[layer, head] for layer, head in zip(table["layer"], table["head"], strict=True)]
    return table.iloc[pd.Series(keys).sort_values(kind="stable").index].reset_index(drop=True)


def calibration_tables(survey: HeadSurvey) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Bins of predictions, clean and without each chosen head; and what that does to overconfidence."""
    if survey.paths is None:
        return pd.DataFrame(columns=[*BIN_COLUMNS]), pd.DataFrame(columns=[*OVERCONFIDENCE_COLUMNS])
    found = survey.paths.calibrations()
    bins = []
    for name, one in found.items():
        total, correct = one.binned()
        part = pd.DataFrame({"bin": range(BINS), "predictions": total, "correct": correct})
        middle = (part["bin"] + 0.5) / BINS
        bins.append(part.assign(without="" if name == CLEAN else name, probability=middle))
    rows = []
    for layer, head in survey.paths.heads:
        for convention in CONVENTIONS:
            clean = overconfidence(found[CLEAN], convention)
            ablated = overconfidence(found[str(Writer(layer, head))], convention)
            marginal = marginal_overconfidence(clean, ablated)
            values = (clean.value, ablated.value, marginal, clean.empty_bins, ablated.empty_bins)
            rows.append((layer, head, convention, *values))
    return _together(bins, BIN_COLUMNS), pd.DataFrame(rows, columns=[*OVERCONFIDENCE_COLUMNS])


def _of(survey: HeadSurvey, head: Head) -> slice:
    place = survey.writers.index(Writer(*head))
    return slice(place, place + 1)


def _together(parts: list[pd.DataFrame], columns: Sequence[str]) -> pd.DataFrame:
    return pd.concat(parts, ignore_index=True)[[*columns]] if parts else pd.DataFrame(columns=[*columns])
