"""What works here and what does not: the environment, and one model if it is named."""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rwcore.errors import RwcoreError, StoreError, WeightsMissing
from rwcore.models.device import free_memory, pick_device
from rwcore.models.gguf import gguf_architecture
from rwcore.models.locate import locate
from rwcore.models.registry import LISTED, group, registry
from rwcore.models.spec import GGUF, HUB, WHEEL, LocalModel, ModelSpec
from rwcore.paths import cache_dir
from rwcore.provenance import software

# What the test suite last passed with; other versions of the same packages usually work too.
TESTED = {
    "torch": "2.13",
    "transformers": "5.23",
    "transformer-lens": "4.3",
    "safetensors": "0.8",
    "gguf": "0.19",
}

_BASE_BYTES = 1_000_000_000  # Python with torch, before any weights
_GATED_ACTIVATIONS = ("silu", "swish", "swiglu", "geglu", "gated")
_GB = 1e9


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        ok: True if it works, False if something will fail, None for a fact or a possible limit.
        what: What was looked at.
        detail: What was found.
        remedy: What to do about it; empty if there is nothing to do.
    """

    ok: bool | None
    what: str
    detail: str
    remedy: str = ""


def diagnose(spec: ModelSpec | None = None) -> list[Finding]:
    """Look at the environment and, if a model is given, at what can be done with it here.

    Nothing is downloaded and no weights are read.
    """
    findings = [*_versions(), *_machine(), *_disks(), *_hub(), *_packaged()]
    return [*findings, *diagnose_model(spec)] if spec is not None else findings


def _versions() -> list[Finding]:
    found = software()
    old = sys.version_info < (3, 11)
    findings = [
        Finding(not old, "Python", platform.python_version(), "use Python 3.11 or later" if old else "")
    ]
    for package, tested in TESTED.items():
        version = found[package]
        if version == "not installed":
            findings.append(Finding(False, package, version, "install rwcore with its dependencies"))
        elif version.split("+")[0].split(".")[:2] == tested.split("."):
            findings.append(Finding(True, package, version))
        else:
            findings.append(Finding(None, package, f"{version} (tested with {tested})"))
    return findings


def _machine() -> list[Finding]:
    import torch

    capability = torch.backends.cpu.get_cpu_capability()
    threads = torch.get_num_threads()
    findings = [
        Finding(True, "CPU", f"{capability} kernels, {threads} threads (both can move the last digits)")
    ]
    if pick_device("auto") == "cpu":
        build = "torch is a CPU build" if torch.version.cuda is None else "torch sees no GPU"
        findings.append(Finding(None, "GPU", f"none ({build}); claims that need one are not run"))
    else:
        for index in range(torch.cuda.device_count()):
            free = free_memory(f"cuda:{index}") / _GB
            name = torch.cuda.get_device_name(index)
            findings.append(Finding(True, f"GPU {index}", f"{name}, {free:.1f} GB free"))
    free = free_memory("cpu") / _GB
    low = free < 2
    remedy = "close other programs: 2 GB are needed" if low else ""
    return [*findings, Finding(not low, "RAM", f"{free:.1f} GB free", remedy)]


def _disks() -> list[Finding]:
    try:
        cache = cache_dir()
    except StoreError as error:
        return [Finding(False, "rwcore cache", f"{error.where}: {error.what}", error.remedy or "")]
    free = shutil.disk_usage(cache).free
    low = free < 2e9
    remedy = "free some space, or set RWCORE_CACHE to a larger disk" if low else ""
    return [Finding(not low, "rwcore cache", f"{cache}, {free / _GB:.1f} GB free", remedy)]


def _hub() -> list[Finding]:
    from huggingface_hub import constants, get_token

    folder = _existing(Path(constants.HF_HUB_CACHE))
    free = shutil.disk_usage(folder).free
    writable = os.access(folder, os.W_OK)
    offline = bool(constants.HF_HUB_OFFLINE)
    token = get_token() is not None
    gated = ", ".join(dict.fromkeys(s.id.partition("/")[0] for s in registry().values() if s.licence_gated))
    return [
        Finding(
            writable,
            "hub cache",
            f"{constants.HF_HUB_CACHE}, {free / _GB:.1f} GB free" + ("" if writable else ", not writable"),
            "" if writable else "set HF_HOME to a folder you may write to",
        ),
        Finding(
            None if offline else True,
            "hub",
            f"{constants.ENDPOINT}, " + ("switched off by HF_HUB_OFFLINE" if offline else "not switched off"),
            "unset HF_HUB_OFFLINE to download models" if offline else "",
        ),
        Finding(
            True if token else None,
            "hub token",
            "present" if token else f"none; needed for {gated}",
            "" if token else "`hf auth login`, or set HF_TOKEN",
        ),
    ]


def _packaged() -> list[Finding]:
    findings = []
    for spec in group("packaged"):
        try:
            local = locate(spec)
        except RwcoreError as error:
            finding = Finding(None, "packaged model", f"{spec.id}: not fetched yet", error.remedy or "")
        else:
            finding = Finding(True, "packaged model", f"{spec.id}: {local.bytes / _GB:.2f} GB, ready")
        findings.append(finding)
    return findings


def diagnose_model(spec: ModelSpec) -> list[Finding]:
    """What can be done with one model here: known, allowed, which statistics apply, here, does it fit."""
    known = spec.id in registry()
    findings = [
        Finding(
            True if known else None,
            "model",
            f"{spec.id} ({', '.join(spec.groups) or spec.source})"
            + ("" if known else ": not a model of the papers, so published values do not apply"),
            "" if known else LISTED,
        )
    ]
    if spec.licence_gated:
        page = f"https://huggingface.co/{spec.location}"
        findings.append(
            Finding(None, "licence", "must be accepted once", f"accept it at {page}, then `hf auth login`")
        )
    local: LocalModel | None = None
    try:
        local = locate(spec)
    except WeightsMissing as error:
        findings.append(Finding(False, "weights", error.what, error.remedy or ""))
    except RwcoreError as error:
        findings.append(Finding(False, "weights", f"{error.what} ({error.where})", error.remedy or ""))
    else:
        size = f"{len(local.files)} file(s), {local.bytes / _GB:.2f} GB"
        findings.append(Finding(True, "weights", f"{size}, revision {local.revision or 'unknown'}"))
    findings.append(_statistics(spec, local))
    return [*findings, *_download(spec, local), *_memory(spec, local)]


def _statistics(spec: ModelSpec, local: LocalModel | None) -> Finding:
    """Which weight statistics apply; from the registry, else a hint from the model's own configuration."""
    gated, source = spec.gated_mlp, "registry"
    if gated is None and local is not None:
        try:
            gated, source = _gated_hint(local), "its configuration"
        except (RwcoreError, ValueError, OSError) as error:
            what = f"its configuration cannot be read: {error}"
            return Finding(False, "statistics", what, "fetch or copy the model again")
    if gated is None:
        return Finding(None, "statistics", "not known whether the MLP has a gate")
    if gated:
        return Finding(True, "statistics", f"gated MLP ({source}): all 11 RW classes, all three cosines")
    return Finding(
        True,
        "statistics",
        f"MLP without a gate ({source}): 3 classes and cos(in, out) only; "
        "cos(gate, in), cos(gate, out) and what builds on them do not apply",
    )


def _gated_hint(local: LocalModel) -> bool | None:
    """Whether a model's configuration speaks for a gated MLP; None if it does not say."""
    by_family = {spec.family: spec.gated_mlp for spec in registry().values()}
    if local.spec.source == GGUF:
        architecture = gguf_architecture(local.path)
        # T5 comes with and without a gate, and only the tensors would tell.
        return None if architecture == "t5" else by_family.get(architecture)
    config = _config(local)
    kind = config.get("model_type")
    if kind == "t5":
        return "gated" in str(config.get("feed_forward_proj", ""))
    if kind in by_family:
        return by_family[kind]
    activation = str(config.get("hidden_act") or config.get("hidden_activation") or "")
    return True if activation.lower().startswith(_GATED_ACTIVATIONS) else None


def _config(local: LocalModel) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((local.path / "config.json").read_text(encoding="utf-8"))
    return config


def _download(spec: ModelSpec, local: LocalModel | None) -> list[Finding]:
    if local is not None or spec.parameters is None:
        return []
    if spec.source == WHEEL:
        needed, free = 4 * spec.parameters + 2e8, shutil.disk_usage(cache_dir()).free
    elif spec.source == HUB:
        from huggingface_hub import constants

        folder = _existing(Path(constants.HF_HUB_CACHE))
        needed, free = 2 * spec.parameters, shutil.disk_usage(folder).free
    else:
        return []
    fits = needed <= free
    return [
        Finding(
            fits,
            "download",
            f"about {needed / _GB:.2f} GB (twice that if stored in 32 bits), {free / _GB:.1f} GB free",
            "" if fits else "set HF_HOME to a larger disk",
        )
    ]


def _memory(spec: ModelSpec, local: LocalModel | None) -> list[Finding]:
    """Whether RAM suffices for the weight statistics (one layer at a time) and for running the model."""
    free = free_memory("cpu")
    findings = []
    if spec.layers and spec.d_mlp and spec.d_model:
        # Three matrices in float32, and as much again while they are read and normalised.
        layer = 2 * 3 * 4 * spec.d_mlp * spec.d_model
        findings.append(_fits("RAM for weight statistics", _BASE_BYTES + layer, free))
    parameters = spec.parameters
    if parameters is None and local is not None and local.spec.source != GGUF:
        parameters = local.bytes // _stored_width(local)
    if parameters is not None:
        findings.append(_fits("RAM for running it in float32", _BASE_BYTES + 4 * parameters, free))
    return findings


def _stored_width(local: LocalModel) -> int:
    """Bytes per stored parameter; 2 where the configuration does not say."""
    try:
        config = _config(local)
    except (OSError, ValueError):
        return 2
    return 4 if "float32" in (config.get("dtype"), config.get("torch_dtype")) else 2


def _fits(what: str, needed: float, free: int) -> Finding:
    fits = needed <= free
    return Finding(
        fits,
        what,
        f"about {needed / _GB:.1f} GB of {free / _GB:.1f} GB free",
        "" if fits else "use a machine with more memory, or a smaller model",
    )


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder
