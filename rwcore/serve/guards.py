"""Who may ask: requests of this machine, made by the server's own page."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tornado.web import HTTPError, RequestHandler

HOSTS = ("localhost", "127.0.0.1")
"""Names that mean this machine in every browser. A page of another site that has its name resolve to
127.0.0.1 (DNS rebinding) still sends its own name."""

_HOST = re.compile(rf"({'|'.join(map(re.escape, HOSTS))})(:[0-9]{{1,5}})?", re.IGNORECASE)

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
NOTHING = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""Content-security policy of what is no page; pages add what they need."""


class Refusal(HTTPError):
    """A request that is not answered.

    Args:
        status: HTTP status.
        text: Why, for the person who asked.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(status)
        self.text = text


class Guarded(RequestHandler):
    """Answers requests to this machine only, without being framed, sniffed or cached; errors are text."""

    policy = NOTHING

    def set_default_headers(self) -> None:
        """Headers of every answer."""
        self.clear_header("Server")
        for name, value in HEADERS.items():
            self.set_header(name, value)
        self.set_header("Content-Security-Policy", self.policy)

    def prepare(self) -> None:
        """Refuse requests that were meant for another host."""
        if not _HOST.fullmatch(self.request.host):
            raise Refusal(403, f"this server answers to {' and '.join(HOSTS)} only")

    def require_own_page(self) -> None:
        """Refuse requests that the server's own page has not made.

        A form of another site can post to this address; it cannot send JSON, and it names its origin.

        Raises:
            Refusal: It is one.
        """
        # The port of the page is that of the host, also behind a tunnel with another port.
        if self.request.headers.get("Origin", "").lower() != f"http://{self.request.host}".lower():
            raise Refusal(403, "only the page of this server may ask")
        kind = self.request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise Refusal(415, "questions are JSON: Content-Type: application/json")

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Say what was wrong, as text."""
        self.set_header("Content-Type", "text/plain; charset=UTF-8")
        self.finish(self.explanation(status_code, kwargs))

    def explanation(self, status: int, given: Mapping[str, Any]) -> str:
        """What was wrong; nothing of the program's inside.

        Args:
            status: HTTP status.
            given: What tornado gives ``write_error``.
        """
        error = given.get("exc_info", (None, None))[1]
        if isinstance(error, Refusal):
            return error.text
        if status >= 500:
            return "the server has failed; its terminal says why"
        return f"{status} {self._reason}"
