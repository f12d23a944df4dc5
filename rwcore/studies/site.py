"""A site of neuron pages: everything is computed first, then written. See ``OUTPUTS.md``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from rwcore.activations.artefact import DEFINITION as PASS_DEFINITION
from rwcore.activations.examples import NeuronExamples
from rwcore.activations.quadrants import PLAIN_QUADRANTS, QUADRANTS
from rwcore.corpora.encoder import read_encoder
from rwcore.corpora.tokens import TokenCorpus
from rwcore.models.vocabulary import Vocabulary, vocabulary
from rwcore.pages.cards import NeuronCard
from rwcore.pages.neuron_page import NeuronPage, neuron_page
from rwcore.pages.page_examples import StretchText
from rwcore.pages.site_data import layer_file, layer_script
from rwcore.pages.site_index import PLACE, PageLink, SiteFacts, site_index
from rwcore.provenance import Stopwatch, collect
from rwcore.runtime import progress
from rwcore.stats.classes import classes_of
from rwcore.stats.roles.choose import ROLES
from rwcore.store import write_text
from rwcore.studies.activations import PassStudy
from rwcore.studies.neuron_cards import TOKENS_DEFINITION, Neuron, neuron_cards
from rwcore.studies.neuron_examples import DEFINITION as EXAMPLES_DEFINITION
from rwcore.studies.neuron_examples import ExampleOptions, ExampleStudy
from rwcore.studies.roles import RoleStudy
from rwcore.studies.site_folder import INDEX, SitePage, neighbours, open_site
from rwcore.studies.site_tables import index_layers, quadrant_facts
from rwcore.studies.weights import DEFINITION as WEIGHTS_DEFINITION

FIRST_TOKENS = 3
"""Tokens of out and of its negative that the index shows."""


@dataclass(frozen=True)
class PageOptions:
    """What the pages say from the weights.

    Attributes:
        k: Tokens per list of a vector.
        null: Also measure the regions of mismatched pairs of the layers concerned.
    """

    k: int = 10
    null: bool = True


@dataclass(frozen=True)
class SiteExport:
    """What was written.

    Attributes:
        folder: The site.
        manifest: Its ``manifest.json``.
        new: The pages of this export, by layer and neuron.
        pages: All pages of the site.
        neurons: How many neurons the index has.
    """

    folder: Path
    manifest: dict[str, Any]
    new: tuple[SitePage, ...]
    pages: tuple[SitePage, ...]
    neurons: int


def export_site(
    pass_: PassStudy,
    chosen: Sequence[Neuron],
    out: Path,
    *,
    examples: ExampleOptions | None = None,
    options: PageOptions | None = None,
    roles: RoleStudy | None = None,
    force: bool = False,
    command: str = "",
    page_command: str = PLACE,
) -> SiteExport:
    """Write pages of some neurons, and the index of all, into a new site or an older one of the same pass.

    Args:
        pass_: The pass, with lists.
        chosen: The neurons; with none only the index is written.
        out: The folder.
        examples: How much text there is around the examples.
        options: What the pages say from the weights.
        roles: Roles of the neurons of the same model; None if they are not asked for.
        force: Write into a folder that holds other files; they stay.
        command: The command line, for pages and manifest.
        page_command: Command that makes the page of another neuron, with ``{neuron}`` in it.

    Raises:
        OptionError: There is no such neuron, or a number is out of range.
        ModelError: The model computes other values than the pass has found.
        StoreError: The folder cannot be written, holds other files, or a site of another pass.
    """
    stopwatch = Stopwatch()
    examples, options = examples or ExampleOptions(), options or PageOptions()
    weights, corpus = pass_.weights, pass_.corpus
    identity = {
        "model": weights.local.identity(),
        "processing": weights.processing,
        "pass": dict(pass_.unfolded.identity),
    }
    site = open_site(out, identity, force=force)
    maker = _PageMaker(pass_, sorted({*chosen}), ExampleStudy(pass_, examples), options, roles, command)
    layers = index_layers(pass_, None if roles is None else roles.chosen.codes)
    new = tuple(maker.entries())
    pages = site.pages(new)
    site.begin()
    for page, text in maker.pages(pages):
        site.add(page, text)
    site.relink(pages)
    for layer in layers:
        write_text(site.folder / layer_file(layer.layer), layer_script(layer))
    facts = SiteFacts(
        model=weights.local.spec.id,
        corpus=corpus.spec.id,
        tokens=pass_.unfolded.tokens,
        classes=classes_of(weights.cosines),
        roles=None if roles is None else ROLES,
        quadrants=QUADRANTS if pass_.gated else tuple(PLAIN_QUADRANTS.values()),
        pages=tuple(PageLink(one.layer, one.neuron, one.file, one.promoted, one.suppressed) for one in pages),
        command=page_command,
        provenance=_provenance(pass_),
    )
    write_text(site.folder / INDEX, site_index(facts, layers))
    manifest = site.finish(
        pages,
        {
            "command": command,
            "corpus": {
                "id": corpus.spec.id,
                "content_hash": corpus.content_hash,
                "recipe": corpus.spec.recipe(),
            },
            "tokens": pass_.unfolded.tokens,
            "options": {**asdict(examples), **asdict(options), "roles": roles is not None},
            "definitions": {
                "activations": PASS_DEFINITION,
                "cosines": WEIGHTS_DEFINITION,
                "examples": EXAMPLES_DEFINITION,
                "tokens": TOKENS_DEFINITION,
            },
            "provenance": {"statistics": weights.provenance, "export": collect(stopwatch)},
        },
    )
    return SiteExport(site.folder, manifest, new, pages, sum(map(len, layers)))


class _PageMaker:
    """The pages of the chosen neurons, one after the other: a page is large, its parts are in the store."""

    def __init__(
        self,
        pass_: PassStudy,
        chosen: Sequence[Neuron],
        study: ExampleStudy,
        options: PageOptions,
        roles: RoleStudy | None,
        command: str,
    ) -> None:
        self._pass, self._study, self._command = pass_, study, command
        self._cards: Mapping[Neuron, NeuronCard] = {}
        if chosen:
            frame: pd.DataFrame | None = None if roles is None else roles.roles()
            cards = neuron_cards(pass_.weights, chosen, k=options.k, null=options.null, roles=frame)
            self._cards = {(card.layer, card.neuron): card for card in cards}
            study.sweep(chosen)
        self._facts = quadrant_facts(pass_, chosen)
        self._provenance = _provenance(pass_)

    def entries(self) -> list[SitePage]:
        """The pages as the site lists them."""
        return [
            SitePage(
                *one,
                card.class_name,
                *(tuple(token.text for token in card.top("out", sign, FIRST_TOKENS)) for sign in (1, -1)),
            )
            for one, card in self._cards.items()
        ]

    def pages(self, among: Sequence[SitePage]) -> Iterator[tuple[SitePage, str]]:
        """Each page with its text, linked to its neighbours among all pages of a site."""
        if not self._cards:
            return
        encoder = read_encoder(self._pass.weights.local)
        words = vocabulary(self._pass.weights.local, encoder.vocab)
        mine = [one for one in neighbours(among) if (one[0].layer, one[0].neuron) in self._cards]
        for page, (before, after) in progress(mine, desc="pages", total=len(mine), unit="page"):
            one = (page.layer, page.neuron)
            examples = self._study.example(*one)
            yield (
                page,
                neuron_page(
                    NeuronPage(
                        card=self._cards[one],
                        examples=examples,
                        texts=texts_of(examples, self._pass.corpus, words),
                        corpus=self._pass.corpus.spec.id,
                        tokens=self._pass.unfolded.tokens,
                        quadrants=self._facts[one],
                        before=before,
                        after=after,
                        index=f"../{INDEX}",
                        command=self._command,
                        provenance=self._provenance,
                    )
                ),
            )


def texts_of(examples: NeuronExamples, corpus: TokenCorpus, words: Vocabulary) -> tuple[StretchText, ...]:
    """The texts of the stretches of a neuron.

    Args:
        examples: The neuron.
        corpus: The rows that its examples are from.
        words: The vocabulary of the model.
    """
    found = []
    for stretch in examples.stretches:
        row = corpus.row(stretch.row).tolist()
        ids = row[stretch.start : stretch.end]
        found.append(
            StretchText(
                tuple(words.texts[number] for number in ids),
                frozenset(place for place, number in enumerate(ids) if number in words.special),
                int(corpus.document[stretch.row]),
                len(row),
            )
        )
    return tuple(found)


def _provenance(pass_: PassStudy) -> tuple[tuple[str, str], ...]:
    """What the activations are of, in words."""
    corpus, unfolded = pass_.corpus, pass_.unfolded
    return (
        ("text", f"{corpus.spec.id}, {unfolded.tokens:,} tokens in {unfolded.rows:,} rows"),
        ("rows", corpus.content_hash.removeprefix("sha256:")[:12]),
        ("pass", f"{PASS_DEFINITION}, {pass_.options.dtype}"),
    )
