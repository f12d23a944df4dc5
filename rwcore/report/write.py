"""Everything a run leaves behind, in one folder: results.json, report.md, and the pages."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rwcore.errors import OptionError
from rwcore.paths import golden_dir
from rwcore.report.html import write_report
from rwcore.report.markdown import render
from rwcore.report.results import Results, write_results
from rwcore.store import write_text

if TYPE_CHECKING:
    import pandas as pd

PUBLISHED_MEDIANS = "linout_medians.csv"


def write_all(results: Results, folder: Path) -> Path:
    """Write ``results.json`` (first: it is what cannot be made again), ``report.md`` and ``index.html``.

    Returns:
        The path of ``index.html``.

    Raises:
        StoreError: A file cannot be written.
    """
    write_results(folder / "results.json", results)
    write_text(folder / "report.md", render(results))
    return write_report(results, folder, published_medians=published_medians(results))


def published_medians(results: Results) -> pd.DataFrame | None:
    """Columns model, layer, median of the results' papers; None if there is none, or outside a checkout."""
    import pandas as pd

    try:
        folders = [golden_dir() / paper.slug / "published" for paper in results.papers]
    except OptionError:
        return None
    files = [folder / PUBLISHED_MEDIANS for folder in folders if (folder / PUBLISHED_MEDIANS).is_file()]
    frames = [pd.read_csv(file)[["model", "layer", "median"]] for file in files]
    return pd.concat(frames, ignore_index=True) if frames else None
