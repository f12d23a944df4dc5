// The panel beside the text: all that is known of one prediction, for each view. One global, `rwHeadDetails`.
//
//   const details = rwHeadDetails(record, tools);   tools: what `rwHeadViews` returned
//   details(state, query)   elements that describe the prediction made at a position
const rwHeadDetails = (record, tools) => {
  "use strict";

  const { views, effectWords, isLarge, explained } = tools;
  const { make, signed, plain, percent, rank, word, bars, table } = rwHeadParts;
  const KEYS = 10;

  const paragraph = (...parts) => make("p", {}, ...parts);
  const note = (...parts) => make("p", { class: "note" }, ...parts);
  const section = (title, ...parts) => make("section", {}, make("h3", {}, title), ...parts.filter(Boolean));

  const named = (state, place) => {
    const found = record.token(state.row, place);
    return found === undefined ? null : word(record.name(found));
  };

  const isNext = (state, query, found) => found === record.token(state.row, query + 1);

  const title = (state, query) => {
    const [here, next] = [named(state, query), named(state, query + 1)];
    if (views[state.tab].predicted) {
      return [
        make("h2", {}, "Prediction of ", next ?? "what comes next"),
        note(next ? `Position ${query + 1}, predicted at ` : "Nothing follows the last token, ", here, `, position ${query}.`),
      ];
    }
    return [
      make("h2", {}, "At ", here),
      next ? note(`Position ${query}. Next comes `, next, ".") : note(`Position ${query}, the last one: nothing comes next.`),
    ];
  };

  // ---- loss

  const verdict = (change, effect) => {
    if (!Number.isFinite(change)) return note("There is no loss: the text ends here.");
    const size = plain(Math.abs(change));
    if (Number(size) === 0) return paragraph("Ablation hardly changes this loss.");
    return paragraph(
      make("b", {}, change > 0 ? "Ablation hurts" : "Ablation helps"),
      ` by ${size} nats (${effectWords(effect)[0]}): the head ${change > 0 ? "helps" : "harms"} here.`,
    );
  };

  const loss = (state, reading, query) => {
    const { clean, effects } = reading;
    const rows = record.effects.map((name) => {
      const run = effects[name];
      const cells = [signed(run.loss[query]), percent(run.p[query]), rank(run.rank[query]), plain(run.kl[query], 4)];
      return { name: effectWords(name)[0], cells, current: name === state.effect };
    });
    const intact = { name: "intact model", cells: [plain(clean.loss[query]), percent(clean.p[query]), rank(clean.rank[query]), ""] };
    return [
      verdict(effects[state.effect].loss[query], state.effect),
      table(["effect", "loss, Δ", "p", "rank", "KL"], [intact, ...rows], "Loss of this prediction, intact and for each effect"),
      note("Δ = ablated − intact, in nats; p and rank are of the token that comes next, rank 0 being the likeliest; KL from the intact prediction."),
    ];
  };

  // ---- logits

  const ranked = (state, query, run, label) =>
    bars(
      run.top[query].map(([found, p]) => ({ name: record.name(found), next: isNext(state, query, found), value: p, text: percent(p) })),
      label,
      1,
    );

  const predictions = (state, reading, query) => {
    const { clean } = reading;
    const ablated = reading.effects[state.effect];
    const runs = [["intact", clean, clean.loss[query]], ["ablated", ablated, clean.loss[query] + ablated.loss[query]]];
    const rows = runs.map(([name, run, nats]) => ({ name, cells: [percent(run.p[query]), plain(-nats), rank(run.rank[query])] }));
    const next = named(state, query + 1);
    return [
      next ? table(["model", "p", "log p", "rank"], rows, "Of the token that comes next") : null,
      next ? note("Of the token that comes next; rank 0 is the likeliest.") : null,
      make(
        "div",
        { class: "pair" },
        section("Intact", ranked(state, query, clean, "Likeliest tokens, intact model")),
        section(`Ablated, ${effectWords(state.effect)[0]}`, ranked(state, query, ablated, "Likeliest tokens with the head ablated")),
      ),
    ].filter(Boolean);
  };

  const attribution = (state, reading, query) => {
    const listed = (which, words) => {
      const entries = reading.lists[which][query].map(([found, value]) => ({
        name: record.name(found),
        next: isNext(state, query, found),
        value,
        text: signed(value),
      }));
      return section(words, bars(entries, `${words} logits`));
    };
    return [listed(state.show, state.show === "lowered" ? "Most lowered" : "Most raised")];
  };

  const logits = (state, reading, query) =>
    state.show === "before" || state.show === "after" ? predictions(state, reading, query) : attribution(state, reading, query);

  // ---- attention

  const attention = (state, reading, query) => {
    const [weights, other] = [state.weight, state.weight === "pattern" ? "written" : "pattern"].map((kind) => reading.attention(kind, query));
    const keys = Array.from({ length: query + 1 }, (_, key) => key).sort((a, b) => weights[b] - weights[a] || a - b);
    const [name, otherName] = state.weight === "pattern" ? ["Attention", "weighted"] : ["Weighted attention", "plain"];
    const entries = keys.slice(0, KEYS).map((key) => ({
      name: record.name(record.token(state.row, key)),
      value: weights[key],
      text: plain(weights[key], 4),
      more: `position ${key}, ${otherName} ${plain(other[key], 4)}`,
    }));
    const rest = keys.slice(KEYS).reduce((sum, key) => sum + weights[key], 0);
    return [
      section(`${name} to`, bars(entries, `${name} to`, 1)),
      keys.length > KEYS ? note(`${keys.length - KEYS} more tokens, together ${plain(rest, 4)}.`) : null,
    ].filter(Boolean);
  };

  // ---- logit lens

  const lens = (state, reading, query) => {
    const { top, context } = reading.lens[query];
    const entry = ([found, p, positions]) => ({
      name: record.name(found),
      next: isNext(state, query, found),
      value: p,
      text: percent(p),
      more: positions ? `position${positions.length > 1 ? "s" : ""} ${positions.join(", ")}` : null,
    });
    return [
      section("Likeliest of the tokens so far", context.length ? bars(context.map(entry), "Likeliest tokens that are in the text", 1) : note("None but function words.")),
      section("Likeliest of all", bars(top.map(entry), "Likeliest tokens before the head", 1)),
    ];
  };

  // ---- CSPA

  const cspa = (state, reading, query) => {
    const found = reading.cspa;
    const [mean, left] = [found.mean[query], found.left[query]];
    if (!Number.isFinite(mean)) return [note("There is no loss: the text ends here.")];
    const rows = [
      { name: "whole head", cells: [signed(mean, 4)] },
      { name: "all but copy suppression", cells: [signed(left, 4)] },
    ];
    const large = isLarge(state.head, mean);
    const kept = found.kept(query).map(([key, suppressed, score, coefficient]) => ({
      name: word(record.name(suppressed)),
      cells: [String(key), plain(score), signed(coefficient), coefficient < 0 ? "yes" : "no"],
    }));
    return [
      large
        ? paragraph("Copy suppression explains ", make("b", {}, percent(explained(found, query))), `: the head ${mean > 0 ? "helps" : "harms"} here.`)
        : paragraph("The effect is not large; a share of it says little."),
      table(["ablation", "Δ loss"], rows, "Change of the loss"),
      section("Attended to and predicted", kept.length ? table(["token", "position", "lens", "written", "kept"], kept, "Tokens that are attended to and predicted") : note("No token so far is both.")),
      kept.length ? note("lens: logit of the token before the head; written: what the head writes along the token’s unembedding, kept only where it lowers the token. Tokens with at least 1 % of the attention are listed.") : null,
    ].filter(Boolean);
  };

  const panels = { loss, logits, attention, lens, cspa };

  return (state, query) => {
    if (query < 0) return [make("h2", {}, "No prediction"), note("Nothing predicts the first token.")];
    return [...title(state, query), ...panels[state.tab](state, record.reading(state.row, state.head), query)];
  };
};
