// What the explorer says: cosines, rule, class, ring, effect, and the place on the map.
const rwWords = (data, model, state, svgNode) => {
  "use strict";
  const { VECTORS, norm, scaled, dot } = model;
  const { s, NAMES, vec, presetNow } = state;
  const $ = (id) => document.getElementById(id);
  const all = (selector) => [...document.querySelectorAll(selector)];

  const number = (value, digits = 2) => {
    const text = Math.abs(value).toFixed(digits);
    return Number.isFinite(value) ? (value < 0 && Number(text) !== 0 ? "−" : "") + text : "–";
  };
  const signed = (value) => (value >= 0.005 ? "+" : "") + number(value);
  const name = (vector) => (vector === "x" ? '<var class="v-x">x</var>' : `<var class="v-${vector}">w<sub>${vector}</sub></var>`);
  const cosName = (pair) => `cos(${model.PAIRS[pair].join(", ")})`;
  const degrees = (radians) => `${Math.round((radians * 180) / Math.PI)}°`;

  const chip = (node, slug) => {
    node.classList.toggle("atypical", Boolean(slug?.startsWith("atypical")));
    node.style.setProperty("--c", slug ? `var(--c-${slug})` : "transparent");
  };

  const showMeters = (cosines) => {
    for (const [pair, value] of Object.entries(cosines)) {
      const meter = $(`meter-${pair}`);
      const code = model.discrete(value);
      const known = Number.isFinite(value);
      meter.querySelector(".value").textContent = number(value, 3);
      meter.querySelector(".angle").textContent = known ? degrees(Math.acos(Math.max(-1, Math.min(1, value)))) : "";
      const needle = meter.querySelector(".needle");
      needle.hidden = !known;
      needle.style.left = `${(Math.max(-1, Math.min(1, value || 0)) + 1) * 50}%`;
      meter.dataset.code = known ? code : "";
      const away = number(Math.abs(Math.abs(value) - data.threshold), 2);
      const said = { "1": "large, positive", "0": "small", "-1": "large, negative" }[code];
      meter.querySelector(".words").textContent = known ? `${said} · ${away} ${code ? "beyond the border" : "to a border"}` : "no direction";
    }
  };

  const steps = (cosines) => {
    const [lin, gate, both] = [cosines.linout, cosines.gateout, cosines.gatelin].map(model.discrete);
    const found = [];
    found.push(
      lin > 0 ? `${cosName("linout")} is large and positive: it writes <b>along</b> what in reads` :
      lin < 0 ? `${cosName("linout")} is large and negative: it writes <b>against</b> what in reads` :
      `${cosName("linout")} is small: it does <b>not</b> write what in reads`
    );
    found.push(
      lin && gate ? `${cosName("gateout")} is large: the gate reads that direction too` :
      lin ? `${cosName("gateout")} is small: the gate waits for something else, so <b>conditional</b>` :
      gate ? `${cosName("gateout")} is large: it writes what the gate reads, so <b>proportional change</b>` :
      `${cosName("gateout")} is small: nor what the gate reads, so <b>orthogonal output</b>`
    );
    const expected = lin * gate;
    const typical = both === expected;
    const wanted = { "1": "above 0.5", "0": "small", "-1": "below −0.5" }[expected];
    found.push(
      !lin && !gate ? `${cosName("gatelin")} may be anything` :
      `${cosName("gatelin")} would be ${wanted} in a typical neuron; ${typical ? "it is" : "it is not, so <b>atypical</b>"}`
    );
    return found;
  };

  const showClass = (neuron, cosines) => {
    const code = model.codeOf(cosines);
    const one = data.classes[code];
    chip($("now-chip"), one?.slug);
    $("now").textContent = one?.name ?? data.undefined;
    $("now-meaning").textContent = one?.meaning ?? "A vector of length 0 has no direction, and the neuron no class.";
    $("steps").innerHTML = one ? steps(cosines).map((step) => `<li>${step}.</li>`).join("") : "";
    const near = one ? model.nearestBorder(neuron) : null;
    $("nearest").innerHTML = near
      ? `Nearest border: turn ${name(near.vector)} by ${degrees(Math.max(Math.abs(near.turn), Math.PI / 360))} ${near.turn > 0 ? "towards" : "away from"} ${name(near.other)}, and it is <b>${data.classes[near.code].name}</b>.`
      : "";
    all("#class-table tr[id]").forEach((row) => {
      const here = row.id === `class-${one?.slug}`;
      row.classList.toggle("here", here);
      if (here) row.setAttribute("aria-current", "true");
      else row.removeAttribute("aria-current");
    });
  };

  const showRing = (seen) => {
    if (s.chosen === "x") {
      $("ring-text").innerHTML = `Small arrows: what the neuron would add if ${name("x")} pointed there.`;
      return;
    }
    const chips = [...seen].sort((a, b) => a - b).map((code) => {
      const { slug, name: said } = data.classes[code];
      return `<span class="key"><i class="chip${slug.startsWith("atypical") ? " atypical" : ""}" style="--c: var(--c-${slug})"></i>${said}</span>`;
    });
    $("ring-text").innerHTML = `The class if ${name(s.chosen)} pointed there, the others as they are: ${chips.join(" ") || "none"}`;
  };

  const showEffect = (run) => {
    $("f-gate").textContent = signed(run.gatePre);
    $("f-open").textContent = number(run.open);
    $("f-act").textContent = `${{ swish: "Swish", gelu: "GELU", relu: "ReLU" }[s.act]}(${number(run.gatePre)})`;
    $("f-in").textContent = signed(run.inPre);
    $("f-post").textContent = signed(run.post);
    $("f-out").textContent = `(${run.output.map((value) => number(value)).join(", ")})`;
    all(".x-read").forEach((node) => (node.textContent = s.normalise ? "x̂" : "x"));
    let main = "";
    for (const vector of VECTORS) {
      const v = vec(vector);
      const cells = $(`along-${vector}`).cells;
      const unit = scaled(v, 1 / norm(v));
      const [before, after] = [dot(vec("x"), unit), dot(run.after, unit)];
      const word =
        !Number.isFinite(before) ? "" :
        Math.abs(after - before) < 0.005 ? "as before" :
        Math.abs(before) < 0.005 ? "new" :
        before * after < 0 && Math.abs(after) >= 0.005 ? "turned round" :
        Math.abs(after) > Math.abs(before) ? "stronger" : "weaker";
      [number(before), number(after), Number.isFinite(before) ? signed(after - before) : "–", word].forEach((text, n) => (cells[n + 1].textContent = text));
      if (vector === "in" && word) main = word === "as before" ? "leaves what in reads as it was" : word === "new" ? "makes something of what in reads, where there was nothing" : `makes what in reads ${word === "turned round" ? "turn round" : word}`;
    }
    const gate = run.open > 0.02 ? "open" : run.open < -0.02 ? "slightly below zero" : "as good as closed";
    $("effect-text").innerHTML = !norm(vec("x"))
      ? `${name("x")} has length 0: nothing is read, and nothing is written.`
      : `The gate is ${gate} (${number(run.open)}) and in reads ${signed(run.inPre)}, so ${number(run.post)} times ${name("out")} is added${Math.abs(run.post) < 0.005 ? ": next to nothing" : main ? `, which ${main}` : ""}.`;
  };

  const showMap = (cosines) => {
    const { gatelin, gateout, linout } = cosines;
    const here = { "1": "above", "0": "small", "-1": "below" }[model.discrete(gatelin)];
    const side = Number(document.querySelector("#map svg").dataset.side);
    const spot = (a, b) => [((a + 1) / 2) * side, ((1 - b) / 2) * side];
    for (const part of ["below", "small", "above"]) {
      const figure = $(`map-${part}`);
      const [line, top] = figure.querySelectorAll(".live");
      line.replaceChildren();
      top.replaceChildren();
      const active = part === here && [gatelin, gateout, linout].every(Number.isFinite);
      figure.classList.toggle("active", active);
      if (!active) continue;
      const apart = Math.acos(Math.max(-1, Math.min(1, gatelin)));
      const points = Array.from({ length: 73 }, (_, n) => spot(Math.cos((n * Math.PI) / 36), Math.cos((n * Math.PI) / 36 + apart)).map((one) => one.toFixed(1)).join(" "));
      svgNode("path", { d: `M${points.join("L")}Z`, class: "orbit-halo" }, line);
      svgNode("path", { d: `M${points.join("L")}Z`, class: "orbit" }, line);
      const [cx, cy] = spot(gateout, linout);
      svgNode("circle", { cx, cy, r: 5.5, class: "spot" }, top);
    }
  };

  let shownPreset;
  const showControls = () => {
    document.documentElement.dataset.palette = s.palette;
    $("lab").classList.toggle("flat", s.dims === 2);
    const slug = presetNow();
    all("input[name=preset]").forEach((input) => (input.checked = input.value === slug));
    if (slug !== shownPreset) {
      shownPreset = slug;
      const box = document.querySelector(".presets");
      const label = box.querySelector("input:checked")?.parentElement;
      if (label && box.scrollWidth > box.clientWidth) box.scrollLeft = label.offsetLeft - (box.clientWidth - label.offsetWidth) / 2;
    }
    all("input[name=dims]").forEach((input) => (input.checked = Number(input.value) === s.dims));
    all("input[name=chosen]").forEach((input) => (input.checked = input.value === s.chosen));
    $("act").value = s.act;
    $("normalise").checked = s.normalise;
    $("palette").value = s.palette;
    for (const input of all("input[data-vector]")) {
      if (input !== document.activeElement) input.value = s[input.dataset.vector][input.dataset.part];
    }
    for (const vector of NAMES) {
      $(`length-${vector}`).textContent = number(norm(vec(vector)));
      const handle = $(`handle-${vector}`);
      const v = vec(vector);
      const angle = Math.round((Math.atan2(v[1], v[0]) * 180) / Math.PI);
      handle.classList.toggle("chosen", vector === s.chosen);
      handle.setAttribute("aria-valuenow", angle);
      const where = s.dims === 2 ? `, angle ${angle} degrees` : "";
      handle.setAttribute("aria-valuetext", `${v.map((value) => value.toFixed(2)).join(", ")}${where}, length ${norm(v).toFixed(2)}`);
    }
    const scene = $("scene");
    if (s.dims === 3) scene.setAttribute("tabindex", "0");
    else scene.removeAttribute("tabindex");
    scene.setAttribute("aria-label", s.dims === 3 ? "Drawing of the vectors in three dimensions; arrow keys turn the view" : "Drawing of the vectors in the plane");
  };

  return { number, cosName, showMeters, showClass, showRing, showEffect, showMap, showControls };
};
