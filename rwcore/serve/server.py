"""The server itself: one address of this machine, until somebody stops it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable
from pathlib import Path

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets

from rwcore.errors import OptionError, RwcoreError
from rwcore.serve.app import make_app
from rwcore.serve.desk import Desk
from rwcore.serve.heads import HeadReader
from rwcore.serve.reader import Reader

ADDRESS = "127.0.0.1"
"""The only address: what is served can be asked from this machine, and from no other."""

_SECONDS = 30.0
"""How long a request may take to arrive, and an idle connection stays open."""


def listen(port: int) -> list[socket.socket]:
    """Take a port, before a model is loaded for it.

    Args:
        port: The port; 0 for one that is free.

    Raises:
        OptionError: It cannot be had.
    """
    try:
        if not 0 <= port < 2**16:  # the system would take the last 16 bits for it
            raise ValueError("ports are 0 to 65535")
        return bind_sockets(port, ADDRESS, family=socket.AF_INET)
    except (OSError, ValueError) as error:
        raise OptionError(
            f"port {port} of {ADDRESS} cannot be used: {error}",
            where="--port",
            remedy="stop the other program, or give another port; 0 is one that is free",
        ) from error


def address_of(sockets: list[socket.socket]) -> str:
    """Where a browser finds the server."""
    return f"http://{ADDRESS}:{sockets[0].getsockname()[1]}/"


def run(
    reader: Reader,
    heads: HeadReader | RwcoreError,
    sockets: list[socket.socket],
    *,
    site: Path | None,
    ready: Callable[[], object],
) -> None:
    """Serve until the process is told to stop (Ctrl-C or SIGTERM).

    Args:
        reader: The model.
        heads: Its heads, or why they cannot be read.
        sockets: From `listen`; closed at the end.
        site: Folder of neuron pages, or None.
        ready: Called once the server answers.
    """

    async def until_stopped() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            # Windows has no such handlers; Ctrl-C ends the loop there.
            with contextlib.suppress(NotImplementedError):
                asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await serve(reader, heads, sockets, site=site, ready=ready, stop=stop)

    asyncio.run(until_stopped())


async def serve(
    reader: Reader,
    heads: HeadReader | RwcoreError,
    sockets: list[socket.socket],
    *,
    site: Path | None,
    ready: Callable[[], object],
    stop: asyncio.Event,
) -> None:
    """Serve until an event is set; see `run`."""
    desk = Desk(reader.limits.waiting)
    # A little more than is answered, so that what is too large by a little is explained.
    server = HTTPServer(
        make_app(reader, heads, desk, site),
        max_body_size=4 * reader.limits.body,
        body_timeout=_SECONDS,
        idle_connection_timeout=_SECONDS,
    )
    server.add_sockets(sockets)
    try:
        ready()
        await stop.wait()
    finally:
        server.stop()
        desk.close()
        await server.close_all_connections()
