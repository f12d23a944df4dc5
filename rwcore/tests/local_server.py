"""The server of ``rwcore serve`` in this process, for its tests."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

from fixtures.letters import save_letters
from fixtures.tiny import build, local_model
from rwcore.serve.reader import Reader, load_reader
from rwcore.serve.server import address_of, listen, serve

VOCAB, CONTEXT = 80, 256


def tiny_reader(family: str, folder: Path, **options: object) -> Reader:
    """A tiny model that reads text letter by letter."""
    model = save_letters(build(family, folder, vocab=VOCAB, context=CONTEXT), VOCAB)
    return load_reader(local_model(model), device="cpu", **options)  # type: ignore[arg-type]


@contextlib.contextmanager
def running(reader: Reader, site: Path | None = None) -> Iterator[str]:
    """A server in a thread of its own; yields its address, without the last slash."""
    sockets = listen(0)
    ready = threading.Event()
    held: dict[str, object] = {}

    async def until_stopped() -> None:
        stop = asyncio.Event()
        held.update(loop=asyncio.get_running_loop(), stop=stop)
        await serve(reader, sockets, site=site, ready=ready.set, stop=stop)

    thread = threading.Thread(target=lambda: asyncio.run(until_stopped()))
    thread.start()
    assert ready.wait(10)
    try:
        yield address_of(sockets).removesuffix("/")
    finally:
        held["loop"].call_soon_threadsafe(held["stop"].set)  # type: ignore[attr-defined]
        thread.join(10)
        assert not thread.is_alive()
