"""``rwcore serve``: pages on this machine where people type a text and see what a neuron or head does."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from rwcore.cli.ablation_options import Bos
from rwcore.cli.console import paragraphs, say
from rwcore.cli.forward import ClipQkv, Device, Dtype, clipped
from rwcore.cli.options import Model, Processing
from rwcore.errors import OptionError, RwcoreError

HELP = """Pages on this machine to test MODEL on your own text: one neuron or one head, token by token.

Prints an address to open in a browser. There, type a text and name a neuron: the page shows gate, in,
act(gate) and post at every token, and the loss of every prediction, clean and with the neuron ablated.
Texts become tokens as those of a corpus do. A link to a neuron is the address with #neuron=LAYER.NEURON.

The page /heads does the same for an attention head, as `rwcore heads examples` shows it: loss changes, logits
it lowers and raises, attention, logit lens, copy suppression. Heads are replaced by their mean over 2,048
tokens of our own texts, taken at the first question, or by zero. A link is /heads#head=LAYER.HEAD.

The server answers on 127.0.0.1 only, to its own page only, one text at a time; no text is kept or written
down. With --site it also shows a site of `rwcore pages`. Ctrl-C stops it. Needs the package tornado:
pip install 'rwcore[serve]'.

Examples:
  rwcore serve smollm2-135m-instruct-q4_1 --open
  rwcore serve ./my-model --site site --port 9000 --max-tokens 128
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("serve", help=paragraphs(HELP), no_args_is_help=True)(serve)


def serve(
    model: Model,
    site: Annotated[
        Path | None, typer.Option("--site", metavar="DIR", help="Site of `rwcore pages` to show, too.")
    ] = None,
    port: Annotated[int, typer.Option("--port", metavar="N", help="Port; 0 for one that is free.")] = 8765,
    open_browser: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    max_tokens: Annotated[
        int | None,
        typer.Option("--max-tokens", metavar="N", help="Tokens of the longest text; 512, or the context."),
    ] = None,
    bos: Bos = "model",
    device: Device = "auto",
    dtype: Dtype = "float32",
    clip_qkv: ClipQkv = None,
    processing: Processing = None,
) -> None:
    """Load the model, then serve until Ctrl-C."""
    from rwcore.models.locate import locate
    from rwcore.models.registry import find

    _require_tornado()
    # Before torch is imported: a wrong name must not take seconds.
    local = clipped(locate(find(model)), clip_qkv)

    from rwcore.serve.app import check_site
    from rwcore.serve.heads import load_heads
    from rwcore.serve.reader import load_reader
    from rwcore.serve.server import address_of, listen, run

    folder = None if site is None else check_site(site)
    sockets = listen(port)
    try:
        say(f"{local.spec.id}: loading …")
        reader = load_reader(
            local, processing=processing, device=device, dtype=dtype, tokens=max_tokens, bos=bos
        )
        heads = load_heads(local, reader, processing)
    except BaseException:
        for one in sockets:
            one.close()
        raise
    address = address_of(sockets)

    def ready() -> None:
        say(f"{address}: open it in a browser; Ctrl-C stops the server", style="bold")
        if folder is not None:
            say(f"{address}site/: the pages of {folder}")
        if isinstance(heads, RwcoreError):
            say(f"{address}heads: none, {heads.what}")
        if open_browser:
            webbrowser.open(address)

    run(reader, heads, sockets, site=folder, ready=ready)
    say("stopped")


def _require_tornado() -> None:
    """Check that the package is there that makes the server.

    Raises:
        OptionError: It is not.
    """
    from importlib.util import find_spec

    if find_spec("tornado") is None:
        raise OptionError(
            "the server needs the package `tornado`",
            where="rwcore serve",
            remedy="pip install 'rwcore[serve]'",
        )
