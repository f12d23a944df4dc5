"""rwcore: claims about what the neurons and heads of language models read and write, as tests."""

from __future__ import annotations

__version__ = "0.1.0"
