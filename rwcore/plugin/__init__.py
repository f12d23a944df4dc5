"""The pytest side of rwcore: options, parametrization, gates, fixtures and recording.

Loaded by ``pytest_plugins = ["rwcore.plugin"]`` in a root ``conftest.py``; this package is the only place
that imports pytest.
"""

from __future__ import annotations

pytest_plugins = (
    "rwcore.plugin.options",
    "rwcore.plugin.parametrize",
    "rwcore.plugin.gates",
    "rwcore.plugin.fixtures",
    "rwcore.plugin.record",
)
