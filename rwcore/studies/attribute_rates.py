"""Attributes rates of a model: what it knows, the text about it, and runs with and without ablations.

What a run keeps are the likeliest tokens of every prompt and layer; rates are made from them whenever they
are asked for, so that other passages need no other run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import torch
from jaxtyping import Float32, Int8, Int64
from torch import Tensor

from rwcore.ablation.compare import AS_PUBLISHED, CONVENTIONS, FIXED
from rwcore.ablation.grid import Experiment
from rwcore.ablation.interventions import Ablation
from rwcore.ablation.saved import load_ablation
from rwcore.attributes.attribute_sets import AttributeSets, attribute_sets
from rwcore.attributes.facts import Fact
from rwcore.attributes.judge import Judgement
from rwcore.attributes.lens import EVERYWHERE, WHERE, top_tokens
from rwcore.attributes.passages import Passages
from rwcore.attributes.rates import rates
from rwcore.attributes.subjects import Excluded, SubjectPrompt, place_subjects
from rwcore.corpora.encoder import TextEncoder
from rwcore.errors import OptionError, RwcoreError, require_choice, require_least
from rwcore.models.device import pick_device
from rwcore.models.spec import LocalModel
from rwcore.models.vocabulary import Vocabulary, vocabulary
from rwcore.provenance import Stopwatch, collect
from rwcore.runtime import configure, counting
from rwcore.store import ArtefactKey, Store, read_arrays, write_arrays
from rwcore.studies.ablation_runs import CLEAN, ablation_hash
from rwcore.studies.ablation_values import keep_ablation, means_of, signs_of
from rwcore.studies.ablations import name_of
from rwcore.studies.activation_pass import bridge
from rwcore.studies.failures import Failure, attempting, failure_of
from rwcore.studies.forward import ForwardOptions, as_processed, model_fields
from rwcore.studies.frequencies import FrequencyStudy
from rwcore.studies.known_facts import judged
from rwcore.studies.weights import WeightStudy

DEFINITION = "attributes_rate/1"
ARRAYS = "top_tokens.safetensors"

Found = TypeVar("Found")


@dataclass(frozen=True)
class AttributeOptions:
    """What is measured, and how.

    Attributes:
        bos: Token at the beginning of every prompt, a policy of
            `rwcore.corpora.encoder.TextEncoder.bos`: ``model``, ``eot`` or ``none``.
        convention: ``fixed``, or ``as_published``: with the quirks of the original.
        where: ``everywhere``: neurons are ablated at every token up to the end of the subject; ``subject``:
            at the tokens of the subject only.
        k: How many tokens are looked at.
        rounds: Rounds of ten tokens before a fact is given up.

    Raises:
        OptionError: There is no such convention or place, or a number is too small.
    """

    bos: str = "model"
    convention: str = FIXED
    where: str = EVERYWHERE
    k: int = 50
    rounds: int = 5

    def __post_init__(self) -> None:
        require_choice("convention", self.convention, CONVENTIONS)
        require_choice("--at", self.where, WHERE)
        require_least("--top-k", self.k, 1)
        require_least("rounds", self.rounds, 1)


@dataclass(frozen=True)
class TopTask:
    """One run: what a worker needs, wherever it is.

    Attributes:
        local: The model; its ``spec.processing`` says how weights are processed.
        store: Where runs are kept.
        key: What the run is a function of.
        name: What the run is called.
        prompts: The prompts.
        ablation: Folder of the ablation (`rwcore.ablation.saved.save_ablation`); None for the clean run.
        where: See `AttributeOptions`.
        convention: See `AttributeOptions`.
        k: How many tokens are kept.
        token_budget: Positions of a batch, padding included.
        dtype: Type the model runs in.
        device: See `rwcore.models.device.pick_device`.
        threads: CPU threads; None leaves them as they are.
    """

    local: LocalModel
    store: Store
    key: ArtefactKey
    name: str
    prompts: tuple[SubjectPrompt, ...]
    ablation: Path | None
    where: str
    convention: str
    k: int
    token_budget: int
    dtype: str
    device: str
    threads: int | None


@dataclass(frozen=True)
class AttributeStudy:
    """Attributes rates of one model.

    Attributes:
        weights: The weight study of the model; its store and engine serve here too.
        encoder: Tokenizer and limits of the model.
        facts: What it may know.
        passages: What is written about the subjects.
        means: Where mean ablation takes its values from: the frequencies of the same model. None if no run
            needs them.
        options: What is measured.
        forward: How the model is run.
    """

    weights: WeightStudy
    encoder: TextEncoder
    facts: tuple[Fact, ...]
    passages: Passages
    means: FrequencyStudy | None = None
    options: AttributeOptions = field(default_factory=AttributeOptions)
    forward: ForwardOptions = field(default_factory=ForwardOptions)

    @cached_property
    def judgements(self) -> tuple[Judgement, ...]:
        """Whether the model knows each fact, in their order."""
        return judged(
            self.weights,
            self.encoder,
            self.facts,
            bos=self.options.bos,
            convention=self.options.convention,
            rounds=self.options.rounds,
            options=self.forward,
        )

    @cached_property
    def _placed(self) -> tuple[list[SubjectPrompt], list[Excluded]]:
        known = [one for one in self.judgements if one.known]
        return place_subjects(self.encoder, known, bos=self.options.bos, convention=self.options.convention)

    @property
    def prompts(self) -> tuple[SubjectPrompt, ...]:
        """The facts that the model knows, up to the end of their subject, in the order of the facts."""
        return tuple(self._placed[0])

    @property
    def excluded(self) -> tuple[Excluded, ...]:
        """Facts that the model knows but whose subject has no place of its own among the tokens."""
        return tuple(self._placed[1])

    @cached_property
    def subjects(self) -> tuple[str, ...]:
        """The subjects of the prompts, each once, in order."""
        return tuple(dict.fromkeys(prompt.fact.subject for prompt in self.prompts))

    @cached_property
    def subject_numbers(self) -> Int64[Tensor, " prompt"]:
        """Number of the subject of each prompt, into `subjects`."""
        number = {subject: place for place, subject in enumerate(self.subjects)}
        return torch.tensor([number[prompt.fact.subject] for prompt in self.prompts], dtype=torch.int64)

    @cached_property
    def words(self) -> Vocabulary:
        """The tokens of the model."""
        return vocabulary(self.weights.local, self.encoder.vocab)

    @cached_property
    def sets(self) -> AttributeSets:
        """The attribute sets of `subjects`."""
        return attribute_sets(
            self.passages, self.subjects, self.encoder, self.words.texts, convention=self.options.convention
        )

    @cached_property
    def signs(self) -> Int8[Tensor, "layer neuron"]:
        """σ of every neuron; +1 where the model has no gate."""
        return signs_of(self.weights)

    def ablation(self, experiment: Experiment) -> Ablation:
        """What is done in an experiment, with means and signs of the model.

        As published, unconditional means are set without the gate sign: the original took them from the
        folded model and set them in the other one, which is the wrong sign where σ = -1.

        Raises:
            OptionError: A mean ablation has no means, or those of another model.
        """
        intervention = experiment.intervention
        mean = intervention.mode == "mean"
        unsigned = mean and self.options.convention == AS_PUBLISHED and not intervention.conditional
        return Ablation.of(
            experiment.neurons,
            intervention,
            signs=torch.ones_like(self.signs) if unsigned else self.signs,
            summary=means_of(self.weights, self.means) if mean else None,
        )

    def clean(self) -> Float32[Tensor, "prompt layer"]:
        """Rates without ablation, of the embedding and of every layer; see `rwcore.attributes.rates.rates`.

        Raises:
            OptionError: The model knows none of the facts.
            RwcoreError: The run cannot be made.
        """
        return self._rates(self._map(top, [self._task(None, CLEAN)])[0])

    def runs(self, experiments: Sequence[Experiment]) -> list[Float32[Tensor, "prompt layer"] | Failure]:
        """Rates of experiments, in their order; computed on the engine if the store has them not.

        A run that fails is reported in its place, and the others go on.

        Raises:
            OptionError: The model knows none of the facts.
        """
        tasks: list[TopTask | Failure] = []
        for experiment in experiments:
            name = name_of(experiment)
            try:
                ablation = self.ablation(experiment)
            except RwcoreError as error:
                tasks.append(failure_of(name, error))
            else:
                tasks.append(self._task(ablation, name))
        todo = [task for task in tasks if isinstance(task, TopTask)]
        made = iter(self._map(attempting(top), todo))
        found = [task if isinstance(task, Failure) else next(made) for task in tasks]
        return [one if isinstance(one, Failure) else self._rates(one) for one in found]

    def _rates(self, folder: Path) -> Float32[Tensor, "prompt layer"]:
        return rates(read_arrays(folder / ARRAYS)["tokens"], self.subject_numbers, self.sets)

    def _map(self, function: Callable[[TopTask], Found], tasks: Sequence[TopTask]) -> list[Found]:
        """Make runs on the engine, the clean one too: this machine may have no GPU."""
        try:
            return self.weights.engine.map(
                function, tasks, desc=f"attributes rates of {self.weights.local.spec.id}"
            )
        finally:
            bridge.cache_clear()  # the model; workers keep theirs for the next run

    def _task(self, ablation: Ablation | None, name: str) -> TopTask:
        options, forward, store = self.options, self.forward, self.weights.store
        if not self.prompts:
            raise self._nothing_known()
        key = ArtefactKey.of(
            "attribute-run",
            DEFINITION,
            **model_fields(self.weights, forward),
            prompts=[(prompt.tokens, prompt.start) for prompt in self.prompts],
            ablation=ablation_hash(ablation),
            where=options.where if ablation is not None else None,
            convention=options.convention,
            k=options.k,
            token_budget=forward.positions,
        )
        return TopTask(
            local=as_processed(self.weights),
            store=store,
            key=key,
            name=name,
            prompts=self.prompts,
            ablation=None if ablation is None else keep_ablation(ablation, store),
            where=options.where,
            convention=options.convention,
            k=options.k,
            token_budget=forward.positions,
            dtype=forward.dtype,
            device=forward.device,
            threads=forward.threads,
        )

    def _nothing_known(self) -> OptionError:
        """The error of a model without a single prompt, with what it said instead."""
        if self.excluded:
            what = f"all {len(self.excluded)} facts that the model knows are excluded"
            shown = [f"{one.fact.prompt.strip()!r}: {one.reason}" for one in self.excluded[:3]]
        else:
            what = f"the model knows none of the {len(self.facts)} facts"
            shown = [
                f"{one.fact.prompt.strip()!r} goes on with {one.answer!r}, not with {one.fact.attribute!r}"
                for one in self.judgements[:3]
            ]
        return OptionError(
            what,
            where="; ".join(shown) or "--knowns",
            remedy="give facts that it knows (--knowns), or a larger model",
        )


def top(task: TopTask) -> Path:
    """The artefact with the likeliest tokens of a run; written if it is not there.

    Raises:
        RwcoreError: See `rwcore.attributes.lens.top_tokens`.
    """

    def compute(folder: Path) -> dict[str, object]:
        stopwatch = Stopwatch()
        configure(threads=task.threads)
        model = bridge(task.local, pick_device(task.device), task.dtype)
        ablations = [] if task.ablation is None else [load_ablation(task.ablation)]
        with counting(desc=task.name, total=len(task.prompts), unit="prompt") as report:
            found = top_tokens(
                model,
                task.prompts,
                *ablations,
                k=task.k,
                where=task.where,
                convention=task.convention,
                token_budget=task.token_budget,
                report=report,
            )
        write_arrays(folder / ARRAYS, {"tokens": found.cpu()})
        return collect(stopwatch, name=task.name, prompts=len(task.prompts))

    return task.store.get_or_compute(task.key, compute)
