"""A Llama checkpoint with one neuron that answers to a letter only after another one, and text with both.

Attention is uniform over the row up to here: it tells every later letter, weaker and weaker, that `FIRST` has
been there. Of that, of "this letter is `SECOND`", and of an axis that all letters share, the gate of `NEURON`
makes an "and": it is above 0 at `SECOND` after `FIRST`, and below 0 at everything else. The remaining neurons
are random and write nothing.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from fixtures.letters import LETTERS, save_letters
from fixtures.tiny import BOS, SPECIALS, build
from rwcore.corpora.tokens import TokenCorpus
from rwcore.tests.corpus_makers import rows_corpus

FIRST, SECOND, OTHER = "q", "u", "o"
NEURON, IDLE = (0, 5), (1, 2)
LAYERS, NEURONS, D_MODEL, VOCAB = 2, 8, 24, 32
_FIRST, _SECOND, _SEEN, _SHARED = range(4)


def plant_bigram(folder: Path, *, seed: int = 0) -> Path:
    """Make the checkpoint, with a tokenizer of letters."""
    sizes = {"layers": LAYERS, "d_model": D_MODEL, "d_mlp": NEURONS, "vocab": VOCAB, "context": 64}
    file = build("llama", folder, seed=seed, tie_word_embeddings=False, **sizes) / "model.safetensors"
    generator = torch.Generator().manual_seed(seed)
    tensors = {name: torch.zeros_like(values) for name, values in load_file(file).items()}
    for name in tensors:
        if name.endswith("norm.weight"):
            tensors[name] += 1
    embedding = tensors["model.embed_tokens.weight"]
    embedding[:, _SHARED] = 4
    embedding[:, 8:] = 0.1 * torch.randn(VOCAB, D_MODEL - 8, generator=generator)
    embedding[letter(FIRST), _FIRST] = 4
    embedding[letter(SECOND), _SECOND] = 4
    tensors["model.layers.0.self_attn.v_proj.weight"][0, _FIRST] = 1
    tensors["model.layers.0.self_attn.o_proj.weight"][_SEEN, 0] = 8
    for layer in range(LAYERS):
        for name in ("gate_proj", "up_proj"):
            weight = tensors[f"model.layers.{layer}.mlp.{name}.weight"]
            weight += torch.randn(weight.shape, generator=generator)
    prefix = f"model.layers.{NEURON[0]}.mlp."
    gate = tensors[prefix + "gate_proj.weight"][NEURON[1]]
    gate.zero_()
    gate[_SECOND], gate[_SEEN], gate[_SHARED], gate[_FIRST] = 3, 2, -3.5, -6
    tensors[prefix + "up_proj.weight"][NEURON[1]].zero_()[_SHARED] = 1
    tensors[prefix + "down_proj.weight"][8:, NEURON[1]] = torch.randn(D_MODEL - 8, generator=generator)
    tensors["lm_head.weight"] += 0.3 * torch.randn(VOCAB, D_MODEL, generator=generator)
    save_file(tensors, file, metadata={"format": "pt"})
    return save_letters(folder, VOCAB)


def letter(text: str) -> int:
    """The token id of a letter."""
    return len(SPECIALS) + LETTERS.index(text)


def bigram_texts(documents: int = 60, *, seed: int = 0) -> list[str]:
    """Texts of six letters: in turn with ``qu``, with ``ou``, and with neither ``q`` nor ``u``."""
    generator = torch.Generator().manual_seed(seed)
    others = [sign for sign in LETTERS[1:12] if sign not in (FIRST, SECOND, OTHER)]
    texts = []
    for number in range(documents):
        drawn = [others[i] for i in torch.randint(0, len(others), (6,), generator=generator).tolist()]
        if number % 3 < 2:
            drawn[2:4] = [(FIRST, OTHER)[number % 3], SECOND]
        texts.append("".join(drawn))
    return texts


def bigram_rows(documents: int = 60) -> TokenCorpus:
    """The texts as rows of a document each, BOS first."""
    return rows_corpus([[BOS, *map(letter, text)] for text in bigram_texts(documents)])
