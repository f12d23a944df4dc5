"""OV and QK circuits as files: tables, arrays, figures and a manifest. ``OUTPUTS.md`` documents them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from rwcore import __version__
from rwcore.errors import OptionError, require_least
from rwcore.heads.circuit_statistics import STATISTICS, WORST, best_heads, rank_edges, rank_histogram
from rwcore.heads.circuits import CircuitRanks
from rwcore.heads.content_words import content_tokens
from rwcore.heads.token_lists import LISTS
from rwcore.models.vocabulary import Vocabulary, vocabulary
from rwcore.pages.head_circuits import BARS, CircuitsReport, circuits_page
from rwcore.provenance import Stopwatch, collect
from rwcore.store import MANIFEST, write_arrays, write_json, write_text
from rwcore.studies.figures import check_palette
from rwcore.studies.folder import check_target, files_of, filling, save_figure, write_csv
from rwcore.studies.forward import ForwardOptions
from rwcore.studies.head_circuits import DEFINITION, OV, QK, CircuitStudy, keeping_tables
from rwcore.studies.tables import latex_escape, latex_label, text_latex, text_markdown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rwcore.plots.counts import PaletteName

SCHEMA = "rwcore-heads-circuits/2"
PAGE = "circuits.html"
COLUMNS = {
    "heads.csv": ("circuit", *STATISTICS),
    "worst_tokens.csv": ("circuit", *WORST, "text"),
    "token_lists.csv": (*LISTS, "token_text", "other_text"),
}
SHOWN, WORST_COUNT = 10, 20
"""Heads in the tables for people, and tokens of each head in ``worst_tokens.csv``."""
DRAWN, LISTED = 4, 3
"""Heads in a histogram, and heads of a circuit whose token lists are made where none were named."""
ON_PAGE = 60
"""Tokens on the page: those that were asked for, and content words up to this number."""
FEW = 20
"""Tokens on a page of a model that knows none of our content words."""
CONTENT = (
    "the most frequent content words of the English prose that comes with rwcore (four letters and more, no "
    "function words, no names) that are one token with the space before them."
)
EVENLY = (
    "drawn evenly from the tokens that were looked at, as no English content word is one token of this model."
)
LABELS = {
    OV: "own token among the 10 most suppressed",
    QK: "own token among the 10 most attended",
}
CAPTION = "Heads of {model} by the rank of their own token, share of tokens: {circuit}"
HEADERS = {
    "rank_0": "first",
    "below_5": "first 5",
    "below_10": "first 10",
    "below_100": "first 100",
    "within_5_percent": "first 5 %",
    "mean_rank": "mean rank",
    "median_rank": "median",
}


@dataclass(frozen=True)
class CircuitsExport:
    """What was written, and the numbers to see first.

    Attributes:
        folder: Where the files are.
        manifest: Content of ``manifest.json``.
        heads: ``heads.csv``.
    """

    folder: Path
    manifest: dict[str, Any]
    heads: pd.DataFrame


def export_circuits(
    study: CircuitStudy,
    out: Path,
    *,
    texts: Sequence[str] = (),
    count: int = 15,
    page: bool = True,
    plots: bool = True,
    palette: PaletteName = "paper",
    force: bool = False,
    command: str = "",
) -> CircuitsExport:
    """Write the circuits of a model's heads into a folder, whole or not at all.

    Args:
        study: The study; computed first if the store does not have it.
        out: See `rwcore.studies.folder.check_target`.
        texts: Tokens whose lists are wanted, as they stand in a text: of the heads that were named, or else
            of the best three of OV.
        count: Length of a list.
        page: Also a page with charts of the lists of some heads.
        plots: Also figures.
        palette: ``paper`` or ``accessible``.
        force: Write into a folder that holds other files.
        command: The command line, for the manifest.

    Raises:
        StoreError: The folder is refused or the disk is full.
        OptionError: There is no such head, or a text is not one token.
        ModelError: The model is no decoder, or its tokenizer cannot be read.
    """
    stopwatch = Stopwatch()
    folder = check_target(out, force=force)
    check_palette(palette)
    require_least("--list", count, 1)
    study.check()
    words = vocabulary(study.weights.local, study.shape.vocab)
    tokens = single_tokens(words, texts)
    asked = study.options
    with keeping_tables():
        ranks = {circuit: study.ranks(circuit) for circuit in asked.circuits}
        statistics = {circuit: study.statistics(found) for circuit, found in ranks.items()}
        heads = _joined(statistics)
        worst = _joined({circuit: study.worst(found, WORST_COUNT) for circuit, found in ranks.items()})
        worst["text"] = [words[token] for token in worst["token"]]
        frames = {"heads.csv": heads, "worst_tokens.csv": worst}
        if tokens:
            named = asked.heads or best_heads(next(iter(statistics.values())), LISTED)
            lists = study.lists(named, tokens, count)
            for name, column in (("token", "token_text"), ("other", "other_text")):
                lists[column] = [words[token] for token in lists[name]]
            frames["token_lists.csv"] = lists
        report = _report(study, statistics, tokens, words, command) if page else None
    model = study.weights.local.spec.id
    with filling(folder) as new:
        for name, frame in frames.items():
            write_csv(new / name, frame, COLUMNS[name])
        write_arrays(new / "ranks.safetensors", _arrays(ranks))
        for circuit, frame in statistics.items():
            table, stem = best_table(frame), f"best_{circuit.lower()}"
            caption = CAPTION.format(model="{model}", circuit=circuit)
            label = f"{latex_label(model)}_{stem}"
            latex = text_latex(table, caption.format(model=latex_escape(model)), label)
            write_text(new / f"{stem}.tex", latex)
            write_text(new / f"{stem}.md", text_markdown(table, caption.format(model=f"`{model}`")))
        if plots:
            for name, figure in _figures(study, ranks, statistics, frames, words, palette):
                save_figure(figure, new / name)
        if report is not None:
            names = sorted([*(path.name for path in new.iterdir()), MANIFEST])
            write_text(new / PAGE, circuits_page(replace(report, files=names)))
        manifest = {
            "schema": SCHEMA,
            "complete": True,
            "command": command,
            "model": {**study.weights.local.identity(), "shape": asdict(study.shape)},
            "processing": study.weights.processing,
            "options": {**asdict(asked), "texts": [*texts], "tokens": tokens, "list": count},
            "vocabulary": study.shape.vocab,
            "definitions": {"ranks": DEFINITION},
            "files": files_of(new, COLUMNS),
            "provenance": {
                "ranks": {circuit: study.provenance(circuit) for circuit in asked.circuits},
                "export": collect(stopwatch),
            },
        }
        write_json(new / MANIFEST, manifest)
    return CircuitsExport(folder, manifest, heads)


def single_tokens(words: Vocabulary, texts: Sequence[str]) -> list[int]:
    """Ids of tokens by what they are in a text, leading space and all.

    Raises:
        OptionError: A text is no single token of the vocabulary.
    """
    numbers = {text: number for number, text in reversed([*enumerate(words.texts)])}
    wrong = [text for text in texts if text not in numbers]
    if wrong:
        spaced = f" {wrong[0]}" in numbers
        raise OptionError(
            f"{wrong[0]!r} is not one token of this model",
            where="--tokens",
            remedy=f'write the space before it, too: " {wrong[0]}"'
            if spaced
            else 'give texts that are one token each, such as " the"',
        )
    return [numbers[text] for text in dict.fromkeys(texts)]


def _report(
    study: CircuitStudy,
    statistics: Mapping[str, pd.DataFrame],
    asked: Sequence[int],
    words: Vocabulary,
    command: str,
) -> CircuitsReport:
    """What the page says, but for the names of the files beside it."""
    options = study.options
    named = LISTED if options.heads is None else len(options.heads)
    heads = [*dict.fromkeys(head for frame in statistics.values() for head in best_heads(frame, named))]
    common = content_tokens(words, ON_PAGE)
    chosen = CONTENT
    if not common:
        looked = options.tokens(study.shape.vocab).tolist()
        few = min(FEW, len(looked))
        common, chosen = [looked[number * len(looked) // few] for number in range(few)], EVENLY
    room = max(ON_PAGE - len(asked), 0)
    common = [token for token in common if token not in asked][:room]
    facts = {
        "weights": study.weights.processing.replace("_", " "),
        "vocabulary": f"{study.shape.vocab:,} tokens",
        "definition": DEFINITION,
        "rwcore": __version__,
        "command": command,
    }
    return CircuitsReport(
        model=study.weights.local.spec.id,
        shape=(study.shape.n_layers, study.shape.n_heads),
        vocabulary=words,
        statistics=_joined(statistics),
        lists=study.lists(heads, [*asked, *common], BARS, beside=()),
        heads=heads,
        asked=asked,
        words=common,
        chosen=chosen,
        embedding=options.embedding,
        query=options.query if QK in options.circuits else None,
        key=options.key if QK in options.circuits else None,
        distance=options.qk.distance,
        again=options_again(study),
        files=(),
        provenance=[(name, text) for name, text in facts.items() if text],
    )


def options_again(study: CircuitStudy) -> list[str]:
    """Options of the command line that ask for the same numbers of other heads and tokens."""
    options, processing = study.options, study.weights.processing
    found = [f"--embedding={options.embedding}"]
    if QK not in options.circuits:
        found.append("--qk=none")
    else:
        found.append(f"--qk={options.query}:{options.key}")
        found += [] if options.qk.normalised else ["--keys=raw"]
        found += ["--qk-biases"] if options.qk.biases else []
        found.append(f"--distance={options.qk.distance}")
    if options.rows is not None:
        found += [f"--rows={options.rows}", f"--seed={options.seed}"]
    found += [] if processing == study.weights.local.spec.processing else [f"--processing={processing}"]
    found += [] if study.forward.dtype == ForwardOptions.dtype else [f"--dtype={study.forward.dtype}"]
    return found


def best_table(statistics: pd.DataFrame) -> pd.DataFrame:
    """The best heads as texts, one row each, for Markdown and LaTeX."""
    best = best_heads(statistics, SHOWN)
    rows = statistics.set_index(["layer", "head"]).loc[best]
    cells = {
        header: [f"{value:.3f}" if name not in ("mean_rank", "median_rank") else f"{value:,.1f}"
                 for value in rows[name]]
        for name, header in HEADERS.items()
    }  # fmt: skip
    index = pd.Index([f"{layer}.{head}" for layer, head in best], name="Head")
    return pd.DataFrame(cells, index=index)


def _joined(frames: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    parts = [frame.assign(circuit=circuit) for circuit, frame in frames.items()]
    found = pd.concat(parts, ignore_index=True)
    return found[["circuit", *(name for name in found if name != "circuit")]]


def _arrays(ranks: Mapping[str, Mapping[int, CircuitRanks]]) -> dict[str, Any]:
    """Tokens once, and the ranks of every layer [head row]."""
    arrays: dict[str, Any] = {}
    for circuit, layers in ranks.items():
        for layer, found in layers.items():
            arrays |= {"tokens": found.tokens.cpu(), f"{circuit.lower()}_{layer:03d}": found.ranks}
    return arrays


def _figures(
    study: CircuitStudy,
    ranks: Mapping[str, Mapping[int, CircuitRanks]],
    statistics: Mapping[str, pd.DataFrame],
    frames: Mapping[str, pd.DataFrame],
    words: Vocabulary,
    palette: PaletteName,
) -> Iterator[tuple[str, Figure]]:
    """Name of the file without suffix, and figure."""
    from rwcore.plots.head_circuit_lists import token_bars_figure
    from rwcore.plots.head_circuits import rank_histograms_figure
    from rwcore.plots.head_maps import head_map_figure

    model, edges = study.weights.local.spec.id, rank_edges(study.shape.vocab)
    for circuit, frame in statistics.items():
        stem = circuit.lower()
        yield (
            f"{stem}_heads",
            head_map_figure(frame, "below_10", LABELS[circuit], title=model, palette_name=palette),
        )
        shares = {
            f"{layer}.{head}": rank_histogram(
                ranks[circuit][layer].ranks[ranks[circuit][layer].heads.index(head)].numpy(), edges
            )
            for layer, head in best_heads(frame, DRAWN)
        }
        end = "bottom" if circuit == OV else "top"
        yield (
            f"{stem}_ranks",
            rank_histograms_figure(
                shares,
                edges,
                f"{circuit}: rank of the own token from the {end}",
                title=model,
                palette_name=palette,
            ),
        )
    if "token_lists.csv" in frames:
        lists = frames["token_lists.csv"]
        for layer, head, token in lists[["layer", "head", "token"]].drop_duplicates().to_numpy().tolist():
            chosen = (lists["layer"] == layer) & (lists["head"] == head) & (lists["token"] == token)
            title = f"{model}, head {layer}.{head}, token {words[token]}"
            yield (
                f"tokens_{layer}.{head}_{token}",
                token_bars_figure(lists[chosen], words.__getitem__, title=title, palette_name=palette),
            )
