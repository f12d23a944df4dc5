"""One question at a time, a few that wait, and no more."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from rwcore.errors import RwcoreError

Answer = TypeVar("Answer")


class Busy(RwcoreError):
    """As many questions wait as may."""


class Desk:
    """Answers questions in a thread of its own, one at a time, in the order in which they come.

    Args:
        waiting: How many questions may wait while another one is answered.
    """

    def __init__(self, waiting: int) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="desk")
        self._places = threading.BoundedSemaphore(1 + waiting)

    async def ask(self, answer: Callable[[], Answer]) -> Answer:
        """The answer to a question. If the task is cancelled, a question that waits is forgotten.

        Args:
            answer: Makes it; called in the desk's thread.

        Raises:
            Busy: Too many wait already.
            Exception: What making the answer raised.
        """
        if not self._places.acquire(blocking=False):
            raise Busy(
                "the server is busy with other texts",
                remedy="ask again in a moment",
            )
        future = self._thread.submit(answer)
        future.add_done_callback(lambda _: self._places.release())
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Forget the questions that wait; the one being answered is finished."""
        self._thread.shutdown(wait=False, cancel_futures=True)
