"""Whether a model unembeds with the matrix it embeds with."""

from __future__ import annotations

from dataclasses import dataclass

from rwcore.errors import WeightsError
from rwcore.models.spec import LocalModel
from rwcore.weights.reader import ModelReader, open_model

BLOCK_ROWS = 2048


@dataclass(frozen=True)
class Tying:
    """What config and weight files say about embedding and unembedding.

    Attributes:
        declared: The config (or the header of a GGUF file) ties them: the model runs with one matrix.
        equal: The files hold one matrix, or two that are equal element by element.
        reason: How that was found, in words.
    """

    declared: bool
    equal: bool
    reason: str

    @property
    def tied(self) -> bool:
        """Whether the model unembeds with its embedding, by declaration or because the two are equal."""
        return self.declared or self.equal


def weight_tying(local: LocalModel) -> Tying:
    """Whether a model unembeds with the matrix it embeds with.

    The matrices are compared as they are stored, ``W_E[v, d] == W_U[d, v]`` for every token and dimension,
    before anything is folded or centred, and before Gemma's factor √d_model on the embedding: comparing
    scaled matrices reports Gemma as untied. They are read in blocks of rows, and only where both are stored.

    Args:
        local: The model.

    Raises:
        WeightsError: Files are missing, damaged or of an unknown architecture; or the model is not tied and
            has no unembedding.

    Source: RW functionalities, list of tied models; section 6 of the specification.
    """
    reader = open_model(local)
    declared = reader.shape.tied
    embed = f"{reader.base}{reader.family.embed}.weight"
    unembed = next((name for name in reader.family.unembed if name in reader.source.names), None)
    if unembed is None:
        if not declared:
            raise WeightsError(
                "the model has no unembedding, and its config does not tie it to the embedding",
                where=reader.source.label(reader.family.unembed[0]),
                remedy=f"{reader.remedy}; or set tie_word_embeddings in config.json",
            )
        return Tying(True, True, "tied by the config; one matrix is stored")
    return Tying(declared, *_compare(reader, embed, unembed, declared))


def _compare(reader: ModelReader, embed: str, unembed: str, declared: bool) -> tuple[bool, str]:
    start = f"{'' if declared else 'not '}tied by the config; two matrices are stored"
    a, b = reader.table(embed), reader.table(unembed)
    if a.shape != b.shape:
        return False, f"{start}, of {len(a)} and {len(b)} tokens"
    for row in range(0, len(a), BLOCK_ROWS):
        one, other = (matrix[row : row + BLOCK_ROWS] for matrix in (a, b))
        if not (one == other).all():
            unused = ", the second of which is not used" if declared else ""
            return False, f"{start}{unused}, and they differ"
    return True, f"{start}, and they are equal"
