"""Texts under ablations as files: a table of tokens, a page to read, the neurons; see ``OUTPUTS.md``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rwcore.ablation.compare import LABELS, RunLabel
from rwcore.ablation.generation import Decoding, parts_at
from rwcore.ablation.grid import Experiment
from rwcore.models.vocabulary import vocabulary
from rwcore.provenance import Stopwatch, collect
from rwcore.store import MANIFEST, write_json, write_text
from rwcore.studies.ablation_runs import CLEAN
from rwcore.studies.ablation_values import means_facts
from rwcore.studies.ablations import name_of
from rwcore.studies.folder import check_target, files_of, filling, write_csv
from rwcore.studies.generations import DEFINITION, GenerationStudy, Prompt, Text

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = "rwcore-generations/1"
TABLE = "generations.csv"
COLUMNS = ("prompt", *LABELS, "step", "token", "text", "logprob", "entropy")
MARK = "▶"
"""What stands where a text parts from the clean one."""


@dataclass(frozen=True, eq=False)
class GenerationExport:
    """What was written, and the texts.

    Attributes:
        folder: Where the files are.
        manifest: Content of ``manifest.json``.
        prompts: What was continued.
        texts: In the order of the prompts; of each the clean text first.
    """

    folder: Path
    manifest: dict[str, Any]
    prompts: tuple[Prompt, ...]
    texts: tuple[Text, ...]


def export_generations(
    study: GenerationStudy,
    prompts: Sequence[Prompt],
    experiments: Sequence[Experiment],
    out: Path,
    *,
    force: bool = False,
    command: str = "",
) -> GenerationExport:
    """Write the texts of some prompts, clean and in all experiments, into a folder, whole or not at all.

    Args:
        study: The study.
        prompts: Of `GenerationStudy.prompt`.
        experiments: What is ablated; texts that the store has are not made again.
        out: See `rwcore.studies.folder.check_target`.
        force: Write into a folder that holds other files.
        command: The command line, for the manifest.

    Raises:
        StoreError: The folder is refused or the disk is full.
        RwcoreError: A text cannot be made; see `GenerationStudy.texts`.
    """
    stopwatch = Stopwatch()
    folder = check_target(out, force=force)
    texts = study.texts(prompts, experiments)
    model = study.weights.local
    with filling(folder) as new:
        write_csv(new / TABLE, token_table(study, texts), COLUMNS)
        write_text(new / "generations.md", markdown(study, prompts, texts))
        write_json(new / "neurons.json", {name_of(one): one.neurons.to_json() for one in experiments})
        manifest = {
            "schema": SCHEMA,
            "complete": True,
            "command": command,
            "model": model.identity(),
            "processing": study.weights.processing,
            "decoding": study.decoding.facts(),
            "bos": study.bos,
            "stop": study.stop,
            "prompts": [asdict(prompt) for prompt in prompts],
            "means": means_facts(study.means),
            "options": {
                **{name: getattr(study.options, name) for name in ("dtype", "device", "threads")},
                "clip_qkv": study.weights.local.spec.clip_qkv,
            },
            "runs": [
                {
                    "prompt": text.prompt,
                    "name": text.name,
                    "tokens": len(text.continuation.tokens),
                    "ended": text.continuation.ended,
                    "parts_at": text.parts,
                }
                for text in texts
            ],
            "definitions": {"generation": DEFINITION},
            "files": files_of(new, {TABLE: COLUMNS}),
            "provenance": collect(stopwatch),
        }
        write_json(new / MANIFEST, manifest)
    return GenerationExport(folder, manifest, tuple(prompts), tuple(texts))


def token_table(study: GenerationStudy, texts: Sequence[Text]) -> pd.DataFrame:
    """One row per run and token, columns `COLUMNS`."""
    import pandas as pd

    words = vocabulary(study.weights.local, study.encoder.vocab)
    clean = RunLabel(CLEAN, "")
    rows = []
    for text in texts:
        label = asdict(clean if text.experiment is None else text.experiment.label)
        found = text.continuation
        columns = (found.tokens.tolist(), found.logprob.tolist(), found.entropy.tolist())
        for step, (token, logprob, entropy) in enumerate(zip(*columns, strict=True)):
            numbers = {"step": step, "token": token, "logprob": logprob, "entropy": entropy}
            rows.append({"prompt": text.prompt, **label, **numbers, "text": words[token]})
    return pd.DataFrame(rows, columns=[*COLUMNS])


def passages(study: GenerationStudy, prompt: Prompt, text: Text) -> tuple[str, str]:
    """What a run wrote, without the prompt: as in the clean text, and from where it parts.

    Characters that a reader cannot see, and that a terminal might obey, are written ``⟨U+001B⟩``.
    """
    tokens = text.continuation.tokens.tolist()
    whole = _decoded(study, [*prompt.tokens, *tokens])
    # By characters: bytes of a character may be divided among tokens, and a space may hang on the next.
    start = _shared(whole, _decoded(study, prompt.tokens))
    if text.parts is None:
        return visible(whole[start:]), ""
    cut = max(start, _shared(whole, _decoded(study, [*prompt.tokens, *tokens[: text.parts]])))
    return visible(whole[start:cut]), visible(whole[cut:])


def _decoded(study: GenerationStudy, tokens: Sequence[int]) -> str:
    decoded = study.encoder.tokenizer.decode(
        list(tokens), skip_special_tokens=False, clean_up_tokenization_spaces=False
    )
    return str(decoded)


def _shared(one: str, other: str) -> int:
    """Characters that two texts share at their beginnings."""
    place = parts_at(one, other)
    return len(one) if place is None else place


def visible(text: str) -> str:
    """A text with lines and spaces as they are, and a name for every other character without a glyph."""
    return "".join(
        sign if sign.isprintable() or sign in "\n\t" else f"⟨U+{ord(sign):04X}⟩"
        for sign in text.replace("\r\n", "\n")
    )


def headline(text: Text, clean: Text) -> str:
    """Which run it is, how long its text is, and where it parts from the clean one."""
    found = text.continuation
    count = f"{len(found.tokens)} token{'s' * (len(found.tokens) != 1)}"
    facts = [f"{count}{', to the end of the text' * found.ended}"]
    facts.append(f"mean entropy {float(found.entropy.mean()):.2f} nats")
    if text.parts is not None:
        facts.append(f"parts from the clean text at step {text.parts}")
    elif text is not clean:
        facts.append("the same as the clean text")
    return f"{text.name}: {', '.join(facts)}"


def markdown(study: GenerationStudy, prompts: Sequence[Prompt], texts: Sequence[Text]) -> str:
    """All texts, one below the other, with a mark where each parts from the clean one."""
    model = study.weights.local.spec.id
    where = f"{MARK} is where a text parts from the clean one of the same prompt; steps count from 0."
    lines = [f"# Texts of `{model}`", "", f"{decoding_text(study.decoding)}. {where}"]
    for number, prompt, group in by_prompt(prompts, texts):
        shown = _quoted(visible(prompt.text)) if prompt.text else "> (nothing but the first token)"
        lines += ["", f"## Prompt {number}", "", shown]
        for text in group:
            same, own = passages(study, prompt, text)
            written = _quoted(same, MARK if text.parts is not None else "", own)
            lines += ["", f"### {_escaped(headline(text, group[0]))}", "", written]
    return "\n".join(lines) + "\n"


def by_prompt(prompts: Sequence[Prompt], texts: Sequence[Text]) -> Iterator[tuple[int, Prompt, list[Text]]]:
    """Number, prompt and texts of every prompt, the clean text first."""
    for number, prompt in enumerate(prompts):
        yield number, prompt, [text for text in texts if text.prompt == number]


def decoding_text(given: Decoding) -> str:
    """How tokens were chosen, in words."""
    if given.temperature is None:
        return "The likeliest token each time"
    kept = "" if given.top_k is None else f" from the {given.top_k} likeliest"
    return f"Drawn{kept} at temperature {given.temperature:g} with seed {given.seed}"


def _quoted(same: str, mark: str = "", own: str = "") -> str:
    """A Markdown quotation of a text, line by line; what looks like markup is not."""
    lines = (_escaped(same) + mark + _escaped(own)).split("\n")
    # Markdown drops indentation, or makes code of it.
    lines = [
        re.sub(r"^(\t| {2})[ \t]*", lambda found: "&nbsp;" * len(found[0]), line.rstrip()) for line in lines
    ]
    # A backslash breaks the line; an empty line does so anyway, and would show it.
    breaks = ["\\" if line and following else "" for line, following in pairwise([*lines, ""])]
    return "\n".join(f"> {line}{end}".rstrip() for line, end in zip(lines, breaks, strict=True))


def _escaped(text: str) -> str:
    """A text whose characters Markdown takes for themselves."""
    text = re.sub(r"([\\`*_{}\[\]<>#|~&$])", r"\\\1", text)
    text = re.sub(r"(?m)^([ \t]*)([-+=])", r"\1\\\2", text)  # lists, underlined headings
    return re.sub(r"(?m)^([ \t]*\d+)([.)])", r"\1\\\2", text)
