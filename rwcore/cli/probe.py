"""``rwcore probe``: which neurons know which features, one alone or many together."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Column, Table

from rwcore.cli.console import paragraphs, remark, right, say, show, size, table
from rwcore.cli.forward import (
    BatchTokens,
    ClipQkv,
    Device,
    Dtype,
    Scheduler,
    Workers,
    check_engine,
    clipped,
    engine_name,
    threads_of,
)
from rwcore.cli.options import Force, Model, Out, Palette, Processing, parse_layers, refuse_idle
from rwcore.errors import OptionError

if TYPE_CHECKING:
    from rwcore.studies.probe_export import ProbeExport
    from rwcore.studies.probe_superposition import SuperpositionTables
    from rwcore.studies.probes import ProbeStudy

HELP = """Which neurons of MODEL know which features: probes that read one neuron, or the best k.

Features (--features) are names of data sets that need no download (`offline` for all of them: text_features,
languages, language_rows, code, sources, sentences, pronouns, python_syntax, position, compound_words,
facts); the published families on texts of yours, as in text_features:CORPUS (also suffixes, compound_words,
latex, programming_languages, natural_languages, sources; treebank:FILE.conllu; people:TABLE@CORPUS); or JSONL
files: in each line a `text`, and either a `label` (texts have the feature or not) or `spans` (characters that
have it). Examples are split by document into training, validation and test; neurons are chosen on validation,
and the numbers to report are those of test, with intervals over documents.

people:TABLE@CORPUS is about the people whom the texts name, at their surnames. TABLE is a .csv, .jsonl or
.parquet file with a row for each: `name`, `fame` (how many properties are known of them), and a column for
each property: sex_or_gender, is_alive (or date_of_birth and date_of_death), occupation, political_party and
country_of_citizenship have the published classes, by name or Wikidata id; others are taken as they are.

MODEL reads each text once. Then every neuron of every layer gets a logistic probe for every feature, beside
random directions and shuffled labels; and at the best layer of each feature (--layers) probes read the best
1, 2, 4 … neurons (--k), chosen in several ways (--methods): by a ranking, by adaptive thresholding, and for
few neurons by a search that proves how good its choice is (--exact). Writes tables (CSV, LaTeX, Markdown),
figures (PDF, PNG), the list of the best neurons and a manifest into DIR; see OUTPUTS.md.

--context N looks more closely at the best N neurons of data sets whose features are classes of text
(languages, code, sources): what they do in each class, and by how much the loss rises there if they are
ablated, beside random neurons of the same layers, in test documents.

--superposition asks whether neurons are better than directions that nobody chose: the best neuron, the
second best, … beside as many directions of random bases (--trials), and by how much probes of k such
directions are worse than those of k neurons; of compound words also what the five best neurons do together.
Of layers with curves the activations of all neurons then stay on the disk, not of the best 512 alone.

--pages SITE also writes pages of the best neurons, as `rwcore pages` does.

What was interrupted goes on where it stopped (`rwcore cache`).

Examples:
  rwcore probe smollm2-135m-instruct-q4_1 --features languages,code --tokens 20000 --out out/probes
  rwcore probe smollm2-135m-instruct-q4_1 --features offline --workers 2 --out out/atlas
  rwcore probe smollm2-135m-instruct-q4_1 --features compound_words --superposition --trials 3 --out out/pairs
  rwcore probe ./my-model --features my-labels.jsonl --k 1,2,4,8 --exact 1,2 --out out/mine --pages out/site
"""
_SHOWN_SIZES = (1, 8, 32)
"""Of the k in ``superposition_loss.csv``, beside the largest."""
DEFAULT_METHODS = "mean_dif,telescopic,exact,random directions,shuffled labels"

Features = Annotated[
    str, typer.Option("--features", metavar="NAMES", help="Names of data sets and .jsonl files, with commas.")
]
Sizes = Annotated[
    str | None, typer.Option("--k", metavar="LIST", help="Sizes of probes: 1,2,4; by default up to 256.")
]
Methods = Annotated[
    str | None,
    typer.Option(
        "--methods",
        metavar="LIST",
        help=f"Ways to choose neurons; also f_stat, mi, lr, l2, svm, random. Default: {DEFAULT_METHODS}.",
    ),
]
ExactSizes = Annotated[
    str | None, typer.Option("--exact", metavar="LIST", help="Sizes of exact probes; 1,2,3,4.")
]
Seconds = Annotated[
    float | None, typer.Option("--exact-seconds", metavar="S", help="Time limit of an exact probe; 60.")
]
Layers = Annotated[
    str,
    typer.Option(
        "--layers",
        metavar="LIST",
        help="Layers with curves: `best` of each feature, `all`, or numbers such as 0,5,20-24.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("probe", help=paragraphs(HELP), no_args_is_help=True)(probe)


def probe(
    context: typer.Context,
    model: Model,
    features: Features,
    out: Out,
    k: Sizes = None,
    methods: Methods = None,
    exact: ExactSizes = None,
    exact_seconds: Seconds = None,
    layers: Layers = "best",
    curves: Annotated[bool, typer.Option("--curves/--no-curves", help="Probes of several neurons.")] = True,
    least: Annotated[
        int | None, typer.Option("--least", metavar="N", help="Examples of either class a feature needs.")
    ] = None,
    tokens: Annotated[
        int | None,
        typer.Option("--tokens", metavar="N", help="About so many tokens of the shared texts; all of them."),
    ] = None,
    top: Annotated[
        int, typer.Option("--top", metavar="N", help="Neurons of each feature in neurons.csv.")
    ] = 30,
    trials: Annotated[
        int, typer.Option("--trials", metavar="N", help="Random bases and shuffles; 0 for no controls.")
    ] = 1,
    seed: Annotated[
        int | None, typer.Option("--seed", metavar="N", help="Of examples, splits and controls.")
    ] = None,
    as_published: Annotated[
        bool,
        typer.Option("--as-published", help="Data sets and probes with the published habits."),
    ] = False,
    closer: Annotated[
        int | None,
        typer.Option(
            "--context", metavar="N", help="Ablate the best N neurons of languages, code, sources; by class."
        ),
    ] = None,
    superposition: Annotated[
        bool,
        typer.Option("--superposition", help="Neurons beside random bases, one alone and k together."),
    ] = False,
    pages: Annotated[
        Path | None, typer.Option("--pages", metavar="SITE", help="Also pages of the best neurons.")
    ] = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
    device: Device = "auto",
    dtype: Dtype = "float32",
    clip_qkv: ClipQkv = None,
    batch_tokens: BatchTokens = None,
    plots: Annotated[bool, typer.Option("--plots/--no-plots", help="Figures.")] = True,
    palette: Palette = "paper",
    processing: Processing = None,
    force: Force = False,
) -> None:
    """Probe a model, write what was found and print a summary."""
    from rwcore.models.locate import locate
    from rwcore.models.registry import find
    from rwcore.provenance import Stopwatch

    stopwatch = Stopwatch()
    check_engine(workers, scheduler)
    if not curves:
        idle = {"--k": k, "--methods": methods, "--exact": exact, "--exact-seconds": exact_seconds}
        refuse_idle(idle, "without curves there is one neuron in a probe", "leave --no-curves out")
    sizes, exact_sizes = _numbers("--k", k), _numbers("--exact", exact)
    local = clipped(locate(find(model)), clip_qkv)  # before torch is imported

    from rwcore.corpora.encoder import read_encoder
    from rwcore.extras import PROBE, extra_library
    from rwcore.parallel import open_engine
    from rwcore.probing.datasets.catalogue import find_features
    from rwcore.probing.datasets.sampling import LEAST
    from rwcore.probing.sparsity import CurveOptions
    from rwcore.runtime import peak_memory_bytes
    from rwcore.studies.folder import check_target
    from rwcore.studies.forward import ForwardOptions
    from rwcore.studies.probe_export import export_probes
    from rwcore.studies.probe_superposition import require_bases
    from rwcore.studies.probes import BEST, KEPT, ProbeOptions, ProbeStudy
    from rwcore.studies.weights import weight_study
    from rwcore.weights.shape import read_shape

    for folder in (out, *([] if pages is None else [pages])):
        check_target(folder, force=force)
    if curves:
        extra_library("sklearn.linear_model", PROBE)  # not only when hours have gone into a pass
    given = {
        "sizes": sizes,
        "exact_sizes": exact_sizes,
        "seconds": exact_seconds,
        "methods": _words(methods or DEFAULT_METHODS),
    }
    every = tuple(range(read_shape(local).n_layers))
    options = ProbeOptions(
        convention="as_published" if as_published else "fixed",
        seed=seed,
        trials=trials,
        kept=None if superposition else KEPT,
        curves=BEST if layers == BEST else every if layers == "all" else tuple(parse_layers(layers)),
        curve=CurveOptions(**{name: value for name, value in given.items() if value is not None}),  # type: ignore[arg-type]
    )
    if superposition:
        require_bases(options, curves=curves)
    forward = ForwardOptions(
        token_budget=batch_tokens, dtype=dtype, device=device, threads=threads_of(workers)
    )
    datasets = find_features(
        features,
        read_encoder(local),
        seed=seed or 0,
        least=LEAST if least is None else least,
        tokens=tokens,
        convention=options.convention,
    )
    with open_engine(engine_name(workers, scheduler)) as engine:
        weights = weight_study(local, processing=processing, engine=engine)
        study = ProbeStudy(weights, tuple(datasets), options, forward, parts=workers or 1)
        export = export_probes(
            study,
            out,
            features=features,
            top=top,
            curves=curves,
            context=closer,
            superposition=superposition,
            plots=plots,
            palette=palette,
            force=force,
            command=shlex.join(["rwcore", *context.obj]),
        )
        _summarise(export)
        if pages is not None:
            _pages(study, export, pages, force=force, command=shlex.join(["rwcore", *context.obj]))
    say(f"took {stopwatch.seconds:.1f} s, {size(peak_memory_bytes())} of memory at most")


def _numbers(option: str, text: str | None) -> tuple[int, ...] | None:
    """Numbers with commas between them, each once, ascending."""
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch("[0-9]{1,9}", part) and int(part) for part in parts):
        raise OptionError(f"{text!r} is no list of sizes", where=option, remedy="give e.g. 1,2,4,8")
    return tuple(sorted({int(part) for part in parts}))


def _words(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def _summarise(export: ProbeExport) -> None:
    found, manifest = export.findings, export.manifest
    examples = sum(one["examples"] for one in manifest["datasets"])
    say(
        f"{manifest['model']['model']}: {found.probed:,} neurons, {len(found.features)} features, "
        f"{examples:,} examples"
    )
    show(_features(export))
    for reason, rows in found.skipped.groupby("why", sort=False):
        names = ", ".join(rows["feature"])
        remark(f"left out ({len(rows)}): {names}: {reason}")
    if found.superposition is not None:
        show(_bases(found.superposition))
    if found.contexts:
        show(_contrasts(export))
    for failure in manifest["failures"]:
        remark(f"not run: {failure['name']}: {failure['error']}")
    say(f"{len(manifest['files']) + 1} files in {export.folder}")


def _bases(found: SuperpositionTables) -> Table:
    """How often neurons are better than random bases: one alone, and k together."""
    one = found.wins.groupby("dataset", sort=False)
    rows = [(str(name), "best one", "1", f"{of['wins'].sum()} of {len(of)}", "") for name, of in one]
    shown = found.loss[found.loss["k"].isin([*_SHOWN_SIZES, found.loss["k"].max()])]
    for (name, method, k), of in shown.groupby(["dataset", "method", "k"], sort=False):
        better = f"{(of['percent'] > 0).sum()} of {len(of)}"
        rows.append((str(name), str(method), str(k), better, f"{of['percent'].median():+.0f} %"))
    headers: list[str | Column] = [
        "features",
        "chosen by",
        right("k"),
        right("neurons better than random bases"),
        right("test log loss of these, median"),
    ]
    return table("neurons beside random bases", headers, rows)


def _contrasts(export: ProbeExport) -> Table:
    """What the context neurons cost, in their own class and elsewhere."""
    rows = [
        (
            f"{row.layer}.{row.neuron}" + (" (random)" if row.baseline else ""),
            row.about,
            f"{row.increase:.4f}",
            f"{row.other_increase:.4f} ({row.other})",
            "yes" if row.holds else "no",
        )
        for row in export.findings.of_contexts("contrasts").itertuples()
    ]
    headers: list[str | Column] = [
        "neuron",
        "class",
        right("loss without it, own class"),
        right("next class"),
        "five times?",
    ]
    return table(
        "increase of the loss without a neuron (nats a prediction), in test documents", headers, rows
    )


def _features(export: ProbeExport) -> Table:
    """The best neuron of every feature."""
    from rwcore.studies.probe_texts import feature_texts

    shown = feature_texts(export.findings.features)
    headers: list[str | Column] = [str(shown.index.name), *map(right, shown.columns)]
    rows = [(name, *cells) for name, cells in zip(shown.index, shown.to_numpy(), strict=True)]
    by = "test" if export.manifest["measure"]["convention"] == "as_published" else "validation"
    return table(
        f"best neuron of each feature, chosen on {by}; MCC [95 % interval over documents]", headers, rows
    )


def _pages(study: ProbeStudy, export: ProbeExport, out: Path, *, force: bool, command: str) -> None:
    """Pages of the best neurons, with examples from the texts of the features."""
    from rwcore.studies.activations import PassOptions
    from rwcore.studies.plain_pass import any_activation_study
    from rwcore.studies.site import export_site

    corpus = max((data.corpus for data in study.datasets), key=lambda one: one.n_tokens)
    options = PassOptions(
        token_budget=study.forward.token_budget,
        dtype=study.forward.dtype,
        device=study.forward.device,
        shards=study.parts,
        threads=study.forward.threads,
    )
    found = export.findings.features
    chosen = sorted({*zip(found["layer"].tolist(), found["neuron"].tolist(), strict=True)})
    site = export_site(
        any_activation_study(study.weights, corpus, options), chosen, out, force=force, command=command
    )
    say(f"{len(site.new)} pages of the best neurons: open {site.folder / 'index.html'}")
