"""The real claims in a copy of the checkout: another CPU kernel passes, a changed recorded value does not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rwcore.paths import project_root

pytestmark = pytest.mark.slow

FILES = ("claims", "golden", "fixtures", "conftest.py", "pyproject.toml")
RECORDED = "golden/rw_functionalities/recorded"
TESTS = (
    "claims/rw_functionalities/test_classes.py::test_class_totals",
    "claims/rw_functionalities/test_class_shapes_of_models.py::test_largest_classes",
)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what the claims need."""
    for name in FILES:
        source = project_root() / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, tmp_path / name)
    return tmp_path


def run(checkout: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:randomly",
        "-p",
        "no:cacheprovider",
        *arguments,
    ]
    return subprocess.run(
        command,
        cwd=checkout,
        env={**os.environ, **environment, "RWCORE_ROOT": str(checkout)},
        capture_output=True,
        text=True,
        timeout=280,
    )


def test_another_cpu_kernel_gives_the_recorded_values(checkout):
    done = run(
        checkout,
        "claims/rw_functionalities",
        "-k",
        "tiny or planted",
        ATEN_CPU_CAPABILITY="default",
        MKL_CBWR="COMPATIBLE",
    )
    assert done.returncode == 0, done.stdout[-3000:]


def test_untouched_copy_passes(checkout):
    done = run(checkout, *TESTS, "-k", "tiny-llama")
    assert done.returncode == 0, done.stdout[-3000:]


def changed_value(file: Path) -> None:
    lines = file.read_text().splitlines()
    cells = lines[1].split(",")
    cells[1] = str(int(cells[1]) + 1)
    file.write_text("\n".join([lines[0], ",".join(cells), *lines[2:]]) + "\n")


def dropped_column(file: Path) -> None:
    file.write_text("\n".join(line.rpartition(",")[0] for line in file.read_text().splitlines()) + "\n")


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (changed_value, "--force-regen"),
        (dropped_column, "--force-regen"),
        (Path.unlink, "--regen-all"),
    ],
)
def test_damaged_recorded_value_fails_with_what_to_type(checkout, damage, told):
    damage(checkout / RECORDED / "class_totals/tiny-llama.csv")
    done = run(checkout, TESTS[0], "-k", "tiny-llama")
    assert done.returncode == 1
    assert told in done.stdout


def test_changed_answer_about_any_model_fails(checkout):
    file = checkout / RECORDED / "largest_classes.verdicts/tiny-llama.csv"
    answers = file.read_text()
    assert "does not hold" in answers
    file.write_text(answers.replace("does not hold", "holds"))
    done = run(checkout, TESTS[1], "-k", "tiny-llama")
    assert done.returncode == 1
    assert "--force-regen" in done.stdout
