// What the index is asked, its form as a link, and the question that the numbers are asked for it.
const rwSiteState = (data) => {
  "use strict";
  const layers = data.layers.length;
  const ROWS = [25, 50, 100, 200];
  const SORTS = ["neuron", "class", ...(data.roles ? ["role"] : []), ...data.columns.map((one) => one.key)];
  const DEFAULTS = {
    find: "",
    all: !data.pages.length,
    layers: null, // first and last
    classes: [], // places among the classes, -1 for undefined
    roles: [],
    range: null, // {key, low, high} as they are typed: shares in percent, null for no end
    sort: { by: "neuron", down: false },
    rows: 50,
    from: null, // number of the neuron in the first row
  };
  const state = structuredClone(DEFAULTS);
  const reset = () => Object.assign(state, structuredClone(DEFAULTS));

  const nameOf = (id) => `${Math.floor(id / data.dMlp)}.${id % data.dMlp}`;
  const idOf = (text) => {
    const found = /^l?([0-9]{1,6})[.:/n]n?([0-9]{1,9})$/i.exec(text);
    if (!found) return null;
    const [layer, neuron] = [Number(found[1]), Number(found[2])];
    return layer < layers && neuron < data.dMlp ? layer * data.dMlp + neuron : -1;
  };

  // What is typed into the search box: neurons, a part of a token, or nothing; or what is wrong with it.
  const search = (typed) => {
    const text = typed.trim();
    if (!text) return {};
    const words = text.split(/[\s,;]+/).filter(Boolean);
    const ids = words.map(idOf);
    if (ids.every((id) => id !== null)) {
      const wrong = words.filter((_, k) => ids[k] < 0);
      return wrong.length
        ? { problem: `There is no neuron ${wrong.join(", ")}: layers are 0 to ${layers - 1}, places in a layer 0 to ${data.dMlp - 1}.` }
        : { ids: new Set(ids) };
    }
    if (/^[0-9]+\.$/.test(text)) return { problem: `Which neuron of layer ${parseInt(text, 10)}? Type ${text}0 to ${text}${data.dMlp - 1}.` };
    return { token: text.toLowerCase() };
  };

  // Neurons that are named are shown whatever the filters say; tokens are known of neurons with a page.
  const question = (turn = {}) => {
    const { ids, token, problem } = search(state.find);
    if (problem) return { problem };
    const { sort, rows, from } = state;
    const known = new Map(data.pages.map((page) => [page.layer * data.dMlp + page.neuron, page]));
    const page = { sort, rows, from, back: false, past: false, ...turn };
    if (ids) {
      return { ...page, ids, paged: [...ids].every((id) => known.has(id)), layers: null, classes: [], roles: [], ranges: [] };
    }
    const says = ({ promoted, suppressed }) => [...promoted, ...suppressed].some((one) => one.toLowerCase().includes(token));
    const named = token ? new Set([...known].filter(([, one]) => says(one)).map(([id]) => id)) : null;
    const { range } = state;
    const scale = range && data.columns.find((one) => one.key === range.key).kind === "share" ? 100 : 1;
    const end = (value, none) => (value === null ? none : value / scale);
    return {
      ...page,
      ids: named,
      paged: !state.all || Boolean(token),
      layers: state.layers,
      classes: state.classes,
      roles: state.roles,
      ranges: range && (range.low ?? range.high) !== null ? [{ key: range.key, low: end(range.low, -Infinity), high: end(range.high, Infinity) }] : [],
    };
  };

  // ---- links
  const slugs = (codes, kinds) => codes.map((code) => kinds.at(code).slug).join();
  const escaped = (text) => text.replace(/[%&#\s]/g, encodeURIComponent);
  const toHash = () => {
    const parts = [];
    const { find, all, range, sort, rows, from } = state;
    if (find.trim()) parts.push(`find=${escaped(find.trim())}`);
    if (all !== DEFAULTS.all) parts.push(`show=${all ? "all" : "pages"}`);
    if (state.layers) parts.push(`layers=${[...new Set(state.layers)].join("-")}`);
    if (state.classes.length) parts.push(`class=${slugs(state.classes, data.classes)}`);
    if (state.roles.length) parts.push(`role=${slugs(state.roles, data.roles)}`);
    if (range) parts.push(`where=${range.key}:${range.low ?? ""}:${range.high ?? ""}`);
    if (sort.by !== "neuron" || sort.down) parts.push(`sort=${sort.down ? "-" : ""}${sort.by}`);
    if (rows !== DEFAULTS.rows) parts.push(`rows=${rows}`);
    if (from !== null) parts.push(`from=${nameOf(from)}`);
    return parts.join("&");
  };

  const codesOf = (value, kinds, undefinedCode) => {
    const found = value.split(",").map((slug) => kinds.findIndex((one) => one.slug === slug));
    return found.includes(-1) ? null : [...new Set(found)].map((code) => (code === undefinedCode ? -1 : code));
  };
  const numberOf = (text) => (text === "" ? null : Number(text));
  const readers = {
    find: (value) => void (state.find = value),
    show: (value) => (["all", "pages"].includes(value) ? void (state.all = value === "all") : false),
    layers: (value) => {
      const found = /^([0-9]{1,6})(?:-([0-9]{1,6}))?$/.exec(value);
      if (!found) return false;
      const ends = [Number(found[1]), Number(found[2] ?? found[1])];
      if (ends[0] > ends[1] || ends[1] >= layers) return false;
      state.layers = ends;
    },
    class: (value) => {
      const found = codesOf(value, data.classes, data.classes.length - 1);
      if (!found) return false;
      state.classes = found;
    },
    role: (value) => {
      const found = data.roles && codesOf(value, data.roles, -1);
      if (!found) return false;
      state.roles = found;
    },
    where: (value) => {
      const [key, ...ends] = value.split(":");
      const [low, high] = ends.map(numberOf);
      if (!data.columns.some((one) => one.key === key) || ends.length !== 2 || Number.isNaN(low) || Number.isNaN(high)) return false;
      state.range = { key, low, high };
    },
    sort: (value) => {
      const by = value.replace(/^-/, "");
      if (!SORTS.includes(by)) return false;
      state.sort = { by, down: value.startsWith("-") };
    },
    rows: (value) => (ROWS.includes(Number(value)) ? void (state.rows = Number(value)) : false),
    from: (value) => {
      const id = idOf(value);
      if (id === null || id < 0) return false;
      state.from = id;
    },
  };

  // Returns what it could not use, in words.
  const fromHash = (text) => {
    reset();
    const bad = [];
    for (const part of text.split("&").filter(Boolean)) {
      const place = part.indexOf("=");
      const key = part.slice(0, place);
      let value;
      try {
        value = decodeURIComponent(part.slice(place + 1));
      } catch {
        value = null;
      }
      if (place < 0 || value === null || !Object.hasOwn(readers, key) || readers[key](value) === false) bad.push(part);
    }
    return bad;
  };

  const filtered = () => Boolean(state.find.trim() || state.layers || state.classes.length || state.roles.length || state.range);

  return { state, reset, question, search, toHash, fromHash, nameOf, filtered };
};
