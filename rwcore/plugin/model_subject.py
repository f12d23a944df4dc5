"""Models as claims ask for them: their weights, and what they do on a text."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rwcore.plugin.subjects import Kind, SubjectSpec
from rwcore.plugin.weight_subject import WeightSubject

if TYPE_CHECKING:
    import pandas as pd

    from rwcore.ablation.compare import RunLabel
    from rwcore.ablation.last import Prompt
    from rwcore.activations.capture import Visit
    from rwcore.activations.examples import NeuronExamples
    from rwcore.claim.sample import Sample
    from rwcore.claim.values import Interval
    from rwcore.corpora.batches import Batch
    from rwcore.corpora.tokens import TokenCorpus
    from rwcore.models.spec import LocalModel
    from rwcore.parallel import Engine
    from rwcore.plugin.ablations import AblationNumbers
    from rwcore.plugin.asked_features import FeatureTexts
    from rwcore.plugin.attribute_rates import RateNumbers
    from rwcore.plugin.frequencies import Derive
    from rwcore.plugin.heads.numbers import HeadNumbers
    from rwcore.plugin.options import Knowledge
    from rwcore.plugin.paper_probes import PaperProbes
    from rwcore.plugin.probes import LanguageProbes, OwnTextProbes
    from rwcore.plugin.stimuli import NeuronsOnText
    from rwcore.store import Store
    from rwcore.studies.ablations import AblationStudy
    from rwcore.studies.activations import ActivationStudy
    from rwcore.studies.attribute_rates import AttributeStudy

PAPERS_TEXT = "dolma-small"
"""The text behind the published frequencies and ablations."""


class ModelSubject(WeightSubject):
    """One or several models on this machine, the only one of which can be run on a text.

    Args:
        tokens: Tokens of text that a model reads that is not recorded; None for all.
        published_pages: Folder of published neuron pages, if it was given.
        knowledge: Facts and the text about them, if they were given.
        features: The texts that features of sparse probing are made of.
    """

    def __init__(
        self,
        spec: SubjectSpec,
        locals_: tuple[LocalModel, ...],
        store: Store,
        engine: Engine,
        *,
        recorded: bool,
        tokens: int | None = None,
        published_pages: Path | None = None,
        knowledge: Knowledge | None = None,
        features: FeatureTexts | None = None,
    ) -> None:
        super().__init__(spec, locals_, store, engine, recorded=recorded)
        self._tokens = tokens
        self._pages = published_pages
        self._knowledge = knowledge
        self._features = features
        self._passes: dict[str, ActivationStudy] = {}
        self._sample: Sample | None = None
        self._pass: ActivationStudy | None = None
        self._measured: tuple[pd.DataFrame, pd.DataFrame] | None = None

    def activation_study(self, corpus: str = PAPERS_TEXT) -> ActivationStudy:
        """The pass of the only model over a text; computed by whoever asks first, kept in the store.

        A paper's own model reads that paper's corpus, as far as ``--rw-tokens`` says. Any other model reads
        our own text, which needs no download; a stand-in only a little of it.

        Args:
            corpus: The paper's corpus.
        """
        from rwcore.studies.activations import activation_study

        if corpus not in self._passes:
            self._passes[corpus] = activation_study(self.weight_study(), self._text(corpus))
        self._pass = self._passes[corpus]
        self._note(self._pass.corpus, self._pass.corpus.n_tokens)
        return self._pass

    def ablations(self, runs: Sequence[RunLabel]) -> AblationNumbers:
        """Runs of the only model; see `rwcore.plugin.ablations.model_numbers`."""
        from rwcore.plugin.ablations import model_numbers

        study = self.ablation_study()
        self._note(study.corpus, study.corpus.n_tokens)
        return model_numbers(study, runs)

    def numbers_of_values(self) -> dict[str, int]:
        """How many numbers a run has of each metric."""
        from rwcore.ablation.compare import REPORTED

        found = self.ablation_study().clean().to_arrays()
        # What there is no prediction of has the loss NaN and the rank -1.
        return {REPORTED[name]: int((values >= 0).sum()) for name, values in found.items()}

    def tokens_and_rows(self) -> tuple[int, int]:
        """Size of the text of `ablations`."""
        corpus = self.ablation_study().corpus
        return corpus.n_tokens, len(corpus)

    def ablation_study(self, corpus: str = PAPERS_TEXT) -> AblationStudy:
        """Ablated runs of the only model on a text, with the means of the pass of `activation_study`.

        A paper's own model reads that paper's corpus, as far as ``--rw-tokens`` says, and is compared as
        published. Any other model reads the beginnings of our own documents.

        Args:
            corpus: The paper's corpus.
        """
        from rwcore.ablation.compare import AS_PUBLISHED, FIXED
        from rwcore.studies.ablations import AblationStudy

        convention = AS_PUBLISHED if self.kind in (Kind.PAPER, Kind.STAND_IN) else FIXED
        means = self.activation_study(corpus)
        text = self._text(corpus, ablated=True)
        return AblationStudy(self.weight_study(), text, means, convention=convention)

    @cached_property
    def attribute_study(self) -> AttributeStudy:
        """Attributes rates of the only model; see `rwcore.plugin.asked_facts.attribute_study`."""
        from rwcore.plugin.asked_facts import attribute_study

        return attribute_study(self.weight_study(), self.kind, self._knowledge)

    @cached_property
    def language_probes(self) -> LanguageProbes:
        """Probes of the only model for the language of a text; see `rwcore.plugin.probes`."""
        from rwcore.plugin.probes import LanguageProbes

        return LanguageProbes(self.weight_study())

    @cached_property
    def heads(self) -> HeadNumbers:
        """What claims about the attention heads of the only model ask; see `rwcore.plugin.heads.numbers`."""
        from rwcore.plugin.heads.numbers import HeadNumbers

        return HeadNumbers(self.weight_study(), self._head_text, self.kind)

    def _head_text(self, corpus: str) -> TokenCorpus:
        """The paper's text for its own models; of any other the beginnings of a few of our own documents."""
        from rwcore.corpora.encoder import read_encoder
        from rwcore.corpora.prepare import prepare
        from rwcore.plugin.text import own_text_for_heads

        if self.kind is Kind.PAPER:
            text = self._text(corpus)
        else:
            encoder = read_encoder(self.weight_study().local)
            spec = own_text_for_heads(encoder)
            text = prepare(spec, encoder, self._store)
        self._note(text, text.n_tokens)
        return text

    @cached_property
    def paper_probes(self) -> PaperProbes:
        """Probes of the only model for the paper's features; see `rwcore.plugin.paper_probes`."""
        from rwcore.plugin.asked_features import FeatureTexts
        from rwcore.plugin.paper_probes import PaperProbes

        return PaperProbes(self.weight_study(), self._features or FeatureTexts())

    @cached_property
    def own_text_probes(self) -> OwnTextProbes:
        """Probes of the only model for tokens of our own texts; see `rwcore.plugin.probes`."""
        from rwcore.plugin.probes import OwnTextProbes

        return OwnTextProbes(self.weight_study())

    def neurons_on_text(self) -> NeuronsOnText:
        """Single neurons of the only model on the test split of the Pile; see `rwcore.plugin.stimuli`."""
        from rwcore.plugin.stimuli import PILE, NeuronsOnText

        text = self._text(PILE)
        self._note(text, text.n_tokens)
        return NeuronsOnText.of(self.weight_study(), text, stand_in=self.kind is Kind.STAND_IN)

    def neurons_in(self, published: str, offline: str) -> NeuronsOnText:
        """Single neurons of the only model on the rows of a data set; see `rwcore.plugin.stimuli`.

        Args:
            published: The paper's data set, which its own models read.
            offline: The data set that any other model reads.
        """
        from rwcore.corpora.encoder import read_encoder
        from rwcore.plugin.stimuli import NeuronsOnText
        from rwcore.probing.datasets.catalogue import find_features

        study = self.weight_study()
        if self.kind is Kind.PAPER:
            data = self.paper_probes.data(published)
        else:
            (data,) = find_features(offline, read_encoder(study.local))
        return NeuronsOnText.of(study, data, stand_in=self.kind is Kind.STAND_IN)

    def attribute_rates(self, runs: Sequence[RunLabel]) -> RateNumbers:
        """Runs of the only model; see `rwcore.plugin.attribute_rates.model_rates`."""
        from rwcore.plugin.attribute_rates import model_rates

        return model_rates(self.attribute_study, runs)

    def _note(self, corpus: TokenCorpus, tokens: int) -> None:
        """Remember what this test has read."""
        from rwcore.claim.sample import Sample
        from rwcore.corpora.registry import find

        whole = None
        if self.kind is Kind.PAPER:
            whole = find(corpus.spec.id).tokens
            if whole is None and self._tokens is None:
                whole = corpus.n_tokens  # nothing has cut it short
        self._sample = Sample(corpus.spec.id, tokens, whole)

    def _text(self, corpus: str, *, ablated: bool = False, whole: bool = False) -> TokenCorpus:
        from rwcore.corpora.encoder import read_encoder
        from rwcore.corpora.prepare import prepare
        from rwcore.plugin.text import own_text, own_text_for_ablations, paper_text, stand_in_text

        encoder = read_encoder(self.weight_study().local)
        if self.kind is Kind.PAPER:
            spec = paper_text(corpus, None if whole else self._tokens)
        elif self.kind is Kind.STAND_IN:
            spec = stand_in_text(encoder)
        else:
            # Values of the packaged model are recorded: they must not depend on an option.
            own = own_text_for_ablations if ablated else own_text
            spec = own(encoder, None if self.kind is Kind.PACKAGED else self._tokens)
        return prepare(spec, encoder, self._store)

    def class_frequencies(self, derive: Derive) -> tuple[pd.DataFrame, Mapping[str, float | Interval]]:
        """See `rwcore.plugin.frequencies.class_frequencies`."""
        from rwcore.plugin.frequencies import class_frequencies

        return class_frequencies(self.activation_study(), derive)

    def frequency_correlations(
        self, derive: Derive, *, pooled: bool = False
    ) -> tuple[pd.DataFrame, Mapping[str, float | Interval]]:
        """See `rwcore.plugin.frequencies.frequency_correlations`."""
        from rwcore.plugin.frequencies import frequency_correlations

        return frequency_correlations(self.activation_study(), derive, pooled=pooled)

    def shuffled_correlations(self, derive: Derive) -> dict[str, list[float]]:
        """See `rwcore.plugin.frequencies.shuffled`."""
        from rwcore.plugin.frequencies import shuffled

        return shuffled(self.activation_study(), derive)

    def neuron_examples(self, neurons: Sequence[tuple[int, int]]) -> list[NeuronExamples]:
        """Where some neurons fire in the text of `activation_study`, and the text up to there."""
        from rwcore.studies.neuron_examples import ExampleStudy
        from rwcore.studies.published_comparison import AS_PUBLISHED

        return ExampleStudy(self.activation_study(), AS_PUBLISHED).examples(neurons)

    def neurons_of_all_classes(self) -> list[tuple[int, int]]:
        """See `rwcore.plugin.neuron_pages.near_the_middle`."""
        from rwcore.plugin.neuron_pages import near_the_middle

        return near_the_middle(self.weight_study().cosines)

    def page_facts(self) -> pd.DataFrame:
        """See `rwcore.activations.published_facts.page_facts`; of our own pages of some neurons."""
        return self._measured_pages[0]

    def peaks(self) -> pd.DataFrame:
        """See `rwcore.activations.published_facts.peaks`; of our own pages of some neurons."""
        return self._measured_pages[1]

    def page_cells(self) -> pd.DataFrame:
        """See `rwcore.activations.published_tables.summary_cells`; of every neuron."""
        from rwcore.activations.published_tables import summary_cells
        from rwcore.weights.shape import read_shape

        study = self.activation_study()
        return summary_cells(study.summary, read_shape(study.weights.local).activation)

    def recomputed_pages(self) -> pd.DataFrame:
        """Pages against what the model computes on their texts; see `rwcore.studies.published_comparison`.

        Of the paper's own model these are the published pages, of any other the best example of each list of
        our own.
        """
        from rwcore.activations.published_pages import best_of_lists, read_pages
        from rwcore.studies.published_comparison import compare_pages, own_pages

        if self.kind is Kind.PAPER and self._pages is not None:
            return compare_pages(self.weight_study(), read_pages(self._pages))
        pages = own_pages(self.activation_study(), self.neurons_of_all_classes())
        return compare_pages(self.weight_study(), map(best_of_lists, pages))

    @property
    def _measured_pages(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        from rwcore.plugin.neuron_pages import own_measured

        pass_ = self.activation_study()
        if self._measured is None:
            self._measured = own_measured(pass_)
        return self._measured

    def visit_layers(self, visit: Callable[[Batch], Visit], *, rows: int, positions: int) -> None:
        """Run the beginning of the text through the only model; see `rwcore.activations.capture.run_layers`.

        Args:
            visit: Is given the batch, and returns what is called for each layer.
            rows: Number of rows.
            positions: Tokens of each of them.
        """
        from rwcore.activations.capture import run_layers

        batch = self.beginning(rows=rows, positions=positions)
        run_layers(self.bridge(), batch, visit(batch))

    def beginning(self, *, rows: int, positions: int) -> Batch:
        """The first tokens of the first rows of the text."""
        from rwcore.corpora.batches import BatchPlan

        corpus = self._text(PAPERS_TEXT)
        whole = BatchPlan(0, tuple(range(min(rows, len(corpus))))).load(corpus)
        tokens, mask = whole.tokens[:, :positions], whole.mask[:, :positions]
        self._note(corpus, int(mask.sum()))
        return dataclasses.replace(whole, tokens=tokens, mask=mask)

    def prompt(self, *, row: int, position: int, ends: str, following: str) -> Prompt:
        """A row of the paper's text up to a position, with the token after it.

        Rebuilt texts differ in a few rows, so the row is known by its tokens. Models that are not the
        paper's own get the first row of their text that is long enough.

        Args:
            row: Its number in the paper.
            position: The last token of the prompt, from 0.
            ends: Text of this token.
            following: Text of the next one.

        Raises:
            CorpusError: No row has these tokens there.
        """
        from rwcore.corpora.encoder import read_encoder
        from rwcore.plugin.text import prompt_of

        corpus = self._text(PAPERS_TEXT, whole=True)
        tokens = (ends, following) if self.kind is Kind.PAPER else None
        encoder = read_encoder(self.weight_study().local)
        found = prompt_of(corpus, encoder, row=row, position=position, tokens=tokens)
        self._note(corpus, len(found.tokens))
        return found

    def bridge(self) -> Any:
        """The only model, to be run; kept until another model is."""
        from rwcore.models.device import pick_device
        from rwcore.studies.activation_pass import bridge
        from rwcore.studies.forward import as_processed

        return bridge(as_processed(self.weight_study()), pick_device("auto"), "float32")

    def begin(self) -> None:
        """Forget which text an earlier test has read."""
        self._pass, self._sample = None, None

    def sample(self) -> Sample | None:
        """The text behind the numbers of this test; None if it has read none."""
        return self._sample

    def provenance(self) -> dict[str, object]:
        """Manifests of the artefacts behind the numbers."""
        found = super().provenance()
        if self._pass is not None:
            (model,) = self.studies
            found[model] = {**self.studies[model].provenance, "activations": self._pass.provenance}
        return found
