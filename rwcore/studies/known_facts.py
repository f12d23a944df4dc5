"""Which facts a model knows, as an artefact: texts are generated once, whatever is asked of them then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rwcore.attributes.facts import Fact
from rwcore.attributes.judge import Judgement, judge_facts
from rwcore.corpora.encoder import TextEncoder, read_encoder
from rwcore.models.device import pick_device
from rwcore.models.spec import LocalModel
from rwcore.provenance import Stopwatch, collect
from rwcore.runtime import configure, counting
from rwcore.store import ArtefactKey, Store, read_json, write_json
from rwcore.studies.activation_pass import bridge
from rwcore.studies.forward import ForwardOptions, as_processed, model_fields
from rwcore.studies.weights import WeightStudy

DEFINITION = "known_facts/1"
FILE = "judgements.json"


@dataclass(frozen=True)
class JudgeTask:
    """Facts to be judged: what a worker needs, wherever it is.

    Attributes:
        local: The model; its ``spec.processing`` says how weights are processed.
        store: Where judgements are kept.
        key: What they are a function of.
        facts: The facts.
        bos: Token at the beginning, a policy of `rwcore.corpora.encoder.TextEncoder.bos`.
        convention: ``fixed`` or ``as_published``; see `rwcore.attributes.judge`.
        rounds: Rounds of generation before a fact is given up.
        token_budget: Positions of a batch.
        dtype: Type the model runs in.
        device: See `rwcore.models.device.pick_device`.
        threads: CPU threads; None leaves them as they are.
    """

    local: LocalModel
    store: Store
    key: ArtefactKey
    facts: tuple[Fact, ...]
    bos: str
    convention: str
    rounds: int
    token_budget: int
    dtype: str
    device: str
    threads: int | None


def judged(
    weights: WeightStudy,
    encoder: TextEncoder,
    facts: Sequence[Fact],
    *,
    bos: str,
    convention: str,
    rounds: int,
    options: ForwardOptions,
) -> tuple[Judgement, ...]:
    """Whether a model knows each of some facts; computed on the engine if the store has it not.

    Args:
        weights: The weight study of the model; its store and engine serve here too.
        encoder: Its tokenizer.
        facts: The facts.
        bos: See `JudgeTask`.
        convention: See `JudgeTask`.
        rounds: See `JudgeTask`.
        options: How the model is run.

    Raises:
        CorpusError: There is no token for ``bos``.
        ModelError: The model is no decoder, or a prediction is not finite.
    """
    key = ArtefactKey.of(
        "known-facts",
        DEFINITION,
        **model_fields(weights, options),
        tokenizer=encoder.hash,
        facts=[asdict(fact) for fact in facts],
        bos=bos,
        convention=convention,
        rounds=rounds,
        token_budget=options.positions,
    )
    task = JudgeTask(
        local=as_processed(weights),
        store=weights.store,
        key=key,
        facts=tuple(facts),
        bos=bos,
        convention=convention,
        rounds=rounds,
        token_budget=options.positions,
        dtype=options.dtype,
        device=options.device,
        threads=options.threads,
    )
    try:
        (folder,) = weights.engine.map(judge, [task], desc=f"facts that {weights.local.spec.id} knows")
    finally:
        bridge.cache_clear()  # workers keep the model for the runs
    return read_judgements(folder, facts)


def judge(task: JudgeTask) -> Path:
    """The artefact with the judgements; written if it is not there.

    Raises:
        RwcoreError: See `rwcore.attributes.judge.judge_facts`.
    """

    def compute(folder: Path) -> dict[str, object]:
        stopwatch = Stopwatch()
        configure(threads=task.threads)
        model = bridge(task.local, pick_device(task.device), task.dtype)
        with counting(desc="facts", total=len(task.facts), unit="fact") as report:
            found = judge_facts(
                model,
                read_encoder(task.local),
                task.facts,
                bos=task.bos,
                convention=task.convention,
                rounds=task.rounds,
                token_budget=task.token_budget,
                report=report,
            )
        entries = [
            {"known": one.known, "answer": one.answer, "reason": one.reason, "prompt": one.prompt}
            for one in found
        ]
        write_json(folder / FILE, entries)
        return collect(stopwatch, facts=len(found), known=sum(one.known for one in found))

    return task.store.get_or_compute(task.key, compute)


def read_judgements(folder: Path, facts: Sequence[Fact]) -> tuple[Judgement, ...]:
    """What `judge` wrote about these facts.

    Raises:
        StoreError: The folder is damaged.
    """
    entries = read_json(folder / FILE)
    return tuple(Judgement(fact, **entry) for fact, entry in zip(facts, entries, strict=True))
