"""What heads do on random tokens, on prompts with two names and on a text; once measured, in the store."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from torch import Tensor

from rwcore.corpora.encoder import read_encoder
from rwcore.corpora.tokens import TokenCorpus
from rwcore.heads.function_words import FunctionWords, own_words
from rwcore.heads.ioi import IoiTexts, read_texts
from rwcore.models.vocabulary import vocabulary
from rwcore.provenance import Stopwatch, collect
from rwcore.store import ArtefactKey, read_arrays, write_arrays
from rwcore.studies.activation_pass import bridge
from rwcore.studies.asked_heads import require_readable_heads
from rwcore.studies.forward import (
    ForwardOptions,
    as_processed,
    forward_fields,
    identity_of,
    keep_rows,
    model_fields,
)
from rwcore.studies.head_behaviour_files import LensFiles
from rwcore.studies.head_behaviour_runs import (
    PROMPTS_FILE,
    ROWS_FILE,
    BehaviourInputs,
    BehaviourOptions,
    BehaviourTask,
    run_prompts,
    run_rows,
)
from rwcore.studies.head_cspa_files import FUNCTION
from rwcore.studies.sweeps import sweep
from rwcore.studies.weights import WeightStudy
from rwcore.weights.shape import ModelShape, read_shape

ROWS_DEFINITION, PROMPTS_DEFINITION, LENS_DEFINITION = "anti_induction/1", "ioi_heads/1", "lens_attention/1"
LENS_FILE = "lens.safetensors"


@dataclass(frozen=True)
class BehaviourStudy:
    """What the heads of one model do.

    Attributes:
        weights: The weight study of the model; its store and engine serve here too.
        corpus: The rows of a text; None for no text.
        options: What heads are asked.
        texts: Templates and words of the prompts.
        forward: How the model is run.
        words: Which words are function words.
        parts: Tasks of the engine on the text; they decide no number.

    Raises:
        OptionError: Weights are not processed as published, or rows or prompts cannot be made (see
            `rwcore.studies.head_behaviour_runs.BehaviourInputs`).
        ModelError: The model is an encoder.
    """

    weights: WeightStudy
    corpus: TokenCorpus | None = None
    options: BehaviourOptions = field(default_factory=BehaviourOptions)
    texts: IoiTexts = field(default_factory=read_texts)
    forward: ForwardOptions = field(default_factory=ForwardOptions)
    words: FunctionWords = field(default_factory=own_words)
    parts: int = 1

    def __post_init__(self) -> None:
        require_readable_heads(self.weights)
        _ = self.inputs

    @cached_property
    def shape(self) -> ModelShape:
        """Sizes of the model."""
        return read_shape(self.weights.local)

    @cached_property
    def inputs(self) -> BehaviourInputs:
        """Rows and prompts."""
        return BehaviourInputs.of(self.weights.local, self.texts, self.options)

    @cached_property
    def function(self) -> Tensor:
        """Which tokens are function words."""
        words = vocabulary(self.weights.local, self.shape.vocab)
        return self.words.tokens(words, read_encoder(self.weights.local).ends)

    @cached_property
    def rows(self) -> dict[str, Tensor]:
        """See `rwcore.studies.head_behaviour_runs.run_rows`."""
        return self._ran("head-rows", ROWS_DEFINITION, run_rows, ROWS_FILE)

    @cached_property
    def prompts(self) -> dict[str, Tensor]:
        """See `rwcore.studies.head_behaviour_runs.run_prompts`."""
        return self._ran("head-prompts", PROMPTS_DEFINITION, run_prompts, PROMPTS_FILE)

    @cached_property
    def lens(self) -> dict[str, Tensor]:
        """`rwcore.heads.lens_attention` on the text; nothing without one."""
        if self.corpus is None:
            return {}
        corpus, store = self.corpus, self.weights.store
        function = hashlib.sha256(self.function.numpy().tobytes()).hexdigest()
        software = identity_of(ArtefactKey.of("lens-attention", LENS_DEFINITION))
        fields = forward_fields(self.weights, corpus, self.forward)
        key = ArtefactKey.of(
            "lens-attention", LENS_DEFINITION, **fields, function=function, software=software
        )

        def compute(folder: Path) -> dict[str, object]:
            stopwatch = Stopwatch()
            files = LensFiles(
                store.work(key), keep_rows(corpus, store), self.forward.positions, local=self.weights.local
            )
            run = sweep(self.weights, files, self.forward, {FUNCTION: self.function}, self.parts)
            write_arrays(folder / LENS_FILE, files.read())
            return collect(stopwatch, batches=len(files.plans), batches_before=len(files.plans) - run)

        return read_arrays(store.get_or_compute(key, compute) / LENS_FILE)

    def _ran(
        self, kind: str, definition: str, run: Callable[[BehaviourTask], None], name: str
    ) -> dict[str, Tensor]:
        inputs, options = self.inputs, self.options
        tokens = (inputs.repeated, inputs.single, inputs.prompts.tokens, inputs.prompts.fresh)
        digest = hashlib.sha256(b"".join(rows.numpy().tobytes() for rows in tokens)).hexdigest()
        key = ArtefactKey.of(
            kind,
            definition,
            **model_fields(self.weights, self.forward),
            token_budget=self.forward.positions,
            inputs=digest,
            embedding=options.embedding,
            movers=options.movers,
            names=sorted(inputs.words.names.numbers.values()),
            software=identity_of(ArtefactKey.of(kind, definition)),
        )

        def compute(folder: Path) -> dict[str, object]:
            stopwatch = Stopwatch()
            task = BehaviourTask(
                local=as_processed(self.weights),
                texts=self.texts,
                options=options,
                folder=folder,
                positions=self.forward.positions,
                dtype=self.forward.dtype,
                device=self.forward.device,
                threads=self.forward.threads,
            )
            try:
                self.weights.engine.map(run, [task], desc=f"heads of {self.weights.local.spec.id}")
            finally:
                bridge.cache_clear()
            return collect(stopwatch, prompts=options.prompts, sequences=options.sequences)

        return read_arrays(self.weights.store.get_or_compute(key, compute) / name)
