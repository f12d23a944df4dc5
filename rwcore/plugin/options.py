"""Options of the claims: ``--rw-*`` on the command line, ``RWCORE_*`` variables, ``rw_*`` in the ini file.

The command line wins, then the environment, then the ini file.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from rwcore.errors import OptionError
from rwcore.plugin.asked_features import FeatureTexts, read_feature_texts

STAND_IN, PACKAGED, PAPER = "stand-in", "packaged", "paper"

# Enough for every order and sign of the papers, and for tolerances that are twice those of the whole text.
DEFAULT_TOKENS = 1_000_000


@dataclass(frozen=True)
class Option:
    """One option with its three spellings."""

    name: str
    help: str
    default: str | None = None
    flag: bool = False
    metavar: str | None = None

    @property
    def command_line(self) -> str:
        """E.g. ``--rw-models``."""
        return "--rw-" + self.name

    @property
    def ini(self) -> str:
        """E.g. ``rw_models``."""
        return "rw_" + self.name.replace("-", "_")

    @property
    def variable(self) -> str:
        """E.g. ``RWCORE_MODELS``."""
        return "RWCORE_" + self.name.replace("-", "_").upper()


OPTIONS = (
    Option(
        "models",
        "models to ask, separated by commas: stand-in (small local models, the default), packaged (the "
        "real model that a Python package ships), paper (the papers' own), or any registry id, org/name, "
        "folder or .gguf file",
        default=STAND_IN,
        metavar="MODELS",
    ),
    Option("paper", "only claims of these papers (folders in claims/), separated by commas", metavar="SLUGS"),
    Option("report", "write index.html, report.md and results.json into this folder", metavar="DIR"),
    Option("budget", "stop starting claims after this many minutes; cheapest first", metavar="MINUTES"),
    Option(
        "tokens",
        f"tokens of text that the papers' own models and models asked by name read ({DEFAULT_TOKENS:,} if "
        "not given); tolerances widen as the claims say",
        metavar="N",
    ),
    Option("full", "read the papers' whole text instead of a part of it", flag=True),
    Option("strict", "fail instead of skip when something a claim needs is missing", flag=True),
    Option(
        "published-pages",
        "folder of published neuron pages, with folders L<layer>/N<neuron> of JSON files",
        metavar="DIR",
    ),
    Option(
        "knowns",
        "facts that models are asked instead of our own (handmade): a JSON file or one in the hub's cache, "
        "hf://datasets/ORG/NAME/FILE.json; with --rw-passages",
        metavar="FILE",
    ),
    Option(
        "passages",
        "where the text about the subjects of these facts is: a JSONL file of documents, or a Wikipedia dump "
        "(…-multistream.xml.bz2)",
        metavar="SOURCE",
    ),
    Option(
        "features",
        "texts that the features of sparse probing are made of, where the registered ones are not wanted or "
        'there are none: a TOML file with lines such as treebank = "UD_English-EWT"',
        metavar="FILE.toml",
    ),
    Option(
        "scheduler",
        "where layer-wise work runs: local, local:N, tcp://HOST:PORT or a scheduler file",
        metavar="WHERE",
    ),
    Option("cache", "folder for converted weights and artefacts", metavar="DIR"),
    Option("new-only", "record values that have no file yet; leave existing files as they are", flag=True),
    Option(
        "obtained",
        "also write every value that is compared with a recorded one below this folder",
        metavar="DIR",
    ),
)


@dataclass(frozen=True)
class Knowledge:
    """What models are asked about.

    Attributes:
        knowns: Where the facts are, see `rwcore.attributes.facts.read_facts`.
        passages: Where the text about their subjects is, see `rwcore.attributes.sources.open_source`.
    """

    knowns: str
    passages: str


@dataclass(frozen=True)
class Settings:
    """The options of one run, checked; ``tokens`` is None for the papers' whole text."""

    models: tuple[str, ...]
    papers: tuple[str, ...]
    report: Path | None
    budget_seconds: float | None
    tokens: int | None
    strict: bool
    scheduler: str | None
    published_pages: Path | None
    knowledge: Knowledge | None
    features: FeatureTexts
    new_only: bool
    obtained: Path | None


SETTINGS = pytest.StashKey["Settings"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options to the command line and the ini file."""
    group = parser.getgroup("rwcore", "claims about neurons and heads (rwcore)")
    for option in OPTIONS:
        text = f"{option.help} [{option.variable}, ini {option.ini}]"
        if option.flag:
            group.addoption(option.command_line, action="store_true", default=None, help=text)
        else:
            group.addoption(option.command_line, default=None, metavar=option.metavar, help=text)
        if option.flag:
            parser.addini(option.ini, text, type="bool", default=None)
        else:
            parser.addini(option.ini, text, type="string", default=None)


def _value(config: pytest.Config, option: Option) -> str | bool | None:
    given = config.getoption(option.command_line)
    if given is not None:
        return given  # type: ignore[no-any-return]
    if option.variable in os.environ:
        text = os.environ[option.variable]
        return text.lower() not in {"", "0", "false", "no"} if option.flag else text
    from_ini = config.getini(option.ini)
    if from_ini not in (None, ""):
        return from_ini  # type: ignore[no-any-return]
    return option.default


def _names(text: str | bool | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for part in str(text or "").split(",") if part.strip()))


def _folder(text: str | bool | None) -> Path | None:
    return Path(str(text)).absolute() if text else None


def _minutes(text: str | bool | None) -> float | None:
    if text is None:
        return None
    try:
        minutes = float(text)
    except ValueError:
        minutes = -1.0
    if not minutes > 0:
        raise OptionError("the budget is not a positive number of minutes", where=f"--rw-budget {text}",
                          remedy="give minutes, e.g. --rw-budget 20")  # fmt: skip
    return minutes * 60


def _tokens(text: str | bool | None, full: bool) -> int | None:
    if full and text is not None:
        raise OptionError(
            "a number of tokens and the whole text exclude each other",
            where=f"--rw-tokens {text} --rw-full",
            remedy="give one of them",
        )
    if full:
        return None
    if text is None:
        return DEFAULT_TOKENS
    try:
        tokens = int(str(text).replace(",", "").replace("_", ""))
    except ValueError:
        tokens = 0
    if tokens < 1:
        raise OptionError("not a positive number of tokens", where=f"--rw-tokens {text}",
                          remedy="give a whole number, e.g. --rw-tokens 1000000")  # fmt: skip
    return tokens


def _knowledge(knowns: str | bool | None, passages: str | bool | None) -> Knowledge | None:
    if not knowns and not passages:
        return None
    if not knowns or not passages:
        given, missing = ("--rw-knowns", "--rw-passages") if knowns else ("--rw-passages", "--rw-knowns")
        raise OptionError(
            f"{given} without {missing}: facts are asked with the text about their subjects",
            where=f"{given} {knowns or passages}",
            remedy="give both, or none for our own facts",
        )
    return Knowledge(str(knowns), str(passages))


def read_settings(config: pytest.Config) -> Settings:
    """The settings of a run.

    Raises:
        OptionError: An option has an impossible value.
    """
    values = {option.name: _value(config, option) for option in OPTIONS}
    return Settings(
        models=_names(values["models"]),
        papers=_names(values["paper"]),
        report=_folder(values["report"]),
        budget_seconds=_minutes(values["budget"]),
        tokens=_tokens(values["tokens"], bool(values["full"])),
        strict=bool(values["strict"]),
        scheduler=str(values["scheduler"]) if values["scheduler"] else None,
        published_pages=_folder(values["published-pages"]),
        knowledge=_knowledge(values["knowns"], values["passages"]),
        features=read_feature_texts(_folder(values["features"])),
        new_only=bool(values["new-only"]),
        obtained=_folder(values["obtained"]),
    )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Register the markers and read the settings."""
    config.addinivalue_line("markers", "claim(*ids): the claims of the paper that a test checks")
    config.addinivalue_line("markers", "gpu: belongs to the full reproduction on the papers' own models")
    try:
        config.stash[SETTINGS] = read_settings(config)
    except OptionError as error:
        raise pytest.UsageError(str(error)) from error
    if os.environ.get("CI") and regenerating(config):
        raise pytest.UsageError("recorded values are not regenerated in CI: unset CI, or run this elsewhere")
    cache = _value(config, next(option for option in OPTIONS if option.name == "cache"))
    if cache:
        # The library reads the variable; workers of xdist and Dask inherit it.
        os.environ["RWCORE_CACHE"] = str(Path(str(cache)).absolute())


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Add the hook that supplies small models."""
    from rwcore.plugin import hooks

    pluginmanager.add_hookspecs(hooks)


def pytest_report_header(config: pytest.Config) -> list[str]:
    """What decides the numbers of this run."""
    import importlib.metadata as metadata

    settings = config.stash[SETTINGS]
    versions = ", ".join(
        f"{name} {metadata.version(name)}" for name in ("torch", "transformers", "transformer-lens")
    )
    budget = f", budget {settings.budget_seconds / 60:g} min" if settings.budget_seconds else ""
    return [
        f"rwcore: models {','.join(settings.models)}{budget}{', strict' if settings.strict else ''}",
        f"rwcore: {versions}",
    ]


def regenerating(config: pytest.Config) -> bool:
    """Whether the run was asked to rewrite recorded values (options of pytest-regressions)."""
    return bool(config.getoption("regen_all", False) or config.getoption("force_regen", False))


def gpu_asked(config: pytest.Config) -> bool:
    """Whether the mark expression selects the full reproduction (evaluated, not searched for a word)."""
    from _pytest.mark.expression import Expression

    text = config.option.markexpr
    if not text:
        return False
    expression = Expression.compile(text)

    def selects(*marks: str) -> bool:
        def has(name: str, /, **_: str | int | bool | None) -> bool:
            return name in marks

        return expression.evaluate(has)

    return selects("gpu", "claim") and not selects("claim")
