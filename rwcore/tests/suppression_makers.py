"""Suppression of predicted tokens that is made up, so that its scores are known."""

import torch

from rwcore.heads.suppression import KINDS, Suppression
from rwcore.heads.suppression_scores import SuppressionScores

DOCUMENTS, LENGTH, LAYERS, HEADS, NEURONS, GROUPS = 12, 40, 3, 4, 12, 20
PREDICTED = ("earlier", "new")


class MadeUp:
    """What every writer writes at every position: noise, to which tests add something.

    Attributes:
        heads: [token layer head]
        neurons: [token layer neuron]
        kind: [token layer]
        codes: Class of each neuron, [layer neuron]: 0, 1, or the undefined ones 2.
        random: Random groups for class 0, [layer group neuron].
    """

    def __init__(self, seed=0, documents=DOCUMENTS):
        generator = torch.Generator().manual_seed(seed)
        tokens = documents * LENGTH
        self.document = torch.arange(documents).repeat_interleave(LENGTH)
        self.heads = torch.randn(tokens, LAYERS, HEADS, generator=generator)
        self.neurons = torch.randn(tokens, LAYERS, NEURONS, generator=generator)
        self.kind = torch.randint(-1, 3, (tokens, LAYERS), generator=generator).to(torch.int8)
        self.predicted = torch.randint(0, 9, (tokens, LAYERS), generator=generator).int()
        self.codes = torch.tensor([[0] * 3 + [1] * 7 + [2] * 2, [1] * 12, [0] * 5 + [1] * 7])
        self.random = torch.zeros(LAYERS, GROUPS, NEURONS, dtype=torch.bool)
        for layer in range(LAYERS):
            for group in range(GROUPS):
                chosen = torch.randperm(NEURONS, generator=generator)[: int((self.codes[layer] == 0).sum())]
                self.random[layer, group, chosen] = True

    def scores(self, kinds=PREDICTED, draws=300):
        """As they would be measured."""
        negative = self.neurons.clamp(max=0)
        known = torch.nn.functional.one_hot(self.codes.long(), 3).float()
        of_kind = torch.stack([self.kind == code for code in range(len(KINDS))], dim=2).float()
        found = Suppression(
            predicted=self.predicted,
            kind=self.kind,
            probability=torch.ones(self.kind.shape),
            heads=self.heads,
            against=torch.einsum("tln,lnc->tlc", negative, known),
            net=torch.einsum("tln,lnc->tlc", self.neurons, known),
            random=torch.einsum("tln,lgn,tlk->tkg", negative, self.random.float(), of_kind),
            neurons=torch.stack(
                [
                    torch.einsum("tln,tlk->kln", part.double(), of_kind.double())
                    for part in (negative, self.neurons)
                ]
            ),
        )
        width = known.sum(dim=1).long()
        return SuppressionScores(found, self.document, kinds, width, draws=draws)
