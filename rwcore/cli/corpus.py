"""``rwcore corpus``: the rows of a corpus for a model, and single ones of them."""

from __future__ import annotations

import dataclasses
import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from rwcore.cli.console import paragraphs, remark, right, say, show, size, table
from rwcore.cli.options import MODEL_HELP, Force, Model, Out
from rwcore.errors import ModelError, OptionError

if TYPE_CHECKING:
    from rwcore.corpora.encoder import TextEncoder
    from rwcore.corpora.spec import CorpusSpec
    from rwcore.corpora.tokens import TokenCorpus
    from rwcore.models.spec import LocalModel
    from rwcore.studies.corpus_export import CorpusExport

MaxLength = Annotated[
    int | None,
    typer.Option("--max-length", metavar="N", help="Tokens of the longest row, not the recipe's."),
]

GROUP_HELP = """Rows of tokens of a corpus: make them for a model, look at one.

CORPUS is a name from `rwcore corpora`, or a file or folder of text, JSONL or Parquet.

Examples:
  rwcore corpus make handmade smollm2-135m-instruct-q4_1 --out out/handmade
  rwcore corpus show out/handmade --row 12
"""
MAKE_HELP = """Cut CORPUS into rows of tokens with the tokenizer of MODEL, by the corpus' recipe.

Writes the rows (safetensors), a table of what each row is (parquet) and a manifest into DIR; see OUTPUTS.md.
DIR must be new, empty or hold an earlier export. Where a paper says how many rows and tokens there should be,
every number is compared with it. Nothing is tokenised twice: the rows are kept in the cache, where
`rwcore activations` finds them.

Examples:
  rwcore corpus make dolma-small allenai/OLMo-1B-hf --out out/dolma-small
  rwcore corpus make dolma-small allenai/OLMo-1B-hf --tokens 1000000 --out out/dolma-1m
  rwcore corpus make notes.jsonl smollm2-135m-instruct-q4_1 --out out/notes
"""
SHOW_HELP = """One row or document of a corpus: where it comes from, its labels, its text, its tokens.

WHAT is a CORPUS or a folder that `rwcore corpus make` wrote. Rows and documents are counted from 0. A row
needs a tokenizer: that of --model, else of the model that the folder was made for, or that the published rows
were made with.

Examples:
  rwcore corpus show out/handmade --row 12
  rwcore corpus show handmade --row 12 --model smollm2-135m-instruct-q4_1
  rwcore corpus show handmade --document 3
"""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help=paragraphs(GROUP_HELP), no_args_is_help=True)
    group.command("make", help=paragraphs(MAKE_HELP), no_args_is_help=True)(make)
    group.command("show", help=paragraphs(SHOW_HELP), no_args_is_help=True)(show_one)
    app.add_typer(group, name="corpus")


def make(
    context: typer.Context,
    corpus: Annotated[
        str, typer.Argument(metavar="CORPUS", help="Name of a corpus, or a file or folder of text.")
    ],
    model: Model,
    out: Out,
    tokens: Annotated[
        int | None,
        typer.Option("--tokens", metavar="N", help="Stop at the row with the N-th token, not the recipe's."),
    ] = None,
    max_length: MaxLength = None,
    force: Force = False,
) -> None:
    """Tokenise a corpus, write its rows and print what they are."""
    from rwcore.corpora.registry import find as find_corpus
    from rwcore.models.locate import locate
    from rwcore.models.registry import find
    from rwcore.provenance import Stopwatch

    stopwatch = Stopwatch()
    spec = _changed(find_corpus(corpus), tokens=tokens, max_length=max_length)
    local = locate(find(model))  # before torch is imported: a wrong name must not take seconds

    from rwcore.corpora.encoder import read_encoder
    from rwcore.corpora.prepare import prepare
    from rwcore.runtime import peak_memory_bytes
    from rwcore.studies.corpus_export import export_corpus
    from rwcore.studies.folder import check_target

    check_target(out, force=force)
    rows = prepare(spec, read_encoder(local))
    command = shlex.join(["rwcore", *context.obj])
    export = export_corpus(rows, local, out, force=force, command=command)
    _summarise(rows, export)
    say(f"{len(export.manifest['files']) + 1} files in {export.folder}")
    say(f"took {stopwatch.seconds:.1f} s, {size(peak_memory_bytes())} of memory at most")


def _changed(spec: CorpusSpec, **options: int | None) -> CorpusSpec:
    """A recipe with the options that were given."""
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    return dataclasses.replace(spec, **given)


def _summarise(corpus: TokenCorpus, export: CorpusExport) -> None:
    facts = export.facts
    say(f"{corpus.spec.id} for {corpus.model}: {corpus.spec.describe()}")
    rows = [
        ("rows", f"{facts.rows:,}"),
        ("documents", f"{facts.documents:,}"),
        ("tokens", f"{facts.tokens:,}"),
        ("mean length", f"{facts.mean_length:.1f}"),
        ("longest row", f"{facts.longest:,}"),
    ]
    show(table(None, ("what", right("here")), rows))
    say(f"content hash {facts.content_hash}")
    _compare(corpus, export.manifest["published"])


def _compare(corpus: TokenCorpus, compared: list[dict[str, str]] | None) -> None:
    """Say whether the rows are those of a paper, or why nobody can tell."""
    from rwcore.corpora.registry import published
    from rwcore.studies.corpus_export import AGREES

    if compared is None:
        if published(corpus.spec.id) is not None:
            remark("not compared with the published rows: this is not their whole recipe")
        return
    marks = {True: "green", False: "bold red"}
    rows = [
        (one["fact"], one["published"], one["here"], Text(one["verdict"], marks[one["verdict"] == AGREES]))
        for one in compared
    ]
    show(table("compared with the published rows", ("what", right("published"), right("here"), ""), rows))
    if corpus.model != corpus.spec.tokenizer:
        remark(
            f"the published rows were made with the tokenizer of {corpus.spec.tokenizer}; that of "
            f"{corpus.model} makes the same rows only if it is the same tokenizer"
        )


@dataclass(frozen=True)
class _Shown:
    """A row of a corpus, and what it is."""

    row: int
    of: str
    document: int
    id: str
    labels: dict[str, str]
    ids: list[int]


def show_one(
    what: Annotated[str, typer.Argument(metavar="WHAT", help="A CORPUS, or a folder of `corpus make`.")],
    row: Annotated[int | None, typer.Option("--row", metavar="N", min=0, help="Which row, from 0.")] = None,
    document: Annotated[
        int | None, typer.Option("--document", metavar="N", min=0, help="Which document, from 0.")
    ] = None,
    model: Annotated[str | None, typer.Option("--model", metavar="MODEL", help=MODEL_HELP)] = None,
    max_length: MaxLength = None,
) -> None:
    """Print one row or one document."""
    from rwcore.corpora.registry import find as find_corpus

    if (row is None) == (document is None):
        raise OptionError(
            "it is not clear what is to be shown",
            where="--row, --document",
            remedy="give one of the two: --row 12 for tokens, or --document 12 for the text alone",
        )
    folder = Path(what).expanduser()
    if (folder / "manifest.json").is_file() and _is_export(folder):
        _show_exported(folder, row, document, model)
        return
    spec = _changed(find_corpus(what), max_length=max_length)
    if document is not None or row is None:
        _show_document(spec, document or 0)
        return
    name = model or spec.tokenizer
    if name is None:
        raise OptionError(
            f"the rows of {spec.id} depend on the tokenizer, and no model is named",
            where="--model",
            remedy=f"add --model MODEL, or give --document {row} for the text alone",
        )
    local = _locate(name)
    _print_row(_find_row(spec, local, row), local)


def _is_export(folder: Path) -> bool:
    from rwcore.studies.corpus_export import is_export

    return is_export(folder)


def _locate(model: str) -> LocalModel:
    from rwcore.models.locate import locate
    from rwcore.models.registry import find

    return locate(find(model))


def _show_document(spec: CorpusSpec, number: int) -> None:
    from rwcore.corpora.documents import document

    one = document(spec, number)
    say(f"document {number} of {spec.id}: {one.id}", style="bold")
    _print_labels(dict(one.labels))
    say(f"{len(one.text):,} characters")
    say("")
    say(one.text)


def _show_exported(folder: Path, row: int | None, number: int | None, model: str | None) -> None:
    from rwcore.studies.corpus_export import read_export

    corpus, frame, manifest = read_export(folder)
    if row is None:
        _show_document(corpus.spec, number or 0)
        return
    if row >= len(corpus):
        raise _no_row(row, corpus.spec.id, len(corpus))
    known = frame.iloc[row]
    shown = _Shown(
        row,
        f"{len(corpus):,} of {corpus.spec.id} for {corpus.model}",
        int(known["document"]),
        str(known["id"]),
        json.loads(known["labels"]),
        corpus.row(row).tolist(),
    )
    try:
        local = _locate(model or str(manifest["model"]["model"]))
    except ModelError as error:
        if model is not None:
            raise
        remark(
            f"tokens are shown as ids: {error.what}; name another model of the same tokenizer with --model"
        )
        _print_row(shown, None)
        return
    from rwcore.corpora.encoder import read_encoder

    corpus.require_fit(read_encoder(local))
    _print_row(shown, local)


def _find_row(spec: CorpusSpec, local: LocalModel, row: int) -> _Shown:
    """A row of a corpus: from the cache, or made now with all that come before it."""
    from rwcore.corpora.documents import document
    from rwcore.corpora.encoder import read_encoder
    from rwcore.corpora.prepare import prepared

    encoder = read_encoder(local)
    corpus = prepared(spec, encoder)
    if corpus is None:
        number, ids = _make_row(spec, encoder, row)
    elif row < len(corpus):
        number, ids = int(corpus.document[row]), corpus.row(row).tolist()
    else:
        raise _no_row(row, spec.id, len(corpus))
    one = document(spec, number)
    return _Shown(row, f"{spec.id} for {local.spec.id}", number, one.id, dict(one.labels), ids)


def _make_row(spec: CorpusSpec, encoder: TextEncoder, row: int) -> tuple[int, list[int]]:
    from rwcore.corpora.tokenise import rows_of

    count, at = 0, -1
    for at, (number, ids) in enumerate(rows_of(spec, encoder)):
        if at == row:
            return number, ids
        count += len(ids)
        if spec.tokens is not None and count >= spec.tokens:
            break
    raise _no_row(row, spec.id, at + 1)


def _no_row(row: int, corpus: str, rows: int) -> OptionError:
    return OptionError(
        f"there is no row {row} in {corpus}", where="--row", remedy=f"rows are 0 to {max(0, rows - 1)}"
    )


def _print_row(shown: _Shown, local: LocalModel | None) -> None:
    say(f"row {shown.row} of {shown.of}", style="bold")
    say(f"document {shown.document}: {shown.id}")
    _print_labels(shown.labels)
    say(f"{len(shown.ids):,} tokens")
    say("")
    if local is None:
        say(" ".join(map(str, shown.ids)))
        return
    from rwcore.corpora.encoder import read_encoder
    from rwcore.models.vocabulary import vocabulary

    encoder = read_encoder(local)
    tokens = vocabulary(local, encoder.vocab)
    say(encoder.tokenizer.decode(shown.ids))
    say("")
    say("token by token (␣ is a space, ⏎ a line break):", style="bold")
    say(" ".join(tokens[number] for number in shown.ids))


def _print_labels(labels: dict[str, str]) -> None:
    if labels:
        say("labels: " + ", ".join(f"{name} = {value}" for name, value in sorted(labels.items())))
