// The explorer's page: handles, controls and links around the drawing and the words.
(() => {
  "use strict";
  const data = JSON.parse(document.getElementById("rw-data").textContent);
  const model = rwModel(data);
  const state = rwState(data, model);
  const drawing = rwScene(data, model, state);
  const words = rwWords(data, model, state, drawing.svgNode);
  const { scaled, plus } = model;
  const { s, NAMES, DEFAULTS, padded, vec, neuronOf, presetNow, setPreset, setVector, setDims, toHash, fromHash, turn, tilt } = state;
  const $ = (id) => document.getElementById(id);
  const all = (selector) => [...document.querySelectorAll(selector)];
  let drag = null;

  // ---- one change ------------------------------------------------------------------------------
  let asked = 0;
  let speak = 0;
  let write = 0;
  const draw = () => {
    asked = 0;
    const neuron = neuronOf();
    const cosines = model.cosinesOf(neuron);
    const run = model.forward({ ...neuron, x: vec("x"), act: s.act, normalise: s.normalise });
    if (!drag) drawing.fitRange(run.after);
    drawing.drawGround();
    words.showRing(drawing.drawRing(neuron));
    drawing.drawArrows(run);
    words.showControls();
    words.showMeters(cosines);
    words.showClass(neuron, cosines);
    words.showEffect(run);
    words.showMap(cosines);
  };
  const announce = (text) => {
    clearTimeout(speak);
    speak = setTimeout(() => {
      const cosines = model.cosinesOf(neuronOf());
      const run = model.forward({ ...neuronOf(), x: vec("x"), act: s.act, normalise: s.normalise });
      const said = Object.entries(cosines).map(([pair, value]) => `${words.cosName(pair)} ${words.number(value)}`);
      $("live").textContent = text ?? `${model.classOf(cosines)}. ${said.join("; ")}. Activation ${words.number(run.post)}.`;
    }, text ? 0 : 600);
  };
  const changed = () => {
    if (!asked) asked = requestAnimationFrame(draw);
    announce();
    clearTimeout(write);
    // Browsers limit how often an address may change.
    write = setTimeout(() => history.replaceState(null, "", `#${toHash()}`), 250);
  };

  // ---- handles ---------------------------------------------------------------------------------
  const scene = $("scene");
  for (const vector of NAMES) {
    const label = vector === "x" ? "x, the residual stream" : `w_${vector}`;
    const handle = drawing.svgNode(
      "g",
      { id: `handle-${vector}`, class: `handle ${vector}`, tabindex: 0, role: "slider", "aria-roledescription": "arrow tip", "aria-label": label, "aria-valuemin": -180, "aria-valuemax": 180 },
      $("handles")
    );
    drawing.svgNode("circle", { r: 22, class: "reach" }, handle);
    drawing.svgNode("circle", { r: 13, class: "focus" }, handle);
    drawing.svgNode("circle", { r: 6.5, class: "grip" }, handle);
    handle.addEventListener("focus", () => {
      if (s.chosen === vector) return;
      s.chosen = vector;
      changed();
    });
    handle.addEventListener("keydown", (event) => {
      const step = event.shiftKey ? 0.25 : 0.05;
      const moves = { ArrowRight: [step, 0, 0], ArrowLeft: [-step, 0, 0], ArrowUp: [0, step, 0], ArrowDown: [0, -step, 0] };
      if (s.dims === 3) Object.assign(moves, { PageUp: [0, 0, step], PageDown: [0, 0, -step] });
      const move = moves[event.key];
      if (!move || event.ctrlKey || event.altKey || event.metaKey) return;
      event.preventDefault();
      event.stopPropagation();
      setVector(vector, plus(vec(vector), move));
      changed();
    });
  }
  const spotOf = (event) => {
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(scene.getScreenCTM().inverse());
    return [point.x, point.y];
  };
  scene.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    const spot = spotOf(event);
    const vector = drawing.tipAt(spot);
    if (!vector && s.dims === 2) return;
    event.preventDefault();
    scene.setPointerCapture(event.pointerId);
    drag = { vector, spot, from: vector ? vec(vector) : [s.yaw, s.pitch] };
    (vector ? $(`handle-${vector}`) : scene).focus({ preventScroll: true });
    scene.classList.add("dragging");
  });
  scene.addEventListener("pointermove", (event) => {
    const spot = spotOf(event);
    if (!drag) {
      scene.classList.toggle("over", drawing.tipAt(spot) !== null);
      return;
    }
    const [dx, dy] = [spot[0] - drag.spot[0], spot[1] - drag.spot[1]];
    if (drag.vector) setVector(drag.vector, plus(drag.from, drawing.unproject(dx, dy)));
    else [s.yaw, s.pitch] = [turn(Math.round(drag.from[0] + dx * 0.4)), tilt(Math.round(drag.from[1] + dy * 0.4))];
    changed();
  });
  const drop = () => {
    if (!drag) return;
    drag = null;
    scene.classList.remove("dragging");
    changed();
  };
  scene.addEventListener("pointerup", drop);
  scene.addEventListener("pointercancel", drop);
  scene.addEventListener("keydown", (event) => {
    if (event.target !== scene || s.dims !== 3 || event.ctrlKey || event.altKey || event.metaKey) return;
    const step = event.shiftKey ? 15 : 5;
    const move = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key];
    if (!move) return;
    event.preventDefault();
    [s.yaw, s.pitch] = [turn(s.yaw + move[0]), tilt(s.pitch + move[1])];
    changed();
  });

  // ---- controls --------------------------------------------------------------------------------
  const on = (selector, use) => all(selector).forEach((input) => input.addEventListener("change", () => (use(input), changed())));
  on("input[name=preset]", (input) => setPreset(input.value));
  on("input[name=dims]", (input) => setDims(Number(input.value)));
  on("input[name=chosen]", (input) => (s.chosen = input.value));
  on("#act", (input) => (s.act = input.value));
  on("#normalise", (input) => (s.normalise = input.checked));
  on("#palette", (input) => (s.palette = input.value));
  for (const input of all("input[data-vector]")) {
    input.addEventListener("input", () => {
      if (!Number.isFinite(input.valueAsNumber)) return;
      const v = vec(input.dataset.vector);
      v[input.dataset.part] = input.valueAsNumber;
      setVector(input.dataset.vector, v);
      changed();
    });
    input.addEventListener("blur", () => changed());
  }
  $("reset").addEventListener("click", () => {
    const { dims, palette } = s;
    const slug = presetNow() ?? data.classes[0].slug;
    Object.assign(s, DEFAULTS, { dims, palette });
    setPreset(slug);
    s.x = padded(data.start[dims]);
    changed();
  });
  $("flip").addEventListener("click", () => {
    for (const vector of ["in", "out"]) setVector(vector, scaled(vec(vector), -1));
    changed();
  });
  $("copy").addEventListener("click", async () => {
    history.replaceState(null, "", `#${toHash()}`);
    let copied = true;
    try {
      await navigator.clipboard.writeText(location.href);
    } catch {
      copied = false;
    }
    announce(copied ? "Link copied." : "The link is in the address bar.");
    $("copy").textContent = copied ? "Copied" : "See address bar";
    setTimeout(() => ($("copy").textContent = "Copy link"), 1800);
  });
  for (const link of all("a.show")) {
    link.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      const slug = link.hash.replace("#class=", "");
      setPreset(slug);
      changed();
      $("lab").scrollIntoView();
      document.querySelector(`input[name=preset][value="${slug}"]`).focus({ preventScroll: true });
    });
  }

  const restore = () => {
    const text = location.hash.slice(1);
    const state = text.includes("=");
    if (!state && s.gate) return; // a heading of this page
    const bad = fromHash(state ? text : "");
    draw();
    if (bad.length) announce(`Not understood in the link: ${bad.join(", ")}.`);
    $("bad-link")?.remove();
    if (bad.length) {
      const note = document.createElement("p");
      note.id = "bad-link";
      note.className = "note bad";
      note.textContent = `Not understood in the link, and left out: ${bad.join(", ")}`;
      $("lab").before(note);
    }
  };
  addEventListener("hashchange", restore);
  new ResizeObserver(() => {
    if (drawing.setWidth($("scene").clientWidth)) draw();
  }).observe($("scene"));
  $("lab").hidden = false;
  all(".js-only").forEach((node) => (node.hidden = false));
  restore();
  // For tests: the same functions as the page uses.
  window.rwExplorer = { model, state: s };
})();
