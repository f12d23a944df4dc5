"""The server's own pages: one about neurons, one about heads."""

from __future__ import annotations

import base64
import hashlib
import re

from rwcore.ablation.interventions import PARAMETER_MODES
from rwcore.errors import RwcoreError
from rwcore.pages.head_examples import SCRIPTS
from rwcore.pages.render import render
from rwcore.serve.guards import NOTHING
from rwcore.serve.heads import MEAN_TOKENS, HeadReader
from rwcore.serve.question import ASKED_MODES
from rwcore.serve.reader import Reader

_INLINE = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)

MODE_WORDS = {
    "zero": "0",
    "fixed": "a number",
    "threshold": "at most a number",
    "relu": "at least 0",
    "multiply": "a multiple of it",
}


def serve_page(reader: Reader, *, site: bool) -> str:
    """The page about neurons as text.

    Args:
        reader: The model; its name, shape and limits are shown.
        site: Whether the server has a site of neuron pages, which is linked then.
    """
    layers, neurons = reader.shape
    return render(
        "serve.html",
        model=reader.encoder.model,
        layers=layers,
        neurons=neurons,
        gated=bool(getattr(reader.model.cfg, "gated_mlp", False)),
        limits=reader.limits,
        modes=[(mode, MODE_WORDS[mode], mode in PARAMETER_MODES) for mode in ASKED_MODES],
        site=site,
    )


def heads_page(reader: Reader, heads: HeadReader | RwcoreError) -> str:
    """The page about heads as text; where they cannot be read, it says why.

    Args:
        reader: The model; its name and limits are shown.
        heads: Its heads, or why they cannot be read.
    """
    layers, count = heads.shape if isinstance(heads, HeadReader) else (0, 0)
    return render(
        "serve_heads.html",
        model=reader.encoder.model,
        problem=heads if isinstance(heads, RwcoreError) else None,
        layers=layers,
        heads=count,
        tokens=heads.tokens if isinstance(heads, HeadReader) else 0,
        characters=reader.limits.characters,
        mean_tokens=MEAN_TOKENS,
        scripts=SCRIPTS,
    )


def content_policy(page: str) -> str:
    """The content-security policy of a page: its own scripts and styles, and answers of this server.

    Scripts and styles are named by their hashes, so that markup in a text could not run even if a mistake let
    it through.

    Args:
        page: HTML whose scripts and styles stand in it, in elements without attributes.
    """
    hashes: dict[str, list[str]] = {"script": [], "style": []}
    for kind, text in _INLINE.findall(page):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
        hashes[kind].append(f"'sha256-{digest}'")
    sources = "; ".join(f"{kind}-src {' '.join(found)}" for kind, found in hashes.items() if found)
    return f"{NOTHING}; {sources}; connect-src 'self'; img-src data:"
