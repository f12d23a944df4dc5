"""From the command line of a command about heads to a model, its rows and how it is run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rwcore.cli.console import say, size
from rwcore.cli.forward import check_engine, chosen_corpus, clipped, engine_name, threads_of

if TYPE_CHECKING:
    from rwcore.corpora.spec import CorpusSpec
    from rwcore.corpora.tokens import TokenCorpus
    from rwcore.studies.forward import ForwardOptions
    from rwcore.studies.weights import WeightStudy

NO_TEXT = "none"
"""Written for CORPUS where a command can do without a text."""


@dataclass(frozen=True)
class HeadRun:
    """A model that is ready to be studied.

    Attributes:
        weights: Its weight study, with weights processed as published.
        spec: The text; None for none.
        forward: How the model is run.
        parts: Tasks of the engine.
    """

    weights: WeightStudy
    spec: CorpusSpec | None
    forward: ForwardOptions
    parts: int

    def rows(self) -> TokenCorpus:
        """The rows of the text for this model; made where they are not kept.

        Raises:
            CorpusError: The text is not on this machine, damaged or empty.
        """
        from rwcore.corpora.encoder import read_encoder
        from rwcore.corpora.prepare import prepare

        assert self.spec is not None
        return prepare(self.spec, read_encoder(self.weights.local))


@contextmanager
def opened(
    model: str,
    corpus: str,
    out: Path,
    *,
    tokens: int | None,
    max_length: int | None,
    resume: bool,
    workers: int | None,
    scheduler: str | None,
    device: str,
    dtype: str,
    clip_qkv: bool | None,
    batch_tokens: int | None,
    force: bool,
) -> Iterator[HeadRun]:
    """A model with its engine; at the end of the ``with`` block, how long it took is printed.

    All that can be refused at once is refused before the model or a text is touched.

    Args:
        model: MODEL.
        corpus: CORPUS, or `NO_TEXT`.
        out: ``--out``.
        tokens: ``--tokens``.
        max_length: ``--max-length``.
        resume: ``--resume`` or ``--restart``.
        workers: ``--workers``.
        scheduler: ``--scheduler``.
        device: ``--device``.
        dtype: ``--dtype``.
        clip_qkv: ``--clip-qkv``.
        batch_tokens: ``--batch-tokens``.
        force: ``--force``.

    Raises:
        OptionError: The options are impossible, alone or together.
        ModelError: There is no such model.
        WeightsMissing: It is not on this machine.
        CorpusError: There is no such corpus.
        StoreError: ``--out`` is refused.
    """
    from rwcore.models.locate import locate
    from rwcore.models.registry import find
    from rwcore.provenance import Stopwatch

    stopwatch = Stopwatch()
    check_engine(workers, scheduler)
    spec = None if corpus == NO_TEXT else chosen_corpus(corpus, tokens, max_length)
    local = clipped(locate(find(model)), clip_qkv)  # before torch is imported

    from rwcore.parallel import open_engine
    from rwcore.runtime import peak_memory_bytes
    from rwcore.studies.folder import check_target
    from rwcore.studies.forward import ForwardOptions
    from rwcore.studies.weights import weight_study
    from rwcore.weights.fold import AS_PUBLISHED

    check_target(out, force=force)
    forward = ForwardOptions(
        token_budget=batch_tokens,
        dtype=dtype,
        device=device,
        threads=threads_of(workers),
        restart=not resume,
    )
    with open_engine(engine_name(workers, scheduler)) as engine:
        weights = weight_study(local, processing=AS_PUBLISHED, engine=engine)
        yield HeadRun(weights, spec, forward, workers or 1)
    say(f"took {stopwatch.seconds:.1f} s, {size(peak_memory_bytes())} of memory at most")
