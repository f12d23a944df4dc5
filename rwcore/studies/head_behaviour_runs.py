"""Runs of a model on rows of random tokens and on prompts with two names: what heads do there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor

from rwcore.corpora.encoder import read_encoder
from rwcore.errors import ModelError, OptionError, require_choice, require_least
from rwcore.heads.embeddings import EMBEDDINGS, effective_embedding
from rwcore.heads.induction import anti_induction, copy_suppression, plain_tokens, random_rows, row_batches
from rwcore.heads.ioi import IoiPrompts, IoiTexts, IoiWords, ioi_prompts
from rwcore.heads.ioi_queries import composition_ranks, fixed_key_differences, score_differences
from rwcore.heads.movers import IoiEffects, effects_without, first_movers, ioi_effects, name_movers
from rwcore.heads.readout import Readout
from rwcore.heads.resting import key_cosines
from rwcore.heads.run import STREAM, LayerParts, run_heads
from rwcore.models.device import pick_device
from rwcore.models.spec import LocalModel
from rwcore.models.vocabulary import vocabulary
from rwcore.runtime import configure, progress
from rwcore.store import write_arrays
from rwcore.studies.activation_pass import bridge

ROWS_FILE, PROMPTS_FILE = "rows.safetensors", "prompts.safetensors"
KEY_LENGTH = 40
"""Tokens of the rows on which keys are compared with the bias of queries."""


@dataclass(frozen=True)
class BehaviourOptions:
    """What heads are asked.

    Attributes:
        sequences: Rows of random tokens.
        length: Tokens of each that are drawn and repeated.
        prompts: Prompts with two names, twins included: an even number.
        seed: Of tokens and prompts.
        bos: What stands before rows and prompts (`rwcore.corpora.encoder.TextEncoder.bos`).
        embedding: Effective embedding of names (`rwcore.heads.embeddings`).
        movers: How many name movers are looked for.

    Raises:
        OptionError: A number is too small, or there is no such embedding.
    """

    sequences: int = 100
    length: int = 30
    prompts: int = 100
    seed: int = 0
    bos: str = "model"
    embedding: str = "EE-A"
    movers: int = 3

    def __post_init__(self) -> None:
        require_least("--sequences", self.sequences, 2)
        require_least("--length", self.length, 2)
        require_least("--prompts", self.prompts, 4)
        require_least("movers", self.movers, 1)
        require_choice("embedding", self.embedding, EMBEDDINGS)


@dataclass(frozen=True)
class BehaviourTask:
    """A run: what a worker needs, wherever it is.

    Attributes:
        local: The model; its ``spec.processing`` says how weights are processed.
        texts: Templates and words.
        options: What heads are asked.
        folder: Where the arrays go.
        positions: Positions of a batch.
        dtype: Type the model runs in.
        device: See `rwcore.models.device.pick_device`.
        threads: CPU threads; None leaves them as they are.
    """

    local: LocalModel
    texts: IoiTexts
    options: BehaviourOptions
    folder: Path
    positions: int
    dtype: str
    device: str
    threads: int | None

    def open(self) -> tuple[Any, Readout]:
        """The model and its read-out."""
        configure(threads=self.threads)
        device = pick_device(self.device)
        return bridge(self.local, device, self.dtype), Readout.of(self.local, device)


@dataclass(frozen=True)
class BehaviourInputs:
    """What a model reads.

    Attributes:
        repeated: BOS, random tokens, and the same again.
        single: Random tokens, without BOS.
        prompts: Prompts with two names.
        words: What they are made of.
    """

    repeated: Int64[Tensor, "sequence pos"]
    single: Int64[Tensor, "sequence pos"]
    prompts: IoiPrompts
    words: IoiWords

    @classmethod
    def of(cls, local: LocalModel, texts: IoiTexts, options: BehaviourOptions) -> BehaviourInputs:
        """Those of some options; they depend on nothing else.

        Raises:
            OptionError: The tokenizer has too few tokens or words, or a row or prompt is longer than the
                model's context.
            CorpusError: The tokenizer has no such BOS.
            ModelError: There is no readable tokenizer.
        """
        encoder = read_encoder(local)
        words = IoiWords.of(texts, encoder)
        prompts = ioi_prompts(words, encoder, options.prompts, seed=options.seed, bos=options.bos)
        bos = encoder.bos(options.bos)
        most = KEY_LENGTH if encoder.context is None else encoder.context
        if encoder.context is not None and 2 * options.length + (bos is not None) > most:
            raise OptionError(
                f"{options.length} random tokens twice, and the model has {most} positions",
                where="--length",
                remedy=f"give at most {(most - 1) // 2}",
            )
        pool = plain_tokens(vocabulary(local, encoder.vocab), encoder.ends)
        rows, seed = options.sequences, options.seed
        repeated = random_rows(pool, sequences=rows, length=options.length, seed=seed, bos=bos, repeat=True)
        length = min(KEY_LENGTH, most, len(pool))
        return cls(repeated, random_rows(pool, sequences=rows, length=length, seed=seed), prompts, words)


def run_rows(task: BehaviourTask) -> None:
    """Write what heads do on random tokens.

    ``anti_induction`` [layer head sequence] is `rwcore.heads.induction.anti_induction`; ``key_mean``,
    ``key_least`` and ``key_largest`` [layer head pos] are those of `rwcore.heads.resting.key_cosines` over
    rows.

    Raises:
        ModelError: The model cannot be run as expected, or a number is not finite.
        StoreError: The folder cannot be written.
    """
    model, readout = task.open()
    inputs = BehaviourInputs.of(task.local, task.texts, task.options)
    bos = inputs.repeated.shape[1] % 2 == 1
    batches = progress([*row_batches(inputs.repeated, task.positions)], desc="anti-induction", unit="batch")
    scores = torch.cat([anti_induction(model, batch, readout, bos=bos).cpu() for batch in batches], dim=2)
    batches = progress([*row_batches(inputs.single, task.positions)], desc="keys", unit="batch")
    cosines = torch.cat([key_cosines(model, batch) for batch in batches], dim=2)
    keys = {"mean": cosines.mean(dim=2), "least": cosines.amin(dim=2), "largest": cosines.amax(dim=2)}
    _write(
        task.folder / ROWS_FILE, {"anti_induction": scores}, {f"key_{name}": of for name, of in keys.items()}
    )


def run_prompts(task: BehaviourTask) -> None:
    """Write what heads do on prompts with two names.

    By prompt: ``copy_suppression``; those of `rwcore.heads.movers.IoiEffects`; ``score_…`` of
    `rwcore.heads.ioi_queries.score_differences`; ``fixed_…`` of `fixed_key_differences`, for W_U[:, IO] and
    for the stream; ``after_…`` of `rwcore.heads.movers.effects_without`, where a layer comes behind the
    first movers and there are names enough. ``movers`` and ``ablated`` [mover 2] are layers and heads,
    ``composition`` [mover layer head] is `composition_ranks`.

    Raises:
        ModelError: The model cannot be run as expected, or a number is not finite.
        StoreError: The folder cannot be written.
    """
    model, readout = task.open()
    inputs = BehaviourInputs.of(task.local, task.texts, task.options)
    names = torch.tensor([*inputs.words.names.numbers.values()])
    table = effective_embedding(model, task.options.embedding, names.to(readout.rows.device))
    chunks = [*inputs.prompts.chunks(task.positions)]
    parts, effects = [], []
    for chunk in progress(chunks, desc="prompts", unit="batch"):
        effects.append(ioi_effects(model, chunk, readout))
        scores = score_differences(model, chunk, readout)
        parts.append(
            {
                "copy_suppression": copy_suppression(model, chunk, readout),
                **{f"score_{name}": values for name, values in scores.items()},
                **_fixed_keys(model, chunk, readout, table, names),
            }
        )
    arrays = {name: torch.cat([part[name].cpu() for part in parts], dim=-1) for name in parts[0]}
    found = IoiEffects.together(effects)
    arrays |= vars(found)
    movers = name_movers(found.heads, task.options.movers)
    ablated = first_movers(movers, len(found.heads)) if bool((inputs.prompts.fresh >= 0).all()) else []
    extra = {
        "movers": torch.tensor(movers, dtype=torch.int64).reshape(-1, 2),
        "ablated": torch.tensor(ablated, dtype=torch.int64).reshape(-1, 2),
        "composition": torch.stack([composition_ranks(model, mover, table) for mover in movers])
        if movers
        else torch.empty(0, *found.heads.shape[:2]),
    }
    if ablated:
        pairs = progress([*zip(chunks, effects, strict=True)], desc="without movers", unit="batch")
        after = [effects_without(model, chunk, readout, ablated, one.scale) for chunk, one in pairs]
        arrays |= {f"after_{name}": values for name, values in vars(IoiEffects.together(after)).items()}
    _write(task.folder / PROMPTS_FILE, arrays, extra)


def _fixed_keys(
    model: Any, prompts: IoiPrompts, readout: Readout, table: Tensor, names: Tensor
) -> dict[str, Tensor]:
    """Scores of W_U[:, IO] and of the stream on keys of the names alone."""
    io, s = (
        (token[:, None] == names).int().argmax(dim=1).to(table.device)
        for token in (prompts.io_token, prompts.s_token)
    )
    right = readout.rows[prompts.io_token.to(table.device)]
    row, end = torch.arange(len(prompts), device=table.device), prompts.end.to(table.device)
    found: dict[str, list[Tensor]] = {"fixed_unembedding": [], "fixed_stream": []}

    def visit(parts: LayerParts) -> None:
        assert parts.stream is not None
        queries = {"fixed_unembedding": right, "fixed_stream": parts.stream[row, end].float()}
        for name, query in queries.items():
            found[name].append(fixed_key_differences(model, parts.layer, query, table, io, s))

    run_heads(model, prompts.batch, visit, parts=(STREAM,))
    return {name: torch.stack(values) for name, values in found.items()}


def _write(file: Path, finite: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> None:
    """Arrays, after a look at those that must be finite."""
    for name, values in finite.items():
        if values.is_floating_point() and not bool(values.isfinite().all()):
            where = (~values.isfinite()).nonzero()[0].tolist()
            raise ModelError(
                f"{name} is not finite",
                where=f"layer {where[0]}" if values.ndim > 1 else f"prompt {where[0]}",
                remedy="the weights are damaged, or the type of the numbers is too narrow: try float32",
            )
    write_arrays(file, {name: values.cpu().contiguous() for name, values in {**finite, **others}.items()})
