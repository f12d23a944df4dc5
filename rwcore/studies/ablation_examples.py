"""The predictions that each run of a grid changes most, and what the model says there with and without it.

Which predictions these are follows from metrics that the store has. What the model says is computed for their
rows only, as far as the last chosen position, and kept as an artefact per run. What the clean model says is
computed once for all runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rwcore.ablation.compare import LABELS
from rwcore.ablation.continuations import LISTS, TOP
from rwcore.ablation.examples import EXAMPLE_METRICS, Example, RunExamples, find_examples
from rwcore.ablation.grid import Experiment
from rwcore.models.vocabulary import Vocabulary
from rwcore.store import MANIFEST
from rwcore.studies.ablation_runs import read_run
from rwcore.studies.ablations import AblationStudy, name_of
from rwcore.studies.activation_pass import bridge
from rwcore.studies.continuations import (
    CleanTask,
    ContinuationsTask,
    Runner,
    find_clean,
    find_continuations,
    read_continuations,
)
from rwcore.studies.failures import Failure, attempting

if TYPE_CHECKING:
    import pandas as pd

_WHICH = (*LABELS, "metric", "direction", "place")
EXAMPLE_COLUMNS = (
    *_WHICH,
    "row",
    "document",
    "position",
    "clean",
    "ablated",
    "difference",
    "token_id",
    "token",
    "before",
    "after",
)
TOKEN_COLUMNS = (*_WHICH, "list", "rank", "token_id", "token", "value")


@dataclass(frozen=True, eq=False)
class FoundExamples:
    """The examples of a grid.

    Attributes:
        runs: One entry per run, in their order.
        failures: Runs whose continuations could not be computed; their examples are in ``runs`` nevertheless.
    """

    runs: tuple[RunExamples, ...] = ()
    failures: tuple[Failure, ...] = ()


def find_run_examples(
    study: AblationStudy,
    experiments: Sequence[Experiment],
    *,
    count: int,
    metrics: Sequence[str] = EXAMPLE_METRICS,
    per_document: int | None = 1,
    top: int = TOP,
) -> FoundExamples:
    """The predictions that some runs change most, with what the model says there.

    Args:
        study: Whose runs they are.
        experiments: Runs that can be made; computed if the store has them not. One that cannot is a failure.
        count: Most examples of each metric and direction, see `rwcore.ablation.examples.find_examples`.
        metrics: As there.
        per_document: As there.
        top: Length of the lists of next tokens.

    Raises:
        RwcoreError: The clean run cannot be made.
        OptionError: A number is too small.
    """
    clean, corpus = study.clean(), study.corpus
    chosen: list[tuple[Experiment, Path, list[Example]]] = []
    failures: list[Failure] = []
    for experiment, run in zip(experiments, study.runs(experiments), strict=True):
        if isinstance(run, Failure):
            failures.append(run)
            continue
        examples = find_examples(
            clean,
            read_run(run),
            corpus,
            count=count,
            metrics=metrics,
            per_document=per_document,
            convention=study.convention,
        )
        chosen.append((experiment, run, examples))
    found = _continuations(study, chosen, top)
    runs = []
    for (experiment, _, examples), said in zip(chosen, found, strict=True):
        lists = None
        if isinstance(said, Failure):
            failures.append(said)
        else:
            lists = read_continuations(said)
        runs.append(RunExamples(experiment.label, len(experiment.neurons), tuple(examples), lists))
    return FoundExamples(tuple(runs), tuple(failures))


def _continuations(
    study: AblationStudy, chosen: Sequence[tuple[Experiment, Path, Sequence[Example]]], top: int
) -> list[Path | Failure]:
    """What the model says at the examples of each run; the clean model is run once for all of them."""
    runner, engine = Runner.of(study), study.weights.engine
    tasks = [
        ContinuationsTask(runner, _places(examples), run, name_of(experiment), top)
        for experiment, run, examples in chosen
    ]
    missing = [task for task in tasks if not (runner.store.path(task.key) / MANIFEST).exists()]
    desc = f"examples of {runner.local.spec.id}"
    try:
        if missing:
            every = {place for task in missing for place in task.places}
            clean = CleanTask(runner, tuple(sorted(every)))
            (states,) = engine.map(attempting(find_clean), [clean], desc=desc)
            if isinstance(states, Failure):
                return [replace(states, name=task.name) for task in tasks]
            tasks = [replace(task, clean=clean) for task in tasks]
        return engine.map(attempting(find_continuations), tasks, desc=desc)
    finally:
        bridge.cache_clear()  # the model; workers keep theirs


def _places(examples: Sequence[Example]) -> tuple[tuple[int, int], ...]:
    return tuple(sorted({(one.row, one.position) for one in examples}))


def examples_frame(runs: Sequence[RunExamples], words: Vocabulary) -> pd.DataFrame:
    """The examples as the table ``examples.csv``, columns `EXAMPLE_COLUMNS`.

    Args:
        runs: From `find_run_examples`.
        words: Texts of the tokens.
    """
    import pandas as pd

    rows = []
    for run in runs:
        for which, one in _numbered(run):
            made_at = one.position + 1 - one.start
            rows.append(
                (
                    *which,
                    one.row,
                    one.document,
                    one.position,
                    one.clean,
                    one.ablated,
                    one.difference,
                    one.next_token,
                    None if one.next_token is None else words[one.next_token],
                    "".join(words[token] for token in one.tokens[:made_at]),
                    "".join(words[token] for token in one.tokens[made_at + 1 :]),
                )
            )
    frame = pd.DataFrame(rows, columns=list(EXAMPLE_COLUMNS))
    return frame.astype({"token_id": "Int64"})


def continuations_frame(runs: Sequence[RunExamples], words: Vocabulary) -> pd.DataFrame:
    """What the model says as the table ``example_tokens.csv``, columns `TOKEN_COLUMNS`.

    Args:
        runs: From `find_run_examples`; one without continuations has no rows.
        words: Texts of the tokens.
    """
    import pandas as pd

    rows = []
    for run in runs:
        if run.continuations is None:
            continue
        for which, one in _numbered(run):
            lists = run.continuations.at(one.row, one.position)
            for name in LISTS:
                for rank, (token, value) in enumerate(lists[name], start=1):
                    rows.append((*which, name, rank, token, words[token], value))
    return pd.DataFrame(rows, columns=list(TOKEN_COLUMNS))


def _numbered(run: RunExamples) -> list[tuple[tuple[object, ...], Example]]:
    """The examples, each with the columns `_WHICH`; places are counted within a metric and direction."""
    labels = tuple(getattr(run.label, name) for name in LABELS)
    places: dict[tuple[str, str], int] = {}
    numbered = []
    for one in run.examples:
        list_of = one.metric, one.direction
        places[list_of] = places.get(list_of, 0) + 1
        numbered.append(((*labels, *list_of, places[list_of]), one))
    return numbered
