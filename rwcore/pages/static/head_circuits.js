// Draws the page of circuits and follows what a person chooses: by mouse, keys, typing and link.
(() => {
  "use strict";
  const at = (id) => document.getElementById(id);
  const form = at("controls");
  let data, state, s;

  const make = (tag, className, ...children) => {
    const element = document.createElement(tag);
    if (className) element.className = className;
    element.append(...children);
    return element;
  };

  const grouped = (value) => value.toLocaleString("en");
  const signed = (value) => {
    const size = Math.abs(value);
    const text = size && (size < 0.01 || size >= 1e5) ? size.toExponential(1) : size.toFixed(size < 1 ? 3 : size < 100 ? 2 : 0);
    return (value > 0 ? "+" : value < 0 ? "\u2212" : "") + text;
  };
  const percent = (share) => `${share === 0 ? 0 : (100 * share).toFixed(share < 0.0995 ? 1 : 0)} %`;
  const named = (number) => data.texts[number];
  const token = (number) => make("span", "token", named(number));

  const link = (number) => {
    const button = make("button", "token", named(number));
    button.type = "button";
    button.title = "Show the charts of this token";
    button.addEventListener("click", () => choose({ token: number }, true));
    return button;
  };

  // ---- charts

  const words = () => ({
    QK: {
      source: ["What attends to ", "Tokens whose prediction makes a position attend to this one most: query \u00b7 key."],
      destination: ["What is attended to where the prediction is ", "Tokens that a position which predicts this one attends to most: query \u00b7 key."],
    },
    OV: {
      source: [
        s.show === "suppressed" ? "Predictions lowered by reading " : "Predictions raised by reading ",
        `Change of the logit where the head attends to this token alone; the ${s.show === "suppressed" ? "lowest" : "highest"} first.`,
      ],
      destination: [
        s.show === "suppressed" ? "What lowers the prediction of " : "What raises the prediction of ",
        `Change of this token's logit where the head attends to another alone; the ${s.show === "suppressed" ? "lowest" : "highest"} first.`,
      ],
    },
  });

  const drawBar = (row, low, span) => {
    const own = row.other === s.token;
    const name = make("span", "name", row.other < data.raw.length && !own ? link(row.other) : token(row.other));
    if (row.beyond) name.append(make("span", "rank", ` (#${grouped(row.place)})`));
    name.title = named(row.other);
    const track = make("span", "track", make("i"));
    const place = (value) => `${(100 * (value - low)) / span}%`;
    track.style.setProperty("--zero", place(0));
    track.style.setProperty("--from", place(Math.min(row.value, 0)));
    track.style.setProperty("--long", `${(100 * Math.abs(row.value)) / span}%`);
    const item = make("li", own ? "own" : "", make("span", "place", row.beyond ? "\u2026" : String(row.place)), name, track, make("b", "", signed(row.value)));
    item.classList.toggle("apart", Boolean(row.beyond));
    return item;
  };

  const drawChart = (circuit, list) => {
    const figure = at(circuit);
    if (!figure) return;
    const rows = state.bars(list);
    const values = rows.map((row) => row.value);
    const [low, high] = [Math.min(0, ...values), Math.max(0, ...values)];
    const [title, text] = words()[circuit][s.focus];
    figure.querySelector("h3").replaceChildren(`${circuit}: ${title}`, token(s.token));
    figure.querySelector("p").textContent = text;
    figure.querySelector("ol").replaceChildren(...rows.map((row) => drawBar(row, low, high - low || 1)));
  };

  const verdict = () => {
    const source = s.focus === "source";
    const parts = [];
    const [low, attended] = [state.own("suppressed"), state.own("attended")];
    if (attended) parts.push(`#${grouped(attended[0])} among the ${source ? "predictions that attend to it" : "tokens that its prediction attends to"}`);
    if (low) parts.push(`#${grouped(low[0])} among the ${source ? "predictions that reading it lowers" : "tokens that lower its prediction"} (own logit ${signed(low[1])})`);
    return `As the ${s.focus}, the token itself is ${parts.join(" and ")}, of ${grouped(data.vocabulary)} tokens.`;
  };

  // ---- map of heads

  const cells = () => [...at("map").querySelectorAll("button")];
  const shareOf = (layer, head) => data.map[s.map][layer][head];
  const saying = (name) => {
    const [layer, head] = name.split(".").map(Number);
    const share = shareOf(layer, head);
    if (share === null) return `Head ${name} was not looked at in this run`;
    if (share < 0) return `Head ${name} makes no difference between tokens`;
    const what = s.map === "OV" ? "of tokens are among the ten predictions that reading them lowers most" : "of tokens are among the ten that their own prediction attends to most";
    return `Head ${name}: ${percent(share)} ${what}`;
  };

  const buildMap = () => {
    const shares = data.map[s.map];
    const corner = make("th", "", make("span", "sr", "head"));
    const every = shares.length > 40 ? 10 : shares.length > 14 ? 5 : 1;
    const top = make("tr", "", corner, ...shares.map((_, layer) => Object.assign(make("th", "", layer % every ? "" : String(layer)), { scope: "col" })));
    const rows = shares[0].map((_, head) => {
      const row = make("tr", "", Object.assign(make("th", "", String(head)), { scope: "row" }));
      shares.forEach((__, layer) => {
        const button = make("button");
        Object.assign(button, { type: "button", tabIndex: -1 });
        button.dataset.head = `${layer}.${head}`;
        row.append(make("td", "", button));
      });
      return row;
    });
    at("map").style.setProperty("--layers", shares.length);
    at("map").replaceChildren(make("caption", "sr", "Heads by layer (columns) and number (rows)"), make("thead", "", top), make("tbody", "", ...rows));
  };

  const paintMap = () => {
    const most = Math.max(1e-9, ...data.map[s.map].flat().map((share) => share ?? 0));
    const current = data.heads[s.head];
    for (const button of cells()) {
      const name = button.dataset.head;
      const share = shareOf(...name.split(".").map(Number));
      const charted = data.heads.includes(name);
      button.style.setProperty("--s", String(Math.round(100 * Math.sqrt(Math.max(0, share ?? 0) / most))));
      button.className = [(share ?? -1) < 0 ? "unknown" : "", charted ? "charted" : ""].join(" ").trim();
      button.setAttribute("aria-pressed", String(name === current));
      button.setAttribute("aria-label", saying(name) + (charted ? ", has charts" : ""));
      if (name === current && !at("map").contains(document.activeElement)) setStop(button);
    }
    at("legend").replaceChildren("0", make("i"), percent(most)); // by the square root: shares are mostly small
  };

  const setStop = (button) => {
    for (const one of cells()) one.tabIndex = one === button ? 0 : -1;
  };

  const say = (name) => {
    at("says").replaceChildren(`${saying(name)}.`);
    if (data.heads.includes(name)) return;
    const command = state.command([name], data.raw[s.token]);
    at("says").append(" It has no charts on this page", ...(command ? ["; to make them: ", make("code", "", command)] : ["."]));
  };

  const press = (button) => {
    setStop(button);
    const number = data.heads.indexOf(button.dataset.head);
    if (number >= 0) choose({ head: number });
    say(button.dataset.head);
  };

  const walk = (event) => {
    const button = event.target.closest("button");
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (!button || !(event.key in steps) || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const [layer, head] = button.dataset.head.split(".").map(Number);
    const [right, down] = steps[event.key];
    const next = at("map").querySelector(`[data-head="${layer + right}.${head + down}"]`);
    if (!next) return;
    setStop(next);
    next.focus();
    say(next.dataset.head);
  };

  // ---- choosing

  const complain = (text) => {
    const command = state.command(data.heads, state.meant(text));
    const examples = data.raw.slice(0, 3).map((_, number) => named(number)).join(" ");
    at("unknown").replaceChildren(
      ...(text.trim()
        ? [
            make("b", "token", text),
            ` is not among the ${data.raw.length} tokens of this page, such as ${examples}; the box suggests them while you type, and all are listed below.`,
            ...(command ? [" To add it: ", make("code", "", command), " (quoted with the space before it, if it has one)."] : []),
          ]
        : [`Type a token: there are ${data.raw.length} on this page, such as ${examples}.`]),
    );
  };

  const draw = () => {
    at("title").replaceChildren(`Head ${data.heads[s.head]}, token `, token(s.token));
    at("verdict").textContent = verdict();
    drawChart("QK", "attended");
    drawChart("OV", s.show);
    paintMap();
    for (const [name, value] of [["focus", s.focus], ["show", s.show], ["head", String(s.head)], ["map", s.map]]) {
      for (const input of document.getElementsByName(name)) input.checked = input.value === value;
    }
    at("bars").value = s.bars;
    at("count").textContent = s.bars;
    for (const button of at("all").querySelectorAll("button")) button.setAttribute("aria-current", String(Number(button.dataset.token) === s.token));
  };

  const choose = (changes, focus = false) => {
    Object.assign(s, changes);
    at("unknown").replaceChildren();
    if ("token" in changes) at("find").value = named(s.token);
    if ("head" in changes) say(data.heads[s.head]);
    draw();
    const hash = state.toHash();
    history.replaceState(null, "", hash ? `#${hash}` : location.pathname + location.search);
    if (focus) at("title").focus();
  };

  const find = () => {
    const typed = at("find").value;
    const number = typed.trim() ? state.lookup(typed) : undefined;
    if (number === undefined) complain(typed);
    else choose({ token: number });
  };

  const fromHash = () => {
    const bad = state.fromHash(location.hash.slice(1));
    at("unknown").replaceChildren();
    at("find").value = named(s.token);
    say(data.heads[s.head]);
    draw();
    if ("token" in bad) complain(bad.token);
    else if ("head" in bad) at("unknown").textContent = `Head ${bad.head} has no charts on this page; those of ${data.heads.join(", ")} are here.`;
  };

  const build = () => {
    buildMap();
    at("heads").replaceChildren(
      ...data.heads.map((name, number) => {
        const input = Object.assign(make("input"), { type: "radio", name: "head", value: String(number) });
        return make("label", "", input, make("span", "", name));
      }),
    );
    at("known").replaceChildren(...data.raw.map((_, number) => Object.assign(make("option"), { value: named(number) })));
    at("all").replaceChildren(
      ...data.raw.map((_, number) => {
        const button = link(number);
        button.dataset.token = number;
        return make("li", "", button);
      }),
    );
  };

  const change = (event) => {
    const { name, value } = event.target;
    if (name === "head") choose({ head: Number(value) });
    else if (name === "bars") choose({ bars: Number(value) });
    else if (["focus", "show", "map"].includes(name)) {
      choose({ [name]: value });
      if (name === "map") say(data.heads[s.head]);
    }
  };

  const start = async () => {
    data = await rwUnpack(at("data").textContent);
    state = rwCircuits(data);
    s = state.s;
    build();
    form.addEventListener("submit", (event) => (event.preventDefault(), find()));
    document.addEventListener("change", change);
    at("bars").addEventListener("input", change);
    at("find").addEventListener("input", (event) => {
      // A suggestion that was picked comes whole.
      if (event.inputType === "insertReplacementText" || !event.inputType) find();
    });
    at("map").addEventListener("click", (event) => event.target.closest("button") && press(event.target.closest("button")));
    at("map").addEventListener("keydown", walk);
    at("map").addEventListener("pointerover", (event) => event.target.dataset.head && say(event.target.dataset.head));
    at("map").addEventListener("pointerleave", () => say(data.heads[s.head]));
    addEventListener("hashchange", fromHash);
    document.querySelector(".scripted").hidden = false;
    fromHash();
    document.documentElement.dataset.ready = "true";
  };
  start().catch((error) => {
    at("failed").querySelector("span").textContent = error.message;
    at("failed").hidden = false;
  });
})();
