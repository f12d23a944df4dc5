// What the explorer shows: vectors, options and view, and their form as a link.
const rwState = (data, model) => {
  "use strict";
  const { VECTORS, norm } = model;
  const NAMES = [...VECTORS, "x"];
  const LIMIT = 2; // length of a vector at most
  const DEFAULTS = { dims: 2, act: "swish", normalise: true, chosen: "in", yaw: -32, pitch: 22, palette: data.palette };
  const s = { ...DEFAULTS };

  const padded = (v) => [v[0], v[1], v[2] ?? 0];
  const vec = (name) => s[name].slice(0, s.dims);
  const neuronOf = () => ({ gate: vec("gate"), in: vec("in"), out: vec("out") });
  const round = (value) => Math.round(value * 1000) / 1000 || 0;
  const presetsOf = () => data.presets[s.dims];
  const same = (a, b) => a.length === b.length && a.every((value, k) => value === b[k]);
  const presetNow = () =>
    Object.keys(presetsOf()).find((slug) => VECTORS.every((name) => same(vec(name), presetsOf()[slug][name])));

  const setPreset = (slug) => VECTORS.forEach((name) => (s[name] = padded(presetsOf()[slug][name])));
  const setVector = (name, v) => {
    const length = norm(v);
    s[name] = padded(v.map((value) => round(length > LIMIT ? (value * LIMIT) / length : value)));
  };
  const setDims = (dims) => {
    const slug = presetNow();
    const fresh = same(vec("x"), data.start[s.dims]);
    s.dims = dims;
    if (slug) setPreset(slug);
    if (fresh) s.x = padded(data.start[dims]);
  };

  // ---- links: everything that is shown, after the #
  const toHash = () => {
    const parts = [];
    const slug = presetNow();
    if (slug) parts.push(`class=${slug}`);
    else VECTORS.forEach((name) => parts.push(`${name}=${vec(name).join()}`));
    if (s.dims === 3) parts.push("d=3");
    if (!same(vec("x"), data.start[s.dims])) parts.push(`x=${vec("x").join()}`);
    if (s.act !== DEFAULTS.act) parts.push(`act=${s.act}`);
    if (!s.normalise) parts.push("norm=0");
    if (s.chosen !== DEFAULTS.chosen) parts.push(`ring=${s.chosen}`);
    if (s.dims === 3 && (s.yaw !== DEFAULTS.yaw || s.pitch !== DEFAULTS.pitch)) parts.push(`view=${s.yaw},${s.pitch}`);
    if (s.palette !== DEFAULTS.palette) parts.push(`colours=${s.palette}`);
    return parts.join("&");
  };

  // Returns what it could not use, in words.
  const fromHash = (text) => {
    const asked = new Map(text.split("&").filter(Boolean).map((part) => [part.split("=")[0], part.slice(part.indexOf("=") + 1)]));
    const bad = [];
    const take = (key, use) => {
      if (!asked.has(key)) return;
      const value = decodeURIComponent(asked.get(key));
      asked.delete(key);
      if (use(value) === false) bad.push(`${key}=${value}`);
    };
    const numbers = (value, count) => {
      const found = value.split(",").map((one) => (one.trim() === "" ? NaN : Number(one)));
      return found.length === count && found.every(Number.isFinite) ? found : null;
    };
    Object.assign(s, DEFAULTS);
    if (!asked.has("d") && ["gate", "in", "out", "x"].some((name) => asked.get(name)?.split(",").length === 3)) s.dims = 3;
    take("d", (value) => (["2", "3"].includes(value) ? ((s.dims = Number(value)), true) : false));
    setPreset(data.classes[0].slug);
    s.x = padded(data.start[s.dims]);
    take("class", (value) => (Object.hasOwn(presetsOf(), value) ? (setPreset(value), true) : false));
    for (const name of NAMES) {
      take(name, (value) => {
        const found = numbers(value, s.dims);
        if (!found) return false;
        setVector(name, found);
        return true;
      });
    }
    take("act", (value) => (Object.hasOwn(model.activations, value) ? ((s.act = value), true) : false));
    take("norm", (value) => (["0", "1"].includes(value) ? ((s.normalise = value === "1"), true) : false));
    take("ring", (value) => (NAMES.includes(value) ? ((s.chosen = value), true) : false));
    take("view", (value) => {
      const found = numbers(value, 2);
      if (!found) return false;
      [s.yaw, s.pitch] = [turn(found[0]), tilt(found[1])];
      return true;
    });
    take("colours", (value) => (["accessible", "paper"].includes(value) ? ((s.palette = value), true) : false));
    return bad.concat([...asked.keys()]);
  };
  const turn = (angle) => round(((((angle + 180) % 360) + 360) % 360) - 180);
  const tilt = (angle) => round(Math.max(-90, Math.min(90, angle)));

  return { s, NAMES, DEFAULTS, padded, vec, neuronOf, presetNow, setPreset, setVector, setDims, toHash, fromHash, turn, tilt };
};
