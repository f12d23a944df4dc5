"""The published tables of a model as the subject of a claim."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rwcore.errors import ClaimFileError
from rwcore.plugin.model_subject import PAPERS_TEXT
from rwcore.plugin.subjects import Subject, SubjectSpec, stack

if TYPE_CHECKING:
    import pandas as pd

    from rwcore.ablation.compare import RunLabel
    from rwcore.claim.values import Interval
    from rwcore.plugin.ablations import AblationNumbers
    from rwcore.plugin.attribute_rates import RateNumbers
    from rwcore.plugin.frequencies import Derive
    from rwcore.stats.change import Flip


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

    def class_frequencies(self, derive: Derive) -> tuple[pd.DataFrame, Mapping[str, float | Interval]]:
        """Columns class, true, baseline; and numbers made from them. One model only."""
        files = ("activation_frequency_by_class.csv",)
        table = self._tables(files, ["class", "true", "baseline"])
        return table, derive(table)

    def frequency_correlations(
        self, derive: Derive, *, pooled: bool = False
    ) -> tuple[pd.DataFrame, Mapping[str, float | Interval]]:
        """Columns quadrant, cosine, layer (text; ``all``), r; and numbers made from them."""
        import pandas as pd

        table = self._tables(("frequency_correlations_pooled.csv",), ["quadrant", "cosine", "r"])
        table = table.assign(layer="all")
        if not pooled:
            layers = self._tables(("frequency_correlations.csv",), ["quadrant", "cosine", "layer", "r"])
            table = pd.concat([table, layers.astype({"layer": "str"})], ignore_index=True)
        return table, derive(table)

    def ablations(self, runs: Sequence[RunLabel]) -> AblationNumbers:
        """The published runs; see `rwcore.plugin.ablations.published_numbers`. One model only."""
        from rwcore.plugin.ablations import KEYS, published_numbers

        statistics = ["mean", "min", "q1", "median", "q3", "max"]
        table = self._tables(("ablation_summaries.csv",), [*KEYS, *statistics])
        # How many values there are was read off the figures of one model.
        counts = self._tables(("ablation_counts.csv",), [*KEYS, "millions"], required=False)
        table = table.merge(counts, "left", list(KEYS)).fillna({"gate": "", "post": ""})
        tokens, rows = self.tokens_and_rows()
        predictions = table["metric"].map({"loss": tokens - rows, "rank": tokens - rows, "entropy": tokens})
        table["n"] = 1e6 * table.pop("millions")
        table["changed"] = table["n"] / predictions
        totals = self.class_totals()
        return published_numbers(table, runs, dict(zip(totals["class"], totals["count"], strict=True)))

    def attribute_rates(self, runs: Sequence[RunLabel]) -> RateNumbers:
        """The published curves; see `rwcore.plugin.attribute_rates.published_rates`. One model only."""
        from rwcore.plugin.attribute_rates import FILE, KEYS, published_rates

        return published_rates(self._tables((FILE,), [*KEYS, "rate"]), runs)

    def numbers_of_values(self) -> dict[str, float]:
        """The largest number of values of each metric behind a row of the ablation tables."""
        counts = self._tables(("ablation_counts.csv",), ["metric", "millions"])
        return {
            str(name): 1e6 * float(most) for name, most in counts.groupby("metric")["millions"].max().items()
        }

    def tokens_and_rows(self) -> tuple[int, int]:
        """Size of the paper's text."""
        from rwcore.corpora.registry import published

        said = published(PAPERS_TEXT)
        assert said is not None  # a test of corpora.toml
        return said.tokens[0], said.rows[0]

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

    def page_cells(self) -> pd.DataFrame:
        """The tables of neuron pages; see `rwcore.activations.published_tables.printed_cells`."""
        from rwcore.activations.published_tables import printed_cells

        return printed_cells(self.page_table())

    def page_table(self) -> pd.DataFrame:
        """One row per neuron page, in the columns of ``neuroscope_pages.csv``."""
        return self.rows("neuroscope_pages.csv", {"model": self.models})

    def peaks(self) -> pd.DataFrame:
        """One row per example of the pages, in the columns of ``neuroscope_examples.csv``."""
        return self.rows("neuroscope_examples.csv")

    def rows(self, name: str, select: Mapping[str, Sequence[str]] | None = None) -> pd.DataFrame:
        """Rows of one file, every number as it is written; no text is taken for a missing value.

        Args:
            name: The file.
            select: Values of a column of which rows must have one.
        """
        from rwcore.claim.published import read_csv

        table = read_csv(self._published / name)
        for column, wanted in (select or {}).items():
            table = table[table[column].isin(list(wanted))]
        return table.reset_index(drop=True)

    def provenance(self) -> dict[str, object]:
        """The folder the tables are in."""
        return {"tables": f"golden/{self.spec.paper}/published"}

    def _tables(self, files: tuple[str, ...], columns: list[str], *, required: bool = True) -> pd.DataFrame:
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
        if missing and not required:
            return pd.DataFrame(columns=columns)
        if missing:
            raise ClaimFileError(
                f"the published tables have no rows for {', '.join(missing)}",
                where=", ".join(str(self._published / name) for name in files),
                remedy="list only models with a table under `models` of the expectation, or add the table",
            )
        return stack({model: found[model] for model in self.models})
