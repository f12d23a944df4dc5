// What the page of heads shows, and its form as a link. One global, `rwHeadState`.
//
// The link is #row=3&head=23.3&effect=total&tab=logits&show=raised&weight=pattern&range=own&at=12; `row` is the
// number of the row, `at` the position where the prediction is made. What is not named has its usual value;
// what cannot be is taken as not named.
const rwHeadState = (record, views) => {
  "use strict";

  const OPTIONS = {
    effect: record.effects,
    tab: Object.keys(views),
    show: ["lowered", "raised", "before", "after"],
    weight: ["written", "pattern"],
    range: ["fixed", "own"],
  };
  const numbers = record.rows.map((row) => String(row.number));
  const state = {};

  // Of the predictions that are made in a row, the one that the ablation changes most.
  const strongest = () => {
    const changes = record.changes(state.row, state.head, state.effect);
    return changes.reduce((best, one) => (Math.abs(one[1]) > Math.abs(best[1]) ? one : best), [0, 0])[0];
  };

  const follow = (link) => {
    const asked = new URLSearchParams(link);
    for (const [key, options] of Object.entries(OPTIONS)) {
      state[key] = options.includes(asked.get(key)) ? asked.get(key) : options[0];
    }
    state.row = Math.max(0, numbers.indexOf(asked.get("row")));
    state.head = Math.max(0, record.heads.indexOf(asked.get("head")));
    const at = asked.has("at") && asked.get("at") !== "" ? Number(asked.get("at")) : NaN;
    state.at = Number.isInteger(at) && at >= 0 && at < record.reading(state.row, state.head).size ? at : null;
  };

  // The link to a state that differs in some ways from the present one.
  const link = (other = {}) => {
    const shown = { ...state, ...other };
    const made = new URLSearchParams(numbers.length > 1 ? { row: numbers[shown.row] } : {});
    made.set("head", record.heads[shown.head]);
    for (const [key, options] of Object.entries(OPTIONS)) {
      if (shown[key] !== options[0]) made.set(key, shown[key]);
    }
    if (shown.at !== null) made.set("at", shown.at);
    return String(made);
  };

  // The chosen prediction, whether somebody has chosen it or not.
  const query = () => state.at ?? strongest();

  return { state, follow, link, query };
};
