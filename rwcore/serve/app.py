"""The addresses of the server: its page, its answers, and perhaps a site of neuron pages."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from tornado.web import Application, HTTPError, StaticFileHandler

from rwcore.errors import OptionError, RwcoreError
from rwcore.serve.answer import answer
from rwcore.serve.desk import Busy, Desk
from rwcore.serve.guards import NOTHING, Guarded, Refusal
from rwcore.serve.measure import Measurement
from rwcore.serve.page import content_policy, serve_page
from rwcore.serve.question import Question
from rwcore.serve.reader import Reader

INDEX = "index.html"
# The site's own pages hold their scripts and styles, and load data by script elements; none of them connects.
_SITE_POLICY = (
    f"{NOTHING}; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:"
)

ReaderDesk = Desk[Question, Measurement]


def make_app(reader: Reader, desk: ReaderDesk, site: Path | None = None) -> Application:
    """The application.

    ========== ==========================================================
    address    what
    ========== ==========================================================
    ``/``      the page (GET)
    ``/ask``   one question, as `Question.from_json` reads it (POST)
    ``/site/`` the files of the site, if there is one (GET)
    ========== ==========================================================

    Args:
        reader: The model.
        desk: Answers questions with it.
        site: Folder that `check_site` has passed.
    """
    page = serve_page(reader, site=site is not None)
    routes: list[tuple[str, type[Guarded], dict[str, Any]]] = [
        ("/", _Page, {"page": page, "policy": content_policy(page)}),
        ("/ask", _Ask, {"reader": reader, "desk": desk, "site": site}),
    ]
    if site is not None:
        routes.append((r"/site/(.*)", _Site, {"path": str(site.resolve()), "default_filename": INDEX}))
    # Questions are nobody's business: no log of requests. What goes wrong in here is still logged.
    return Application([*routes, (r".*", _Missing)], log_function=lambda handler: None)


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
    def initialize(self, reader: Reader, desk: ReaderDesk, site: Path | None) -> None:
        self.reader = reader
        self.desk = desk
        self.site = site
        self.task: asyncio.Task[Measurement] | None = None

    async def post(self) -> None:
        self.require_own_page()
        if len(self.request.body) > self.reader.limits.body:
            most = self.reader.limits.characters
            raise Refusal(413, f"the request is too large: a text has {most:,} characters at most")
        try:
            question = Question.from_json(self.request.body)
            self.task = asyncio.create_task(self.desk.ask(question))
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
            self.finish({**answer(found, self.reader.words), "page": self._page(found)})

    def on_connection_close(self) -> None:
        if self.task is not None:
            self.task.cancel()

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        self.finish({"error": self.explanation(status_code, kwargs)})

    def _page(self, found: Measurement) -> str | None:
        """The neuron's page in the site, if it has one."""
        file = f"neurons/{found.layer}.{found.neuron}.html"  # as `rwcore pages` names them
        return f"site/{file}" if self.site and (self.site / file).is_file() else None

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
