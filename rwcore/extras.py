"""Libraries that only some commands need, and that come with an extra."""

from __future__ import annotations

import importlib
from typing import Any

from rwcore.errors import OptionError

WIKI, PROBE = "wiki", "probe"


def extra_library(name: str, extra: str) -> Any:
    """A module of an extra, e.g. ``sklearn.linear_model`` of ``probe``.

    Raises:
        OptionError: It is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise OptionError(
            f"this needs the package of `{name}`",
            where=str(error),
            remedy=f"pip install 'rwcore[{extra}]'",
        ) from error
