"""The weights of one or several models, as claims ask for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from rwcore.plugin.subjects import Kind, Subject, SubjectSpec, stack

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from rwcore.models.spec import LocalModel
    from rwcore.pages.cards import NeuronCard
    from rwcore.parallel import Engine
    from rwcore.probing.weight_statistics import NeuronWeights
    from rwcore.stats.change import Flip
    from rwcore.stats.tying import Tying
    from rwcore.store import Store
    from rwcore.studies.change import ChangeStudy
    from rwcore.studies.roles import RoleStudy
    from rwcore.studies.weights import WeightStudy
    from rwcore.weights.mlp import MlpWeights


class WeightSubject(Subject):
    """One or several models on this machine; frames of several carry a leading ``model`` column."""

    def __init__(
        self,
        spec: SubjectSpec,
        locals_: tuple[LocalModel, ...],
        store: Store,
        engine: Engine,
        *,
        recorded: bool,
    ) -> None:
        super().__init__(spec, recorded=recorded)
        self._locals = locals_
        self._store = store
        self._engine = engine

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

    def neuron_weights(self, layers: Sequence[int] | None = None) -> NeuronWeights:
        """Norms, input biases and cosines of the only model's neurons, of some layers or all."""
        from rwcore.probing.weight_statistics import neuron_weights
        from rwcore.weights.mlp import mlp_weights

        # Not by way of the weight study, which reads all layers.
        (local,) = self._locals
        return neuron_weights(mlp_weights(local), layers)

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

    def d_model(self) -> int:
        """Width of the residual stream of the only model."""
        return self.weight_study().mlp_weights().shape.d_model

    def provenance(self) -> dict[str, object]:
        """Manifests of the artefacts behind the numbers."""
        return {model: study.provenance for model, study in self.studies.items()}

    def _frame(self, reduce: Callable[[WeightStudy], pd.DataFrame]) -> pd.DataFrame:
        return stack({model: reduce(study) for model, study in self.studies.items()})
