"""What must be there before an expectation of a claim file is checked."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveFloat

from rwcore.claim.problems import Strict


class Needs(Strict):
    """What must be there for an expectation to be checked.

    Attributes:
        weights: The weights of the model.
        gpu_gib: GPU memory in GiB.
        ram_gib: Memory in GiB.
        corpus: Id of the text corpus that the paper's models are run on; other models read a text that
            needs no download.
        published_pages: The JSON files of published neuron pages, which are not kept beside the claims.
        knowns: The paper's known facts and a text about their subjects, for the paper's own models; other
            models are asked our own facts if none are given.
        passages: Part of the name of the one file that this text must come from, where its paragraphs decide
            the value: with any other text the expectation is not checked.
        features: Families of features that the paper's own models are probed for; without the texts of all of
            them the expectation is not checked.
    """

    weights: bool = False
    gpu_gib: PositiveFloat | None = None
    ram_gib: PositiveFloat | None = None
    corpus: str | None = None
    published_pages: bool = False
    knowns: bool = False
    features: list[str] = Field(default_factory=list)
    passages: Annotated[str, Field(min_length=1)] | None = None
