// The neuron of the explorer: cosines, class, forward pass. Nothing here touches the page.
const rwModel = (data) => {
  "use strict";
  const VECTORS = ["gate", "in", "out"];
  const PAIRS = { gatelin: ["gate", "in"], gateout: ["gate", "out"], linout: ["in", "out"] };
  const codes = new Map(data.classes.map((one, code) => [one.key.join(), code]));

  const dot = (a, b) => a.reduce((sum, value, k) => sum + value * b[k], 0);
  const norm = (a) => Math.hypot(...a);
  const scaled = (a, factor) => a.map((value) => value * factor);
  const plus = (a, b) => a.map((value, k) => value + b[k]);

  // Cosines are rounded to float32 once and compared there, as in the library. A vector without direction gives NaN.
  const cosine = (a, b) => Math.fround(dot(a, b) / (norm(a) * norm(b)));
  const cosinesOf = (neuron) =>
    Object.fromEntries(Object.entries(PAIRS).map(([name, [a, b]]) => [name, cosine(neuron[a], neuron[b])]));

  // A(x): strict on both sides.
  const border = Math.fround(data.threshold);
  const discrete = (x) => {
    const value = Math.fround(x);
    return value > border ? 1 : value < -border ? -1 : 0;
  };

  // Place in the list of classes, -1 if a cosine is not a number.
  const codeOf = ({ gatelin, gateout, linout }) => {
    if ([gatelin, gateout, linout].some(Number.isNaN)) return -1;
    const lin = discrete(linout);
    const gate = discrete(gateout);
    const typical = (lin === 0 && gate === 0) || discrete(gatelin) === lin * gate;
    return codes.get([lin, Math.abs(gate), Number(typical)].join());
  };
  const classOf = (cosines) => data.classes[codeOf(cosines)]?.name ?? data.undefined;

  // All terms have one sign, so no digits cancel.
  const erf = (x) => {
    if (Math.abs(x) > 6) return Math.sign(x);
    let term = x;
    let sum = x;
    for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(sum); n += 1) {
      term *= (2 * x * x) / (2 * n + 1);
      sum += term;
    }
    return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
  };
  const activations = {
    swish: (t) => t / (1 + Math.exp(-t)),
    gelu: (t) => (t / 2) * (1 + erf(t / Math.SQRT2)),
    relu: (t) => Math.max(t, 0),
  };

  // What the neuron does with x: post = act(gate) * in, and post * w_out is added to x.
  const forward = ({ gate, in: in_, out, x, act, normalise }) => {
    const length = norm(x);
    const read = normalise && length > 0 ? scaled(x, 1 / length) : x;
    const gatePre = dot(gate, read);
    const inPre = dot(in_, read);
    const open = activations[act](gatePre);
    const post = open * inPre;
    const output = scaled(out, post);
    return { read, gatePre, open, inPre, post, output, after: plus(x, output) };
  };

  // The vector v turned towards u by an angle in radians (away from it if negative), in the plane of both.
  const turned = (v, u, angle) => {
    const along = scaled(v, 1 / norm(v));
    let side = plus(u, scaled(along, -dot(u, along)));
    if (norm(side) < 1e-9 * norm(u)) side = along.map((_, k) => (k === 0 ? -along[1] : k === 1 ? along[0] : 0));
    if (norm(side) < 1e-9) return v;
    side = scaled(side, 1 / norm(side));
    return scaled(plus(scaled(along, Math.cos(angle)), scaled(side, Math.sin(angle))), norm(v));
  };

  // The smallest turn of one vector, straight towards or away from another, after which the class is another.
  const nearestBorder = (neuron) => {
    const now = codeOf(cosinesOf(neuron));
    if (now < 0) return null;
    const slack = 1e-4;
    let best = null;
    for (const vector of VECTORS) {
      for (const other of VECTORS) {
        if (other === vector) continue;
        const apart = Math.acos(Math.max(-1, Math.min(1, cosine(neuron[vector], neuron[other]))));
        for (const limit of [Math.acos(data.threshold), Math.PI - Math.acos(data.threshold)]) {
          const turn = apart - limit + (apart > limit ? slack : -slack);
          if (best && Math.abs(turn) >= Math.abs(best.turn)) continue;
          const moved = { ...neuron, [vector]: turned(neuron[vector], neuron[other], turn) };
          const code = codeOf(cosinesOf(moved));
          if (code >= 0 && code !== now) best = { vector, other, turn, code };
        }
      }
    }
    return best;
  };

  return { VECTORS, PAIRS, dot, norm, scaled, plus, cosine, cosinesOf, discrete, codeOf, classOf, activations, forward, turned, nearestBorder };
};
