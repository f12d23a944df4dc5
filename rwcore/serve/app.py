"""The addresses of the server: its pages, its answers, and perhaps a site of neuron pages."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tornado.web import Application, HTTPError, StaticFileHandler

from rwcore.errors import ModelError, OptionError, RwcoreError
from rwcore.serve.answer import answer
from rwcore.serve.desk import Busy, Desk
from rwcore.serve.guards import NOTHING, Guarded, Refusal
from rwcore.serve.head_question import HeadQuestion
from rwcore.serve.heads import HeadReader
from rwcore.serve.limits import Limits
from rwcore.serve.measure import Measurement
from rwcore.serve.page import content_policy, heads_page, serve_page
from rwcore.serve.question import Question
from rwcore.serve.reader import Reader

INDEX = "index.html"
# The site's own pages hold their scripts and styles, and load data by script elements; none of them connects.
_SITE_POLICY = (
    f"{NOTHING}; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:"
)

Answer = dict[str, Any]
Work = Callable[[bytes], Callable[[], Answer]]
"""Reads a request, and returns what makes its answer: the first at once, the second at the desk."""


def make_app(
    reader: Reader, heads: HeadReader | RwcoreError, desk: Desk, site: Path | None = None
) -> Application:
    """The application.

    ============== ===================================================================
    address        what
    ============== ===================================================================
    ``/``          the page about neurons (GET)
    ``/ask``       a question of it, as `Question.from_json` reads it (POST)
    ``/heads``     the page about heads (GET)
    ``/heads/ask`` a question of it, as `HeadQuestion.from_json` reads it (POST)
    ``/site/``     the files of the site, if there is one (GET)
    ============== ===================================================================

    Args:
        reader: The model.
        heads: Its heads, or why they cannot be read.
        desk: Where questions wait.
        site: Folder that `check_site` has passed.
    """
    routes: list[tuple[str, type[Guarded], dict[str, Any]]] = []
    for address, page in (
        ("/", serve_page(reader, site=site is not None)),
        ("/heads", heads_page(reader, heads)),
    ):
        routes.append((address, _Page, {"page": page, "policy": content_policy(page)}))
    for address, work in (("/ask", _about_neurons(reader, site)), ("/heads/ask", _about_heads(heads))):
        routes.append((address, _Ask, {"limits": reader.limits, "desk": desk, "work": work}))
    if site is not None:
        routes.append((r"/site/(.*)", _Site, {"path": str(site.resolve()), "default_filename": INDEX}))
    # Questions are nobody's business: no log of requests. What goes wrong in here is still logged.
    return Application([*routes, (r".*", _Missing)], log_function=lambda handler: None)


def _about_neurons(reader: Reader, site: Path | None) -> Work:
    def page(found: Measurement) -> str | None:
        """The neuron's page in the site, if it has one."""
        file = f"neurons/{found.layer}.{found.neuron}.html"  # as `rwcore pages` names them
        return f"site/{file}" if site and (site / file).is_file() else None

    def work(body: bytes) -> Callable[[], Answer]:
        question = Question.from_json(body)

        def answered() -> Answer:
            found = reader.answer(question)
            return {**answer(found, reader.words), "page": page(found)}

        return answered

    return work


def _about_heads(heads: HeadReader | RwcoreError) -> Work:
    def work(body: bytes) -> Callable[[], Answer]:
        if isinstance(heads, RwcoreError):
            raise ModelError(heads.what, where=heads.where, remedy=heads.remedy)
        question = HeadQuestion.from_json(body)
        return lambda: heads.answer(question)

    return work


def check_site(site: Path) -> Path:
    """Check that a folder is a site of neuron pages: what is served should not be somebody's home.

    Raises:
        OptionError: It has no index.
    """
    if not (site / INDEX).is_file():
        raise OptionError(
            f"the folder has no {INDEX}",
            where=f"--site {site}",
            remedy="name a folder that `rwcore pages --out` has written",
        )
    return site


class _Page(Guarded):
    def initialize(self, page: str, policy: str) -> None:
        self.page = page
        self.set_header("Content-Security-Policy", policy)

    def get(self) -> None:
        self.finish(self.page)


class _Ask(Guarded):
    def initialize(self, limits: Limits, desk: Desk, work: Work) -> None:
        self.limits = limits
        self.desk = desk
        self.work = work
        self.task: asyncio.Task[Answer] | None = None

    async def post(self) -> None:
        self.require_own_page()
        if len(self.request.body) > self.limits.body:
            most = self.limits.characters
            raise Refusal(413, f"the request is too large: a text has {most:,} characters at most")
        try:
            self.task = asyncio.create_task(self.desk.ask(self.work(self.request.body)))
            found = await self.task
        except Busy as error:
            self.set_header("Retry-After", "2")
            self._explain(503, error)
        except RwcoreError as error:
            self._explain(400, error)
        except asyncio.CancelledError:
            # Nobody is there any more, or somebody still is while the server is being stopped.
            self._explain(503, Busy("the server is being stopped", remedy="start it again"))
        else:
            self.finish(found)

    def on_connection_close(self) -> None:
        if self.task is not None:
            self.task.cancel()

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        self.finish({"error": self.explanation(status_code, kwargs)})

    def _explain(self, status: int, error: RwcoreError) -> None:
        self.set_status(status)
        self.finish({"error": error.what, "where": error.where, "remedy": error.remedy})


class _Site(Guarded, StaticFileHandler):
    policy = _SITE_POLICY

    def validate_absolute_path(self, root: str, absolute_path: str) -> str | None:
        # tornado refuses paths that lead out of the folder, but follows links in it.
        try:
            inside = Path(absolute_path).resolve().is_relative_to(root)
        except (OSError, ValueError):  # a loop of links, or no path at all
            inside = False
        if not inside:
            raise HTTPError(403)
        return super().validate_absolute_path(root, absolute_path)


class _Missing(Guarded):
    def prepare(self) -> None:
        super().prepare()
        raise Refusal(404, "there is no such page here")
