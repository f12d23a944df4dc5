"""Direct, total and indirect effects by plain hooks and whole logits: copy suppression specification, 4.1."""

from __future__ import annotations

import torch


def writer_output(model, tokens, layer, head):
    """What a head (or with None the MLP) of a layer adds at every position."""
    seen = watched(model, tokens, [f"blocks.{layer}.{name}" for name in _names(model, layer, head)])
    if head is None:
        return seen[0]
    z = seen[0][:, :, head]
    block = model.blocks[layer]
    if not hasattr(block, "ln1_post"):
        return z @ block.attn.W_O[head]
    gain = block.ln1_post.original_component(torch.ones(model.cfg.d_model))
    return (z @ block.attn.W_O[head]) * gain / seen[1]


def stream_without(model, tokens, layer, head, new, hold=()):
    """Final stream of a run in which the output of a head is another one.

    Args:
        model: A bridge.
        tokens: Rows of equal length.
        layer: Of the writer.
        head: Its number; None for the MLP.
        new: What it adds instead at every position.
        hold: Heads (layer, head) that add what they add in the clean run.
    """
    site = "hook_mlp_out" if head is None else "hook_attn_out"
    old = writer_output(model, tokens, layer, head)
    hooks = [(f"blocks.{layer}.{site}", lambda values, hook: values + new - old)]
    for one, other in sorted(hold):  # a later one depends on what is held before it
        clean = writer_output(model, tokens, one, other)
        now = _output_with(model, tokens, one, other, hooks)
        hooks.append((f"blocks.{one}.hook_attn_out", _adding(clean - now)))
    return final_stream(model, tokens, hooks)


def one_hop_stream(model, tokens, layer, head, delta):
    """Final stream plus what every later head and MLP does about a δ in its input, one at a time."""
    clean = final_stream(model, tokens)
    found = clean.clone()
    parts = [(later, site) for later in range(layer, model.cfg.n_layers) for site in ("attn", "mlp")]
    for later, site in parts:
        if later == layer and (head is None or site == "attn"):
            continue
        # In parallel blocks the MLP of the same layer has an input that the head does not reach.
        if later == layer and _parallel(model):
            continue
        name = f"blocks.{later}.hook_{site}_out"
        before = watched(model, tokens, [name])[0]
        if site == "attn" or _parallel(model):
            where = f"blocks.{later}.hook_in"
        else:
            where = f"blocks.{later}.hook_attn_out"
        after = watched(model, tokens, [name], [(where, _adding(delta))])[0]
        found += after - before
    return found


def final_stream(model, tokens, hooks=()):
    """Residual stream before the final norm."""
    return watched(model, tokens, ["ln_final.hook_in"], hooks)[0]


def watched(model, tokens, names, hooks=()):
    """What passes some hooks in a run."""
    seen = {}

    def keep(values, hook):
        seen[hook.name] = values.clone()

    with torch.no_grad():
        model.run_with_hooks(tokens, fwd_hooks=[*hooks, *((name, keep) for name in names)])
    return [seen[name] for name in names]


def logits_of(model, tokens, stream, scale=None):
    """Logits of another final stream: with a given scale of the final norm, or by the model's own norm."""

    def put(values, hook):
        return stream

    def fix(values, hook):
        return scale

    hooks = [("ln_final.hook_in", put)]
    if scale is not None:
        hooks.append(("ln_final.hook_scale", fix))
    with torch.no_grad():
        return model.run_with_hooks(tokens, fwd_hooks=hooks)


def effects_of(clean, ablated, tokens):
    """loss_increase, kl, entropy_change_with_head, dla_next, dla_predicted from two sets of logits."""
    clean, ablated = clean.double(), ablated.double()
    p, q = clean.log_softmax(-1), ablated.log_softmax(-1)
    at = tokens[:, 1:, None]
    difference = clean - ablated
    entropy = [-(one.exp() * one).sum(-1) for one in (p, q)]
    return {
        "loss_increase": (p - q)[:, :-1].gather(2, at)[..., 0],
        "kl": (p.exp() * (p - q)).sum(-1),
        "entropy_change_with_head": entropy[0] - entropy[1],
        "dla_next": difference[:, :-1].gather(2, at)[..., 0],
        "dla_predicted": difference.gather(2, clean.argmax(-1, keepdim=True))[..., 0],
    }


def _names(model, layer, head):
    if head is None:
        return ["hook_mlp_out"]
    behind = ["ln1_post.hook_scale"] if hasattr(model.blocks[layer], "ln1_post") else []
    return ["attn.hook_z", *behind]


def _output_with(model, tokens, layer, head, hooks):
    """What a head adds in a run with hooks."""
    names = [f"blocks.{layer}.{name}" for name in _names(model, layer, head)]
    seen = watched(model, tokens, names, hooks)
    output = seen[0][:, :, head] @ model.blocks[layer].attn.W_O[head]
    if len(seen) == 1:
        return output
    gain = model.blocks[layer].ln1_post.original_component(torch.ones(model.cfg.d_model))
    return output * gain / seen[1]


def _adding(delta):
    return lambda values, hook: values + delta


def _parallel(model):
    return bool(getattr(model.cfg, "parallel_attn_mlp", False))
