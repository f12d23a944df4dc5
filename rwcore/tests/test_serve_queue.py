"""Questions that wait: one is answered at a time, a few may wait, and what becomes of them."""

from __future__ import annotations

import json
import socket
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest

from rwcore.serve.limits import Limits
from rwcore.serve.measure import Measurement
from rwcore.serve.question import Question
from rwcore.serve.reader import Reader
from rwcore.tests.local_server import ASKED, Answered, ask, request, running, tiny_reader


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    return tiny_reader("llama", tmp_path_factory.mktemp("llama"))


@dataclass
class Slow(Reader):
    """A reader that answers when it is told to, and counts."""

    gate: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    now: int = 0
    most: int = 0
    texts: list[str] = field(default_factory=list)

    def answer(self, question: Question) -> Measurement:
        self.now += 1
        self.most = max(self.most, self.now)
        self.texts.append(question.text)
        try:
            assert self.gate.acquire(timeout=20)
            return super().answer(question)
        finally:
            self.now -= 1


@pytest.fixture
def slow(reader: Reader) -> Slow:
    return Slow(reader.model, reader.encoder, reader.words, Limits(256, waiting=2))


def asking(pool: ThreadPoolExecutor, server: str, slow: Slow, text: str) -> Future[Answered]:
    """Ask in a thread of its own, after those that were asked before."""
    future = pool.submit(ask, server, {**ASKED, "text": text})
    time.sleep(0.3)
    return future


def test_questions_wait_their_turn_and_too_many_are_sent_away(slow: Slow) -> None:
    with running(slow) as server, ThreadPoolExecutor(4) as pool:
        waiting = [asking(pool, server, slow, text) for text in ("one", "two", "three")]
        refused = ask(server, {**ASKED, "text": "four"})
        assert refused.status == 503
        assert "busy" in refused.json["error"]
        assert refused.headers["Retry-After"]
        assert request(f"{server}/").status == 200  # the page itself is there all the time
        assert not any(one.done() for one in waiting)
        slow.gate.release(4)
        found = [one.result(20) for one in waiting]
        assert [one.status for one in found] == [200] * 3
        assert [one.json["text"]["text"] for one in found] == ["<bos>one", "<bos>two", "<bos>three"]
        assert (slow.most, slow.texts) == (1, ["one", "two", "three"])
        assert ask(server, {**ASKED, "text": "five"}).status == 200


def test_who_goes_away_is_not_answered(slow: Slow) -> None:
    with running(slow) as server, ThreadPoolExecutor(4) as pool:
        first = asking(pool, server, slow, "one")
        body = json.dumps({**ASKED, "text": "gone"}).encode()
        parts = urlsplit(server)
        for _ in range(5):  # more than may wait
            with socket.create_connection((parts.hostname, parts.port), timeout=10) as line:
                head = f"POST /ask HTTP/1.1\r\nHost: {parts.netloc}\r\nOrigin: {server}\r\n"
                head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
                line.sendall(head.encode() + body)
                time.sleep(0.1)
            time.sleep(0.1)
        last = asking(pool, server, slow, "two")
        slow.gate.release(2)
        assert [one.result(20).status for one in (first, last)] == [200, 200]
        assert slow.texts == ["one", "two"]


def test_a_server_that_is_stopped_ends_while_questions_wait(slow: Slow) -> None:
    with ThreadPoolExecutor(4) as pool:
        with running(slow) as server:
            asked = [asking(pool, server, slow, text) for text in ("one", "two")]
        slow.gate.release(2)
        for one in asked:  # its connection is closed; who waits may still be told why
            error = one.exception(20)
            assert isinstance(error, ConnectionError) or one.result().status == 503
        with pytest.raises(ConnectionError):
            request(f"{server}/")
        # The model is that of the other tests: what was being answered has to be done with it.
        while slow.now:
            time.sleep(0.01)
        assert slow.texts == ["one"]
