"""Attributes rates as claims ask for them: a curve over layers per run, and numbers made from several."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

from rwcore.claim.values import Interval
from rwcore.errors import ClaimFileError, ModelError
from rwcore.plugin.ablations import Numbers, experiment, with_intervals

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray
    from torch import Tensor

    from rwcore.ablation.compare import RunLabel
    from rwcore.studies.attribute_rates import AttributeStudy

Curve: TypeAlias = "NDArray[np.float64]"
CLEAN, ABLATED, BASELINE = "clean", "ablated", "baseline"
KEYS = ("subset", "ablation", "series", "layer")
FILE = "attributes_rate.csv"


class Curves(Protocol):
    """What numbers are made from: rates by layer."""

    def __call__(self, run: RunLabel | None = None) -> Curve:
        """Rates in per cent of a run, of the clean one if none is named; layers along the last axis."""
        ...


Derive: TypeAlias = Callable[[Curves], Mapping[str, Numbers]]


@dataclass(frozen=True, eq=False)
class RateNumbers:
    """Rates of runs beside those of the clean one.

    Attributes:
        curves: Mean rate of every layer, by run; None stands for the clean one. NaN for neurons that the
            model does not have.
        sizes: Neurons of each run; empty for published curves.
        drawn: The same curves for every draw of subjects; None for published ones.
    """

    curves: Mapping[RunLabel | None, Curve]
    sizes: Mapping[RunLabel, int]
    drawn: Mapping[RunLabel | None, Curve] | None = None

    def curve(self, run: RunLabel | None = None) -> Curve:
        """Mean rate of every layer."""
        return self.curves[run]

    def numbers(self, derive: Derive) -> dict[str, float | Interval]:
        """Numbers made from several curves, with 95 % intervals over subjects.

        Args:
            derive: Makes the numbers, by name, with operations along the last axis: it is called once with
                the means, and once with all their draws, which are of the same subjects in all runs.
        """
        draws = self.drawn
        return with_intervals(
            lambda: derive(self.curve),
            None if draws is None else lambda: derive(lambda run=None: draws[run]),
        )

    @property
    def table(self) -> pd.DataFrame:
        """Columns of the published file: `KEYS` and rate; the clean curve beside every set."""
        import pandas as pd

        rows = {
            (subset_of(run), run.mode, series, layer): rate
            for run in self.curves
            if run is not None
            for series, of in ((CLEAN, None), (BASELINE if run.baseline else ABLATED, run))
            for layer, rate in enumerate(self.curves[of].tolist())
        }
        return pd.DataFrame([(*key, rate) for key, rate in rows.items()], columns=[*KEYS, "rate"])


def subset_of(run: RunLabel) -> str:
    """How the published file calls a set: ``weakening243`` for ``weakening@243``."""
    return run.set.replace("@", "")


def published_rates(table: pd.DataFrame, runs: Sequence[RunLabel]) -> RateNumbers:
    """Curves out of the published file.

    Args:
        table: Columns `KEYS` and rate, of one model.
        runs: The runs.

    Raises:
        ClaimFileError: The table has no such run, or lacks a layer of it.
    """
    import numpy as np

    layers = list(range(int(table["layer"].max()) + 1))
    found: dict[RunLabel | None, Curve] = {}
    for run in runs:
        mine = table[(table["subset"] == subset_of(run)) & (table["ablation"] == run.mode)]
        for series, name in ((CLEAN, None), (BASELINE if run.baseline else ABLATED, run)):
            rows = mine[mine["series"] == series].sort_values("layer")
            if rows["layer"].tolist() != layers:
                raise ClaimFileError(
                    f"the published table has no whole {series} curve of {run}",
                    where=FILE,
                    remedy="ask only for runs that were published",
                )
            found[name] = rows["rate"].to_numpy(np.float64)
    return RateNumbers(found, {})


def model_rates(study: AttributeStudy, runs: Sequence[RunLabel]) -> RateNumbers:
    """Curves of a model, each run made if the store has it not.

    A rate that is not known (-1) is left out of its mean.

    Args:
        study: Of one model.
        runs: The runs. One of neurons that the model does not have is NaN.

    Raises:
        ModelError: A run cannot be made.
        OptionError: The model knows none of the facts.
    """
    import numpy as np

    from rwcore.ablation.bootstrap import DRAWS
    from rwcore.attributes.curves import curves, known_rates
    from rwcore.studies.failures import Failure

    planned = {run: found for run in dict.fromkeys(runs) if (found := experiment(study, run)) is not None}
    made: dict[RunLabel | None, Tensor] = {None: study.clean()}
    for run, rates in zip(planned, study.runs(list(planned.values())), strict=True):
        if isinstance(rates, Failure):
            raise ModelError(f"{rates.name}: {rates.error}", where=rates.where, remedy=rates.remedy)
        made[run] = rates
    # The first column is the embedding, which is no layer.
    values = [known_rates(rates)[:, 1:] for rates in made.values()]
    measured = dict(zip(made, curves(values, study.subject_numbers.numpy()), strict=True))
    layers = values[0].shape[1]
    nothing: dict[RunLabel | None, Curve] = {run: np.full(layers, np.nan) for run in runs}
    never: dict[RunLabel | None, Curve] = {run: np.full((DRAWS, layers), np.nan) for run in runs}
    return RateNumbers(
        nothing | {run: one.mean for run, one in measured.items()},
        {run: len(planned[run].neurons) if run in planned else 0 for run in runs},
        never | {run: one.draws for run, one in measured.items()},
    )
