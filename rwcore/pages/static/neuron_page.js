// The examples of a neuron: coloured tokens where they are looked at; what is chosen stands behind the # of the link.
(() => {
  "use strict";

  let data; // as rwcore.pages.page_data packs it
  const form = document.getElementById("controls");
  const [BEFORE, AFTER] = [24, 12]; // tokens around a peak, near
  const CHOICES = { colour: "post", scale: "linear", context: "near" };
  const shown = new Map(); // example element -> what paints it
  const wider = new WeakMap(); // example element -> [from, to] that was asked for

  const unpack = async (base64) => {
    const text = atob(base64);
    const bytes = new Uint8Array(text.length);
    for (let place = 0; place < text.length; place += 1) bytes[place] = text.charCodeAt(place);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    const whole = new Uint8Array(await new Response(stream).arrayBuffer());
    const body = 4 + new DataView(whole.buffer).getUint32(0, true);
    const facts = JSON.parse(new TextDecoder().decode(whole.subarray(4, body)));
    const count = (whole.length - body) / 4;
    const values = new DataView(new ArrayBuffer(4 * count));
    for (let plane = 0; plane < 4; plane += 1) {
      for (let place = 0; place < count; place += 1) values.setUint8(4 * place + plane, whole[body + plane * count + place]);
    }
    const floats = Float32Array.from({ length: count }, (_, place) => values.getFloat32(4 * place, true));
    const names = facts.gated ? ["gate", "in", "act"] : ["gate", "act"];
    const tokens = count / names.length;
    let offset = 0;
    for (const stretch of facts.stretches) {
      const more = Object.values(stretch.tokens).reduce((sum, tokensOfUnit) => sum + tokensOfUnit - 1, 0);
      const end = offset + stretch.lengths.length + more;
      stretch.values = Object.fromEntries(
        names.map((name, row) => [name, floats.subarray(row * tokens + offset, row * tokens + end)]),
      );
      offset = end;
    }
    return facts;
  };

  const choice = (name) => form.elements[name].value;

  const paint = (painter) => painter.paint(choice("colour"), data.scales[choice("colour")], choice("scale") === "root");

  // ---- an example

  const ellipsis = (example, hidden, beyond, where, range) => {
    if (!hidden) return beyond ? ["\u2026"] : [];
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "\u22ef";
    button.setAttribute("aria-label", `Show ${hidden} tokens ${where}`);
    button.title = `${hidden} tokens ${where}`;
    button.addEventListener("click", () => {
      wider.set(example, range);
      fill(example);
      example.querySelector("[tabindex='0']").focus();
    });
    return [button];
  };

  const rangeOf = (example, peak, length) => {
    if (choice("context") === "whole") return [0, length];
    return wider.get(example) ?? [Math.max(0, peak - BEFORE), Math.min(length, peak + AFTER + 1)];
  };

  const prepare = (example) => {
    const text = example.querySelector(".text");
    const readout = document.createElement("p");
    readout.className = "rw-readout";
    readout.setAttribute("role", "status");
    text.after(readout);
    return { text, host: text.querySelector(".rw-tokens"), readout };
  };
  const parts = new WeakMap();

  const fill = (example) => {
    if (!parts.has(example)) parts.set(example, prepare(example));
    const { text, host, readout } = parts.get(example);
    const [number, peak] = [Number(example.dataset.stretch), Number(example.dataset.peak)];
    const stretch = data.stretches[number];
    const { values } = stretch;
    const length = values.gate.length;
    const [from, to] = rangeOf(example, peak, length);
    const label = `Tokens up to and behind position ${stretch.start + peak}`;
    const painter = rwTokens.show(host, stretch, values, { start: stretch.start, peak, from, to, label, readout });
    const more = stretch.start + length < stretch.rowLength;
    text.replaceChildren(
      ...ellipsis(example, from, stretch.start > 0, "before", [0, to]),
      host,
      ...ellipsis(example, length - to, more, "behind", [from, length]),
    );
    shown.set(example, painter);
    paint(painter);
  };

  // Whatever is open; what is closed waits until it is opened.
  const fillOpen = () => {
    for (const example of document.querySelectorAll(".example")) {
      if (!shown.has(example) && !example.closest("details:not([open])")) fill(example);
    }
  };

  // ---- what is chosen, and the link

  const lists = [...document.querySelectorAll("details.list")];
  const opened = new Set(lists.filter((list) => list.open).map((list) => list.id));
  let target = "";

  const toHash = () => {
    const chosen = Object.keys(CHOICES).filter((name) => choice(name) !== CHOICES[name]);
    const open = lists.filter((list) => list.open && !opened.has(list.id)).map((list) => list.id);
    const closed = lists.filter((list) => !list.open && opened.has(list.id)).map((list) => list.id);
    return [
      ...(target ? [target] : []),
      ...chosen.map((name) => `${name}=${choice(name)}`),
      ...(open.length ? [`open=${open}`] : []),
      ...(closed.length ? [`closed=${closed}`] : []),
    ].join("&");
  };

  const remember = () => {
    const hash = toHash();
    history.replaceState(null, "", hash ? `#${hash}` : location.pathname + location.search);
  };

  const repaint = () => {
    rwTokens.legend(document.getElementById("legend"), data.scales[choice("colour")], choice("scale") === "root");
    for (const painter of shown.values()) paint(painter);
  };

  const reveal = () => {
    const element = target && document.getElementById(target);
    for (const one of document.querySelectorAll(".here")) one.classList.remove("here");
    if (!element) return;
    for (let box = element.closest("details"); box; box = box.parentElement.closest("details")) box.open = true;
    fillOpen();
    if (element.matches(".example")) element.classList.add("here");
    element.scrollIntoView();
  };

  const fromHash = () => {
    const asked = location.hash.slice(1).split("&").filter(Boolean).map(decodeURIComponent);
    const options = new Map(asked.filter((part) => part.includes("=")).map((part) => part.split(/=(.*)/s)));
    target = asked.find((part) => !part.includes("=")) ?? "";
    for (const [name, standard] of Object.entries(CHOICES)) {
      const inputs = [...form.elements[name]];
      const wanted = inputs.find((input) => input.value === options.get(name));
      (wanted ?? inputs.find((input) => input.value === standard)).checked = true;
    }
    const [open, closed] = ["open", "closed"].map((name) => (options.get(name) ?? "").split(","));
    for (const list of lists) list.open = (opened.has(list.id) || open.includes(list.id)) && !closed.includes(list.id);
    for (const example of [...shown.keys()]) fill(example);
    fillOpen();
    repaint();
    reveal();
  };

  const change = (event) => {
    if (event.target.name === "context") for (const example of [...shown.keys()]) fill(example);
    repaint();
    remember();
  };

  const follow = (event) => {
    const link = event.target.closest?.("a[href^='#']");
    if (!link) return;
    event.preventDefault();
    target = link.getAttribute("href").slice(1);
    remember();
    reveal();
  };

  // A toggle is told of later, also one that the script made; the link is then what it was.
  const toggle = () => {
    fillOpen();
    remember();
  };

  const linkRank = (rank) => {
    const link = document.createElement("a");
    link.href = `#${rank.closest(".example").id}`;
    link.textContent = rank.textContent;
    link.title = "Link to this example";
    link.setAttribute("aria-label", `Example ${rank.textContent}: link`);
    rank.replaceChildren(link);
  };

  const start = async () => {
    data = await unpack(document.getElementById("data").textContent);
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("change", change);
    document.addEventListener("click", follow);
    document.addEventListener("toggle", toggle, true);
    addEventListener("hashchange", fromHash);
    document.querySelectorAll(".result p > span").forEach(linkRank);
    for (const part of document.querySelectorAll(".scripted")) part.hidden = false;
    fromHash();
    document.documentElement.dataset.ready = String(Math.round(performance.now()));
  };
  start().catch((error) => {
    const note = document.getElementById("failed");
    note.querySelector("span").textContent = error.message;
    note.hidden = false;
  });
})();
