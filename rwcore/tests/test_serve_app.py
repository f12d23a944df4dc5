"""The server over HTTP: who may ask, how much, how many at a time, and which files are shown."""

from __future__ import annotations

import logging
import re
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from rwcore.errors import OptionError
from rwcore.serve.app import check_site
from rwcore.serve.guards import HEADERS
from rwcore.serve.measure import Measurement
from rwcore.serve.page import MODE_WORDS, content_policy
from rwcore.serve.question import ASKED_MODES, Question
from rwcore.serve.reader import Reader
from rwcore.serve.server import ADDRESS, listen
from rwcore.tests.local_server import ASKED, ask, request, running, tiny_reader


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    return tiny_reader("llama", tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site of two files, and beside it one that is none of the world's business."""
    root = tmp_path_factory.mktemp("site")
    (root / "secret.txt").write_text("secret")
    (root / "sitemap.txt").write_text("secret")  # its name begins as that of the folder
    folder = root / "site"
    (folder / "data").mkdir(parents=True)
    (folder / "index.html").write_text("<h1>index</h1>")
    (folder / "neurons").mkdir()
    (folder / "neurons" / "1.5.html").write_text("<h1>1.5</h1>")
    (folder / "data" / "layer-000.js").write_text("rwLayer(0)")
    (folder / "link.txt").symlink_to(root / "secret.txt")
    (folder / "away").symlink_to(root)
    return folder


@pytest.fixture(scope="module")
def server(reader: Reader, site: Path) -> Iterator[str]:
    with running(reader, site) as url:
        yield url


def test_the_page_and_an_answer(server: str) -> None:
    page = request(f"{server}/")
    assert page.status == 200
    assert page.headers["Content-Type"].startswith("text/html")
    assert b"Test your own text" in page.body
    assert b'href="site/index.html"' in page.body
    found = ask(server)
    assert found.status == 200
    assert found.headers["Content-Type"].startswith("application/json")
    assert found.json["neuron"] == "1.5"
    assert found.json["names"] == ["<bos>", *"hello"]


def test_it_listens_on_this_machine_only(server: str) -> None:
    assert server.startswith(f"http://{ADDRESS}:")
    assert ADDRESS == "127.0.0.1"
    (one,) = listen(0)
    with one:
        assert one.getsockname()[0] == ADDRESS
        port = one.getsockname()[1]
        with pytest.raises(OptionError, match=f"port {port} of 127.0.0.1 cannot be used"):
            listen(port)


@pytest.mark.parametrize("path", ["/", "/ask", "/site/index.html", "/nothing"])
def test_every_answer_is_guarded(server: str, path: str) -> None:
    headers = request(server + path).headers
    assert {name: headers.get(name) for name in HEADERS} == HEADERS
    assert "Server" not in headers
    policy = headers["Content-Security-Policy"]
    assert policy.startswith(
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    assert "unsafe-eval" not in policy
    assert "http:" not in policy
    assert "Access-Control-Allow-Origin" not in headers


def test_only_the_pages_own_scripts_run_in_it(server: str) -> None:
    page = request(f"{server}/")
    policy = page.headers["Content-Security-Policy"]
    assert policy == content_policy(page.body.decode())
    assert "unsafe" not in policy
    assert len(re.findall("'sha256-", policy)) == len(re.findall(b"<(?:script|style)\\b", page.body)) == 2
    assert content_policy(page.body.decode() + "<script>more()</script>") != policy
    assert not re.search(rb'\s(style|on\w+)="', page.body)  # such attributes would be blocked


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.", "[::1]", "10.0.0.1"]
)
@pytest.mark.parametrize("path", ["/", "/ask", "/site/index.html", "/nothing"])
def test_other_hosts_are_refused(server: str, host: str, path: str) -> None:
    for port in ("", f":{urlsplit(server).port}"):
        found = request(server + path, headers={"Host": host + port})
        assert found.status == 403
        assert b"localhost and 127.0.0.1 only" in found.body


@pytest.mark.parametrize("name", ["localhost", "LocalHost", "127.0.0.1"])
def test_this_machine_has_two_names_and_perhaps_a_tunnel(server: str, name: str) -> None:
    for port in (urlsplit(server).port, 9999):
        host = f"{name}:{port}"
        assert request(f"{server}/", headers={"Host": host}).status == 200
        assert ask(server, Host=host, Origin=f"http://{host}").status == 200


@pytest.mark.parametrize(
    "origin", ["", "null", "http://evil.example", "http://127.0.0.1", "http://127.0.0.1:1", "file://"]
)
def test_other_origins_are_refused(server: str, origin: str) -> None:
    found = ask(server, Origin=origin)
    assert (found.status, found.json) == (403, {"error": "only the page of this server may ask"})


def test_an_origin_is_not_the_other_name_of_this_machine(server: str) -> None:
    other = server.replace("127.0.0.1", "localhost")
    assert ask(server, Origin=other).status == 403
    assert ask(server, Origin=server.replace("http:", "https:")).status == 403


@pytest.mark.parametrize(
    "kind", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]
)
def test_forms_are_refused(server: str, kind: str) -> None:
    assert ask(server, Content_Type=kind).status in (400, 415)  # tornado itself looks into the last one
    assert ask(server, Content_Type="application/json; charset=utf-8").status == 200


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "HEAD"])
def test_questions_are_posted(server: str, method: str) -> None:
    assert request(f"{server}/ask", method, headers={"Origin": server}).status == 405


@pytest.mark.parametrize(
    ("given", "error", "remedy"),
    [
        ({**ASKED, "text": ""}, "the text is empty", "type"),
        ({**ASKED, "text": "x" * 256}, "the text has 257 tokens, and 256 are the most", "--max-tokens"),
        ({**ASKED, "text": "x" * 8193}, "the text has 8,193 characters", "shorter"),
        ({**ASKED, "neuron": "9.9"}, "there is no neuron 9.9", "layers are 0 to 2"),
        ({**ASKED, "neuron": "one"}, "'one' is no neuron", "28.4737"),
        ({**ASKED, "mode": "mean"}, "no mode 'mean'", "rwcore ablate"),
        ({"text": "x"}, "no neuron", "send JSON"),
        (b"{", "not JSON", "send JSON"),
    ],
)
def test_mistakes_are_explained(server: str, given: Any, error: str, remedy: str) -> None:
    found = ask(server, given)
    assert found.status == 400
    assert error in found.json["error"]
    assert remedy in found.json["remedy"]


def test_a_request_that_is_too_large(server: str, reader: Reader) -> None:
    found = ask(server, b" " * (reader.limits.body + 1))
    assert found.status == 413
    assert "8,192 characters at most" in found.json["error"]
    # Far beyond that it is not even read.
    with socket.create_connection(("127.0.0.1", urlsplit(server).port or 0), timeout=10) as line:
        line.sendall(b"POST /ask HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999999\r\n\r\n")
        assert line.recv(100).startswith(b"HTTP/1.1 400")


# --- the site ------------------------------------------------------------------------------------------


def test_files_of_the_site(server: str) -> None:
    assert request(f"{server}/site/index.html").body == b"<h1>index</h1>"
    assert request(f"{server}/site/").body == b"<h1>index</h1>"
    data = request(f"{server}/site/data/layer-000.js")
    assert (data.status, data.body) == (200, b"rwLayer(0)")
    assert ask(server).json["page"] == "site/neurons/1.5.html"
    assert request(f"{server}/{ask(server).json['page']}").body == b"<h1>1.5</h1>"
    assert ask(server, {**ASKED, "neuron": "1.6"}).json["page"] is None
    assert "connect-src" not in data.headers["Content-Security-Policy"]  # falls back to none


@pytest.mark.parametrize(
    "path",
    [
        "/site/../secret.txt",
        "/site/data/../../secret.txt",
        "/site/%2e%2e/secret.txt",
        "/site/%2e%2e%2fsecret.txt",
        "/site/..%5csecret.txt",
        "/site//etc/passwd",
        "/site/../sitemap.txt",
        "/site/link.txt",
        "/site/away/secret.txt",
        "/site/away/site/index.html/../../../secret.txt",
        "/site/%00",
        "/site/data/",
        "/site/nothing.html",
        "/secret.txt",
        "/../secret.txt",
    ],
)
def test_no_path_leads_out_of_the_site(server: str, path: str) -> None:
    found = request(server + path)
    assert found.status in (400, 403, 404)
    assert b"secret" not in found.body
    assert b"Traceback" not in found.body


def test_without_a_site_there_is_none(reader: Reader) -> None:
    with running(reader) as server:
        assert request(f"{server}/site/index.html").status == 404
        assert b"site/index.html" not in request(f"{server}/").body
        assert ask(server).json["page"] is None


def test_a_folder_that_is_no_site(tmp_path: Path, site: Path) -> None:
    assert check_site(site) == site
    for wrong in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(OptionError, match=r"no index\.html"):
            check_site(wrong)


# --- what is said and shown ----------------------------------------------------------------------------


def test_a_failure_of_ours_says_nothing_of_the_inside(
    reader: Reader, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Reader):
        def answer(self, question: Question) -> Measurement:
            raise ValueError("the inside")

    broken = Broken(reader.model, reader.encoder, reader.words, reader.limits)
    with running(broken) as server, caplog.at_level(logging.ERROR):
        found = ask(server)
        again = ask(server)
    assert (found.status, again.status) == (500, 500)
    assert found.json == {"error": "the server has failed; its terminal says why"}
    assert "the inside" in caplog.text


def test_the_server_keeps_no_log_of_texts(server: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        ask(server, {**ASKED, "text": "sesame"})
        ask(server, {**ASKED, "text": "sesame", "neuron": "x"})
    assert "sesame" not in caplog.text
    assert "/ask" not in caplog.text


def test_the_page_offers_every_mode(server: str) -> None:
    assert list(MODE_WORDS) == list(ASKED_MODES)
    page = request(f"{server}/").body.decode()
    assert re.findall(r'<option value="(\w+)"', page) == list(ASKED_MODES)
    assert 'maxlength="8192"' in page


def test_a_name_of_a_model_is_text(reader: Reader) -> None:
    named = replace(reader, encoder=replace(reader.encoder, model="<script>alert(1)</script>"))
    with running(named) as server:
        page = request(f"{server}/").body.decode()
    assert page.count("<script>") == 1
    assert "&lt;script&gt;alert(1)" in page
