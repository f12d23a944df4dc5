// The explorer's drawing: projection, ground, ring, arrows and their names.
const rwScene = (data, model, state) => {
  "use strict";
  const { norm, scaled, plus } = model;
  const { s, NAMES, padded, vec } = state;
  const HALF = 300;
  const RING = 284;
  let range = 1.6; // what fits from the middle to the edge of the drawing
  let unit = 1; // letters and tips are drawn larger where the drawing is small

  const view = () => {
    const flat = s.dims === 2;
    const [yaw, pitch] = flat ? [0, 0] : [(s.yaw * Math.PI) / 180, (s.pitch * Math.PI) / 180];
    return { cy: Math.cos(yaw), sy: Math.sin(yaw), cp: Math.cos(pitch), sp: Math.sin(pitch), k: (HALF * (flat ? 0.87 : 0.97)) / range };
  };
  const project = (v, { cy, sy, cp, sp, k } = view()) => {
    const [x, y, z] = padded(v);
    const deep = -x * sy + z * cy;
    return [(x * cy + z * sy) * k, -(y * cp - deep * sp) * k, y * sp + deep * cp];
  };
  const unproject = (dx, dy) => {
    const { cy, sy, cp, sp, k } = view();
    const [across, up] = [dx / k, -dy / k];
    const deep = -up * sp;
    return [across * cy - deep * sy, up * cp, across * sy + deep * cy].slice(0, s.dims);
  };
  // Zooms out in steps, so that all arrows are in the drawing.
  const fitRange = (after) => {
    const needed = Math.max(...NAMES.map((name) => norm(vec(name))), norm(after)) * 1.04;
    range = [s.dims === 2 ? 1.6 : 1.3, 1.6, 2.2, 3, 4.5, 7, 10].find((one) => one >= needed) ?? needed;
  };

  const svgNode = (tag, attributes = {}, parent = null, text = "") => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    if (text) node.textContent = text;
    parent?.append(node);
    return node;
  };
  const slugOf = (code) => data.classes[code]?.slug;
  const at = (angle, radius) => [radius * Math.cos(angle), -radius * Math.sin(angle)];
  const dots = (count) =>
    Array.from({ length: count }, (_, n) => {
      const y = 1 - (2 * n + 1) / count;
      const around = n * Math.PI * (3 - Math.sqrt(5));
      const flat = Math.sqrt(1 - y * y);
      return [flat * Math.cos(around), y, flat * Math.sin(around)];
    });
  const SPHERE = dots(260);
  const SPARSE = dots(110);

  const drawGround = () => {
    const ground = document.getElementById("ground");
    ground.replaceChildren();
    const p = view();
    const circle = (a, b) => {
      const points = Array.from({ length: 73 }, (_, n) => {
        const t = (n * Math.PI) / 36;
        return project(plus(scaled(a, Math.cos(t)), scaled(b, Math.sin(t))), p);
      });
      for (const front of [false, true]) {
        let d = "";
        points.slice(1).forEach((end, n) => {
          const start = points[n];
          if (start[2] + end[2] >= -1e-9 === front) d += `M${start[0].toFixed(1)} ${start[1].toFixed(1)}L${end[0].toFixed(1)} ${end[1].toFixed(1)}`;
        });
        if (d) svgNode("path", { d, class: front ? "great" : "great back" }, ground);
      }
    };
    const axes = [[1, 0, 0], [0, 1, 0], [0, 0, 1]].slice(0, s.dims);
    const reach = s.dims === 2 ? (RING - 10) / p.k : 1.3;
    axes.forEach((axis, n) => {
      const [start, end] = [project(scaled(axis, -reach), p), project(scaled(axis, reach), p)];
      svgNode("line", { x1: start[0], y1: start[1], x2: end[0], y2: end[1], class: "axis" }, ground);
      if (s.dims === 3) svgNode("text", { x: end[0] * 1.07, y: end[1] * 1.07 + 4, class: "axis-name" }, ground, String(n + 1));
    });
    circle([1, 0, 0], [0, 1, 0]);
    if (s.dims === 3) {
      circle([1, 0, 0], [0, 0, 1]);
      circle([0, 1, 0], [0, 0, 1]);
    } else {
      svgNode("text", { x: 0, y: p.k + 15 * unit, class: "axis-name" }, ground, "length 1");
    }
  };

  const arrowPath = (start, end, head) => {
    const [dx, dy] = [end[0] - start[0], end[1] - start[1]];
    const length = Math.hypot(dx, dy);
    if (length < 0.5) return null;
    const [ux, uy] = [dx / length, dy / length];
    const size = Math.min(head, length * 0.7);
    const neck = [end[0] - ux * size, end[1] - uy * size];
    const wing = size * 0.42;
    return {
      neck,
      head: `M${end[0]} ${end[1]}L${neck[0] - uy * wing} ${neck[1] + ux * wing}L${neck[0] + uy * wing} ${neck[1] - ux * wing}Z`,
    };
  };
  const drawArrow = (parent, start, end, kind, head = 15) => {
    const path = arrowPath(start, end, head);
    if (!path) return;
    const group = svgNode("g", { class: `shaft ${kind}` }, parent);
    svgNode("line", { x1: start[0], y1: start[1], x2: path.neck[0], y2: path.neck[1] }, group);
    svgNode("path", { d: path.head }, group);
  };

  // For a vector of the neuron: the class it would have with that vector in every direction.
  // For x: what the neuron would add to it in every direction.
  const drawRing = (neuron) => {
    const ring = document.getElementById("ring");
    ring.replaceChildren();
    const p = view();
    const seen = new Set();
    if (s.chosen === "x") {
      const radius = norm(vec("x")) || 1;
      const points = s.dims === 3 ? SPARSE : Array.from({ length: 40 }, (_, n) => [Math.cos((n * Math.PI) / 20), Math.sin((n * Math.PI) / 20)]);
      for (const point of points) {
        const x = scaled(point, radius);
        const { after } = model.forward({ ...neuron, x, act: s.act, normalise: s.normalise });
        const [start, end] = [project(x, p), project(after, p)];
        const far = s.dims === 3 && start[2] < 0 ? " far" : "";
        svgNode("circle", { cx: start[0], cy: start[1], r: 1.6, class: `field-dot${far}` }, ring);
        drawArrow(ring, start, end, `field${far}`, 7);
      }
      return seen;
    }
    const codeAt = (direction) => model.codeOf(model.cosinesOf({ ...neuron, [s.chosen]: direction }));
    if (s.dims === 3) {
      for (const point of SPHERE) {
        const code = codeAt(point);
        const [x, y, depth] = project(point, p);
        if (code < 0) continue;
        seen.add(code);
        svgNode("circle", { cx: x, cy: y, r: depth > 0 ? 5 : 3, class: `dot${depth > 0 ? "" : " far"}${data.classes[code].name.startsWith("atypical") ? " atypical" : ""}`, style: `--c: var(--c-${slugOf(code)})` }, ring);
      }
      return seen;
    }
    const steps = 720;
    const codes = Array.from({ length: steps }, (_, n) => codeAt([Math.cos(((n + 0.5) * 2 * Math.PI) / steps), Math.sin(((n + 0.5) * 2 * Math.PI) / steps)]));
    let first = codes.findIndex((code, n) => code !== codes.at(n - 1));
    if (first < 0) first = 0;
    for (let n = 0; n < steps; ) {
      let end = n;
      const code = codes[(first + n) % steps];
      while (end < steps && codes[(first + end) % steps] === code) end += 1;
      if (code >= 0) {
        seen.add(code);
        const span = Math.min(end - n, steps - 0.01);
        const from = at(((first + n) * 2 * Math.PI) / steps, RING);
        const to = at(((first + n + span) * 2 * Math.PI) / steps, RING);
        const d = `M${from.join(" ")}A${RING} ${RING} 0 ${Number(span > steps / 2)} 0 ${to.join(" ")}`;
        const arc = svgNode("path", { d, class: "arc", style: `--c: var(--c-${slugOf(code)})` }, ring);
        svgNode("title", {}, arc, data.classes[code].name);
        if (data.classes[code].name.startsWith("atypical")) svgNode("path", { d, class: "arc-hatch" }, ring);
      }
      n = end;
    }
    const v = vec(s.chosen);
    if (norm(v) > 0) {
      const angle = Math.atan2(v[1], v[0]);
      const [tip, edge] = [project(v, p), at(angle, RING - 8)];
      if (Math.hypot(...tip.slice(0, 2)) < RING - 20) svgNode("line", { x1: tip[0], y1: tip[1], x2: edge[0], y2: edge[1], class: `ray ${s.chosen}` }, ring);
      const [a, b, c] = [at(angle, RING - 7), at(angle - 0.035, RING - 20), at(angle + 0.035, RING - 20)];
      svgNode("path", { d: `M${a.join(" ")}L${b.join(" ")}L${c.join(" ")}Z`, class: `pointer ${s.chosen}` }, ring);
    }
    return seen;
  };

  const drawArrows = (run) => {
    const p = view();
    const zero = [0, 0, 0];
    const items = NAMES.map((name) => ({ kind: name, start: zero, end: project(vec(name), p) }));
    const moved = norm(run.output) > 1e-6;
    if (moved) {
      items.push({ kind: "after", start: zero, end: project(run.after, p) });
      items.push({ kind: "output", start: project(vec("x"), p), end: project(run.after, p) });
    }
    const shafts = document.getElementById("shafts");
    shafts.replaceChildren();
    // Nearer arrows over farther ones; in the plane what the neuron adds lies below the vectors.
    const layer = (item) => item.end[2] - (["after", "output"].includes(item.kind) ? 1e-3 : 0);
    [...items].sort((a, b) => layer(a) - layer(b)).forEach((item) => drawArrow(shafts, item.start, item.end, item.kind));
    for (const name of NAMES) {
      const [x, y] = project(vec(name), p);
      document.getElementById(`handle-${name}`).setAttribute("transform", `translate(${x.toFixed(2)} ${y.toFixed(2)}) scale(${unit})`);
    }
    drawLabels(items, moved && norm(run.output) * p.k > 26);
  };

  const LABELS = { gate: ["w", "gate"], in: ["w", "in"], out: ["w", "out"], x: ["x", ""], after: ["x", " + output"], output: ["output", ""] };
  const drawLabels = (items, withOutput) => {
    const boxes = [];
    for (const { kind, start, end } of items) {
      if (!withOutput && ["after", "output"].includes(kind)) continue;
      const [dx, dy] = [end[0] - start[0], end[1] - start[1]];
      const length = Math.hypot(dx, dy) || 1;
      const width = ({ output: 46, after: 68, x: 12 }[kind] ?? 42) * unit;
      // Beyond the tip; the label of what is added stands beside the middle of its arrow.
      const place = kind === "output" ? [start[0] + dx / 2 - (dy / length) * 16 * unit, start[1] + dy / 2 + (dx / length) * 16 * unit] : [end[0] + (dx / length) * 19 * unit, end[1] + (dy / length) * 19 * unit];
      const toLeft = kind === "output" ? -dy < 0 : dx < -0.3 * length;
      const toRight = kind === "output" ? -dy > 0 : dx > 0.3 * length;
      const x = toRight ? place[0] : toLeft ? place[0] - width : place[0] - width / 2;
      boxes.push({ kind, x: Math.max(-HALF + 4, Math.min(HALF - width - 4, x)), y: place[1], width });
    }
    // Labels give way to each other and to the tips, up or down.
    const movable = boxes.length;
    for (const { kind, end } of items) {
      if (NAMES.includes(kind)) boxes.push({ x: end[0] - 8 * unit, y: end[1], width: 16 * unit, fixed: true });
    }
    for (let pass = 0; pass < 40; pass += 1) {
      for (let i = 0; i < movable; i += 1) {
        for (let j = i + 1; j < boxes.length; j += 1) {
          const [a, b] = [boxes[i], boxes[j]];
          const gap = (b.fixed ? 17 : 19) * unit - Math.abs(a.y - b.y);
          if (gap <= 0 || a.x > b.x + b.width + 2 || b.x > a.x + a.width + 2) continue;
          const down = a.y > b.y || (a.y === b.y && i % 2) ? 1 : -1;
          a.y += b.fixed ? down * gap : (down * gap) / 2;
          if (!b.fixed) b.y -= (down * gap) / 2;
        }
      }
    }
    const labels = document.getElementById("labels");
    labels.replaceChildren();
    for (const { kind, x, y } of boxes.slice(0, movable)) {
      const text = svgNode("text", { x, y: Math.max(-HALF + 14, Math.min(HALF - 8, y)) + 5 * unit, class: `label ${kind}` }, labels);
      const [main, rest] = LABELS[kind];
      svgNode("tspan", { class: kind === "output" ? "plain" : "letter" }, text, main);
      if (rest) svgNode("tspan", rest.startsWith(" ") ? { class: "plain" } : { class: "sub", dy: 4 * unit }, text, rest);
    }
  };

  // The tip at a spot of the drawing; where tips lie on each other the chosen one.
  const tipAt = (spot) => {
    const p = view();
    const found = NAMES.map((vector) => {
      const [x, y] = project(vec(vector), p);
      return { vector, away: Math.hypot(x - spot[0], y - spot[1]) - (vector === s.chosen ? 10 * unit : 0) };
    }).sort((a, b) => a.away - b.away)[0];
    return found.away < 22 * unit ? found.vector : null;
  };
  // Returns whether the letters have changed, for a drawing of this width on the screen.
  const setWidth = (width) => {
    const wanted = Math.round(1000 * Math.max(1, Math.min(1.8, (1.8 * HALF) / (width || 2 * HALF)))) / 1000;
    const changed = wanted !== unit;
    unit = wanted;
    document.getElementById("scene").style.setProperty("--u", unit);
    return changed;
  };

  return { unproject, fitRange, drawGround, drawRing, drawArrows, svgNode, tipAt, setWidth };
};
