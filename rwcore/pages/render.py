"""Templates of the pages: Jinja with everything escaped, and files that are inlined into the page."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup

PACKAGE = "rwcore.pages"


def render(template: str, **context: Any) -> str:
    """A page as text.

    Every value is escaped unless it is `Markup`. A name that the template uses and ``context`` lacks is an
    error, never an empty place. Templates may call ``static(name)``.

    Args:
        template: File name in ``rwcore/pages/templates``.
        context: What the template shows.

    Raises:
        jinja2.UndefinedError: The template uses a name that is not in ``context``.
        jinja2.TemplateNotFound: There is no such template.
    """
    return _environment().get_template(template).render(**context)


def static(name: str) -> Markup:
    """The text of a file in ``rwcore/pages/static``, as it is, to stand inside a style or script element.

    Args:
        name: File name.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file would end the element it is put into.
    """
    text = (resources.files(PACKAGE) / "static" / name).read_text(encoding="utf-8")
    for end in ("</script", "</style", "<!--"):
        if end in text.lower():
            raise ValueError(f"{name} holds {end}, which cannot be inlined")
    return Markup(text)


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(PACKAGE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals["static"] = static
    return environment
