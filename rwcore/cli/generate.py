"""``rwcore generate``: what a model writes when neurons are switched off, beside what it writes otherwise."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text as Styled

from rwcore.cli.ablation_options import (
    SETS_HELP,
    Baselines,
    Bos,
    Gate,
    Means,
    MeansTokens,
    Mode,
    Neurons,
    Parameter,
    Positions,
    Post,
    asked_interventions,
    chosen_sets,
    means_corpus,
)
from rwcore.cli.console import console, paragraphs, say, size
from rwcore.cli.forward import (
    ClipQkv,
    Device,
    Dtype,
    MaxLength,
    Scheduler,
    Workers,
    check_engine,
    clipped,
    engine_name,
    threads_of,
)
from rwcore.cli.options import Force, Model, Out, Processing
from rwcore.errors import OptionError

if TYPE_CHECKING:
    from rwcore.ablation.generation import Decoding
    from rwcore.studies.generation_export import GenerationExport
    from rwcore.studies.generations import GenerationStudy

HELP = f"""What MODEL writes when neurons are ablated, and where it parts from the clean text.

Each prompt is continued by the clean model, and again with the activations of chosen neurons set to zero,
to their mean or to something else: at every position of prompt and text, or only where gate and post have
given signs there. Runs without conditions come with as many random neurons of the same layers. The
likeliest token is taken each time, or with --temperature one is drawn; the draws are the same in all runs,
so that texts differ by the ablation only. Prints the texts, and writes them (Markdown), their tokens with
log-probability and entropy (CSV), the neurons of every set and a manifest into DIR; see OUTPUTS.md.

A prompt begins with the model's BOS token, which is put there unless it is in the prompt already (--bos);
names of special tokens in a prompt are these tokens. Without a prompt the model begins by itself. A text
ends with the model's end-of-text token or after N tokens.

{SETS_HELP}

Mean ablation takes its values from `rwcore activations` on the corpus that --means names, which is run
first if need be. Texts are kept (`rwcore cache`) and never made twice.

Examples:
  rwcore generate smollm2-135m-instruct-q4_1 --prompt "Once upon" --neurons weakening --out out/texts
  rwcore generate ./my-model --neurons weakening --temperature 0.8 --top-k 50 --seed 1 --out out/begins
  rwcore generate ./my-model --prompt "Once" --neurons 28.4737 --gate - --post + --out out/quadrant
  rwcore generate ./my-model --prompt "Once" --neurons weakening --mode mean --means handmade --out out/mean
"""

Prompts = Annotated[
    list[str] | None,
    typer.Option("--prompt", metavar="TEXT", help="Text to continue; as often as needed."),
]
NewTokens = Annotated[int, typer.Option("--tokens", metavar="N", help="Tokens to write, at most.")]
Temperature = Annotated[
    float | None,
    typer.Option("--temperature", metavar="T", help="Draw tokens at this temperature; 1 is the model's own."),
]
TopK = Annotated[
    int | None, typer.Option("--top-k", metavar="K", help="Draw from the K likeliest tokens only.")
]
Seed = Annotated[int | None, typer.Option("--seed", metavar="S", help="Decides the draws; 0.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("generate", help=paragraphs(HELP), no_args_is_help=True)(generate)


def generate(
    context: typer.Context,
    model: Model,
    out: Out,
    prompt: Prompts = None,
    neurons: Neurons = None,
    mode: Mode = "zero",
    gate: Gate = "",
    post: Post = "",
    parameter: Parameter = None,
    positions: Positions = "",
    baselines: Baselines = True,
    tokens: NewTokens = 50,
    temperature: Temperature = None,
    top_k: TopK = None,
    seed: Seed = None,
    bos: Bos = "model",
    means: Means = None,
    means_tokens: MeansTokens = None,
    max_length: MaxLength = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
    device: Device = "auto",
    dtype: Dtype = "float32",
    clip_qkv: ClipQkv = None,
    processing: Processing = None,
    force: Force = False,
) -> None:
    """Continue prompts with and without ablations, write and print the texts."""
    from rwcore.models.locate import locate
    from rwcore.models.registry import find
    from rwcore.provenance import Stopwatch

    stopwatch = Stopwatch()
    check_engine(workers, scheduler)
    spec = means_corpus(mode, means, means_tokens, max_length)
    # Before torch is imported: a wrong name must not take seconds.
    local = clipped(locate(find(model)), clip_qkv)

    from rwcore.ablation.grid import experiments
    from rwcore.corpora.encoder import read_encoder
    from rwcore.corpora.prepare import prepare
    from rwcore.parallel import open_engine
    from rwcore.runtime import peak_memory_bytes
    from rwcore.studies.activations import PassOptions, activation_study
    from rwcore.studies.folder import check_target
    from rwcore.studies.forward import ForwardOptions
    from rwcore.studies.generation_export import export_generations
    from rwcore.studies.generations import GenerationStudy
    from rwcore.studies.weights import weight_study

    check_target(out, force=force)
    decoding = _decoding(tokens, temperature, top_k, seed)
    given = {"dtype": dtype, "device": device, "threads": threads_of(workers)}
    encoder = read_encoder(local)
    with open_engine(engine_name(workers, scheduler)) as engine:
        weights = weight_study(local, processing=processing, engine=engine)
        options = ForwardOptions(**given)  # type: ignore[arg-type]
        study = GenerationStudy(weights, encoder, decoding, bos, options=options)
        prompts = [study.prompt(text) for text in prompt or [""]]
        todo = asked_interventions(mode, gate, post, parameter, positions)
        planned = experiments(chosen_sets(neurons or (), weights), todo, baselines=baselines)
        if spec is not None:
            measured = activation_study(weights, prepare(spec, encoder), PassOptions(**given))  # type: ignore[arg-type]
            study = GenerationStudy(weights, encoder, decoding, bos, measured, options)
        export = export_generations(
            study, prompts, planned, out, force=force, command=shlex.join(["rwcore", *context.obj])
        )
    _show(study, export)
    say(f"took {stopwatch.seconds:.1f} s, {size(peak_memory_bytes())} of memory at most")


def _decoding(tokens: int, temperature: float | None, top_k: int | None, seed: int | None) -> Decoding:
    """How tokens are chosen.

    Raises:
        OptionError: A number is out of range, or has no effect because nothing is drawn.
    """
    from rwcore.ablation.generation import Decoding

    if seed is not None and temperature is None:
        raise OptionError(
            "nothing is drawn, so a seed has no effect",
            where="--seed",
            remedy="add --temperature 1 to draw tokens, or leave --seed out",
        )
    return Decoding(tokens, temperature, top_k, seed or 0)


def _show(study: GenerationStudy, export: GenerationExport) -> None:
    from rwcore.studies.generation_export import MARK, by_prompt, decoding_text, headline, passages, visible

    stream = console()

    def line(*parts: str | tuple[str, str]) -> None:
        stream.print(Styled.assemble(*parts), soft_wrap=True)

    count = f"{len(export.texts)} text{'s' * (len(export.texts) > 1)}"
    say(f"{export.manifest['model']['model']}: {count}. {decoding_text(study.decoding)}.")
    for number, prompt, texts in by_prompt(export.prompts, export.texts):
        line("")
        line((f"prompt {number}: ", "bold"), visible(prompt.text) or "(nothing but the first token)")
        for text in texts:
            same, own = (part.replace("\n", "\n  ") for part in passages(study, prompt, text))
            line((headline(text, texts[0]), "bold"))
            line("  ", same, (MARK if text.parts is not None else "", "bold red"), own)
    line("")
    say(f"{len(export.manifest['files']) + 1} files in {export.folder}")
