"""The house rules of the code: who imports whom, how long a module is, what is never written.

Each rule is a function from a module's name and tree to its offences, so that it can be shown to catch an
offending module before it is asked about the real ones.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "rwcore"
LINES = 400

# A package may import what stands before it, and itself.
# fmt: off
ORDER = (
    "models", "weights", "stats", "neurons", "corpora", "activations", "ablation", "attributes", "probing",
    "heads", "plots", "pages", "serve", "studies", "report", "cli", "plugin",
)
# fmt: on
BASE = ("errors", "extras", "paths", "runtime", "provenance", "store", "parallel")
COMPARISON = ("claim", "golden")  # import the base only; known to the three packages that meet people
MEET_PEOPLE = ("report", "cli", "plugin")
SUPPORT = ("tests", "benchmarks")  # not the library: they may import anything
FORBIDDEN_MODULES = ("pickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve")
UNPICKLING_ERROR = "from pickle import UnpicklingError"  # what torch.load raises; it unpickles nothing
FORBIDDEN_CALLS = ("read_pickle", "to_pickle")


def package_of(module: str) -> str:
    """The part of a module's name that the order is about: ``rwcore.stats.null`` is in ``stats``."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def allowed(package: str) -> set[str]:
    """Packages that a module of ``package`` may import from rwcore."""
    if package in BASE or package == "":
        return {*BASE}
    if package in COMPARISON:
        return {*BASE, package}
    if package in ORDER:
        before = ORDER[: ORDER.index(package) + 1]
        return {*BASE, *before, *(COMPARISON if package in MEET_PEOPLE else ())}
    raise LookupError(f"rwcore.{package} is not in the order of imports: design it in first")


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, module) of every import at any depth, also by ``importlib.import_module`` with a literal."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            # `from rwcore import stats` names a module by its last word.
            words = [alias.name for alias in node.names if not alias.name.startswith("__")]
            whole = node.module == "rwcore"
            names = [f"rwcore.{word}" for word in words] if whole else [node.module or "."]
            yield from ((node.lineno, name) for name in names)
        elif isinstance(node, ast.Call) and called(node) in ("import_module", "__import__") and node.args:
            argument = node.args[0]
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                yield node.lineno, argument.value


def called(call: ast.Call) -> str:
    """The last word of what is called."""
    function = call.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def order_offences(module: str, tree: ast.AST) -> Iterator[str]:
    """Imports against the order of the packages, and libraries imported outside their one package."""
    package = package_of(module)
    if package in SUPPORT:
        owners = {"transformer_lens": "models"}
    else:
        owners = {"transformer_lens": "models", "pytest": "plugin", "_pytest": "plugin"}
        owners |= {"pytest_regressions": "plugin", "fixtures": "none", "claims": "none"}
    for line, name in imports(tree):
        top = name.split(".")[0]
        if top == "rwcore" and package not in SUPPORT and package_of(name) not in {*allowed(package), ""}:
            yield f"{module}:{line} imports {name} against the order"
        if top in owners and owners[top] != package:
            yield f"{module}:{line} imports {top}, which only {owners[top]} may"


def forbidden_offences(module: str, tree: ast.AST) -> Iterator[str]:
    """Files that can run code when they are read: pickles, unsafe loads, code from a hub."""
    statements = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    harmless = {node.lineno for node in statements if ast.unparse(node) == UNPICKLING_ERROR}
    for line, name in imports(tree):
        if name.split(".")[0] in FORBIDDEN_MODULES and line not in harmless:
            yield f"{module}:{line} imports {name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in FORBIDDEN_CALLS:
            yield f"{module}:{node.lineno} uses {node.attr}"
        if isinstance(node, ast.Dict):
            keys = [key.value for key in node.keys if isinstance(key, ast.Constant)]
            if "trust_remote_code" in keys:
                yield f"{module}:{node.lineno} passes trust_remote_code"
        if isinstance(node, ast.Call):
            yield from (f"{module}:{node.lineno} {text}" for text in call_offences(node))


def call_offences(call: ast.Call) -> Iterator[str]:
    """What one call does that is never done."""
    values = {word.arg: word.value for word in call.keywords}
    true = {name for name, value in values.items() if isinstance(value, ast.Constant) and value.value is True}
    false = {name for name, value in values.items() if isinstance(value, ast.Constant) and not value.value}
    if called(call) == "load" and ast.unparse(call.func) == "torch.load" and "weights_only" not in true:
        yield "calls torch.load without weights_only=True"
    for name in ("trust_remote_code", "allow_pickle"):
        if name in values and name not in false:
            yield f"passes {name}"


def length_offences(module: str, source: str) -> Iterator[str]:
    """Modules over the ceiling."""
    lines = source.count("\n")
    if lines > LINES:
        yield f"{module} has {lines} lines; {LINES} is the ceiling"


@cache
def modules() -> dict[str, str]:
    """Module names and sources of everything we write: library, tests, claims, fixtures."""
    files = [*LIBRARY.rglob("*.py"), *(ROOT / "claims").rglob("*.py"), *(ROOT / "fixtures").rglob("*.py")]
    files.append(ROOT / "conftest.py")
    names = {file: ".".join(file.relative_to(ROOT).with_suffix("").parts) for file in sorted(files)}
    return {name.removesuffix(".__init__"): file.read_text(encoding="utf-8") for file, name in names.items()}


def offences(rule: Callable[[str, ast.AST], Iterator[str]], prefix: str = "") -> list[str]:
    """What a rule finds in the modules whose names start with ``prefix``."""
    found = {name: ast.parse(source) for name, source in modules().items() if name.startswith(prefix)}
    assert found, f"no modules below {prefix}"
    return [offence for name, tree in found.items() for offence in rule(name, tree)]


# --- the rules hold ------------------------------------------------------------------------------------


def test_packages_import_in_the_order_of_the_design() -> None:
    assert offences(order_offences, "rwcore") == []


def test_claims_and_fixtures_reach_transformer_lens_through_the_library() -> None:
    tops = {
        name: {top.split(".")[0] for _, top in imports(ast.parse(text))} for name, text in modules().items()
    }
    library = {name for name in tops if name.startswith("rwcore.models")}
    assert [name for name, top in tops.items() if "transformer_lens" in top and name not in library] == []


def test_nothing_is_pickled_or_run_from_a_hub() -> None:
    assert offences(forbidden_offences) == []


def test_no_module_is_too_long() -> None:
    assert [offence for name, text in modules().items() for offence in length_offences(name, text)] == []


def test_claim_folders_are_no_packages() -> None:
    assert list((ROOT / "claims").rglob("__init__.py")) == []


# --- the rules can fail --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("rwcore.stats.cosines", "from rwcore.weights.mlp import MlpLayer"),
        ("rwcore.stats.cosines", "from rwcore.stats.medians import x"),
        ("rwcore.stats.cosines", "import rwcore"),
        ("rwcore.cli", "from rwcore import __version__"),
        ("rwcore.models.load", "def load():\n    from transformer_lens import boot"),
        ("rwcore.plugin.hooks", "import pytest\nfrom rwcore.claim.schema import Paper"),
        ("rwcore.cli", "from rwcore.studies.weights import weight_study\nfrom rwcore.golden import paths"),
        ("rwcore.store", "from rwcore import paths"),
        ("rwcore.tests.test_x", "import pytest\nfrom rwcore.plugin import hooks\nimport fixtures.planted"),
    ],
)
def test_imports_that_are_allowed(module: str, source: str) -> None:
    assert list(order_offences(module, ast.parse(source))) == []


@pytest.mark.parametrize(
    ("module", "source", "offence"),
    [
        ("rwcore.stats.cosines", "from rwcore.studies.weights import weight_study", "rwcore.studies.weights"),
        ("rwcore.stats.cosines", "from rwcore import studies", "rwcore.studies"),
        ("rwcore.stats.cosines", "import rwcore.claim.verdict", "rwcore.claim.verdict"),
        ("rwcore.store", "def f():\n    from rwcore.models.spec import ModelSpec", "store:2"),
        ("rwcore.models.spec", "import importlib\nimportlib.import_module('rwcore.weights.mlp')", "weights"),
        ("rwcore.claim.compare", "from rwcore.golden.paths import slug", "rwcore.golden.paths"),
        ("rwcore.golden.compare", "from rwcore.claim import tolerance", "rwcore.claim"),
        ("rwcore.claim.compare", "from rwcore.stats.classes import RW_CLASSES", "rwcore.stats"),
        ("rwcore.report.html", "from rwcore.plugin.gates import Gate", "rwcore.plugin"),
        ("rwcore.report.html", "from rwcore.tests.data import frame", "rwcore.tests"),
        ("rwcore.report.html", "from rwcore.benchmarks import reference", "rwcore.benchmarks"),
        ("rwcore.weights.mlp", "def f():\n    import transformer_lens.model_bridge", "only models may"),
        ("rwcore.tests.test_mlp", "from transformer_lens import TransformerBridge", "only models may"),
        ("rwcore.report.html", "import pytest", "only plugin may"),
        ("rwcore.golden.compare", "from pytest_regressions.common import check", "only plugin may"),
        ("rwcore.studies.weights", "from fixtures.planted import planted", "fixtures"),
    ],
)
def test_imports_that_are_caught(module: str, source: str, offence: str) -> None:
    found = list(order_offences(module, ast.parse(source)))
    assert len(found) == 1
    assert offence in found[0]


def test_a_package_that_the_design_does_not_know_is_caught() -> None:
    with pytest.raises(LookupError, match="not in the order"):
        list(order_offences("rwcore.helpers", ast.parse("import rwcore.store")))


@pytest.mark.parametrize(
    "source",
    [
        *(f"import {name}" for name in FORBIDDEN_MODULES),
        "def f():\n    from pickle import loads",
        f"{UNPICKLING_ERROR}, loads",
        *(f"frame.{name}(path)" for name in FORBIDDEN_CALLS),
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=flag)",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
        "AutoModel.from_pretrained(name, trust_remote_code=trusted)",
        "options = {'trust_remote_code': True}",
        "numpy.load(path, allow_pickle=True)",
    ],
)
def test_code_that_is_never_written_is_caught(source: str) -> None:
    assert len(list(forbidden_offences("module", ast.parse(source)))) == 1


@pytest.mark.parametrize(
    "source",
    [
        "torch.load(path, weights_only=True, mmap=True)",
        "numpy.load(path, allow_pickle=False)",
        "safetensors.load(path)",
        UNPICKLING_ERROR,
        "'import pickle; trust_remote_code=True'",
    ],
)
def test_safe_code_is_not_caught(source: str) -> None:
    assert list(forbidden_offences("module", ast.parse(source))) == []


def test_a_long_module_is_caught() -> None:
    assert list(length_offences("module", "x = 1\n" * LINES)) == []
    assert list(length_offences("module", "x = 1\n" * (LINES + 1))) == [
        "module has 401 lines; 400 is the ceiling"
    ]


def test_git_ignores_no_file_that_is_needed() -> None:
    command = ["git", "ls-files", "--others", "--ignored", "--exclude-standard"]
    folders = ["rwcore", "claims", "fixtures", "golden"]
    done = subprocess.run([*command, "--", *folders], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"not a git checkout: {done.stderr.strip()}")
    by_products = ("__pycache__/", ".obtained.")
    hidden = [path for path in done.stdout.splitlines() if not any(part in path for part in by_products)]
    assert hidden == [], "a rule in .gitignore hides files that a fresh clone would lack"


# --- what importing costs ------------------------------------------------------------------------------

IMPORTER = """
import importlib, json, sys
heavy = {}
for name in sys.argv[2:]:
    importlib.import_module(name)
    for word in sys.argv[1].split(","):
        if word in sys.modules:
            heavy.setdefault(word, name)
print(json.dumps(heavy))
"""


def drawn_in(heavy: tuple[str, ...], names: list[str]) -> dict[str, str]:
    """For each heavy package that is loaded by importing ``names`` in this order: by which of them."""
    command = [sys.executable, "-c", IMPORTER, ",".join(heavy), *names]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    loaded: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return loaded


def existing(*patterns: str) -> list[str]:
    """Names of the library's modules below these packages or with these names."""
    return [
        name
        for name in modules()
        if any(name == pattern or name.startswith(f"{pattern}.") for pattern in patterns)
    ]


def test_help_comparison_and_reports_load_no_torch() -> None:
    light = existing("rwcore.errors", "rwcore.paths", "rwcore.store", "rwcore.runtime", "rwcore.provenance")
    light += existing("rwcore.parallel", "rwcore.claim", "rwcore.golden", "rwcore.report", "rwcore.cli")
    light += existing("rwcore.models.spec", "rwcore.models.registry")
    assert drawn_in(("torch", "transformers", "transformer_lens"), ["rwcore", *light]) == {}


def test_streaming_weights_loads_no_transformers() -> None:
    streaming = existing("rwcore.models", "rwcore.weights", "rwcore.stats", "rwcore.studies")
    assert drawn_in(("transformers", "transformer_lens"), streaming) == {}


def test_a_heavy_import_is_noticed() -> None:
    assert drawn_in(("decimal", "wave"), ["colorsys", "decimal"]) == {"decimal": "decimal"}
