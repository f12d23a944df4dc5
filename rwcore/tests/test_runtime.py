"""Threads, TF32, progress bars, peak memory."""

from __future__ import annotations

import io
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from rwcore import runtime


@pytest.fixture
def _settings_kept() -> Iterator[None]:
    threads = torch.get_num_threads()
    matmul, cudnn = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    yield
    torch.set_num_threads(threads)
    torch.backends.cuda.matmul.allow_tf32 = matmul
    torch.backends.cudnn.allow_tf32 = cudnn


@pytest.mark.usefixtures("_settings_kept")
def test_configure_sets_threads_and_leaves_them_unless_asked() -> None:
    runtime.configure(threads=1)
    assert torch.get_num_threads() == 1
    runtime.configure()
    assert torch.get_num_threads() == 1


@pytest.mark.usefixtures("_settings_kept")
@pytest.mark.parametrize("tf32", [False, True])
def test_configure_switches_tf32(tf32: bool) -> None:
    runtime.configure(tf32=not tf32)
    runtime.configure(tf32=tf32)
    assert torch.backends.cuda.matmul.allow_tf32 is tf32
    assert torch.backends.cudnn.allow_tf32 is tf32


@pytest.mark.usefixtures("_settings_kept")
def test_tf32_is_off_unless_asked() -> None:
    torch.backends.cuda.matmul.allow_tf32 = True
    runtime.configure()
    assert torch.backends.cuda.matmul.allow_tf32 is False


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, **variables: str) -> str:
    """What a progress bar over three layers writes to ``stream``, with these variables set."""
    for name in ("CI", "PYTEST_XDIST_WORKER"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", stream)
        assert list(runtime.progress(iter("abc"), desc="layers", total=3)) == ["a", "b", "c"]
    return stream.getvalue()


def test_progress_shows_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "layers" in shown(monkeypatch, Terminal())


@pytest.mark.parametrize("name", ["CI", "PYTEST_XDIST_WORKER"])
def test_progress_is_silent_in_ci_and_in_workers(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(monkeypatch, Terminal(), **{name: "true"}) == ""


def test_progress_is_silent_when_nobody_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(monkeypatch, io.StringIO()) == ""


@pytest.mark.skipif(runtime.peak_memory_bytes() is None, reason="this system does not tell VmHWM")
def test_peak_memory_counts_what_was_freed_again() -> None:
    program = (
        "from rwcore.runtime import peak_memory_bytes as peak\n"
        "before = peak(); block = bytearray(64 << 20); block[::4096] = b'x' * len(block[::4096]); del block\n"
        "assert 63.5 < (peak() - before) / 2**20 < 70, peak() - before\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_freed_memory_stays_with_the_process() -> None:
    program = (
        "import ctypes, sys\n"
        "from rwcore.runtime import keep_freed_memory\n"
        "def resident():\n"
        "    line = next(one for one in open('/proc/self/status') if one.startswith('VmRSS'))\n"
        "    return int(line.split()[1]) >> 10\n"
        "if sys.argv[1] == 'kept': assert keep_freed_memory()\n"
        "size, libc = 256 << 20, ctypes.CDLL(None)\n"
        "libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]\n"
        "before = resident()\n"
        "block = libc.malloc(ctypes.c_size_t(size)); ctypes.memset(block, 1, size); libc.free(block)\n"
        "print(resident() - before)\n"
    )
    for argument, least, most in (("not", -10, 30), ("kept", 240, 280)):
        command = [sys.executable, "-c", program, argument]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert least <= int(done.stdout) <= most, argument


def test_peak_memory_is_none_where_the_system_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*arguments: object, **options: object) -> io.StringIO:
        raise FileNotFoundError(Path("/proc/self/status"))

    monkeypatch.setattr("builtins.open", missing)
    assert runtime.peak_memory_bytes() is None
    monkeypatch.setattr("builtins.open", lambda *arguments, **options: io.StringIO("VmRSS: 12 kB\n"))
    assert runtime.peak_memory_bytes() is None
