"""Tokens that no text has: training left their embeddings where it left bytes that UTF-8 never has."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from rwcore.models.vocabulary import Vocabulary

NEVER = (0xC0, 0xC1, *range(0xF5, 0x100))
"""Bytes that are in no text (RFC 3629)."""
ALIKE = 0.9
"""Cosine with the mean embedding of these bytes from which a token is called unseen."""


def unseen_tokens(words: Vocabulary, embedding: Float[Tensor, "vocab d_model"]) -> frozenset[int]:
    """Ids of tokens that look like bytes that are never read, these included; none without such bytes.

    What is never read is moved by nothing but weight decay and the gradient of the softmax, the same for all
    such tokens: they end up side by side. Of random embeddings none is like the mean of others.

    Args:
        words: The vocabulary; its ``texts`` show a byte that is no character as a lone surrogate.
        embedding: One row per token.
    """
    texts = {chr(0xDC00 + byte) for byte in NEVER}
    known = [number for number, text in enumerate(words.texts) if text in texts]
    if not known:
        return frozenset()
    centred = embedding - embedding.mean(dim=0)
    like = torch.cosine_similarity(centred, centred[known].mean(dim=0)[None], dim=1)
    return frozenset({*known, *(like >= ALIKE).nonzero()[:, 0].tolist()})
