"""The article whose title is the subject."""

from __future__ import annotations

from collections.abc import Sequence

from rwcore.ablation.compare import FIXED
from rwcore.attributes.dump import Page, is_article
from rwcore.attributes.sources import PassageSource, title_of


def articles(source: PassageSource, subjects: Sequence[str], convention: str) -> dict[str, Page]:
    """The article of every subject that has one.

    Args:
        source: Where they are looked for.
        subjects: The subjects.
        convention: ``fixed``: one redirect is followed. ``as_published``: it is a page like others.
    """
    titles = {title_of(subject) for subject in subjects}
    pages = {page.title: page for page in source.titled(titles)}
    if convention == FIXED:
        targets = {page.title: page.redirect for page in pages.values() if page.redirect is not None}
        missing = set(targets.values()) - pages.keys()
        known = pages | ({page.title: page for page in source.titled(missing)} if missing else {})
        pages |= {title: known[target] for title, target in targets.items() if target in known}
    named = ((subject, pages.get(title_of(subject))) for subject in subjects)
    return {subject: page for subject, page in named if page is not None and is_article(page, convention)}
