"""What a claim is asked of: nothing at all, or one or several models on this machine."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING

from rwcore.paths import slug

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from rwcore.activations.capture import Visit
    from rwcore.claim.sample import Sample
    from rwcore.claim.values import Interval
    from rwcore.corpora.batches import Batch
    from rwcore.corpora.tokens import TokenCorpus
    from rwcore.models.spec import LocalModel
    from rwcore.pages.cards import NeuronCard
    from rwcore.parallel import Engine
    from rwcore.plugin.frequencies import Derive
    from rwcore.stats.change import Flip
    from rwcore.stats.tying import Tying
    from rwcore.store import Store
    from rwcore.studies.activations import ActivationStudy
    from rwcore.studies.change import ChangeStudy
    from rwcore.studies.roles import RoleStudy
    from rwcore.studies.weights import WeightStudy
    from rwcore.weights.mlp import MlpWeights


PAPERS_TEXT = "dolma-small"
"""The text behind the published frequencies."""


class Kind(StrEnum):
    """Kinds of subjects, in the order in which claims are asked of them."""

    SYNTHETIC = "synthetic"
    TABLES = "tables"
    STAND_IN = "stand-in"
    PACKAGED = "packaged"
    OTHER = "other"
    PAPER = "paper"


@dataclass(frozen=True, order=True)
class SubjectSpec:
    """A subject before anything is loaded; hashable, so that pytest can group by it.

    Attributes:
        kind: What it is.
        id: Name in test ids and reports; the model id, or a name for several models together.
        models: Model ids, or the stand-in's id.
        paper: Folder name of the paper whose tables are meant (kind tables).
    """

    kind: Kind
    id: str
    models: tuple[str, ...]
    paper: str = ""

    @property
    def test_id(self) -> str:
        """The subject in a node id: safe in a shell, distinct for tables and models."""
        return ("tables." if self.kind is Kind.TABLES else "") + slug(self.id)


class Subject:
    """Base of the subjects: everything a claim may ask for; a subject without it says so."""

    def __init__(self, spec: SubjectSpec, *, recorded: bool = False) -> None:
        self.spec = spec
        self.recorded = recorded

    @property
    def id(self) -> str:
        """Name in reports."""
        return self.spec.id

    @property
    def kind(self) -> Kind:
        """What kind of subject this is."""
        return self.spec.kind

    @property
    def models(self) -> tuple[str, ...]:
        """The models it holds."""
        return self.spec.models

    def begin(self) -> None:
        """Forget which text an earlier test has read."""

    def sample(self) -> Sample | None:
        """The text behind the numbers of this test; None if it has read none."""
        return None

    def provenance(self) -> dict[str, object]:
        """What stands behind the numbers of this subject."""
        return {}


class ModelSubject(Subject):
    """One or several models on this machine; frames of several carry a leading ``model`` column."""

    def __init__(
        self,
        spec: SubjectSpec,
        locals_: tuple[LocalModel, ...],
        store: Store,
        engine: Engine,
        *,
        recorded: bool,
        tokens: int | None = None,
    ) -> None:
        super().__init__(spec, recorded=recorded)
        self._locals = locals_
        self._store = store
        self._engine = engine
        self._tokens = tokens
        self._passes: dict[str, ActivationStudy] = {}
        self._sample: Sample | None = None
        self._pass: ActivationStudy | None = None

    @cached_property
    def studies(self) -> dict[str, WeightStudy]:
        """The weight study of every model, by model id."""
        from rwcore.studies.weights import weight_study

        return {
            local.spec.id: weight_study(local, store=self._store, engine=self._engine)
            for local in self._locals
        }

    def weight_study(self) -> WeightStudy:
        """The weight study of the only model."""
        (study,) = self.studies.values()
        return study

    def mlp_weights(self, *, fold_sign: bool = True) -> MlpWeights:
        """The processed MLP weights of the only model, streamed layer by layer."""
        from rwcore.weights.mlp import mlp_weights

        study = self.weight_study()
        return mlp_weights(study.local, processing=study.processing, fold_sign=fold_sign)

    def class_counts(self) -> pd.DataFrame:
        """Columns layer, class, count, near_1e-6, near_1e-3."""
        return self._frame(lambda study: study.class_counts())

    def class_totals(self) -> pd.DataFrame:
        """Columns class, count, near_1e-6, near_1e-3."""
        return self._frame(lambda study: study.class_totals())

    def half_coarse_counts(self) -> pd.DataFrame:
        """Columns layer, bin_low, bin_high, count, near_1e-6, near_1e-3."""
        return self._frame(lambda study: study.half_coarse_counts())

    def medians(self) -> pd.DataFrame:
        """Columns layer, cosine, median."""
        return self._frame(lambda study: study.medians())

    def null_regions(self) -> pd.DataFrame:
        """Columns layer, cosine, low, high."""
        return self._frame(lambda study: study.null_regions())

    def norm_ranges(self) -> pd.DataFrame:
        """Columns vector, min, max."""
        return self._frame(lambda study: study.norm_ranges())

    def change_correlations(self, *, flip: Flip = "none") -> pd.DataFrame:
        """Columns vector, cosine, layer, r, p, n: how the weights of two checkpoints changed."""
        return self._change_study(flip).correlations()

    def gate_change(self) -> Tensor:
        """Cosine of every gate vector of the last checkpoint with the one of the first, [layer neuron]."""
        return self._change_study("none").changes["gate"]

    def _change_study(self, flip: Flip) -> ChangeStudy:
        from rwcore.studies.change import change_study

        first, last = self.studies.values()
        return change_study(first, last, flip=flip, store=self._store)

    def weight_tying(self) -> Tying:
        """Whether the only model unembeds with its embedding."""
        from rwcore.stats.tying import weight_tying

        return weight_tying(self.weight_study().local)

    def role_study(self) -> RoleStudy:
        """The functional roles of the only model's neurons.

        With the published numbers of partition neurons and null directions (1000 and 40), but at most a
        tenth of all neurons and directions of a small model.
        """
        from rwcore.stats.roles.choose import N_PARTITION
        from rwcore.stats.roles.entropy import N_NULL
        from rwcore.studies.roles import role_study

        study = self.weight_study()
        neurons, width = study.cosines.linout.numel(), self.d_model()
        return role_study(
            study, partition=min(N_PARTITION, neurons // 10), n_null=min(N_NULL, -(-width // 10))
        )

    def neuron_card(self, layer: int, neuron: int, *, k: int) -> NeuronCard:
        """What the weights say about one neuron, with k tokens per list.

        A stand-in is smaller than the model it stands for: numbers start again from 0 at its end.
        """
        from rwcore.studies.neuron_cards import neuron_cards

        shape = self.weight_study().mlp_weights().shape
        if self.kind is Kind.STAND_IN:
            layer, neuron = layer % shape.n_layers, neuron % shape.d_mlp
        (card,) = neuron_cards(self.weight_study(), [(layer, neuron)], k=k, null=False)
        return card

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

    def _note(self, corpus: TokenCorpus, tokens: int) -> None:
        """Remember what this test has read."""
        from rwcore.claim.sample import Sample
        from rwcore.corpora.registry import find

        whole = find(corpus.spec.id).tokens if self.kind is Kind.PAPER else None
        self._sample = Sample(corpus.spec.id, tokens, whole)

    def _text(self, corpus: str) -> TokenCorpus:
        from rwcore.corpora.encoder import read_encoder
        from rwcore.corpora.prepare import prepare
        from rwcore.plugin.text import own_text, paper_text, stand_in_text

        encoder = read_encoder(self.weight_study().local)
        if self.kind is Kind.PAPER:
            spec = paper_text(corpus, self._tokens)
        elif self.kind is Kind.STAND_IN:
            spec = stand_in_text(encoder)
        else:
            # Values of the packaged model are recorded: they must not depend on an option.
            spec = own_text(encoder, None if self.kind is Kind.PACKAGED else self._tokens)
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

    def visit_layers(self, visit: Callable[[Batch], Visit], *, rows: int, positions: int) -> None:
        """Run the beginning of the text through the only model; see `rwcore.activations.capture.run_layers`.

        Args:
            visit: Is given the batch, and returns what is called for each layer.
            rows: Number of rows.
            positions: Tokens of each of them.
        """
        from rwcore.activations.capture import run_layers
        from rwcore.corpora.batches import BatchPlan
        from rwcore.models.device import pick_device
        from rwcore.models.load import load_bridge

        corpus = self._text(PAPERS_TEXT)
        whole = BatchPlan(0, tuple(range(min(rows, len(corpus))))).load(corpus)
        tokens, mask = whole.tokens[:, :positions], whole.mask[:, :positions]
        batch = dataclasses.replace(whole, tokens=tokens, mask=mask)
        self._note(corpus, int(batch.mask.sum()))
        study = self.weight_study()
        run_layers(load_bridge(study.local, pick_device("auto")), batch, visit(batch))

    def d_model(self) -> int:
        """Width of the residual stream of the only model."""
        return self.weight_study().mlp_weights().shape.d_model

    def begin(self) -> None:
        """Forget which text an earlier test has read."""
        self._pass, self._sample = None, None

    def sample(self) -> Sample | None:
        """The text behind the numbers of this test; None if it has read none."""
        return self._sample

    def provenance(self) -> dict[str, object]:
        """Manifests of the artefacts behind the numbers."""
        found = {model: study.provenance for model, study in self.studies.items()}
        if self._pass is not None:
            (model,) = found
            found[model] = {**found[model], "activations": self._pass.provenance}
        return dict(found)

    def _frame(self, reduce: Callable[[WeightStudy], pd.DataFrame]) -> pd.DataFrame:
        return stack({model: reduce(study) for model, study in self.studies.items()})


def stack(frames: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """The only frame as it is, several one below the other with a ``model`` column."""
    import pandas as pd

    if len(frames) == 1:
        return next(iter(frames.values()))
    return pd.concat(
        [frame.assign(model=model)[["model", *frame.columns]] for model, frame in frames.items()],
        ignore_index=True,
    )
