// The page of examples of heads: choices, tabs, text and panel. One global, `rwHeadExamples`.
//
//   rwHeadExamples.show(data, more)   shows a record; `more()`: what else stands in the link, as an object
//   rwHeadExamples.follow()           shows what the address says
const rwHeadExamples = (() => {
  "use strict";

  const LISTED = 5; // predictions of each list
  const BEFORE = 7; // tokens before them
  const at = (id) => document.getElementById(id);
  const { make, signed } = rwHeadParts;
  let page = null; // {record, tools, link, details, more}
  let drawn = null; // the row that the text is of
  let values = [];
  let previewed = null; // the query that the pointer or the focus is on

  const view = () => page.tools.views[page.link.state.tab];
  const shift = () => (view().predicted ? 1 : 0);
  const reading = () => page.record.reading(page.link.state.row, page.link.state.head);
  const shown = () => previewed ?? page.link.query();

  // ---- the text and the panel

  const pick = (places) => (page.link.state.tab === "attention" ? places[0] : text.strongest(places, values));

  const paint = () => {
    const { state } = page.link;
    values = view().values(reading(), state, Math.max(0, shown()));
    const scale = view().scale(reading(), state, values);
    const diverging = view().diverging(state);
    const large = (place) => state.tab === "cspa" && !Number.isNaN(values[place]);
    text.paint(values, scale, { diverging, large });
    text.legend(at("legend"), scale, diverging);
  };

  const pieces = (query) => {
    const held = text.unit(query + shift());
    if (held.length < 2) return [];
    const buttons = held.map((place) => {
      const button = make("button", { type: "button", "aria-pressed": String(place === query + shift()) }, String(place));
      button.addEventListener("click", () => keep([place]));
      return button;
    });
    return [make("p", { class: "pieces" }, "These characters are made of several tokens, at positions ", ...buttons)];
  };

  const tell = () => {
    const query = shown();
    text.mark(query, query + 1, page.link.query() + shift());
    const [title, place, ...rest] = page.details(page.link.state, query);
    at("details").replaceChildren(title, place, ...pieces(query), ...rest);
  };

  const preview = (places) => {
    const query = places ? pick(places) - shift() : null;
    if (query === previewed) return;
    previewed = query;
    if (page.link.state.tab === "attention") paint();
    tell();
  };

  const keep = (places) => {
    const query = pick(places) - shift();
    if (query < 0) return;
    previewed = null;
    change({ at: query });
  };

  const text = rwHeadText(at("tokens"), { preview, keep });

  // ---- choices

  const radios = (box, name, legend, options, chosen) => {
    const focused = document.activeElement?.name === name;
    const labels = options.map(([value, words]) => {
      const input = make("input", { type: "radio", name, value });
      input.checked = value === chosen;
      return make("label", {}, input, make("span", {}, words));
    });
    box.replaceChildren(make("legend", {}, legend), ...labels);
    if (focused) box.querySelector(":checked").focus(); // the one before is gone
  };

  const rowName = (row) => {
    const { number, document: name, text: packed } = page.record.rows[row];
    const begin = packed.text.slice(packed.special.includes(0) ? packed.lengths[0] : 0).replaceAll(/\s+/g, " ").trim();
    return `${number}${name ? ` · ${name}` : ""} · ${begin.slice(0, 40)}${begin.length > 40 ? "…" : ""}`;
  };

  const fill = (id, names, chosen) => {
    at(id).replaceChildren(...names.map((name, place) => make("option", { value: place }, name)));
    at(id).value = chosen;
  };

  const choices = () => {
    const { record, tools } = page;
    const { state } = page.link;
    fill("row", record.rows.map((_, row) => rowName(row)), state.row);
    fill("head", record.heads, state.head);
    at("row-field").hidden = record.rows.length < 2;
    at("head-field").hidden = record.heads.length < 2;
    at("row-before").disabled = state.row === 0;
    at("row-after").disabled = state.row === record.rows.length - 1;
    radios(at("effect"), "effect", "Effect", record.effects.map((name) => [name, tools.effectWords(name)[0]]), state.effect);
    at("effect-note").textContent = view().byEffect(state)
      ? `${tools.effectWords(state.effect)[1].replace(/^./, (letter) => letter.toUpperCase())}.`
      : "What is shown below is the same for every effect; the lists at the end are of the chosen one.";
    const offered = view().choices(state);
    at("show").hidden = !offered;
    if (offered) radios(at("show"), offered.key, offered.legend, offered.options, state[offered.key]);
    at("range-field").hidden = !view().ranged(state);
    at("range").checked = state.range === "own";
    for (const tab of at("tabs").children) {
      const chosen = tab.id === `tab-${state.tab}`;
      tab.setAttribute("aria-selected", String(chosen));
      tab.tabIndex = chosen ? 0 : -1;
    }
    at("sheet").setAttribute("aria-labelledby", `tab-${state.tab}`);
    at("says").textContent = view().says(state);
  };

  const facts = () => {
    const { record, tools } = page;
    const { row, head, effect } = page.link.state;
    const changes = record.changes(row, head, effect).map(([, change]) => change);
    const mean = changes.reduce((sum, one) => sum + one, 0) / changes.length;
    const hurts = changes.filter((one) => one > 0).length;
    const { number, document: name, bos } = record.rows[row];
    const where = record.typed ? "" : ` in sequence ${number}${name ? ` (${name})` : ""}`;
    const which = `Head ${record.heads[head]}${where}: ${reading().size} tokens${bos ? ", with the one that begins every text" : ""}.`;
    const does = changes.length
      ? ` Ablation changes the loss by ${signed(mean, 4)} nats on average (${tools.effectWords(effect)[0]}); it hurts ${hurts} of ${changes.length} predictions.`
      : " The text is too short for a prediction that counts.";
    at("facts").textContent = which + does + (record.ablation ? ` ${record.ablation}` : "");
  };

  // The address of a state that differs in some ways from the present one.
  const address = (other) => {
    const more = String(new URLSearchParams(page.more()));
    return `#${page.link.link(other)}${more && `&${more}`}`;
  };

  // ---- where the head does most, in all rows

  const strongest = () => {
    const { record } = page;
    const { head, effect } = page.link.state;
    const all = record.rows.flatMap((_, row) => record.changes(row, head, effect).map(([query, change]) => ({ row, query, change })));
    all.sort((a, b) => b.change - a.change || a.row - b.row || a.query - b.query);
    const item = ({ row, query, change }) => {
      const begin = Math.max(record.rows[row].bos ? 1 : 0, query + 1 - BEFORE);
      const before = record.rows[row].tokens.slice(begin, query + 1).map(record.name).join("");
      const context = make("span", { class: "token" }, before, make("b", {}, record.name(record.token(row, query + 1))));
      const sequence = record.typed ? "" : `sequence ${record.rows[row].number}, `;
      const link = make("a", { href: address({ row, at: query, tab: "loss" }) }, context);
      return make("li", {}, make("b", {}, signed(change)), link, make("small", {}, `${sequence}position ${query + 1}`));
    };
    const list = (title, found) => make("section", {}, make("h2", {}, title), found.length ? make("ol", { class: "found" }, ...found.map(item)) : make("p", { class: "none" }, "None."));
    at("strongest").replaceChildren(
      list("Where ablation hurts most", all.filter((one) => one.change > 0).slice(0, LISTED)),
      list("Where ablation helps most", all.filter((one) => one.change < 0).reverse().slice(0, LISTED)),
    );
  };

  // ---- all of it

  const draw = () => {
    const { row, head } = page.link.state;
    previewed = null;
    choices();
    facts();
    if (drawn !== page.record.rows[row]) {
      text.show(page.record.rows[row].text, reading().size, page.record.typed ? "Tokens of your text" : `Tokens of sequence ${page.record.rows[row].number}`);
      drawn = page.record.rows[row];
    }
    paint();
    tell();
    strongest();
    at("view").setAttribute("aria-label", `Head ${page.record.heads[head]}`);
    at("view").hidden = false;
  };

  const change = (other) => {
    Object.assign(page.link.state, other);
    history.replaceState(null, "", address());
    draw();
  };

  const follow = () => {
    page.link.follow(location.hash.slice(1));
    draw();
  };

  const show = (data, more = () => ({})) => {
    const record = rwHeadRecord(data);
    const tools = rwHeadViews(record);
    page = { record, tools, more, link: rwHeadState(record, tools.views), details: rwHeadDetails(record, tools) };
    at("tabs").replaceChildren(
      ...Object.entries(tools.views).map(([id, { name }]) => make("button", { type: "button", role: "tab", id: `tab-${id}`, "aria-controls": "sheet" }, name)),
    );
    follow();
  };

  const tabOf = (event) => event.target.closest?.("[role=tab]");
  const open = (tab) => {
    change({ tab: tab.id.replace("tab-", "") });
    tab.focus();
  };

  at("tabs").addEventListener("click", (event) => {
    if (tabOf(event)) open(tabOf(event));
  });
  at("tabs").addEventListener("keydown", (event) => {
    const tab = tabOf(event);
    if (!tab || event.altKey || event.ctrlKey || event.metaKey) return;
    const [first, last] = [tab.parentElement.firstElementChild, tab.parentElement.lastElementChild];
    const next = { ArrowLeft: tab.previousElementSibling ?? last, ArrowRight: tab.nextElementSibling ?? first, Home: first, End: last }[event.key];
    if (!next) return;
    event.preventDefault();
    open(next);
  });
  for (const box of [at("effect"), at("show")]) {
    box.addEventListener("change", (event) => change({ [event.target.name]: event.target.value }));
  }
  at("row").addEventListener("change", () => change({ row: Number(at("row").value), at: null }));
  at("head").addEventListener("change", () => change({ head: Number(at("head").value) }));
  at("row-before").addEventListener("click", () => change({ row: page.link.state.row - 1, at: null }));
  at("row-after").addEventListener("click", () => change({ row: page.link.state.row + 1, at: null }));
  at("range").addEventListener("change", () => change({ range: at("range").checked ? "own" : "fixed" }));

  return { show, follow };
})();
