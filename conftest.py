"""Root of the test configuration: environment before torch loads, the plugin, hypothesis profiles."""

from __future__ import annotations

import os

import hypothesis

# Tests never reach the hub by accident; the claim plugin lifts this where a run may download.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

if "PYTEST_XDIST_WORKER" in os.environ:
    # As many workers as cores: with threads of their own on top, small models run several times slower.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

hypothesis.settings.register_profile("default", deadline=None, max_examples=50)
hypothesis.settings.register_profile("ci", deadline=None, max_examples=50, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "default")

pytest_plugins = ["rwcore.plugin", "fixtures.stand_ins"]
