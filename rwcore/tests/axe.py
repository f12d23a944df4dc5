"""The accessibility checker axe, run in a page of the browser tests."""

from __future__ import annotations

from importlib import metadata
from typing import Any

import pytest


def axe_script() -> str:
    """The checker; skips the test where it is not installed.

    Only a file of the package is read: importing it would ask for a browser of its own.
    """
    try:
        files = metadata.files("axe-playwright-python") or []
    except metadata.PackageNotFoundError:
        pytest.skip("axe is not installed: pip install axe-playwright-python==0.1.8")
    return next(one for one in files if one.name == "axe.min.js").read_text(encoding="utf-8")


def violations(browser: Any) -> list[tuple[str, str, str]]:
    """(rule, impact, first element) of everything it finds in the present page."""
    # Through the debugger: the page's own policy lets no script in.
    browser.execute_cdp_cmd("Runtime.evaluate", {"expression": axe_script()})
    found = browser.execute_async_script("axe.run().then(arguments[0])")
    assert len(found["passes"]) > 20  # it has looked
    return [(one["id"], one["impact"], one["nodes"][0]["html"]) for one in found["violations"]]
