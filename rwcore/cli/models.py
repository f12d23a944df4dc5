"""``rwcore models``, ``fetch`` and ``doctor``: which models there are, and whether they can be used here."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.text import Text

from rwcore.cli.console import console, paragraphs, remark, right, say, show, show_json, size, table

if TYPE_CHECKING:
    from rwcore.models.spec import ModelSpec

BROKEN = 1

MODELS_HELP = """The models rwcore knows, and which of them are on this machine.

Any other model can be used too: org/name@revision from the hub, a folder in Hugging Face format, a .gguf
file.

Examples:
  rwcore models --group gated
  rwcore models --json
"""
FETCH_HELP = """Download the weights of models, and the texts of corpora.

Hub models and hub data sets go to the hub's own cache (HF_HOME), the packaged model is converted into
rwcore's. What is there is not downloaded again, and an interrupted download goes on where it stopped. A data
set needs its uncompressed size once more when it is first read (HF_DATASETS_CACHE).

Examples:
  rwcore fetch smollm2-135m-instruct-q4_1
  rwcore fetch allenai/OLMo-1B-hf Qwen/Qwen2.5-0.5B
  rwcore fetch allenai/OLMo-1B-hf --corpus dolma-small
"""
DOCTOR_HELP = """What works on this machine, and what to do about the rest.

With MODEL: whether that model can be used, and which statistics apply to it. Exit code 1 if something that is
required is broken.

Examples:
  rwcore doctor
  rwcore doctor smollm2-135m-instruct-q4_1
"""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("models", help=paragraphs(MODELS_HELP))(models)
    app.command("fetch", help=paragraphs(FETCH_HELP), no_args_is_help=True)(fetch)
    app.command("doctor", help=paragraphs(DOCTOR_HELP))(doctor)


def models(
    group: Annotated[
        Literal["gated", "instruct", "vanilla", "packaged"] | None,
        typer.Option(help="Only one of the papers' lists."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="JSON instead of a table.")] = False,
) -> None:
    """List the registered models."""
    from rwcore.models import registry

    listed = list(registry.registry().values()) if group is None else registry.group(group)
    if json:
        show_json([{**asdict(spec), "here": is_here(spec)} for spec in listed])
        return
    columns = ("model", "family", right("layers"), right("d_mlp"), right("d_model"))
    rows = [
        (
            spec.id,
            spec.family,
            spec.layers,
            spec.d_mlp,
            spec.d_model,
            "yes" if spec.gated_mlp else "no",
            "yes" if spec.licence_gated else "",
            Text("yes", style="green") if is_here(spec) else "",
        )
        for spec in listed
    ]
    show(table(None, (*columns, "gate", "licence", "here"), rows))
    remark("licence: must be accepted on the hub, and a token set · to get a model: rwcore fetch MODEL")


def is_here(spec: ModelSpec) -> bool:
    """Whether a model's weights are complete on this machine."""
    from rwcore.errors import RwcoreError
    from rwcore.models.locate import locate

    try:
        locate(spec)
    except RwcoreError:
        return False
    return True


def fetch(
    models: Annotated[
        list[str] | None, typer.Argument(metavar="[MODEL]...", help="Registry ids or org/name@revision.")
    ] = None,
    corpus: Annotated[
        list[str] | None,
        typer.Option("--corpus", metavar="CORPUS", help="A name from `rwcore corpora`; as often as needed."),
    ] = None,
) -> None:
    """Download models and corpora; all names are checked before the first download."""
    from rwcore.cli.corpora import fetch_corpus
    from rwcore.corpora.registry import find as find_corpus
    from rwcore.models.fetch import fetch as fetch_one
    from rwcore.models.registry import find

    texts = [find_corpus(name) for name in corpus or []]
    for spec in [find(model) for model in models or []]:
        with console(stderr=True).status(f"fetching {spec.id}"):
            local = fetch_one(spec)
        say(
            f"{spec.id}: {size(local.bytes)} in {local.path}"
            + (f" ({local.revision})" if local.revision else "")
        )
    for text in texts:
        say(fetch_corpus(text))


def doctor(
    model: Annotated[str | None, typer.Argument(metavar="[MODEL]", help="Also look at this model.")] = None,
) -> None:
    """Print findings and exit with 1 if something required is broken."""
    from rwcore.models.doctor import diagnose
    from rwcore.models.registry import find

    findings = diagnose(None if model is None else find(model))
    marks = {
        True: Text("ok", style="green"),
        False: Text("broken", style="bold red"),
        None: Text("note", style="yellow"),
    }
    rows = [
        (marks[one.ok], one.what, one.detail + (f"\nto do: {one.remedy}" if one.remedy else ""))
        for one in findings
    ]
    show(table(None, ("", "what", "found"), rows))
    if any(one.ok is False for one in findings):
        raise typer.Exit(BROKEN)
