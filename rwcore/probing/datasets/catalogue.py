"""Names of data sets of features, as people give them: offline, of a corpus, or of one's own."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path

from rwcore.corpora.encoder import TextEncoder
from rwcore.errors import CorpusError, OptionError, require_least
from rwcore.probing.datasets.features import FIXED, FeatureDataset
from rwcore.probing.datasets.of_corpora import family_names, features_of
from rwcore.probing.datasets.offline import FAMILIES, Offline
from rwcore.probing.datasets.own_features import own_features
from rwcore.probing.datasets.people_table import FORM, people_datasets
from rwcore.probing.datasets.sampling import LEAST

OFFLINE = "offline"


def names() -> list[str]:
    """Everything that `find_features` knows by name; ``offline`` is all the others."""
    return [OFFLINE, *FAMILIES]


def about(name: str) -> str:
    """One line about a data set that is known by name."""
    if name == OFFLINE:
        return "All of these that have enough examples."
    return (FAMILIES[name].__doc__ or "").strip()


def find_features(
    text: str,
    encoder: TextEncoder,
    *,
    seed: int = 0,
    least: int = LEAST,
    tokens: int | None = None,
    convention: str = FIXED,
) -> list[FeatureDataset]:
    """The data sets a person names, with commas between them.

    They are names, ``FAMILY:CORPUS``, ``people:TABLE@CORPUS`` and ``.jsonl`` files.

    Args:
        text: What the person typed; a file may have a comma in its name only if it is given alone.
        encoder: The tokenizer and the limits of the model.
        seed: Seed of the choice of examples.
        least: Examples of either class that a feature must have.
        tokens: Tokens of the rows that the offline data sets share, at most (see
            `rwcore.probing.datasets.offline.Offline`); all if None. Files are read whole.
        convention: Of families on named texts: ``fixed`` or ``as_published``. Our own data sets are made in
            one way.

    Raises:
        OptionError: Nothing is named, a name is unknown, or the number of tokens is not positive.
        CorpusError: A file is damaged (see `rwcore.probing.datasets.own_features`), or a data set that was
            named has no feature with enough examples; the message says how many each one has.
    """
    parts = [text] if Path(text).is_file() else [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        raise OptionError(
            "no features are named", where="--features", remedy=f"give some of {', '.join(names())}"
        )
    if tokens is not None:
        require_least("--tokens", tokens, 1)
    texts = Offline(encoder, least, seed, tokens)
    found: dict[str, FeatureDataset] = {}
    for data in (data for part in dict.fromkeys(parts) for data in _named(part, texts, convention)):
        # ``offline,code`` makes the same data set twice.
        if found.setdefault(data.name, data).content_hash != data.content_hash:
            raise OptionError(
                f"two different data sets are called {data.name!r}",
                where="--features",
                remedy="rename one of the files",
            )
    return list(found.values())


def _named(name: str, texts: Offline, convention: str) -> Iterator[FeatureDataset]:
    if name == OFFLINE:
        yield from (data for make in FAMILIES.values() if (data := make(texts)).features)
    elif name in FAMILIES:
        yield _with_features(FAMILIES[name](texts))
    elif (
        made := features_of(name, texts.encoder, seed=texts.seed, least=texts.least, convention=convention)
    ) is not None:
        yield _with_features(made)
    elif (
        several := people_datasets(name, texts.encoder, least=texts.least, convention=convention)
    ) is not None:
        yield from several
    elif Path(name).is_file():
        yield _with_features(own_features(Path(name), texts.encoder, least=texts.least))
    else:
        close = difflib.get_close_matches(name, names(), n=3)
        raise OptionError(
            f"unknown features {name!r}: neither a name nor a file",
            where="--features",
            remedy=(f"did you mean {' or '.join(close)}? " if close else "")
            + f"known are {', '.join(names())}; of texts of your own {', '.join(family_names())}, as in "
            f"{family_names()[0]}:FILE; of people {FORM}",
        )


def _with_features(data: FeatureDataset) -> FeatureDataset:
    if not data.features:
        counts = "; ".join(f"{one.name}: {one.positives} and {one.negatives}" for one in data.skipped)
        least = max((one.least for one in data.skipped), default=1)
        raise CorpusError(
            f"no feature of {data.name!r} has {least} examples with it and as many without it "
            f"({counts or 'it has none at all'})",
            where=data.corpus.spec.location or data.name,
            remedy="give more examples, or ask for fewer (--least N)",
        )
    return data
