"""What a claim is asked of: a model on this machine, the published tables of one, or nothing at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from rwcore.errors import ClaimFileError
from rwcore.paths import slug

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from rwcore.models.spec import LocalModel
    from rwcore.pages.cards import NeuronCard
    from rwcore.parallel import Engine
    from rwcore.plugin.hooks import StandIn
    from rwcore.stats.change import Flip
    from rwcore.stats.tying import Tying
    from rwcore.store import Store
    from rwcore.studies.change import ChangeStudy
    from rwcore.studies.roles import RoleStudy
    from rwcore.studies.weights import WeightStudy
    from rwcore.weights.mlp import MlpWeights


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
        return _stack({model: reduce(study) for model, study in self.studies.items()})


class TablesSubject(Subject):
    """The published tables of one or several models, in the columns the statistics have."""

    def __init__(self, spec: SubjectSpec, published: Path) -> None:
        super().__init__(spec)
        self._published = published

    def class_counts(self) -> pd.DataFrame:
        """Columns layer, class, count."""
        files = ("rw_class_counts.csv", "rw_class_counts_pdf_only.csv", "vanilla_class_counts.csv")
        return self._tables(files, ["layer", "class", "count"])

    def class_totals(self) -> pd.DataFrame:
        """Columns class, count, in the tables' order of classes."""
        counts = self.class_counts()
        keys = [column for column in ("model", "class") if column in counts]
        return counts.groupby(keys, sort=False)["count"].sum().reset_index()

    def half_coarse_counts(self) -> pd.DataFrame:
        """Columns layer, bin_low, bin_high, count."""
        return self._tables(("half_coarse_counts.csv",), ["layer", "bin_low", "bin_high", "count"])

    def medians(self) -> pd.DataFrame:
        """Columns layer, cosine, median; |gatelin| and gateout where a figure shows them."""
        import pandas as pd

        linout = self._tables(("linout_medians.csv",), ["layer", "median"]).assign(cosine="linout")
        boxes = self._tables(("cosine_quartiles.csv",), ["variant", "cosine", "layer", "median"])
        boxes = boxes[(boxes["variant"] == "refactored") & (boxes["cosine"] != "linout")]
        columns = [*(["model"] if "model" in linout else []), "layer", "cosine", "median"]
        return pd.concat([linout, boxes], ignore_index=True)[columns]

    def null_regions(self) -> pd.DataFrame:
        """Columns layer, cosine, low, high."""
        return self._tables(("mismatched_regions.csv",), ["layer", "cosine", "low", "high"])

    def change_correlations(self, *, flip: Flip = "none") -> pd.DataFrame:
        """Columns vector, cosine, layer, r; they were published with each checkpoint's own gate signs."""
        table = self._tables(("checkpoint_change_correlations.csv",), ["vector", "cosine", "layer", "r"])
        return table if flip == "own" else table[table["vector"] == "gate"]

    def d_model(self) -> int:
        """Width of the residual stream of the only model, as its configuration says."""
        from rwcore.models.registry import registry

        (model,) = self.models
        width = registry()[model].d_model
        if width is None:
            raise ClaimFileError(f"models.toml gives no d_model for {model}", where="models.toml")
        return width

    def provenance(self) -> dict[str, object]:
        """The folder the tables are in."""
        return {"tables": f"golden/{self.spec.paper}/published"}

    def _tables(self, files: tuple[str, ...], columns: list[str]) -> pd.DataFrame:
        import pandas as pd

        found: dict[str, pd.DataFrame] = {}
        for name in files:
            table = pd.read_csv(self._published / name, keep_default_na=False, na_values=[""])
            if "checkpoint" in table:
                at_revision = table["model"] + "@" + table["checkpoint"].astype("str")
                table["model"] = table["model"].where(table["checkpoint"].isna(), at_revision)
            for model in self.models:
                rows = table.loc[table["model"] == model, columns]
                if len(rows):
                    found[model] = rows.reset_index(drop=True)
        missing = [model for model in self.models if model not in found]
        if missing:
            raise ClaimFileError(
                f"the published tables have no rows for {', '.join(missing)}",
                where=", ".join(str(self._published / name) for name in files),
                remedy="list only models with a table under `models` of the expectation, or add the table",
            )
        return _stack({model: found[model] for model in self.models})


def _stack(frames: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """The only frame as it is, several one below the other with a ``model`` column."""
    import pandas as pd

    if len(frames) == 1:
        return next(iter(frames.values()))
    return pd.concat(
        [frame.assign(model=model)[["model", *frame.columns]] for model, frame in frames.items()],
        ignore_index=True,
    )


@dataclass(frozen=True)
class Workshop:
    """What subjects are made with: stores, the engine, the builders of small models.

    Attributes:
        store: Artefacts of real models.
        scratch: Folder of this session for small models and their artefacts.
        engine: What runs layer-wise tasks.
        stand_ins: The small models by id.
        published: Folder with the published tables of a paper.
        built: Small models that were already built.
    """

    store: Store
    scratch: Path
    engine: Engine
    stand_ins: Mapping[str, StandIn]
    published: Callable[[str], Path]
    built: dict[str, LocalModel] = field(default_factory=dict)

    def make(self, spec: SubjectSpec) -> Subject:
        """Build or locate a subject.

        Raises:
            WeightsMissing: A real model is not on this machine.
        """
        if spec.kind is Kind.SYNTHETIC:
            return Subject(spec, recorded=True)
        if spec.kind is Kind.TABLES:
            return TablesSubject(spec, self.published(spec.paper))
        if spec.kind is Kind.STAND_IN:
            return self._stand_in(spec)
        from rwcore.models.locate import locate
        from rwcore.models.registry import find

        locals_ = tuple(locate(find(model)) for model in spec.models)
        recorded = all(local.spec.recorded for local in locals_)
        return ModelSubject(spec, locals_, self.store, self.engine, recorded=recorded)

    def _stand_in(self, spec: SubjectSpec) -> Subject:
        from rwcore.store import Store

        if spec.id not in self.built:
            self.built[spec.id] = self.stand_ins[spec.id].build(self.scratch / slug(spec.id))
        store = Store(self.scratch / "artefacts")
        return ModelSubject(spec, (self.built[spec.id],), store, self.engine, recorded=True)
