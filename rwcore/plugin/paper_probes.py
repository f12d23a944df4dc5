"""Probes of a paper's own model as published, in the columns of the published lists of neurons.

Of every layer and feature the thirty neurons of the largest mean difference are candidates; lists are made of
them by what they score on test, as published.

Source: Gurnee et al., "Finding neurons in a haystack" (2023), the lists of neurons of its code.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pandas as pd

from rwcore.corpora.encoder import read_encoder
from rwcore.probing.datasets.features import Feature, FeatureDataset
from rwcore.probing.datasets.published_choice import DATASETS
from rwcore.probing.splits import PUBLISHED_SEED
from rwcore.studies.probe_layers import largest_differences
from rwcore.studies.probe_tables import HOOK, PUBLISHED_COLUMNS, Atlas
from rwcore.studies.probes import ProbeOptions, ProbeStudy
from rwcore.studies.weights import WeightStudy
from rwcore.weights.shape import read_shape

if TYPE_CHECKING:
    from rwcore.plugin.asked_features import FeatureTexts

CANDIDATES = 30
"""Neurons of a layer that are probed for a feature."""
NOTABLE: Mapping[str, float] = {
    "natural_lang_id": 1.0,
    "compound_words": 0.95,
    "distribution_id": 0.95,
    "ewt": 0.95,
    "programming_lang_id": 0.9,
    "latex": 0.85,
    "text_features": 0.85,
}
"""Least test MCC of the neurons in ``all_neurons_of_interest.csv``, as their minima tell."""
PICKED: Mapping[str, str] = {
    "monosemantic_language_neurons.csv": "natural_lang_id",
    "monosemantic_code_neurons.csv": "programming_lang_id",
    "monosemantic_distribution_neurons.csv": "distribution_id",
}
"""Files of neurons that were picked by hand, and the data set they are of."""
TOP_FILE, NOTABLE_FILE = "top_mono_neurons.csv", "all_neurons_of_interest.csv"
PRIME_FILE, PRIMES = "pythia70m_prime_factor_neurons.csv", 100
# The published code writes one tag in another way, and has two features less.
_RENAMED = {"upos_PUNCT": "upos_PUNC"}
_UNPUBLISHED = ("start_math", "end_math")
_TEXTS = ("model", "dataset", "feature", "aggregation", "hook_loc", "source")
_SCORES = ("test_mcc", "test_f1_score", "test_precision", "test_recall", "coef")
COLUMNS = (*PUBLISHED_COLUMNS, "test_pr_auc", "source")
_FREE_SHARE = 2
"""Of the free space of the disk a pass may take one part in so many."""


@dataclass(frozen=True)
class PaperProbes:
    """Which neurons of a model tell the paper's features.

    Attributes:
        weights: The weight study of the model.
        texts: What the features are made of.
        found: Candidates by data set, once they are known.
    """

    weights: WeightStudy
    texts: FeatureTexts
    found: dict[str, pd.DataFrame] = field(default_factory=dict, compare=False)

    def neurons(self, files: Iterable[str], datasets: Iterable[str]) -> pd.DataFrame:
        """The lists that go by the names of published files, of some data sets.

        Args:
            files: Names of published files.
            datasets: First parts of the names of data sets; those without texts here are left out.

        Returns:
            Columns `COLUMNS`; ``source`` is the file.

        Raises:
            CorpusError: A text is damaged, or no document is what a family needs.
            RwcoreError: As of `rwcore.studies.probes.ProbeStudy.found`.
        """
        names = [name for name in datasets if self.texts.missing(DATASETS[name]) is None]
        for name in names:
            self.data(name)  # a damaged text is told before hours go into the others
        parts = [
            listed(self.candidates(name), file).assign(source=file)
            for file in files
            for name in names
            if file not in PICKED or PICKED[file] == name
        ]
        kept = [part for part in parts if len(part)]
        together = pd.concat(kept, ignore_index=True) if kept else _nothing()
        return together[[*COLUMNS]]

    def candidates(self, dataset: str) -> pd.DataFrame:
        """The candidates of every feature of a data set in all layers; without the column ``source``."""
        if dataset not in self.found:
            self.found[dataset] = candidates(self._atlas(self.data(dataset)))
        return self.found[dataset]

    def data(self, dataset: str) -> FeatureDataset:
        """A data set, made as published."""
        return self.texts.dataset(dataset, read_encoder(self.weights.local))

    def sizes(self, datasets: Iterable[str]) -> pd.DataFrame:
        """Rows, tokens and features of data sets, in the words of the published table of them.

        Args:
            datasets: First parts of their names; those without texts here are left out.

        Returns:
            Index: the name; of ``ewt`` one row for each kind of feature, as published.
        """
        rows = {}
        for name in datasets:
            if self.texts.missing(DATASETS[name]) is not None:
                continue
            data = self.data(name)
            beginnings = 0 if data.corpus.policy.bos is None else len(data.corpus)
            kinds = Counter(_kind(one) for one in data.features if one.name not in _UNPUBLISHED)
            of_each = {f"ewt ({kind})": n for kind, n in kinds.items()} if name == "ewt" else {}
            for row, features in (of_each or {name: kinds.total()}).items():
                rows[row] = {
                    "Sequences": len(data.corpus),
                    # The token at the beginning of a row was that of the published padding.
                    "Non padding tokens": data.corpus.n_tokens - beginnings,
                    "Total Features": features,
                    "Context Length": data.corpus.policy.max_length,
                }
        columns = ["Sequences", "Non padding tokens", "Total Features", "Context Length"]
        return pd.DataFrame.from_dict(rows, orient="index", columns=columns)

    def _atlas(self, data: FeatureDataset) -> Atlas:
        """All neurons of all layers; as many layers in a pass as the disk has room for."""
        options = ProbeOptions(convention="as_published", seed=PUBLISHED_SEED, trials=0, curves=())
        study = ProbeStudy(self.weights, (data,), options)
        for layers in self._passes(len(data)):
            # What the store has is not computed again; activations of a pass are dropped at its end.
            replace(study, options=replace(options, layers=layers)).found  # noqa: B018
        return study.found[0].atlas

    def _passes(self, examples: int) -> Iterator[tuple[int, ...]]:
        shape = read_shape(self.weights.local)
        root = self.weights.store.root
        while not root.exists():
            root = root.parent
        room = shutil.disk_usage(root).free // _FREE_SHARE
        # float16
        together = max(1, room // (2 * examples * shape.d_mlp))
        for first in range(0, shape.n_layers, together):
            yield tuple(range(first, min(first + together, shape.n_layers)))


def _nothing() -> pd.DataFrame:
    """No neuron, in columns of the right kinds."""
    kinds = dict.fromkeys(COLUMNS, "float64") | dict.fromkeys(("layer", "neuron", "k"), "int64")
    return pd.DataFrame({name: pd.Series(dtype="str" if name in _TEXTS else kinds[name]) for name in COLUMNS})


def _kind(feature: Feature) -> str:
    return feature.family if feature.family in ("upos", "dep") else "other"


def candidates(atlas: Atlas) -> pd.DataFrame:
    """The thirty neurons of the largest mean difference of every layer and feature, with their probes."""
    rows = []
    for number, task in enumerate(atlas.tasks):
        if task.name in _UNPUBLISHED:
            continue
        for place, layer in enumerate(atlas.layers):
            best = largest_differences(atlas.columns["mean_dif"][place, number], CANDIDATES)
            for neuron in best.tolist():
                known = {
                    "model": atlas.model,
                    "dataset": task.dataset,
                    "feature": _RENAMED.get(task.name, task.name),
                    "layer": layer,
                    "neuron": neuron,
                    "aggregation": atlas.aggregation,
                    "hook_loc": HOOK,
                    "k": 1,
                    "family": task.family,
                }
                scores = (*_SCORES, "test_pr_auc")
                rows.append(known | {name: atlas.value(name, place, number, neuron) for name in scores})
    return pd.DataFrame(rows)


def listed(table: pd.DataFrame, file: str) -> pd.DataFrame:
    """The candidates of one data set that a published file would have.

    * ``top_mono_neurons.csv``: of every feature the one with the best F1; not of languages or relations;
    * ``all_neurons_of_interest.csv``: those with an MCC of at least `NOTABLE`;
    * ``pythia70m_prime_factor_neurons.csv``: the hundred of the best MCC;
    * files of neurons that were picked by hand: all, as nobody picks here.
    """
    if not len(table):
        return table
    dataset = table["dataset"].iloc[0]
    if file == TOP_FILE:
        asked = table[(table["family"] != "dep") & (table["dataset"] != "natural_lang_id")]
        best = asked.sort_values("test_f1_score", ascending=False, kind="stable")
        return best.drop_duplicates("feature").sort_index()
    if file == NOTABLE_FILE:
        return table[table["test_mcc"] >= NOTABLE.get(dataset, float("inf"))]
    if file == PRIME_FILE:
        primes = table[table["feature"] == "prime-factors"]
        return primes.sort_values("test_mcc", ascending=False, kind="stable").head(PRIMES)
    return table
