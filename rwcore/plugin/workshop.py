"""Where subjects come from: stores, the engine, and the builders of small models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rwcore.paths import slug
from rwcore.plugin.model_subject import ModelSubject
from rwcore.plugin.neuron_pages import PagesSubject
from rwcore.plugin.subjects import Kind, Subject, SubjectSpec
from rwcore.plugin.tables import TablesSubject

if TYPE_CHECKING:
    from rwcore.models.spec import LocalModel
    from rwcore.parallel import Engine
    from rwcore.plugin.asked_features import FeatureTexts
    from rwcore.plugin.hooks import StandIn
    from rwcore.plugin.options import Knowledge
    from rwcore.store import Store


@dataclass(frozen=True)
class Workshop:
    """What subjects are made with: stores, the engine, the builders of small models.

    Attributes:
        store: Artefacts of real models.
        scratch: Folder of this session for small models and their artefacts.
        engine: What runs layer-wise tasks.
        stand_ins: The small models by id.
        published: Folder with the published tables of a paper.
        tokens: Tokens of text that a model reads that is not recorded; None for all.
        pages: Folder of published neuron pages, if it was given.
        knowledge: Facts and the text about them, if they were given.
        features: The texts that features of sparse probing are made of.
        built: Small models that were already built.
    """

    store: Store
    scratch: Path
    engine: Engine
    stand_ins: Mapping[str, StandIn]
    published: Callable[[str], Path]
    tokens: int | None = None
    pages: Path | None = None
    knowledge: Knowledge | None = None
    features: FeatureTexts | None = None
    built: dict[str, LocalModel] = field(default_factory=dict)

    def make(self, spec: SubjectSpec) -> Subject:
        """Build or locate a subject.

        Raises:
            WeightsMissing: A real model is not on this machine.
            ModelError: The weights that go by the name of a first release are those of another training run.
        """
        if spec.kind is Kind.SYNTHETIC:
            return Subject(spec, recorded=True)
        if spec.kind is Kind.TABLES:
            if spec.pages and self.pages is not None:
                return PagesSubject(spec, self.published(spec.paper), self.pages)
            return TablesSubject(spec, self.published(spec.paper))
        if spec.kind is Kind.STAND_IN:
            return self._stand_in(spec)
        from rwcore.models.locate import locate
        from rwcore.models.registry import find

        locals_ = tuple(locate(find(model)) for model in spec.models)
        for local in locals_:
            _recognise(local)
        recorded = all(local.spec.recorded for local in locals_)
        return ModelSubject(
            spec,
            locals_,
            self.store,
            self.engine,
            recorded=recorded,
            tokens=self.tokens,
            published_pages=self.pages,
            knowledge=self.knowledge,
            features=self.features,
        )

    def _stand_in(self, spec: SubjectSpec) -> Subject:
        from rwcore.store import Store

        if spec.id not in self.built:
            self.built[spec.id] = self.stand_ins[spec.id].build(self.scratch / slug(spec.id))
        store = Store(self.scratch / "artefacts")
        return ModelSubject(spec, (self.built[spec.id],), store, self.engine, recorded=True)


def _recognise(local: LocalModel) -> None:
    """Refuse retrained weights under the name of a first release: no claim may be answered by them."""
    from rwcore.probing.releases import LAYER, PRODUCTS, refuse_retrained

    if local.spec.id not in PRODUCTS:
        return
    from rwcore.probing.weight_statistics import neuron_weights
    from rwcore.weights.mlp import mlp_weights

    refuse_retrained(local.spec.id, neuron_weights(mlp_weights(local), [LAYER]))
