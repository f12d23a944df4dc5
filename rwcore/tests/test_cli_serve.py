"""`rwcore serve` from the command line until it is stopped."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from fixtures.letters import save_letters
from fixtures.tiny import build
from rwcore.serve.server import listen
from rwcore.tests.command_line import ROOT, assert_explained, environment, rwcore

_environment = pytest.fixture(autouse=True)(environment)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_letters(build("llama", tmp_path_factory.mktemp("llama"), vocab=64), 64)


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("--max-tokens", 65), ("64 positions", "--max-tokens")),
        (("--max-tokens", 1), ("1 is less than 2",)),
        (("--port", 70000), ("port 70000", "0 to 65535")),
        (("--port", -1), ("port -1", "0 to 65535")),
        (("--site", "nowhere"), ("no index.html", "rwcore pages")),
        (("--device", "cuda:77"), ("to do: ",)),
    ],
)
def test_options_that_cannot_be(model: Path, words: tuple[object, ...], parts: tuple[str, ...]) -> None:
    done = rwcore("serve", model, "--port", 0, *words)
    assert done.code == 2
    assert all(part in done.err for part in parts)
    assert "to do: " in done.err
    assert "Traceback" not in done.err
    assert "open it" not in done.out


def test_a_port_that_is_taken_is_known_before_the_model_is_loaded(model: Path) -> None:
    (one,) = listen(0)
    with one:
        assert_explained(rwcore("serve", model, "--port", one.getsockname()[1]), "cannot be used", "--port")


def test_a_model_that_is_not_there() -> None:
    assert_explained(rwcore("serve", "./nowhere"), "nowhere")


def test_no_other_address_can_be_given() -> None:
    assert "--host" not in rwcore("serve", "--help").out
    assert rwcore("serve", "x", "--host", "0.0.0.0").code == 2


def test_without_tornado_the_error_says_what_to_install(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert_explained(rwcore("serve", model), "tornado", "pip install 'rwcore[serve]'")


@pytest.mark.slow
def test_it_serves_until_it_is_stopped(model: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from rwcore.cli import main; main()"]
    words = ["serve", str(model), "--port", "0", "--device", "cpu", "--max-tokens", "16"]
    running = subprocess.Popen(
        [*command, *words],
        cwd=ROOT,
        env={**os.environ, "RWCORE_CACHE": str(tmp_path / "cache")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert running.stdout is not None
        assert running.stdout.readline() == f"{model}: loading …\n"
        address, _, rest = running.stdout.readline().partition("/: ")
        assert rest == "open it in a browser; Ctrl-C stops the server\n"
        asked = Request(
            f"{address}/ask",
            json.dumps({"text": "hello", "neuron": "1.5"}).encode(),
            {"Origin": address, "Content-Type": "application/json"},
        )
        with urlopen(asked, timeout=20) as response:
            assert json.load(response)["neuron"] == "1.5"
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=20)
        assert (running.returncode, out, err) == (0, "stopped\n", "")
    finally:
        running.kill()
