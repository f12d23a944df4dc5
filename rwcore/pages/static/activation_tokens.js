// Tokens of a text, coloured by what a neuron does at each of them, with a readout of the numbers.
//
// A classic script without imports; it makes one global, `rwTokens`. Styles are in activation_tokens.css.
//
//   const shown = rwTokens.show(host, text, values, options);
//     host     element that is filled; it becomes a list of tokens, one stop of the tabulator key
//     text     units of a text as `rwcore.pages.token_units.packed` makes them (JSON):
//              {text, lengths, tokens: {unit: count}, special: [unit], bytes: {unit: "E2 80"}}; a unit is one
//              token, or the tokens that share a character
//     values   {gate, in, act}: a number per token; post is act · in in float32. Without `in` the neuron is
//              plain: gate is called in, and only in and post are shown
//     options  {start: position of the first token (0), peak: place of the token to mark (none),
//               from, to: places to show (all), label: name of the list, readout: element of the numbers}
//   shown.paint(quantity, scale, root)   colour by post, in, gate or act; `scale` is the magnitude of the
//                                        strongest colour, the same for both signs; `root`: by square root
//   rwTokens.legend(element, scale, root)  the colours with their numbers
//   rwTokens.quantities(plain)             [[quantity, name], …], as people choose them
//   rwTokens.floats(base64)                float32 values, little endian
//   rwTokens.largest(values, quantity)     the largest finite magnitude, for a scale
//   rwTokens.number(value)                 a number as the readout writes it
//
// Text is set as text, never as HTML. Signs for white space and odd characters are drawn by the style sheet, so
// that the text content of the host is the text. The colour is var(--share) of the tone, 0 % being the paper.
const rwTokens = (() => {
  "use strict";

  const MINUS = "\u2212";
  const NONE = "\u2013";
  const GATED = [["post", "post"], ["in", "in"], ["gate", "gate"], ["act", "act(gate)"]];
  const PLAIN = [["post", "post"], ["gate", "in"]];
  const ORDER = ["gate", "in", "act", "post"]; // of the readout: as they are computed
  const SIGNS = { " ": "\u00b7", "\n": "\u23ce", "\r": "\u21e4", "\t": "\u21e5" };
  const ODD = /[\p{C}\p{Z}]/u;
  const BROKEN = "\ufffd"; // stands for a byte that is no character
  const lists = new WeakMap();

  const quantities = (plain) => (plain ? PLAIN : GATED);

  const floats = (base64) => {
    const bytes = Uint8Array.from(atob(base64), (sign) => sign.charCodeAt(0));
    const view = new DataView(bytes.buffer);
    return Float32Array.from({ length: bytes.length / 4 }, (_, place) => view.getFloat32(4 * place, true));
  };

  const number = (value) => {
    if (Number.isNaN(value)) return NONE;
    if (value === 0) return "0";
    return (value > 0 ? "+" : MINUS) + Math.abs(value).toPrecision(5).replace("e-", `e${MINUS}`);
  };

  const valueAt = (values, quantity, place) =>
    quantity === "post" ? Math.fround(values.act[place] * (values.in ? values.in[place] : 1)) : values[quantity][place];

  const largest = (values, quantity) => {
    let found = 0;
    for (let place = 0; place < values.gate.length; place += 1) {
      const size = Math.abs(valueAt(values, quantity, place));
      if (size > found && size < Infinity) found = size;
    }
    return found;
  };

  const quadrant = (values, place) => {
    const [gate, input] = [values.gate[place], values.in ? values.in[place] : 1];
    if (!gate || !input) return "no quadrant"; // zero or not a number
    const sign = (value) => (value > 0 ? "+" : MINUS);
    return values.in ? `gate${sign(gate)} in${sign(input)}` : `in${sign(gate)}`;
  };

  // ---- units

  const unitsOf = (packed) => {
    const special = new Set(packed.special);
    let [offset, place] = [0, 0];
    return packed.lengths.map((length, unit) => {
      const made = {
        text: packed.text.slice(offset, offset + length),
        place,
        tokens: packed.tokens[unit] ?? 1,
        special: special.has(unit),
        bytes: (packed.bytes[unit] ?? "").split(" "),
      };
      offset += length;
      place += made.tokens;
      return made;
    });
  };

  // Runs of plain text and single characters with a sign.
  const partsOf = (unit) => {
    if (!unit.text) return [{ text: "", sign: "\u27e8empty\u27e9" }];
    const parts = [];
    let bytes = 0;
    for (const text of unit.text) {
      let sign = SIGNS[text];
      if (text === BROKEN && unit.bytes[bytes]) sign = `\u27e8${unit.bytes[bytes++]}\u27e9`;
      else if (!sign && ODD.test(text)) sign = `\u27e8U+${text.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}\u27e9`;
      const last = parts.at(-1);
      if (sign || !last || last.sign) parts.push({ text, sign });
      else last.text += text;
    }
    return parts;
  };

  const visible = (unit) => partsOf(unit).map((part) => part.sign ?? part.text).join("");

  const element = (name, text = "", className = "") => {
    const made = document.createElement(name);
    if (className) made.className = className;
    made.textContent = text;
    return made;
  };

  const tokenElement = (unit, number_, marked) => {
    const made = element(marked ? "mark" : "span", "", unit.special ? "special" : "");
    made.dataset.unit = number_;
    made.setAttribute("role", "option");
    made.setAttribute("aria-selected", String(marked));
    if (!unit.text.trim()) made.setAttribute("aria-label", visible(unit)); // white space is no name
    for (const part of partsOf(unit)) {
      if (!part.sign) {
        made.append(part.text);
        continue;
      }
      const sign = element("i", part.text);
      sign.dataset.sign = part.sign;
      if (!(part.text in SIGNS)) sign.className = "odd";
      made.append(sign);
    }
    return made;
  };

  // ---- colours

  const colour = (token, value, scale, root) => {
    const part = scale > 0 && value ? Math.min(1, Math.abs(value) / scale) : 0;
    const share = root ? Math.sqrt(part) : part;
    token.classList.toggle("positive", share > 0 && value > 0);
    token.classList.toggle("negative", share > 0 && value < 0);
    token.style.setProperty("--share", `${(100 * share).toFixed(1)}%`);
  };

  const legend = (box, scale, root) => {
    box.replaceChildren(
      ...[-1, -0.5, -0.25, 0, 0.25, 0.5, 1].map((part) => {
        const size = (Math.abs(part) * scale).toPrecision(2);
        const text = part === 0 || !(scale > 0) ? "0" : (part > 0 ? "+" : MINUS) + Number(size);
        const made = element("span", text.replace("e-", `e${MINUS}`));
        colour(made, part * scale, scale, root);
        return made;
      }),
    );
  };

  // ---- readout

  const factsOf = (list, unit, place) => {
    const names = new Map(quantities(!list.values.in));
    const line = element("span", "", "line");
    line.append(element("span", `position ${list.start + place}`));
    for (const quantity of ORDER.filter((one) => names.has(one))) {
      const fact = element("span", `${names.get(quantity)} `, quantity === list.quantity ? "chosen" : "");
      fact.append(element("b", number(valueAt(list.values, quantity, place))));
      line.append(" ", fact);
    }
    line.append(" ", element("span", quadrant(list.values, place)));
    return line;
  };

  const read = (list, unit) => {
    if (!list.readout) return;
    const lines = Array.from({ length: unit.tokens }, (_, more) => factsOf(list, unit, unit.place + more));
    lines[0].prepend(element("b", visible(unit), "token"), " ");
    list.readout.replaceChildren(...lines.flatMap((line, at) => (at ? [" ", line] : [line])));
  };

  const tokenOf = (target) => {
    const token = target.closest?.("[data-unit]");
    return token && lists.has(token.parentElement) ? token : null;
  };

  const tell = (token) => {
    const list = lists.get(token.parentElement);
    read(list, list.units[token.dataset.unit]);
  };

  const leave = (event) => {
    const token = tokenOf(event.target);
    if (!token) return;
    const focused = token.parentElement.querySelector(":focus");
    if (focused && event.type === "pointerout") tell(focused);
    else lists.get(token.parentElement).readout?.replaceChildren();
  };

  const focus = (token) => {
    token.parentElement.querySelector("[tabindex]").removeAttribute("tabindex");
    token.tabIndex = 0;
    token.focus();
  };

  // ---- the list

  const show = (host, packed, values, options = {}) => {
    const { start = 0, peak = -1, from = 0, to = values.gate.length, label = "Tokens", readout = null } = options;
    const units = unitsOf(packed);
    const list = { units, values, start, readout, quantity: "post" };
    const within = (unit) => unit.place + unit.tokens > from && unit.place < to;
    const holds = (unit) => unit.place <= peak && peak < unit.place + unit.tokens;
    const tokens = [...units.entries()]
      .filter(([, unit]) => within(unit))
      .map(([place, unit]) => tokenElement(unit, place, holds(unit)));
    host.replaceChildren(...tokens);
    host.classList.add("rw-tokens");
    for (const [name, value] of [["role", "listbox"], ["aria-orientation", "horizontal"], ["aria-label", label]]) {
      host.setAttribute(name, value);
    }
    const stop = tokens.find((token) => token.localName === "mark") ?? tokens[0];
    if (stop) stop.tabIndex = 0;
    readout?.replaceChildren();
    lists.set(host, list);

    // A unit of several tokens has the colour of the one where the neuron does most.
    const strongest = (unit, quantity) =>
      Array.from({ length: unit.tokens }, (_, more) => valueAt(values, quantity, unit.place + more)).reduce((best, value) =>
        Math.abs(value) > Math.abs(best) || Number.isNaN(best) ? value : best,
      );
    const paint = (quantity, scale, root = false) => {
      list.quantity = quantity;
      for (const token of tokens) colour(token, strongest(units[token.dataset.unit], quantity), scale, root);
      const focused = host.querySelector(":focus");
      if (focused) tell(focused);
    };
    return { paint };
  };

  document.addEventListener("pointerover", (event) => {
    const token = tokenOf(event.target);
    if (token) tell(token);
  });
  document.addEventListener("focusin", (event) => {
    const token = tokenOf(event.target);
    if (token) tell(token);
  });
  document.addEventListener("pointerout", leave);
  document.addEventListener("focusout", leave);
  document.addEventListener("click", (event) => {
    const token = tokenOf(event.target);
    if (token) focus(token);
  });
  document.addEventListener("keydown", (event) => {
    const token = tokenOf(event.target);
    if (!token || event.altKey || event.ctrlKey || event.metaKey) return;
    const next = {
      ArrowLeft: token.previousElementSibling,
      ArrowRight: token.nextElementSibling,
      Home: token.parentElement.firstElementChild,
      End: token.parentElement.lastElementChild,
    };
    if (!(event.key in next)) return;
    event.preventDefault();
    if (next[event.key]) focus(next[event.key]);
  });

  return { show, legend, quantities, floats, largest, number };
})();
