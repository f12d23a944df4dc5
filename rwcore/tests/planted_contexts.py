"""A Llama checkpoint with one planted neuron for each of three languages, and text in these languages.

The residual stream is the embedding of the token: attention writes nothing. Every language has its own words,
whose embeddings share one axis; the gate of its neuron looks at this axis, and what the neuron writes is read
by the unembedding as "one of the words of this language". Embeddings themselves say nothing about the next
word: so without the neuron all words are about as likely as any other, in this language and no other one. The
remaining neurons write next to nothing.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from fixtures.tiny import SPECIALS, build
from rwcore.corpora.tokens import TokenCorpus
from rwcore.probing.text_classes import TextClasses, classes_of_documents
from rwcore.tests.corpus_makers import rows_corpus

LANGUAGES = ("fr", "de", "it")
WORDS, SHARED = 8, 4
LAYERS, NEURONS, D_MODEL = 2, 12, 24
VOCAB = len(SPECIALS) + WORDS * len(LANGUAGES) + SHARED
NEURON = {"fr": (0, 3), "de": (1, 7), "it": (1, 10)}
IDLE = (1, 2)


def plant_contexts(folder: Path, *, seed: int = 0) -> Path:
    """Make the checkpoint."""
    sizes = {"layers": LAYERS, "d_model": D_MODEL, "d_mlp": NEURONS, "vocab": VOCAB, "context": 64}
    file = build("llama", folder, seed=seed, tie_word_embeddings=False, **sizes) / "model.safetensors"
    generator = torch.Generator().manual_seed(seed)
    tensors = {name: torch.zeros_like(values) for name, values in load_file(file).items()}
    for name in tensors:
        if name.endswith("norm.weight"):
            tensors[name] += 1
    embedding, unembedding = tensors["model.embed_tokens.weight"], tensors["lm_head.weight"]
    unembedding[-SHARED:, 3 : 3 + len(LANGUAGES)] = 2  # words of every language
    embedding[:, 6:] = 0.5 * torch.randn(VOCAB, D_MODEL - 6, generator=generator)
    for number, language in enumerate(LANGUAGES):
        words = words_of(language)
        embedding[words, number] = 4
        unembedding[words, 3 + number] = 2
        layer, neuron = NEURON[language]
        prefix = f"model.layers.{layer}.mlp."
        tensors[prefix + "gate_proj.weight"][neuron, number] = 3
        tensors[prefix + "up_proj.weight"][neuron, number] = 1
        tensors[prefix + "down_proj.weight"][3 + number, neuron] = 1
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}.mlp."
        idle = [n for n in range(NEURONS) if (layer, n) not in NEURON.values()]
        for name in ("gate_proj", "up_proj"):
            tensors[f"{prefix}{name}.weight"][idle] = torch.randn(len(idle), D_MODEL, generator=generator)
        tensors[prefix + "down_proj.weight"][:, idle] = 1e-3 * torch.randn(
            D_MODEL, len(idle), generator=generator
        )
    save_file(tensors, file, metadata={"format": "pt"})
    return folder


def words_of(language: str) -> list[int]:
    """The token ids of a language."""
    first = len(SPECIALS) + WORDS * LANGUAGES.index(language)
    return list(range(first, first + WORDS))


def planted_text(
    documents: int = 36, *, seed: int = 0, unlabelled: bool = True
) -> tuple[TokenCorpus, TextClasses]:
    """Documents of two rows each, the languages in turn, and some of no language, in which all words occur.

    A row begins with BOS; one word in five is one that all languages share.
    """
    generator = torch.Generator().manual_seed(seed)
    rows, labels = [], []
    shared = list(range(VOCAB - SHARED, VOCAB))
    for number in range(documents):
        label = [*LANGUAGES, None][number % 4] if unlabelled else LANGUAGES[number % 3]
        every = [word for one in LANGUAGES for word in words_of(one)] if label is None else words_of(label)
        for _ in range(2):
            length = int(torch.randint(6, 24, (), generator=generator))
            pick = torch.randint(0, len(every), (length,), generator=generator)
            common = torch.randint(0, 5 * SHARED, (length,), generator=generator).tolist()
            rows.append(
                [1, *(shared[c] if c < SHARED else every[w] for w, c in zip(pick, common, strict=True))]
            )
        labels.append(label)
    corpus = rows_corpus(rows, [number // 2 for number in range(len(rows))])
    return corpus, classes_of_documents(corpus, labels)
