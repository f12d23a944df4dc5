"""``rwcore activations``: one pass over a text as files."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from rwcore.cli.console import paragraphs, say, size
from rwcore.cli.forward import (
    BatchTokens,
    CheckpointEvery,
    ClipQkv,
    Corpus,
    Device,
    Dtype,
    MaxLength,
    Resume,
    Scheduler,
    Tokens,
    Workers,
    check_engine,
    chosen_corpus,
    clipped,
    engine_name,
    threads_of,
)
from rwcore.cli.frequencies import FrequencyPlots, show_frequencies
from rwcore.cli.options import Force, Model, Out, Palette, Processing
from rwcore.errors import OptionError

HELP = """How often the neurons of MODEL fire on CORPUS, how strongly, and where most: one pass over the text.

A gated neuron is in one of four sign quadrants at each token (gate > 0 or < 0, in > 0 or < 0). For every
neuron and quadrant: how many tokens, the sums of gate, in, act(gate) and post, and the texts with the largest
values, with document and position. Then frequencies by read-write class against random neurons of the same
layers, and how they go with the cosines of the weights. Writes arrays (safetensors), tables (parquet, CSV,
LaTeX, Markdown), figures (PDF, PNG) and a manifest into DIR; see OUTPUTS.md.

CORPUS is a name from `rwcore corpora`, or a file or folder of text, JSONL or Parquet.

A pass that was interrupted goes on where it stopped when the same command is given again; the result is the
same to the last bit. Nothing is computed twice: results are kept in the cache (`rwcore cache`).

Examples:
  rwcore activations smollm2-135m-instruct-q4_1 handmade --out out/frequencies
  rwcore activations ./my-model notes.jsonl --tokens 200000 --top 32 --out out/notes
  rwcore activations allenai/OLMo-7B-0424-hf dolma-small --device cuda --workers 8 --out out/olmo
  rwcore activations allenai/OLMo-7B-0424-hf dolma-small --shards 8 --shard 3 --out out/shard3
  rwcore activations allenai/OLMo-7B-0424-hf dolma-small --merge out/shard0 --merge out/shard1 --out out/olmo
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("activations", help=paragraphs(HELP), no_args_is_help=True)(activations)


def activations(
    context: typer.Context,
    model: Model,
    corpus: Corpus,
    out: Out,
    tokens: Tokens = None,
    max_length: MaxLength = None,
    top: Annotated[
        int, typer.Option("--top", metavar="K", help="Texts in each list of extremes; 0 for no lists.")
    ] = 16,
    resume: Resume = True,
    shards: Annotated[
        int | None,
        typer.Option("--shards", metavar="N", help="Parts of the pass; one per worker if not given."),
    ] = None,
    shard: Annotated[
        int | None,
        typer.Option("--shard", metavar="I", help="Only this part, from 0; to be merged with the others."),
    ] = None,
    merge: Annotated[
        list[Path] | None,
        typer.Option("--merge", metavar="DIR", help="A part computed elsewhere; give all parts of a pass."),
    ] = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
    device: Device = "auto",
    dtype: Dtype = "float32",
    clip_qkv: ClipQkv = None,
    batch_tokens: BatchTokens = None,
    checkpoint_every: CheckpointEvery = 25,
    plots: FrequencyPlots = "default",
    palette: Palette = "paper",
    processing: Processing = None,
    force: Force = False,
) -> None:
    """Run a pass, write what it found and print its summary."""
    from rwcore.models.locate import locate
    from rwcore.models.registry import find
    from rwcore.provenance import Stopwatch

    stopwatch = Stopwatch()
    _check(shards, shard, merge, workers, scheduler)
    spec = chosen_corpus(corpus, tokens, max_length)
    # Before torch is imported: a wrong name must not take seconds.
    local = clipped(locate(find(model)), clip_qkv)

    from rwcore.activations.artefact import load
    from rwcore.corpora.encoder import read_encoder
    from rwcore.corpora.prepare import prepare
    from rwcore.parallel import open_engine
    from rwcore.runtime import peak_memory_bytes
    from rwcore.studies.activation_export import export_activations, export_shard
    from rwcore.studies.activations import PassOptions, activation_study
    from rwcore.studies.folder import check_target
    from rwcore.studies.weights import weight_study

    check_target(out, force=force)
    command = shlex.join(["rwcore", *context.obj])
    options = PassOptions(
        k=top,
        token_budget=batch_tokens,
        dtype=dtype,
        device=device,
        shards=(workers or 1) if shards is None else shards,
        threads=threads_of(workers),
        checkpoint_every=checkpoint_every,
        restart=not resume,
    )
    with open_engine(engine_name(workers, scheduler)) as engine:
        weights = weight_study(local, processing=processing, engine=engine)
        study = activation_study(weights, prepare(spec, read_encoder(local)), options)
        if shard is not None:
            folder = export_shard(study, shard, out, force=force)
            say(f"shard {shard} of {options.shards} is in {folder}; merge all of them with --merge")
            return
        if merge:
            study.merge(load(folder) for folder in merge)
        export = export_activations(study, out, plots=plots, palette=palette, force=force, command=command)
    facts = export.manifest
    say(
        f"{facts['model']['model']} on {facts['corpus']['id']}: {facts['tokens']:,} tokens in "
        f"{facts['rows']:,} rows"
    )
    show_frequencies(export)
    seconds = sum(run["wall_seconds"] for run in study.unfolded.runs)
    say(f"the pass: {seconds:,.0f} s, {facts['tokens'] / seconds:,.0f} tokens per second and process")
    say(f"took {stopwatch.seconds:.1f} s, {size(peak_memory_bytes())} of memory at most")


def _check(
    shards: int | None,
    shard: int | None,
    merge: list[Path] | None,
    workers: int | None,
    scheduler: str | None,
) -> None:
    """Refuse options that contradict each other, before anything is read.

    Raises:
        OptionError: They do.
    """
    check_engine(workers, scheduler)
    if shard is not None and shards is None:
        raise OptionError(
            "one part of how many?", where=f"--shard {shard}", remedy="add --shards N, the same for all parts"
        )
    if shard is not None and shards is not None and not 0 <= shard < shards:
        raise OptionError(
            f"there is no part {shard} of {shards}", where="--shard", remedy=f"parts are 0 to {shards - 1}"
        )
    given = {"--shard": shard is not None, "--workers": bool(workers), "--scheduler": bool(scheduler)}
    clash = [name for name, there in given.items() if there]
    if merge and clash:
        raise OptionError(
            "merging runs nothing", where=", ".join(["--merge", *clash]), remedy=f"leave {clash[0]} out"
        )
    if shard is not None and (workers or scheduler):
        raise OptionError(
            "one part is one task", where=", ".join(clash), remedy="leave workers and scheduler out"
        )
