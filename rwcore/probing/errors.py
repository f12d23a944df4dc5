"""What a person can get wrong when probing."""

from __future__ import annotations

from rwcore.errors import RwcoreError


class ProbeError(RwcoreError):
    """A feature, a split or activations that no probe can be fitted to or judged on."""
