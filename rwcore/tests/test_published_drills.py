"""Claims about published values of whole checkpoints, on small weights under the names of the papers' models.

The values of random weights cannot agree with a paper's: what is shown is that the code behind the
claims runs from a hub's cache to a verdict, which without the papers' weights nothing else shows.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fixtures.planted import VOCAB, plant
from fixtures.tiny import save_tokenizer
from rwcore.paths import project_root

pytestmark = pytest.mark.slow

MODEL = "allenai/OLMo-7B-0424-hf"
NAME = MODEL.rpartition("/")[2]  # several models are named without their organisation
REVISIONS = {"main": "0" * 39 + "1", "step0-tokens0B": "0" * 39 + "2"}
FILES = ("test_checkpoints", "test_roles", "test_neuron_choice")
NAMED_NEURON = "test_tokens_of_a_neuron"  # C68 asks for neuron 31.2578, which no small model has


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    """A hub's cache with two checkpoints of one model that differ in every weight."""
    repository = tmp_path / "hub" / f"models--{MODEL.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    for seed, (revision, commit) in enumerate(REVISIONS.items()):
        (repository / "refs" / revision).write_text(commit, encoding="utf-8")
        planted = plant("olmo", repository / "snapshots" / commit, seed=seed, per_class=12)
        save_tokenizer(planted.folder, VOCAB)
    return tmp_path / "hub"


def test_every_claim_about_olmo_comes_to_a_verdict(hub: Path, tmp_path: Path) -> None:
    tests = [f"claims/rw_functionalities/{name}.py" for name in FILES]
    options = [
        "-m",
        "gpu",
        "-k",
        f"not {NAMED_NEURON}",
        "-q",
        "-p",
        "no:randomly",
        "-p",
        "no:cacheprovider",
        "--rw-report",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *tests, *options, str(tmp_path / "report")],
        cwd=project_root(),
        env={**os.environ, "HF_HUB_CACHE": str(hub), "RWCORE_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    results = json.loads((tmp_path / "report/results.json").read_text(encoding="utf-8"))["results"]
    ran = {one["claim"]: one for one in results if NAME in one["model"] and one["ran"]}
    errors = [one["reason"] for one in results if one["verdict"] == "error"]
    assert errors == [], done.stdout
    assert sorted(ran) == ["C60", "C61", "C62", "C63", "C64", "C65", "C66", "C67", "C69"]
    assert {one["verdict"] for one in ran.values()} <= {"reproduced", "differs"}
    commits = json.dumps([one["provenance"] for one in ran.values()])
    assert all(commit in commits for commit in REVISIONS.values())
