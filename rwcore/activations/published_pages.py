"""Neuron pages in the published layout: one JSON file per example; read, written, and our own.

A page is a folder ``L<layer>/N<neuron>`` with files ``<case>_<hook>_example_<rank>.json``, the best example
first. A file has ``tokens`` (each token's text alone, from the beginning of the row to two tokens behind the
peak), ``labels`` (names of columns) and ``values`` (a row per token, a number per label). Its first column is
the list's own quantity, 0 outside the quadrant.

Source: neuroscope specification, sections 4 and 6.1.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rwcore.activations.examples import Entry, NeuronExamples
from rwcore.activations.quadrants import LISTS, QUADRANTS
from rwcore.errors import NotGatedError, OptionError, StoreError
from rwcore.store import write_text

HOOKS = {"post": "hook_post", "in": "hook_pre_linear", "gate": "hook_pre", "act": "swish"}
"""Published names of our quantities, in the order of the columns."""
QUANTITY_OF = {hook: quantity for quantity, hook in HOOKS.items()}

AFTER = 2
"""Tokens that are shown behind the peak."""

_FOLDER = re.compile(r"L(\d+)/N(\d+)")
_FILE = re.compile(rf"({'|'.join(map(re.escape, QUADRANTS))})_({'|'.join(QUANTITY_OF)})_example_(\d+)\.json")


@dataclass(frozen=True, eq=False)
class PublishedExample:
    """One example of a list: a text, and what the neuron does at each of its tokens.

    Attributes:
        case: The quadrant, in the words of `rwcore.activations.quadrants.QUADRANTS`.
        hook: Published name of the list's quantity, see `HOOKS`.
        rank: Place in the list, from 0.
        tokens: Text of each token; bytes that are no character are U+FFFD.
        labels: Names of the columns.
        values: The numbers as they stand in the file, float64 (they are meant to be float32).
    """

    case: str
    hook: str
    rank: int
    tokens: tuple[str, ...]
    labels: tuple[str, ...]
    values: Float[Tensor, "pos label"]

    @property
    def name(self) -> str:
        """Name of its file."""
        return f"{self.case}_{self.hook}_example_{self.rank}.json"

    @property
    def which(self) -> tuple[str, str]:
        """The list, as in `rwcore.activations.quadrants.LISTS`."""
        return self.case, QUANTITY_OF[self.hook]

    @property
    def listed(self) -> Float[Tensor, " pos"]:
        """The first column: the list's quantity inside its quadrant."""
        return self.values[:, 0]

    def of(self, quantity: str) -> Float[Tensor, " pos"]:
        """The numbers of ``gate``, ``in``, ``act`` or ``post``, whatever the quadrant."""
        return self.values[:, self.labels.index(HOOKS[quantity])]

    def inside(self) -> Bool[Tensor, " pos"]:
        """Which tokens are in the quadrant."""
        return inside(self.case, self.of("gate"), self.of("in"))

    @property
    def raw(self) -> Float[Tensor, "pos quantity"]:
        """The columns in the order of `HOOKS`."""
        return self.values[:, -len(HOOKS) :]

    @property
    def peak(self) -> int:
        """The first position where the listed quantity is largest in size."""
        return int(self.listed.abs().argmax())


@dataclass(frozen=True, eq=False)
class PublishedPage:
    """The examples of one neuron.

    Attributes:
        layer: Its layer.
        neuron: Its number in the layer.
        examples: In the order of `rwcore.activations.quadrants.LISTS`, the best example of a list first.
    """

    layer: int
    neuron: int
    examples: tuple[PublishedExample, ...]

    def lists(self) -> dict[tuple[str, str], list[PublishedExample]]:
        """The examples of each list that has any."""
        found: dict[tuple[str, str], list[PublishedExample]] = {}
        for example in self.examples:
            found.setdefault(example.which, []).append(example)
        return found


def inside(case: str, gate: Float[Tensor, " pos"], in_: Float[Tensor, " pos"]) -> Bool[Tensor, " pos"]:
    """Which tokens are in a quadrant: gate and in have its signs, strictly."""
    signed = (gate if case.startswith("gate+") else -gate, in_ if case.endswith("in+") else -in_)
    return (signed[0] > 0) & (signed[1] > 0)


def best_of_lists(page: PublishedPage) -> PublishedPage:
    """The page with the best example of each list alone."""
    return replace(page, examples=tuple(one for one in page.examples if one.rank == 0))


def labels_of(case: str, hook: str) -> tuple[str, ...]:
    """The names of the columns of an example, in their order.

    Where the gate is positive the list of gates stands for that of act too, and has its column as well.
    """
    shared = (f"{case}_{HOOKS['act']}",) if case.startswith("gate+") and hook == HOOKS["gate"] else ()
    return (f"{case}_{hook}", *shared, *HOOKS.values())


def published_text(text: str) -> str:
    """A token's text as the pages have it: every byte that is no character becomes U+FFFD.

    Args:
        text: The text; such bytes as in ``bytes.decode(errors="surrogateescape")``.
    """
    return text.encode("utf-8", errors="surrogateescape").decode("utf-8", errors="replace")


# --- from our own examples --------------------------------------------------------------------------------


def own_page(examples: NeuronExamples, texts: Sequence[Sequence[str]]) -> PublishedPage:
    """The page of one of our neurons, in the published columns; zeros are zeros.

    Args:
        examples: Their stretches must begin with their rows (``before=None``) and go at least two tokens
            beyond a peak, or to the end of the row.
        texts: For each stretch the text of each token.

    Raises:
        NotGatedError: The neuron has no gate.
        OptionError: A stretch begins later, or has another number of texts.
    """
    if not examples.gated:
        raise NotGatedError(
            f"the published pages are of gated neurons, and {examples.layer}.{examples.neuron} has no gate",
            remedy="ask a gated model",
        )
    wrong = [
        number
        for number, (stretch, words) in enumerate(zip(examples.stretches, texts, strict=True))
        if stretch.start != 0 or len(words) != len(stretch.gate)
    ]
    if wrong:
        raise OptionError(
            f"stretch {wrong[0]} of {examples.layer}.{examples.neuron} does not begin with its row, or has "
            "not one text per token",
            where="examples",
            remedy="make the examples with before=None, and give the texts of their stretches",
        )
    found = [
        _example(examples, texts, which, rank, entry)
        for which in LISTS
        for rank, entry in enumerate(examples.lists.get(which, ()))
    ]
    return PublishedPage(examples.layer, examples.neuron, tuple(found))


def _example(
    examples: NeuronExamples, texts: Sequence[Sequence[str]], which: tuple[str, str], rank: int, entry: Entry
) -> PublishedExample:
    number, place = examples.stretch_of(entry)
    stretch, here = examples.stretches[number], slice(0, place + 1 + AFTER)
    gate, in_, act = stretch.gate[here], stretch.in_[here], stretch.act[here]
    columns = {"post": act * in_, "in": in_, "gate": gate, "act": act}
    case, quantity = which
    there = inside(case, gate, in_)
    labels = labels_of(case, HOOKS[quantity])
    # The columns before the raw ones are those of the list, and of act where its list is not kept.
    masked = [quantity, "act"][: len(labels) - len(columns)]
    values = [columns[name].where(there, 0) for name in masked] + list(columns.values())
    return PublishedExample(
        case,
        HOOKS[quantity],
        rank,
        tuple(map(published_text, texts[number][here])),
        labels,
        torch.stack(values, dim=1).double(),
    )


# --- files ------------------------------------------------------------------------------------------------


def write_page(folder: Path, page: PublishedPage) -> Path:
    """Write the files of a page below a folder of pages; returns the page's own folder."""
    target = folder / f"L{page.layer}" / f"N{page.neuron}"
    for example in page.examples:
        content = {
            "tokens": list(example.tokens),
            "values": example.values.tolist(),
            "labels": list(example.labels),
        }
        write_text(target / example.name, json.dumps(content))
    return target


def page_folders(folder: Path) -> list[tuple[int, int, Path]]:
    """The pages below a folder by layer and neuron, each with its own folder.

    Raises:
        StoreError: There are none.
    """
    found = []
    for place in folder.glob("L*/N*"):
        match = _FOLDER.fullmatch(f"{place.parent.name}/{place.name}")
        if match and place.is_dir() and any(place.glob("*.json")):
            found.append((int(match[1]), int(match[2]), place))
    if not found:
        raise StoreError(
            "there are no published pages here",
            where=str(folder),
            remedy="give the folder that holds the folders L<layer>/N<neuron> with JSON files",
        )
    return sorted(found)


def read_pages(folder: Path) -> Iterator[PublishedPage]:
    """The pages below a folder, one after the other by layer and neuron; they are large.

    Raises:
        StoreError: There are none, or a file is not what it should be.
    """
    for layer, neuron, place in page_folders(folder):
        yield read_page(place, layer, neuron)


def read_page(folder: Path, layer: int, neuron: int) -> PublishedPage:
    """One page; files of other names (``vis.html``) are left alone.

    Raises:
        StoreError: A file is not what it should be.
    """
    matches = [(file, _FILE.fullmatch(file.name)) for file in folder.glob("*.json")]
    examples = [_read(file, match) for file, match in matches if match]
    examples.sort(key=lambda one: (LISTS.index(one.which), one.rank))
    return PublishedPage(layer, neuron, tuple(examples))


def _read(file: Path, match: re.Match[str]) -> PublishedExample:
    case, hook, rank = match.groups()
    try:
        content: Any = json.loads(file.read_text(encoding="utf-8"))
        tokens, labels = tuple(content["tokens"]), tuple(content["labels"])
        values = torch.from_numpy(np.array(content["values"], dtype=np.float64))
        if (case, QUANTITY_OF[hook]) not in LISTS:
            raise ValueError(f"there is no list of {hook} in {case}")
        if labels[-len(HOOKS) :] != tuple(HOOKS.values()):
            raise ValueError(f"the last columns are not {', '.join(HOOKS.values())}")
        if values.shape != (len(tokens), len(labels)) or not tokens:
            raise ValueError(f"{list(values.shape)} values for {len(tokens)} tokens and {len(labels)} labels")
        if not all(isinstance(text, str) for text in (*tokens, *labels)):
            raise TypeError("a token or label is no text")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"this is no published example: {error!r}", where=str(file), remedy="get the file again"
        ) from error
    return PublishedExample(case, hook, int(rank), tokens, labels, values)
