"""Self-repair as its definition says it: whole passes, every component as a vector, one head at a time."""

import torch

from rwcore.heads.repair import MEAN, RESAMPLE, resample_places
from rwcore.heads.run import output_matrices, replacing, run_heads


def slow_repair(model, batch, head, readout, *, ablation, seed=0):
    """The names of `Repairs`, at every position that has a next token, row by row.

    Components are vectors, divided by the clean scale only at the end; the parts of the head's own layer are
    read off the vectors too.
    """
    layer, number = head
    clean, clean_end = components(model, batch)
    row, position = resample_places(batch, seed) if ablation == RESAMPLE else (None, None)

    def ablate(z):
        new = z.clone()
        if ablation == RESAMPLE:
            for b in range(len(z)):
                for p in range(z.shape[1]):
                    new[b, p, number] = z[row[b, 0], position[b, p], number]
        elif ablation == MEAN:
            new[:, :, number] = z[batch.mask][:, number].mean(0)
        else:
            new[:, :, number] = 0
        return new

    changed, changed_end = components(model, batch, hooks=[replacing(layer, ablate)])
    found = {}
    for b in range(len(batch.rows)):
        for p in range(int(batch.mask[b].sum()) - 1):
            u = (readout.rows[batch.tokens[b, p + 1]] - readout.rows.mean(0)).double()
            s, s_new = (float(end.scale[b, p]) for end in (clean_end, changed_end))

            def effect(vector, at=(b, p), u=u, s=s):
                return float(vector[at].double() @ u) / s

            logit, logit_new = (
                float(end.stream[b, p].double() @ u) / scale
                for end, scale in ((clean_end, s), (changed_end, s_new))
            )
            # A norm behind the attention: the ratio of its scales is that of an unchanged head's outputs.
            other = (number + 1) % clean[layer]["heads"].shape[2]
            vectors = [one[layer]["heads"][b, p, other].double() for one in (clean, changed)]
            ratio = float(vectors[1].norm() / vectors[0].norm())
            direct = effect(clean[layer]["heads"][:, :, number])
            ablated = effect(changed[layer]["heads"][:, :, number]) / ratio
            same_layer = effect(changed[layer]["heads"].sum(2) - clean[layer]["heads"].sum(2))
            later = range(layer + 1, len(clean))
            values = {
                "direct": direct,
                "ablated_direct": ablated,
                "logit_change": logit_new - logit,
                "heads": sum(effect((changed[n]["heads"] - clean[n]["heads"]).sum(2)) for n in later),
                "mlp": sum(effect(changed[n]["mlp"] - clean[n]["mlp"]) for n in range(len(clean))),
                "post_norm": same_layer - (ablated - direct),
                "scale_ratio": s / s_new,
            }
            values["norm"] = (
                values["logit_change"]
                + direct
                - ablated
                - values["heads"]
                - values["mlp"]
                - values["post_norm"]
            )
            for name, value in values.items():
                found.setdefault(name, []).append(value)
    return {name: torch.tensor(values, dtype=torch.float64) for name, values in found.items()}


def components(model, batch, hooks=()):
    """What every head and MLP adds at every position, and the end of the pass."""
    found = []

    def visit(parts):
        heads = torch.einsum("bphe,hed->bphd", parts.z, output_matrices(model, parts.layer))
        found.append({"heads": heads.detach(), "mlp": parts.mlp.clone()})

    return found, run_heads(model, batch, visit, parts=("mlp",), hooks=hooks)
