"""Texts of a model, clean and under ablations: each written once and kept in the store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from jaxtyping import Int8
from torch import Tensor

from rwcore.ablation.generation import Continuation, Decoding, generate, parts_at, require_room
from rwcore.ablation.grid import Experiment
from rwcore.ablation.interventions import Ablation
from rwcore.ablation.saved import load_ablation, save_ablation
from rwcore.corpora.encoder import TextEncoder
from rwcore.errors import OptionError
from rwcore.models.device import pick_device
from rwcore.models.spec import LocalModel
from rwcore.provenance import Stopwatch, collect
from rwcore.runtime import configure
from rwcore.store import MANIFEST, ArtefactKey, Store, read_arrays, read_json, write_arrays
from rwcore.studies.ablation_runs import CLEAN, ablation_hash
from rwcore.studies.ablation_values import keep_ablation, means_of, signs_of
from rwcore.studies.ablations import name_of
from rwcore.studies.activation_pass import bridge
from rwcore.studies.forward import ForwardOptions, as_processed, model_fields
from rwcore.studies.frequencies import FrequencyStudy
from rwcore.studies.weights import WeightStudy

DEFINITION = "generation/1"
ARRAYS = "text.safetensors"


@dataclass(frozen=True)
class Prompt:
    """What a model is to continue.

    Attributes:
        text: What was asked for.
        tokens: What the model is given, BOS included.
    """

    text: str
    tokens: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Text:
    """What a model made of a prompt.

    Attributes:
        prompt: Number of the prompt.
        experiment: What was ablated; None for the clean text.
        continuation: The tokens.
        parts: The first place, from 0, at which it has another token than the clean text; None if it has
            none, or is the clean one.
    """

    prompt: int
    experiment: Experiment | None
    continuation: Continuation
    parts: int | None

    @property
    def name(self) -> str:
        """The run in a few words."""
        return CLEAN if self.experiment is None else name_of(self.experiment)


@dataclass(frozen=True)
class GenerationTask:
    """One text: what a worker needs, wherever it is.

    Attributes:
        local: The model; its ``spec.processing`` says how weights are processed.
        store: Where texts are kept.
        key: What the text is a function of.
        name: What the run is called.
        prompt: Token ids.
        decoding: How tokens are chosen.
        stop: Tokens that end a text.
        ablation: Folder of the ablation (`rwcore.ablation.saved.save_ablation`); None for the clean text.
        dtype: Type the model runs in.
        device: See `rwcore.models.device.pick_device`.
        threads: CPU threads; None leaves them as they are.
    """

    local: LocalModel
    store: Store
    key: ArtefactKey
    name: str
    prompt: tuple[int, ...]
    decoding: Decoding
    stop: tuple[int, ...]
    ablation: Path | None
    dtype: str
    device: str
    threads: int | None


@dataclass(frozen=True)
class GenerationStudy:
    """Texts of one model.

    Attributes:
        weights: The weight study of the model; its store and engine serve here too.
        encoder: Tokenizer and limits of the model.
        decoding: How tokens are chosen.
        bos: Token before every prompt that does not begin with it, a policy of
            `rwcore.corpora.encoder.TextEncoder.bos`: ``model``, ``eot`` or ``none``.
        means: Where mean ablation takes its values from: the frequencies of the same model. None if no run
            needs them.
        options: How the model is run; of these type, device and threads count.
    """

    weights: WeightStudy
    encoder: TextEncoder
    decoding: Decoding
    bos: str = "model"
    means: FrequencyStudy | None = None
    options: ForwardOptions = field(default_factory=ForwardOptions)

    @cached_property
    def stop(self) -> tuple[int, ...]:
        """Tokens that end a text."""
        return tuple(sorted(self.encoder.ends))

    @cached_property
    def signs(self) -> Int8[Tensor, "layer neuron"]:
        """σ of every neuron; +1 where the model has no gate."""
        return signs_of(self.weights)

    def prompt(self, text: str) -> Prompt:
        """A text as the model is given it.

        Names of special tokens (``<|endoftext|>``) are these tokens. A BOS goes before it unless the prompt
        begins with it already; the original put one there in any case.

        Raises:
            OptionError: Nothing is left to begin with, the tokenizer is of another model, or the prompt and
                what is to follow do not fit into the context.
            CorpusError: There is no token for ``bos``.
        """
        bos = self.encoder.bos(self.bos)
        found = self.encoder.tokenizer(
            text, add_special_tokens=False, split_special_tokens=False, verbose=False
        )["input_ids"]
        ids = [int(token) for token in found]
        if max(ids, default=0) >= self.encoder.vocab:
            raise OptionError(
                f"the prompt has token {max(ids)}, and the model's embedding has {self.encoder.vocab} rows",
                where=f"--prompt {text!r}",
                remedy="put the tokenizer files of this very model into its folder",
            )
        if bos is not None and ids[:1] != [bos]:
            ids = [bos, *ids]
        require_room(len(ids), self.decoding.tokens, self.encoder.context)
        return Prompt(text, tuple(ids))

    def ablation(self, experiment: Experiment) -> Ablation:
        """What is done in an experiment, with means and signs of the model.

        Raises:
            OptionError: A mean ablation has no means, or those of another model.
        """
        mean = experiment.intervention.mode == "mean"
        summary = means_of(self.weights, self.means) if mean else None
        return Ablation.of(experiment.neurons, experiment.intervention, signs=self.signs, summary=summary)

    def texts(self, prompts: Sequence[Prompt], experiments: Sequence[Experiment]) -> list[Text]:
        """The clean text of each prompt, and those of all experiments; written if the store has them not.

        Returns:
            In the order of the prompts; for each the clean text, then the experiments in their order.

        Raises:
            OptionError: A mean ablation has no means, or a set names a neuron that is not there.
            NotGatedError: A condition is asked of a model without a gate.
            ModelError: The model is no decoder, or a prediction is not finite.
        """
        ablations = [None, *map(self.ablation, experiments)]
        runs = list(zip([None, *experiments], ablations, strict=True))
        tasks = [self._task(prompt, *run) for prompt in prompts for run in runs]
        try:
            folders = self.weights.engine.map(write, tasks, desc=f"texts of {self.weights.local.spec.id}")
        finally:
            bridge.cache_clear()  # the model; workers keep theirs for the next text
        found = map(read_text, folders)
        return [text for number, _ in enumerate(prompts) for text in _compared(number, found, experiments)]

    def _task(
        self, prompt: Prompt, experiment: Experiment | None, ablation: Ablation | None
    ) -> GenerationTask:
        store, options = self.weights.store, self.options
        key = ArtefactKey.of(
            "generation",
            DEFINITION,
            **model_fields(self.weights, options),
            prompt=prompt.tokens,
            stop=self.stop,
            ablation=ablation_hash(ablation),
            **self.decoding.facts(),
        )
        return GenerationTask(
            local=as_processed(self.weights),
            store=store,
            key=key,
            name=CLEAN if experiment is None else name_of(experiment),
            prompt=prompt.tokens,
            decoding=self.decoding,
            stop=self.stop,
            ablation=None if ablation is None else keep_ablation(ablation, store),
            dtype=options.dtype,
            device=options.device,
            threads=options.threads,
        )


def write(task: GenerationTask) -> Path:
    """The artefact with a text; written if it is not there.

    Raises:
        RwcoreError: See `rwcore.ablation.generation.generate`.
    """

    def compute(folder: Path) -> dict[str, object]:
        stopwatch = Stopwatch()
        configure(threads=task.threads)
        model = bridge(task.local, pick_device(task.device), task.dtype)
        ablations = [] if task.ablation is None else [load_ablation(task.ablation)]
        text = generate(model, task.prompt, task.decoding, *ablations, stop=task.stop)
        arrays = {"tokens": text.tokens, "logprob": text.logprob, "entropy": text.entropy}
        write_arrays(folder / ARRAYS, arrays)
        for ablation in ablations:
            save_ablation(folder, ablation)
        return collect(stopwatch, name=task.name, ended=text.ended)

    return task.store.get_or_compute(task.key, compute)


def read_text(folder: Path) -> Continuation:
    """A text from its artefact.

    Raises:
        StoreError: The folder is damaged.
    """
    return Continuation(**read_arrays(folder / ARRAYS), ended=read_json(folder / MANIFEST)["ended"])


def _compared(number: int, found: Iterable[Continuation], experiments: Sequence[Experiment]) -> list[Text]:
    """The next texts, which are those of one prompt: the clean one first."""
    upcoming = iter(found)
    clean = next(upcoming)
    made = [Text(number, None, clean, None)]
    for experiment in experiments:
        text = next(upcoming)
        made.append(Text(number, experiment, text, parts_at(clean.tokens.tolist(), text.tokens.tolist())))
    return made
