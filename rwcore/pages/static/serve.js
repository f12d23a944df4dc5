// The page of `rwcore serve`: asks about a text, shows the answer. State is in the address: #neuron=28.4737.
(() => {
  "use strict";

  const LOSS = "loss";
  const NONE = "–";
  const at = (id) => document.getElementById(id);
  const form = at("ask");
  let answer = null; // what is shown
  let quantity = "post";

  const element = (name, text = "", className = "") => {
    const made = document.createElement(name);
    made.textContent = text;
    if (className) made.className = className;
    return made;
  };

  const plain = (value) => (Number.isNaN(value) ? NONE : value.toFixed(3));

  // ---- the address

  const link = () => new URLSearchParams(location.hash.slice(1));

  const keep = () => {
    const state = new URLSearchParams({ neuron: at("neuron").value.trim() });
    if (at("mode").value !== "zero") state.set("mode", at("mode").value);
    if (needsNumber()) state.set("number", at("number").value);
    if (quantity !== "post") state.set("show", quantity);
    history.replaceState(null, "", `#${state}`);
  };

  // ---- the question

  const needsNumber = () => "number" in at("mode").selectedOptions[0].dataset;

  const fit = () => {
    at("number-field").hidden = !needsNumber();
    at("number").required = needsNumber();
  };

  const question = () => {
    const made = { text: at("text").value, neuron: at("neuron").value.trim(), mode: at("mode").value };
    if (needsNumber()) made.parameter = at("number").valueAsNumber;
    return made;
  };

  const send = rwAsk("ask", {
    show: (found) => show(found),
    hide: () => (at("result").hidden = true), // it is of another question
  });

  const ask = () => {
    keep();
    send(question());
  };

  // ---- the answer

  const decoded = (arrays) =>
    Object.fromEntries(Object.entries(arrays).map(([name, text]) => [name, rwTokens.floats(text)]));

  const minus = (metric) => Array.from(answer.clean[metric], (value, place) => value - answer.ablated[metric][place]);

  const tint = (box, value, scale) => {
    const share = scale > 0 && value ? Math.min(1, Math.abs(value) / scale) : 0;
    box.classList.toggle("positive", share > 0 && value > 0);
    box.classList.toggle("negative", share > 0 && value < 0);
    box.style.setProperty("--share", `${(100 * share).toFixed(1)}%`);
  };

  const strongest = (values) => values.reduce((best, value) => (Math.abs(value) > Math.abs(best) ? value : best), 0);

  // Places of the tokens that an element of the text shows.
  const placesOf = (token) => {
    const unit = Number(token.dataset.unit);
    const count = (place) => answer.text.tokens[place] ?? 1;
    const first = Array.from({ length: unit }, (_, place) => count(place)).reduce((sum, one) => sum + one, 0);
    return Array.from({ length: count(unit) }, (_, more) => first + more);
  };

  const paint = () => {
    const scale = quantity === LOSS ? Math.abs(strongest(answer.loss)) : rwTokens.largest(answer.values, quantity);
    rwTokens.legend(at("legend"), scale, false);
    if (quantity !== LOSS) {
      answer.tokens.paint(quantity, scale);
      return;
    }
    for (const token of at("tokens").children) {
      tint(token, strongest(placesOf(token).map((place) => answer.loss[place])), scale);
    }
  };

  const chooser = () => {
    const names = [...rwTokens.quantities(!answer.gated), [LOSS, "Δ loss"]];
    if (!names.some(([name]) => name === quantity)) quantity = "post";
    at("shown").replaceChildren(
      at("shown").querySelector("legend"),
      ...names.map(([name, words]) => {
        const [label, input] = [element("label"), element("input")];
        Object.assign(input, { type: "radio", name: "shown", value: name, checked: name === quantity });
        label.append(input, element("span", words));
        return label;
      }),
    );
  };

  const facts = () => {
    const count = answer.names.length;
    const parts = [`${count} tokens${answer.bos ? ", with the one that begins every text" : ""}`];
    if (answer.gated) {
      parts.push(answer.sign < 0 ? "gate sign folded: in, post and the output vector are negated" : "gate sign already positive");
    } else parts.push("no gate: post = act(in)");
    parts.push(`ablated: ${answer.ablation}`);
    return `${parts.join(" · ")}.`;
  };


  const head = (text, className, span = 1, rows = 1) => {
    const made = element("th", text, className);
    Object.assign(made, { scope: span > 1 ? "colgroup" : "col", colSpan: span, rowSpan: rows });
    return made;
  };

  const rowOf = (...cells) => {
    const made = element("tr");
    made.append(...cells);
    return made;
  };

  const mean = () => {
    const body = at("mean").tBodies[0];
    if (!answer.mean) {
      const none = element("td", "The text is too short for a prediction that counts.", "none");
      none.colSpan = 4;
      body.replaceChildren(rowOf(none));
      return;
    }
    const { predictions, clean, ablated, difference } = answer.mean;
    const name = element("th", `over ${predictions} predictions${answer.bos ? ", without that of the first token of the text" : ""}`);
    name.scope = "row";
    const numbers = [clean.toFixed(4), ablated.toFixed(4), rwTokens.number(difference)];
    body.replaceChildren(rowOf(name, ...numbers.map((text) => element("td", text, "number"))));
  };

  const table = () => {
    const quantities = rwTokens.quantities(!answer.gated);
    const deltas = { [LOSS]: answer.loss, entropy: minus("entropy") };
    const { gate, act, in: input } = answer.values;
    const post = gate.map((_, place) => act[place] * (input ? input[place] : 1));
    const columns = quantities.map(([name]) => (name === "post" ? post : answer.values[name]));
    const scales = Object.fromEntries(Object.entries(deltas).map(([name, all]) => [name, Math.abs(strongest(all))]));
    at("numbers").tHead.replaceChildren(
      rowOf(
        head("position", "number", 1, 2),
        head("token", "", 1, 2),
        ...quantities.map(([, name]) => head(name, "number", 1, 2)),
        ...Object.keys(deltas).map((metric) => head(`${metric} of its prediction (nats)`, "group", 3)),
      ),
      rowOf(...Object.keys(deltas).flatMap(() => ["clean", "ablated", "Δ"].map((text) => head(text, "number")))),
    );
    at("numbers").tBodies[0].replaceChildren(
      ...answer.names.map((name, place) => {
        const position = element("th", String(place), "number");
        position.scope = "row";
        const row = rowOf(position, element("td", name, "token"));
        for (const column of columns) row.append(element("td", rwTokens.number(column[place]), "number"));
        for (const [metric, all] of Object.entries(deltas)) {
          const delta = element("td", rwTokens.number(all[place]), "number");
          tint(delta, all[place], scales[metric]);
          for (const run of [answer.clean, answer.ablated]) row.append(element("td", plain(run[metric][place]), "number"));
          row.append(delta);
        }
        return row;
      }),
    );
  };

  const show = (found) => {
    answer = { ...found, values: decoded(found.values), clean: decoded(found.clean), ablated: decoded(found.ablated) };
    answer.loss = minus(LOSS);
    at("name").textContent = `Neuron ${answer.neuron}`;
    if (answer.page) {
      const page = element("a", "its page");
      page.href = answer.page;
      at("name").append(" ", page);
    }
    at("facts").textContent = facts();
    answer.tokens = rwTokens.show(at("tokens"), answer.text, answer.values, {
      label: `What neuron ${answer.neuron} does at each token`,
      readout: at("readout"),
    });
    at("losses").replaceChildren();
    chooser();
    mean();
    table();
    at("result").hidden = false;
    paint();
    document.title = document.title.replace(/^.*·/, `Neuron ${answer.neuron} ·`);
  };

  // ---- losses of the token that is pointed at or focused, beside its activations

  const tell = (token) => {
    const line = element("span", "", "line");
    for (const place of placesOf(token)) {
      const delta = rwTokens.number(answer.loss[place]);
      const text = Number.isNaN(answer.loss[place]) ? "no prediction of this token" : `loss ${plain(answer.clean.loss[place])} → ${plain(answer.ablated.loss[place])}, Δ `;
      line.append(element("span", text));
      if (!Number.isNaN(answer.loss[place])) line.lastChild.append(element("b", delta));
    }
    at("losses").replaceChildren(line);
  };

  const tokenOf = (event) => event.target.closest?.("#tokens > [data-unit]");

  for (const kind of ["pointerover", "focusin"]) {
    at("tokens").addEventListener(kind, (event) => {
      if (tokenOf(event)) tell(tokenOf(event));
    });
  }
  for (const kind of ["pointerout", "focusout"]) {
    at("tokens").addEventListener(kind, () => {
      const focused = kind === "pointerout" && at("tokens").querySelector(":focus");
      if (focused) tell(focused);
      else at("losses").replaceChildren();
    });
  }

  // ---- the beginning

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    ask();
  });
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
  at("mode").addEventListener("change", fit);
  at("shown").addEventListener("change", (event) => {
    quantity = event.target.value;
    keep();
    paint();
  });

  const follow = () => {
    const state = link();
    at("neuron").value = state.get("neuron") ?? "";
    const mode = [...at("mode").options].find((one) => one.value === state.get("mode"));
    at("mode").value = mode ? mode.value : "zero";
    if (state.has("number")) at("number").value = state.get("number");
    quantity = state.get("show") ?? "post";
    fit();
    if (at("neuron").value && form.checkValidity()) ask();
    else at("neuron").focus();
  };
  addEventListener("hashchange", follow);
  follow();
})();
