// Elements and numbers of the page of heads. One global, `rwHeadParts`.
const rwHeadParts = (() => {
  "use strict";

  const MINUS = "\u2212";
  const NONE = "\u2013";

  // An element with attributes and children; text children are set as text, what is null is left out.
  const make = (name, attributes = {}, ...children) => {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (value !== null && value !== false) made.setAttribute(key, value === true ? "" : value);
    }
    made.append(...children.filter((one) => one !== null && one !== undefined));
    return made;
  };

  const written = (text) => text.replace("-", MINUS);

  const signed = (value, digits = 3) => {
    if (!Number.isFinite(value)) return NONE;
    const text = Math.abs(value).toFixed(digits);
    return Number(text) === 0 ? text : (value > 0 ? "+" : MINUS) + text;
  };

  const plain = (value, digits = 3) => (Number.isFinite(value) ? written(value.toFixed(digits)) : NONE);

  const percent = (value) => {
    if (!Number.isFinite(value)) return NONE;
    if (value > 0 && value < 5e-5) return "< 0.01 %";
    return `${plain(100 * value, 2)} %`;
  };

  const rank = (value) => (Number.isFinite(value) && value >= 0 ? String(Math.round(value)) : NONE);

  const word = (text, next = false) =>
    make("span", { class: next ? "token right" : "token" }, text, next ? make("span", { class: "sr" }, " (comes next)") : null);

  // A list of words with numbers and bars. entries: [{name, next, value, text, more}].
  const bars = (entries, label, most = 0) => {
    const scale = most || Math.max(...entries.map((one) => Math.abs(one.value)), 0);
    const list = make("ol", { class: "bars", "aria-label": label });
    for (const one of entries) {
      const bar = make("span", { class: one.value < 0 ? "bar negative-bar" : "bar", "aria-hidden": "true" });
      bar.style.setProperty("--size", `${scale > 0 ? Math.min(100, (100 * Math.abs(one.value)) / scale).toFixed(1) : 0}%`);
      list.append(make("li", { class: one.next ? "right" : null }, word(one.name, one.next), one.more ? make("small", {}, one.more) : null, make("b", {}, one.text), bar));
    }
    return list;
  };

  // rows: [{name, cells, current}]; the first column names the row.
  const table = (columns, rows, label) => {
    const head = make("tr", {}, ...columns.map((text, at) => make("th", { scope: "col", class: at ? "number" : null }, text)));
    const body = rows.map((row) =>
      make(
        "tr",
        { "aria-current": row.current ? "true" : null },
        make("th", { scope: "row" }, row.name),
        ...row.cells.map((text) => make("td", { class: "number" }, text)),
      ),
    );
    return make("table", { class: "list", "aria-label": label }, make("thead", {}, head), make("tbody", {}, ...body));
  };

  return { make, signed, plain, percent, rank, word, bars, table };
})();
