"""Cases of copy suppression as section 10 of the specification says it: loops over queries, never tuned."""

from __future__ import annotations

from rwcore.benchmarks.reference.head_effects import final_stream, logits_of, watched, writer_output


def cases_of(model, tokens, layer, head, mean, *, lens_top=10, attended=2, lowered=10):
    """The three conditions at every query of some rows of equal length, position 0 left out as a source.

    Args:
        model: A bridge.
        tokens: The rows.
        layer: Of the head.
        head: Its number.
        mean: What takes the place of what it adds, [d_model].
        lens_top: How many tokens are predicted.
        attended: How many positions are attended to.
        lowered: How many tokens are lowered.

    Returns:
        For each row and query a triple of truth values; each condition includes those before it.
    """
    prefix = f"blocks.{layer}"
    stream, pattern = watched(model, tokens, [f"{prefix}.hook_in", f"{prefix}.attn.hook_pattern"])
    final = final_stream(model, tokens)
    scale = watched(model, tokens, ["ln_final.hook_scale"])[0]
    clean = logits_of(model, tokens, final, scale)
    ablated = logits_of(model, tokens, final - writer_output(model, tokens, layer, head) + mean, scale)
    lens = logits_of(model, tokens, stream, scale)
    answers = []
    for row, ids in enumerate(tokens.tolist()):
        found = []
        for query in range(len(ids)):
            predicted = {*lens[row, query].topk(lens_top).indices.tolist()}
            change = clean[row, query] - ablated[row, query]
            down = {token for token in (-change).topk(lowered).indices.tolist() if float(change[token]) < 0}
            weights = pattern[row, head, query].tolist()
            places = [*range(1, query + 1)]
            looked = {ids[key] for key in sorted(places, key=lambda key: -weights[key])[:attended]}
            sources = {ids[key] for key in places} & predicted
            found.append((bool(sources), bool(sources & looked), bool(sources & looked & down)))
        answers.append(found)
    return answers
