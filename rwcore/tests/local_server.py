"""The server of ``rwcore serve`` in this process, for its tests."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fixtures.letters import save_letters
from fixtures.tiny import build, local_model
from rwcore.errors import ModelError, RwcoreError
from rwcore.models.spec import LocalModel
from rwcore.serve.heads import HeadReader, load_heads
from rwcore.serve.reader import Reader, load_reader
from rwcore.serve.server import address_of, listen, serve

VOCAB, CONTEXT = 80, 256
ASKED = {"text": "hello", "neuron": "1.5"}
NO_HEADS = ModelError("its heads are hidden", where="the model", remedy="take another one")


@dataclass(frozen=True)
class Answered:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        given: dict[str, Any] = json.loads(self.body)
        return given


def request(
    url: str, method: str = "GET", body: bytes | None = None, headers: dict[str, str] | None = None
) -> Answered:
    """One request, its path as it is given."""
    parts = urlsplit(url)
    connection = HTTPConnection(parts.netloc, timeout=20)
    try:
        connection.putrequest(method, parts.path, skip_host="Host" in (headers or {}))
        for name, value in (headers or {}).items():
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        response = connection.getresponse()
        return Answered(response.status, dict(response.getheaders()), response.read())
    finally:
        connection.close()


def ask(server: str, given: Any = ASKED, path: str = "/ask", **headers: str) -> Answered:
    """A question as a page asks it; headers may differ, or be empty for none."""
    sent = {"Origin": server, "Content-Type": "application/json"}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    body = given if isinstance(given, bytes) else json.dumps(given).encode()
    return request(server + path, "POST", body, {name: value for name, value in sent.items() if value})


def tiny_model(family: str, folder: Path) -> LocalModel:
    """A tiny model that reads text letter by letter."""
    return local_model(save_letters(build(family, folder, vocab=VOCAB, context=CONTEXT), VOCAB))


def tiny_reader(family: str, folder: Path, **options: object) -> Reader:
    """What reads texts with such a model."""
    return load_reader(tiny_model(family, folder), device="cpu", **options)  # type: ignore[arg-type]


def tiny_heads(family: str, folder: Path, **options: object) -> HeadReader:
    """What reads heads of such a model."""
    local = tiny_model(family, folder)
    found = load_heads(local, load_reader(local, device="cpu", **options))  # type: ignore[arg-type]
    assert isinstance(found, HeadReader)
    return found


@contextlib.contextmanager
def running(
    reader: Reader, site: Path | None = None, heads: HeadReader | RwcoreError = NO_HEADS
) -> Iterator[str]:
    """A server in a thread of its own; yields its address, without the last slash."""
    sockets = listen(0)
    ready = threading.Event()
    held: dict[str, object] = {}

    async def until_stopped() -> None:
        stop = asyncio.Event()
        held.update(loop=asyncio.get_running_loop(), stop=stop)
        await serve(reader, heads, sockets, site=site, ready=ready.set, stop=stop)

    thread = threading.Thread(target=lambda: asyncio.run(until_stopped()))
    thread.start()
    assert ready.wait(10)
    try:
        yield address_of(sockets).removesuffix("/")
    finally:
        held["loop"].call_soon_threadsafe(held["stop"].set)  # type: ignore[attr-defined]
        thread.join(10)
        assert not thread.is_alive()
