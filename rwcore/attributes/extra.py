"""Libraries that only passages need, and that come with an extra."""

from __future__ import annotations

import importlib
from typing import Any

from rwcore.errors import OptionError


def wiki_library(name: str) -> Any:
    """A library of the extra ``wiki``.

    Raises:
        OptionError: It is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise OptionError(
            f"these passages need the package `{name}`", where=str(error), remedy="pip install 'rwcore[wiki]'"
        ) from error
