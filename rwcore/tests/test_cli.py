"""The command: fast help, answers people can act on, exit codes."""

from __future__ import annotations

import importlib.metadata
import resource
import shlex
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from rwcore import __version__, cli, errors
from rwcore.models.registry import find
from rwcore.tests.command_line import ROOT, assert_explained, environment, names, planted_models, rwcore

_environment = pytest.fixture(autouse=True)(environment)
models = pytest.fixture(scope="module")(planted_models)


HELP = """
import sys
from rwcore.cli import main
try:
    main(["--help"])
except SystemExit as stop:
    print("code", stop.code)
heavy = {"torch", "transformers", "transformer_lens", "pandas", "matplotlib", "scipy", "pytest"}
print("heavy", sorted(heavy & sys.modules.keys()))
"""


def test_help_takes_less_than_a_second_and_loads_nothing_heavy() -> None:
    seconds = []
    for _ in range(5):
        # Processor time, so that other work on the machine does not matter; waiting would show in a profile.
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [sys.executable, "-c", HELP], capture_output=True, text=True, cwd=ROOT, check=True
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert "code 0" in done.stdout
    assert "heavy []" in done.stdout
    assert statistics.median(seconds) < 1


def commands() -> dict[tuple[str, ...], Any]:
    """Every command by its words, sub-commands included."""
    found: dict[tuple[str, ...], Any] = {}

    def collect(group: Any, words: tuple[str, ...]) -> None:
        for name, command in group.commands.items():
            found[*words, name] = command
            if hasattr(command, "commands"):
                collect(command, (*words, name))

    collect(typer.main.get_command(cli.app), ())
    return found


def test_the_commands_are_those_of_the_design() -> None:
    tops = {words[0] for words in commands()}
    studies = {"weights", "activations", "frequencies", "roles", "neurons", "explorer"}
    studies |= {"ablate", "generate", "trace", "attributes", "probe", "probe-trends", "stimuli", "pages"}
    studies |= {"heads", "serve"}
    texts = {"corpora", "corpus"}
    assert tops == studies | texts | {"models", "fetch", "doctor", "claims", "report", "promote", "cache"}
    pairs = {("report", "merge"), ("report", "show"), ("corpus", "make"), ("corpus", "show")}
    heads = ("survey", "behaviour", "circuits", "cspa", "examples", "repair", "suppression")
    pairs |= {("heads", name) for name in heads}
    assert {words for words in commands() if len(words) == 2} == pairs


@pytest.mark.parametrize("words", [(), *commands()], ids=" ".join)
def test_every_command_has_help_with_examples(words: tuple[str, ...]) -> None:
    done = rwcore(*words, "--help")
    assert done.code == 0
    assert "Usage: rwcore" in done.out
    assert "Examples:" in done.out
    assert done.err == ""


EXAMPLES = sorted(
    {
        line.strip()
        for help_ in [cli.HELP, *(command.help for command in commands().values())]
        for line in help_.splitlines()
        if line.startswith("  rwcore ")
    }
)


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_in_help_texts_can_be_typed(example: str) -> None:
    words = shlex.split(example)[1:]
    command, context = typer.main.get_command(cli.app), None
    while hasattr(command, "commands"):
        name, *words = words
        command = command.commands[name]
    context = command.make_context(name, words)
    named = context.params.get("model")
    if named and not named.startswith("."):
        assert find(named).source in ("hub", "wheel")


def test_the_version() -> None:
    assert rwcore("--version").out.strip() == f"rwcore {__version__}"


@pytest.mark.parametrize("option", ["", '"--json"'])
def test_a_piped_command_whose_reader_leaves_does_not_complain(option: str) -> None:
    code = f'from rwcore.cli import main; main(["models", {option}])'
    command = f"{sys.executable} -c '{code}' | true"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, cwd=ROOT, check=False)
    assert "BrokenPipe" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("words", [("weights", "--out", "x"), ("fetch",), ("doctor",)], ids=" ".join)
def test_an_unknown_model_is_answered_with_similar_names(words: tuple[str, ...]) -> None:
    assert_explained(
        rwcore(*words, "olmo-7b-0242"), "unknown model 'olmo-7b-0242'", "allenai/OLMo-7B-0424-hf"
    )


def test_a_hub_model_that_is_not_here_names_the_command_that_fetches_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    done = rwcore("weights", "gpt2", "--out", tmp_path / "out")
    assert_explained(done, "gpt2", "rwcore fetch gpt2")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = rwcore("weights", tmp_path / "empty", "--out", tmp_path / "out")
    assert_explained(done, "no config.json", str(tmp_path / "empty"))


def test_an_unwritable_folder_is_refused_before_anything_is_computed(
    models: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    done = rwcore("weights", models["llama"], "--out", tmp_path / "file" / "below")
    assert_explained(done, str(tmp_path / "file" / "below"), "--out")
    assert names(tmp_path / "cache") == []


def test_a_folder_with_other_files_is_refused(models: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years of work")
    done = rwcore("weights", models["llama"], "--out", tmp_path / "thesis")
    assert_explained(done, "not empty", "--force")
    assert names(tmp_path / "thesis") == ["chapter.tex"]


def test_gated_classes_of_a_model_without_gates(models: dict[str, Path], tmp_path: Path) -> None:
    done = rwcore("weights", models["gpt2"], "--classes", "gated", "--out", tmp_path / "out")
    assert_explained(done, "no gate", "--classes gated")
    assert not (tmp_path / "out").exists()


def test_an_unusable_scheduler(models: dict[str, Path], tmp_path: Path) -> None:
    done = rwcore("weights", models["llama"], "--out", tmp_path / "out", "--scheduler", "local:many")
    assert done.code == 2
    assert "scheduler" in done.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("frobnicate",),
        ("weights", "gpt2"),
        ("weights", "gpt2", "--out", "x", "--processing", "cooked"),
        ("models", "--group", "x"),
    ],
    ids=" ".join,
)
def test_wrong_words_are_usage_errors(words: tuple[str, ...]) -> None:
    done = rwcore(*words)
    assert done.code == 2
    assert "Usage: rwcore" in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("place", [0, 1, 2], ids=["before", "between", "after"])
def test_debug_shows_where_an_error_comes_from(place: int) -> None:
    words = ["fetch", "nosuch"]
    with pytest.raises(errors.ModelError):
        rwcore(*words[:place], "--debug", *words[place:])


def test_ctrl_c_exits_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("rwcore.models.doctor.diagnose", interrupt)
    done = rwcore("doctor")
    assert done.code == 130
    assert done.err.startswith("interrupted")


KINDS = [
    one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, errors.RwcoreError)
]


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_class_reaches_the_user_the_same_way(
    monkeypatch: pytest.MonkeyPatch, kind: type[errors.RwcoreError]
) -> None:
    def fail(*_: object) -> None:
        raise kind("it broke [here]", where="some/file", remedy="mend it")

    monkeypatch.setattr("rwcore.models.doctor.diagnose", fail)
    done = rwcore("doctor")
    assert done.err == "error: it broke [here]\n  where: some/file\n  to do: mend it\n"
    assert done.code == 2


def test_the_installed_command_is_main() -> None:
    (command,) = importlib.metadata.entry_points(group="console_scripts", name="rwcore")
    assert command.load() is cli.main
