"""Names of models: the registry of ``models.toml``, and what else a user may type."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from rwcore.errors import ModelError
from rwcore.models.registry_file import RegistryFile
from rwcore.models.spec import FOLDER, GGUF, HUB, WHEEL, ModelSpec

MODELS_TOML = Path(__file__).with_name("models.toml")
GROUPS = ("gated", "instruct", "vanilla", "packaged")
FAMILIES = (
    "llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3", "olmo", "olmo2",
    "gpt2", "gpt_neox", "gptj", "opt", "bloom", "bert", "t5", "t5_gated", "mingpt",
)  # fmt: skip
LISTED = "`rwcore models` lists the registry"

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_REVISION = re.compile(r"[\w./-]+")

Positive = Annotated[int, Field(gt=0)]


class _Entry(BaseModel):
    """One ``[[model]]`` of models.toml."""

    model_config = ConfigDict(extra="forbid", strict=True)

    id: Annotated[str, Field(min_length=1)]
    source: Literal["hub", "wheel"] = "hub"
    location: str | None = None
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    family: Literal[FAMILIES]  # type: ignore[valid-type]
    gated_mlp: bool
    layers: Positive
    d_mlp: Positive
    d_model: Positive
    billions: Annotated[float, Field(gt=0)]
    groups: list[Literal[GROUPS]]  # type: ignore[valid-type]
    aliases: list[str] = []
    base: str | None = None
    processing: Literal["as_published", "raw"] = "as_published"
    clip_qkv: bool = True
    licence_gated: bool = False
    recorded: bool = False
    n_heads: Positive | None = None
    n_encoder_layers: Annotated[int, Field(ge=0)] = 0
    weights: list[str] = []

    def spec(self) -> ModelSpec:
        """The entry as a model spec."""
        facts = self.model_dump(exclude={"aliases", "billions", "location", "groups", "weights"})
        return ModelSpec(
            **facts,
            location=self.location or self.id,
            parameters=round(self.billions * 1e9),
            groups=tuple(self.groups),
            weights=tuple(self.weights),
        )


class _File(BaseModel):
    """All of models.toml."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: list[_Entry]


@dataclasses.dataclass(frozen=True)
class Registry:
    """The models of a ``models.toml``.

    Attributes:
        models: Registry id → spec, in the order of the file.
        names: Everything a model answers to, in lower case → its id.
    """

    models: dict[str, ModelSpec]
    names: dict[str, str]


def read_registry(path: Path = MODELS_TOML) -> Registry:
    """Read and check a registry file.

    Raises:
        ModelError: The file is not TOML, a key is missing, unknown or of the wrong type, or two models
            answer to one name; the message names the file and the key.
    """
    file = RegistryFile(path, "model", "models", ModelError)
    entries = file.read(_File).model
    # An alias may repeat the short name.
    names = file.names((one.id, (one.id, one.id.rpartition("/")[2], *one.aliases)) for one in entries)
    models = {entry.id: entry.spec() for entry in entries}
    for spec in models.values():
        _check(spec, models, path)
    return Registry(models, names)


def _check(spec: ModelSpec, models: dict[str, ModelSpec], path: Path) -> None:
    """Rules that concern several keys at once."""
    wrong = None
    if spec.base is not None and spec.base not in models:
        wrong = f"base: {spec.base!r} is not in the registry"
    elif ("gated" in spec.groups or "instruct" in spec.groups) and not spec.gated_mlp:
        wrong = "groups: the gated and instruct groups are for gated MLPs"
    elif "vanilla" in spec.groups and spec.gated_mlp:
        wrong = "groups: the vanilla group is for MLPs without a gate"
    elif spec.source == WHEEL and spec.sha256 is None:
        wrong = "sha256: a wheel must be pinned by its hash"
    elif spec.n_encoder_layers > (spec.layers or 0):
        wrong = "n_encoder_layers: more than layers"
    if wrong:
        raise ModelError("the registry of models is invalid: " + wrong, where=f"{path}: {spec.id}")


@functools.cache
def _registry() -> Registry:
    return read_registry()


def registry() -> dict[str, ModelSpec]:
    """Every registered model by id, in the order of ``models.toml``."""
    return dict(_registry().models)


def group(name: str) -> list[ModelSpec]:
    """The models of one of the papers' lists, in the papers' order.

    Raises:
        ModelError: There is no such group.
    """
    if name not in GROUPS:
        raise ModelError(f"unknown group of models {name!r}", remedy=f"groups are {', '.join(GROUPS)}")
    return [spec for spec in _registry().models.values() if name in spec.groups]


def find(text: str) -> ModelSpec:
    """The model a user means. Nothing is downloaded and the hub is not asked.

    In this order: a registry id or alias in any case, optionally ``@revision``; a ``.gguf`` file; a
    folder with ``config.json``; any hub name ``org/name[@revision]``. Write ``./name`` for a folder
    whose name is also a registered one.

    Raises:
        ModelError: It is none of these; the message suggests similar names.
    """
    text = text.strip()
    known = _registered(text)
    if known is not None:
        return known
    path = Path(text).expanduser()
    if text and path.exists():
        return _from_path(text, path)
    name, at, revision = text.partition("@")
    if _looks_like_path(name):
        raise ModelError(
            f"there is no file or folder {text!r}",
            where=str(path.absolute()),
            remedy=f"check the path; {_suggest(text)}",
        )
    if not _HUB_NAME.fullmatch(name) or (at and not _REVISION.fullmatch(revision)):
        raise ModelError(
            f"unknown model {text!r}",
            remedy=f"{_suggest(text)}; hub models are written org/name[@revision], folders as paths (./x)",
        )
    spec = ModelSpec(id=name, source=HUB, location=name)
    return spec.with_revision(revision) if at else spec


def _registered(text: str) -> ModelSpec | None:
    name, at, revision = text.partition("@")
    known = _registry().names.get(name.lower())
    if known is None or (at and not _REVISION.fullmatch(revision)):
        return None
    spec = _registry().models[known]
    if at and spec.source != HUB:
        raise ModelError(f"{spec.id} has no revisions", where=text, remedy=f"write {spec.id}")
    return spec.with_revision(revision) if at else spec


def _looks_like_path(text: str) -> bool:
    return text.startswith(("/", "./", "../", "~")) or text.endswith(("/", ".gguf")) or text.count("/") > 1


def _from_path(text: str, path: Path) -> ModelSpec:
    location = str(path.resolve())
    name = text.rstrip("/") or text
    if path.is_file():
        if path.suffix.lower() != ".gguf":
            raise ModelError(
                f"{text!r} is a file, but not a .gguf file",
                where=location,
                remedy="name the folder in Hugging Face format (with config.json), or a .gguf file",
            )
        return ModelSpec(id=name, source=GGUF, location=location)
    if not (path / "config.json").is_file():
        inside = sorted(file.name for file in path.glob("*.gguf"))
        raise ModelError(
            f"the folder {text!r} has no config.json, so it is not a model in Hugging Face format",
            where=location,
            remedy=f"name the file {path / inside[0]}" if inside else f"check the path; {_suggest(text)}",
        )
    return ModelSpec(id=name, source=FOLDER, location=location)


def similar(text: str, count: int = 3) -> list[str]:
    """Registered models whose id or alias resembles a text, best first."""
    names = _registry().names
    text = text.partition("@")[0].lower()
    close = [
        *difflib.get_close_matches(text, names, n=count),
        *difflib.get_close_matches(text.rpartition("/")[2], names, n=count),
    ]
    return list(dict.fromkeys(names[name] for name in close))[:count]


def _suggest(text: str) -> str:
    close = similar(text)
    return f"did you mean {' or '.join(close)}? {LISTED}" if close else LISTED
