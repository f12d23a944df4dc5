"""Claim files: one ``paper.toml`` per paper, with its claims and what is expected of each.

Errors name the file, the claim, the key and what to write instead.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    NonNegativeInt,
    PrivateAttr,
    ValidationError,
    model_validator,
)

from rwcore.claim.holds import Holds
from rwcore.claim.needs import Needs
from rwcore.claim.problems import (
    RIGHT_TOLERANCE,
    Problem,
    Strict,
    complaint,
    did_you_mean,
    problems_of,
    raise_problems,
    read_toml,
)
from rwcore.claim.tolerance import Tolerance
from rwcore.errors import ClaimFileError

FILE = "paper.toml"

# published: the paper's value on the paper's model · data: the paper's own tables · any-*: a statement asked
# of any such model · identity: must hold whatever the weights · synthetic: a planted or analytic answer ·
# ours: a claim of our own.
Scope = Literal["published", "data", "any-gated", "any-decoder", "identity", "synthetic", "ours"]

_VALUES = "a CSV file name, a value, a list, { model = value } or { model = { key = value } }"


def _check_values(values: Any) -> Any:
    if isinstance(values, str) and not values.endswith(".csv"):
        raise complaint(
            f"the text {values!r} is not the name of a CSV file",
            'a file ends in .csv; a text as value is written per model: values = { "org/model" = "text" }',
        )
    tables = [values] if not isinstance(values, dict) else list(values.values())
    for value in itertools.chain.from_iterable(t.values() if isinstance(t, dict) else [t] for t in tables):
        items = value if isinstance(value, list) else [value]
        for item in items:
            if not isinstance(item, bool | int | float | str):
                raise complaint(f"cannot be a value: {item!r}", f"values: {_VALUES}")
            if isinstance(item, float) and item != item:
                raise complaint("nan is not a published value", "leave the row out and set partial = true")
    if isinstance(values, dict) and not values:
        raise complaint("is an empty table", f"values: {_VALUES}")
    return values


def _one_or_more(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class Expectation(Strict):
    """What is expected of one quantity, on which models.

    Attributes:
        scope: What kind of statement this is; decides the words of the verdict.
        models: Model ids; ``@group`` stands for a group of the paper, ``!x`` takes one out again.
        together: One subject holds all the models (grand totals, pairs), instead of one after the other.
        gated: Asked of models with a gated MLP only (as ``any-gated`` always is).
        biased: Asked of models whose MLP has input biases only.
        quantity: Name of the obtained quantity, if the test hands over several.
        values: The published values: a file in ``golden/<paper>/published/``, or inline, see `_VALUES`.
        value: Name of the column that is compared.
        key: Key columns. Of a file: if empty, every column but ``model``, the compared one and the selected
            ones. Of inline tables: the one column that their keys go into.
        select: Rows of the file to keep (column = value or list of values). The obtained table is cut down
            the same way where it has these columns.
        select_obtained: Rows of the obtained table to keep.
        partial: The published rows are a selection; obtained rows without one are not compared.
        tolerance: How the obtained quantity is compared with ``values``.
        holds: A predicate on the quantity, instead of values.
        needs: What must be there.
        invalid: Why the published value is known to be wrong; it is shown and never a target.
        note: Anything else.
    """

    scope: Scope
    models: list[str] = Field(default_factory=list)
    together: bool = False
    gated: bool = False
    biased: bool = False
    quantity: str | None = None
    values: Annotated[Any, AfterValidator(_check_values)] = None
    value: str = "value"
    key: Annotated[list[str], BeforeValidator(_one_or_more)] = Field(default_factory=list)
    select: dict[str, Any] = Field(default_factory=dict)
    select_obtained: dict[str, Any] = Field(default_factory=dict)
    partial: bool = False
    tolerance: Tolerance | None = None
    holds: Holds | None = None
    needs: Needs = Field(default_factory=Needs)
    invalid: Annotated[str, Field(min_length=1)] | None = None
    note: str | None = None

    _label: str = PrivateAttr(default="expectation")

    @property
    def label(self) -> str:
        """Paper, claim and number, for messages; set when the file is read."""
        return self._label

    @property
    def file(self) -> str | None:
        """Name of the file with the published values, if they are in one."""
        return self.values if isinstance(self.values, str) else None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.tolerance is not None and self.holds is not None:
            raise complaint("has both tolerance and holds", "keep `tolerance` (with values), or `holds`")
        if self.tolerance is None and self.holds is None and self.invalid is None:
            raise complaint(
                "has neither tolerance nor holds", f'{RIGHT_TOLERANCE}, or holds = {{ kind = "…" }}'
            )
        if self.tolerance is not None and self.values is None:
            raise complaint("has a tolerance but no values", f"values = …: {_VALUES}")
        if self.holds is not None and self.values is not None:
            raise complaint("has values but no tolerance", "`holds` needs no values; drop one of them")
        if self.scope in {"any-gated", "any-decoder"} and self.tolerance is not None:
            raise complaint(
                f"scope {self.scope!r} has no published value to compare with",
                "use `holds` instead of tolerance",
            )
        if self.scope in {"published", "data"} and not self.models:
            raise complaint(f"scope {self.scope!r} needs models", 'models = ["org/model"] or ["@group"]')
        if self.together and not self.models:
            raise complaint("together needs models", 'models = ["@group"]')
        if isinstance(self.values, dict) and len(self.key) > 1:
            raise complaint("inline tables have one key column", 'key = "class", or a CSV file')
        return self


class Claim(Strict):
    """One statement of a paper.

    Attributes:
        id: Id in the spec, unique in the paper.
        statement: What the paper says.
        where: Section, table or figure.
        definition: The statistic and the version of its definition, e.g. ``class_counts/1``.
        kind: Kind in the spec, e.g. ``W`` (weights), ``F`` (published tables), ``S`` (synthetic).
        cost: Seconds on 2 CPU cores with the packaged model, a study left out.
        study: A study of the paper's list that the test needs; its seconds count once per model, however
            many claims share it.
        not_automated: Why no test checks it, if none does.
        note: Anything else.
        expect: What is expected.
    """

    id: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_.-]*$")]
    statement: Annotated[str, Field(min_length=1)]
    where: Annotated[str, Field(min_length=1)]
    definition: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*/[0-9]+$")]
    kind: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9]*(/[A-Z][A-Z0-9]*)*$")]
    cost: Annotated[float, Field(ge=0)] = 1.0
    study: str | None = None
    not_automated: Annotated[str, Field(min_length=1)] | None = None
    note: str | None = None
    expect: list[Expectation] = Field(default_factory=list)

    @model_validator(mode="after")
    def _something_expected(self) -> Self:
        if not self.expect and self.not_automated is None:
            raise complaint("expects nothing", 'add [[claim.expect]], or say not_automated = "reason"')
        return self


class Paper(Strict):
    """A paper and its claims.

    Attributes:
        slug: Name of its folder.
        title: Title.
        authors: Authors, as one text.
        year: Year of the version read.
        url: Where it is.
        version_read: Which version the claims are from.
        spec: Where its claims are specified.
        claims_in_spec: How many claims the spec lists.
        groups: Named lists of models; ``@other`` and ``!x`` work in them too.
        studies: Seconds, on 2 CPU cores with the packaged model, of studies that several claims share and
            that are computed by whoever asks first.
        claims: The claims.
    """

    slug: str
    title: str
    authors: str
    year: int
    url: str
    version_read: str
    spec: str
    claims_in_spec: NonNegativeInt
    groups: dict[str, list[str]] = Field(default_factory=dict)
    studies: dict[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)
    claims: list[Claim] = Field(default_factory=list, alias="claim")

    @model_validator(mode="after")
    def _unique_ids(self) -> Self:
        twice = [id_ for id_, count in Counter(claim.id for claim in self.claims).items() if count > 1]
        if twice:
            raise complaint(
                f"claim ids occur more than once: {', '.join(twice)}", "give every claim its own id"
            )
        return self

    @model_validator(mode="after")
    def _known_studies(self) -> Self:
        for claim in self.claims:
            if claim.study is not None and claim.study not in self.studies:
                hint = did_you_mean(claim.study, self.studies)
                raise complaint(
                    f"claim {claim.id} needs the study {claim.study!r}, which is not listed{hint}",
                    f"[studies] {claim.study} = SECONDS",
                )
        return self

    def claim(self, id_: str) -> Claim:
        """The claim of an id.

        Raises:
            ClaimFileError: There is none.
        """
        by_id = {claim.id: claim for claim in self.claims}
        if id_ not in by_id:
            raise ClaimFileError(
                f"no claim {id_!r}{did_you_mean(id_, by_id)}",
                where=f"{self.slug}/{FILE}",
                remedy="correct the id",
            )
        return by_id[id_]


def expand(paper: Paper, models: Iterable[str]) -> list[str]:
    """Model ids with groups resolved, in the order written, each once.

    ``@group`` stands for the members of a group; ``!model`` or ``!@group`` takes out what stands before it.

    Raises:
        ClaimFileError: A group is unknown or contains itself, or something is taken out that is not there.
    """
    return _expand(paper, models, ())


def _expand(paper: Paper, models: Iterable[str], inside: tuple[str, ...]) -> list[str]:
    found: dict[str, None] = {}
    for word in models:
        name = word.removeprefix("!")
        members = _group(paper, name[1:], inside) if name.startswith("@") else [name]
        if not word.startswith("!"):
            found.update(dict.fromkeys(members))
            continue
        for member in members:
            if member not in found:
                raise _groups_error(
                    paper, f"{word!r} takes out {member!r}, which is not in the list before it"
                )
            del found[member]
    return list(found)


def _group(paper: Paper, name: str, inside: tuple[str, ...]) -> list[str]:
    if name in inside:
        raise _groups_error(paper, f"group {name!r} contains itself")
    if name not in paper.groups:
        raise _groups_error(paper, f"no group {name!r}{did_you_mean(name, paper.groups)}")
    return _expand(paper, paper.groups[name], (*inside, name))


def _groups_error(paper: Paper, what: str) -> ClaimFileError:
    return ClaimFileError(
        what,
        where=f"{paper.slug}/{FILE}",
        remedy='write [groups] with name = ["org/model", …], models = ["@name"]',
    )


def load_paper(folder: Path) -> Paper:
    """Read ``paper.toml`` of one paper's folder.

    Raises:
        ClaimFileError: The file is missing, not TOML, or does not fit the schema; lists every problem.
    """
    file = folder / FILE
    raw, text = read_toml(file)
    if "slug" in raw:
        raise_problems([Problem("slug", "is the name of the folder and not written", "delete the key")], file)
    try:
        paper = Paper.model_validate({**raw, "slug": folder.name})
    except ValidationError as error:
        raise_problems(problems_of(error, raw), file, text)
        raise
    raise_problems(list(_model_problems(paper)), file, text)
    for claim in paper.claims:
        for number, expectation in enumerate(claim.expect):
            expectation._label = f"{paper.slug}/{claim.id} → expect[{number}]"
    return paper


def _model_problems(paper: Paper) -> Iterable[Problem]:
    """Groups that do not resolve; inline values whose models are not the listed ones."""
    for name in paper.groups:
        try:
            _group(paper, name, ())
        except ClaimFileError as error:
            yield Problem(f"groups → {name}", error.what, error.remedy or "correct it")
    for claim in paper.claims:
        for number, expectation in enumerate(claim.expect):
            path = f"claim {claim.id} → expect[{number}]"
            try:
                models = expand(paper, expectation.models)
            except ClaimFileError as error:
                yield Problem(f"{path} → models", error.what, error.remedy or "correct it")
                continue
            yield from _inline_problems(expectation, models, path)


def _inline_problems(expectation: Expectation, models: list[str], path: str) -> Iterable[Problem]:
    values = expectation.values
    if not isinstance(values, dict):
        return
    if is_table_over_key(expectation, models):
        if not expectation.key:
            yield Problem(path, "its values are a table, but `key` does not name its column", 'key = "class"')
        if any(isinstance(value, dict) for value in values.values()):
            yield Problem(f"{path} → values", "the keys are not the models listed", "use the ids of `models`")
        return
    missing = [model for model in models if model not in values]
    extra = [model for model in values if model not in models]
    if missing:
        yield Problem(
            f"{path} → values", f"no value for {', '.join(missing)}", "add it, or take the model out"
        )
    if extra:
        hints = ", ".join(f"{model!r}{did_you_mean(model, models)}" for model in extra)
        yield Problem(f"{path} → values", f"not among the models: {hints}", "use the ids of `models`")
    tables = [isinstance(value, dict) for value in values.values()]
    if any(tables) and not expectation.key:
        yield Problem(path, "its values are tables, but `key` does not name their column", 'key = "class"')
    if any(tables) and not all(tables):
        yield Problem(f"{path} → values", "mixes tables and single values", "write all models the same way")


def is_table_over_key(expectation: Expectation, models: Iterable[str]) -> bool:
    """Whether inline values are one table ``{ key = value }`` instead of a table over models.

    That is so where no models are listed (synthetic), and for models taken together when no key of the table
    is one of them.
    """
    values = expectation.values
    if not isinstance(values, dict):
        return False
    listed = set(models)
    return not listed or (expectation.together and not listed & set(values))


def load_papers(claims_dir: Path) -> list[Paper]:
    """All papers of a folder with one sub-folder per paper, by name.

    Raises:
        ClaimFileError: One of them is malformed.
    """
    return [load_paper(file.parent) for file in sorted(claims_dir.glob(f"*/{FILE}"))]
