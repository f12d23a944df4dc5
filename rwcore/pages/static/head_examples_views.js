// The five things that are shown of a head: how the text is coloured for each. One global, `rwHeadViews`.
//
// `views` has them by the id of their tab. A view has
//   name              of its tab
//   predicted         whether a token stands for its own prediction, made at the token before; else for what
//                     happens at that token, where the next one is predicted
//   choices(state)    {key, legend, options: [[value, words], …]} that the view offers, or null
//   ranged(state)     whether the range of the colours may be the text's own maximum
//   byEffect(state)   whether it differs between effects
//   values(reading, state, query)   a number for each place of the text; NaN has no colour
//   scale(reading, state, values)   magnitude of the strongest colour
//   diverging(state)  whether numbers below zero have a colour of their own
//   says(state)       what the colours mean, in words
//
// Besides: effectWords(name) of an effect: [its name, what it does]; isLarge(head, mean): whether ablation changes
// a prediction much; explained(cspa, query): the share of that change that copy suppression explains.
const rwHeadViews = (record) => {
  "use strict";

  const RANGE = 2.5; // nats or logits, where the range is not the text's own
  const FEW = 1000; // predictions, up to which FIXED says which changes are large
  const FIXED = [-0.14, 0.14]; // nats
  const TAIL = 0.03; // of more predictions, the share on each side that counts as large
  const ATTRIBUTION =
    "Direct logit attribution: how the head’s output, less what ablation puts in its place, moves each logit through the final norm with its scale kept, less the mean over the vocabulary.";
  const EFFECTS = {
    direct: ["direct", "only what the head adds to the final residual stream is ablated; the final norm keeps its scale"],
    direct_rescaled: ["direct, norm rescaled", "only what the head adds to the final residual stream is ablated, and the final norm takes its scale from what is left"],
    indirect: ["indirect", "later layers see the ablation, and the head’s own contribution to the final residual stream stays"],
    total: ["total", "the head is ablated for everything that comes after it"],
  };

  const effectWords = (name) => EFFECTS[name] ?? [name.replaceAll("_", " "), ""];

  const finite = (values) => Array.from(values).filter(Number.isFinite);
  const largest = (values) => Math.max(...finite(values).map(Math.abs), 0);
  const ranged = (state, values, usual) => (state.range === "own" ? largest(values) : usual);

  // From the query of each prediction to the token that is predicted.
  const shifted = (values) => Float32Array.from(values, (_, place) => (place ? values[place - 1] : NaN));

  const quantile = (sorted, share) => {
    const at = share * (sorted.length - 1);
    const low = Math.floor(at);
    return sorted[low] + (at - low) * ((sorted[low + 1] ?? sorted[low]) - sorted[low]);
  };

  // Ablation has a large effect from these on, in all rows of the record: {below, above, few}.
  const known = new Map();
  const limits = (head) => {
    if (!known.has(head)) {
      const all = record.rows.flatMap((_, row) => record.means(row, head).map(([, mean]) => mean)).sort((a, b) => a - b);
      const few = all.length <= FEW;
      const [below, above] = few ? FIXED : [Math.min(0, quantile(all, TAIL)), Math.max(0, quantile(all, 1 - TAIL))];
      known.set(head, { below, above, few });
    }
    return known.get(head);
  };

  const isLarge = (head, mean) => (mean < 0 && mean <= limits(head).below) || (mean > 0 && mean >= limits(head).above);
  const explained = (cspa, query) => 1 - cspa.left[query] / cspa.mean[query];

  const first = (list) => list?.[0]?.[1] ?? NaN;
  const byQuery = (reading, give) => Float32Array.from({ length: reading.size }, (_, query) => give(query));
  const share = (reading, head) => {
    const strength = (query) => {
      const mean = reading.cspa.mean[query];
      if (!isLarge(head, mean)) return NaN;
      return Math.sign(mean) * Math.min(1, Math.max(0, explained(reading.cspa, query)));
    };
    return shifted(byQuery(reading, strength));
  };

  const views = {
    loss: {
      name: "Loss",
      predicted: true,
      choices: () => null,
      ranged: () => true,
      byEffect: () => true,
      diverging: () => true,
      values: (reading, state) => shifted(reading.effects[state.effect].loss),
      scale: (reading, state, values) => ranged(state, values, RANGE),
      says: () => "Each token is coloured by how much the loss of its own prediction changes when the head is ablated, in nats. Above 0 (solid line): ablation hurts, the head helps. Below 0 (dotted line): ablation helps, the head harms.",
    },
    logits: {
      name: "Logits",
      predicted: false,
      choices: () => ({
        key: "show",
        legend: "Show",
        options: [["lowered", "what it lowers"], ["raised", "what it raises"], ["before", "predictions before"], ["after", "predictions after"]],
      }),
      ranged: (state) => state.show !== "before",
      byEffect: (state) => state.show === "before" || state.show === "after",
      diverging: (state) => state.show !== "before",
      values: (reading, state) => {
        if (state.show === "before") return reading.clean.p;
        if (state.show === "after") return reading.effects[state.effect].loss.map((change) => -change);
        return byQuery(reading, (query) => first(reading.lists[state.show][query]));
      },
      scale: (reading, state, values) => {
        if (state.show === "before") return 1;
        return ranged(state, values, state.show === "after" ? RANGE : Math.max(RANGE, largest(values)));
      },
      says: (state) =>
        ({
          lowered: `${ATTRIBUTION} A token is coloured by the logit that the head lowers most there.`,
          raised: `${ATTRIBUTION} A token is coloured by the logit that the head raises most there.`,
          before: "The intact model. A token is coloured by the probability, made there, of the token that comes next.",
          after: "The model with the head ablated. A token is coloured by how the log-probability of the token that comes next changes there, in nats: above 0 (solid line) it becomes likelier, below 0 (dotted line) less likely.",
        })[state.show],
    },
    attention: {
      name: "Attention",
      predicted: false,
      choices: () => ({
        key: "weight",
        legend: "Attention",
        options: [["written", "weighted by what is written"], ["pattern", "plain"]],
      }),
      ranged: () => true,
      byEffect: () => false,
      diverging: () => false,
      values: (reading, state, query) => reading.attention(state.weight, query),
      scale: (reading, state, values) => ranged(state, values, 1),
      says: (state) =>
        state.weight === "pattern"
          ? "Attention from the chosen token (framed) to itself and those before it; the weights sum to 1."
          : "Attention from the chosen token (framed) to itself and those before it, each weight times the norm of what the head would write if it looked there alone, over the largest such norm in the text. A token that is only rested on writes little.",
    },
    lens: {
      name: "Logit lens",
      predicted: false,
      choices: () => null,
      ranged: () => true,
      byEffect: () => false,
      diverging: () => false,
      values: (reading) => byQuery(reading, (query) => first(reading.lens[query].context)),
      scale: (reading, state, values) => ranged(state, values, 1),
      says: () => "What would be predicted from the residual stream as the head’s layer gets it (final norm and unembedding applied there). A token is coloured by the probability of the likeliest token that is already in the text, function words left out: what a copy-suppressing head would look for.",
    },
    cspa: {
      name: "CSPA",
      predicted: true,
      choices: () => null,
      ranged: () => false,
      byEffect: () => false,
      diverging: () => true,
      values: (reading, state) => share(reading, state.head),
      scale: () => 1,
      says: (state) => {
        const { below, above, few } = limits(state.head);
        const why = few ? "fixed limits, as there are at most 1,000 predictions" : "the outer 3 % of all predictions on each side";
        return `Copy-suppression-preserving ablation (direct effect, negative only) keeps nothing of the head but its lowering of what is predicted and already in the text. Tokens in bold type have a prediction that ablation changes much: by ${rwHeadParts.signed(below)} or less, or ${rwHeadParts.signed(above)} or more (${why}). Their colour is the share of that effect that copy suppression explains: solid line where the head helps, dotted where it harms.`;
      },
    },
  };

  return { views, effectWords, isLarge, explained };
};
