"""Which claims a test checks: found by reading the test files, without importing them."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rwcore import paths
from rwcore.claim.problems import Problem, did_you_mean
from rwcore.claim.schema import Paper
from rwcore.errors import ClaimFileError


@dataclass(frozen=True)
class Marked:
    """A claim id on a test.

    Attributes:
        id: The claim id; None if the marker's argument is not a literal text.
        file: The test file.
        line: Line of the marker.
        test: Name of the test, with its class.
    """

    id: str | None
    file: Path
    line: int
    test: str

    @property
    def node_id(self) -> str:
        """``test_file.py::test_name``."""
        return f"{self.file.name}::{self.test}"


@dataclass(frozen=True)
class CoverageRow:
    """Whether a claim is checked.

    Attributes:
        paper: Slug of the paper.
        id: Claim id.
        kind: Kind of the claim in the spec.
        automated: Whether a test checks it.
        tests: The tests, as ``test_file.py::test_name``.
        reason: Why not, if it is not automated.
    """

    paper: str
    id: str
    kind: str
    automated: bool
    tests: tuple[str, ...]
    reason: str | None


@dataclass(frozen=True)
class Coverage:
    """All claims, and what is wrong with the markers.

    Attributes:
        rows: One per claim, in the order of the papers.
        problems: Unknown ids, ids on several tests, markers that cannot be read.
    """

    rows: tuple[CoverageRow, ...]
    problems: tuple[Problem, ...]


def marked_claims(folder: Path) -> list[Marked]:
    """Every ``@pytest.mark.claim("C01", …)`` on tests of one paper: on functions, classes and modules.

    Raises:
        ClaimFileError: A test file is not Python.
    """
    found: list[Marked] = []
    for file in sorted(folder.glob("test_*.py")):
        try:
            module = ast.parse(file.read_text(encoding="utf-8"))
        except (SyntaxError, ValueError) as error:
            line = f":{error.lineno}" if isinstance(error, SyntaxError) else ""
            raise ClaimFileError(
                f"not Python: {error}", where=f"{file}{line}", remedy="correct it"
            ) from error
        found += _in_body(module, file, "", list(_pytestmark(module)))
    return found


def _in_body(
    owner: ast.Module | ast.ClassDef, file: Path, prefix: str, inherited: Sequence[ast.Call]
) -> Iterator[Marked]:
    for node in owner.body:
        if isinstance(node, ast.ClassDef) and node.name.startswith("Test"):
            marks = [*inherited, *_claim_calls(node.decorator_list), *_pytestmark(node)]
            yield from _in_body(node, file, f"{prefix}{node.name}::", marks)
        elif isinstance(node, ast.FunctionDef) and node.name.startswith("test"):
            for call in (*inherited, *_claim_calls(node.decorator_list)):
                for argument in call.args:
                    literal = argument.value if isinstance(argument, ast.Constant) else None
                    id_ = literal if isinstance(literal, str) else None
                    yield Marked(id_, file, call.lineno, prefix + node.name)


def _pytestmark(owner: ast.Module | ast.ClassDef) -> Iterator[ast.Call]:
    for node in owner.body:
        if isinstance(node, ast.Assign):
            targets, value = node.targets, node.value
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            targets, value = [node.target], node.value
        else:
            continue
        if any(isinstance(target, ast.Name) and target.id == "pytestmark" for target in targets):
            yield from _claim_calls(value.elts if isinstance(value, ast.List | ast.Tuple) else [value])


def _claim_calls(nodes: Iterable[ast.expr]) -> Iterator[ast.Call]:
    """Calls of ``pytest.mark.claim`` or ``mark.claim``."""
    for node in nodes:
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"pytest.mark.claim", "mark.claim"}:
            yield node


def coverage(papers: Iterable[Paper], claims_dir: Path | None = None) -> Coverage:
    """Which claims of which papers are automated.

    Args:
        papers: The papers.
        claims_dir: The folder ``claims/``; that of the checkout if None.
    """
    folder = claims_dir if claims_dir is not None else paths.claims_dir()
    rows: list[CoverageRow] = []
    problems: list[Problem] = []
    for paper in papers:
        tests: dict[str, list[Marked]] = defaultdict(list)
        for mark in marked_claims(folder / paper.slug):
            place = f"{paper.slug}/{mark.file.name}:{mark.line}"
            if mark.id is None:
                problems.append(
                    Problem(
                        place, "a claim id is not a literal text", 'write the id: @pytest.mark.claim("C01")'
                    )
                )
            else:
                tests[mark.id].append(mark)
        problems += _problems(paper, tests)
        rows += [_row(paper, claim.id, tests) for claim in paper.claims]
    return Coverage(tuple(rows), tuple(problems))


def _row(paper: Paper, id_: str, tests: Mapping[str, Sequence[Marked]]) -> CoverageRow:
    claim = paper.claim(id_)
    names = tuple(mark.node_id for mark in tests.get(id_, ()))
    automated = bool(names) and bool(claim.expect)
    reason = None
    if not automated:
        missing = "it has no [[claim.expect]]" if names else f'no test is marked @pytest.mark.claim("{id_}")'
        reason = claim.not_automated or missing
    return CoverageRow(paper.slug, id_, claim.kind, automated, names, reason)


def _problems(paper: Paper, tests: Mapping[str, Sequence[Marked]]) -> Iterator[Problem]:
    known = {claim.id: claim for claim in paper.claims}
    for id_, marks in sorted(tests.items()):
        place = f"{paper.slug}/{marks[0].file.name}:{marks[0].line}"
        if id_ not in known:
            yield Problem(
                place, f"no claim {id_!r} in paper.toml{did_you_mean(id_, known)}", "correct the id"
            )
            continue
        if len(marks) > 1:
            names = ", ".join(mark.node_id for mark in marks)
            yield Problem(
                place, f"claim {id_!r} is marked several times: {names}", "let one test check a claim"
            )
        if known[id_].not_automated is not None:
            yield Problem(
                place, f"claim {id_!r} has a test, but paper.toml says it is not automated", "delete one"
            )
