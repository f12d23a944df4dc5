"""A measurement as the page gets it: JSON, with numbers as the bytes of float32."""

from __future__ import annotations

from typing import Any

import torch

from rwcore.ablation.run_metrics import RunMetrics
from rwcore.models.vocabulary import Vocabulary
from rwcore.pages.head_record import floats
from rwcore.pages.token_units import packed, token_units
from rwcore.serve.measure import Measurement


def answer(found: Measurement, words: Vocabulary) -> dict[str, Any]:
    """The answer to a question.

    Loss and entropy stand at the token that is predicted: those of its own prediction, which the model made
    at the token before. The first token has none (NaN).

    Args:
        found: What was measured.
        words: Text of every token.

    Returns:
        ``neuron``, ``gated``, ``sign`` and the ``ablation`` in words; ``text`` as `packed` makes it, and a
        name for every token; ``values``, ``clean`` and ``ablated``: arrays by name, base64 of float32, little
        endian, one number a token; ``bos``: whether the first token is none of the text; ``mean``, or None.
        A neuron without a gate has no ``in``.
    """
    ids = found.corpus.tokens.tolist()
    special = {place for place, token in enumerate(ids) if token in words.special}
    values = {"gate": found.gate, "in": found.in_, "act": found.act}
    if not found.gated:
        del values["in"]
    mean = found.mean
    return {
        "neuron": f"{found.layer}.{found.neuron}",
        "gated": found.gated,
        "sign": found.sign,
        "ablation": found.intervention.label,
        "text": packed(token_units([words.texts[token] for token in ids], special)),
        "names": [words.tokens[token] for token in ids],
        "values": {name: floats(array) for name, array in values.items()},
        "clean": _metrics(found.clean),
        "ablated": _metrics(found.ablated),
        "bos": found.corpus.policy.bos is not None,
        "mean": None if mean is None else vars(mean),
    }


def _metrics(metrics: RunMetrics) -> dict[str, str]:
    """Loss and entropy of the prediction of each token."""
    none = torch.tensor([torch.nan])
    both = {"loss": metrics.loss, "entropy": metrics.entropy}
    return {name: floats(torch.cat([none, array[:-1]])) for name, array in both.items()}
