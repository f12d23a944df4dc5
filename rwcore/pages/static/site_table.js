// The rows of the table.
const rwTable = (data, store, nameOf) => {
  "use strict";
  const MINUS = "−";
  const shares = data.columns.map((one, k) => ({ ...one, k })).filter((one) => one.kind === "share");
  const special = new RegExp(`⟨[^⟩]*⟩|^<unused [0-9]+>$|[${data.signs}]`, "gu");

  const node = (tag, about = {}, ...inner) => {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(about)) {
      if (value === null || value === undefined) continue;
      if (name === "text") made.textContent = value;
      else if (name === "style") made.style.cssText = value;
      else made.setAttribute(name, value);
    }
    made.append(...inner);
    return made;
  };

  // ---- numbers as people read them
  const minus = (text) => text.replace("-", MINUS);
  const three = (value) => (Math.abs(value) >= 1000 ? value.toFixed(0) : value.toPrecision(3));
  const percent = (value) => {
    const share = 100 * value;
    if (share === 0) return "0";
    if (share < 0.001) return "<0.001";
    return share >= 100 ? "100" : share >= 1 ? share.toPrecision(3) : String(Number(share.toFixed(3)));
  };
  const shown = (value, kind) => {
    if (!Number.isFinite(value)) return Number.isNaN(value) ? "–" : value > 0 ? "∞" : `${MINUS}∞`;
    if (kind === "share") return percent(value);
    if (kind === "cosine") return minus(`${value >= 0 ? "+" : ""}${value.toFixed(3)}`);
    return value === 0 ? "0" : Math.abs(value) < 1e-4 || Math.abs(value) >= 1e6 ? minus(value.toExponential(1)) : minus(three(value));
  };

  // Spaces, line breaks, bytes and control characters are set apart from letters.
  const token = (text) => {
    const made = node("bdi", { class: "token" });
    let end = 0;
    for (const found of text.matchAll(special)) {
      made.append(text.slice(end, found.index), node("i", { text: found[0] }));
      end = found.index + found[0].length;
    }
    made.append(text.slice(end));
    return made;
  };

  const swatch = ({ colour, atypical }) =>
    node("span", { class: atypical ? "swatch atypical" : "swatch", style: `--class:${colour}`, "aria-hidden": "true" });

  const mix = (row) =>
    node(
      "span",
      { class: "mix", role: "img", "aria-label": shares.map((one) => `${one.label} ${percent(row.values[one.k])} %`).join(", ") },
      ...shares.map((one) => node("span", { class: one.tone, style: `width:${100 * row.values[one.k]}%` })),
    );

  const said = (sign, meaning, tokens) =>
    node(
      "span",
      { class: "says" },
      node("b", { "aria-hidden": "true", text: sign }),
      node("span", { class: "sr", text: `${meaning}: ` }),
      ...tokens.flatMap((one) => [token(one), " "]),
    );

  const command = (names) => data.command.replaceAll(data.place, names.join(" "));

  const copy = async (button, text) => {
    let copied = true;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      copied = false;
      getSelection().selectAllChildren(button.parentElement.querySelector("code"));
    }
    button.textContent = copied ? "Copied" : "Selected: copy it";
    setTimeout(() => (button.textContent = "Copy"), 1800);
  };

  // A command with a button that copies it.
  const commandLine = (names) => {
    const line = command(names);
    const button = node("button", { type: "button", text: "Copy" });
    button.addEventListener("click", () => copy(button, line));
    return node("span", { class: "command" }, node("code", { text: line }), button);
  };

  const maker = (id, columns) => {
    const button = node("button", { type: "button", class: "plain", "aria-expanded": "false" }, "make a page", node("span", { class: "sr", text: ` of ${nameOf(id)}: show the command` }));
    button.addEventListener("click", () => {
      const row = button.closest("tr");
      const open = button.getAttribute("aria-expanded") === "true";
      button.setAttribute("aria-expanded", String(!open));
      if (open) row.nextElementSibling.remove();
      else row.after(node("tr", { class: "more" }, node("td", { colspan: columns }, commandLine([nameOf(id)]))));
    });
    return button;
  };

  const line = (row, columns) => {
    const page = store.pageOf.get(row.id);
    const name = nameOf(row.id);
    const kind = data.classes.at(row.class);
    const role = data.roles?.[row.role]?.name;
    const made = node(
      "tr",
      {},
      node("th", { scope: "row" }, page ? node("a", { href: page.href, text: name }) : name),
      node("td", { class: "class" }, node("span", {}, swatch(kind), kind.name)),
    );
    if (data.roles) made.append(node("td", { text: !role || role === "none" ? "–" : role }));
    made.append(node("td", {}, mix(row)));
    data.columns.forEach((one, k) => made.append(node("td", { class: "number", text: shown(row.values[k], one.kind) })));
    made.append(
      page
        ? node("td", { class: "tokens" }, said("+", "promotes", page.promoted), said(MINUS, "suppresses", page.suppressed))
        : node("td", { class: "tokens" }, maker(row.id, columns)),
    );
    return made;
  };

  const draw = (table, rows) => {
    const columns = table.tHead.rows[1].cells.length + [...table.tHead.rows[0].cells].filter((one) => one.rowSpan > 1).length;
    table.tBodies[0].replaceChildren(...rows.map((row) => line(row, columns)));
  };

  return { draw, commandLine, shown };
};
