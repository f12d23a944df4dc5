"""Which device a model runs on, and how much memory is free there."""

from __future__ import annotations

import re
from pathlib import Path

from rwcore.errors import OptionError


def pick_device(text: str = "auto") -> str:
    """The device a user means: ``auto`` (the GPU if there is one), ``cpu``, ``cuda`` or ``cuda:i``.

    Returns:
        ``cpu`` or ``cuda:i``.

    Raises:
        OptionError: The text is none of these, or there is no such GPU.
    """
    import torch

    if text == "cpu" or (text == "auto" and not torch.cuda.is_available()):
        return "cpu"
    match = re.fullmatch(r"auto|cuda(?::(\d+))?", text)
    if match is None:
        raise OptionError(f"unknown device {text!r}", remedy="use auto, cpu, cuda or cuda:0, cuda:1, …")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    index = int(match.group(1) or 0)
    if index >= count:
        raise OptionError(
            f"there is no GPU {index}: torch sees {count}",
            where=text,
            remedy="use --device cpu, or install a CUDA build of torch (`rwcore doctor` shows what is there)",
        )
    return f"cuda:{index}"


def free_memory(device: str = "cpu") -> int:
    """Bytes that can still be allocated on a device: free GPU memory, or RAM available without swapping.

    A memory limit of the container this runs in counts.
    """
    if device == "cpu":
        import psutil

        available = int(psutil.virtual_memory().available)
        limit = _container_memory()
        return available if limit is None else min(available, limit)
    import torch

    return int(torch.cuda.mem_get_info(torch.device(device))[0])


def _container_memory(cgroup: Path = Path("/sys/fs/cgroup")) -> int | None:
    """What a container's memory limit leaves; None without a limit or without cgroups (version 2)."""
    try:
        limit = int((cgroup / "memory.max").read_text())
        # `memory.current` would count the page cache, which is given up when memory is needed.
        used = dict(line.split() for line in (cgroup / "memory.stat").read_text().splitlines())
        return max(0, limit - int(used["anon"]))
    except (OSError, ValueError, KeyError):
        return None
